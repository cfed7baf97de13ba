//! What `up` and `serve` share: the runtime, the wait for a signal, the drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

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

/// Waits for Ctrl-C or a polite kill.
pub(super) async fn stop_signal() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
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
