//! Mail to other operators: leases queue items, finds the route, proves the peer, sends, and settles one verdict per recipient.
//!
//! Nothing is decided here: `trust` says who the peer may be, `queue::settle` what an outcome leads to. Items are leased, never held in an
//! open transaction during network I/O; a process that dies leaves leases that run out (invariant 6).

mod attempt;
mod call;
mod connection;
mod dispatch;
mod lanes;
mod order;
mod pool;
mod report;
mod text;
mod transaction;
mod verdicts;
mod visit;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::dns::Routes;
use crate::identity::Domain;
use crate::listener::Parts;
use crate::pki::{Identity, TlsPolicy};
use pool::Pool;

pub use connection::{Connection, ConnectionError, Driven, Target, Waits};
pub use pool::Reuse;
pub use text::{Piece, Text};

/// Bounds and delays of the relay.
#[derive(Clone, Debug)]
pub struct Options {
    /// Deliveries under way at once.
    pub connections_max: usize,
    /// Deliveries under way at once to one domain: a slow operator must not hold up the others.
    pub connections_per_domain_max: usize,
    /// Queue items taken at once.
    pub batch_max: usize,
    /// How long a lease holds. In its first half messages may be begun, and the second is longer than one message can take.
    pub lease: Duration,
    /// Lowest TLS version and suites spoken to other operators.
    pub tls: TlsPolicy,
    /// Longest wait for a TCP connection and for a TLS handshake, each.
    pub connect: Duration,
    /// Longest wait for a reply. RFC 5321 §4.5.3.2 asks for 5 minutes.
    pub reply: Duration,
    /// Longest wait for the reply to a whole message. RFC 5321 §4.5.3.2.6 asks for 10 minutes.
    pub delivery: Duration,
    /// How long connections serve.
    pub reuse: Reuse,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 64,
            connections_per_domain_max: 20,
            batch_max: 100,
            tls: TlsPolicy::default(),
            lease: Duration::from_mins(30),
            connect: Duration::from_secs(30),
            reply: Duration::from_mins(5),
            delivery: Duration::from_mins(10),
            reuse: Reuse::default(),
        }
    }
}

/// The sending side of one operator.
pub struct Relay {
    parts: Arc<Parts>,
    routes: Arc<dyn Routes>,
    identity: Arc<ArcSwap<Identity>>,
    host: Domain,
    options: Options,
    /// Counts attempts: which of two hosts of the same preference is asked first.
    turn: AtomicUsize,
    pool: Pool,
}

impl Relay {
    /// Sends in the name of `host`, with its certificate `identity` as it is at each connection.
    pub fn new(
        parts: Arc<Parts>,
        routes: Arc<dyn Routes>,
        (host, identity): (Domain, Arc<ArcSwap<Identity>>),
        options: Options,
    ) -> Self {
        let pool = Pool::new(
            options.reuse,
            options.connections_max,
            options.connections_per_domain_max,
        );
        Self {
            parts,
            routes,
            identity,
            host,
            options,
            pool,
            turn: AtomicUsize::new(0),
        }
    }

    /// Looks after idle connections until `stop`, then closes them.
    async fn keep_pool(self: Arc<Self>, stop: CancellationToken) {
        self.pool.keep(stop).await;
    }
}
