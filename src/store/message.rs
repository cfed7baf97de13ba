//! Where messages enter the store: everything that accepting one changes, in one transaction.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Count, Flags, FolderKey, JournalRow, MessageKey, Outgoing, QueueItem, StoreError};

/// Bytes of a message on their way into the store. Debug output never shows them (invariant 9).
#[derive(Clone)]
pub enum Content {
    /// Held in memory; the backend decides whether they live beside the rows or in a file.
    Memory(Arc<Vec<u8>>),
    /// Already written and synced by [`MessageStore::stage`].
    Staged(StagedFile),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Self::Staged(file) => write!(f, "Staged({} bytes)", file.size_bytes),
        }
    }
}

/// A file written by [`MessageStore::stage`], waiting to be named by an [`Acceptance`]. Removed with the last copy of this value, or at the
/// next start, if none does.
#[derive(Clone, Debug)]
pub struct StagedFile {
    /// Backend's name of the file.
    pub name: String,
    /// Bytes in it.
    pub size_bytes: u64,
    /// CRC-32 of them, when the backend computed it on the way.
    pub checksum: Option<u32>,
    /// Whatever the backend wants dropped with the last copy.
    pub guard: Option<Arc<dyn Any + Send + Sync>>,
}

/// A message to be stored. Debug output shows sizes only.
#[derive(Clone)]
pub struct NewMessage {
    /// The message, trace header in front, CRLF line ends.
    pub content: Content,
    /// Shown before the content when it is read in a box: the `Return-Path:` line of final delivery (RFC 5321 §4.4). Empty for APPEND.
    pub lead: Vec<u8>,
    /// What IMAP asks for again and again, computed once over lead + content; absent when no local box receives it.
    pub summary: Option<Summary>,
}

impl fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage")
            .field("content", &self.content)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

/// IMAP data computed once at delivery, in wire form (RFC 3501 §7.4.2). It holds the subject: Debug output shows sizes only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The parenthesised list after `ENVELOPE`.
    pub envelope: Vec<u8>,
    /// The parenthesised list after `BODY`: without extension data.
    pub body: Vec<u8>,
    /// The parenthesised list after `BODYSTRUCTURE`.
    pub body_structure: Vec<u8>,
    /// Length of the header block in lead + content, empty line included.
    pub header_bytes: u32,
    /// Where the parts lie in the bytes: meant for whoever computed it. Empty: unknown.
    pub layout: Vec<u8>,
}

impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [envelope, structure] = [&self.envelope, &self.body_structure].map(Vec::len);
        write!(
            f,
            "Summary({envelope} bytes of envelope, {structure} of structure, {} of header)",
            self.header_bytes
        )
    }
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
    /// When it comes into the folder, if that is not INTERNALDATE (RFC 8514).
    pub saved: Option<Timestamp>,
    /// What makes this delivery recognisable when it is asked for again; `None`: it never is a repeat.
    pub once: Option<Once>,
    /// How much room the box must have left for it.
    pub room: Room,
}

/// What a box's quota means for one delivery. Without a quota there is always room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// Mail: taken until the box is full, the message that fills it included. So a message larger than what is left does not come
    /// back for days, and no transaction fails for one recipient among many unless a box filled up meanwhile.
    #[default]
    IfNotFull,
    /// What a user stores: it has to fit.
    Whole,
    /// Reports on the box's own mail, and what is moved from elsewhere: nothing may keep it out.
    Always,
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
    /// Until when `outgoing` is leased from the start, to whoever accepts it ([`Accepted::leased`]); `None`: it waits for its turn.
    pub leased_until: Option<Timestamp>,
    /// Journal records, in order.
    pub records: Vec<JournalRow>,
    /// Counter increments that follow from those records.
    pub counts: Vec<Count>,
    /// Messages that this one gives rise to, stored with it: delivery reports. Empty for nearly every message.
    pub reports: Vec<Enclosure>,
    /// Entries that this message replaces: they go in the same transaction (RFC 8508 §3), and what they took is free for it. Fails
    /// with [`StoreError::NotFound`], and nothing is stored, when one is gone already.
    pub removes: Vec<(FolderKey, u32)>,
}

/// A message that another one gives rise to: its bytes, and where they go.
#[derive(Clone, Debug)]
pub struct Enclosure {
    /// The bytes.
    pub message: NewMessage,
    /// Copies for local boxes.
    pub deliveries: Vec<Delivery>,
    /// Recipients at other operators.
    pub outgoing: Vec<Outgoing>,
}

/// What became of an [`Acceptance`].
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// Key of the stored message, when there was one.
    pub message: Option<MessageKey>,
    /// For each delivery, in order, those of the reports last: folder, its UIDVALIDITY and the new UID.
    pub delivered: Vec<(FolderKey, u32, u32)>,
    /// The items of [`Acceptance::outgoing`], in order, where they are leased from the start; otherwise none.
    pub leased: Vec<QueueItem>,
}

/// Where messages enter the store.
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Applies the whole acceptance in one transaction and returns once it would survive a crash.
    /// UIDs are given in delivery order within this transaction; UIDs of a folder only grow (invariant 7).
    /// Fails with [`StoreError::Repeated`] when the key of a delivery was used before, at its internal date, and with
    /// [`StoreError::OverQuota`] when a box has no room for it, see [`Room`].
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError>;

    /// For each of these keys of [`Once`], whether a delivery used it and it is not forgotten at `now`.
    async fn repeats(&self, keys: &[[u8; 32]], now: Timestamp) -> Result<Vec<bool>, StoreError>;

    /// Starts a file for a message too large to hold in memory.
    async fn stage(&self) -> Result<Box<dyn Stage>, StoreError>;

    /// Up to `length_max` bytes of a staged file that no acceptance has named yet, its front first, from `offset` on: fewer at the end,
    /// none beyond it.
    async fn staged_part(&self, file: &StagedFile, offset: u64, length_max: usize) -> Result<Vec<u8>, StoreError>;

    /// The bytes of a message, trace header first, without its lead.
    /// Fails with [`StoreError::NotFound`] once nothing refers to it any more.
    async fn content(&self, message: MessageKey) -> Result<Arc<Vec<u8>>, StoreError>;

    /// CRC-32 of what [`Self::content`] gives, as it was when the message came; `None` when it was not written down. Who reads a message in
    /// parts compares it himself, before he hands on what cannot be taken back.
    async fn checksum(&self, message: MessageKey) -> Result<Option<u32>, StoreError> {
        let content = self.content(message).await?;
        Ok(Some(crc32fast::hash(&content)))
    }

    /// Up to `length_max` bytes of what [`Self::content`] gives, from `offset` on: fewer at the end, none beyond it. For messages that are
    /// too large to hold. A backend overrides it to read no more than that; a part is not compared with any checksum ([`Self::checksum`]).
    async fn content_part(&self, message: MessageKey, offset: u64, length_max: usize) -> Result<Vec<u8>, StoreError> {
        let content = self.content(message).await?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let to = from.saturating_add(length_max).min(content.len());
        Ok(content[from..to].to_vec())
    }
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
