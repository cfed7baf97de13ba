//! Fairness between destinations, destinations that cannot be reached, and what an administrator does.

use std::sync::Arc;

use vaguemestre::identity::Domain;
use vaguemestre::store::{
    Acceptance, ChangeRecord, Changed, Closed, Instead, JournalFilter, Portion, QueueBy, QueueChange, QueueFilter,
    QueueItem, QueueState, Sender, Settled, Settlement, Store,
};

use crate::Backend;
use crate::common::*;

const A: &str = "a@hopital.mssante.fr";
const B: &str = "b@hopital.mssante.fr";
const C: &str = "c@medecin.mssante.fr";

fn domain(name: &str) -> Domain {
    format!("{name}.mssante.fr").parse().unwrap()
}

fn recipients(items: &[QueueItem]) -> Vec<&str> {
    items.iter().map(|item| item.recipient.as_str()).collect()
}

async fn queue(store: &dyn Store, recipients: &[(&str, i64)]) {
    for one in recipients {
        store.accept(to_recipients(b"x", &[*one])).await.unwrap();
    }
}

async fn crowd(store: &dyn Store, count: usize, due: i64) {
    let names: Vec<String> = (0..count).map(|n| format!("r{n}@hopital.mssante.fr")).collect();
    let recipients: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), due)).collect();
    store.accept(to_recipients(b"x", &recipients)).await.unwrap();
}

fn closed(seconds: i64, until: i64) -> Closed {
    Closed {
        at: at(seconds),
        until: at(until),
        last_reply: "451 4.4.1 mx is not there".into(),
    }
}

fn all(now: i64) -> QueueFilter {
    QueueFilter::all(at(now), 100)
}

fn only(now: i64, item: &QueueItem) -> QueueFilter {
    QueueFilter {
        keys: vec![item.key],
        ..all(now)
    }
}

fn noted() -> ChangeRecord {
    Arc::new(|item: &QueueItem| record(&format!("managed.{}", item.recipient.as_str()), 1, &item.session))
}

async fn change(store: &dyn Store, filter: &QueueFilter, change: QueueChange) -> Changed {
    store.change_queue(filter, change, noted()).await.unwrap()
}

fn hold() -> QueueChange {
    QueueChange::Hold { by: "root".into() }
}

async fn retry_later(store: &dyn Store, item: &QueueItem, due: i64) {
    let settlement = Settlement {
        key: item.key,
        lease: item.lease,
        fate: Settled::Retry {
            due: at(due),
            last_reply: "451 4.2.0 later".into(),
            delay_told: None,
        },
    };
    assert!(store.settle(vec![settlement], Acceptance::default()).await.unwrap());
}

async fn unattempted(store: &dyn Store, item: &QueueItem) -> bool {
    let settlement = Settlement {
        key: item.key,
        lease: item.lease,
        fate: Settled::Unattempted,
    };
    store.settle(vec![settlement], Acceptance::default()).await.unwrap()
}

pub(crate) async fn an_item_that_was_not_attempted_is_leased_again_as_it_was(store: &dyn Store) {
    queue(store, &[(A, 0)]).await;
    let lease = async || store.lease(at(1), at(600), 10).await.unwrap();
    let first = lease().await.remove(0);
    assert!(lease().await.is_empty());
    assert!(unattempted(store, &first).await);
    let again = lease().await.remove(0);
    assert_eq!(
        (again.key, again.attempts, again.expires),
        (first.key, 0, first.expires)
    );
    assert_ne!(first.lease, again.lease);
    assert!(!unattempted(store, &first).await, "the first lease is over");
    assert!(lease().await.is_empty(), "the second is not");
}

async fn state(store: &dyn Store, now: i64, recipient: &str) -> QueueState {
    let page = store.queue_page(&all(now)).await.unwrap();
    let entry = page.iter().find(|entry| entry.item.recipient.as_str() == recipient);
    entry.unwrap().state
}

pub(crate) async fn a_crowd_for_one_destination_does_not_delay_another(store: &dyn Store) {
    crowd(store, 500, 0).await;
    queue(store, &[(C, 5)]).await;
    let leased = store.lease(at(5), at(99), 10).await.unwrap();
    assert_eq!(leased.len(), 10, "nothing is left unused");
    assert_eq!(leased.iter().filter(|item| item.recipient.as_str() == C).count(), 1);
    let portion = Portion {
        per_destination_max: 3,
        ..Portion::of(10)
    };
    assert_eq!(store.lease_portion(at(5), at(99), portion).await.unwrap().len(), 3);
}

