//! Care of the embedded store: verify and repair, backup and restore, purge, a full disk, damaged bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "store_contract/common.rs"]
#[allow(dead_code, reason = "shared with the contract")]
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{address, at, block_on, deliver, folder, inbox, message, outgoing, pattern, record, to_folders, uids};
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};
use vaguemestre::app::upkeep::counts_of;
use vaguemestre::indicator::recount;
use vaguemestre::mailbox::care::knowledge;
use vaguemestre::store::sqlite::backup::{Copying, RestoredQueue, backup, restore};
use vaguemestre::store::sqlite::verify::{Aside, Check, Depth, Repaired, Report, salvage};
use vaguemestre::store::sqlite::{Options, SqliteStore};
use vaguemestre::store::{
    Acceptance, Content, CounterStore, FlagChange, Flags, FolderKey, JournalFilter, JournalRow, JournalStore,
    MailboxStore, MessageKey, MessageStore, QueueStore, Room, SpecialUse, StoreError,
};

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, Options::default()).unwrap()
}

/// A store with small and large messages, one of them queued, that was closed.
async fn some_mail() -> (TempDir, FolderKey) {
    let data = tempdir().unwrap();
    let store = open(data.path());
    let inbox = inbox(&store, "a").await;
    for size in [10, 10_000, 100_000] {
        let mut acceptance = summarised(&pattern(size), inbox);
        acceptance.outgoing = vec![outgoing("b@hopital.mssante.fr", 0)];
        acceptance.records = vec![record("test", 0, "s")];
        store.accept(acceptance).await.unwrap();
    }
    store.close().await.unwrap();
    (data, inbox)
}

/// A store with 300 messages, whose database has pages to damage.
async fn filled() -> (TempDir, SqliteStore, FolderKey) {
    let data = tempdir().unwrap();
    let store = open(data.path());
    let inbox = inbox(&store, "a").await;
    for _ in 0..300 {
        store.accept(summarised(&pattern(3_000), inbox)).await.unwrap();
    }
    (data, store, inbox)
}

fn summarised(content: &[u8], folder: FolderKey) -> Acceptance {
    let mut acceptance = to_folders(content, &[folder]);
    let message = acceptance.message.as_mut().unwrap();
    let whole = [message.lead.as_slice(), content].concat();
    message.summary = Some((knowledge().summarise)(&whole));
    acceptance
}

async fn look(folder: &Path) -> Report {
    let store = SqliteStore::open_read_only(folder).unwrap();
    store.verify(Depth::Bytes, knowledge()).await.unwrap()
}

fn ids(report: &Report) -> BTreeSet<&'static str> {
    report.problems.iter().map(|problem| problem.check.id()).collect()
}

/// Repairs everything that was found, round by round, and says what is left.
async fn repair(folder: &Path) -> Report {
    let store = open(folder);
    let aside = Aside::new(folder, "test");
    for _ in 0..3 {
        let found = store.verify(Depth::Bytes, knowledge()).await.unwrap();
        for problem in &found.problems {
            store
                .repair(problem, &aside, knowledge(), record("maintained", 0, ""))
                .await
                .unwrap();
        }
    }
    let left = store.verify(Depth::Bytes, knowledge()).await.unwrap();
    store.close().await.unwrap();
    left
}

