//! What a session asks its driver, and what it is told: plain values, so that the session needs no store and the store no IMAP.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::contents::Contents;
pub use super::credentials::{Credentials, Password};
use super::facts::Facts;
pub use super::flags::{FlagChange, Flags};
pub use super::folder::{Accessor, Annotated, Annotation, Folder, Rights, Room, Sought, Status, Survey, Surveyed};
pub use super::refused::Refused;
use super::text::TextKey;

/// Opaque key of a folder, given by [`Selected`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderHandle(pub i64);

/// Opaque key of a message, given by [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageHandle(pub i64);

/// Opaque key of a message that came in pieces, given by [`Answer::Spooled`]; good for one APPEND of the same session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpoolHandle(pub usize);

/// What a piece of a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// The first message of its command that comes in pieces.
    Command,
    /// Another message of the same command.
    Message,
    /// Nothing: it goes on with the last one.
    Nothing,
}

/// The bytes of a message to be appended.
#[derive(Clone, PartialEq, Eq)]
pub enum Bytes {
    /// Here they are.
    Memory(Vec<u8>),
    /// They came in pieces.
    Spooled(SpoolHandle),
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Self::Spooled(handle) => write!(f, "{handle:?}"),
        }
    }
}

/// One message of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its UID.
    pub uid: u32,
    /// Its bytes.
    pub message: MessageHandle,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// SAVEDATE (RFC 8514).
    pub saved: Timestamp,
    /// RFC822.SIZE.
    pub size_bytes: u64,
    /// Modification sequence of its last change.
    pub modseq: u64,
}

/// A message on its way into a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Flags.
    pub flags: Flags,
    /// INTERNALDATE; now if absent.
    pub date: Option<Timestamp>,
    /// The message.
    pub bytes: Bytes,
}

/// A folder just selected.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Its key for later requests.
    pub folder: FolderHandle,
    /// UIDVALIDITY
    pub uid_validity: u32,
    /// UIDNEXT
    pub uid_next: u32,
    /// All its messages; shared, so that many sessions on one folder cost one list.
    pub contents: Arc<Contents>,
    /// UIDs this session is the first to see.
    pub recent: Vec<u32>,
    /// MAILBOXID (RFC 8474 §4.2).
    pub object_id: String,
    /// Nothing of the folder may be changed, whatever was asked for: the box is suspended.
    pub read_only: bool,
}

/// A folder as it is now.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// All its messages; what changed is what differs from the contents known before.
    pub contents: Arc<Contents>,
    /// UIDs this session is the first to see.
    pub recent: Vec<u32>,
}

/// IMAP data of a message computed once, in wire form (RFC 3501 §7.4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The parenthesised list after `ENVELOPE`.
    pub envelope: Vec<u8>,
    /// The parenthesised list after `BODY`: without extension data.
    pub body: Vec<u8>,
    /// The parenthesised list after `BODYSTRUCTURE`.
    pub body_structure: Vec<u8>,
    /// Length of the header block, empty line included.
    pub header_bytes: u32,
    /// Where its parts lie, in a form of this module's own; empty: unknown.
    pub layout: Vec<u8>,
}

/// How much of the messages a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Only the [`Summary`].
    Summary,
    /// At least the header block, empty line included; the whole message does as well.
    Header,
    /// The whole message.
    Content,
    /// The whole message and its [`Summary`].
    Both,
}

/// What was loaded of one message: the parts that [`What`] names.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Precomputed data.
    pub summary: Option<Summary>,
    /// Bytes of the message, or of its header block.
    pub bytes: Option<Arc<Vec<u8>>>,
}

