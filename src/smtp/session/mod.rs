//! The server side of an SMTP connection as a state machine without I/O.
//!
//! The driver moves bytes and decides; the session knows the protocol. One loop drives it:
//!
//! ```text
//! loop {
//!     match session.step() {
//!         Step::Read          => if read into session.input() within the idle limit gave 0 bytes { return },
//!         Step::Write(bytes)  => write all of them within the limit,
//!         Step::Ask(question) => { let answer = decide(question).await; session.answer(answer) }
//!         Step::Body(bytes)   => append to the message being received,
//!         Step::StartTls      => { handshake; session.tls_started(); if the certificate is no good { session.refuse_all(why) } }
//!         Step::Refused(why)  => journal,
//!         Step::Abandon       => forget sender, recipients and text of the transaction,
//!         Step::Close         => return,
//!     }
//! }
//! ```
//!
//! What holds:
//! - Replies of a flight of pipelined commands leave in one write: output is handed out only when the input is used up, or
//!   before a handshake or the end (RFC 2920 §3.2).
//! - Before TLS nothing about mail is answered but "530 use STARTTLS"; after it nothing that was said before counts (RFC 3207 §4.2).
//! - The text handed out is one message: no bare CR or LF, nothing but CR LF `.` CR LF ends it.
//! - Memory is bounded: a partial line, one read, one write buffer. A text that is too large or faulty is read and dropped.
//!
//! Deliberately absent: what a sender or recipient may be. That is the driver's, through [`Question`].

mod handlers;
mod login;
mod options;
mod receive;
mod state;
mod step;

pub use options::Face;
pub use options::Limits;
pub use options::Options;
pub use options::SessionLimits;
pub use options::Tls;
pub use step::Answer;
pub use step::Question;
pub use step::Step;

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::fmt;

use super::command::MailFrom;
use super::extension::Extension;
use super::input::Input;
use super::reply::Reply;
use super::sasl::Mechanism;
use crate::identity::Domain;
use crate::policy::Reason;
use crate::policy::Refusal;
use state::Asked;
use state::State;
use state::Transaction;

/// One connection, seen from the server. See the module for how to drive it.
pub struct Session {
    options: Options,
    input: Input,
    output: Vec<u8>,
    /// Told to the driver before anything else.
    notices: VecDeque<Step>,
    known: Known,
    tally: Tally,
    spent: Spent,
    state: State,
}

/// Buffers and states hold message text and secrets: debug output names only the session (invariant 9).
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("session_id", &self.options.session_id)
            .finish_non_exhaustive()
    }
}

/// What is known of the client; all of it is forgotten when TLS starts.
#[derive(Debug)]
struct Known {
    link: Link,
    hello: Option<Hello>,
    login: Option<Mechanism>,
    /// Every command is answered with it.
    refused: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Clear,
    Encrypted,
}

#[derive(Debug)]
struct Hello {
    name: String,
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Helo,
    Ehlo,
}

/// What of [`SessionLimits`] is used up; nothing gives it back.
#[derive(Debug, Default)]
struct Spent {
    mails: usize,
    domains: BTreeSet<Domain>,
}

#[derive(Debug, Default)]
struct Tally {
    errors: usize,
    commands: usize,
}

/// What `advance` found.
enum Progress {
    /// Something changed: go on.
    Again,
    /// A step for now; replies may wait.
    Now(Step),
    /// A step that must not be taken before the replies are written.
    Flushed(Step),
}

impl Session {
    /// A session that will greet.
    pub fn new(options: Options) -> Self {
        let link = match options.tls {
            Tls::Required => Link::Clear,
            Tls::Done => Link::Encrypted,
        };
        Self {
            known: Known::new(link),
            options,
            input: Input::default(),
            output: Vec::new(),
            notices: VecDeque::new(),
            tally: Tally::default(),
            spent: Spent::default(),
            state: State::Greeting,
        }
    }

    /// The buffer to read into, at [`Step::Read`]. There is room in it; append only.
    pub fn input(&mut self) -> &mut Vec<u8> {
        let room_bytes = match self.state {
            State::Data(_) | State::Chunk(..) | State::Drain { .. } => TEXT_ROOM_BYTES,
            _ => COMMAND_ROOM_BYTES,
        };
        self.input.buffer(room_bytes)
    }

