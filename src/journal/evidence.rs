//! Evidence of a handshake: what was negotiated, which certificates were shown, each check with its outcome, and what they were judged by.
//!
//! A refusal has its own row; these rows say how it was found, so that `vaguemestre explain` can tell it years later, and the leaf can be
//! judged again. Everything here is bounded, and names pass through [`Excerpt`] like any foreign text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::masked::Excerpt;

/// See [`super::Event::Examined`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// Which door: `smtp`, `submission`, `imap`…, or `relay` for a connection of our own.
    pub face: Excerpt,
    /// Reason id of the refusal that followed; empty when everything passed.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub rule: Excerpt,
    /// What an administrator reads of it.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub text: Excerpt,
    /// Address of the other end.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_ip: Excerpt,
    /// Host we connected to, for a connection of our own.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub host: Excerpt,
    /// Mail domain the certificate was compared with, once one was named.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub domain: Excerpt,
    /// What was negotiated.
    #[serde(default)]
    pub tls: Negotiated,
    /// The certificates shown, leaf first, at most [`Examined::CHAIN_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<ShownCertificate>,
    /// The leaf, DER in base64; absent when it is longer than [`Examined::LEAF_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "Encoded::is_empty")]
    pub leaf: Encoded,
    /// Every check in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckOutcome>,
    /// Subjects that the list named for `domain`, at most [`Examined::LISTED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed: Vec<Excerpt>,
    /// When the allow list in force was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub list_generated: Excerpt,
    /// When the first of the revocation lists in force ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub crl_next_update: Excerpt,
}

impl Examined {
    /// Certificates of a chain that are described.
    pub const CHAIN_MAX: usize = 10;
    /// A certificate of the field takes about 2 KiB.
    pub const LEAF_BYTES_MAX: usize = 8 * 1024;
    /// The field lists five certificates for a domain at most.
    pub const LISTED_MAX: usize = 8;
    /// Names, usages or URLs of one certificate.
    pub const VALUES_MAX: usize = 16;
}

/// What a handshake agreed on, and what its client had offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// `TLSv1.3`; empty when nothing was agreed on.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub version: Excerpt,
    /// `TLS13_AES_256_GCM_SHA384`
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub suite: Excerpt,
    /// The server name the client asked for.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub server_name: Excerpt,
    /// Suites the client offered, at most [`Negotiated::OFFERED_MAX`]; kept for handshakes that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offered: Vec<Excerpt>,
}

impl Negotiated {
    /// Suites of an offer that are named.
    pub const OFFERED_MAX: usize = 40;
}

/// A certificate as it was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownCertificate {
    /// Full subject DN.
    pub subject: Excerpt,
    /// Full DN of its issuer.
    pub issuer: Excerpt,
    /// Serial number, hexadecimal.
    pub serial: Encoded,
    /// First moment of validity, RFC 3339.
    pub not_before: Excerpt,
    /// Last one.
    pub not_after: Excerpt,
    /// SHA-256 of its DER, hexadecimal.
    pub fingerprint: Encoded,
    /// `RSA 2048`, `ECDSA P-256`.
    pub key: Excerpt,
    /// How it was signed.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub signature: Excerpt,
    /// Key usage and extended key usage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<Excerpt>,
    /// Alternative names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Excerpt>,
    /// CRL, OCSP and issuer URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<Excerpt>,
}

/// One check of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckOutcome {
    /// `chain`, `dates`, `revocation-leaf`, `allow-list`…
    pub id: Excerpt,
    /// `passed`, `failed` or `skipped`.
    pub outcome: Excerpt,
    /// What was found.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub detail: Excerpt,
}

/// See [`super::Event::HandshakeFailed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeFailed {
    /// Which door, or `relay` for a connection of our own.
    pub face: Excerpt,
    /// Address of the other end.
    pub peer_ip: Excerpt,
    /// Host we connected to, for a connection of our own.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub host: Excerpt,
    /// What went wrong, in the words of the TLS library.
    pub problem: Excerpt,
    /// Name of the alert the other end sent, if it sent one: `CertificateExpired`.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub alert: Excerpt,
    /// What the client had offered.
    #[serde(default)]
    pub tls: Negotiated,
}

/// Bytes written down by ourselves, in hexadecimal or base64: no foreign text, hence not masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Encoded(String);

impl Encoded {
    /// In base64.
    pub fn base64(bytes: &[u8]) -> Self {
        Self(STANDARD.encode(bytes))
    }

    /// Text that is hexadecimal already; anything else in it is dropped.
    pub fn hex(text: &str) -> Self {
        let is_hex = |c: &char| c.is_ascii_hexdigit() || *c == ':';
        Self(text.chars().filter(is_hex).take(HEX_CHARS_MAX).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of base64.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.0).ok()
    }
}

/// A fingerprint with colons takes 95.
const HEX_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_only_hexadecimal_stays() {
        let leaf = Encoded::base64(&[0, 255, 7]);
        assert_eq!(leaf.to_bytes(), Some(vec![0, 255, 7]));
        assert_eq!(Encoded::hex("0a:FF\r\nx").as_str(), "0a:FF");
    }
}
