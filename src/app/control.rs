//! The way in for commands while a process holds a data folder: a Unix socket in it, one order per connection, one JSON line each way.
//!
//! Both ways to run have one: `<data>/control.sock` of a sandbox takes the orders of `space`, that of a gateway those of [`super::order`].
//! Only the owner of the folder can connect (0600): whoever can open it could also read what the folder holds. A socket that a killed run
//! left behind is removed at the next start, which holds the folder's lock: nobody can be behind it.

use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Running;

/// Name of the socket in a data folder.
pub const SOCKET: &str = "control.sock";

/// What carries orders out in the process that holds the folder.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// What can be asked of it.
    type Order: DeserializeOwned + Send;

    /// Carries one order out to its end.
    async fn carry_out(&self, order: Self::Order) -> Reply;
}

/// What was done: for a person, and for a script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Lines to show, each ended.
    pub text: String,
    /// The same, as JSON.
    pub data: Value,
}

impl Answer {
    /// What to show, and the value that says the same.
    pub fn new(text: impl Into<String>, data: Value) -> Self {
        Self {
            text: text.into(),
            data,
        }
    }
}

/// What goes back over the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done(Answer),
    /// It is not.
    Failed(String),
}

impl Reply {
    /// How a result is told on the other side.
    pub fn of<E: std::error::Error>(result: Result<Answer, E>) -> Self {
        match result {
            Ok(answer) => Self::Done(answer),
            Err(error) => Self::Failed(with_causes(&error)),
        }
    }
}

/// An error with its causes in one text: what the other side of the socket reads.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

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
///
/// # Errors
/// The socket cannot be made.
pub fn listen<E: Executor>(folder: &Path, executor: Arc<E>, running: &Running) -> Result<(), ControlError> {
    let path = folder.join(SOCKET);
    let failed = |source| ControlError::Listen {
        path: path.clone(),
        source,
    };
    let short = Short::of(&path).map_err(failed)?;
    remove(&path).map_err(failed)?;
    let listener = UnixListener::bind(short.path()).map_err(failed)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    let running = running.clone();
    running.tracker.clone().spawn(async move {
        accept(&listener, &executor, &running).await;
        drop(listener);
        if let Err(error) = remove(&path) {
            tracing::warn!(path = %path.display(), %error, "the control socket stays behind");
        }
    });
    Ok(())
}

async fn accept<E: Executor>(listener: &UnixListener, executor: &Arc<E>, running: &Running) {
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
                let (executor, stop) = (Arc::clone(executor), running.stop.clone());
                running.tracker.spawn(async move {
                    if let Err(error) = serve(stream, &*executor, &stop).await {
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
async fn serve<E: Executor>(stream: UnixStream, executor: &E, stop: &CancellationToken) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut bounded = tokio::io::BufReader::new(read.take(ORDER_BYTES_MAX));
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        read = timeout(ORDER_WAIT_MAX, bounded.read_line(&mut line)) => read??,
    };
    let reply = match serde_json::from_str(&line) {
        Ok(order) => executor.carry_out(order).await,
        Err(error) => Reply::Failed(format!(
            "the order cannot be read ({error}): is the command another version?"
        )),
    };
    let mut bytes = serde_json::to_vec(&reply)?;
    bytes.push(b'\n');
    timeout(ANSWER_WAIT_MAX, write.write_all(&bytes)).await??;
    write.shutdown().await
}

/// Gives an order to the process that holds this folder, and waits for its answer.
///
/// # Errors
/// Nobody answers, or the order was not carried out.
pub fn ask(folder: &Path, order: &impl Serialize) -> Result<Answer, ControlError> {
    let path = folder.join(SOCKET);
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    #[async_trait]
    impl Executor for Echo {
        type Order = Value;

        async fn carry_out(&self, order: Value) -> Reply {
            match order.as_str() {
                Some(text) => Reply::Done(Answer::new(text, order.clone())),
                None => Reply::Failed("no text".into()),
            }
        }
    }

    async fn asked(folder: &Path, line: Value) -> Result<Answer, ControlError> {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || ask(&folder, &line)).await.unwrap()
    }

    #[tokio::test]
    async fn orders_are_answered_until_the_process_stops_and_only_the_owner_can_connect() {
        // Longer than a socket's address may be.
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("x".repeat(PATH_BYTES_MAX));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(SOCKET), "left behind").unwrap();
        let running = Running::with_room(crate::app::Room::within(64));
        listen(&folder, Arc::new(Echo), &running).unwrap();
        let mode = std::fs::metadata(folder.join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(asked(&folder, "well".into()).await.unwrap().text, "well");
        let failed = asked(&folder, Value::Null).await.unwrap_err();
        assert_eq!(failed.to_string(), "no text");
        assert!(running.drain(Duration::from_secs(10)).await);
        assert!(!folder.join(SOCKET).exists());
        let gone = asked(&folder, "well".into()).await;
        assert!(matches!(gone, Err(ControlError::Unreachable { .. })));
    }

    #[tokio::test]
    async fn an_order_of_another_version_and_one_without_end_are_refused() {
        struct Few;
        #[derive(Deserialize)]
        struct Known {
            #[serde(rename = "known")]
            _known: bool,
        }
        #[async_trait]
        impl Executor for Few {
            type Order = Known;

            async fn carry_out(&self, _: Known) -> Reply {
                Reply::Done(Answer::default())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let running = Running::with_room(crate::app::Room::within(64));
        listen(folder.path(), Arc::new(Few), &running).unwrap();
        for line in [Value::String("explode".into()), "x".repeat(2 << 20).into()] {
            let refused = asked(folder.path(), line).await.unwrap_err().to_string();
            assert!(
                refused.contains("another version") || refused.contains("no answer"),
                "{refused}"
            );
        }
        let good = asked(folder.path(), serde_json::json!({ "known": true })).await;
        assert!(good.is_ok());
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = crate::store::StoreError::Backend {
            context: "writing".to_owned(),
            source: "disk full".into(),
        };
        assert_eq!(with_causes(&error), "storage failed: writing: disk full");
    }
}
