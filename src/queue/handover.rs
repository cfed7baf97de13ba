//! Mail on its way from the session that accepts it to the connection that carries it, without a turn through the store.
//!
//! What is accepted for another operator is durable before anybody is told so (invariant 1), and stands in the queue as ever. But its item
//! is leased from the start, by the session that accepts it, and handed over in memory: the relay need not ask the store what is due, nor
//! write down that it took it. What finds no place here waits in the store for its turn.
//!
//! - A process that dies leaves the leases, which the next start ends (invariant 6).
//! - So many items at most, in all and for one domain: a slow destination does not fill memory, nor take the places of others.
//! - A domain that could not be reached takes none until it is reached again.
//! - What waited here for half of its lease is not handed out any more: the lease runs out, and the store has it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use crate::identity::Domain;
use crate::store::{Outgoing, QueueItem};

/// What sessions hand to the relay of one operator.
#[derive(Default)]
pub struct Handover {
    shelf: Mutex<Shelf>,
    changed: Notify,
}

#[derive(Default)]
struct Shelf {
    /// How long items are leased; `None` while nobody takes any.
    lease: Option<Duration>,
    domains: HashMap<Domain, Row>,
    /// Those that could not be reached.
    shut: HashSet<Domain>,
    /// Of all domains.
    items: usize,
}

#[derive(Default)]
struct Row {
    /// Items that have a place, whether they are there or not.
    items: usize,
    waiting: VecDeque<Handed>,
}

/// The items of one message for one domain.
pub struct Handed {
    /// Leased.
    pub items: Vec<QueueItem>,
    /// Half of their lease is over then.
    pub good_until: Timestamp,
    places: usize,
}

/// Room for the items of a message that is being accepted; given back when nothing comes of it.
pub struct Place {
    handover: Arc<Handover>,
    domain: Domain,
    items: usize,
    good_until: Timestamp,
    leased_until: Timestamp,
}

impl Handover {
    /// From now on items are taken, each leased for so long.
    pub fn begin(&self, lease: Duration) {
        self.shelf().lease = Some(lease);
    }

    /// From now on none is taken. What waits keeps its lease, which the next start ends.
    pub fn end(&self) {
        self.shelf().lease = None;
    }

    /// Room for what is about to be accepted at `now`, if it all goes to one domain and that has room.
    pub fn reserve(self: &Arc<Self>, outgoing: &[Outgoing], now: Timestamp) -> Option<Place> {
        let domain = outgoing.first()?.recipient.domain();
        if outgoing.iter().any(|other| other.recipient.domain() != domain) {
            return None;
        }
        let mut shelf = self.shelf();
        let lease = shelf.lease?;
        if shelf.shut.contains(domain) || shelf.items + outgoing.len() > ITEMS_MAX {
            return None;
        }
        let lease = SignedDuration::try_from(lease).ok()?;
        let row_items = shelf.domains.get(domain).map_or(0, |row| row.items);
        if row_items + outgoing.len() > DOMAIN_ITEMS_MAX {
            return None;
        }
        let place = Place {
            handover: Arc::clone(self),
            domain: domain.clone(),
            items: outgoing.len(),
            good_until: now.saturating_add(lease / 2).ok()?,
            leased_until: now.saturating_add(lease).ok()?,
        };
        shelf.domains.entry(domain.clone()).or_default().items += outgoing.len();
        shelf.items += outgoing.len();
        Some(place)
    }

    /// The oldest message for a domain, unless that is shut.
    pub fn take(&self, domain: &Domain, now: Timestamp) -> Option<Handed> {
        let mut shelf = self.shelf();
        if shelf.shut.contains(domain) {
            return None;
        }
        loop {
            let handed = shelf.domains.get_mut(domain)?.waiting.pop_front()?;
            shelf.free(domain, handed.places);
            if now < handed.good_until {
                return Some(handed);
            }
        }
    }

