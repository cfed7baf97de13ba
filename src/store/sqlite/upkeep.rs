//! Work beside the commits: checkpoints, removal of body files, the sweep of orphans.
//!
//! One thread with a connection of its own copies the log into the database while the writer goes on (a passive checkpoint
//! takes no lock that a commit waits for). Under endless load it never catches up completely, and only a complete
//! checkpoint lets the log start over; so when the log has grown to twice its bound, the writer itself copies the little that is left.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OpenFlags};

use super::rows::failed;
use super::writer::Figures;
use crate::store::StoreError;
use crate::store::blobs::{BlobName, Blobs};

/// The writer's side.
pub(super) struct Upkeep {
    tasks: SyncSender<Task>,
    thread: JoinHandle<()>,
    checkpointing: Arc<AtomicBool>,
    blobs: Arc<Blobs>,
    figures: Arc<Figures>,
    wal_pages_max: i64,
    lock: File,
}

/// What the thread needs to start.
pub(super) struct Start {
    pub(super) database: PathBuf,
    pub(super) blobs: Arc<Blobs>,
    pub(super) figures: Arc<Figures>,
    /// Log size in pages from which it is checkpointed.
    pub(super) wal_pages_max: i64,
    /// The lock on the data folder, held until everything has ended.
    pub(super) lock: File,
}

enum Task {
    Checkpoint,
    Remove(BlobName),
    Sweep,
}

impl Upkeep {
    /// Starts the thread, with the sweep as its first task.
    pub(super) fn start(start: Start) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&start.database, flags)?;
        // FULL makes a checkpoint sync the log before and the database after copying.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        let (tasks, todo) = sync_channel(TASKS_MAX);
        let checkpointing = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            connection,
            blobs: Arc::clone(&start.blobs),
            figures: Arc::clone(&start.figures),
            checkpointing: Arc::clone(&checkpointing),
        };
        let thread = thread::Builder::new()
            .name("store-upkeep".into())
            .spawn(move || worker.serve(&todo))
            .map_err(|source| failed("the upkeep thread could not be started", source))?;
        let upkeep = Self {
            tasks,
            thread,
            checkpointing,
            blobs: start.blobs,
            figures: start.figures,
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

    /// Sees to it that the log does not grow without bound. Called by the writer after each commit, with its connection.
    pub(super) fn after_commit(&self, connection: &Connection) {
        let state = connection
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)")
            .and_then(|mut statement| {
                statement.query_row([], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
            });
        match state {
            Ok((pages, copied)) if pages - copied >= self.wal_pages_max => self.start_checkpoint(),
            Ok((pages, _)) if pages >= self.wal_pages_max * 2 && !self.checkpointing.load(Ordering::Acquire) => {
                self.complete_checkpoint(connection);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the size of the log could not be read"),
        }
    }

    /// Ends the thread when it has done what it was given; returns the lock on the data folder.
    pub(super) fn stop(self) -> File {
        drop(self.tasks);
        if self.thread.join().is_err() {
            tracing::error!("the upkeep thread of the store ended by a panic");
        }
        self.lock
    }

    fn start_checkpoint(&self) {
        if !self.checkpointing.swap(true, Ordering::AcqRel) && !self.hand_over(Task::Checkpoint) {
            self.checkpointing.store(false, Ordering::Release);
        }
    }

    fn complete_checkpoint(&self, connection: &Connection) {
        match checkpoint(connection) {
            Ok(()) => drop(self.figures.checkpoints.fetch_add(1, Ordering::Relaxed)),
            Err(error) => tracing::error!(%error, "a checkpoint failed; the log grows until one succeeds"),
        }
    }

    fn hand_over(&self, task: Task) -> bool {
        self.tasks.try_send(task).is_ok()
    }
}

struct Worker {
    connection: Connection,
    blobs: Arc<Blobs>,
    figures: Arc<Figures>,
    checkpointing: Arc<AtomicBool>,
}

impl Worker {
    fn serve(self, todo: &Receiver<Task>) {
        while let Ok(task) = todo.recv() {
            match task {
                Task::Checkpoint => self.checkpoint(),
                Task::Remove(file) => self.blobs.remove(file),
                Task::Sweep => self.sweep(),
            }
        }
    }

    fn checkpoint(&self) {
        match checkpoint(&self.connection) {
            Ok(()) => drop(self.figures.checkpoints.fetch_add(1, Ordering::Relaxed)),
            Err(error) => tracing::error!(%error, "a checkpoint failed; the log grows until one succeeds"),
        }
        self.checkpointing.store(false, Ordering::Release);
    }

    fn sweep(&self) {
        match self.blobs.sweep(|file| self.is_named(file).map_err(io::Error::other)) {
            Ok(0) => {}
            Ok(removed) => {
                self.figures.orphans_removed.fetch_add(removed, Ordering::Relaxed);
                tracing::info!(files = removed, "removed body files that no message names");
            }
            Err(error) => {
                tracing::error!(%error, "the sweep of unused body files ended early; the next start tries again")
            }
        }
    }

    fn is_named(&self, file: BlobName) -> Result<bool, rusqlite::Error> {
        self.connection
            .prepare_cached("SELECT 1 FROM message WHERE file = ?1")?
            .exists([file.to_string()])
    }
}

fn checkpoint(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
        .query_row([], |_| Ok(()))
}

/// A checkpoint needs no cache of its own.
const CACHE_KIB: i64 = -256;
/// Files waiting for removal; beyond that, the writer removes them itself.
const TASKS_MAX: usize = 4096;