fn body_files(folder: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder.join("bodies"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    folders
        .filter(|path| path.is_dir())
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn set_aside(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join("damaged/test")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_sound_store_has_no_problem_and_every_byte_is_read() {
    block_on(async {
        let (data, _) = some_mail().await;
        let report = look(data.path()).await;
        assert_eq!(report.problems, []);
        assert_eq!((report.messages, report.bytes, report.files), (3, 110_010, 1));
    });
}

/// What is done to the database, the problem it makes, and whether a repair ends it. A lost body that is also queued stays a problem, held,
/// until somebody drops the item.
const DAMAGES: [(&str, &str, bool); 16] = [
    ("UPDATE folder SET messages = 7 WHERE key = 1", "folder-figures", true),
    ("UPDATE folder SET uid_next = 2 WHERE key = 1", "entry-uid", true),
    ("UPDATE folder SET modseq = 1 WHERE key = 1", "entry-modseq", true),
    (
        "UPDATE folder SET uid_validity = 4000 WHERE key = 1",
        "uid-validity",
        true,
    ),
    ("UPDATE entry SET size_bytes = 5 WHERE uid = 1", "entry-size", true),
    ("UPDATE message SET refs = 9 WHERE key = 1", "message-refs", true),
    ("DELETE FROM body WHERE message = 2", "body-missing", false),
    ("UPDATE body SET bytes = x'00' WHERE message = 2", "body-size", false),
    (
        "UPDATE body SET bytes = zeroblob(10000) WHERE message = 2",
        "body-changed",
        false,
    ),
    (
        "INSERT INTO body (message, bytes) VALUES (99, x'00')",
        "body-orphan",
        true,
    ),
    ("DELETE FROM summary WHERE message = 1", "summary-missing", true),
    (
        "UPDATE summary SET header_bytes = 3 WHERE message = 1",
        "summary-differs",
        true,
    ),
    (
        "UPDATE queue SET lease = 999, leased_until = 5 WHERE key = 1",
        "queue-lease",
        true,
    ),
    (
        "UPDATE queue SET recipient = 'nobody' WHERE key = 1",
        "queue-unreadable",
        false,
    ),
    (
        "UPDATE journal SET detail = '{' WHERE sequence = 1",
        "journal-unreadable",
        false,
    ),
    ("INSERT INTO journal_stretch VALUES (0, 0, 0)", "journal-times", true),
];

#[test]
fn each_damage_of_a_row_is_found_by_its_name_and_repaired_where_that_is_possible() {
    for (sql, id, is_repaired) in DAMAGES {
        block_on(async {
            let (data, _) = some_mail().await;
            let db = Connection::open(data.path().join("store.db")).unwrap();
            assert_ne!(db.execute(sql, []).unwrap(), 0, "{sql}");
            drop(db);
            assert!(ids(&look(data.path()).await).contains(id), "{sql}");
            let left = repair(data.path()).await;
            let expected = if is_repaired {
                BTreeSet::new()
            } else {
                BTreeSet::from([id])
            };
            assert_eq!(ids(&left), expected, "{sql}");
        });
    }
}

#[test]
fn a_message_that_is_lost_leaves_a_notice_and_its_queue_items_are_held() {
    block_on(async {
        let (data, inbox) = some_mail().await;
        let file = &body_files(data.path())[0];
        let mut bytes = fs::read(file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file, &bytes).unwrap();
        {
            let store = open(data.path());
            let read = store.read(MessageKey(3)).await;
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
            let many = store.read_many(&[MessageKey(1), MessageKey(3)]).await.unwrap();
            assert_eq!(
                many.iter().map(Option::is_some).collect::<Vec<_>>(),
                [true, false],
                "the others are read"
            );
            store.close().await.unwrap();
        }
        assert_eq!(ids(&look(data.path()).await), BTreeSet::from(["body-changed"]));
        assert_eq!(
            ids(&repair(data.path()).await),
            BTreeSet::from(["body-changed"]),
            "it is still queued, and held"
        );
        assert_eq!(set_aside(data.path()), ["message-3.eml", "message-3.json"]);
        assert_eq!(
            fs::read(data.path().join("damaged/test/message-3.eml")).unwrap(),
            bytes,
            "not a byte is lost"
        );
        let store = open(data.path());
        let entries = store.entries(inbox, 0).await.unwrap();
        let last = entries.last().unwrap();
        assert_eq!(last.uid, 4, "a UID never changes its content");
        let notice = store.read(last.message).await.unwrap();
        assert!(String::from_utf8_lossy(&notice).contains("message 3"), "{notice:?}");
        let db = Connection::open(data.path().join("store.db")).unwrap();
        let held: i64 = db
            .query_row("SELECT held FROM queue WHERE message = 3", [], |row| row.get(0))
            .unwrap();
        assert_eq!(held, 1);
    });
}

#[test]
fn a_body_file_that_is_missing_or_cut_short_is_found_and_one_of_no_message_is_moved() {
    block_on(async {
        let (data, _) = some_mail().await;
        let file = body_files(data.path()).remove(0);
        let orphan = data.path().join("bodies/00/0-100");
        fs::write(&orphan, b"of nobody").unwrap();
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..50_000]).unwrap();
        assert_eq!(
            ids(&look(data.path()).await),
            BTreeSet::from(["body-size", "file-orphan"])
        );
        fs::remove_file(&file).unwrap();
        let found = look(data.path()).await;
        assert_eq!(ids(&found), BTreeSet::from(["body-missing", "file-orphan"]));
        // Through the reading store: opening it for writing would sweep the orphan first.
        let store = open(data.path());
        let aside = Aside::new(data.path(), "test");
        for problem in &found.problems {
            let row = record("maintained", 0, "");
            store.repair(problem, &aside, knowledge(), row).await.unwrap();
        }
        store.close().await.unwrap();
    });
}

/// Of the database; what it is then.
fn damage_the_middle(data: &Path) -> Vec<u8> {
    let path = data.join("store.db");
    let db = Connection::open(&path).unwrap();
    let page: i64 = db
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'body'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    drop(db);
    let mut bytes = fs::read(&path).unwrap();
    // Some pages in the middle: leaves of bodies and summaries, none of them a root.
    let middle = usize::try_from(pages / 2).unwrap() * 8192;
    assert_ne!(usize::try_from(page - 1).unwrap() * 8192, middle);
    bytes[middle..middle + 3 * 8192].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    bytes
}

#[test]
fn a_database_with_a_damaged_page_is_built_again_from_the_rows_that_can_be_read() {
    block_on(async {
        let (data, store, inbox) = filled().await;
        store.close().await.unwrap();
        let bytes = damage_the_middle(data.path());
        assert!(ids(&look(data.path()).await).contains("database-damaged"));
        let aside = Aside::new(data.path(), "database");
        let salvaged = salvage(data.path(), &aside).unwrap().unwrap();
        assert!(!salvaged.torn.is_empty(), "{salvaged:?}");
        assert_eq!(
            fs::read(aside.folder().join("store.db")).unwrap(),
            bytes,
            "the old one is kept as it was"
        );
        assert_eq!(salvage(data.path(), &aside).unwrap(), None, "the new one is sound");
        let left = repair(data.path()).await;
        assert_eq!(left.problems, []);
        let store = open(data.path());
        let entries = store.entries(inbox, 0).await.unwrap();
        assert_eq!(entries.len(), 300, "every message is there, or a notice of it");
        let mut whole = 0;
        for entry in &entries {
            let bytes = store.read(entry.message).await.unwrap();
            whole += usize::from(bytes.ends_with(&pattern(3_000)));
        }
        assert!(whole >= 280, "{whole} of 300 were saved");
        assert!(entries.iter().all(|entry| entry.uid < 1_000));
        assert!(deliver(&store, b"new", inbox).await.delivered[0].2 > 300);
    });
}

#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_and_restores_to_the_same() {
    block_on(async {
        let data = tempdir().unwrap();
        let store = Arc::new(open(data.path()));
        let inbox = inbox(&*store, "a").await;
        let mut before = BTreeSet::new();
        for n in 0..40_usize {
            let mut acceptance = summarised(&pattern(if n % 4 == 0 { 90_000 } else { 2_000 }), inbox);
            acceptance.outgoing = vec![outgoing("b@hopital.mssante.fr", 0)];
            acceptance.records = vec![record("test", 1, "s")];
            before.insert(store.accept(acceptance).await.unwrap().delivered[0].2);
        }
        let done = Arc::new(AtomicBool::new(false));
        let load = tokio::spawn(load(Arc::clone(&store), inbox, Arc::clone(&done)));
        let to = tempdir().unwrap();
        let (from, target) = (data.path().to_owned(), to.path().to_owned());
        let made = tokio::task::spawn_blocking(move || backup(&from, &target, Copying::Linked, at(9)));
        let manifest = made.await.unwrap().unwrap();
        done.store(true, Ordering::Relaxed);
        assert!(load.await.unwrap() > 0, "mail came and went meanwhile");
        assert_eq!(
            look(to.path()).await.problems,
            [],
            "every body that the backup names is in it"
        );
        assert!(manifest.messages >= 40 && manifest.queued == 40);

        let again = tempdir().unwrap();
        restore(to.path(), again.path(), RestoredQueue::Held, at(10)).unwrap();
        assert_eq!(look(again.path()).await.problems, []);
        let restored = open(again.path());
        let known: BTreeSet<u32> = uids(&restored, inbox).await.into_iter().collect();
        assert!(
            known.is_superset(&before),
            "nothing acknowledged before the backup is missing"
        );
        let (old, new) = (
            store.status(inbox).await.unwrap(),
            restored.status(inbox).await.unwrap(),
        );
        assert_eq!(old.uid_validity, new.uid_validity);
        assert!(
            new.uid_next > old.uid_next,
            "no UID given after the backup is given again"
        );
        assert_eq!(restored.queued(100).await.unwrap().len(), 40);
        assert!(
            restored.lease(at(99), at(100), 100).await.unwrap().is_empty(),
            "held: nothing is sent twice"
        );
        assert_eq!(journal(&restored).await, 40);
    });
}

