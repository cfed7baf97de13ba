//! Work beside the commits: checkpoints, removal of body files, the sweep of orphans.
//!
//! One thread with a connection of its own copies the log into the database while the writer goes on (a passive checkpoint
//! takes no lock that a commit waits for), and syncs what it copied. Only a complete checkpoint lets the log start over, and under load there is
//! always something new by the time a copy ends: so it copies again what came meanwhile, which is less each time, and the writer
//! itself copies and syncs the little that is left. A log of [`WAL_BOUNDS_MAX`] times its bound makes the writer wait for the copy under way.
//!
//! Only what is durable in the log may be copied, or a database could hold half of a commit that a power cut takes. The log is synced
//! beside the commits, and a checkpoint would copy the last commit before that: so a read transaction is kept open meanwhile, begun
//! before the sync that confirms all it sees, and SQLite copies nothing that such a transaction does not see.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use super::durable::{Beginning, Durable};
use super::rows::{execute, failed, is_of_sync};
use super::schema::{self, Database};
use super::writer::Figures;
use crate::store::StoreError;
use crate::store::blobs::{BlobName, Blobs};

/// The writer's side.
pub(super) struct Upkeep {
    tasks: SyncSender<Task>,
    thread: JoinHandle<()>,
    /// One message for each checkpoint that the thread has ended.
    ended: Receiver<()>,
    /// Copies begun since the log last started over; the last one is under way when `is_copying`.
    rounds: u32,
    is_copying: bool,
    blobs: Arc<Blobs>,
    figures: Arc<Figures>,
    failed_sync: FailedSync,
    wal_pages_max: i64,
    lock: File,
}

/// What is to be done once a commit is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// The writer copies the rest of the log.
    CopyRest,
    /// All is to be copied once more, see [`FailedSync`].
    CopyAgain,
}

/// Whether a copy ended with a failed sync. SQLite counts what it copied in parts as done, whatever becomes of the syncs that follow: when one
/// fails the system may have dropped these parts, and the next copy would not bring them back.
#[derive(Clone, Debug, Default)]
struct FailedSync(Arc<AtomicBool>);

/// What the thread needs to start.
pub(super) struct Start {
    pub(super) database: Database,
    pub(super) blobs: Arc<Blobs>,
    pub(super) figures: Arc<Figures>,
    /// Log size in pages from which it is checkpointed.
    pub(super) wal_pages_max: i64,
    pub(super) durable: Arc<Durable>,
    /// The lock on the data folder, held until everything has ended.
    pub(super) lock: File,
}

/// What is in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogPages {
    /// Pages in it.
    pub(super) all: i64,
    /// Of them, those that the database has.
    copied: i64,
}

enum Task {
    Checkpoint,
    Remove(BlobName),
    RemoveUnlessNamed(BlobName),
    Sweep,
    /// To close its connections, and say so.
    LetGo(SyncSender<()>),
}

impl Upkeep {
    /// Starts the thread, with the sweep as its first task.
    pub(super) fn start(start: Start) -> Result<Self, StoreError> {
        let connections = Connections::open(&start.database)?;
        let (tasks, todo) = sync_channel(TASKS_MAX);
        let (end, ended) = sync_channel(1);
        let failed_sync = FailedSync::default();
        let worker = Worker {
            database: start.database,
            connections: Some(connections),
            durable: start.durable,
            blobs: Arc::clone(&start.blobs),
            figures: Arc::clone(&start.figures),
            failed_sync: failed_sync.clone(),
            end,
        };
        let thread = thread::Builder::new()
            .name("store-upkeep".into())
            .spawn(move || worker.serve(&todo))
            .map_err(|source| failed("the upkeep thread could not be started", source))?;
        let upkeep = Self {
            tasks,
            thread,
            ended,
            rounds: 0,
            is_copying: false,
            blobs: start.blobs,
            figures: start.figures,
            failed_sync,
            wal_pages_max: start.wal_pages_max,
            lock: start.lock,
        };
        upkeep.hand_over(Task::Sweep);
        Ok(upkeep)
    }

    /// Removes a body file soon.
    pub(super) fn remove(&self, file: BlobName) {
        if !self.hand_over(Task::Remove(file)) {
            self.blobs.remove(file);
        }
    }

    /// The same if no row names it.
    pub(super) fn remove_unless_named(&self, file: BlobName) {
        // Left to the sweep of the next start when there is too much to do.
        self.hand_over(Task::RemoveUnlessNamed(file));
    }

    /// Whether the log has grown so far beyond its bound that the copy under way is to be waited for.
    pub(super) fn is_late(&self, log: LogPages) -> bool {
        self.is_copying && log.all >= self.wal_pages_max.saturating_mul(WAL_BOUNDS_MAX)
    }

