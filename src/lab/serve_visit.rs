//! One connection to a server of the laboratory: it greets, offers what its role says, and hears whether the visitor trusts it. Trust is
//! what comes after the handshake: MAIL, a login, data. Used by `certlab serve` and by the audit peers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::play::{End, Observation, Reached, Service};
use super::probe_hello::{ClientOffer, Version, alert_name, alert_record, hello_record};
use super::probe_line::end_of;
use crate::pki;
use crate::policy::{Reason, Refusal};
use crate::smtp::session::{self, Options};
use crate::smtp::{Answer, Extension, Extensions, ForwardPath, Question, Session, Step};

/// What a server of the laboratory is.
pub struct Stand {
    /// What it speaks.
    pub service: Service,
    /// The name it greets with.
    pub host: String,
    /// What it shows.
    pub showing: Showing,
    /// What it does with mail.
    pub mail: Welcome,
    /// Longest wait for anything.
    pub wait: Duration,
}

/// What a server shows of TLS.
pub enum Showing {
    /// A certificate.
    Certificate(Arc<rustls::ServerConfig>),
    /// No TLS at all.
    Clear,
    /// The first answer of a handshake that must not go on: this version, and one of these suites.
    Legacy(Version, Vec<u16>),
}

/// What a server does with mail that it is offered.
pub enum Welcome {
    /// It takes it, once this has made it durable.
    Take(Keep),
    /// It refuses it at MAIL, with these words.
    Refuse(String),
}

/// Makes a letter durable. An error is the visitor's reason to try again.
pub type Keep = Arc<dyn Fn(&Letter) -> io::Result<()> + Send + Sync>;

/// A message that a visitor handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Reverse-path; empty for `<>`.
    pub sender: String,
    /// Forward-paths.
    pub recipients: Vec<String>,
    /// The text, lines ended with CR LF.
    pub content: Vec<u8>,
}

/// What a visitor did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// How far it went, and why not further. Allowed: it trusted the server.
    pub observation: Observation,
    /// Full subject of the certificate it showed, or what is wrong with it; empty when it showed none.
    pub subject: String,
    /// The last envelope it began.
    pub sender: Option<String>,
    /// Recipients of that envelope.
    pub recipients: Vec<String>,
    /// Messages it handed over.
    pub letters: u32,
}

impl Visit {
    /// Whether it got far enough to judge the server: a port scan or a health check did not.
    pub fn is_attempt(&self) -> bool {
        self.observation.reached > Reached::Connection
    }
}

/// Serves one connection to its end.
pub async fn visit(stand: &Stand, tcp: TcpStream) -> Visit {
    let mut guest = Guest {
        stand,
        wire: Wire::Clear(tcp),
        visit: Visit {
            observation: Observation::new(Reached::Connection, End::Closed),
            subject: String::new(),
            sender: None,
            recipients: Vec::new(),
            letters: 0,
        },
    };
    let ended = match stand.service {
        Service::Smtp | Service::Submission | Service::Submissions => guest.smtp().await,
        Service::Imap | Service::Imaps => guest.imap().await,
        Service::Tls => guest.tls().await,
    };
    let Guest { visit: mut told, .. } = guest;
    if told.observation.end != End::Allowed {
        told.observation.end = ended;
    }
    told
}

enum Wire {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Broken,
}

struct Guest<'a> {
    stand: &'a Stand,
    wire: Wire,
    visit: Visit,
}

