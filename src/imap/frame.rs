//! Cuts the input into commands: lines, and the literals that lines announce (RFC 3501 §4.3, RFC 7888).
//!
//! The codec parses only complete commands. The message of an APPEND is kept apart, so that a large one is neither parsed nor
//! copied again, and is refused before it is sent when it is too large.

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;

/// How much is accepted, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A command with its literals, the message of an APPEND apart.
    pub(crate) command_bytes_max: usize,
    /// The message of an APPEND; `None`: no APPEND now.
    pub(crate) append_bytes_max: Option<usize>,
}

/// What the input held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// More input is needed.
    More,
    /// The client waits for leave to send a literal: a continuation is due.
    Continue,
    /// A complete command, final line end included.
    Command(Vec<u8>),
    /// A complete APPEND: the command with [`STAND_IN`] for the message, and the message.
    Append(Vec<u8>, Vec<u8>),
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
    /// The message of an APPEND is too large.
    Message,
    /// The APPEND holds something after its message, or NUL in it.
    Malformed,
}

/// Cuts input into frames.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// Up to here the buffer holds finished lines and literals of the present command.
    done: usize,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Reading a line of the command.
    #[default]
    Line,
    /// Reading a literal into the buffer: bytes still to come.
    Literal(usize),
    /// Reading the message of an APPEND.
    Message(Message),
    /// The message is complete; the rest of the line is due.
    AfterMessage(Message),
    /// Dropping a literal that is not wanted, then the rest of the command.
    Drop {
        left: usize,
        tag: Option<String>,
        why: TooMuch,
    },
}

#[derive(Debug)]
struct Message {
    /// The command so far, with the stand-in.
    command: Vec<u8>,
    bytes: Vec<u8>,
    left: usize,
}

impl Framer {
    /// Takes input; the bytes of an APPEND go straight where they belong.
    pub(crate) fn feed(&mut self, mut input: &[u8]) {
        if let (State::Message(message), true) = (&mut self.state, self.buffer.is_empty()) {
            let take = message.left.min(input.len());
            message.bytes.extend_from_slice(&input[..take]);
            message.left -= take;
            input = &input[take..];
        }
        self.buffer.extend_from_slice(input);
    }

