//! What goes with a domain from one operator's section to another's: boxes and logins move; structures and people that they name are made
//! known to the new operator and stay known to the old one, whose counters name them.

use std::collections::BTreeSet;

use toml_edit::{Item, Table};

use super::edit::{self, list_of, push, push_section, sections, set, take, take_sections, text_of};

/// Moves everything of a domain, the domain included.
pub(super) fn move_domain(from: &mut Table, to: &mut Table, domain: &str) {
    take(from, "domains", |other| other.eq_ignore_ascii_case(domain));
    push(to, "domains", domain);
    let boxes = take_sections(from, "box", |one| in_domain(text_of(one, "address"), domain));
    let logins = take_logins(from, domain);
    copy_structures(from, to, &boxes, &logins);
    if let Some(postmaster) = take_postmaster(from, domain)
        && text_of(to, "postmaster").is_empty()
    {
        set(to, "postmaster", postmaster);
    }
    for one in boxes {
        push_section(to, "box", one);
    }
    for login in logins {
        push_login(to, login);
    }
    if domain.eq_ignore_ascii_case(PATIENT_DOMAIN) {
        for patient in take_sections(from, "patient", |_| true) {
            push_section(to, "patient", patient);
        }
    }
}

/// Removes a domain with its boxes and logins.
pub(super) fn drop_domain(operator: &mut Table, domain: &str) {
    take(operator, "domains", |other| other.eq_ignore_ascii_case(domain));
    take_sections(operator, "box", |one| in_domain(text_of(one, "address"), domain));
    take_logins(operator, domain);
    take_postmaster(operator, domain);
    if domain.eq_ignore_ascii_case(PATIENT_DOMAIN) {
        take_sections(operator, "patient", |_| true);
    }
}

/// The logins that open boxes of the domain, reduced to those; one that opens others too stays with the others.
fn take_logins(from: &mut Table, domain: &str) -> Vec<Table> {
    let concerned = |login: &Table| list_of(login, "boxes").iter().any(|one| in_domain(one, domain));
    let mut taken: Vec<Table> = sections(from, "login")
        .filter(|login| concerned(login))
        .cloned()
        .collect();
    for login in &mut taken {
        name_user(login);
        take(login, "boxes", |one| !in_domain(one, domain));
    }
    for login in edit::sections_mut(from, "login") {
        if concerned(login) {
            name_user(login);
            take(login, "boxes", |one| in_domain(one, domain));
        }
    }
    take_sections(from, "login", |login| list_of(login, "boxes").is_empty());
    taken
}

/// The box that reads postmaster's mail, where it is one of the domain: it goes with it.
fn take_postmaster(from: &mut Table, domain: &str) -> Option<String> {
    let named = text_of(from, "postmaster").to_owned();
    in_domain(&named, domain).then(|| {
        from.remove("postmaster");
        named
    })
}

/// A user name that is not written is the first box; that box may be about to go.
fn name_user(login: &mut Table) {
    if text_of(login, "kind") == "password"
        && login.get("user").is_none()
        && let Some(first) = list_of(login, "boxes").first()
    {
        set(login, "user", first.as_str());
    }
}

/// A login under a name that its new operator does not have yet.
fn push_login(to: &mut Table, mut login: Table) {
    let taken: BTreeSet<String> = sections(to, "login")
        .map(|one| text_of(one, "name").to_owned())
        .collect();
    let name = text_of(&login, "name").to_owned();
    if taken.contains(&name) {
        // One more than there are always has a free one among them.
        let mut names = (2..taken.len() + 3).map(|n| format!("{name}-{n}"));
        let free = names.find(|name| !taken.contains(name));
        set(&mut login, "name", free.unwrap_or_default());
    }
    push_section(to, "login", login);
}

