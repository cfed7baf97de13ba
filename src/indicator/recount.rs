//! The proof that counters and journal say the same (invariant 1): every counter is computed again from the journal.
//!
//! It may run while mail flows. Rows and counts are written in one transaction, so counters read between "the journal ends here"
//! and "it still ends here" belong exactly to the rows read.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::counter::increments;
use crate::journal::{Event, Record};
use crate::store::{Carried, Count, CountKey, CounterStore, JournalFilter, JournalStore, StoreError};

/// The value of a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Messages × recipients.
    pub recipients: u64,
}

/// A counter that the journal does not bear out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The counter.
    pub key: CountKey,
    /// What the store says.
    pub stored: Tally,
    /// What the journal says.
    pub recounted: Tally,
}

/// What a recount found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// Journal rows that count, read.
    pub rows: u64,
    /// Counters compared: those of the store and those of the journal.
    pub counters: usize,
    /// Rows that should count and cannot be read, the first [`DAMAGED_LISTED_MAX`] positions.
    pub damaged: Vec<i64>,
    /// Counters that differ, by ascending key.
    pub differences: Vec<Difference>,
    /// The rows that were purged, which what is carried over stands for; `None` when the journal is whole.
    pub carried: Option<CarriedOver>,
}

/// What a recount could not count again, because its rows were purged: sums taken when they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedOver {
    /// The last position purged: the recount read what comes after it.
    pub sequence: i64,
    /// When that row was written.
    pub until: Option<Timestamp>,
    /// Counters that have something in them from before.
    pub counters: usize,
}

impl Recount {
    /// Whether counters and journal say the same, down to the last row.
    pub fn agrees(&self) -> bool {
        self.differences.is_empty() && self.damaged.is_empty()
    }
}

/// Why a recount came to no result.
#[derive(Debug, thiserror::Error)]
pub enum RecountError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Mail came in faster than it could be read.
    #[error("the counters kept changing during {ATTEMPTS_MAX} attempts: try again at a quieter moment")]
    Busy,
}

/// Recomputes every counter from the journal, in pages of [`PAGE_ROWS`], and compares. Memory grows with the number of
/// counters, not with the journal.
pub async fn recount(journal: &dyn JournalStore, counters: &dyn CounterStore) -> Result<Recount, RecountError> {
    let mut pass = Pass::from(counters.carried().await?);
    pass.advance(journal).await?;
    for _ in 0..ATTEMPTS_MAX {
        let stored = counters.counters(None).await?;
        let before = pass.counting_rows;
        pass.advance(journal).await?;
        // A purge moved rows to what is carried over, perhaps before they were read here: begin again.
        let carried = counters.carried().await?;
        if carried.sequence != pass.carried.sequence {
            pass = Pass::from(carried);
            pass.advance(journal).await?;
        } else if pass.counting_rows == before {
            return Ok(pass.compare(stored));
        }
    }
    Err(RecountError::Busy)
}

/// One walk through the journal.
#[derive(Default)]
struct Pass {
    carried: Carried,
    after_sequence: i64,
    counting_rows: u64,
    tallies: BTreeMap<CountKey, Tally>,
    damaged: Vec<i64>,
}

impl From<Carried> for Pass {
    fn from(carried: Carried) -> Self {
        let mut pass = Self {
            after_sequence: carried.sequence,
            ..Self::default()
        };
        pass.add(&carried.counts);
        pass.carried = carried;
        pass
    }
}

impl Pass {
    fn add(&mut self, counts: &[Count]) {
        for count in counts {
            let tally = self.tallies.entry(count.key.clone()).or_default();
            tally.messages += count.messages;
            tally.recipients += count.recipients;
        }
    }

    /// Reads on to the end of the journal.
    async fn advance(&mut self, journal: &dyn JournalStore) -> Result<(), StoreError> {
        loop {
            let filter = JournalFilter {
                events: COUNTED.iter().map(|&name| name.to_owned()).collect(),
                after_sequence: self.after_sequence,
                limit: PAGE_ROWS,
                ..JournalFilter::default()
            };
            let page = journal.journal(filter).await?;
            let Some(last) = page
                .last()
                .map(|row| row.sequence)
                .filter(|last| *last > self.after_sequence)
            else {
                return Ok(());
            };
            self.after_sequence = last;
            for row in page {
                self.take(&Record::from_row(row));
            }
        }
    }

