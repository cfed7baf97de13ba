//! What the authority has issued and revoked: one file, replaced whole at each change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use x509_cert::ext::pkix::CrlReason;

use super::Issuer;
use super::authority::AuthorityError;
use super::files;
use super::profile::Profile;

/// A certificate that the authority issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// Who signed it.
    pub issuer: Issuer,
    /// Its profile; none for the intermediate authority.
    pub profile: Option<Profile>,
    /// Full subject DN, leaf first.
    pub subject: String,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Present once revoked, or on hold.
    pub revocation: Option<Revocation>,
    /// When it was last taken off hold: delta CRLs tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// What a revocation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The certificate was good and is revoked now.
    Now,
    /// It was on hold since then, and is revoked for good now.
    AfterHold(Revocation),
    /// It was revoked before; the first revocation stands.
    Before(Revocation),
}

/// Reasons of RFC 5280 §5.3.1 that an authority gives for an end entity or an intermediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// No reason given.
    Unspecified,
    /// The private key is known to others.
    KeyCompromise,
    /// The private key of the authority is known to others.
    CaCompromise,
    /// The subject's name changed.
    AffiliationChanged,
    /// Another certificate replaces it.
    Superseded,
    /// The subject no longer works.
    CessationOfOperation,
    /// Suspended: the one reason that can be taken back.
    CertificateHold,
    /// The subject may no longer do what the certificate lets it.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
    ];

    /// As commands name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::CaCompromise => "ca-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::CertificateHold => "certificate-hold",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    pub(super) fn encoded(self) -> CrlReason {
        match self {
            Self::Unspecified => CrlReason::Unspecified,
            Self::KeyCompromise => CrlReason::KeyCompromise,
            Self::CaCompromise => CrlReason::CaCompromise,
            Self::AffiliationChanged => CrlReason::AffiliationChanged,
            Self::Superseded => CrlReason::Superseded,
            Self::CessationOfOperation => CrlReason::CessationOfOperation,
            Self::CertificateHold => CrlReason::CertificateHold,
            Self::PrivilegeWithdrawn => CrlReason::PrivilegeWithdrawn,
        }
    }
}

/// The CRLs last made for an issuer. Complete and delta lists share one sequence of numbers (RFC 5280 §5.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CrlState {
    /// Number, times, and how much had changed when the complete list was made.
    #[serde(flatten)]
    pub(super) complete: ListState,
    /// The same of the delta list; none before the first.
    #[serde(default)]
    pub(super) delta: Option<ListState>,
    /// The complete list that delta lists refer to; none before the first.
    #[serde(default)]
    pub(super) base: Option<BaseState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListState {
    pub(super) number: u64,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    /// Value of the issuer's counter of changes: another one now means that the list is out of date.
    #[serde(alias = "revoked")]
    pub(super) changes: u64,
}

/// What the base of the delta lists says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BaseState {
    pub(super) number: u64,
    pub(super) this_update: Timestamp,
    pub(super) listed: BTreeMap<String, RevocationReason>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    crls: BTreeMap<Issuer, CrlState>,
    /// Revocations and releases so far.
    #[serde(default)]
    changes: BTreeMap<Issuer, u64>,
    certificates: Vec<CertificateRecord>,
    /// OCSP responders: they say of themselves that nobody checks them.
    #[serde(default)]
    responders: Vec<CertificateRecord>,
}

impl Content {
    fn mark(&mut self, place: usize, revocation: Option<Revocation>, released: Option<Timestamp>) {
        let record = &mut self.certificates[place];
        record.revocation = revocation;
        record.released = released.or(record.released);
        let issuer = record.issuer;
        *self.changes.entry(issuer).or_default() += 1;
    }
}

/// A serial number as records have it, without leading zeros.
fn canonical(serial: &str) -> String {
    let digits = serial.trim().trim_start_matches("0x").replace([':', ' '], "");
    digits.to_ascii_lowercase().trim_start_matches('0').to_owned()
}

/// The file and its content in memory: the two never differ after a method returns `Ok`.
#[derive(Debug)]
pub(super) struct Registry {
    path: PathBuf,
    content: Content,
}

