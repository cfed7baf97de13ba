//! What only the embedded store promises: group commit, crash images, locks, versions, orphans, failures.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "store_contract/common.rs"]
#[allow(dead_code, reason = "shared with the contract")]
mod common;
#[path = "store_sqlite/sync.rs"]
mod sync;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{address, at, block_on, deliver, delivery, find, inbox, outgoing, pattern, record, to_folders, uids};
use tempfile::{TempDir, tempdir};
use tokio::sync::Semaphore;
use vaguemestre::store::sqlite::{Options, SqliteStore};
use vaguemestre::store::{
    Acceptance, Count, CountKey, CounterStore, FlagChange, Flags, JournalFilter, JournalStore, MailboxStore,
    MessageKey, MessageStore, QueueStore, Settled, Settlement, StoreError,
};

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, Options::default()).unwrap()
}

/// Body files under `bodies/`, `incoming` included; beside its folders stands the lock of backups.
fn body_files(folder: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder.join("bodies")).unwrap();
    folders
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .flat_map(|path| fs::read_dir(path).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// What the disk holds at this moment, as after `kill -9`.
fn crash_image(folder: &Path) -> TempDir {
    let image = tempdir().unwrap();
    copy_tree(folder, image.path());
    image
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            // The index of the log is shared memory: no crash leaves it as a file to trust.
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn counted(month: &str) -> Count {
    Count {
        key: CountKey {
            month: month.into(),
            direction: "received".into(),
            establishment: "540002698".into(),
            entity: String::new(),
            box_type: "ORG".into(),
            class: "message".into(),
        },
        messages: 1,
        recipients: 1,
    }
}

#[test]
fn concurrent_writes_share_commits() {
    const WRITES: u64 = 64;
    block_on(async {
        let folder = tempdir().unwrap();
        let store = Arc::new(open(folder.path()));
        let inbox = inbox(&*store, "a").await;
        let before = store.statistics();
        let tasks: Vec<_> = (0..WRITES)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { deliver(&*store, &pattern(10_000), inbox).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let after = store.statistics();
        assert_eq!(after.writes - before.writes, WRITES);
        assert!(after.commits - before.commits < WRITES, "{after:?}");
        assert!(after.largest_group > 1, "{after:?}");
    });
}

#[test]
fn a_write_that_fails_leaves_the_others_of_its_group_alone() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = Arc::new(open(folder.path()));
        let here = inbox(&*store, "a").await;
        let gone = vaguemestre::store::FolderKey(999);
        let tasks: Vec<_> = (0..60)
            .map(|n| {
                let store = Arc::clone(&store);
                let folders = if n % 3 == 0 { vec![here, gone] } else { vec![here] };
                tokio::spawn(async move { store.accept(to_folders(&pattern(90_000), &folders)).await.is_ok() })
            })
            .collect();
        let mut accepted = 0;
        for task in tasks {
            accepted += usize::from(task.await.unwrap());
        }
        assert_eq!(accepted, 40);
        assert_eq!(uids(&*store, here).await, (1..=40).collect::<Vec<_>>());
        store.close().await.unwrap();
        assert_eq!(
            body_files(folder.path()).len(),
            40,
            "bodies of failed writes are removed"
        );
    });
}

#[test]
fn a_crash_image_holds_everything_answered_and_nothing_half() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        let inbox = inbox(&store, "a").await;
        let mut keys: Vec<(MessageKey, usize)> = Vec::new();
        for step in 0..12_usize {
            let size = [10, 10_000, 100_000][step % 3];
            let acceptance = Acceptance {
                records: vec![record("message.received", i64::try_from(step).unwrap(), "s")],
                counts: vec![counted("2026-11")],
                outgoing: vec![outgoing("a@hopital.mssante.fr", 0)],
                ..to_folders(&pattern(size), &[inbox])
            };
            keys.push((store.accept(acceptance).await.unwrap().message.unwrap(), size));
            check_image(folder.path(), &keys).await;
        }
    });
}