    fn take(&mut self, record: &Record) {
        self.counting_rows += 1;
        if record.is_damaged() && self.damaged.len() < DAMAGED_LISTED_MAX {
            self.damaged.push(record.sequence);
        }
        self.add(&increments(&record.event, record.at));
    }

    fn compare(self, stored: Vec<Count>) -> Recount {
        let mut kept: BTreeMap<CountKey, Tally> = BTreeMap::new();
        for count in stored {
            let tally = kept.entry(count.key).or_default();
            tally.messages += count.messages;
            tally.recipients += count.recipients;
        }
        let keys: BTreeSet<&CountKey> = kept.keys().chain(self.tallies.keys()).collect();
        let value = |of: &BTreeMap<CountKey, Tally>, key: &CountKey| of.get(key).copied().unwrap_or_default();
        let difference = |key: &&CountKey| {
            let (stored, recounted) = (value(&kept, key), value(&self.tallies, key));
            (stored != recounted).then(|| Difference {
                key: (*key).clone(),
                stored,
                recounted,
            })
        };
        Recount {
            rows: self.counting_rows,
            counters: keys.len(),
            differences: keys.iter().filter_map(difference).collect(),
            damaged: self.damaged,
            carried: (self.carried.sequence > 0).then_some(CarriedOver {
                sequence: self.carried.sequence,
                until: self.carried.until,
                counters: self.carried.counts.len(),
            }),
        }
    }
}

