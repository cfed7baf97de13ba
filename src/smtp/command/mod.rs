//! Commands: the grammar of RFC 5321 §4.1 and of the extensions this server knows.
//!
//! A command line is parsed into a value that cannot be malformed; whether it is allowed now is the session's question.

mod dsn;
mod parameter;
mod path;

pub use dsn::Notify;
pub use dsn::OriginalRecipient;
pub use dsn::Ret;
pub use dsn::Xtext;
pub use parameter::Body;
pub use parameter::Onward;
pub use parameter::ParameterError;
pub use path::ForwardPath;

use super::sasl::Secret;
use crate::identity::Address;

/// One command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `EHLO name`
    Ehlo(String),
    /// `HELO name`
    Helo(String),
    /// RFC 3207.
    StartTls,
    /// `MAIL FROM:<path> parameters`
    Mail(MailFrom),
    /// `RCPT TO:<path> parameters`
    Rcpt(RcptTo),
    /// DATA
    Data,
    /// RFC 3030 §2.
    Bdat(ChunkHeader),
    /// RSET
    Rset,
    /// NOOP, its argument ignored.
    Noop,
    /// VRFY, its argument ignored: boxes are not enumerated.
    Vrfy,
    /// HELP, its argument ignored.
    Help,
    /// QUIT
    Quit,
    /// RFC 4954: mechanism in capitals, and the initial response still in base64.
    Auth {
        /// Name of the mechanism.
        mechanism: String,
        /// What came with the command; `=` is an empty one.
        initial: Option<Secret>,
    },
}

/// A sender: MAIL with its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailFrom {
    /// Reverse-path; `None` is `<>`.
    pub path: Option<Address>,
    /// Size that the client announces, in bytes (RFC 1870).
    pub size_bytes: Option<u64>,
    /// What the text may hold (RFC 6152); `None`: not said, which means 7 bits.
    pub body: Option<Body>,
    /// Addresses and header may be UTF-8 (RFC 6531).
    pub utf8: bool,
    /// What of the message a delivery report returns (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// The sender's own id of this envelope (RFC 3461 §4.4).
    pub envid: Option<Xtext>,
    /// Who submitted it, as the client claims (RFC 4954 §5); never trusted.
    pub auth: Option<Xtext>,
    /// Demand on the way onward (RFC 8689).
    pub onward: Onward,
}

/// A recipient: RCPT with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcptTo {
    /// Forward-path.
    pub path: ForwardPath,
    /// When the sender wants a delivery report (RFC 3461 §4.1); `None`: not said, which means on failure.
    pub notify: Option<Notify>,
    /// Whom the sender wrote to in the first place (RFC 3461 §4.2).
    pub orcpt: Option<OriginalRecipient>,
}

/// `BDAT size [LAST]`: this many octets follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Octets of this chunk.
    pub size_bytes: u64,
    /// Whether the message ends with it.
    pub last: bool,
}

/// Why a line is not a command. [`super::Reply::from`] gives the reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No known verb.
    #[error("command not recognised")]
    Unrecognised,
    /// A verb of RFC 5321 that this server does not implement.
    #[error("command not implemented")]
    NotImplemented,
    /// Not UTF-8, or control characters.
    #[error("command holds bytes that are not text")]
    NotText,
    /// The arguments do not fit the verb.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// The size of a chunk cannot be read, so nobody knows where the next command begins.
    #[error("syntax: BDAT size [LAST]")]
    Chunk,
    /// MAIL has no usable path.
    #[error("syntax: MAIL FROM:<local@domain> or MAIL FROM:<>")]
    ReversePath,
    /// RCPT has no usable path.
    #[error("syntax: RCPT TO:<local@domain>")]
    ForwardPath,
    /// A known parameter has an impossible value.
    #[error("bad value of parameter {0}")]
    Parameter(&'static str),
    /// A parameter stands there twice (RFC 3461 §4.3, §4.4).
    #[error("parameter {0} stands twice")]
    RepeatedParameter(String),
    /// A parameter this server does not know (RFC 5321 §4.1.1.11).
    #[error("unknown parameter {0}")]
    UnknownParameter(String),
}

