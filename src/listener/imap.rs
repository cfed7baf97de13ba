//! The driver of IMAP sessions: it moves bytes, checks logins, and has `mailbox` perform everything else.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accept::Door;
use super::link::{FEW_BYTES, Handshake};
use super::login::{self, Attempt, Opened, Place};
use super::login_places::LoginPlace;
use super::pace::Pace;
use super::standing::Standing;
use super::wire::{Counted, Waits, Wire};
use super::{Face, Judged, Parts, SessionId, Snapshot};
use crate::identity::Address;
use crate::imap::{
    Accessor, Answer, Certificate, Credentials, Ending, Noted, Options, Refused, Request, Security, Session, Step,
};
use crate::journal::{Event, Excerpt, Opened as OpenedEvent, Refused as RefusedEvent};
use crate::mailbox::{BoxSession, Terms};
use crate::pki::Usage;
use crate::policy::{Reason, Refusal};

/// Serves one connection to its end.
pub(super) async fn serve(door: &Door, stream: TcpStream, parts: Arc<Parts>, stop: CancellationToken) {
    let wire = match Wire::new(
        stream,
        Waits {
            idle: parts.limits().imap_idle,
            write: parts.limits().write,
        },
        Counted {
            meter: parts.meter.clone(),
            face: door.face.name(),
            handshakes: Arc::clone(&parts.handshakes_room),
        },
    ) {
        Ok(wire) => wire,
        Err(error) => {
            tracing::debug!(operator = parts.operator, %error, "connection was gone before it began");
            return;
        }
    };
    let mut drive = Drive {
        door,
        boxes: parts.mailboxes.session(),
        snapshot: parts.snapshot.load_full(),
        id: parts.new_session(),
        handshake: Handshake::default(),
        login: None,
        place: None,
        opened: None,
        directory_changed: parts.directory_changed.subscribe(),
        deadline: Instant::now() + parts.limits().login_idle,
        end: Instant::now() + parts.limits().imap_session,
        pace: Pace::new(parts.limits().data_rate),
        wire,
        parts,
    };
    let ended = drive.run(&stop).await;
    let operator = &drive.parts.operator;
    match ended {
        Ok(()) => tracing::debug!(operator, session = %drive.id, face = door.face.name(), "session ended"),
        Err(error) => {
            tracing::debug!(operator, session = %drive.id, face = door.face.name(), %error, "session broke off");
        }
    }
    drive.wire.close().await;
}

struct Drive<'a> {
    door: &'a Door,
    parts: Arc<Parts>,
    snapshot: Arc<Snapshot>,
    id: SessionId,
    wire: Wire,
    handshake: Handshake,
    boxes: BoxSession,
    login: Option<Opened>,
    /// Its place among the sessions of that login.
    place: Option<LoginPlace>,
    /// The box that is open.
    opened: Option<Use>,
    /// Another directory is in force.
    directory_changed: watch::Receiver<()>,
    /// When the session is ended for silence.
    deadline: Instant,
    /// When it is ended in any case: it is judged by the snapshot of its beginning.
    end: Instant,
    /// Messages that are appended are not to drip.
    pace: Pace,
}

