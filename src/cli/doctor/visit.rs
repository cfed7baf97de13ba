//! The visit itself: from the name of the server to QUIT, as a user's client or another operator's server would do it.

use std::io;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::ServerName;
use tokio::time::timeout;

use super::dialogue::{Answer, Dialogue, WAIT_MAX};
use super::own::{Own, examine, listed, told};
use super::report::{Report, StepId, Stop};
use super::{FaceArg, Patient};
use crate::clock::Clock;
use crate::identity::Address;
use crate::listener::{Handshake, Link, failure};
use crate::pki::{self, Expectation, TlsMinimum, Usage, Witness, client_config};
use crate::policy::Refusal;

/// Makes every step until one fails; what comes after it is told as not looked at.
pub(super) async fn visit(patient: &Patient, clock: &Clock, report: &mut Report) {
    let mut visit = Visit { patient, clock, report };
    let ended = visit.all().await;
    let reached = if ended.is_ok() { "every step" } else { "a failing step" };
    tracing::debug!(reached, "visit over");
    report.complete(if patient.face.is_imap() {
        &IMAP_STEPS
    } else {
        &SMTP_STEPS
    });
}

struct Visit<'a> {
    patient: &'a Patient,
    clock: &'a Clock,
    report: &'a mut Report,
}

impl Visit<'_> {
    async fn all(&mut self) -> Result<(), Stop> {
        let own = Own::read(self.patient, self.clock, self.report).await?;
        let mut talk = self.connect().await?;
        if self.patient.face.is_implicit() {
            self.secure(&mut talk, &own).await?;
        }
        self.greeting(&mut talk).await?;
        let ended = if self.patient.face.is_imap() {
            self.imap(&mut talk, &own).await
        } else {
            self.smtp(&mut talk, &own).await
        };
        if ended.is_ok() {
            self.farewell(&mut talk).await?;
        }
        talk.close().await;
        ended
    }

    async fn connect(&mut self) -> Result<Dialogue, Stop> {
        let texts = self.report.texts();
        let host = &self.patient.host;
        let found = timeout(WAIT_MAX, tokio::net::lookup_host((host.host.as_str(), host.port))).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => return Err(self.report.failed(StepId::Resolve, error.to_string(), texts.fix_name)),
            Err(_) => return Err(self.report.failed(StepId::Resolve, host.host.clone(), texts.fix_name)),
        };
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        self.report.passed(StepId::Resolve, shown.join(", "));
        let mut problem = host.host.clone();
        for address in addresses {
            match timeout(WAIT_MAX, Link::connect(address)).await {
                Ok(Ok(link)) => {
                    self.report.passed(StepId::Connect, address.to_string());
                    return Ok(Dialogue::new(link));
                }
                Ok(Err(error)) => problem = format!("{address}: {error}"),
                Err(_) => problem = format!("{address}: {} s", WAIT_MAX.as_secs()),
            }
        }
        Err(self.report.failed(StepId::Connect, problem, texts.fix_connect))
    }

    async fn greeting(&mut self, talk: &mut Dialogue) -> Result<(), Stop> {
        let answer = if self.patient.face.is_imap() {
            talk.line().await.map(|line| Answer { lines: vec![line] })
        } else {
            talk.reply().await
        };
        self.accepted(StepId::Greeting, answer, self.report.texts().fix_greeting)?;
        Ok(())
    }

    /// Runs the handshake, and has the server's certificate judged in it: nothing is said to a server that is not proved.
    async fn secure(&mut self, talk: &mut Dialogue, own: &Own) -> Result<(), Stop> {
        let texts = self.report.texts();
        let witness = Witness::new();
        let expectation = Expectation::new(std::sync::Arc::clone(&own.trust)).with_witness(witness.clone());
        let config = client_config(own.identity.as_ref(), expectation, TlsMinimum::default(), self.clock);
        let config = config.map_err(|error| self.report.failed(StepId::Handshake, error.to_string(), texts.fix_own))?;
        let name = ServerName::try_from(self.patient.name.clone());
        let name = name.map_err(|error| self.report.failed(StepId::Handshake, error.to_string(), texts.fix_name))?;
        let handshake = match timeout(WAIT_MAX, talk.link.connect_tls(config, name)).await {
            Ok(Ok(handshake)) => handshake,
            Ok(Err(error)) => return Err(self.unproved(&error, own, &witness)),
            Err(_) => {
                let found = format!("{} s", WAIT_MAX.as_secs());
                return Err(self.report.failed(StepId::Handshake, found, texts.fix_connect));
            }
        };
        let suite = handshake.suite.map(|suite| format!(", {suite:?}")).unwrap_or_default();
        self.report
            .passed(StepId::Handshake, format!("{}{suite}", handshake.protocol));
        self.server(&handshake, own)
    }

    /// A handshake that failed: on the server's certificate, or on something that an alert or the library's words tell.
    fn unproved(&mut self, error: &io::Error, own: &Own, witness: &Witness) -> Stop {
        if let Some(Refusal { reason, .. }) = pki::refusal_of(error) {
            let chain = witness.take().unwrap_or_default();
            let now = self.clock.now();
            let examination = examine(&own.trust, &chain, (Usage::Server, now), self.report);
            let found = told(&examination, self.report);
            let remedy = format!("{} ({reason})", self.report.words.reason(reason).remedy);
            self.report
                .passed(StepId::Handshake, self.report.texts().server_answers);
            return self.report.failed(StepId::ServerCertificate, found, remedy);
        }
        self.broken(StepId::Handshake, error)
    }

    fn server(&mut self, handshake: &Handshake, own: &Own) -> Result<(), Stop> {
        let now = self.clock.now();
        let examination = examine(&own.trust, &handshake.chain, (Usage::Server, now), self.report);
        let found = told(&examination, self.report);
        self.report.passed(StepId::ServerCertificate, found);
        match (&own.list, &self.patient.person.to, &examination.verdict) {
            (Some(list), Some(to), Ok(peer)) if self.patient.face == FaceArg::Smtp => {
                listed((StepId::ServerListed, &peer.subject), list, to.domain(), self.report)
            }
            _ => {
                self.report.skipped(StepId::ServerListed, self.report.texts().no_list);
                Ok(())
            }
        }
    }

    async fn smtp(&mut self, talk: &mut Dialogue, own: &Own) -> Result<(), Stop> {
        let texts = self.report.texts();
        let mut hello = talk.command(EHLO).await;
        if !self.patient.face.is_implicit() {
            let clear = self.accepted(StepId::Hello, hello, texts.fix_greeting)?;
            if clear.keyword("STARTTLS").is_none() {
                let found = clear.lines.join(", ");
                return Err(self.report.failed(StepId::StartTls, found, texts.fix_starttls));
            }
            let answer = talk.command("STARTTLS").await;
            self.accepted(StepId::StartTls, answer, texts.fix_starttls)?;
            self.secure(talk, own).await?;
            hello = talk.command(EHLO).await;
        }
        let keywords = self.accepted(StepId::HelloAgain, hello, texts.fix_certificate)?;
        if self.patient.face == FaceArg::Smtp {
            self.report.skipped(StepId::Mechanisms, texts.no_login);
            self.report.skipped(StepId::Login, texts.no_login);
        } else {
            let offered = keywords.keyword("AUTH").unwrap_or_default().to_owned();
            self.mechanism(&offered, own)?;
            let answer = match self.credentials() {
                Some(plain) => talk.command(&format!("AUTH PLAIN {plain}")).await,
                None => talk.command(&format!("AUTH EXTERNAL {}", self.authorisation())).await,
            };
            self.accepted(StepId::Login, answer, texts.fix_login)?;
        }
        self.transaction(talk).await
    }

    async fn transaction(&mut self, talk: &mut Dialogue) -> Result<(), Stop> {
        let texts = self.report.texts();
        let person = &self.patient.person;
        let Some(sender) = self.sender() else {
            self.report.skipped(StepId::Sender, texts.no_sender);
            return Ok(());
        };
        let answer = talk.command(&format!("MAIL FROM:<{sender}>")).await;
        self.accepted(StepId::Sender, answer, texts.fix_sender)?;
        let Some(to) = &person.to else {
            self.report.skipped(StepId::Recipient, texts.no_recipient);
            return Ok(());
        };
        let answer = talk.command(&format!("RCPT TO:<{to}>")).await;
        self.accepted(StepId::Recipient, answer, texts.fix_recipient)?;
        if !person.send {
            self.report.skipped(StepId::Data, texts.no_send);
            return Ok(());
        }
        let answer = talk.command("DATA").await;
        self.accepted(StepId::Data, answer, texts.fix_data)?;
        let letter = format!("From: <{sender}>\r\nTo: <{to}>\r\nSubject: vaguemestre doctor\r\n\r\nTest.\r\n.");
        let answer = talk.command(&letter).await;
        self.accepted(StepId::Data, answer, texts.fix_data)?;
        Ok(())
    }

    async fn imap(&mut self, talk: &mut Dialogue, own: &Own) -> Result<(), Stop> {
        let texts = self.report.texts();
        let mut offered = talk.tagged("CAPABILITY").await;
        if !self.patient.face.is_implicit() {
            let clear = self.accepted(StepId::Hello, offered, texts.fix_greeting)?;
            if !clear.has_word("STARTTLS") {
                let found = clear.lines.join(", ");
                return Err(self.report.failed(StepId::StartTls, found, texts.fix_starttls));
            }
            let answer = talk.tagged("STARTTLS").await;
            self.accepted(StepId::StartTls, answer, texts.fix_starttls)?;
            self.secure(talk, own).await?;
            offered = talk.tagged("CAPABILITY").await;
        }
        let offered = self.accepted(StepId::HelloAgain, offered, texts.fix_certificate)?;
        let mechanisms = ["EXTERNAL", "PLAIN"].into_iter();
        let mechanisms: Vec<&str> = mechanisms
            .filter(|name| offered.has_word(&format!("AUTH={name}")))
            .collect();
        self.mechanism(&mechanisms.join(" "), own)?;
        let (name, secret) = match self.credentials() {
            Some(plain) => ("PLAIN", plain),
            None => ("EXTERNAL", self.authorisation()),
        };
        let asked = talk.tagged(&format!("AUTHENTICATE {name}")).await;
        let answer = match asked {
            // RFC 4959 §3 writes an empty answer as `=`; on a line of its own it is an empty line.
            Ok(answer) if answer.last().starts_with('+') => {
                talk.continued(if secret == "=" { "" } else { &secret }).await
            }
            other => other,
        };
        self.accepted(StepId::Login, answer, texts.fix_login)?;
        Ok(())
    }

    /// The way to log in must be offered.
    fn mechanism(&mut self, offered: &str, own: &Own) -> Result<(), Stop> {
        let texts = self.report.texts();
        let wanted = if self.credentials().is_some() {
            "PLAIN"
        } else {
            "EXTERNAL"
        };
        if wanted == "EXTERNAL" && own.identity.is_none() {
            return Err(self.report.failed(StepId::Mechanisms, offered, texts.fix_nobody));
        }
        if offered.split(' ').any(|name| name == wanted) {
            self.report.passed(StepId::Mechanisms, offered);
            return Ok(());
        }
        let found = format!("{offered} (≠ {wanted})");
        Err(self.report.failed(StepId::Mechanisms, found, texts.fix_mechanism))
    }

    async fn farewell(&mut self, talk: &mut Dialogue) -> Result<(), Stop> {
        let answer = if self.patient.face.is_imap() {
            talk.say("dz LOGOUT").await.map(|()| Answer {
                lines: vec!["OK".to_owned()],
            })
        } else {
            talk.command("QUIT").await
        };
        self.accepted(StepId::Quit, answer, "")?;
        Ok(())
    }

    fn sender(&self) -> Option<String> {
        let person = &self.patient.person;
        match (self.patient.face, &person.user, &person.domain) {
            (FaceArg::Smtp, _, Some(domain)) => Some(format!("postmaster@{domain}")),
            (face, Some(user), _) if face != FaceArg::Smtp => {
                user.parse::<Address>().ok().map(|address| address.to_string())
            }
            _ => None,
        }
    }

    /// The response of SASL PLAIN (RFC 4616 §2), when there is a password.
    fn credentials(&self) -> Option<String> {
        let person = &self.patient.person;
        let (user, password) = (person.user.as_deref()?, person.password.as_deref()?);
        Some(STANDARD.encode(format!("\0{user}\0{password}")))
    }

    /// The box to act as, for EXTERNAL; `=` when none is named.
    fn authorisation(&self) -> String {
        let user = self.patient.person.user.as_deref().filter(|user| user.contains('@'));
        user.map_or_else(|| "=".to_owned(), |user| STANDARD.encode(user))
    }

    /// Enters an answer as a step, good or bad.
    fn accepted(&mut self, id: StepId, answer: io::Result<Answer>, remedy: &str) -> Result<Answer, Stop> {
        match answer {
            Ok(answer) if answer.is_good() => {
                let last = answer.last().to_owned();
                self.report.passed(id, last);
                Ok(answer)
            }
            Ok(answer) => Err(self.report.refused(id, answer.last(), remedy)),
            Err(error) => Err(self.broken(id, &error)),
        }
    }

    /// With TLS 1.3 the server's refusal of a certificate comes as an alert after the handshake, wherever something is read next.
    fn broken(&mut self, id: StepId, error: &io::Error) -> Stop {
        let event = failure(error);
        let words = self.report.words.failure(event.alert.as_str(), event.problem.as_str());
        let found = format!("{}\n{}", event.problem, words.meaning);
        self.report.failed(id, found, words.remedy)
    }
}

const EHLO: &str = "EHLO doctor.localhost";

const SMTP_STEPS: [StepId; 17] = [
    StepId::OwnCertificate,
    StepId::OwnListed,
    StepId::Resolve,
    StepId::Connect,
    StepId::Greeting,
    StepId::Hello,
    StepId::StartTls,
    StepId::Handshake,
    StepId::ServerCertificate,
    StepId::ServerListed,
    StepId::HelloAgain,
    StepId::Mechanisms,
    StepId::Login,
    StepId::Sender,
    StepId::Recipient,
    StepId::Data,
    StepId::Quit,
];

const IMAP_STEPS: [StepId; 13] = [
    StepId::OwnCertificate,
    StepId::OwnListed,
    StepId::Resolve,
    StepId::Connect,
    StepId::Greeting,
    StepId::Hello,
    StepId::StartTls,
    StepId::Handshake,
    StepId::ServerCertificate,
    StepId::HelloAgain,
    StepId::Mechanisms,
    StepId::Login,
    StepId::Quit,
];
