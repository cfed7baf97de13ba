//! What is promised of changes: told in one look, made only where nothing changed meanwhile, and forgotten in time.

use vaguemestre::store::{Delivery, FlagChange, FlagUpdate, Flags, FolderKey, Originals, Passage, Store, StoreError};

use super::common::{at, deliver, delivery, folder, inbox, owner, to_folders};
use super::messages::remove;

const SEEN: u8 = Flags::SEEN;

fn add(system: u8, unchanged_since: Option<u64>) -> FlagUpdate {
    FlagUpdate {
        change: FlagChange::Add,
        flags: Flags::system(system),
        unchanged_since,
    }
}

async fn highest(store: &dyn Store, folder: FolderKey) -> u64 {
    store.status(folder).await.unwrap().highest_modseq
}

pub(crate) async fn flags_change_only_where_nothing_changed_meanwhile(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for _ in 0..3 {
        deliver(store, b"x", inbox).await;
    }
    let since = highest(store, inbox).await;
    store.change_flags(inbox, &[2], &add(SEEN, None)).await.unwrap();
    let update = add(Flags::FLAGGED, Some(since));
    let done = store.change_flags(inbox, &[1, 2, 3, 9], &update).await.unwrap();
    assert_eq!(done.refused, [2]);
    let systems: Vec<_> = done.entries.iter().map(|e| (e.uid, e.flags.system)).collect();
    assert_eq!(systems, [(1, Flags::FLAGGED), (2, SEEN), (3, Flags::FLAGGED)]);
    assert_eq!(done.entries, store.entries(inbox, 0).await.unwrap());
    // RFC 7162 §3.1.3: nothing is that old.
    let refused = store
        .change_flags(inbox, &[1], &add(SEEN, Some(0)))
        .await
        .unwrap()
        .refused;
    assert_eq!(refused, [1]);
}

pub(crate) async fn changes_are_those_of_one_moment(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for _ in 0..4 {
        deliver(store, b"x", inbox).await;
    }
    let since = highest(store, inbox).await;
    let none = store.changes(inbox, since).await.unwrap();
    assert!(none.entries.is_empty() && none.expunged.is_empty() && none.highest_modseq == since);
    store.change_flags(inbox, &[3], &add(SEEN, None)).await.unwrap();
    remove(store, inbox, 2).await;
    deliver(store, b"y", inbox).await;
    let changes = store.changes(inbox, since).await.unwrap();
    assert_eq!(changes.entries.iter().map(|e| e.uid).collect::<Vec<_>>(), [3, 5]);
    assert_eq!(changes.expunged, [2]);
    assert_eq!(changes.highest_modseq, highest(store, inbox).await);
    assert!(changes.forgotten <= since);
    assert!(matches!(
        store.changes(FolderKey(99_999), 0).await,
        Err(StoreError::NotFound { .. })
    ));
}

pub(crate) async fn a_folder_is_looked_up_with_its_figures(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    deliver(store, b"x", inbox).await;
    let owner = owner(store, "a").await;
    let (row, status) = store.look_up(owner, "INBOX").await.unwrap();
    assert_eq!((row.key, status.clone()), (inbox, store.status(inbox).await.unwrap()));
    assert_eq!(status.messages, 1);
    let missing = store.look_up(owner, "Nowhere").await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn when_a_message_came_into_its_folder_is_kept(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let trash = folder(store, "a", "Trash").await;
    deliver(store, b"as old as it says", inbox).await;
    let mut acceptance = to_folders(b"older than it is here", &[]);
    acceptance.deliveries = vec![Delivery {
        saved: Some(at(500)),
        ..delivery(inbox)
    }];
    store.accept(acceptance).await.unwrap();
    let passage = Passage {
        from: inbox,
        to: trash,
        originals: Originals::Stay,
        saved: Some(at(900)),
    };
    store.transfer(passage, &[2]).await.unwrap();
    store.copy(inbox, &[2], trash).await.unwrap();
    let saved = async |folder| -> Vec<_> {
        let entries = store.entries(folder, 0).await.unwrap();
        entries.iter().map(|e| (e.saved, e.internal_date)).collect()
    };
    assert_eq!(saved(inbox).await, [(at(0), at(0)), (at(500), at(0))]);
    assert_eq!(saved(trash).await, [(at(900), at(0)), (at(500), at(0))]);
}

pub(crate) async fn of_the_removed_ones_the_newest_are_remembered(store: &dyn Store) {
    const KEPT: usize = 10_000;
    let inbox = inbox(store, "a").await;
    deliver(store, b"x", inbox).await;
    let deleted = Flags::system(Flags::DELETED);
    store.store_flags(inbox, &[1], FlagChange::Add, &deleted).await.unwrap();
    let mut count = 1;
    while count < 12_500 {
        let uids: Vec<u32> = (1..=count).collect();
        count += u32::try_from(store.copy(inbox, &uids, inbox).await.unwrap().1.len()).unwrap();
    }
    let before = highest(store, inbox).await;
    for from in (1..=12_500).step_by(500) {
        let uids: Vec<u32> = (from..from + 500).collect();
        store.expunge(inbox, Some(&uids)).await.unwrap();
    }
    let changes = store.changes(inbox, before).await.unwrap();
    assert!(changes.forgotten > before, "{}", changes.forgotten);
    assert!(
        (KEPT..12_500).contains(&changes.expunged.len()),
        "{}",
        changes.expunged.len()
    );
    let later = store.changes(inbox, changes.forgotten).await.unwrap();
    assert_eq!(later.expunged, changes.expunged, "what is kept is whole");
    assert_eq!(later.expunged.last(), Some(&12_500));
}
