//! Keys of the laboratory: made, kept as PKCS#8, used to sign certificates and handshakes.

use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair};
use aws_lc_rs::{rsa, signature};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::lab::recipe::KeyChange;

use super::ForgeError;
use super::curve::{self, CurveKey};
use super::der::{self, Reader};
use super::digest::Digest;
use super::rsa::RsaKey;

/// A key pair of any kind the catalogue names.
#[derive(Clone)]
pub(super) struct LabKey {
    pkcs8: Vec<u8>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Rsa(Box<RsaKey>),
    Curve(Box<CurveKey>),
    Ed25519,
}

impl LabKey {
    pub(super) fn generate(kind: KeyChange) -> Result<Self, ForgeError> {
        match kind {
            KeyChange::Rsa2048 => Self::library_rsa(rsa::KeySize::Rsa2048),
            KeyChange::Rsa3072 => Self::library_rsa(rsa::KeySize::Rsa3072),
            KeyChange::Rsa4096 => Self::library_rsa(rsa::KeySize::Rsa4096),
            KeyChange::Rsa1024 => Ok(Self::own_rsa(RsaKey::generate(1024, 65_537)?)),
            KeyChange::Rsa512 => Ok(Self::own_rsa(RsaKey::generate(512, 65_537)?)),
            KeyChange::RsaExponent3 => Ok(Self::own_rsa(RsaKey::generate(2048, 3)?)),
            KeyChange::EcdsaP224 => Ok(Self::own_curve(CurveKey::generate(&curve::P224)?)),
            KeyChange::EcdsaP256 => Ok(Self::own_curve(CurveKey::generate(&curve::P256)?)),
            KeyChange::EcdsaP384 => Ok(Self::own_curve(CurveKey::generate(&curve::P384)?)),
            KeyChange::EcdsaP521 => Ok(Self::own_curve(CurveKey::generate(&curve::P521)?)),
            KeyChange::EcdsaK256 => Ok(Self::own_curve(CurveKey::generate(&curve::K256)?)),
            KeyChange::Ed25519 => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| ForgeError::Key)?;
                Ok(Self {
                    pkcs8: pkcs8.as_ref().to_vec(),
                    kind: Kind::Ed25519,
                })
            }
        }
    }

    fn library_rsa(size: rsa::KeySize) -> Result<Self, ForgeError> {
        let pair = rsa::KeyPair::generate(size).map_err(|_| ForgeError::Key)?;
        let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| ForgeError::Key)?;
        Self::read(pkcs8.as_ref())
    }

    fn own_rsa(key: RsaKey) -> Self {
        let algorithm = der::sequence(&[&der::oid(RSA_ENCRYPTION), &der::null()]);
        Self {
            pkcs8: pkcs8(&algorithm, &key.private_der()),
            kind: Kind::Rsa(Box::new(key)),
        }
    }

    fn own_curve(key: CurveKey) -> Self {
        let algorithm = der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(key.curve().oid)]);
        Self {
            pkcs8: pkcs8(&algorithm, &key.private_der()),
            kind: Kind::Curve(Box::new(key)),
        }
    }

    /// From PKCS#8, ours or a library's.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ForgeError> {
        let kind = || {
            let mut fields = Reader::new(Reader::new(bytes).take(der::SEQUENCE)?);
            fields.take(der::INTEGER)?;
            let algorithm = fields.take(der::SEQUENCE)?;
            let private = fields.take(der::OCTET_STRING)?;
            if algorithm.starts_with(&der::oid(RSA_ENCRYPTION)) {
                return Some(Kind::Rsa(Box::new(RsaKey::read(private)?)));
            }
            if algorithm.starts_with(&der::oid(EC_PUBLIC_KEY)) {
                return Some(Kind::Curve(Box::new(CurveKey::read(algorithm, private)?)));
            }
            (algorithm == der::oid(ED25519)).then_some(Kind::Ed25519)
        };
        let kind = kind().ok_or(ForgeError::Key)?;
        Ok(Self {
            pkcs8: bytes.to_vec(),
            kind,
        })
    }

    /// The private key, PKCS#8 DER.
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// `SubjectPublicKeyInfo` of RFC 5280 §4.1.2.7.
    pub(super) fn public_der(&self) -> Result<Vec<u8>, ForgeError> {
        Ok(match &self.kind {
            Kind::Rsa(key) => {
                let algorithm = der::sequence(&[&der::oid(RSA_ENCRYPTION), &der::null()]);
                der::sequence(&[&algorithm, &der::bits(&key.public_der())])
            }
            Kind::Curve(key) => {
                let algorithm = der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(key.curve().oid)]);
                der::sequence(&[&algorithm, &der::bits(&key.point())])
            }
            Kind::Ed25519 => {
                let pair = self.ed25519()?;
                let public = signature::KeyPair::public_key(&pair).as_ref().to_vec();
                der::sequence(&[&der::sequence(&[&der::oid(ED25519)]), &der::bits(&public)])
            }
        })
    }

    /// `AlgorithmIdentifier` of a signature with this key.
    pub(super) fn signature_algorithm(&self, digest: Digest) -> Vec<u8> {
        match (&self.kind, digest) {
            (Kind::Ed25519, _) => der::sequence(&[&der::oid(ED25519)]),
            (Kind::Rsa(_), digest) => {
                // RFC 8017 appendix A.2.4.
                let last = match digest {
                    Digest::Md5 => 4,
                    Digest::Sha1 => 5,
                    Digest::Sha256 => 11,
                    Digest::Sha384 => 12,
                    Digest::Sha512 => 13,
                };
                der::sequence(&[&der::oid(&[1, 2, 840, 113_549, 1, 1, last]), &der::null()])
            }
            // RFC 3279 §2.2.3, RFC 5758 §3.2; nothing names MD5 with ECDSA, SHA-1 stands for it.
            (Kind::Curve(_), Digest::Md5 | Digest::Sha1) => der::sequence(&[&der::oid(&[1, 2, 840, 10_045, 4, 1])]),
            (Kind::Curve(_), digest) => {
                let last = match digest {
                    Digest::Sha384 => 3,
                    Digest::Sha512 => 4,
                    _ => 2,
                };
                der::sequence(&[&der::oid(&[1, 2, 840, 10_045, 4, 3, last])])
            }
        }
    }

    /// Whether no standard way exists to sign with this key and digest.
    pub(super) fn cannot_use(&self, digest: Digest) -> bool {
        matches!(
            (&self.kind, digest),
            (Kind::Curve(_), Digest::Md5) | (Kind::Ed25519, Digest::Md5 | Digest::Sha1)
        )
    }

    pub(super) fn sign(&self, digest: Digest, message: &[u8]) -> Result<Vec<u8>, ForgeError> {
        match &self.kind {
            Kind::Rsa(key) => match self.sign_by_library(digest, message) {
                Some(signature) => Ok(signature),
                None => key.sign(digest, message),
            },
            Kind::Curve(key) => match self.sign_by_curve_library(digest, message) {
                Some(signature) => Ok(signature),
                None => key.sign(digest, message),
            },
            Kind::Ed25519 => Ok(self.ed25519()?.sign(message).as_ref().to_vec()),
        }
    }

    /// Ten times quicker, where the library is willing.
    fn sign_by_library(&self, digest: Digest, message: &[u8]) -> Option<Vec<u8>> {
        let encoding = match digest {
            Digest::Sha256 => &RSA_PKCS1_SHA256,
            Digest::Sha384 => &RSA_PKCS1_SHA384,
            Digest::Sha512 => &RSA_PKCS1_SHA512,
            Digest::Md5 | Digest::Sha1 => return None,
        };
        let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).ok()?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
            .ok()?;
        Some(signature)
    }

    /// The same for the pairs of curve and digest that it has.
    fn sign_by_curve_library(&self, digest: Digest, message: &[u8]) -> Option<Vec<u8>> {
        let algorithm = match digest {
            Digest::Sha256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            Digest::Sha384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
            _ => return None,
        };
        let pair = signature::EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8).ok()?;
        Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec())
    }

    fn ed25519(&self) -> Result<Ed25519KeyPair, ForgeError> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.pkcs8).map_err(|_| ForgeError::Key)
    }

    /// For rustls: its own signer where it takes the key, ours for the rest.
    pub(super) fn signing_key(&self) -> Arc<dyn SigningKey> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()));
        match rustls::crypto::aws_lc_rs::sign::any_supported_type(&der) {
            Ok(key) => key,
            Err(_) => Arc::new(OddKey(self.clone())),
        }
    }
}

