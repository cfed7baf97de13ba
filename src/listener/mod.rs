//! Sockets of an operator: accept, TLS, limits, and the drivers that move bytes between a connection and a protocol machine.
//!
//! Drivers decide nothing. A question of the machine is answered by a desk (reception, submission, login), which gathers facts,
//! asks `trust` and `policy`, and has `mailbox` or `queue` carry the verdict out in one store transaction.

mod accept;
mod ahead;
mod commit;
mod deflate;
mod evidence;
mod health;
mod imap;
mod link;
mod login;
mod login_places;
mod memory;
mod observed;
mod pace;
mod places;
mod reception;
mod repeat;
mod report;
mod room;
mod session_id;
mod smtp;
mod spool;
mod standing;
mod submission;
mod visitor;
mod wire;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, RwLock, Semaphore, watch};

use crate::clock::Clock;
use crate::directory::Directory;
use crate::identity::{Address, Domain};
use crate::journal::{Event, Record};
use crate::mailbox::{FolderLimits, Mailboxes};
use crate::metrics::Meter;
use crate::pki::TrustStore;
use crate::policy::submission::Rules;
use crate::queue::{Handover, RetryPlan};
use crate::store::{FolderKey, Store, StoreError};
use crate::sync::Responders;
use crate::trust::AllowList;

pub use accept::{Door, Face, TurnedAway};
pub use ahead::Ahead;
pub use evidence::{Handshakes, Judged, examined, failure};
pub use health::{CHECKS, Findings, Health};
pub use link::{Handshake, Link, Offer, Unfinished};
pub use login_places::LoginPlaces;
pub use memory::Memory;
pub use observed::{observe_failed_handshake, observe_handshake};
pub use pace::Rate;
pub use places::Places;
pub use report::{Telling, Told, original_recipient};
pub use session_id::SessionId;

/// What every session of one operator shares.
pub struct Parts {
    /// The operator's key: `lilas`.
    pub operator: String,
    /// The one clock.
    pub clock: Clock,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// Its boxes, with change notification.
    pub mailboxes: Mailboxes,
    /// What sessions are judged by; a session keeps the one it started with (invariant 4).
    pub snapshot: ArcSwap<Snapshot>,
    /// Says that another directory is in force: IMAP sessions look whether their box and their rights are what they were.
    pub directory_changed: watch::Sender<()>,
    /// IMAP sessions of each login.
    pub login_places: Arc<LoginPlaces>,
    /// Domains whose boxes take no delivery any more, whatever a session's snapshot says: their mail goes to another operator, where
    /// all of theirs is being copied.
    pub departed: RwLock<HashSet<Domain>>,
    /// Woken when something was queued for another operator, and waits in the store.
    pub queued: Arc<Notify>,
    /// What was queued for another operator and is handed to the relay at once.
    pub handover: Arc<Handover>,
    /// Who is asked about the revocation of a certificate that nobody can tell yet.
    pub responders: Arc<Responders>,
    /// When mail to other operators is tried again, and given up.
    pub retry: RetryPlan,
    /// Which handshakes leave their evidence in the journal.
    pub handshakes: Handshakes,
    /// Limits of its faces; sessions keep those they began with where it matters to them.
    pub limits: ArcSwap<Limits>,
    /// What it counts about itself.
    pub meter: Meter,
    /// What stands in its way.
    pub health: Health,
    /// Room for the messages under way.
    pub memory: Arc<Memory>,
    /// Handshakes that the process computes at the same time, those of all operators together.
    pub handshakes_room: Arc<Semaphore>,
    /// What is asked of its users' messages.
    pub sending: Rules,
}

impl Parts {
    /// Limits of its faces, as they are now.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// A name for a session that begins now.
    pub fn new_session(&self) -> SessionId {
        SessionId::new(self.clock.now())
    }

    /// Writes an event into the journal. A journal that cannot be written is an alarm for the operator, never a reason to accept.
    pub async fn record(&self, session: &SessionId, event: Event) {
        self.observe(&event);
        let row = Record::new(self.clock.now(), session.as_str(), event).to_row();
        if let Err(error) = self.store.append(vec![row]).await {
            let operator = &self.operator;
            if matches!(error, StoreError::Full { .. }) {
                // Told by the store, once for all that it cannot write.
                tracing::debug!(operator, %session, "journal not written: the disk is full");
                return;
            }
            tracing::error!(operator, %session, error = &error as &dyn std::error::Error, "journal not written");
        }
    }
}

/// Everything a verdict depends on, as it stood at one moment.
#[derive(Clone)]
pub struct Snapshot {
    /// Who is who at this operator.
    pub directory: Arc<Directory>,
    /// Where mail for each of its boxes is delivered.
    pub inboxes: Arc<HashMap<Address, FolderKey>>,
    /// Which certificates may speak for which domain.
    pub allow_list: Arc<AllowList>,
    /// The authority's certificates and revocation lists.
    pub authority: Arc<TrustStore>,
}

/// Bounds of what a peer or client may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once, all faces of this operator together.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// IMAP sessions at once of one login on one box.
    pub connections_per_login_max: usize,
    /// Longest silence of an SMTP peer or client. RFC 5321 §4.5.3.2 asks for 5 minutes.
    pub smtp_idle: Duration,
    /// Longest silence of an IMAP client that has not logged in.
    pub login_idle: Duration,
    /// Longest silence of an IMAP client. RFC 3501 §5.4 asks for 30 minutes.
    pub imap_idle: Duration,
    /// Longest SMTP session, which keeps one snapshot: what a change of trust takes at most to reach a busy peer.
    pub smtp_session: Duration,
    /// Longest IMAP session, likewise.
    pub imap_session: Duration,
    /// Longest wait for a peer to take what is written to it.
    pub write: Duration,
    /// Longest TLS handshake.
    pub handshake: Duration,
    /// Largest message, in bytes as transmitted.
    pub message_bytes_max: u64,
    /// Most recipients of one transaction. RFC 5321 §4.5.3.1.8 asks for at least 100.
    pub recipients_max: usize,
    /// Most domains among the recipients of one session; `None`: any number.
    pub recipient_domains_max: Option<usize>,
    /// Most transactions of one session; `None`: any number.
    pub transactions_max: Option<usize>,
    /// SMTP commands without an accepted message, beside those of `recipients_max`, after which a session is closed.
    pub commands_max: usize,
    /// `Received` fields from which a message counts as looping.
    pub hops_max: usize,
    /// Longest line of a message, CR LF not counted, in bytes. RFC 5321 §4.5.3.1.6 promises 998.
    pub message_line_bytes_max: usize,
    /// Longest IMAP command, an appended message apart, in bytes.
    pub imap_line_bytes_max: usize,
    /// How many folders a box may have, and how they may be named.
    pub folders: FolderLimits,
    /// Longest header of a message, in bytes; at most what a spool keeps of its beginning.
    pub header_bytes_max: usize,
    /// Most fields of a header.
    pub header_fields_max: usize,
    /// Deepest nesting of multiparts and messages in a message.
    pub mime_depth_max: usize,
    /// A message larger than this goes back in a failure report by its header only, whatever `RET` says.
    pub report_original_bytes_max: u64,
    /// A message larger than this arrives on disk instead of in memory.
    pub memory_bytes_max: usize,
    /// All messages being received into memory together, in bytes; those beyond arrive on disk.
    pub spool_bytes_max: usize,
    /// From the start of a transaction to the end of its message.
    pub message: Duration,
    /// How slowly the text of a message may come.
    pub data_rate: Rate,
    /// Protocol errors after which a session is closed.
    pub errors_max: usize,
}
