//! Mail to other operators: leases queue items, finds the route, proves the peer, sends, and settles one verdict per recipient.
//!
//! Nothing is decided here: `trust` says who the peer may be, `queue::settle` what an outcome leads to. Items are leased, never held in an
//! open transaction during network I/O; a process that dies leaves leases that run out (invariant 6).

mod attempt;
mod call;
mod connection;
mod lanes;
mod order;
mod pool;
mod report;
mod text;
mod transaction;
mod verdicts;
mod visit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dns::Routes;
use crate::identity::Domain;
use crate::listener::Parts;
use crate::pki::{Identity, TlsPolicy};
use crate::store::{QueueItem, StoreError};
use lanes::Lanes;
use pool::Pool;
use verdicts::Bounds;

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
            connections_max: 16,
            connections_per_domain_max: 4,
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

    /// Works until `stop`; attempts under way go on on `tracker`.
    pub async fn run(self: Arc<Self>, tracker: TaskTracker, stop: CancellationToken) {
        tracker.spawn(Arc::clone(&self).keep_pool(stop.clone()));
        let lanes = Arc::new(Lanes::new(&self.options));
        let waiting = Arc::new(Semaphore::new(self.options.connections_max * WAITING_PER_CONNECTION));
        while !stop.is_cancelled() {
            let leased = match self.lease().await {
                Ok(leased) => leased,
                Err(error) => {
                    tracing::error!(
                        operator = self.parts.operator,
                        error = &error as &dyn std::error::Error,
                        "the queue cannot be read"
                    );
                    self.wait(STORE_PAUSE, &stop).await;
                    continue;
                }
            };
            if leased.is_empty() {
                self.wait(self.until_next().await, &stop).await;
                continue;
            }
            let good_until = later(self.parts.clock.now(), self.options.lease / 2);
            let bounds = Bounds {
                good_until,
                stop: stop.clone(),
            };
            for batch in by_domain(leased) {
                let place = tokio::select! {
                    () = stop.cancelled() => return,
                    place = Arc::clone(&waiting).acquire_owned() => place,
                };
                let Ok(place) = place else { return };
                let journey = Arc::clone(&self).travel(Arc::clone(&lanes), batch, bounds.clone());
                tracker.spawn(async move {
                    journey.await;
                    drop(place);
                });
            }
        }
    }

    /// Looks after idle connections until `stop`, then closes them.
    async fn keep_pool(self: Arc<Self>, stop: CancellationToken) {
        self.pool.keep(stop).await;
    }

    /// Waits for a lane, then delivers. A batch that waited so long that its lease could run out under way is left to the next look.
    async fn travel(self: Arc<Self>, lanes: Arc<Lanes>, batch: (Domain, Vec<QueueItem>), bounds: Bounds) {
        let lane = tokio::select! {
            () = bounds.stop.cancelled() => return,
            lane = lanes.enter(&batch.0) => lane,
        };
        if self.parts.clock.now() < bounds.good_until {
            self.deliver(batch, bounds).await;
        }
        drop(lane);
    }

    async fn lease(&self) -> Result<Vec<QueueItem>, StoreError> {
        let now = self.parts.clock.now();
        self.parts
            .store
            .lease(now, later(now, self.options.lease), self.options.batch_max)
            .await
    }

    /// How long nothing is due, at most [`IDLE_MAX`]: the clock may be moved meanwhile.
    async fn until_next(&self) -> Duration {
        match self.parts.store.next_due().await {
            Ok(Some(due)) => {
                let wait = due.duration_since(self.parts.clock.now());
                Duration::try_from(wait)
                    .unwrap_or(Duration::ZERO)
                    .clamp(WAIT_MIN, IDLE_MAX)
            }
            Ok(None) => IDLE_MAX,
            Err(error) => {
                tracing::error!(
                    operator = self.parts.operator,
                    error = &error as &dyn std::error::Error,
                    "the queue cannot be read"
                );
                STORE_PAUSE
            }
        }
    }

    async fn wait(&self, how_long: Duration, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.parts.queued.notified() => {}
            () = tokio::time::sleep(how_long) => {}
        }
    }
}

/// One connection serves one domain: items that go the same way travel together.
fn by_domain(items: Vec<QueueItem>) -> Vec<(Domain, Vec<QueueItem>)> {
    let mut batches: BTreeMap<Domain, Vec<QueueItem>> = BTreeMap::new();
    for item in items {
        batches.entry(item.recipient.domain().clone()).or_default().push(item);
    }
    batches.into_iter().collect()
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Batches that may wait for a connection, for each connection: enough to keep other domains moving past a slow one.
const WAITING_PER_CONNECTION: usize = 4;
/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The queue is looked at this often even when nothing was announced.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Shortest pause between two looks.
const WAIT_MIN: Duration = Duration::from_millis(20);
