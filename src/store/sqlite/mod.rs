//! The embedded store: one SQLite database in WAL mode with one writing thread, beside files for large bodies.
//!
//! ```text
//! folder/lock             held by the one process that may write
//! folder/store.db         rows and small bodies (store.db-wal, store.db-shm while in use)
//! folder/bodies/incoming  body files being written          folder/bodies/00 … ff  body files that rows name
//! ```
//!
//! Writes go through `writer`, which commits whole groups; `syncer` syncs each commit while the next group is applied, and answers it. Reads
//! run on read-only connections, never wait for a write, and keep what they saw to themselves until it is `durable`; what the relay asks
//! for at once is still `fresh`, and that a delivery is new is told by what is `known`. Checkpoints and removals run in `upkeep`. Deliberately
//! absent: a setting that trades durability for speed.
//!
//! Small bodies live in the database, not in segment files of our own: one sync makes rows and bytes durable together, a crash
//! leaves nothing to reconcile, and deleted bytes are reused without compaction. The price, writing each byte twice, is paid
//! beside the commits. `cargo bench --bench store` on 2 cores, ext4, fdatasync of 20 KB in 0.05 ms, all syncs on, pages of 8 KiB:
//!
//! ```text
//! clients  size     accepts/s  p50 ms  p99 ms  writes/commit
//!  1       10 KB        4,368    0.20    0.46            1.0
//! 16       10 KB       15,028    0.88    3.20           15.9
//! 64       10 KB       18,103    2.90   22.76           63.1
//! 16        1 KB       21,655    0.68    1.47           15.9
//! 16        1 MB        1,859    8.39   14.15            5.6
//! ```

mod accept;
mod annotations;
pub mod backup;
mod durable;
mod entries;
mod folders;
mod fresh;
mod group;
mod health;
mod journal;
mod known;
mod names;
mod once;
mod parts;
mod purge;
mod queue;
mod queue_change;
mod queue_lease;
mod queue_page;
mod quota;
mod readers;
mod requests;
mod rewind;
mod rows;
mod schema;
pub mod search;
mod stage;
mod store;
mod syncer;
mod upkeep;
pub mod verify;
mod watch;
mod writer;

use std::fs::{DirBuilder, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::durable::Durable;
use self::fresh::Fresh;
use self::group::Effects;
use self::health::Health;
pub use self::health::Trouble;
use self::known::Known;
pub use self::purge::Purged;
use self::readers::Readers;
pub(super) use self::rows::kind_of;
use self::rows::{execute, failed, raise};
use self::schema::Database;
use self::stage::SqliteStage;
use self::upkeep::Upkeep;
use self::writer::{Figures, Writer};
use crate::identity::Domain;
use crate::metrics::Meter;
use crate::store::blobs::Blobs;
use crate::store::{Disk, LocalDisk, Once, Stage, StoreError};

/// Everything one operator stores, in one folder of the local disk. Share it as `Arc<SqliteStore>`.
pub struct SqliteStore {
    readers: Readers,
    /// `None` when opened read-only.
    writer: Option<Writer>,
    blobs: Arc<Blobs>,
    figures: Arc<Figures>,
    health: Arc<Health>,
    fresh: Arc<Fresh>,
    /// `None` when opened read-only: another process enters keys then.
    known: Option<Arc<Known>>,
    folder: PathBuf,
    options: Options,
}

/// How an embedded store works. The defaults are right for one operator on one disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest body, in bytes, kept beside the rows; larger ones become files. Default 64 KiB: below, a file of its own costs more
    /// (a sync, a rename and a folder sync each) than writing the bytes twice (log, then database).
    pub inline_bytes_max: usize,
    /// Read-only connections that may work at once. Default 4. Each keeps up to 2 MiB of pages in memory.
    pub readers: usize,
    /// Most writes in one transaction. Default 256: more only makes the first of them wait longer.
    pub group_writes_max: usize,
    /// Bytes from which a transaction takes no further write. Default 4 MiB: keeps a group within the writer's page cache.
    pub group_bytes_max: usize,
    /// Most writes waiting for the writer; further calls wait before they hand theirs over. Default 1,024.
    pub queue_max: usize,
    /// Bytes of log that start a checkpoint. Default 32 MiB. Larger means fewer checkpoints, a longer recovery after a crash,
    /// and up to four times as many bytes on disk beside the database.
    pub wal_bytes_max: u64,
    /// What body files and the database are written through. Default: [`LocalDisk`]; another one is for proofs only.
    pub disk: Arc<dyn Disk>,
    /// The first UIDVALIDITY given in a new data folder. Default 1. Give the clock's Unix seconds where a data folder may be
    /// deleted and made again under the same addresses, or mail programs would trust what they cached (RFC 3501 §2.3.1.1).
    pub uid_validity_first: u32,
    /// Turns of messages on their way to disk, each of which takes a descriptor; further ones wait. Default: 1,024 turns. Stores of one
    /// process share them.
    pub stages: Arc<Semaphore>,
    /// Where commits and failures are counted. Default: a meter that nobody reads.
    pub meter: Meter,
}

