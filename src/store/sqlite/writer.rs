//! The one thread that writes, with group commit.
//!
//! It takes every waiting write, applies them in one transaction, commits once and hands the group to `syncer`, which syncs the log once
//! and only then answers them all. While one group syncs, the next one is applied as it comes, and is committed as soon as that sync
//! has ended: so there is never more than one commit that is not durable, and nobody waits in order to make a group larger.
//!
//! A write that fails rolls back alone. That takes a savepoint around each write, and SQLite copies every page that a savepoint
//! may have to bring back. Writes hardly ever fail: so a group begins without savepoints, and when one of its writes fails the
//! group is rolled back and its writes are applied once more, each in a savepoint.
//!
//! When the sync fails, the commit is undone (`rewind`): it fails as a whole, as one that could not be committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::durable::Durable;
use super::fresh::Fresh;
use super::group::{Effects, Failure, Group, Job, apply_in_savepoint};
use super::health::{Health, Part};
use super::known::Known;
use super::readers::Readers;
use super::requests::{Haste, Request};
use super::rewind::Log;
use super::rows::{execute, failed};
use super::schema::Database;
use super::syncer::{Commit, Outcome, Syncer};
use super::upkeep::{LogPages, Next, Upkeep, log_pages};
use super::{Options, journal, once, schema, syncer};
use crate::clock::Stopwatch;
use crate::metrics::Meter;
use crate::store::blobs::BlobName;
use crate::store::{LogFile, StoreError};

/// Hands writes to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) meter: Meter,
}

/// What the thread needs to start.
pub(super) struct Start {
    pub(super) database: Database,
    pub(super) options: Options,
    pub(super) upkeep: Upkeep,
    pub(super) figures: Arc<Figures>,
    pub(super) health: Arc<Health>,
    pub(super) durable: Arc<Durable>,
    pub(super) fresh: Arc<Fresh>,
    pub(super) known: Arc<Known>,
    pub(super) readers: Readers,
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
    /// Starts the thread. Everything in the log is durable.
    pub(super) fn start(start: Start) -> Result<Self, StoreError> {
        let (requests, waiting) = mpsc::channel(start.options.queue_max.max(1));
        let meter = start.options.meter.clone();
        let connection = schema::open_committer(&start.database)?;
        let log = Log::new(start.database, Arc::clone(&start.options.disk), &connection)?;
        let syncer = Syncer::start(syncer::Start {
            log: log.open()?,
            durable: Arc::clone(&start.durable),
            figures: Arc::clone(&start.figures),
            health: Arc::clone(&start.health),
            meter: meter.clone(),
            writer: requests.downgrade(),
        })?;
        let thread = Thread {
            connection: Some(connection),
            log,
            options: start.options,
            upkeep: start.upkeep,
            syncer,
            figures: start.figures,
            health: start.health,
            durable: start.durable,
            fresh: start.fresh,
            known: start.known,
            readers: start.readers,
            waiting,
            group: Group::default(),
            doubtful: Vec::new(),
            descriptor: None,
        };
        thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || thread.serve())
            .map_err(|source| failed("the writer thread could not be started", source))?;
        Ok(Self { requests, meter })
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

struct Thread {
    /// `None` when it was given up after a failed sync and could not be opened again.
    connection: Option<Connection>,
    log: Log,
    options: Options,
    upkeep: Upkeep,
    syncer: Syncer,
    figures: Arc<Figures>,
    health: Arc<Health>,
    durable: Arc<Durable>,
    fresh: Arc<Fresh>,
    known: Arc<Known>,
    readers: Readers,
    waiting: mpsc::Receiver<Request>,
    /// Being applied; its transaction is open as soon as it has a write.
    group: Group,
    /// Named by transactions that failed. Such a transaction may still be in the log, and come back should the process end now: only after
    /// the next commit has taken its place, and if no row names them, are they removed.
    doubtful: Vec<BlobName>,
    /// For the next commit to be synced by, the log having been opened again.
    descriptor: Option<Box<dyn LogFile>>,
}

impl Thread {
    fn serve(mut self) {
        let mut stop = None;
        while let Some(request) = self.waiting.blocking_recv() {
            stop = self.take(request).or(stop);
            while !self.is_full()
                && let Ok(request) = self.waiting.try_recv()
            {
                stop = self.take(request).or(stop);
            }
            self.settle(self.is_full());
            if !self.syncer.is_busy() && (self.group.haste == Haste::Now || self.is_full()) {
                self.commit();
            }
        }
        self.settle(true);
        self.commit();
        self.settle(true);
        let closed = self.finish();
        if let Some(reply) = stop {
            drop(reply.send(closed));
        }
    }

