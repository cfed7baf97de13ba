//! Makes what the table describes, from the keys of a sandbox's authority and of false ones.
//!
//! Every certificate starts as a good one of its profile; the recipe changes one thing. Keys are made when first needed and kept for
//! the next defect, so that the whole catalogue costs a handful of key pairs.

mod certificate;
mod curve;
mod der;
mod digest;
mod issuer;
mod key;
mod leaf;
mod name;
mod rsa;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use crate::identity::SubjectDn;
use crate::pki::{Authority, AuthorityError, CertificateProblem, Fault, Faults, Issuer, RevocationReason};

use super::catalogue::{Defect, Face};
use super::probe::TlsVersions;
use super::probe_hello::{Hello, Version};
use super::recipe::{HandshakeChange, IssuerChange, KeyChange};

use digest::Digest;
use issuer::{Line, Signer};
use key::LabKey;

/// Makes defects. Cheap to create: nothing is generated before it is asked for.
pub struct Forge {
    authority: Arc<Authority>,
    now: Timestamp,
    root: Signer,
    intermediate: Signer,
    /// Extensions that say where to ask about a certificate.
    addresses: Vec<Vec<u8>>,
    keys: Mutex<BTreeMap<(KeyChange, u8), LabKey>>,
    lines: Mutex<BTreeMap<IssuerChange, Line>>,
}

/// Whom a certificate pretends to be.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Full subject: what the allow list names for an operator, what a login is bound to for software.
    pub subject: SubjectDn,
    /// Alternative names, as `dns:name`, `ip:address` or `mail:address`.
    pub names: Vec<String>,
}

/// What to show, how, and what the other side must be told beforehand.
#[derive(Clone)]
pub struct Forged {
    /// Certificates to show, as they are to be shown: leaf first, unless that is the defect. Empty when none is shown.
    pub chain: Vec<CertificateDer<'static>>,
    /// How to show them.
    pub offer: Offer,
    /// What the allow list (between operators) or a login's binding (for software) must name, so that nothing but the defect can be
    /// the reason.
    pub listed: SubjectDn,
    /// What the software under test must trust for the defect to show; none for the authority's usual root and intermediate.
    pub trust: Option<Vec<CertificateDer<'static>>>,
    /// CRLs of false authorities that the software under test must hold beside the authority's own, so that nothing else is missing.
    pub lists: Vec<Vec<u8>>,
    /// What the authority's registry holds for its CRLs and its OCSP responder to say it. [`Forge::make`] has entered what must be
    /// revoked; software that asks OCSP only wants the good ones entered too ([`Entry::enter`]).
    pub entries: Vec<Entry>,
    /// What must be wrong with the authority's services meanwhile.
    pub fault: Option<ServiceFault>,
    key: LabKey,
}

/// A line of the authority's registry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Who signed it.
    pub issuer: Issuer,
    /// What the authority says of it.
    pub standing: Standing,
}

/// What the authority says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is good: an OCSP responder says so only of what is in the registry, a CRL of everything it does not list.
    Good,
    /// It is revoked, or on hold.
    Revoked(RevocationReason),
    /// It was on hold, and is no longer.
    Released,
}

/// How a defect is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// In a handshake of these versions, as far as the other side lets it go.
    Handshake(TlsVersions),
    /// Not at all: no TLS. A client sends its mail in clear; a server offers no STARTTLS.
    Clear,
    /// By the first message of a handshake only, because our own stack cannot speak what it offers.
    Hello(Hello),
}

/// A fault of the authority's revocation services, as the table names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceFault {
    /// CRLs whose next update is past.
    CrlLate,
    /// CRLs whose signature is not one.
    CrlUnsigned,
    /// CRLs signed by somebody else.
    CrlWrongSigner,
    /// No CRL to be had.
    CrlUnreachable,
    /// OCSP answers whose next update is past.
    OcspLate,
    /// OCSP answers whose signature is not one.
    OcspUnsigned,
    /// OCSP answers signed by somebody else.
    OcspWrongSigner,
    /// OCSP answers that say "unknown".
    OcspUnknown,
    /// No OCSP answer to be had.
    OcspUnreachable,
}

