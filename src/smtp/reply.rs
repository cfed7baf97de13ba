//! Replies: what a server says (RFC 5321 §4.2), and the one place where errors become such words.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use super::command::CommandError;
use crate::policy::Refusal;

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub u8, pub u16, pub u16);

impl Status {
    /// Reads `5.7.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let mut number = |digits_max: usize| {
            let part = parts.next()?;
            let shape = (1..=digits_max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            shape.then(|| part.parse::<u16>().ok()).flatten()
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        match class {
            2 | 4 | 5 => Some(Self(u8::try_from(class).ok()?, subject, detail)),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A reply: code, enhanced status and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits (RFC 5321 §4.2.1).
    pub code: u16,
    /// RFC 2034; absent in greetings, in answers to EHLO, and from servers that do not know it.
    pub status: Option<Status>,
    /// Lines separated by LF.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// End of a command that asks for nothing else.
    pub const OK: Self = Self::fixed(250, Status(2, 0, 0), "ok");
    /// The reverse-path is taken.
    pub const SENDER_OK: Self = Self::fixed(250, Status(2, 1, 0), "sender ok");
    /// The forward-path is taken.
    pub const RECIPIENT_OK: Self = Self::fixed(250, Status(2, 1, 5), "recipient ok");
    /// The message is on stable storage.
    pub const MESSAGE_OK: Self = Self::fixed(250, Status(2, 0, 0), "message accepted");
    /// DATA may begin.
    pub const SEND_MESSAGE: Self = Self::bare(354, "send the message, end with <CRLF>.<CRLF>");
    /// RFC 3207 §4: the handshake may begin.
    pub const START_TLS: Self = Self::fixed(220, Status(2, 0, 0), "start TLS");
    /// RFC 4954 §4: the login succeeded.
    pub const AUTHENTICATED: Self = Self::fixed(235, Status(2, 7, 0), "authenticated");
    /// Answer to QUIT.
    pub const BYE: Self = Self::fixed(221, Status(2, 0, 0), "bye");
    /// Answer to VRFY: boxes are not enumerated (RFC 5321 §7.3).
    pub const CANNOT_VERIFY: Self = Self::fixed(252, Status(2, 1, 5), "try to deliver to it");
    /// Answer to HELP.
    pub const HELP: Self = Self::fixed(
        214,
        Status(2, 0, 0),
        "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT",
    );
    /// MAIL, RCPT and AUTH need a greeting first.
    pub const HELLO_FIRST: Self = Self::fixed(503, Status(5, 5, 1), "EHLO first");
    /// RCPT, DATA and BDAT need a sender first.
    pub const MAIL_FIRST: Self = Self::fixed(503, Status(5, 5, 1), "MAIL first");
    /// DATA and BDAT need a recipient first.
    pub const RECIPIENT_FIRST: Self = Self::fixed(503, Status(5, 5, 1), "RCPT first");
    /// Every recipient was refused (RFC 5321 §3.3).
    pub const NO_VALID_RECIPIENTS: Self = Self::fixed(554, Status(5, 5, 1), "no valid recipients");
    /// The command does not fit here.
    pub const BAD_SEQUENCE: Self = Self::fixed(503, Status(5, 5, 1), "bad sequence of commands");
    /// A login exists already (RFC 4954 §4).
    pub const AUTHENTICATED_ALREADY: Self = Self::fixed(503, Status(5, 5, 1), "already authenticated");
    /// STARTTLS inside TLS.
    pub const TLS_ALREADY: Self = Self::fixed(503, Status(5, 5, 1), "TLS is already in use");
    /// A command whose extension is not offered.
    pub const NOT_OFFERED: Self = Self::fixed(502, Status(5, 5, 1), "command not offered here");
    /// RFC 4954 §4: no such mechanism here.
    pub const MECHANISM_UNKNOWN: Self = Self::fixed(504, Status(5, 5, 4), "authentication mechanism not offered here");
    /// RFC 4954 §4: the client sent `*`.
    pub const AUTHENTICATION_CANCELLED: Self = Self::fixed(501, Status(5, 7, 0), "authentication cancelled");
    /// RFC 4954 §4: not base64, or not what the mechanism wants.
    pub const AUTHENTICATION_SYNTAX: Self =
        Self::fixed(501, Status(5, 5, 2), "cannot decode the authentication response");
    /// RFC 4954 §4: the response is too long.
    pub const AUTHENTICATION_TOO_LONG: Self =
        Self::fixed(500, Status(5, 5, 6), "authentication exchange line is too long");
    /// RFC 5321 §4.5.3.1.4.
    pub const LINE_TOO_LONG: Self = Self::fixed(500, Status(5, 5, 2), "line too long");
    /// RFC 5321 §2.3.8.
    pub const BARE_LINE_END: Self =
        Self::fixed(500, Status(5, 5, 2), "lines end with CR LF, and hold neither otherwise");
    /// RFC 6531 §3.5: the address needs SMTPUTF8.
    pub const ADDRESS_NEEDS_UTF8: Self = Self::fixed(
        553,
        Status(5, 6, 7),
        "an address outside ASCII needs the SMTPUTF8 parameter of MAIL",
    );
    /// A parameter whose extension is not offered.
    pub const PARAMETER_NOT_OFFERED: Self = Self::fixed(
        555,
        Status(5, 5, 4),
        "parameter of an extension that is not offered here",
    );

    /// A reply with a status.
    pub fn new(code: u16, status: Status, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: Some(status),
            text: text.into(),
        }
    }

    /// A reply without a status.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: None,
            text: text.into(),
        }
    }

    /// How a refusal is said to the peer: code and status of its reason, its one line, and the ids to look it up by
    /// (invariant 5): `550 5.7.1 domain x.fr is not on the allow list (sender-domain-unlisted, session K3F7Q2)`.
    pub fn refuse(refusal: &Refusal, session_id: &str) -> Self {
        Self::refuse_with(refusal.reason.code(), refusal, session_id)
    }

    /// The same for a login: the code says that it failed, the reason why (RFC 4954 §6).
    pub fn refuse_login(refusal: &Refusal, session_id: &str) -> Self {
        Self::refuse_with(refusal.reason.login_code(), refusal, session_id)
    }

    fn refuse_with((code, status): (u16, &str), refusal: &Refusal, session_id: &str) -> Self {
        let ids = format!(" ({}, session {session_id})", refusal.reason);
        let room = LINE_BYTES_MAX.saturating_sub(FRAME_BYTES + ids.len());
        // `Refusal::new` leaves only ASCII, but the field is public: cut at a character.
        let text: String = refusal.text.chars().filter(|c| !c.is_control()).take(room).collect();
        Self {
            code,
            status: Status::parse(status),
            text: format!("{text}{ids}").into(),
        }
    }

    /// 2xx or 3xx.
    pub fn is_positive(&self) -> bool {
        matches!(self.code, 200..=399)
    }

    /// 4xx: it may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self.code, 400..=499)
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        matches!(self.code, 500..=599)
    }

    /// Appends the wire form: one line for each line of text, the status on each (RFC 2034 §4).
    pub fn encode(&self, output: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            // Writing into a vector cannot fail.
            let _infallible = write!(output, "{}{separator}", self.code);
            if let Some(status) = self.status {
                let _infallible = write!(output, "{status} ");
            }
            output.extend_from_slice(line.as_bytes());
            output.extend_from_slice(b"\r\n");
        }
    }

    const fn fixed(code: u16, status: Status, text: &'static str) -> Self {
        Self {
            code,
            status: Some(status),
            text: Cow::Borrowed(text),
        }
    }

    const fn bare(code: u16, text: &'static str) -> Self {
        Self {
            code,
            status: None,
            text: Cow::Borrowed(text),
        }
    }
}

