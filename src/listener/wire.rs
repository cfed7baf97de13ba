//! A TCP connection that may become a TLS connection: what the drivers read from and write to, every wait with its limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// One connection, clear or encrypted.
pub(super) struct Wire {
    stream: Stream,
    /// The other end.
    pub peer: SocketAddr,
    waits: Waits,
}

/// Longest waits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// For something to read.
    pub idle: Duration,
    /// For the peer to take what is written.
    pub write: Duration,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A handshake failed half-way: nothing can be said any more.
    Broken,
}

/// Facts of a finished handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshake {
    /// The certificate chain the peer showed, leaf first; empty when it showed none.
    pub chain: Vec<CertificateDer<'static>>,
    /// `TLSv1.3`, for the trace field.
    pub protocol: String,
}

impl Wire {
    /// Takes an accepted connection.
    ///
    /// # Errors
    /// The socket is gone already.
    pub(super) fn new(stream: TcpStream, waits: Waits) -> io::Result<Self> {
        // Replies are small and the peer waits for each: Nagle would hold them back.
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        Ok(Self {
            stream: Stream::Clear(stream),
            peer,
            waits,
        })
    }

    /// Runs the server side of a TLS handshake within `limit`.
    ///
    /// # Errors
    /// The handshake failed or took too long; the connection is unusable.
    pub(super) async fn start_tls(
        &mut self,
        config: Arc<rustls::ServerConfig>,
        limit: Duration,
    ) -> io::Result<Handshake> {
        let Stream::Clear(tcp) = std::mem::replace(&mut self.stream, Stream::Broken) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is already running"));
        };
        let tls = timeout(limit, TlsAcceptor::from(config).accept(tcp))
            .await
            .map_err(timed_out)??;
        let (_, session) = tls.get_ref();
        let chain = session.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let protocol = match (session.protocol_version(), session.negotiated_cipher_suite()) {
            (Some(version), Some(_)) => format!("{version:?}").replace('_', "."),
            _ => String::new(),
        };
        self.stream = Stream::Tls(Box::new(tls));
        let chain = chain.into_iter().map(CertificateDer::into_owned).collect();
        Ok(Handshake { chain, protocol })
    }

    /// Appends what is there to `buffer`; 0 when the peer has closed. Safe to give up and call again.
    ///
    /// # Errors
    /// The connection failed, or nothing came within the idle limit.
    pub(super) async fn read_into(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let idle = self.waits.idle;
        timeout(idle, self.read_into_unbounded(buffer))
            .await
            .map_err(timed_out)?
    }

    /// The same without a limit of its own, for drivers that wait for several things at once.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn read_into_unbounded(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Clear(stream) => stream.read_buf(buffer).await,
            Stream::Tls(stream) => stream.read_buf(buffer).await,
            Stream::Broken => Ok(0),
        }
    }

    /// Writes all of `bytes` and flushes.
    ///
    /// # Errors
    /// The connection failed, or the peer took nothing within the idle limit.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(self.waits.write, async {
            match &mut self.stream {
                Stream::Clear(stream) => stream.write_all(bytes).await,
                Stream::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                Stream::Broken => Err(io::ErrorKind::BrokenPipe.into()),
            }
        })
        .await
        .map_err(timed_out)?
    }

    /// Says good-bye: `close_notify`, then the end of the TCP stream. A peer that is gone already is not an error worth a line.
    pub(super) async fn close(mut self) {
        let farewell = async {
            match &mut self.stream {
                Stream::Clear(stream) => stream.shutdown().await,
                Stream::Tls(stream) => stream.shutdown().await,
                Stream::Broken => Ok(()),
            }
        };
        if let Ok(Err(error)) = timeout(CLOSE_MAX, farewell).await {
            tracing::trace!(%error, "peer left before the connection was closed");
        }
    }
}

fn timed_out(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer was silent for too long")
}

/// How long a farewell may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);
