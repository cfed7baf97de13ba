//! Durable rows and bytes of one operator: what must survive a crash, behind five small traits.
//!
//! One trait method is one transaction, and each returns only once its effect is on stable storage. `tests/store_contract.rs`
//! runs every sentence written here against every backend. Backends know rows, not rules: what a journal record says or which
//! establishment a message counts for is decided in layer 3 and arrives here ready to be written.
//!
//! Deliberately absent: a way to write a message without its journal record and counts. [`Acceptance`] carries them together,
//! so invariant 1 ("250 means durable *and* counted") cannot be broken by forgetting a call.

mod blobs;
pub mod sqlite;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::identity::Address;

/// Everything one operator stores. `Arc<dyn Store>` is what the rest of the program holds.
pub trait Store: MessageStore + MailboxStore + QueueStore + JournalStore + CounterStore {}

impl<T: MessageStore + MailboxStore + QueueStore + JournalStore + CounterStore> Store for T {}

/// Why a storage call failed. The peer only ever reads "try again later" (451 4.3.0).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row, folder or body asked for does not exist (any more).
    #[error("{what} not found")]
    NotFound { what: &'static str },
    /// A folder of that name exists already.
    #[error("folder {name} already exists")]
    FolderExists { name: String },
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
    /// A delivery of an acceptance was made before, see [`Once`]; nothing of the call was written.
    #[error("a delivery was made before")]
    Repeated,
    /// The store is shutting down; nothing of the call was written.
    #[error("the store is closed")]
    Closed,
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

// ---------------------------------------------------------------------------------------------- messages

/// Bytes of a message on their way into the store.
#[derive(Clone, Debug)]
pub enum Content {
    /// Held in memory; the backend decides whether they live beside the rows or in a file.
    Memory(Arc<Vec<u8>>),
    /// Already written and synced by [`MessageStore::stage`].
    Staged(StagedFile),
}

/// A file written by [`MessageStore::stage`], waiting to be named by an [`Acceptance`]. Removed at the next start if none does.
#[derive(Clone, Debug)]
pub struct StagedFile {
    /// Backend's name of the file.
    pub name: String,
    /// Bytes in it.
    pub size_bytes: u64,
}

/// A message to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The message, trace header in front, CRLF line ends.
    pub content: Content,
    /// Shown before the content when it is read in a box: the `Return-Path:` line of final delivery (RFC 5321 §4.4). Empty for APPEND.
    pub lead: Vec<u8>,
    /// What IMAP asks for again and again, computed once over lead + content; absent when no local box receives it.
    pub summary: Option<Summary>,
}

/// IMAP data computed once at delivery, in wire form (RFC 3501 §7.4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The parenthesised list after `ENVELOPE`.
    pub envelope: Vec<u8>,
    /// The parenthesised list after `BODY`: without extension data.
    pub body: Vec<u8>,
    /// The parenthesised list after `BODYSTRUCTURE`.
    pub body_structure: Vec<u8>,
    /// Length of the header block in lead + content, empty line included.
    pub header_bytes: u32,
}

/// One copy of the accepted message in a folder of a local box.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The folder that receives it.
    pub folder: FolderKey,
    /// Flags the message starts with.
    pub flags: Flags,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// What makes this delivery recognisable when it is asked for again; `None`: it never is a repeat.
    pub once: Option<Once>,
}

/// A delivery that must be made once, however often it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// The same for the same delivery, another for any other.
    pub key: [u8; 32],
    /// Forgotten from then on. A backend may forget earlier to stay within its bound.
    pub until: Timestamp,
}

/// What accepting one message changes: all of it or nothing, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Acceptance {
    /// The bytes; `None` only for an acceptance that records and counts something without a body.
    pub message: Option<NewMessage>,
    /// Copies for local boxes.
    pub deliveries: Vec<Delivery>,
    /// Recipients at other operators.
    pub outgoing: Vec<Outgoing>,
    /// Journal records, in order.
    pub records: Vec<JournalRow>,
    /// Counter increments that follow from those records.
    pub counts: Vec<Count>,
}

/// What became of an [`Acceptance`].
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// Key of the stored message, when there was one.
    pub message: Option<MessageKey>,
    /// For each delivery, in order: folder, its UIDVALIDITY and the new UID.
    pub delivered: Vec<(FolderKey, u32, u32)>,
}

