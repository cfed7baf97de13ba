//! The thread that makes commits durable while the writer applies the next group, and answers their callers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use super::durable::Durable;
use super::group::{Failure, Group};
use super::health::{Health, Part};
use super::requests::Request;
use super::rows::failed;
use super::writer::Figures;
use crate::clock::Stopwatch;
use crate::metrics::Meter;
use crate::store::{LOG_HEAD_BYTES, LogFile, StoreError};

/// The writer's side: at most one commit is on its way at any time.
pub(super) struct Syncer {
    commits: Sender<Commit>,
    outcomes: Receiver<Outcome>,
    thread: JoinHandle<()>,
    /// The last one handed over.
    number: u64,
    is_busy: bool,
}

/// What the thread needs to start.
pub(super) struct Start {
    pub(super) log: Box<dyn LogFile>,
    pub(super) durable: Arc<Durable>,
    pub(super) figures: Arc<Figures>,
    pub(super) health: Arc<Health>,
    pub(super) meter: Meter,
    /// Where the writer waits. Weak, because the writer ends when nobody else can reach it.
    pub(super) writer: mpsc::WeakSender<Request>,
}

/// A group that was committed and is not durable yet.
pub(super) struct Commit {
    pub(super) number: u64,
    pub(super) group: Group,
    /// Since the commit began.
    pub(super) watch: Stopwatch,
    /// Where the log ends with it; `None` when that could not be learnt.
    pub(super) at: Option<Position>,
    /// The log is to be synced by this descriptor from now on.
    pub(super) log: Option<Box<dyn LogFile>>,
}

/// A place in the log: up to there, everything is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The header, which is another one each time the log starts over.
    pub(super) head: [u8; LOG_HEAD_BYTES],
    /// Before the end of these.
    pub(super) frames: u64,
}

/// What became of a commit.
pub(super) enum Outcome {
    /// It is durable and answered; these are the files that nothing names any more. `synced` unless it had written nothing.
    Durable {
        at: Option<Position>,
        group: Group,
        synced: bool,
    },
    /// It is not, and nobody was told anything.
    Lost { number: u64, group: Group },
}

impl Syncer {
    /// Starts the thread.
    pub(super) fn start(start: Start) -> Result<Self, StoreError> {
        let (commits, todo) = channel();
        let (tell, outcomes) = channel();
        let thread = thread::Builder::new()
            .name("store-syncer".into())
            .spawn(move || {
                Thread {
                    start,
                    tell,
                    durable: None,
                }
                .serve(&todo);
            })
            .map_err(|source| failed("the syncing thread could not be started", source))?;
        Ok(Self {
            commits,
            outcomes,
            thread,
            number: 0,
            is_busy: false,
        })
    }

    /// Hands a commit over. The one before must have come back.
    pub(super) fn hand_over(&mut self, commit: Commit) {
        self.number = commit.number;
        self.is_busy = true;
        if self.commits.send(commit).is_err() {
            tracing::error!("the syncing thread of the store is gone");
        }
    }

    /// Whether a commit is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// What became of the commit on its way, if that is known; waits for it when told to.
    pub(super) fn outcome(&mut self, wait: bool) -> Option<Outcome> {
        let outcome = if wait {
            self.outcomes.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            self.outcomes.try_recv()
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return None,
            // The thread is gone, and its callers learnt it by the end of their channels.
            Err(TryRecvError::Disconnected) => Outcome::Lost {
                number: self.number,
                group: Group {
                    failure: Some(Failure::of(&failed(
                        "the log could not be synced",
                        "its thread is gone",
                    ))),
                    ..Group::default()
                },
            },
        };
        self.is_busy = false;
        Some(outcome)
    }

    /// Ends the thread.
    pub(super) fn stop(self) {
        drop(self.commits);
        if self.thread.join().is_err() {
            tracing::error!("the syncing thread of the store ended by a panic");
        }
    }
}

struct Thread {
    start: Start,
    tell: Sender<Outcome>,
    /// Where the last sync ended, if it succeeded.
    durable: Option<Position>,
}

impl Thread {
    fn serve(mut self, todo: &Receiver<Commit>) {
        while let Ok(commit) = todo.recv() {
            let Commit {
                number,
                mut group,
                watch,
                at,
                log,
            } = commit;
            if let Some(log) = log {
                self.start.log = log;
            }
            match self.sync(at) {
                Ok(synced) => self.answer((number, at, synced), group, watch),
                Err(error) => {
                    group.failure = Some(Failure::of(&failed("the log could not be synced", error)));
                    self.tell(Outcome::Lost { number, group });
                }
            }
        }
    }

    /// Makes all that is in the log durable.
    /// Whether there was anything to sync.
    fn sync(&mut self, at: Option<Position>) -> io::Result<bool> {
        let before = self.durable.take();
        // The header is another one when the log has started over: only with the same one do as many frames mean that nothing was written.
        let is_more = at.is_none() || before != at;
        if is_more {
            self.start.log.sync()?;
        }
        self.durable = at;
        Ok(is_more)
    }

    fn answer(&self, (number, at, synced): (u64, Option<Position>, bool), mut group: Group, watch: Stopwatch) {
        let Start {
            durable,
            figures,
            health,
            meter,
            ..
        } = &self.start;
        durable.settle(number);
        match &group.broken {
            Some(Failure { reason, is_full, .. }) => health.failed(Part::Rows, reason, *is_full),
            None => health.well(Part::Rows),
        }
        let jobs = std::mem::take(&mut group.jobs);
        let writes = u64::try_from(jobs.len()).unwrap_or(u64::MAX);
        figures.commits.fetch_add(1, Ordering::Relaxed);
        figures.writes.fetch_add(writes, Ordering::Relaxed);
        figures.largest_group.fetch_max(writes, Ordering::Relaxed);
        let took = group.watch.map_or_else(|| watch.elapsed(), Stopwatch::elapsed);
        meter.committed(jobs.len(), took, watch.elapsed());
        // The writer goes on at once; the callers of this group are told meanwhile.
        self.tell(Outcome::Durable { at, group, synced });
        for job in jobs {
            job.answer(None);
        }
    }

    fn tell(&self, outcome: Outcome) {
        if self.tell.send(outcome).is_ok()
            && let Some(writer) = self.start.writer.upgrade()
        {
            // Where the channel is full, the writer looks for outcomes as it takes what is in it.
            drop(writer.try_send(Request::Synced));
        }
    }
}
