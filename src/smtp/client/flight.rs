//! The envelope of a transaction: MAIL, RCPT for each recipient and DATA, as one flight where the peer offers PIPELINING
//! (RFC 2920), one by one otherwise. In the middle of a conversation the whole transaction is one flight: MAIL, RCPT, BDAT and the text.

use std::collections::VecDeque;

use super::Before;
use super::Client;
use super::Offer;
use super::RecipientOutcome;
use super::Stage;
use super::State;
use super::Transaction;
use super::Transfer;
use crate::smtp::command::Body;
use crate::smtp::command::MailFrom;
use crate::smtp::command::Onward;
use crate::smtp::command::RcptTo;
use crate::smtp::data::Framing;
use crate::smtp::extension::Extension;
use crate::smtp::reply::Reply;
use crate::smtp::reply::Status;

/// A transaction whose envelope is being said.
#[derive(Debug)]
pub(super) struct Flight {
    transaction: Transaction,
    /// Commands not yet said.
    ahead: VecDeque<Said>,
    /// Commands said and not yet answered, oldest first.
    awaited: VecDeque<Said>,
    /// How many may be unanswered at once.
    window: usize,
    seats: Vec<Seat>,
    body: Framing,
}

/// A command of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Reset,
    Mail,
    Recipient(usize),
    Data,
    /// BDAT, the last of a flight: the text follows, whatever the replies will be.
    Chunk,
}

/// What is known for one recipient.
#[derive(Debug)]
enum Seat {
    Open,
    /// The peer takes the recipient; the text decides.
    Taken,
    Settled(RecipientOutcome),
}

impl Flight {
    pub(super) fn new(transaction: Transaction, offer: &Offer, transfer: Transfer, before: Before) -> Self {
        let count = transaction.recipients.len();
        let chunking = offer.extensions.has(Extension::Chunking) && transaction.mail.size_bytes.is_some();
        let body = match transfer {
            Transfer::BdatWhenOffered if chunking => Framing::Counted,
            _ => Framing::Dots,
        };
        let mut ahead = VecDeque::with_capacity(count + 3);
        ahead.extend((before == Before::Remains).then_some(Said::Reset));
        ahead.push_back(Said::Mail);
        let room = offer.limits.recipients_max.unwrap_or(count).min(count);
        ahead.extend((0..room).map(Said::Recipient));
        ahead.extend((body == Framing::Dots).then_some(Said::Data));
        let window = if offer.extensions.has(Extension::Pipelining) {
            FLIGHT_COMMANDS_MAX
        } else {
            1
        };
        let is_small = transaction
            .mail
            .size_bytes
            .is_some_and(|size| size <= FLIGHT_TEXT_BYTES_MAX);
        let in_one = before == Before::Delivered && body == Framing::Counted && is_small && ahead.len() < window;
        ahead.extend(in_one.then_some(Said::Chunk));
        // RFC 9422 §4.2
        let seat = |place| {
            if place < room {
                Seat::Open
            } else {
                Seat::Settled(RecipientOutcome::Deferred(beyond(room)))
            }
        };
        Self {
            seats: (0..count).map(seat).collect(),
            transaction,
            ahead,
            awaited: VecDeque::new(),
            window,
            body,
        }
    }

    /// What is awaited. While the text is on its way that is the verdict on it, whatever reply comes first, unless nobody can get it.
    pub(super) fn stage(&self) -> Stage {
        let is_settled = |seat: &Seat| matches!(seat, Seat::Settled(_));
        match self.awaited.front() {
            Some(_) if self.text_goes_along() && !self.seats.iter().all(is_settled) => Stage::Verdict,
            Some(Said::Recipient(_)) => Stage::Recipient,
            Some(Said::Data | Said::Chunk) => Stage::Data,
            _ => Stage::Mail,
        }
    }

