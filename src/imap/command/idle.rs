//! Small commands: CAPABILITY, ID (RFC 2971), NAMESPACE (RFC 2342), IDLE (RFC 2177).

use super::{Next, Outcome, Work};
use crate::imap::request::Answer;
use crate::imap::session::Core;

pub(super) struct Capability;

impl Work for Capability {
    fn go(&mut self, core: &mut Core, _answer: Option<Answer>) -> Next {
        core.out.extend_from_slice(b"* CAPABILITY ");
        core.write_capabilities();
        core.out.extend_from_slice(b"\r\n");
        Next::Done(Outcome::ok("done"))
    }
}

pub(super) struct Id;

impl Work for Id {
    fn go(&mut self, core: &mut Core, _answer: Option<Answer>) -> Next {
        core.out.extend_from_slice(b"* ID (\"name\" \"Vaguemestre\")\r\n");
        Next::Done(Outcome::ok("done"))
    }
}

pub(super) struct Namespace;

impl Work for Namespace {
    fn go(&mut self, core: &mut Core, _answer: Option<Answer>) -> Next {
        core.out.extend_from_slice(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
        Next::Done(Outcome::ok("done"))
    }
}

/// RFC 2177: what is known to have changed is told at once.
pub(super) struct Idle;

impl Work for Idle {
    fn go(&mut self, core: &mut Core, _answer: Option<Answer>) -> Next {
        core.out.extend_from_slice(b"+ idling\r\n");
        let enabled = core.enabled;
        let is_silent = core.is_silent();
        if let (false, Some((view, out))) = (is_silent, core.view_and_out()) {
            view.tell_vanished(enabled, out);
        }
        Next::Idle
    }
}