impl Guest<'_> {
    /// SMTP. Ends with what ended it; trust is noted on the way.
    async fn smtp(&mut self) -> End {
        if self.stand.service == Service::Submissions
            && let Err(end) = self.start_tls().await
        {
            return end;
        }
        let mut session = Session::new(self.options());
        let mut content: Option<Vec<u8>> = None;
        loop {
            match session.step() {
                Step::Read => {
                    let read = self.read(session.input()).await;
                    // EHLO is the least that an attempt says.
                    if session.hello().is_some() {
                        self.reach(Reached::Greeting);
                    }
                    if let Err(end) = read {
                        return end;
                    }
                }
                Step::Write(bytes) => {
                    if let Err(end) = self.write(&bytes).await {
                        return end;
                    }
                }
                Step::StartTls => {
                    if let Err(end) = self.start_tls().await {
                        return end;
                    }
                    session.tls_started();
                }
                Step::Body(bytes) => {
                    let text = content.get_or_insert_with(Vec::new);
                    // The session bounds the message; this only says so where the memory is.
                    text.extend_from_slice(&bytes[..bytes.len().min(MESSAGE_BYTES_MAX.saturating_sub(text.len()))]);
                }
                Step::Ask(question) => {
                    let answer = self.answer(question, &mut content);
                    session.answer(answer);
                }
                Step::Refused(_) => {}
                Step::Abandon => content = None,
                Step::Close => return End::Left,
            }
        }
    }

    fn options(&self) -> Options {
        let clear = matches!(self.stand.showing, Showing::Clear);
        let peer = self.stand.service == Service::Smtp;
        Options {
            hostname: self.stand.host.clone(),
            session_id: "certlab".to_owned(),
            face: if peer {
                session::Face::Peer
            } else {
                session::Face::Submission
            },
            // Without TLS to offer, it goes on as if there had been some: only so can a visitor show that it does not care.
            tls: if clear || self.stand.service == Service::Submissions {
                session::Tls::Done
            } else {
                session::Tls::Required
            },
            mechanisms: if peer {
                Vec::new()
            } else {
                crate::smtp::Mechanism::ALL.to_vec()
            },
            extensions: Extensions::usual().without(Extension::Dsn),
            limits: session::Limits {
                size_bytes_max: MESSAGE_BYTES_MAX as u64,
                ..session::Limits::default()
            },
        }
    }

    fn answer(&mut self, question: Question, content: &mut Option<Vec<u8>>) -> Answer {
        match question {
            Question::Authenticate(_) => {
                self.trusted(Reached::Login);
                self.refusal("a laboratory knows no logins")
            }
            Question::Sender(mail) => {
                self.trusted(Reached::Sender);
                self.visit.sender = Some(mail.path.map(|path| path.to_string()).unwrap_or_default());
                self.visit.recipients.clear();
                match &self.stand.mail {
                    Welcome::Take(_) => Answer::Accepted,
                    Welcome::Refuse(text) => self.refusal(text),
                }
            }
            Question::Recipient(to) => {
                self.trusted(Reached::Recipient);
                self.visit.recipients.push(match to.path {
                    ForwardPath::Address(address) => address.to_string(),
                    ForwardPath::Postmaster => "postmaster".to_owned(),
                });
                Answer::Accepted
            }
            Question::Message => {
                let letter = Letter {
                    sender: self.visit.sender.clone().unwrap_or_default(),
                    recipients: self.visit.recipients.clone(),
                    content: content.take().unwrap_or_default(),
                };
                match &self.stand.mail {
                    Welcome::Take(keep) => match keep(&letter) {
                        Ok(()) => {
                            self.trusted(Reached::Message);
                            self.visit.letters += 1;
                            Answer::Accepted
                        }
                        Err(error) => {
                            tracing::error!(%error, "a message could not be kept");
                            Answer::Refused(Refusal::new(Reason::StorageFailed, "the message could not be kept"))
                        }
                    },
                    Welcome::Refuse(text) => self.refusal(text),
                }
            }
        }
    }

    #[expect(clippy::unused_self, reason = "reads as what this server says")]
    fn refusal(&self, text: &str) -> Answer {
        Answer::Refused(Refusal::new(Reason::CertificateUntrusted, text.to_owned()))
    }

    /// IMAP, as little as a client needs to show whether it would log in.
    async fn imap(&mut self) -> End {
        let mut secure = matches!(self.stand.showing, Showing::Clear);
        if self.stand.service == Service::Imaps {
            if let Err(end) = self.start_tls().await {
                return end;
            }
            secure = true;
        }
        let greeting = format!("* OK {} laboratory\r\n", self.stand.host);
        if let Err(end) = self.write(greeting.as_bytes()).await {
            return end;
        }
        let mut buffer = Vec::new();
        for _ in 0..COMMANDS_MAX {
            let line = match self.line(&mut buffer).await {
                Ok(line) => line,
                Err(end) => return end,
            };
            self.reach(Reached::Greeting);
            let mut words = line.split_whitespace();
            let tag = words.next().unwrap_or("*").to_owned();
            let command = words.next().unwrap_or_default().to_ascii_uppercase();
            let reply = match command.as_str() {
                "CAPABILITY" if secure => {
                    format!("* CAPABILITY IMAP4rev1 SASL-IR AUTH=EXTERNAL AUTH=PLAIN\r\n{tag} OK done\r\n")
                }
                "CAPABILITY" => format!("* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n{tag} OK done\r\n"),
                "NOOP" | "ID" => format!("{tag} OK done\r\n"),
                "LOGOUT" => {
                    let bye = format!("* BYE\r\n{tag} OK done\r\n");
                    return self.write(bye.as_bytes()).await.err().unwrap_or(End::Left);
                }
                "STARTTLS" if !secure => {
                    let go = format!("{tag} OK begin\r\n");
                    if let Err(end) = self.write(go.as_bytes()).await {
                        return end;
                    }
                    buffer.clear();
                    if let Err(end) = self.start_tls().await {
                        return end;
                    }
                    secure = true;
                    continue;
                }
                "LOGIN" | "AUTHENTICATE" => {
                    self.trusted(Reached::Login);
                    format!("{tag} NO a laboratory knows no logins\r\n")
                }
                _ => format!("{tag} BAD not here\r\n"),
            };
            if let Err(end) = self.write(reply.as_bytes()).await {
                return end;
            }
        }
        End::Broken("too many commands".to_owned())
    }

    /// TLS alone: whatever is said inside is trust.
    async fn tls(&mut self) -> End {
        if let Err(end) = self.start_tls().await {
            return end;
        }
        let mut buffer = Vec::new();
        match self.read(&mut buffer).await {
            Ok(()) => {
                self.trusted(Reached::Hello);
                End::Left
            }
            Err(end) => end,
        }
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        let Wire::Clear(mut tcp) = std::mem::replace(&mut self.wire, Wire::Broken) else {
            return Err(End::Broken("TLS is already running".to_owned()));
        };
        self.reach(Reached::Greeting);
        let config = match &self.stand.showing {
            Showing::Certificate(config) => Arc::clone(config),
            Showing::Clear => return Err(End::Broken("asked for TLS that was not offered".to_owned())),
            Showing::Legacy(version, suites) => {
                let end = legacy(&mut tcp, *version, suites, self.stand.wait).await;
                if end == End::Allowed {
                    self.trusted(Reached::Handshake);
                }
                return Err(end);
            }
        };
        match timeout(self.stand.wait, TlsAcceptor::from(config).accept(tcp)).await {
            Err(_) => Err(End::Silent),
            Ok(Err(error)) => Err(end_of(&error)),
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                self.visit.subject = shown.map_or_else(String::new, |leaf| match pki::subject_of(leaf) {
                    Ok(subject) => subject.to_string(),
                    Err(problem) => problem.to_string(),
                });
                self.wire = Wire::Tls(Box::new(stream));
                self.reach(Reached::Handshake);
                Ok(())
            }
        }
    }

    fn reach(&mut self, step: Reached) {
        let reached = &mut self.visit.observation.reached;
        *reached = (*reached).max(step);
    }

    fn trusted(&mut self, step: Reached) {
        self.reach(step);
        self.visit.observation.end = End::Allowed;
    }

    async fn line(&mut self, buffer: &mut Vec<u8>) -> Result<String, End> {
        loop {
            if let Some(at) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=at).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if buffer.len() > LINE_BYTES_MAX {
                return Err(End::Broken("a line without end".to_owned()));
            }
            self.read(buffer).await?;
        }
    }

    async fn read(&mut self, buffer: &mut Vec<u8>) -> Result<(), End> {
        let wire = &mut self.wire;
        let read = async {
            match wire {
                Wire::Clear(stream) => stream.read_buf(buffer).await,
                Wire::Tls(stream) => stream.read_buf(buffer).await,
                Wire::Broken => Ok(0),
            }
        };
        match timeout(self.stand.wait, read).await {
            Err(_) => Err(End::Silent),
            Ok(Ok(0)) => Err(End::Closed),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(end_of(&error)),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let wire = &mut self.wire;
        let write = async {
            match wire {
                Wire::Clear(stream) => stream.write_all(bytes).await,
                Wire::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                Wire::Broken => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        match timeout(self.stand.wait, write).await {
            Err(_) => Err(End::Silent),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(end_of(&error)),
        }
    }
}

/// Answers a `ClientHello` with an old version or a weak suite, and hears whether the client goes on: silence means that it waits for
/// the certificate.
async fn legacy(tcp: &mut TcpStream, version: Version, suites: &[u16], wait: Duration) -> End {
    let mut buffer = Vec::new();
    let offer = loop {
        match timeout(wait, tcp.read_buf(&mut buffer)).await {
            Err(_) => return End::Silent,
            Ok(Err(error)) => return end_of(&error),
            Ok(Ok(0)) => return End::Closed,
            Ok(Ok(_)) => {}
        }
        match ClientOffer::read(&buffer) {
            Ok(Some(offer)) => break offer,
            Ok(None) if buffer.len() < HELLO_BYTES_MAX => {}
            _ => return End::Broken("not a ClientHello".to_owned()),
        }
    };
    let Some(suite) = suites.iter().find(|suite| offer.suites.contains(suite)) else {
        let sent = tcp.write_all(&alert_record(HANDSHAKE_FAILURE)).await;
        return sent.map_or_else(|error| end_of(&error), |()| End::Broken("does not offer it".to_owned()));
    };
    let mut answer = Vec::new();
    if let Err(error) = tcp.write_all(&hello_record(version, *suite)).await {
        return end_of(&error);
    }
    match timeout(wait.min(LEGACY_WAIT), tcp.read_buf(&mut answer)).await {
        Err(_) => End::Allowed,
        Ok(Err(error)) => end_of(&error),
        Ok(Ok(0)) => End::Closed,
        Ok(Ok(_)) => match answer.as_slice() {
            [21, _, _, _, _, _, description, ..] => End::Alert(alert_name(*description)),
            _ => End::Closed,
        },
    }
}

/// A laboratory takes what the field's largest servers take.
const MESSAGE_BYTES_MAX: usize = 25 << 20;
const LINE_BYTES_MAX: usize = 8 * 1024;
/// IMAP commands of one visit.
const COMMANDS_MAX: usize = 100;
const HELLO_BYTES_MAX: usize = 18 * 1024;
/// How long a client has to object to a `ServerHello`.
const LEGACY_WAIT: Duration = Duration::from_secs(2);
const HANDSHAKE_FAILURE: u8 = 40;