/// A question for the driver; each is answered by the [`Answer`] named with it, or by [`Answer::Refused`].
#[derive(Debug)]
pub enum Request {
    /// Who is it, and which boxes may it open? → [`Answer::Boxes`]
    Authenticate(Credentials),
    /// From now on every request is about this box. → [`Answer::Done`]
    Open {
        /// One of the addresses of [`Answer::Boxes`].
        address: String,
    },
    /// Nobody is logged in any more (RFC 8437). → [`Answer::Done`]
    Unauthenticate,
    /// All folders. → [`Answer::Folders`]
    Folders,
    /// All folders, and the subscribed names that no folder has. → [`Answer::Listing`]
    Listing,
    /// Figures of several folders. → [`Answer::Statuses`], one for each in order, `None` for one that is gone.
    Statuses {
        /// Their names.
        folders: Vec<String>,
    },
    /// What the box holds and may hold. → [`Answer::Room`]
    Room,
    /// Who may open the box; asked of the driver. → [`Answer::Access`]
    Access,
    /// Annotations of a folder, or of the box (`None`), that this session may see. → [`Answer::Annotations`]
    Annotations {
        /// Name of the folder.
        folder: Option<String>,
    },
    /// All or none. → [`Answer::Done`]
    Annotate {
        /// Name of the folder; `None`: the box.
        folder: Option<String>,
        /// What is set, and what is taken away.
        changes: Vec<Annotation>,
    },
    /// Figures. → [`Answer::Status`]
    Status {
        /// Name of the folder.
        folder: String,
    },
    /// Opens a folder; from now on the driver tells of its changes. → [`Answer::Selected`]
    Select {
        /// Name of the folder.
        folder: String,
        /// EXAMINE: nothing of the folder changes, not even `\Recent`.
        read_only: bool,
    },
    /// The folder is no longer watched. → [`Answer::Done`]
    Leave,
    /// → [`Answer::Created`]
    Create {
        /// Name of the folder.
        folder: String,
        /// Attribute of RFC 6154 that it shall have, in whatever case.
        special_use: Option<String>,
    },
    /// → [`Answer::Deleted`]
    Delete {
        /// Name of the folder.
        folder: String,
    },
    /// Of INBOX: its messages go to a new folder (RFC 3501 §6.3.5). → [`Answer::Done`]
    Rename {
        /// Present name.
        from: String,
        /// New name.
        to: String,
    },
    /// → [`Answer::Done`]
    Subscribe {
        /// Name of the folder.
        folder: String,
        /// What LSUB shall say.
        subscribed: bool,
    },
    /// → [`Answer::Appended`]
    Append {
        /// Name of the folder.
        folder: String,
        /// The messages, one at least: all are stored, or none.
        messages: Vec<Upload>,
        /// A message that goes in the same transaction (RFC 8508).
        replaces: Option<(FolderHandle, u32)>,
    },
    /// → [`Answer::Loaded`], one for each message in order, `None` for one that is gone.
    Load {
        /// A bounded number of messages.
        messages: Vec<MessageHandle>,
        /// How much of them.
        what: What,
    },
    /// Which of these messages each text is in. → [`Answer::Found`]
    Find {
        /// The folder.
        folder: FolderHandle,
        /// A bounded number of messages, by ascending UID.
        messages: Arc<Vec<Sought>>,
        /// What is looked for.
        keys: Vec<Arc<TextKey>>,
    },
    /// When it is. → [`Answer::Now`]
    Now,
    /// What SORT and THREAD compare. → [`Answer::Facts`], one for each message in order, `None` for one that is gone.
    Facts {
        /// The folder.
        folder: FolderHandle,
        /// A bounded number of messages, by ascending UID.
        messages: Arc<Vec<Sought>>,
    },
    /// The next bytes of a message that comes in pieces: the driver keeps them, on disk when there are many. → [`Answer::Done`]
    Spool {
        /// The bytes.
        bytes: Vec<u8>,
        /// What they begin; what was kept of an earlier one and never used is forgotten.
        begins: Begins,
    },
    /// The message that came in pieces is complete. → [`Answer::Spooled`]
    SpoolEnd,
    /// A piece of a message too large to load whole. → [`Answer::Part`]
    LoadPart {
        /// The message.
        message: MessageHandle,
        /// Where it begins, in bytes.
        offset: u64,
        /// How many bytes; fewer come only at the end of the message.
        length: usize,
    },
    /// First words of messages (RFC 8970). → [`Answer::Previews`]
    Previews {
        /// A bounded number of messages.
        messages: Vec<MessageHandle>,
        /// Only those that cost nothing.
        lazy: bool,
    },
    /// → [`Answer::Changed`]; absent messages are skipped.
    SetFlags {
        /// The folder.
        folder: FolderHandle,
        /// The messages.
        uids: Vec<u32>,
        /// How.
        change: FlagChange,
        /// By what.
        flags: Flags,
        /// Only messages not changed after this modification sequence (RFC 7162 §3.1.3).
        unchanged_since: Option<u64>,
    },
    /// COPY or MOVE. → [`Answer::Copied`]
    Copy {
        /// The folder they are in.
        folder: FolderHandle,
        /// The messages.
        uids: Vec<u32>,
        /// Name of the folder they go to.
        to: String,
        /// COPY or MOVE.
        mode: CopyMode,
    },
    /// Removes messages that carry `\Deleted`. → [`Answer::Expunged`]
    Expunge {
        /// The folder.
        folder: FolderHandle,
        /// Only among these; `None`: all.
        uids: Option<Vec<u32>>,
    },
    /// → [`Answer::News`]
    News {
        /// The folder.
        folder: FolderHandle,
    },
    /// From now on, or no longer, changes of any folder of the box count as changes (RFC 5465). → [`Answer::Done`]
    WatchBox {
        /// Whether they do.
        watch: bool,
    },
    /// All folders with their figures. → [`Answer::Surveyed`]
    Survey {
        /// And their annotations, if any were changed since the box is watched or this was asked last.
        annotations: bool,
    },
    /// Who went after a modification sequence? → [`Answer::Vanished`]
    Vanished {
        /// The folder.
        folder: FolderHandle,
        /// After it.
        since: u64,
    },
}

