//! SMTP (RFC 5321) without I/O: commands, replies, message text, and the two ends of a connection as state machines.
//!
//! [`Session`] is the server's end, driven by `listener`; [`Client`] the other, driven by `relay`. Both take bytes and give
//! steps; the loop that drives each stands in its module. They know the protocol and no policy: a server asks [`Question`]s, a
//! client reports one [`RecipientOutcome`] for each recipient.
//!
//! Invariants: nothing is exchanged in clear but the way into TLS (OP-5); every buffer has a maximum; only CR LF `.` CR LF ends
//! a message; [`Reply::refuse`] is the only place where a refusal becomes words for a peer.

pub mod client;
pub mod command;
pub mod data;
mod extension;
mod input;
pub mod reply;
pub mod session;

use crate::sasl;

pub use crate::sasl::Credentials;
pub use crate::sasl::Mechanism;
pub use crate::sasl::Secret;
pub use client::Client;
pub use client::ClientStep;
pub use client::Outcome;
pub use client::RecipientOutcome;
pub use command::Command;
pub use command::ForwardPath;
pub use command::MailFrom;
pub use command::RcptTo;
pub use data::DotStuffer;
pub use extension::Extension;
pub use extension::Extensions;
pub use reply::Reply;
pub use reply::Status;
pub use session::Answer;
pub use session::Question;
pub use session::Session;
pub use session::Step;