    fn take(&mut self, request: Request) -> Option<oneshot::Sender<Result<(), StoreError>>> {
        match request {
            Request::Synced => {}
            Request::Hurry => self.group.haste = Haste::Now,
            Request::Write { job, .. } if job.is_abandoned() => {}
            Request::Write { job, bytes, haste } => {
                self.group.bytes = self.group.bytes.saturating_add(bytes);
                self.group.haste = self.group.haste.max(haste);
                self.apply(job);
            }
            Request::Stop(reply) => {
                // Calls from now on fail with `Closed`; those already waiting are still served.
                self.waiting.close();
                return Some(reply);
            }
        }
        None
    }

    /// Whether the group takes no more.
    fn is_full(&self) -> bool {
        let Options {
            group_writes_max,
            group_bytes_max,
            ..
        } = self.options;
        self.group.jobs.len() >= group_writes_max || self.group.bytes >= group_bytes_max || self.group.failure.is_some()
    }

    fn apply(&mut self, mut job: Box<dyn Job>) {
        if self.group.jobs.is_empty() {
            self.group.watch = Some(Stopwatch::start());
            if let Err(failure) = self.begin() {
                self.group.jobs.push(job);
                self.group.failure = Some(failure);
                return;
            }
        }
        let Some(connection) = &self.connection else { return };
        let group = &mut self.group;
        let applied = if group.is_careful {
            let applied = apply_in_savepoint(connection, job.as_mut(), &mut group.effects);
            group.jobs.push(job);
            applied
        } else {
            let is_again = job.apply(connection, &mut group.effects).is_err();
            group.jobs.push(job);
            if is_again { self.apply_again() } else { Ok(None) }
        };
        match applied {
            Ok(None) => {}
            Ok(broken) => self.group.broken = broken,
            Err(failure) => self.group.failure = Some(failure),
        }
    }

    /// Starts the transaction over, so that only the writes that fail do.
    fn apply_again(&mut self) -> Result<Option<Failure>, Failure> {
        self.group.is_careful = true;
        self.group.effects = Effects::default();
        self.begin()?;
        let mut broken = None;
        let Some(connection) = &self.connection else {
            return Ok(broken);
        };
        for job in &mut self.group.jobs {
            broken = apply_in_savepoint(connection, job.as_mut(), &mut self.group.effects)?.or(broken);
        }
        Ok(broken)
    }

    /// Opens a transaction, the one before being over or given up.
    fn begin(&mut self) -> Result<(), Failure> {
        if self.connection.is_none() {
            self.reopen()?;
        }
        self.recover();
        match &self.connection {
            Some(connection) => Ok(execute(connection, "BEGIN IMMEDIATE")?),
            None => Err(Failure::of(&StoreError::Closed)),
        }
    }

    /// Commits the group and has it synced. The one before is durable.
    fn commit(&mut self) {
        if self.group.jobs.is_empty() {
            return;
        }
        let mut group = std::mem::take(&mut self.group);
        self.fresh.forget(&group.effects.gone);
        let watch = Stopwatch::start();
        let number = self.durable.begin();
        if group.failure.is_none()
            && let Some(connection) = &self.connection
        {
            // The commit has its number and is not made: see `known`.
            self.known.enter(&group.effects.once.keys);
            group.failure = close(connection, &mut group.effects)
                .err()
                .map(|error| Failure::of(&error));
        }
        let Some(connection) = self.connection.as_ref().filter(|_| group.failure.is_none()) else {
            self.durable.settle(number);
            self.fail(group);
            self.recover();
            return;
        };
        let pages = log_pages(connection).map_err(StoreError::from);
        let ends = pages.and_then(|pages| Ok((pages, self.log.position(pages)?)));
        self.syncer.hand_over(Commit {
            number,
            group,
            watch,
            at: ends.as_ref().ok().map(|(_, at)| *at),
            log: self.descriptor.take(),
        });
        match ends {
            Ok((pages, at)) => {
                if let Err(error) = self.log.make_room(at) {
                    tracing::debug!(%error, "the log was not made longer in advance");
                }
                self.pace(pages);
            }
            Err(error) => tracing::error!(%error, "where the log ends could not be read"),
        }
    }

    /// Keeps the log within its bounds.
    fn pace(&mut self, pages: LogPages) {
        if self.upkeep.is_late(pages) {
            self.settle(true);
            self.upkeep.wait_for_copy();
        }
        match self.upkeep.after_commit(pages) {
            Next::Nothing => {}
            Next::CopyRest => {
                self.settle(true);
                // Nothing is applied meanwhile.
                if let Some(connection) = &self.connection {
                    self.upkeep.copy_rest(connection);
                }
            }
            Next::CopyAgain => {
                self.settle(true);
                self.start_over();
            }
        }
    }

