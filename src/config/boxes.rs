//! `[[box]]`: what has an address, and what its messages count for.

use std::collections::{HashMap, HashSet};

use super::declared::Declared;
use super::reader::{At, Section};
use super::retention::Quota;
use super::structure::Structures;
use crate::directory::{Attachment, BoxState, BoxType, MailBox};
use crate::identity::{Address, Domain, Finess, Rpps};

/// A box as declared.
#[derive(Clone, Debug)]
pub struct DeclaredBox {
    /// The box of the directory.
    pub mailbox: MailBox,
    /// Its own quota; `None`: what holds for every box.
    pub quota: Option<Quota>,
}

/// The boxes of one operator; addresses are known even when the rest of their section is wrong.
#[derive(Default)]
pub(super) struct Boxes {
    pub(super) found: Vec<DeclaredBox>,
    pub(super) addresses: HashSet<Address>,
    /// Whether some address could not be read: a login or answer may then name that box, and is not reported as unknown.
    unreadable: bool,
    /// Address → its EJ, for the certificate of a login that opens it.
    pub(super) entity_of: HashMap<Address, Finess>,
}

impl Boxes {
    /// Reads `[[box]]` under `parent`. Without any readable domain no box is foreign.
    pub(super) fn read(
        parent: &Section<'_>,
        domains: &[Domain],
        structures: &Structures,
        declared: &mut Declared,
    ) -> Self {
        let mut boxes = Self::default();
        for section in parent.sections("box") {
            boxes.read_box(&section, domains, structures, declared);
            section.close();
        }
        boxes
    }

    /// Whether the box is declared, or may be one whose address could not be read.
    pub(super) fn may_hold(&self, address: &Address) -> bool {
        self.unreadable || self.addresses.contains(address)
    }

    /// Whether a box postmaster is declared in the domain, or may be.
    pub(super) fn may_have_postmaster(&self, domain: &Domain) -> bool {
        let is_it = |address: &Address| address.is_postmaster() && address.domain() == domain;
        self.unreadable || self.addresses.iter().any(is_it)
    }

    fn read_box(
        &mut self,
        section: &Section<'_>,
        domains: &[Domain],
        structures: &Structures,
        declared: &mut Declared,
    ) {
        let address = section.required::<Address>("address");
        let box_type = section.required::<BoxType>("type");
        let label = section.required::<String>("label");
        let state = section.or("state", BoxState::Active);
        let holder = section.optional::<Rpps>("holder");
        let quota = Quota::read(section);
        let attachment = read_attachment(section, structures);
        check_label(section, label.as_ref());
        check_holder(section, holder.as_ref(), box_type.as_ref(), structures);
        if let (Some(attachment), Some(box_type)) = (&attachment, &box_type) {
            check_attachment(section, attachment, box_type, holder.is_some());
        }
        self.unreadable |= address.is_none();
        if let Some(address) = &address {
            check_domain(section, address, domains);
            declared
                .boxes
                .declare(section, address, format_args!("box {}", address.masked()));
            self.addresses.insert(address.value.clone());
            if let Some(entity) = attachment.as_ref().and_then(|found| entity_of(found, structures)) {
                self.entity_of.insert(address.value.clone(), entity);
            }
        }
        if let (Some(address), Some(box_type), Some(label), Some(attachment)) = (address, box_type, label, attachment) {
            self.found.push(DeclaredBox {
                mailbox: MailBox {
                    address: address.value,
                    box_type: box_type.value,
                    label: label.value,
                    attachment,
                    holder: holder.map(|holder| holder.value),
                    state,
                },
                quota,
            });
        }
    }
}

/// The attachment, or `None` when it is wrong (then reported).
fn read_attachment(section: &Section<'_>, structures: &Structures) -> Option<Attachment> {
    let establishment = section.optional::<Finess>("establishment");
    let entity = section.optional::<Finess>("entity");
    let counts_for = section.optional::<Finess>("counts_for");
    if let Some(establishment) = &establishment {
        known_establishment(section, establishment, structures);
    }
    if let (Some(counts_for), None) = (&counts_for, &entity) {
        section.wrong(
            counts_for,
            "counts_for without entity: only a box attached to a whole legal entity needs the rule".into(),
            "attach the box with `entity`, or remove counts_for",
        );
    }
    match (establishment, entity) {
        (Some(_), Some(entity)) => {
            section.wrong(
                &entity,
                "the box is attached to an establishment and to a legal entity".into(),
                "keep one: `establishment` if only one establishment uses it, else `entity`",
            );
            None
        }
        (Some(establishment), None) => Some(Attachment::Establishment(establishment.value)),
        (None, Some(entity)) => {
            check_rule(section, &entity, counts_for.as_ref(), structures);
            Some(Attachment::Entity {
                entity: entity.value,
                counts_for: counts_for.map(|rule| rule.value),
            })
        }
        (None, None) => Some(Attachment::None),
    }
}

