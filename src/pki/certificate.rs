//! Reads a certificate: what a verdict, a journal record or a person needs to know of it.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, Tag};
use x509_parser::extensions::{GeneralName, KeyUsage};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::identity::{SubjectDn, SubjectDnError};

/// A certificate, read. From [`super::TrustStore::verify`], one that was found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Full subject DN.
    pub subject: SubjectDn,
    /// Full issuer DN.
    pub issuer: SubjectDn,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// SHA-256 of the whole certificate, lower-case hexadecimal.
    pub fingerprint: String,
    /// DNS names of the alternative names.
    pub dns_names: Vec<String>,
    /// Mail addresses of the alternative names.
    pub rfc822_names: Vec<String>,
    pub(super) may_sign: MaySign,
}

/// What the key usage lets its key sign; a certificate without that extension may sign anything (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MaySign {
    /// Nothing that we look at.
    Nothing,
    /// Content commitment: documents, such as the list.
    Documents,
    /// Digital signature: handshakes, and documents too.
    Handshakes,
}

impl MaySign {
    fn of(usage: Option<&KeyUsage>) -> Self {
        match usage {
            None => Self::Handshakes,
            Some(usage) if usage.digital_signature() => Self::Handshakes,
            Some(usage) if usage.non_repudiation() => Self::Documents,
            Some(_) => Self::Nothing,
        }
    }
}

/// A certificate that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// Not DER of X.509.
    #[error("it is not an X.509 certificate")]
    NotX509,
    /// Something follows it.
    #[error("{0} bytes follow the certificate")]
    Trailing(usize),
    /// Its subject or issuer is empty or huge.
    #[error("its {which} cannot be read: {problem}")]
    Name {
        /// Subject or issuer.
        which: &'static str,
        /// Why.
        problem: SubjectDnError,
    },
    /// A name holds a value that is not text.
    #[error("its {0} holds a value that is not text")]
    NotText(&'static str),
    /// A date outside the calendar.
    #[error("its dates cannot be read")]
    Date,
    /// An extension is broken or repeated.
    #[error("its {0} extension cannot be read")]
    Extension(&'static str),
}

/// SHA-256 of a certificate, lower-case hexadecimal.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex(digest::digest(&digest::SHA256, certificate).as_ref())
}

/// Full subject DN of a certificate.
///
/// # Errors
/// It cannot be read.
pub fn subject_of(der: &CertificateDer<'_>) -> Result<SubjectDn, CertificateProblem> {
    read(der).map(|certificate| certificate.subject)
}

pub(super) fn read(der: &CertificateDer<'_>) -> Result<PeerCertificate, CertificateProblem> {
    let certificate = parse(der)?;
    let usage = certificate.key_usage();
    let usage = usage.map_err(|_| CertificateProblem::Extension("key usage"))?;
    let (dns_names, rfc822_names) = alternative_names(&certificate)?;
    Ok(PeerCertificate {
        subject: name(certificate.subject(), "subject")?,
        issuer: name(certificate.issuer(), "issuer")?,
        serial: hex(certificate.raw_serial()),
        not_before: timestamp(certificate.validity().not_before)?,
        not_after: timestamp(certificate.validity().not_after)?,
        fingerprint: fingerprint(der),
        dns_names,
        rfc822_names,
        may_sign: MaySign::of(usage.map(|usage| usage.value)),
    })
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateProblem> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(CertificateProblem::Trailing(rest.len())),
        Err(_) => Err(CertificateProblem::NotX509),
    }
}

pub(super) fn name(name: &X509Name<'_>, which: &'static str) -> Result<SubjectDn, CertificateProblem> {
    let mut rdns = Vec::new();
    for rdn in name.iter() {
        let mut pairs = Vec::new();
        for attribute in rdn.iter() {
            let value = text(attribute.attr_value()).ok_or(CertificateProblem::NotText(which))?;
            pairs.push((attribute.attr_type().to_id_string(), value));
        }
        rdns.push(pairs);
    }
    SubjectDn::from_encoded(rdns).map_err(|problem| CertificateProblem::Name { which, problem })
}

pub(super) fn timestamp(time: x509_parser::time::ASN1Time) -> Result<Timestamp, CertificateProblem> {
    // RFC 5280 §4.1.2.5: 99991231235959Z is how a certificate without end is written; our calendar ends a day before.
    if time.timestamp() > Timestamp::MAX.as_second() {
        return Ok(Timestamp::MAX);
    }
    Timestamp::from_second(time.timestamp()).map_err(|_| CertificateProblem::Date)
}

/// The character strings of X.520's `DirectoryString`, and `IA5String`.
pub(super) fn text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => String::from_utf8(value.data.to_vec()).ok(),
        // T.61 as everyone writes it: Latin-1.
        Tag::T61String => Some(value.data.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString if value.data.len().is_multiple_of(2) => {
            let units = value.data.chunks_exact(2);
            let units = units.map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Result<(Vec<String>, Vec<String>), CertificateProblem> {
    let extension = certificate.subject_alternative_name();
    let extension = extension.map_err(|_| CertificateProblem::Extension("alternative name"))?;
    let (mut dns, mut rfc822) = (Vec::new(), Vec::new());
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(text) => dns.push((*text).to_owned()),
            GeneralName::RFC822Name(text) => rfc822.push((*text).to_owned()),
            _ => {}
        }
    }
    Ok((dns, rfc822))
}

/// Whether the key is the certificate's.
pub(super) fn has_key(certificate: &CertificateDer<'_>, key: &rcgen::KeyPair) -> bool {
    use rcgen::PublicKeyData;
    parse(certificate).is_ok_and(|certificate| certificate.public_key().raw == key.subject_public_key_info())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// RFC 7468 §5: lines of 64 characters.
pub(super) fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

const PEM_LINE: usize = 64;
