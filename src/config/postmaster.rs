//! `postmaster` of an operator: who reads what is written to it where no box of that name exists (RFC 5321 §4.5.1).

use super::boxes::Boxes;
use super::reader::{At, Section};
use crate::directory::BoxState;
use crate::identity::{Address, Domain, POSTMASTER};

/// What an operator's section says; its boxes, which it names, are read after it.
pub(super) struct Postmaster {
    named: Option<At<Address>>,
    /// Where to complain when nothing is said.
    operator: At<()>,
}

impl Postmaster {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            named: section.optional::<Address>("postmaster"),
            operator: section.here(),
        }
    }

    /// The box that it names, once the boxes are known. It has to be one that takes mail. Without any, the domains that have no box of that
    /// name are a warning: the operator works, and breaks a rule that everybody else relies on.
    pub(super) fn among(self, boxes: &Boxes, domains: &[Domain], parent: &Section<'_>) -> Option<Address> {
        let Some(named) = self.named else {
            warn_without(parent, &self.operator, boxes, domains);
            return None;
        };
        let declared = boxes.found.iter().find(|one| one.mailbox.address == named.value);
        if !boxes.may_hold(&named) {
            parent.wrong(
                &named,
                format!("box {} is not declared", named.masked()),
                "name a box of this operator that somebody reads",
            );
        } else if declared.is_some_and(|one| one.mailbox.state == BoxState::Closed) {
            parent.wrong(
                &named,
                format!("box {} is closed for good", named.masked()),
                "name a box of this operator that takes mail",
            );
        }
        Some(named.value)
    }
}

fn warn_without(parent: &Section<'_>, operator: &At<()>, boxes: &Boxes, domains: &[Domain]) {
    let without: Vec<&str> = domains
        .iter()
        .filter(|domain| !boxes.may_have_postmaster(domain))
        .map(Domain::as_str)
        .collect();
    if !without.is_empty() {
        parent.warn(
            operator,
            format!(
                "nobody reads what is written to {POSTMASTER} at {}, and it is refused; RFC 5321 §4.5.1 wants it taken: name a box under \
                 `postmaster`",
                without.join(", ")
            ),
        );
    }
}
