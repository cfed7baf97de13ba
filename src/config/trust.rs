//! `[trust]`: whom a gateway believes.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::allow_list::AllowListSource;
use super::reader::{FromToml, Section, Wrong};
use super::revocation::Revocation;
use super::value::choose;
use crate::pki::MissingRevocation;

/// The authority's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// CA certificates, PEM; never empty.
    pub ca: Vec<PathBuf>,
    /// Revocation lists, PEM or DER.
    pub crl: Vec<PathBuf>,
    /// The allow list.
    pub allow_list: AllowListSource,
    /// How revocation and usage are judged.
    pub revocation: Revocation,
    /// How often the files are looked at again.
    pub reload: Duration,
}

impl FromToml for MissingRevocation {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(value, &[("accept", Self::Accept), ("refuse", Self::Refuse)])
    }
}

impl Trust {
    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let ca = section.required_files("ca");
        let crl = section.files("crl");
        let allow_list = AllowListSource::read(&section);
        let missing = section.optional::<MissingRevocation>("missing_revocation");
        let reload = section.within("reload", RELOAD, RELOAD_SHORTEST..=RELOAD_LONGEST);
        if let Some(missing) = &missing
            && missing.value == MissingRevocation::Accept
        {
            section.warn(
                missing,
                "a revoked certificate passes whenever its revocation list is missing or too old".into(),
            );
        }
        let missing = missing.map_or(MissingRevocation::Refuse, |at| at.value);
        let revocation = Revocation::read(&section, missing);
        section.close();
        Some(Self {
            ca,
            crl,
            allow_list: allow_list?,
            revocation,
            reload,
        })
    }
}

const RELOAD: Duration = Duration::from_mins(1);
const RELOAD_SHORTEST: Duration = Duration::from_secs(1);
const RELOAD_LONGEST: Duration = Duration::from_hours(24);
