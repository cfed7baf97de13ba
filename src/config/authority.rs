//! `[authority]` of a space: its chain, who signs OCSP answers, how long what it publishes is good for.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::reader::{FromToml, Section, Wrong};
use super::value::choose;
use crate::pki::{AuthorityOptions, Chain, OcspSigner, PublicationValidity};

/// What a space says of its authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceAuthority {
    /// The chain in force.
    pub chain: Chain,
    /// Who signs OCSP answers.
    pub ocsp_signer: OcspSigner,
    /// `nextUpdate` of what it publishes.
    pub validity: PublicationValidity,
}

impl SpaceAuthority {
    /// What the authority is opened with, its web face being at `base_url`.
    pub fn options(&self, base_url: String) -> AuthorityOptions {
        AuthorityOptions {
            base_url,
            key: None,
            chain: self.chain,
            validity: self.validity,
            ocsp_signer: self.ocsp_signer,
        }
    }

    /// Reads the section; `chain` stands in `[space]`.
    pub(super) fn read(section: Section<'_>, chain: Chain) -> Self {
        let default = PublicationValidity::default();
        let read = Self {
            chain,
            ocsp_signer: section.or("ocsp_signer", OcspSigner::default()),
            validity: PublicationValidity {
                crl: section.within("crl_validity", default.crl, VALIDITY),
                delta_crl: section.within("delta_crl_validity", default.delta_crl, VALIDITY),
                ocsp: section.within("ocsp_validity", default.ocsp, VALIDITY),
            },
        };
        section.close();
        read
    }
}

impl FromToml for Chain {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(
            value,
            &[("test", Self::Test), ("production-shaped", Self::ProductionShaped)],
        )
    }
}

impl FromToml for OcspSigner {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(value, &[("delegated", Self::Delegated), ("issuer", Self::Issuer)])
    }
}

/// Shorter than a second, certificates' times cannot say it.
const VALIDITY: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_hours(24 * 366);
