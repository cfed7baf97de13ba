//! What `up` and `serve` share: the runtime, the wait for a signal, the drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output;
use crate::app::Running;

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

    /// Waits for it.
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ends everything in good order; sessions still open after `limit` are cut, which loses nothing that was acknowledged.
pub(super) async fn drain(running: &Running, limit: Duration) -> ExitCode {
    if !running.drain(limit).await {
        output::error_line(&format!(
            "some sessions were still open after {} s and were cut",
            limit.as_secs()
        ));
    }
    ExitCode::SUCCESS
}
