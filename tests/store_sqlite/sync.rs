//! The sync beside the commits: who waits for it, and what becomes of a commit whose sync fails.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};
use store_vfs::{Change, Failure, Verdict, Watcher};
use tempfile::{TempDir, tempdir};
use vaguemestre::store::sqlite::{Options, SqliteStore};
use vaguemestre::store::{
    BodyFile, Disk, FolderKey, JournalFilter, JournalStore, LOG_HEAD_BYTES, LocalDisk, LogFile, MailboxStore,
    MessageStore, Once, StoreError,
};

use super::common::{at, block_on, deliver, inbox, pattern, record, to_folders, uids};

/// The local disk, but syncs of the log can be stopped or fail, and cuts and growth can fail.
#[derive(Debug, Default)]
struct Log {
    sync_fails: AtomicBool,
    cut_fails: AtomicBool,
    grow_fails: AtomicBool,
    /// The lengths it was to grow to.
    grown: Mutex<Vec<u64>>,
    /// Told when a sync begins; it ends when something comes back.
    stop: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

struct Descriptor {
    log: Arc<Log>,
    file: Box<dyn LogFile>,
}

#[derive(Clone, Debug, Default)]
struct Faulty(Arc<Log>);

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn BodyFile>> {
        LocalDisk.create(path)
    }

    fn log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(Descriptor {
            log: Arc::clone(&self.0),
            file: LocalDisk.log(path)?,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        LocalDisk.sync_folder(folder)
    }
}

impl LogFile for Descriptor {
    fn sync(&mut self) -> io::Result<()> {
        let stop = self.log.stop.lock().unwrap().take();
        if let Some((begun, goes_on)) = stop {
            begun.send(()).unwrap();
            goes_on.recv().unwrap();
        }
        if self.log.sync_fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("input/output error"));
        }
        self.file.sync()
    }

    fn grow(&mut self, length: u64) -> io::Result<u64> {
        self.log.grown.lock().unwrap().push(length);
        if self.log.grow_fails.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.grow(length)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.log.cut_fails.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.file.cut(length)
    }

    fn head(&mut self) -> io::Result<[u8; LOG_HEAD_BYTES]> {
        self.file.head()
    }
}

impl Faulty {
    fn open(&self, folder: &Path, wal_bytes_max: u64) -> Arc<SqliteStore> {
        let options = Options {
            disk: Arc::new(self.clone()),
            wal_bytes_max,
            ..Options::default()
        };
        Arc::new(SqliteStore::open(folder, options).unwrap())
    }

    fn sync_fails(&self, fails: bool) {
        self.0.sync_fails.store(fails, Ordering::Relaxed);
    }

    /// The lengths that the log was to grow to since, in mebibytes.
    fn grown(&self) -> Vec<u64> {
        let lengths = std::mem::take(&mut *self.0.grown.lock().unwrap());
        assert!(
            lengths.iter().all(|length| length.is_multiple_of(1 << 20)),
            "{lengths:?}"
        );
        lengths.iter().map(|length| length >> 20).collect()
    }

    fn cut_fails(&self, fails: bool) {
        self.0.cut_fails.store(fails, Ordering::Relaxed);
    }

    /// Stops the next sync: what comes when it begins, and what lets it end.
    fn stop(&self) -> (Receiver<()>, Sender<()>) {
        let (begun, begins) = channel();
        let (go_on, goes_on) = channel();
        *self.0.stop.lock().unwrap() = Some((begun, goes_on));
        (begins, go_on)
    }
}

fn is_sound(folder: &Path) -> bool {
    let db = Connection::open(folder.join("store.db")).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    verdict == "ok"
}

const WAL_BYTES: u64 = 32 * 1024 * 1024;

