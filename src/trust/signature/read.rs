//! Finds the signature and reads it: the one accepted shape, element by element.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bergshamra_xml::uppsala::{Document, NodeId, NodeKind};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::identity::SubjectDn;
use crate::trust::document::{NAMESPACE, ROOT};

use super::SignatureError;
use super::algorithm::{
    self, DS, ENVELOPED, EXCLUSIVE_C14N, FILTER2, RSA_SHA256, SIGNATURE_PATHS, SIGNED_PROPERTIES, XADES, shown,
};
use super::element::Element;

/// A signature, read. Nothing of it is proved yet.
pub(super) struct Read {
    /// The whole element: what the list is digested without.
    pub(super) top: NodeId,
    /// What the value was made over.
    pub(super) signed_info: NodeId,
    pub(super) value: Vec<u8>,
    /// Digest of the list.
    pub(super) list: Digest,
    /// The signed properties and their digest.
    pub(super) properties: (NodeId, Digest),
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// `X509SubjectName`.
    pub(super) named: Option<SubjectDn>,
    /// Digest of the signer's certificate.
    pub(super) certificate: Digest,
    pub(super) signed_at: Timestamp,
}

/// A digest and how it is made.
pub(super) struct Digest {
    algorithm: &'static digest::Algorithm,
    value: Vec<u8>,
}

impl Digest {
    pub(super) fn is_of(&self, bytes: &[u8]) -> bool {
        digest::digest(self.algorithm, bytes).as_ref() == self.value
    }
}

/// The signature of a document: alone, last child of the root; `None` when there is none at all.
pub(super) fn find(document: &Document<'_>) -> Result<Option<NodeId>, SignatureError> {
    let misplaced = |problem: &str| Err(SignatureError::Place(problem.to_owned()));
    let Some(root) = document.document_element() else {
        return Err(SignatureError::Document("it has no root".to_owned()));
    };
    if !document
        .element(root)
        .is_some_and(|data| data.matches_name_ns(NAMESPACE, ROOT))
    {
        return Err(SignatureError::Document(format!(
            "its root is not {ROOT} in namespace {NAMESPACE}"
        )));
    }
    let mut found = None;
    for node in document.descendants(root) {
        let Some(data) = document.element(node) else { continue };
        if data.matches_name_ns(DS, "Signature") {
            if found.is_some() {
                return misplaced("there is more than one");
            }
            found = Some(node);
        }
    }
    let Some(signature) = found else { return Ok(None) };
    if document.parent(signature) != Some(root) {
        return misplaced("it is not a child of the root");
    }
    let mut after = document.next_sibling(signature);
    while let Some(node) = after {
        match document.node_kind(node) {
            Some(NodeKind::Comment(_)) => {}
            Some(NodeKind::Text(text)) if text.trim().is_empty() => {}
            _ => return misplaced("something follows it"),
        }
        after = document.next_sibling(node);
    }
    only_own_identifiers(document, root, signature)?;
    Ok(Some(signature))
}

/// Identifiers stand inside the signature only, each once: what a reference names can be one thing only, whoever resolves it.
fn only_own_identifiers(document: &Document<'_>, root: NodeId, signature: NodeId) -> Result<(), SignatureError> {
    let own = document.descendants(signature);
    let mut seen: Vec<&str> = Vec::new();
    for node in std::iter::once(signature).chain(own.iter().copied()) {
        if document.element(node).is_none() {
            continue;
        }
        for id in Element::new(document, node)?.identifiers() {
            if seen.contains(&id) {
                return Err(SignatureError::Place(format!(
                    "identifier {:?} is given twice",
                    shown(id)
                )));
            }
            seen.push(id);
            if seen.len() > IDENTIFIERS_MAX {
                return Err(SignatureError::Place(format!(
                    "more than {IDENTIFIERS_MAX} identifiers"
                )));
            }
        }
    }
    let own: std::collections::HashSet<NodeId> = own.into_iter().chain([signature]).collect();
    for node in std::iter::once(root).chain(document.descendants(root)) {
        if document.element(node).is_none() || own.contains(&node) {
            continue;
        }
        if let Some(id) = Element::new(document, node)?.identifiers().next() {
            let problem = format!("identifier {:?} stands outside it", shown(id));
            return Err(SignatureError::Place(problem));
        }
    }
    Ok(())
}

/// Reads the signature found.
pub(super) fn read(document: &Document<'_>, top: NodeId) -> Result<Read, SignatureError> {
    let signature = Element::new(document, top)?;
    signature.only(&["Id"])?;
    let parts = signature.exactly(DS, ["SignedInfo", "SignatureValue", "KeyInfo", "Object"])?;
    let [signed_info, value, key_info, object] = parts;
    value.only(&["Id"])?;
    let references = read_signed_info(&signed_info)?;
    let (certificates, named) = read_key_info(&key_info)?;
    let properties = read_object(&object, signature.required("Id")?, &references)?;
    Ok(Read {
        top,
        signed_info: signed_info.id(),
        value: base64(&value)?,
        list: references.list,
        properties: (properties.node, references.properties),
        certificates,
        named,
        certificate: properties.certificate,
        signed_at: properties.signed_at,
    })
}