    /// Domains that something waits for and that are not shut.
    pub fn waiting(&self) -> Vec<Domain> {
        let shelf = self.shelf();
        let waits = |(domain, row): &(&Domain, &Row)| !row.waiting.is_empty() && !shelf.shut.contains(*domain);
        let waiting = shelf.domains.iter().filter(waits);
        waiting.map(|(domain, _)| domain.clone()).collect()
    }

    /// The domain could not be reached: what waits for it, and what may yet come for it, is to go back to the store.
    pub fn shut(&self, domain: &Domain) {
        self.shelf().shut.insert(domain.clone());
        self.changed.notify_one();
    }

    /// It was reached again.
    pub fn reopen(&self, domain: &Domain) {
        self.shelf().shut.remove(domain);
    }

    /// What waits for domains that are shut: to be given back to the store.
    pub fn stranded(&self) -> Vec<QueueItem> {
        let mut shelf = self.shelf();
        let mut stranded = Vec::new();
        let shut: Vec<Domain> = shelf.shut.iter().cloned().collect();
        for domain in shut {
            while let Some(handed) = shelf.domains.get_mut(&domain).and_then(|row| row.waiting.pop_front()) {
                shelf.free(&domain, handed.places);
                stranded.extend(handed.items);
            }
        }
        stranded
    }

    /// Wakes whoever awaits [`Self::changed`].
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Until something was handed over, or a domain was shut, or somebody called [`Self::wake`]: at once, if that was since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// So many places of a domain are free again.
    fn free(&mut self, domain: &Domain, items: usize) {
        self.items = self.items.saturating_sub(items);
        if let Some(row) = self.domains.get_mut(domain) {
            row.items = row.items.saturating_sub(items);
            if row.items == 0 {
                self.domains.remove(domain);
            }
        }
    }
}

impl Place {
    /// Until when its items are to be leased.
    pub fn leased_until(&self) -> Timestamp {
        self.leased_until
    }

    /// Hands over the items, now durable.
    pub fn hand_over(mut self, items: Vec<QueueItem>) {
        let handover = Arc::clone(&self.handover);
        let mut shelf = handover.shelf();
        if let Some(row) = shelf.domains.get_mut(&self.domain) {
            row.waiting.push_back(Handed {
                items,
                good_until: self.good_until,
                places: self.items,
            });
            // They have it now.
            self.items = 0;
        }
        drop(shelf);
        handover.wake();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.items > 0 {
            self.handover.shelf().free(&self.domain, self.items);
        }
    }
}

