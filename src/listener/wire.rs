//! What the drivers read from and write to: a link to a client or peer, every wait with its limit.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::deflate::Deflate;
use super::link::{Handshake, Link, Unfinished};
use super::observed::{observe_failed_handshake, observe_handshake};
use crate::clock::Stopwatch;
use crate::metrics::{Meter, Traffic};

/// One connection, clear or encrypted.
pub(super) struct Wire {
    link: Link,
    /// The other end.
    pub peer: SocketAddr,
    waits: Waits,
    counted: Counted,
    traffic: Traffic,
    /// Once compression is on.
    deflate: Option<Box<Deflate>>,
}

/// Where a connection's handshakes and bytes are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub meter: Meter,
    /// The name of its face.
    pub face: &'static str,
    /// Handshakes that may be computed at the same time.
    pub handshakes: Arc<Semaphore>,
}

/// Longest waits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// For something to read.
    pub idle: Duration,
    /// For the peer to take what is written.
    pub write: Duration,
}

impl Wire {
    /// Takes an accepted connection.
    ///
    /// # Errors
    /// The socket is gone already.
    pub(super) fn new(stream: TcpStream, waits: Waits, counted: Counted) -> io::Result<Self> {
        let peer = stream.peer_addr()?;
        let link = Link::new(stream)?;
        Ok(Self {
            link,
            peer,
            waits,
            traffic: counted.meter.network(counted.face),
            counted,
            deflate: None,
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
    ) -> Result<Handshake, Unfinished> {
        let watch = Stopwatch::start();
        // Apart: it needs kilobytes that the connection would hold to its end.
        let handshake = Box::pin(self.link.accept_tls(config, &self.counted.handshakes));
        let handshake = timeout(limit, handshake).await;
        let handshake = handshake.unwrap_or_else(|elapsed| {
            let error = timed_out(elapsed);
            Err(Unfinished { error, offer: None })
        });
        let Counted { meter, face, .. } = &self.counted;
        match &handshake {
            Ok(handshake) => observe_handshake(meter, face, handshake, watch.elapsed()),
            Err(unfinished) => observe_failed_handshake(meter, face, &unfinished.error),
        }
        handshake
    }

    /// How long silence may last.
    pub(super) fn idle_max(&self) -> Duration {
        self.waits.idle
    }

    /// Appends what is there to `buffer`; 0 when the peer has closed. Safe to give up and call again. There is no limit: drivers wait for
    /// several things at once. A buffer without room gets some only when something has come.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn read_into(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let Some(deflate) = &mut self.deflate else {
            let read = if buffer.capacity() == 0 {
                self.link.read_few(buffer).await
            } else {
                self.link.read_into(buffer).await
            }?;
            self.traffic.came(read);
            return Ok(read);
        };
        loop {
            let unpacked = deflate.unpack(buffer)?;
            if unpacked > 0 {
                return Ok(unpacked);
            }
            let read = self.link.read_into(&mut deflate.input).await?;
            self.traffic.came(read);
            if read == 0 {
                return Ok(0);
            }
        }
    }

    /// Appends what is there already; 0 when that is nothing, or the end.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn read_at_hand(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut read = pin!(self.read_into(buffer));
        match poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await {
            Poll::Ready(read) => read,
            Poll::Pending => Ok(0),
        }
    }

    /// See [`Link::expect_much`].
    pub(super) fn expect_much(&mut self) {
        self.link.expect_much();
    }

    /// More of something begun is waited for, see [`Link::hasten`].
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn hasten(&self) -> io::Result<()> {
        self.link.hasten()
    }

    /// Writes all of `bytes` and flushes.
    ///
    /// # Errors
    /// The connection failed, or the peer took nothing within the idle limit.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let packed;
        let bytes = match &mut self.deflate {
            Some(deflate) => {
                packed = deflate.pack(bytes)?;
                &packed
            }
            None => bytes,
        };
        timeout(self.waits.write, self.link.write(bytes))
            .await
            .map_err(timed_out)??;
        self.traffic.went(bytes.len());
        Ok(())
    }

    /// From now on everything is compressed; `read` came already.
    pub(super) fn compress(&mut self, read: Vec<u8>) {
        self.deflate = Some(Box::new(Deflate::new(read)));
    }

    /// Gives up what need not be kept while nothing happens.
    pub(super) fn rest(&mut self) {
        if let Some(deflate) = &mut self.deflate {
            deflate.rest();
        }
    }

    /// Says good-bye. A peer that is gone already is not an error worth a line.
    pub(super) async fn close(mut self) {
        if let Ok(Err(error)) = timeout(CLOSE_MAX, self.link.shutdown()).await {
            tracing::trace!(%error, "peer left before the connection was closed");
        }
    }
}

fn timed_out(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer was silent for too long")
}

/// How long a farewell may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);
