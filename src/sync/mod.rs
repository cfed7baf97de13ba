//! The only outgoing HTTP: allow list, revocation lists, OCSP. What comes back is bytes; whoever asked verifies them before use.

mod allow_list;
mod crl;
mod fetch;
mod ocsp;

pub use allow_list::{CHECKSUM_FILE, ListError, ListFeed, ListOptions, Renewed, Staleness, sha256};
pub use crl::{CrlFeed, CrlFeedError, CrlOptions, CrlRound};
pub use fetch::{Document, FetchError, FetchOptions, Fetched, Fetcher, FetcherError, Reach, Validators};
pub use ocsp::{ResponderOptions, Responders};
