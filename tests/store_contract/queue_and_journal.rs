//! Leases, settlements, journal, counters.

use std::collections::BTreeSet;

use vaguemestre::store::{
    Acceptance, Count, CountKey, JournalFilter, JournalRow, QueueItem, Settled, Settlement, Store,
};

use crate::Backend;
use crate::common::*;

const A: &str = "a@hopital.mssante.fr";
const B: &str = "b@hopital.mssante.fr";
const C: &str = "c@medecin.mssante.fr";

fn recipients(items: &[QueueItem]) -> Vec<&str> {
    items.iter().map(|item| item.recipient.as_str()).collect()
}

fn settlement(item: &QueueItem, fate: Settled) -> Settlement {
    Settlement {
        key: item.key,
        lease: item.lease,
        fate,
    }
}

fn done(items: &[QueueItem]) -> Vec<Settlement> {
    items.iter().map(|item| settlement(item, Settled::Done)).collect()
}

async fn queue(store: &dyn Store, recipients: &[(&str, i64)]) {
    store.accept(to_recipients(b"x", recipients)).await.unwrap();
}

pub(crate) async fn due_items_are_leased_oldest_first(store: &dyn Store) {
    for (recipient, due) in [(A, 30), (B, 10), (C, 20)] {
        queue(store, &[(recipient, due)]).await;
    }
    assert!(store.lease(at(9), at(99), 10).await.unwrap().is_empty());
    let leased = store.lease(at(20), at(99), 10).await.unwrap();
    assert_eq!(recipients(&leased), [B, C], "due at now is due");
    assert!(leased.iter().all(|item| item.lease != 0));
}

pub(crate) async fn leased_items_are_not_leased_again_until_the_lease_runs_out(store: &dyn Store) {
    queue(store, &[(A, 0)]).await;
    let first = store.lease(at(0), at(60), 10).await.unwrap();
    assert_eq!(first.len(), 1);
    assert!(store.lease(at(59), at(99), 10).await.unwrap().is_empty());
    let second = store.lease(at(60), at(99), 10).await.unwrap();
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].lease, first[0].lease);
    assert!(
        !store.settle(done(&first), Acceptance::default()).await.unwrap(),
        "the first lease is lost"
    );
    assert!(store.settle(done(&second), Acceptance::default()).await.unwrap());
}

pub(crate) async fn no_two_leases_have_the_same_number(store: &dyn Store) {
    queue(store, &[(A, 0), (B, 0), (C, 0)]).await;
    let mut numbers = BTreeSet::new();
    for round in 0..4 {
        let leased = store.lease(at(round), at(round + 1), 10).await.unwrap();
        assert_eq!(leased.len(), 3);
        numbers.extend(leased.iter().map(|item| item.lease));
    }
    assert_eq!(numbers.len(), 12);
}

pub(crate) async fn what_is_leased_from_birth_is_nobody_elses_until_that_lease_runs_out(store: &dyn Store) {
    let acceptance = |leased_until| Acceptance {
        leased_until,
        ..to_recipients(b"x", &[(A, 0), (B, 0)])
    };
    let unleased = store.accept(acceptance(None)).await.unwrap();
    assert!(unleased.leased.is_empty(), "nobody asked for it");
    let others = store.lease(at(0), at(99), 10).await.unwrap();
    assert!(store.settle(done(&others), Acceptance::default()).await.unwrap());

    let born = store.accept(acceptance(Some(at(60)))).await.unwrap().leased;
    assert_eq!(recipients(&born), [A, B]);
    let listed = store.queued(10).await.unwrap();
    assert_eq!(format!("{born:?}"), format!("{listed:?}"), "as the queue shows them");
    assert_eq!(born[0].size_bytes, listed[0].size_bytes);
    assert!(store.lease(at(59), at(99), 10).await.unwrap().is_empty());
    assert_eq!(store.next_due_except(&[]).await.unwrap(), Some(at(60)));
    assert!(store.settle(done(&born[..1]), Acceptance::default()).await.unwrap());

    let again = store.lease(at(60), at(99), 10).await.unwrap();
    assert_eq!(recipients(&again), [B]);
    assert_ne!(again[0].lease, born[1].lease);
    assert!(!store.settle(done(&born[1..]), Acceptance::default()).await.unwrap());
    assert!(store.settle(done(&again), Acceptance::default()).await.unwrap());
}

