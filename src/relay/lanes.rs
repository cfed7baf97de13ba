//! How many deliveries run at once, in all and to one domain, so that a slow operator does not hold up the others.
//!
//! A domain begins with few, and gets one more with each recipient it answers about, up to its most: one that is slow to answer never has
//! many. A peer takes as many connections as it likes, and says so by refusing one more (421, or no answer) while others serve. Then the
//! domain's lanes are as many as did serve, for a while: mail that found no room goes over those, and nobody counts that as a failure.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::Options;
use crate::identity::Domain;
use crate::store::Destination;

/// The lanes of one relay. Nobody waits in here: who finds no lane free leaves the items in the store.
pub(super) struct Lanes {
    all_max: usize,
    per_domain_max: usize,
    traffic: Mutex<Traffic>,
    /// See [`Self::want`].
    wanted: AtomicBool,
}

#[derive(Default)]
struct Traffic {
    /// Lanes in use.
    used: usize,
    /// The same by domain; only domains that have some.
    domains: HashMap<Domain, Use>,
    /// Domains that took fewer than they might have been given.
    narrow: HashMap<Domain, Narrow>,
    /// Domains that could not be reached when they were visited last.
    unreached: HashMap<Domain, Unreached>,
    /// Counts visits and failures, to tell which came first.
    step: u64,
}

/// The lanes of one domain.
#[derive(Clone, Copy, Default)]
struct Use {
    lanes: usize,
    /// Recipients that a host answered about since the first of them.
    heard: usize,
}

#[derive(Clone, Copy)]
struct Narrow {
    lanes_max: usize,
    until: Timestamp,
}

#[derive(Clone, Copy)]
struct Unreached {
    failures: u32,
    /// Of the last failure.
    step: u64,
}

/// A delivery may run for as long as this is held.
pub(super) struct Lane {
    lanes: Arc<Lanes>,
    domain: Domain,
    entered: u64,
}

