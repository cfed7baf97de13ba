//! An operator as a process of its own.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::KillError;
use super::ground::{Ground, loopback, name};

/// A running `vaguemestre serve`; killed when dropped.
pub(super) struct Operator {
    child: Child,
    number: usize,
    port: u16,
}

impl Operator {
    /// Starts it; it serves a moment later, see [`Operator::is_ready`].
    pub(super) fn start(
        (program, environment): (&Path, &[(String, String)]),
        ground: &Ground,
        number: usize,
    ) -> Result<Self, KillError> {
        let log = ground.log(number);
        let failed = |source| KillError::Start {
            name: name(number),
            source,
        };
        let file = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let child = Command::new(program)
            .args(["--log", "error", "serve", "--config"])
            .arg(ground.configuration(number))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            child,
            number,
            port: ground.ports(number).smtp,
        })
    }

    /// Waits until it takes connections; `false` when it ends before, or takes none for too long.
    pub(super) async fn is_ready(&mut self) -> bool {
        for _ in 0..READY_ATTEMPTS_MAX {
            if TcpStream::connect(loopback(self.port)).await.is_ok() {
                return true;
            }
            if self.has_ended() {
                break;
            }
            sleep(READY_PERIOD).await;
        }
        false
    }

    /// Whether the process is no more.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// SIGKILL: it gets no chance to do anything more.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// SIGTERM, and waits for its orderly end.
    pub(super) async fn stop(mut self) -> Result<(), KillError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(|error| KillError::Start {
                name: name(self.number),
                source: error.into(),
            })?;
        }
        for _ in 0..STOP_ATTEMPTS_MAX {
            if self.has_ended() {
                return Ok(());
            }
            sleep(READY_PERIOD).await;
        }
        Err(KillError::NotStopped {
            name: name(self.number),
        })
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Already ended is what is wanted.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            tracing::debug!(operator = name(self.number), "its end could not be waited for");
        }
    }
}

const READY_PERIOD: Duration = Duration::from_millis(5);
/// 30 seconds: a start takes far less, but the machine may be loaded.
const READY_ATTEMPTS_MAX: u32 = 6_000;
const STOP_ATTEMPTS_MAX: u32 = 12_000;
