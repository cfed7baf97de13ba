//! Signs a list as the authority's sister list is signed.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::identity::SubjectDn;
use crate::trust::document::escape;
use crate::trust::parse::text_of;

use super::algorithm::{DS, ENVELOPED, EXCLUSIVE_C14N, FILTER2, RSA_SHA256, SHA256, SHA512, SIGNED_PROPERTIES, XADES};
use super::{SignatureError, element, read};

/// Who signs lists: a certificate of profile ORG SIGN with its RSA key.
pub trait ListSigner {
    /// The signer's certificate, then its issuer's if at hand.
    fn chain(&self) -> &[CertificateDer<'static>];

    /// Subject of the first.
    fn subject(&self) -> &SubjectDn;

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2) over `message`.
    ///
    /// # Errors
    /// The key is of another kind, or cannot be used.
    fn sign_rsa_sha256(&self, message: &[u8]) -> Result<Vec<u8>, SigningProblem>;
}

/// A key that cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SigningProblem(pub String);

/// How the signature is taken out of the list before it is digested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transform {
    /// As the sister list does: `xmldsig-filter2`, subtracting the signature.
    #[default]
    Filter2,
    /// `enveloped-signature`, which every tool knows.
    Enveloped,
}

/// Why a list could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// It is not a list that could be verified afterwards.
    #[error(transparent)]
    Document(#[from] SignatureError),
    /// The key.
    #[error("cannot sign with {subject}: {problem}")]
    Key {
        /// The signer's certificate.
        subject: SubjectDn,
        /// Why.
        #[source]
        problem: SigningProblem,
    },
    /// A signer without certificate.
    #[error("the signer has no certificate")]
    NoCertificate,
}

/// The list with its signature as last child of the root. A signature that is there already is replaced; nothing else changes.
///
/// # Errors
/// See [`SigningError`]. A list cut before its end tag cannot be signed.
pub fn sign(xml: &str, signer: &dyn ListSigner, transform: Transform, at: Timestamp) -> Result<String, SigningError> {
    let text = text_of(xml.as_bytes()).map_err(SignatureError::List)?;
    let certificate = signer.chain().first().ok_or(SigningError::NoCertificate)?;
    let document = element::parse(text)?;
    let before = read::find(&document)?;
    let list = STANDARD.encode(digest::digest(
        &digest::SHA256,
        &element::canonical_without(&document, before)?,
    ));
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let parts = Parts {
        id: identifier(&list, &at),
        subject: signer.subject().to_string(),
        certificate: STANDARD.encode(certificate),
        certificate_digest: STANDARD.encode(digest::digest(&digest::SHA512, certificate)),
        transform,
        at,
        list,
    };
    // In a document of its own: exclusive canonicalisation gives the same bytes wherever an element stands.
    let draft = parts.signature("", "");
    let properties = digest_of_child(&draft, (XADES, "SignedProperties"))?;
    let draft = parts.signature(&properties, "");
    let value = signer
        .sign_rsa_sha256(&canonical_child(&draft, (DS, "SignedInfo"))?)
        .map_err(|problem| SigningError::Key {
            subject: signer.subject().clone(),
            problem,
        })?;
    let signature = parts.signature(&properties, &STANDARD.encode(value));
    let place = match before.and_then(|node| document.node_range(node)) {
        Some(place) => place,
        None => end_of_root(&document)?,
    };
    Ok(format!("{}{signature}{}", &text[..place.start], &text[place.end..]))
}

/// What goes into the signature.
struct Parts {
    id: String,
    list: String,
    subject: String,
    certificate: String,
    certificate_digest: String,
    transform: Transform,
    at: String,
}

impl Parts {
    fn signature(&self, properties: &str, value: &str) -> String {
        let id = &self.id;
        format!(
            "<ds:Signature xmlns:ds=\"{DS}\" Id=\"{id}\">{}<ds:SignatureValue Id=\"value-{id}\">{value}</ds:SignatureValue>{}\
             <ds:Object>{}</ds:Object></ds:Signature>",
            self.signed_info(properties),
            self.key_info(),
            self.qualifying_properties(),
        )
    }