    /// Forgets everything: what was sent before TLS must not count after it (RFC 3501 §6.2.1).
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes one line as it is, without regard to literals: a SASL response, or DONE. `Err`: too long.
    pub(crate) fn line(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, Overlong> {
        match self.buffer.iter().position(|&b| b == b'\n') {
            Some(feed) if feed < bytes_max => Ok(Some(self.take(feed + 1))),
            None if self.buffer.len() < bytes_max => Ok(None),
            _ => Err(Overlong),
        }
    }

    /// The next frame.
    pub(crate) fn next(&mut self, bounds: Bounds) -> Frame {
        loop {
            match std::mem::take(&mut self.state) {
                State::Line => {
                    if let Some(frame) = self.next_line(bounds) {
                        return frame;
                    }
                }
                State::Literal(left) => {
                    let have = self.buffer.len() - self.done;
                    if have < left {
                        self.state = State::Literal(left);
                        return Frame::More;
                    }
                    self.done += left;
                }
                State::Message(message) => {
                    if let Some(frame) = self.message(message) {
                        return frame;
                    }
                }
                State::AfterMessage(message) => return self.after_message(message),
                State::Drop { left, tag, why } => {
                    if let Some(frame) = self.discard(left, tag, why) {
                        return frame;
                    }
                }
            }
        }
    }

    /// Reads a line of a command. `None`: go on in the new state.
    fn next_line(&mut self, bounds: Bounds) -> Option<Frame> {
        let Some(feed) = self.buffer[self.done..].iter().position(|&b| b == b'\n') else {
            if self.buffer.len() <= bounds.command_bytes_max {
                return Some(Frame::More);
            }
            // The rest of the line is dropped as it comes.
            let tag = tag_of(&self.buffer);
            self.reset();
            self.state = State::Drop {
                left: 0,
                tag,
                why: TooMuch::Command,
            };
            return Some(Frame::More);
        };
        let end = self.done + feed + 1;
        let Some(literal) = Announced::at_end_of(&self.buffer[self.done..end]) else {
            let command = self.take(end);
            if command.len() > bounds.command_bytes_max {
                let tag = tag_of(&command);
                return Some(Frame::Refused {
                    tag,
                    why: TooMuch::Command,
                });
            }
            return Some(Frame::Command(command));
        };
        self.begin_literal(end, &literal, bounds)
    }

    fn begin_literal(&mut self, end: usize, literal: &Announced, bounds: Bounds) -> Option<Frame> {
        if let Some(command) = append_head(&self.buffer[..end], self.done + literal.at) {
            let max = bounds.append_bytes_max.unwrap_or(0);
            if literal.length > max {
                return self.refuse(end, literal, TooMuch::Message, bounds);
            }
            self.take(end);
            self.state = State::Message(Message {
                command,
                bytes: Vec::with_capacity(literal.length.min(RESERVE_BYTES_MAX)),
                left: literal.length,
            });
        } else {
            if end.saturating_add(literal.length) > bounds.command_bytes_max {
                return self.refuse(end, literal, TooMuch::Command, bounds);
            }
            self.done = end;
            self.state = State::Literal(literal.length);
        }
        (!literal.at_once).then_some(Frame::Continue)
    }

    /// A synchronising literal is refused before it is sent. RFC 7888 §4: a non-synchronising one is read and dropped,
    /// or the connection ends.
    fn refuse(&mut self, end: usize, literal: &Announced, why: TooMuch, bounds: Bounds) -> Option<Frame> {
        let tag = tag_of(&self.buffer);
        self.take(end);
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

    fn message(&mut self, mut message: Message) -> Option<Frame> {
        let take = message.left.min(self.buffer.len());
        message.bytes.extend(self.buffer.drain(..take));
        message.left -= take;
        if message.left > 0 {
            self.state = State::Message(message);
            return Some(Frame::More);
        }
        self.state = State::AfterMessage(message);
        None
    }

    fn after_message(&mut self, message: Message) -> Frame {
        let Some(feed) = self.buffer.iter().position(|&b| b == b'\n') else {
            if self.buffer.len() > TAIL_BYTES_MAX {
                return Frame::Hopeless;
            }
            self.state = State::AfterMessage(message);
            return Frame::More;
        };
        let line = self.take(feed + 1);
        if line != b"\r\n" || message.bytes.contains(&0) {
            let tag = tag_of(&message.command);
            return match Announced::at_end_of(&line) {
                // A second message, sent at once, would be read as commands.
                Some(literal) if literal.at_once => Frame::Hopeless,
                _ => Frame::Refused {
                    tag,
                    why: TooMuch::Malformed,
                },
            };
        }
        Frame::Append(message.command, message.bytes)
    }

    /// Drops a literal, then the rest of the line, and what that line announces in turn.
    fn discard(&mut self, left: usize, tag: Option<String>, why: TooMuch) -> Option<Frame> {
        let drop = left.min(self.buffer.len());
        self.buffer.drain(..drop);
        let left = left - drop;
        if left > 0 {
            self.state = State::Drop { left, tag, why };
            return Some(Frame::More);
        }
        let Some(feed) = self.buffer.iter().position(|&b| b == b'\n') else {
            // Keep the end: it may be the start of `{123+}`.
            let keep = self.buffer.len().saturating_sub(ANNOUNCE_BYTES_MAX);
            self.buffer.drain(..keep);
            self.state = State::Drop { left, tag, why };
            return Some(Frame::More);
        };
        let line = self.take(feed + 1);
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

    fn take(&mut self, end: usize) -> Vec<u8> {
        self.done = 0;
        let rest = self.buffer.split_off(end);
        std::mem::replace(&mut self.buffer, rest)
    }

    fn reset(&mut self) {
        self.buffer.clear();
        self.done = 0;
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
    /// Where the `{` is in the line.
    at: usize,
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
        Some(Self { length, at_once, at })
    }
}

/// If the literal announced at `at` is the message of a well-formed APPEND: the command with the stand-in for it.
fn append_head(command: &[u8], at: usize) -> Option<Vec<u8>> {
    let verb = command.split(|&b| b == b' ').nth(1)?;
    if !verb.eq_ignore_ascii_case(b"APPEND") {
        return None;
    }
    let mut head = command[..at].to_vec();
    head.extend_from_slice(STAND_IN);
    let (_, decoded) = CommandCodec::default().decode(&head).ok()?;
    matches!(decoded.body, CommandBody::Append { .. }).then_some(head)
}

/// The tag a command starts with.
pub(crate) fn tag_of(command: &[u8]) -> Option<String> {
    let end = command.iter().position(u8::is_ascii_whitespace)?;
    let tag = &command[..end];
    let good = !tag.is_empty()
        && tag.len() <= TAG_BYTES_MAX
        && tag.iter().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\+".contains(b));
    good.then(|| String::from_utf8_lossy(tag).into_owned())
}

/// What stands for the message in the command of [`Frame::Append`].
const STAND_IN: &[u8] = b"{1}\r\nx\r\n";

/// A message's room is reserved up to this; the rest as it comes, so that announcing costs us nothing.
const RESERVE_BYTES_MAX: usize = 256 * 1024;

/// An unwanted non-synchronising literal up to this many times the largest wanted one is read and dropped.
const DROP_FACTOR: usize = 2;

/// Longest `{…+}` kept while dropping a line.
const ANNOUNCE_BYTES_MAX: usize = 32;

/// Longest rest of line after the message of an APPEND.
const TAIL_BYTES_MAX: usize = 8192;

/// Longest tag repeated in an answer.
const TAG_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

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

    fn refused(tag: &str, why: TooMuch) -> Frame {
        Frame::Refused {
            tag: Some(tag.into()),
            why,
        }
    }

    #[test]
    fn literals_are_waited_for() {
        assert_eq!(
            frames(b"a LOGIN {4}\r\nuser {2+}\r\npw\r\nb NOOP\r\n"),
            [
                Frame::Continue,
                Frame::Command(b"a LOGIN {4}\r\nuser {2+}\r\npw\r\n".into()),
                Frame::Command(b"b NOOP\r\n".into())
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
                Frame::Append(b"a APPEND {5}\r\nINBOX (\\Seen) {1}\r\nx\r\n".into(), b"abc".into())
            ]
        );
        assert_eq!(
            frames(b"a APPEND x {0+}\r\n\r\n"),
            [Frame::Append(b"a APPEND x {1}\r\nx\r\n".into(), b"".into())]
        );
        assert_eq!(
            frames(b"a APPEND x {2+}\r\na\0\r\nb NOOP\r\n"),
            [refused("a", TooMuch::Malformed), Frame::Command(b"b NOOP\r\n".into())]
        );
    }

    #[test]
    fn too_much_is_refused_before_it_is_sent_or_dropped_when_it_comes_anyway() {
        assert_eq!(
            frames(b"a APPEND x {1001}\r\nb NOOP\r\n"),
            [refused("a", TooMuch::Message), Frame::Command(b"b NOOP\r\n".into())]
        );
        let mut input = b"a APPEND x {1001+}\r\n".to_vec();
        input.extend_from_slice(&[b'\n'; 1001]);
        input.extend_from_slice(b"\r\nb NOOP\r\n");
        assert_eq!(
            frames(&input),
            [refused("a", TooMuch::Message), Frame::Command(b"b NOOP\r\n".into())]
        );
        assert_eq!(frames(b"a LOGIN {101}\r\n"), [refused("a", TooMuch::Command)]);
        let mut framer = Framer::default();
        framer.feed(b"a APPEND x {9999999999+}\r\n");
        assert_eq!(framer.next(BOUNDS), Frame::Hopeless);
        framer.clear();
        framer.feed(b"a LOGIN {99999999999999999999999+}\r\n");
        assert!(matches!(framer.next(BOUNDS), Frame::Command(_)));
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
        assert_eq!(
            found,
            [refused("a", TooMuch::Command), Frame::Command(b"b NOOP\r\n".into())]
        );
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