    /// Takes the commit on its way back if it has come, or waits for it.
    fn settle(&mut self, wait: bool) {
        if !self.syncer.is_busy() {
            return;
        }
        match self.syncer.outcome(wait) {
            None => {}
            Some(Outcome::Durable { at, group, synced }) => {
                self.log.is_durable(at);
                for file in group.effects.unused {
                    self.upkeep.remove(file);
                }
                for file in group.effects.unused_after_commit {
                    self.upkeep.remove(file);
                }
                // One that wrote nothing has taken no place.
                if synced {
                    for file in self.doubtful.drain(..) {
                        self.upkeep.remove_unless_named(file);
                    }
                }
            }
            Some(Outcome::Lost { number, group }) => self.undo(number, group),
        }
    }

    /// Undoes a commit that could not be made durable, and with it what was applied on top of it.
    fn undo(&mut self, number: u64, lost: Group) {
        let mut next = std::mem::take(&mut self.group);
        next.failure.clone_from(&lost.failure);
        // Nobody sees the commit go, and nobody learns of it who saw it.
        self.readers.pause();
        self.durable.lose(number);
        self.reopen_or_shut();
        self.fail(lost);
        if !next.jobs.is_empty() {
            self.fail(next);
        }
    }

    /// Has all of the log be copied once more: a recovery forgets how much of it the database has.
    fn start_over(&mut self) {
        if self.connection.is_some() {
            self.readers.pause();
            self.reopen_or_shut();
        }
    }

    fn reopen_or_shut(&mut self) {
        if let Err(failure) = self.reopen() {
            tracing::error!(
                reason = failure.reason,
                "the log could not be cut back after a failed sync; reads fail until it can"
            );
            self.readers.shut(failure);
        }
    }

    /// Cuts the log back to what is durable and opens the database again. No read is under way.
    fn reopen(&mut self) -> Result<(), Failure> {
        self.upkeep.let_go();
        self.connection = None;
        let opened = self.log.cut_back().and_then(|()| {
            let connection = schema::open_committer(self.log.database())?;
            self.log.check(&connection)?;
            Ok((connection, self.log.open()?))
        });
        let (connection, descriptor) = opened.map_err(|error| Failure::of(&error))?;
        self.connection = Some(connection);
        self.descriptor = Some(descriptor);
        self.upkeep.copies_again();
        self.durable.undone();
        self.readers.resume();
        Ok(())
    }

    /// Tells the callers of a group that failed.
    fn fail(&mut self, mut group: Group) {
        if let Some(Failure { reason, is_full, .. }) = &group.failure {
            tracing::debug!(
                reason,
                writes = group.jobs.len(),
                "a group of writes failed; nothing of it was stored"
            );
            self.health.failed(Part::Rows, reason, *is_full);
        }
        self.figures.failed_commits.fetch_add(1, Ordering::Relaxed);
        group.answer();
        for file in group.effects.unused {
            self.upkeep.remove(file);
        }
        if self.doubtful.len() < DOUBTFUL_MAX {
            self.doubtful.extend(group.effects.named);
        }
    }

    /// Leaves a failed transaction behind, if necessary with a new connection.
    fn recover(&mut self) {
        let Some(connection) = &self.connection else { return };
        if connection.is_autocommit() || execute(connection, "ROLLBACK").is_ok() {
            return;
        }
        match schema::open_committer(self.log.database()) {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => {
                tracing::error!(%error, "the database could not be opened again; the next write tries once more");
            }
        }
    }

    fn finish(mut self) -> Result<(), StoreError> {
        self.upkeep.end_copy();
        if self.upkeep.is_to_copy_again() {
            self.start_over();
        }
        let Self {
            connection,
            upkeep,
            syncer,
            ..
        } = self;
        syncer.stop();
        // The sweep and the removals end before the folder is given free.
        let lock = upkeep.stop();
        let Some(connection) = connection else {
            return Err(failed(
                "the log was not cut back after a failed sync",
                "the store is closed",
            ));
        };
        let closed = copy_and_close(connection);
        drop(lock);
        closed
    }
}

fn copy_and_close(connection: Connection) -> Result<(), StoreError> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    schema::copy_at_close(&connection)?;
    connection.close().map_err(|(_, error)| StoreError::from(error))
}

/// Ends the transaction.
fn close(connection: &Connection, effects: &mut Effects) -> Result<(), StoreError> {
    journal::count(connection, &effects.take_counts())?;
    once::make_room(connection, &effects.once)?;
    Ok(execute(connection, "COMMIT")?)
}

/// Files remembered; more than this are left to the sweep of the next start.
const DOUBTFUL_MAX: usize = 4096;
