//! The one thread that writes, with group commit.
//!
//! It takes every waiting write, applies them in one transaction, commits (which syncs) once and only then answers them all.
//! The thread never waits in order to make a group larger: while one group syncs, the next one gathers in the channel.
//!
//! A write that fails rolls back alone. That takes a savepoint around each write, and SQLite copies every page that a savepoint
//! may have to bring back. Writes hardly ever fail: so a group begins without savepoints, and when one of its writes fails the
//! group is rolled back and its writes are applied once more, each in a savepoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::health::{Health, Part};
use super::rows::{execute, failed};
use super::schema::Database;
use super::upkeep::Upkeep;
use super::{Options, rows, schema};
use crate::clock::Stopwatch;
use crate::metrics::Meter;
use crate::store::blobs::BlobName;
use crate::store::{RolledBack, StoreError};

/// Hands writes to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    requests: mpsc::Sender<Request>,
    meter: Meter,
}

/// What the thread needs to start.
pub(super) struct Start {
    pub(super) connection: Connection,
    pub(super) database: Database,
    pub(super) options: Options,
    pub(super) upkeep: Upkeep,
    pub(super) figures: Arc<Figures>,
    pub(super) health: Arc<Health>,
}

/// Files that become unused through a write.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Removed once the transaction is committed, if this write was part of it.
    unused_after_commit: Vec<BlobName>,
    /// Removed in any case: bodies of a write that failed.
    unused: Vec<BlobName>,
    /// Named by what was written: unused if the transaction fails.
    named: Vec<BlobName>,
}

/// What the writer did since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) commits: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) failed_commits: AtomicU64,
    pub(super) largest_group: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) orphans_removed: AtomicU64,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(start: Start) -> Result<Self, StoreError> {
        let (requests, waiting) = mpsc::channel(start.options.queue_max.max(1));
        let meter = start.options.meter.clone();
        thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                Thread {
                    start,
                    waiting,
                    doubtful: Vec::new(),
                }
                .serve();
            })
            .map_err(|source| failed("the writer thread could not be started", source))?;
        Ok(Self { requests, meter })
    }

    /// Applies `write` in the next group and returns once it is durable. `bytes` is about what it adds to the log.
    /// If the caller goes away before the group starts, nothing of the call is written. `write` may run more than once; only what
    /// its last run did counts.
    pub(super) async fn run<T, F>(&self, bytes: usize, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending {
            write,
            outcome: None,
            reply,
        });
        let request = Request::Write { job, bytes };
        self.requests.send(request).await.map_err(|_| StoreError::Closed)?;
        let answer = answer.await.map_err(|_| StoreError::Closed)?;
        answer.inspect_err(|error| error.observe(&self.meter))
    }

    /// Writes what waits, ends the thread and returns once the log is checkpointed and the data folder free for another process.
    pub(super) async fn stop(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Stop(reply))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Effects {
    /// `file` belongs to a message that this write removes.
    pub(super) fn remove_after_commit(&mut self, file: BlobName) {
        self.unused_after_commit.push(file);
    }

    /// `file` is named by this write from its commit on.
    pub(super) fn remove_unless_committed(&mut self, file: BlobName) {
        self.named.push(file);
    }

    /// `file` was to be named by a write that failed.
    pub(super) fn remove(&mut self, file: BlobName) {
        self.unused.push(file);
    }
}

enum Request {
    Write { job: Box<dyn Job>, bytes: usize },
    Stop(oneshot::Sender<Result<(), StoreError>>),
}

/// One write with the way to its caller.
trait Job: Send {
    /// Whether the caller is gone, so that nothing needs to be done.
    fn is_abandoned(&self) -> bool;
    /// Runs the write, again if it ran before; whether it succeeded, and if not, what of the disk was to blame.
    fn apply(&mut self, tx: &Connection, effects: &mut Effects) -> Result<(), Option<Failure>>;
    /// Tells the caller, with why the group failed if it did.
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

/// What of the disk failed.
#[derive(Clone, Debug)]
struct Failure {
    reason: String,
    kind: &'static str,
    is_full: bool,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::of(&failed("the database", error))
    }
}

impl Failure {
    fn of(error: &StoreError) -> Self {
        Self {
            reason: error.with_cause(),
            kind: error.kind().unwrap_or("other"),
            is_full: matches!(error, StoreError::Full { .. }),
        }
    }