/// Delivers large messages and expunges them again, so that files come and go.
async fn load(store: Arc<SqliteStore>, inbox: FolderKey, done: Arc<AtomicBool>) -> u64 {
    let mut delivered = 0;
    while !done.load(Ordering::Relaxed) {
        let accepted = store.accept(summarised(&pattern(80_000), inbox)).await.unwrap();
        let uid = accepted.delivered[0].2;
        let deleted = Flags::system(Flags::DELETED);
        store
            .store_flags(inbox, &[uid], FlagChange::Add, &deleted)
            .await
            .unwrap();
        store.expunge(inbox, Some(&[uid])).await.unwrap();
        delivered += 1;
    }
    delivered
}

async fn journal(store: &SqliteStore) -> usize {
    let filter = JournalFilter {
        limit: 100_000,
        ..JournalFilter::default()
    };
    store.journal(filter).await.unwrap().len()
}

#[test]
fn a_restore_may_send_its_queue_and_never_overwrites() {
    block_on(async {
        let (data, _) = some_mail().await;
        let to = tempdir().unwrap();
        backup(data.path(), to.path(), Copying::Copied, at(1)).unwrap();
        assert!(
            backup(data.path(), to.path(), Copying::Copied, at(1)).is_err(),
            "not into a folder with something in it"
        );
        assert!(restore(to.path(), data.path(), RestoredQueue::Sent, at(2)).is_err());
        let again = tempdir().unwrap();
        fs::rename(to.path().join("backup.json"), to.path().join("x")).unwrap();
        assert!(
            restore(to.path(), again.path(), RestoredQueue::Sent, at(2)).is_err(),
            "not from an unfinished one"
        );
        fs::rename(to.path().join("x"), to.path().join("backup.json")).unwrap();
        restore(to.path(), again.path(), RestoredQueue::Sent, at(2)).unwrap();
        let store = open(again.path());
        assert_eq!(store.lease(at(99), at(100), 100).await.unwrap().len(), 3);
    });
}

