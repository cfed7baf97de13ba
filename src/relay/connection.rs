//! The driver of an SMTP client: connects, runs the handshake with proof of the peer, moves bytes. Used by the relay between operators and
//! by the simulator of a DUI.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::identity::SubjectDn;
use crate::pki;
use crate::policy::Refusal;
use crate::smtp::client::{Client, ClientOptions, ClientStep, ClientTls, Failure, Outcome, Stage, Transaction};
use crate::smtp::data::{DotStuffer, Framing};

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name, for the TLS server name and for logs.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom we expect there, and the certificate we show.
    pub tls: Arc<rustls::ClientConfig>,
}

/// Longest waits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// For the TCP connection, and again for the handshake.
    pub connect: Duration,
    /// For each reply and each write. RFC 5321 §4.5.3.2 asks for 5 minutes.
    pub reply: Duration,
    /// For the reply to the whole text. RFC 5321 §4.5.3.2.6 asks for 10 minutes.
    pub delivery: Duration,
}

/// Why a server could not be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Nothing answers there.
    #[error("{name} ({address}) cannot be reached: {source}")]
    Unreachable {
        /// Host name.
        name: String,
        /// Address tried.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate it shows is not good enough: nothing was sent.
    #[error("{name} is not the peer it should be: {refusal}")]
    Unproved {
        /// Host name.
        name: String,
        /// The verdict.
        refusal: Refusal,
    },
    /// The handshake failed otherwise.
    #[error("TLS with {name} failed: {source}")]
    Tls {
        /// Host name.
        name: String,
        /// What the library said.
        #[source]
        source: io::Error,
    },
}

/// How driving a transaction ended.
#[derive(Debug)]
pub enum Driven {
    /// The protocol came to an end of its own.
    Outcome(Outcome),
    /// The peer turned out not to be the one expected.
    Unproved(ConnectionError),
}

/// One connection with its client machine.
pub struct Connection {
    stream: Stream,
    target: Target,
    client: Client,
    waits: Waits,
    peer: Option<SubjectDn>,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Broken,
}

