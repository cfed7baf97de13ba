//! Plays the client that must not be trusted: connects to a server under test as an operator or a client would, shows one certificate
//! (or none, or an old handshake), and reports how far the server let it come. Nothing is left behind: the dialogue ends before the
//! text of a message, unless one is given.
//!
//! The control cases come first. A server that refuses the valid certificate would refuse everything, and a full score would say
//! nothing: the run stops there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::play::{End, Expected, Observation, Reached, Row, Score, Service, Verdict};
use super::probe_hello::Hello;
use super::probe_line::{Line, Link};
use crate::identity::Address;
use crate::smtp::Secret;

/// Whom to probe, and as whom.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Host name of the server, for SNI and for people.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub face: Service,
    /// `MAIL FROM` between operators: an address of a domain that the valid certificate is listed for.
    pub sender: Address,
    /// `RCPT TO`: a box of the server. Without one the dialogue ends after MAIL.
    pub recipient: Option<Address>,
    /// Who logs in on the faces of clients; without one the certificate alone says it.
    pub login: Option<LoginAs>,
    /// Message to leave behind where the server allows it; `None`: nothing is ever left.
    pub message: Option<Vec<u8>>,
    /// Longest wait for anything.
    pub wait: Duration,
}

/// Who logs in on a face of clients.
#[derive(Clone, Debug)]
pub enum LoginAs {
    /// This box, of those that the certificate opens.
    Box(String),
    /// Somebody with a password.
    User {
        /// User name.
        name: String,
        /// Password.
        password: Secret,
    },
}

/// What is shown to the server.
#[derive(Clone, Debug)]
pub enum Show {
    /// This chain, with the proof of its key; in this version of TLS only, when one is named.
    Certificate(Arc<CertifiedKey>, TlsVersions),
    /// A handshake without certificate.
    NoCertificate,
    /// No handshake at all: mail, or a login, in clear.
    Clear,
    /// The start of a handshake that must not go on.
    Hello(Hello),
}

/// Which versions a handshake offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsVersions {
    /// Both that are allowed.
    #[default]
    All,
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// One thing to try.
#[derive(Clone, Debug)]
pub struct Case {
    /// Stable id.
    pub id: String,
    /// Group of the catalogue.
    pub group: String,
    /// What is shown, in one line.
    pub what: String,
    /// What the server should do.
    pub expected: Expected,
    /// Whether the run makes sense only if this one is accepted.
    pub control: bool,
    /// What is shown; `Err` says why it cannot be played here.
    pub show: Result<Show, String>,
}

/// The server refuses the valid certificate: nothing that it does with the others means anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target} refuses the valid certificate of case {id}: {observed}")]
pub struct ControlFailed {
    /// The server.
    pub target: String,
    /// Id of the control.
    pub id: String,
    /// What it did.
    pub observed: String,
}