pub(crate) async fn items_of_one_message_and_domain_come_together(store: &dyn Store) {
    queue(store, &[(A, 1), (C, 2), (B, 8), ("late@hopital.mssante.fr", 50)]).await;
    queue(store, &[("other@hopital.mssante.fr", 3)]).await;
    let leased = store.lease(at(10), at(99), 3).await.unwrap();
    assert_eq!(recipients(&leased), [A, B, C], "though another item was due before B");
    assert_eq!(leased[0].message, leased[1].message);
    let rest = store.lease(at(10), at(99), 10).await.unwrap();
    assert_eq!(recipients(&rest), ["other@hopital.mssante.fr"]);
}

pub(crate) async fn a_lease_takes_at_most_the_limit(store: &dyn Store) {
    queue(store, &[(A, 0), (B, 0), ("d@hopital.mssante.fr", 0)]).await;
    assert!(store.lease(at(0), at(9), 0).await.unwrap().is_empty());
    assert_eq!(store.lease(at(0), at(9), 2).await.unwrap().len(), 2);
    assert_eq!(store.lease(at(0), at(9), 2).await.unwrap().len(), 1);
}

pub(crate) async fn settling_done_takes_the_item_out_and_applies_the_rest(store: &dyn Store) {
    let inbox = inbox(store, "dui").await;
    queue(store, &[(A, 0)]).await;
    let leased = store.lease(at(0), at(9), 10).await.unwrap();
    let bounce = Acceptance {
        records: vec![record("relay.bounced", 1, "s1")],
        ..to_folders(b"bounce", &[inbox])
    };
    assert!(store.settle(done(&leased), bounce).await.unwrap());
    assert!(store.queued(10).await.unwrap().is_empty());
    assert_eq!(uids(store, inbox).await, [1]);
    assert_eq!(read(store, JournalFilter::default()).await, ["relay.bounced"]);
    assert!(is_not_found(&store.content(leased[0].message).await));
}

pub(crate) async fn settling_twice_has_the_effect_of_settling_once(store: &dyn Store) {
    let inbox = inbox(store, "dui").await;
    queue(store, &[(A, 0), (B, 0)]).await;
    let leased = store.lease(at(0), at(9), 10).await.unwrap();
    let bounce = || to_folders(b"bounce", &[inbox]);
    assert!(store.settle(done(&leased), bounce()).await.unwrap());
    assert!(!store.settle(done(&leased), bounce()).await.unwrap());
    assert_eq!(uids(store, inbox).await, [1]);
}

pub(crate) async fn settling_changes_nothing_unless_every_lease_is_held(store: &dyn Store) {
    let inbox = inbox(store, "dui").await;
    queue(store, &[(A, 0), (B, 0)]).await;
    let leased = store.lease(at(0), at(9), 10).await.unwrap();
    let mut wrong = done(&leased);
    wrong[1].lease += 1000;
    let bounce = || to_folders(&pattern(100_000), &[inbox]);
    assert!(!store.settle(wrong, bounce()).await.unwrap());
    let twice = [done(&leased), done(&leased)].concat();
    assert!(!store.settle(twice, bounce()).await.unwrap(), "an item has one fate");
    let mut never = done(&leased);
    never[0].lease = 0;
    assert!(!store.settle(never, bounce()).await.unwrap());
    assert_eq!(store.queued(10).await.unwrap().len(), 2);
    assert!(uids(store, inbox).await.is_empty());
    assert!(
        store.settle(done(&leased), bounce()).await.unwrap(),
        "the leases are still held"
    );
}

