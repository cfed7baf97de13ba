//! How a transaction ends.

use std::fmt;

use crate::smtp::reply::Reply;
use crate::smtp::reply::Status;

/// The end of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// One verdict for each recipient, in the order of the transaction.
    Finished(Vec<RecipientOutcome>),
    /// Nobody got it, unless [`Failure::may_have_arrived`]; the connection is of no more use.
    Failed(Failure),
}

/// What the peer decided for one recipient. The reply may be the client's own where the peer could not even be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientOutcome {
    /// The peer has taken responsibility (RFC 5321 §6.1).
    Accepted(Reply),
    /// It may work later.
    Deferred(Reply),
    /// It never will.
    Refused(Reply),
}

impl RecipientOutcome {
    /// What a reply means for a recipient; `None` if it is no verdict at all.
    pub(super) fn of(reply: &Reply) -> Option<Self> {
        match reply.code {
            200..=299 => Some(Self::Accepted(reply.clone())),
            400..=499 => Some(Self::Deferred(reply.clone())),
            500..=599 => Some(Self::Refused(reply.clone())),
            _ => None,
        }
    }

    /// Whether the peer only says that this transaction is full: the recipient belongs into another one, at once.
    ///
    /// RFC 5321 §4.5.3.1.10: 452, or 552 from an old server, for "too many recipients". Other reasons for those codes have a status.
    pub fn wants_another_transaction(&self) -> bool {
        let Self::Deferred(reply) = self else { return false };
        match reply.status {
            Some(status) => matches!(status, Status(4 | 5, 5, 3)),
            None => matches!(reply.code, 452 | 552),
        }
    }
}

/// Why a connection could not carry the transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {text}")]
pub struct Failure {
    /// Whether another attempt may succeed.
    pub temporary: bool,
    /// What the client was at.
    pub stage: Stage,
    /// What kind of failure it is.
    pub cause: Cause,
    /// One line for an administrator.
    pub text: String,
    /// Recipients that the peer had refused for good before, by their place: what came later takes nothing back.
    pub refused: Vec<(usize, Reply)>,
}

impl Failure {
    /// Whether the peer may have the message all the same: its whole text was sent, and nobody has said what became of it (RFC 1047).
    pub fn may_have_arrived(&self) -> bool {
        self.stage == Stage::Verdict && self.cause != Cause::Refused
    }
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer does not offer STARTTLS: nothing is sent in clear (OP-5).
    StartTlsAbsent,
    /// The peer offers no way to log in that the client has.
    LoginAbsent,
    /// The peer said no.
    Refused,
    /// The peer said something that is not SMTP.
    Protocol,
    /// The connection broke or a time limit ran out.
    Lost,
}

/// What a client is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Waiting for the greeting.
    Greeting,
    /// EHLO.
    Hello,
    /// STARTTLS and the handshake.
    Tls,
    /// AUTH.
    Login,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// Sending the text.
    Text,
    /// Waiting for the reply to the text, or for an earlier one while the text is on its way already.
    Verdict,
    /// After the last transaction.
    Quit,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "greeting",
            Self::Hello => "EHLO",
            Self::Tls => "STARTTLS",
            Self::Login => "AUTH",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
            Self::Text => "message text",
            Self::Verdict => "end of message",
            Self::Quit => "QUIT",
        })
    }
}