    fn error(&self) -> StoreError {
        let context = "the transaction was rolled back".to_owned();
        let source = Box::new(RolledBack {
            reason: self.reason.clone(),
            kind: self.kind,
        });
        if self.is_full {
            StoreError::Full { context, source }
        } else {
            StoreError::Backend { context, source }
        }
    }
}

struct Pending<T, F> {
    write: F,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send,
    F: FnMut(&Connection, &mut Effects) -> Result<T, StoreError> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn apply(&mut self, tx: &Connection, effects: &mut Effects) -> Result<(), Option<Failure>> {
        let outcome = (self.write)(tx, effects);
        let applied = match &outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(rows::is_of_disk(error).then(|| Failure::of(error))),
        };
        self.outcome = Some(outcome);
        applied
    }

    fn answer(self: Box<Self>, failure: Option<&Failure>) {
        let result = match (self.outcome, failure) {
            (Some(Err(error)), Some(_)) if rows::is_of_disk(&error) => Err(error),
            // "Delivered before", say, counts on a row that the same failure may have taken.
            (_, Some(failure)) => Err(failure.error()),
            (Some(outcome), None) => outcome,
            (None, None) => Err(StoreError::Closed),
        };
        // A caller that went away meanwhile does not need the answer.
        drop(self.reply.send(result));
    }
}

/// The writes of one transaction.
#[derive(Default)]
struct Group {
    jobs: Vec<Box<dyn Job>>,
    effects: Effects,
    bytes: usize,
    /// A write of it failed: each is in a savepoint.
    is_careful: bool,
    /// Why all of it failed.
    failure: Option<Failure>,
    /// What of the disk made one of them fail alone.
    broken: Option<Failure>,
    stop: Option<oneshot::Sender<Result<(), StoreError>>>,
}

struct Thread {
    start: Start,
    waiting: mpsc::Receiver<Request>,
    /// Named by transactions that failed. Such a transaction may still be in the log, and come back should the process end now: only after
    /// the next commit has taken its place, and if no row names them, are they removed.
    doubtful: Vec<BlobName>,
}

impl Thread {
    fn serve(mut self) {
        let mut stop = None;
        while let Some(request) = self.waiting.blocking_recv() {
            let asked = self.serve_group(request);
            if asked.is_some() {
                // Calls from now on fail with `Closed`; those already waiting are still served.
                self.waiting.close();
                stop = asked;
            }
        }
        let closed = self.finish();
        if let Some(reply) = stop {
            drop(reply.send(closed));
        }
    }

    fn serve_group(&mut self, first: Request) -> Option<oneshot::Sender<Result<(), StoreError>>> {
        let watch = Stopwatch::start();
        let mut group = self.gather(first);
        let committed = !group.jobs.is_empty() && self.commit(&mut group, watch);
        for job in group.jobs {
            job.answer(group.failure.as_ref());
        }
        for file in group.effects.unused {
            self.start.upkeep.remove(file);
        }
        if committed {
            for file in group.effects.unused_after_commit {
                self.start.upkeep.remove(file);
            }
            for file in self.doubtful.drain(..) {
                self.start.upkeep.remove_unless_named(file);
            }
            self.start.upkeep.after_commit(&self.start.connection);
        } else if self.doubtful.len() < DOUBTFUL_MAX {
            self.doubtful.extend(group.effects.named);
        }
        group.stop
    }

