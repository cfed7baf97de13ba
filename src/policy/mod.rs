//! Who may send what to whom: pure verdicts with a stable reason each. Nothing here waits, stores or logs.

pub mod form;
pub mod inbound;
mod refusal;
pub mod submission;

pub use refusal::{Reason, Refusal};

use crate::identity::Address;

/// An address as a refusal may show it: an INS is masked, and the mask is ASCII because it goes into an SMTP reply.
pub fn shown(address: &Address) -> String {
    address.masked().replace('…', "...")
}
