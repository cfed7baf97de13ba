//! What `up` and `serve` share: the runtime, the wait for a signal, the drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output;
use crate::app::Running;
#[cfg(target_os = "linux")]
use crate::app::run_as_batch;

/// The runtime of one or more operators.
pub(super) fn operator_runtime() -> anyhow::Result<Runtime> {
    #[cfg(target_os = "linux")]
    run_as_batch();
    server_runtime()
}

/// The runtime of a server.
pub(super) fn server_runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime could not start")
}

/// The runtime of a command that only waits for a few things.
pub(super) fn small_runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime could not start")
}

/// Ctrl-C or a polite kill.
pub(super) struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// Watches from now on: call before anything is started, because an unwatched signal ends the process on the spot. One that comes
    /// during the start is answered when everything runs, by an orderly stop.
    pub(super) fn watch() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?,
        })
    }

    /// Waits for it, and says what a shell would call a process that it ended: 128 and the number of the signal.
    pub(super) async fn received(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

/// Ends everything in good order; sessions still open after `limit` are cut, and a second signal ends the process on the spot. Neither
/// loses anything that was acknowledged.
pub(super) async fn drain(running: &Running, limit: Duration, signal: &mut StopSignal) -> ExitCode {
    running.watch.draining();
    let drained = tokio::select! {
        drained = running.drain(limit) => drained,
        code = signal.received() => {
            output::error_line("a second signal: ending at once");
            std::process::exit(i32::from(code));
        }
    };
    if drained {
        return ExitCode::SUCCESS;
    }
    output::error_line(&format!(
        "some sessions were still open after {} s and were cut",
        limit.as_secs()
    ));
    ExitCode::from(SESSIONS_CUT)
}

/// Exit code of a stop that had to cut sessions. Beside 1 (an error) and 2 (a wrong command line).
const SESSIONS_CUT: u8 = 3;
