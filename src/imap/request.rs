//! What a session asks its driver, and what it is told: plain values, so that the session needs no store and the store no IMAP.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Opaque key of a folder, given by [`Selected`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FolderHandle(pub i64);

/// Opaque key of a message, given by [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageHandle(pub i64);

/// A test secret or token on its way to whoever checks it; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, for the one who checks it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a client proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// LOGIN, or SASL PLAIN (RFC 4616).
    Password {
        /// `LOGIN`, or the SASL mechanism: for the journal.
        mechanism: &'static str,
        /// Authorisation identity: the box wanted; empty when not given.
        authorize: String,
        /// User name.
        user: String,
        /// Secret.
        password: Password,
    },
    /// A bearer token: XOAUTH2, OAUTHBEARER (RFC 7628).
    Token {
        /// The SASL mechanism: for the journal.
        mechanism: &'static str,
        /// The box wanted; empty when not given.
        authorize: String,
        /// Token.
        token: Password,
    },
    /// SASL EXTERNAL (RFC 4422 annex A): the certificate shown to the driver.
    Certificate {
        /// The box wanted; empty when not given.
        authorize: String,
    },
}

/// IMAP flags of a message (RFC 3501 §2.3.2), `\Recent` apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flags {
    /// System flags, a set of the bit constants below.
    pub system: u8,
    /// Keywords as first written; compared without case.
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

    /// Only these system flags.
    pub fn system(bits: u8) -> Self {
        Self {
            system: bits,
            keywords: BTreeSet::new(),
        }
    }

    /// Whether a keyword is set, without regard to case.
    pub fn has_keyword(&self, keyword: &str) -> bool {
        self.keywords.iter().any(|k| k.eq_ignore_ascii_case(keyword))
    }

    /// These flags after a change; keywords keep the case they were first written with.
    #[must_use]
    pub fn changed(&self, change: FlagChange, by: &Self) -> Self {
        match change {
            FlagChange::Replace => by.clone(),
            FlagChange::Add => {
                let mut flags = self.clone();
                flags.system |= by.system;
                let added = by.keywords.iter().filter(|k| !self.has_keyword(k)).cloned();
                flags.keywords.extend(added);
                flags
            }
            FlagChange::Remove => {
                let mut flags = self.clone();
                flags.system &= !by.system;
                flags.keywords.retain(|k| !by.has_keyword(k));
                flags
            }
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
    /// RFC822.SIZE.
    pub size_bytes: u64,
    /// Modification sequence of its last change.
    pub modseq: u64,
}

/// A message on its way into a folder.
#[derive(Clone, PartialEq, Eq)]
pub struct Upload {
    /// Flags.
    pub flags: Flags,
    /// INTERNALDATE; now if absent.
    pub date: Option<Timestamp>,
    /// The message.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({} bytes)", self.bytes.len())
    }
}

/// A folder as LIST shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Full name in UTF-8, levels separated by `/`; `INBOX` in capitals.
    pub name: String,
    /// Attribute of RFC 6154 with its backslash (`\Sent`), if any.
    pub special_use: Option<&'static str>,
    /// Whether LSUB lists it.
    pub subscribed: bool,
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
    /// Everything up to this modification sequence is in `entries`.
    pub highest_modseq: u64,
    /// All its messages by ascending UID; shared, so that many sessions on one folder cost one list.
    pub entries: Arc<Vec<Entry>>,
    /// UIDs this session is the first to see.
    pub recent: Vec<u32>,
}

/// What changed in a folder after a modification sequence.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Everything up to this modification sequence is told here.
    pub highest_modseq: u64,
    /// New and changed messages by ascending UID.
    pub entries: Vec<Entry>,
    /// UIDs that are gone, ascending.
    pub expunged: Vec<u32>,
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
    /// → [`Answer::Done`]
    Create {
        /// Name of the folder.
        folder: String,
    },
    /// → [`Answer::Done`]
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
    /// → [`Answer::Changed`], the entries as they are now; absent ones are skipped.
    SetFlags {
        /// The folder.
        folder: FolderHandle,
        /// The messages.
        uids: Vec<u32>,
        /// How.
        change: FlagChange,
        /// By what.
        flags: Flags,
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
        /// What happened after it.
        since: u64,
    },
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
    /// To [`Request::SetFlags`].
    Changed(Vec<Entry>),
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

/// Why a request was not fulfilled; each has one response code and one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Wrong user, secret or certificate.
    Credentials,
    /// The login is right but may not open that box, or must say which of several.
    NotYourBox,
    /// The folder does not exist.
    NoSuchFolder,
    /// The message is gone.
    NoSuchMessage,
    /// A folder of that name exists already.
    FolderExists,
    /// The folder may not be changed that way; the text says why.
    Cannot(&'static str),
    /// The box is full.
    OverQuota,
    /// Something is too large or too many.
    Limit,
    /// The box is suspended, or storage is shutting down or failing for a moment.
    Unavailable,
    /// A defect on our side.
    Defect,
}

impl Refused {
    /// Response code of RFC 5530 and text.
    pub(crate) fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Credentials => ("AUTHENTICATIONFAILED", "wrong credentials"),
            Self::NotYourBox => (
                "AUTHORIZATIONFAILED",
                "this login does not open that box; name one that it opens",
            ),
            Self::NoSuchFolder => ("NONEXISTENT", "no such folder"),
            Self::NoSuchMessage => ("EXPUNGEISSUED", "the message is gone"),
            Self::FolderExists => ("ALREADYEXISTS", "a folder of that name exists already"),
            Self::Cannot(why) => ("CANNOT", why),
            Self::OverQuota => ("OVERQUOTA", "the box is full"),
            Self::Limit => ("LIMIT", "too large or too many"),
            Self::Unavailable => ("UNAVAILABLE", "try again later"),
            Self::Defect => ("SERVERBUG", "internal error"),
        }
    }
}