impl Registry {
    pub(super) fn create(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            content: Content {
                version: VERSION,
                crls: BTreeMap::new(),
                changes: BTreeMap::new(),
                certificates: Vec::new(),
                responders: Vec::new(),
            },
        }
    }

    pub(super) fn open(path: &Path) -> Result<Self, AuthorityError> {
        let bytes = files::read(path, REGISTRY_BYTES_MAX)?;
        let unreadable = |problem: String| AuthorityError::Registry {
            path: path.to_owned(),
            problem,
        };
        let content: Content = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if content.version != VERSION {
            return Err(unreadable(format!(
                "version {}, this program reads version {VERSION}",
                content.version
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            content,
        })
    }

    pub(super) fn certificates(&self) -> &[CertificateRecord] {
        &self.content.certificates
    }

    /// The record of a serial number in any spelling: upper case, colons, leading zeros.
    pub(super) fn find(&self, serial: &str) -> Option<&CertificateRecord> {
        let wanted = canonical(serial);
        self.certificates()
            .iter()
            .find(|record| record.serial.trim_start_matches('0') == wanted)
    }

    pub(super) fn crl_state(&self, issuer: Issuer) -> Option<&CrlState> {
        self.content.crls.get(&issuer)
    }

    /// How many revocations and releases there were among an issuer's certificates.
    pub(super) fn changes(&self, issuer: Issuer) -> u64 {
        self.content.changes.get(&issuer).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, record: CertificateRecord) -> Result<(), AuthorityError> {
        self.change(|content| content.certificates.push(record))
    }

    pub(super) fn add_responder(&mut self, record: CertificateRecord) -> Result<(), AuthorityError> {
        self.change(|content| content.responders.push(record))
    }

    /// Marks a certificate; the first revocation stands, unless it was a hold.
    pub(super) fn revoke(&mut self, serial: &str, revocation: Revocation) -> Result<Revoked, AuthorityError> {
        let place = self.place(serial)?;
        let before = self.content.certificates[place].revocation;
        let outcome = match before {
            None => Revoked::Now,
            Some(hold)
                if hold.reason == RevocationReason::CertificateHold
                    && revocation.reason != RevocationReason::CertificateHold =>
            {
                Revoked::AfterHold(hold)
            }
            Some(first) => return Ok(Revoked::Before(first)),
        };
        self.change(|content| content.mark(place, Some(revocation), None))?;
        Ok(outcome)
    }

    /// Takes a certificate off hold.
    pub(super) fn release(&mut self, serial: &str, now: Timestamp) -> Result<(), AuthorityError> {
        let place = self.place(serial)?;
        let record = &self.content.certificates[place];
        let reason = record.revocation.map(|revocation| revocation.reason);
        if reason != Some(RevocationReason::CertificateHold) {
            let serial = record.serial.clone();
            return Err(AuthorityError::NotOnHold { serial, reason });
        }
        self.change(|content| content.mark(place, None, Some(now)))
    }

    fn place(&self, serial: &str) -> Result<usize, AuthorityError> {
        let wanted = canonical(serial);
        let mut certificates = self.content.certificates.iter();
        certificates
            .position(|record| record.serial.trim_start_matches('0') == wanted)
            .ok_or_else(|| AuthorityError::UnknownSerial(serial.chars().take(SERIAL_SHOWN).collect()))
    }

    pub(super) fn set_crl_state(&mut self, issuer: Issuer, state: CrlState) -> Result<(), AuthorityError> {
        self.change(|content| {
            content.crls.insert(issuer, state);
        })
    }

    /// Memory changes only once the file has.
    fn change(&mut self, change: impl FnOnce(&mut Content)) -> Result<(), AuthorityError> {
        let mut content = self.content.clone();
        change(&mut content);
        let bytes = serde_json::to_vec_pretty(&content).map_err(|error| AuthorityError::Registry {
            path: self.path.clone(),
            problem: error.to_string(),
        })?;
        files::write_private(&self.path, &bytes)?;
        self.content = content;
        Ok(())
    }
}

const VERSION: u32 = 1;
/// Some 100,000 certificates.
const REGISTRY_BYTES_MAX: u64 = 64 << 20;
/// How much of a wrong serial number an error repeats.
const SERIAL_SHOWN: usize = 64;
