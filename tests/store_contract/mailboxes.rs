//! Boxes, folders, entries.

use std::collections::BTreeSet;

use vaguemestre::store::{FlagChange, Flags, FolderKey, MessageKey, SpecialUse, Store, StoreError, Summary};

use crate::Backend;
use crate::common::*;
use crate::messages::remove;

const SEEN: u8 = Flags::SEEN;

fn keywords(words: &[&str]) -> Flags {
    Flags {
        system: 0,
        keywords: words.iter().map(ToString::to_string).collect(),
    }
}

async fn names(store: &dyn Store, local: &str) -> BTreeSet<String> {
    let owner = address(&format!("{local}@ehpad-lilas.mssante.fr"));
    let owner = store.find_box(&owner).await.unwrap();
    let folders = store.folders(owner).await.unwrap();
    folders.into_iter().map(|row| row.name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(crate) async fn a_box_has_an_inbox_and_the_folders_asked_all_subscribed(store: &dyn Store) {
    let wanted = [("Sent", Some(SpecialUse::Sent)), ("Résidents/Lilas", None)];
    let owner = store.ensure_box(&address("a@b.fr"), &wanted).await.unwrap();
    let folders = store.folders(owner).await.unwrap();
    let names: BTreeSet<_> = folders.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["INBOX", "Sent", "Résidents", "Résidents/Lilas"]));
    assert!(folders.iter().all(|row| row.subscribed));
    let sent = folders.iter().find(|row| row.name == "Sent").unwrap();
    assert_eq!(sent.special_use, Some(SpecialUse::Sent));
}

pub(crate) async fn ensuring_a_box_again_changes_nothing(store: &dyn Store) {
    let wanted = [("Sent", Some(SpecialUse::Sent))];
    let owner = store.ensure_box(&address("a@b.fr"), &wanted).await.unwrap();
    let before = store.folders(owner).await.unwrap();
    store.subscribe(owner, "Sent", false, 10).await.unwrap();
    assert_eq!(store.ensure_box(&address("A@b.fr"), &wanted).await.unwrap(), owner);
    let after = store.folders(owner).await.unwrap();
    assert_eq!(before.len(), after.len());
    for row in &after {
        assert!(
            before
                .iter()
                .any(|old| (old.key, old.uid_validity) == (row.key, row.uid_validity))
        );
        assert_eq!(row.subscribed, row.name != "Sent", "the holder's choice stays");
    }
}

pub(crate) async fn a_box_is_found_without_regard_to_case_and_only_after_it_was_made(store: &dyn Store) {
    assert!(is_not_found(&store.find_box(&address("a@b.fr")).await));
    let owner = store.ensure_box(&address("a@b.fr"), &[]).await.unwrap();
    assert_eq!(store.find_box(&address("A@B.fr")).await.unwrap(), owner);
    assert!(is_not_found(&store.find_box(&address("c@b.fr")).await));
}

pub(crate) async fn a_folder_is_created_with_its_missing_parents(store: &dyn Store) {
    let owner = store.ensure_box(&address("a@b.fr"), &[]).await.unwrap();
    let row = store
        .create_folder(owner, "x/y/z", Some(SpecialUse::Archive))
        .await
        .unwrap();
    assert_eq!(
        (row.name.as_str(), row.special_use),
        ("x/y/z", Some(SpecialUse::Archive))
    );
    let folders = store.folders(owner).await.unwrap();
    assert!(folders.contains(&row));
    let names: BTreeSet<_> = folders.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["INBOX", "x", "x/y", "x/y/z"]));
}

pub(crate) async fn a_folder_that_exists_is_not_created(store: &dyn Store) {
    let owner = store.ensure_box(&address("a@b.fr"), &[("x/y", None)]).await.unwrap();
    for name in ["x", "x/y", "inbox"] {
        let refused = store.create_folder(owner, name, None).await;
        assert!(matches!(refused, Err(StoreError::FolderExists { .. })), "{name}");
    }
    assert!(
        store.create_folder(owner, "X", None).await.is_ok(),
        "only INBOX is without case"
    );
}

