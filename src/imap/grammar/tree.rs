//! What a command says, as values: every command of `IMAP4rev1`, `IMAP4rev2` and the extensions that are offered, nothing of any state.
//!
//! Texts stay as they came (bytes): what they mean depends on what the client enabled. Numbers and dates are checked.

use std::num::{NonZeroU32, NonZeroU64};

use jiff::Timestamp;
use jiff::civil::Date;

pub(crate) use super::notify::{Notify, NotifyEvent, NotifyFolders, NotifyGroup};

/// A command: its tag, and what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) tag: String,
    pub(crate) body: Body,
}

/// The name of a folder as it came: modified UTF-7, or UTF-8 once that is enabled (RFC 9051 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) Vec<u8>);

/// Text of a command that nobody may log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether a command names messages by sequence number or by UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    Sequence,
    Uid,
}

/// One end of a range: a number, or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Number(NonZeroU32),
    Last,
}

/// Ranges as written: either end may be the smaller.
pub(crate) type Ranges = Vec<(End, End)>;

/// A name and a value; `None` is NIL.
pub(crate) type Field = (Vec<u8>, Option<Vec<u8>>);

/// Messages: ranges, or what the last SEARCH saved (`$`, RFC 5182).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Ranges(Ranges),
    Saved,
}

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Capability,
    Noop,
    Logout,
    StartTls,
    /// RFC 2971; `None` is NIL.
    Id(Option<Vec<Field>>),
    /// RFC 9051 §6.2.2; the initial response decoded, empty for `=` (RFC 4959).
    Authenticate {
        mechanism: String,
        initial: Option<Secret>,
    },
    Login {
        user: Vec<u8>,
        password: Secret,
    },
    /// RFC 8437.
    Unauthenticate,
    /// RFC 5161; names in capitals.
    Enable(Vec<String>),
    /// RFC 4978.
    Compress {
        mechanism: String,
    },
    /// SELECT and EXAMINE.
    Select {
        folder: Name,
        read_only: bool,
        parameters: SelectParameters,
    },
    /// `special_uses`: attributes of CREATE-SPECIAL-USE (RFC 6154 §3) as written.
    Create {
        folder: Name,
        special_uses: Vec<String>,
    },
    Delete(Name),
    Rename {
        from: Name,
        to: Name,
    },
    Subscribe(Name),
    Unsubscribe(Name),
    List(List),
    Lsub {
        reference: Name,
        pattern: Vec<u8>,
    },
    Namespace,
    Status {
        folder: Name,
        items: Vec<StatusItem>,
    },
    /// The messages themselves come beside the tree, in this order (RFC 3502).
    Append {
        folder: Name,
        messages: Vec<AppendHead>,
    },
    /// RFC 8508.
    Replace {
        numbering: Numbering,
        message: End,
        folder: Name,
        head: AppendHead,
    },
    Idle,
    Check,
    Close,
    Unselect,
    Expunge(Option<Set>),
    Search(Search),
    /// RFC 5256.
    Sort {
        criteria: Vec<SortCriterion>,
        search: Search,
    },
    /// RFC 5256; the algorithm in capitals.
    Thread {
        algorithm: String,
        search: Search,
    },
    Fetch(Fetch),
    Store(Store),
    Copy {
        numbering: Numbering,
        set: Set,
        to: Name,
    },
    Move {
        numbering: Numbering,
        set: Set,
        to: Name,
    },
    /// RFC 9208.
    GetQuota {
        root: Vec<u8>,
    },
    GetQuotaRoot(Name),
    SetQuota {
        root: Vec<u8>,
        limits: Vec<(String, u64)>,
    },
    /// RFC 4314.
    SetAcl {
        folder: Name,
        identifier: Vec<u8>,
        rights: Vec<u8>,
    },
    DeleteAcl {
        folder: Name,
        identifier: Vec<u8>,
    },
    GetAcl(Name),
    ListRights {
        folder: Name,
        identifier: Vec<u8>,
    },
    MyRights(Name),
    /// RFC 5464; an empty folder name is the server.
    GetMetadata {
        folder: Name,
        max_size: Option<u64>,
        depth: Depth,
        entries: Vec<Vec<u8>>,
    },
    SetMetadata {
        folder: Name,
        entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
    /// RFC 5465; `None` is NONE.
    Notify(Option<Notify>),
}

/// Parameters of SELECT and EXAMINE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SelectParameters {
    /// RFC 7162 §3.1.8.
    pub(crate) condstore: bool,
    pub(crate) qresync: Option<Qresync>,
}

/// What a client remembers of a folder (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Qresync {
    pub(crate) uid_validity: u32,
    pub(crate) modseq: u64,
    pub(crate) known_uids: Option<Ranges>,
    /// Sequence numbers and the UIDs they had.
    pub(crate) matched: Option<(Ranges, Ranges)>,
}

