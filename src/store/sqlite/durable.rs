//! Which commits are on stable storage, for whoever must not speak of others.
//!
//! The writer commits first and the log is synced after, while the next group is applied. In between a commit can be read and is not
//! durable yet. So whatever leaves the store waits here first: answers of the writer by their place in its order, reads by what they may
//! have seen. A commit whose sync failed is undone; reads that may have seen it fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use tokio::sync::Notify;

use super::rows::failed;
use crate::store::StoreError;

/// The numbers of the last commit begun and of the last one that is settled: durable, or undone.
#[derive(Debug, Default)]
pub(super) struct Durable {
    begun: AtomicU64,
    settled: AtomicU64,
    /// Raised when a commit is lost and again when it is undone: odd in between.
    losses: AtomicU64,
    /// For tasks and for threads that wait.
    changed: Notify,
    lock: Mutex<()>,
    changed_blocking: Condvar,
}

/// The moment a read began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    losses: u64,
}

impl Durable {
    /// The writer is about to make its next commit; the number of it. From here on reads may see it.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// It is durable, or it never came to be.
    pub(super) fn settle(&self, commit: u64) {
        self.settled.store(commit, Ordering::SeqCst);
        self.changed.notify_waiters();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed_blocking.notify_all();
    }

    /// It could be read, and is going to be undone. Until it is, nothing that is read counts.
    pub(super) fn lose(&self, commit: u64) {
        self.losses.fetch_or(1, Ordering::SeqCst);
        self.settle(commit);
    }

    /// What was lost is undone, if anything was: what is read from here on counts.
    pub(super) fn undone(&self) {
        let losses = self.losses.load(Ordering::SeqCst);
        self.losses.store(losses.next_multiple_of(2), Ordering::SeqCst);
    }

    /// To be asked when a read begins.
    pub(super) fn beginning(&self) -> Beginning {
        Beginning {
            losses: self.losses.load(Ordering::SeqCst),
        }
    }

    /// Returns once everything that a read may have seen, which has ended just now, is durable.
    ///
    /// # Errors
    /// Something of it was undone.
    pub(super) async fn confirm(&self, beginning: Beginning) -> Result<(), StoreError> {
        let seen = self.begun.load(Ordering::SeqCst);
        loop {
            // Made before the look, so that no change falls between.
            let changed = self.changed.notified();
            if self.is_settled(seen) {
                return self.judge(beginning);
            }
            changed.await;
        }
    }

    /// The same for a thread.
    ///
    /// # Errors
    /// Something of it was undone.
    pub(super) fn confirm_blocking(&self, beginning: Beginning) -> Result<(), StoreError> {
        let seen = self.begun.load(Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_settled(seen) {
            guard = self
                .changed_blocking
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.judge(beginning)
    }

    fn is_settled(&self, commit: u64) -> bool {
        self.settled.load(Ordering::SeqCst) >= commit
    }

    fn judge(&self, beginning: Beginning) -> Result<(), StoreError> {
        let Beginning { losses } = beginning;
        if losses.is_multiple_of(2) && losses == self.losses.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(failed(
            "what was read could not be made durable",
            "a sync of the log failed",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn a_read_waits_for_what_it_may_have_seen_and_for_no_more() {
        let durable = Arc::new(Durable::default());
        durable.confirm(durable.beginning()).await.unwrap();
        let (one, two) = (durable.begin(), durable.begin());
        let beginning = durable.beginning();
        let waiting = tokio::spawn({
            let durable = Arc::clone(&durable);
            async move { durable.confirm(beginning).await }
        });
        let thread = thread::spawn({
            let durable = Arc::clone(&durable);
            move || durable.confirm_blocking(beginning)
        });
        durable.settle(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && !thread.is_finished());
        durable.settle(two);
        waiting.await.unwrap().unwrap();
        thread.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_read_fails_when_what_it_may_have_seen_is_undone_and_the_next_one_does_not() {
        let durable = Durable::default();
        let commit = durable.begin();
        let beginning = durable.beginning();
        durable.lose(commit);
        assert!(durable.confirm(beginning).await.is_err());
        assert!(durable.confirm_blocking(beginning).is_err());
        let meanwhile = durable.beginning();
        assert!(durable.confirm(meanwhile).await.is_err());
        durable.undone();
        assert!(durable.confirm(meanwhile).await.is_err());
        durable.confirm(durable.beginning()).await.unwrap();
        durable.undone();
        durable.confirm(durable.beginning()).await.unwrap();
    }
}
