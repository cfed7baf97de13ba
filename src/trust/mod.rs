//! The trust space: which operator certificates may speak for which mail domains, and the proofs that they were asked.
//!
//! [`AllowList`] is what the authority publishes, read and indexed; one session keeps one of them (invariant 4).
//! [`TrustedSender`] and [`TrustedRecipient`] can only be built here, by a look-up that succeeded (invariant 2): a mail enters or
//! leaves with one of them or not at all. Chains, dates and revocation are judged elsewhere, in `pki`, the signer's too: [`verify`] asks.

mod admission;
mod allow_list;
mod difference;
mod document;
mod parse;
mod signature;
mod vouch;

pub use admission::{AdmissionError, Admitted, HeldList, SignaturePolicy};
pub use allow_list::AllowList;
pub use difference::{Difference, ListedOperator, Move, OperatorChange};
pub use document::{AllowListDocument, ListedDomain, write};
pub use parse::{AllowListError, Mode, Parsed, Skipped};
pub use signature::{
    ListSigner, SignatureError, SignatureStep, Signer, SigningError, SigningProblem, Transform, Verified, is_signed,
    sign, verify,
};
pub use vouch::{TrustedRecipient, TrustedSender};
