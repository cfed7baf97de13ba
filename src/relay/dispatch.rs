//! Which destination gets the next connection, and how long one that cannot be reached is left alone.
//!
//! Nothing is leased from the store that no connection is free for: a destination that is slow, or dead, keeps at most its own connections,
//! and its items wait in the store, where they cost nobody anything. What is handed over ([`Handover`](crate::queue::Handover)) waits in
//! memory for a moment, and goes over a lane of its own or joins what travels to its domain. One that could not be reached is closed for a while, then visited by one
//! connection; when that succeeds, what waited for it goes at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Relay;
use super::lanes::{Lane, Lanes};
use super::verdicts::{Bounds, Visited};
use crate::identity::Domain;
use crate::queue::{Answer, Outcome};
use crate::store::{Closed, Instead, Portion, QueueItem, StoreError};

/// What the relay sends with.
struct Work {
    lanes: Arc<Lanes>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Relay {
    /// Works until `stop`; attempts under way go on on `tracker`.
    pub async fn run(self: Arc<Self>, tracker: TaskTracker, stop: CancellationToken) {
        tracker.spawn(Arc::clone(&self).keep_pool(stop.clone()));
        let handover = &self.parts.handover;
        let lanes = Arc::new(Lanes::new(&self.options));
        match self.parts.store.destinations().await {
            Ok(destinations) => {
                lanes.remember(&destinations);
                for destination in &destinations {
                    handover.shut(&destination.domain);
                }
            }
            Err(error) => self.store_failed(&error),
        }
        handover.begin(self.options.lease);
        let work = Work { lanes, tracker, stop };
        let mut next_look = Instant::now();
        while !work.stop.is_cancelled() {
            if Instant::now() >= next_look {
                next_look = Instant::now() + self.look(&work).await;
            }
            self.send_handed(&work);
            if self.wait(next_look, &work.stop).await {
                next_look = Instant::now();
            }
        }
        handover.end();
    }

    /// Looks what the store has to send, and sends it. How long nothing more can be leased.
    async fn look(self: &Arc<Self>, work: &Work) -> Duration {
        let lanes = &work.lanes;
        // Until it is known that nothing waits for a lane, whoever leaves one tells.
        lanes.want(true);
        if lanes.free() == 0 {
            return IDLE_MAX;
        }
        let busy = lanes.busy(self.parts.clock.now());
        let is_anybody_busy = !busy.is_empty();
        let leased = match self.lease(lanes, busy).await {
            Ok(leased) => leased,
            Err(error) => {
                self.store_failed(&error);
                return STORE_PAUSE;
            }
        };
        if leased.is_empty() {
            lanes.want(is_anybody_busy);
            return self.until_next(lanes).await;
        }
        let bounds = Bounds {
            good_until: later(self.parts.clock.now(), self.options.lease / 2),
            stop: work.stop.clone(),
        };
        let (foregone, due): (Vec<_>, Vec<_>) = leased.into_iter().partition(|item| item.instead.is_some());
        if !foregone.is_empty() {
            work.tracker.spawn(Arc::clone(self).forego(foregone, bounds.clone()));
        }
        for batch in by_domain(due) {
            let lane = Arc::new(lanes.enter(&batch.0));
            work.tracker.spawn(Arc::clone(self).travel(lane, batch, bounds.clone()));
        }
        Duration::ZERO
    }

    /// Gives what was handed over a lane each, as far as there are some. What finds none waits for those that travel to its domain.
    fn send_handed(self: &Arc<Self>, work: &Work) {
        let (handover, lanes) = (&self.parts.handover, &work.lanes);
        let stranded = handover.stranded();
        if !stranded.is_empty() {
            work.tracker.spawn(Arc::clone(self).strand(stranded));
        }
        let mut is_more = true;
        while std::mem::take(&mut is_more) {
            for domain in lanes.fewest_first(handover.waiting()) {
                let now = self.parts.clock.now();
                if lanes.free() == 0 || lanes.busy(now).contains(&domain) {
                    continue;
                }
                let Some(handed) = handover.take(&domain, now) else {
                    continue;
                };
                let bounds = Bounds {
                    good_until: handed.good_until,
                    stop: work.stop.clone(),
                };
                let lane = Arc::new(lanes.enter(&domain));
                work.tracker
                    .spawn(Arc::clone(self).travel(lane, (domain, handed.items), bounds));
                is_more = true;
            }
        }
    }

    /// What was handed over for destinations that cannot be reached waits in the store.
    async fn strand(self: Arc<Self>, items: Vec<QueueItem>) {
        self.give_back(&items).await;
        self.parts.queued.notify_one();
    }

    /// One visit to a destination, and what it says of the destination.
    async fn travel(self: Arc<Self>, lane: Arc<Lane>, batch: (Domain, Vec<QueueItem>), bounds: Bounds) {
        let domain = batch.0.clone();
        let verdicts = self.deliver(batch, &lane, bounds).await;
        let is_clean = verdicts.are_clean();
        match verdicts.end() {
            Visited::Unreached(reply) => self.close(&lane, &domain, reply).await,
            Visited::Reached if lane.was_unreached() => self.open(&lane, &domain).await,
            Visited::Reached | Visited::Undecided => {}
        }
        let is_wanted = lane.is_wanted();
        drop(lane);
        if is_wanted || !is_clean {
            self.parts.queued.notify_one();
        } else {
            self.parts.handover.wake();
        }
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
        self.parts.handover.shut(domain);
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
        self.parts.handover.reopen(domain);
    }

    async fn lease(&self, lanes: &Lanes, busy: Vec<Domain>) -> Result<Vec<QueueItem>, StoreError> {
        let now = self.parts.clock.now();
        let portion = Portion {
            items_max: self.options.batch_max,
            per_destination_max: self.options.batch_max,
            destinations_max: lanes.free(),
            busy,
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

    /// Until there is something to do: whether that is in the store.
    async fn wait(&self, next_look: Instant, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            () = self.parts.queued.notified() => true,
            () = self.parts.handover.changed() => false,
            () = sleep_until(next_look) => true,
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
