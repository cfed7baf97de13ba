//! How writes come to the writing thread, and how their callers wait for them.
//!
//! Most callers wait: somebody is to be told. Settlements tell nobody; what they would lose is said again. So they do not make a commit of
//! their own while there is other work: one sync less for each.

use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::group::{Effects, Job, Pending};
use super::writer::Writer;
use crate::store::StoreError;

type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

/// Whether somebody waits for a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    /// It is committed with what comes next.
    #[default]
    WithOthers,
    Now,
}

/// What comes to the thread.
pub(super) enum Request {
    Write {
        job: Box<dyn Job>,
        bytes: usize,
        haste: Haste,
    },
    /// What waits for others has waited long enough.
    Hurry,
    /// The commit on its way has come back.
    Synced,
    Stop(oneshot::Sender<Result<(), StoreError>>),
}

impl Writer {
    /// Applies `write` in the next group and returns once it is durable. `bytes` is about what it adds to the log.
    /// If the caller goes away before the group starts, nothing of the call is written. `write` may run more than once; only what
    /// its last run did counts.
    pub(super) async fn run<T, F>(&self, bytes: usize, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
    {
        let answer = self.hand_in(write, (bytes, Haste::Now)).await?;
        self.answer(answer.await)
    }

    /// The same for a write that nobody waits for: it goes with the next one that somebody waits for, or alone after [`PATIENCE`].
    pub(super) async fn run_patiently<T, F>(&self, bytes: usize, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
    {
        let mut answer = self.hand_in(write, (bytes, Haste::WithOthers)).await?;
        let answered = tokio::select! {
            answered = &mut answer => answered,
            () = sleep(PATIENCE) => {
                // Refused only by a writer that is about to end: it answers everybody first.
                drop(self.requests.send(Request::Hurry).await);
                answer.await
            }
        };
        self.answer(answered)
    }

    async fn hand_in<T, F>(&self, write: F, (bytes, haste): (usize, Haste)) -> Result<Answer<T>, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending::new(write, reply));
        let request = Request::Write { job, bytes, haste };
        self.requests.send(request).await.map_err(|_| StoreError::Closed)?;
        Ok(answer)
    }

    fn answer<T>(&self, answered: Result<Result<T, StoreError>, oneshot::error::RecvError>) -> Result<T, StoreError> {
        let answer = answered.map_err(|_| StoreError::Closed)?;
        answer.inspect_err(|error| error.observe(&self.meter))
    }
}

/// How long a write that nobody waits for may wait for others: what it says may be forgotten for so much longer by a process that dies.
const PATIENCE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::sync::oneshot;

    use crate::store::sqlite::{Options, SqliteStore};

    #[tokio::test]
    async fn a_write_that_nobody_waits_for_is_committed_with_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Options::default()).unwrap();
        store.write(|_, _| Ok(())).await.unwrap();
        let before = store.statistics();
        let writer = store.writer().unwrap();
        let (tell, applied) = oneshot::channel();
        let mut tell = Some(tell);
        let mut patient =
            Box::pin(writer.run_patiently(0, move |_, _| Ok(tell.take().is_some_and(|tell| tell.send(()).is_ok()))));
        // Handed in; its patience is not looked at until the other write has been answered.
        poll_fn(|context| {
            assert!(patient.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        applied.await.unwrap();
        store.write(|_, _| Ok(())).await.unwrap();
        assert!(patient.await.unwrap());
        let after = store.statistics();
        assert_eq!((after.writes - before.writes, after.commits - before.commits), (2, 1));
    }

    #[tokio::test]
    async fn a_write_that_nobody_waits_for_is_committed_alone_when_nothing_else_comes() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Options::default()).unwrap();
        store.writer().unwrap().run_patiently(0, |_, _| Ok(7)).await.unwrap();
        drop(store.close().await);
    }
}
