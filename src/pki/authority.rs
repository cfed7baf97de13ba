//! The sandbox authority: a root, the one intermediate of the field's range, what they issued, what they revoked.
//!
//! Everything lives in one private folder. The registry is written last when the folder is created and before a certificate leaves
//! when one is issued: no certificate exists that the registry does not know.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DistinguishedName,
    DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::certificate::{self, CertificateProblem};
use super::files::{self, FileError};
use super::issue::{country, random_serial};
use super::profile::{IssuerSection, KeyKind, Profiles};
use super::registry::{CertificateRecord, CrlState, Registry, Revocation, RevocationReason};

/// The root and the intermediate of the trust space, with their keys. Shared by reference between the parts that issue and publish.
pub struct Authority {
    pub(super) profiles: Profiles,
    pub(super) options: AuthorityOptions,
    root: Signer,
    intermediate: Signer,
    registry: Mutex<Registry>,
    folder: PathBuf,
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
    /// Of a complete CRL, in minutes.
    pub crl_minutes: u32,
    /// Of a delta CRL, in minutes.
    pub delta_crl_minutes: u32,
    /// Of an OCSP answer, in minutes.
    pub ocsp_minutes: u32,
}

impl Default for PublicationValidity {
    /// A week, a day, an hour.
    fn default() -> Self {
        Self {
            crl_minutes: 7 * 24 * 60,
            delta_crl_minutes: 24 * 60,
            ocsp_minutes: 60,
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
    #[error("no certificate with serial number {0} was issued here")]
    UnknownSerial(String),
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
    pub(super) crl_path: String,
}

impl Authority {
    /// Opens the authority of a folder, or creates it there; a folder whose creation was interrupted is created again.
    pub fn create_or_open(folder: &Path, options: AuthorityOptions, now: Timestamp) -> Result<Self, AuthorityError> {
        let profiles = Profiles::embedded().map_err(|error| AuthorityError::Profiles(error.to_string()))?;
        files::private_folder(folder)?;
        files::private_folder(&folder.join(CRL_FOLDER))?;
        let registry_path = folder.join(REGISTRY);
        let registry = if registry_path.exists() {
            Registry::open(&registry_path)?
        } else {
            create(folder, &profiles, &options, now)?
        };
        Ok(Self {
            root: open_signer(folder, ROOT, &profiles.root)?,
            intermediate: open_signer(folder, INTERMEDIATE, &profiles.intermediate)?,
            profiles,
            options,
            registry: Mutex::new(registry),
            folder: folder.to_owned(),
        })
    }

    /// Certificate of one of the two authorities.
    pub fn certificate(&self, issuer: Issuer) -> &CertificateDer<'static> {
        &self.signer(issuer).certificate
    }

    /// Where a client finds the CRL of an issuer, as certificates name it.
    pub fn crl_url(&self, issuer: Issuer) -> String {
        format!("{}{}", self.options.base_url, self.crl_path(issuer))
    }

    /// The path of that URL, for whoever serves it.
    pub fn crl_path(&self, issuer: Issuer) -> &str {
        &self.signer(issuer).crl_path
    }

    /// Everything issued so far, oldest first.
    pub fn issued(&self) -> Vec<CertificateRecord> {
        self.registry().certificates().to_vec()
    }

    /// Revokes a certificate by its serial number in hexadecimal; revoking twice keeps the first date. Durable when it returns.
    pub fn revoke(&self, serial: &str, reason: RevocationReason, now: Timestamp) -> Result<(), AuthorityError> {
        let serial = serial.to_ascii_lowercase().replace(':', "");
        self.registry().revoke(&serial, Revocation { at: now, reason })
    }

    /// The CRL of an issuer, DER. The last one is returned again until a revocation or half of its period makes a new one due.
    pub fn crl(&self, issuer: Issuer, now: Timestamp) -> Result<Vec<u8>, AuthorityError> {
        let mut registry = self.registry();
        let revoked: Vec<CertificateRecord> = registry
            .certificates()
            .iter()
            .filter(|record| record.issuer == issuer && record.revocation.is_some())
            .cloned()
            .collect();
        let path = self.folder.join(CRL_FOLDER).join(file_name(self.crl_path(issuer)));
        let last = registry.crl_state(issuer);
        if last.is_some_and(|last| is_fresh(last, revoked.len(), now)) && path.exists() {
            return Ok(files::read(&path, CRL_BYTES_MAX)?);
        }
        let hours = i64::from(self.profiles.authority.crl_hours);
        let state = CrlState {
            number: last.map_or(1, |last| last.number + 1),
            this_update: now,
            next_update: later(now, SignedDuration::from_hours(hours))?,
            revoked: revoked.len(),
        };
        let der = self.sign_crl(issuer, state, &revoked)?;
        // The file first: a crash in between makes the next call sign again, never serve an old list as fresh.
        files::write_public(&path, &der)?;
        registry.set_crl_state(issuer, state)?;
        Ok(der)
    }

    fn sign_crl(
        &self,
        issuer: Issuer,
        state: CrlState,
        revoked: &[CertificateRecord],
    ) -> Result<Vec<u8>, AuthorityError> {
        let mut entries = Vec::with_capacity(revoked.len());
        for record in revoked {
            let Some(revocation) = record.revocation else { continue };
            entries.push(RevokedCertParams {
                serial_number: SerialNumber::from(bytes_of(&record.serial)),
                revocation_time: date(revocation.at)?,
                reason_code: Some(revocation.reason.encoded()),
                invalidity_date: None,
            });
        }
        let params = CertificateRevocationListParams {
            this_update: date(state.this_update)?,
            next_update: date(state.next_update)?,
            crl_number: SerialNumber::from(state.number),
            issuing_distribution_point: None,
            revoked_certs: entries,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.signer(issuer).issuer)?.der().to_vec())
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

/// Keys and certificates of both authorities; the registry comes last and marks the folder as complete.
fn create(
    folder: &Path,
    profiles: &Profiles,
    options: &AuthorityOptions,
    now: Timestamp,
) -> Result<Registry, AuthorityError> {
    let root_key = options.key.unwrap_or(profiles.root.key).generate()?;
    let root_params = authority_params(profiles, &profiles.root, 1, now)?;
    let root_certificate = root_params.self_signed(&root_key)?;
    store(folder, ROOT, &root_key, &root_certificate)?;

    let key = options.key.unwrap_or(profiles.intermediate.key).generate()?;
    let mut params = authority_params(profiles, &profiles.intermediate, 0, now)?;
    params.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec![format!("{}{}", options.base_url, profiles.root.crl_path)],
    }];
    let root = rcgen::Issuer::new(root_params, root_key);
    let certificate = params.signed_by(&key, &root)?;
    store(folder, INTERMEDIATE, &key, &certificate)?;