/// How a command that cannot be read is answered.
impl From<&CommandError> for Reply {
    fn from(error: &CommandError) -> Self {
        let (code, status) = match error {
            CommandError::Unrecognised => (500, Status(5, 5, 1)),
            CommandError::NotImplemented => (502, Status(5, 5, 1)),
            CommandError::NotText => (500, Status(5, 5, 2)),
            CommandError::Syntax(_) | CommandError::Chunk => (501, Status(5, 5, 2)),
            CommandError::ReversePath => (501, Status(5, 1, 7)),
            CommandError::ForwardPath => (501, Status(5, 1, 3)),
            CommandError::Parameter(_) | CommandError::RepeatedParameter(_) => (501, Status(5, 5, 4)),
            CommandError::UnknownParameter(_) => (555, Status(5, 5, 4)),
        };
        Self::new(code, status, error.to_string())
    }
}

/// One line for logs, journals and delivery reports.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        for line in self.text.split('\n').filter(|line| !line.is_empty()) {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

/// Why what a server sent is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No three digits, or other digits than the lines before.
    #[error("the peer sent a line that is not an SMTP reply")]
    Malformed,
    /// More lines than anyone needs.
    #[error("the peer sent a reply of more than {REPLY_LINES_MAX} lines")]
    TooManyLines,
}

/// Reader of replies, line by line. It is tolerant: text may be missing, the status too, and bytes outside UTF-8 are replaced.
#[derive(Debug, Default)]
pub struct ReplyReader {
    begun: Option<Reply>,
    lines: usize,
}

impl ReplyReader {
    /// Takes a line without its end; returns the reply once its last line is there.
    pub fn push(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let (code, more, text) = split_line(line).ok_or(ReplyError::Malformed)?;
        self.lines += 1;
        if self.lines > REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        let (status, text) = split_status(code, text);
        let reply = match self.begun.take() {
            None => Reply {
                code,
                status,
                text: text.into(),
            },
            Some(begun) if begun.code != code => return Err(ReplyError::Malformed),
            Some(begun) => Reply {
                code,
                status: begun.status.or(status),
                text: format!("{}\n{text}", begun.text).into(),
            },
        };
        if more {
            self.begun = Some(reply);
            return Ok(None);
        }
        self.lines = 0;
        Ok(Some(reply))
    }
}

