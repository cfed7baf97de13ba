//! `[[entity]]`, `[[establishment]]` and `[[person]]`: the structures and the professionals an operator knows.

use std::collections::BTreeMap;
use std::collections::HashMap;

use super::declared::{Declared, Unique};
use super::reader::Section;
use super::value::is_month;
use crate::directory::{Entity, Establishment};
use crate::identity::{Finess, Rpps};

/// A professional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// RPPS number.
    pub rpps: Rpps,
    /// Family name.
    pub family_name: String,
    /// Given name.
    pub given_name: String,
    /// Profession, in the field's words: `médecin`, `infirmier`, `masseur-kinésithérapeute`.
    pub profession: String,
}

/// What the sections of this file declare; numbers are known even when the rest of their section is wrong, so that one mistake is
/// reported once.
#[derive(Default)]
pub(super) struct Structures {
    pub(super) entities: Vec<Entity>,
    pub(super) establishments: Vec<Establishment>,
    pub(super) people: Vec<Person>,
    /// EJ → its name, if readable.
    pub(super) entity_names: HashMap<Finess, String>,
    /// EG → its EJ, if readable and declared.
    pub(super) entity_of: HashMap<Finess, Option<Finess>>,
    pub(super) holders: Unique<Rpps>,
    /// Whether some person's number could not be read: a holder may then be that person, and is not reported as unknown.
    pub(super) holders_unreadable: bool,
}

impl Structures {
    /// Reads the three kinds of sections under `parent`.
    pub(super) fn read(parent: &Section<'_>, declared: &mut Declared) -> Self {
        let mut structures = Self::default();
        let mut entities = Unique::default();
        for section in parent.sections("entity") {
            structures.read_entity(section, &mut entities, declared);
        }
        let mut establishments = Unique::default();
        for section in parent.sections("establishment") {
            structures.read_establishment(section, &mut establishments, declared);
        }
        for section in parent.sections("person") {
            structures.read_person(section);
        }
        structures
    }

    fn read_entity(&mut self, section: Section<'_>, seen: &mut Unique<Finess>, declared: &mut Declared) {
        let finess = section.required::<Finess>("finess");
        let name = section.required::<String>("name");
        if let Some(finess) = &finess {
            seen.declare(&section, finess, format_args!("entity {}", finess.value));
            declared.declare_entity(&section, finess);
            let known = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
            self.entity_names.insert(finess.value.clone(), known);
        }
        section.close();
        if let (Some(finess), Some(name)) = (finess, name) {
            self.entities.push(Entity {
                finess: finess.value,
                name: name.value,
            });
        }
    }

    fn read_establishment(&mut self, section: Section<'_>, seen: &mut Unique<Finess>, declared: &mut Declared) {
        let finess = section.required::<Finess>("finess");
        let entity = section.required::<Finess>("entity");
        let name = section.required::<String>("name");
        let people = read_people(&section);
        if let Some(entity) = &entity
            && !self.entity_names.contains_key(&entity.value)
        {
            section.wrong(
                entity,
                format!("legal entity {} is not declared", entity.value),
                "add an [[entity]] section with this number",
            );
        }
        if let Some(finess) = &finess {
            seen.declare(&section, finess, format_args!("establishment {}", finess.value));
            let known = |entity: &&Finess| self.entity_names.contains_key(*entity);
            let entity = entity.as_ref().map(|entity| &entity.value).filter(known).cloned();
            if let Some(entity) = &entity {
                declared.declare_establishment(&section, finess, entity);
            }
            self.entity_of.insert(finess.value.clone(), entity);
        }
        section.close();
        if let (Some(finess), Some(entity), Some(name)) = (finess, entity, name) {
            self.establishments.push(Establishment {
                finess: finess.value,
                entity: entity.value,
                name: name.value,
                people,
            });
        }
    }

    fn read_person(&mut self, section: Section<'_>) {
        let rpps = section.required::<Rpps>("rpps");
        let family_name = section.required::<String>("family_name");
        let given_name = section.required::<String>("given_name");
        let profession = section.required::<String>("profession");
        match &rpps {
            Some(rpps) => self
                .holders
                .declare(&section, rpps, format_args!("person {}", rpps.value)),
            None => self.holders_unreadable = true,
        }
        section.close();
        if let (Some(rpps), Some(family), Some(given), Some(profession)) = (rpps, family_name, given_name, profession) {
            self.people.push(Person {
                rpps: rpps.value,
                family_name: family.value,
                given_name: given.value,
                profession: profession.value,
            });
        }
    }
}

/// The denominators of an establishment: people accompanied per month, and for the months it does not name.
fn read_people(section: &Section<'_>) -> BTreeMap<String, u32> {
    let mut people = BTreeMap::new();
    for (month, count) in section.entries::<u32>("people") {
        if !is_month(&month) {
            section.wrong(
                &month,
                format!("{:?} is not a month", month.value),
                "write year and month: \"2026-11\"",
            );
        }
        people.insert(month.value, count.value);
    }
    if let Some(default) = section.optional::<u32>("people_default") {
        people.insert(Establishment::EVERY_MONTH.to_owned(), default.value);
    }
    people
}