impl Connection {
    /// Connects; with implicit TLS the handshake is done too. Nothing of the mail is sent yet.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn open(
        target: Target,
        options: ClientOptions,
        first: Transaction,
        waits: Waits,
    ) -> Result<Self, ConnectionError> {
        let unreachable = |source| ConnectionError::Unreachable {
            name: target.name.clone(),
            address: target.address,
            source,
        };
        let tcp = within(waits.connect, TcpStream::connect(target.address))
            .await
            .map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let implicit = options.tls == ClientTls::Implicit;
        let client = Client::new(options, first);
        let mut connection = Self {
            stream: Stream::Clear(tcp),
            target,
            client,
            waits,
            peer: None,
        };
        if implicit {
            connection.start_tls().await?;
        }
        Ok(connection)
    }

    /// Full subject of the proved peer; `None` before the handshake.
    pub fn peer(&self) -> Option<&SubjectDn> {
        self.peer.as_ref()
    }

    /// Carries the transaction under way to its end; `content` is its message.
    pub async fn transact(&mut self, content: &[u8]) -> Driven {
        loop {
            let moved = match self.client.step() {
                ClientStep::Read => self.read().await,
                ClientStep::Write(bytes) => self.write(&bytes).await,
                ClientStep::SendBody(framing) => match self.send_body(content, framing).await {
                    Ok(()) => {
                        self.client.body_sent();
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                ClientStep::StartTls => match self.start_tls().await {
                    Ok(()) => {
                        self.client.tls_started();
                        Ok(())
                    }
                    Err(error) => return Driven::Unproved(error),
                },
                ClientStep::Done(outcome) => return Driven::Outcome(outcome),
                ClientStep::Close => Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the connection was closed",
                )),
            };
            if let Err(error) = moved {
                return Driven::Outcome(Outcome::Failed(self.broken(&error)));
            }
        }
    }

    /// Begins another transaction over the same connection. `false`: it cannot take one.
    pub fn next_transaction(&mut self, transaction: Transaction) -> bool {
        self.client.next_transaction(transaction)
    }

    /// Says QUIT and closes. A peer that does not wait for it has lost nothing.
    pub async fn close(mut self) {
        self.client.quit();
        let farewell = async {
            loop {
                match self.client.step() {
                    ClientStep::Write(bytes) => self.write(&bytes).await?,
                    ClientStep::Read => self.read().await?,
                    _ => break,
                }
            }
            match &mut self.stream {
                Stream::Tls(stream) => stream.shutdown().await,
                Stream::Clear(stream) => stream.shutdown().await,
                Stream::Broken => Ok(()),
            }
        };
        if let Ok(Err(error)) = timeout(CLOSE_MAX, farewell).await {
            tracing::trace!(%error, "peer left before QUIT was answered");
        }
    }

    fn broken(&mut self, error: &io::Error) -> Failure {
        let stage = self.client.stage();
        let text = format!("connection with {} lost: {error}", self.target.name);
        self.client.lost(&text).unwrap_or(Failure {
            temporary: true,
            stage,
            cause: crate::smtp::client::Cause::Lost,
            text,
        })
    }

    async fn start_tls(&mut self) -> Result<(), ConnectionError> {
        let Stream::Clear(tcp) = std::mem::replace(&mut self.stream, Stream::Broken) else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "TLS is already running");
            return Err(ConnectionError::Tls {
                name: self.target.name.clone(),
                source,
            });
        };
        let name = server_name(&self.target);
        let handshake = TlsConnector::from(Arc::clone(&self.target.tls)).connect(name, tcp);
        let tls = within(self.waits.connect, handshake).await.map_err(|source| {
            let name = self.target.name.clone();
            match pki::refusal_of(&source) {
                Some(refusal) => ConnectionError::Unproved { name, refusal },
                None => ConnectionError::Tls { name, source },
            }
        })?;
        let chain = tls.get_ref().1.peer_certificates();
        self.peer = chain.and_then(<[_]>::first).and_then(|leaf| pki::subject_of(leaf).ok());
        self.stream = Stream::Tls(Box::new(tls));
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        let limit = match self.client.stage() {
            Stage::Verdict => self.waits.delivery,
            _ => self.waits.reply,
        };
        let buffer = self.client.input();
        let read = async {
            match &mut self.stream {
                Stream::Clear(stream) => stream.read_buf(buffer).await,
                Stream::Tls(stream) => stream.read_buf(buffer).await,
                Stream::Broken => Ok(0),
            }
        };
        match within(limit, read).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed it")),
            _ => Ok(()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = &mut self.stream;
        within(self.waits.reply, async {
            match stream {
                Stream::Clear(stream) => stream.write_all(bytes).await,
                Stream::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                Stream::Broken => Err(io::ErrorKind::BrokenPipe.into()),
            }
        })
        .await
    }

    /// In pieces: the wait is for progress, not for the whole of a large message.
    async fn send_body(&mut self, content: &[u8], framing: Framing) -> io::Result<()> {
        match framing {
            Framing::Counted => {
                for piece in content.chunks(PIECE_BYTES) {
                    self.write(piece).await?;
                }
            }
            Framing::Dots => {
                let mut stuffer = DotStuffer::new();
                let mut wire = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 16);
                for piece in content.chunks(PIECE_BYTES) {
                    wire.clear();
                    stuffer.push(piece, &mut wire);
                    self.write(&wire).await?;
                }
                wire.clear();
                stuffer.finish(&mut wire);
                self.write(&wire).await?;
            }
        }
        Ok(())
    }
}

async fn within<T>(limit: Duration, wait: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let silent = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("nothing happened for {} s", limit.as_secs()),
        )
    };
    timeout(limit, wait).await.map_err(|_| silent())?
}

/// The name for SNI; an address when the host has none that TLS could carry.
fn server_name(target: &Target) -> ServerName<'static> {
    let ip = |address: IpAddr| ServerName::IpAddress(address.into());
    ServerName::try_from(target.name.clone()).unwrap_or_else(|_| ip(target.address.ip()))
}

/// Message text is written in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a farewell may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);
