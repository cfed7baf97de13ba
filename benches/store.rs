//! Durable accepts per second of the embedded store: `cargo bench --bench store [-- clients size_bytes seconds]`.
//!
//! Each client accepts one message after the other into one folder, with a journal record and a counter increment, as the
//! mail path does. Prints messages and megabytes per second, the median and 99th percentile of one accept, and how many writes
//! shared a commit. The data folder is made under `VAGUEMESTRE_BENCH_DIR` or the current directory: it must be on the disk in question.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark measures, prints and stops when something fails"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vaguemestre::identity::Address;
use vaguemestre::store::sqlite::{Options, SqliteStore};
use vaguemestre::store::{
    Acceptance, Content, Count, CountKey, Delivery, Flags, FolderKey, JournalRow, MailboxStore, MessageStore,
    NewMessage, Room, Summary,
};

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    println!("clients  size_bytes  msg/s  MB/s  p50_ms  p99_ms  max_ms  writes/commit  checkpoints");
    if let [clients, size_bytes, seconds] = arguments[..] {
        runtime.block_on(series(clients, size_bytes, Duration::from_secs(seconds as u64)));
        return;
    }
    for size_bytes in [1_000, 10_000, 1_000_000] {
        for clients in [1, 16, 64] {
            runtime.block_on(series(clients, size_bytes, Duration::from_secs(4)));
        }
    }
    runtime.block_on(reads());
}

async fn series(clients: usize, size_bytes: usize, duration: Duration) {
    let root = folder();
    let store = Arc::new(SqliteStore::open(root.path(), Options::default()).unwrap());
    let inbox = inbox(&store).await;
    let body = Arc::new(text(size_bytes));
    let started = Instant::now();
    let before = store.statistics();
    let workers: Vec<_> = (0..clients)
        .map(|_| tokio::spawn(client(Arc::clone(&store), inbox, Arc::clone(&body), duration)))
        .collect();
    let mut waits = Vec::new();
    for worker in workers {
        waits.extend(worker.await.unwrap());
    }
    let seconds = started.elapsed().as_secs_f64();
    let after = store.statistics();
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let rate = waits.len() as f64 / seconds;
    println!(
        "{clients:7}  {size_bytes:10}  {rate:5.0}  {:4.0}  {:6.2}  {:6.2}  {:6.1}  {:13.1}  {}",
        rate * size_bytes as f64 / 1e6,
        at(0.5),
        at(0.99),
        at(1.0),
        (after.writes - before.writes) as f64 / (after.commits - before.commits) as f64,
        after.checkpoints - before.checkpoints,
    );
    store.close().await.unwrap();
}

async fn client(store: Arc<SqliteStore>, inbox: FolderKey, body: Arc<Vec<u8>>, duration: Duration) -> Vec<Duration> {
    let end = Instant::now() + duration;
    let mut waits = Vec::new();
    while Instant::now() < end {
        let started = Instant::now();
        store.accept(acceptance(inbox, &body)).await.unwrap();
        waits.push(started.elapsed());
    }
    waits
}

/// What IMAP FETCH of a folder costs the store: entries and summaries of 10,000 messages, then bodies one by one.
async fn reads() {
    const MESSAGES: usize = 10_000;
    let root = folder();
    let store = Arc::new(SqliteStore::open(root.path(), Options::default()).unwrap());
    let inbox = inbox(&store).await;
    let body = Arc::new(text(10_000));
    let workers: Vec<_> = (0..50)
        .map(|_| {
            let (store, body) = (Arc::clone(&store), Arc::clone(&body));
            tokio::spawn(async move {
                for _ in 0..MESSAGES / 50 {
                    store.accept(acceptance(inbox, &body)).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let started = Instant::now();
    let entries = store.entries(inbox, 0).await.unwrap();
    let listed = started.elapsed();
    let keys: Vec<_> = entries.iter().map(|entry| entry.message).collect();
    let mut summaries = 0;
    for chunk in keys.chunks(256) {
        summaries += store.summaries(chunk).await.unwrap().len();
    }
    let fetched = started.elapsed();
    let mut bytes = 0;
    for key in &keys {
        bytes += store.read(*key).await.unwrap().len();
    }
    let read = started.elapsed().saturating_sub(fetched);
    println!(
        "{} entries in {listed:?}; with {summaries} summaries {:.0} items/s; {} bodies ({} MB) one by one {:.0} items/s",
        entries.len(),
        summaries as f64 / fetched.as_secs_f64(),
        keys.len(),
        bytes / 1_000_000,
        keys.len() as f64 / read.as_secs_f64(),
    );
    store.close().await.unwrap();
}

fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("VAGUEMESTRE_BENCH_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    tempfile::Builder::new()
        .prefix("store-bench")
        .tempdir_in(parent)
        .unwrap()
}

async fn inbox(store: &SqliteStore) -> FolderKey {
    let address: Address = "bench@lilas.mssante.fr".parse().unwrap();
    let owner = store.ensure_box(&address, &[]).await.unwrap();
    store.folders(owner).await.unwrap()[0].key
}

/// Bytes that do not repeat, so that no layer below can fold them.
fn text(size_bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(size_bytes).collect()
}

fn acceptance(inbox: FolderKey, body: &Arc<Vec<u8>>) -> Acceptance {
    let now = "2026-11-21T10:00:00Z".parse().unwrap();
    Acceptance {
        message: Some(NewMessage {
            content: Content::Memory(Arc::clone(body)),
            lead: b"Return-Path: <dui@ehpad-lilas.mssante.fr>\r\n".to_vec(),
            summary: Some(Summary {
                envelope: vec![b'e'; 350],
                body: vec![b'b'; 150],
                body_structure: vec![b's'; 250],
                header_bytes: 900,
                layout: Vec::new(),
            }),
        }),
        deliveries: vec![Delivery {
            folder: inbox,
            flags: Flags::default(),
            internal_date: now,
            saved: None,
            once: None,
            room: Room::IfNotFull,
        }],
        removes: Vec::new(),
        outgoing: Vec::new(),
        leased_until: None,
        reports: Vec::new(),
        records: vec![JournalRow {
            sequence: 0,
            at: now,
            event: "message.received".into(),
            session: "0123456789abcdef".into(),
            reason: String::new(),
            detail: format!("{{\"pad\":\"{}\"}}", "x".repeat(300)),
        }],
        counts: vec![Count {
            key: CountKey {
                month: "2026-11".into(),
                direction: "received".into(),
                establishment: "540002698".into(),
                entity: "540000001".into(),
                box_type: "ORG".into(),
                class: "message".into(),
            },
            messages: 1,
            recipients: 1,
        }],
    }
}