#[test]
fn a_commit_whose_sync_failed_is_gone_and_its_numbers_are_given_again() {
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        let store = disk.open(folder.path(), WAL_BYTES);
        let inbox = inbox(&*store, "a").await;
        deliver(&*store, &pattern(10_000), inbox).await;
        disk.sync_fails(true);
        for size in [10, 10_000, 90_000] {
            let refused = store.accept(to_folders(&pattern(size), &[inbox])).await;
            assert!(matches!(refused, Err(StoreError::Backend { .. })), "{refused:?}");
            assert_eq!(uids(&*store, inbox).await, [1]);
        }
        assert_eq!(store.trouble().unwrap().failures, 3);
        disk.sync_fails(false);
        let accepted = store.accept(to_folders(&pattern(20_000), &[inbox])).await.unwrap();
        assert_eq!(accepted.delivered[0].2, 2, "nobody saw the UIDs of what was refused");
        assert_eq!(store.trouble(), None);
        store.close().await.unwrap();
        let again = disk.open(folder.path(), WAL_BYTES);
        assert_eq!(uids(&*again, inbox).await, [1, 2]);
        again.close().await.unwrap();
        assert!(is_sound(folder.path()));
    });
}

#[test]
fn the_log_grows_by_whole_steps_ahead_of_the_commits() {
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        let store = disk.open(folder.path(), 4 << 20);
        let inbox = inbox(&*store, "a").await;
        // Three times what it holds, in bodies that go into it.
        for _ in 0..200 {
            deliver(&*store, &pattern(60_000), inbox).await;
        }
        assert!(store.statistics().checkpoints > 0);
        store.close().await.unwrap();
        let grown = disk.grown();
        // Once for each step, however often the log starts over.
        assert!((4..12).contains(&grown.len()), "{grown:?}");
        let steps: Vec<u64> = (1..).take(grown.len()).collect();
        assert_eq!(grown, steps);
        let again = disk.open(folder.path(), WAL_BYTES);
        assert_eq!(uids(&*again, inbox).await.len(), 200);
        again.close().await.unwrap();
        assert!(is_sound(folder.path()));
    });
}

#[test]
fn a_log_that_was_cut_back_is_given_room_again_and_what_was_durable_is_read() {
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        let store = disk.open(folder.path(), WAL_BYTES);
        let inbox = inbox(&*store, "a").await;
        for _ in 0..20 {
            deliver(&*store, &pattern(60_000), inbox).await;
        }
        // The growth after a commit is done when the next one is answered.
        deliver(&*store, &pattern(10), inbox).await;
        let grown = disk.grown();
        assert!(grown.len() > 1 && grown.is_sorted(), "{grown:?}");
        disk.sync_fails(true);
        assert!(store.accept(to_folders(&pattern(10), &[inbox])).await.is_err());
        disk.sync_fails(false);
        deliver(&*store, &pattern(20), inbox).await;
        // As after `kill -9`: there are zeros behind the last commit.
        let image = super::crash_image(folder.path());
        let again = super::open(image.path());
        assert_eq!(uids(&again, inbox).await, (1..=22).collect::<Vec<_>>());
        again.close().await.unwrap();
        assert!(is_sound(image.path()));
        store.close().await.unwrap();
        assert_eq!(disk.grown(), grown[grown.len() - 1..]);
    });
}

#[test]
fn a_log_that_cannot_grow_ahead_takes_what_has_room() {
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        disk.0.grow_fails.store(true, Ordering::Relaxed);
        let store = disk.open(folder.path(), WAL_BYTES);
        let inbox = inbox(&*store, "a").await;
        for _ in 0..20 {
            deliver(&*store, &pattern(60_000), inbox).await;
        }
        assert_eq!(store.trouble(), None);
        store.close().await.unwrap();
        assert!(disk.grown().len() >= 20, "each commit tries");
        let again = disk.open(folder.path(), WAL_BYTES);
        assert_eq!(uids(&*again, inbox).await.len(), 20);
        again.close().await.unwrap();
    });
}