    let mut registry = Registry::create(&folder.join(REGISTRY));
    registry.add(record_of(certificate.der(), Issuer::Root, None)?)?;
    Ok(registry)
}

fn authority_params(
    profiles: &Profiles,
    section: &IssuerSection,
    path_length: u8,
    now: Timestamp,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CountryName, country(&profiles.authority.country)?);
    params
        .distinguished_name
        .push(DnType::OrganizationName, profiles.authority.organisation.as_str());
    params
        .distinguished_name
        .push(DnType::CommonName, section.common_name.as_str());
    let (not_before, not_after) = validity(profiles, section.validity_days, now)?;
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.serial_number = Some(random_serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn store(folder: &Path, name: &str, key: &KeyPair, certificate: &rcgen::Certificate) -> Result<(), AuthorityError> {
    files::write_private(&folder.join(format!("{name}.key")), key.serialize_pem().as_bytes())?;
    files::write_public(&folder.join(format!("{name}.pem")), certificate.pem().as_bytes())?;
    Ok(())
}

fn open_signer(folder: &Path, name: &str, section: &IssuerSection) -> Result<Signer, AuthorityError> {
    let path = folder.join(format!("{name}.pem"));
    let damaged = |path: &Path, problem: String| AuthorityError::Material {
        path: path.to_owned(),
        problem,
    };
    let certificate = CertificateDer::from_pem_slice(&files::read(&path, PEM_BYTES_MAX)?)
        .map_err(|error| damaged(&path, format!("no certificate in it ({error})")))?;
    let key_path = folder.join(format!("{name}.key"));
    let key_pem = files::read(&key_path, PEM_BYTES_MAX)?;
    let key = KeyPair::from_pem(&String::from_utf8_lossy(&key_pem))
        .map_err(|error| damaged(&key_path, format!("no private key in it ({error})")))?;
    if !certificate::has_key(&certificate, &key) {
        return Err(damaged(&key_path, format!("not the key of {}", path.display())));
    }
    Ok(Signer {
        not_after: certificate::read(&certificate)?.not_after,
        issuer: rcgen::Issuer::from_ca_cert_der(&certificate, key)?,
        certificate,
        crl_path: section.crl_path.clone(),
    })
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

fn is_fresh(last: CrlState, revoked: usize, now: Timestamp) -> bool {
    let half = last.this_update.duration_until(last.next_update) / 2;
    let age = last.this_update.duration_until(now);
    last.revoked == revoked && !age.is_negative() && age < half
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

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn file_name(url_path: &str) -> &str {
    url_path.rsplit('/').next().unwrap_or(url_path)
}

const ROOT: &str = "root";
const INTERMEDIATE: &str = "intermediate";
const REGISTRY: &str = "issued.json";
const CRL_FOLDER: &str = "crl";
const PEM_BYTES_MAX: u64 = 1 << 20;
const CRL_BYTES_MAX: u64 = 64 << 20;

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
