//! The durable queue of mail to other operators, as rows.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use super::queue_view::{
    ChangeRecord, Changed, Closed, Destination, QueueBy, QueueChange, QueueEntry, QueueFilter, QueueGroup,
};
use super::{Acceptance, MessageKey, QueueKey, StoreError};
use crate::identity::{Address, Domain};

/// A recipient at another operator, about to be queued. Debug output leaves the parameters out: ORCPT may hold an INS.
#[derive(Clone)]
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

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("recipient", &self.recipient)
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

/// A queued recipient, as leased or listed. Debug output leaves the parameters out.
#[derive(Clone)]
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
    /// When it was late, and its sender was told if he is to be; `None` before.
    pub delay_told: Option<Timestamp>,
    /// See [`Outgoing::parameters`].
    pub parameters: String,
    /// See [`Outgoing::session`].
    pub session: String,
    /// The lease held on it: a number that no other lease of this item ever had; 0 when not leased.
    pub lease: i64,
    /// What it is to be settled with instead of an attempt; only when leased.
    pub instead: Option<Instead>,
}

/// Why a leased item is settled without an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Its destination cannot be reached, and it has expired or its sender is to be told that it is late: what the last visit there ended
    /// with.
    Closed(String),
    /// Somebody gave it up: the reply to report.
    Dropped(String),
}

impl fmt::Debug for QueueItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut item = f.debug_struct("QueueItem");
        item.field("key", &self.key)
            .field("message", &self.message)
            .field("recipient", &self.recipient);
        item.field("due", &self.due)
            .field("attempts", &self.attempts)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
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
    /// No attempt was made: it stays as it was, and may be leased again at once.
    Unattempted,
    /// It stays, to be tried again.
    Retry {
        /// Not before.
        due: Timestamp,
        /// What the attempt ended with.
        last_reply: String,
        /// Set from now on, see [`QueueItem::delay_told`]; `None` leaves it as it is.
        delay_told: Option<Timestamp>,
    },
}

/// How much to lease, and for whom not.
#[derive(Clone, Debug)]
pub struct Portion {
    /// Most items in all.
    pub items_max: usize,
    /// Most items of one destination.
    pub per_destination_max: usize,
    /// Most destinations.
    pub destinations_max: usize,
    /// Destinations that nothing is leased for: enough is under way there.
    pub busy: Vec<Domain>,
    /// Deliveries under way, by destination: those with fewer come first, so that some with many items cannot pass a free connection round
    /// among themselves.
    pub under_way: Vec<(Domain, usize)>,
    /// Items queued until then are late: their senders are to be told, even if the destination is closed.
    pub late_before: Option<Timestamp>,
}

impl Portion {
    /// So many items, whomever they are for.
    pub fn of(items_max: usize) -> Self {
        Self {
            items_max,
            per_destination_max: items_max,
            destinations_max: items_max,
            busy: Vec::new(),
            under_way: Vec::new(),
            late_before: None,
        }
    }
}

/// The durable queue of mail to other operators.
#[async_trait]
pub trait QueueStore: Send + Sync {
    /// Leases a portion of the due items that nobody holds a lease on at `now` and that are not held, until `until`. Destinations take
    /// their turn, those first that have the fewest deliveries under way, then by their oldest item, and share the portion, so that one with many items does not delay another's; within a destination
    /// the oldest due come first, and items of one message that are due together come together as far as the share allows. A
    /// destination that is closed at `now` gets nothing, but for items that have expired, or are late and their senders not told; items
    /// that were given up come whatever their destination ([`QueueItem::instead`]).
    async fn lease_portion(
        &self,
        now: Timestamp,
        until: Timestamp,
        portion: Portion,
    ) -> Result<Vec<QueueItem>, StoreError>;

    /// The same for up to `limit` items.
    async fn lease(&self, now: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<QueueItem>, StoreError> {
        self.lease_portion(now, until, Portion::of(limit)).await
    }

    /// Settles items and applies `also` (the bounce, the journal) in one transaction, provided every lease is still held;
    /// otherwise changes nothing and returns `false`. So settling twice has the effect of settling once (invariant 6).
    async fn settle(&self, settlements: Vec<Settlement>, also: Acceptance) -> Result<bool, StoreError>;

    /// When the next item can be leased for a destination that is not `busy`, or the next lease runs out.
    async fn next_due_except(&self, busy: &[Domain]) -> Result<Option<Timestamp>, StoreError>;

    /// The same for every destination.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.next_due_except(&[]).await
    }

    /// When the oldest item was queued that waits for a destination closed at `now`, whose sender was not told yet that it is late: when
    /// that counts as late, [`Self::lease_portion`] gives it.
    async fn oldest_untold(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Every queued item, oldest first, up to `limit`.
    async fn queued(&self, limit: usize) -> Result<Vec<QueueItem>, StoreError>;

    /// Ends every lease and lets every destination be visited: at start, when no earlier process can still be working on one.
    async fn release_all(&self) -> Result<(), StoreError>;

    /// Keeps a destination closed until then, because no host of it could be reached: one failure more.
    async fn close_destination(&self, domain: &Domain, closed: Closed) -> Result<(), StoreError>;

    /// A host of the destination was reached: it is closed no more, and up to `limit` of its items that wait for a later attempt are due
    /// at `now`. Returns how many; call again until it is none.
    async fn open_destination(&self, domain: &Domain, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// The destinations that could not be reached when they were visited last, in order.
    async fn destinations(&self) -> Result<Vec<Destination>, StoreError>;

    /// One page of the queue by ascending key.
    async fn queue_page(&self, filter: &QueueFilter) -> Result<Vec<QueueEntry>, StoreError>;

    /// What fits the filter, its limit apart, in groups: the largest first.
    async fn queue_groups(&self, by: QueueBy, filter: &QueueFilter) -> Result<Vec<QueueGroup>, StoreError>;

    /// Changes one page of what fits the filter, and writes a record for each item changed, in one transaction. Items that the change does
    /// not apply to stay as they are, without record: to hold what is held, to release what is not. An item being tried at this moment can
    /// be held, for after the attempt; it is neither dropped nor tried again.
    async fn change_queue(
        &self,
        filter: &QueueFilter,
        change: QueueChange,
        record: ChangeRecord,
    ) -> Result<Changed, StoreError>;
}
