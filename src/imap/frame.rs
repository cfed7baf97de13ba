//! Cuts the input into commands: lines, and the literals that lines announce (RFC 9051 §4.3, RFC 7888).
//!
//! The grammar reads only complete commands. Messages of APPEND and REPLACE are kept apart, so that a large one is neither parsed
//! nor copied again, and is refused before it is sent when it is too large.

use memchr::memchr;

use super::grammar::tree::Content;
use super::grammar::{message_follows, tag_of};
use super::request::{Begins, Bytes, SpoolHandle};

/// How much is accepted, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A command with its literals, messages apart.
    pub(crate) command_bytes_max: usize,
    /// One message; `None`: no APPEND now.
    pub(crate) append_bytes_max: Option<usize>,
}

impl Bounds {
    /// All messages of one command.
    fn messages_bytes_max(self) -> usize {
        self.append_bytes_max.unwrap_or(0).saturating_mul(MESSAGES_FACTOR)
    }
}

/// What the input held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// More input is needed.
    More,
    /// The client waits for leave to send a literal: a continuation is due.
    Continue,
    /// A complete command, final line end included, and the messages that its text leaves out.
    Command(Vec<u8>, Vec<Bytes>),
    /// A piece of a long message: it is for whoever keeps it, see [`Framer::not_kept`].
    Piece(Vec<u8>, Begins),
    /// The message that came in pieces is complete: [`Framer::handed_on`] is due.
    PieceEnd,
    /// A command that was refused; whatever was coming of it has been dropped.
    Refused {
        /// Its tag, when it had one.
        tag: Option<String>,
        /// Why.
        why: TooMuch,
    },
    /// The client announced more than will be read through: the connection must end.
    Hopeless,
}

/// What was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMuch {
    /// The command is too long.
    Command,
    /// A message is too large.
    Message,
    /// The messages of one command are too many, or too large together.
    Messages,
    /// A message holds NUL and did not come as a `literal8`.
    Nul,
    /// A message could not be kept.
    NotKept,
}

/// Cuts input into frames.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    /// Input not read yet, from `read` on.
    buffer: Vec<u8>,
    read: usize,
    /// Up to here there is no line end in what is not read.
    scanned: usize,
    /// Finished lines and literals of the present command.
    command: Vec<u8>,
    /// Messages of the present command; of the last one perhaps only what was not handed on yet.
    messages: Vec<Bytes>,
    /// All of them, in bytes.
    messages_bytes: usize,
    /// What the next piece that is handed on begins.
    begins: Option<Begins>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Reading a line of the command.
    #[default]
    Line,
    /// Reading a literal into the command: bytes still to come.
    Literal(usize),
    /// Reading a message, the last of `messages`: bytes still to come.
    Message(usize, Content),
    /// The last message was handed on; how it is called is due.
    HandedOn,
    /// Dropping a literal that is not wanted, then the rest of the command.
    Drop {
        left: usize,
        tag: Option<String>,
        why: TooMuch,
    },
}

impl Framer {
    /// Whether the bytes of a literal are due.
    pub(crate) fn is_in_literal(&self) -> bool {
        !matches!(self.state, State::Line)
    }

    /// Whether a command has begun to come and is not complete.
    pub(crate) fn is_amid_command(&self) -> bool {
        self.is_in_literal() || !self.command.is_empty() || self.read < self.buffer.len()
    }

    /// Takes input; the bytes of a message go straight where they belong.
    pub(crate) fn feed(&mut self, mut input: &[u8]) {
        if self.read == self.buffer.len()
            && let (State::Message(left, _), Some(Bytes::Memory(message))) = (&mut self.state, self.messages.last_mut())
        {
            let take = input.len().min(*left);
            message.extend_from_slice(&input[..take]);
            *left -= take;
            input = &input[take..];
        }
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(input);
    }

