//! What a long queue costs: `cargo bench --bench queue [-- items]`, 100,000 items unless told otherwise.
//!
//! Nine items of ten go to one destination, the others to 100; then everything that the relay and an administrator ask of the store is
//! timed, the median of 20. The data folder is made in the current directory, or under `VAGUEMESTRE_BENCH_DIR`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures, prints and stops when something fails"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use vaguemestre::store::sqlite::{Options, SqliteStore};
use vaguemestre::store::{
    Acceptance, Closed, Content, JournalRow, MessageStore, NewMessage, Outgoing, QueueBy, QueueChange, QueueFilter,
    QueueItem, QueueState, QueueStore, Settled, Settlement,
};

fn main() {
    let items = std::env::args()
        .skip(1)
        .find_map(|text| text.parse().ok())
        .unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(items));
}

async fn run(items: usize) {
    let root = std::env::var_os("VAGUEMESTRE_BENCH_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let folder = tempfile::tempdir_in(root).unwrap();
    let store = SqliteStore::open(folder.path(), Options::default()).unwrap();
    let began = Instant::now();
    for first in (0..items).step_by(RECIPIENTS) {
        store.accept(message(first)).await.unwrap();
    }
    println!("{items} items queued in {:.1} s", began.elapsed().as_secs_f64());
    let all = QueueFilter::all(now(), 100);
    let last = store
        .queue_page(&QueueFilter {
            limit: items,
            ..all.clone()
        })
        .await
        .unwrap()
        .pop()
        .unwrap();
    let rare: vaguemestre::identity::Domain = "d7.mssante.fr".parse().unwrap();
    let of_domain = QueueFilter {
        domain: Some(rare),
        ..all.clone()
    };
    time("lease 100 and settle them for later", async || {
        let leased = store
            .lease(now(), now() + SignedDuration::from_hours(1), 100)
            .await
            .unwrap();
        let settlements = leased.iter().map(later).collect();
        assert!(store.settle(settlements, Acceptance::default()).await.unwrap());
    })
    .await;
    time("next due", async || {
        store.next_due().await.unwrap();
    })
    .await;
    time("list 100", async || drop(store.queue_page(&all).await.unwrap())).await;
    time("list the last 100", async || {
        let after = vaguemestre::store::QueueKey(last.item.key.0 - 100);
        drop(store.queue_page(&QueueFilter { after, ..all.clone() }).await.unwrap());
    })
    .await;
    time("list 100 of a small destination", async || {
        drop(store.queue_page(&of_domain).await.unwrap())
    })
    .await;
    time("list the held (none)", async || {
        let held = QueueFilter {
            state: Some(QueueState::Held),
            ..all.clone()
        };
        drop(store.queue_page(&held).await.unwrap());
    })
    .await;
    time("sums by domain", async || {
        drop(store.queue_groups(QueueBy::Domain, &all).await.unwrap())
    })
    .await;
    time("hold 100 and release them", async || {
        for change in [QueueChange::Hold { by: "bench".into() }, QueueChange::Release] {
            store.change_queue(&of_domain, change, Arc::new(record)).await.unwrap();
        }
    })
    .await;
    let big = "gros.mssante.fr".parse().unwrap();
    let closed = Closed {
        at: now(),
        until: now() + SignedDuration::from_hours(1),
        last_reply: "451 4.4.1".into(),
    };
    store.close_destination(&big, closed).await.unwrap();
    time("lease beside a closed destination", async || {
        let leased = store
            .lease(now(), now() + SignedDuration::from_hours(1), 10)
            .await
            .unwrap();
        store
            .settle(leased.iter().map(later).collect(), Acceptance::default())
            .await
            .unwrap();
    })
    .await;
}

async fn time(what: &str, mut work: impl AsyncFnMut()) {
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        work().await;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let (median, most) = (took[ROUNDS / 2], took[ROUNDS - 1]);
    println!("{what:<40} {:>8.2} ms  most {:>8.2} ms", ms(median), ms(most));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn message(first: usize) -> Acceptance {
    let outgoing = (first..first + RECIPIENTS).map(|n| {
        let domain = if first / RECIPIENTS % 10 == 0 {
            format!("d{}", n % 100)
        } else {
            "gros".to_owned()
        };
        Outgoing {
            sender: Some("dui@lilas.mssante.fr".parse().unwrap()),
            recipient: format!("r{n}@{domain}.mssante.fr").parse().unwrap(),
            due: now(),
            expires: now() + SignedDuration::from_hours(48),
            parameters: String::new(),
            session: format!("S{first}"),
        }
    });
    Acceptance {
        message: Some(NewMessage {
            content: Content::Memory(Arc::new(vec![b'x'; 2000])),
            lead: Vec::new(),
            summary: None,
        }),
        outgoing: outgoing.collect(),
        ..Acceptance::default()
    }
}

fn later(item: &QueueItem) -> Settlement {
    Settlement {
        key: item.key,
        lease: item.lease,
        fate: Settled::Retry {
            due: now() + SignedDuration::from_mins(5),
            last_reply: "451 4.4.1 later".into(),
            delay_told: None,
        },
    }
}

fn record(item: &QueueItem) -> JournalRow {
    JournalRow {
        sequence: 0,
        at: now(),
        event: "managed".into(),
        session: item.session.clone(),
        reason: String::new(),
        detail: "{}".into(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

const RECIPIENTS: usize = 100;
const ROUNDS: usize = 20;
