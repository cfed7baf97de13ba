//! The client side of an SMTP connection as a state machine without I/O, for relaying and for submission.
//!
//! One loop drives it:
//!
//! ```text
//! let mut client = Client::new(options, transaction);
//! loop {
//!     match client.step() {
//!         ClientStep::Read          => if read into client.input() within the limit gave 0 bytes { break client.lost("…") },
//!         ClientStep::Write(bytes)  => write all of them within the limit,
//!         ClientStep::StartTls      => { handshake and proof of the peer; client.tls_started() },
//!         ClientStep::SendBody(how) => { write the text, through a DotStuffer for Framing::Dots, as it is for Framing::Counted;
//!                                        client.body_sent() },
//!         ClientStep::Done(outcome) => { settle; client.next_transaction(next) if there is one and the outcome allows it, or
//!                                        client.next_transaction_with_text(next) when its text is at hand },
//!         ClientStep::Close         => break,
//!     }
//! }
//! ```
//!
//! What holds:
//! - Nothing but EHLO, STARTTLS and QUIT is ever said in clear: a peer that does not offer STARTTLS gets no mail (OP-5).
//! - Every transaction ends in exactly one [`Outcome`], and that holds one verdict for each recipient, in their order, or one
//!   failure for all of them.
//! - A text goes before its envelope is answered only in the middle of a conversation, see [`Client::next_transaction_with_text`].
//! - A text that cannot be sent whole must not be ended: the driver drops the connection instead of calling `body_sent`.
//! - Replies are bounded in line length and number of lines.

mod flight;
mod offer;
mod opening;
mod outcome;

pub use offer::Limits;
pub use offer::Offer;
pub use outcome::Cause;
pub use outcome::Failure;
pub use outcome::Outcome;
pub use outcome::RecipientOutcome;
pub use outcome::Stage;

use std::collections::BTreeSet;
use std::fmt;

use super::command::MailFrom;
use super::command::RcptTo;
use super::data::Framing;
use super::input::Input;
use super::reply::Reply;
use super::reply::ReplyReader;
use super::sasl::Credentials;
use crate::identity::Address;
use crate::identity::Domain;
use flight::Flight;
use opening::Opening;

/// When the client's TLS handshake happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTls {
    /// After STARTTLS, which the peer must offer.
    StartTls,
    /// Before the greeting: the driver did it already.
    Implicit,
}

/// How message text travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Always with DATA.
    Data,
    /// With one BDAT when the peer offers CHUNKING and the size is known: no stuffing, no scan.
    BdatWhenOffered,
}

/// Settings of one connection.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Name to say in EHLO.
    pub hostname: String,
    /// When the handshake happens.
    pub tls: ClientTls,
    /// How to log in; `None` between operators.
    pub login: Option<Credentials>,
    /// How text travels.
    pub transfer: Transfer,
}

/// One message for some recipients at one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The sender. `size_bytes` is the exact size of the text; `body` and `utf8` say what the text needs of the peer.
    pub mail: MailFrom,
    /// The recipients, at least one.
    pub recipients: Vec<RcptTo>,
}

/// What the driver must do now.
#[derive(PartialEq, Eq)]
#[must_use = "a step that is not carried out hangs the connection"]
pub enum ClientStep {
    /// Read into [`Client::input`]; at end of file call [`Client::lost`].
    Read,
    /// Write all of it.
    Write(Vec<u8>),
    /// Do the handshake, then call [`Client::tls_started`].
    StartTls,
    /// Write the text of the message, then call [`Client::body_sent`].
    SendBody(Framing),
    /// The transaction has ended. Now is the time for [`Client::next_transaction`]; otherwise the client says QUIT.
    Done(Outcome),
    /// Close the connection.
    Close,
}

/// One connection, seen from the client. See the module for how to drive it.
pub struct Client {
    options: ClientOptions,
    offer: Offer,
    input: Input,
    reader: ReplyReader,
    output: Vec<u8>,
    done: Option<Outcome>,
    /// Transactions begun on this connection.
    mails: usize,
    /// Domains of their recipients.
    domains: BTreeSet<Domain>,
    state: State,
}

/// What is written may be a login: bytes show only their number (invariant 9).
impl fmt::Debug for ClientStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::Write(bytes) => write!(f, "Write({} bytes)", bytes.len()),
            Self::StartTls => f.write_str("StartTls"),
            Self::SendBody(framing) => write!(f, "SendBody({framing:?})"),
            Self::Done(outcome) => write!(f, "Done({outcome:?})"),
            Self::Close => f.write_str("Close"),
        }
    }
}

/// Buffers hold logins: debug output names only the stage (invariant 9).
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("stage", &self.stage())
            .finish_non_exhaustive()
    }
}