async fn check_image(folder: &Path, keys: &[(MessageKey, usize)]) {
    let image = crash_image(folder);
    let store = open(image.path());
    let inbox = find(&store, "a", "INBOX").await.unwrap().key;
    for (key, size) in keys {
        assert!(*store.content(*key).await.unwrap() == pattern(*size), "{key:?}");
    }
    let filter = JournalFilter {
        limit: 100,
        ..JournalFilter::default()
    };
    assert_eq!(store.journal(filter).await.unwrap().len(), keys.len());
    assert_eq!(store.queued(100).await.unwrap().len(), keys.len());
    assert_eq!(store.counters(None).await.unwrap()[0].messages, keys.len() as u64);
    let status = store.status(inbox).await.unwrap();
    assert_eq!(status.uid_next as usize, keys.len() + 1);
    assert_eq!(deliver(&store, b"after", inbox).await.delivered[0].2, status.uid_next);
    store.close().await.unwrap();
}

#[test]
fn crash_images_taken_under_load_are_whole() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = Arc::new(open(folder.path()));
        let inbox = inbox(&*store, "a").await;
        let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let tasks: Vec<_> = (0..8)
            .map(|client| {
                let (store, answered) = (Arc::clone(&store), answered.clone());
                tokio::spawn(async move {
                    for n in 0..20 {
                        let acceptance = Acceptance {
                            records: vec![record("message.received", client * 100 + n, "s")],
                            counts: vec![counted("2026-11")],
                            ..to_folders(&pattern(500), &[inbox])
                        };
                        let key = store.accept(acceptance).await.unwrap().message.unwrap();
                        answered.send(key).unwrap();
                    }
                })
            })
            .collect();
        drop(answered);
        let mut known = Vec::new();
        for _ in 0..6 {
            known.extend(answers.recv().await);
            while let Ok(key) = answers.try_recv() {
                known.push(key);
            }
            let (source, expected) = (folder.path().to_owned(), known.clone());
            let image = tokio::task::spawn_blocking(move || log_image(&source)).await.unwrap();
            check_load_image(image.path(), &expected).await;
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// A log being appended to is copied after the database, which only checkpoints change: none runs in so short a test.
fn log_image(folder: &Path) -> TempDir {
    let image = tempdir().unwrap();
    for name in ["store.db", "store.db-wal"] {
        fs::copy(folder.join(name), image.path().join(name)).unwrap();
    }
    image
}

async fn check_load_image(folder: &Path, known: &[MessageKey]) {
    let store = open(folder);
    for key in known {
        assert_eq!(store.content(*key).await.unwrap().len(), 500);
    }
    let inbox = find(&store, "a", "INBOX").await.unwrap().key;
    let filter = JournalFilter {
        limit: 1000,
        ..JournalFilter::default()
    };
    let stored = uids(&store, inbox).await.len();
    assert!(stored >= known.len());
    assert_eq!(store.journal(filter).await.unwrap().len(), stored);
    assert_eq!(store.counters(None).await.unwrap()[0].messages, stored as u64);
    store.close().await.unwrap();
}

#[test]
fn orphans_of_a_crash_are_swept_and_named_files_stay() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        let inbox = inbox(&store, "a").await;
        let key = deliver(&store, &pattern(200_000), inbox).await.message.unwrap();
        let mut stage = store.stage().await.unwrap();
        stage.write(&pattern(300_000)).await.unwrap();
        let staged = stage.finish(b"Received: x\r\n").await.unwrap();
        // As left by a crash between the rename and the transaction.
        let renamed = folder.path().join("bodies/7f");
        fs::write(renamed.join("1-7f7f"), b"orphan").unwrap();
        fs::write(folder.path().join("bodies/notes.txt"), b"not ours").unwrap();
        let image = crash_image(folder.path());
        store.close().await.unwrap();
        assert!(fs::exists(folder.path().join("bodies/incoming").join(&staged.name)).unwrap());

        let store = open(image.path());
        assert!(*store.content(key).await.unwrap() == pattern(200_000));
        let inbox = find(&store, "a", "INBOX").await.unwrap().key;
        deliver(&store, &pattern(200_000), inbox).await;
        store.close().await.unwrap();
        assert_eq!(store.statistics().orphans_removed, 2);
        let left = fs::read_dir(image.path().join("bodies/incoming")).unwrap().count();
        assert_eq!(left, 0);
        assert!(fs::exists(image.path().join("bodies/notes.txt")).unwrap());
    });
}