/// What `SignedInfo` holds.
struct References<'d> {
    list: Digest,
    list_id: Option<&'d str>,
    properties: Digest,
    properties_id: &'d str,
}

fn read_signed_info<'d>(signed_info: &Element<'d>) -> Result<References<'d>, SignatureError> {
    signed_info.only(&["Id"])?;
    let children = signed_info.exactly(
        DS,
        ["CanonicalizationMethod", "SignatureMethod", "Reference", "Reference"],
    )?;
    let [canonicalization, method, one, other] = children;
    algorithm_is(&canonicalization, "canonicalisation", EXCLUSIVE_C14N)?;
    algorithm_is(&method, "the signature", RSA_SHA256)?;
    let (list, properties) = match (one.required("URI")?, other.required("URI")?) {
        ("", _) => (one, other),
        (_, "") => (other, one),
        _ => return one.wrong("no reference to the whole document (URI=\"\")"),
    };
    list.only(&["Id", "URI"])?;
    properties.only(&["Id", "URI", "Type"])?;
    if properties.required("Type")? != SIGNED_PROPERTIES {
        return properties.wrong("expected the type of a reference to SignedProperties");
    }
    let Some(properties_id) = properties
        .required("URI")?
        .strip_prefix('#')
        .filter(|id| !id.is_empty())
    else {
        return properties.wrong("expected a reference to SignedProperties by its identifier");
    };
    Ok(References {
        list: read_reference(&list, read_list_transforms)?,
        list_id: list.attribute("Id"),
        properties: read_reference(&properties, read_property_transforms)?,
        properties_id,
    })
}

