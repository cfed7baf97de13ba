//! The sandbox authority: a root, the one intermediate of the field's range, what they issued, what they revoked.
//!
//! Everything lives in one private folder. The registry is written last when the folder is created and before a certificate leaves
//! when one is issued: no certificate exists that the registry does not know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::certificate::{self, CertificateProblem};
use super::create;
use super::fault::Faults;
use super::files::{self, FileError};
use super::ocsp::Responder;
use super::profile::{IssuerSection, KeyKind, Profiles};
use super::publish::OCSP_PATH;
use super::registry::{CertificateRecord, Registry, Revocation, RevocationReason, Revoked};

/// The root and the intermediate of the trust space, with their keys. Shared by reference between the parts that issue and publish.
pub struct Authority {
    pub(super) profiles: Profiles,
    pub(super) options: AuthorityOptions,
    pub(super) folder: PathBuf,
    /// OCSP responders, made when first asked.
    pub(super) responders: Mutex<BTreeMap<Issuer, Arc<Responder>>>,
    root: Signer,
    intermediate: Signer,
    registry: Mutex<Registry>,
    faults: Arc<ArcSwap<Faults>>,
}

/// What the operator of the sandbox chooses. Build it with `..AuthorityOptions::default()`.
#[derive(Clone, Debug, Default)]
pub struct AuthorityOptions {
    /// Scheme and host where the CRLs are served, without trailing slash: it goes into every certificate as its CRL distribution point.
    pub base_url: String,
    /// Kind of the two authorities' keys when the folder is created; none for the profiles' RSA 3072.
    pub key: Option<KeyKind>,
    /// Which of the two chains is in force.
    pub chain: Chain,
    /// How long what is published is good for.
    pub validity: PublicationValidity,
    /// Who signs OCSP answers.
    pub ocsp_signer: OcspSigner,
}

/// The two chains of the same shape. A space trusts one of them and refuses the certificates of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    /// Names that contain TEST, product category 0x83: the field's test certificates.
    #[default]
    Test,
    /// Names of the shape of the field's production chain, product category 0x03. As much a sandbox's as the other.
    ProductionShaped,
}

/// How long the authority's publications are good for: their `nextUpdate`. Each is made again once half of that has passed, or something
/// changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicationValidity {
    /// Of a complete CRL.
    pub crl: Duration,
    /// Of a delta CRL.
    pub delta_crl: Duration,
    /// Of an OCSP answer.
    pub ocsp: Duration,
}

impl Default for PublicationValidity {
    /// A week, a day, an hour.
    fn default() -> Self {
        Self {
            crl: Duration::from_hours(7 * 24),
            delta_crl: Duration::from_hours(24),
            ocsp: Duration::from_hours(1),
        }
    }
}

/// Who signs the answers about an issuer's certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OcspSigner {
    /// A responder to which the issuer delegates by a certificate (RFC 6960 §4.2.2.2).
    #[default]
    Delegated,
    /// The issuer itself.
    Issuer,
}

/// One of the two authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Issuer {
    /// Signs the intermediate only.
    Root,
    /// Signs servers and organisations.
    Intermediate,
}

