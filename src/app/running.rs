//! What everything that runs in a process shares, from the first task to the drain.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Room, Watch};

/// What all tasks of a process share: who is still working, and when to stop.
#[derive(Clone, Debug)]
pub struct Running {
    /// Every task.
    pub tracker: TaskTracker,
    /// Cancelled once: no new work.
    pub stop: CancellationToken,
    /// What the process has room for.
    pub room: Room,
    /// Sessions that the process has room for, those of all operators together.
    pub sessions: Arc<Semaphore>,
    /// Messages on their way to disk, those of all operators together.
    pub staged: Arc<Semaphore>,
    /// Handshakes computed at the same time. More only makes sessions wait behind them: a flood of clients that say hello must not hold up
    /// those that are at work.
    pub handshakes: Arc<Semaphore>,
    /// How it is, for whoever watches.
    pub watch: Arc<Watch>,
}

impl Running {
    /// A process that has room for so much at once.
    pub fn with_room(room: Room) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            room,
            sessions: Arc::new(Semaphore::new(room.sessions.min(Semaphore::MAX_PERMITS))),
            staged: Arc::new(Semaphore::new(room.staged.min(Semaphore::MAX_PERMITS))),
            handshakes: Arc::new(Semaphore::new(handshakes_at_once())),
            watch: Arc::default(),
        }
    }

    /// A part that can be stopped alone, and that stops with the whole; draining the whole waits for it.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self {
            tracker: TaskTracker::new(),
            stop: self.stop.child_token(),
            room: self.room,
            sessions: Arc::clone(&self.sessions),
            staged: Arc::clone(&self.staged),
            handshakes: Arc::clone(&self.handshakes),
            watch: Arc::clone(&self.watch),
        };
        let waited_for = child.clone();
        self.tracker.spawn(async move {
            waited_for.stop.cancelled().await;
            waited_for.tracker.close();
            waited_for.tracker.wait().await;
        });
        child
    }

    /// Tells everything to stop and waits for it, at most `limit`. False when something was still working then.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

/// As many as there are processors to compute them.
fn handshakes_at_once() -> usize {
    std::thread::available_parallelism().map_or(HANDSHAKES_UNKNOWN, std::num::NonZero::get)
}

/// Where the system does not say how many processors there are.
const HANDSHAKES_UNKNOWN: usize = 2;