#[test]
fn times_that_are_kept_of_the_journal_wrongly_are_found_and_never_taken_from_a_damaged_database() {
    block_on(async {
        let (data, store, _) = filled().await;
        store
            .append((0..1_000).map(|second| record("a", second, "")).collect())
            .await
            .unwrap();
        let late = async |store: &SqliteStore| {
            let filter = JournalFilter {
                since: Some(at(800)),
                limit: 1_000,
                ..JournalFilter::default()
            };
            store.journal(filter).await.unwrap().len()
        };
        assert_eq!(late(&store).await, 200);
        store.close().await.unwrap();
        let spoil = || {
            let db = Connection::open(data.path().join("store.db")).unwrap();
            assert_eq!(db.execute("UPDATE journal_stretch SET latest = 5", []).unwrap(), 3);
            // This one would hide rows that are still to come.
            let ahead = "INSERT INTO journal_stretch (number, earliest, latest) VALUES (100, 1, 2)";
            assert_eq!(db.execute(ahead, []).unwrap(), 1);
        };
        spoil();
        let found = look(data.path()).await;
        assert_eq!(ids(&found), BTreeSet::from(["journal-times"]));
        assert_eq!(found.problems.len(), 4, "{found:?}");
        assert_eq!(repair(data.path()).await.problems, []);
        let store = open(data.path());
        assert_eq!(late(&store).await, 200);
        store.close().await.unwrap();
        spoil();
        damage_the_middle(data.path());
        let aside = Aside::new(data.path(), "database");
        assert!(salvage(data.path(), &aside).unwrap().is_some());
        let found = ids(&look(data.path()).await);
        assert!(!found.contains("journal-times"), "{found:?}");
    });
}

