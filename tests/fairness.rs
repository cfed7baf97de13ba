//! Crowds for a few destinations never hold up the mail for others, in the queue of the embedded store, leased as the relay leases.
//! `VAGUEMESTRE_CROWD=50000` makes each crowd that large.
#![cfg(test)]

#[path = "store_contract/common.rs"]
#[allow(dead_code, reason = "shared with the contract")]
mod common;

use std::collections::{BTreeMap, VecDeque};

use common::{at, block_on, to_recipients};
use tempfile::tempdir;
use vaguemestre::identity::Domain;
use vaguemestre::store::sqlite::{Options, SqliteStore};
use vaguemestre::store::{Acceptance, MessageStore, Portion, QueueItem, QueueStore, Settled, Settlement};

/// Connections of the relay, in all and to one destination.
const LANES: usize = 16;
const LANES_PER_DOMAIN: usize = 4;
/// Items taken at once.
const BATCH: usize = 100;
/// Destinations with crowds: together they want more connections than there are.
const CROWDS: usize = 5;
/// Destinations with a little mail each.
const SMALL: usize = 30;
/// Items of each.
const LITTLE: usize = 3;

fn crowd_items() -> usize {
    let asked = std::env::var("VAGUEMESTRE_CROWD").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

async fn queue(store: &SqliteStore, domain: &str, items: usize, due: i64) {
    for first in (0..items).step_by(BATCH) {
        let names: Vec<String> = (first..items.min(first + BATCH))
            .map(|n| format!("r{n}@{domain}"))
            .collect();
        let recipients: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), due)).collect();
        store.accept(to_recipients(b"x", &recipients)).await.unwrap();
    }
}

/// Connections in use, the oldest first, each with what travels on it.
#[derive(Default)]
struct Lanes(VecDeque<(Domain, Vec<QueueItem>)>);

impl Lanes {
    fn portion(&self) -> Portion {
        let mut used: BTreeMap<&str, (Domain, usize)> = BTreeMap::new();
        for (domain, _) in &self.0 {
            used.entry(domain.as_str()).or_insert_with(|| (domain.clone(), 0)).1 += 1;
        }
        let is_busy = |(_, count): &&(Domain, usize)| *count >= LANES_PER_DOMAIN;
        Portion {
            items_max: BATCH,
            per_destination_max: BATCH,
            destinations_max: LANES - self.0.len(),
            busy: used
                .values()
                .filter(is_busy)
                .map(|(domain, _)| domain.clone())
                .collect(),
            under_way: used.into_values().collect(),
            late_before: None,
        }
    }

    /// What is leased for one destination travels together.
    fn enter(&mut self, leased: Vec<QueueItem>) -> Vec<Domain> {
        let mut batches: BTreeMap<Domain, Vec<QueueItem>> = BTreeMap::new();
        for item in leased {
            batches.entry(item.recipient.domain().clone()).or_default().push(item);
        }
        let domains = batches.keys().cloned().collect();
        self.0.extend(batches);
        domains
    }

    /// The oldest arrives.
    async fn leave(&mut self, store: &SqliteStore) -> usize {
        let Some((_, items)) = self.0.pop_front() else { return 0 };
        let settlements: Vec<Settlement> = items
            .iter()
            .map(|item| Settlement {
                key: item.key,
                lease: item.lease,
                fate: Settled::Done,
            })
            .collect();
        assert!(store.settle(settlements, Acceptance::default()).await.unwrap());
        items.len()
    }
}

#[test]
fn a_destination_with_little_mail_gets_the_next_free_connection_however_large_the_crowds_before_it() {
    block_on(async {
        let data = tempdir().unwrap();
        let store = SqliteStore::open(data.path(), Options::default()).unwrap();
        for crowd in 0..CROWDS {
            queue(&store, &format!("foule{crowd}.mssante.fr"), crowd_items(), 0).await;
        }
        let mut lanes = Lanes::default();
        // The crowds take every connection before anybody else has mail.
        while lanes.0.len() < LANES {
            let leased = store.lease_portion(at(1), at(9_999), lanes.portion()).await.unwrap();
            assert!(!leased.is_empty());
            lanes.enter(leased);
        }
        for small in 0..SMALL {
            queue(
                &store,
                &format!("petit{small:02}.mssante.fr"),
                LITTLE,
                1 + i64::try_from(small).unwrap(),
            )
            .await;
        }
        let mut served: Vec<String> = Vec::new();
        let mut freed = 0;
        while served.len() < SMALL {
            freed += 1;
            // A crowd without a connection is a destination like any other.
            let bound = SMALL + 3 * CROWDS;
            assert!(
                freed <= bound,
                "{} of {SMALL} after {freed} free connections",
                served.len()
            );
            lanes.leave(&store).await;
            let leased = store.lease_portion(at(100), at(9_999), lanes.portion()).await.unwrap();
            let whole = leased.len();
            let domains = lanes.enter(leased);
            let small = domains.iter().filter(|domain| domain.as_str().starts_with("petit"));
            served.extend(small.map(|domain| domain.as_str().to_owned()));
            assert_eq!(domains.len(), 1, "one connection was free");
            let is_crowd = domains.iter().all(|domain| domain.as_str().starts_with("foule"));
            assert!(is_crowd || whole == LITTLE, "all of the little mail: {whole}");
        }
        let mut in_order = served.clone();
        in_order.sort();
        assert_eq!(served, in_order, "those that wait longest first");
        // And nobody is forgotten: all of the crowds' mail goes too.
        let mut arrived = 0;
        loop {
            let leased = store.lease_portion(at(100), at(9_999), lanes.portion()).await.unwrap();
            lanes.enter(leased);
            if lanes.0.is_empty() {
                break;
            }
            arrived += lanes.leave(&store).await;
        }
        assert!(
            store.queued(1).await.unwrap().is_empty(),
            "{arrived} arrived at the end"
        );
        store.close().await.unwrap();
    });
}