impl Drive<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> io::Result<()> {
        let mut session = Session::new(self.options());
        if self.door.face == Face::Imaps {
            let certificate = self.handshake().await?;
            session = Session::new(Options {
                security: Security::Tls(certificate),
                ..self.options()
            });
        }
        let mut is_much = false;
        loop {
            if self.boxes.has_news() {
                session.changed();
            }
            match session.step() {
                Step::Write(bytes) => self.wire.write(&bytes).await?,
                Step::Read | Step::Idle => {
                    // Thousands of sessions wait for one line: only one that sends a lot waits with a buffer.
                    let mut buffer = Vec::with_capacity(if is_much { READ_BYTES } else { 0 });
                    if !self.wait(&mut session, &mut buffer, stop).await? {
                        return Ok(());
                    }
                    is_much = buffer.len() >= if is_much { READ_BYTES } else { FEW_BYTES };
                    session.feed(&buffer);
                }
                Step::Ask(Request::Authenticate(credentials)) => {
                    let answer = Box::pin(self.authenticate(&credentials)).await;
                    session.answer(answer);
                }
                // Apart, like the others: what they need would be held while the session waits.
                Step::Ask(request) => match Box::pin(self.perform(request)).await {
                    Ok(answer) => session.answer(answer),
                    Err(ending) => session.end(ending),
                },
                Step::StartTls => {
                    let certificate = self.handshake().await?;
                    session.tls_started(certificate);
                }
                Step::Compress(read) => self.wire.compress(read),
                Step::Refused(noted) => Box::pin(self.noted(noted)).await,
                Step::Close => return Ok(()),
            }
        }
    }

    fn options(&self) -> Options {
        let limits = self.parts.limits();
        Options {
            command_bytes_max: limits.imap_line_bytes_max,
            append_bytes_max: usize::try_from(limits.message_bytes_max).unwrap_or(usize::MAX),
            errors_max: u32::try_from(limits.errors_max).unwrap_or(u32::MAX),
            session_id: self.id.to_string(),
            ..Options::new(Security::Clear)
        }
    }

    /// Waits for input, for a change of the selected folder, or for the end. False when the client has left.
    async fn wait(
        &mut self,
        session: &mut Session,
        buffer: &mut Vec<u8>,
        stop: &CancellationToken,
    ) -> io::Result<bool> {
        if !session.is_in_literal() {
            self.pace.rest();
        }
        let left = self.pace.left().filter(|_| session.is_in_literal());
        if session.is_amid_command() {
            self.wire.hasten()?;
        }
        let begun = Instant::now();
        let slow = left.map(|left| begun + left);
        let wake = self.deadline.min(self.end);
        let wake = slow.map_or(wake, |slow| slow.min(wake));
        self.wire.rest();
        tokio::select! {
            read = self.wire.read_into(buffer) => {
                let read = read?;
                self.pace.came(read, begun.elapsed());
                let got = read > 0;
                // Before login the deadline stands: one byte now and then must not hold a place.
                if self.login.is_some() {
                    self.deadline = Instant::now() + self.parts.limits().imap_idle;
                }
                return Ok(got);
            }
            () = self.boxes.news() => {
                self.pace.came(0, begun.elapsed());
                session.changed();
            }
            // The sender lives as long as the operator.
            _ = self.directory_changed.changed() => if let Err(ending) = self.judge() {
                session.end(ending);
            },
            () = tokio::time::sleep_until(wake) => {
                let ending = if slow == Some(wake) {
                    self.too_slow().await;
                    Ending::TooSlow
                } else if wake == self.end {
                    Ending::TooLong
                } else {
                    Ending::Idle
                };
                session.end(ending);
            }
            () = stop.cancelled() => session.end(Ending::Shutdown),
        }
        Ok(true)
    }

    /// Notes that a literal drips.
    async fn too_slow(&self) {
        let text = "the message comes at less than data_rate_min_bytes_per_second";
        Box::pin(self.refused("data", &Refusal::new(Reason::TooSlow, text))).await;
    }

    async fn handshake(&mut self) -> io::Result<Certificate> {
        let handshake = self
            .wire
            .start_tls(self.door.tls.load_full(), self.parts.limits().handshake)
            .await;
        self.handshake = match handshake {
            Ok(handshake) => handshake,
            Err(unfinished) => {
                let place = (self.door.face, self.wire.peer.ip().to_canonical());
                Box::pin(self.parts.handshake_failed(&self.id, place, &unfinished)).await;
                return Err(unfinished.error);
            }
        };
        if !self.handshake.chain.is_empty() {
            Box::pin(self.examine(None)).await;
        }
        // Offered whenever one was shown: a bad one is judged, and journalled, when EXTERNAL is used.
        Ok(if self.handshake.chain.is_empty() {
            Certificate::None
        } else {
            Certificate::Shown
        })
    }

    async fn authenticate(&mut self, credentials: &Credentials) -> Answer {
        let Some(attempt) = attempt(credentials) else {
            return Answer::LoginRefused {
                refused: Refused::Credentials,
                text: format!("tokens are not taken here (session {})", self.id),
            };
        };
        login::ask(&self.parts, &self.snapshot, &self.handshake, &attempt).await;
        let now = self.parts.clock.now();
        let result = login::open(&self.snapshot, &self.handshake, &attempt, now)
            .and_then(|opened| self.take_place(&opened).map(|()| opened));
        let place = Place {
            parts: &self.parts,
            session: &self.id,
            face: self.door.face,
            ip: self.wire.peer.ip(),
        };
        login::journal(&place, &attempt, &result).await;
        if let Err(refusal) = &result
            && attempt.password.is_none()
            && !self.handshake.chain.is_empty()
        {
            self.examine(Some(refusal)).await;
        }
        match result {
            Ok(opened) => {
                let others = opened.boxes.iter().filter(|address| **address != opened.own);
                let boxes = std::iter::once(&opened.own)
                    .chain(others)
                    .map(|address| address.key().to_owned())
                    .collect();
                self.login = Some(opened);
                self.deadline = Instant::now() + self.parts.limits().imap_idle;
                Answer::Boxes(boxes)
            }
            Err(refusal) => Answer::LoginRefused {
                refused: match refusal.reason {
                    Reason::BoxAmbiguous | Reason::CertificateNotBound | Reason::BoxClosed => Refused::NotYourBox,
                    Reason::TooManyConnections => Refused::TooManySessions,
                    // RFC 5530 §3: other credentials would not help.
                    Reason::RevocationUnknown => Refused::Unavailable,
                    _ => Refused::Credentials,
                },
                text: format!("{} ({}, session {})", refusal.text, refusal.reason, self.id),
            },
        }
    }

    /// Leaves the evidence of the client's certificate in the journal.
    async fn examine(&self, refusal: Option<&Refusal>) {
        let judged = Judged {
            face: self.door.face.name(),
            peer_ip: Some(self.wire.peer.ip().to_canonical()),
            host: "",
            handshake: &self.handshake,
            usage: Usage::Client,
            domain: None,
            refusal,
        };
        self.parts.examine(&self.id, &judged, &self.snapshot).await;
    }

    /// What the session refused on its own.
    async fn noted(&self, noted: Noted) {
        let (reason, text) = match noted {
            Noted::TlsRequired => (Reason::TlsRequired, "STARTTLS first"),
            Noted::TooManyErrors => (Reason::TooManyErrors, "too many errors in this session"),
        };
        self.refused("session", &Refusal::new(reason, text)).await;
    }

    /// Writes a refusal into the journal.
    async fn refused(&self, stage: &'static str, refusal: &Refusal) {
        let event = RefusedEvent {
            peer_ip: Excerpt::new(self.wire.peer.ip().to_canonical().to_string()),
            ..RefusedEvent::new(self.door.face.name(), stage, refusal)
        };
        self.parts.record(&self.id, Event::Refused(event)).await;
    }

    /// A place among the sessions of that login on that box.
    fn take_place(&mut self, opened: &Opened) -> Result<(), Refusal> {
        let max = self.parts.limits().connections_per_login_max;
        self.place = self.parts.login_places.take(&opened.name, &opened.own, max);
        match &self.place {
            Some(_) => Ok(()),
            None => Err(Refusal::new(
                Reason::TooManyConnections,
                format!("this login has {max} sessions on that box already; end some"),
            )),
        }
    }

    /// `Err` when the session cannot go on: the box has moved to another operator, where a copy of it is and what was done here would be
    /// lost, or it is not what the session opened any more.
    async fn perform(&mut self, request: Request) -> Result<Answer, Ending> {
        let now = self.parts.clock.now();
        let opening = match &request {
            Request::Open { address } => address.parse::<Address>().ok(),
            _ => None,
        };
        // Held until it is done: after a domain has been named there, its boxes change no more.
        let parts = Arc::clone(&self.parts);
        let departed = parts.departed.read().await;
        let concerned = opening.as_ref().or(self.opened.as_ref().map(|open| &open.address));
        if concerned.is_some_and(|address| departed.contains(address.domain())) {
            return Err(Ending::BoxMoved);
        }
        if self.directory_changed.has_changed().unwrap_or(false) {
            self.directory_changed.mark_unchanged();
            self.judge()?;
        }
        if matches!(request, Request::Access) {
            return Ok(self.access());
        }
        if let (Some(address), Some(login)) = (&opening, &self.login) {
            let access = Standing::of(&self.parts.snapshot.load().directory, login, address)?;
            self.boxes.set_terms(Terms {
                person: login.name.clone(),
                access: access.allows(),
                limits: self.parts.limits().folders,
            });
            self.opened = None;
        }
        if matches!(request, Request::Unauthenticate) {
            (self.login, self.opened, self.place) = (None, None, None);
            self.deadline = Instant::now() + self.parts.limits().login_idle;
        }
        let answer = self.boxes.perform(request, now).await;
        if let (Some(address), Answer::Done, Some(login)) = (opening, &answer, &self.login) {
            // Every access to a box names the person or software behind it.
            let event = Event::Opened(OpenedEvent {
                mailbox: (&address).into(),
                by: Excerpt::new(&login.name),
            });
            self.parts.record(&self.id, event).await;
            let standing = Standing::of(&self.parts.snapshot.load().directory, login, &address)?;
            self.opened = Some(Use { address, standing });
        }
        Ok(answer)
    }

    /// Whether the open box and what the login may do there are what they were, in the directory now in force.
    fn judge(&self) -> Result<(), Ending> {
        let (Some(open), Some(login)) = (&self.opened, &self.login) else {
            return Ok(());
        };
        let now = Standing::of(&self.parts.snapshot.load().directory, login, &open.address)?;
        open.standing.followed_by(now)
    }

    /// Who may open the box that is open.
    fn access(&self) -> Answer {
        let (Some(open), Some(login)) = (&self.opened, &self.login) else {
            return Answer::Refused(Refused::Defect);
        };
        let directory = Arc::clone(&self.parts.snapshot.load().directory);
        let accessor = |name: &str, role| Accessor {
            identifier: name.to_owned(),
            rights: open.standing.rights(role),
        };
        let openers = directory.openers(&open.address);
        Answer::Access {
            mine: accessor(&login.name, open.standing.role),
            all: openers.iter().map(|one| accessor(&one.name, one.role)).collect(),
        }
    }
}

