//! What changed between two lists, in the words of whoever runs an operator: domains that moved, certificates that were replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::identity::{Domain, SubjectDn};

use super::AllowList;

/// An operator as the list shows it: the structure its certificates name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedOperator {
    /// OU: `1` + FINESS or `3` + SIRET; the CN of a certificate without OU.
    pub structure: String,
    /// O, as the first of its certificates writes it.
    pub name: String,
}

/// Domains that changed operators together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Who spoke for them; empty when they are new.
    pub from: Vec<ListedOperator>,
    /// Who speaks for them; empty when they are gone.
    pub to: Vec<ListedOperator>,
    /// The domains, in order.
    pub domains: Vec<Domain>,
}

/// What changed within one operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorChange {
    /// Who.
    pub operator: ListedOperator,
    /// Certificates it did not have on the list.
    pub added: Vec<SubjectDn>,
    /// Certificates it has no more.
    pub gone: Vec<SubjectDn>,
    /// Domains that stayed with it and are spoken for by other certificates than before.
    pub domains: Vec<Domain>,
}

/// All that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Domains that came, went or moved.
    pub moves: Vec<Move>,
    /// Certificates that came and went.
    pub operators: Vec<OperatorChange>,
    /// Domains of which only descriptions, contacts or dates changed.
    pub rewritten: Vec<Domain>,
}

impl ListedOperator {
    /// The operator a certificate belongs to.
    pub fn of(certificate: &SubjectDn) -> Self {
        let part = |value: Option<&str>| {
            value
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let structure = certificate.organisational_unit().or_else(|| certificate.common_name());
        Self {
            structure: part(structure),
            name: part(certificate.organisation()),
        }
    }
}

impl fmt::Display for ListedOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "operator {}", self.structure),
            name => write!(f, "{name} ({})", self.structure),
        }
    }
}

impl Difference {
    /// From one list to another.
    pub fn between(old: &AllowList, new: &AllowList) -> Self {
        let names = Names::of(&[old, new]);
        Self {
            moves: moves(old, new, &names),
            operators: operators(old, new, &names),
            rewritten: rewritten(old, new),
        }
    }

    /// Whether there is none that matters to anybody.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.operators.is_empty() && self.rewritten.is_empty()
    }
}

/// One name per structure, whatever its certificates write.
struct Names(BTreeMap<String, ListedOperator>);

impl Names {
    fn of(lists: &[&AllowList]) -> Self {
        let mut names = BTreeMap::new();
        for entry in lists.iter().flat_map(|list| list.entries()) {
            let operator = ListedOperator::of(&entry.certificate);
            names.entry(operator.structure.clone()).or_insert(operator);
        }
        Self(names)
    }

    fn operator(&self, certificate: &SubjectDn) -> ListedOperator {
        let operator = ListedOperator::of(certificate);
        self.0.get(&operator.structure).cloned().unwrap_or(operator)
    }

    fn operators(&self, list: &AllowList, domain: &Domain) -> Vec<ListedOperator> {
        let certificates = list.certificates_of(domain).iter();
        let operators: BTreeSet<_> = certificates.map(|certificate| self.operator(certificate)).collect();
        operators.into_iter().collect()
    }
}

fn moves(old: &AllowList, new: &AllowList, names: &Names) -> Vec<Move> {
    let mut moves: BTreeMap<(Vec<ListedOperator>, Vec<ListedOperator>), Vec<Domain>> = BTreeMap::new();
    for domain in domains(old).union(&domains(new)) {
        let operators = (names.operators(old, domain), names.operators(new, domain));
        if operators.0 != operators.1 {
            moves.entry(operators).or_default().push((*domain).clone());
        }
    }
    let moved = |((from, to), domains)| Move { from, to, domains };
    moves.into_iter().map(moved).collect()
}

