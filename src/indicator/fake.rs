//! For tests: a store of journal and counters in memory, and the directory of the fictive entity "Lilas".

#![cfg(test)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;

use crate::directory::{Attachment, BoxState, BoxType, Directory, Entity, Establishment, MailBox};
use crate::store::{Acceptance, Count, CountKey, CounterStore, JournalFilter, JournalRow, JournalStore, StoreError};

/// EJ with three establishments.
pub(crate) const LILAS: &str = "990000002";
pub(crate) const EHPAD: &str = "990000010";
pub(crate) const SSIAD: &str = "990000028";
pub(crate) const FOYER: &str = "990000036";
/// EJ with one establishment.
pub(crate) const SEUL: &str = "990000101";
pub(crate) const SEUL_EG: &str = "990000119";
/// EJ without establishments.
pub(crate) const EMPTY: &str = "990000200";

pub(crate) fn lilas() -> Directory {
    let mut directory = Directory::new(vec!["lilas.mssante.fr".parse().unwrap()]);
    for (finess, name) in [
        (LILAS, "Association Les Lilas"),
        (SEUL, "Résidence Seule"),
        (EMPTY, "Vide"),
    ] {
        directory.add_entity(Entity {
            finess: finess.parse().unwrap(),
            name: name.into(),
        });
    }
    for (finess, entity, name) in [
        (EHPAD, LILAS, "EHPAD Les Lilas"),
        (SSIAD, LILAS, "SSIAD Les Lilas"),
        (FOYER, LILAS, "Foyer \"Les Lilas\", Dijon"),
        (SEUL_EG, SEUL, "Résidence Seule"),
    ] {
        directory
            .add_establishment(establishment(finess, entity, name))
            .unwrap();
    }
    for (address, box_type, attachment) in [
        ("ehpad@lilas.mssante.fr", BoxType::Organisational, at(EHPAD)),
        ("ssiad@lilas.mssante.fr", BoxType::Organisational, at(SSIAD)),
        ("seul@lilas.mssante.fr", BoxType::Organisational, at(SEUL_EG)),
        ("libre@lilas.mssante.fr", BoxType::Personal, Attachment::None),
        ("dui@lilas.mssante.fr", BoxType::Applicative, shared(LILAS)),
    ] {
        directory.add_box(mailbox(address, box_type, attachment)).unwrap();
    }
    directory
}

pub(crate) fn mailbox(address: &str, box_type: BoxType, attachment: Attachment) -> MailBox {
    MailBox {
        address: address.parse().unwrap(),
        box_type,
        label: String::new(),
        attachment,
        holder: None,
        state: BoxState::Active,
    }
}

fn at(eg: &str) -> Attachment {
    Attachment::Establishment(eg.parse().unwrap())
}

fn shared(entity: &str) -> Attachment {
    Attachment::Entity {
        entity: entity.parse().unwrap(),
        counts_for: None,
    }
}

/// The EHPAD declares 40 people in November 2026, the SSIAD none, the foyer zero.
fn establishment(finess: &str, entity: &str, name: &str) -> Establishment {
    let people: &[(&str, u32)] = match finess {
        EHPAD => &[("2026-10", 30), ("2026-11", 40)],
        FOYER => &[("2026-11", 0)],
        SEUL_EG => &[("2026-11", 3)],
        _ => &[],
    };
    Establishment {
        finess: finess.parse().unwrap(),
        entity: entity.parse().unwrap(),
        name: name.into(),
        people: people.iter().map(|(month, n)| ((*month).to_owned(), *n)).collect(),
    }
}

#[derive(Default)]
pub(crate) struct FakeStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: Vec<JournalRow>,
    counters: BTreeMap<CountKey, (u64, u64)>,
    before_counters: VecDeque<Acceptance>,
}

impl State {
    fn apply(&mut self, acceptance: Acceptance) {
        for row in acceptance.records {
            let sequence = i64::try_from(self.rows.len()).unwrap() + 1;
            self.rows.push(JournalRow { sequence, ..row });
        }
        for count in acceptance.counts {
            let value = self.counters.entry(count.key).or_default();
            value.0 += count.messages;
            value.1 += count.recipients;
        }
    }
}

impl FakeStore {
    /// Rows and counts together, as a real store does.
    pub(crate) fn apply(&self, acceptance: Acceptance) {
        self.state.lock().unwrap().apply(acceptance);
    }

    /// Mail that comes in just before the counters are read, one acceptance per reading.
    pub(crate) fn apply_before_counters(&self, acceptance: Acceptance) {
        self.state.lock().unwrap().before_counters.push_back(acceptance);
    }

    /// What no honest store does.
    pub(crate) fn forget_records(&self) {
        self.state.lock().unwrap().rows.clear();
    }
}

#[async_trait]
impl JournalStore for FakeStore {
    async fn append(&self, records: Vec<JournalRow>) -> Result<(), StoreError> {
        self.apply(Acceptance {
            records,
            ..Acceptance::default()
        });
        Ok(())
    }

    async fn journal(&self, filter: JournalFilter) -> Result<Vec<JournalRow>, StoreError> {
        let state = self.state.lock().unwrap();
        let wanted = |row: &&JournalRow| {
            row.sequence > filter.after_sequence
                && filter.since.is_none_or(|since| row.at >= since)
                && filter.until.is_none_or(|until| row.at < until)
                && (filter.events.is_empty() || filter.events.contains(&row.event))
                && row.session.starts_with(&filter.session_prefix)
                && row.detail.contains(&filter.mentions)
                && filter.session.as_ref().is_none_or(|session| *session == row.session)
        };
        Ok(state.rows.iter().filter(wanted).take(filter.limit).cloned().collect())
    }
}

#[async_trait]
impl CounterStore for FakeStore {
    async fn counters(&self, month: Option<&str>) -> Result<Vec<Count>, StoreError> {
        let mut state = self.state.lock().unwrap();
        if let Some(acceptance) = state.before_counters.pop_front() {
            state.apply(acceptance);
        }
        let wanted = |(key, _): &(&CountKey, &(u64, u64))| month.is_none_or(|month| key.month == month);
        let count = |(key, value): (&CountKey, &(u64, u64))| Count {
            key: key.clone(),
            messages: value.0,
            recipients: value.1,
        };
        Ok(state.counters.iter().filter(wanted).map(count).collect())
    }
}

/// Drives a future of this store, which never waits.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