    /// Forgets everything: what was sent before TLS must not count after it (RFC 9051 §6.2.1).
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes everything that was not read, as it came: what follows a command that changes how bytes are sent.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.unread().to_vec();
        self.clear();
        rest
    }

    /// Takes one line as it is, without regard to literals: a SASL response, or DONE. `Err`: too long.
    pub(crate) fn line(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, Overlong> {
        match self.line_end() {
            Some(end) if end <= bytes_max => Ok(Some(self.take(end))),
            None if self.unread().len() < bytes_max => Ok(None),
            _ => Err(Overlong),
        }
    }

    /// The next frame.
    pub(crate) fn next(&mut self, bounds: Bounds) -> Frame {
        loop {
            let frame = match std::mem::take(&mut self.state) {
                State::Line => self.next_line(bounds),
                State::Literal(left) => {
                    let piece = self.take(left.min(self.unread().len()));
                    self.command.extend_from_slice(&piece);
                    self.unfinished(left - piece.len(), State::Literal)
                }
                State::Message(left, content) => self.message(left, content),
                State::HandedOn => {
                    self.state = State::HandedOn;
                    Some(Frame::More)
                }
                State::Drop { left, tag, why } => self.discard(left, tag, why),
            };
            if let Some(frame) = frame {
                return frame;
            }
        }
    }

    /// Waits for more if something is left.
    fn unfinished(&mut self, left: usize, state: fn(usize) -> State) -> Option<Frame> {
        (left > 0).then(|| {
            self.state = state(left);
            Frame::More
        })
    }

    /// Reads a line of a command. `None`: go on in the new state.
    fn next_line(&mut self, bounds: Bounds) -> Option<Frame> {
        let room = bounds.command_bytes_max.saturating_sub(self.command.len());
        let Some(end) = self.line_end() else {
            if self.unread().len() <= room {
                return Some(Frame::More);
            }
            // The rest of the line is dropped as it comes.
            let rest = self.unread().to_vec();
            self.command.extend_from_slice(&rest[..rest.len().min(room)]);
            let tag = self.abandon();
            self.state = State::Drop {
                left: 0,
                tag,
                why: TooMuch::Command,
            };
            return None;
        };
        let line = self.take(end);
        let literal = Announced::at_end_of(&line);
        if self.command.is_empty() {
            self.command = line;
        } else {
            self.command.extend_from_slice(&line);
        }
        match literal {
            Some(literal) => self.begin_literal(&literal, bounds),
            None if self.command.len() > bounds.command_bytes_max => Some(Frame::Refused {
                tag: self.abandon(),
                why: TooMuch::Command,
            }),
            None => {
                let command = std::mem::take(&mut self.command);
                let messages = std::mem::take(&mut self.messages);
                self.abandon();
                Some(Frame::Command(command, messages))
            }
        }
    }

    fn begin_literal(&mut self, literal: &Announced, bounds: Bounds) -> Option<Frame> {
        if let Some(content) = message_follows(&self.command) {
            let held = self.messages_bytes;
            if literal.length > bounds.append_bytes_max.unwrap_or(0) {
                return self.refuse(literal, TooMuch::Message, bounds);
            }
            if held.saturating_add(literal.length) > bounds.messages_bytes_max() || self.messages.len() >= MESSAGES_MAX
            {
                return self.refuse(literal, TooMuch::Messages, bounds);
            }
            self.messages_bytes = held.saturating_add(literal.length);
            let room = literal.length.min(RESERVE_BYTES_MAX);
            self.messages.push(Bytes::Memory(Vec::with_capacity(room)));
            self.state = State::Message(literal.length, content);
        } else {
            if self.command.len().saturating_add(literal.length) > bounds.command_bytes_max {
                return self.refuse(literal, TooMuch::Command, bounds);
            }
            self.state = State::Literal(literal.length);
        }
        (!literal.at_once).then_some(Frame::Continue)
    }

    /// A synchronising literal is refused before it is sent. RFC 7888 §4: a non-synchronising one is read and dropped,
    /// or the connection ends.
    fn refuse(&mut self, literal: &Announced, why: TooMuch, bounds: Bounds) -> Option<Frame> {
        let tag = self.abandon();
        if !literal.at_once {
            return Some(Frame::Refused { tag, why });
        }
        let drop_max = bounds.append_bytes_max.unwrap_or(0).max(bounds.command_bytes_max);
        if literal.length > drop_max.saturating_mul(DROP_FACTOR) {
            return Some(Frame::Hopeless);
        }
        self.state = State::Drop {
            left: literal.length,
            tag,
            why,
        };
        None
    }

    fn message(&mut self, left: usize, content: Content) -> Option<Frame> {
        let piece = self.take(left.min(self.unread().len()));
        let left = left - piece.len();
        let Some(Bytes::Memory(message)) = self.messages.last_mut() else {
            return Some(Frame::Hopeless);
        };
        message.extend_from_slice(&piece);
        let is_handed_on = self.begins == Some(Begins::Nothing);
        let is_due = message.len() >= PIECE_BYTES || (left == 0 && is_handed_on && !message.is_empty());
        if (left == 0 || is_due) && content == Content::Text && memchr(0, message).is_some() {
            let tag = self.abandon();
            self.state = State::Drop {
                left,
                tag,
                why: TooMuch::Nul,
            };
            return None;
        }
        if is_due {
            let bytes = std::mem::take(message);
            self.state = State::Message(left, content);
            let begins = self.begins.replace(Begins::Nothing).unwrap_or(Begins::Command);
            return Some(Frame::Piece(bytes, begins));
        }
        if left > 0 {
            self.state = State::Message(left, content);
            return Some(Frame::More);
        }
        if is_handed_on {
            self.begins = Some(Begins::Message);
            self.state = State::HandedOn;
            return Some(Frame::PieceEnd);
        }
        None
    }

    /// How the message that was handed on is called.
    pub(crate) fn handed_on(&mut self, handle: SpoolHandle) {
        if let (State::HandedOn, Some(message)) = (&self.state, self.messages.last_mut()) {
            *message = Bytes::Spooled(handle);
            self.state = State::Line;
        }
    }

    /// What was handed on could not be kept: the rest of the command is dropped.
    pub(crate) fn not_kept(&mut self) {
        let left = match self.state {
            State::Message(left, _) => left,
            _ => 0,
        };
        let tag = self.abandon();
        self.state = State::Drop {
            left,
            tag,
            why: TooMuch::NotKept,
        };
    }

    /// Drops a literal, then the rest of the line, and what that line announces in turn.
    fn discard(&mut self, left: usize, tag: Option<String>, why: TooMuch) -> Option<Frame> {
        let dropped = left.min(self.unread().len());
        self.skip(dropped);
        let left = left - dropped;
        if left > 0 {
            self.state = State::Drop { left, tag, why };
            return Some(Frame::More);
        }
        let Some(end) = self.line_end() else {
            // Keep the end: it may be the start of `{123+}`.
            self.skip(self.unread().len().saturating_sub(ANNOUNCE_BYTES_MAX));
            self.state = State::Drop { left, tag, why };
            return Some(Frame::More);
        };
        let line = self.take(end);
        match Announced::at_end_of(&line) {
            Some(literal) if literal.at_once => {
                self.state = State::Drop {
                    left: literal.length,
                    tag,
                    why,
                };
                None
            }
            _ => Some(Frame::Refused { tag, why }),
        }
    }

    /// Forgets the present command but for its tag.
    fn abandon(&mut self) -> Option<String> {
        self.messages.clear();
        self.messages_bytes = 0;
        self.begins = None;
        tag_of(&std::mem::take(&mut self.command))
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.read..]
    }

    /// Length of the next line with its end, if it is complete.
    fn line_end(&mut self) -> Option<usize> {
        let unread = &self.buffer[self.read..];
        let found = memchr(b'\n', &unread[self.scanned.min(unread.len())..]);
        if found.is_none() {
            self.scanned = unread.len();
        }
        found.map(|at| self.scanned + at + 1)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = self.unread()[..length].to_vec();
        self.skip(length);
        taken
    }

    fn skip(&mut self, length: usize) {
        self.read += length;
        self.scanned = self.scanned.saturating_sub(length);
        if self.read == self.buffer.len() {
            // An idle connection holds no buffer.
            self.buffer = Vec::new();
            self.read = 0;
        }
    }
}