pub(crate) async fn nothing_is_leased_for_a_busy_destination(store: &dyn Store) {
    queue(store, &[(A, 0), (C, 7)]).await;
    let portion = Portion {
        busy: vec![domain("hopital")],
        ..Portion::of(10)
    };
    let next = store.next_due_except(&portion.busy).await.unwrap();
    assert_eq!(next, Some(at(7)));
    assert_eq!(store.next_due().await.unwrap(), Some(at(0)));
    let leased = store.lease_portion(at(7), at(99), portion).await.unwrap();
    assert_eq!(recipients(&leased), [C]);
    let one = Portion {
        destinations_max: 1,
        ..Portion::of(10)
    };
    queue(store, &[(C, 8)]).await;
    let oldest = store.lease_portion(at(9), at(99), one).await.unwrap();
    assert_eq!(recipients(&oldest), [A], "the destination that waits longest");
}

pub(crate) async fn a_closed_destination_gets_nothing_until_its_time_comes(store: &dyn Store) {
    let hospital = domain("hopital");
    queue(store, &[(A, 0), (B, 0), (C, 50)]).await;
    store.close_destination(&hospital, closed(0, 30)).await.unwrap();
    assert!(store.lease(at(29), at(99), 10).await.unwrap().is_empty());
    assert_eq!(store.next_due().await.unwrap(), Some(at(30)));
    assert_eq!(state(store, 29, A).await, QueueState::Blocked);
    store.close_destination(&hospital, closed(30, 90)).await.unwrap();
    let known = store.destinations().await.unwrap();
    assert_eq!((known.len(), known[0].failures, known[0].since), (1, 2, at(0)));
    assert_eq!(known[0].last_reply, "451 4.4.1 mx is not there");
    assert_eq!(recipients(&store.lease(at(89), at(199), 10).await.unwrap()), [C]);
    assert_eq!(recipients(&store.lease(at(90), at(199), 10).await.unwrap()), [A, B]);
}

pub(crate) async fn what_expires_in_a_closed_destination_is_leased_to_be_given_up(store: &dyn Store) {
    queue(store, &[(A, 0), (B, 60)]).await;
    let day = 86_400;
    store
        .close_destination(&domain("hopital"), closed(0, day * 2))
        .await
        .unwrap();
    assert!(store.lease(at(day - 1), at(day * 3), 10).await.unwrap().is_empty());
    assert_eq!(store.next_due().await.unwrap(), Some(at(day)));
    let leased = store.lease(at(day), at(day * 3), 10).await.unwrap();
    assert_eq!(recipients(&leased), [A]);
    let why = Instead::Closed("451 4.4.1 mx is not there".into());
    assert_eq!(leased[0].instead, Some(why));
}

pub(crate) async fn what_is_late_in_a_closed_destination_is_leased_once_to_be_told(store: &dyn Store) {
    queue(store, &[(A, 0), (B, 60)]).await;
    store
        .close_destination(&domain("hopital"), closed(0, 1000))
        .await
        .unwrap();
    let late = |seconds| Portion {
        late_before: Some(at(seconds)),
        ..Portion::of(10)
    };
    assert!(store.lease_portion(at(90), at(99), late(-1)).await.unwrap().is_empty());
    assert_eq!(store.oldest_untold(at(90)).await.unwrap(), Some(at(0)));
    let visited = store.oldest_untold(at(1000)).await.unwrap();
    assert_eq!(visited, None, "a destination that may be visited tells by its attempts");
    let leased = store.lease_portion(at(90), at(99), late(30)).await.unwrap();
    assert_eq!(recipients(&leased), [A]);
    assert!(matches!(leased[0].instead, Some(Instead::Closed(_))));
    let told = Settlement {
        key: leased[0].key,
        lease: leased[0].lease,
        fate: Settled::Retry {
            due: at(95),
            last_reply: "451 4.4.1".into(),
            delay_told: Some(at(90)),
        },
    };
    assert!(store.settle(vec![told], Acceptance::default()).await.unwrap());
    assert!(store.lease_portion(at(99), at(120), late(30)).await.unwrap().is_empty());
    assert_eq!(store.oldest_untold(at(99)).await.unwrap(), Some(at(60)), "the next one");
}

pub(crate) async fn a_destination_that_opens_hastens_what_waits_for_it(store: &dyn Store) {
    let hospital = domain("hopital");
    crowd(store, 5, 1000).await;
    queue(store, &[(C, 1000)]).await;
    store.close_destination(&hospital, closed(0, 500)).await.unwrap();
    assert_eq!(store.open_destination(&hospital, at(10), 3).await.unwrap(), 3);
    assert_eq!(store.open_destination(&hospital, at(10), 3).await.unwrap(), 2);
    assert_eq!(store.open_destination(&hospital, at(10), 3).await.unwrap(), 0);
    assert!(store.destinations().await.unwrap().is_empty());
    let leased = store.lease(at(10), at(99), 100).await.unwrap();
    assert_eq!(leased.len(), 5, "and nothing of another destination");
}