pub(crate) async fn a_retry_stays_in_the_queue_until_it_is_due(store: &dyn Store) {
    queue(store, &[(A, 0)]).await;
    let leased = store.lease(at(0), at(9), 10).await.unwrap();
    let retry = Settled::Retry {
        due: at(100),
        last_reply: "451 4.3.0 try again later".into(),
        delay_told: Some(at(7)),
    };
    let settled = store
        .settle(vec![settlement(&leased[0], retry)], Acceptance::default())
        .await;
    assert!(settled.unwrap());
    assert!(store.lease(at(99), at(200), 10).await.unwrap().is_empty());
    let again = store.lease(at(100), at(200), 10).await.unwrap();
    assert_eq!((again[0].attempts, again[0].due), (1, at(100)));
    assert_eq!(again[0].last_reply.as_deref(), Some("451 4.3.0 try again later"));
    assert_eq!((leased[0].delay_told, again[0].delay_told), (None, Some(at(7))));
    let retry = Settled::Retry {
        due: at(300),
        last_reply: String::new(),
        delay_told: None,
    };
    let settled = store.settle(vec![settlement(&again[0], retry)], Acceptance::default());
    assert!(settled.await.unwrap());
    assert_eq!(
        store.queued(1).await.unwrap()[0].delay_told,
        Some(at(7)),
        "it stays said"
    );
    assert!(store.content(again[0].message).await.is_ok());
}

pub(crate) async fn next_due_is_the_next_item_or_the_next_end_of_a_lease(store: &dyn Store) {
    assert_eq!(store.next_due().await.unwrap(), None);
    queue(store, &[(A, 5)]).await;
    queue(store, &[(C, 50)]).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(5)));
    let leased = store.lease(at(5), at(40), 10).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(at(40)));
    store.settle(done(&leased), Acceptance::default()).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(at(50)));
}

pub(crate) async fn every_item_is_listed_oldest_first(store: &dyn Store) {
    queue(store, &[(A, 50), (B, 10)]).await;
    queue(store, &[(C, 1)]).await;
    store.lease(at(1), at(99), 1).await.unwrap();
    assert_eq!(recipients(&store.queued(10).await.unwrap()), [A, B, C]);
    assert_eq!(recipients(&store.queued(2).await.unwrap()), [A, B]);
}

pub(crate) async fn release_all_ends_every_lease(store: &dyn Store) {
    queue(store, &[(A, 0), (B, 0)]).await;
    let leased = store.lease(at(0), at(1_000_000), 10).await.unwrap();
    store.release_all().await.unwrap();
    assert!(store.queued(10).await.unwrap().iter().all(|item| item.lease == 0));
    assert!(!store.settle(done(&leased), Acceptance::default()).await.unwrap());
    assert_eq!(store.lease(at(0), at(9), 10).await.unwrap().len(), 2);
}

