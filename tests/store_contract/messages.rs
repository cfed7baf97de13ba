//! Acceptances, bodies, staged files.

use vaguemestre::store::{
    Acceptance, Content, Count, CountKey, Enclosure, Flags, FolderKey, JournalFilter, MessageKey, NewMessage, Outgoing,
    STAGE_FRONT_BYTES_MAX, Store, StoreError,
};

use crate::Backend;
use crate::common::*;

fn count(messages: u64) -> Count {
    Count {
        key: CountKey {
            month: "2026-11".into(),
            direction: "received".into(),
            establishment: "540002698".into(),
            entity: String::new(),
            box_type: "ORG".into(),
            class: "message".into(),
        },
        messages,
        recipients: messages,
    }
}

async fn journal_length(store: &dyn Store) -> usize {
    let filter = JournalFilter {
        limit: 1000,
        ..JournalFilter::default()
    };
    store.journal(filter).await.unwrap().len()
}

fn whole(folder: FolderKey) -> Acceptance {
    Acceptance {
        outgoing: vec![outgoing("a@hopital.mssante.fr", 0)],
        records: vec![record("message.received", 5, "s1"), record("message.queued", 6, "s1")],
        counts: vec![count(1)],
        ..to_folders(b"A: b\r\n\r\nc", &[folder])
    }
}

pub(crate) async fn an_acceptance_is_applied_whole(store: &dyn Store) {
    let inbox = inbox(store, "foyer").await;
    let accepted = store.accept(whole(inbox)).await.unwrap();
    let status = store.status(inbox).await.unwrap();
    assert_eq!(accepted.delivered, [(inbox, status.uid_validity, 1)]);
    assert_eq!((status.messages, status.unseen, status.uid_next), (1, 1, 2));
    let queued = store.queued(10).await.unwrap();
    assert_eq!(queued.len(), 1);
    assert_eq!(Some(queued[0].message), accepted.message);
    assert_eq!(journal_length(store).await, 2);
    assert_eq!(store.counters(None).await.unwrap(), [count(1)]);
}

pub(crate) async fn an_acceptance_that_fails_changes_nothing(store: &dyn Store) {
    let inbox = inbox(store, "foyer").await;
    let mut acceptance = whole(inbox);
    acceptance.deliveries.push(delivery(FolderKey(999_999)));
    let failed = store.accept(acceptance).await;
    assert!(matches!(failed, Err(StoreError::NotFound { what: "folder" })));
    let status = store.status(inbox).await.unwrap();
    assert_eq!((status.messages, status.uid_next, status.highest_modseq), (0, 1, 1));
    assert!(store.queued(10).await.unwrap().is_empty());
    assert_eq!(journal_length(store).await, 0);
    assert!(store.counters(None).await.unwrap().is_empty());
    store.accept(whole(inbox)).await.unwrap();
}

/// A report of `size` bytes into a folder and to another operator.
fn report(size: usize, folder: FolderKey) -> Enclosure {
    Enclosure {
        message: NewMessage {
            lead: b"Return-Path: <>\r\n".to_vec(),
            ..message(&pattern(size))
        },
        deliveries: vec![delivery(folder)],
        outgoing: vec![Outgoing {
            sender: None,
            ..outgoing("dui@hopital.mssante.fr", 0)
        }],
    }
}

pub(crate) async fn reports_are_stored_with_the_message_they_are_about(store: &dyn Store) {
    let (a, b) = (inbox(store, "a").await, inbox(store, "b").await);
    let acceptance = Acceptance {
        reports: vec![report(1_000, b), report(200_000, b)],
        ..whole(a)
    };
    let accepted = store.accept(acceptance).await.unwrap();
    let given: Vec<_> = accepted
        .delivered
        .iter()
        .map(|(folder, _, uid)| (*folder, *uid))
        .collect();
    assert_eq!(given, [(a, 1), (b, 1), (b, 2)]);
    let queued = store.queued(10).await.unwrap();
    assert_eq!(queued.len(), 3);
    assert_eq!(Some(queued[0].message), accepted.message);
    for (item, size) in queued[1..].iter().zip([1_000, 200_000]) {
        assert_eq!(item.sender, None);
        assert_ne!(Some(item.message), accepted.message);
        assert!(*store.content(item.message).await.unwrap() == pattern(size));
    }
    let entries = store.entries(b, 0).await.unwrap();
    assert_eq!(entries[0].size_bytes, 17 + 1_000);
    assert_eq!(entries[0].message, queued[1].message);
    assert_eq!(
        *store.read(entries[0].message).await.unwrap(),
        [b"Return-Path: <>\r\n", &pattern(1_000)[..]].concat()
    );
    settle_all(store).await;
    assert!(store.content(entries[0].message).await.is_ok(), "the box still has it");
    remove(store, b, 1).await;
    assert!(is_not_found(&store.content(entries[0].message).await));
}