#[test]
fn body_files_go_with_their_messages() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        let inbox = inbox(&store, "a").await;
        deliver(&store, &pattern(200_000), inbox).await;
        let mut acceptance = to_folders(&pattern(200_000), &[]);
        acceptance.outgoing = vec![outgoing("a@hopital.mssante.fr", 0)];
        store.accept(acceptance).await.unwrap();
        let deleted = Flags::system(Flags::DELETED);
        store.store_flags(inbox, &[1], FlagChange::Add, &deleted).await.unwrap();
        store.expunge(inbox, None).await.unwrap();
        let leased = store.lease(at(0), at(9), 1).await.unwrap();
        let done = Settlement {
            key: leased[0].key,
            lease: leased[0].lease,
            fate: Settled::Done,
        };
        assert!(store.settle(vec![done], Acceptance::default()).await.unwrap());
        store.close().await.unwrap();
        assert_eq!(body_files(folder.path()), Vec::<PathBuf>::new());
    });
}

#[test]
fn a_queue_row_that_cannot_be_read_holds_nothing_else_up() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        for name in ["abime", "perdu", "intact"] {
            let mut acceptance = to_folders(b"Subject: un\r\n\r\n", &[]);
            acceptance.outgoing = vec![outgoing(&format!("{name}@hopital.mssante.fr"), 0)];
            store.accept(acceptance).await.unwrap();
        }
        store.close().await.unwrap();
        let db = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        db.execute(
            "UPDATE queue SET recipient = 'nobody' WHERE recipient LIKE 'abime%'",
            [],
        )
        .unwrap();
        db.execute("PRAGMA foreign_keys = OFF", []).unwrap();
        db.execute(
            "DELETE FROM message WHERE key = (SELECT message FROM queue WHERE recipient LIKE 'perdu%')",
            [],
        )
        .unwrap();
        drop(db);

        let store = open(folder.path());
        let readable = |items: Vec<vaguemestre::store::QueueItem>| -> Vec<String> {
            items.iter().map(|item| item.recipient.as_str().to_owned()).collect()
        };
        let leased = store.lease(at(0), at(9), 10).await.unwrap();
        assert_eq!(readable(leased), ["intact@hopital.mssante.fr"]);
        assert_eq!(readable(store.queued(10).await.unwrap()), ["intact@hopital.mssante.fr"]);
        // They are not asked for again at once, and not forgotten either.
        assert!(store.lease(at(1), at(9), 10).await.unwrap().is_empty());
        assert_eq!(store.next_due().await.unwrap(), Some(at(9)));
        store.close().await.unwrap();
        let db = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        let rows: i64 = db
            .query_row("SELECT count(*) FROM queue", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 3);
    });
}

#[test]
fn messages_on_their_way_to_disk_wait_for_their_turn() {
    block_on(async {
        let folder = tempdir().unwrap();
        let options = Options {
            stages: Arc::new(Semaphore::new(1)),
            ..Options::default()
        };
        let store = SqliteStore::open(folder.path(), options).unwrap();
        let first = store.stage().await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(5), store.stage()).await;
        assert!(early.is_err(), "one holds a file open, and only one may");
        assert!(store.probe().await.is_ok());
        drop(first);
        let second = store.stage().await.unwrap().finish(b"front").await.unwrap();
        let third = store.stage().await.unwrap();
        drop((second, third));
    });
}

