//! Invariant 1 under `kill -9`: whatever was answered with 250 is there after a restart, once, whole, and counted.

#![cfg(test)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::digest;
use serde_json::Value;
use tokio::runtime::Runtime;

use common::{Letter, Sender, Space, folder, inbox, wait_until};
use vaguemestre::space::folder::Layout;
use vaguemestre::store::QueueStore;
use vaguemestre::store::sqlite::SqliteStore;

const DUI: (&str, &str) = ("lilas", "dui-ehpad");
const DUI_BOX: &str = "noreply@ehpad-lilas.mssante.fr";
/// Box, and the operator and login that read it.
const HOSPITAL: (&str, &str, &str) = ("urgences@chu-demo.mssante.fr", "chu", "urgences");
const PHARMACY: (&str, &str, &str) = ("pharmacie@chu-demo.mssante.fr", "chu", "pharmacie");
const LOCAL: (&str, &str, &str) = ("soins@ssiad-lilas.mssante.fr", "lilas", "soins-ssiad");

const ROUNDS: usize = 3;
const CONNECTIONS: usize = 4;
/// Every so many messages one is large enough to be kept in a file while it arrives.
const LARGE_EVERY: usize = 16;
const LARGE_LINES: usize = 9_000;

/// Message-IDs by destination.
type Acknowledged = Arc<Mutex<BTreeMap<&'static str, BTreeSet<String>>>>;

#[test]
fn whatever_was_acknowledged_before_a_kill_is_there_once_and_counted() {
    let data = folder();
    let acknowledged = Acknowledged::default();
    let mut space = Space::up(data.path(), &["--free-ports"]);
    for round in 0..ROUNDS {
        space = kill_under_load(space, round, &acknowledged);
        wait_until("the queue is empty", Duration::from_mins(1), || {
            queue_is_empty(data.path(), "lilas").then_some(())
        });
        check_boxes(&space, &acknowledged);
    }
    let accepted = check_boxes(&space, &acknowledged);
    space.interrupt().assert_success();
    let recount = json(data.path(), &["recount", "--json"]);
    for operator in recount.as_array().unwrap() {
        assert_eq!(operator["agrees"], true, "{operator:#}");
    }
    assert_eq!(journalled(data.path()), accepted, "what is journalled is what arrived");
    let counted = traffic(data.path(), "lilas", "sent");
    assert_eq!(counted, accepted.len() as u64, "every accepted message counts once");
}

/// As the relay of Lilas does when it died before it noted our 250: the same bytes again, on another connection.
#[test]
fn what_a_peer_retries_is_delivered_once() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let relay = Sender::operator(&space, ("lilas", "mx.lilas.localhost"), DUI_BOX, "chu");
    let small = queued("<small@crash.example>", "s-1");
    let large = [queued("<large@crash.example>", "s-2"), b"x\r\n".repeat(400_000)].concat();
    let submitted_again = queued("<small@crash.example>", "s-3");
    Runtime::new().unwrap().block_on(async {
        for _ in 0..3 {
            assert_eq!(relay.line().send(&[HOSPITAL.0], &small).await, Ok(vec![250]));
        }
        let both = relay.line().send(&[HOSPITAL.0, PHARMACY.0], &small).await;
        assert_eq!(both, Ok(vec![250, 250]), "one recipient has it already, the other not");
        for _ in 0..2 {
            assert_eq!(relay.line().send(&[HOSPITAL.0], &large).await, Ok(vec![250]));
        }
        let again = relay.line().send(&[HOSPITAL.0], &submitted_again).await;
        assert_eq!(again, Ok(vec![250]));
    });
    let hospital = inbox(&space, "chu", HOSPITAL.2);
    let hospital: Vec<_> = hospital.iter().map(|one| one.message_id.as_str()).collect();
    let expected = [
        "<small@crash.example>",
        "<large@crash.example>",
        "<small@crash.example>",
    ];
    assert_eq!(hospital, expected, "a retry is no delivery, another submission is");
    assert_eq!(inbox(&space, "chu", PHARMACY.2).len(), 1);
    space.interrupt().assert_success();
    assert_eq!(traffic(data.path(), "chu", "received"), 4);
    let repeated = read(data.path(), &["journal", "--json", "--event", "repeated"]);
    assert_eq!(repeated.lines().count(), 4, "{repeated}");
    assert_eq!(
        json(data.path(), &["recount", "--json", "--operator", "chu"])[0]["agrees"],
        true
    );
}

#[test]
fn what_a_person_sends_twice_is_delivered_twice_and_counts_twice() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let dui = Sender::dui(&space, DUI, DUI_BOX);
    let mail = mail(PHARMACY.0, "<twice@crash.example>", 5);
    Runtime::new().unwrap().block_on(async {
        for _ in 0..2 {
            assert_eq!(dui.line().send(&[PHARMACY.0], &mail).await, Ok(vec![250]));
        }
    });
    wait_until("both arrive", Duration::from_secs(20), || {
        (inbox(&space, "chu", PHARMACY.2).len() == 2).then_some(())
    });
    space.interrupt().assert_success();
    assert_eq!(traffic(data.path(), "lilas", "sent"), 2);
    assert_eq!(traffic(data.path(), "chu", "received"), 2);
}

