//! The driver of SMTP sessions, both faces: it moves bytes, and hands each question to the desk of its face.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::accept::Door;
use super::link::Handshake;
use super::pace::Pace;
use super::reception::Reception;
use super::spool::Spool;
use super::submission::Submission;
use super::visitor::Visitor;
use super::wire::{Counted, Waits, Wire};
use super::{Face, Parts, SessionId};
use crate::clock::Stopwatch;
use crate::policy::{Reason, Refusal};
use crate::smtp::session::{self, Options};
use crate::smtp::{Answer, Extensions, Question, Session, Step};
use crate::store::StoreError;

/// Protocol facts that a desk needs when a message is complete.
pub(super) struct Transmission<'a> {
    pub(super) hello: &'a str,
    pub(super) protocol: &'static str,
    pub(super) utf8: bool,
}

/// Answers the questions of one session.
#[async_trait]
pub(super) trait Desk: Send {
    /// TLS is up: judges the certificate. A refusal is the answer to everything that follows.
    async fn handshake(&mut self, handshake: Handshake) -> Result<(), Refusal>;

    /// Answers a question about login, sender or recipient.
    async fn ask(&mut self, question: Question) -> Answer;

    /// The data of a message is complete: stores and counts it, or refuses it.
    async fn message(&mut self, spool: Spool, transmission: Transmission<'_>) -> Answer;

    /// The transaction is over without a message.
    fn abandon(&mut self);

    /// Ways to log in that this connection may use now.
    fn mechanisms(&self) -> Vec<crate::smtp::Mechanism>;

    /// Writes a refusal into the journal.
    async fn journal_refusal(&self, stage: &'static str, refusal: &Refusal);
}

/// Serves one connection to its end.
pub(super) async fn serve(door: &Door, stream: TcpStream, parts: Arc<Parts>, stop: CancellationToken) {
    let wire = match Wire::new(
        stream,
        Waits {
            idle: parts.limits().smtp_idle,
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
    let visitor = Visitor {
        snapshot: parts.snapshot.load_full(),
        session: parts.new_session(),
        face: door.face,
        host: door.host.clone(),
        ip: wire.peer.ip().to_canonical(),
        parts,
    };
    let options = options(door, &visitor);
    let (parts, id) = (Arc::clone(&visitor.parts), visitor.session.clone());
    let limits = parts.limits();
    let desk: Box<dyn Desk> = match door.face {
        Face::Peer => Box::new(Reception::new(visitor)),
        _ => Box::new(Submission::new(visitor)),
    };
    let mut drive = Drive {
        door,
        parts,
        id,
        wire,
        session: Session::new(options),
        desk,
        spool: None,
        held: Vec::new(),
        end: Instant::now() + limits.smtp_session,
        message_end: None,
        pace: Pace::new(limits.data_rate),
    };
    let ended = drive.run(stop).await;
    let (operator, session) = (&drive.parts.operator, &drive.id);
    match ended {
        Ok(()) => tracing::debug!(operator, %session, face = door.face.name(), "session ended"),
        Err(error) => tracing::debug!(operator, %session, face = door.face.name(), %error, "session broke off"),
    }
    drive.wire.close().await;
}

fn options(door: &Door, visitor: &Visitor) -> Options {
    let limits = visitor.parts.limits();
    Options {
        hostname: door.host.to_string(),
        session_id: visitor.session.to_string(),
        face: match door.face {
            Face::Peer => session::Face::Peer,
            _ => session::Face::Submission,
        },
        tls: match door.face {
            Face::Submissions => session::Tls::Done,
            _ => session::Tls::Required,
        },
        mechanisms: Vec::new(),
        extensions: Extensions::all(),
        limits: session::Limits {
            size_bytes_max: limits.message_bytes_max,
            recipients_max: limits.recipients_max,
            errors_max: limits.errors_max,
            line_bytes_max: limits.message_line_bytes_max,
            commands_max: limits.commands_max,
            session: session::SessionLimits {
                mails_max: limits.transactions_max,
                recipient_domains_max: limits.recipient_domains_max,
            },
        },
    }
}

struct Drive<'a> {
    door: &'a Door,
    parts: Arc<Parts>,
    id: SessionId,
    wire: Wire,
    session: Session,
    desk: Box<dyn Desk>,
    /// The message being received. An error is kept until the end of its data: there is no earlier moment to answer.
    spool: Option<Result<Spool, StoreError>>,
    /// Replies to what stands before a chunk that is there in part.
    held: Vec<u8>,
    /// The session ends then, the text of a message under way apart: the snapshot is too old.
    end: Instant,
    /// The message under way is to be complete by then.
    message_end: Option<Instant>,
    /// And its text is not to drip.
    pace: Pace,
}

/// Why nothing more is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Silence.
    Idle,
    /// The message takes too long as a whole.
    Message,
    /// Its text drips.
    Drip,
    /// The session has lasted long enough.
    Session,
}

impl Drive<'_> {
    async fn run(&mut self, stop: CancellationToken) -> io::Result<()> {
        if self.door.face == Face::Submissions {
            self.start_tls().await?;
        }
        loop {
            match self.session.step() {
                Step::Read => {
                    if !self.read_at_hand().await? && !self.read(&stop).await? {
                        return Ok(());
                    }
                }
                Step::Write(bytes) => self.say(bytes).await?,
                Step::Ask(question) => self.ask(question).await,
                Step::Body(bytes) => self.body(bytes).await,
                Step::StartTls => self.start_tls().await?,
                Step::Refused(refusal) => self.desk.journal_refusal("session", &refusal).await,
                Step::Abandon => {
                    self.spool = None;
                    self.message_end = None;
                    self.desk.abandon();
                }
                Step::Close => return Ok(()),
            }
        }
    }

    /// Writes replies. Those before a chunk leave with the reply to it, if all of it is there.
    async fn say(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        if self.held.is_empty() {
            self.held = bytes;
        } else {
            self.held.append(&mut bytes);
        }
        if self.session.has_chunk_under_way() && self.held.len() < HELD_BYTES_MAX {
            return Ok(());
        }
        self.wire.write(&std::mem::take(&mut self.held)).await
    }

    /// Takes what is there while replies are held; they are written before anything is waited for (RFC 2920 §3.2). False: nothing is.
    async fn read_at_hand(&mut self) -> io::Result<bool> {
        if self.held.is_empty() {
            return Ok(false);
        }
        let read = self.wire.read_at_hand(self.session.input()).await?;
        if read == 0 {
            self.wire.write(&std::mem::take(&mut self.held)).await?;
        }
        self.pace.came(read, Duration::ZERO);
        Ok(read > 0)
    }

    /// False when the peer has left, or when it is time to stop and nothing is under way.
    async fn read(&mut self, stop: &CancellationToken) -> io::Result<bool> {
        let has_text = self.session.has_text_under_way();
        if has_text {
            self.wire.expect_much();
            self.wire.hasten()?;
        }
        let (until, why) = self.awaited_until(has_text);
        let begun = Instant::now();
        let is_under_way = self.session.mail_from().is_some();
        let read = timeout_at(until, self.wire.read_into(self.session.input()));
        let read = if is_under_way {
            // A message under way is finished; who drains waits for it as long as it will.
            read.await
        } else {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.farewell("4.3.2", "shutting down, try again later").await?;
                    return Ok(false);
                }
                read = read => read,
            }
        };
        let read = match read {
            Err(_) => return self.give_up(why).await.map(|()| false),
            Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => {
                return self.give_up(Over::Idle).await.map(|()| false);
            }
            Ok(read) => read?,
        };
        if has_text {
            self.pace.came(read, begun.elapsed());
        } else if read > 0 && Instant::now() >= self.end {
            self.give_up(Over::Session).await?;
            return Ok(false);
        }
        Ok(read > 0)
    }

    /// Until when something is awaited, and what it means when nothing came.
    fn awaited_until(&mut self, has_text: bool) -> (Instant, Over) {
        let now = Instant::now();
        let mut first = (now + self.wire.idle_max(), Over::Idle);
        if has_text {
            if let Some(left) = self.pace.left() {
                first = earlier(first, (now + left, Over::Drip));
            }
        } else {
            self.pace.rest();
            first = earlier(first, (self.end, Over::Session));
        }
        if self.session.mail_from().is_some() {
            let whole = || now + self.parts.limits().message;
            let end = *self.message_end.get_or_insert_with(whole);
            first = earlier(first, (end, Over::Message));
        } else {
            self.message_end = None;
        }
        first
    }

    /// Says why nothing more is awaited; what was coming of a message is dropped.
    async fn give_up(&mut self, why: Over) -> io::Result<()> {
        let text = match why {
            Over::Idle => return self.farewell("4.4.2", "this takes too long, connect again").await,
            Over::Session => {
                let text = "this session has lasted long enough, connect again";
                return self.farewell("4.3.2", text).await;
            }
            Over::Message => "this takes too long: the message is not complete after message_timeout",
            Over::Drip => "this takes too long: the message comes at less than data_rate_min_bytes_per_second",
        };
        let refusal = Refusal::new(Reason::TooSlow, text);
        self.desk.journal_refusal("data", &refusal).await;
        let (code, status) = refusal.reason.code();
        let line = format!("{code} {status} {text} ({}, session {})\r\n", refusal.reason, self.id);
        self.wire.write(line.as_bytes()).await
    }

    async fn farewell(&mut self, status: &str, text: &str) -> io::Result<()> {
        self.wire.write(self.closing(status, text).as_bytes()).await
    }

    /// RFC 5321 §3.8: the server may close at any time after a 421.
    fn closing(&self, status: &str, text: &str) -> String {
        format!("421 {status} {text} (session {})\r\n", self.id)
    }

    async fn ask(&mut self, question: Question) {
        let answer = match question {
            Question::Message => self.message().await,
            other => self.desk.ask(other).await,
        };
        self.session.answer(answer);
    }

    async fn message(&mut self) -> Answer {
        let transmission = Transmission {
            hello: self.session.hello().unwrap_or_default(),
            protocol: self.session.protocol(),
            utf8: self.session.mail_from().is_some_and(|mail| mail.utf8),
        };
        let mut spool = match self.spool.take() {
            Some(Ok(spool)) => spool,
            Some(Err(error)) => {
                let refusal = storage_failed(&error);
                self.desk.journal_refusal("data", &refusal).await;
                return Answer::Refused(refusal);
            }
            None => self.new_spool(),
        };
        self.message_end = None;
        spool.complete();
        let (watch, size_bytes) = (Stopwatch::start(), spool.size_bytes());
        let answer = self.desk.message(spool, transmission).await;
        if !matches!(answer, Answer::Refused(_)) {
            let face = self.door.face.name();
            self.parts.meter.accepted(face, size_bytes);
            self.parts.meter.accept_took(face, watch.elapsed());
        }
        answer
    }

    async fn body(&mut self, bytes: Vec<u8>) {
        let spool = match self.spool.take() {
            Some(spool) => spool,
            None => Ok(self.new_spool()),
        };
        self.spool = Some(match spool {
            Ok(mut spool) => spool.write(bytes).await.map(|()| spool),
            Err(error) => Err(error),
        });
    }

    fn new_spool(&self) -> Spool {
        match self.door.face {
            Face::Peer => Spool::recognisable(&self.parts),
            _ => Spool::new(&self.parts),
        }
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        let handshake = self
            .wire
            .start_tls(self.door.tls.load_full(), self.parts.limits().handshake)
            .await;
        let handshake = match handshake {
            Ok(handshake) => handshake,
            Err(unfinished) => {
                let place = (self.door.face, self.wire.peer.ip().to_canonical());
                self.parts.handshake_failed(&self.id, place, &unfinished).await;
                return Err(unfinished.error);
            }
        };
        if self.door.face != Face::Submissions {
            self.session.tls_started();
        }
        if let Err(refusal) = self.desk.handshake(handshake).await {
            self.desk.journal_refusal("certificate", &refusal).await;
            self.session.refuse_all(refusal);
        }
        self.session.set_mechanisms(self.desk.mechanisms());
        Ok(())
    }
}

/// The end that comes first; of two at the same time, the one that says more.
fn earlier(one: (Instant, Over), other: (Instant, Over)) -> (Instant, Over) {
    if other.0 <= one.0 { other } else { one }
}

/// Replies that wait for a chunk, at most.
const HELD_BYTES_MAX: usize = 16 * 1024;
/// What a peer reads when the store fails; the detail goes to the log only.
pub(super) fn storage_failed(error: &StoreError) -> Refusal {
    match error {
        // Told by the store, once for all messages.
        StoreError::Full { .. } => Refusal::new(Reason::StorageFull, "the disk is full, try again later"),
        StoreError::OverQuota { .. } => Refusal::new(Reason::OverQuota, "a box has become full meanwhile, try again"),
        error => {
            tracing::warn!(error = error as &dyn std::error::Error, "the store refused a message");
            Refusal::new(
                Reason::StorageFailed,
                "the message could not be stored, try again later",
            )
        }
    }
}