fn pkcs8(algorithm: &[u8], private: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::unsigned(&[]), algorithm, &der::octets(private)])
}

/// A key that rustls does not take. It signs with whatever scheme of TLS 1.2 comes nearest, so that the other side, not ours, has to
/// refuse the certificate.
struct OddKey(LabKey);

impl SigningKey for OddKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let (algorithm, schemes) = match self.0.kind {
            Kind::Rsa(_) => (SignatureAlgorithm::RSA, RSA_SCHEMES.as_slice()),
            _ => (SignatureAlgorithm::ECDSA, CURVE_SCHEMES.as_slice()),
        };
        debug_assert_eq!(algorithm, self.algorithm());
        let (scheme, digest) = schemes.iter().find(|(scheme, _)| offered.contains(scheme))?;
        Some(Box::new(OddSigner(self.0.clone(), *scheme, *digest)))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.kind {
            Kind::Rsa(_) => SignatureAlgorithm::RSA,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

impl std::fmt::Debug for OddKey {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OddKey")
    }
}

struct OddSigner(LabKey, SignatureScheme, Digest);

impl Signer for OddSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signed = self.0.sign(self.2, message);
        signed.map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.1
    }
}

impl std::fmt::Debug for OddSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OddSigner").field(&self.1).finish()
    }
}

const RSA_ENCRYPTION: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
const EC_PUBLIC_KEY: &[u64] = &[1, 2, 840, 10_045, 2, 1];
const ED25519: &[u64] = &[1, 3, 101, 112];
const RSA_SCHEMES: [(SignatureScheme, Digest); 3] = [
    (SignatureScheme::RSA_PKCS1_SHA256, Digest::Sha256),
    (SignatureScheme::RSA_PKCS1_SHA384, Digest::Sha384),
    (SignatureScheme::RSA_PKCS1_SHA512, Digest::Sha512),
];
const CURVE_SCHEMES: [(SignatureScheme, Digest); 3] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, Digest::Sha256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, Digest::Sha384),
    (SignatureScheme::ECDSA_NISTP521_SHA512, Digest::Sha512),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_is_read_back_from_what_it_was_written_to() {
        use KeyChange::{EcdsaK256, EcdsaP224, EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa512, Rsa1024, Rsa2048};
        for kind in [
            Rsa2048, Rsa1024, Rsa512, EcdsaP224, EcdsaP256, EcdsaP384, EcdsaP521, EcdsaK256, Ed25519,
        ] {
            let key = LabKey::generate(kind).unwrap();
            let again = LabKey::read(key.pkcs8()).unwrap();
            assert_eq!(again.public_der().unwrap(), key.public_der().unwrap(), "{kind:?}");
            assert!(!again.sign(Digest::Sha256, b"message").unwrap().is_empty(), "{kind:?}");
        }
    }
}