/// What the client waits for.
#[derive(Debug, Default)]
enum State {
    /// A reply on the way to the first transaction.
    Opening(Opening, Transaction),
    /// The driver's TLS handshake.
    Handshake(Transaction),
    /// Replies to the envelope; to the text too where that went along.
    Envelope(Flight),
    /// The driver, which sends the text.
    Body(Flight, Framing),
    /// The reply to the text.
    Verdict(Flight),
    /// The reply to a text of nothing, sent because DATA was accepted for nobody (RFC 2920 §3.1).
    Nothing(Flight),
    /// The next transaction.
    Idle(Before),
    /// The answer to QUIT.
    Quitting,
    #[default]
    Closed,
}

/// What the next transaction finds at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A transaction whose text was taken for everybody a moment ago: peer and connection are as one wishes them.
    Delivered,
    /// A transaction that did not end in a message: RSET first.
    Remains,
}

impl Client {
    /// A connection that begins with this transaction.
    pub fn new(options: ClientOptions, transaction: Transaction) -> Self {
        Self {
            options,
            offer: Offer::default(),
            input: Input::default(),
            reader: ReplyReader::default(),
            output: Vec::new(),
            done: None,
            mails: 0,
            domains: BTreeSet::new(),
            state: State::Opening(Opening::Greeting, transaction),
        }
    }

    /// The buffer to read into, at [`ClientStep::Read`]. There is room in it; append only.
    pub fn input(&mut self) -> &mut Vec<u8> {
        self.input.buffer(ROOM_BYTES)
    }

    /// What to do next.
    pub fn step(&mut self) -> ClientStep {
        loop {
            if let Some(outcome) = self.done.take() {
                return ClientStep::Done(outcome);
            }
            if !self.output.is_empty() {
                return ClientStep::Write(std::mem::take(&mut self.output));
            }
            match &self.state {
                State::Handshake(_) => return ClientStep::StartTls,
                State::Body(_, framing) => return ClientStep::SendBody(*framing),
                State::Closed => return ClientStep::Close,
                State::Idle(_) => self.quit(),
                _ => match self.next_reply() {
                    Ok(Some(reply)) => self.hear(reply),
                    Ok(None) => return ClientStep::Read,
                    // After QUIT no transaction is left that could fail.
                    Err(_) if matches!(self.state, State::Quitting) => self.state = State::Closed,
                    Err(failure) => self.fail(failure),
                },
            }
        }
    }

    /// Whether [`ClientStep::SendBody`] is what follows a [`ClientStep::Write`]: a driver may write both at once.
    pub fn text_is_next(&self) -> bool {
        matches!(self.state, State::Body(..))
    }

    /// The handshake asked for by [`ClientStep::StartTls`] is done and the peer is proved.
    pub fn tls_started(&mut self) {
        if let State::Handshake(transaction) = std::mem::take(&mut self.state) {
            self.input.clear();
            self.offer = Offer::default();
            self.options.tls = ClientTls::Implicit;
            self.say_hello(transaction);
        }
    }

    /// The whole text is written, its end mark included.
    pub fn body_sent(&mut self) {
        if let State::Body(flight, _) = std::mem::take(&mut self.state) {
            self.state = if flight.is_answered() {
                State::Verdict(flight)
            } else {
                State::Envelope(flight)
            };
        }
    }

    /// Begins another transaction over the same connection; only right after [`ClientStep::Done`] with
    /// [`Outcome::Finished`]. `false`: the connection cannot take one.
    pub fn next_transaction(&mut self, transaction: Transaction) -> bool {
        if matches!(self.state, State::Idle(Before::Delivered)) {
            self.state = State::Idle(Before::Nothing);
        }
        self.next_transaction_with_text(transaction)
    }

    /// The same when the text is at hand and no time has passed: where the transaction before was taken for everybody and the peer offers
    /// PIPELINING and CHUNKING, a small text goes in one flight with its envelope. A connection that is lost then leaves it open
    /// whether the message has arrived, from the first reply on; so this is not for a connection that was idle and may be dead.
    pub fn next_transaction_with_text(&mut self, transaction: Transaction) -> bool {
        match self.state {
            State::Idle(before) if self.has_room() && self.takes_domains_of(&transaction) => {
                self.begin(transaction, before);
                true
            }
            _ => false,
        }
    }

    /// Whether the connection is worth keeping: it has room, and its last transaction ended in a message. A peer that said "not now"
    /// may say so for as long as the session lasts.
    pub fn is_worth_keeping(&self) -> bool {
        matches!(self.state, State::Idle(Before::Nothing | Before::Delivered)) && self.has_room()
    }

    /// Transactions begun so far.
    pub fn transactions(&self) -> usize {
        self.mails
    }

    /// RFC 9422 §4.1
    fn has_room(&self) -> bool {
        self.offer.limits.mails_max.is_none_or(|limit| self.mails < limit)
    }

    /// RFC 9422 §4.3
    fn takes_domains_of(&self, transaction: &Transaction) -> bool {
        let Some(limit) = self.offer.limits.recipient_domains_max else {
            return true;
        };
        let new: BTreeSet<&Domain> = domains(transaction)
            .filter(|domain| !self.domains.contains(domain))
            .collect();
        self.domains.len() + new.len() <= limit
    }