fn operators(old: &AllowList, new: &AllowList, names: &Names) -> Vec<OperatorChange> {
    let of = |list: &AllowList| {
        let mut certificates: BTreeMap<ListedOperator, BTreeSet<SubjectDn>> = BTreeMap::new();
        for entry in list.entries() {
            let operator = names.operator(&entry.certificate);
            certificates
                .entry(operator)
                .or_default()
                .insert(entry.certificate.clone());
        }
        certificates
    };
    let (before, after) = (of(old), of(new));
    let mut stayed: BTreeMap<ListedOperator, Vec<Domain>> = BTreeMap::new();
    for domain in domains(old).intersection(&domains(new)) {
        let certificates = |list: &AllowList| list.certificates_of(domain).iter().cloned().collect::<BTreeSet<_>>();
        let operators = names.operators(new, domain);
        if certificates(old) == certificates(new) || operators != names.operators(old, domain) {
            continue;
        }
        for operator in operators {
            stayed.entry(operator).or_default().push((*domain).clone());
        }
    }
    let all: BTreeSet<&ListedOperator> = before.keys().chain(after.keys()).collect();
    let none = BTreeSet::new();
    let change = |operator: &ListedOperator| {
        let (before, after) = (
            before.get(operator).unwrap_or(&none),
            after.get(operator).unwrap_or(&none),
        );
        OperatorChange {
            operator: operator.clone(),
            added: after.difference(before).cloned().collect(),
            gone: before.difference(after).cloned().collect(),
            domains: stayed.get(operator).cloned().unwrap_or_default(),
        }
    };
    let changes = all.into_iter().map(change);
    changes
        .filter(|one| !(one.added.is_empty() && one.gone.is_empty() && one.domains.is_empty()))
        .collect()
}

/// Same certificates, other texts.
fn rewritten(old: &AllowList, new: &AllowList) -> Vec<Domain> {
    let texts = |list: &AllowList| {
        let mut texts: BTreeMap<Domain, BTreeSet<(SubjectDn, String)>> = BTreeMap::new();
        for entry in list.entries() {
            let text = format!(
                "{}\n{}\n{}\n{}",
                entry.description, entry.responsible_contact, entry.support_contact, entry.updated
            );
            texts
                .entry(entry.domain.clone())
                .or_default()
                .insert((entry.certificate.clone(), text));
        }
        texts
    };
    let (before, after) = (texts(old), texts(new));
    let certificates =
        |texts: &BTreeSet<(SubjectDn, String)>| texts.iter().map(|(dn, _)| dn.clone()).collect::<BTreeSet<_>>();
    let changed = before.iter().filter(|(domain, old)| {
        after
            .get(*domain)
            .is_some_and(|new| *old != new && certificates(old) == certificates(new))
    });
    changed.map(|(domain, _)| domain.clone()).collect()
}

fn domains(list: &AllowList) -> BTreeSet<&Domain> {
    list.entries().iter().map(|entry| &entry.domain).collect()
}

impl fmt::Display for Difference {
    /// One line per change; a single line when there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "no difference");
        }
        self.moves.iter().try_for_each(|one| writeln!(f, "{one}"))?;
        self.operators.iter().try_for_each(|one| write!(f, "{one}"))?;
        if !self.rewritten.is_empty() {
            writeln!(
                f,
                "{} described or dated anew: {}",
                counted(&self.rewritten),
                named(&self.rewritten)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (&self.from, &self.to);
        let joined: Vec<_> = to.iter().filter(|one| !from.contains(one)).collect();
        let left: Vec<_> = from.iter().filter(|one| !to.contains(one)).collect();
        let domains = counted(&self.domains);
        match (from.is_empty(), to.is_empty(), joined.is_empty(), left.is_empty()) {
            (true, ..) => write!(f, "{domains} added by {}", all(to.iter()))?,
            (_, true, ..) => write!(f, "{domains} gone from {}", all(from.iter()))?,
            (_, _, false, true) => write!(
                f,
                "{domains} now also served by {}, beside {}",
                all(joined),
                all(from.iter())
            )?,
            (_, _, true, false) => write!(
                f,
                "{domains} no longer served by {}, only by {}",
                all(left),
                all(to.iter())
            )?,
            _ => write!(f, "{domains} moved from {} to {}", all(left), all(joined))?,
        }
        write!(f, ": {}", named(&self.domains))
    }
}

impl fmt::Display for OperatorChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = &self.operator;
        let replaced = self.added.len().min(self.gone.len());
        for (old, new) in self.gone.iter().zip(&self.added) {
            writeln!(f, "{operator}: certificate {old} replaced by {new}")?;
        }
        for certificate in &self.added[replaced..] {
            writeln!(f, "{operator}: certificate {certificate} added")?;
        }
        for certificate in &self.gone[replaced..] {
            writeln!(f, "{operator}: certificate {certificate} gone")?;
        }
        if !self.domains.is_empty() {
            writeln!(
                f,
                "{operator}: other certificates for {}: {}",
                counted(&self.domains),
                named(&self.domains)
            )?;
        }
        Ok(())
    }
}

fn counted(domains: &[Domain]) -> String {
    match domains.len() {
        1 => "1 domain".to_owned(),
        count => format!("{count} domains"),
    }
}

