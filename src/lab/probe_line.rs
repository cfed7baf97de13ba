//! The bytes of a probe: a connection that may become encrypted, line by line, every wait and every line bounded, and every way in
//! which the server can say no told apart.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::play::End;
use super::probe::TlsVersions;
use super::probe_hello::{Answer, Hello, alert_name};
use crate::smtp::DotStuffer;

/// A connection, clear or encrypted.
pub(super) enum Link {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Broken,
}

impl Link {
    pub(super) async fn open(address: SocketAddr, wait: Duration) -> Result<Self, String> {
        match timeout(wait, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => tcp
                .set_nodelay(true)
                .map(|()| Self::Clear(tcp))
                .map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no connection within {} s", wait.as_secs())),
        }
    }

    async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => read(stream, buffer).await,
            Self::Tls(stream) => read(stream.as_mut(), buffer).await,
            Self::Broken => Ok(0),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => write(stream, bytes).await,
            Self::Tls(stream) => write(stream.as_mut(), bytes).await,
            Self::Broken => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<usize> {
    stream.read_buf(buffer).await
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// A dialogue over a [`Link`].
pub(super) struct Line {
    link: Link,
    buffer: Vec<u8>,
    wait: Duration,
}

impl Line {
    pub(super) fn new(link: Link, wait: Duration) -> Self {
        Self {
            link,
            buffer: Vec::new(),
            wait,
        }
    }

    /// Says a command, unless there is none to say, and waits for the reply: its text when that is positive.
    pub(super) async fn smtp(&mut self, command: Option<&str>) -> Result<String, End> {
        if let Some(command) = command {
            self.say(format!("{command}\r\n").as_bytes()).await?;
        }
        let mut text = String::new();
        for _ in 0..REPLY_LINES_MAX {
            let line = self.line().await?;
            let code: Option<u16> = line.get(..3).and_then(|digits| digits.parse().ok());
            let Some(code) = code else {
                return Err(End::Broken(format!("{line:?} is no SMTP reply")));
            };
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(line.get(4..).unwrap_or_default());
            if line.as_bytes().get(3) != Some(&b'-') {
                return match code {
                    200..=399 => Ok(text),
                    _ => Err(End::Reply { code, text }),
                };
            }
        }
        Err(End::Broken("a reply without end".to_owned()))
    }

    /// The text of a message after DATA, and the verdict on it.
    pub(super) async fn message(&mut self, message: &[u8]) -> Result<(), End> {
        let mut stuffer = DotStuffer::new();
        let mut wire = Vec::with_capacity(message.len() + 16);
        stuffer.push(message, &mut wire);
        stuffer.finish(&mut wire);
        self.say(&wire).await?;
        self.smtp(None).await.map(drop)
    }

    /// Says a tagged command and waits for its result; without a command, for the greeting.
    pub(super) async fn imap(&mut self, command: Option<&str>) -> Result<(), End> {
        let mut challenged = false;
        if let Some(command) = command {
            self.say(format!("{IMAP_TAG} {command}\r\n").as_bytes()).await?;
        }
        for _ in 0..REPLY_LINES_MAX {
            let line = self.line().await?;
            let upper = line.to_ascii_uppercase();
            let tagged = upper.strip_prefix(&IMAP_TAG.to_ascii_uppercase()).map(str::trim_start);
            let greeting = command.is_none().then(|| upper.strip_prefix("* ")).flatten();
            match tagged.or(greeting) {
                Some(result) if result.starts_with("OK") || result.starts_with("PREAUTH") => return Ok(()),
                Some(_) => return Err(End::Reply { code: 0, text: line }),
                // A challenge to a response that was sent already: nothing is left to say (RFC 3501 §6.2.2).
                None if upper.starts_with('+') && !challenged => {
                    challenged = true;
                    self.say(b"*\r\n").await?;
                }
                None if upper.starts_with("* BYE") => return Err(End::Reply { code: 0, text: line }),
                None => {}
            }
        }
        Err(End::Broken("a response without end".to_owned()))
    }

    /// Good-bye, for a server that is still there; what it answers does not matter.
    pub(super) async fn farewell(&mut self, commands: &[&str]) {
        let commands: String = commands.iter().flat_map(|command| [*command, "\r\n"]).collect();
        let said = async {
            self.say(commands.as_bytes()).await?;
            while self.line().await.is_ok() {}
            Ok::<(), End>(())
        };
        if timeout(FAREWELL_MAX, said).await.is_err() {
            tracing::trace!("the server did not end the connection after the farewell");
        }
    }

    /// Waits for the server to say no; that it says nothing, or something else, is no refusal.
    pub(super) async fn listen(&mut self, wait: Duration) -> Result<(), End> {
        match timeout(wait, self.link.read(&mut self.buffer)).await {
            Err(_) | Ok(Ok(1..)) => Ok(()),
            Ok(Ok(0)) => Err(End::Closed),
            Ok(Err(error)) => Err(end_of(&error)),
        }
    }

    /// The handshake, with this certificate; whatever the server shows is good enough, since the server is under test.
    pub(super) async fn start_tls(
        &mut self,
        name: &str,
        key: Option<Arc<CertifiedKey>>,
        versions: TlsVersions,
    ) -> Result<(), End> {
        let Link::Clear(tcp) = std::mem::replace(&mut self.link, Link::Broken) else {
            return Err(End::Broken("TLS is already running".to_owned()));
        };
        let config = config(key, versions).map_err(|error| End::Broken(error.to_string()))?;
        let address = tcp.peer_addr().map_err(|error| end_of(&error))?;
        let server =
            ServerName::try_from(name.to_owned()).unwrap_or_else(|_| ServerName::IpAddress(address.ip().into()));
        let handshake = TlsConnector::from(config).connect(server, tcp);
        match timeout(self.wait, handshake).await {
            Err(_) => Err(End::Silent),
            Ok(Err(error)) => Err(end_of(&error)),
            Ok(Ok(stream)) => {
                self.buffer.clear();
                self.link = Link::Tls(Box::new(stream));
                Ok(())
            }
        }
    }

    /// The start of a handshake by hand: `Ok` when the server would go on.
    pub(super) async fn hello(&mut self, hello: &Hello) -> Result<(), End> {
        let mut random = [0; 32];
        aws_lc_rs_random(&mut random);
        self.buffer.clear();
        self.say(&hello.record(random)).await?;
        loop {
            match Answer::read(&self.buffer) {
                Ok(Some(Answer::Hello { .. })) => return Ok(()),
                Ok(Some(Answer::Alert { description })) => return Err(End::Alert(alert_name(description))),
                Err(problem) => return Err(End::Broken(problem.to_string())),
                Ok(None) => self.more().await?,
            }
        }
    }

    async fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(End::Broken("a line without end".to_owned()));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), End> {
        match timeout(self.wait, self.link.read(&mut self.buffer)).await {
            Err(_) => Err(End::Silent),
            Ok(Ok(0)) => Err(End::Closed),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(end_of(&error)),
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), End> {
        match timeout(self.wait, self.link.write(bytes)).await {
            Err(_) => Err(End::Silent),
            Ok(Ok(())) => Ok(()),
            // The server has gone; what it said before may still be there to read.
            Ok(Err(error)) => match self.more().await {
                Err(end @ End::Alert(_)) => Err(end),
                _ => Err(end_of(&error)),
            },
        }
    }
}

/// How a broken connection is to be understood.
pub(super) fn end_of(error: &io::Error) -> End {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (inner, error.kind()) {
        (Some(rustls::Error::AlertReceived(alert)), _) => End::Alert(alert_name(u8::from(*alert))),
        (Some(other), _) => End::Broken(other.to_string()),
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            End::Closed
        }
        (None, _) => End::Broken(error.to_string()),
    }
}

fn config(key: Option<Arc<CertifiedKey>>, versions: TlsVersions) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions.supported())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(Shown(key))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

impl TlsVersions {
    pub(super) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::All => rustls::ALL_VERSIONS,
            Self::Tls12 => &TLS12_ONLY,
            Self::Tls13 => &TLS13_ONLY,
        }
    }
}

/// Shows one chain to whoever asks, named authorities or not: rustls sends the bytes without reading them.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The server is under test, not under suspicion: nothing secret is said to it.
struct AnyServer;

impl fmt::Debug for AnyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyServer")
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The value only has to differ between probes; when there is no randomness, zeros will do.
fn aws_lc_rs_random(bytes: &mut [u8; 32]) {
    if ::aws_lc_rs::rand::fill(bytes).is_err() {
        bytes.fill(0);
    }
}

static TLS12_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static TLS13_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
const IMAP_TAG: &str = "p1";
/// Longest reply line; RFC 5321 §4.5.3.1.5 says 512.
const LINE_BYTES_MAX: usize = 8 * 1024;
const REPLY_LINES_MAX: usize = 100;
const FAREWELL_MAX: Duration = Duration::from_secs(1);
