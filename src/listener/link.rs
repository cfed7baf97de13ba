//! A TCP connection that may become a TLS connection, as server or as client: the one piece that listeners, the relay and the tools move
//! bytes with. It has no limits of its own; whoever waits for it sets one.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use rustls::server::Acceptor;
use rustls::{CipherSuite, ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

use super::ahead::Ahead;

/// One connection, clear or encrypted.
pub enum Link {
    /// As it came.
    Clear(TcpStream),
    /// After a handshake.
    Tls(Box<TlsStream<Ahead>>),
    /// A handshake failed half-way: nothing can be said any more.
    Broken,
}

/// What a client offered in its first message.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// The server name it asked for (SNI).
    pub server_name: Option<String>,
    /// Cipher suites, in its order.
    pub suites: Vec<CipherSuite>,
}

/// Facts of a finished handshake.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// The certificate chain the other end showed, leaf first; empty when it showed none.
    pub chain: Vec<CertificateDer<'static>>,
    /// `TLSv1.3`, for the trace field.
    pub protocol: String,
    /// The suite agreed on.
    pub suite: Option<CipherSuite>,
    /// What the client had offered; empty when we were the client.
    pub offer: Offer,
}

/// A handshake that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unfinished {
    /// Why.
    #[source]
    pub error: io::Error,
    /// What the client offered, if it came so far.
    pub offer: Option<Offer>,
}

impl Link {
    /// Takes a connection. Replies are small and the other end waits for each: Nagle would hold them back.
    ///
    /// # Errors
    /// The socket is gone already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Clear(stream))
    }

    /// Connects.
    ///
    /// # Errors
    /// Nothing answers there.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(address).await?)
    }

    /// The server side of a handshake. What it computes first, the dear part, waits for one of `turns`; no turn is held while the other
    /// end is waited for, so that one which stalls keeps nobody else from shaking hands.
    ///
    /// # Errors
    /// See [`Unfinished`]; the link is broken then.
    pub async fn accept_tls(&mut self, config: Arc<ServerConfig>, turns: &Semaphore) -> Result<Handshake, Unfinished> {
        let failed = |error, offer| Unfinished { error, offer };
        let tcp = self.take_clear().map_err(|error| failed(error, None))?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), Ahead::new(tcp)).await;
        let start = start.map_err(|error| failed(error, None))?;
        let hello = start.client_hello();
        let offer = Offer {
            server_name: hello.server_name().map(str::to_owned),
            suites: hello.cipher_suites().to_vec(),
        };
        let turn = turns.acquire().await;
        // The key exchange and our signature are made here already.
        let mut stream = pin!(start.into_stream(config));
        let first = poll_fn(|context| Poll::Ready(stream.as_mut().poll(context))).await;
        drop(turn);
        let accepted = match first {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => stream.await,
        };
        match accepted {
            Ok(tls) => Ok(Handshake {
                offer,
                ..self.secured(tls.into())
            }),
            Err(error) => Err(failed(error, Some(offer))),
        }
    }

    /// The client side of a handshake.
    ///
    /// # Errors
    /// It failed; the link is broken then.
    pub async fn connect_tls(&mut self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Handshake> {
        let tcp = self.take_clear()?;
        let tls = TlsConnector::from(config).connect(name, Ahead::new(tcp)).await?;
        Ok(self.secured(tls.into()))
    }

    /// Appends what is there to `buffer`; 0 when the other end has closed. Safe to give up and call again.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn read_into(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read_buf(buffer).await,
            Self::Tls(stream) => stream.read_buf(buffer).await,
            Self::Broken => Ok(0),
        }
    }

    /// The same for at most [`FEW_BYTES`]; nothing is allocated before they are there.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn read_few(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|context| {
            let mut room = [0; FEW_BYTES];
            let mut few = ReadBuf::new(&mut room);
            ready!(match self {
                Self::Clear(stream) => Pin::new(stream).poll_read(context, &mut few),
                Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, &mut few),
                Self::Broken => Poll::Ready(Ok(())),
            })?;
            buffer.extend_from_slice(few.filled());
            Poll::Ready(Ok(few.filled().len()))
        })
        .await
    }

    /// What comes next is longer than a command: it is read in larger pieces from the start.
    pub fn expect_much(&mut self) {
        if let Self::Tls(stream) = self {
            stream.get_mut().0.expect_much();
        }
    }

    /// Acknowledges what has come, and what comes next, at once. Whoever writes the end of a message apart from the rest, and leaves it to TCP to
    /// gather small writes (Nagle), sends that end when the rest is acknowledged: 40 ms later for each message where the kernel waits with that
    /// for something to send along. The kernel goes back to its own ways after a while, so this is for every wait for more of something begun.
    ///
    /// # Errors
    /// The connection failed.
    pub fn hasten(&self) -> io::Result<()> {
        let stream = match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0.stream(),
            Self::Broken => return Ok(()),
        };
        // Elsewhere it cannot be asked for.
        #[cfg(target_os = "linux")]
        stream.set_quickack(true)?;
        Ok(())
    }

    /// Writes all of `bytes` and flushes.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Broken => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Says good-bye: `close_notify`, then the end of the TCP stream.
    ///
    /// # Errors
    /// The other end is gone already.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Broken => Ok(()),
        }
    }

    fn take_clear(&mut self) -> io::Result<TcpStream> {
        match std::mem::replace(self, Self::Broken) {
            Self::Clear(tcp) => Ok(tcp),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is already running")),
        }
    }

    fn secured(&mut self, tls: TlsStream<Ahead>) -> Handshake {
        let (_, session) = tls.get_ref();
        let chain = session.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
        let protocol = match (session.protocol_version(), suite) {
            (Some(version), Some(_)) => format!("{version:?}").replace('_', "."),
            _ => String::new(),
        };
        *self = Self::Tls(Box::new(tls));
        Handshake {
            chain,
            protocol,
            suite,
            offer: Offer::default(),
        }
    }
}

