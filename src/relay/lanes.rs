//! How many deliveries run at once, in all and to one domain, so that a slow operator does not hold up the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Options;
use crate::identity::Domain;

/// The lanes of one relay.
pub(super) struct Lanes {
    all: Arc<Semaphore>,
    per_domain_max: usize,
    domains: Mutex<HashMap<Domain, Arc<Semaphore>>>,
}

/// A delivery may run for as long as this is held.
pub(super) struct Lane {
    _domain: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            all: Arc::new(Semaphore::new(options.connections_max)),
            per_domain_max: options.connections_per_domain_max,
            domains: Mutex::default(),
        }
    }

    /// Waits for a lane: the domain's first, so that a crowd for one domain takes no lane of the others.
    pub(super) async fn enter(&self, domain: &Domain) -> Lane {
        let own = self.of(domain);
        // The semaphores are never closed: a missing permit cannot happen, and would only mean one delivery more.
        let domain = own.acquire_owned().await.ok();
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        Lane {
            _domain: domain,
            _all: all,
        }
    }

    fn of(&self, domain: &Domain) -> Arc<Semaphore> {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if domains.len() >= SWEEP_FROM {
            // Only those that nobody holds or waits for.
            domains.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = domains
            .entry(domain.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.per_domain_max)));
        Arc::clone(lane)
    }
}

/// Domains nobody sends to any more are forgotten from this number on.
const SWEEP_FROM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crowd_for_one_domain_leaves_room_for_another() {
        let options = Options {
            connections_max: 3,
            connections_per_domain_max: 2,
            ..Options::default()
        };
        let lanes = Arc::new(Lanes::new(&options));
        let (slow, other): (Domain, Domain) = ("lent.mssante.fr".parse().unwrap(), "autre.mssante.fr".parse().unwrap());
        let first = lanes.enter(&slow).await;
        let _second = lanes.enter(&slow).await;
        let (waiting, domain) = (Arc::clone(&lanes), slow.clone());
        let third = tokio::spawn(async move { waiting.enter(&domain).await });
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        let _elsewhere = lanes.enter(&other).await;
        drop(first);
        drop(third.await.unwrap());
    }
}