    /// Ends the connection politely. Does nothing in the middle of a transaction.
    pub fn quit(&mut self) {
        if matches!(self.state, State::Idle(_)) {
            self.output.extend_from_slice(b"QUIT\r\n");
            self.state = State::Quitting;
        }
    }

    /// The connection broke, a limit ran out, or the handshake failed: what that means for the transaction under way.
    /// `None` when there was none, or its outcome is known already.
    pub fn lost(&mut self, text: &str) -> Option<Failure> {
        let stage = self.stage();
        self.output.clear();
        let refused = self.refused_so_far();
        let before = std::mem::take(&mut self.state);
        if matches!(before, State::Idle(_) | State::Quitting | State::Closed) {
            return None;
        }
        Some(Failure {
            temporary: true,
            stage,
            cause: Cause::Lost,
            text: text.to_owned(),
            refused,
        })
    }

    fn refused_so_far(&self) -> Vec<(usize, Reply)> {
        match &self.state {
            State::Envelope(flight) | State::Body(flight, _) | State::Verdict(flight) | State::Nothing(flight) => {
                flight.refused()
            }
            _ => Vec::new(),
        }
    }

    /// What the peer offers, as far as it has said so.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// What the client is at, for logs and time limits (RFC 5321 §4.5.3.2).
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Opening(opening, _) => opening.stage(),
            State::Handshake(_) => Stage::Tls,
            State::Envelope(flight) => flight.stage(),
            State::Body(..) => Stage::Text,
            // Whatever comes of a text of nothing, nobody has got it.
            State::Nothing(_) => Stage::Data,
            State::Verdict(_) => Stage::Verdict,
            State::Idle(_) | State::Quitting | State::Closed => Stage::Quit,
        }
    }

    fn next_reply(&mut self) -> Result<Option<Reply>, Failure> {
        while let Some(line) = self.input.next_line_tolerant(REPLY_LINE_BYTES_MAX) {
            let read = match line {
                Ok(line) => self.reader.push(&line).map_err(|error| error.to_string()),
                Err(_) => Err(format!(
                    "the peer sent a line of more than {REPLY_LINE_BYTES_MAX} bytes"
                )),
            };
            match read {
                Ok(None) => {}
                Ok(some) => return Ok(some),
                Err(text) => return Err(self.failure(Cause::Protocol, text)),
            }
        }
        Ok(None)
    }

    fn hear(&mut self, reply: Reply) {
        match std::mem::take(&mut self.state) {
            State::Quitting => {}
            // RFC 5321 §3.8: the peer closes the connection, whatever was said before.
            other if reply.code == CODE_CLOSING => {
                self.state = other;
                let failure = self.refusal(&reply);
                self.fail(failure);
            }
            State::Opening(opening, transaction) => self.hear_opening(opening, transaction, &reply),
            State::Envelope(flight) => self.hear_envelope(flight, reply),
            State::Verdict(flight) => self.hear_verdict(flight, &reply),
            State::Nothing(flight) => self.finish(flight, Before::Remains),
            other => self.state = other,
        }
    }

    fn begin(&mut self, transaction: Transaction, before: Before) {
        self.mails += 1;
        self.domains.extend(domains(&transaction).cloned());
        let flight = Flight::new(transaction, &self.offer, self.options.transfer, before);
        self.proceed(flight);
    }

    /// Ends the transaction with a verdict for each recipient.
    fn finish(&mut self, flight: Flight, before: Before) {
        self.done = Some(Outcome::Finished(flight.outcomes()));
        self.state = State::Idle(before);
    }

    /// Ends transaction and connection.
    fn fail(&mut self, failure: Failure) {
        self.output.clear();
        // A peer that still speaks SMTP is told goodbye, but nobody waits for its answer.
        if failure.cause != Cause::Protocol && failure.stage != Stage::Text {
            self.output.extend_from_slice(b"QUIT\r\n");
        }
        self.state = State::Closed;
        self.done = Some(Outcome::Failed(failure));
    }

    fn failure(&self, cause: Cause, text: impl Into<String>) -> Failure {
        Failure {
            temporary: true,
            stage: self.stage(),
            cause,
            text: text.into(),
            refused: self.refused_so_far(),
        }
    }

    /// The peer said no to the connection, or something that cannot be an answer here.
    fn refusal(&self, reply: &Reply) -> Failure {
        if reply.is_positive() {
            return self.failure(Cause::Protocol, format!("unexpected reply: {reply}"));
        }
        Failure {
            temporary: !reply.is_permanent(),
            ..self.failure(Cause::Refused, reply.to_string())
        }
    }
}

fn domains(transaction: &Transaction) -> impl Iterator<Item = &Domain> {
    let addresses = transaction.recipients.iter().filter_map(|to| to.path.address());
    addresses.map(Address::domain)
}

/// Room for reading replies.
const ROOM_BYTES: usize = 4 * 1024;
/// RFC 5321 §4.5.3.1.5 says 512; longer ones exist.
const REPLY_LINE_BYTES_MAX: usize = 4096;
/// RFC 5321 §3.8.
const CODE_CLOSING: u16 = 421;

#[cfg(test)]
mod tests;
