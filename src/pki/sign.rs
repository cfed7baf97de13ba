//! Signs DER that no crate above frames: revocation lists and OCSP answers. Plays the faults of a signature.

use der::asn1::{Any, BitString, GeneralizedTime, ObjectIdentifier, OctetString, UtcTime};
use der::{Decode, Encode};
use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey};
use x509_cert::Certificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

use super::authority::AuthorityError;
use super::{Fault, KeyKind};

/// The key that signs, which is not the right one under [`Fault::WrongSigner`].
pub(super) enum SealKey<'a> {
    Right(&'a KeyPair),
    Foreign(Box<KeyPair>),
}

impl<'a> SealKey<'a> {
    pub(super) fn under(fault: Option<Fault>, right: &'a KeyPair) -> Result<Self, AuthorityError> {
        if fault == Some(Fault::WrongSigner) {
            return Ok(Self::Foreign(Box::new(KeyKind::EcdsaP256.generate()?)));
        }
        Ok(Self::Right(right))
    }

    pub(super) fn key(&self) -> &KeyPair {
        match self {
            Self::Right(key) => key,
            Self::Foreign(key) => key,
        }
    }

    /// How this key signs.
    pub(super) fn algorithm(&self) -> AlgorithmIdentifierOwned {
        if *self.key().algorithm() == rcgen::PKCS_ECDSA_P256_SHA256 {
            return AlgorithmIdentifierOwned {
                oid: ECDSA_WITH_SHA256,
                parameters: None,
            };
        }
        AlgorithmIdentifierOwned {
            oid: RSA_WITH_SHA256,
            parameters: Some(Any::null()),
        }
    }

    /// The signature of some bytes; one that verifies under no key with [`Fault::Unsigned`].
    pub(super) fn sign(&self, bytes: &[u8], fault: Option<Fault>) -> Result<BitString, AuthorityError> {
        let mut signature = self.key().sign(bytes)?;
        if fault == Some(Fault::Unsigned)
            && let Some(last) = signature.last_mut()
        {
            *last ^= 0xff;
        }
        Ok(BitString::from_bytes(&signature)?)
    }
}

/// An extension from its content.
pub(super) fn extension(id: ObjectIdentifier, critical: bool, content: &impl Encode) -> der::Result<Extension> {
    Ok(Extension {
        extn_id: id,
        critical,
        extn_value: OctetString::new(content.to_der()?)?,
    })
}

/// RFC 5280 §5.1.2.4: `UTCTime` through the year 2049.
pub(super) fn time(at: Timestamp) -> der::Result<Time> {
    let since = since_1970(at)?;
    match UtcTime::from_unix_duration(since) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => Ok(Time::GeneralTime(GeneralizedTime::from_unix_duration(since)?)),
    }
}

/// To the second, as RFC 6960 §4.2.1 has every time.
pub(super) fn generalized(at: Timestamp) -> der::Result<GeneralizedTime> {
    GeneralizedTime::from_unix_duration(since_1970(at)?)
}

fn since_1970(at: Timestamp) -> der::Result<std::time::Duration> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| der::ErrorKind::DateTime)?;
    Ok(std::time::Duration::from_secs(seconds))
}

/// The key identifier that a certificate gives itself.
pub(super) fn key_identifier(certificate: &Certificate) -> der::Result<Option<OctetString>> {
    let found = certificate.tbs_certificate().get_extension::<SubjectKeyIdentifier>()?;
    Ok(found.map(|(_, identifier)| identifier.0))
}

/// A certificate of our own, for the parts that framing needs.
pub(super) fn decoded(certificate: &[u8]) -> der::Result<Certificate> {
    Certificate::from_der(certificate)
}

const RSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