/// The step to this version reads the whole journal and removes an index: it cannot be made where one of them is damaged.
#[test]
fn a_damaged_database_of_the_version_before_is_built_again_as_one_of_this_version() {
    for of_what in ["journal", "journal_at"] {
        block_on(async {
            let data = tempdir().unwrap();
            let store = open(data.path());
            let rows = (0..2_000).map(|second| record("a", second, "")).collect();
            store.append(rows).await.unwrap();
            store.close().await.unwrap();
            damage_as_version_9(data.path(), of_what);
            assert!(SqliteStore::open(data.path(), Options::default()).is_err(), "{of_what}");
            let aside = Aside::new(data.path(), "database");
            assert!(salvage(data.path(), &aside).unwrap().is_some(), "{of_what}");
            assert_eq!(repair(data.path()).await.problems, [], "{of_what}");
            let store = open(data.path());
            let left = journal(&store).await;
            assert!((1_000..=2_000).contains(&left), "{of_what}: {left}");
            store.close().await.unwrap();
        });
    }
}

/// Makes a database what version 9 left.
fn take_back_to_version_9(db: &Connection) {
    db.execute_batch(
        "DROP TABLE journal_stretch; CREATE INDEX journal_at ON journal (at); PRAGMA user_version = 9; \
         PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
}

/// Makes a folder what version 9 left, and overwrites a leaf of the journal or of its index by time.
fn damage_as_version_9(data: &Path, of_what: &str) {
    let path = data.join("store.db");
    let db = Connection::open(&path).unwrap();
    take_back_to_version_9(&db);
    let leaf = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET 1";
    let leaf: i64 = db.query_row(leaf, [of_what], |row| row.get(0)).unwrap();
    drop(db);
    let mut bytes = fs::read(&path).unwrap();
    let from = usize::try_from(leaf - 1).unwrap() * 8192;
    bytes[from..from + 8192].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
}

/// One of the version before is not opened first: nobody knows then whether it can be brought to this one.
#[test]
fn a_wrong_index_is_made_anew_in_a_database_of_this_version_and_one_of_the_version_before_is_built_again() {
    for (is_of_this_version, index, other) in [
        (true, "journal_session", "ON journal (event) WHERE session <> ''"),
        (false, "journal_at", "ON journal (-at)"),
    ] {
        block_on(async {
            let data = tempdir().unwrap();
            let store = open(data.path());
            let rows = (0..10).map(|second| record("a", second, "s")).collect();
            store.append(rows).await.unwrap();
            store.close().await.unwrap();
            let db = Connection::open(data.path().join("store.db")).unwrap();
            if !is_of_this_version {
                take_back_to_version_9(&db);
            }
            fill_as(&db, index, other);
            drop(db);
            if is_of_this_version {
                assert_eq!(ids(&look(data.path()).await), BTreeSet::from(["database-index"]));
            }
            let aside = Aside::new(data.path(), "database");
            let salvaged = salvage(data.path(), &aside).unwrap();
            assert_eq!(salvaged.is_none(), is_of_this_version, "{salvaged:?}");
            assert!(salvaged.is_none_or(|salvaged| salvaged.torn.is_empty()));
            assert_eq!(repair(data.path()).await.problems, [], "{index}");
            let store = open(data.path());
            let filter = JournalFilter {
                session: Some("s".to_owned()),
                limit: 100,
                ..JournalFilter::default()
            };
            assert_eq!(store.journal(filter).await.unwrap().len(), 10, "{index}");
            store.close().await.unwrap();
        });
    }
}

/// Makes an index hold what another one would.
fn fill_as(db: &Connection, index: &str, other: &str) {
    let definition = "SELECT sql FROM sqlite_schema WHERE name = ?1";
    let own: String = db.query_row(definition, [index], |row| row.get(0)).unwrap();
    db.execute_batch(&format!(
        "DROP INDEX {index}; CREATE INDEX {index} {other}; PRAGMA writable_schema = ON"
    ))
    .unwrap();
    let set = "UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1";
    assert_eq!(db.execute(set, (index, own)).unwrap(), 1);
}

#[test]
fn a_purge_of_the_journal_leaves_counters_and_recount_as_they_were() {
    block_on(async {
        let data = tempdir().unwrap();
        let store = open(data.path());
        for day in 0..30_i64 {
            let detail = r#"{"sender":"a@b.fr","login":"x","owner":{"box_type":"APP","establishment":"990000028","rule":"box"},"class":"message","recipients":[],"recipient_count":2,"size_bytes":10}"#;
            let row = JournalRow {
                detail: detail.into(),
                ..record("submitted", day * 86_400, "s")
            };
            let counts = counts_of(row.clone());
            assert_eq!(counts.len(), 1);
            let acceptance = Acceptance {
                records: vec![row],
                counts,
                ..Acceptance::default()
            };
            store.accept(acceptance).await.unwrap();
        }
        let counters = store.counters(None).await.unwrap();
        let mut purged = 0;
        loop {
            let piece = store.purge_journal(at(20 * 86_400), 7, counts_of).await.unwrap();
            purged += piece.rows;
            let found = recount(&store, &store).await.unwrap();
            assert!(found.agrees(), "{found:?}");
            if !piece.has_more {
                break;
            }
        }
        assert_eq!(purged, 20);
        assert_eq!(store.counters(None).await.unwrap(), counters);
        let found = recount(&store, &store).await.unwrap();
        let carried = found.carried.unwrap();
        assert_eq!(
            (found.rows, carried.sequence, carried.until),
            (10, 20, Some(at(19 * 86_400)))
        );
        assert_eq!(look(data.path()).await.problems, []);
    });
}

#[test]
fn mail_goes_from_the_trash_when_it_has_been_there_long_enough_and_from_nowhere_else() {
    block_on(async {
        let data = tempdir().unwrap();
        let store = open(data.path());
        let owner = address("a@ehpad-lilas.mssante.fr");
        store
            .ensure_box(&owner, &[("Trash", Some(SpecialUse::Trash))])
            .await
            .unwrap();
        let (inbox, trash) = (folder(&store, "a", "INBOX").await, folder(&store, "a", "Trash").await);
        deliver(&store, b"old mail", inbox).await;
        for _ in 0..3 {
            deliver(&store, b"in the trash", trash).await;
        }
        let day = |n: i64| at(n * 86_400);
        let purge = async |now: i64| {
            store.mark_folders(SpecialUse::Trash, day(now), 1).await.unwrap();
            let mut rows = 0;
            loop {
                let record = |address: &str, _| record("maintained", 0, address);
                let piece = store
                    .purge_folders(SpecialUse::Trash, day(now - 30), 2, record)
                    .await
                    .unwrap();
                rows += piece.rows;
                if !piece.has_more {
                    return rows;
                }
            }
        };
        assert_eq!(purge(100).await, 0, "nobody knows for how long it has been there");
        store.move_to(inbox, &[1], trash).await.unwrap();
        assert_eq!(purge(129).await, 0);
        assert_eq!(purge(131).await, 3, "what was there 30 days before");
        assert_eq!(
            uids(&store, trash).await,
            [4],
            "what came later stays, however old the mail"
        );
        assert_eq!(purge(160).await, 1);
        assert_eq!(look(data.path()).await.problems, []);
    });
}

#[test]
fn remembered_deliveries_are_forgotten_in_time() {
    block_on(async {
        let data = tempdir().unwrap();
        let store = open(data.path());
        let inbox = inbox(&store, "a").await;
        let mut acceptance = to_folders(b"x", &[inbox]);
        acceptance.deliveries = vec![common::once(inbox, 1, (0, 50))];
        store.accept(acceptance).await.unwrap();
        assert_eq!(store.purge_remembered(at(49), 10).await.unwrap().rows, 0);
        assert_eq!(store.purge_remembered(at(51), 10).await.unwrap().rows, 1);
    });
}

/// A file system of its own, as long as the value lives. Needs the right to mount, which the tests have where they run as root.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(mebibytes: u32) -> Option<Self> {
        let folder = tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
        assert!(unmounted.unwrap().success());
    }
}

