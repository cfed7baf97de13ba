//! `[journal]`: what the journal keeps beside every decision.

use toml::de::DeValue;

use super::reader::{FromToml, Section, Wrong};
use super::value::choose;
use crate::listener::Handshakes;

/// How much evidence the journal keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// Which handshakes leave theirs.
    pub handshakes: Handshakes,
}

impl FromToml for Handshakes {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(value, &[("refused", Self::Refused), ("all", Self::All)])
    }
}

impl Journal {
    pub(super) fn read(section: Section<'_>) -> Self {
        let handshakes = section.or("handshakes", Handshakes::default());
        section.close();
        Self { handshakes }
    }
}
