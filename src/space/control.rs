//! The way in for commands while a space runs: a Unix socket in its data folder, one order per connection, one JSON line each way.
//!
//! Only the owner of the folder can connect (0600, in a 0700 folder): whoever can open it could also read the authority's keys. A socket
//! that a killed run left behind is removed at the next start, which holds the folder's lock: nobody can be behind it.

use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Keeper;
use super::folder::Layout;
use super::order::{Answer, Order, Reply};
use crate::app::Running;

/// A control socket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It could not be made.
    #[error("cannot listen on {}: {source}; check the folder's file system and rights", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("cannot reach the running vaguemestre at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It answered with something else.
    #[error("the running vaguemestre gave no answer that can be read ({0}): is it another version?")]
    Answer(String),
    /// The order was not carried out.
    #[error("{0}")]
    Failed(String),
}

/// Executes orders that arrive on the socket of the folder until `running` stops; the socket is there when this returns.
pub(super) fn listen(keeper: &Arc<Keeper>, running: &Running) -> Result<(), ControlError> {
    let path = keeper.layout().control();
    let failed = |source| ControlError::Listen {
        path: path.clone(),
        source,
    };
    let short = Short::of(&path).map_err(failed)?;
    remove(&path).map_err(failed)?;
    let listener = UnixListener::bind(short.path()).map_err(failed)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    let (keeper, running) = (Arc::clone(keeper), running.clone());
    running.tracker.clone().spawn(async move {
        accept(&listener, &keeper, &running).await;
        drop(listener);
        if let Err(error) = remove(&path) {
            tracing::warn!(path = %path.display(), %error, "the control socket stays behind");
        }
    });
    Ok(())
}

async fn accept(listener: &UnixListener, keeper: &Arc<Keeper>, running: &Running) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = tokio::select! {
            () = running.stop.cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = running.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (keeper, stop) = (Arc::clone(keeper), running.stop.clone());
                running.tracker.spawn(async move {
                    if let Err(error) = serve(stream, &keeper, &stop).await {
                        tracing::debug!(%error, "a command left before its answer");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket failed, pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One order. It is carried out to its end even when the command that asked has gone.
async fn serve(stream: UnixStream, keeper: &Keeper, stop: &CancellationToken) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut bounded = tokio::io::BufReader::new(read.take(ORDER_BYTES_MAX));
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        read = timeout(ORDER_WAIT_MAX, bounded.read_line(&mut line)) => read??,
    };
    let reply = match serde_json::from_str::<Order>(&line) {
        Ok(order) => Reply::from(keeper.execute(order).await),
        Err(error) => Reply::Failed(format!(
            "the order cannot be read ({error}): is the command another version?"
        )),
    };
    let mut bytes = serde_json::to_vec(&reply)?;
    bytes.push(b'\n');
    timeout(ANSWER_WAIT_MAX, write.write_all(&bytes)).await??;
    write.shutdown().await
}

/// Gives an order to the process that runs the space of this folder, and waits for its answer.
///
/// # Errors
/// Nobody answers, or the order was not carried out.
pub fn ask(layout: &Layout, order: &Order) -> Result<Answer, ControlError> {
    let path = layout.control();
    let unreachable = |source| ControlError::Unreachable {
        path: path.clone(),
        source,
    };
    let short = Short::of(&path).map_err(unreachable)?;
    let mut stream = std::os::unix::net::UnixStream::connect(short.path()).map_err(unreachable)?;
    let unreadable = |error: &dyn std::error::Error| ControlError::Answer(error.to_string());
    let mut line = serde_json::to_vec(order).map_err(|error| unreadable(&error))?;
    line.push(b'\n');
    let mut answer = String::new();
    stream
        .set_read_timeout(Some(DONE_WAIT_MAX))
        .and_then(|()| stream.write_all(&line))
        .and_then(|()| BufReader::new((&stream).take(ANSWER_BYTES_MAX)).read_line(&mut answer))
        .map_err(|error| unreadable(&error))?;
    match serde_json::from_str(&answer).map_err(|error| unreadable(&error))? {
        Reply::Done(answer) => Ok(answer),
        Reply::Failed(why) => Err(ControlError::Failed(why)),
    }
}

/// A path short enough for a socket's address, which has room for some 100 bytes only: a long one goes by the open folder.
struct Short {
    path: PathBuf,
    /// Open for as long as the path is used.
    _folder: Option<File>,
}

impl Short {
    fn of(path: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if path.as_os_str().len() < PATH_BYTES_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        }
        let folder = File::open(folder)?;
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name),
            _folder: Some(folder),
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Commands at once; the next ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// An order names a few things; certificate requests are the longest.
const ORDER_BYTES_MAX: u64 = 1024 * 1024;
/// A command writes its order at once.
const ORDER_WAIT_MAX: Duration = Duration::from_secs(10);
/// A command reads its answer at once.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Everything a listing of a large space can hold.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Orders wait for each other, and closing an operator waits for its sessions.
const DONE_WAIT_MAX: Duration = Duration::from_mins(5);
/// `sun_path` has 108 bytes on Linux, 104 elsewhere, the last one zero.
const PATH_BYTES_MAX: usize = 100;