/// A message as the queue of Lilas holds it.
fn queued(id: &str, session: &str) -> Vec<u8> {
    let trace = format!(
        "Received: from dui.example by mx.lilas.localhost with ESMTPSA id {session};\r\n Sat, 21 Nov 2026 10:00:00 +0100\r\n"
    );
    [trace.as_bytes(), &mail(HOSPITAL.0, id, 5)].concat()
}

/// Sends over several connections, kills the space in the middle, and raises it again on the same data.
fn kill_under_load(space: Space, round: usize, acknowledged: &Acknowledged) -> Space {
    let data = space.data();
    let before = count(acknowledged);
    let runtime = Runtime::new().unwrap();
    let sender = Sender::dui(&space, DUI, DUI_BOX);
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (sender, acknowledged) = (sender.clone(), Arc::clone(acknowledged));
            runtime.spawn(load(sender, format!("{round}.{connection}"), acknowledged))
        })
        .collect();
    // Later in each round: the kill falls on other moments of the work.
    let enough = before + 40 + 37 * round;
    wait_until("enough was acknowledged", Duration::from_mins(1), || {
        (count(acknowledged) >= enough).then_some(())
    });
    space.kill();
    for sender in senders {
        runtime.block_on(sender).unwrap();
    }
    Space::up(&data, &["--free-ports"])
}

/// One connection's messages, until it breaks.
async fn load(sender: Sender, name: String, acknowledged: Acknowledged) {
    let mut line = sender.line();
    for number in 0.. {
        let (to, ..) = [HOSPITAL, LOCAL][number % 2];
        let id = format!("<{name}.{number}@crash.example>");
        let lines = if number % LARGE_EVERY == LARGE_EVERY - 1 {
            LARGE_LINES
        } else {
            1 + number % 40
        };
        let Ok(codes) = line.send(&[to], &mail(to, &id, lines)).await else {
            return;
        };
        assert_eq!(codes, [250], "{id} to {to}");
        acknowledged.lock().unwrap().entry(to).or_default().insert(id);
    }
}

fn mail(to: &str, id: &str, lines: usize) -> Vec<u8> {
    let line = |number: usize| format!("Ligne {number} du message {id}, sans aucune donnee reelle.\r\n");
    let text = (0..lines).map(line).collect::<Vec<_>>().concat();
    let header = format!(
        "From: <{DUI_BOX}>\r\nTo: <{to}>\r\nSubject: essai\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: {id}\r\nX-Checksum: {}\r\n",
        sha256(text.as_bytes())
    );
    format!("{header}\r\n{text}").into_bytes()
}

/// Every acknowledged message is in its box once, nothing is there twice or damaged. Returns what is there.
#[track_caller]
fn check_boxes(space: &Space, acknowledged: &Acknowledged) -> BTreeSet<String> {
    let mut accepted = BTreeSet::new();
    for (address, operator, login) in [HOSPITAL, LOCAL] {
        let letters = inbox(space, operator, login);
        for letter in &letters {
            assert_eq!(
                letter.text_sha256, letter.checksum,
                "{} arrived damaged",
                letter.message_id
            );
        }
        let there = ids(&letters);
        assert_eq!(doubled(&letters), Vec::<String>::new(), "twice in {address}");
        let wanted = acknowledged.lock().unwrap().get(address).cloned().unwrap_or_default();
        let lost: Vec<_> = wanted.difference(&there).collect();
        assert!(lost.is_empty(), "lost on the way to {address}: {lost:?}");
        accepted.extend(there);
    }
    accepted
}

fn ids(letters: &[Letter]) -> BTreeSet<String> {
    letters.iter().map(|letter| letter.message_id.clone()).collect()
}

fn doubled(letters: &[Letter]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let ids = letters.iter().map(|letter| &letter.message_id);
    ids.filter(|id| !seen.insert(*id)).cloned().collect()
}

fn count(acknowledged: &Acknowledged) -> usize {
    acknowledged.lock().unwrap().values().map(BTreeSet::len).sum()
}

fn queue_is_empty(data: &Path, operator: &str) -> bool {
    let store = SqliteStore::open_read_only(&Layout::new(data).store(operator)).unwrap();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(store.queued(1)).unwrap().is_empty()
}

/// Message-IDs of every submission in the journal; none is there twice.
#[track_caller]
fn journalled(data: &Path) -> BTreeSet<String> {
    let printed = read(
        data,
        &["journal", "--json", "--event", "submitted", "--limit", "1000000"],
    );
    let mut ids = BTreeSet::new();
    for line in printed.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let id = record["detail"]["message_id"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "journalled twice: {line}");
    }
    ids
}

/// Messages `sent` or `received`, summed over the indicator's rows.
#[track_caller]
fn traffic(data: &Path, operator: &str, direction: &str) -> u64 {
    let report = json(data, &["indicator", "--json", "--operator", operator]);
    let rows = report["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| row[direction]["messages"].as_u64().unwrap())
        .sum()
}

#[track_caller]
fn json(data: &Path, words: &[&str]) -> Value {
    serde_json::from_str(&read(data, words)).unwrap()
}

#[track_caller]
fn read(data: &Path, words: &[&str]) -> String {
    Space::program()
        .args(words)
        .arg("--data")
        .arg(data)
        .run()
        .assert_success()
        .stdout
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    hex.collect::<Vec<_>>().concat()
}