impl Lanes {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            all_max: options.connections_max.max(1),
            per_domain_max: options.connections_per_domain_max.max(1),
            traffic: Mutex::default(),
            wanted: AtomicBool::new(false),
        }
    }

    /// Whether something in the store may wait for a lane: who leaves one is to have it looked at.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// See [`Self::want`].
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Takes over what an earlier run learnt.
    pub(super) fn remember(&self, destinations: &[Destination]) {
        let mut traffic = self.traffic();
        for destination in destinations {
            let failures = destination.failures;
            traffic
                .unreached
                .insert(destination.domain.clone(), Unreached { failures, step: 0 });
        }
    }

    /// How many lanes nobody uses.
    pub(super) fn free(&self) -> usize {
        self.all_max.saturating_sub(self.traffic().used)
    }

    /// Lanes in use, by domain.
    pub(super) fn used(&self) -> Vec<(Domain, usize)> {
        let used = &self.traffic().domains;
        used.iter().map(|(domain, used)| (domain.clone(), used.lanes)).collect()
    }

    /// These domains, those first that use the fewest lanes: where there are not enough for all, nobody gets another before the rest has one.
    pub(super) fn fewest_first(&self, mut domains: Vec<Domain>) -> Vec<Domain> {
        let traffic = self.traffic();
        domains.sort_by_cached_key(|domain| traffic.domains.get(domain).map_or(0, |used| used.lanes));
        domains
    }

    /// Domains that get no further lane now: those with all of theirs in use, and of those that could not be reached all that have one,
    /// or every one of them once they use half of all lanes. So dead destinations never take what living ones need.
    pub(super) fn busy(&self, now: Timestamp) -> Vec<Domain> {
        let mut traffic = self.traffic();
        traffic.narrow.retain(|_, narrow| now < narrow.until);
        let is_unreached = |domain: &Domain| traffic.unreached.contains_key(domain);
        let mut busy: Vec<Domain> = Vec::new();
        let mut used_by_unreached = 0;
        for (domain, used) in &traffic.domains {
            used_by_unreached += if is_unreached(domain) { used.lanes } else { 0 };
            let narrow = traffic.narrow.get(domain).map(|narrow| narrow.lanes_max);
            let earned = LANES_FIRST.saturating_add(used.heard).min(self.per_domain_max);
            if used.lanes >= narrow.unwrap_or(earned) || is_unreached(domain) {
                busy.push(domain.clone());
            }
        }
        if used_by_unreached >= self.all_max.div_ceil(2) {
            let others = traffic
                .unreached
                .keys()
                .filter(|domain| !traffic.domains.contains_key(*domain));
            busy.extend(others.cloned());
        }
        busy
    }

    /// Takes a lane; the caller has seen that one is free and the domain not busy.
    pub(super) fn enter(self: &Arc<Self>, domain: &Domain) -> Lane {
        let mut traffic = self.traffic();
        traffic.used += 1;
        traffic.step += 1;
        traffic.domains.entry(domain.clone()).or_default().lanes += 1;
        Lane {
            lanes: Arc::clone(self),
            domain: domain.clone(),
            entered: traffic.step,
        }
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Whether the domain could not be reached when it was visited last.
    pub(super) fn was_unreached(&self) -> bool {
        self.lanes.traffic().unreached.contains_key(&self.domain)
    }

    /// Whether somebody is to look for what waits for a lane, once this one is left.
    pub(super) fn is_wanted(&self) -> bool {
        self.lanes.are_wanted()
    }

    /// A host of the domain answered about a recipient.
    pub(super) fn heard(&self) {
        if let Some(used) = self.lanes.traffic().domains.get_mut(&self.domain) {
            used.heard = used.heard.saturating_add(1);
        }
    }

    /// Whether this lane found no room because the domain's others have it. Then there is one less until [`NARROW_FOR`] after `now`.
    /// The last one left is never one too many: what it meets is a failure.
    pub(super) fn was_one_too_many(&self, now: Timestamp) -> bool {
        let mut traffic = self.lanes.traffic();
        let Some(used) = traffic.domains.get(&self.domain).copied() else {
            return false;
        };
        let is_crowd = used.heard > 0 && used.lanes > 1 && !traffic.unreached.contains_key(&self.domain);
        if is_crowd {
            let narrow = Narrow {
                lanes_max: used.lanes - 1,
                until: now.saturating_add(NARROW_FOR).unwrap_or(Timestamp::MAX),
            };
            traffic.narrow.insert(self.domain.clone(), narrow);
        }
        is_crowd
    }

    /// It could not be reached: how often in a row by now. `None` when another visit that ended after this one began has said so: several
    /// at once are one failure.
    pub(super) fn failed(&self) -> Option<u32> {
        let mut traffic = self.lanes.traffic();
        traffic.step += 1;
        let step = traffic.step;
        let unreached = traffic
            .unreached
            .entry(self.domain.clone())
            .or_insert(Unreached { failures: 0, step: 0 });
        if unreached.step > self.entered {
            return None;
        }
        unreached.failures = unreached.failures.saturating_add(1);
        unreached.step = step;
        Some(unreached.failures)
    }

    /// It was reached.
    pub(super) fn reached(&self) {
        self.lanes.traffic().unreached.remove(&self.domain);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut traffic = self.lanes.traffic();
        traffic.used = traffic.used.saturating_sub(1);
        if let Some(used) = traffic.domains.get_mut(&self.domain) {
            used.lanes = used.lanes.saturating_sub(1);
            if used.lanes == 0 {
                traffic.domains.remove(&self.domain);
            }
        }
    }
}

