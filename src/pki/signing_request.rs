//! Certificate requests (PKCS#10, RFC 2986): a real operator makes its key where it will be used and sends nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{ObjectIdentifier, Uint};
use der::{Decode, Encode, Sequence};
use jiff::Timestamp;
use rcgen::SubjectPublicKeyInfo;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::{CertReq, ExtensionReq};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::authority::AuthorityError;
use super::{Authority, Certified, KeyKind, Names, Request, Subject, certificate};

/// A certificate request whose signature was verified: whoever made it holds the private key.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    /// What its subject says; the authority decides what of it stands.
    pub subject: SubjectParts,
    /// The alternative names it asks for.
    pub names: Names,
    /// Its key, as the field's profiles name it; none for a larger RSA key.
    pub key: Option<KeyKind>,
    spki: Vec<u8>,
}

/// Parts of a subject that may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectParts {
    /// CN.
    pub common_name: Option<String>,
    /// OU.
    pub structure: Option<String>,
    /// O.
    pub organisation: Option<String>,
    /// ST.
    pub state: Option<String>,
    /// C.
    pub country: Option<String>,
}

impl SigningRequest {
    /// Reads a request, PEM or DER.
    ///
    /// # Errors
    /// It cannot be read, its signature does not verify, or its key is of a kind that the field does not have.
    pub fn read(bytes: &[u8]) -> Result<Self, AuthorityError> {
        let refused = |why: &str| AuthorityError::SigningRequest(why.to_owned());
        let unreadable = |_| refused("it is not a PKCS#10 request; make one with: openssl req -new -key KEY -out FILE");
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(refused("it is too long"));
        }
        let request = CertReq::from_der(&der_of(bytes)?).map_err(unreadable)?;
        let spki = request.info.public_key.to_der()?;
        let key = key_kind(&request)?;
        let names = names(&request)?;
        let verified = algorithm(&request).is_some_and(|algorithm| {
            let signed = request.info.to_der().unwrap_or_default();
            let key = UnparsedPublicKey::new(algorithm, request.info.public_key.subject_public_key.raw_bytes());
            key.verify(&signed, request.signature.raw_bytes()).is_ok()
        });
        if !verified {
            return Err(refused(
                "its signature does not verify under its own key (RSA or ECDSA, SHA-256 or more): who sent it does not hold the key, or it was changed on its way",
            ));
        }
        let subject = request.info.subject.to_der()?;
        let (_, subject) = X509Name::from_der(&subject).map_err(|_| refused("its subject cannot be read"))?;
        Ok(Self {
            subject: SubjectParts::of(&subject),
            names,
            key,
            spki,
        })
    }
}

impl SubjectParts {
    pub(super) fn of(name: &X509Name<'_>) -> Self {
        let mut parts = Self::default();
        for attribute in name.iter_attributes() {
            let place = match attribute.attr_type().to_id_string().as_str() {
                "2.5.4.3" => &mut parts.common_name,
                "2.5.4.6" => &mut parts.country,
                "2.5.4.8" => &mut parts.state,
                "2.5.4.10" => &mut parts.organisation,
                "2.5.4.11" => &mut parts.structure,
                _ => continue,
            };
            *place = certificate::text(attribute.attr_value());
        }
        parts
    }

    /// These parts, and those of `other` where there is none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            common_name: self.common_name.or(other.common_name),
            structure: self.structure.or(other.structure),
            organisation: self.organisation.or(other.organisation),
            state: self.state.or(other.state),
            country: self.country.or(other.country),
        }
    }

    /// The subject, or the names of the parts that are missing; a missing country is France.
    pub fn complete(self) -> Result<Subject, Vec<&'static str>> {
        let missing: Vec<&'static str> = [
            ("CN", self.common_name.is_none()),
            ("OU", self.structure.is_none()),
            ("O", self.organisation.is_none()),
            ("ST", self.state.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, missing)| missing.then_some(name))
        .collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        Ok(Subject {
            common_name: self.common_name.unwrap_or_default(),
            structure: self.structure.unwrap_or_default(),
            organisation: self.organisation.unwrap_or_default(),
            state: self.state.unwrap_or_default(),
            country: self.country.unwrap_or_else(|| "FR".to_owned()),
        })
    }
}