/// Where messages enter the store.
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Applies the whole acceptance in one transaction and returns once it would survive a crash.
    /// UIDs are given in delivery order within this transaction; UIDs of a folder only grow (invariant 7).
    /// Fails with [`StoreError::Repeated`] when the key of a delivery was used before, at its internal date.
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError>;

    /// For each of these keys of [`Once`], whether a delivery used it and it is not forgotten at `now`.
    async fn repeats(&self, keys: &[[u8; 32]], now: Timestamp) -> Result<Vec<bool>, StoreError>;

    /// Starts a file for a message too large to hold in memory.
    async fn stage(&self) -> Result<Box<dyn Stage>, StoreError>;

    /// The bytes of a staged file that no acceptance has named yet, front included.
    async fn staged(&self, file: &StagedFile) -> Result<Arc<Vec<u8>>, StoreError>;

    /// The bytes of a message, trace header first, without its lead.
    /// Fails with [`StoreError::NotFound`] once nothing refers to it any more.
    async fn content(&self, message: MessageKey) -> Result<Arc<Vec<u8>>, StoreError>;
}

/// A message file being written.
#[async_trait]
pub trait Stage: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Puts bytes before everything written so far: the trace header is only known at the end of the data.
    /// Called at most once, just before `finish`. A backend reserves room for it: at most [`STAGE_FRONT_BYTES_MAX`].
    async fn finish(self: Box<Self>, front: &[u8]) -> Result<StagedFile, StoreError>;
}

/// Longest trace header a staged message may get.
pub const STAGE_FRONT_BYTES_MAX: usize = 4096;

// ---------------------------------------------------------------------------------------------- mailboxes

/// IMAP flags of one message in one folder (RFC 3501 §2.3.2). `\Recent` is not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flags {
    /// System flags, a set of [`Flags`] bit constants.
    pub system: u8,
    /// Keywords as the client wrote them first; compared without case.
    pub keywords: BTreeSet<String>,
}

impl Flags {
    /// `\Seen`
    pub const SEEN: u8 = 1;
    /// `\Answered`
    pub const ANSWERED: u8 = 2;
    /// `\Flagged`
    pub const FLAGGED: u8 = 4;
    /// `\Deleted`
    pub const DELETED: u8 = 8;
    /// `\Draft`
    pub const DRAFT: u8 = 16;

    /// Only these system flags, no keyword.
    pub fn system(bits: u8) -> Self {
        Self {
            system: bits,
            keywords: BTreeSet::new(),
        }
    }
}

/// How STORE changes flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagChange {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// Special use of a folder (RFC 6154).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialUse {
    /// `\Sent`
    Sent,
    /// `\Drafts`
    Drafts,
    /// `\Trash`
    Trash,
    /// `\Junk`
    Junk,
    /// `\Archive`
    Archive,
}

/// A folder of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderRow {
    /// Its key.
    pub key: FolderKey,
    /// Full name in UTF-8, levels separated by `/`; `INBOX` in capitals.
    pub name: String,
    /// Its special use, if any.
    pub special_use: Option<SpecialUse>,
    /// Whether LSUB lists it.
    pub subscribed: bool,
    /// UIDVALIDITY: set at creation, never changes.
    pub uid_validity: u32,
}

/// Figures of a folder (RFC 3501 §6.3.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderStatus {
    /// Messages in it.
    pub messages: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages not yet shown to any session that selected the folder read-write.
    pub recent: u32,
    /// The UID the next message gets, at least.
    pub uid_next: u32,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// Highest modification sequence given in it (RFC 7162); at least 1.
    pub highest_modseq: u64,
    /// Sum of the sizes.
    pub size_bytes: u64,
}

/// One message in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Its UID.
    pub uid: u32,
    /// The message it shows.
    pub message: MessageKey,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// RFC822.SIZE: lead + content.
    pub size_bytes: u64,
    /// Modification sequence of its last change.
    pub modseq: u64,
}

/// What changed in a folder, see [`MailboxStore::changes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderChanges {
    /// Everything up to it is told.
    pub highest_modseq: u64,
    /// New and changed entries, by ascending UID.
    pub entries: Vec<EntryRow>,
    /// UIDs that are gone, ascending.
    pub expunged: Vec<u32>,
}

