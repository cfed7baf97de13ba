//! The append-only journal and the counters kept beside it, as rows.

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;

/// One decision. Never holds a body, a subject, a secret, or an INS in clear (invariant 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Position in the journal; 0 in a row to be written.
    pub sequence: i64,
    /// When.
    pub at: Timestamp,
    /// Kind of event, one of the names of the journal module.
    pub event: String,
    /// Session it happened in; empty when none.
    pub session: String,
    /// Reason id of a refusal; empty when none.
    pub reason: String,
    /// The event's own fields, as one JSON object.
    pub detail: String,
}

/// Which journal rows to read.
#[derive(Clone, Debug, Default)]
pub struct JournalFilter {
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Only these events; empty: all.
    pub events: Vec<String>,
    /// Only this session.
    pub session: Option<String>,
    /// Only sessions whose name begins so; empty: all.
    pub session_prefix: String,
    /// Only rows whose detail holds this text; empty: all.
    pub mentions: String,
    /// Only after this position.
    pub after_sequence: i64,
    /// At most this many.
    pub limit: usize,
}

/// The append-only record of every decision.
#[async_trait]
pub trait JournalStore: Send + Sync {
    /// Appends rows and returns once they are durable.
    async fn append(&self, rows: Vec<JournalRow>) -> Result<(), StoreError>;

    /// Rows by ascending sequence.
    async fn journal(&self, filter: JournalFilter) -> Result<Vec<JournalRow>, StoreError>;
}

/// What a counter counts. Each field is part of the key; empty text where not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountKey {
    /// Civil month in Europe/Paris, `2026-11`.
    pub month: String,
    /// `sent` or `received`.
    pub direction: String,
    /// FINESS EG; empty: establishment unknown.
    pub establishment: String,
    /// FINESS EJ; empty: none.
    pub entity: String,
    /// `PER`, `ORG`, `APP`, `CAB`, or empty for boxes without one (patients).
    pub box_type: String,
    /// `message`, `mdn`, `dsn` or `auto`.
    pub class: String,
}

/// An increment, or the value, of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// What is counted.
    pub key: CountKey,
    /// Messages.
    pub messages: u64,
    /// Messages × recipients.
    pub recipients: u64,
}

/// What journal rows that were purged counted for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The last position that was purged; 0: nothing was.
    pub sequence: i64,
    /// When that row was written.
    pub until: Option<Timestamp>,
    /// What the rows up to it counted for.
    pub counts: Vec<Count>,
}

/// Counters kept beside the journal, in the same transactions.
#[async_trait]
pub trait CounterStore: Send + Sync {
    /// What counts beside the rows that are left in the journal: a purge moves rows there. A backend that never purges has nothing.
    async fn carried(&self) -> Result<Carried, StoreError> {
        Ok(Carried::default())
    }

    /// All counters of a month, or of every month, by ascending key.
    async fn counters(&self, month: Option<&str>) -> Result<Vec<Count>, StoreError>;
}