    /// Whether every command that was said has its reply.
    pub(super) fn is_answered(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Whether the text follows the commands that have no reply yet.
    fn text_goes_along(&self) -> bool {
        self.awaited.back() == Some(&Said::Chunk)
    }

    /// One verdict for each recipient. None is open any more when a flight ends; if one were, it would be tried again.
    pub(super) fn outcomes(self) -> Vec<RecipientOutcome> {
        let unasked = || Reply::new(451, Status(4, 3, 0), "the transaction ended before this recipient");
        self.seats
            .into_iter()
            .map(|seat| match seat {
                Seat::Settled(outcome) => outcome,
                Seat::Open | Seat::Taken => RecipientOutcome::Deferred(unasked()),
            })
            .collect()
    }

    /// Those the peer has refused for good already, by their place.
    pub(super) fn refused(&self) -> Vec<(usize, Reply)> {
        let refused = |(place, seat): (usize, &Seat)| match seat {
            Seat::Settled(RecipientOutcome::Refused(reply)) => Some((place, reply.clone())),
            _ => None,
        };
        self.seats.iter().enumerate().filter_map(refused).collect()
    }

    fn anyone(&self) -> bool {
        self.seats.iter().any(|seat| matches!(seat, Seat::Taken))
    }

    fn is_taken_for_all(&self) -> bool {
        let is_accepted = |seat: &Seat| matches!(seat, Seat::Settled(RecipientOutcome::Accepted(_)));
        self.seats.iter().all(is_accepted)
    }

    /// Gives every recipient that has no verdict this one.
    fn settle_rest(&mut self, outcome: &RecipientOutcome) {
        for seat in &mut self.seats {
            if !matches!(seat, Seat::Settled(_)) {
                *seat = Seat::Settled(outcome.clone());
            }
        }
    }

    /// RFC 1870 §6.2, RFC 6152 §3, RFC 6531 §3.2: what the peer cannot take is not even tried.
    fn impossible(&self, offer: &Offer) -> Option<Reply> {
        let mail = &self.transaction.mail;
        let too_large = match (mail.size_bytes, offer.size_bytes_max) {
            (Some(size), Some(limit)) if size > limit => Some(limit),
            _ => None,
        };
        if let Some(limit) = too_large {
            let text = format!("the peer takes messages of at most {limit} bytes");
            return Some(Reply::new(552, Status(5, 3, 4), text));
        }
        if mail.utf8 && !offer.extensions.has(Extension::Utf8) {
            let text = "the message needs SMTPUTF8, which the peer does not offer";
            return Some(Reply::new(553, Status(5, 6, 7), text));
        }
        if mail.body == Some(Body::EightBitMime) && !offer.extensions.has(Extension::EightBitMime) {
            let text = "the message needs 8BITMIME, which the peer does not offer";
            return Some(Reply::new(554, Status(5, 6, 3), text));
        }
        // RFC 8689 §5: a report is not lost for want of it.
        let is_demanded = mail.onward == Onward::TlsRequired && mail.path.is_some();
        if is_demanded && !offer.extensions.has(Extension::RequireTls) {
            let text = "the sender demands REQUIRETLS, which the peer does not offer";
            return Some(Reply::new(550, Status(5, 7, 30), text));
        }
        None
    }
}

impl Client {
    /// Says as much of the envelope as the window allows.
    pub(super) fn proceed(&mut self, mut flight: Flight) {
        if let Some(reply) = flight.impossible(&self.offer) {
            flight.settle_rest(&RecipientOutcome::Refused(reply));
            let before = match flight.ahead.front() {
                Some(Said::Reset) => Before::Remains,
                _ => Before::Nothing,
            };
            return self.finish(flight, before);
        }
        while flight.awaited.len() < flight.window {
            let Some(said) = flight.ahead.pop_front() else {
                break;
            };
            // DATA for nobody is only said where it was on its way before the answers came.
            if said == Said::Data && flight.awaited.is_empty() && !flight.anyone() {
                break;
            }
            self.say_envelope(said, &flight.transaction);
            flight.awaited.push_back(said);
        }
        if flight.is_answered() {
            return self.after_envelope(flight);
        }
        self.state = if flight.text_goes_along() {
            State::Body(flight, Framing::Counted)
        } else {
            State::Envelope(flight)
        };
    }

    /// Takes the reply to the oldest command that has none.
    pub(super) fn hear_envelope(&mut self, mut flight: Flight, reply: Reply) {
        let verdict = RecipientOutcome::of(&reply);
        let said = flight.awaited.pop_front();
        match (said, verdict) {
            (Some(Said::Chunk), _) if flight.anyone() => return self.hear_verdict(flight, &reply),
            // RFC 3030 §2 has it refused; whatever it says, nobody has got anything.
            (Some(Said::Chunk), _) => return self.finish(flight, Before::Remains),
            (Some(Said::Data), _) if reply.code == CODE_GO_ON => return self.data_allowed(flight),
            (Some(Said::Data), Some(RecipientOutcome::Accepted(_))) | (_, None) | (None, _) => {
                if let Some(said) = said {
                    flight.awaited.push_front(said);
                }
                self.state = State::Envelope(flight);
                let failure = self.refusal(&reply);
                return self.fail(failure);
            }
            (Some(Said::Reset), _) | (Some(Said::Mail), Some(RecipientOutcome::Accepted(_))) => {}
            (Some(Said::Mail | Said::Data), Some(verdict)) => {
                flight.settle_rest(&verdict);
                flight.ahead.clear();
            }
            (Some(Said::Recipient(seat)), Some(verdict)) => {
                let seat = &mut flight.seats[seat];
                match verdict {
                    _ if matches!(seat, Seat::Settled(_)) => {}
                    RecipientOutcome::Accepted(_) => *seat = Seat::Taken,
                    RecipientOutcome::Refused(reply) if too_many(&reply) => {
                        *seat = Seat::Settled(RecipientOutcome::Deferred(reply));
                    }
                    refused => *seat = Seat::Settled(refused),
                }
            }
        }
        if flight.is_answered() || flight.window == 1 {
            self.proceed(flight);
        } else {
            self.state = State::Envelope(flight);
        }
    }

