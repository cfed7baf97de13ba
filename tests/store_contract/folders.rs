//! Names, subscriptions and annotations of folders.

use vaguemestre::store::{Annotation, AnnotationChange, BoxKey, FlagChange, Flags, SpecialUse, Store, StoreError};

use crate::Backend;
use crate::common::*;

const OWNER: &str = "a@ehpad-lilas.mssante.fr";

async fn owner(store: &dyn Store) -> BoxKey {
    store.ensure_box(&address(OWNER), &[]).await.unwrap()
}

async fn subscribed(store: &dyn Store, owner: BoxKey) -> Vec<String> {
    let folders = store.folders(owner).await.unwrap();
    let mut names: Vec<String> = folders.into_iter().filter(|f| f.subscribed).map(|f| f.name).collect();
    names.extend(store.subscriptions(owner).await.unwrap());
    names.sort_unstable();
    names
}

pub(crate) async fn renaming_inbox_moves_its_messages_and_leaves_its_children(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    folder(store, "a", "INBOX/x").await;
    let owner = owner(store).await;
    deliver(store, b"1", inbox).await;
    deliver(store, b"2", inbox).await;
    let changed = store.rename(owner, "inbox", "Old/2026").await.unwrap();
    let new = find(store, "a", "Old/2026").await.unwrap().key;
    assert_eq!(changed, [inbox, new]);
    assert!(uids(store, inbox).await.is_empty());
    assert_eq!(uids(store, new).await, [1, 2]);
    assert_eq!(store.expunged(inbox, 1).await.unwrap(), [1, 2]);
    assert!(find(store, "a", "INBOX/x").await.is_some(), "what is below INBOX stays");
    let again = store.rename(owner, "INBOX", "Old/2026").await;
    assert!(matches!(again, Err(StoreError::FolderExists { .. })));
}

pub(crate) async fn a_level_without_a_folder_is_renamed_by_what_is_below_it(store: &dyn Store) {
    let parent = folder(store, "a", "x").await;
    let child = folder(store, "a", "x/y").await;
    folder(store, "a", "xy").await;
    let owner = owner(store).await;
    store.delete_folder(parent).await.unwrap();
    assert_eq!(store.rename(owner, "x", "z").await.unwrap(), [child]);
    assert!(find(store, "a", "z/y").await.is_some());
    assert!(find(store, "a", "xy").await.is_some());
    assert!(is_not_found(&store.rename(owner, "x", "w").await));
}

pub(crate) async fn a_name_stays_subscribed_without_its_folder(store: &dyn Store) {
    let owner = owner(store).await;
    store.subscribe(owner, "later", true, 2).await.unwrap();
    store.subscribe(owner, "later", true, 2).await.unwrap();
    assert_eq!(subscribed(store, owner).await, ["INBOX", "later"]);
    let made = store.create_folder(owner, "later", None).await.unwrap();
    assert!(made.subscribed, "a folder takes over the subscription of its name");
    assert!(store.subscriptions(owner).await.unwrap().is_empty());
    store.delete_folder(made.key).await.unwrap();
    assert_eq!(store.subscriptions(owner).await.unwrap(), ["later"]);
    let other = store.create_folder(owner, "other", None).await.unwrap();
    assert!(!other.subscribed);
    store.rename(owner, "other", "later").await.unwrap();
    assert_eq!(subscribed(store, owner).await, ["INBOX", "later"]);
    store.subscribe(owner, "later", false, 2).await.unwrap();
    store.subscribe(owner, "never", false, 2).await.unwrap();
    assert_eq!(subscribed(store, owner).await, ["INBOX"]);
}

pub(crate) async fn subscriptions_to_nothing_are_bounded(store: &dyn Store) {
    let owner = owner(store).await;
    store.subscribe(owner, "x", true, 1).await.unwrap();
    let refused = store.subscribe(owner, "y", true, 1).await;
    assert!(matches!(refused, Err(StoreError::TooMany { .. })), "{refused:?}");
    store.subscribe(owner, "INBOX", true, 0).await.unwrap();
    assert_eq!(store.subscriptions(owner).await.unwrap(), ["x"]);
}

pub(crate) async fn a_special_use_under_another_name_is_not_given_again(store: &dyn Store) {
    let standard = [("Sent", Some(SpecialUse::Sent)), ("Trash", Some(SpecialUse::Trash))];
    let owner = store.ensure_box(&address(OWNER), &standard).await.unwrap();
    store.rename(owner, "Sent", "Envoyés").await.unwrap();
    store.ensure_box(&address(OWNER), &standard).await.unwrap();
    let folders = store.folders(owner).await.unwrap();
    let mut names: Vec<&str> = folders.iter().map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Envoyés", "INBOX", "Trash"]);
    let gone = folders.iter().find(|row| row.name == "Trash").unwrap().key;
    store.delete_folder(gone).await.unwrap();
    store.ensure_box(&address(OWNER), &standard).await.unwrap();
    assert!(find(store, "a", "Trash").await.is_some(), "every box has one of each");
}