#[test]
fn a_failed_sync_leaves_what_was_durable_wherever_the_log_stands() {
    const ROUNDS: u32 = 40;
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        // A bound of a few pages: the log starts over again and again.
        let store = disk.open(folder.path(), 64 * 1024);
        let inbox = inbox(&*store, "a").await;
        for round in 1..=ROUNDS {
            deliver(&*store, &pattern(1_000 * (round as usize % 13)), inbox).await;
            disk.sync_fails(true);
            let refused = store.accept(to_folders(&pattern(5_000), &[inbox])).await;
            assert!(refused.is_err());
            disk.sync_fails(false);
            assert_eq!(uids(&*store, inbox).await, (1..=round).collect::<Vec<_>>());
        }
        assert!(store.statistics().checkpoints > 1, "{:?}", store.statistics());
        // As after `kill -9`.
        let image = super::crash_image(folder.path());
        let again = super::open(image.path());
        assert_eq!(uids(&again, inbox).await, (1..=ROUNDS).collect::<Vec<_>>());
        again.close().await.unwrap();
        assert!(is_sound(image.path()));
        store.close().await.unwrap();
        assert!(is_sound(folder.path()));
    });
}

#[test]
fn nobody_sees_a_message_before_it_is_durable() {
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        let store = disk.open(folder.path(), WAL_BYTES);
        let inbox = inbox(&*store, "a").await;
        for fails in [false, true] {
            let before = uids(&*store, inbox).await;
            let (begins, go_on) = disk.stop();
            let accept = |store: &Arc<SqliteStore>| {
                let store = Arc::clone(store);
                tokio::spawn(async move { store.accept(to_folders(&pattern(100), &[inbox])).await })
            };
            let one = accept(&store);
            tokio::task::spawn_blocking(move || begins.recv().unwrap())
                .await
                .unwrap();
            // Committed, not durable: a read may see it, and keeps it to itself. What is written on top waits as well.
            let reading = Arc::clone(&store);
            let read = tokio::spawn(async move { reading.entries(inbox, 0).await });
            let two = accept(&store);
            let soon = tokio::time::timeout(std::time::Duration::from_millis(50), read);
            let waiting = soon.await;
            assert!(waiting.is_err(), "it was told what a power cut may take");
            assert!(!one.is_finished() && !two.is_finished());
            disk.sync_fails(fails);
            go_on.send(()).unwrap();
            assert_eq!(one.await.unwrap().is_err(), fails);
            assert_eq!(two.await.unwrap().is_err(), fails);
            disk.sync_fails(false);
            let more = if fails { 0 } else { 2 };
            assert_eq!(uids(&*store, inbox).await.len(), before.len() + more);
        }
        store.close().await.unwrap();
    });
}

#[test]
fn a_repetition_of_what_is_not_durable_is_not_called_one() {
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        let store = disk.open(folder.path(), WAL_BYTES);
        let inbox = inbox(&*store, "a").await;
        let once = Once {
            key: [7; 32],
            until: at(1_000_000),
        };
        let accept = || {
            let store = Arc::clone(&store);
            let mut acceptance = to_folders(&pattern(100), &[inbox]);
            acceptance.deliveries[0].once = Some(once);
            tokio::spawn(async move { store.accept(acceptance).await })
        };
        let (begins, go_on) = disk.stop();
        let one = accept();
        tokio::task::spawn_blocking(move || begins.recv().unwrap())
            .await
            .unwrap();
        let two = accept();
        disk.sync_fails(true);
        go_on.send(()).unwrap();
        // "Delivered before" would let the peer forget the message.
        for answer in [one.await.unwrap(), two.await.unwrap()] {
            assert!(matches!(answer, Err(StoreError::Backend { .. })), "{answer:?}");
        }
        disk.sync_fails(false);
        accept().await.unwrap().unwrap();
        assert!(matches!(accept().await.unwrap(), Err(StoreError::Repeated)));
        store.close().await.unwrap();
    });
}

#[test]
fn while_the_log_cannot_be_cut_back_nothing_is_told_and_then_all_goes_on() {
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        let store = disk.open(folder.path(), WAL_BYTES);
        let inbox = inbox(&*store, "a").await;
        deliver(&*store, &pattern(100), inbox).await;
        disk.sync_fails(true);
        disk.cut_fails(true);
        assert!(store.append(vec![record("lost", 0, "s")]).await.is_err());
        assert!(
            store.journal(JournalFilter::default()).await.is_err(),
            "it may hold what is lost"
        );
        disk.sync_fails(false);
        assert!(store.accept(to_folders(&pattern(100), &[inbox])).await.is_err());
        disk.cut_fails(false);
        store.probe().await.unwrap();
        assert_eq!(store.trouble(), None);
        deliver(&*store, &pattern(100), inbox).await;
        assert_eq!(uids(&*store, inbox).await, [1, 2]);
        let rows = store
            .journal(JournalFilter {
                limit: 100,
                ..JournalFilter::default()
            })
            .await
            .unwrap();
        assert!(rows.iter().all(|row| row.event != "lost"));
        store.close().await.unwrap();
        assert!(is_sound(folder.path()));
    });
}