fn read_reference(
    reference: &Element<'_>,
    transforms: fn(&Element<'_>) -> Result<(), SignatureError>,
) -> Result<Digest, SignatureError> {
    let [listed, method, value] = reference.exactly(DS, ["Transforms", "DigestMethod", "DigestValue"])?;
    listed.only(&[])?;
    transforms(&listed)?;
    read_digest(&method, &value)
}

/// The signature is taken out, then the rest canonicalised.
fn read_list_transforms(transforms: &Element<'_>) -> Result<(), SignatureError> {
    let [envelope, canonicalization] = transforms.exactly(DS, ["Transform", "Transform"])?;
    algorithm_is(&canonicalization, "canonicalisation", EXCLUSIVE_C14N)?;
    envelope.only(&["Algorithm"])?;
    match envelope.required("Algorithm")? {
        ENVELOPED => envelope.empty(),
        FILTER2 => read_filter(&envelope),
        other => Err(SignatureError::Algorithm {
            what: "taking the signature out of the list",
            found: shown(other),
            expected: "enveloped-signature or xmldsig-filter2",
        }),
    }
}

/// One filter, that subtracts the signature. Any other path could hide a part of the list from the signature.
fn read_filter(transform: &Element<'_>) -> Result<(), SignatureError> {
    let [filter] = transform.exactly(FILTER2, ["XPath"])?;
    filter.only(&["Filter"])?;
    if filter.required("Filter")? != "subtract" {
        return filter.wrong("expected Filter=\"subtract\"");
    }
    let text = filter.text()?;
    let path = text.trim();
    for (before, after) in SIGNATURE_PATHS {
        let inner = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        let prefix = inner.and_then(|prefix| prefix.strip_suffix(':'));
        if prefix.is_some_and(|prefix| !prefix.is_empty() && filter.namespace_of(prefix) == Some(DS)) {
            return Ok(());
        }
    }
    filter.wrong(format!(
        "{:?} does not select the signature and nothing else",
        shown(path)
    ))
}

fn read_property_transforms(transforms: &Element<'_>) -> Result<(), SignatureError> {
    let [canonicalization] = transforms.exactly(DS, ["Transform"])?;
    algorithm_is(&canonicalization, "canonicalisation", EXCLUSIVE_C14N)
}

/// The certificates, and the name given beside them. No bare key, no key by name: the key is the certificate's.
fn read_key_info(key_info: &Element<'_>) -> Result<(Vec<CertificateDer<'static>>, Option<SubjectDn>), SignatureError> {
    key_info.only(&["Id"])?;
    let [data] = key_info.exactly(DS, ["X509Data"])?;
    data.only(&[])?;
    let (mut certificates, mut named) = (Vec::new(), None);
    for child in data.children()? {
        child.only(&[])?;
        if child.is(DS, "X509Certificate") && certificates.len() < CERTIFICATES_MAX {
            certificates.push(CertificateDer::from(base64(&child)?));
        } else if child.is(DS, "X509SubjectName") && named.is_none() {
            let text = child.text()?;
            named = match text.trim().parse::<SubjectDn>() {
                Ok(name) => Some(name),
                Err(problem) => return child.wrong(problem.to_string()),
            };
        } else {
            return data.wrong("expected one X509SubjectName and certificates, nothing else");
        }
    }
    if certificates.is_empty() {
        return data.wrong("no X509Certificate");
    }
    Ok((certificates, named))
}

struct Properties {
    node: NodeId,
    certificate: Digest,
    signed_at: Timestamp,
}

fn read_object(object: &Element<'_>, own_id: &str, references: &References<'_>) -> Result<Properties, SignatureError> {
    object.only(&[])?;
    let [qualifying] = object.exactly(XADES, ["QualifyingProperties"])?;
    qualifying.only(&["Target", "Id"])?;
    if qualifying.required("Target")?.strip_prefix('#') != Some(own_id) {
        return qualifying.wrong("its Target is not this signature");
    }
    let children = qualifying.children()?;
    let signed = match children.as_slice() {
        [signed] => *signed,
        // Not signed, not read: a time stamp, for instance.
        [signed, unsigned] if unsigned.is(XADES, "UnsignedProperties") => *signed,
        _ => return qualifying.wrong("expected SignedProperties"),
    };
    if !signed.is(XADES, "SignedProperties") {
        return qualifying.wrong("expected SignedProperties");
    }
    signed.only(&["Id"])?;
    if signed.required("Id")? != references.properties_id {
        return signed.wrong("the reference names another element");
    }
    let [of_signature, of_data] = signed.exactly(XADES, ["SignedSignatureProperties", "SignedDataObjectProperties"])?;
    let [format] = of_data.exactly(XADES, ["DataObjectFormat"])?;
    let described = format.required("ObjectReference")?.strip_prefix('#');
    if described.is_none() || described != references.list_id {
        return format.wrong("its ObjectReference is not the reference to the list");
    }
    let (certificate, signed_at) = read_signature_properties(&of_signature)?;
    Ok(Properties {
        node: signed.id(),
        certificate,
        signed_at,
    })
}

/// The signing time and the digest of the signer's certificate; what else a signer may say of himself is not used.
fn read_signature_properties(properties: &Element<'_>) -> Result<(Digest, Timestamp), SignatureError> {
    let children = properties.children()?;
    let one = |name: &str| {
        let mut named = children.iter().filter(|child| child.is(XADES, name));
        match (named.next(), named.next()) {
            (Some(child), None) => Ok(*child),
            _ => properties.wrong(format!("expected one {name}")),
        }
    };
    let time = one("SigningTime")?;
    let text = time.text()?;
    let Ok(signed_at) = text.trim().parse::<Timestamp>() else {
        return time.wrong(format!("{:?} is not a date with its offset", shown(text.trim())));
    };
    let signing = one("SigningCertificateV2")?;
    // ETSI EN 319 132-1 §5.2.2: the first is the signer's.
    let [cert] = signing.exactly(XADES, ["Cert"])?;
    let children = cert.children()?;
    let digest = match children.as_slice() {
        [digest] => *digest,
        [digest, serial] if serial.is(XADES, "IssuerSerialV2") => *digest,
        _ => return cert.wrong("expected CertDigest"),
    };
    if !digest.is(XADES, "CertDigest") {
        return cert.wrong("expected CertDigest");
    }
    let [method, value] = digest.exactly(DS, ["DigestMethod", "DigestValue"])?;
    Ok((read_digest(&method, &value)?, signed_at))
}

fn read_digest(method: &Element<'_>, value: &Element<'_>) -> Result<Digest, SignatureError> {
    method.only(&["Algorithm"])?;
    method.empty()?;
    value.only(&[])?;
    Ok(Digest {
        algorithm: algorithm::digest_of(method.required("Algorithm")?)?,
        value: base64(value)?,
    })
}

/// A parameter, such as a list of prefixes or a truncated length, would change what the algorithm does: there is none.
fn algorithm_is(element: &Element<'_>, what: &'static str, expected: &'static str) -> Result<(), SignatureError> {
    element.only(&["Algorithm"])?;
    let found = element.required("Algorithm")?;
    if found != expected {
        return Err(SignatureError::Algorithm {
            what,
            found: shown(found),
            expected,
        });
    }
    element.empty()
}

fn base64(element: &Element<'_>) -> Result<Vec<u8>, SignatureError> {
    let mut text = element.text()?;
    text.retain(|c| !c.is_ascii_whitespace());
    match STANDARD.decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => element.wrong("is not base64"),
    }
}

/// A signature has 8 or so.
const IDENTIFIERS_MAX: usize = 64;
/// The signer, its issuer, the root, and some room.
const CERTIFICATES_MAX: usize = 6;
