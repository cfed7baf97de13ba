//! What is told of a folder and of its box: name and use, figures, room, who may open it, annotations.

use super::request::{FolderHandle, MessageHandle};

/// A folder as LIST shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// Full name in UTF-8, levels separated by `/`; `INBOX` in capitals.
    pub name: String,
    /// Attribute of RFC 6154 with its backslash (`\Sent`), if any.
    pub special_use: Option<&'static str>,
    /// Whether LSUB lists it.
    pub subscribed: bool,
    /// MAILBOXID (RFC 8474 §4): the same after a rename, never that of another folder.
    pub object_id: String,
}

/// Figures of a folder for STATUS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// MESSAGES
    pub messages: u32,
    /// RECENT
    pub recent: u32,
    /// UNSEEN
    pub unseen: u32,
    /// UIDNEXT
    pub uid_next: u32,
    /// UIDVALIDITY
    pub uid_validity: u32,
    /// HIGHESTMODSEQ
    pub highest_modseq: u64,
    /// SIZE (RFC 8438)
    pub size_bytes: u64,
    /// DELETED (RFC 9051 §6.3.11)
    pub deleted: u32,
    /// DELETED-STORAGE (RFC 9208 §4.1.4), in bytes
    pub deleted_bytes: u64,
    /// MAILBOXID (RFC 8474 §4.3)
    pub object_id: String,
}

/// What a box holds, and may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// In bytes.
    pub used_bytes: u64,
    /// In bytes; `None`: no limit.
    pub limit_bytes: Option<u64>,
}

/// Somebody who may open the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accessor {
    /// What ACL calls it: the user name, or the subject of a certificate.
    pub identifier: String,
    /// What it may do.
    pub rights: Rights,
}

/// What somebody may do with every folder of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// All, and see who else may.
    Holder,
    /// All with the messages and folders.
    Delegate,
    /// Look at them: the box is suspended.
    Reader,
}

impl Rights {
    /// As RFC 4314 §2.1 writes them.
    pub fn letters(self) -> &'static str {
        match self {
            Self::Holder => "lrswipkxtea",
            Self::Delegate => "lrswipkxte",
            Self::Reader => "lr",
        }
    }
}

/// An annotation (RFC 5464), as this session may see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Annotation {
    /// Its whole name in lower case: `/private/comment`.
    pub entry: String,
    /// Its value; as a change, `None` takes it away.
    pub value: Option<Vec<u8>>,
}

/// A folder, as NOTIFY compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its key: it stays when the name changes.
    pub folder: FolderHandle,
    /// What LIST shows of it.
    pub listed: Folder,
    /// Its figures.
    pub status: Status,
}

/// A box, as NOTIFY compares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its folders.
    pub folders: Vec<Surveyed>,
    /// Names subscribed to that no folder has.
    pub wishes: Vec<String>,
    /// Annotations; `None`: not asked for, or none was changed since they were asked last.
    pub annotations: Option<Vec<Annotated>>,
}

/// Annotations of one place, as this session may see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotated {
    /// The folder; `None`: the box as a whole.
    pub folder: Option<FolderHandle>,
    /// Whole names in lower case, and something that differs when the values do.
    pub entries: Vec<(String, u64)>,
}

/// A message that a search asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Its UID.
    pub uid: u32,
    /// Its bytes.
    pub message: MessageHandle,
    /// How many they are.
    pub size_bytes: u64,
}