/// What a store did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Transactions committed; each cost one sync of the log.
    pub commits: u64,
    /// Writes in them.
    pub writes: u64,
    /// Transactions that failed as a whole.
    pub failed_commits: u64,
    /// Most writes in one transaction.
    pub largest_group: u64,
    /// Times the log was copied into the database.
    pub checkpoints: u64,
    /// Body files of earlier runs that no message named, removed.
    pub orphans_removed: u64,
}

impl SqliteStore {
    /// Opens the store in `folder`, creating or migrating it. May block for some milliseconds.
    ///
    /// Fails with [`StoreError::InUse`] while another process has it open for writing, and with [`StoreError::Newer`]
    /// when a newer program wrote it.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        create_private(folder, &*options.disk)
            .map_err(|error| failed(&format!("{} could not be created", folder.display()), error))?;
        let lock = lock(folder)?;
        let disk = Arc::clone(&options.disk);
        make_sure_of(&folder.join(LOG), &*disk)
            .map_err(|error| failed("the log of an earlier run could not be synced", error))?;
        let database = Database::new(folder.join(DATABASE), &*disk);
        let connection = schema::open_writer(&database, options.uid_validity_first)?;
        // Whatever becomes of this opening, the log stays as it is.
        schema::never_copy_at_close(&connection)?;
        let run = next_run(&connection)?;
        let blobs = Arc::new(Blobs::new(folder, run, Arc::clone(&disk)));
        // The files made so far must be found again after a power cut.
        blobs
            .prepare()
            .and_then(|()| disk.sync_folder(folder))
            .map_err(|error| failed(&format!("{} could not be prepared", folder.display()), error))?;
        let figures = Arc::new(Figures::default());
        let health = Arc::new(Health::default());
        let durable = Arc::new(Durable::default());
        let upkeep = Upkeep::start(upkeep::Start {
            database: database.clone(),
            blobs: Arc::clone(&blobs),
            figures: Arc::clone(&figures),
            wal_pages_max: i64::try_from(options.wal_bytes_max / page_bytes(&connection)?).unwrap_or(i64::MAX),
            durable: Arc::clone(&durable),
            lock,
        })?;
        let readers = Readers::new(
            database.clone(),
            options.readers,
            (Arc::clone(&durable), options.meter.clone()),
        );
        let fresh = Arc::<Fresh>::default();
        let known = Arc::<Known>::default();
        let writer = Writer::start(writer::Start {
            database,
            options: options.clone(),
            upkeep,
            figures: Arc::clone(&figures),
            health: Arc::clone(&health),
            durable,
            fresh: Arc::clone(&fresh),
            known: Arc::clone(&known),
            readers: readers.clone(),
        })?;
        drop(connection);
        Ok(Self {
            readers,
            writer: Some(writer),
            blobs,
            figures,
            health,
            fresh,
            known: Some(known),
            folder: folder.to_owned(),
            options,
        })
    }

    /// Opens the store in `folder` for reading only, also while another process writes. Every writing call fails.
    pub fn open_read_only(folder: &Path) -> Result<Self, StoreError> {
        let options = Options::default();
        let database = Database::new(folder.join(DATABASE), &*options.disk);
        if !database.path.exists() {
            return Err(StoreError::NotFound { what: "data folder" });
        }
        schema::check_version(&schema::open_reader(&database)?, &database.path)?;
        Ok(Self {
            readers: Readers::new(database, options.readers, (Arc::default(), options.meter.clone())),
            writer: None,
            blobs: Arc::new(Blobs::new(folder, 0, Arc::clone(&options.disk))),
            figures: Arc::default(),
            health: Arc::default(),
            fresh: Arc::default(),
            known: None,
            folder: folder.to_owned(),
            options,
        })
    }

    /// Writes what was handed over, checkpoints, and frees the folder for another process. Calls after it fail with
    /// [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.readers.close(self.options.readers).await;
        self.fresh.clear();
        match &self.writer {
            Some(writer) => writer.stop().await,
            None => Ok(()),
        }
    }

    /// Every delivery that would be recognised when it is asked for again.
    pub async fn remembered(&self, now: Timestamp) -> Result<Vec<Once>, StoreError> {
        self.readers
            .run(move |db| once::remembered(db, now.as_millisecond()))
            .await
    }

    /// Recognises these deliveries too, made elsewhere, when they are asked for here.
    pub async fn remember(&self, keys: Vec<Once>) -> Result<(), StoreError> {
        for part in keys.chunks(KEYS_AT_ONCE) {
            let part = part.to_vec();
            self.write(move |tx, effects| once::remember(tx, &part, &mut effects.once))
                .await?;
        }
        Ok(())
    }

    /// Keeps the boxes of a domain on disk, out of reach: whoever asks for their addresses next gets new ones.
    pub async fn set_boxes_aside(&self, domain: &Domain) -> Result<(), StoreError> {
        let domain = domain.clone();
        self.write(move |tx, _| folders::set_boxes_aside(tx, &domain)).await
    }

    /// What the store did since it was opened.
    pub fn statistics(&self) -> Statistics {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Statistics {
            commits: read(&self.figures.commits),
            writes: read(&self.figures.writes),
            failed_commits: read(&self.figures.failed_commits),
            largest_group: read(&self.figures.largest_group),
            checkpoints: read(&self.figures.checkpoints),
            orphans_removed: read(&self.figures.orphans_removed),
        }
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Why nothing can be stored at the moment; `None` when the last writes succeeded.
    pub fn trouble(&self) -> Option<Trouble> {
        self.health.trouble()
    }

    /// Writes and removes a body file, to see whether there is still trouble with those; it is over once this succeeds.
    async fn probe_bodies(&self) -> Result<(), StoreError> {
        let mut stage: Box<dyn Stage> = Box::new(self.start_stage(None).await?);
        stage.write(&vec![0; PROBE_BYTES]).await?;
        // Dropped with its guard: the file is gone again.
        stage.finish(b"").await.map(drop)
    }

    async fn start_stage(&self, turn: Option<OwnedSemaphorePermit>) -> Result<SqliteStage, StoreError> {
        self.writer()?;
        let started = SqliteStage::start(Arc::clone(&self.blobs), Arc::clone(&self.health), turn).await;
        self.health.note(&started);
        started
    }

    /// Runs a small write in the next group.
    async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer()?.run(SMALL_WRITE_BYTES, write).await
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer
            .as_ref()
            .ok_or_else(|| failed("the data folder was opened read-only", "a write was asked of it"))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            inline_bytes_max: 64 * 1024,
            readers: 4,
            group_writes_max: 256,
            group_bytes_max: 4 * 1024 * 1024,
            queue_max: 1024,
            wal_bytes_max: 32 * 1024 * 1024,
            disk: Arc::new(LocalDisk),
            uid_validity_first: 1,
            stages: Arc::new(Semaphore::new(1024)),
            meter: Meter::default(),
        }
    }
}

