//! A mail host that behaves as told.
//!
//! A rule is `STAGE[#CONNECTION][ WORD]: ACTION`, the first that fits counts, once for each line. Stages: `greeting`, `clear` (EHLO before
//! TLS), `STARTTLS`, `handshake`, `EHLO`, `MAIL`, `RCPT`, `DATA`, `BDAT`, `body` (in the middle of the text), `text` (at its end), `RSET`,
//! `QUIT`, `idle` (after a message was taken). Actions: a reply (`|` between lines, `& close` at its end), `close`, `mute`, `garbage`, `wait`
//! (the usual reply, once it is let go), `hold` (the usual reply, together with the next one).

use std::io;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use vaguemestre::listener::Link;

/// What a host is and does.
struct Shared {
    offers: Vec<String>,
    rules: Vec<String>,
    seen: Mutex<Seen>,
    /// One for each answer that may leave.
    leave: Semaphore,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    lines: Vec<(usize, String)>,
    taken: Vec<Taken>,
    /// For each handshake, whether the client showed a certificate.
    certificates: Vec<bool>,
}

/// A message that the host took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// Whom it is for.
    pub(crate) recipients: Vec<String>,
    /// Its bytes, dots taken off.
    pub(crate) text: Vec<u8>,
}

/// A host; it ends with the runtime that runs it.
#[derive(Clone)]
pub(crate) struct Host {
    shared: Arc<Shared>,
    pub(crate) port: u16,
}

impl Host {
    /// Starts one on a port of its own.
    pub(crate) async fn start(tls: Arc<ServerConfig>, offers: &[&str], rules: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let shared = Arc::new(Shared {
            offers: owned(offers),
            rules: owned(rules),
            seen: Mutex::default(),
            leave: Semaphore::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = {
                    let mut seen = own.seen.lock().unwrap();
                    seen.connections += 1;
                    seen.connections
                };
                let (shared, tls) = (Arc::clone(&own), Arc::clone(&tls));
                // A connection that breaks is what tests are about.
                tokio::spawn(async move { Talk::new(tcp, shared, number)?.run(tls).await });
            }
        });
        Self { shared, port }
    }

    /// Lets one answer go that a rule makes wait.
    pub(crate) fn let_go(&self) {
        self.shared.leave.add_permits(1);
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.seen.lock().unwrap().connections
    }

    /// Everything heard, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        let seen = self.shared.seen.lock().unwrap();
        seen.lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// The messages taken.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.shared.seen.lock().unwrap().taken.clone()
    }

    /// For each handshake, whether the client showed a certificate.
    pub(crate) fn certificates(&self) -> Vec<bool> {
        self.shared.seen.lock().unwrap().certificates.clone()
    }
}

struct Talk {
    link: Link,
    input: Vec<u8>,
    shared: Arc<Shared>,
    number: usize,
    is_tls: bool,
    recipients: Vec<String>,
    /// Replies that leave with the next one.
    held: String,
}

