//! What is known of each item during an attempt, host after host.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::lanes::Lane;
use crate::clock::Clock;
use crate::listener::Snapshot;
use crate::queue::{Answer, Attempt, Handed, Outcome};
use crate::smtp::Extension;
use crate::smtp::client::{Offer, RecipientOutcome};
use crate::store::{QueueItem, QueueKey};

/// Until when an attempt may begin something new.
#[derive(Clone)]
pub(super) struct Bounds {
    /// Well before the leases run out.
    pub(super) good_until: Timestamp,
    /// The process is asked to end.
    pub(super) stop: CancellationToken,
}

/// What an attempt learnt of the destination.
pub(super) enum Visited {
    /// A host took part in the conversation, whatever it said.
    Reached,
    /// No host could be used for now, because of what is said.
    Unreached(String),
    /// Nothing was learnt: it was final before a host was asked, or there was no time.
    Undecided,
}

/// What is known of each item so far, and what it is judged by (invariant 4).
pub(super) struct Verdicts {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) bounds: Bounds,
    /// Those of the attempt; more may join it on the way.
    pub(super) items: Vec<QueueItem>,
    /// Messages that did.
    joined: usize,
    outcomes: HashMap<QueueKey, Verdict>,
    /// "Not now" of a host: it stands if no other host says better.
    postponed: HashMap<QueueKey, Verdict>,
    /// Already written down.
    pub(super) settled: HashSet<QueueKey>,
    /// What all this says of the destination.
    pub(super) visited: Visited,
    /// Whether a host answered that it has no room for one more connection, or did not answer at all.
    pub(super) turned_away: bool,
    /// What the attempt travels on; `None` when no connection is made.
    lane: Option<Arc<Lane>>,
}

/// What became of an item, and who said so.
pub(super) struct Verdict {
    outcome: Outcome,
    peer_subject: String,
    peer_host: Option<String>,
}

impl Bounds {
    /// Whether there is time for another message.
    pub(super) fn hold(&self, clock: &Clock) -> bool {
        !self.stop.is_cancelled() && clock.now() < self.good_until
    }
}

impl Verdicts {
    pub(super) fn new(snapshot: Arc<Snapshot>, bounds: Bounds, items: Vec<QueueItem>) -> Self {
        Self {
            snapshot,
            bounds,
            items,
            joined: 0,
            outcomes: HashMap::new(),
            postponed: HashMap::new(),
            settled: HashSet::new(),
            visited: Visited::Undecided,
            turned_away: false,
            lane: None,
        }
    }

    /// The same for an attempt that makes connections.
    pub(super) fn on_lane(self, lane: &Arc<Lane>) -> Self {
        Self {
            lane: Some(Arc::clone(lane)),
            ..self
        }
    }

    /// Whether a host turned this attempt away because the others that travel to the domain leave no room there.
    pub(super) fn were_one_too_many(&self, now: Timestamp) -> bool {
        self.turned_away && self.lane.as_ref().is_some_and(|lane| lane.was_one_too_many(now))
    }

    fn set(&mut self, item: &QueueItem, verdict: Verdict) {
        self.outcomes.insert(item.key, verdict);
    }

    /// What a host says of an item. "Not now" leaves it to the next host (RFC 5321 §5.1); "never" is final, whoever says it.
    pub(super) fn hear(&mut self, item: &QueueItem, verdict: Verdict) {
        self.visited = Visited::Reached;
        if let Some(lane) = &self.lane {
            lane.heard();
        }
        match verdict.outcome {
            Outcome::Deferred(_) => {
                self.postponed.entry(item.key).or_insert(verdict);
            }
            _ => self.set(item, verdict),
        }
    }

    /// No host could be used. "Never" is about the mail, not about the destination; and a host that was heard before is there.
    pub(super) fn missed(&mut self, outcome: &Outcome) {
        if let (Visited::Undecided, Outcome::Deferred(answer)) = (&self.visited, outcome) {
            self.visited = Visited::Unreached(answer.text.clone());
        }
    }

    /// What the attempt learnt of the destination.
    pub(super) fn end(self) -> Visited {
        self.visited
    }

    /// No host is left: what was postponed stays so.
    pub(super) fn accept_postponed(&mut self) {
        for (key, verdict) in self.postponed.drain() {
            self.outcomes.entry(key).or_insert(verdict);
        }
    }

