//! The writes of one transaction, each with the way to its caller, and what they have in common: files that become unused, and counts.

use std::collections::BTreeMap;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::once::Entered;
use super::requests::Haste;
use super::rows::{self, execute, failed};
use crate::clock::Stopwatch;
use crate::store::blobs::BlobName;
use crate::store::{Count, CountKey, MessageKey, RolledBack, StoreError};

/// What writes do at the end of their transaction, or after it.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Removed once the transaction is committed, if this write was part of it.
    pub(super) unused_after_commit: Vec<BlobName>,
    /// Removed in any case: bodies of a write that failed.
    pub(super) unused: Vec<BlobName>,
    /// Named by what was written: unused if the transaction fails.
    pub(super) named: Vec<BlobName>,
    /// Added to the counters before the commit: messages that come together mostly count for the same few, and are one increment then.
    pub(super) counts: Vec<Count>,
    /// Messages that nothing refers to any more.
    pub(super) gone: Vec<MessageKey>,
    /// Keys of deliveries that were used: old ones go for them, before the commit.
    pub(super) once: Entered,
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

    /// These are counted if the write is part of the commit.
    pub(super) fn count(&mut self, counts: &[Count]) {
        self.counts.extend_from_slice(counts);
    }

    /// What is counted, each key once.
    pub(super) fn take_counts(&mut self) -> Vec<Count> {
        let mut sums: BTreeMap<CountKey, (u64, u64)> = BTreeMap::new();
        for count in self.counts.drain(..) {
            let (messages, recipients) = sums.entry(count.key).or_default();
            *messages += count.messages;
            *recipients += count.recipients;
        }
        let sums = sums.into_iter().map(|(key, (messages, recipients))| Count {
            key,
            messages,
            recipients,
        });
        sums.collect()
    }

    /// `file` was to be named by a write that failed.
    pub(super) fn remove(&mut self, file: BlobName) {
        self.unused.push(file);
    }
}

/// One write with the way to its caller.
pub(super) trait Job: Send {
    /// Whether the caller is gone, so that nothing needs to be done.
    fn is_abandoned(&self) -> bool;
    /// Runs the write, again if it ran before; whether it succeeded, and if not, what of the disk was to blame.
    fn apply(&mut self, tx: &Connection, effects: &mut Effects) -> Result<(), Option<Failure>>;
    /// Tells the caller, with why the group failed if it did.
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

/// What of the disk failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    kind: &'static str,
    pub(super) is_full: bool,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::of(&failed("the database", error))
    }
}

impl Failure {
    pub(super) fn of(error: &StoreError) -> Self {
        Self {
            reason: error.with_cause(),
            kind: error.kind().unwrap_or("other"),
            is_full: matches!(error, StoreError::Full { .. }),
        }
    }

    pub(super) fn error(&self) -> StoreError {
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

/// A write that waits, or ran and waits to be durable.
pub(super) struct Pending<T, F> {
    write: F,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Pending<T, F> {
    pub(super) fn new(write: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            write,
            outcome: None,
            reply,
        }
    }
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
pub(super) struct Group {
    pub(super) jobs: Vec<Box<dyn Job>>,
    pub(super) effects: Effects,
    pub(super) bytes: usize,
    /// Of the write that is waited for most.
    pub(super) haste: Haste,
    /// A write of it failed: each is in a savepoint.
    pub(super) is_careful: bool,
    /// Why all of it failed.
    pub(super) failure: Option<Failure>,
    /// What of the disk made one of them fail alone.
    pub(super) broken: Option<Failure>,
    /// Since when it is being gathered.
    pub(super) watch: Option<Stopwatch>,
}

impl Group {
    /// Tells every caller, with why the group failed if it did.
    pub(super) fn answer(&mut self) {
        for job in self.jobs.drain(..) {
            job.answer(self.failure.as_ref());
        }
    }
}

/// Applies one write so that its failure leaves the others alone; returns what of the disk made it fail. An error means that the whole
/// transaction is lost.
pub(super) fn apply_in_savepoint(
    tx: &Connection,
    job: &mut dyn Job,
    effects: &mut Effects,
) -> Result<Option<Failure>, Failure> {
    execute(tx, "SAVEPOINT write")?;
    let (unused, named, counts) = (
        effects.unused_after_commit.len(),
        effects.named.len(),
        effects.counts.len(),
    );
    let applied = job.apply(tx, effects);
    let broken = match applied {
        Ok(()) => None,
        Err(broken) => {
            effects.unused_after_commit.truncate(unused);
            effects.counts.truncate(counts);
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