/// LIST, basic or extended (RFC 5258).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) selection: Vec<ListSelection>,
    pub(crate) reference: Vec<u8>,
    pub(crate) patterns: Vec<Vec<u8>>,
    /// Whether patterns stood in parentheses, or options were given: the empty pattern then has no special meaning.
    pub(crate) extended: bool,
    pub(crate) returns: Vec<ListReturn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListSelection {
    Subscribed,
    Remote,
    RecursiveMatch,
    SpecialUse,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListReturn {
    Subscribed,
    Children,
    SpecialUse,
    /// RFC 5819.
    Status(Vec<StatusItem>),
    /// RFC 9590: entries asked for.
    Metadata(Vec<Vec<u8>>),
    /// RFC 8440.
    MyRights,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    /// RFC 9051 §6.3.11.
    Deleted,
    /// RFC 8438.
    Size,
    /// RFC 7162.
    HighestModseq,
    /// RFC 7889.
    AppendLimit,
    /// RFC 8474.
    MailboxId,
    /// RFC 9208.
    DeletedStorage,
}

/// A flag as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// One of `store`'s system bits.
    System(u8),
    Recent,
    Keyword(String),
    /// `\Something` that no standard defines here.
    Unknown(String),
}

/// Everything of one message of APPEND but its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AppendHead {
    pub(crate) flags: Vec<Flag>,
    pub(crate) date: Option<Timestamp>,
    pub(crate) content: Content,
}

/// How the bytes of a message came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Content {
    /// As a literal: no NUL in it.
    #[default]
    Text,
    /// As a `literal8` (RFC 3516 §4.4).
    Binary,
    /// As `UTF8 (literal8)` (RFC 6855 §4).
    Utf8,
}

/// SEARCH and what SORT and THREAD share with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) numbering: Numbering,
    /// `None`: the response of RFC 3501. An empty list is `RETURN ()`, which means ALL (RFC 4731).
    pub(crate) returns: Option<Vec<SearchReturn>>,
    /// In capitals.
    pub(crate) charset: Option<String>,
    pub(crate) key: SearchKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchReturn {
    Min,
    Max,
    All,
    Count,
    Save,
    /// RFC 9394: one end, the other; negative counts from the last.
    Partial(i64, i64),
}

/// A search key (RFC 9051 §6.4.4). Depth is bounded by the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SearchKey {
    /// All of them; none: ALL.
    And(Vec<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Numbers(Set),
    Uids(Set),
    /// One of `store`'s system bits is set.
    System(u8),
    Keyword(String),
    New,
    Old,
    Recent,
    Larger(u64),
    Smaller(u64),
    Internal(When, Date),
    Sent(When, Date),
    /// RFC 8514.
    Saved(When, Date),
    SaveDateSupported,
    /// RFC 5032, in seconds.
    Older(u32),
    Younger(u32),
    /// FROM, TO, CC, BCC and SUBJECT too.
    Header(Vec<u8>, Vec<u8>),
    Body(Vec<u8>),
    Text(Vec<u8>),
    /// RFC 7162 §3.1.5; the metadata entry, if named, changes nothing here.
    Modseq(u64),
    /// RFC 8474.
    EmailId(String),
    ThreadId(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    On,
    Since,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SortCriterion {
    pub(crate) key: SortKey,
    pub(crate) reverse: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortKey {
    Arrival,
    Cc,
    Date,
    From,
    Size,
    Subject,
    To,
    /// RFC 5957.
    DisplayFrom,
    DisplayTo,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) numbering: Numbering,
    pub(crate) set: Set,
    pub(crate) items: Vec<FetchItem>,
    pub(crate) changed_since: Option<u64>,
    /// RFC 7162 §3.2.6.
    pub(crate) vanished: bool,
    /// RFC 9394.
    pub(crate) partial: Option<(i64, i64)>,
}

/// First byte and how many (RFC 9051 §9, `partial`): 63 bits each.
pub(crate) type Partial = (u64, NonZeroU64);

/// A data item of FETCH; macros are expanded by the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FetchItem {
    Uid,
    Flags,
    InternalDate,
    Size,
    Envelope,
    Body,
    BodyStructure,
    Modseq,
    SaveDate,
    EmailId,
    ThreadId,
    /// RFC 8970; with LAZY.
    Preview {
        lazy: bool,
    },
    Rfc822,
    Rfc822Header,
    Rfc822Text,
    /// `BODY[…]<…>`
    Section {
        section: Section,
        partial: Option<Partial>,
        peek: bool,
    },
    /// RFC 3516.
    Binary {
        part: Vec<NonZeroU32>,
        partial: Option<Partial>,
        peek: bool,
    },
    BinarySize {
        part: Vec<NonZeroU32>,
    },
}

/// What stands between the brackets of `BODY[…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) part: Vec<NonZeroU32>,
    pub(crate) text: SectionText,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SectionText {
    /// The part itself, or the whole message.
    Whole,
    Header,
    HeaderFields(Vec<Vec<u8>>),
    HeaderFieldsNot(Vec<Vec<u8>>),
    Text,
    /// Only of a numbered part.
    Mime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) numbering: Numbering,
    pub(crate) set: Set,
    pub(crate) unchanged_since: Option<u64>,
    pub(crate) change: StoreChange,
    pub(crate) silent: bool,
    pub(crate) flags: Vec<Flag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreChange {
    Replace,
    Add,
    Remove,
}

/// How far below an entry GETMETADATA looks (RFC 5464 §4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Depth {
    #[default]
    Zero,
    One,
    Infinity,
}
