//! Which establishment a box's message counts for: pure, from the directory alone.
//!
//! Never from the certificate's OU and never from the domain: one domain may serve several establishments, one establishment
//! several domains. The register of boxes is the operator's own statement, so it decides.

use crate::directory::{Attachment, BoxType, Directory, MailBox};
use crate::identity::{Address, Finess};
use crate::journal::{Owner, ReceivedBox};

/// What a message counts for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// FINESS EG; `None`: unknown, a bucket of its own that the report shows.
    pub establishment: Option<Finess>,
    /// FINESS EJ; `None`: the box belongs to no structure.
    pub entity: Option<Finess>,
    /// The rule that decided.
    pub rule: Rule,
}

/// The rules, in the order they are tried for a box attached to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The box is attached to that establishment.
    Attached,
    /// The box is attached to an entity, and the operator declared the establishment it counts for.
    Declared,
    /// The message's `Reply-To` names a box of that establishment.
    ReplyTo,
    /// The entity has no other establishment.
    OnlyEstablishment,
    /// The entity is known, the establishment is not.
    EstablishmentUnknown,
    /// The box belongs to no structure.
    NoStructure,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Attached,
        Self::Declared,
        Self::ReplyTo,
        Self::OnlyEstablishment,
        Self::EstablishmentUnknown,
        Self::NoStructure,
    ];

    /// The stable id that journals hold.
    pub fn id(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Declared => "declared",
            Self::ReplyTo => "reply-to",
            Self::OnlyEstablishment => "only-establishment",
            Self::EstablishmentUnknown => "establishment-unknown",
            Self::NoStructure => "no-structure",
        }
    }
}

impl Attribution {
    /// The same, as an event freezes it.
    pub fn owner(&self, box_type: BoxType) -> Owner {
        Owner {
            box_type: box_type.code().to_owned(),
            establishment: self.establishment.as_ref().map(Finess::to_string),
            entity: self.entity.as_ref().map(Finess::to_string),
            rule: self.rule.id().to_owned(),
        }
    }
}

/// Decides what a message of `mailbox` counts for. `reply_to` holds the addresses of its `Reply-To` field in order; give none for
/// a received message.
pub fn attribute(mailbox: &MailBox, reply_to: &[Address], directory: &Directory) -> Attribution {
    match &mailbox.attachment {
        Attachment::Establishment(eg) => of_establishment(eg, Rule::Attached, directory),
        Attachment::Entity { entity, counts_for } => {
            let declared = counts_for.as_ref().map(|eg| (eg, Rule::Declared));
            let found = declared
                .or_else(|| replying(mailbox, entity, reply_to, directory).map(|eg| (eg, Rule::ReplyTo)))
                .or_else(|| only_establishment(entity, directory).map(|eg| (eg, Rule::OnlyEstablishment)));
            match found {
                Some((eg, rule)) => of_establishment(eg, rule, directory),
                None => Attribution {
                    establishment: None,
                    entity: Some(entity.clone()),
                    rule: Rule::EstablishmentUnknown,
                },
            }
        }
        Attachment::None => Attribution {
            establishment: None,
            entity: None,
            rule: Rule::NoStructure,
        },
    }
}

/// Every EG belongs to exactly one EJ, so the register's entity of the EG is the one to sum under.
fn of_establishment(eg: &Finess, rule: Rule, directory: &Directory) -> Attribution {
    Attribution {
        establishment: Some(eg.clone()),
        entity: directory.establishment(eg).map(|known| known.entity.clone()),
        rule,
    }
}

/// How a delivery to a local box stands in the journal.
pub fn received_box(mailbox: &MailBox, directory: &Directory) -> ReceivedBox {
    ReceivedBox {
        address: (&mailbox.address).into(),
        owner: attribute(mailbox, &[], directory).owner(mailbox.box_type),
    }
}

/// Only the software of a shared DUI states its establishment this way; for people, `Reply-To` is a matter of taste. A box of
/// another entity is passed over: nobody may count for a stranger.
fn replying<'a>(
    mailbox: &MailBox,
    entity: &Finess,
    reply_to: &[Address],
    directory: &'a Directory,
) -> Option<&'a Finess> {
    if mailbox.box_type != BoxType::Applicative {
        return None;
    }
    let establishment_of = |address: &Address| match &directory.find(address)?.attachment {
        Attachment::Establishment(eg) => directory.establishment(eg),
        Attachment::Entity { .. } | Attachment::None => None,
    };
    reply_to
        .iter()
        .filter_map(establishment_of)
        .find(|establishment| establishment.entity == *entity)
        .map(|establishment| &establishment.finess)
}

