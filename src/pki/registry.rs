//! What the authority has issued and revoked: one file, replaced whole at each change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
    /// Present once revoked.
    pub revocation: Option<Revocation>,
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
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
    /// The subject may no longer do what the certificate lets it.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    pub(super) fn encoded(self) -> rcgen::RevocationReason {
        match self {
            Self::Unspecified => rcgen::RevocationReason::Unspecified,
            Self::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
            Self::CaCompromise => rcgen::RevocationReason::CaCompromise,
            Self::AffiliationChanged => rcgen::RevocationReason::AffiliationChanged,
            Self::Superseded => rcgen::RevocationReason::Superseded,
            Self::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
        }
    }
}

/// The CRL last made for an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CrlState {
    pub(super) number: u64,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    /// How many revoked certificates it lists: fewer than now means that it is out of date.
    pub(super) revoked: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    crls: BTreeMap<Issuer, CrlState>,
    certificates: Vec<CertificateRecord>,
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
                certificates: Vec::new(),
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

    pub(super) fn crl_state(&self, issuer: Issuer) -> Option<CrlState> {
        self.content.crls.get(&issuer).copied()
    }

    pub(super) fn add(&mut self, record: CertificateRecord) -> Result<(), AuthorityError> {
        self.change(|content| content.certificates.push(record))
    }

    /// Marks a certificate; the first revocation stands.
    pub(super) fn revoke(&mut self, serial: &str, revocation: Revocation) -> Result<(), AuthorityError> {
        let certificates = &self.content.certificates;
        let place = certificates.iter().position(|record| record.serial == serial);
        let place = place.ok_or_else(|| AuthorityError::UnknownSerial(serial.chars().take(SERIAL_SHOWN).collect()))?;
        if certificates[place].revocation.is_some() {
            return Ok(());
        }
        self.change(|content| content.certificates[place].revocation = Some(revocation))
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