    fn signed_info(&self, properties: &str) -> String {
        let (id, list) = (&self.id, &self.list);
        let c14n = format!("<ds:Transform Algorithm=\"{EXCLUSIVE_C14N}\"/>");
        let envelope = match self.transform {
            Transform::Enveloped => format!("<ds:Transform Algorithm=\"{ENVELOPED}\"/>"),
            Transform::Filter2 => format!(
                "<ds:Transform Algorithm=\"{FILTER2}\"><f2:XPath xmlns:f2=\"{FILTER2}\" Filter=\"subtract\">\
                 /descendant::ds:Signature</f2:XPath></ds:Transform>"
            ),
        };
        let reference = |attributes: &str, transforms: &str, digest: &str| {
            format!(
                "<ds:Reference {attributes}><ds:Transforms>{transforms}</ds:Transforms><ds:DigestMethod Algorithm=\"{SHA256}\"/>\
                 <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"
            )
        };
        format!(
            "<ds:SignedInfo><ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE_C14N}\"/>\
             <ds:SignatureMethod Algorithm=\"{RSA_SHA256}\"/>{}{}</ds:SignedInfo>",
            reference(&format!("Id=\"r-{id}-1\" URI=\"\""), &format!("{envelope}{c14n}"), list),
            reference(
                &format!("Type=\"{SIGNED_PROPERTIES}\" URI=\"#xades-{id}\""),
                &c14n,
                properties
            ),
        )
    }

    fn key_info(&self) -> String {
        format!(
            "<ds:KeyInfo><ds:X509Data><ds:X509SubjectName>{}</ds:X509SubjectName><ds:X509Certificate>{}</ds:X509Certificate>\
             </ds:X509Data></ds:KeyInfo>",
            escape(&self.subject),
            self.certificate
        )
    }

    fn qualifying_properties(&self) -> String {
        let (id, at, digest) = (&self.id, &self.at, &self.certificate_digest);
        format!(
            "<xades:QualifyingProperties xmlns:xades=\"{XADES}\" Target=\"#{id}\"><xades:SignedProperties Id=\"xades-{id}\">\
             <xades:SignedSignatureProperties><xades:SigningTime>{at}</xades:SigningTime><xades:SigningCertificateV2><xades:Cert>\
             <xades:CertDigest><ds:DigestMethod Algorithm=\"{SHA512}\"/><ds:DigestValue>{digest}</ds:DigestValue></xades:CertDigest>\
             </xades:Cert></xades:SigningCertificateV2></xades:SignedSignatureProperties><xades:SignedDataObjectProperties>\
             <xades:DataObjectFormat ObjectReference=\"#r-{id}-1\"><xades:MimeType>text/xml</xades:MimeType></xades:DataObjectFormat>\
             </xades:SignedDataObjectProperties></xades:SignedProperties></xades:QualifyingProperties>"
        )
    }
}

/// An identifier of its own for each signature: from what is signed, and when.
fn identifier(list: &str, at: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{list} {at}").as_bytes());
    format!("id-{}", HEXLOWER.encode(&digest.as_ref()[..16]))
}

fn digest_of_child(signature: &str, child: (&str, &str)) -> Result<String, SignatureError> {
    let bytes = canonical_child(signature, child)?;
    Ok(STANDARD.encode(digest::digest(&digest::SHA256, &bytes)))
}

/// Canonical bytes of the one element of that name.
fn canonical_child(signature: &str, (namespace, name): (&str, &str)) -> Result<Vec<u8>, SignatureError> {
    let document = element::parse(signature)?;
    match document.get_elements_by_tag_name_ns(namespace, name).as_slice() {
        [one] => element::canonical_of(&document, *one),
        _ => Err(SignatureError::Document(format!("{name} is not there"))),
    }
}

/// The place right before the end tag of the root.
fn end_of_root(document: &bergshamra_xml::uppsala::Document<'_>) -> Result<std::ops::Range<usize>, SignatureError> {
    let range = document.document_element().and_then(|root| document.node_range(root));
    let range = range.ok_or_else(|| SignatureError::Document("its root has no place".to_owned()))?;
    // No end tag holds another.
    match document.input_text()[range.clone()].rfind("</") {
        Some(end) => Ok(range.start + end..range.start + end),
        None => Err(SignatureError::Document("its root is empty".to_owned())),
    }
}
