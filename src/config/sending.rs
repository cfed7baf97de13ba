//! `[sending]`: what is asked of the messages that an operator's own users send.

use toml::de::DeValue;

use super::reader::{FromToml, Section, Wrong};
use super::value::{Size, choose};
use crate::policy::form::Mode;
use crate::policy::submission::{OldReceipt, Rules};

impl FromToml for Mode {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(
            value,
            &[("off", Self::Off), ("report", Self::Report), ("enforce", Self::Enforce)],
        )
    }
}

/// Reads the section; a gateway has one, a sandbox one per operator.
pub(super) fn read(section: Section<'_>) -> Rules {
    let default = Rules::default();
    let is_heard = section.or("return_receipt_to", default.old_receipt == OldReceipt::Heard);
    let rules = Rules {
        checks: section.or("checks", default.checks),
        old_receipt: if is_heard {
            OldReceipt::Heard
        } else {
            OldReceipt::Ignored
        },
        patient_bytes_max: section
            .within(
                "patient_size_max",
                Size(default.patient_bytes_max),
                Size(64 << 10)..=Size(1 << 30),
            )
            .0,
    };
    section.close();
    rules
}