pub(crate) async fn a_report_that_cannot_be_stored_undoes_the_whole(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let acceptance = Acceptance {
        reports: vec![report(200_000, inbox), report(10, FolderKey(999_999))],
        ..whole(inbox)
    };
    let failed = store.accept(acceptance).await;
    assert!(matches!(failed, Err(StoreError::NotFound { what: "folder" })));
    assert!(uids(store, inbox).await.is_empty());
    assert!(store.queued(10).await.unwrap().is_empty());
    assert_eq!(journal_length(store).await, 0);
}

fn made_once(folder: FolderKey, key: u8, times: (i64, i64)) -> Acceptance {
    Acceptance {
        deliveries: vec![once(folder, key, times)],
        records: vec![record("received", 5, "s1")],
        counts: vec![count(1)],
        ..to_folders(b"A: b\r\n\r\nc", &[])
    }
}

pub(crate) async fn a_delivery_is_not_made_twice(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    assert_eq!(store.repeats(&[[1; 32]], at(0)).await.unwrap(), [false]);
    store.accept(made_once(inbox, 1, (0, 100))).await.unwrap();
    let mut repeated = made_once(inbox, 2, (1, 100));
    repeated.deliveries.push(once(inbox, 1, (1, 100)));
    let answer = store.accept(repeated).await;
    assert!(matches!(answer, Err(StoreError::Repeated)), "{answer:?}");
    assert_eq!(
        store.repeats(&[[2; 32], [1; 32]], at(1)).await.unwrap(),
        [false, true],
        "nothing of it was written, its other key neither"
    );
    assert_eq!(uids(store, inbox).await, [1]);
    assert_eq!(journal_length(store).await, 1);
    assert_eq!(store.counters(None).await.unwrap(), [count(1)]);
    store.accept(made_once(inbox, 2, (2, 100))).await.unwrap();
    assert_eq!(uids(store, inbox).await, [1, 2]);
}

pub(crate) async fn a_delivery_may_be_made_again_once_it_is_forgotten(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for now in [0, 100, 200] {
        assert_eq!(store.repeats(&[[1; 32]], at(now)).await.unwrap(), [false]);
        store.accept(made_once(inbox, 1, (now, now + 100))).await.unwrap();
        assert_eq!(store.repeats(&[[1; 32]], at(now + 99)).await.unwrap(), [true]);
    }
    assert_eq!(uids(store, inbox).await, [1, 2, 3]);
}

