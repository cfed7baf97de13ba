//! The only outgoing HTTP: allow list, revocation lists, OCSP. What comes back is bytes; whoever asked verifies them before use.

mod crl;
mod fetch;
mod ocsp;

pub use crl::{CrlFeed, CrlFeedError, CrlOptions, CrlRound};
pub use fetch::{Document, FetchError, FetchOptions, Fetched, Fetcher, FetcherError, Reach, Validators};
pub use ocsp::{ResponderOptions, Responders};