pub(crate) async fn deleting_a_folder_removes_what_is_in_it_and_leaves_its_children(store: &dyn Store) {
    let child = folder(store, "a", "x/y").await;
    let parent = folder(store, "a", "x").await;
    let gone = deliver(store, b"gone", parent).await.message.unwrap();
    let kept = deliver(store, b"kept", child).await.message.unwrap();
    store.delete_folder(parent).await.unwrap();
    assert_eq!(names(store, "a").await, set(&["INBOX", "x/y"]));
    assert!(is_not_found(&store.content(gone).await));
    assert_eq!(*store.content(kept).await.unwrap(), b"kept");
    assert!(is_not_found(&store.entries(parent, 0).await));
}

pub(crate) async fn a_folder_made_again_has_a_greater_uid_validity(store: &dyn Store) {
    let owner = store.ensure_box(&address("a@b.fr"), &[]).await.unwrap();
    let first = store.create_folder(owner, "x", None).await.unwrap();
    store.delete_folder(first.key).await.unwrap();
    let second = store.create_folder(owner, "x", None).await.unwrap();
    assert!(second.uid_validity > first.uid_validity);
    assert_ne!(second.key, first.key);
}

pub(crate) async fn renaming_takes_the_children_along_and_keeps_uids(store: &dyn Store) {
    let child = folder(store, "a", "x/y").await;
    folder(store, "a", "xy").await;
    deliver(store, b"1", child).await;
    let before = find(store, "a", "x/y").await.unwrap();
    let owner = store.find_box(&address("a@ehpad-lilas.mssante.fr")).await.unwrap();
    store.rename(owner, "x", "p/q").await.unwrap();
    assert_eq!(names(store, "a").await, set(&["INBOX", "p", "p/q", "p/q/y", "xy"]));
    let after = find(store, "a", "p/q/y").await.unwrap();
    assert_eq!((after.key, after.uid_validity), (before.key, before.uid_validity));
    assert_eq!(uids(store, child).await, [1]);
}

pub(crate) async fn renaming_onto_a_folder_changes_nothing(store: &dyn Store) {
    folder(store, "a", "x").await;
    folder(store, "a", "x/y").await;
    folder(store, "a", "z/y").await;
    let owner = store.find_box(&address("a@ehpad-lilas.mssante.fr")).await.unwrap();
    let before = names(store, "a").await;
    let refused = store.rename(owner, "x", "z").await;
    assert!(matches!(refused, Err(StoreError::FolderExists { .. })));
    assert_eq!(names(store, "a").await, before);
    store
        .delete_folder(find(store, "a", "z").await.unwrap().key)
        .await
        .unwrap();
    let refused = store.rename(owner, "x", "z").await;
    assert!(
        matches!(refused, Err(StoreError::FolderExists { name }) if name == "z/y"),
        "a child is in the way"
    );
    assert!(find(store, "a", "x").await.is_some());
}

pub(crate) async fn subscription_is_what_was_set(store: &dyn Store) {
    let owner = store.ensure_box(&address("a@b.fr"), &[]).await.unwrap();
    store.create_folder(owner, "x", None).await.unwrap();
    for wanted in [true, false, true] {
        store.subscribe(owner, "x", wanted, 10).await.unwrap();
        let folders = store.folders(owner).await.unwrap();
        assert_eq!(folders.iter().find(|f| f.name == "x").unwrap().subscribed, wanted);
    }
}

pub(crate) async fn status_counts_what_entries_show(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let empty = store.status(inbox).await.unwrap();
    assert_eq!(
        (empty.messages, empty.unseen, empty.recent, empty.uid_next),
        (0, 0, 0, 1)
    );
    assert!(empty.highest_modseq >= 1);
    for content in [b"1".as_slice(), b"22", b"333"] {
        deliver(store, content, inbox).await;
    }
    store
        .store_flags(inbox, &[2], FlagChange::Add, &Flags::system(SEEN))
        .await
        .unwrap();
    remove(store, inbox, 3).await;
    let status = store.status(inbox).await.unwrap();
    assert_eq!(
        (status.messages, status.unseen, status.recent, status.uid_next),
        (2, 1, 2, 4)
    );
    assert_eq!(status.size_bytes, 2 * 23 + 1 + 2);
    assert_eq!(
        status.uid_validity,
        find(store, "a", "INBOX").await.unwrap().uid_validity
    );
}