/// Code, whether more lines follow, text.
fn split_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if !digits.iter().all(u8::is_ascii_digit) || !(200..600).contains(&code) {
        return None;
    }
    let (more, text) = match rest {
        [] => (false, rest),
        [b'-', text @ ..] => (true, text),
        [b' ', text @ ..] => (false, text),
        _ => return None,
    };
    let text = String::from_utf8_lossy(text);
    Some((code, more, text.chars().filter(|c| !c.is_control()).collect()))
}

/// RFC 2034 §4: the status must be of the same class as the code, otherwise it is text.
fn split_status(code: u16, text: String) -> (Option<Status>, String) {
    let (head, tail) = text.split_once(' ').unwrap_or((&text, ""));
    match Status::parse(head) {
        Some(status) if u16::from(status.0) == code / 100 => (Some(status), tail.to_owned()),
        _ => (None, text),
    }
}

/// RFC 5321 §4.5.3.1.5, CR LF included.
const LINE_BYTES_MAX: usize = 512;
/// Code, status, spaces and CR LF around the text, at most.
const FRAME_BYTES: usize = 4 + 10 + 2;
/// The longest known reply (an EHLO answer) has a few dozen lines.
const REPLY_LINES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Reason;
    use proptest::prelude::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_refusal_says_why_and_where_to_look_it_up() {
        let refusal = Refusal::new(Reason::SenderDomainUnlisted, "domain x.fr is not on the allow list");
        assert_eq!(
            wire(&Reply::refuse(&refusal, "K3F7Q2")),
            "550 5.7.1 domain x.fr is not on the allow list (sender-domain-unlisted, session K3F7Q2)\r\n"
        );
    }

    #[test]
    fn a_refusal_of_any_length_is_one_line_of_at_most_512_bytes() {
        for reason in Reason::ALL {
            let line = wire(&Reply::refuse(&Refusal::new(reason, "x\r\ny".repeat(400)), "K3F7Q2"));
            assert!(line.len() <= 512, "{}", line.len());
            assert_eq!(line.matches("\r\n").count(), 1);
            assert!(
                line.ends_with(&format!("({}, session K3F7Q2)\r\n", reason.id())),
                "{line}"
            );
        }
    }

    #[test]
    fn a_reply_of_several_lines_repeats_code_and_status() {
        let reply = Reply::new(250, Status(2, 0, 0), "one\ntwo");
        assert_eq!(wire(&reply), "250-2.0.0 one\r\n250 2.0.0 two\r\n");
    }

    #[test]
    fn a_tolerant_reader_takes_what_servers_send() {
        let read = |lines: &[&[u8]]| {
            let mut reader = ReplyReader::default();
            lines
                .iter()
                .map(|line| reader.push(line))
                .fold(None, |_, last| Some(last))
                .unwrap()
        };
        assert_eq!(read(&[b"250"]), Ok(Some(Reply::plain(250, ""))));
        assert_eq!(read(&[b"250 ok"]), Ok(Some(Reply::plain(250, "ok"))));
        assert_eq!(read(&[b"250-a", b"250 b"]), Ok(Some(Reply::plain(250, "a\nb"))));
        assert_eq!(
            read(&[b"550 5.1.1 no"]),
            Ok(Some(Reply::new(550, Status(5, 1, 1), "no")))
        );
        assert_eq!(read(&[b"550 2.1.1 no"]), Ok(Some(Reply::plain(550, "2.1.1 no"))));
        assert_eq!(read(&[b"550 \xff\x07"]), Ok(Some(Reply::plain(550, "\u{fffd}"))));
        for bad in [&b""[..], b"25", b"abc ok", b"+50 ok", b"250ok", b"999 ok", b"100 ok"] {
            assert_eq!(read(&[bad]), Err(ReplyError::Malformed), "{bad:?}");
        }
        assert_eq!(read(&[b"250-a", b"251 b"]), Err(ReplyError::Malformed));
        assert_eq!(read(&vec![&b"250-a"[..]; 129]), Err(ReplyError::TooManyLines));
    }

    proptest! {
        #[test]
        fn replies_survive_the_wire(code in 200u16..600, lines in proptest::collection::vec("[a-z ]{0,20}", 1..5)) {
            let class = u8::try_from(code / 100).unwrap();
            let status = (class != 3).then_some(Status(class, 1, 2));
            let reply = Reply { code, status, text: lines.join("\n").into() };
            let mut reader = ReplyReader::default();
            let mut last = None;
            for line in wire(&reply).trim_end_matches("\r\n").split("\r\n") {
                last = reader.push(line.as_bytes()).unwrap();
            }
            prop_assert_eq!(last, Some(reply));
        }

        #[test]
        fn no_line_makes_the_reader_panic(line in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _unused = ReplyReader::default().push(&line);
        }
    }
}
