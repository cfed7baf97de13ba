//! The accept loop: one task per connection, within a bound, until told to stop.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::Places;
use super::{Parts, SessionId, imap, smtp};
use crate::identity::Domain;
use crate::journal::{Event, Excerpt, Refused};
use crate::metrics::Metric;
use crate::policy::{Reason, Refusal};

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
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Peer, Self::Submission, Self::Submissions, Self::Imap, Self::Imaps];

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
    /// Certificate and how clients are asked for theirs; a renewed one is shown from the next handshake on.
    pub tls: Arc<ArcSwap<rustls::ServerConfig>>,
    /// Connections it had no place for.
    pub turned_away: TurnedAway,
}

/// Connections turned away share a session while they come thick and fast: a flood must not become one of journal records.
#[derive(Debug, Default)]
pub struct TurnedAway(Mutex<Option<(Timestamp, SessionId)>>);

impl TurnedAway {
    /// The session to name, and whether it is a new one.
    fn session(&self, now: Timestamp) -> (SessionId, bool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, session)) if now.duration_since(*at) < TURNED_AWAY_TOGETHER => (session.clone(), false),
            _ => {
                let session = SessionId::new();
                *last = Some((now, session.clone()));
                (session, true)
            }
        }
    }
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
                    parts.meter.count(Metric::AcceptErrors, &[door.face.name()], 1);
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
            tracker.spawn(async move { door.turn_away(stream, peer, &parts).await });
            return;
        };
        let open = parts.meter.session(door.face.name());
        tracker.spawn(async move {
            door.serve(stream, parts, stop).await;
            drop((place, open));
        });
    }

    /// Says why, where that can be said in clear; a TLS face just closes.
    async fn turn_away(&self, mut stream: TcpStream, peer: SocketAddr, parts: &Parts) {
        let (session, is_new) = self.turned_away.session(parts.clock.now());
        if is_new {
            let refusal = Refusal::new(Reason::TooManyConnections, "too many connections, try again later");
            let event = Refused {
                peer_ip: Excerpt::new(peer.ip().to_canonical().to_string()),
                ..Refused::new(self.face.name(), "connection", &refusal)
            };
            parts.record(&session, Event::Refused(event)).await;
        }
        let ids = format!("({}, session {session})", Reason::TooManyConnections);
        let farewell = match self.face {
            Face::Peer | Face::Submission => format!("421 4.7.0 too many connections, try again later {ids}\r\n"),
            Face::Imap => format!("* BYE [LIMIT] too many connections, try again later {ids}\r\n"),
            Face::Submissions | Face::Imaps => String::new(),
        };
        let said = async {
            stream.write_all(farewell.as_bytes()).await?;
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
/// Turned away within this time of each other: one record.
const TURNED_AWAY_TOGETHER: SignedDuration = SignedDuration::from_secs(1);
/// How long turning a connection away may take.
const TURN_AWAY_MAX: Duration = Duration::from_secs(1);