pub(crate) async fn entries_are_those_changed_after_a_modification_sequence(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for _ in 0..3 {
        deliver(store, b"x", inbox).await;
    }
    let before = store.status(inbox).await.unwrap().highest_modseq;
    assert_eq!(store.entries(inbox, before).await.unwrap(), []);
    store
        .store_flags(inbox, &[2], FlagChange::Add, &Flags::system(SEEN))
        .await
        .unwrap();
    deliver(store, b"y", inbox).await;
    let changed = store.entries(inbox, before).await.unwrap();
    assert_eq!(changed.iter().map(|entry| entry.uid).collect::<Vec<_>>(), [2, 4]);
    assert!(changed.iter().all(|entry| entry.modseq > before));
    let highest = store.status(inbox).await.unwrap().highest_modseq;
    assert_eq!(changed.iter().map(|entry| entry.modseq).max(), Some(highest));
    assert_eq!(uids(store, inbox).await, [1, 2, 3, 4]);
}

pub(crate) async fn expunged_uids_are_those_after_a_modification_sequence(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for _ in 0..4 {
        deliver(store, b"x", inbox).await;
    }
    remove(store, inbox, 3).await;
    let between = store.status(inbox).await.unwrap().highest_modseq;
    remove(store, inbox, 1).await;
    assert_eq!(store.expunged(inbox, 0).await.unwrap(), [1, 3]);
    assert_eq!(store.expunged(inbox, between).await.unwrap(), [1]);
    let highest = store.status(inbox).await.unwrap().highest_modseq;
    assert!(highest > between, "removing raises the modification sequence");
    assert!(store.expunged(inbox, highest).await.unwrap().is_empty());
}

pub(crate) async fn recent_is_claimed_once(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    assert!(store.claim_recent(inbox).await.unwrap().is_empty());
    deliver(store, b"1", inbox).await;
    deliver(store, b"2", inbox).await;
    assert_eq!(store.status(inbox).await.unwrap().recent, 2);
    assert_eq!(store.claim_recent(inbox).await.unwrap(), [1, 2]);
    assert_eq!(store.status(inbox).await.unwrap().recent, 0);
    assert!(store.claim_recent(inbox).await.unwrap().is_empty());
    deliver(store, b"3", inbox).await;
    assert_eq!(store.claim_recent(inbox).await.unwrap(), [3]);
}

pub(crate) async fn summaries_come_in_the_order_asked_without_those_that_are_gone(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let mut keys = Vec::new();
    for n in 1..=3_u8 {
        let mut acceptance = to_folders(b"x", &[inbox]);
        acceptance.message.as_mut().unwrap().summary = Some(summary(n));
        keys.push(store.accept(acceptance).await.unwrap().message.unwrap());
    }
    remove(store, inbox, 2).await;
    let asked = [keys[2], keys[1], MessageKey(999_999), keys[0], keys[2]];
    let expected = [(keys[2], summary(3)), (keys[0], summary(1)), (keys[2], summary(3))];
    assert_eq!(store.summaries(&asked).await.unwrap(), expected);
}

pub(crate) async fn messages_are_read_in_part_and_several_at_once(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    // Beside the rows, and in a file.
    for size in [1_000, 300_000] {
        let content = [b"A: b\r\n\r\n".to_vec(), vec![b'x'; size]].concat();
        let mut acceptance = to_folders(&content, &[inbox]);
        let new = acceptance.message.as_mut().unwrap();
        new.summary = Some(Summary {
            header_bytes: u32::try_from(new.lead.len() + 8).unwrap(),
            ..summary(1)
        });
        let key = store.accept(acceptance).await.unwrap().message.unwrap();
        let whole = store.read(key).await.unwrap();
        assert_eq!(whole.len(), 23 + 8 + size);
        for (offset, length) in [(0, 5), (0, 40), (20, 10), (23, 8), (100, size), (5_000_000, 3), (0, 0)] {
            let from = offset.min(whole.len());
            let to = (offset + length).min(whole.len());
            let part = store.read_part(key, offset as u64, length).await.unwrap();
            assert!(part == whole[from..to], "{length} from {offset} of {size}");
        }
        let gone = MessageKey(999_999);
        assert!(matches!(
            store.read_part(gone, 0, 1).await,
            Err(StoreError::NotFound { .. })
        ));
        let fronts = store.read_fronts(&[gone, key], 30).await.unwrap();
        assert_eq!(fronts, [None, Some(whole[..30].to_vec())]);
        let many = store.read_many(&[key, gone, key]).await.unwrap();
        assert!(many == [Some(whole.clone()), None, Some(whole.clone())]);
        let headers = store.read_headers(&[gone, key]).await.unwrap();
        assert!(headers[0].is_none() && headers[1].as_ref().unwrap().starts_with(&whole[..31]));
    }
}

