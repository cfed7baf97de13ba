//! Folders and what is in them, as rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{BoxKey, FolderKey, MessageKey, StoreError, Summary};
use crate::identity::Address;

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
    /// Messages with `\Deleted` (RFC 9051 §6.3.11).
    pub deleted: u32,
    /// Sum of their sizes (RFC 9208 §4.1.4).
    pub deleted_bytes: u64,
}

/// What a box holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of the sizes of what its folders show: a message that is in two folders counts twice.
    pub used_bytes: u64,
    /// Messages in all its folders.
    pub messages: u64,
    /// The most it may hold, in bytes; `None`: no limit.
    pub quota_bytes: Option<u64>,
}

impl Usage {
    /// Whether the quota is used up.
    pub fn is_full(&self) -> bool {
        self.quota_bytes.is_some_and(|quota| self.used_bytes >= quota)
    }
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
    /// When it came into the folder (RFC 8514).
    pub saved: Timestamp,
}

/// A change of flags, see [`MailboxStore::change_flags`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagUpdate {
    /// How.
    pub change: FlagChange,
    /// By what.
    pub flags: Flags,
    /// Only entries not changed after this modification sequence (RFC 7162 §3.1.3); `None`: all.
    pub unchanged_since: Option<u64>,
}

/// What a [`FlagUpdate`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagsChanged {
    /// The entries named, as they are now, by ascending UID; those refused are among them.
    pub entries: Vec<EntryRow>,
    /// UIDs of entries that were changed too late and stay as they were, ascending.
    pub refused: Vec<u32>,
    /// Whether any entry is not as it was.
    pub any: bool,
}

/// Entries that come into another folder, see [`MailboxStore::transfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The folder they are in.
    pub from: FolderKey,
    /// The folder they come to.
    pub to: FolderKey,
    /// What becomes of them there.
    pub originals: Originals,
    /// When (RFC 8514); `None`: the copies keep the time of the originals.
    pub saved: Option<Timestamp>,
}

/// Whether entries stay where they are copied from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Originals {
    /// COPY
    Stay,
    /// MOVE (RFC 6851)
    Go,
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
    /// Who was gone up to this modification sequence is forgotten: when it is greater than the one asked, `expunged` is not whole.
    pub forgotten: u64,
}

/// Folders and what is in them. Every change raises the folder's modification sequence inside its own transaction.
#[async_trait]
pub trait MailboxStore: Send + Sync {
    /// Makes sure the box exists with at least these folders (all subscribed); INBOX is always made. A special use that a folder of
    /// the box has already, under whatever name, is not given again. Idempotent.
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

    /// Removes a folder and what is in it; its children and its subscription stay. The name may be created again, with a greater UIDVALIDITY.
    async fn delete_folder(&self, folder: FolderKey) -> Result<(), StoreError>;

    /// Gives a name to what has another, in one transaction (RFC 3501 §6.3.5): the folder and those below it; only those below where no
    /// folder has the name; of INBOX its messages, which go to a new folder. Missing parents are created; UIDs stay. Returns the folders of which
    /// something changed. Fails with [`StoreError::NotFound`], or [`StoreError::FolderExists`] when one of the new names is taken.
    async fn rename(&self, owner: BoxKey, from: &str, to: &str) -> Result<Vec<FolderKey>, StoreError>;

    /// Sets what LSUB lists, by name: a folder need not have it (RFC 3501 §6.3.6). It stays when the folder is deleted, and a folder made
    /// under a subscribed name is subscribed. Fails with [`StoreError::TooMany`] above `names_max` names without a folder.
    async fn subscribe(&self, owner: BoxKey, name: &str, subscribed: bool, names_max: usize) -> Result<(), StoreError>;

    /// Subscribed names that no folder has, in order.
    async fn subscriptions(&self, owner: BoxKey) -> Result<Vec<String>, StoreError>;