/// Items that have a place at once: some 2 MB.
const ITEMS_MAX: usize = 4096;
/// The same for one domain: what twenty connections carry in a second or so.
const DOMAIN_ITEMS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MessageKey, QueueKey};

    const HOUR: Duration = Duration::from_hours(1);

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn domain(name: &str) -> Domain {
        format!("{name}.mssante.fr").parse().unwrap()
    }

    fn outgoing(names: &[&str]) -> Vec<Outgoing> {
        let one = |name: &&str| Outgoing {
            sender: None,
            recipient: format!("a@{name}.mssante.fr").parse().unwrap(),
            due: now(),
            expires: now(),
            parameters: "{}".to_owned(),
            session: String::new(),
        };
        names.iter().map(one).collect()
    }

    fn items(names: &[&str]) -> Vec<QueueItem> {
        let one = |outgoing: Outgoing| QueueItem {
            key: QueueKey(1),
            message: MessageKey(1),
            size_bytes: 1,
            sender: None,
            recipient: outgoing.recipient,
            created: now(),
            due: now(),
            expires: now(),
            attempts: 0,
            last_reply: None,
            delay_told: None,
            parameters: outgoing.parameters,
            session: String::new(),
            lease: -1,
            instead: None,
        };
        outgoing(names).into_iter().map(one).collect()
    }

    fn open() -> Arc<Handover> {
        let handover = Arc::new(Handover::default());
        handover.begin(HOUR);
        handover
    }

    #[track_caller]
    fn hand(handover: &Arc<Handover>, names: &[&str]) {
        let place = handover.reserve(&outgoing(names), now()).unwrap();
        assert_eq!(place.leased_until(), now() + HOUR);
        place.hand_over(items(names));
    }

    #[test]
    fn messages_are_taken_in_their_order_by_whoever_serves_their_domain() {
        let handover = open();
        hand(&handover, &["chu", "chu"]);
        hand(&handover, &["ville"]);
        hand(&handover, &["chu"]);
        let sizes = |name: &str| {
            std::iter::from_fn(|| handover.take(&domain(name), now()))
                .map(|handed| handed.items.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(handover.waiting().len(), 2);
        assert_eq!(sizes("chu"), [2, 1]);
        assert_eq!(handover.waiting(), [domain("ville")]);
        assert_eq!(sizes("ville"), [1]);
        assert_eq!(handover.shelf().items, 0);
        assert!(handover.shelf().domains.is_empty());
    }

    #[test]
    fn there_is_no_place_before_somebody_takes_and_after() {
        let handover = Arc::new(Handover::default());
        assert!(handover.reserve(&outgoing(&["chu"]), now()).is_none());
        handover.begin(HOUR);
        assert!(handover.reserve(&outgoing(&["chu"]), now()).is_some());
        assert!(handover.reserve(&outgoing(&[]), now()).is_none());
        assert!(handover.reserve(&outgoing(&["chu", "ville"]), now()).is_none());
        handover.end();
        assert!(handover.reserve(&outgoing(&["chu"]), now()).is_none());
    }

    #[test]
    fn one_domain_leaves_places_for_others_and_a_place_that_is_not_used_is_free_again() {
        let handover = open();
        let place = |name: &str| handover.reserve(&outgoing(&[name]), now());
        let mut places: Vec<Place> = (0..DOMAIN_ITEMS_MAX).map(|_| place("lent").unwrap()).collect();
        assert!(place("lent").is_none());
        places.extend((DOMAIN_ITEMS_MAX..ITEMS_MAX).map(|at| place(&format!("d{}", at % 9)).unwrap()));
        assert!(place("autre").is_none());
        places.swap_remove(0);
        places.push(place("autre").unwrap());
        drop(places);
        assert_eq!(handover.shelf().items, 0);
        assert!(handover.shelf().domains.is_empty());
    }

    #[test]
    fn what_waited_for_half_of_its_lease_is_left_to_the_store() {
        let handover = open();
        hand(&handover, &["chu"]);
        let place = handover.reserve(&outgoing(&["chu"]), now() + HOUR).unwrap();
        place.hand_over(items(&["chu"]));
        let handed = handover.take(&domain("chu"), now() + HOUR / 2).unwrap();
        assert_eq!(handed.good_until, now() + HOUR + HOUR / 2);
        assert_eq!(handover.shelf().items, 0);
    }

    #[test]
    fn a_domain_that_is_shut_takes_nothing_and_gives_back_what_waited() {
        let handover = open();
        let late = handover.reserve(&outgoing(&["chu"]), now()).unwrap();
        hand(&handover, &["chu", "chu"]);
        hand(&handover, &["ville"]);
        handover.shut(&domain("chu"));
        assert!(handover.reserve(&outgoing(&["chu"]), now()).is_none());
        assert!(handover.take(&domain("chu"), now()).is_none());
        assert_eq!(handover.waiting(), [domain("ville")]);
        assert_eq!(handover.stranded().len(), 2);
        late.hand_over(items(&["chu"]));
        assert_eq!(handover.stranded().len(), 1);
        assert!(handover.stranded().is_empty());
        handover.reopen(&domain("chu"));
        assert!(handover.reserve(&outgoing(&["chu"]), now()).is_some());
    }
}