/// The folder holds health data: only its owner enters. Its own name, and that of each folder made for it above, is durable on return.
fn create_private(folder: &Path, disk: &dyn Disk) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    builder.create(folder)?;
    for parent in made.iter().filter_map(|path| path.parent()) {
        let is_here = parent.as_os_str().is_empty();
        disk.sync_folder(if is_here { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Makes the log that an earlier run left durable as it is read now. That run may have ended between a failed sync and the next commit, which
/// would have written the same part of the log again: without this, commits of this run would stand behind a gap that only shows
/// after a power cut. An orderly end leaves no log.
fn make_sure_of(log: &Path, disk: &dyn Disk) -> std::io::Result<()> {
    match std::fs::metadata(log) {
        Ok(found) if found.len() > 0 => disk.rewrite(log),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path: PathBuf = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| failed(&format!("{} could not be opened", path.display()), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: folder.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(&format!("{} could not be locked", path.display()), error)),
    }
}

/// A number that no run had, durable on return: by it, body files of different runs have different names. In a transaction of its own,
/// because a statement that returns rows commits only after they are read, when nobody hears that the commit failed.
fn next_run(connection: &Connection) -> Result<u64, StoreError> {
    execute(connection, "BEGIN IMMEDIATE")?;
    let raised = raise(connection, "run", 1).and_then(|last| {
        execute(connection, "COMMIT")?;
        Ok(last)
    });
    if raised.is_err() && !connection.is_autocommit() {
        execute(connection, "ROLLBACK")?;
    }
    Ok(raised?.cast_unsigned() + 1)
}

fn page_bytes(connection: &Connection) -> Result<u64, StoreError> {
    let bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(bytes.max(1).cast_unsigned())
}

/// As large as a body file at least is.
const PROBE_BYTES: usize = 64 * 1024;
/// Keys written in one transaction.
const KEYS_AT_ONCE: usize = 2_000;
const DATABASE: &str = "store.db";
/// SQLite's name for its log.
const LOG: &str = "store.db-wal";
/// About what a change without a body adds to the log.
const SMALL_WRITE_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::store::{BodyFile, JournalFilter, JournalRow, JournalStore, LogFile};

    /// The local disk, and which folders were synced.
    #[derive(Debug, Default)]
    struct Noted {
        synced: Mutex<Vec<PathBuf>>,
    }

    impl Disk for Noted {
        fn log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
            LocalDisk.log(path)
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
            self.synced.lock().unwrap().push(folder.to_owned());
            LocalDisk.sync_folder(folder)
        }
    }

    #[test]
    fn a_data_folder_that_was_made_is_found_again_after_a_power_cut() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let opened = || {
            let disk = Arc::new(Noted::default());
            let options = Options {
                disk: Arc::clone(&disk) as Arc<dyn Disk>,
                ..Options::default()
            };
            drop(SqliteStore::open(&folder, options).unwrap());
            disk.synced.lock().unwrap().clone()
        };
        let synced = opened();
        for name in ["", "a", "a/b", "a/b/bodies"] {
            assert!(synced.contains(&parent.path().join(name)), "{name}: {synced:?}");
        }
    }

    /// A VFS under which nothing can be appended to the log while it is full.
    #[derive(Debug)]
    struct FullLog {
        name: &'static str,
        is_full: AtomicBool,
    }

    impl FullLog {
        fn register(name: &'static str, is_full: bool) -> Arc<Self> {
            let is_full = AtomicBool::new(is_full);
            let disk = Arc::new(Self { name, is_full });
            store_vfs::register(name, Arc::clone(&disk) as Arc<dyn store_vfs::Watcher>).unwrap();
            disk
        }
    }

    impl store_vfs::Watcher for FullLog {
        fn change(&self, path: &Path, change: store_vfs::Change<'_>) -> store_vfs::Verdict {
            let is_log = path.extension().is_some_and(|extension| extension == "db-wal");
            match change {
                store_vfs::Change::Write { .. } if is_log && self.is_full.load(Ordering::SeqCst) => {
                    store_vfs::Verdict::Fail(store_vfs::Failure::Full)
                }
                _ => store_vfs::Verdict::Make,
            }
        }
    }

    impl Disk for FullLog {
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

    /// Or the run after it would give its body files the same names, in the place of those that rows name.
    #[tokio::test]
    async fn a_run_whose_number_is_not_stored_does_not_begin() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Options::default()).unwrap();
        store.close().await.unwrap();
        let options = Options {
            disk: FullLog::register("full-log", true),
            ..Options::default()
        };
        let opened = SqliteStore::open(folder.path(), options).map(drop);
        assert!(matches!(opened, Err(StoreError::Full { .. })), "{opened:?}");
        SqliteStore::open(folder.path(), Options::default()).unwrap();
    }

    /// "Delivered before" lets a peer forget its message: so it must not rest on a row that is rolled back.
    #[tokio::test]
    async fn what_a_write_found_in_a_group_that_is_rolled_back_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FullLog::register("log-that-fills", false);
        let options = Options {
            disk: Arc::clone(&disk) as Arc<dyn Disk>,
            ..Options::default()
        };
        let store = Arc::new(SqliteStore::open(folder.path(), options).unwrap());
        let deliver_once = || {
            let store = Arc::clone(&store);
            let write = |tx: &Connection, _: &mut Effects| {
                let sql = "INSERT INTO number (name, value) VALUES ('once', 0) ON CONFLICT DO NOTHING";
                let inserted = tx.execute(sql, [])?;
                (inserted > 0).then_some(()).ok_or(StoreError::Repeated)
            };
            async move { store.write(write).await }
        };
        // The writer is busy until both have handed theirs over, so they make one group.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let busy = store.write(move |_, _| {
            assert!(wait.recv().is_err(), "told by the end of the other side");
            Ok(())
        });
        let both = async {
            let tasks = [tokio::spawn(deliver_once()), tokio::spawn(deliver_once())];
            tokio::task::yield_now().await;
            disk.is_full.store(true, Ordering::SeqCst);
            drop(go);
            let [one, two] = tasks;
            [one.await.unwrap(), two.await.unwrap()]
        };
        let (_, answers) = tokio::join!(busy, both);
        for answer in answers {
            assert!(matches!(answer, Err(StoreError::Full { .. })), "{answer:?}");
        }
        disk.is_full.store(false, Ordering::SeqCst);
        deliver_once().await.unwrap();
        assert!(matches!(deliver_once().await, Err(StoreError::Repeated)));
    }

    fn record(bytes: usize) -> JournalRow {
        JournalRow {
            sequence: 0,
            at: Timestamp::UNIX_EPOCH,
            event: "test".into(),
            session: String::new(),
            reason: String::new(),
            detail: "x".repeat(bytes),
        }
    }

    async fn limit_pages(store: &SqliteStore, more: Option<i64>) {
        let limit = move |tx: &Connection, _: &mut Effects| {
            let pages: i64 = tx.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let limit = more.map_or(i64::from(u32::MAX) - 1, |more| pages + more);
            tx.query_row(&format!("PRAGMA max_page_count = {limit}"), [], |_| Ok(()))?;
            Ok(())
        };
        store.write(limit).await.unwrap();
    }

    async fn append(store: Arc<SqliteStore>, bytes: usize) -> Result<(), StoreError> {
        store.append(vec![record(bytes)]).await
    }

    async fn journal_length(store: &SqliteStore) -> usize {
        let filter = JournalFilter {
            limit: 1000,
            ..JournalFilter::default()
        };
        store.journal(filter).await.unwrap().len()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_database_fails_calls_loses_nothing_and_serves_again_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(folder.path(), Options::default()).unwrap());
        store.append(vec![record(10)]).await.unwrap();
        limit_pages(&store, Some(8)).await;
        let tasks: Vec<_> = (0..30)
            .map(|n| tokio::spawn(append(Arc::clone(&store), if n % 2 == 0 { 10 } else { 30_000 })))
            .collect();
        let mut stored = 1;
        let mut refused = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => stored += 1,
                Err(error) => {
                    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0);
        assert_eq!(journal_length(&store).await, stored, "exactly what was answered Ok");
        limit_pages(&store, None).await;
        store.append(vec![record(30_000)]).await.unwrap();
        assert_eq!(journal_length(&store).await, stored + 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_transaction_lost_inside_a_group_fails_the_group_and_the_next_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Options::default()).unwrap();
        // What SQLite itself does after some I/O errors.
        let lost = store.write(|tx, _| Ok(tx.execute_batch("ROLLBACK")?)).await;
        assert!(matches!(lost, Err(StoreError::Backend { .. })), "{lost:?}");
        assert_eq!(store.statistics().failed_commits, 1);
        store.append(vec![record(10)]).await.unwrap();
        assert_eq!(journal_length(&store).await, 1);
    }

    #[tokio::test]
    async fn writes_that_fail_inside_a_group_leave_the_others_stored_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(folder.path(), Options::default()).unwrap());
        // The writer is busy until all have handed theirs over, so they make one group.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let busy = store.write(move |_, _| {
            assert!(wait.recv().is_err(), "told by the end of the other side");
            Ok(())
        });
        let write = |n: i64| {
            let then = if n % 3 == 1 {
                "INSERT INTO nothing VALUES (1)"
            } else {
                ""
            };
            move |tx: &Connection, _: &mut Effects| {
                tx.execute("INSERT INTO number (name, value) VALUES (?1, 0)", [format!("test {n}")])?;
                Ok(tx.execute_batch(then)?)
            }
        };
        let insert = |n: i64| {
            let store = Arc::clone(&store);
            async move { store.write(write(n)).await }
        };
        let inserts = async {
            let all: Vec<_> = (0..9).map(|n| tokio::spawn(insert(n))).collect();
            // On one thread, each hands its write over before this goes on.
            tokio::task::yield_now().await;
            drop(go);
            let mut outcomes = Vec::new();
            for one in all {
                outcomes.push(one.await.unwrap().is_ok());
            }
            outcomes
        };
        let (first, outcomes) = tokio::join!(busy, inserts);
        first.unwrap();
        assert_eq!(outcomes, (0..9).map(|n| n % 3 != 1).collect::<Vec<_>>());
        let count = |tx: &Connection, _: &mut Effects| {
            let sql = "SELECT count(*) FROM number WHERE name LIKE 'test %'";
            Ok(tx.query_row(sql, [], |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(store.write(count).await.unwrap(), 6);
        let statistics = store.statistics();
        assert_eq!(
            (statistics.largest_group, statistics.failed_commits),
            (10, 0),
            "the busy one too"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_write_with_an_sql_error_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Options::default()).unwrap();
        let failed = store
            .write(|tx, _| Ok(tx.execute_batch("INSERT INTO nothing VALUES (1)")?))
            .await;
        assert!(matches!(failed, Err(StoreError::Backend { .. })));
        assert_eq!(store.statistics().failed_commits, 0, "it failed alone");
    }

    #[tokio::test]
    async fn commits_ask_for_a_sync_and_the_log_mode_is_wal() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Options::default()).unwrap();
        let settings = store.write(|tx, _| {
            let mode: String = tx.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            let synchronous: i64 = tx.pragma_query_value(None, "synchronous", |row| row.get(0))?;
            Ok((mode, synchronous))
        });
        assert_eq!(
            settings.await.unwrap(),
            ("wal".to_owned(), 2),
            "FULL: see `open_committer`"
        );
    }
}