pub(crate) async fn an_item_keeps_what_was_queued(store: &dyn Store) {
    let mut acceptance = to_recipients(b"12345", &[(A, 7)]);
    acceptance.outgoing.push(vaguemestre::store::Outgoing {
        sender: None,
        ..outgoing("Secrétariat@Hopital.mssante.fr", 8)
    });
    acceptance.records = vec![record("message.submitted", 3, "s1")];
    let key = store.accept(acceptance).await.unwrap().message.unwrap();
    let items = store.queued(10).await.unwrap();
    let first = &items[0];
    assert_eq!(
        (first.message, first.size_bytes, first.attempts, first.lease),
        (key, 5, 0, 0)
    );
    assert_eq!(first.sender.as_ref().unwrap().as_str(), "DUI@ehpad-lilas.mssante.fr");
    assert_eq!(
        (first.created, first.due, first.expires),
        (at(3), at(7), at(7 + 86_400))
    );
    assert_eq!(
        (first.parameters.as_str(), first.session.as_str()),
        (r#"{"ret":"HDRS"}"#, "s1")
    );
    assert_eq!(first.last_reply, None);
    assert_eq!(items[1].sender, None);
    assert_eq!(items[1].recipient.local(), "Secrétariat", "as written");
}

async fn read(store: &dyn Store, filter: JournalFilter) -> Vec<String> {
    let limit = if filter.limit == 0 { 100 } else { filter.limit };
    let rows = store.journal(JournalFilter { limit, ..filter }).await.unwrap();
    assert!(rows.is_sorted_by(|a, b| a.sequence < b.sequence));
    rows.into_iter().map(|row| row.event).collect()
}

fn four() -> Vec<JournalRow> {
    vec![
        record("a", 10, "s1"),
        record("b", 20, ""),
        record("c", 15, "s2"),
        record("a", 30, "s1"),
    ]
}

pub(crate) async fn journal_rows_read_back_as_written(store: &dyn Store) {
    store.append(four()).await.unwrap();
    let filter = JournalFilter {
        limit: 100,
        ..JournalFilter::default()
    };
    let stored = store.journal(filter).await.unwrap();
    let expected: Vec<_> = four()
        .into_iter()
        .zip(&stored)
        .map(|(row, stored)| JournalRow {
            sequence: stored.sequence,
            ..row
        })
        .collect();
    assert_eq!(stored, expected);
    assert!(stored[0].sequence > 0);
}

pub(crate) async fn the_journal_is_read_by_ascending_sequence_and_filter(store: &dyn Store) {
    store.append(four()).await.unwrap();
    let expect = async |change: fn(&mut JournalFilter), events: &[&str]| {
        let mut filter = JournalFilter::default();
        change(&mut filter);
        assert_eq!(read(store, filter.clone()).await, events, "{filter:?}");
    };
    expect(|_| {}, &["a", "b", "c", "a"]).await;
    expect(|filter| filter.since = Some(at(15)), &["b", "c", "a"]).await;
    expect(|filter| filter.until = Some(at(20)), &["a", "c"]).await;
    expect(|filter| filter.session = Some("s1".into()), &["a", "a"]).await;
    expect(|filter| filter.session = Some(String::new()), &["b"]).await;
    expect(|filter| filter.session_prefix = "s".into(), &["a", "c", "a"]).await;
    expect(|filter| filter.session_prefix = "s2".into(), &["c"]).await;
    expect(|filter| filter.session_prefix = "S".into(), &[]).await;
    expect(|filter| filter.mentions = "nowhere in any detail".into(), &[]).await;
    expect(|filter| filter.mentions = "{".into(), &["a", "b", "c", "a"]).await;
    expect(|filter| filter.events = vec!["a".into(), "c".into()], &["a", "c", "a"]).await;
    expect(|filter| filter.after_sequence = 2, &["c", "a"]).await;
    expect(|filter| filter.limit = 2, &["a", "b"]).await;
    let nothing = store.journal(JournalFilter::default()).await.unwrap();
    assert!(nothing.is_empty(), "a limit of 0 reads nothing");
}

pub(crate) async fn counters_add_up_and_come_by_ascending_key(store: &dyn Store) {
    let count = |month: &str, establishment: &str, messages, recipients| Count {
        key: CountKey {
            month: month.into(),
            direction: "sent".into(),
            establishment: establishment.into(),
            entity: "540000001".into(),
            box_type: "APP".into(),
            class: "message".into(),
        },
        messages,
        recipients,
    };
    let steps = [
        vec![count("2026-12", "540002698", 1, 1), count("2026-11", "540002698", 1, 3)],
        vec![
            count("2026-11", "", 1, 1),
            count("2026-11", "540002698", 2, 2),
            count("2026-11", "540002698", 1, 1),
        ],
    ];
    for counts in steps {
        let acceptance = Acceptance {
            counts,
            ..Acceptance::default()
        };
        store.accept(acceptance).await.unwrap();
    }
    let november = [count("2026-11", "", 1, 1), count("2026-11", "540002698", 4, 6)];
    assert_eq!(store.counters(Some("2026-11")).await.unwrap(), november);
    let all = store.counters(None).await.unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted_by(|a, b| a.key < b.key));
    assert!(store.counters(Some("2026-10")).await.unwrap().is_empty());
}

pub(crate) async fn leases_and_their_numbers_survive_a_restart<X: Backend>(backend: X) {
    queue(backend.store(), &[(A, 0)]).await;
    let before = backend.store().lease(at(0), at(60), 10).await.unwrap();
    let backend = backend.reopen().await;
    let store = backend.store();
    assert!(store.lease(at(1), at(60), 10).await.unwrap().is_empty());
    store.release_all().await.unwrap();
    let after = store.lease(at(1), at(60), 10).await.unwrap();
    assert!(after[0].lease > before[0].lease);
}
