//! Quotas of boxes.

use vaguemestre::store::{Delivery, FlagChange, Flags, Room, Store, StoreError, Usage};

use crate::Backend;
use crate::common::*;

const OWNER: &str = "a@ehpad-lilas.mssante.fr";
/// What one message of `to_folders` takes: its lead and 1,000 bytes.
const ONE: u64 = 1_023;

async fn set(store: &dyn Store, quota_bytes: u64) {
    store.set_quotas(&[(address(OWNER), Some(quota_bytes))]).await.unwrap();
}

fn with_room(folder: vaguemestre::store::FolderKey, room: Room) -> vaguemestre::store::Acceptance {
    let mut acceptance = to_folders(&pattern(1_000), &[folder]);
    acceptance.deliveries = vec![Delivery {
        room,
        ..delivery(folder)
    }];
    acceptance
}

fn is_over_quota<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::OverQuota { .. }))
}

pub(crate) async fn mail_is_taken_until_the_box_is_full(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let other = inbox_of_another(store).await;
    set(store, ONE + 1).await;
    for _ in 0..2 {
        store.accept(with_room(inbox, Room::IfNotFull)).await.unwrap();
    }
    let refused = store.accept(with_room(inbox, Room::IfNotFull)).await;
    assert!(is_over_quota(&refused), "{refused:?}");
    assert!(store.usage(inbox).await.unwrap().is_full());
    store.accept(with_room(inbox, Room::Always)).await.unwrap();
    store.accept(with_room(other, Room::IfNotFull)).await.unwrap();
    set(store, 10 * ONE).await;
    store.accept(with_room(inbox, Room::IfNotFull)).await.unwrap();
    store.set_quotas(&[(address(OWNER), None)]).await.unwrap();
    assert_eq!(
        store.usage(inbox).await.unwrap(),
        Usage {
            used_bytes: 4 * ONE,
            messages: 4,
            quota_bytes: None
        }
    );
}

async fn inbox_of_another(store: &dyn Store) -> vaguemestre::store::FolderKey {
    inbox(store, "b").await
}

pub(crate) async fn what_a_user_stores_has_to_fit(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let sent = folder(store, "a", "Sent").await;
    set(store, 2 * ONE).await;
    store.accept(with_room(inbox, Room::Whole)).await.unwrap();
    store.accept(with_room(sent, Room::Whole)).await.unwrap();
    assert!(is_over_quota(&store.accept(with_room(sent, Room::Whole)).await));
    assert!(is_over_quota(&store.copy(inbox, &[1], sent).await));
    assert_eq!(uids(store, sent).await, [1], "nothing of a copy that does not fit");
    store.move_to(inbox, &[1], sent).await.unwrap();
    assert_eq!(uids(store, sent).await, [1, 2], "a full box can be tidied up");
    assert_eq!(store.usage(sent).await.unwrap().used_bytes, 2 * ONE);
}

pub(crate) async fn what_is_removed_makes_room(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    set(store, ONE).await;
    store.accept(with_room(inbox, Room::Whole)).await.unwrap();
    assert!(is_over_quota(&store.accept(with_room(inbox, Room::IfNotFull)).await));
    let deleted = Flags::system(Flags::DELETED);
    store.store_flags(inbox, &[1], FlagChange::Add, &deleted).await.unwrap();
    store.expunge(inbox, None).await.unwrap();
    assert_eq!(store.usage(inbox).await.unwrap().used_bytes, 0);
    store.accept(with_room(inbox, Room::IfNotFull)).await.unwrap();
}

pub(crate) async fn what_is_replaced_makes_room(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let other = inbox_of_another(store).await;
    set(store, ONE).await;
    store.accept(with_room(inbox, Room::Whole)).await.unwrap();
    store.accept(with_room(other, Room::Whole)).await.unwrap();
    let replacing = |removes| vaguemestre::store::Acceptance {
        removes: vec![removes],
        ..with_room(inbox, Room::Whole)
    };
    store.accept(replacing((inbox, 1))).await.unwrap();
    assert_eq!(uids(store, inbox).await, [2]);
    assert_eq!(store.usage(inbox).await.unwrap().used_bytes, ONE);
    // Not more than what goes, and not in another box.
    set(store, ONE - 1).await;
    assert!(is_over_quota(&store.accept(replacing((inbox, 2))).await));
    set(store, ONE).await;
    assert!(is_over_quota(&store.accept(replacing((other, 1))).await));
    assert_eq!((uids(store, inbox).await, uids(store, other).await), (vec![2], vec![1]));
}

pub(crate) async fn a_message_to_a_full_box_among_others_changes_nothing(store: &dyn Store) {
    let (inbox, other) = (inbox(store, "a").await, inbox_of_another(store).await);
    set(store, ONE).await;
    store.accept(with_room(inbox, Room::Whole)).await.unwrap();
    let both = store.accept(to_folders(&pattern(1_000), &[other, inbox])).await;
    assert!(is_over_quota(&both));
    assert!(uids(store, other).await.is_empty());
}

pub(crate) async fn quotas_and_usage_survive_a_restart<B: Backend>(backend: B) {
    let (inbox, used) = {
        let store = backend.store();
        let inbox = inbox(store, "a").await;
        set(store, ONE).await;
        store.accept(with_room(inbox, Room::Whole)).await.unwrap();
        (inbox, store.usage(inbox).await.unwrap())
    };
    let backend = backend.reopen().await;
    assert_eq!(backend.store().usage(inbox).await.unwrap(), used);
    assert!(is_over_quota(
        &backend.store().accept(with_room(inbox, Room::IfNotFull)).await
    ));
}