    /// Items that have no verdict yet.
    pub(super) fn pending(&self) -> Vec<QueueItem> {
        self.without_verdict(&self.items).cloned().collect()
    }

    fn without_verdict<'a>(&self, items: &'a [QueueItem]) -> impl Iterator<Item = &'a QueueItem> {
        items.iter().filter(|item| !self.outcomes.contains_key(&item.key))
    }

    /// Whether a message that was handed over meanwhile may travel in this attempt: it is judged by what the attempt is judged by
    /// (invariant 4), which must still be in force; and others wait for the lane.
    pub(super) fn may_be_joined(&self, in_force: &Arc<Snapshot>, clock: &Clock) -> bool {
        self.lane.is_some()
            && self.joined < JOINED_MAX
            && Arc::ptr_eq(&self.snapshot, in_force)
            && self.bounds.hold(clock)
    }

    /// Takes items of one message into the attempt.
    pub(super) fn join(&mut self, handed: Handed) {
        self.joined += 1;
        self.bounds.good_until = self.bounds.good_until.min(handed.good_until);
        self.items.extend(handed.items);
    }

    /// Whether every item was accepted, and that is written down: the store has nothing more to do for them.
    pub(super) fn are_clean(&self) -> bool {
        let is_accepted =
            |verdict: &Verdict| matches!(verdict.outcome, Outcome::Accepted(_) | Outcome::AcceptedWithoutDsn(_));
        let is_clean = |item: &QueueItem| {
            self.settled.contains(&item.key) && self.outcomes.get(&item.key).is_some_and(is_accepted)
        };
        self.items.iter().all(is_clean)
    }

    /// The same verdict for every item of the attempt that has none.
    pub(super) fn fill_rest(&mut self, outcome: &Outcome, host: Option<&str>) {
        let rest = self.pending();
        self.fill(&rest, outcome, host);
    }

    /// The same verdict for each of these that has none.
    pub(super) fn fill(&mut self, items: &[QueueItem], outcome: &Outcome, host: Option<&str>) {
        let rest: Vec<_> = self.without_verdict(items).cloned().collect();
        for item in rest {
            let peer_host = host.map(str::to_owned);
            self.set(
                &item,
                Verdict {
                    outcome: outcome.clone(),
                    peer_subject: String::new(),
                    peer_host,
                },
            );
        }
    }

    pub(super) fn attempt<'a>(&'a self, item: &'a QueueItem) -> Option<Attempt<'a>> {
        let verdict = self.outcomes.get(&item.key)?;
        Some(Attempt {
            item,
            outcome: verdict.outcome.clone(),
            peer_subject: &verdict.peer_subject,
            peer_host: verdict.peer_host.as_deref(),
        })
    }
}

impl Verdict {
    /// What a peer said, when it offered this.
    pub(super) fn of(outcome: RecipientOutcome, offer: &Offer, (peer_subject, host): (&str, &str)) -> Self {
        let outcome = match outcome {
            // RFC 3461 §5.2.2: a peer that offers DSN has taken the duty to report with the message.
            RecipientOutcome::Accepted(reply) if offer.extensions.has(Extension::Dsn) => {
                Outcome::Accepted(Answer::peer(reply.to_string()))
            }
            RecipientOutcome::Accepted(reply) => Outcome::AcceptedWithoutDsn(Answer::peer(reply.to_string())),
            RecipientOutcome::Deferred(reply) => Outcome::Deferred(Answer::peer(reply.to_string())),
            RecipientOutcome::Refused(reply) => Outcome::Refused(Answer::peer(reply.to_string())),
        };
        Self {
            outcome,
            peer_subject: peer_subject.to_owned(),
            peer_host: Some(host.to_owned()),
        }
    }
}

/// Messages that may join an attempt on its way: then its lane is free for others.
const JOINED_MAX: usize = 100;

/// Of what two hosts meant, the one that leaves hope.
pub(super) fn milder(before: Option<(Outcome, String)>, now: (Outcome, String)) -> (Outcome, String) {
    match before {
        Some(before) if matches!(before.0, Outcome::Deferred(_)) => before,
        _ => now,
    }
}
