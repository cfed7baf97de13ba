//! What a session and its driver say to each other.

use std::fmt;

use crate::policy::Refusal;
use crate::sasl::Dismissal;
use crate::smtp::command::MailFrom;
use crate::smtp::command::RcptTo;
use crate::smtp::sasl::Credentials;

/// What the driver must do now. Ignoring a step loses bytes or hangs the session.
#[derive(PartialEq, Eq)]
#[must_use = "a step that is not carried out hangs the session"]
pub enum Step {
    /// Read into [`super::Session::input`]; at end of file, drop the session.
    Read,
    /// Write all of it.
    Write(Vec<u8>),
    /// Decide, then call [`super::Session::answer`].
    Ask(Question),
    /// Message text to append: un-stuffed, CR LF line ends.
    Body(Vec<u8>),
    /// Do the handshake, then call [`super::Session::tls_started`]. Nothing that was read before it may be given to the session.
    StartTls,
    /// The session refused something by itself: put it in the journal (invariant 5).
    Refused(Refusal),
    /// The transaction ended without a message: drop its sender, recipients and text.
    Abandon,
    /// Close the connection.
    Close,
}

/// Bytes show only their number (invariant 9).
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::Write(bytes) => write!(f, "Write({} bytes)", bytes.len()),
            Self::Ask(question) => write!(f, "Ask({question:?})"),
            Self::Body(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Self::StartTls => f.write_str("StartTls"),
            Self::Refused(refusal) => write!(f, "Refused({refusal:?})"),
            Self::Abandon => f.write_str("Abandon"),
            Self::Close => f.write_str("Close"),
        }
    }
}

/// What only the driver can decide.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// May the client log in with these?
    Authenticate(Credentials),
    /// A transaction begins: is the sender acceptable?
    Sender(MailFrom),
    /// Is the recipient acceptable? A refusal leaves the transaction as it was.
    Recipient(RcptTo),
    /// The text is complete. [`Answer::Accepted`] is allowed only once it is durable and counted (invariant 1).
    Message,
}

/// What the driver has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Accepted,
    /// Yes, with a text of the driver's own, such as the message's id: one line of ASCII.
    AcceptedAs(String),
    /// No.
    Refused(Refusal),
    /// No, to a bearer token: it is told why, in this manner.
    Dismissed(Refusal, Dismissal),
}

impl Answer {
    /// Whether it is a yes.
    pub fn is_positive(&self) -> bool {
        matches!(self, Self::Accepted | Self::AcceptedAs(_))
    }
}
