//! Waiting for another process without guessing how long it takes.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often a condition is looked at.
const POLL_MILLISECONDS: u64 = 10;

/// Returns what `probe` gives as soon as it gives something; after `limit` the test fails, saying `what` it waited for.
///
/// Another process has no way to call us back, so this looks at intervals. The interval is a receive on a channel that nobody
/// writes to: a bounded wait, which does not decide how long the whole takes.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let (keep_open, nothing) = mpsc::channel::<()>();
    let tries = limit.as_millis() / u128::from(POLL_MILLISECONDS) + 1;
    for _ in 0..tries {
        if let Some(found) = probe() {
            return found;
        }
        let waited = nothing.recv_timeout(Duration::from_millis(POLL_MILLISECONDS));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
    }
    drop(keep_open);
    panic!("waited {} s in vain: {what}", limit.as_secs());
}
