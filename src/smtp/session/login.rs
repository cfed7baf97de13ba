//! AUTH (RFC 4954): the exchange of challenges and responses.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Answer;
use super::Progress;
use super::Question;
use super::Session;
use super::Step;
use super::state::Asked;
use super::state::State;
use super::state::Transaction;
use crate::policy::Refusal;
use crate::smtp::input::LineFault;
use crate::smtp::reply::Reply;
use crate::smtp::sasl::Dismissal;
use crate::smtp::sasl::Exchange;
use crate::smtp::sasl::Fault;
use crate::smtp::sasl::Manner;
use crate::smtp::sasl::Mechanism;
use crate::smtp::sasl::Secret;
use crate::smtp::sasl::Turn;

impl Session {
    pub(super) fn authenticate(&mut self, name: &str, initial: Option<Secret>, transaction: Transaction) -> Progress {
        let offered = self.options.mechanisms.iter().copied();
        // EXTERNAL is asked about even where it is not offered, for want of a certificate: the driver's refusal says what to present.
        let mut known = offered.chain([Mechanism::External]);
        let known = known.find(|mechanism| mechanism.name() == name);
        let (mechanism, misplaced) = match (known, &transaction) {
            _ if self.options.mechanisms.is_empty() => (None, Reply::NOT_OFFERED),
            _ if self.known.login.is_some() => (None, Reply::AUTHENTICATED_ALREADY),
            _ if self.known.hello.is_none() => (None, Reply::HELLO_FIRST),
            // RFC 4954 §4: not during a mail transaction.
            (found, Transaction::Idle) => (found, Reply::MECHANISM_UNKNOWN),
            _ => (None, Reply::BAD_SEQUENCE),
        };
        let Some(mechanism) = mechanism else {
            self.out_of_sequence(transaction, &misplaced);
            return Progress::Again;
        };
        let exchange = Exchange::new(mechanism);
        match initial {
            None => self.challenge(mechanism, exchange),
            // RFC 4954 §4: a lone `=` is an initial response of no bytes.
            Some(text) if text.reveal() == "=" => self.respond(mechanism, exchange, b""),
            Some(text) => self.respond(mechanism, exchange, text.reveal().as_bytes()),
        }
    }

    pub(super) fn next_response(&mut self, mechanism: Mechanism, exchange: Exchange) -> Progress {
        match self.input.next_line(RESPONSE_BYTES_MAX) {
            None => {
                self.state = State::Exchange(mechanism, exchange);
                Progress::Flushed(Step::Read)
            }
            Some(Ok(line)) if line == b"*" => self.fail(&Reply::AUTHENTICATION_CANCELLED),
            Some(Ok(line)) => self.respond(mechanism, exchange, &line),
            Some(Err(LineFault::TooLong)) => self.fail(&Reply::AUTHENTICATION_TOO_LONG),
            Some(Err(LineFault::BareLineEnd)) => self.fail(&Reply::BARE_LINE_END),
        }
    }

    /// RFC 7628 §3.2.3: whatever the client says to the challenge that told it why, the exchange fails now.
    pub(super) fn next_dismissal(&mut self, refusal: Refusal) -> Progress {
        if self.input.next_line(RESPONSE_BYTES_MAX).is_none() {
            self.state = State::Dismissed(refusal);
            return Progress::Flushed(Step::Read);
        }
        self.fail_login(&refusal);
        Progress::Again
    }

    pub(super) fn conclude_login(&mut self, mechanism: Mechanism, answer: Answer) {
        self.state = State::Command(Transaction::Idle);
        match (answer, mechanism) {
            (Answer::Refused(refusal), Mechanism::XOAuth2 | Mechanism::OAuthBearer) => {
                let dismissal = Dismissal::new(mechanism, Fault::InvalidToken, Manner::default());
                self.dismiss(refusal, &dismissal);
            }
            (Answer::Dismissed(refusal, dismissal), _) => self.dismiss(refusal, &dismissal),
            (Answer::Refused(refusal), _) => self.fail_login(&refusal),
            (accepted, _) => {
                self.known.login = Some(mechanism);
                self.say_answer(Reply::AUTHENTICATED, accepted);
            }
        }
    }

    /// RFC 7628 §3.2.2: a refused token is told why in a challenge.
    fn dismiss(&mut self, refusal: Refusal, dismissal: &Dismissal) {
        self.say(&Reply::plain(CODE_CHALLENGE, STANDARD.encode(&dismissal.challenge)));
        self.state = match dismissal.manner {
            Manner::Failure => State::Dismissed(refusal),
            Manner::Hangup => State::Closed,
        };
    }

    fn challenge(&mut self, mechanism: Mechanism, exchange: Exchange) -> Progress {
        self.say(&Reply::plain(CODE_CHALLENGE, STANDARD.encode(exchange.challenge())));
        self.state = State::Exchange(mechanism, exchange);
        Progress::Again
    }

    fn respond(&mut self, mechanism: Mechanism, exchange: Exchange, encoded: &[u8]) -> Progress {
        let turn = match STANDARD.decode(encoded) {
            Ok(response) => exchange.respond(response),
            Err(_) => return self.fail(&Reply::AUTHENTICATION_SYNTAX),
        };
        match turn {
            Ok(Turn::Challenge(next)) => self.challenge(mechanism, next),
            Ok(Turn::Complete(credentials)) => {
                self.state = State::Asked(Asked::Login(mechanism));
                Progress::Now(Step::Ask(Question::Authenticate(credentials)))
            }
            Err(_) => self.fail(&Reply::AUTHENTICATION_SYNTAX),
        }
    }

    fn fail(&mut self, reply: &Reply) -> Progress {
        self.out_of_sequence(Transaction::Idle, reply);
        Progress::Again
    }

    fn fail_login(&mut self, refusal: &Refusal) {
        self.state = State::Command(Transaction::Idle);
        self.say_last_if_closing(&Reply::refuse_login(refusal, &self.options.session_id));
        self.count_error();
    }
}

/// RFC 4954 §4: responses may be this long.
pub(super) const RESPONSE_BYTES_MAX: usize = 12_288;
/// RFC 4954 §4.
const CODE_CHALLENGE: u16 = 334;
