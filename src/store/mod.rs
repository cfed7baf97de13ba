//! Durable rows and bytes of one operator: what must survive a crash, behind six small traits.
//!
//! One trait method is one transaction, and each returns only once its effect is on stable storage. `tests/store_contract.rs`
//! runs every sentence written here against every backend. Backends know rows, not rules: what a journal record says or which
//! establishment a message counts for is decided in layer 3 and arrives here ready to be written.
//!
//! Deliberately absent: a way to write a message without its journal record and counts. [`Acceptance`] carries them together,
//! so invariant 1 ("250 means durable *and* counted") cannot be broken by forgetting a call.

mod annotation;
mod blobs;
mod disk;
mod journal;
mod mailbox;
mod message;
mod queue;
mod queue_view;
pub mod sqlite;

pub use annotation::{Annotation, AnnotationChange, AnnotationStore};
pub use disk::{BodyFile, Disk, LOG_HEAD_BYTES, LocalDisk, LogFile, grow, rewrite};
use std::io::ErrorKind;

use crate::metrics::Meter;

pub use journal::{Carried, Count, CountKey, CounterStore, JournalFilter, JournalRow, JournalStore};
pub(crate) use mailbox::readable;
pub use mailbox::{
    EntryRow, FlagChange, FlagUpdate, Flags, FlagsChanged, FolderChanges, FolderRow, FolderStatus, MailboxStore,
    Originals, Passage, SpecialUse, Usage,
};
pub use message::{
    Acceptance, Accepted, Content, Delivery, Enclosure, MessageStore, NewMessage, Once, Room, STAGE_FRONT_BYTES_MAX,
    Stage, StagedFile, Summary,
};
pub use queue::{Instead, Outgoing, Portion, QueueItem, QueueStore, Settled, Settlement};
pub use queue_view::{
    ChangeRecord, Changed, Closed, Destination, QueueBy, QueueChange, QueueEntry, QueueFilter, QueueGroup, QueueState,
    Sender,
};

/// Everything one operator stores. `Arc<dyn Store>` is what the rest of the program holds.
pub trait Store: MessageStore + MailboxStore + AnnotationStore + QueueStore + JournalStore + CounterStore {}

impl<T: MessageStore + MailboxStore + AnnotationStore + QueueStore + JournalStore + CounterStore> Store for T {}

/// Why a storage call failed. The peer only ever reads "try again later" (451 4.3.0).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row, folder or body asked for does not exist (any more).
    #[error("{what} not found")]
    NotFound { what: &'static str },
    /// A folder of that name exists already.
    #[error("folder {name} already exists")]
    FolderExists { name: String },
    /// More than a limit of the caller's; nothing of the call was written.
    #[error("too many {what}")]
    TooMany { what: &'static str },
    /// The data folder was written by a newer program.
    #[error(
        "{path} was written by version {found} of the data format; this program knows up to {known}: use a newer vaguemestre"
    )]
    Newer { path: String, found: u32, known: u32 },
    /// Another process has the data folder open for writing.
    #[error("{path} is in use by another vaguemestre: stop that one, or choose another data folder")]
    InUse { path: String },
    /// The database or the file system failed.
    #[error("storage failed: {context}")]
    Backend {
        context: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk has no room left, or this user may not take more of it.
    #[error("the disk is full: {context}")]
    Full {
        context: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A box has no room for it; nothing of the call was written.
    #[error("the box is full: {used_bytes} of {quota_bytes} bytes are used")]
    OverQuota { used_bytes: u64, quota_bytes: u64 },
    /// Bytes are not what was stored: `vaguemestre verify` looks further.
    #[error("{what} is damaged: run `vaguemestre verify`")]
    Damaged { what: String },
    /// A delivery of an acceptance was made before, see [`Once`]; nothing of the call was written.
    #[error("a delivery was made before")]
    Repeated,
    /// The store is shutting down; nothing of the call was written.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The error with its causes, for a log.
    pub fn with_cause(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// Counts it, unless it is an answer like any other: not found, exists already, delivered before.
    pub(crate) fn observe(&self, meter: &Meter) {
        if let Some(kind) = self.kind() {
            meter.store_error(kind);
        }
    }

    /// What kind of failure it is, in the words of the metric `vaguemestre_store_errors_total`; none for what is no failure.
    pub(in crate::store) fn kind(&self) -> Option<&'static str> {
        let source = match self {
            Self::Backend { source, .. } => source,
            Self::Full { .. } => return Some("full"),
            Self::Damaged { .. } => return Some("corrupt"),
            _ => return None,
        };
        if let Some(error) = source.downcast_ref::<rusqlite::Error>() {
            return Some(sqlite::kind_of(error));
        }
        if let Some(error) = source.downcast_ref::<RolledBack>() {
            return Some(error.kind);
        }
        Some(
            match source.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => "full",
                Some(ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => "read-only",
                Some(_) => "io",
                None => "other",
            },
        )
    }
}

/// What made a whole group of writes fail, as each of them is told.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(in crate::store) struct RolledBack {
    /// The error of the one that failed, with its causes.
    pub(in crate::store) reason: String,
    /// Its kind.
    pub(in crate::store) kind: &'static str,
}

/// A message's key in the store. Keys only grow and are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey(pub i64);

/// A box's key in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoxKey(pub i64);

/// A folder's key in the store; it survives a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderKey(pub i64);

/// A queue item's key in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey(pub i64);
