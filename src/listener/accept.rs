//! The accept loop: one task per connection, within a bound, until told to stop.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::{Full, Places};
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
#[derive(Debug)]
pub struct TurnedAway {
    last: Mutex<Option<(Timestamp, SessionId)>>,
    /// Those that may be told why at the same time: whoever comes beyond just finds the connection closed, and costs no descriptor.
    turns: Arc<Semaphore>,
}

impl Default for TurnedAway {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            turns: Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE)),
        }
    }
}

impl TurnedAway {
    /// The session to name, and whether it is a new one.
    fn session(&self, now: Timestamp) -> (SessionId, bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, session)) if now.duration_since(*at) < TURNED_AWAY_TOGETHER => (session.clone(), false),
            _ => {
                let session = SessionId::new(now);
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
        let mut is_short = false;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = door.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut is_short) {
                        parts.health.report("listeners", None);
                    }
                    door.admit(stream, peer, (&parts, &places), (&tracker, &stop));
                }
                // The client left before it was its turn: the next one may be there already.
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: the kernel keeps the connection waiting, so pause instead of spinning.
                    tracing::warn!(operator = parts.operator, face = door.face.name(), %error, "accept failed, pausing");
                    parts.meter.count(Metric::AcceptErrors, &[door.face.name()], 1);
                    is_short = true;
                    let problem = format!("no connection can be accepted on {}: {error}", door.face.name());
                    parts.health.report("listeners", Some(problem));
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
        let place = match places.take(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                let (operator, face, limit) = (&parts.operator, door.face.name(), full.name());
                parts.meter.count(Metric::TurnedAway, &[face, limit], 1);
                tracing::debug!(operator, face, limit, "too many connections, turned away");
                if let Ok(turn) = Arc::clone(&door.turned_away.turns).try_acquire_owned() {
                    tracker.spawn(async move {
                        door.turn_away(stream, (peer, full), &parts).await;
                        drop(turn);
                    });
                }
                return;
            }
        };
        let held = (place, parts.meter.session(door.face.name()));
        // A task for each protocol: a connection holds no room for the other.
        match door.face {
            Face::Peer | Face::Submission | Face::Submissions => tracker.spawn(async move {
                smtp::serve(&door, stream, parts, stop).await;
                drop(held);
            }),
            Face::Imap | Face::Imaps => tracker.spawn(async move {
                imap::serve(&door, stream, parts, stop).await;
                drop(held);
            }),
        };
    }

    /// Says why, where that can be said in clear; a TLS face just closes.
    async fn turn_away(&self, mut stream: TcpStream, (peer, full): (SocketAddr, Full), parts: &Parts) {
        let (session, is_new) = self.turned_away.session(parts.clock.now());
        let text = full.text();
        if is_new {
            let (operator, face, limit) = (&parts.operator, self.face.name(), full.name());
            tracing::warn!(operator, %session, face, limit, "connections are turned away");
            let refusal = Refusal::new(Reason::TooManyConnections, text);
            let event = Refused {
                peer_ip: Excerpt::new(peer.ip().to_canonical().to_string()),
                ..Refused::new(self.face.name(), "connection", &refusal)
            };
            parts.record(&session, Event::Refused(event)).await;
        }
        let ids = format!("({}, session {session})", Reason::TooManyConnections);
        let farewell = match self.face {
            Face::Peer | Face::Submission => format!("421 4.7.0 {text} {ids}\r\n"),
            Face::Imap => format!("* BYE [LIMIT] {text} {ids}\r\n"),
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
}

/// Whether an accept failed for a reason that says nothing of the next one.
fn is_of_one_client(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
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
/// Turned away with a word at the same time, per face.
const TURNED_AWAY_AT_ONCE: usize = 64;
/// How long turning a connection away may take.
const TURN_AWAY_MAX: Duration = Duration::from_secs(1);
