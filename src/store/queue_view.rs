//! The queue as an administrator sees and changes it.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::{JournalRow, MessageKey, QueueItem, QueueKey};
use crate::identity::{Address, Domain};

/// Which items. Everything given must fit.
#[derive(Clone, Debug)]
pub struct QueueFilter {
    /// What states are judged by.
    pub now: Timestamp,
    /// Only these; any when empty.
    pub keys: Vec<QueueKey>,
    /// Only this message.
    pub message: Option<MessageKey>,
    /// Only recipients of this domain.
    pub domain: Option<Domain>,
    /// Only this reverse-path.
    pub sender: Option<Sender>,
    /// Only this forward-path.
    pub recipient: Option<Address>,
    /// Only what this session submitted.
    pub session: Option<String>,
    /// Only items in this state.
    pub state: Option<QueueState>,
    /// Only items queued before.
    pub created_before: Option<Timestamp>,
    /// Only keys above; 0 for the first page.
    pub after: QueueKey,
    /// At most so many; for a change, looked at and not changed.
    pub limit: usize,
}

impl QueueFilter {
    /// Everything, a page of it.
    pub fn all(now: Timestamp, limit: usize) -> Self {
        Self {
            now,
            keys: Vec::new(),
            message: None,
            domain: None,
            sender: None,
            recipient: None,
            session: None,
            state: None,
            created_before: None,
            after: QueueKey(0),
            limit,
        }
    }
}

/// A reverse-path to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// `<>`: reports.
    Null,
    /// A box.
    Address(Address),
}

/// What an item waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueState {
    /// A free connection: it is due.
    Due,
    /// The time of its next attempt.
    Waiting,
    /// Its destination, which cannot be reached.
    Blocked,
    /// The end of the attempt under way.
    Leased,
    /// Somebody's release.
    Held,
}

impl QueueState {
    /// Every state, in the order they are shown.
    pub const ALL: [Self; 5] = [Self::Due, Self::Leased, Self::Waiting, Self::Blocked, Self::Held];

    /// Its name in rows, options and metrics.
    pub fn id(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Leased => "leased",
            Self::Held => "held",
        }
    }

    /// The state of that name.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }
}

impl fmt::Display for QueueState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// A listed item.
#[derive(Clone, Debug)]
pub struct QueueEntry {
    /// The item.
    pub item: QueueItem,
    /// What it waits for.
    pub state: QueueState,
    /// End of the lease held on it.
    pub leased_until: Option<Timestamp>,
    /// Who held it, and when.
    pub held: Option<(String, Timestamp)>,
    /// The reply it is about to be given up with.
    pub verdict: Option<String>,
}

/// What a summary has one line for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueBy {
    /// Destinations.
    Domain,
    /// States.
    State,
    /// Senders; `<>` for none.
    Sender,
    /// Messages, by their key.
    Message,
}

/// Items that have something in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueGroup {
    /// What: a domain, a state, a sender, a message.
    pub name: String,
    /// How many.
    pub items: u64,
    /// By state, in the order of [`QueueState::ALL`].
    pub states: [u64; 5],
    /// Bytes of their messages; a message counts once for each recipient.
    pub size_bytes: u64,
    /// When the oldest was queued.
    pub oldest: Timestamp,
    /// When the next attempt of those not held is due.
    pub next: Option<Timestamp>,
}

/// What to do with items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueChange {
    /// Try it now, instead of when it is due.
    Retry,
    /// Do not try it until it is released.
    Hold {
        /// Who says so.
        by: String,
    },
    /// Try it again when it is due.
    Release,
    /// Take it out; nobody is told.
    Drop,
    /// Give it up with this reply, which the sender is told of.
    Bounce {
        /// In the form of an SMTP reply on one line.
        verdict: String,
    },
}

/// The journal row for an item that was changed.
pub type ChangeRecord = Arc<dyn Fn(&QueueItem) -> JournalRow + Send + Sync>;

/// What a change did to one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Items changed.
    pub changed: usize,
    /// Items left alone because an attempt is under way.
    pub busy: usize,
    /// Items looked at.
    pub seen: usize,
    /// The last key looked at: the next page begins after it.
    pub last: Option<QueueKey>,
}

/// Why and how long a destination is not visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Now.
    pub at: Timestamp,
    /// Not before.
    pub until: Timestamp,
    /// What the visit ended with.
    pub last_reply: String,
}

/// A destination that could not be reached when it was visited last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The recipients' domain.
    pub domain: Domain,
    /// Visits in a row that reached no host.
    pub failures: u32,
    /// The first of them.
    pub since: Timestamp,
    /// No connection before.
    pub closed_until: Timestamp,
    /// What the last one ended with.
    pub last_reply: String,
}
