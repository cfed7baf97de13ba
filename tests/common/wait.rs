//! Waiting for another process without guessing how long it takes.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use vaguemestre::clock::Clock;

/// How often a condition is looked at.
const POLL_MILLISECONDS: u64 = 10;

/// Returns what `probe` gives as soon as it gives something; after `limit` the test fails, saying `what` it waited for.
///
/// Another process has no way to call us back, so this looks at intervals. The interval is a receive on a channel that nobody
/// writes to: a bounded wait, which does not decide how long the whole takes.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let (keep_open, nothing) = mpsc::channel::<()>();
    // A probe may be a whole program: its time counts too.
    let clock = Clock::system();
    let start = clock.now();
    loop {
        if let Some(found) = probe() {
            drop(keep_open);
            return found;
        }
        assert!(
            clock.now().duration_since(start).unsigned_abs() < limit,
            "waited {} s in vain: {what}",
            limit.as_secs()
        );
        let waited = nothing.recv_timeout(Duration::from_millis(POLL_MILLISECONDS));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
    }
}