/// Why the authority could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of its folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The registry makes no sense; the remedy is a backup, or a new folder.
    #[error("{}: the registry of issued certificates cannot be used: {problem}; restore it, or delete the folder to start a new trust space", path.display())]
    Registry {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A certificate or key of its folder.
    #[error("{}: {problem}; restore it, or delete the folder to start a new trust space", path.display())]
    Material {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The profiles of this build are wrong.
    #[error("certs/profiles.toml: {0}")]
    Profiles(String),
    /// A value that cannot go into a certificate: a name that is not ASCII, a date out of range.
    #[error("cannot issue: {0}")]
    Request(String),
    /// No such certificate.
    #[error("no certificate with serial number {0} was issued here; see: vaguemestre cert list")]
    UnknownSerial(String),
    /// It cannot be taken off hold.
    #[error("certificate {serial} is not on hold but {}: only a hold can be released", .reason.map_or("good", RevocationReason::name))]
    NotOnHold {
        /// Its serial number.
        serial: String,
        /// Why it is revoked, if it is.
        reason: Option<RevocationReason>,
    },
    /// Revoked in advance.
    #[error("{0} is in the future: a certificate cannot be revoked in advance")]
    FutureRevocation(Timestamp),
    /// A certificate request that cannot be signed.
    #[error("the certificate request cannot be signed: {0}")]
    SigningRequest(String),
    /// Framing of a message.
    #[error("cannot encode: {0}")]
    Encoding(#[from] der::Error),
    /// The crypto library refused.
    #[error("cannot sign")]
    Signing(#[from] rcgen::Error),
    /// A certificate just made cannot be read.
    #[error("cannot read a certificate of the authority")]
    Certificate(#[from] CertificateProblem),
}

/// An authority's certificate and its key.
pub(super) struct Signer {
    pub(super) issuer: rcgen::Issuer<'static, KeyPair>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) not_after: Timestamp,
    pub(super) section: IssuerSection,
}

impl Authority {
    /// Opens the authority of a folder, or creates it there; a folder whose creation was interrupted is created again. The chain named
    /// TEST lives in the folder itself, its twin in a folder below.
    pub fn create_or_open(folder: &Path, options: AuthorityOptions, now: Timestamp) -> Result<Self, AuthorityError> {
        let profiles = Profiles::embedded().map_err(|error| AuthorityError::Profiles(error.to_string()))?;
        files::private_folder(folder)?;
        let folder = match options.chain {
            Chain::Test => folder.to_owned(),
            Chain::ProductionShaped => folder.join("production-shaped"),
        };
        files::private_folder(&folder)?;
        let (registry, [root, intermediate]) = create::open_or_create(&folder, &profiles, &options, now)?;
        Ok(Self {
            root,
            intermediate,
            profiles,
            options,
            registry: Mutex::new(registry),
            responders: Mutex::default(),
            faults: Arc::new(ArcSwap::from_pointee(open_faults(&folder.join(FAULTS))?)),
            folder,
        })
    }

    /// The folder of its keys, certificates and registry.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which chain it is.
    pub fn chain(&self) -> Chain {
        self.options.chain
    }

    /// The other chain of the same folder, made when it is not there: its certificates must be refused wherever this one's are trusted.
    pub fn twin(&self, now: Timestamp) -> Result<Self, AuthorityError> {
        let chain = match self.options.chain {
            Chain::Test => Chain::ProductionShaped,
            Chain::ProductionShaped => Chain::Test,
        };
        let folder = match self.options.chain {
            Chain::Test => Some(self.folder.as_path()),
            Chain::ProductionShaped => self.folder.parent(),
        };
        let options = AuthorityOptions {
            chain,
            ..self.options.clone()
        };
        Self::create_or_open(folder.unwrap_or(&self.folder), options, now)
    }

    /// The faults its services play now. Whoever serves reads it at each request.
    pub fn faults(&self) -> &Arc<ArcSwap<Faults>> {
        &self.faults
    }

    /// Plays these faults from now on, after a restart too.
    pub fn set_faults(&self, faults: Faults) -> Result<(), AuthorityError> {
        let path = self.folder.join(FAULTS);
        let bytes = serde_json::to_vec(&faults).map_err(|error| AuthorityError::Registry {
            path: path.clone(),
            problem: error.to_string(),
        })?;
        files::write_private(&path, &bytes)?;
        self.faults.store(Arc::new(faults));
        Ok(())
    }

    /// Certificate of one of the two authorities.
    pub fn certificate(&self, issuer: Issuer) -> &CertificateDer<'static> {
        &self.signer(issuer).certificate
    }

    /// Where a client finds the CRL of an issuer, as certificates name it.
    pub fn crl_url(&self, issuer: Issuer) -> String {
        self.url(&self.crl_path(issuer))
    }

    /// The path of that URL, for whoever serves it.
    pub fn crl_path(&self, issuer: Issuer) -> String {
        self.signer(issuer).section.crl_path()
    }

    /// Where a client asks for the status of a certificate.
    pub fn ocsp_url(&self) -> String {
        self.url(OCSP_PATH)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.options.base_url)
    }

    /// Everything issued so far, oldest first; OCSP responders left out.
    pub fn issued(&self) -> Vec<CertificateRecord> {
        self.registry().certificates().to_vec()
    }

    /// The record of a serial number, in any spelling.
    pub fn record(&self, serial: &str) -> Option<CertificateRecord> {
        self.registry().find(serial).cloned()
    }

    /// Revokes a certificate by its serial number in hexadecimal; revoking twice keeps the first date, but ends a hold. Durable when it
    /// returns.
    pub fn revoke(&self, serial: &str, reason: RevocationReason, now: Timestamp) -> Result<(), AuthorityError> {
        self.revoke_since(serial, Revocation { at: now, reason }, now).map(drop)
    }

    /// The same as of a moment that may lie in the past, and says what that changed.
    pub fn revoke_since(
        &self,
        serial: &str,
        revocation: Revocation,
        now: Timestamp,
    ) -> Result<Revoked, AuthorityError> {
        if revocation.at > now {
            return Err(AuthorityError::FutureRevocation(revocation.at));
        }
        self.registry().revoke(serial, revocation)
    }

    /// Takes a certificate off hold: from now on it is good again.
    pub fn release(&self, serial: &str, now: Timestamp) -> Result<(), AuthorityError> {
        self.registry().release(serial, now)
    }

    pub(super) fn signer(&self, issuer: Issuer) -> &Signer {
        match issuer {
            Issuer::Root => &self.root,
            Issuer::Intermediate => &self.intermediate,
        }
    }

    /// The registry never holds a half-made change, so a panic elsewhere does not spoil it.
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

pub(super) fn record_of(
    certificate: &CertificateDer<'_>,
    issuer: Issuer,
    profile: Option<super::Profile>,
) -> Result<CertificateRecord, AuthorityError> {
    let read = certificate::read(certificate)?;
    Ok(CertificateRecord {
        serial: read.serial,
        issuer,
        profile,
        subject: read.subject.to_string(),
        fingerprint: read.fingerprint,
        not_before: read.not_before,
        not_after: read.not_after,
        revocation: None,
        released: None,
    })
}

fn open_faults(path: &Path) -> Result<Faults, AuthorityError> {
    if !path.exists() {
        return Ok(Faults::default());
    }
    let bytes = files::read(path, FAULTS_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|error| AuthorityError::Registry {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// Start and end of a validity, to the second as certificates have it.
pub(super) fn validity(
    profiles: &Profiles,
    days: u32,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), AuthorityError> {
    let now = Timestamp::from_second(now.as_second()).map_err(out_of_range)?;
    let backdate = i64::from(profiles.authority.backdate_minutes);
    let not_before = later(now, SignedDuration::from_mins(-backdate))?;
    let not_after = later(now, SignedDuration::from_hours(24 * i64::from(days)))?;
    Ok((not_before, not_after))
}

pub(super) fn later(at: Timestamp, by: SignedDuration) -> Result<Timestamp, AuthorityError> {
    at.checked_add(by).map_err(out_of_range)
}

pub(super) fn date(at: Timestamp) -> Result<OffsetDateTime, AuthorityError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(out_of_range)
}

fn out_of_range(error: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Request(error.to_string())
}

const FAULTS: &str = "faults.json";
const FAULTS_BYTES_MAX: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::testing::{Space, days_later, now, openssl, options, put, server};
    use super::super::{Profile, pkcs12, trust_bundle};
    use super::*;

    #[test]
    fn an_authority_is_found_again_with_what_it_issued_and_revoked() {
        let space = Space::new();
        let issued = space.issue(&server("smtp.chu.fr"));
        space
            .authority
            .revoke(&issued.serial, RevocationReason::Superseded, now())
            .unwrap();
        let bundle = trust_bundle(&space.authority);
        let again =
            Authority::create_or_open(&space.folder.path().join("authority"), options(), days_later(1)).unwrap();
        assert_eq!(trust_bundle(&again), bundle);
        let records = again.issued();
        assert_eq!(records.len(), 2);
        assert_eq!(records[1].profile, Some(Profile::ServSsl));
        assert_eq!(records[1].subject, issued.subject.to_string());
        assert_eq!(records[1].revocation.unwrap().reason, RevocationReason::Superseded);
        assert!(again.issue(&server("smtp-2.chu.fr"), days_later(1)).is_ok());
    }

    #[test]
    fn keys_are_closed_to_others_and_an_interrupted_creation_starts_again() {
        let space = Space::new();
        let folder = space.folder.path().join("authority");
        for name in ["root.key", "intermediate.key", "issued.json"] {
            let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let bundle = trust_bundle(&space.authority);
        std::fs::remove_file(folder.join("issued.json")).unwrap();
        std::fs::remove_file(folder.join("intermediate.pem")).unwrap();
        let again = Authority::create_or_open(&folder, options(), now()).unwrap();
        assert_ne!(trust_bundle(&again), bundle);
        assert_eq!(again.issued().len(), 1);
    }

    #[test]
    fn a_damaged_folder_is_named_with_its_remedy() {
        let space = Space::new();
        let folder = space.folder.path().join("authority");
        let open = || {
            Authority::create_or_open(&folder, options(), now())
                .unwrap_err()
                .to_string()
        };
        std::fs::copy(folder.join("root.key"), folder.join("intermediate.key")).unwrap();
        assert!(open().contains("intermediate.key: not the key of"), "{}", open());
        std::fs::write(folder.join("root.pem"), "junk").unwrap();
        assert!(open().contains("root.pem: no certificate in it"), "{}", open());
        std::fs::write(
            folder.join("issued.json"),
            "{\"version\":2,\"crls\":{},\"certificates\":[]}",
        )
        .unwrap();
        assert!(open().contains("version 2, this program reads version 1"), "{}", open());
        std::fs::write(folder.join("issued.json"), "{").unwrap();
        assert!(open().contains("delete the folder"), "{}", open());
    }

    #[test]
    fn a_crl_is_made_again_only_when_due_and_its_number_grows() {
        let space = Space::new();
        let crl = |at| space.authority.crl(Issuer::Intermediate, at).unwrap();
        let number = |der: &[u8]| {
            put(space.folder.path(), "n.der", der);
            openssl(
                space.folder.path(),
                &["crl", "-inform", "DER", "-in", "n.der", "-noout", "-crlnumber"],
            )
        };
        let first = crl(now());
        assert_eq!(crl(days_later(3)), first);
        assert_eq!(number(&first).trim(), "crlNumber=0x01");
        let second = crl(days_later(4));
        assert_eq!(number(&second).trim(), "crlNumber=0x02");
        let issued = space.issue(&server("smtp.chu.fr"));
        assert_eq!(crl(days_later(4)), second);
        space
            .authority
            .revoke(
                &issued.serial.to_uppercase(),
                RevocationReason::Superseded,
                days_later(4),
            )
            .unwrap();
        space
            .authority
            .revoke(&issued.serial, RevocationReason::KeyCompromise, days_later(5))
            .unwrap();
        let third = crl(days_later(4));
        assert_eq!(number(&third).trim(), "crlNumber=0x03");
        let again = Authority::create_or_open(&space.folder.path().join("authority"), options(), now()).unwrap();
        assert_eq!(again.crl(Issuer::Intermediate, days_later(4)).unwrap(), third);
        assert!(matches!(
            space.authority.revoke("00", RevocationReason::Unspecified, now()),
            Err(AuthorityError::UnknownSerial(_))
        ));
    }

    #[test]
    fn a_pkcs12_file_opens_in_openssl_without_its_legacy_provider() {
        let space = Space::new();
        let folder = space.folder.path();
        for key in [KeyKind::EcdsaP256, KeyKind::Rsa2048] {
            let mut request = server("smtp.chu.fr");
            request.key = Some(key);
            let issued = space.issue(&request);
            put(folder, "x.p12", &pkcs12(&issued, "DUI des Lilas", "secret").unwrap());
            openssl(folder, &["pkcs12", "-in", "x.p12", "-passin", "pass:secret", "-noout"]);
            let text = openssl(
                folder,
                &["pkcs12", "-in", "x.p12", "-passin", "pass:secret", "-nodes", "-info"],
            );
            assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 3, "{text}");
            assert!(
                text.contains("BEGIN PRIVATE KEY") && text.contains("AES-256-CBC"),
                "{text}"
            );
            put(folder, "x.key", issued.key_pem().as_bytes());
            openssl(folder, &["pkey", "-in", "x.key", "-check", "-noout"]);
        }
    }

    #[test]
    fn what_cannot_go_into_a_certificate_is_refused_by_name() {
        let space = Space::new();
        let issue = |change: &dyn Fn(&mut super::super::Request)| {
            let mut request = server("smtp.chu.fr");
            change(&mut request);
            space.authority.issue(&request, now()).unwrap_err().to_string()
        };
        assert!(issue(&|r| r.subject.country = "France".to_owned()).contains("\"France\" is not two letters"));
        assert!(issue(&|r| r.subject.structure = " ".to_owned()).contains("Structure of the subject is empty"));
        assert!(issue(&|r| r.names.rfc822 = vec!["é@chu.fr".to_owned()]).contains("\"é@chu.fr\" is not ASCII"));
        assert_eq!(space.authority.issued().len(), 1);
    }

    #[test]
    fn parts_that_run_beside_each_other_may_share_it() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Authority>();
        shared::<super::super::TrustStore>();
        shared::<super::super::Identity>();
        shared::<crate::trust::AllowList>();
    }
}