#[test]
fn a_full_disk_refuses_keeps_what_it_has_and_takes_mail_again_when_there_is_room() {
    let Some(disk) = SmallDisk::new(24) else {
        // No right to mount: `max_page_count` in the unit tests plays the full disk instead.
        return;
    };
    block_on(async {
        let data = disk.0.path().join("data");
        let store = open(&data);
        let inbox = inbox(&store, "a").await;
        let ballast = disk.0.path().join("ballast");
        fs::write(&ballast, vec![1; 8 << 20]).unwrap();
        let mut accepted = 0;
        let mut refused = 0;
        while refused < 20 {
            let size = if (accepted + refused) % 2 == 0 { 300_000 } else { 20_000 };
            match store.accept(summarised(&pattern(size), inbox)).await {
                Ok(_) => accepted += 1,
                Err(error) => {
                    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
                    refused += 1;
                }
            }
        }
        assert!(accepted > 5, "{accepted}");
        let trouble = store.trouble().unwrap();
        assert!(trouble.is_full && trouble.failures > 0);
        assert_eq!(uids(&store, inbox).await.len(), accepted, "reading goes on");
        for entry in store.entries(inbox, 0).await.unwrap() {
            store.read(entry.message).await.unwrap();
        }
        // What no message fits in may be enough for a probe: a little room on the disk, or in the log behind a commit that failed.
        let rest = disk.0.path().join("rest");
        let mut probes = 0;
        while store.probe().await.is_ok() {
            assert!(fs::write(&rest, vec![1; 8 << 20]).is_err());
            probes += 1;
            assert!(probes < 100, "it is full");
        }
        fs::write(&rest, b"").unwrap();
        for file in [ballast, rest] {
            fs::remove_file(file).unwrap();
        }
        store.probe().await.unwrap();
        assert_eq!(store.trouble(), None);
        store.accept(summarised(&pattern(300_000), inbox)).await.unwrap();
        store.close().await.unwrap();
        let report = look(&data).await;
        assert_eq!(
            report.problems,
            [],
            "nothing acknowledged is lost, nothing else is left"
        );
        assert_eq!(report.messages, accepted as u64 + 1);
    });
}

