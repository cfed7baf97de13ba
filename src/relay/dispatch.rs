//! Which destination gets the next connection, and how long one that cannot be reached is left alone.
//!
//! Nothing is leased that no connection is free for: a destination that is slow, or dead, keeps at most its own connections, and its items
//! wait in the store, where they cost nobody anything. One that could not be reached is closed for a while, then visited by one
//! connection; when that succeeds, what waited for it goes at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Relay;
use super::lanes::{Lane, Lanes};
use super::verdicts::{Bounds, Visited};
use crate::identity::Domain;
use crate::queue::{Answer, Outcome};
use crate::store::{Closed, Instead, Portion, QueueItem, StoreError};

impl Relay {
    /// Works until `stop`; attempts under way go on on `tracker`.
    pub async fn run(self: Arc<Self>, tracker: TaskTracker, stop: CancellationToken) {
        tracker.spawn(Arc::clone(&self).keep_pool(stop.clone()));
        let lanes = Arc::new(Lanes::new(&self.options));
        match self.parts.store.destinations().await {
            Ok(destinations) => lanes.remember(&destinations),
            Err(error) => self.store_failed(&error),
        }
        while !stop.is_cancelled() {
            if lanes.free() == 0 {
                // Whoever leaves one tells.
                self.wait(IDLE_MAX, &stop).await;
                continue;
            }
            let leased = match self.lease(&lanes).await {
                Ok(leased) => leased,
                Err(error) => {
                    self.store_failed(&error);
                    self.wait(STORE_PAUSE, &stop).await;
                    continue;
                }
            };
            if leased.is_empty() {
                self.wait(self.until_next(&lanes).await, &stop).await;
                continue;
            }
            let bounds = Bounds {
                good_until: later(self.parts.clock.now(), self.options.lease / 2),
                stop: stop.clone(),
            };
            let (foregone, due): (Vec<_>, Vec<_>) = leased.into_iter().partition(|item| item.instead.is_some());
            if !foregone.is_empty() {
                tracker.spawn(Arc::clone(&self).forego(foregone, bounds.clone()));
            }
            for (domain, items) in by_domain(due) {
                let lane = Arc::new(lanes.enter(&domain));
                tracker.spawn(Arc::clone(&self).travel(lane, (domain, items), bounds.clone()));
            }
        }
    }

    /// One visit to a destination, and what it says of the destination.
    async fn travel(self: Arc<Self>, lane: Arc<Lane>, batch: (Domain, Vec<QueueItem>), bounds: Bounds) {
        let domain = batch.0.clone();
        match self.deliver(batch, &lane, bounds).await {
            Visited::Unreached(reply) => self.close(&lane, &domain, reply).await,
            Visited::Reached if lane.was_unreached() => self.open(&lane, &domain).await,
            Visited::Reached | Visited::Undecided => {}
        }
        drop(lane);
        self.parts.queued.notify_one();
    }

    /// Settles items that no connection is made for.
    async fn forego(self: Arc<Self>, items: Vec<QueueItem>, bounds: Bounds) {
        for (_, items) in by_domain(items) {
            self.settle_unsent(&items, &bounds, |item| match &item.instead {
                Some(Instead::Dropped(reply)) => Outcome::Refused(Answer::here(reply.clone())),
                Some(Instead::Closed(reply)) => Outcome::Deferred(Answer::here(reply.clone())),
                None => Outcome::Deferred(Answer::here("451 4.4.1 no attempt was made")),
            })
            .await;
        }
        self.parts.queued.notify_one();
    }

    /// No host could be reached: nobody tries for a while, longer each time.
    async fn close(&self, lane: &Lane, domain: &Domain, last_reply: String) {
        let Some(failures) = lane.failed() else { return };
        let now = self.parts.clock.now();
        let closed = Closed {
            at: now,
            until: now
                .saturating_add(self.parts.retry.pause(failures).min(CLOSED_MAX))
                .unwrap_or(Timestamp::MAX),
            last_reply,
        };
        tracing::info!(
            operator = self.parts.operator, %domain, failures, until = %closed.until,
            "no host of the destination can be reached; its mail waits"
        );
        if let Err(error) = self.parts.store.close_destination(domain, closed).await {
            self.store_failed(&error);
        }
    }

    /// A host was reached again: what waits for the destination goes now.
    async fn open(&self, lane: &Lane, domain: &Domain) {
        loop {
            let now = self.parts.clock.now();
            match self.parts.store.open_destination(domain, now, HASTENED_AT_ONCE).await {
                Ok(0) => break,
                // Whatever has a free lane need not wait until all of them are.
                Ok(_) => self.parts.queued.notify_one(),
                Err(error) => return self.store_failed(&error),
            }
        }
        tracing::info!(operator = self.parts.operator, %domain, "the destination is reached again");
        lane.reached();
    }

    async fn lease(&self, lanes: &Lanes) -> Result<Vec<QueueItem>, StoreError> {
        let now = self.parts.clock.now();
        let portion = Portion {
            items_max: self.options.batch_max,
            per_destination_max: self.options.batch_max,
            destinations_max: lanes.free(),
            busy: lanes.busy(now),
            under_way: lanes.used(),
            late_before: self.parts.retry.late_before(now),
        };
        let until = later(now, self.options.lease);
        self.parts.store.lease_portion(now, until, portion).await
    }

    /// How long nothing can be leased, at most [`IDLE_MAX`]: the clock may be moved meanwhile.
    async fn until_next(&self, lanes: &Lanes) -> Duration {
        match self.next(&lanes.busy(self.parts.clock.now())).await {
            Ok(Some(next)) => {
                let wait = next.duration_since(self.parts.clock.now());
                Duration::try_from(wait)
                    .unwrap_or(Duration::ZERO)
                    .clamp(WAIT_MIN, IDLE_MAX)
            }
            Ok(None) => IDLE_MAX,
            Err(error) => {
                self.store_failed(&error);
                STORE_PAUSE
            }
        }
    }

    /// When something falls due, or a sender is to be told that his mail waits for a destination nobody visits for now.
    async fn next(&self, busy: &[Domain]) -> Result<Option<Timestamp>, StoreError> {
        let due = self.parts.store.next_due_except(busy).await?;
        let oldest = self.parts.store.oldest_untold(self.parts.clock.now()).await?;
        let late = oldest.and_then(|created| self.parts.retry.late(created));
        Ok(due.into_iter().chain(late).min())
    }

    async fn wait(&self, how_long: Duration, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.parts.queued.notified() => {}
            () = tokio::time::sleep(how_long) => {}
        }
    }

    fn store_failed(&self, error: &StoreError) {
        let error = error as &dyn std::error::Error;
        tracing::error!(
            operator = self.parts.operator,
            error,
            "the queue cannot be read or written"
        );
    }
}

/// One connection serves one domain: items that go the same way travel together.
fn by_domain(items: Vec<QueueItem>) -> BTreeMap<Domain, Vec<QueueItem>> {
    let mut batches: BTreeMap<Domain, Vec<QueueItem>> = BTreeMap::new();
    for item in items {
        batches.entry(item.recipient.domain().clone()).or_default().push(item);
    }
    batches
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Longest time a destination is left alone: what its mail waits at most after it came back.
const CLOSED_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Items made due in one transaction, when a destination is reached again.
const HASTENED_AT_ONCE: usize = 500;
/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The queue is looked at this often even when nothing was announced.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Shortest pause between two looks.
const WAIT_MIN: Duration = Duration::from_millis(20);
