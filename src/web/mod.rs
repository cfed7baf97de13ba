//! HTTP faces: one file and one router per face, put together by whoever serves them; `serving` carries them over HTTP and HTTPS.
//!
//! | Router | Paths |
//! |---|---|
//! | [`Published::router`] | `/` and every published file: allow list, CRLs, certificates |
//! | [`health`], [`operations`] | `/healthz`, `/readyz`, and `/metrics` |
//! | [`ocsp::router`] | `/ocsp`, `/ocsp/{request}`: status of certificates |
//! | [`Autoconfig::router`] | `/mail/config-v1.1.xml`, `/.well-known/autoconfig/mail/config-v1.1.xml` |

mod autoconfig;
pub mod ocsp;
mod operations;
mod published;
mod serving;

pub use autoconfig::{Autoconfig, Provider};
pub use operations::{Observed, health, operations};
pub use published::Published;
pub use serving::{Serving, TlsSlot};
