//! The journal: one typed record per decision, kept as rows of the store (OP-19, invariant 5).
//!
//! What traceability needs is here: who, when, which box, which peer, what was decided and why. Never a body, a subject or a secret,
//! and an INS only masked: every address enters through [`MaskedAddress`] and every foreign text through [`Excerpt`] (invariant 9).
//!
//! A journal outlives the program that wrote it. A row whose event this program does not know, or cannot read, becomes
//! [`Event::Unknown`]: it is shown and kept, and never stops a reader.

mod event;
mod evidence;
mod masked;
mod queue;
mod record;
mod render;
mod upkeep;

#[cfg(test)]
pub(crate) mod sample;

pub use event::{
    Appended, Event, Login, LoginRefused, Opened, Owner, Received, ReceivedBox, RecipientCounts, Refused, Repeated,
    Submitted, Unknown,
};
pub use evidence::{CheckOutcome, Encoded, Examined, HandshakeFailed, Negotiated, ShownCertificate};
pub use masked::{Excerpt, MaskedAddress, TEXT_CHARS_MAX};
pub use queue::{BounceCause, Bounced, Deferred, Managed, Noted, QueueAction, Queued, Relayed, Reported};
pub use record::Record;
pub use render::{json_line, line};
pub use upkeep::{Maintained, Started, Stopped};