impl Authority {
    /// Issues a certificate for the key of a request. What the certificate says is `request`, not what the owner of the key asked for.
    pub fn sign_request(
        &self,
        request: &Request,
        signing_request: &SigningRequest,
        now: Timestamp,
    ) -> Result<Certified, AuthorityError> {
        self.certify(request, &SubjectPublicKeyInfo::from_der(&signing_request.spki)?, now)
    }
}

fn der_of(bytes: &[u8]) -> Result<Vec<u8>, AuthorityError> {
    let Some(text) = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.contains("-----BEGIN"))
    else {
        return Ok(bytes.to_vec());
    };
    let begin = [
        "-----BEGIN CERTIFICATE REQUEST-----",
        "-----BEGIN NEW CERTIFICATE REQUEST-----",
    ];
    let body = begin
        .into_iter()
        .find_map(|begin| text.split_once(begin).map(|(_, after)| after))
        .and_then(|after| after.split_once("-----END"))
        .map(|(body, _)| body.split_whitespace().collect::<String>());
    body.and_then(|body| STANDARD.decode(body).ok())
        .ok_or_else(|| AuthorityError::SigningRequest("no PEM block BEGIN CERTIFICATE REQUEST in it".to_owned()))
}

fn key_kind(request: &CertReq) -> Result<Option<KeyKind>, AuthorityError> {
    let refused = |what: String| {
        AuthorityError::SigningRequest(format!(
            "its key is {what}; the field has RSA of 2048 to 4096 bits and ECDSA on P-256"
        ))
    };
    let key = &request.info.public_key;
    match key.algorithm.oid {
        RSA => {
            let rsa =
                RsaKey::from_der(key.subject_public_key.raw_bytes()).map_err(|_| refused("unreadable".to_owned()))?;
            match rsa.modulus.as_bytes().len() * 8 {
                2048 => Ok(Some(KeyKind::Rsa2048)),
                3072 => Ok(Some(KeyKind::Rsa3072)),
                2049..=4096 => Ok(None),
                bits => Err(refused(format!("RSA of {bits} bits"))),
            }
        }
        EC => {
            let curve = key
                .algorithm
                .parameters
                .as_ref()
                .and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            match curve {
                Some(P256) => Ok(Some(KeyKind::EcdsaP256)),
                _ => Err(refused("ECDSA on another curve".to_owned())),
            }
        }
        other => Err(refused(format!("of kind {other}"))),
    }
}

fn algorithm(request: &CertReq) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match request.algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.11" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "1.2.840.113549.1.1.12" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "1.2.840.113549.1.1.13" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "1.2.840.10045.4.3.2" => &signature::ECDSA_P256_SHA256_ASN1,
        "1.2.840.10045.4.3.3" => &signature::ECDSA_P256_SHA384_ASN1,
        _ => return None,
    })
}

fn names(request: &CertReq) -> Result<Names, AuthorityError> {
    let mut names = Names::default();
    let wanted = request
        .info
        .attributes
        .iter()
        .filter(|attribute| attribute.oid == EXTENSION_REQUEST);
    for value in wanted.flat_map(|attribute| attribute.values.iter()) {
        let extensions: ExtensionReq = value.decode_as()?;
        for extension in extensions
            .0
            .iter()
            .filter(|extension| extension.extn_id == ALTERNATIVE_NAME)
        {
            for name in SubjectAltName::from_der(extension.extn_value.as_bytes())?.0 {
                add(&mut names, &name);
            }
        }
    }
    Ok(names)
}

/// Kinds of names that the field does not use are left out.
fn add(names: &mut Names, name: &GeneralName) {
    match name {
        GeneralName::DnsName(name) => names.dns.push(name.to_string()),
        GeneralName::Rfc822Name(name) => names.rfc822.push(name.to_string()),
        GeneralName::IpAddress(address) => {
            let v4 = <[u8; 4]>::try_from(address.as_bytes()).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
            let v6 = <[u8; 16]>::try_from(address.as_bytes()).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
            names.ip.extend(v4.or(v6));
        }
        _ => {}
    }
}

/// RFC 8017 §A.1.1.
#[derive(Sequence)]
struct RsaKey {
    modulus: Uint,
    exponent: Uint,
}

const REQUEST_BYTES_MAX: usize = 64 << 10;
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
