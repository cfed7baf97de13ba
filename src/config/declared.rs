//! What a file has declared so far and where: nothing is declared twice, and what is named elsewhere exists.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use super::reader::{At, Section};
use crate::identity::{Address, Domain, Finess};

/// Things of one kind, each with the line that declares it.
pub(super) struct Unique<K>(HashMap<K, usize>);

impl<K> Default for Unique<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Unique<K> {
    /// Declares `key`; a second declaration is reported with the line of the first.
    pub(super) fn declare(&mut self, section: &Section<'_>, key: &At<K>, shown: impl Display) {
        let line = section.line(key);
        if let Some(first) = self.0.insert(key.value.clone(), line) {
            self.0.insert(key.value.clone(), first);
            section.wrong(
                key,
                format!("{shown} is declared twice"),
                format!("remove one of the two; the other is on line {first}"),
            );
        }
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }
}

/// What a whole file may hold only once, whichever operator declares it.
#[derive(Default)]
pub(super) struct Declared {
    pub(super) operators: Unique<String>,
    pub(super) domains: Unique<Domain>,
    pub(super) hosts: Unique<Domain>,
    pub(super) ports: Unique<u16>,
    pub(super) boxes: Unique<Address>,
    structures: HashMap<Finess, Structure>,
}

/// What a FINESS number stands for in this file.
struct Structure {
    line: usize,
    /// The EJ of an EG; `None` for an EJ.
    entity: Option<Finess>,
}

impl Declared {
    /// Declares a number as an EJ. Several operators may know the same one, but it is then no EG.
    pub(super) fn declare_entity(&mut self, section: &Section<'_>, finess: &At<Finess>) {
        self.declare_structure(section, finess, None);
    }

    /// Declares a number as an EG of an EJ. Every EG belongs to exactly one EJ, whichever operators know it.
    pub(super) fn declare_establishment(&mut self, section: &Section<'_>, finess: &At<Finess>, entity: &Finess) {
        self.declare_structure(section, finess, Some(entity));
    }

    fn declare_structure(&mut self, section: &Section<'_>, finess: &At<Finess>, entity: Option<&Finess>) {
        let Some(first) = self.structures.get(&finess.value) else {
            let structure = Structure {
                line: section.line(finess),
                entity: entity.cloned(),
            };
            self.structures.insert(finess.value.clone(), structure);
            return;
        };
        let line = first.line;
        match (&first.entity, entity) {
            (Some(before), Some(now)) if before != now => section.wrong(
                finess,
                format!(
                    "establishment {} belongs to entity {before} on line {line} and to {now} here",
                    finess.value
                ),
                "an establishment (EG) belongs to exactly one legal entity (EJ): keep one",
            ),
            (Some(_), None) | (None, Some(_)) => section.wrong(
                finess,
                format!("{} is both a legal entity (EJ) and an establishment (EG)", finess.value),
                format!("give each its own number; the other is on line {line}"),
            ),
            _ => {}
        }
    }
}