#[test]
fn a_staged_file_is_removed_when_dropped_and_used_once() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        let inbox = inbox(&store, "a").await;
        let mut dropped = store.stage().await.unwrap();
        dropped.write(&pattern(600_000)).await.unwrap();
        drop(dropped);
        assert_eq!(body_files(folder.path()), Vec::<PathBuf>::new());

        let staged = store.stage().await.unwrap().finish(b"front").await.unwrap();
        let acceptance = || {
            let mut acceptance = to_folders(b"", &[inbox]);
            acceptance.message.as_mut().unwrap().content = vaguemestre::store::Content::Staged(staged.clone());
            acceptance
        };
        store.accept(acceptance()).await.unwrap();
        let again = store.accept(acceptance()).await;
        assert!(matches!(again, Err(StoreError::NotFound { what: "staged file" })));
        for name in ["../lock", "incoming/../../lock", "", "1-"] {
            let mut acceptance = acceptance();
            acceptance.message.as_mut().unwrap().content =
                vaguemestre::store::Content::Staged(vaguemestre::store::StagedFile {
                    name: name.into(),
                    size_bytes: 1,
                    checksum: None,
                    guard: None,
                });
            assert!(
                matches!(store.accept(acceptance).await, Err(StoreError::Backend { .. })),
                "{name}"
            );
        }
    });
}

#[test]
fn only_one_process_writes_and_the_other_is_told_what_to_do() {
    block_on(async {
        let folder = tempdir().unwrap();
        let first = open(folder.path());
        let refused = SqliteStore::open(folder.path(), Options::default()).err().unwrap();
        assert!(matches!(refused, StoreError::InUse { .. }));
        assert!(refused.to_string().contains("stop that one"), "{refused}");
        first.close().await.unwrap();
        open(folder.path()).close().await.unwrap();
    });
}

#[test]
fn a_reader_sees_commits_of_a_running_writer_and_writes_nothing() {
    block_on(async {
        let folder = tempdir().unwrap();
        assert!(matches!(
            SqliteStore::open_read_only(folder.path()),
            Err(StoreError::NotFound { .. })
        ));
        let writer = open(folder.path());
        let inbox = inbox(&writer, "a").await;
        let reader = SqliteStore::open_read_only(folder.path()).unwrap();
        for n in 1..=3_u32 {
            let key = deliver(&writer, &pattern(100_000), inbox).await.message.unwrap();
            assert_eq!(reader.status(inbox).await.unwrap().messages, n);
            assert!(*reader.content(key).await.unwrap() == pattern(100_000));
        }
        assert!(reader.accept(to_folders(b"x", &[inbox])).await.is_err());
        assert!(reader.stage().await.is_err());
        assert!(reader.append(vec![record("x", 0, "")]).await.is_err());
        writer.close().await.unwrap();
        assert_eq!(
            reader.status(inbox).await.unwrap().messages,
            3,
            "after the writer left as well"
        );
        reader.close().await.unwrap();
        assert!(matches!(reader.status(inbox).await, Err(StoreError::Closed)));
    });
}

#[test]
fn a_newer_data_format_is_refused_with_the_remedy() {
    block_on(async {
        let folder = tempdir().unwrap();
        open(folder.path()).close().await.unwrap();
        let db = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        let refused = SqliteStore::open(folder.path(), Options::default()).err().unwrap();
        assert!(matches!(refused, StoreError::Newer { found: 99, .. }));
        assert!(refused.to_string().contains("use a newer vaguemestre"));
        let refused = SqliteStore::open_read_only(folder.path()).err().unwrap();
        assert!(matches!(refused, StoreError::Newer { .. }));
    });
}

#[test]
fn a_closed_store_refuses_and_what_was_waiting_is_written() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = Arc::new(open(folder.path()));
        let inbox = inbox(&*store, "a").await;
        let tasks: Vec<_> = (0..30)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.accept(to_folders(b"x", &[inbox])).await })
            })
            .collect();
        store.close().await.unwrap();
        let mut answered = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => answered += 1,
                Err(error) => assert!(matches!(error, StoreError::Closed), "{error:?}"),
            }
        }
        let late = store.accept(to_folders(b"x", &[inbox])).await;
        assert!(matches!(late, Err(StoreError::Closed)));
        let again = open(folder.path());
        assert_eq!(uids(&again, inbox).await.len(), answered);
    });
}