#[test]
fn a_store_whose_disk_died_closes_and_opens_with_what_it_answered() {
    block_on(async {
        let folder = tempdir().unwrap();
        let disk = Faulty::default();
        let store = disk.open(folder.path(), WAL_BYTES);
        let inbox = inbox(&*store, "a").await;
        deliver(&*store, &pattern(100), inbox).await;
        disk.sync_fails(true);
        disk.cut_fails(true);
        assert!(store.accept(to_folders(&pattern(100), &[inbox])).await.is_err());
        assert!(store.close().await.is_err());
        drop(store);
        let healed = super::open(folder.path());
        assert!(uids(&healed, inbox).await.starts_with(&[1]));
        healed.close().await.unwrap();
        assert!(is_sound(folder.path()));
    });
}

/// A disk whose system forgets what a failed sync of the database should have made durable.
#[derive(Debug)]
struct Forgetful {
    name: &'static str,
    state: Mutex<Database>,
}

/// By the offsets of pages.
#[derive(Debug, Default)]
struct Database {
    written: HashSet<u64>,
    forgotten: HashSet<u64>,
    fault: Fault,
    failures: u32,
    syncs: u32,
    /// Written between two syncs at most.
    unsynced_max: usize,
    /// What was forgotten when the log started over, since the failure.
    missing: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// The next sync of the database fails.
    Sync,
    /// Nothing can be written to the log.
    Log,
}

impl Forgetful {
    fn register(name: &'static str) -> Arc<Self> {
        let state = Mutex::default();
        let disk = Arc::new(Self { name, state });
        store_vfs::register(name, Arc::clone(&disk) as Arc<dyn Watcher>).unwrap();
        disk
    }

    fn state(&self) -> MutexGuard<'_, Database> {
        // A test that failed must not have SQLite panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, so: impl Fn(&Database) -> bool) -> bool {
        so(&self.state())
    }
}

impl Watcher for Forgetful {
    fn change(&self, path: &Path, change: Change<'_>) -> Verdict {
        let mut database = self.state();
        let is_log = path.extension().is_some_and(|extension| extension == "db-wal");
        match change {
            Change::Write { .. } if is_log && database.fault == Fault::Log => return Verdict::Fail(Failure::Device),
            Change::Write { offset: 0, .. } if is_log && database.failures > 0 => {
                database.missing = database.missing.or(Some(database.forgotten.len()));
            }
            _ if is_log => {}
            Change::Write { offset, .. } => {
                database.written.insert(offset);
                database.forgotten.remove(&offset);
                database.unsynced_max = database.unsynced_max.max(database.written.len());
            }
            Change::Sync { .. } => {
                let written = std::mem::take(&mut database.written);
                database.syncs += 1;
                if database.fault == Fault::Sync {
                    database.fault = Fault::None;
                    database.failures += 1;
                    database.forgotten.extend(written);
                    return Verdict::Fail(Failure::Device);
                }
            }
            _ => {}
        }
        Verdict::Make
    }
}

impl Disk for Forgetful {
    fn vfs(&self) -> Option<&str> {
        Some(self.name)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn BodyFile>> {
        LocalDisk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        LocalDisk.sync_folder(folder)
    }
}

/// A store on such a disk.
struct OnForgetful {
    folder: TempDir,
    disk: Arc<Forgetful>,
    store: SqliteStore,
    inbox: FolderKey,
}

impl OnForgetful {
    /// With a log of so many MiB.
    async fn open(name: &'static str, log_mib: u64) -> Self {
        let folder = tempdir().unwrap();
        let disk = Forgetful::register(name);
        let options = Options {
            disk: Arc::clone(&disk) as Arc<dyn Disk>,
            wal_bytes_max: log_mib * 1024 * 1024,
            ..Options::default()
        };
        let store = SqliteStore::open(folder.path(), options).unwrap();
        let inbox = inbox(&store, "a").await;
        *disk.state() = Database::default();
        Self {
            folder,
            disk,
            store,
            inbox,
        }
    }