impl Command {
    /// Reads a line without its CR LF.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let line = std::str::from_utf8(line).map_err(|_| CommandError::NotText)?;
        if line.chars().any(char::is_control) {
            return Err(CommandError::NotText);
        }
        // Trailing spaces are tolerated (RFC 5321 §4.1.1).
        let line = line.trim_end_matches(' ');
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => hello(argument, "EHLO name").map(Self::Ehlo),
            "HELO" => hello(argument, "HELO name").map(Self::Helo),
            "STARTTLS" => bare(argument, Self::StartTls, "STARTTLS"),
            "MAIL" => mail(argument).map(Self::Mail),
            "RCPT" => recipient(argument).map(Self::Rcpt),
            "DATA" => bare(argument, Self::Data, "DATA"),
            "BDAT" => chunk(argument).map(Self::Bdat),
            "RSET" => bare(argument, Self::Rset, "RSET"),
            "QUIT" => bare(argument, Self::Quit, "QUIT"),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" if argument.is_empty() => Err(CommandError::Syntax("VRFY name")),
            "VRFY" => Ok(Self::Vrfy),
            "AUTH" => authenticate(argument),
            "EXPN" | "TURN" | "ETRN" | "ATRN" | "SEND" | "SOML" | "SAML" | "BURL" => Err(CommandError::NotImplemented),
            _ => Err(CommandError::Unrecognised),
        }
    }
}

/// RFC 5321 §4.1.1.1: the name is logged and stamped, never trusted, so any printable word will do.
fn hello(argument: &str, usage: &'static str) -> Result<String, CommandError> {
    let name = argument.trim_start_matches(' ');
    let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    if word && name.len() <= HELLO_BYTES_MAX {
        Ok(name.to_owned())
    } else {
        Err(CommandError::Syntax(usage))
    }
}

fn bare(argument: &str, command: Command, usage: &'static str) -> Result<Command, CommandError> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(CommandError::Syntax(usage))
    }
}

fn mail(argument: &str) -> Result<MailFrom, CommandError> {
    let rest = after_keyword(argument, "FROM:").ok_or(CommandError::ReversePath)?;
    let (path, rest) = path::split(rest).ok_or(CommandError::ReversePath)?;
    let mut mail = MailFrom {
        path: path::reverse(path)?,
        ..MailFrom::default()
    };
    for parameter in parameter::split(rest)? {
        parameter.add_to_mail(&mut mail)?;
    }
    Ok(mail)
}

fn recipient(argument: &str) -> Result<RcptTo, CommandError> {
    let rest = after_keyword(argument, "TO:").ok_or(CommandError::ForwardPath)?;
    let (path, rest) = path::split(rest).ok_or(CommandError::ForwardPath)?;
    let mut recipient = RcptTo {
        path: path::forward(path).ok_or(CommandError::ForwardPath)?,
        notify: None,
        orcpt: None,
    };
    for parameter in parameter::split(rest)? {
        parameter.add_to_recipient(&mut recipient)?;
    }
    Ok(recipient)
}

/// Takes `FROM:` or `TO:` off, and the spaces that many clients put after it.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let argument = argument.trim_start_matches(' ');
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches(' '))
}

/// RFC 3030 §2: `BDAT SP chunk-size [SP end-marker]`.
fn chunk(argument: &str) -> Result<ChunkHeader, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let size = words.next().ok_or(CommandError::Chunk)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(CommandError::Chunk),
    };
    if words.next().is_some() || !size.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CommandError::Chunk);
    }
    let size_bytes = size.parse().map_err(|_| CommandError::Chunk)?;
    Ok(ChunkHeader { size_bytes, last })
}

/// RFC 4954 §4: `AUTH SP sasl-mech [SP initial-response]`.
fn authenticate(argument: &str) -> Result<Command, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let usage = CommandError::Syntax("AUTH mechanism [initial response]");
    let Some(mechanism) = words.next() else {
        return Err(usage);
    };
    let initial = words.next().map(|word| Secret::new(word.to_owned()));
    if words.next().is_some() {
        return Err(usage);
    }
    Ok(Command::Auth {
        mechanism: mechanism.to_ascii_uppercase(),
        initial,
    })
}

/// RFC 5321 §4.5.3.1.2.
const HELLO_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests;
