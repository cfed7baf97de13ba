//! STARTTLS, AUTHENTICATE, LOGIN: the commands of a client that is nobody yet (RFC 3501 §6.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Next, Outcome, Over, Work, over};
use crate::imap::grammar::tree::Body;
use crate::imap::request::{Answer, Credentials, Password, Refused, Request};
use crate::imap::session::{Core, Login, Security, State, Tokens};
use crate::sasl::{self, Dismissal, Exchange, Fault, Manner, Mechanism, Turn};

pub(super) fn start(core: &Core, body: Body) -> Box<dyn Work> {
    match (body, core.options.security) {
        (Body::StartTls, Security::Clear) => Box::new(Over(Some(Next::StartTls))),
        (Body::StartTls, Security::Tls(_)) => over(Outcome::bad("TLS is on already")),
        (Body::Authenticate { .. } | Body::Login { .. }, Security::Clear) => {
            over(Outcome::no("PRIVACYREQUIRED", "STARTTLS first"))
        }
        (Body::Login { user, password }, Security::Tls(_)) => login(&user, &password.0),
        (Body::Authenticate { mechanism, initial }, Security::Tls(_)) => {
            let Some(mechanism) = taken(core, &mechanism) else {
                return over(Outcome::no("CANNOT", "mechanism not offered"));
            };
            let response = initial.map(|initial| initial.0);
            Box::new(Authenticate {
                response,
                stage: Stage::Response(Exchange::new(mechanism)),
                mechanism,
            })
        }
        _ => over(Outcome::bad("log in first")),
    }
}

fn login(user: &[u8], password: &[u8]) -> Box<dyn Work> {
    let (Ok(user), Ok(password)) = (std::str::from_utf8(user), std::str::from_utf8(password)) else {
        return over(Outcome::refused(Refused::Credentials));
    };
    Box::new(Authenticate {
        response: None,
        mechanism: Mechanism::Login,
        stage: Stage::Prove(Credentials::Password {
            mechanism: "LOGIN",
            authorize: String::new(),
            user: user.to_owned(),
            password: Password::new(password.to_owned()),
        }),
    })
}

/// EXTERNAL is taken even where it is not offered, for want of a certificate: the driver's refusal says what to present.
fn taken(core: &Core, mechanism: &str) -> Option<Mechanism> {
    let always = [Mechanism::Plain, Mechanism::External];
    let tokens = match core.options.tokens {
        Tokens::Taken => [Mechanism::XOAuth2, Mechanism::OAuthBearer].as_slice(),
        Tokens::Refused => &[],
    };
    always
        .into_iter()
        .chain(tokens.iter().copied())
        .find(|known| mechanism.eq_ignore_ascii_case(known.name()))
}

/// What a complete SASL exchange gives, in the words of this module.
fn credentials(shown: sasl::Credentials, mechanism: Mechanism) -> Credentials {
    match shown {
        sasl::Credentials::External { authzid } => Credentials::Certificate {
            authorize: authzid.unwrap_or_default(),
        },
        sasl::Credentials::Plain {
            mechanism,
            authzid,
            user,
            password,
        } => Credentials::Password {
            mechanism: mechanism.name(),
            authorize: authzid.unwrap_or_default(),
            user,
            password: Password::new(password.reveal().to_owned()),
        },
        sasl::Credentials::Bearer { user, token } => Credentials::Token {
            mechanism: mechanism.name(),
            authorize: user.unwrap_or_default(),
            token: Password::new(token.reveal().to_owned()),
        },
    }
}

struct Authenticate {
    response: Option<Vec<u8>>,
    mechanism: Mechanism,
    stage: Stage,
}

enum Stage {
    /// A response is due.
    Response(Exchange),
    /// Credentials are known and must be proved.
    Prove(Credentials),
    /// They are being proved; the box the client wants.
    Proving(Wanted),
    /// The box is being opened.
    Opening(String),
    /// The token was refused, and the client was told why; its response to that is due.
    Dismissed(Outcome),
    /// Over.
    Over,
}

/// Which box the client wants.
enum Wanted {
    /// This one and no other.
    Named(String),
    /// The one of that user name, else the login's own.
    OfUser(String),
    /// The only one.
    Only,
}