impl Probe {
    /// Plays every case, controls first; `heard` is told each line as it is known.
    ///
    /// # Errors
    /// A control was not accepted.
    pub async fn run(&self, cases: &[Case], mut heard: impl FnMut(&Row)) -> Result<Score, ControlFailed> {
        let mut score = Score {
            title: "certlab probe".to_owned(),
            target: format!("{} {}", self.face, self.address),
            rows: Vec::with_capacity(cases.len()),
        };
        let (controls, others): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.control);
        for case in controls.into_iter().chain(others) {
            let row = self.row(case).await;
            heard(&row);
            // One kind of key that a server does not take is a line of the score; refusing the first is refusing everything.
            if case.control && row.verdict == Verdict::Failed && score.rows.is_empty() {
                return Err(ControlFailed {
                    target: score.target,
                    id: row.id,
                    observed: row.observed,
                });
            }
            score.rows.push(row);
        }
        Ok(score)
    }

    async fn row(&self, case: &Case) -> Row {
        let (observed, verdict) = match &case.show {
            Ok(show) => {
                let observation = self.play(show).await;
                (observation.to_string(), observation.judge(case.expected))
            }
            Err(why) => (why.clone(), Verdict::Skipped),
        };
        Row {
            id: case.id.clone(),
            group: case.group.clone(),
            what: case.what.clone(),
            expected: case.expected,
            observed,
            verdict,
        }
    }

    /// One connection from its start to its end.
    pub async fn play(&self, show: &Show) -> Observation {
        let mut reached = Reached::Connection;
        let opened = Link::open(self.address, self.wait).await;
        let mut line = match opened {
            Ok(opened) => Line::new(opened, self.wait),
            Err(why) => return Observation::new(reached, End::Unreachable(why)),
        };
        let end = match self.face {
            Service::Smtp | Service::Submission | Service::Submissions => {
                self.smtp(&mut line, show, &mut reached).await
            }
            Service::Imap | Service::Imaps => self.imap(&mut line, show, &mut reached).await,
            Service::Tls => self.tls_alone(&mut line, show, &mut reached).await,
        };
        Observation::new(reached, end.err().unwrap_or(End::Allowed))
    }

    async fn smtp(&self, line: &mut Line, show: &Show, reached: &mut Reached) -> Result<(), End> {
        let implicit = self.face == Service::Submissions;
        if implicit && self.enter_tls(line, show, reached).await? == Entered::Answered {
            return Ok(());
        }
        if implicit && matches!(show, Show::Clear) {
            return line.smtp(Some(&format!("EHLO {EHLO_NAME}"))).await.map(drop);
        }
        line.smtp(None).await?;
        let offered = line.smtp(Some(&format!("EHLO {EHLO_NAME}"))).await?;
        *reached = (*reached).max(if implicit { Reached::Hello } else { Reached::Greeting });
        if !implicit && !matches!(show, Show::Clear) {
            if !offered.to_ascii_uppercase().contains("STARTTLS") {
                return Err(End::Broken("STARTTLS is not offered".to_owned()));
            }
            line.smtp(Some("STARTTLS")).await?;
            if self.enter_tls(line, show, reached).await? == Entered::Answered {
                return Ok(());
            }
            line.smtp(Some(&format!("EHLO {EHLO_NAME}"))).await?;
            *reached = Reached::Hello;
        }
        let said = if self.face == Service::Smtp {
            self.envelope(line, reached).await
        } else {
            self.submission(line, reached).await
        };
        if said.is_ok() || matches!(said, Err(End::Reply { .. })) {
            line.farewell(&["RSET", "QUIT"]).await;
        }
        said
    }

    async fn envelope(&self, line: &mut Line, reached: &mut Reached) -> Result<(), End> {
        line.smtp(Some(&format!("MAIL FROM:<{}>", self.sender))).await?;
        *reached = Reached::Sender;
        let Some(recipient) = &self.recipient else {
            return Ok(());
        };
        line.smtp(Some(&format!("RCPT TO:<{recipient}>"))).await?;
        *reached = Reached::Recipient;
        if let Some(message) = &self.message {
            line.smtp(Some("DATA")).await?;
            line.message(message).await?;
            *reached = Reached::Message;
        }
        Ok(())
    }

    /// RFC 4422 §5 and appendix A: the certificate speaks, the authorisation identity names the box.
    async fn submission(&self, line: &mut Line, reached: &mut Reached) -> Result<(), End> {
        line.smtp(Some(&format!("AUTH {}", self.sasl()))).await?;
        *reached = Reached::Login;
        // The login is the verdict on the certificate; a message is only sent on when there is one.
        match self.message {
            Some(_) => self.envelope(line, reached).await,
            None => Ok(()),
        }
    }

    async fn imap(&self, line: &mut Line, show: &Show, reached: &mut Reached) -> Result<(), End> {
        let implicit = self.face == Service::Imaps;
        if implicit && self.enter_tls(line, show, reached).await? == Entered::Answered {
            return Ok(());
        }
        if implicit && matches!(show, Show::Clear) {
            return line.imap(Some("CAPABILITY")).await;
        }
        line.imap(None).await?;
        *reached = (*reached).max(Reached::Greeting);
        if !implicit && !matches!(show, Show::Clear) {
            line.imap(Some("STARTTLS")).await?;
            if self.enter_tls(line, show, reached).await? == Entered::Answered {
                return Ok(());
            }
        }
        let said = line.imap(Some(&format!("AUTHENTICATE {}", self.sasl()))).await;
        if said.is_ok() {
            *reached = Reached::Login;
        }
        if said.is_ok() || matches!(said, Err(End::Reply { .. })) {
            line.farewell(&["z LOGOUT"]).await;
        }
        said
    }

    /// Mechanism and initial response (RFC 4422 appendix A, RFC 4616 §2).
    fn sasl(&self) -> String {
        match &self.login {
            None => "EXTERNAL =".to_owned(),
            Some(LoginAs::Box(name)) => format!("EXTERNAL {}", base64(name)),
            Some(LoginAs::User { name, password }) => {
                format!("PLAIN {}", base64(&format!("\0{name}\0{}", password.reveal())))
            }
        }
    }

    /// The handshake, then a moment for the alert: in TLS 1.3 the server judges after the client believes to be done.
    async fn tls_alone(&self, line: &mut Line, show: &Show, reached: &mut Reached) -> Result<(), End> {
        if self.enter_tls(line, show, reached).await? == Entered::Answered {
            return Ok(());
        }
        if matches!(show, Show::Clear) {
            return line.smtp(Some(&format!("EHLO {EHLO_NAME}"))).await.map(drop);
        }
        line.listen(self.wait.min(VERDICT_WAIT)).await
    }

    async fn enter_tls(&self, line: &mut Line, show: &Show, reached: &mut Reached) -> Result<Entered, End> {
        let entered = match show {
            Show::Certificate(key, versions) => {
                line.start_tls(&self.name, Some(Arc::clone(key)), *versions).await?;
                Entered::Encrypted
            }
            Show::NoCertificate => {
                line.start_tls(&self.name, None, TlsVersions::All).await?;
                Entered::Encrypted
            }
            Show::Hello(hello) => {
                line.hello(hello).await?;
                Entered::Answered
            }
            // A face that begins with TLS is spoken to in clear: whatever it answers comes from inside no handshake.
            Show::Clear => return Ok(Entered::Encrypted),
        };
        *reached = Reached::Handshake;
        Ok(entered)
    }
}

/// What became of the way into TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entered {
    /// Inside; the dialogue goes on.
    Encrypted,
    /// The server would go on with a handshake that it should not: all is known.
    Answered,
}

fn base64(text: &str) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

/// The probe's own name; servers do not judge it.
const EHLO_NAME: &str = "certlab.localhost";
/// How long an alert may take after the handshake.
const VERDICT_WAIT: Duration = Duration::from_millis(800);
