//! The only outgoing HTTP: allow list, revocation lists, OCSP. What comes back is bytes; whoever asked verifies them before use.

mod fetch;

pub use fetch::{Document, FetchError, FetchOptions, Fetched, Fetcher, FetcherError, Reach, Validators};