/// A command or two.
pub(super) const FEW_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (TcpStream, Link) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Link::new(listener.accept().await.unwrap().0).unwrap())
    }

    #[tokio::test]
    async fn a_few_bytes_are_read_without_room_that_waits_for_them() {
        let (mut client, mut link) = pair().await;
        let mut buffer = Vec::new();
        let waiting = timeout(Duration::from_millis(5), link.read_few(&mut buffer)).await;
        assert!(waiting.is_err() && buffer.capacity() == 0, "nothing was sent");
        client.write_all(&[7; FEW_BYTES + 3]).await.unwrap();
        assert_eq!(link.read_few(&mut buffer).await.unwrap(), FEW_BYTES);
        assert_eq!(link.read_few(&mut buffer).await.unwrap(), 3);
        assert_eq!(buffer, [7; FEW_BYTES + 3]);
        drop(client);
        assert_eq!(link.read_few(&mut buffer).await.unwrap(), 0);
        assert_eq!(Link::Broken.read_few(&mut buffer).await.unwrap(), 0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_comes_is_acknowledged_at_once_when_more_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Link::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = Link::new(listener.accept().await.unwrap().0).unwrap();
        let waits_with_it = |link: &Link| match link {
            Link::Clear(stream) => !stream.quickack().unwrap(),
            _ => panic!(),
        };
        // Question and answer: the kernel learns to send acknowledgements along with answers.
        for _ in 0..3 {
            client.write(b"x").await.unwrap();
            server.read_into(&mut Vec::new()).await.unwrap();
            server.write(b"y").await.unwrap();
            client.read_into(&mut Vec::new()).await.unwrap();
        }
        assert!(waits_with_it(&server));
        server.hasten().unwrap();
        assert!(!waits_with_it(&server));
        assert!(Link::Broken.hasten().is_ok());
    }
}