/// Rows read at once.
pub const PAGE_ROWS: usize = 1000;
/// Damaged rows named one by one.
pub const DAMAGED_LISTED_MAX: usize = 100;
/// How often counters are read again because mail came in meanwhile.
const ATTEMPTS_MAX: u32 = 20;
/// The events that [`increments`] counts; a test keeps the two together.
const COUNTED: [&str; 2] = [Event::SUBMITTED, Event::RECEIVED];

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::indicator::enter;
    use crate::indicator::fake::{FakeStore, block_on};
    use crate::journal::sample;
    use crate::message::Class;
    use crate::store::{Acceptance, JournalRow};

    fn run(store: &FakeStore) -> Recount {
        block_on(recount(store, store)).unwrap()
    }

    fn accept(store: &FakeStore, events: Vec<Event>) {
        let mut acceptance = Acceptance::default();
        let records: Vec<Record> = events
            .into_iter()
            .map(|event| Record::new(sample::moment(), "s", event))
            .collect();
        enter(&mut acceptance, &records);
        store.apply(acceptance);
    }

    fn one_sent() -> Event {
        sample::submitted(sample::owner("APP", "990000010", "990000002"), Class::Message, 2)
    }

    #[test]
    fn exactly_the_counted_events_are_read() {
        for event in sample::every_event() {
            let counts = !increments(&event, sample::moment()).is_empty();
            assert_eq!(COUNTED.contains(&event.name()), counts, "{}", event.name());
        }
    }

    #[test]
    fn an_honest_store_agrees_over_several_pages() {
        let store = FakeStore::default();
        accept(&store, sample::every_event());
        accept(&store, vec![one_sent(); PAGE_ROWS * 2 + 1]);
        let found = run(&store);
        assert!(found.agrees());
        assert_eq!((found.rows, found.counters), (2 * PAGE_ROWS as u64 + 3, 3));
    }

    #[test]
    fn an_empty_store_agrees() {
        assert!(run(&FakeStore::default()).agrees());
    }

    #[test]
    fn a_count_without_its_record_shows() {
        let store = FakeStore::default();
        accept(&store, vec![one_sent()]);
        store.forget_records();
        let found = run(&store);
        assert_eq!(found.differences.len(), 1);
        assert_eq!(
            found.differences[0].stored,
            Tally {
                messages: 1,
                recipients: 2
            }
        );
        assert_eq!(found.differences[0].recounted, Tally::default());
        assert!(!found.agrees());
    }

    #[test]
    fn a_record_without_its_count_shows() {
        let store = FakeStore::default();
        let row = Record::new(sample::moment(), "s", one_sent()).to_row();
        block_on(store.append(vec![row])).unwrap();
        let found = run(&store);
        assert_eq!(
            found.differences[0].recounted,
            Tally {
                messages: 1,
                recipients: 2
            }
        );
        assert_eq!(found.differences[0].stored, Tally::default());
    }

    #[test]
    fn a_damaged_row_shows_and_unknown_events_do_not() {
        let store = FakeStore::default();
        let row = |event: &str| JournalRow {
            sequence: 0,
            at: sample::moment(),
            event: event.into(),
            session: String::new(),
            reason: String::new(),
            detail: "{".into(),
        };
        block_on(store.append(vec![row("quarantined")])).unwrap();
        assert!(run(&store).agrees());
        block_on(store.append(vec![row("submitted")])).unwrap();
        assert_eq!(run(&store).damaged, [2]);
        assert!(!run(&store).agrees());
    }

    #[test]
    fn mail_that_comes_in_during_the_recount_is_no_difference() {
        let store = FakeStore::default();
        accept(&store, vec![one_sent()]);
        for meanwhile in 0..3 {
            let mut acceptance = Acceptance::default();
            enter(&mut acceptance, &[Record::new(sample::moment(), "late", one_sent())]);
            store.apply_before_counters(acceptance);
            let found = run(&store);
            assert!(found.agrees());
            assert_eq!(found.rows, 2 + meanwhile);
        }
    }

    #[test]
    fn a_store_that_never_rests_is_told_apart_from_one_that_lies() {
        let store = FakeStore::default();
        for _ in 0..=ATTEMPTS_MAX {
            let mut acceptance = Acceptance::default();
            enter(&mut acceptance, &[Record::new(sample::moment(), "late", one_sent())]);
            store.apply_before_counters(acceptance);
        }
        assert!(matches!(block_on(recount(&store, &store)), Err(RecountError::Busy)));
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let owner = (0..4_usize, 0..3_usize, 0..2_usize).prop_map(|(box_type, eg, ej)| {
            let box_type = ["PER", "ORG", "APP", ""][box_type];
            sample::owner(box_type, ["", "990000010", "990000028"][eg], ["", "990000002"][ej])
        });
        let class = (0..4_usize).prop_map(|class| Class::ALL[class]);
        let other = (2..13_usize).prop_map(|index| sample::every_event().swap_remove(index));
        prop_oneof![
            (owner.clone(), class.clone(), 0..50_u64).prop_map(|(o, c, n)| sample::submitted(o, c, n)),
            (prop::collection::vec(owner, 0..4), class).prop_map(|(o, c)| sample::received(o, c)),
            other,
        ]
    }

    proptest! {
        #[test]
        fn counters_kept_step_by_step_equal_the_recount(
            events in prop::collection::vec((any_event(), 0..120_i64), 0..60),
            batch in 1..5_usize,
        ) {
            let store = FakeStore::default();
            let record = |(event, days): &(Event, i64)| {
                Record::new(sample::moment() + SignedDuration::from_hours(days * 24), "s", event.clone())
            };
            for records in events.iter().map(record).collect::<Vec<_>>().chunks(batch) {
                let mut acceptance = Acceptance::default();
                enter(&mut acceptance, records);
                store.apply(acceptance);
            }
            let found = run(&store);
            prop_assert!(found.agrees(), "{:?}", found.differences);
            let sent = events.iter().filter(|(event, _)| matches!(event, Event::Submitted(_))).count();
            let counted: u64 = block_on(store.counters(None)).unwrap().iter()
                .filter(|count| count.key.direction == "sent")
                .map(|count| count.messages)
                .sum();
            prop_assert_eq!(counted, sent as u64, "every submission counts once");
        }
    }
}