/// Why a defect could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// No key pair could be made, or used.
    #[error("a key pair of this kind cannot be made")]
    Key,
    /// The authority's own certificate or key cannot be read.
    #[error("the authority's certificates cannot be read")]
    Authority,
    /// An alternative name of the table.
    #[error("{0:?} is not an alternative name: expected dns:, ip: or mail: before it")]
    Name(String),
    /// This authority cannot make it.
    #[error("cannot be made here: {0}")]
    Impossible(&'static str),
    /// A subject that cannot be written as text.
    #[error("the subject holds a value that is not text")]
    Holder,
    /// The face never meets this defect.
    #[error("defect {0} cannot be shown on the {1} face")]
    NotHere(String, Face),
    /// The authority's registry, for certificates that must be revoked.
    #[error(transparent)]
    Registry(#[from] AuthorityError),
    /// A subject that cannot be read back.
    #[error("the subject to be listed cannot be read: {0}")]
    Subject(#[from] CertificateProblem),
}

impl Forge {
    /// A forge that signs with this authority's keys. **Sandbox only**: with them, whatever it makes is trusted where they are.
    ///
    /// # Errors
    /// The authority's keys are of a kind this program does not issue with.
    pub fn new(authority: Arc<Authority>, now: Timestamp) -> Result<Self, ForgeError> {
        let intermediate = authority.lab_signer(Issuer::Intermediate)?;
        let addresses = intermediate.addresses.iter();
        Ok(Self {
            addresses: addresses
                .map(|(arcs, value)| certificate::extension(arcs, false, value))
                .collect(),
            root: Signer::of(&authority.lab_signer(Issuer::Root)?)?,
            intermediate: Signer::of(&intermediate)?,
            keys: Mutex::default(),
            lines: Mutex::default(),
            authority,
            now,
        })
    }

    /// Makes a defect of this holder's certificate for a face.
    /// What must be revoked enters the authority's registry, durably; what it publishes must be renewed afterwards.
    ///
    /// # Errors
    /// See [`ForgeError`].
    pub fn make(&self, defect: &Defect, holder: &Holder, face: Face) -> Result<Forged, ForgeError> {
        if defect.expected(face).is_none() {
            return Err(ForgeError::NotHere(defect.id.clone(), face));
        }
        let forged = self.make_leaf(&defect.recipe, holder, face)?;
        if forged.needs_registry() {
            for entry in &forged.entries {
                entry.enter(&self.authority, self.now)?;
            }
        }
        Ok(forged)
    }

    /// Days from now; saturates at the calendar's ends.
    fn days(&self, days: i32) -> Timestamp {
        let by = SignedDuration::from_hours(24 * i64::from(days));
        self.now.saturating_add(by).unwrap_or(self.now)
    }

    /// RFC 5280 §4.1.2.2: positive; 16 octets, the first neither zero nor above 0x7f.
    fn serial(&self) -> Result<Vec<u8>, ForgeError> {
        let mut serial = vec![0; 16];
        random(&mut serial)?;
        serial[0] = (serial[0] & 0x7f) | 0x40;
        Ok(serial)
    }

    /// RFC 7093 §2 method 1: the first 160 bits of a SHA-256.
    fn key_id(public: &[u8]) -> Vec<u8> {
        Digest::Sha256.of(public)[..20].to_vec()
    }

    /// A key of the pool; `place` keeps several of one kind apart.
    fn key(&self, kind: KeyChange, place: u8) -> Result<LabKey, ForgeError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&(kind, place)) {
            return Ok(key.clone());
        }
        let key = LabKey::generate(kind)?;
        keys.insert((kind, place), key.clone());
        Ok(key)
    }

    /// A key of a false authority.
    fn authority_key(&self, place: u8) -> Result<LabKey, ForgeError> {
        self.key(KeyChange::EcdsaP256, AUTHORITY_KEYS + place)
    }

    fn kept_line(&self, change: IssuerChange) -> Option<Line> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&change)
            .cloned()
    }

    fn keep_line(&self, change: IssuerChange, line: Line) {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(change, line);
    }
}

impl Entry {
    /// Enters it into the registry of a running authority, durably. What it publishes must be renewed afterwards.
    ///
    /// # Errors
    /// The registry cannot be written; or the certificate cannot be read, which is no loss unless it must be revoked.
    pub fn enter(&self, authority: &Authority, now: Timestamp) -> Result<(), AuthorityError> {
        let serial = authority.lab_enter(&self.certificate, self.issuer)?;
        match self.standing {
            Standing::Good => Ok(()),
            Standing::Revoked(reason) => authority.revoke(&serial, reason, now),
            Standing::Released => {
                authority.revoke(&serial, RevocationReason::CertificateHold, now)?;
                authority.release(&serial, now)
            }
        }
    }
}

impl Forged {
    /// Whether the authority must say something of it for the defect to show.
    pub fn needs_registry(&self) -> bool {
        self.entries.iter().any(|entry| entry.standing != Standing::Good)
    }

    /// The certificates with the key that signs the handshake, for a rustls resolver; none when no certificate is shown. Whether they
    /// belong together is not checked: that they do not may be the defect.
    pub fn certified(&self) -> Option<Arc<CertifiedKey>> {
        (!self.chain.is_empty()).then(|| Arc::new(CertifiedKey::new(self.chain.clone(), self.key.signing_key())))
    }

    /// The same from what was made elsewhere: certificates as they are shown, and a key as [`Forged::key_der`] gave it.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn certified_from(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<Arc<CertifiedKey>, ForgeError> {
        Ok(Arc::new(CertifiedKey::new(chain, LabKey::read(key)?.signing_key())))
    }

    /// The key that signs the handshake, PKCS#8 DER, for other tools.
    pub fn key_der(&self) -> &[u8] {
        self.key.pkcs8()
    }
}