    /// Takes the reply to the text.
    pub(super) fn hear_verdict(&mut self, mut flight: Flight, reply: &Reply) {
        match RecipientOutcome::of(reply) {
            None => {
                self.state = State::Verdict(flight);
                let failure = self.refusal(reply);
                self.fail(failure);
            }
            Some(verdict) => {
                flight.settle_rest(&verdict);
                let before = match verdict {
                    RecipientOutcome::Accepted(_) if flight.is_taken_for_all() => Before::Delivered,
                    RecipientOutcome::Accepted(_) => Before::Nothing,
                    _ => Before::Remains,
                };
                self.finish(flight, before);
            }
        }
    }

    fn data_allowed(&mut self, flight: Flight) {
        if flight.anyone() {
            self.state = State::Body(flight, Framing::Dots);
        } else {
            // RFC 2920 §3.1: the peer waits for a text, though it has nobody to give it to.
            self.output.extend_from_slice(b".\r\n");
            self.state = State::Nothing(flight);
        }
    }

    /// Everything is answered and no DATA was said: announce the chunk, or end.
    fn after_envelope(&mut self, flight: Flight) {
        if flight.body == Framing::Counted && flight.anyone() {
            self.say_envelope(Said::Chunk, &flight.transaction);
            self.state = State::Body(flight, Framing::Counted);
        } else {
            self.finish(flight, Before::Remains);
        }
    }

    fn say_envelope(&mut self, said: Said, transaction: &Transaction) {
        let line = match said {
            Said::Reset => "RSET".to_owned(),
            Said::Data => "DATA".to_owned(),
            // A text whose size is not known goes by DATA.
            Said::Chunk => format!("BDAT {} LAST", transaction.mail.size_bytes.unwrap_or_default()),
            Said::Mail => mail_line(&transaction.mail, &self.offer),
            Said::Recipient(seat) => recipient_line(&transaction.recipients[seat], &self.offer),
        };
        self.say(&line);
    }
}

/// MAIL with the parameters that the peer understands.
fn mail_line(mail: &MailFrom, offer: &Offer) -> String {
    let path = mail.path.as_ref().map_or("", |address| address.as_str());
    let mut line = format!("MAIL FROM:<{path}>");
    let has = |extension| offer.extensions.has(extension);
    let mut add = |known: bool, name: &str, value: Option<String>| {
        if let (true, Some(value)) = (known, value) {
            line.extend([" ", name, value.as_str()]);
        }
    };
    add(
        has(Extension::Size),
        "SIZE=",
        mail.size_bytes.map(|size| size.to_string()),
    );
    add(
        has(Extension::EightBitMime),
        "BODY=",
        mail.body.map(|body| body.to_string()),
    );
    add(mail.utf8, "SMTPUTF8", Some(String::new()));
    add(has(Extension::Dsn), "RET=", mail.ret.map(|ret| ret.to_string()));
    add(
        has(Extension::Dsn),
        "ENVID=",
        mail.envid.as_ref().map(ToString::to_string),
    );
    let is_demanded = mail.onward == Onward::TlsRequired;
    add(has(Extension::RequireTls), "REQUIRETLS", is_demanded.then(String::new));
    line
}

/// RCPT with the parameters that the peer understands.
fn recipient_line(recipient: &RcptTo, offer: &Offer) -> String {
    let mut line = format!("RCPT TO:<{}>", recipient.path);
    if offer.extensions.has(Extension::Dsn) {
        let notify = recipient.notify.map(|notify| format!(" NOTIFY={notify}"));
        let orcpt = recipient.orcpt.as_ref().map(|orcpt| format!(" ORCPT={orcpt}"));
        line.extend([notify, orcpt].into_iter().flatten());
    }
    line
}

/// What is not even said of a recipient for whom a transaction has no room.
fn beyond(room: usize) -> Reply {
    let text = format!("the peer takes at most {room} recipients at once");
    Reply::new(452, Status(4, 5, 3), text)
}

/// RFC 5321 §4.5.3.1.10: an old code for "too many recipients", which another transaction heals.
fn too_many(reply: &Reply) -> bool {
    reply.code == 552 && matches!(reply.status, None | Some(Status(_, 5, 3)))
}

/// Commands said before their answers are read: bounds what both ends must buffer (RFC 2920 §3.1).
const FLIGHT_COMMANDS_MAX: usize = 100;
/// A larger text waits until a recipient was taken: so much at most is sent for nothing when all are refused. It is also so little that the
/// peer can take it all while its replies wait to be read (RFC 2920 §3.1).
const FLIGHT_TEXT_BYTES_MAX: u64 = 64 * 1024;
/// RFC 5321 §4.2.
const CODE_GO_ON: u16 = 354;