/// A few names; the JSON has them all.
fn named(domains: &[Domain]) -> String {
    let shown: Vec<&str> = domains.iter().take(SHOWN_MAX).map(Domain::as_str).collect();
    match domains.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn all<'a>(operators: impl IntoIterator<Item = &'a ListedOperator>) -> String {
    let names: Vec<String> = operators.into_iter().map(ToString::to_string).collect();
    names.join(" and ")
}

/// Domains named on one line.
const SHOWN_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use crate::trust::{AllowListDocument, ListedDomain};

    use super::*;

    const A1: &str = "CN=smtp-1.a.fr,OU=1990000010,O=CHU A,ST=Rhône (69),C=FR";
    const A2: &str = "CN=smtp-2.a.fr,OU=1990000010,O=\"CHU  A\",ST=Rhône (69),C=FR";
    const B1: &str = "CN=smtp.b.fr,OU=399999999900017,O=REGION B,ST=Paris (75),C=FR";

    fn list(pairs: &[(&str, &str)]) -> AllowList {
        let at = "2026-11-21T10:00:00Z".parse().unwrap();
        let entry = |(domain, certificate): &(&str, &str)| ListedDomain {
            domain: domain.parse().unwrap(),
            description: String::new(),
            certificate: certificate.parse().unwrap(),
            responsible_contact: String::new(),
            support_contact: String::new(),
            updated: at,
        };
        AllowList::new(AllowListDocument {
            generated: at,
            entries: pairs.iter().map(entry).collect(),
        })
    }

    fn told(old: &[(&str, &str)], new: &[(&str, &str)]) -> String {
        Difference::between(&list(old), &list(new)).to_string()
    }

    #[test]
    fn moves_are_told_by_operator_and_not_by_certificate() {
        let old = [("x.fr", A1), ("y.fr", A2), ("z.fr", A1), ("stays.fr", A1)];
        let new = [
            ("x.fr", B1),
            ("y.fr", B1),
            ("z.fr", B1),
            ("stays.fr", A2),
            ("new.fr", B1),
        ];
        let told = told(&old, &new);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "1 domain added by REGION B (399999999900017): new.fr");
        assert_eq!(
            lines[1],
            "3 domains moved from CHU A (1990000010) to REGION B (399999999900017): x.fr, y.fr, z.fr"
        );
        assert!(
            lines[2].ends_with("gone") && lines[2].contains("CN=smtp-1.a.fr"),
            "{told}"
        );
        assert_eq!(
            lines[3],
            "CHU A (1990000010): other certificates for 1 domain: stays.fr"
        );
        assert!(
            lines[4].starts_with("REGION B (399999999900017): certificate CN=smtp.b.fr") && lines[4].ends_with("added")
        );
    }

    #[test]
    fn a_renewed_name_is_a_replacement_and_a_migration_shows_both_its_steps() {
        assert!(told(&[("x.fr", A1)], &[("x.fr", A2)]).starts_with("CHU A (1990000010): certificate CN=smtp-1.a.fr"));
        assert!(told(&[("x.fr", A1)], &[("x.fr", A2)]).contains(" replaced by CN=smtp-2.a.fr"));
        let both = told(&[("x.fr", A1)], &[("x.fr", A1), ("x.fr", B1)]);
        assert!(
            both.starts_with("1 domain now also served by REGION B (399999999900017), beside CHU A (1990000010): x.fr")
        );
        let one = told(&[("x.fr", A1), ("x.fr", B1)], &[("x.fr", B1)]);
        assert!(
            one.starts_with("1 domain no longer served by CHU A (1990000010), only by REGION B"),
            "{one}"
        );
        assert!(told(&[("x.fr", A1)], &[("y.fr", A1)]).contains("1 domain gone from CHU A (1990000010): x.fr"));
    }

    #[test]
    fn another_spelling_or_order_is_no_difference_and_texts_are_told_apart() {
        let spelled = A1.to_lowercase().replace("o=chu a", "o=\"chu  a\"");
        assert_eq!(
            told(&[("x.fr", A1), ("y.fr", B1)], &[("Y.fr", B1), ("x.fr", &spelled)]),
            "no difference\n"
        );
        let old = list(&[("x.fr", A1)]);
        let mut entries = old.entries().to_vec();
        entries[0].description = "changed".to_owned();
        let new = AllowList::new(AllowListDocument {
            generated: old.generated(),
            entries,
        });
        assert_eq!(
            Difference::between(&old, &new).to_string(),
            "1 domain described or dated anew: x.fr\n"
        );
    }
}
