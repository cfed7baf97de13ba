//! Proof that a client holds the key of the certificate it shows, whatever else is wrong with that certificate.
//!
//! rustls reads the certificate with webpki before it looks at the proof, and webpki refuses a version 1, a critical extension it does
//! not know and more. That would end the handshake, and with it a session in which a certificate is optional, and the reason would be
//! an alert instead of a reply. So the key is taken out by the parser that judges the certificate afterwards, and the proof is verified
//! with the key alone. What that parser cannot read either stays an alert: there is no key to verify with.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{self, WebPkiSupportedAlgorithms};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use super::super::certificate;

/// RFC 8446 §4.4.3, for TLS 1.3.
pub(super) fn tls13(
    message: &[u8],
    shown: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    match crypto::verify_tls13_signature(message, shown, signed, algorithms) {
        Ok(valid) => Ok(valid),
        Err(refused) => {
            let key = key_of(shown).ok_or(refused)?;
            crypto::verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
        }
    }
}

/// RFC 5246 §7.4.8, for TLS 1.2.
pub(super) fn tls12(
    message: &[u8],
    shown: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    match crypto::verify_tls12_signature(message, shown, signed, algorithms) {
        Ok(valid) => Ok(valid),
        Err(refused) => {
            let key = key_of(shown).ok_or(refused)?;
            with_key(message, &key, signed, algorithms)
        }
    }
}

/// In TLS 1.2 a scheme names digest and kind of key, not the curve: every algorithm of the scheme is tried.
fn with_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let known = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let (_, candidates) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
    let key = webpki::RawPublicKeyEntity::try_from(key).map_err(|_| bad())?;
    let verifies = candidates
        .iter()
        .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
    if verifies {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(bad())
    }
}

fn key_of(shown: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let parsed = certificate::parse(shown).ok()?;
    Some(SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}