/// Folders and what is in them. Every change raises the folder's modification sequence inside its own transaction.
#[async_trait]
pub trait MailboxStore: Send + Sync {
    /// Makes sure the box exists with at least these folders (all subscribed); INBOX is always made. Idempotent.
    async fn ensure_box(&self, address: &Address, folders: &[(&str, Option<SpecialUse>)])
    -> Result<BoxKey, StoreError>;

    /// The box of that address. Fails with [`StoreError::NotFound`] before `ensure_box`.
    async fn find_box(&self, address: &Address) -> Result<BoxKey, StoreError>;

    /// All folders of a box, in no order.
    async fn folders(&self, owner: BoxKey) -> Result<Vec<FolderRow>, StoreError>;

    /// Creates a folder, with its missing parents. Fails with [`StoreError::FolderExists`].
    async fn create_folder(
        &self,
        owner: BoxKey,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<FolderRow, StoreError>;

    /// Removes a folder and what is in it; its children stay. The name may be created again, with a greater UIDVALIDITY.
    async fn delete_folder(&self, folder: FolderKey) -> Result<(), StoreError>;

    /// Renames a folder and its children in one transaction. UIDVALIDITY and UIDs stay. Fails with [`StoreError::FolderExists`].
    async fn rename_folder(&self, folder: FolderKey, name: &str) -> Result<(), StoreError>;

    /// Sets what LSUB lists.
    async fn subscribe(&self, folder: FolderKey, subscribed: bool) -> Result<(), StoreError>;

    /// Figures of a folder.
    async fn status(&self, folder: FolderKey) -> Result<FolderStatus, StoreError>;

    /// Entries changed after modification sequence `after` (0: all of them), by ascending UID.
    /// An expunged entry is simply absent: compare with `entries(folder, 0)` or use [`Self::expunged`].
    async fn entries(&self, folder: FolderKey, after: u64) -> Result<Vec<EntryRow>, StoreError>;

    /// UIDs expunged after modification sequence `after`, ascending.
    async fn expunged(&self, folder: FolderKey, after: u64) -> Result<Vec<u32>, StoreError>;

    /// Marks every message now in the folder as no longer recent; returns the UIDs that were.
    async fn claim_recent(&self, folder: FolderKey) -> Result<Vec<u32>, StoreError>;

    /// Precomputed IMAP data of messages, in the order asked; messages that are gone are left out.
    async fn summaries(&self, messages: &[MessageKey]) -> Result<Vec<(MessageKey, Summary)>, StoreError>;

    /// Lead + content: the bytes a client reads.
    async fn read(&self, message: MessageKey) -> Result<Arc<Vec<u8>>, StoreError>;

    /// Lead + content of several messages in the order asked, `None` for one that is gone. A backend overrides it to make one
    /// round trip.
    async fn read_many(&self, messages: &[MessageKey]) -> Result<Vec<Option<Arc<Vec<u8>>>>, StoreError> {
        let mut found = Vec::with_capacity(messages.len());
        for message in messages {
            found.push(match self.read(*message).await {
                Ok(bytes) => Some(bytes),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(found)
    }

    /// At least the header block of several messages, empty line included, like [`Self::read_many`]. A backend that keeps header
    /// blocks apart overrides it.
    async fn read_headers(&self, messages: &[MessageKey]) -> Result<Vec<Option<Arc<Vec<u8>>>>, StoreError> {
        self.read_many(messages).await
    }

    /// What changed in a folder after modification sequence `after`. Everything up to `highest_modseq` is in it; something later
    /// may be. A backend overrides it to make one round trip.
    async fn changes(&self, folder: FolderKey, after: u64) -> Result<FolderChanges, StoreError> {
        // The mark is taken first: what happens meanwhile is told twice rather than never.
        let highest_modseq = self.status(folder).await?.highest_modseq;
        if highest_modseq <= after {
            return Ok(FolderChanges {
                highest_modseq,
                ..FolderChanges::default()
            });
        }
        let entries = self.entries(folder, after).await?;
        let expunged = self.expunged(folder, after).await?;
        Ok(FolderChanges {
            highest_modseq,
            entries,
            expunged,
        })
    }

    /// Changes flags of the given UIDs (absent ones are skipped) and returns the entries as they are now.
    async fn store_flags(
        &self,
        folder: FolderKey,
        uids: &[u32],
        change: FlagChange,
        flags: &Flags,
    ) -> Result<Vec<EntryRow>, StoreError>;

    /// Copies entries, flags and dates kept, to the end of `to`. Returns pairs (old UID, new UID) and the UIDVALIDITY of `to`.
    async fn copy(&self, from: FolderKey, uids: &[u32], to: FolderKey) -> Result<(u32, Vec<(u32, u32)>), StoreError>;

    /// Like `copy`, then removes them from `from`, in the same transaction (RFC 6851).
    async fn move_to(&self, from: FolderKey, uids: &[u32], to: FolderKey)
    -> Result<(u32, Vec<(u32, u32)>), StoreError>;

    /// Removes those of the given UIDs (`None`: all) that carry `\Deleted`; returns the removed UIDs, ascending.
    async fn expunge(&self, folder: FolderKey, uids: Option<&[u32]>) -> Result<Vec<u32>, StoreError>;
}

// ---------------------------------------------------------------------------------------------- queue

/// A recipient at another operator, about to be queued.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Reverse-path; `None` is `<>`.
    pub sender: Option<Address>,
    /// Forward-path.
    pub recipient: Address,
    /// First attempt not before.
    pub due: Timestamp,
    /// Given up after.
    pub expires: Timestamp,
    /// ESMTP parameters to hand on (RFC 3461 …), as one JSON object of the queue module's own making.
    pub parameters: String,
    /// Session that submitted it, for the journal.
    pub session: String,
}

/// A queued recipient, as leased or listed.
#[derive(Clone, Debug)]
pub struct QueueItem {
    /// Its key.
    pub key: QueueKey,
    /// The message to send.
    pub message: MessageKey,
    /// Bytes of the message.
    pub size_bytes: u64,
    /// Reverse-path; `None` is `<>`.
    pub sender: Option<Address>,
    /// Forward-path.
    pub recipient: Address,
    /// When it was queued.
    pub created: Timestamp,
    /// Not before.
    pub due: Timestamp,
    /// Given up after.
    pub expires: Timestamp,
    /// Attempts finished so far.
    pub attempts: u32,
    /// What the last attempt ended with.
    pub last_reply: Option<String>,
    /// See [`Outgoing::parameters`].
    pub parameters: String,
    /// See [`Outgoing::session`].
    pub session: String,
    /// The lease held on it: a number that no other lease ever had; 0 when not leased.
    pub lease: i64,
}

/// What becomes of a leased item.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The item.
    pub key: QueueKey,
    /// The lease it was taken under.
    pub lease: i64,
    /// Its fate.
    pub fate: Settled,
}

/// The end of one attempt for one item.
#[derive(Clone, Debug)]
pub enum Settled {
    /// It leaves the queue: delivered, or bounced by the acceptance settled with it.
    Done,
    /// It stays, to be tried again.
    Retry {
        /// Not before.
        due: Timestamp,
        /// What the attempt ended with.
        last_reply: String,
    },
}

/// The durable queue of mail to other operators.
#[async_trait]
pub trait QueueStore: Send + Sync {
    /// Leases up to `limit` due items that nobody holds a lease on at `now`, oldest due first, until `until`.
    /// Items of the same message and recipient domain come together when they are due together.
    async fn lease(&self, now: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<QueueItem>, StoreError>;

    /// Settles items and applies `also` (the bounce, the journal) in one transaction, provided every lease is still held;
    /// otherwise changes nothing and returns `false`. So settling twice has the effect of settling once (invariant 6).
    async fn settle(&self, settlements: Vec<Settlement>, also: Acceptance) -> Result<bool, StoreError>;

    /// When the next item that is not leased becomes due, or the next lease runs out.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Every queued item, oldest first, up to `limit`.
    async fn queued(&self, limit: usize) -> Result<Vec<QueueItem>, StoreError>;

    /// Ends every lease: at start, when no earlier process can still be working on one.
    async fn release_all(&self) -> Result<(), StoreError>;
}

// ---------------------------------------------------------------------------------------------- journal and counters

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

/// Counters kept beside the journal, in the same transactions.
#[async_trait]
pub trait CounterStore: Send + Sync {
    /// All counters of a month, or of every month, by ascending key.
    async fn counters(&self, month: Option<&str>) -> Result<Vec<Count>, StoreError>;
}