/// The connection is over.
fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl Talk {
    fn new(tcp: TcpStream, shared: Arc<Shared>, number: usize) -> io::Result<Self> {
        Ok(Self {
            link: Link::new(tcp)?,
            input: Vec::new(),
            shared,
            number,
            is_tls: false,
            recipients: Vec::new(),
            held: String::new(),
        })
    }

    async fn run(mut self, tls: Arc<ServerConfig>) -> io::Result<()> {
        self.act("greeting", "", "220 host.test ESMTP").await?;
        loop {
            let line = self.line().await?;
            self.shared.seen.lock().unwrap().lines.push((self.number, line.clone()));
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_owned();
            match verb.as_str() {
                "EHLO" => self.hello(&line).await?,
                "STARTTLS" => self.start_tls(&line, &tls).await?,
                "RCPT" => {
                    if self.act("RCPT", &line, "250 2.1.5 ok").await? < 300 {
                        self.recipients.push(line);
                    }
                }
                "DATA" => self.data(&line).await?,
                "BDAT" => self.chunk(&line).await?,
                "QUIT" => {
                    self.act("QUIT", &line, "221 2.0.0 bye").await?;
                    return self.link.shutdown().await;
                }
                verb => {
                    if verb == "MAIL" || verb == "RSET" {
                        self.recipients.clear();
                    }
                    self.act(verb, &line, "250 2.0.0 ok").await?;
                }
            }
        }
    }

    async fn hello(&mut self, line: &str) -> io::Result<()> {
        let offers = if self.is_tls {
            self.shared.offers.join("|")
        } else {
            "STARTTLS".to_owned()
        };
        let reply = format!("250 host.test|{offers}");
        let stage = if self.is_tls { "EHLO" } else { "clear" };
        self.act(stage, line, reply.trim_end_matches('|')).await.map(|_| ())
    }

    async fn start_tls(&mut self, line: &str, tls: &Arc<ServerConfig>) -> io::Result<()> {
        if self.act("STARTTLS", line, "220 2.0.0 go").await? != 220 {
            return Ok(());
        }
        if self.rule("handshake", "").is_some() {
            self.act("handshake", "", "").await?;
        }
        let handshake = self
            .link
            .accept_tls(Arc::clone(tls), &Semaphore::new(1))
            .await
            .map_err(|_| gone())?;
        self.is_tls = true;
        let shown = !handshake.chain.is_empty();
        self.shared.seen.lock().unwrap().certificates.push(shown);
        Ok(())
    }

    async fn data(&mut self, line: &str) -> io::Result<()> {
        if self.act("DATA", line, "354 go").await? != 354 {
            return Ok(());
        }
        let mut text = Vec::new();
        loop {
            let line = self.raw_line().await?;
            self.in_body(&line).await?;
            if line == b".\r\n" {
                return self.end(text).await;
            }
            text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    async fn chunk(&mut self, line: &str) -> io::Result<()> {
        let size: usize = line
            .split(' ')
            .nth(1)
            .and_then(|size| size.parse().ok())
            .ok_or_else(gone)?;
        while self.input.len() < size {
            if !self.input.is_empty() {
                self.in_body(b"").await?;
            }
            self.fill().await?;
        }
        let text = self.input.drain(..size).collect();
        if self.rule("BDAT", line).is_some() {
            return self.act("BDAT", line, "").await.map(|_| ());
        }
        self.end(text).await
    }

    async fn in_body(&mut self, line: &[u8]) -> io::Result<()> {
        if line != b".\r\n" && self.rule("body", "").is_some() {
            self.act("body", "", "").await?;
        }
        Ok(())
    }

    async fn end(&mut self, text: Vec<u8>) -> io::Result<()> {
        let recipients = std::mem::take(&mut self.recipients);
        let shown = String::from_utf8_lossy(&text).into_owned();
        let default = if recipients.is_empty() {
            "554 5.5.1 nobody"
        } else {
            "250 2.0.0 taken"
        };
        if self.act("text", &shown, default).await? >= 300 {
            return Ok(());
        }
        self.shared.seen.lock().unwrap().taken.push(Taken { recipients, text });
        if self.rule("idle", "").is_some() {
            self.act("idle", "", "").await?;
        }
        Ok(())
    }

    /// Does what the first rule for this stage says, or gives the usual reply; the code of the reply.
    async fn act(&mut self, stage: &str, line: &str, usual: &str) -> io::Result<u16> {
        let mut action = self.rule(stage, line).unwrap_or_else(|| usual.to_owned());
        if action == "wait" {
            self.shared.leave.acquire().await.map_err(|_| gone())?.forget();
            usual.clone_into(&mut action);
        }
        if action == "hold" {
            self.held += &wire(usual);
            return Ok(usual[..3].parse().unwrap_or(0));
        }
        match action.as_str() {
            "close" => Err(gone()),
            "mute" => {
                while self.fill().await.is_ok() {
                    self.input.clear();
                }
                Err(gone())
            }
            "garbage" => {
                self.link.write(b"\x15\x03 this is no answer at all\r\n").await?;
                Err(gone())
            }
            reply => {
                let (reply, closes) = match reply.strip_suffix(" & close") {
                    Some(reply) => (reply, true),
                    None => (reply, false),
                };
                let replies = std::mem::take(&mut self.held) + &wire(reply);
                self.link.write(replies.as_bytes()).await?;
                if closes {
                    self.link.shutdown().await?;
                    return Err(gone());
                }
                Ok(reply.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0))
            }
        }
    }

    fn rule(&self, stage: &str, line: &str) -> Option<String> {
        self.shared.rules.iter().find_map(|rule| {
            let (when, action) = rule.split_once(": ")?;
            let (place, word) = when.split_once(' ').unwrap_or((when, ""));
            let (name, number) = place.split_once('#').unwrap_or((place, ""));
            let fits = name == stage && line.contains(word) && (number.is_empty() || number == self.number.to_string());
            fits.then(|| action.to_owned())
        })
    }

    async fn line(&mut self) -> io::Result<String> {
        let line = self.raw_line().await?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn raw_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                return Ok(self.input.drain(..end + 2).collect());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.link.read_into(&mut self.input).await? {
            0 => Err(gone()),
            _ => Ok(()),
        }
    }
}

/// `250 a|b` becomes `250-a`, `250 b`; a line with a code of its own keeps it.
fn wire(reply: &str) -> String {
    let lines: Vec<&str> = reply.split('|').collect();
    let code = reply.get(..3).unwrap_or_default();
    let (last, before) = lines.split_last().unwrap();
    let own = |line: &str| {
        line.as_bytes()
            .get(..3)
            .is_some_and(|code| code.iter().all(u8::is_ascii_digit))
    };
    let mut text = String::new();
    for (rank, line) in before.iter().enumerate() {
        if rank == 0 {
            text += &line.replacen(' ', "-", 1);
        } else {
            text.extend([code, "-", line]);
        }
        text += "\r\n";
    }
    if !before.is_empty() && !own(last) {
        text.extend([code, " "]);
    }
    text + last + "\r\n"
}
