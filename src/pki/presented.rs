//! A certificate as people read it: every field that a verdict may depend on. For explanations and inspection, never for a verdict.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::public_key::PublicKey;

use super::certificate;

/// A certificate that was shown, read as far as it can be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// SHA-256 of the whole, lower-case hexadecimal.
    pub fingerprint: String,
    /// Why it cannot be read; everything below is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Full subject DN, leaf first.
    pub subject: String,
    /// Full issuer DN.
    pub issuer: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Start of validity.
    pub not_before: Option<Timestamp>,
    /// End of validity.
    pub not_after: Option<Timestamp>,
    /// Kind and size of its key: `RSA 2048`, `ECDSA P-256`.
    pub key: String,
    /// How its issuer signed it: `sha256WithRSAEncryption`, or an OID.
    pub signature: String,
    /// Whether it is the certificate of an authority.
    pub is_authority: bool,
    /// Key usage, in the words of RFC 5280 §4.2.1.3; empty when it has none.
    pub key_usage: Vec<String>,
    /// Extended key usage: `serverAuth`, or an OID; empty when it has none.
    pub extended_key_usage: Vec<String>,
    /// Alternative names: `dns:smtp.chu.fr`.
    pub names: Vec<String>,
    /// Where its CRL is published.
    pub crl_urls: Vec<String>,
    /// Where OCSP is asked.
    pub ocsp_urls: Vec<String>,
    /// Where its issuer's certificate is published.
    pub issuer_urls: Vec<String>,
}

impl Presented {
    /// Reads a certificate. One that cannot be read has its fingerprint and its problem.
    pub fn of(der: &CertificateDer<'_>) -> Self {
        let unreadable = |problem: &dyn std::fmt::Display| Self {
            fingerprint: certificate::fingerprint(der),
            problem: Some(problem.to_string()),
            ..Self::default()
        };
        let read = match certificate::read(der) {
            Ok(read) => read,
            Err(problem) => return unreadable(&problem),
        };
        let parsed = match certificate::parse(der) {
            Ok(parsed) => parsed,
            Err(problem) => return unreadable(&problem),
        };
        let mut presented = Self {
            fingerprint: read.fingerprint,
            problem: None,
            subject: read.subject.to_string(),
            issuer: read.issuer.to_string(),
            serial: read.serial,
            not_before: Some(read.not_before),
            not_after: Some(read.not_after),
            key: key(&parsed),
            signature: algorithm(&parsed.signature_algorithm.algorithm.to_id_string()),
            is_authority: parsed.is_ca(),
            ..Self::default()
        };
        for extension in parsed.extensions() {
            presented.take(extension.parsed_extension());
        }
        presented
    }

    fn take(&mut self, extension: &ParsedExtension<'_>) {
        match extension {
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = usage.to_string().split(", ").map(key_usage_word).collect();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let known = [
                    (usage.any, "anyExtendedKeyUsage"),
                    (usage.server_auth, "serverAuth"),
                    (usage.client_auth, "clientAuth"),
                    (usage.code_signing, "codeSigning"),
                    (usage.email_protection, "emailProtection"),
                    (usage.time_stamping, "timeStamping"),
                    (usage.ocsp_signing, "OCSPSigning"),
                ];
                let known = known.into_iter().filter(|(held, _)| *held);
                self.extended_key_usage = known.map(|(_, word)| word.to_owned()).collect();
                self.extended_key_usage
                    .extend(usage.other.iter().map(ToString::to_string));
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                self.names = names.general_names.iter().map(name).collect();
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                for point in &points.points {
                    if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
                        self.crl_urls.extend(names.iter().filter_map(url));
                    }
                }
            }
            ParsedExtension::AuthorityInfoAccess(access) => {
                for description in access.iter() {
                    let urls = match description.access_method.to_id_string().as_str() {
                        OCSP_ACCESS => &mut self.ocsp_urls,
                        ISSUER_ACCESS => &mut self.issuer_urls,
                        _ => continue,
                    };
                    urls.extend(url(&description.access_location));
                }
            }
            _ => {}
        }
    }
}

/// OCSP responders that a certificate names (RFC 5280 §4.2.2.1). Only for a certificate whose chain is verified.
pub(super) fn ocsp_urls(der: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = certificate::parse(der) else {
        return Vec::new();
    };
    let mut urls = Vec::new();
    for extension in parsed.extensions() {
        if let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() {
            let responders = access
                .iter()
                .filter(|access| access.access_method.to_id_string() == OCSP_ACCESS);
            urls.extend(responders.filter_map(|access| url(&access.access_location)));
        }
    }
    urls
}

fn key(certificate: &X509Certificate<'_>) -> String {
    let info = certificate.public_key();
    let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    match (info.parsed(), curve.map(|oid| oid.to_id_string()).as_deref()) {
        (Ok(PublicKey::RSA(key)), _) => format!("RSA {}", key.key_size()),
        (Ok(PublicKey::EC(_)), Some("1.2.840.10045.3.1.7")) => "ECDSA P-256".to_owned(),
        (Ok(PublicKey::EC(_)), Some("1.3.132.0.34")) => "ECDSA P-384".to_owned(),
        (Ok(PublicKey::EC(_)), Some("1.3.132.0.35")) => "ECDSA P-521".to_owned(),
        (Ok(PublicKey::EC(_)), Some(other)) => format!("ECDSA on curve {other}"),
        _ => algorithm(&info.algorithm.algorithm.to_id_string()),
    }
}

fn algorithm(oid: &str) -> String {
    let word = match oid {
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption",
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "Ed25519",
        other => other,
    };
    word.to_owned()
}

/// The library says "Digital Signature", the standard `digitalSignature`.
fn key_usage_word(words: &str) -> String {
    match words {
        "CRL Sign" => "cRLSign".to_owned(),
        "Non Repudiation" => "contentCommitment".to_owned(),
        words => {
            let mut joined: Vec<char> = words.chars().filter(|c| *c != ' ').collect();
            if let Some(first) = joined.first_mut() {
                first.make_ascii_lowercase();
            }
            joined.into_iter().collect()
        }
    }
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(text) => format!("dns:{text}"),
        GeneralName::RFC822Name(text) => format!("email:{text}"),
        GeneralName::URI(text) => format!("uri:{text}"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(four), _) => format!("ip:{}", std::net::IpAddr::from(four)),
            (_, Ok(sixteen)) => format!("ip:{}", std::net::IpAddr::from(sixteen)),
            _ => format!("ip:{}", certificate::hex(bytes)),
        },
        other => other.to_string(),
    }
}

fn url(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(url) => Some((*url).to_owned()),
        _ => None,
    }
}

const OCSP_ACCESS: &str = "1.3.6.1.5.5.7.48.1";
const ISSUER_ACCESS: &str = "1.3.6.1.5.5.7.48.2";
