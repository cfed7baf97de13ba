//! Lines of SMTP and IMAP over a link, each wait with its limit: what a person would type, and what comes back.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::listener::Link;

/// A conversation.
pub(super) struct Dialogue {
    pub(super) link: Link,
    buffer: Vec<u8>,
    tag: usize,
}

/// The end of an answer: its last line decides.
pub(super) struct Answer {
    /// Every line, without its end.
    pub(super) lines: Vec<String>,
}

impl Dialogue {
    /// Over a connection.
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            buffer: Vec::new(),
            tag: 0,
        }
    }

    /// Waits for a reply of SMTP.
    pub(super) async fn reply(&mut self) -> io::Result<Answer> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let goes_on = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !goes_on || lines.len() >= LINES_MAX {
                return Ok(Answer { lines });
            }
        }
    }

    /// Says a command of SMTP and waits for its reply.
    pub(super) async fn command(&mut self, command: &str) -> io::Result<Answer> {
        self.say(command).await?;
        self.reply().await
    }

    /// Says a command of IMAP and waits for its end, or for a continuation (`+`).
    pub(super) async fn tagged(&mut self, command: &str) -> io::Result<Answer> {
        self.tag += 1;
        self.say(&format!("d{} {command}", self.tag)).await?;
        self.tagged_end().await
    }

    /// Answers a continuation of IMAP.
    pub(super) async fn continued(&mut self, text: &str) -> io::Result<Answer> {
        self.say(text).await?;
        self.tagged_end().await
    }

    async fn tagged_end(&mut self) -> io::Result<Answer> {
        let end = format!("d{} ", self.tag);
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let is_end = line.starts_with(&end) || line.starts_with('+') || line.starts_with("* BYE");
            lines.push(line.strip_prefix(&end).map(str::to_owned).unwrap_or(line));
            if is_end || lines.len() >= LINES_MAX {
                return Ok(Answer { lines });
            }
        }
    }

    /// The next line.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let printable = |c: char| if c.is_control() { ' ' } else { c };
                return Ok(String::from_utf8_lossy(&line)
                    .trim_end()
                    .chars()
                    .map(printable)
                    .collect());
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"));
            }
            let read = timeout(WAIT_MAX, self.link.read_into(&mut self.buffer)).await;
            if read.map_err(|_| silent())?? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection was closed",
                ));
            }
        }
    }

    /// Says a line.
    pub(super) async fn say(&mut self, line: &str) -> io::Result<()> {
        let line = format!("{line}\r\n");
        timeout(WAIT_MAX, self.link.write(line.as_bytes()))
            .await
            .map_err(|_| silent())?
    }

    /// Ends it; whoever is gone already has lost nothing.
    pub(super) async fn close(mut self) {
        if let Ok(Err(error)) = timeout(WAIT_MAX, self.link.shutdown()).await {
            tracing::trace!(%error, "the server left first");
        }
    }
}

impl Answer {
    /// Whether it says yes: 2xx or 3xx, OK or `+`.
    pub(super) fn is_good(&self) -> bool {
        let last = self.last();
        last.starts_with(['2', '3', '+']) || last.starts_with("OK") || last.starts_with("* OK")
    }

    /// Its last line.
    pub(super) fn last(&self) -> &str {
        self.lines.last().map(String::as_str).unwrap_or_default()
    }

    /// Whether a line of it begins with a keyword, and what stands after that.
    pub(super) fn keyword(&self, keyword: &str) -> Option<&str> {
        let mut lines = self.lines.iter().filter_map(|line| line.get(4..));
        lines.find_map(|line| line.strip_prefix(keyword)).map(str::trim)
    }

    /// Whether a word stands in it.
    pub(super) fn has_word(&self, word: &str) -> bool {
        let mut words = self.lines.iter().flat_map(|line| line.split([' ', '[', ']']));
        words.any(|found| found.eq_ignore_ascii_case(word))
    }
}

fn silent() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("nothing happened for {} s", WAIT_MAX.as_secs()),
    )
}

/// Longest wait for anything: a person is waiting, too.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(10);
/// A capability line may be long.
const LINE_BYTES_MAX: usize = 64 * 1024;
const LINES_MAX: usize = 1000;