pub(crate) async fn previews_are_kept_with_their_messages(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    let mut keys = Vec::new();
    for n in 1..=2_u8 {
        let mut acceptance = to_folders(b"x", &[inbox]);
        acceptance.message.as_mut().unwrap().summary = Some(summary(n));
        keys.push(store.accept(acceptance).await.unwrap().message.unwrap());
    }
    let gone = MessageKey(999_999);
    assert_eq!(store.previews(&[keys[0], gone]).await.unwrap(), [None, None]);
    let kept = vec![
        (keys[1], "deux \u{e9}".to_owned()),
        (gone, "rien".to_owned()),
        (keys[0], String::new()),
    ];
    store.keep_previews(kept).await.unwrap();
    let found = store.previews(&[keys[0], gone, keys[1]]).await.unwrap();
    assert_eq!(found, [Some(String::new()), None, Some("deux \u{e9}".to_owned())]);
    let summaries = store.summaries(&keys).await.unwrap();
    assert_eq!(summaries[1].1, summary(2), "the summary stays as it was");
}

fn summary(n: u8) -> Summary {
    Summary {
        envelope: vec![b'e', n],
        body: vec![b'b', n],
        body_structure: vec![b's', n],
        header_bytes: n.into(),
        layout: vec![b'l', n],
    }
}

pub(crate) async fn flags_are_replaced_added_and_removed(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    deliver(store, b"1", inbox).await;
    deliver(store, b"2", inbox).await;
    let both = Flags {
        system: SEEN | Flags::FLAGGED,
        ..keywords(&["$Forwarded", "Vu"])
    };
    let steps = [
        (FlagChange::Add, both.clone(), both.clone()),
        (FlagChange::Add, keywords(&["$FORWARDED"]), both.clone()),
        (
            FlagChange::Remove,
            Flags {
                system: SEEN,
                ..keywords(&["vu"])
            },
            Flags {
                system: Flags::FLAGGED,
                ..keywords(&["$Forwarded"])
            },
        ),
        (
            FlagChange::Replace,
            Flags::system(Flags::DRAFT),
            Flags::system(Flags::DRAFT),
        ),
    ];
    for (change, by, expected) in steps {
        let now = store.store_flags(inbox, &[2, 7, 2], change, &by).await.unwrap();
        assert_eq!(now.len(), 1, "absent UIDs are skipped");
        assert_eq!((now[0].uid, &now[0].flags), (2, &expected));
        assert_eq!(store.entries(inbox, 0).await.unwrap()[1], now[0]);
    }
    assert_eq!(store.entries(inbox, 0).await.unwrap()[0].flags, Flags::default());
}

pub(crate) async fn flags_that_stay_do_not_raise_the_modification_sequence(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    deliver(store, b"1", inbox).await;
    let seen = Flags::system(SEEN);
    let first = store.store_flags(inbox, &[1], FlagChange::Add, &seen).await.unwrap();
    let again = store.store_flags(inbox, &[1], FlagChange::Add, &seen).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(store.status(inbox).await.unwrap().highest_modseq, first[0].modseq);
}

async fn three(store: &dyn Store) -> (FolderKey, FolderKey) {
    let (from, to) = (inbox(store, "a").await, folder(store, "a", "x").await);
    for n in 0..3 {
        let mut acceptance = to_folders(b"x", &[from]);
        acceptance.deliveries[0].internal_date = at(n);
        acceptance.deliveries[0].flags = keywords(&["Vu"]);
        store.accept(acceptance).await.unwrap();
    }
    deliver(store, b"there already", to).await;
    (from, to)
}

