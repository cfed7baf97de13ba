//! COMPRESS and UNAUTHENTICATE (RFC 4978, RFC 8437): what changes the connection or who stands behind it.

use super::{Next, Outcome, Over, Work, once, over};
use crate::imap::request::{Answer, Request};
use crate::imap::session::{Compression, Core, Enabled, State};

pub(super) fn compress(core: &Core, mechanism: &str) -> Box<dyn Work> {
    match (mechanism, core.compression) {
        ("DEFLATE", Compression::Off) => Box::new(Over(Some(Next::Compress))),
        ("DEFLATE", Compression::On) => over(Outcome::no("COMPRESSIONACTIVE", "compression is on already")),
        _ => over(Outcome::bad("expected DEFLATE")),
    }
}

/// RFC 8437 §3: everything of the login goes, TLS and compression stay.
pub(super) fn unauthenticate() -> Box<dyn Work> {
    once(Request::Unauthenticate, |core, answer| match answer {
        Answer::Done => {
            core.select(None);
            core.state = State::NotAuthenticated;
            core.enabled = Enabled::default();
            core.notified = None;
            Outcome::ok_with(core.capability_code(), "nobody is logged in")
        }
        other => Outcome::unexpected(other),
    })
}