#[test]
fn a_body_that_cannot_be_written_fails_its_call_and_serving_goes_on() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        let inbox = inbox(&store, "a").await;
        deliver(&store, b"before", inbox).await;
        let bodies = folder.path().join("bodies/incoming");
        fs::remove_dir(&bodies).unwrap();
        let failed = store.accept(to_folders(&pattern(100_000), &[inbox])).await;
        assert!(matches!(failed, Err(StoreError::Backend { .. })));
        deliver(&store, b"small ones still pass", inbox).await;
        fs::create_dir(&bodies).unwrap();
        deliver(&store, &pattern(100_000), inbox).await;
        assert_eq!(uids(&store, inbox).await, [1, 2, 3]);
    });
}

#[test]
fn a_body_file_that_is_missing_or_short_fails_its_message_only() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        let inbox = inbox(&store, "a").await;
        let lost = deliver(&store, &pattern(100_000), inbox).await.message.unwrap();
        fs::remove_file(&body_files(folder.path())[0]).unwrap();
        let short = deliver(&store, &pattern(100_000), inbox).await.message.unwrap();
        fs::write(&body_files(folder.path())[0], b"short").unwrap();
        let sound = deliver(&store, b"sound", inbox).await.message.unwrap();
        for key in [lost, short] {
            let error = store.content(key).await.unwrap_err();
            assert!(
                matches!(error, StoreError::Backend { .. } | StoreError::Damaged { .. }),
                "{error:?}"
            );
        }
        assert_eq!(*store.content(sound).await.unwrap(), b"sound");
    });
}

#[test]
fn the_log_is_checkpointed_and_does_not_grow_without_bound() {
    const BOUND: u64 = 512 * 1024;
    block_on(async {
        let folder = tempdir().unwrap();
        let options = Options {
            wal_bytes_max: BOUND,
            ..Options::default()
        };
        let store = Arc::new(SqliteStore::open(folder.path(), options).unwrap());
        let inbox = inbox(&*store, "a").await;
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for _ in 0..80 {
                        deliver(&*store, &pattern(20_000), inbox).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let log = fs::metadata(folder.path().join("store.db-wal")).unwrap().len();
        assert!(store.statistics().checkpoints > 0);
        // Past four bounds the writer waits for the copy; one group more may be on its way then, and room for what would follow.
        assert!(
            log < 6 * BOUND + (2 << 20),
            "{log} bytes of log after 12.8 MB of messages"
        );
        store.close().await.unwrap();
        assert!(!fs::exists(folder.path().join("store.db-wal")).unwrap());
    });
}

#[test]
fn the_first_uid_validity_is_the_one_asked_for() {
    block_on(async {
        let folder = tempdir().unwrap();
        let options = Options {
            uid_validity_first: 1_795_000_000,
            ..Options::default()
        };
        let store = SqliteStore::open(folder.path(), options).unwrap();
        inbox(&store, "a").await;
        assert_eq!(find(&store, "a", "INBOX").await.unwrap().uid_validity, 1_795_000_000);
    });
}

#[test]
fn a_call_given_up_before_it_starts_writes_nothing_or_all() {
    block_on(async {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        let owner = store.ensure_box(&address("a@b.fr"), &[]).await.unwrap();
        let inbox = store.folders(owner).await.unwrap()[0].key;
        for _ in 0..20 {
            let acceptance = Acceptance {
                deliveries: vec![delivery(inbox), delivery(inbox)],
                counts: vec![counted("2026-11")],
                ..to_folders(b"x", &[])
            };
            tokio::select! {
                biased;
                result = store.accept(acceptance) => drop(result.unwrap()),
                () = tokio::task::yield_now() => {}
            }
        }
        store.append(vec![record("last", 0, "")]).await.unwrap();
        let stored = uids(&store, inbox).await.len();
        let counted: u64 = store
            .counters(None)
            .await
            .unwrap()
            .iter()
            .map(|count| count.messages)
            .sum();
        assert_eq!(stored as u64, counted * 2);
    });
}