/// The entity exists, and the establishment that the messages count for is one of its own.
fn check_rule(section: &Section<'_>, entity: &At<Finess>, rule: Option<&At<Finess>>, structures: &Structures) {
    if !structures.entity_names.contains_key(&entity.value) {
        section.wrong(
            entity,
            format!("legal entity {} is not declared", entity.value),
            "add an [[entity]] section with this number",
        );
        return;
    }
    let Some(rule) = rule else { return };
    if known_establishment(section, rule, structures)
        && let Some(Some(owner)) = structures.entity_of.get(&rule.value)
        && *owner != entity.value
    {
        section.wrong(
            rule,
            format!(
                "establishment {} belongs to {owner}, not to {}",
                rule.value, entity.value
            ),
            "name an establishment of the box's own legal entity",
        );
    }
}

fn known_establishment(section: &Section<'_>, establishment: &At<Finess>, structures: &Structures) -> bool {
    let known = structures.entity_of.contains_key(&establishment.value);
    if !known {
        section.wrong(
            establishment,
            format!("establishment {} is not declared", establishment.value),
            "add an [[establishment]] section with this number",
        );
    }
    known
}

/// Someone answers for every box: a holder, or a structure.
fn check_attachment(section: &Section<'_>, attachment: &Attachment, box_type: &At<BoxType>, has_holder: bool) {
    if *attachment != Attachment::None || (box_type.value == BoxType::Personal && has_holder) {
        return;
    }
    let (problem, remedy) = match box_type.value {
        BoxType::Personal => (
            "a PER box without holder, establishment or entity belongs to nobody",
            "add `holder` (an RPPS number), or the structure that registered the person",
        ),
        _ => (
            "an ORG or APP box without establishment or entity belongs to nobody",
            "add `establishment`, or `entity` if the whole legal entity uses it",
        ),
    };
    section.wrong(box_type, problem.into(), remedy);
}

fn check_holder(
    section: &Section<'_>,
    holder: Option<&At<Rpps>>,
    box_type: Option<&At<BoxType>>,
    structures: &Structures,
) {
    let Some(holder) = holder else { return };
    if !structures.holders_unreadable && !structures.holders.contains(&holder.value) {
        section.wrong(
            holder,
            format!("person {} is not declared", holder.value),
            "add a [[person]] section with this number",
        );
    }
    if box_type.is_some_and(|box_type| box_type.value != BoxType::Personal) {
        section.wrong(
            holder,
            "only a PER box has a holder".into(),
            "remove `holder`, or make the box PER",
        );
    }
}

fn check_label(section: &Section<'_>, label: Option<&At<String>>) {
    if let Some(label) = label
        && label.chars().count() > LABEL_CHARS_MAX
    {
        section.warn(
            label,
            format!(
                "the label is longer than the {LABEL_CHARS_MAX} characters of the national model and will be cut there"
            ),
        );
    }
}

fn check_domain(section: &Section<'_>, address: &At<Address>, domains: &[Domain]) {
    if !domains.is_empty() && !domains.contains(address.domain()) {
        section.wrong(
            address,
            format!("box {} is in none of this operator's domains", address.masked()),
            format!("add \"{}\" to its `domains`, or correct the address", address.domain()),
        );
    }
}

fn entity_of(attachment: &Attachment, structures: &Structures) -> Option<Finess> {
    match attachment {
        Attachment::Establishment(establishment) => structures.entity_of.get(establishment).cloned().flatten(),
        Attachment::Entity { entity, .. } => Some(entity.clone()),
        Attachment::None => None,
    }
}

/// Of a box's description in a copy of the national model (MOS `BoiteLettreMSS`).
const LABEL_CHARS_MAX: usize = 75;