/// Lanes of a domain before anybody there has answered.
const LANES_FIRST: usize = 4;
/// How long a domain gets no more lanes than it took.
const NARROW_FOR: SignedDuration = SignedDuration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn lanes(connections_max: usize, connections_per_domain_max: usize) -> Arc<Lanes> {
        Arc::new(Lanes::new(&Options {
            connections_max,
            connections_per_domain_max,
            ..Options::default()
        }))
    }

    fn domain(name: &str) -> Domain {
        format!("{name}.mssante.fr").parse().unwrap()
    }

    #[test]
    fn a_crowd_for_one_domain_leaves_room_for_another() {
        let lanes = lanes(3, 2);
        let first = lanes.enter(&domain("lent"));
        assert!(lanes.busy(now()).is_empty());
        let _second = lanes.enter(&domain("lent"));
        assert_eq!((lanes.busy(now()), lanes.free()), (vec![domain("lent")], 1));
        let _elsewhere = lanes.enter(&domain("autre"));
        assert_eq!(lanes.free(), 0);
        drop(first);
        assert_eq!((lanes.busy(now()), lanes.free()), (vec![], 1));
    }

    #[test]
    fn those_come_first_that_have_the_fewest() {
        let lanes = lanes(8, 4);
        let _two = [lanes.enter(&domain("deux")), lanes.enter(&domain("deux"))];
        let one = lanes.enter(&domain("un"));
        let all = || ["deux", "un", "aucune"].map(domain).to_vec();
        assert_eq!(lanes.fewest_first(all()), ["aucune", "un", "deux"].map(domain));
        drop(one);
        assert_eq!(lanes.fewest_first(all()), ["un", "aucune", "deux"].map(domain));
    }

    #[test]
    fn a_destination_that_could_not_be_reached_gets_one_lane_until_it_is() {
        let lanes = lanes(8, 4);
        let visits: Vec<Lane> = (0..4).map(|_| lanes.enter(&domain("mort"))).collect();
        let failures: Vec<Option<u32>> = visits.iter().map(Lane::failed).collect();
        assert_eq!(
            failures,
            [Some(1), None, None, None],
            "visits at the same time are one failure"
        );
        drop(visits);
        assert!(lanes.busy(now()).is_empty(), "it may be visited");
        let probe = lanes.enter(&domain("mort"));
        assert_eq!(lanes.busy(now()), [domain("mort")], "by one");
        assert_eq!(probe.failed(), Some(2));
        probe.reached();
        assert!(!probe.was_unreached());
        assert!(lanes.busy(now()).is_empty());
    }

    #[test]
    fn dead_destinations_together_take_half_of_all_lanes_at_most() {
        let lanes = lanes(4, 4);
        for name in ["a", "b", "c"] {
            lanes.enter(&domain(name)).failed();
        }
        let _a = lanes.enter(&domain("a"));
        assert_eq!(lanes.busy(now()), [domain("a")]);
        let _b = lanes.enter(&domain("b"));
        let mut busy = lanes.busy(now());
        busy.sort_unstable();
        assert_eq!(busy, [domain("a"), domain("b"), domain("c")]);
        assert_eq!(lanes.free(), 2, "for those that live");
    }

    #[test]
    fn a_domain_gets_more_lanes_as_it_answers() {
        let lanes = lanes(20, 6);
        let mut visits: Vec<Lane> = (0..LANES_FIRST).map(|_| lanes.enter(&domain("vif"))).collect();
        assert_eq!(lanes.busy(now()), [domain("vif")], "nobody has answered yet");
        for _ in 0..2 {
            visits[0].heard();
            assert!(lanes.busy(now()).is_empty());
            visits.push(lanes.enter(&domain("vif")));
            assert_eq!(lanes.busy(now()), [domain("vif")]);
        }
        visits[0].heard();
        assert_eq!(lanes.busy(now()), [domain("vif")], "never more than its most");
        drop(visits);
        let _visits: Vec<Lane> = (0..LANES_FIRST).map(|_| lanes.enter(&domain("vif"))).collect();
        assert_eq!(lanes.busy(now()), [domain("vif")], "it begins again");
    }

    #[test]
    fn a_peer_that_has_room_for_fewer_gets_fewer_for_a_minute() {
        let lanes = lanes(8, 4);
        let mut visits: Vec<Lane> = (0..4).map(|_| lanes.enter(&domain("petit"))).collect();
        visits[0].heard();
        let fourth = visits.remove(3);
        assert!(fourth.was_one_too_many(now()));
        drop(fourth);
        assert_eq!(lanes.busy(now()), [domain("petit")], "three serve, so three it is");
        drop(visits.remove(0));
        assert!(lanes.busy(now()).is_empty());
        drop(visits);
        let visits: Vec<Lane> = (0..3).map(|_| lanes.enter(&domain("petit"))).collect();
        assert_eq!(lanes.busy(now()), [domain("petit")], "later visits too");
        assert!(lanes.busy(now() + NARROW_FOR).is_empty(), "until it is forgotten");
        drop(visits);
    }

    #[test]
    fn a_destination_that_serves_nobody_is_not_a_crowd() {
        let lanes = lanes(8, 4);
        let visits: Vec<Lane> = (0..4).map(|_| lanes.enter(&domain("mort"))).collect();
        assert!(
            visits.iter().all(|lane| !lane.was_one_too_many(now())),
            "nobody was heard"
        );
        visits[0].heard();
        let mut visits = visits.into_iter();
        for left in (1..4).rev() {
            assert!(visits.next().unwrap().was_one_too_many(now()), "{left} are left");
        }
        assert!(
            !visits.next().unwrap().was_one_too_many(now()),
            "the last one has it for itself"
        );
        let probe = lanes.enter(&domain("mort"));
        assert!(!probe.was_one_too_many(now()), "and what was heard then is forgotten");
    }
}