    /// Appends bytes that were read elsewhere; the same as extending [`Self::input`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input().extend_from_slice(bytes);
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return notice;
            }
            if self.output.len() >= OUTPUT_BYTES_MAX {
                return self.write();
            }
            match self.advance() {
                Progress::Again => {}
                Progress::Now(step) => return step,
                Progress::Flushed(step) if self.output.is_empty() => return step,
                Progress::Flushed(_) => return self.write(),
            }
        }
    }

    /// The answer to the question asked last.
    pub fn answer(&mut self, answer: Answer) {
        match std::mem::take(&mut self.state) {
            State::Asked(asked) => self.conclude(asked, answer),
            other => {
                debug_assert!(false, "an answer without a question");
                self.state = other;
            }
        }
    }

    /// The handshake asked for by [`Step::StartTls`] is done. RFC 3207 §4.2: everything known before is forgotten, and so is
    /// every byte that came before it.
    pub fn tls_started(&mut self) {
        self.input.clear();
        self.known = Known::new(Link::Encrypted);
        self.state = State::Command(Transaction::Idle);
    }

    /// From now on every command but QUIT is answered with this refusal (RFC 3207 §4.1: 554 for a certificate that will not
    /// do). Before the first step it is the greeting (RFC 5321 §3.1). The driver journals it.
    pub fn refuse_all(&mut self, refusal: Refusal) {
        self.known.refused = Some(refusal);
    }

    /// Ways to log in from now on: EXTERNAL makes sense only once a certificate was shown.
    pub fn set_mechanisms(&mut self, mechanisms: Vec<Mechanism>) {
        self.options.mechanisms = mechanisms;
    }

    /// The name the client gave in EHLO or HELO.
    pub fn hello(&self) -> Option<&str> {
        self.known.hello.as_ref().map(|hello| hello.name.as_str())
    }

    /// How the client logged in.
    pub fn login(&self) -> Option<Mechanism> {
        self.known.login
    }

    /// The sender of the transaction, with its parameters.
    pub fn mail_from(&self) -> Option<&MailFrom> {
        self.state.mail()
    }

    /// Whether the text of a message has begun to come and is not complete, between two chunks too.
    pub fn has_text_under_way(&self) -> bool {
        self.state.has_text_under_way()
    }

    /// Whether octets that the peer has announced are still to come: it may be sending them before it reads a reply (RFC 3030 §2).
    pub fn has_chunk_under_way(&self) -> bool {
        self.state.has_chunk_under_way()
    }

    /// What a `Received` field says after `with` (RFC 3848, RFC 6531 §4.3).
    pub fn protocol(&self) -> &'static str {
        let utf8 = self.mail_from().is_some_and(|mail| mail.utf8);
        let extended = self.known.hello.as_ref().is_some_and(|hello| hello.verb == Verb::Ehlo);
        let encrypted = self.known.link == Link::Encrypted;
        match (utf8, extended, encrypted, self.known.login.is_some()) {
            (_, false, _, _) => "SMTP",
            (false, true, false, _) => "ESMTP",
            (false, true, true, false) => "ESMTPS",
            (false, true, true, true) => "ESMTPSA",
            (true, true, false, _) => "UTF8SMTP",
            (true, true, true, false) => "UTF8SMTPS",
            (true, true, true, true) => "UTF8SMTPSA",
        }
    }

    fn advance(&mut self) -> Progress {
        match std::mem::take(&mut self.state) {
            State::Greeting => {
                self.greet();
                Progress::Again
            }
            State::Command(transaction) => self.next_command(transaction),
            State::Exchange(mechanism, exchange) => self.next_response(mechanism, exchange),
            State::Dismissed(refusal) => self.next_dismissal(refusal),
            State::Data(receipt) => self.next_text(receipt),
            State::Chunk(receipt, chunk) => self.next_octets(receipt, chunk),
            State::Drain { left_bytes, after } => self.next_drained(left_bytes, after),
            State::Received(receipt) => self.judge(receipt),
            State::Handshake => {
                self.state = State::Handshake;
                Progress::Flushed(Step::StartTls)
            }
            State::Asked(asked) => {
                debug_assert!(false, "a question without its answer: {asked:?}");
                Progress::Again
            }
            State::Closed => {
                self.input.clear();
                Progress::Flushed(Step::Close)
            }
        }
    }

    fn greet(&mut self) {
        self.state = State::Command(Transaction::Idle);
        match self.known.refused.clone() {
            Some(refusal) => self.say_refusal(&refusal),
            None => self.say(&Reply::plain(220, format!("{} ESMTP", self.options.hostname))),
        }
    }

    /// Obeys the driver's answer.
    fn conclude(&mut self, asked: Asked, answer: Answer) {
        let usual = match asked {
            Asked::Login(mechanism) => return self.conclude_login(mechanism, answer),
            Asked::Sender(mail) => {
                self.state = State::Command(if answer.is_positive() {
                    Transaction::FromKnown { mail, refused: 0 }
                } else {
                    Transaction::Idle
                });
                Reply::SENDER_OK
            }
            Asked::Recipient(transaction, domain) => {
                // RFC 9422 §4.3
                if answer.is_positive() {
                    self.spent.domains.extend(domain);
                }
                self.state = State::Command(after_recipient(transaction, &answer));
                Reply::RECIPIENT_OK
            }
            Asked::Message(_) => {
                self.state = State::Command(Transaction::Idle);
                if answer.is_positive() {
                    self.tally = Tally::default();
                }
                Reply::MESSAGE_OK
            }
        };
        self.say_answer(usual, answer);
    }

    fn say_answer(&mut self, usual: Reply, answer: Answer) {
        match answer {
            Answer::Accepted => self.say(&usual),
            Answer::AcceptedAs(text) => {
                let text: String = text.chars().filter(|c| (' '..='~').contains(c)).collect();
                self.say(&Reply {
                    text: text.into(),
                    ..usual
                });
            }
            Answer::Refused(refusal) | Answer::Dismissed(refusal, _) => self.say_refusal(&refusal),
        }
    }

    /// Adds a reply to the output.
    fn say(&mut self, reply: &Reply) {
        if self.offers(Extension::EnhancedStatusCodes) || reply.status.is_none() {
            reply.encode(&mut self.output);
        } else {
            Reply::plain(reply.code, reply.text.clone()).encode(&mut self.output);
        }
    }

    /// Says a refusal that the driver knows of. RFC 5321 §3.8: 421 is followed by closing.
    fn say_refusal(&mut self, refusal: &Refusal) {
        self.say_last_if_closing(&Reply::refuse(refusal, &self.options.session_id));
    }

    fn say_last_if_closing(&mut self, reply: &Reply) {
        self.say(reply);
        if reply.code == CODE_CLOSING {
            self.state = State::Closed;
        }
    }

    /// Says a refusal that the session found, and has it journalled.
    fn refuse(&mut self, refusal: Refusal) {
        self.say_refusal(&refusal);
        self.notices.push_back(Step::Refused(refusal));
    }

    /// Answers a wrong command: after too many of them the session ends.
    fn blame(&mut self, reply: &Reply) {
        self.say(reply);
        self.count_error();
    }

    fn count_error(&mut self) {
        self.tally.errors += 1;
        if self.tally.errors > self.options.limits.errors_max {
            self.give_up(Reason::TooManyErrors, "too many errors in this session");
        }
    }

    fn give_up(&mut self, reason: Reason, why: &str) {
        if !matches!(self.state, State::Closed) {
            if self.state.mail().is_some() {
                self.notices.push_back(Step::Abandon);
            }
            self.refuse(Refusal::new(reason, why));
        }
    }

    fn write(&mut self) -> Step {
        Step::Write(std::mem::take(&mut self.output))
    }

    fn offers(&self, extension: Extension) -> bool {
        self.options.extensions.has(extension)
    }
}

impl Known {
    fn new(link: Link) -> Self {
        Self {
            link,
            hello: None,
            login: None,
            refused: None,
        }
    }
}

/// RFC 5321 §3.3: a refused recipient changes nothing for the others.
fn after_recipient(transaction: Transaction, answer: &Answer) -> Transaction {
    match (transaction, answer.is_positive()) {
        (Transaction::FromKnown { mail, refused }, false) => Transaction::FromKnown {
            mail,
            refused: refused + 1,
        },
        (Transaction::FromKnown { mail, .. }, true) => Transaction::ToKnown { mail, accepted: 1 },
        (Transaction::ToKnown { mail, accepted }, true) => Transaction::ToKnown {
            mail,
            accepted: accepted + 1,
        },
        (other, _) => other,
    }
}

/// Room for reading commands.
const COMMAND_ROOM_BYTES: usize = 4 * 1024;
/// Room for reading message text: one TLS record holds no more (RFC 8446 §5.1), and a read gives no more than one.
const TEXT_ROOM_BYTES: usize = 16 * 1024;
/// Replies held back at most.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;
/// RFC 5321 §3.8.
const CODE_CLOSING: u16 = 421;

mod conversation;
#[cfg(test)]
mod tests;
