//! The servers of the audit peers: each receives, says in a log what it saw, and loses nothing. A small MX each, in the process that runs
//! the space.

use data_encoding::HEXLOWER;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit::AuditPeer;
use super::audit_material::AuditFolder;
use super::play::{End, Reached, Service};
use super::serve_tls::server_config;
use super::serve_visit::{Keep, Letter, Showing, Stand, Welcome, visit};
use crate::clock::Clock;
use crate::pki::{self, IdentityError};

/// The running servers of the audit peers. Dropping it ends them.
pub struct AuditServers {
    stop: CancellationToken,
    /// Where each listens.
    pub addresses: Vec<(AuditPeer, SocketAddr)>,
}

/// One visit, as the log of the peers holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitRecord {
    /// When it ended.
    pub at: Timestamp,
    /// Which peer was visited.
    pub peer: AuditPeer,
    /// From where.
    pub from: String,
    /// Full subject of the certificate that the visitor showed; empty without one.
    #[serde(default)]
    pub subject: String,
    /// Reverse-path, once MAIL was said.
    #[serde(default)]
    pub sender: Option<String>,
    /// Messages handed over.
    pub letters: u32,
    /// Whether it trusted the peer: said MAIL, or more.
    pub trusted: bool,
    /// How it ended, in one line.
    pub observed: String,
}

/// Why the peers cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AuditServerError {
    /// A port.
    #[error(
        "cannot listen on {address} for audit peer {peer}: {source}; stop what listens there, then `vaguemestre audit stop` and `audit raise`"
    )]
    Port {
        /// Whose.
        peer: AuditPeer,
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What a peer presents.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS of a peer.
    #[error("TLS of an audit peer cannot be configured: {0}")]
    Tls(#[from] rustls::Error),
}

/// A bound port of a peer.
pub type BoundPeer = (AuditPeer, TcpListener);

/// Binds the port of each peer; `preferred` when it is free, any other one otherwise.
///
/// # Errors
/// No port of this machine can be had.
pub async fn bind_any(preferred: impl Fn(AuditPeer) -> SocketAddr) -> Result<Vec<BoundPeer>, AuditServerError> {
    let mut bound = Vec::new();
    for peer in AuditPeer::ALL {
        let wish = preferred(peer);
        let listener = match TcpListener::bind(wish).await {
            Ok(listener) => listener,
            Err(_) => bind(peer, SocketAddr::new(wish.ip(), 0)).await?,
        };
        bound.push((peer, listener));
    }
    Ok(bound)
}

/// Binds the port of a peer.
///
/// # Errors
/// It is taken.
pub async fn bind(peer: AuditPeer, address: SocketAddr) -> Result<TcpListener, AuditServerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| AuditServerError::Port { peer, address, source })
}

impl AuditServers {
    /// Serves on bound ports; everything runs on `tracker` until it is dropped, or `stop` is cancelled.
    ///
    /// # Errors
    /// See [`AuditServerError`].
    pub fn start(
        folder: &AuditFolder,
        bound: Vec<BoundPeer>,
        clock: &Clock,
        (tracker, stop): (&TaskTracker, &CancellationToken),
    ) -> Result<Self, AuditServerError> {
        let stop = stop.child_token();
        let mut servers = Vec::new();
        let mut addresses = Vec::new();
        for (peer, listener) in bound {
            let showing = match folder.identity(peer)? {
                Some(identity) => Showing::Certificate(server_config(identity.certified())?),
                None => Showing::Clear,
            };
            let address = listener.local_addr().map_err(|source| AuditServerError::Port {
                peer,
                address: SocketAddr::from(([0, 0, 0, 0], 0)),
                source,
            })?;
            addresses.push((peer, address));
            let stand = Stand {
                service: Service::Smtp,
                host: peer.host(),
                showing,
                mail: Welcome::Take(keep(folder.received(peer))),
                wait: WAIT,
            };
            servers.push(Arc::new(Server {
                peer,
                stand,
                log: folder.visits(),
                clock: clock.clone(),
            }));
            let server = servers.last().map(Arc::clone);
            if let Some(server) = server {
                tracker.spawn(server.accept(listener, tracker.clone(), stop.clone()));
            }
        }
        Ok(Self { stop, addresses })
    }
}

impl Drop for AuditServers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Server {
    peer: AuditPeer,
    stand: Stand,
    log: PathBuf,
    clock: Clock,
}

impl Server {
    async fn accept(self: Arc<Self>, listener: TcpListener, tracker: TaskTracker, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(VISITS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, from)) => {
                    let (server, stop) = (Arc::clone(&self), stop.clone());
                    tracker.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = server.receive(tcp, from) => {}
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(peer = %self.peer, %error, "accept failed, pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn receive(&self, tcp: TcpStream, from: SocketAddr) {
        let visit = visit(&self.stand, tcp).await;
        if !visit.is_attempt() {
            return;
        }
        let record = VisitRecord {
            at: self.clock.now(),
            peer: self.peer,
            from: from.to_string(),
            subject: visit.subject,
            sender: visit.sender,
            letters: visit.letters,
            trusted: visit.observation.is_trust() && visit.observation.reached >= Reached::Sender,
            observed: match (&visit.observation.end, visit.letters) {
                (End::Allowed, 0) => visit.observation.to_string().replace("accepted", "trusted"),
                (End::Allowed, letters) => format!("{letters} message(s) handed over"),
                _ => visit.observation.to_string(),
            },
        };
        tracing::info!(peer = %self.peer, from = record.from, trusted = record.trusted, "audit peer visited");
        if let Err(error) = append(&self.log, &record) {
            tracing::error!(peer = %self.peer, %error, "the visit of an audit peer is not in its log");
        }
    }
}

/// Writes a letter, whole and synced, before it is acknowledged.
fn keep(folder: PathBuf) -> Keep {
    Arc::new(move |letter: &Letter| {
        let name = digest_of(&letter.content);
        let mut text = format!(
            "Return-Path: <{}>\r\nX-Envelope-To: {}\r\n",
            letter.sender,
            letter.recipients.join(", ")
        )
        .into_bytes();
        text.extend_from_slice(&letter.content);
        pki::write_private(&folder.join(format!("{name}.eml")), &text).map_err(io::Error::other)
    })
}

/// SHA-256 in hexadecimal: the same letter twice is one file.
fn digest_of(content: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    HEXLOWER.encode(digest.as_ref())
}

/// A whole line in one write: lines of visits that end together do not mix.
fn append(log: &Path, record: &VisitRecord) -> io::Result<()> {
    let mut line = serde_json::to_vec(record).map_err(io::Error::other)?;
    line.push(b'\n');
    OpenOptions::new().create(true).append(true).open(log)?.write_all(&line)
}

/// The visits so far, oldest first; lines that cannot be read are left out.
///
/// # Errors
/// The log exists and cannot be read.
pub fn visits(folder: &AuditFolder) -> io::Result<Vec<VisitRecord>> {
    let text = match std::fs::read_to_string(folder.visits()) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// Longest silence of a visitor.
const WAIT: Duration = Duration::from_secs(30);
/// Visits at once of one peer; the next ones wait in the kernel's queue.
const VISITS_MAX: usize = 32;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