/// The open box.
struct Use {
    address: Address,
    /// As it was when it was opened.
    standing: Standing,
}

/// `None`: nobody here can verify a token, so that no token is offered to be taken.
fn attempt(credentials: &Credentials) -> Option<Attempt<'_>> {
    Some(match credentials {
        Credentials::Token { .. } => return None,
        Credentials::Certificate { authorize } => Attempt {
            mechanism: "EXTERNAL",
            authorisation: named(authorize),
            password: None,
        },
        Credentials::Password {
            mechanism,
            authorize,
            user,
            password,
        } => Attempt {
            mechanism,
            authorisation: named(authorize),
            password: Some((user, password.reveal())),
        },
    })
}

fn named(authorize: &str) -> Option<&str> {
    (!authorize.is_empty()).then_some(authorize)
}

/// One read; TLS records are at most this long.
const READ_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    type Arguments = (&'static Door, TcpStream, Arc<Parts>, CancellationToken);

    fn future_bytes<F: Future>(_: impl FnOnce(Arguments) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand of them wait at once.
    #[test]
    fn a_connection_holds_no_room_for_what_it_does_seldom() {
        let bytes = future_bytes(|(door, stream, parts, stop)| serve(door, stream, parts, stop));
        assert!(bytes <= 3_000, "{bytes}");
    }
}