impl Request {
    /// Whether it changes what is in a box. No arm is left out: whoever adds a request decides here.
    pub fn is_change(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::Delete { .. }
            | Self::Rename { .. }
            | Self::Subscribe { .. }
            | Self::Annotate { .. }
            | Self::Append { .. }
            | Self::SetFlags { .. }
            | Self::Copy { .. }
            | Self::Expunge { .. } => true,
            Self::Authenticate(_)
            | Self::Unauthenticate
            | Self::Open { .. }
            | Self::Folders
            | Self::Listing
            | Self::Status { .. }
            | Self::Statuses { .. }
            | Self::Room
            | Self::Access
            | Self::Annotations { .. }
            | Self::Select { .. }
            | Self::Leave
            | Self::Load { .. }
            | Self::LoadPart { .. }
            | Self::Previews { .. }
            | Self::Spool { .. }
            | Self::SpoolEnd
            | Self::News { .. }
            | Self::Vanished { .. }
            | Self::WatchBox { .. }
            | Self::Find { .. }
            | Self::Facts { .. }
            | Self::Now
            | Self::Survey { .. } => false,
        }
    }
}

/// Whether the originals stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// They stay.
    Copy,
    /// They go, in the same transaction (RFC 6851).
    Move,
}

/// What the driver found or did.
#[derive(Debug)]
pub enum Answer {
    /// The addresses of the boxes the login opens; its own first. Never empty.
    Boxes(Vec<String>),
    /// It is done.
    Done,
    /// To [`Request::Folders`].
    Folders(Vec<Folder>),
    /// To [`Request::Listing`].
    Listing {
        /// All folders.
        folders: Vec<Folder>,
        /// Subscribed names that no folder has.
        wishes: Vec<String>,
    },
    /// To [`Request::Statuses`].
    Statuses(Vec<Option<Status>>),
    /// To [`Request::Create`].
    Created {
        /// MAILBOXID of the new folder.
        object_id: String,
    },
    /// To [`Request::Delete`].
    Deleted(FolderHandle),
    /// To [`Request::Room`].
    Room(Room),
    /// To [`Request::Access`].
    Access {
        /// This session's own.
        mine: Accessor,
        /// All who may open the box, this one among them.
        all: Vec<Accessor>,
    },
    /// To [`Request::Annotations`], by name.
    Annotations(Vec<Annotation>),
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Select`].
    Selected(Selected),
    /// To [`Request::Append`].
    Appended {
        /// UIDVALIDITY of the folder.
        uid_validity: u32,
        /// The new messages' UIDs, in order.
        uids: Vec<u32>,
    },
    /// To [`Request::Load`].
    Loaded(Vec<Option<Loaded>>),
    /// To [`Request::Find`].
    Found {
        /// So many of the messages, the first ones, were looked at; the others are to be asked again. At least one, if one was asked.
        decided: usize,
        /// For each key, the positions of the messages that it holds for, ascending.
        hits: Vec<Vec<u32>>,
    },
    /// To [`Request::Now`].
    Now(Timestamp),
    /// To [`Request::Facts`].
    Facts(Vec<Option<Facts>>),
    /// To [`Request::SpoolEnd`].
    Spooled(SpoolHandle),
    /// To [`Request::LoadPart`]; `None`: the message is gone.
    Part(Option<Vec<u8>>),
    /// To [`Request::Previews`], one for each message in order; `None`: not known yet, or the message is gone.
    Previews(Vec<Option<String>>),
    /// To [`Request::SetFlags`].
    Changed {
        /// The folder after it.
        news: News,
        /// UIDs of messages that were changed too late and stay as they were, ascending.
        refused: Vec<u32>,
    },
    /// To [`Request::Copy`].
    Copied {
        /// UIDVALIDITY of the folder they went to.
        uid_validity: u32,
        /// Old and new UIDs, ascending.
        pairs: Vec<(u32, u32)>,
    },
    /// To [`Request::Expunge`]: removed UIDs, ascending.
    Expunged(Vec<u32>),
    /// To [`Request::News`].
    News(News),
    /// To [`Request::Survey`].
    Surveyed(Survey),
    /// To [`Request::Vanished`]: UIDs, ascending; `None` when that is forgotten.
    Vanished(Option<Vec<u32>>),
    /// To [`Request::Authenticate`]: nothing is opened.
    LoginRefused {
        /// [`Refused::Credentials`] or [`Refused::NotYourBox`].
        refused: Refused,
        /// One line of ASCII that says why, with the ids to look it up by (invariant 5).
        text: String,
    },
    /// It could not be done.
    Refused(Refused),
}
