//! The accept loop: one task per connection, within a bound, until told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::Places;
use super::{Parts, imap, smtp};
use crate::identity::Domain;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Between operators: SMTP, STARTTLS and a client certificate required.
    Peer,
    /// Submission with STARTTLS (RFC 6409).
    Submission,
    /// Submission over implicit TLS (RFC 8314 §3.3).
    Submissions,
    /// IMAP with STARTTLS.
    Imap,
    /// IMAP over implicit TLS (RFC 8314 §3.2).
    Imaps,
}

impl Face {
    /// Its name in endpoints tables and in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
        }
    }
}

/// A bound port of an operator.
pub struct Door {
    /// What is spoken there.
    pub face: Face,
    /// The name it greets with.
    pub host: Domain,
    /// The accepting socket.
    pub listener: TcpListener,
    /// Certificate and how clients are asked for theirs: the last one put there counts for the next handshake.
    pub tls: Arc<ArcSwap<rustls::ServerConfig>>,
}

impl Door {
    /// Where it listens.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts until `stop`; sessions run on `tracker` and are told to end by `stop` too.
    pub async fn run(self, parts: Arc<Parts>, places: Arc<Places>, tracker: TaskTracker, stop: CancellationToken) {
        let door = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = door.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => door.admit(stream, peer, (&parts, &places), (&tracker, &stop)),
                Err(error) => {
                    // Out of descriptors or memory: the kernel keeps the connection waiting, so pause instead of spinning.
                    tracing::warn!(operator = parts.operator, face = door.face.name(), %error, "accept failed, pausing");
                    pause(ACCEPT_PAUSE, &stop).await;
                }
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        (parts, places): (&Arc<Parts>, &Arc<Places>),
        (tracker, stop): (&TaskTracker, &CancellationToken),
    ) {
        let (door, parts, stop) = (Arc::clone(self), Arc::clone(parts), stop.clone());
        let Some(place) = places.take(peer.ip()) else {
            tracing::warn!(operator = parts.operator, %peer, face = door.face.name(), "too many connections, turned away");
            tracker.spawn(async move { door.turn_away(stream).await });
            return;
        };
        tracker.spawn(async move {
            door.serve(stream, parts, stop).await;
            drop(place);
        });
    }

    /// Says why, where that can be said in clear; a TLS face just closes.
    async fn turn_away(&self, mut stream: TcpStream) {
        let farewell: &[u8] = match self.face {
            Face::Peer | Face::Submission => {
                b"421 4.7.0 too many connections, try again later (too-many-connections)\r\n"
            }
            Face::Imap => b"* BYE [LIMIT] too many connections, try again later\r\n",
            Face::Submissions | Face::Imaps => b"",
        };
        let said = async {
            stream.write_all(farewell).await?;
            stream.shutdown().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(TURN_AWAY_MAX, said).await {
            tracing::trace!(%error, "a peer turned away was gone already");
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, parts: Arc<Parts>, stop: CancellationToken) {
        match self.face {
            Face::Peer | Face::Submission | Face::Submissions => smtp::serve(&self, stream, parts, stop).await,
            Face::Imap | Face::Imaps => imap::serve(&self, stream, parts, stop).await,
        }
    }
}

/// Waits, unless told to stop before.
pub(super) async fn pause(how_long: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(how_long) => {}
    }
}

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long turning a connection away may take.
const TURN_AWAY_MAX: Duration = Duration::from_secs(1);
