//! ENABLE (RFC 5161): what a client may switch on, and what it has.

use super::{Next, Outcome, Work};
use crate::imap::capability;
use crate::imap::request::Answer;
use crate::imap::session::{Core, Extension};

/// Names not offered are passed over (RFC 5161 §3.1).
pub(super) struct Enable(pub(super) Vec<String>);

impl Work for Enable {
    fn go(&mut self, core: &mut Core, _answer: Option<Answer>) -> Next {
        core.out.extend_from_slice(b"* ENABLED");
        for extension in Extension::ALL {
            let name = extension.name();
            let asked = self.0.iter().any(|n| n.eq_ignore_ascii_case(name));
            if asked && capability::is_offered(name, &core.options) {
                core.enabled.insert(extension);
                core.out.push(b' ');
                core.out.extend_from_slice(name.as_bytes());
            }
        }
        core.out.extend_from_slice(b"\r\n");
        Next::Done(Outcome::ok("done"))
    }
}