pub(crate) async fn a_copy_keeps_flags_and_date_and_ends_the_folder(store: &dyn Store) {
    let (from, to) = three(store).await;
    let (uid_validity, pairs) = store.copy(from, &[3, 9, 1], to).await.unwrap();
    assert_eq!(uid_validity, store.status(to).await.unwrap().uid_validity);
    assert_eq!(pairs, [(1, 2), (3, 3)]);
    let (old, new) = (
        store.entries(from, 0).await.unwrap(),
        store.entries(to, 0).await.unwrap(),
    );
    assert_eq!(old.len(), 3);
    for (a, b) in [(&old[0], &new[1]), (&old[2], &new[2])] {
        assert_eq!(
            (a.message, &a.flags, a.internal_date, a.size_bytes),
            (b.message, &b.flags, b.internal_date, b.size_bytes)
        );
    }
    remove(store, from, 1).await;
    assert!(
        store.content(new[1].message).await.is_ok(),
        "the copy keeps the message"
    );
    remove(store, to, 2).await;
    assert!(is_not_found(&store.content(new[1].message).await));
}

pub(crate) async fn a_move_is_a_copy_that_leaves_nothing_behind(store: &dyn Store) {
    let (from, to) = three(store).await;
    let before = store.status(from).await.unwrap().highest_modseq;
    let (_, pairs) = store.move_to(from, &[1, 2], to).await.unwrap();
    assert_eq!(pairs, [(1, 2), (2, 3)]);
    assert_eq!(uids(store, from).await, [3]);
    assert_eq!(uids(store, to).await, [1, 2, 3]);
    assert_eq!(store.expunged(from, before).await.unwrap(), [1, 2]);
    let moved = store.entries(to, 0).await.unwrap()[1].message;
    assert!(store.content(moved).await.is_ok());
    let (_, pairs) = store.move_to(to, &[1], to).await.unwrap();
    assert_eq!(pairs, [(1, 4)], "within one folder a move gives a new UID");
    assert_eq!(uids(store, to).await, [2, 3, 4]);
}

pub(crate) async fn expunge_removes_only_what_is_deleted(store: &dyn Store) {
    let inbox = inbox(store, "a").await;
    for _ in 0..4 {
        deliver(store, b"x", inbox).await;
    }
    let deleted = Flags::system(Flags::DELETED);
    store
        .store_flags(inbox, &[4, 2, 1], FlagChange::Add, &deleted)
        .await
        .unwrap();
    assert_eq!(store.expunge(inbox, Some(&[2, 3, 9])).await.unwrap(), [2]);
    assert_eq!(store.expunge(inbox, None).await.unwrap(), [1, 4]);
    assert!(store.expunge(inbox, None).await.unwrap().is_empty());
    assert_eq!(uids(store, inbox).await, [3]);
}

pub(crate) async fn calls_on_a_folder_that_is_gone_say_so(store: &dyn Store) {
    let (here, gone) = (inbox(store, "a").await, FolderKey(999_999));
    deliver(store, b"x", here).await;
    assert!(is_not_found(&store.status(gone).await));
    assert!(is_not_found(&store.entries(gone, 0).await));
    assert!(is_not_found(&store.expunged(gone, 0).await));
    assert!(is_not_found(&store.claim_recent(gone).await));
    assert!(is_not_found(&store.delete_folder(gone).await));
    assert!(is_not_found(&store.expunge(gone, None).await));
    assert!(is_not_found(
        &store.store_flags(gone, &[1], FlagChange::Add, &Flags::default()).await
    ));
    assert!(is_not_found(&store.copy(here, &[1], gone).await));
    assert!(is_not_found(&store.move_to(gone, &[1], here).await));
    assert_eq!(uids(store, here).await, [1]);
}

pub(crate) async fn uid_validity_grows_across_a_restart<B: Backend>(backend: B) {
    let x = folder(backend.store(), "a", "x").await;
    let before = backend.store().status(x).await.unwrap().uid_validity;
    backend.store().delete_folder(x).await.unwrap();
    let backend = backend.reopen().await;
    let x = folder(backend.store(), "a", "x").await;
    assert!(backend.store().status(x).await.unwrap().uid_validity > before);
}
