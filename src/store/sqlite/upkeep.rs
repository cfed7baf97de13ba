//! Work beside the commits: checkpoints, removal of body files, the sweep of orphans.
//!
//! One thread with a connection of its own copies the log into the database while the writer goes on (a passive checkpoint
//! takes no lock that a commit waits for). Only a complete checkpoint lets the log start over, and under load there is always
//! something new by the time a copy ends: so it copies again what came meanwhile, which is less each time, and the writer
//! itself copies the little that is left. A log of [`WAL_BOUNDS_MAX`] times its bound makes the writer wait for the copy under way.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OpenFlags};

use super::rows::failed;
use super::schema::Database;
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
    wal_pages_max: i64,
    lock: File,
}

/// What the thread needs to start.
pub(super) struct Start {
    pub(super) database: Database,
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
    RemoveUnlessNamed(BlobName),
    Sweep,
}

impl Upkeep {
    /// Starts the thread, with the sweep as its first task.
    pub(super) fn start(start: Start) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = start.database.connect(flags)?;
        // FULL makes a checkpoint sync the log before and the database after copying.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        let (tasks, todo) = sync_channel(TASKS_MAX);
        let (end, ended) = sync_channel(1);
        let worker = Worker {
            connection,
            blobs: Arc::clone(&start.blobs),
            figures: Arc::clone(&start.figures),
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

    /// Sees to it that the log does not grow without bound. Called by the writer after each commit, with its connection.
    pub(super) fn after_commit(&mut self, connection: &Connection) {
        let (pages, copied) = match log_pages(connection) {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(%error, "the size of the log could not be read");
                return;
            }
        };
        if self.is_copying {
            let is_too_long = pages >= self.wal_pages_max.saturating_mul(WAL_BOUNDS_MAX);
            if !self.copy_ended(is_too_long) {
                return;
            }
        }
        let left = pages - copied;
        if self.rounds == 0 {
            if left >= self.wal_pages_max {
                self.start_copy();
            }
        } else if left > self.wal_pages_max / 4 && self.rounds < ROUNDS_MAX {
            self.start_copy();
        } else {
            self.rounds = 0;
            count_checkpoint(&self.figures, checkpoint(connection));
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

    /// Whether the copy under way has ended; waits for that when told to.
    fn copy_ended(&mut self, wait: bool) -> bool {
        let ended = match self.ended.try_recv() {
            Err(TryRecvError::Empty) if wait => self.ended.recv().is_ok(),
            Err(TryRecvError::Empty) => false,
            // Without its thread the store goes on, and the writer copies by itself.
            Ok(()) | Err(TryRecvError::Disconnected) => true,
        };
        self.is_copying = !ended && !wait;
        !self.is_copying
    }

    fn hand_over(&self, task: Task) -> bool {
        self.tasks.try_send(task).is_ok()
    }
}

struct Worker {
    connection: Connection,
    blobs: Arc<Blobs>,
    figures: Arc<Figures>,
    end: SyncSender<()>,
}

impl Worker {
    fn serve(self, todo: &Receiver<Task>) {
        while let Ok(task) = todo.recv() {
            match task {
                Task::Checkpoint => self.checkpoint(),
                Task::Remove(file) => self.blobs.remove(file),
                Task::RemoveUnlessNamed(file) => self.remove_unless_named(file),
                Task::Sweep => self.sweep(),
            }
        }
    }

    fn checkpoint(&self) {
        count_checkpoint(&self.figures, checkpoint(&self.connection));
        if self.end.send(()).is_err() {
            tracing::debug!("the store closed during a checkpoint");
        }
    }

    fn sweep(&self) {
        match self.blobs.sweep(|file| self.is_named(file).map_err(io::Error::other)) {
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

    fn remove_unless_named(&self, file: BlobName) {
        match self.is_named(file) {
            Ok(true) => {}
            Ok(false) => self.blobs.remove(file),
            Err(error) => {
                tracing::warn!(%error, "a body file that may be unused stays; the next start looks again");
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

fn count_checkpoint(figures: &Figures, result: Result<(), rusqlite::Error>) {
    match result {
        Ok(()) => drop(figures.checkpoints.fetch_add(1, Ordering::Relaxed)),
        Err(error) => tracing::error!(%error, "a checkpoint failed; the log grows until one succeeds"),
    }
}

/// Pages in the log, and how many of them the database has.
fn log_pages(connection: &Connection) -> Result<(i64, i64), rusqlite::Error> {
    connection
        .prepare_cached("PRAGMA wal_checkpoint(NOOP)")?
        .query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
}

/// Copies beside the writer before it copies the rest itself, even if there is much left.
const ROUNDS_MAX: u32 = 4;
/// How many times its bound the log may grow to while it is being copied.
const WAL_BOUNDS_MAX: i64 = 4;
/// A checkpoint needs no cache of its own.
const CACHE_KIB: i64 = -256;
/// Files waiting for removal; beyond that, the writer removes them itself.
const TASKS_MAX: usize = 4096;
