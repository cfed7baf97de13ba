//! Any history of deliveries, flag changes, copies, moves and expunges: the figures of a folder stay what its entries say.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use vaguemestre::store::{FlagChange, Flags, FolderKey, Store};

use crate::Backend;
use crate::common::*;

#[derive(Clone, Debug)]
enum Step {
    Deliver {
        to: usize,
        bytes: usize,
        seen: bool,
    },
    Change {
        of: usize,
        uid: u32,
        change: FlagChange,
        system: u8,
    },
    Copy {
        from: usize,
        uids: Vec<u32>,
        to: usize,
    },
    Move {
        from: usize,
        uids: Vec<u32>,
        to: usize,
    },
    Expunge {
        of: usize,
    },
    Claim {
        of: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let folder = || 0..2_usize;
    let uid = || 1..12_u32;
    let uids = || proptest::collection::vec(1..12_u32, 1..4);
    let change = prop_oneof![
        Just(FlagChange::Replace),
        Just(FlagChange::Add),
        Just(FlagChange::Remove)
    ];
    prop_oneof![
        3 => (folder(), 0..100_usize, any::<bool>()).prop_map(|(to, bytes, seen)| Step::Deliver { to, bytes, seen }),
        3 => (folder(), uid(), change, 0..32_u8).prop_map(|(of, uid, change, system)| Step::Change { of, uid, change, system }),
        1 => (folder(), uids(), folder()).prop_map(|(from, uids, to)| Step::Copy { from, uids, to }),
        1 => (folder(), uids(), folder()).prop_map(|(from, uids, to)| Step::Move { from, uids, to }),
        1 => folder().prop_map(|of| Step::Expunge { of }),
        1 => folder().prop_map(|of| Step::Claim { of }),
    ]
}

pub(crate) fn figures_of_a_folder_follow_any_history<B: Backend>() {
    let mut runner = TestRunner::new(Config {
        cases: 12,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&proptest::collection::vec(step(), 1..30), |steps| {
            block_on(async {
                let backend = B::create().await;
                play(backend.store(), steps).await;
            });
            Ok(())
        })
        .unwrap();
}

async fn play(store: &dyn Store, steps: Vec<Step>) {
    let folders = [inbox(store, "a").await, folder(store, "a", "x").await];
    // What a client that follows one folder by modification sequence knows.
    let mut known: Vec<u32> = Vec::new();
    let mut modseq = store.status(folders[0]).await.unwrap().highest_modseq;
    for step in steps {
        apply(store, folders, step).await;
        for folder in folders {
            check(store, folder).await;
        }
        let highest = store.status(folders[0]).await.unwrap().highest_modseq;
        assert!(highest >= modseq);
        let gone = store.expunged(folders[0], modseq).await.unwrap();
        known.extend(
            store
                .entries(folders[0], modseq)
                .await
                .unwrap()
                .iter()
                .map(|entry| entry.uid),
        );
        known.retain(|uid| !gone.contains(uid));
        known.sort_unstable();
        known.dedup();
        modseq = highest;
        assert_eq!(
            known,
            uids(store, folders[0]).await,
            "changes since the last look lead to the present"
        );
    }
}

async fn apply(store: &dyn Store, folders: [FolderKey; 2], step: Step) {
    match step {
        Step::Deliver { to, bytes, seen } => {
            let mut acceptance = to_folders(&pattern(bytes), &[folders[to]]);
            acceptance.deliveries[0].flags = Flags::system(u8::from(seen) * (Flags::SEEN | Flags::DELETED));
            store.accept(acceptance).await.unwrap();
        }
        Step::Change {
            of,
            uid,
            change,
            system,
        } => {
            let flags = Flags::system(system);
            store.store_flags(folders[of], &[uid], change, &flags).await.unwrap();
        }
        Step::Copy { from, uids, to } => drop(store.copy(folders[from], &uids, folders[to]).await.unwrap()),
        Step::Move { from, uids, to } => drop(store.move_to(folders[from], &uids, folders[to]).await.unwrap()),
        Step::Expunge { of } => drop(store.expunge(folders[of], None).await.unwrap()),
        Step::Claim { of } => drop(store.claim_recent(folders[of]).await.unwrap()),
    }
}

async fn check(store: &dyn Store, folder: FolderKey) {
    let (status, entries) = (
        store.status(folder).await.unwrap(),
        store.entries(folder, 0).await.unwrap(),
    );
    let unseen = entries
        .iter()
        .filter(|entry| entry.flags.system & Flags::SEEN == 0)
        .count();
    assert_eq!(
        (status.messages as usize, status.unseen as usize),
        (entries.len(), unseen)
    );
    assert_eq!(
        status.size_bytes,
        entries.iter().map(|entry| entry.size_bytes).sum::<u64>()
    );
    let deleted = || entries.iter().filter(|entry| entry.flags.system & Flags::DELETED != 0);
    assert_eq!(
        (status.deleted as usize, status.deleted_bytes),
        (deleted().count(), deleted().map(|entry| entry.size_bytes).sum::<u64>())
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.uid < status.uid_next && entry.modseq <= status.highest_modseq)
    );
    for after in 1..=status.highest_modseq {
        let changed: Vec<_> = entries.iter().filter(|entry| entry.modseq > after).cloned().collect();
        assert_eq!(store.entries(folder, after).await.unwrap(), changed, "after {after}");
    }
    for entry in &entries {
        assert_eq!(store.read(entry.message).await.unwrap().len() as u64, entry.size_bytes);
    }
}
