//! A TCP connection below TLS that reads ahead: rustls asks for 4 KiB at a time, and a message of 10 KB would cost four system calls.
//!
//! What fits into the caller's buffer goes there directly, so a connection that waits or exchanges commands holds no memory here. Only
//! when the caller's buffer came back full, more is there, or when the caller expects much: then a record's worth is read at once, into
//! a buffer that is made when something has come, and goes as soon as it is empty and the connection had no more.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The connection.
#[derive(Debug)]
pub struct Ahead {
    stream: TcpStream,
    /// Empty, or read and not yet asked for: the bytes from `start` to `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read filled all the room it had, or the next one is expected to.
    is_more_likely: bool,
}

impl Ahead {
    /// Nothing is read before it is asked for.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            is_more_likely: false,
        }
    }

    /// The connection itself.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// What comes next is longer than a command.
    pub(super) fn expect_much(&mut self) {
        self.is_more_likely = true;
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            // Nothing is held for what is only expected.
            ready!(self.stream.poll_read_ready(cx))?;
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; AHEAD_BYTES];
        }
        let mut room = ReadBuf::new(&mut self.buffer);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let filled = room.filled().len();
        if !matches!(read, Poll::Ready(Ok(()))) {
            self.buffer = Vec::new();
        }
        ready!(read)?;
        (self.start, self.end) = (0, filled);
        self.is_more_likely = filled == AHEAD_BYTES;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Ahead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.start == this.end {
            if !this.is_more_likely || out.remaining() >= AHEAD_BYTES {
                let (room, before) = (out.remaining(), out.filled().len());
                let read = Pin::new(&mut this.stream).poll_read(cx, out);
                this.is_more_likely = room > 0 && out.filled().len() - before == room;
                return read;
            }
            ready!(this.fill(cx))?;
        }
        let part = &this.buffer[this.start..this.end];
        let part = &part[..part.len().min(out.remaining())];
        out.put_slice(part);
        this.start += part.len();
        if this.start == this.end && !this.is_more_likely {
            this.buffer = Vec::new();
            (this.start, this.end) = (0, 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The largest TLS record with its head (RFC 8446 §5.2).
const AHEAD_BYTES: usize = 16 * 1024 + 256 + 5;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, Ahead) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Ahead::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn bytes_come_in_order_whatever_the_reads_ask_for() {
        for ask in [1, 7, 4096, 20_000, 40_000] {
            let (mut client, mut ahead) = pair().await;
            let sent: Vec<u8> = (0..100_000_u32)
                .map(|n| n.to_be_bytes()[3] ^ n.to_be_bytes()[2])
                .collect();
            let bytes = sent.clone();
            let writer = tokio::spawn(async move {
                client.write_all(&bytes).await.unwrap();
                client.shutdown().await.unwrap();
            });
            let mut got = Vec::new();
            let mut room = vec![0; ask];
            let mut read = ahead.read(&mut room).await.unwrap();
            while read > 0 {
                got.extend_from_slice(&room[..read]);
                read = ahead.read(&mut room).await.unwrap();
            }
            writer.await.unwrap();
            assert!(got == sent, "{ask}");
        }
    }

    #[tokio::test]
    async fn what_is_expected_to_be_long_is_read_at_once_and_nothing_is_held_for_it_before() {
        let (mut client, mut ahead) = pair().await;
        let mut room = [0; 100];
        ahead.expect_much();
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(5), ahead.read(&mut room)).await;
        assert!(waiting.is_err() && ahead.buffer.capacity() == 0, "nothing was sent");
        client.write_all(&[1; 250]).await.unwrap();
        assert_eq!(ahead.read(&mut room).await.unwrap(), 100);
        assert_eq!(ahead.end - ahead.start, 150, "the rest came with it");
        assert_eq!(ahead.read(&mut room).await.unwrap(), 100);
        assert_eq!(ahead.read(&mut room).await.unwrap(), 50);
        assert_eq!(ahead.buffer.capacity(), 0);
        // Only what comes next was.
        client.write_all(&[2; 50]).await.unwrap();
        assert_eq!(ahead.read(&mut room).await.unwrap(), 50);
        assert_eq!(ahead.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_waits_holds_no_buffer() {
        let (mut client, mut ahead) = pair().await;
        let mut room = [0; 100];
        for _ in 0..3 {
            client.write_all(&[1; 250]).await.unwrap();
            let mut left = 250;
            while left > 0 {
                left -= ahead.read(&mut room).await.unwrap();
            }
            let waiting = tokio::time::timeout(std::time::Duration::from_millis(5), ahead.read(&mut room)).await;
            assert!(waiting.is_err(), "nothing more was sent");
            assert_eq!(ahead.buffer.capacity(), 0);
        }
    }
}
