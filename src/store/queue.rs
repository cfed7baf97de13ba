//! The durable queue of mail to other operators, as rows.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Acceptance, MessageKey, QueueKey, StoreError};
use crate::identity::Address;

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
    /// The lease held on it: a number that no other lease ever had; 0 when not leased.
    pub lease: i64,
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
