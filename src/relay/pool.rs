//! Connections to other operators that stay open for a while after their last message: the next one to the same server needs no new
//! handshake.
//!
//! - A connection is kept by the name and the address of its server, not by domain: one server often serves many. Whether a peer may
//!   have mail for *this* domain is asked again at each reuse, with the certificate it proved itself with, of the allow list and the
//!   revocation data in force then. Nobody who lost our trust gets mail because a connection happens to be open (invariant 2). And
//!   once the list, the revocation data or our own certificate have changed, no connection from before is used again: the peer, which
//!   keeps one snapshot per session as we do (invariant 4), must judge us anew.
//! - Bounds: how long it is idle, how old it is, how many messages it has carried, what the peer said it takes (RFC 9422), how many
//!   are kept for one server and in all.
//! - No NOOP and no RSET asks whether it still lives: MAIL does. A connection that dies then has taken nothing, so the relay begins again
//!   with a fresh one within the same attempt. RSET is said only after a transaction that did not end in a message, and only for the next
//!   message of the same attempt: a peer that said "not now" may say so as long as the session lasts, so that connection is not kept.
//! - All are closed with QUIT when the process drains.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::listener::Snapshot;
use crate::pki::{Identity, Remembered, TrustStore};
use crate::trust::AllowList;

/// How long a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Idle at most this long. Shorter than the idle limit of any peer, else it closes first; and short, since the peer may judge a whole
    /// session by what it knew when that began: a box opened there meanwhile is unknown on it.
    pub idle: Duration,
    /// Open at most this long.
    pub age: Duration,
    /// Messages of one connection; 1: none is kept.
    pub messages_max: usize,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(2),
            age: Duration::from_mins(1),
            messages_max: 1000,
        }
    }
}

/// A server, as the route names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Host name.
    pub(super) name: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// A connection that may serve again.
pub(super) struct Kept {
    pub(super) connection: Connection,
    /// The certificate that was shown on it.
    pub(super) identity: Arc<Identity>,
    pub(super) opened: Instant,
    /// The list it was opened under.
    pub(super) allow_list: Arc<AllowList>,
    /// The revocation data it was opened under.
    pub(super) authority: Arc<TrustStore>,
    /// What was found of the peer's certificate when the connection was last taken.
    pub(super) judged: Remembered,
}

impl Kept {
    /// Whether the session at the peer stands for what is in force now. It judged us when it began: after our certificate, the list or the
    /// revocation data have changed, a new one must judge us again, as the peer would have it.
    pub(super) fn is_current(&self, identity: &Arc<Identity>, snapshot: &Snapshot) -> bool {
        Arc::ptr_eq(&self.identity, identity)
            && Arc::ptr_eq(&self.allow_list, &snapshot.allow_list)
            && Arc::ptr_eq(&self.authority, &snapshot.authority)
    }
}

/// The idle connections of one relay.
pub(super) struct Pool {
    reuse: Reuse,
    total_max: usize,
    per_place_max: usize,
    idle: Mutex<Idle>,
    /// Something came into an empty pool.
    filled: Notify,
}

#[derive(Default)]
struct Idle {
    places: HashMap<Place, Vec<(Instant, Kept)>>,
    count: usize,
    /// Dismissed, and not yet told.
    leaving: Vec<Connection>,
    closed: bool,
}

impl Pool {
    pub(super) fn new(reuse: Reuse, total_max: usize, per_place_max: usize) -> Self {
        Self {
            reuse,
            total_max,
            per_place_max,
            idle: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// The connection to this server that was used last, if one is young enough.
    pub(super) fn take(&self, place: &Place) -> Option<Kept> {
        let now = Instant::now();
        let mut idle = self.idle();
        loop {
            let (since, kept) = idle.pop(place)?;
            if now < since + self.reuse.idle && now < kept.opened + self.reuse.age {
                return Some(kept);
            }
            idle.leaving.push(kept.connection);
        }
    }

    /// Keeps a connection, or gives it back because it has served long enough.
    pub(super) fn park(&self, place: Place, kept: Kept) -> Option<Connection> {
        let now = Instant::now();
        let worn = kept.connection.transactions() >= self.reuse.messages_max || now >= kept.opened + self.reuse.age;
        if worn || !kept.connection.is_worth_keeping() {
            return Some(kept.connection);
        }
        let mut idle = self.idle();
        let here = idle.places.get(&place).map_or(0, Vec::len);
        if idle.closed || idle.count >= self.total_max || here >= self.per_place_max {
            return Some(kept.connection);
        }
        idle.places.entry(place).or_default().push((now, kept));
        idle.count += 1;
        if idle.count == 1 {
            self.filled.notify_one();
        }
        None
    }

    /// Has the keeper say goodbye to a connection.
    pub(super) fn dismiss(&self, connection: Connection) {
        let mut idle = self.idle();
        if !idle.closed {
            idle.leaving.push(connection);
            self.filled.notify_one();
        }
    }

    /// Whether a connection that has carried so many messages may begin another.
    pub(super) fn may_carry_more(&self, connection: &Connection) -> bool {
        connection.transactions() < self.reuse.messages_max
    }

    /// Closes what has been idle for too long, and everything at the end.
    pub(super) async fn keep(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            farewell(self.expired(Instant::now())).await;
            let is_empty = self.idle().count == 0;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.filled.notified() => {}
                () = sleep(SWEEP), if !is_empty => {}
            }
        }
        let rest = self.close();
        farewell(rest).await;
    }

    fn expired(&self, now: Instant) -> Vec<Connection> {
        let mut idle = self.idle();
        let Idle { places, leaving, .. } = &mut *idle;
        for kept in places.values_mut() {
            let fresh =
                |(since, one): &(Instant, Kept)| now < *since + self.reuse.idle && now < one.opened + self.reuse.age;
            for old in kept.extract_if(.., |one| !fresh(one)) {
                leaving.push(old.1.connection);
            }
        }
        places.retain(|_, kept| !kept.is_empty());
        idle.count = idle.places.values().map(Vec::len).sum();
        std::mem::take(&mut idle.leaving)
    }

    fn close(&self) -> Vec<Connection> {
        let mut idle = self.idle();
        idle.closed = true;
        idle.count = 0;
        let mut rest = std::mem::take(&mut idle.leaving);
        let kept = std::mem::take(&mut idle.places).into_values().flatten();
        rest.extend(kept.map(|(_, kept)| kept.connection));
        rest
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn pop(&mut self, place: &Place) -> Option<(Instant, Kept)> {
        let found = self.places.get_mut(place)?.pop()?;
        self.count -= 1;
        Some(found)
    }
}

/// Says QUIT on all of them at once; each has its own short limit.
async fn farewell(connections: Vec<Connection>) {
    let mut all = JoinSet::new();
    for connection in connections {
        all.spawn(connection.close());
    }
    while all.join_next().await.is_some() {}
}

/// Idle connections are looked through this often.
const SWEEP: Duration = Duration::from_secs(1);
