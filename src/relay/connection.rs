//! The driver of an SMTP client: connects, runs the handshake with proof of the peer, moves bytes. Used by the relay between operators and
//! by the simulator of a DUI.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, ServerName};
use tokio::time::timeout;

use super::text::Text;
use crate::clock::Stopwatch;
use crate::listener::{Handshake, Link};
use crate::pki;
use crate::policy::Refusal;
use crate::smtp::client::{Client, ClientOptions, ClientStep, ClientTls, Failure, Offer, Outcome, Stage, Transaction};
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
    link: Link,
    target: Target,
    client: Client,
    waits: Waits,
    /// Written out once: each message that is settled names it.
    peer: String,
    handshake: Handshake,
    /// How long that took, until somebody has asked.
    took: Option<Duration>,
    /// It was idle for a while, and nothing has been heard since.
    is_resumed: bool,
    /// Commands that go with the beginning of the text behind them: one record of TLS, one packet, one thing to wake up for.
    before_text: Vec<u8>,
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
        let link = within(waits.connect, Link::connect(target.address))
            .await
            .map_err(unreachable)?;
        let implicit = options.tls == ClientTls::Implicit;
        let client = Client::new(options, first);
        let mut connection = Self {
            link,
            target,
            client,
            waits,
            peer: String::new(),
            handshake: Handshake::default(),
            took: None,
            is_resumed: false,
            before_text: Vec::new(),
        };
        if implicit {
            connection.start_tls().await?;
        }
        Ok(connection)
    }

    /// Full subject of the proved peer; empty before the handshake.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The certificates that peer has shown, leaf first; empty before the handshake.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.handshake.chain
    }

    /// The handshake and how long it took, once.
    pub(super) fn take_handshake(&mut self) -> Option<(&Handshake, Duration)> {
        let took = self.took.take()?;
        Some((&self.handshake, took))
    }

    /// What the peer offers, as far as it has said so.
    pub fn offer(&self) -> &Offer {
        self.client.offer()
    }

    /// Transactions begun so far.
    pub fn transactions(&self) -> usize {
        self.client.transactions()
    }

    /// Whether it is worth keeping for another transaction.
    pub fn is_worth_keeping(&self) -> bool {
        self.client.is_worth_keeping()
    }

    /// Whether nothing has come since the last reply: a peer that has closed, or said goodbye, is of no more use.
    pub async fn is_quiet(&mut self) -> bool {
        let mut unasked = Vec::new();
        timeout(Duration::ZERO, self.link.read_into(&mut unasked))
            .await
            .is_err()
    }

    /// Carries the transaction under way to its end; `text` is its message.
    pub async fn transact(&mut self, text: &Text) -> Driven {
        loop {
            let moved = match self.client.step() {
                ClientStep::Read => self.read().await,
                ClientStep::Write(bytes) if self.client.text_is_next() => {
                    self.before_text = bytes;
                    Ok(())
                }
                ClientStep::Write(bytes) => self.write(&bytes).await,
                ClientStep::SendBody(framing) => match self.send_body(text, framing).await {
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

    /// The same right after the transaction before, for a message with this text: where the text is in memory, it may go in one flight
    /// with its envelope.
    pub(super) fn follow(&mut self, transaction: Transaction, text: &Text) -> bool {
        match text {
            Text::Memory(_) => self.client.next_transaction_with_text(transaction),
            Text::Stored { .. } => self.client.next_transaction(transaction),
        }
    }

    /// The same after a time in which the peer may have gone away without a word: its first answer is not waited for as long as others
    /// are, since a fresh connection can be had instead.
    pub(super) fn resume(&mut self, transaction: Transaction) -> bool {
        self.is_resumed = true;
        self.next_transaction(transaction)
    }

    /// Whether nothing has been heard since it was idle, because nothing was said: the transactions since then were impossible.
    pub(super) fn is_unheard(&self) -> bool {
        self.is_resumed
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
            self.link.shutdown().await
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
            refused: Vec::new(),
        })
    }

    async fn start_tls(&mut self) -> Result<(), ConnectionError> {
        let name = server_name(&self.target);
        let watch = Stopwatch::start();
        let handshake = self.link.connect_tls(Arc::clone(&self.target.tls), name);
        let handshake = within(self.waits.connect, handshake).await.map_err(|source| {
            let name = self.target.name.clone();
            match pki::refusal_of(&source) {
                Some(refusal) => ConnectionError::Unproved { name, refusal },
                None => ConnectionError::Tls { name, source },
            }
        })?;
        let subject = handshake.chain.first().and_then(|leaf| pki::subject_of(leaf).ok());
        self.peer = subject.map(|subject| subject.to_string()).unwrap_or_default();
        self.handshake = handshake;
        self.took = Some(watch.elapsed());
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        let limit = match self.client.stage() {
            Stage::Verdict => self.waits.delivery,
            _ if self.is_resumed => self.waits.connect.min(self.waits.reply),
            _ => self.waits.reply,
        };
        let buffer = self.client.input();
        let read = self.link.read_into(buffer);
        if within(limit, read).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed it"));
        }
        self.is_resumed = false;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.waits.reply, self.link.write(bytes)).await
    }

    /// In pieces: the wait is for progress, not for the whole of a large message. A text that cannot be read to its end is not ended:
    /// the connection is given up instead.
    async fn send_body(&mut self, text: &Text, framing: Framing) -> io::Result<()> {
        let mut stuffer = (framing == Framing::Dots).then(DotStuffer::new);
        let mut wire = std::mem::take(&mut self.before_text);
        let mut at = 0;
        while at < text.size_bytes() {
            let piece = text.piece(at).await.map_err(io::Error::other)?;
            at += piece.bytes().len() as u64;
            for part in piece.bytes().chunks(PART_BYTES) {
                match &mut stuffer {
                    None if wire.is_empty() => self.write(part).await?,
                    None => {
                        wire.extend_from_slice(part);
                        self.write(&wire).await?;
                    }
                    Some(stuffer) => {
                        stuffer.push(part, &mut wire);
                        self.write(&wire).await?;
                    }
                }
                wire.clear();
            }
        }
        if let Some(stuffer) = stuffer {
            stuffer.finish(&mut wire);
        }
        // What stands before a text of nothing, too.
        if !wire.is_empty() {
            self.write(&wire).await?;
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

/// Message text is written in parts of this size.
const PART_BYTES: usize = 64 * 1024;
/// How long a farewell may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::{self, JoinHandle};

    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::clock::Clock;
    use crate::pki::testing::{Space, now, server};
    use crate::pki::{ClientCertificates, Expectation, TlsMinimum, client_config, server_config};
    use crate::smtp::client::{RecipientOutcome, Transfer};
    use crate::smtp::command::{ForwardPath, MailFrom, RcptTo};

    /// A peer that answers, and tells what each record of TLS held, once the connection has ended: a write is one record, at least.
    struct Peer {
        tcp: TcpStream,
        tls: ServerConnection,
        records: Vec<String>,
        /// Bytes of the chunk that is coming.
        chunk: Option<usize>,
    }

    impl Peer {
        fn start(tls: Arc<ServerConfig>) -> (SocketAddr, JoinHandle<Vec<String>>) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let peer = thread::spawn(move || {
                let peer = Self {
                    tcp: listener.accept().unwrap().0,
                    tls: ServerConnection::new(tls).unwrap(),
                    records: Vec::new(),
                    chunk: None,
                };
                peer.serve()
            });
            (address, peer)
        }

        fn serve(mut self) -> Vec<String> {
            self.say("220 peer.test ESMTP\r\n");
            let mut input = Vec::new();
            while self.record(&mut input) {
                while self.answer(&mut input) {}
            }
            self.records
        }

        /// Answers a command or a chunk; `false`: there is none, or not all of it.
        fn answer(&mut self, input: &mut Vec<u8>) -> bool {
            if let Some(size) = self.chunk {
                if input.len() < size {
                    return false;
                }
                input.drain(..size);
                self.chunk = None;
                self.say("250 2.0.0 taken\r\n");
                return true;
            }
            let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
                return false;
            };
            let line = String::from_utf8(input.drain(..end + 2).collect()).unwrap();
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["EHLO", _] => self.say("250-peer.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
                ["BDAT", size, "LAST"] => self.chunk = Some(size.parse().unwrap()),
                _ => self.say("250 ok\r\n"),
            }
            true
        }

        fn say(&mut self, text: &str) {
            self.tls.writer().write_all(text.as_bytes()).unwrap();
            while self.tls.wants_write() && !self.tls.is_handshaking() {
                // The other end does not wait for the answer to QUIT.
                if self.tls.write_tls(&mut self.tcp).is_err() {
                    return;
                }
            }
        }

        /// The next record; `false` at the end.
        fn record(&mut self, input: &mut Vec<u8>) -> bool {
            let mut record = vec![0; 5];
            if self.tcp.read_exact(&mut record).is_err() {
                return false;
            }
            record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
            if self.tcp.read_exact(&mut record[5..]).is_err() {
                return false;
            }
            let mut record = record.as_slice();
            while !record.is_empty() {
                self.tls.read_tls(&mut record).unwrap();
            }
            let state = self.tls.process_new_packets().unwrap();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.tcp).unwrap();
            }
            let mut text = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut text).unwrap();
            input.extend_from_slice(&text);
            if !text.is_empty() {
                self.records.push(String::from_utf8(text).unwrap());
            }
            !state.peer_has_closed()
        }
    }

    const ENVELOPE: &str = "MAIL FROM:<a@b.fr>\r\nRCPT TO:<c@d.fr>\r\n";

    fn transaction(text: &Text) -> Transaction {
        Transaction {
            mail: MailFrom {
                path: Some("a@b.fr".parse().unwrap()),
                size_bytes: Some(text.size_bytes()),
                ..MailFrom::default()
            },
            recipients: vec![RcptTo {
                path: ForwardPath::Address("c@d.fr".parse().unwrap()),
                notify: None,
                orcpt: None,
            }],
        }
    }

    fn target(space: &Space, address: SocketAddr) -> Target {
        let expectation = Expectation::new(Arc::new(space.store()));
        Target {
            name: "peer.test".into(),
            address,
            tls: client_config(None, expectation, TlsMinimum::Tls12, &Clock::manual(now())).unwrap(),
        }
    }

    #[tokio::test]
    async fn in_the_middle_of_a_conversation_a_message_is_one_write() {
        let space = Space::new();
        let identity = space.issue(&server("peer.test")).identity().unwrap();
        let clock = Clock::manual(now());
        let tls = server_config(&identity, ClientCertificates::Requested, TlsMinimum::Tls12, &clock).unwrap();
        let (address, peer) = Peer::start(tls);
        let options = ClientOptions {
            hostname: "out.test".into(),
            tls: ClientTls::Implicit,
            login: None,
            transfer: Transfer::BdatWhenOffered,
        };
        let wait = Duration::from_secs(20);
        let waits = Waits {
            connect: wait,
            reply: wait,
            delivery: wait,
        };
        let texts = ["first", "second", "", "fourth"].map(|text| Text::from(text.as_bytes().to_vec()));
        let taken = |driven| matches!(&driven, Driven::Outcome(Outcome::Finished(all)) if matches!(all[..], [RecipientOutcome::Accepted(_)]));
        let target = target(&space, address);
        let opened = Connection::open(target, options, transaction(&texts[0]), waits).await;
        let mut connection = opened.unwrap();
        assert!(taken(connection.transact(&texts[0]).await));
        for text in &texts[1..3] {
            assert!(connection.follow(transaction(text), text));
            assert!(taken(connection.transact(text).await));
        }
        // After a pause nobody knows whether the peer is still there.
        assert!(connection.resume(transaction(&texts[3])));
        assert!(taken(connection.transact(&texts[3]).await));
        connection.close().await;
        assert_eq!(
            peer.join().unwrap(),
            [
                "EHLO out.test\r\n",
                ENVELOPE,
                "BDAT 5 LAST\r\nfirst",
                &format!("{ENVELOPE}BDAT 6 LAST\r\nsecond"),
                &format!("{ENVELOPE}BDAT 0 LAST\r\n"),
                ENVELOPE,
                "BDAT 6 LAST\r\nfourth",
                "QUIT\r\n",
            ]
        );
    }
}