    /// Opens a transaction and applies what waits, as far as the bounds of one group allow.
    fn gather(&mut self, first: Request) -> Group {
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Stop(reply) => {
                    group.stop = Some(reply);
                    break;
                }
                Request::Write { job, .. } if job.is_abandoned() => {}
                Request::Write { job, bytes } => {
                    group.bytes = group.bytes.saturating_add(bytes);
                    self.apply(job, &mut group);
                }
            }
            let options = &self.start.options;
            let full = group.jobs.len() >= options.group_writes_max || group.bytes >= options.group_bytes_max;
            if full || group.failure.is_some() {
                break;
            }
            next = self.waiting.try_recv().ok();
        }
        group
    }

    fn apply(&mut self, mut job: Box<dyn Job>, group: &mut Group) {
        let began = if group.jobs.is_empty() { self.begin() } else { Ok(()) };
        let connection = &self.start.connection;
        let applied = match began {
            Err(error) => Err(error.into()),
            Ok(()) if group.is_careful => apply_in_savepoint(connection, job.as_mut(), &mut group.effects),
            Ok(()) => Ok(None),
        };
        let is_again = applied.is_ok() && !group.is_careful && job.apply(connection, &mut group.effects).is_err();
        group.jobs.push(job);
        let applied = if is_again { self.apply_again(group) } else { applied };
        match applied {
            Ok(None) => {}
            Ok(broken) => group.broken = broken,
            Err(error) => group.failure = Some(error),
        }
    }

    /// Starts the transaction over, so that only the writes that fail do.
    fn apply_again(&mut self, group: &mut Group) -> Result<Option<Failure>, Failure> {
        group.is_careful = true;
        group.effects = Effects::default();
        self.begin()?;
        let mut broken = None;
        for job in &mut group.jobs {
            broken = apply_in_savepoint(&self.start.connection, job.as_mut(), &mut group.effects)?.or(broken);
        }
        Ok(broken)
    }

    /// Opens a transaction, the one before being over or given up.
    fn begin(&mut self) -> Result<(), rusqlite::Error> {
        if !self.start.connection.is_autocommit() {
            self.recover();
        }
        execute(&self.start.connection, "BEGIN IMMEDIATE")
    }

    fn commit(&mut self, group: &mut Group, watch: Stopwatch) -> bool {
        let sync = Stopwatch::start();
        let figures = &self.start.figures;
        if group.failure.is_none()
            && let Err(error) = execute(&self.start.connection, "COMMIT")
        {
            group.failure = Some(error.into());
        }
        if let Some(failure) = &group.failure {
            let Failure { reason, is_full, .. } = failure;
            tracing::debug!(
                reason,
                writes = group.jobs.len(),
                "a group of writes failed; nothing of it was stored"
            );
            self.start.health.failed(Part::Rows, reason, *is_full);
            figures.failed_commits.fetch_add(1, Ordering::Relaxed);
            self.recover();
            return false;
        }
        match &group.broken {
            Some(Failure { reason, is_full, .. }) => self.start.health.failed(Part::Rows, reason, *is_full),
            None => self.start.health.well(Part::Rows),
        }
        let writes = u64::try_from(group.jobs.len()).unwrap_or(u64::MAX);
        figures.commits.fetch_add(1, Ordering::Relaxed);
        figures.writes.fetch_add(writes, Ordering::Relaxed);
        figures.largest_group.fetch_max(writes, Ordering::Relaxed);
        let meter = &self.start.options.meter;
        meter.committed(group.jobs.len(), watch.elapsed(), sync.elapsed());
        true
    }

    /// Leaves a failed transaction behind, if necessary with a new connection.
    fn recover(&mut self) {
        let connection = &self.start.connection;
        if connection.is_autocommit() || execute(connection, "ROLLBACK").is_ok() {
            return;
        }
        match schema::open_writer(&self.start.database, self.start.options.uid_validity_first) {
            Ok(connection) => self.start.connection = connection,
            Err(error) => {
                tracing::error!(%error, "the database could not be opened again; the next write tries once more");
            }
        }
    }

    fn finish(self) -> Result<(), StoreError> {
        let Start { connection, upkeep, .. } = self.start;
        // The sweep and the removals end before the folder is given free.
        let lock = upkeep.stop();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let closed = connection.close().map_err(|(_, error)| StoreError::from(error));
        drop(lock);
        closed
    }
}

/// Applies one write so that its failure leaves the others alone; returns what of the disk made it fail. An error means that the whole
/// transaction is lost.
fn apply_in_savepoint(tx: &Connection, job: &mut dyn Job, effects: &mut Effects) -> Result<Option<Failure>, Failure> {
    execute(tx, "SAVEPOINT write")?;
    let (unused, named) = (effects.unused_after_commit.len(), effects.named.len());
    let applied = job.apply(tx, effects);
    let broken = match applied {
        Ok(()) => None,
        Err(broken) => {
            effects.unused_after_commit.truncate(unused);
            effects.unused.extend(effects.named.drain(named..));
            // After an I/O error or a full disk SQLite may have rolled back everything: the group fails with it, and for that reason.
            if let Err(lost) = execute(tx, "ROLLBACK TO write") {
                return Err(broken.unwrap_or_else(|| lost.into()));
            }
            broken
        }
    };
    execute(tx, "RELEASE write")?;
    Ok(broken)
}

/// Files remembered; more than this are left to the sweep of the next start.
const DOUBTFUL_MAX: usize = 4096;
