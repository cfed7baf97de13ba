//! The sync beside the commits: who waits for it, and what becomes of a commit whose sync fails.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tempfile::tempdir;
use vaguemestre::store::sqlite::{Options, SqliteStore};
use vaguemestre::store::{
    BodyFile, Disk, JournalFilter, JournalStore, LOG_HEAD_BYTES, LocalDisk, LogFile, MailboxStore, MessageStore, Once,
    StoreError,
};

use super::common::{at, block_on, deliver, inbox, pattern, record, to_folders, uids};

/// The local disk, but syncs of the log can be stopped or fail, and cuts can fail.
#[derive(Debug, Default)]
struct Log {
    sync_fails: AtomicBool,
    cut_fails: AtomicBool,
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