impl Wanted {
    fn of(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Password { authorize, .. }
            | Credentials::Token { authorize, .. }
            | Credentials::Certificate { authorize }
                if !authorize.is_empty() =>
            {
                Self::Named(authorize.clone())
            }
            Credentials::Password { user, .. } => Self::OfUser(user.clone()),
            Credentials::Token { .. } | Credentials::Certificate { .. } => Self::Only,
        }
    }

    fn choose(&self, boxes: &[String]) -> Option<String> {
        let named = |name: &str| boxes.iter().find(|b| b.eq_ignore_ascii_case(name)).cloned();
        match self {
            Self::Named(name) => named(name),
            Self::OfUser(name) => named(name).or_else(|| boxes.first().cloned()),
            Self::Only => (boxes.len() == 1).then(|| boxes.first().cloned()).flatten(),
        }
    }
}

impl Work for Authenticate {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match (std::mem::replace(&mut self.stage, Stage::Over), answer) {
            (Stage::Response(exchange), None) => {
                if let Some(response) = self.response.take() {
                    return self.respond(exchange, response);
                }
                let challenge = STANDARD.encode(exchange.challenge());
                core.out.extend_from_slice(format!("+ {challenge}\r\n").as_bytes());
                self.stage = Stage::Response(exchange);
                Next::ReadLine
            }
            (Stage::Prove(credentials), None) => {
                self.stage = Stage::Proving(Wanted::of(&credentials));
                Next::Ask(Request::Authenticate(credentials))
            }
            (Stage::Proving(wanted), Some(Answer::Boxes(boxes))) => match wanted.choose(&boxes) {
                Some(address) => {
                    self.stage = Stage::Opening(address.clone());
                    Next::Ask(Request::Open { address })
                }
                None => Next::Done(Outcome::refused(Refused::NotYourBox)),
            },
            (Stage::Proving(_), Some(Answer::LoginRefused { refused, text })) => {
                self.dismiss(core, refused, Outcome::explained(refused, text))
            }
            (Stage::Opening(address), Some(Answer::Done)) => {
                core.state = State::Authenticated(Login { address });
                Next::Done(Outcome::ok_with(core.capability_code(), "logged in"))
            }
            (_, Some(other)) => Next::Done(Outcome::unexpected(other)),
            (_, None) => Next::Done(Outcome::refused(Refused::Defect)),
        }
    }

    fn line(&mut self, _core: &mut Core, line: &[u8]) -> Next {
        let exchange = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Response(exchange) => exchange,
            // RFC 7628 §3.2.3: whatever it says.
            Stage::Dismissed(outcome) => return Next::Done(outcome),
            _ => return Next::Done(Outcome::refused(Refused::Defect)),
        };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match line.strip_suffix(b"\r").unwrap_or(line) {
            b"*" => Next::Done(Outcome::bad("cancelled")),
            line => match STANDARD.decode(line) {
                Ok(response) => self.respond(exchange, response),
                Err(_) => Next::Done(Outcome::bad("not base64")),
            },
        }
    }
}

impl Authenticate {
    fn respond(&mut self, exchange: Exchange, response: Vec<u8>) -> Next {
        let complete = match exchange.respond(response) {
            Ok(Turn::Challenge(next)) => {
                self.stage = Stage::Response(next);
                return Next::Continue;
            }
            Ok(Turn::Complete(shown)) => credentials(shown, self.mechanism),
            Err(_) => return Next::Done(Outcome::bad("not a response of that mechanism")),
        };
        self.stage = Stage::Prove(complete);
        Next::Continue
    }

    /// RFC 7628 §3.2.2: a refused token is told so in a challenge of its own first.
    fn dismiss(&mut self, core: &mut Core, refused: Refused, outcome: Outcome) -> Next {
        if !matches!(self.mechanism, Mechanism::XOAuth2 | Mechanism::OAuthBearer) {
            return Next::Done(outcome);
        }
        let fault = match refused {
            Refused::NotYourBox => Fault::InsufficientScope,
            _ => Fault::InvalidToken,
        };
        let challenge = Dismissal::new(self.mechanism, fault, Manner::Failure).challenge;
        let challenge = STANDARD.encode(challenge);
        core.out.extend_from_slice(format!("+ {challenge}\r\n").as_bytes());
        self.stage = Stage::Dismissed(outcome);
        Next::ReadLine
    }
}