#[test]
fn an_acceptance_that_nobody_waits_for_leaves_no_file() {
    block_on(async {
        let data = tempdir().unwrap();
        let store = Arc::new(open(data.path()));
        let inbox = inbox(&*store, "a").await;
        for _ in 0..20 {
            let store = Arc::clone(&store);
            let call = tokio::spawn(async move { store.accept(summarised(&pattern(90_000), inbox)).await });
            tokio::task::yield_now().await;
            call.abort();
            drop(call.await);
        }
        let mut stage = store.stage().await.unwrap();
        stage.write(&pattern(200_000)).await.unwrap();
        drop(stage.finish(b"").await.unwrap());
        store.close().await.unwrap();
        let store = SqliteStore::open_read_only(data.path()).unwrap();
        let shown = store.entries(inbox, 0).await.unwrap().len();
        assert_eq!(body_files(data.path()).len(), shown, "as many files as messages");
    });
}

#[test]
fn a_message_of_40_megabytes_reads_back_to_the_byte() {
    block_on(async {
        let data = tempdir().unwrap();
        let store = open(data.path());
        let inbox = inbox(&store, "a").await;
        let line = pattern(76);
        let bytes = large_bytes();
        let mut stage = store.stage().await.unwrap();
        for _ in 0..bytes / line.len() {
            stage.write(&line).await.unwrap();
        }
        let file = stage.finish(b"Received: x\r\n").await.unwrap();
        let mut acceptance = to_folders(b"", &[inbox]);
        acceptance.message = Some(vaguemestre::store::NewMessage {
            content: Content::Staged(file),
            ..message(b"")
        });
        let key = store.accept(acceptance).await.unwrap().message.unwrap();
        let content = store.content(key).await.unwrap();
        assert_eq!(content.len(), 13 + bytes / line.len() * line.len());
        assert!(content[13..].chunks(line.len()).all(|chunk| chunk == line.as_slice()));
        let usage = store.usage(inbox).await.unwrap();
        assert_eq!(usage.used_bytes, content.len() as u64 + 23);
        let _ = (Room::Whole, Check::ALL, Repaired::Done);
    });
}

/// `VAGUEMESTRE_LARGE_MB=150` tries the largest size of the field by hand.
fn large_bytes() -> usize {
    let asked = std::env::var("VAGUEMESTRE_LARGE_MB")
        .ok()
        .and_then(|text| text.parse::<usize>().ok());
    asked.unwrap_or(40) * 1_000_000
}