pub(crate) async fn deleted_messages_are_counted_as_they_come_and_go(store: &dyn Store) {
    let (inbox, other) = (inbox(store, "a").await, folder(store, "a", "x").await);
    for length in [10, 20, 30] {
        deliver(store, &pattern(length), inbox).await;
    }
    let lead = store.status(inbox).await.unwrap().size_bytes - 60;
    let one = lead / 3;
    let flag = Flags::system(Flags::DELETED);
    let figures = async |folder| {
        let status = store.status(folder).await.unwrap();
        (status.deleted, status.deleted_bytes)
    };
    store.store_flags(inbox, &[1, 3], FlagChange::Add, &flag).await.unwrap();
    store.store_flags(inbox, &[1, 3], FlagChange::Add, &flag).await.unwrap();
    assert_eq!(figures(inbox).await, (2, 40 + 2 * one));
    store.copy(inbox, &[3], other).await.unwrap();
    assert_eq!(figures(other).await, (1, 30 + one));
    store.store_flags(inbox, &[3], FlagChange::Remove, &flag).await.unwrap();
    assert_eq!(figures(inbox).await, (1, 10 + one));
    store.expunge(inbox, None).await.unwrap();
    assert_eq!(figures(inbox).await, (0, 0));
    let asked = [other, vaguemestre::store::FolderKey(999_999), inbox];
    let statuses = store.statuses(&asked).await.unwrap();
    assert_eq!(statuses.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [other, inbox]);
    assert_eq!(statuses[1].1, store.status(inbox).await.unwrap());
}

fn change(person: Option<&str>, entry: &str, value: Option<&[u8]>) -> AnnotationChange {
    AnnotationChange {
        person: person.map(str::to_owned),
        entry: entry.to_owned(),
        value: value.map(<[u8]>::to_vec),
    }
}

fn annotation(person: Option<&str>, entry: &str, value: &[u8]) -> Annotation {
    Annotation {
        person: person.map(str::to_owned),
        entry: entry.to_owned(),
        value: value.to_vec(),
    }
}

pub(crate) async fn annotations_belong_to_a_person_or_to_all(store: &dyn Store) {
    let owner = owner(store).await;
    let inbox = inbox(store, "a").await;
    let changes = [
        change(Some("jeanne"), "/comment", Some(b"mine")),
        change(None, "/comment", Some(b"ours\0")),
        change(Some("armand"), "/comment", Some(b"his")),
    ];
    store.annotate(owner, Some(inbox), &changes, 10).await.unwrap();
    let of_box = [change(None, "/comment", Some(b"the box"))];
    store.annotate(owner, None, &of_box, 10).await.unwrap();
    let changes = [
        change(Some("armand"), "/comment", None),
        change(Some("jeanne"), "/comment", Some(b"new")),
    ];
    store.annotate(owner, Some(inbox), &changes, 10).await.unwrap();
    let mut found = store.annotations(owner, Some(inbox)).await.unwrap();
    found.sort();
    let expected = [
        annotation(None, "/comment", b"ours\0"),
        annotation(Some("jeanne"), "/comment", b"new"),
    ];
    assert_eq!(found, expected);
    let found = store.annotations(owner, None).await.unwrap();
    assert_eq!(found, [annotation(None, "/comment", b"the box")]);
}

pub(crate) async fn annotations_are_bounded_and_changed_whole(store: &dyn Store) {
    let owner = owner(store).await;
    let inbox = inbox(store, "a").await;
    let first = [change(None, "/a", Some(b"1")), change(None, "/b", Some(b"2"))];
    store.annotate(owner, Some(inbox), &first, 2).await.unwrap();
    let more = [
        change(None, "/a", None),
        change(None, "/b", Some(b"3")),
        change(None, "/c", Some(b"4")),
        change(None, "/d", Some(b"5")),
    ];
    let refused = store.annotate(owner, Some(inbox), &more, 2).await;
    assert!(matches!(refused, Err(StoreError::TooMany { .. })), "{refused:?}");
    let found = store.annotations(owner, Some(inbox)).await.unwrap();
    assert_eq!(found, [annotation(None, "/a", b"1"), annotation(None, "/b", b"2")]);
    store.annotate(owner, Some(inbox), &more[..3], 2).await.unwrap();
    let gone = vaguemestre::store::FolderKey(999_999);
    assert!(is_not_found(&store.annotate(owner, Some(gone), &first, 9).await));
}

pub(crate) async fn annotations_follow_their_folder_and_go_with_it<B: Backend>(backend: B) {
    let changes = [change(Some("jeanne"), "/comment", Some(b"x"))];
    let (owner, key) = {
        let store = backend.store();
        let owner = owner(store).await;
        let key = store.create_folder(owner, "x", None).await.unwrap().key;
        store.annotate(owner, Some(key), &changes, 9).await.unwrap();
        store.rename(owner, "x", "y").await.unwrap();
        store.subscribe(owner, "later", true, 9).await.unwrap();
        (owner, key)
    };
    let backend = backend.reopen().await;
    let store = backend.store();
    assert_eq!(store.annotations(owner, Some(key)).await.unwrap().len(), 1);
    assert_eq!(store.subscriptions(owner).await.unwrap(), ["later"]);
    store.delete_folder(key).await.unwrap();
    assert!(store.annotations(owner, Some(key)).await.unwrap().is_empty());
}