pub(crate) async fn held_items_wait_for_their_release(store: &dyn Store) {
    queue(store, &[(A, 0), (B, 0)]).await;
    let filter = QueueFilter {
        recipient: Some(address(A)),
        ..all(5)
    };
    let done = change(store, &filter, hold()).await;
    assert_eq!((done.changed, done.seen), (1, 1));
    assert_eq!(change(store, &filter, hold()).await.changed, 0, "it is held");
    assert_eq!(state(store, 5, A).await, QueueState::Held);
    let page = store.queue_page(&filter).await.unwrap();
    assert_eq!(page[0].held, Some(("root".to_owned(), at(5))));
    assert_eq!(recipients(&store.lease(at(5), at(99), 10).await.unwrap()), [B]);
    assert_eq!(
        store.next_due().await.unwrap(),
        Some(at(99)),
        "the end of the other's lease"
    );
    assert_eq!(change(store, &all(6), QueueChange::Release).await.changed, 1);
    assert_eq!(recipients(&store.lease(at(6), at(99), 10).await.unwrap()), [A]);
    let records = store
        .journal(JournalFilter {
            limit: 9,
            ..JournalFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(records.len(), 2, "one for each change that was one");
}

pub(crate) async fn an_attempt_under_way_ends_as_it_would_and_a_hold_holds_after_it(store: &dyn Store) {
    queue(store, &[(A, 0), (B, 0)]).await;
    let leased = store.lease(at(0), at(99), 10).await.unwrap();
    for nothing in [QueueChange::Drop, QueueChange::Retry] {
        let done = change(store, &all(1), nothing).await;
        assert_eq!((done.changed, done.busy), (0, 2));
    }
    assert_eq!(change(store, &only(1, &leased[0]), hold()).await.changed, 1);
    retry_later(store, &leased[0], 5).await;
    retry_later(store, &leased[1], 5).await;
    assert_eq!(recipients(&store.lease(at(10), at(99), 10).await.unwrap()), [B]);
    assert_eq!(state(store, 10, A).await, QueueState::Held);
}

pub(crate) async fn a_retry_by_hand_makes_items_due_and_visits_their_destination(store: &dyn Store) {
    queue(store, &[(A, 500), (B, 0), (C, 500)]).await;
    store
        .close_destination(&domain("hopital"), closed(0, 400))
        .await
        .unwrap();
    let filter = QueueFilter {
        recipient: Some(address(A)),
        ..all(10)
    };
    assert_eq!(change(store, &filter, QueueChange::Retry).await.changed, 1);
    assert_eq!(recipients(&store.lease(at(10), at(99), 10).await.unwrap()), [B, A]);
    assert_eq!(
        store.destinations().await.unwrap()[0].failures,
        1,
        "it was not reached yet"
    );
}

pub(crate) async fn a_dropped_item_is_gone_with_its_message(store: &dyn Store) {
    queue(store, &[(A, 0), (C, 0)]).await;
    let message = store.queued(1).await.unwrap()[0].message;
    let filter = QueueFilter {
        message: Some(message),
        ..all(1)
    };
    assert_eq!(change(store, &filter, QueueChange::Drop).await.changed, 1);
    assert_eq!(recipients(&store.queued(9).await.unwrap()), [C]);
    assert!(is_not_found(&store.content(message).await));
    assert_eq!(change(store, &filter, QueueChange::Drop).await, Changed::default());
}

pub(crate) async fn an_item_given_up_is_leased_with_its_verdict_wherever_it_goes(store: &dyn Store) {
    queue(store, &[(A, 500), (B, 500)]).await;
    store
        .close_destination(&domain("hopital"), closed(0, 400))
        .await
        .unwrap();
    let verdict = || "554 5.0.0 taken out".to_owned();
    let filter = QueueFilter {
        recipient: Some(address(A)),
        ..all(10)
    };
    change(store, &filter, hold()).await;
    let bounce = QueueChange::Bounce { verdict: verdict() };
    assert_eq!(change(store, &filter, bounce).await.changed, 1);
    assert_eq!(store.next_due().await.unwrap(), Some(at(10)));
    let leased = store.lease(at(10), at(99), 10).await.unwrap();
    assert_eq!(recipients(&leased), [A]);
    assert_eq!(leased[0].instead, Some(Instead::Dropped(verdict())));
}

pub(crate) async fn a_page_holds_what_fits_and_the_next_one_goes_on(store: &dyn Store) {
    queue(store, &[(A, 0), (B, 50), (C, 0)]).await;
    store.lease(at(0), at(99), 1).await.unwrap();
    let names = async |filter: QueueFilter| {
        let page = store.queue_page(&filter).await.unwrap();
        let name = |entry: vaguemestre::store::QueueEntry| entry.item.recipient.as_str()[..1].to_owned();
        page.into_iter().map(name).collect::<String>()
    };
    let page = store.queue_page(&QueueFilter { limit: 2, ..all(1) }).await.unwrap();
    assert_eq!(page.len(), 2);
    let after = page[1].item.key;
    assert_eq!(names(QueueFilter { after, ..all(1) }).await, "c");
    let of = |change: &dyn Fn(&mut QueueFilter)| {
        let mut filter = all(1);
        change(&mut filter);
        filter
    };
    for (filter, fits) in [
        (of(&|f| f.domain = Some(domain("hopital"))), "ab"),
        (of(&|f| f.session = Some("s1".into())), "abc"),
        (of(&|f| f.session = Some("s2".into())), ""),
        (of(&|f| f.sender = Some(Sender::Null)), ""),
        (
            of(&|f| f.sender = Some(Sender::Address(address("dui@ehpad-lilas.mssante.fr")))),
            "abc",
        ),
        (of(&|f| f.sender = Some(Sender::Address(address(A)))), ""),
        (of(&|f| f.recipient = Some(address(C))), "c"),
        (of(&|f| f.message = Some(page[1].item.message)), "b"),
        (of(&|f| f.keys = vec![page[0].item.key, page[1].item.key]), "ab"),
        (of(&|f| f.state = Some(QueueState::Leased)), "a"),
        (of(&|f| f.state = Some(QueueState::Waiting)), "b"),
        (of(&|f| f.state = Some(QueueState::Due)), "c"),
        (of(&|f| f.state = Some(QueueState::Held)), ""),
        (of(&|f| f.created_before = Some(at(0))), ""),
        (of(&|f| f.created_before = Some(at(1))), "ac"),
    ] {
        assert_eq!(names(filter.clone()).await, fits, "{filter:?}");
    }
    assert_eq!(
        names(QueueFilter {
            state: Some(QueueState::Due),
            ..all(100)
        })
        .await,
        "abc",
        "the lease has run out"
    );
}

pub(crate) async fn sums_are_those_of_the_pages(store: &dyn Store) {
    crowd(store, 7, 0).await;
    queue(store, &[(C, 90)]).await;
    store.lease(at(0), at(99), 2).await.unwrap();
    let groups = store.queue_groups(QueueBy::Domain, &all(1)).await.unwrap();
    assert_eq!((groups[0].name.as_str(), groups[0].items), ("hopital.mssante.fr", 7));
    let by_state: Vec<(QueueState, u64)> = QueueState::ALL.into_iter().zip(groups[0].states).collect();
    assert!(by_state.contains(&(QueueState::Leased, 2)) && by_state.contains(&(QueueState::Due, 5)));
    assert_eq!((groups[1].items, groups[1].next), (1, Some(at(90))));
    assert_eq!((groups[0].oldest, groups[0].size_bytes), (at(0), 7));
    let states = store.queue_groups(QueueBy::State, &all(1)).await.unwrap();
    let names: Vec<(&str, u64)> = states.iter().map(|group| (group.name.as_str(), group.items)).collect();
    assert_eq!(names, [("due", 5), ("leased", 2), ("waiting", 1)]);
    let one = QueueFilter {
        domain: Some(domain("medecin")),
        ..all(1)
    };
    assert_eq!(store.queue_groups(QueueBy::Sender, &one).await.unwrap()[0].items, 1);
    assert_eq!(store.queue_groups(QueueBy::Message, &all(1)).await.unwrap().len(), 2);
}

pub(crate) async fn holds_and_failures_survive_a_restart_and_every_destination_is_visited_again(backend: impl Backend) {
    let store = backend.store();
    queue(store, &[(A, 0), (B, 0)]).await;
    let filter = QueueFilter {
        recipient: Some(address(B)),
        ..all(1)
    };
    change(store, &filter, hold()).await;
    store
        .close_destination(&domain("hopital"), closed(0, 5000))
        .await
        .unwrap();
    let backend = backend.reopen().await;
    let store = backend.store();
    assert!(store.lease(at(2), at(99), 10).await.unwrap().is_empty());
    store.release_all().await.unwrap();
    assert_eq!(recipients(&store.lease(at(2), at(99), 10).await.unwrap()), [A]);
    assert_eq!(store.destinations().await.unwrap()[0].failures, 1);
    assert_eq!(state(store, 2, B).await, QueueState::Held);
}
