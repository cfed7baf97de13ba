//! The sandbox's name server: its zones over UDP and TCP on one port. It only carries bytes; `answer` decides.
//!
//! Deliberately absent: recursion, transfers and updates. Unknown zones are refused, so that a resolver set up for both the sandbox and
//! the real world asks the next one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::{Transport, answer};
use super::records::Records;

/// Both sockets of a name server, bound.
pub struct NameSockets {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl NameSockets {
    /// Binds UDP and TCP on the same port; port 0 finds one that is free for both.
    ///
    /// # Errors
    /// One of them is taken.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut tries = if address.port() == 0 { FREE_PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let tcp = TcpListener::bind(address).await?;
            let bound = tcp.local_addr()?;
            match UdpSocket::bind(bound).await {
                Ok(udp) => {
                    return Ok(Self {
                        udp,
                        tcp,
                        address: bound,
                    });
                }
                Err(error) if tries == 0 || error.kind() != io::ErrorKind::AddrInUse => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Where both listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A name server and what it says now.
pub struct NameServer {
    records: ArcSwap<Records>,
    connections: Arc<Semaphore>,
}

impl NameServer {
    /// Says what `records` hold.
    pub fn new(records: Records) -> Self {
        Self {
            records: ArcSwap::from_pointee(records),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    /// Says something else from now on.
    pub fn install(&self, records: Records) {
        self.records.store(Arc::new(records));
    }

    /// Answers until `stop`.
    pub async fn run(self: Arc<Self>, sockets: NameSockets, stop: CancellationToken) {
        let NameSockets { udp, tcp, .. } = sockets;
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.datagrams(&udp) => {}
            () = self.connections(&tcp) => {}
        }
    }

    /// One at a time: an answer takes microseconds, and a crowd waits in the kernel's own bounded buffer.
    async fn datagrams(&self, socket: &UdpSocket) {
        let mut query = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let (length, from) = match socket.recv_from(&mut query).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(%error, "a datagram could not be received");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(answer) = answer(&self.records.load(), &query[..length], Transport::Udp) else {
                continue;
            };
            // Clients ask again; one that cannot be reached must not hold up the others.
            if let Err(error) = socket.try_send_to(&answer, from) {
                tracing::debug!(%error, %from, "an answer could not be sent");
            }
        }
    }

    /// Ends with its connections: they are children of this call.
    async fn connections(self: &Arc<Self>, listener: &TcpListener) {
        let mut open = JoinSet::new();
        loop {
            while open.try_join_next().is_some() {}
            // The place first: beyond the bound, clients wait in the kernel's queue.
            let Ok(place) = Arc::clone(&self.connections).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = Arc::clone(self);
                    open.spawn(async move {
                        server.attend(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the name server cannot accept, pausing");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn attend(&self, stream: TcpStream) {
        if let Ok(Err(error)) = timeout(CONNECTION_MAX, self.converse(stream)).await {
            tracing::debug!(%error, "a DNS connection ended");
        }
    }

    /// RFC 7766 §6.2.1: several queries over one connection, one after the other.
    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let Some(query) = timeout(IDLE_MAX, read_query(&mut stream)).await?? else {
                return Ok(());
            };
            let Some(answer) = answer(&self.records.load(), &query, Transport::Tcp) else {
                return Ok(());
            };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            timeout(IDLE_MAX, stream.write_all(&framed)).await??;
        }
    }
}

/// RFC 1035 §4.2.2: two bytes of length, then the message; `None` at the end of the stream.
async fn read_query(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut query = vec![0; usize::from(length)];
    stream.read_exact(&mut query).await?;
    Ok(Some(query))
}

/// A query with every option in use is far smaller.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// TCP connections at once.
const CONNECTIONS_MAX: usize = 64;
/// Longest silence of a TCP client, and longest wait for it to take an answer.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Longest TCP connection: a slow or greedy client makes room for others.
const CONNECTION_MAX: Duration = Duration::from_mins(2);
/// Pause after a socket failed (out of descriptors).
const PAUSE: Duration = Duration::from_millis(100);
/// How often another free port is tried.
const FREE_PORT_TRIES: u32 = 16;