    /// Waits for the copy under way. All that is in the log must be durable, because the copy waits for that.
    pub(super) fn wait_for_copy(&mut self) {
        // Without its thread the store goes on, and the writer copies by itself.
        self.is_copying = false;
        if self.ended.recv().is_err() {
            tracing::error!("the upkeep thread of the store is gone");
        }
    }

    /// Sees to it that the log does not grow without bound. Called by the writer after each commit.
    pub(super) fn after_commit(&mut self, log: LogPages) -> Next {
        if self.is_copying {
            self.is_copying = matches!(self.ended.try_recv(), Err(TryRecvError::Empty));
            if self.is_copying {
                return Next::Nothing;
            }
        }
        if self.is_to_copy_again() {
            return Next::CopyAgain;
        }
        let left = log.all - log.copied;
        if self.rounds == 0 {
            if left >= self.wal_pages_max {
                self.start_copy();
            }
            Next::Nothing
        } else if left > self.wal_pages_max / REST_OF_BOUND && self.rounds < ROUNDS_MAX {
            self.start_copy();
            Next::Nothing
        } else {
            self.rounds = 0;
            Next::CopyRest
        }
    }

    /// Whether what was copied does not count. No copy may be under way.
    pub(super) fn is_to_copy_again(&self) -> bool {
        self.failed_sync.0.load(Ordering::SeqCst)
    }

    /// Nothing counts as copied any more.
    pub(super) fn copies_again(&mut self) {
        self.failed_sync.0.store(false, Ordering::SeqCst);
        self.rounds = 0;
    }

    /// Copies the rest of the log, all of it being durable, so that it can start over.
    pub(super) fn copy_rest(&self, connection: &Connection) {
        let copied = checkpoint(connection).map_err(StoreError::from);
        count_checkpoint(&self.figures, self.failed_sync.note(copied));
    }

    /// Returns once the thread has no connection open; it opens new ones for its next task.
    pub(super) fn let_go(&self) {
        let (tell, told) = sync_channel(1);
        // Without its thread there is no connection either.
        if self.tasks.send(Task::LetGo(tell)).is_ok() && told.recv().is_err() {
            tracing::error!("the upkeep thread of the store is gone");
        }
    }

    /// Waits for the copy under way, if one is.
    pub(super) fn end_copy(&mut self) {
        if self.is_copying {
            self.wait_for_copy();
        }
    }

    /// Ends the thread when it has done what it was given; returns the lock on the data folder.
    pub(super) fn stop(self) -> File {
        drop(self.tasks);
        // A copy that ends now must not wait for a writer that no longer asks.
        drop(self.ended);
        if self.thread.join().is_err() {
            tracing::error!("the upkeep thread of the store ended by a panic");
        }
        self.lock
    }

    fn start_copy(&mut self) {
        self.is_copying = self.hand_over(Task::Checkpoint);
        self.rounds += 1;
    }

    fn hand_over(&self, task: Task) -> bool {
        self.tasks.try_send(task).is_ok()
    }
}

struct Worker {
    database: Database,
    /// `None`: to be opened for the next task.
    connections: Option<Connections>,
    durable: Arc<Durable>,
    blobs: Arc<Blobs>,
    figures: Arc<Figures>,
    failed_sync: FailedSync,
    end: SyncSender<()>,
}

impl FailedSync {
    fn note(&self, copied: Result<(), StoreError>) -> Result<(), StoreError> {
        if copied.as_ref().is_err_and(is_of_sync) {
            self.0.store(true, Ordering::SeqCst);
        }
        copied
    }
}

/// What the thread works with.
struct Connections {
    /// Copies, and looks names up.
    copying: Connection,
    /// Holds the read transaction that bounds a copy.
    bound: Connection,
}

impl Connections {
    fn open(database: &Database) -> Result<Self, StoreError> {
        let copying = schema::open_copier(database)?;
        copying.pragma_update(None, "cache_size", CACHE_KIB)?;
        let bound = database.connect(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        bound.pragma_update(None, "cache_size", CACHE_KIB)?;
        Ok(Self { copying, bound })
    }

    /// Copies what is in the log now, once it is durable.
    fn checkpoint(&self, durable: &Durable) -> Result<(), StoreError> {
        let beginning = durable.beginning();
        execute(&self.bound, "BEGIN")?;
        let copied = self.checkpoint_bounded(durable, beginning);
        let ended = execute(&self.bound, "COMMIT");
        // A sync that failed is what must not be forgotten.
        copied?;
        Ok(ended?)
    }

    fn checkpoint_bounded(&self, durable: &Durable, beginning: Beginning) -> Result<(), StoreError> {
        // The transaction sees what the log holds from its first statement on.
        self.bound.prepare_cached("SELECT 1 FROM number LIMIT 1")?.exists([])?;
        durable.confirm_blocking(beginning)?;
        checkpoint(&self.copying)?;
        // SQLite does so only when nothing is left of the log; then all of it would be on the writer, and everybody would wait for that.
        Ok(store_vfs::sync_database(&self.copying)?)
    }
}

impl Worker {
    fn serve(mut self, todo: &Receiver<Task>) {
        while let Ok(task) = todo.recv() {
            match task {
                Task::Checkpoint => self.checkpoint(),
                Task::Remove(file) => self.blobs.remove(file),
                Task::RemoveUnlessNamed(file) => self.remove_unless_named(file),
                Task::Sweep => self.sweep(),
                Task::LetGo(done) => {
                    self.connections = None;
                    if done.send(()).is_err() {
                        tracing::debug!("nobody waits for the connections to be closed");
                    }
                }
            }
        }
    }