fn only_establishment<'a>(entity: &Finess, directory: &'a Directory) -> Option<&'a Finess> {
    let mut own = directory.establishments().filter(|eg| eg.entity == *entity);
    match (own.next(), own.next()) {
        (Some(only), None) => Some(&only.finess),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicator::fake;

    const TYPES: [BoxType; 4] = [
        BoxType::Personal,
        BoxType::Organisational,
        BoxType::Applicative,
        BoxType::Patient,
    ];

    fn finess(text: &str) -> Finess {
        text.parse().unwrap()
    }

    fn addresses(list: &[&str]) -> Vec<Address> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Box type × attachment × `Reply-To` → EG, EJ, rule; empty text for none.
    fn verdict(box_type: BoxType, attachment: &Attachment, reply_to: &[&str]) -> (String, String, Rule) {
        let directory = fake::lilas();
        let mailbox = fake::mailbox("test@lilas.mssante.fr", box_type, attachment.clone());
        let found = attribute(&mailbox, &addresses(reply_to), &directory);
        let text = |number: Option<Finess>| number.map(|n| n.to_string()).unwrap_or_default();
        (text(found.establishment), text(found.entity), found.rule)
    }

    fn whole(entity: &str, counts_for: Option<&str>) -> Attachment {
        Attachment::Entity {
            entity: finess(entity),
            counts_for: counts_for.map(finess),
        }
    }

    #[test]
    fn a_box_of_an_establishment_counts_for_it_whatever_reply_to_says() {
        let attached = Attachment::Establishment(finess(fake::SSIAD));
        for box_type in TYPES {
            for reply_to in [&[][..], &["ehpad@lilas.mssante.fr"]] {
                assert_eq!(
                    verdict(box_type, &attached, reply_to),
                    (fake::SSIAD.into(), fake::LILAS.into(), Rule::Attached)
                );
            }
        }
    }

    #[test]
    fn a_declared_rule_comes_first() {
        let declared = whole(fake::LILAS, Some(fake::FOYER));
        for box_type in TYPES {
            assert_eq!(
                verdict(box_type, &declared, &["ehpad@lilas.mssante.fr"]),
                (fake::FOYER.into(), fake::LILAS.into(), Rule::Declared)
            );
        }
    }

    #[test]
    fn the_first_reply_to_box_of_the_same_entity_decides_for_a_software() {
        let shared = whole(fake::LILAS, None);
        for (reply_to, eg) in [
            (&["ehpad@lilas.mssante.fr"][..], fake::EHPAD),
            (&["ssiad@lilas.mssante.fr", "ehpad@lilas.mssante.fr"], fake::SSIAD),
            (&["nobody@lilas.mssante.fr", "EHPAD@lilas.mssante.fr"], fake::EHPAD),
            (&["seul@lilas.mssante.fr", "ehpad@lilas.mssante.fr"], fake::EHPAD),
            (
                &[
                    "dui@lilas.mssante.fr",
                    "libre@lilas.mssante.fr",
                    "ssiad@lilas.mssante.fr",
                ],
                fake::SSIAD,
            ),
        ] {
            assert_eq!(
                verdict(BoxType::Applicative, &shared, reply_to),
                (eg.into(), fake::LILAS.into(), Rule::ReplyTo),
                "{reply_to:?}"
            );
        }
    }

    #[test]
    fn reply_to_decides_nothing_for_people_nor_through_boxes_of_another_entity() {
        let shared = whole(fake::LILAS, None);
        let unknown = (String::new(), fake::LILAS.to_owned(), Rule::EstablishmentUnknown);
        for box_type in [BoxType::Personal, BoxType::Organisational, BoxType::Patient] {
            assert_eq!(verdict(box_type, &shared, &["ehpad@lilas.mssante.fr"]), unknown);
        }
        for reply_to in [
            &[][..],
            &["seul@lilas.mssante.fr"],
            &["libre@lilas.mssante.fr"],
            &["dui@lilas.mssante.fr"],
            &["ehpad@elsewhere.mssante.fr"],
        ] {
            assert_eq!(
                verdict(BoxType::Applicative, &shared, reply_to),
                unknown,
                "{reply_to:?}"
            );
        }
    }

    #[test]
    fn the_only_establishment_of_an_entity_is_the_answer() {
        for box_type in TYPES {
            assert_eq!(
                verdict(box_type, &whole(fake::SEUL, None), &["ehpad@lilas.mssante.fr"]),
                (fake::SEUL_EG.into(), fake::SEUL.into(), Rule::OnlyEstablishment)
            );
        }
    }

    #[test]
    fn an_entity_without_establishments_stays_unknown() {
        assert_eq!(
            verdict(BoxType::Applicative, &whole(fake::EMPTY, None), &[]),
            (String::new(), fake::EMPTY.into(), Rule::EstablishmentUnknown)
        );
    }

    #[test]
    fn a_box_without_structure_counts_for_none() {
        for box_type in TYPES {
            assert_eq!(
                verdict(box_type, &Attachment::None, &["ehpad@lilas.mssante.fr"]),
                (String::new(), String::new(), Rule::NoStructure)
            );
        }
    }

    #[test]
    fn the_owner_in_the_journal_says_the_same() {
        let directory = fake::lilas();
        let mailbox = fake::mailbox("t@lilas.mssante.fr", BoxType::Applicative, whole(fake::LILAS, None));
        let owner = attribute(&mailbox, &[], &directory).owner(BoxType::Applicative);
        assert_eq!(owner.box_type, "APP");
        assert_eq!(
            (owner.establishment, owner.entity.as_deref()),
            (None, Some(fake::LILAS))
        );
        assert_eq!(owner.rule, "establishment-unknown");
    }
}