/// Entities, establishments and people that boxes and logins name.
fn copy_structures(from: &Table, to: &mut Table, boxes: &[Table], logins: &[Table]) {
    let named = |tables: &[Table], keys: &[&str]| -> BTreeSet<String> {
        let values = tables
            .iter()
            .flat_map(|table| keys.iter().map(|key| text_of(table, key)));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    let establishments = named(boxes, &["establishment", "counts_for"]);
    let mut entities = named(boxes, &["entity"]);
    entities.extend(named(logins, &["entity"]));
    for one in sections(from, "establishment") {
        if establishments.contains(text_of(one, "finess")) {
            entities.insert(text_of(one, "entity").to_owned());
        }
    }
    copy(from, to, ("entity", "finess"), &entities);
    copy(from, to, ("establishment", "finess"), &establishments);
    copy(from, to, ("person", "rpps"), &named(boxes, &["holder"]));
}

fn copy(from: &Table, to: &mut Table, (kind, number): (&str, &str), wanted: &BTreeSet<String>) {
    let known: BTreeSet<String> = sections(to, kind).map(|one| text_of(one, number).to_owned()).collect();
    for one in sections(from, kind) {
        let own = text_of(one, number);
        if wanted.contains(own) && !known.contains(own) {
            push_section(to, kind, one.clone());
        }
    }
}

/// Notes that a domain has just left for another operator.
pub(super) fn note_leaving(from: &mut Table, domain: &str, to: &str, until: &str) {
    let mut leaving = Table::new();
    leaving.insert("domain", Item::from(toml_edit::Value::from(domain)));
    set(&mut leaving, "to", to);
    set(&mut leaving, "until", until);
    push_section(from, "leaving", leaving);
}

fn in_domain(address: &str, domain: &str) -> bool {
    address
        .rsplit_once('@')
        .is_some_and(|(_, own)| own.eq_ignore_ascii_case(domain))
}

const PATIENT_DOMAIN: &str = "patient.mssante.fr";

#[cfg(test)]
mod tests {
    use super::super::edit::SpaceText;
    use super::*;
    use crate::config::Space;

    /// The default space with a domain moved, as text.
    fn moved(domain: &str, from: &str, to: &str) -> String {
        moved_in(Space::DEFAULT_TEXT, domain, from, to)
    }

    fn moved_in(space: &str, domain: &str, from: &str, to: &str) -> String {
        let mut text = SpaceText::open(space, "space.toml").unwrap();
        let mut source = text.operator(from).unwrap().clone();
        let mut target = text.operator(to).unwrap().clone();
        move_domain(&mut source, &mut target, domain);
        note_leaving(&mut source, domain, to, "2026-11-21T10:00:00Z");
        *text.operator(from).unwrap() = source;
        *text.operator(to).unwrap() = target;
        text.text()
    }

    #[test]
    fn every_domain_of_the_default_space_can_move_to_every_operator() {
        let (space, _) = Space::default_space().unwrap();
        for from in &space.operators {
            for to in space.operators.iter().filter(|to| to.key != from.key) {
                for domain in &from.domains {
                    let text = moved(domain.as_str(), &from.key, &to.key);
                    let (now, _) = Space::parse(&text, "moved").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
                    assert_eq!(boxes(&now, &to.key, domain), boxes(&space, &from.key, domain));
                    assert!(boxes(&now, &from.key, domain).is_empty());
                    assert!(users(&now).len() >= users(&space).len());
                }
            }
        }
    }

    #[test]
    fn the_box_that_reads_postmasters_mail_goes_with_its_domain() {
        let postmasters = |text: &str| {
            let (space, _) = Space::parse(text, "moved").unwrap();
            ["lilas", "chu"].map(|key| {
                space
                    .operator(key)
                    .unwrap()
                    .directory
                    .postmaster
                    .clone()
                    .map(|one| one.to_string())
            })
        };
        let (foyer, urgences) = ("hebergement@foyer-lilas.mssante.fr", "urgences@chu-demo.mssante.fr");
        let both = [Some(foyer.to_owned()), Some(urgences.to_owned())];
        assert_eq!(postmasters(&moved("ehpad-lilas.mssante.fr", "lilas", "chu")), both);
        let gone = moved("foyer-lilas.mssante.fr", "lilas", "chu");
        assert_eq!(postmasters(&gone), [None, both[1].clone()]);
        let without = Space::DEFAULT_TEXT.replace(&format!("postmaster = \"{urgences}\"\n"), "");
        let taken = moved_in(&without, "foyer-lilas.mssante.fr", "lilas", "chu");
        assert_eq!(postmasters(&taken), [None, both[0].clone()]);
        let mut text = SpaceText::open(Space::DEFAULT_TEXT, "space.toml").unwrap();
        drop_domain(text.operator("lilas").unwrap(), "foyer-lilas.mssante.fr");
        assert_eq!(postmasters(&text.text()), [None, both[1].clone()]);
    }

    fn boxes(space: &Space, key: &str, domain: &crate::identity::Domain) -> BTreeSet<String> {
        let directory = space.operator(key).unwrap().directory(|_| None).unwrap();
        let found = directory.boxes().filter(|one| one.address.domain() == domain);
        found.map(|one| one.address.to_string()).collect()
    }

    fn users(space: &Space) -> BTreeSet<String> {
        let logins = space.operators.iter().flat_map(|one| &one.directory.logins);
        logins
            .map(|login| format!("{:?}", login.kind))
            .filter(|kind| kind.starts_with("Pass"))
            .collect()
    }

    #[test]
    fn a_login_with_boxes_in_two_domains_serves_both_afterwards() {
        let text = moved("ehpad-lilas.mssante.fr", "lilas", "chu");
        let (now, _) = Space::parse(&text, "moved").unwrap();
        let opened = |key: &str| {
            let operator = now.operator(key).unwrap();
            let login = operator
                .directory
                .logins
                .iter()
                .find(|login| login.name == "dui-lilas")
                .unwrap();
            format!("{:?}", login.kind)
        };
        assert!(opened("lilas").contains("dui@lilas.mssante.fr") && !opened("lilas").contains("noreply@ehpad"));
        assert!(opened("chu").contains("noreply@ehpad") && !opened("chu").contains("dui@lilas"));
    }
}