    fn connections(&mut self) -> Result<&Connections, StoreError> {
        let connections = match self.connections.take() {
            Some(connections) => connections,
            None => Connections::open(&self.database)?,
        };
        Ok(self.connections.insert(connections))
    }

    fn checkpoint(&mut self) {
        let durable = Arc::clone(&self.durable);
        let copied = self
            .connections()
            .and_then(|connections| connections.checkpoint(&durable));
        if copied.is_err() {
            // Whatever its transactions are left in goes with it.
            self.connections = None;
        }
        count_checkpoint(&self.figures, self.failed_sync.note(copied));
        if self.end.send(()).is_err() {
            tracing::debug!("the store closed during a checkpoint");
        }
    }

    fn sweep(&mut self) {
        let blobs = Arc::clone(&self.blobs);
        match blobs.sweep(|file| self.is_named(file).map_err(io::Error::other)) {
            Ok(0) => {}
            Ok(removed) => {
                self.figures.orphans_removed.fetch_add(removed, Ordering::Relaxed);
                tracing::info!(files = removed, "removed body files that no message names");
            }
            Err(error) => {
                tracing::error!(%error, "the sweep of unused body files ended early; the next start tries again");
            }
        }
    }

    fn remove_unless_named(&mut self, file: BlobName) {
        match self.is_named(file) {
            Ok(true) => {}
            Ok(false) => self.blobs.remove(file),
            Err(error) => {
                tracing::warn!(%error, "a body file that may be unused stays; the next start looks again");
            }
        }
    }

    /// Whether a row names the file, and if none does, for good: a commit that took the last one away is durable.
    fn is_named(&mut self, file: BlobName) -> Result<bool, StoreError> {
        let durable = Arc::clone(&self.durable);
        let beginning = durable.beginning();
        let named = self
            .connections()?
            .copying
            .prepare_cached("SELECT 1 FROM message WHERE file = ?1")?
            .exists([file.to_string()])?;
        if !named {
            durable.confirm_blocking(beginning)?;
        }
        Ok(named)
    }
}

fn checkpoint(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
        .query_row([], |_| Ok(()))
}

fn count_checkpoint<E: Display>(figures: &Figures, result: Result<(), E>) {
    match result {
        Ok(()) => drop(figures.checkpoints.fetch_add(1, Ordering::Relaxed)),
        Err(error) => tracing::error!(%error, "a checkpoint failed; the log grows until one succeeds"),
    }
}

/// What is in the log, asked by the connection that writes it. Not by the PRAGMA: SQLite compiles one anew each time it runs.
pub(super) fn log_pages(connection: &Connection) -> Result<LogPages, rusqlite::Error> {
    let (all, copied) = connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::NOOP)?;
    Ok(LogPages {
        all: all.into(),
        copied: copied.into(),
    })
}

/// What the writer copies itself, while everybody waits, is at most so small a part of the log's bound, unless [`ROUNDS_MAX`] were not enough.
const REST_OF_BOUND: i64 = 16;
/// Copies beside the writer before it copies the rest itself, even if there is much left.
const ROUNDS_MAX: u32 = 6;
/// How many times its bound the log may grow to while it is being copied.
const WAL_BOUNDS_MAX: i64 = 4;
/// A checkpoint needs no cache of its own.
const CACHE_KIB: i64 = -256;
/// Files waiting for removal; beyond that, the writer removes them itself.
const TASKS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LocalDisk;

    #[test]
    fn asking_how_long_the_log_is_copies_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(folder.path().join("store.db"), &LocalDisk);
        let writer = schema::open_writer(&database, 1).unwrap();
        let asked = || {
            let LogPages { all, copied } = log_pages(&writer).unwrap();
            (all, copied)
        };
        let (all, copied) = asked();
        assert!(all > 0);
        assert_eq!((asked(), copied), ((all, 0), 0));
        checkpoint(&writer).unwrap();
        assert_eq!(asked(), (all, all));
    }
}
