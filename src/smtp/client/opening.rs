//! From the greeting to the first transaction: EHLO, STARTTLS, AUTH.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Before;
use super::Cause;
use super::Client;
use super::ClientTls;
use super::Offer;
use super::Stage;
use super::State;
use super::Transaction;
use crate::smtp::reply::Reply;
use crate::smtp::sasl::Credentials;
use crate::smtp::sasl::Mechanism;
use crate::smtp::sasl::Secret;

/// Which reply is awaited.
#[derive(Debug)]
pub(super) enum Opening {
    Greeting,
    Hello,
    StartTls,
    Login(Turn),
}

/// What a challenge would be answered with.
#[derive(Debug)]
pub(super) enum Turn {
    /// The response that was too long for the command line.
    Response(Secret),
    /// Nothing is left to say: a challenge now tells why a token is refused (RFC 7628 §3.2.3), and wants an empty answer.
    Said,
    /// Not even that.
    Dismissed,
}

impl Opening {
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Greeting => Stage::Greeting,
            Self::Hello => Stage::Hello,
            Self::StartTls => Stage::Tls,
            Self::Login(_) => Stage::Login,
        }
    }
}

impl Client {
    pub(super) fn hear_opening(&mut self, opening: Opening, transaction: Transaction, reply: &Reply) {
        match (opening, reply.code) {
            (Opening::Greeting, 220) => self.say_hello(transaction),
            (Opening::Hello, 250) => {
                self.offer = Offer::read(reply);
                self.after_hello(transaction);
            }
            (Opening::StartTls, 220) => self.begin_tls(transaction),
            (Opening::Login(_), 235) => self.begin(transaction, Before::Nothing),
            (Opening::Login(Turn::Response(response)), CODE_CHALLENGE) => {
                self.say(response.reveal());
                self.state = State::Opening(Opening::Login(Turn::Said), transaction);
            }
            (Opening::Login(Turn::Said), CODE_CHALLENGE) => {
                self.say("");
                self.state = State::Opening(Opening::Login(Turn::Dismissed), transaction);
            }
            (opening, _) => {
                self.state = State::Opening(opening, transaction);
                let failure = self.refusal(reply);
                self.fail(failure);
            }
        }
    }

    pub(super) fn say_hello(&mut self, transaction: Transaction) {
        let line = format!("EHLO {}", self.options.hostname);
        self.say(&line);
        self.state = State::Opening(Opening::Hello, transaction);
    }

    fn after_hello(&mut self, transaction: Transaction) {
        match (self.options.tls, self.offer.starttls) {
            (ClientTls::StartTls, true) => {
                self.say("STARTTLS");
                self.state = State::Opening(Opening::StartTls, transaction);
            }
            (ClientTls::StartTls, false) => {
                // OP-5: also what an attacker who strips the offer achieves is only that nothing is sent.
                self.state = State::Opening(Opening::StartTls, transaction);
                let text = "the peer does not offer STARTTLS, and mail never leaves in clear";
                let failure = self.failure(Cause::StartTlsAbsent, text);
                self.fail(failure);
            }
            (ClientTls::Implicit, _) => self.log_in(transaction),
        }
    }

    fn begin_tls(&mut self, transaction: Transaction) {
        let injected = !self.input.rest().is_empty();
        self.state = State::Handshake(transaction);
        if injected {
            // What comes in clear after the reply would be taken for something said inside TLS.
            let failure = self.failure(Cause::Protocol, "the peer sent text between STARTTLS and the handshake");
            self.fail(failure);
        }
    }

    fn log_in(&mut self, transaction: Transaction) {
        let Some(credentials) = self.options.login.clone() else {
            return self.begin(transaction, Before::Nothing);
        };
        let Some((mechanism, response)) = response_for(&credentials, &self.offer) else {
            self.state = State::Opening(Opening::Login(Turn::Said), transaction);
            let text = "the peer does not offer the way to log in that is configured";
            let failure = self.failure(Cause::LoginAbsent, text);
            return self.fail(failure);
        };
        let encoded = match STANDARD.encode(&response) {
            // RFC 4954 §4: an empty initial response is written `=`.
            empty if empty.is_empty() => "=".to_owned(),
            some => some,
        };
        let line = format!("AUTH {} {encoded}", mechanism.name());
        let turn = if line.len() + 2 <= COMMAND_BYTES_MAX {
            self.say(&line);
            Turn::Said
        } else {
            self.say(&format!("AUTH {}", mechanism.name()));
            Turn::Response(Secret::new(encoded))
        };
        self.state = State::Opening(Opening::Login(turn), transaction);
    }

    pub(super) fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }
}

/// The first offered mechanism that can carry the credentials, and what it says.
fn response_for(credentials: &Credentials, offer: &Offer) -> Option<(Mechanism, String)> {
    let (mechanism, response) = match credentials {
        Credentials::External { authzid } => (Mechanism::External, authzid.clone().unwrap_or_default()),
        Credentials::Plain {
            authzid,
            user,
            password,
            ..
        } => {
            let authzid = authzid.as_deref().unwrap_or_default();
            (Mechanism::Plain, format!("{authzid}\0{user}\0{}", password.reveal()))
        }
        Credentials::Bearer { user, token } => {
            let user = user.as_deref().unwrap_or_default();
            let response = format!("user={user}\x01auth=Bearer {}\x01\x01", token.reveal());
            (Mechanism::XOAuth2, response)
        }
    };
    offer.mechanisms.contains(&mechanism).then_some((mechanism, response))
}

/// RFC 5321 §4.5.3.1.4: a longer command goes in two parts.
const COMMAND_BYTES_MAX: usize = 512;
/// RFC 4954 §4.
const CODE_CHALLENGE: u16 = 334;