    async fn deliver_until(&self, so: fn(&Database) -> bool) {
        const DELIVERIES_MAX: usize = 400;
        for _ in 0..DELIVERIES_MAX {
            if self.disk.is(so) {
                return;
            }
            self.deliver(1).await;
        }
        panic!("{:?}", self.disk.state());
    }

    async fn deliver(&self, messages: usize) {
        for _ in 0..messages {
            deliver(&self.store, &pattern(50_000), self.inbox).await;
        }
    }

    /// A read that goes on: what it sees may be copied, the rest may not.
    fn reader(&self) -> Connection {
        let path = self.folder.path().join("store.db");
        let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM number").unwrap();
        reader
    }

    async fn close(self) {
        self.store.close().await.unwrap();
        assert!(is_sound(self.folder.path()));
    }
}

/// SQLite does not copy again what it copied in parts, though the sync of these failed.
#[test]
fn what_was_copied_in_parts_before_a_failed_sync_is_copied_again() {
    block_on(async {
        let on = OnForgetful::open("forgetful", 2).await;
        let reader = on.reader();
        on.disk.state().fault = Fault::Sync;
        on.deliver_until(|database| database.failures == 1).await;
        let parts = on.disk.state().forgotten.len();
        assert!(parts > 1, "{parts}");
        reader.execute_batch("COMMIT").unwrap();
        on.deliver_until(|database| database.missing.is_some()).await;
        assert_eq!(on.disk.state().missing, Some(0), "pages are nowhere");
        drop(reader);
        on.close().await;
    });
}

#[test]
fn what_is_copied_beside_the_writer_is_synced_by_the_copy_and_bit_by_bit() {
    block_on(async {
        let on = OnForgetful::open("bit by bit", 8).await;
        on.deliver(50).await;
        assert_eq!(on.disk.state().syncs, 0, "nothing is copied yet");
        let reader = on.reader();
        // Only what the reader sees is copied, and the writer copies no more than that: so SQLite itself has no reason for a sync.
        on.deliver_until(|database| database.syncs > 2).await;
        on.deliver_until(|database| database.written.is_empty()).await;
        let pages_in_a_mebibyte = 128;
        let most = on.disk.state().unsynced_max;
        assert_eq!(most, pages_in_a_mebibyte);
        reader.execute_batch("COMMIT").unwrap();
        drop(reader);
        on.close().await;
    });
}

/// Until another one has taken its place, a commit that failed may be found in the log after a crash, and its rows name files.
#[test]
fn a_commit_that_wrote_nothing_does_not_remove_the_files_of_one_that_failed() {
    block_on(async {
        for (name, writes, left) in [("nothing", false, 1), ("something", true, 0)] {
            let folder = tempdir().unwrap();
            let disk = Forgetful::register(name);
            let options = Options {
                disk: Arc::clone(&disk) as Arc<dyn Disk>,
                ..Options::default()
            };
            let store = SqliteStore::open(folder.path(), options).unwrap();
            let inbox = inbox(&store, "a").await;
            disk.state().fault = Fault::Log;
            let refused = store.accept(to_folders(&pattern(90_000), &[inbox])).await;
            assert!(refused.is_err(), "{refused:?}");
            disk.state().fault = Fault::None;
            // Of a domain that has no boxes.
            store
                .set_boxes_aside(&"nobody.mssante.fr".parse().unwrap())
                .await
                .unwrap();
            if writes {
                deliver(&store, &pattern(100), inbox).await;
            }
            store.close().await.unwrap();
            assert_eq!(super::body_files(folder.path()).len(), left, "{name}");
            super::open(folder.path()).close().await.unwrap();
            assert_eq!(super::body_files(folder.path()).len(), 0, "the sweep has found it");
        }
    });
}