    /// Figures of several folders in the order asked, those that are gone left out. A backend overrides it to make one round trip.
    async fn statuses(&self, folders: &[FolderKey]) -> Result<Vec<(FolderKey, FolderStatus)>, StoreError> {
        let mut found = Vec::with_capacity(folders.len());
        for folder in folders {
            match self.status(*folder).await {
                Ok(status) => found.push((*folder, status)),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Every folder of every box with its highest modification sequence, in no order: for who follows changes beside the sessions.
    /// A backend that cannot tell says nothing of any.
    async fn folder_marks(&self) -> Result<Vec<(FolderKey, u64)>, StoreError> {
        Ok(Vec::new())
    }

    /// Figures of a folder.
    async fn status(&self, folder: FolderKey) -> Result<FolderStatus, StoreError>;

    /// What the box of a folder holds, exact after any change, and its quota.
    async fn usage(&self, folder: FolderKey) -> Result<Usage, StoreError>;

    /// Sets the quotas of boxes, `None` for no limit; boxes that do not exist are skipped. A box that holds more keeps it.
    async fn set_quotas(&self, quotas: &[(Address, Option<u64>)]) -> Result<(), StoreError>;

    /// Entries changed after modification sequence `after` (0: all of them), by ascending UID.
    /// An expunged entry is simply absent: compare with `entries(folder, 0)` or use [`Self::expunged`].
    async fn entries(&self, folder: FolderKey, after: u64) -> Result<Vec<EntryRow>, StoreError>;

    /// UIDs expunged after modification sequence `after`, ascending; of the older ones a backend may forget some, see
    /// [`FolderChanges::forgotten`]. The newest 10,000 of a folder are kept.
    async fn expunged(&self, folder: FolderKey, after: u64) -> Result<Vec<u32>, StoreError>;

    /// A folder by name, with its figures. A backend overrides it to make one round trip.
    async fn look_up(&self, owner: BoxKey, name: &str) -> Result<(FolderRow, FolderStatus), StoreError> {
        let folders = self.folders(owner).await?;
        let found = folders.into_iter().find(|folder| folder.name == name);
        let row = found.ok_or(StoreError::NotFound { what: "folder" })?;
        let status = self.status(row.key).await?;
        Ok((row, status))
    }

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
            found.push(readable(self.read(*message).await, *message)?);
        }
        Ok(found)
    }

    /// At least the header block of several messages, empty line included, like [`Self::read_many`]. A backend that keeps header
    /// blocks apart overrides it.
    async fn read_headers(&self, messages: &[MessageKey]) -> Result<Vec<Option<Arc<Vec<u8>>>>, StoreError> {
        self.read_many(messages).await
    }

    /// Up to `length_max` bytes of what [`Self::read`] gives, from `offset` on: fewer at the end, none beyond it. For messages that are too
    /// large to hold; their checksum is not compared. A backend overrides it to read no more than that.
    async fn read_part(&self, message: MessageKey, offset: u64, length_max: usize) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read(message).await?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let to = from.saturating_add(length_max).min(bytes.len());
        Ok(bytes[from..to].to_vec())
    }

    /// Up to the first `length_max` bytes of each of these messages like [`Self::read_part`], `None` for one that is gone or cannot be read.
    /// A backend overrides it to make one round trip.
    async fn read_fronts(
        &self,
        messages: &[MessageKey],
        length_max: usize,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut found = Vec::with_capacity(messages.len());
        for message in messages {
            found.push(match self.read_part(*message, 0, length_max).await {
                Ok(front) => Some(front),
                Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(found)
    }

    /// Previews kept of messages (RFC 8970), in the order asked; `None`: none is kept.
    async fn previews(&self, messages: &[MessageKey]) -> Result<Vec<Option<String>>, StoreError>;

    /// Keeps previews; messages that are gone are skipped.
    async fn keep_previews(&self, previews: Vec<(MessageKey, String)>) -> Result<(), StoreError>;

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
            forgotten: 0,
        })
    }

    /// Changes flags of the given UIDs; absent ones are skipped. Whether an entry was changed meanwhile is decided in the same
    /// transaction. An entry that stays as it was keeps its modification sequence.
    async fn change_flags(
        &self,
        folder: FolderKey,
        uids: &[u32],
        update: &FlagUpdate,
    ) -> Result<FlagsChanged, StoreError>;

    /// [`Self::change_flags`] whatever happened meanwhile; returns the entries as they are now.
    async fn store_flags(
        &self,
        folder: FolderKey,
        uids: &[u32],
        change: FlagChange,
        flags: &Flags,
    ) -> Result<Vec<EntryRow>, StoreError> {
        let update = FlagUpdate {
            change,
            flags: flags.clone(),
            unchanged_since: None,
        };
        Ok(self.change_flags(folder, uids, &update).await?.entries)
    }

    /// Copies entries, flags and dates kept, to the end of another folder, and removes the originals in the same transaction where they
    /// go. Fails with [`StoreError::OverQuota`] when they do not fit. Returns the UIDVALIDITY of `to` and pairs (old UID, new UID).
    async fn transfer(&self, passage: Passage, uids: &[u32]) -> Result<(u32, Vec<(u32, u32)>), StoreError>;

    /// [`Self::transfer`] where the originals stay and the copies are as old as they are.
    async fn copy(&self, from: FolderKey, uids: &[u32], to: FolderKey) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
        let passage = Passage {
            from,
            to,
            originals: Originals::Stay,
            saved: None,
        };
        self.transfer(passage, uids).await
    }

    /// The same where the originals go (RFC 6851).
    async fn move_to(
        &self,
        from: FolderKey,
        uids: &[u32],
        to: FolderKey,
    ) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
        let passage = Passage {
            from,
            to,
            originals: Originals::Go,
            saved: None,
        };
        self.transfer(passage, uids).await
    }

    /// Removes those of the given UIDs (`None`: all) that carry `\Deleted`; returns the removed UIDs, ascending.
    async fn expunge(&self, folder: FolderKey, uids: Option<&[u32]>) -> Result<Vec<u32>, StoreError>;
}

/// What reading one of several messages gives: one that is gone or damaged keeps nobody from the others.
pub(crate) fn readable(
    read: Result<Arc<Vec<u8>>, StoreError>,
    message: MessageKey,
) -> Result<Option<Arc<Vec<u8>>>, StoreError> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(StoreError::Damaged { what }) => {
            tracing::error!(
                what,
                message = message.0,
                "a message cannot be read: run `vaguemestre verify`"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