pub(crate) async fn of_concurrent_repetitions_one_is_accepted(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let answers = join_all((0..20).map(|_| store.accept(made_once(inbox, 1, (0, 100))))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(uids(store, inbox).await, [1]);
}

pub(crate) async fn a_delivery_is_not_made_twice_after_a_restart<B: Backend>(backend: B) {
    let inbox = inbox(backend.store(), "a").await;
    backend.store().accept(made_once(inbox, 1, (0, 100))).await.unwrap();
    let backend = backend.reopen().await;
    let answer = backend.store().accept(made_once(inbox, 1, (1, 100))).await;
    assert!(matches!(answer, Err(StoreError::Repeated)), "{answer:?}");
}

pub(crate) async fn uids_are_given_in_delivery_order_and_only_grow(store: &dyn Store) {
    let (a, b) = (inbox(store, "a").await, inbox(store, "b").await);
    let accepted = store.accept(to_folders(b"x", &[a, b, a])).await.unwrap();
    let given: Vec<_> = accepted
        .delivered
        .iter()
        .map(|(folder, _, uid)| (*folder, *uid))
        .collect();
    assert_eq!(given, [(a, 1), (b, 1), (a, 2)]);
    store
        .store_flags(
            a,
            &[2],
            vaguemestre::store::FlagChange::Add,
            &Flags::system(Flags::DELETED),
        )
        .await
        .unwrap();
    assert_eq!(store.expunge(a, None).await.unwrap(), [2]);
    assert_eq!(
        deliver(store, b"y", a).await.delivered[0].2,
        3,
        "an expunged UID is not given again"
    );
}

pub(crate) async fn content_has_no_lead_and_a_read_has_it(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let key = deliver(store, b"A: b\r\n\r\nc", inbox).await.message.unwrap();
    assert_eq!(*store.content(key).await.unwrap(), b"A: b\r\n\r\nc");
    assert_eq!(
        *store.read(key).await.unwrap(),
        b"Return-Path: <a@b.fr>\r\nA: b\r\n\r\nc"
    );
    let entries = store.entries(inbox, 0).await.unwrap();
    assert_eq!(entries[0].size_bytes, 23 + 9, "RFC822.SIZE counts both");
}

pub(crate) async fn content_of_any_size_reads_back(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for size in [0, 1, 4095, 65_535, 65_536, 65_537, 3_000_000] {
        let key = deliver(store, &pattern(size), inbox).await.message.unwrap();
        assert!(*store.content(key).await.unwrap() == pattern(size), "{size} bytes");
        assert_eq!(store.read(key).await.unwrap().len(), size + 23);
    }
}

pub(crate) async fn a_message_is_gone_once_nothing_refers_to_it(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for size in [10, 200_000] {
        let mut acceptance = to_folders(&pattern(size), &[inbox]);
        acceptance.outgoing = vec![outgoing("a@hopital.mssante.fr", 0)];
        let accepted = store.accept(acceptance).await.unwrap();
        let (key, uid) = (accepted.message.unwrap(), accepted.delivered[0].2);
        remove(store, inbox, uid).await;
        assert!(store.content(key).await.is_ok(), "the queue still needs it");
        settle_all(store).await;
        assert!(is_not_found(&store.content(key).await));
        assert!(is_not_found(&store.read(key).await));
    }
    assert!(is_not_found(&store.content(MessageKey(999_999)).await));
}

pub(crate) async fn a_message_that_nothing_refers_to_is_not_kept(store: &dyn Store) {
    let mut acceptance = to_folders(&pattern(100), &[]);
    acceptance.records = vec![record("message.discarded", 1, "s1")];
    assert_eq!(store.accept(acceptance).await.unwrap().message, None);
    assert_eq!(journal_length(store).await, 1);
}

pub(crate) async fn message_keys_only_grow(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let mut last = MessageKey(0);
    for _ in 0..3 {
        let accepted = deliver(store, b"x", inbox).await;
        assert!(accepted.message.unwrap() > last);
        last = accepted.message.unwrap();
        remove(store, inbox, accepted.delivered[0].2).await;
    }
}

async fn staged(store: &dyn Store, front: &[u8], data: &[u8]) -> NewMessage {
    let mut stage = store.stage().await.unwrap();
    for chunk in data.chunks(100_000) {
        stage.write(chunk).await.unwrap();
    }
    let file = stage.finish(front).await.unwrap();
    assert_eq!(file.size_bytes, (front.len() + data.len()) as u64);
    NewMessage {
        content: Content::Staged(file),
        ..message(b"")
    }
}

pub(crate) async fn a_staged_message_reads_back_with_its_front_first(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for (front, data) in [
        (0, 0),
        (0, 5),
        (100, 0),
        (300, 1_000_000),
        (STAGE_FRONT_BYTES_MAX, 700_000),
    ] {
        let (front, data) = (vec![b'F'; front], pattern(data));
        let message = staged(store, &front, &data).await;
        let whole = [front.clone(), data.clone()].concat();
        if let Content::Staged(file) = &message.content {
            // Before it is accepted it can be read, in any parts.
            let parts = [
                (0, 10),
                (0, usize::MAX),
                (290, 20),
                (whole.len() - whole.len() / 3, 1000),
                (whole.len(), 1),
            ];
            for (from, length_max) in parts {
                let wanted: Vec<u8> = whole.iter().skip(from).take(length_max).copied().collect();
                let part = store.staged_part(file, from as u64, length_max).await.unwrap();
                assert!(part == wanted, "{length_max} bytes from {from} on");
            }
            assert!(store.staged_part(file, u64::MAX, 1).await.unwrap().is_empty());
        }
        let acceptance = Acceptance {
            message: Some(message),
            ..to_folders(b"", &[inbox])
        };
        let key = store.accept(acceptance).await.unwrap().message.unwrap();
        assert!(*store.content(key).await.unwrap() == [front, data].concat());
    }
    let stage = store.stage().await.unwrap();
    assert!(stage.finish(&[b'F'; STAGE_FRONT_BYTES_MAX + 1]).await.is_err());
}

pub(crate) async fn a_staged_message_may_be_abandoned(store: &dyn Store) {
    let mut stage = store.stage().await.unwrap();
    stage.write(&pattern(1_000_000)).await.unwrap();
    drop(stage);
    let inbox = inbox(store, "a").await;
    deliver(store, &pattern(100_000), inbox).await;
}

pub(crate) async fn an_acceptance_may_have_no_message(store: &dyn Store) {
    let acceptance = Acceptance {
        records: vec![record("session.closed", 0, "s1")],
        counts: vec![count(2)],
        ..Acceptance::default()
    };
    let accepted = store.accept(acceptance).await.unwrap();
    assert_eq!((accepted.message, accepted.delivered.len()), (None, 0));
    assert_eq!(journal_length(store).await, 1);
    assert_eq!(store.counters(None).await.unwrap(), [count(2)]);
}

pub(crate) async fn concurrent_acceptances_are_all_there_once(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let accept = |n: usize| async move { deliver(store, format!("message {n}").as_bytes(), inbox).await };
    let all = join_all((0..40).map(accept)).await;
    let mut given: Vec<u32> = all.iter().map(|accepted| accepted.delivered[0].2).collect();
    given.sort_unstable();
    assert_eq!(given, (1..=40).collect::<Vec<_>>());
    for (n, accepted) in all.iter().enumerate() {
        let content = store.content(accepted.message.unwrap()).await.unwrap();
        assert_eq!(*content, format!("message {n}").into_bytes());
    }
}

pub(crate) async fn uids_are_not_used_again_after_a_restart<B: Backend>(backend: B) {
    let inbox = inbox(backend.store(), "a").await;
    let first = deliver(backend.store(), b"x", inbox).await;
    remove(backend.store(), inbox, 1).await;
    let backend = backend.reopen().await;
    assert_eq!(backend.store().status(inbox).await.unwrap().uid_next, 2);
    let second = deliver(backend.store(), b"y", inbox).await;
    assert_eq!(second.delivered[0].2, 2);
    assert!(second.message > first.message);
}

pub(crate) async fn everything_answered_is_there_after_a_restart<B: Backend>(backend: B) {
    let inbox = inbox(backend.store(), "a").await;
    let small = deliver(backend.store(), b"small", inbox).await.message.unwrap();
    let large = deliver(backend.store(), &pattern(300_000), inbox)
        .await
        .message
        .unwrap();
    let backend = backend.reopen().await;
    assert_eq!(*backend.store().content(small).await.unwrap(), b"small");
    assert!(*backend.store().content(large).await.unwrap() == pattern(300_000));
    assert_eq!(uids(backend.store(), inbox).await, [1, 2]);
}

pub(crate) async fn remove(store: &dyn Store, folder: FolderKey, uid: u32) {
    let deleted = Flags::system(Flags::DELETED);
    store
        .store_flags(folder, &[uid], vaguemestre::store::FlagChange::Add, &deleted)
        .await
        .unwrap();
    assert_eq!(store.expunge(folder, Some(&[uid])).await.unwrap(), [uid]);
}

async fn settle_all(store: &dyn Store) {
    use vaguemestre::store::{Settled, Settlement};
    let leased = store.lease(at(1000), at(2000), 100).await.unwrap();
    let done = leased.iter().map(|item| Settlement {
        key: item.key,
        lease: item.lease,
        fate: Settled::Done,
    });
    assert!(store.settle(done.collect(), Acceptance::default()).await.unwrap());
}

/// Polls all of them together.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if futures.iter().any(|(_, output)| output.is_none()) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(futures.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
    .await
}