impl std::fmt::Debug for Forged {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forged")
            .field("certificates", &self.chain.len())
            .field("offer", &self.offer)
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}

impl ServiceFault {
    /// The same as the authority plays it.
    pub fn faults(self) -> Faults {
        let crl = |fault| Faults {
            crl: Some(fault),
            ocsp: None,
        };
        let ocsp = |fault| Faults {
            crl: None,
            ocsp: Some(fault),
        };
        match self {
            Self::CrlLate => crl(Fault::Late),
            Self::CrlUnsigned => crl(Fault::Unsigned),
            Self::CrlWrongSigner => crl(Fault::WrongSigner),
            Self::CrlUnreachable => crl(Fault::Unreachable),
            Self::OcspLate => ocsp(Fault::Late),
            Self::OcspUnsigned => ocsp(Fault::Unsigned),
            Self::OcspWrongSigner => ocsp(Fault::WrongSigner),
            Self::OcspUnknown => ocsp(Fault::Unknown),
            Self::OcspUnreachable => ocsp(Fault::Unreachable),
        }
    }
}

impl Offer {
    fn of(change: HandshakeChange, key: KeyChange) -> Self {
        match change {
            HandshakeChange::NoTls => Self::Clear,
            HandshakeChange::Tls12 => Self::Handshake(TlsVersions::Tls12),
            HandshakeChange::Tls13 => Self::Handshake(TlsVersions::Tls13),
            HandshakeChange::Right | HandshakeChange::NoCertificate | HandshakeChange::WrongKey => {
                // TLS 1.3 has no scheme for these keys: we could not even show them.
                let old = matches!(
                    key,
                    KeyChange::Rsa512
                        | KeyChange::Rsa1024
                        | KeyChange::RsaExponent3
                        | KeyChange::EcdsaP224
                        | KeyChange::EcdsaK256
                );
                Self::Handshake(if old { TlsVersions::Tls12 } else { TlsVersions::All })
            }
            first_message => Self::Hello(first(first_message)),
        }
    }
}

/// The first message of a handshake nobody should go on with.
fn first(change: HandshakeChange) -> Hello {
    let (version, suites): (Version, &[u16]) = match change {
        HandshakeChange::Ssl3 => (Version::SSL_3, &[0x002f, 0x0035, 0x000a]),
        HandshakeChange::Tls10 => (Version::TLS_1_0, &[0xc013, 0xc014, 0xc009, 0xc00a, 0x002f, 0x0035]),
        HandshakeChange::Tls11 => (Version::TLS_1_1, &[0xc013, 0xc014, 0xc009, 0xc00a, 0x002f, 0x0035]),
        // TLS_ECDHE_{RSA,ECDSA}_WITH_AES_{128,256}_CBC_{SHA,SHA256,SHA384}.
        HandshakeChange::Cbc => (
            Version::TLS_1_2,
            &[0xc013, 0xc014, 0xc009, 0xc00a, 0xc023, 0xc024, 0xc027, 0xc028],
        ),
        // TLS_RSA_WITH_AES_{128,256}_{GCM,CBC}.
        HandshakeChange::RsaKeyExchange => (Version::TLS_1_2, &[0x009c, 0x009d, 0x003c, 0x003d, 0x002f, 0x0035]),
        // TLS_{RSA,ECDHE_RSA,ECDHE_ECDSA}_WITH_NULL_{MD5,SHA,SHA256}.
        HandshakeChange::Null => (Version::TLS_1_2, &[0x0001, 0x0002, 0x003b, 0xc006, 0xc010]),
        // TLS_{DH,ECDH}_anon.
        HandshakeChange::Anonymous => (
            Version::TLS_1_2,
            &[0x0018, 0x0034, 0x003a, 0x006c, 0x00a6, 0xc018, 0xc019],
        ),
        // RC4 and triple DES.
        HandshakeChange::Rc4 => (
            Version::TLS_1_2,
            &[0x0004, 0x0005, 0x000a, 0xc007, 0xc008, 0xc011, 0xc012],
        ),
        // TLS_RSA_EXPORT and single DES.
        _ => (
            Version::TLS_1_2,
            &[0x0003, 0x0006, 0x0008, 0x0009, 0x0014, 0x0015, 0x0062, 0x0064],
        ),
    };
    Hello {
        version,
        suites: suites.to_vec(),
        server_name: None,
    }
}

fn random(octets: &mut [u8]) -> Result<(), ForgeError> {
    aws_lc_rs::rand::fill(octets).map_err(|_| ForgeError::Key)
}

/// Keys of authorities and keys of leaves lie in one pool.
const AUTHORITY_KEYS: u8 = 100;

#[cfg(test)]
mod tests;