/// A line was longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlong;

/// A literal announced at the end of a line.
struct Announced {
    length: usize,
    /// `{n+}`: it follows without being asked for.
    at_once: bool,
}

impl Announced {
    fn at_end_of(line: &[u8]) -> Option<Self> {
        let text = line.strip_suffix(b"\r\n")?.strip_suffix(b"}")?;
        let (text, at_once) = match text.strip_suffix(b"+") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let at = text.iter().rposition(|&b| b == b'{')?;
        let digits = &text[at + 1..];
        if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length = std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX);
        Some(Self { length, at_once })
    }
}

/// A message's room is reserved up to this; the rest as it comes, so that announcing costs us nothing.
const RESERVE_BYTES_MAX: usize = 256 * 1024;

/// A message longer than this is handed on in pieces of about this length.
const PIECE_BYTES: usize = 256 * 1024;

/// Most messages in one command.
const MESSAGES_MAX: usize = 1000;

/// All messages of one command may be so many times as large as one.
const MESSAGES_FACTOR: usize = 2;

/// An unwanted non-synchronising literal up to this many times the largest wanted one is read and dropped.
const DROP_FACTOR: usize = 2;

/// Longest `{…+}` kept while dropping a line.
const ANNOUNCE_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    impl<const N: usize> From<&[u8; N]> for Bytes {
        fn from(bytes: &[u8; N]) -> Self {
            Self::Memory(bytes.to_vec())
        }
    }

    const BOUNDS: Bounds = Bounds {
        command_bytes_max: 100,
        append_bytes_max: Some(1000),
    };

    fn frames(input: &[u8]) -> Vec<Frame> {
        let mut framer = Framer::default();
        let mut found = Vec::new();
        // One byte at a time: how input is cut must not matter.
        for byte in input {
            framer.feed(&[*byte]);
            loop {
                match framer.next(BOUNDS) {
                    Frame::More => break,
                    frame => found.push(frame),
                }
            }
        }
        let mut whole = Framer::default();
        whole.feed(input);
        let mut at_once = Vec::new();
        loop {
            match whole.next(BOUNDS) {
                Frame::More => break,
                frame => at_once.push(frame),
            }
        }
        assert_eq!(found, at_once);
        found
    }

    fn command(text: &[u8]) -> Frame {
        Frame::Command(text.into(), Vec::new())
    }

    fn refused(tag: &str, why: TooMuch) -> Frame {
        Frame::Refused {
            tag: Some(tag.into()),
            why,
        }
    }

    #[test]
    fn a_command_is_under_way_from_its_first_byte_to_its_last() {
        let input = b"a LOGIN {4}\r\nuser pw\r\n";
        let mut framer = Framer::default();
        assert!(!framer.is_amid_command());
        for (at, byte) in input.iter().enumerate() {
            framer.feed(&[*byte]);
            while !matches!(framer.next(BOUNDS), Frame::More) {}
            assert_eq!(framer.is_amid_command(), at + 1 < input.len(), "after {at}");
        }
    }

    #[test]
    fn literals_are_waited_for() {
        assert_eq!(
            frames(b"a LOGIN {4}\r\nuser {2+}\r\npw\r\nb NOOP\r\n"),
            [
                Frame::Continue,
                command(b"a LOGIN {4}\r\nuser {2+}\r\npw\r\n"),
                command(b"b NOOP\r\n")
            ]
        );
    }

    #[test]
    fn the_message_of_an_append_is_kept_apart() {
        assert_eq!(
            frames(b"a APPEND {5}\r\nINBOX (\\Seen) {3}\r\nabc\r\n"),
            [
                Frame::Continue,
                Frame::Continue,
                Frame::Command(
                    b"a APPEND {5}\r\nINBOX (\\Seen) {3}\r\n\r\n".into(),
                    vec![b"abc".into()]
                )
            ]
        );
        assert_eq!(
            frames(b"a APPEND x {0+}\r\n\r\n"),
            [Frame::Command(b"a APPEND x {0+}\r\n\r\n".into(), vec![b"".into()])]
        );
        assert_eq!(
            frames(b"a APPEND x {2+}\r\na\0\r\nb NOOP\r\n"),
            [refused("a", TooMuch::Nul), command(b"b NOOP\r\n")]
        );
    }

    #[test]
    fn several_messages_come_in_one_command() {
        assert_eq!(
            frames(b"a APPEND x {2+}\r\nab (\\Seen) {3}\r\nc\r\n ~{1+}\r\n\0\r\nb NOOP\r\n"),
            [
                Frame::Continue,
                Frame::Command(
                    b"a APPEND x {2+}\r\n (\\Seen) {3}\r\n ~{1+}\r\n\r\n".into(),
                    vec![b"ab".into(), b"c\r\n".into(), b"\0".into()]
                ),
                command(b"b NOOP\r\n")
            ]
        );
        // One alone may have 1000 bytes, all together 2000.
        let mut input = b"a APPEND x".to_vec();
        for _ in 0..3 {
            input.extend_from_slice(b" {900+}\r\n");
            input.extend_from_slice(&[b'x'; 900]);
        }
        input.extend_from_slice(b"\r\nb NOOP\r\n");
        assert_eq!(
            frames(&input),
            [refused("a", TooMuch::Messages), command(b"b NOOP\r\n")]
        );
    }

    /// Feeds in pieces of 10,000 bytes what may be large, and hands messages on; says what came of it.
    fn handed_on(framer: &mut Framer, input: &[u8]) -> (Vec<(Begins, usize)>, Vec<Frame>) {
        let bounds = Bounds {
            append_bytes_max: Some(10_000_000),
            ..BOUNDS
        };
        let (mut pieces, mut frames) = (Vec::new(), Vec::new());
        for piece in input.chunks(10_000) {
            framer.feed(piece);
            loop {
                match framer.next(bounds) {
                    Frame::More => break,
                    Frame::Piece(bytes, begins) => pieces.push((begins, bytes.len())),
                    Frame::PieceEnd => framer.handed_on(SpoolHandle(pieces.len())),
                    frame => frames.push(frame),
                }
            }
            assert!(framer.buffer.len() < 20_000);
        }
        (pieces, frames)
    }

    #[test]
    fn a_long_message_is_handed_on_as_it_comes() {
        let mut input = b"a APPEND x {600000+}\r\n".to_vec();
        input.extend(vec![b'x'; 600_000]);
        input.extend_from_slice(b" {2+}\r\nab {300000+}\r\n");
        input.extend(vec![b'y'; 300_000]);
        input.extend_from_slice(b"\r\nb NOOP\r\n");
        let (pieces, frames) = handed_on(&mut Framer::default(), &input);
        let begun: Vec<Begins> = pieces.iter().map(|(begins, _)| *begins).collect();
        assert_eq!(
            begun,
            [
                Begins::Command,
                Begins::Nothing,
                Begins::Nothing,
                Begins::Message,
                Begins::Nothing
            ]
        );
        assert_eq!(pieces.iter().map(|(_, length)| length).sum::<usize>(), 900_000);
        let messages = vec![
            Bytes::Spooled(SpoolHandle(3)),
            b"ab".into(),
            Bytes::Spooled(SpoolHandle(5)),
        ];
        assert_eq!(
            frames,
            [
                Frame::Command(b"a APPEND x {600000+}\r\n {2+}\r\n {300000+}\r\n\r\n".into(), messages),
                command(b"b NOOP\r\n")
            ]
        );
    }

    #[test]
    fn what_cannot_be_kept_is_dropped_to_its_end() {
        let mut framer = Framer::default();
        let mut input = b"a APPEND x {600000+}\r\n".to_vec();
        input.extend(vec![b'x'; 300_000]);
        let (pieces, _) = handed_on(&mut framer, &input);
        assert_eq!(pieces.len(), 1);
        framer.not_kept();
        let mut rest = vec![b'x'; 300_000];
        rest.extend_from_slice(b"\r\nb NOOP\r\n");
        let (pieces, frames) = handed_on(&mut framer, &rest);
        assert_eq!(
            (pieces.len(), frames),
            (0, vec![refused("a", TooMuch::NotKept), command(b"b NOOP\r\n")])
        );
    }

    #[test]
    fn what_is_dropped_is_not_read_as_commands() {
        let mut input = b"a APPEND x {600000+}\r\n".to_vec();
        input.extend(b"z DELETE y\r\n".repeat(50_000));
        input.extend_from_slice(b"\r\nb NOOP\r\n");
        let mut framer = Framer::default();
        assert_eq!(handed_on(&mut framer, &input[..300_000]).0.len(), 1);
        framer.not_kept();
        let (_, frames) = handed_on(&mut framer, &input[300_000..]);
        assert_eq!(frames, [refused("a", TooMuch::NotKept), command(b"b NOOP\r\n")]);
    }

    #[test]
    fn nul_is_found_in_whatever_piece_it_comes() {
        for at in [0, 100_000, PIECE_BYTES, 599_999] {
            let mut message = b"z DELETE y\r\n".repeat(50_000);
            message[at] = 0;
            let input = [b"c APPEND x {600000+}\r\n", &message[..], b"\r\nd NOOP\r\n"].concat();
            let (_, frames) = handed_on(&mut Framer::default(), &input);
            assert_eq!(frames, [refused("c", TooMuch::Nul), command(b"d NOOP\r\n")], "{at}");
        }
    }

    #[test]
    fn a_message_is_handed_on_from_the_length_of_a_piece() {
        for (length, handed) in [(PIECE_BYTES - 1, 0), (PIECE_BYTES, 1), (PIECE_BYTES + 1, 2)] {
            let head = format!("a APPEND x {{{length}+}}\r\n");
            let input = [head.as_bytes(), &vec![b'x'; length], b"\r\n"].concat();
            let (pieces, frames) = handed_on(&mut Framer::default(), &input);
            // How it was cut does not matter, but for one byte that is left.
            let sum: usize = pieces.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(
                (pieces.is_empty(), sum),
                (handed == 0, if handed == 0 { 0 } else { length })
            );
            let Frame::Command(_, messages) = &frames[0] else {
                panic!("{frames:?}")
            };
            assert_eq!(matches!(messages[0], Bytes::Spooled(_)), handed > 0, "{length}");
        }
    }

    #[test]
    fn a_command_owes_nothing_to_the_messages_of_the_one_before() {
        let long = [b"a APPEND x {300000+}\r\n", &vec![b'x'; 300_000][..], b"\r\n"].concat();
        let begun = |pieces: &[(Begins, usize)]| pieces.iter().map(|(begins, _)| *begins).collect::<Vec<_>>();
        let mut framer = Framer::default();
        for _ in 0..2 {
            let (pieces, frames) = handed_on(&mut framer, &long);
            assert_eq!(begun(&pieces), [Begins::Command, Begins::Nothing]);
            assert_eq!(frames.len(), 1);
        }
        // Nor to one that came to nothing: a short message stays in memory.
        handed_on(&mut framer, &long[..290_000]);
        framer.not_kept();
        let (pieces, frames) = handed_on(&mut framer, &[&long[290_000..], b"b APPEND x {2+}\r\nab\r\n"].concat());
        let short = Frame::Command(b"b APPEND x {2+}\r\n\r\n".into(), vec![b"ab".into()]);
        assert_eq!((pieces.len(), frames), (0, vec![refused("a", TooMuch::NotKept), short]));
    }

    #[test]
    fn each_limit_is_met_to_the_byte() {
        // What is announced waits for leave, or is refused before it is sent.
        for (head, length_max, why) in [
            ("a APPEND x ", 1000, TooMuch::Message),
            // Before the literal there are 14 bytes of 100.
            ("a LOGIN ", 86, TooMuch::Command),
        ] {
            assert_eq!(
                frames(format!("{head}{{{length_max}}}\r\n").as_bytes()),
                [Frame::Continue]
            );
            let over = format!("{head}{{{}}}\r\n", length_max + 1);
            assert_eq!(frames(over.as_bytes()), [refused("a", why)]);
        }
        // What comes anyway is dropped, or ends the connection.
        let announced = |length: usize| {
            let mut framer = Framer::default();
            framer.feed(format!("a APPEND x {{{length}+}}\r\n").as_bytes());
            framer.next(BOUNDS)
        };
        assert_eq!((announced(2000), announced(2001)), (Frame::More, Frame::Hopeless));
        // A line, its end counted.
        let line = |length: usize| [b"a ".to_vec(), vec![b'x'; length - 4], b"\r\n".to_vec()].concat();
        assert_eq!(frames(&line(100)), [command(&line(100))]);
        assert_eq!(frames(&line(101)), [refused("a", TooMuch::Command)]);
        let mut framer = Framer::default();
        framer.feed(&line(300)[..100]);
        assert_eq!((framer.next(BOUNDS), framer.buffer.len()), (Frame::More, 100));
        framer.feed(b"x");
        assert_eq!(framer.next(BOUNDS), Frame::More);
        assert!(framer.unread().len() <= ANNOUNCE_BYTES_MAX, "the rest is dropped");
    }

    #[test]
    fn a_line_that_is_no_command_has_its_limit_to_the_byte() {
        let line = |input: &[u8]| {
            let mut framer = Framer::default();
            framer.feed(input);
            framer.line(5)
        };
        assert_eq!(line(b"abc\r\n"), Ok(Some(b"abc\r\n".to_vec())));
        assert_eq!(
            (line(b"abcd\r\n"), line(b"abcd"), line(b"abcde")),
            (Err(Overlong), Ok(None), Err(Overlong))
        );
    }

    #[test]
    fn the_messages_of_one_command_are_counted_and_added_up() {
        let bounds = Bounds {
            command_bytes_max: 100_000,
            ..BOUNDS
        };
        let of = |lengths: &[usize]| {
            let mut input = b"a APPEND x".to_vec();
            for length in lengths {
                input.extend_from_slice(format!(" {{{length}+}}\r\n").as_bytes());
                input.extend(vec![b'x'; *length]);
            }
            input.extend_from_slice(b"\r\n");
            input
        };
        let mut framer = Framer::default();
        let mut first = |input: &[u8]| {
            framer.feed(input);
            framer.next(bounds)
        };
        // One after the other: none counts for the next.
        for _ in 0..2 {
            for (input, count) in [(of(&[1000, 1000]), 2), (of(&[0; MESSAGES_MAX]), MESSAGES_MAX)] {
                assert!(matches!(first(&input), Frame::Command(_, messages) if messages.len() == count));
            }
            for input in [of(&[1000, 1000, 1]), of(&[0; MESSAGES_MAX + 1])] {
                assert_eq!(first(&input), refused("a", TooMuch::Messages));
            }
        }
    }

    #[test]
    fn what_a_client_sends_without_waiting_for_leave_keeps_its_order() {
        let mut framer = Framer::default();
        framer.feed(b"a APPEND x {6}\r\nab");
        assert_eq!(framer.next(BOUNDS), Frame::Continue);
        framer.feed(b"cd");
        framer.feed(b"ef\r\n");
        let whole = Frame::Command(b"a APPEND x {6}\r\n\r\n".into(), vec![b"abcdef".into()]);
        assert_eq!(framer.next(BOUNDS), whole);
    }

    #[test]
    fn what_follows_a_message_is_read_as_part_of_the_command() {
        assert_eq!(
            frames(b"a APPEND x {2+}\r\nab LOGIN {3+}\r\nabc\r\nb NOOP\r\n"),
            [
                Frame::Command(b"a APPEND x {2+}\r\n LOGIN {3+}\r\nabc\r\n".into(), vec![b"ab".into()]),
                command(b"b NOOP\r\n")
            ]
        );
    }

    #[test]
    fn too_much_is_refused_before_it_is_sent_or_dropped_when_it_comes_anyway() {
        assert_eq!(
            frames(b"a APPEND x {1001}\r\nb NOOP\r\n"),
            [refused("a", TooMuch::Message), command(b"b NOOP\r\n")]
        );
        let mut input = b"a APPEND x {1001+}\r\n".to_vec();
        input.extend_from_slice(&[b'\n'; 1001]);
        input.extend_from_slice(b"\r\nb NOOP\r\n");
        assert_eq!(frames(&input), [refused("a", TooMuch::Message), command(b"b NOOP\r\n")]);
        // What is asked for amid what is dropped is refused at once: the client waits for an answer.
        input.truncate(input.len() - b"\r\nb NOOP\r\n".len());
        input.extend_from_slice(b" {3}\r\nb NOOP\r\n");
        assert_eq!(frames(&input), [refused("a", TooMuch::Message), command(b"b NOOP\r\n")]);
        assert_eq!(frames(b"a LOGIN {101}\r\n"), [refused("a", TooMuch::Command)]);
        let mut framer = Framer::default();
        framer.feed(b"a APPEND x {9999999999+}\r\n");
        assert_eq!(framer.next(BOUNDS), Frame::Hopeless);
        framer.clear();
        framer.feed(b"a LOGIN {99999999999999999999999+}\r\n");
        assert!(matches!(framer.next(BOUNDS), Frame::Command(..)));
    }

    #[test]
    fn an_endless_line_is_dropped_to_its_end() {
        let mut input = b"a LOGIN ".to_vec();
        input.extend_from_slice(&[b'x'; 400]);
        input.extend_from_slice(b" {3+}\r\nabc\r\nb NOOP\r\n");
        let mut framer = Framer::default();
        let mut found = Vec::new();
        for byte in input {
            framer.feed(&[byte]);
            assert!(framer.buffer.len() <= 101);
            match framer.next(BOUNDS) {
                Frame::More => {}
                frame => found.push(frame),
            }
        }
        assert_eq!(found, [refused("a", TooMuch::Command), command(b"b NOOP\r\n")]);
    }

    proptest::proptest! {
        #[test]
        fn any_input_is_framed_within_bounds(input in "(\\{5\\}|\\{5\\+\\}|\r\n|a APPEND x |a LOGIN |[a-z ]{1,20}|\\{900\\+\\}){0,60}") {
            let mut framer = Framer::default();
            for piece in input.as_bytes().chunks(7) {
                framer.feed(piece);
                for _ in 0..100 {
                    match framer.next(BOUNDS) {
                        Frame::More | Frame::Hopeless => break,
                        _ => {}
                    }
                }
                proptest::prop_assert!(framer.buffer.len() < 200);
            }
        }
    }
}
