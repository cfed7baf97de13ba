//! GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208). A box has one quota root, if it has a limit at all; the limit is set by the operator.

use super::{Outcome, Work, folder_name, once, over};
use crate::imap::grammar::tree::Name;
use crate::imap::names;
use crate::imap::request::{Answer, Request, Room};
use crate::imap::session::Core;
use crate::imap::wire;

pub(super) fn get(root: &[u8]) -> Box<dyn Work> {
    if root != ROOT.as_bytes() {
        return over(no_such_root());
    }
    once(Request::Room, |core, answer| match answer {
        Answer::Room(room) => match write(core, room) {
            Limited::Yes => Outcome::ok("done"),
            Limited::No => no_such_root(),
        },
        other => Outcome::unexpected(other),
    })
}

/// RFC 9208 §4.2.2: the folder need not exist.
pub(super) fn root(name: &Name) -> Box<dyn Work> {
    let folder = match folder_name(name) {
        Ok(folder) => folder,
        Err(outcome) => return over(outcome),
    };
    once(Request::Room, move |core, answer| match answer {
        Answer::Room(room) => {
            let spelling = core.spelling();
            core.out.extend_from_slice(b"* QUOTAROOT ");
            names::write(&mut core.out, &folder, spelling);
            if room.limit_bytes.is_some() {
                core.out.push(b' ');
                core.out.extend_from_slice(ROOT.as_bytes());
            }
            core.out.extend_from_slice(b"\r\n");
            write(core, room);
            Outcome::ok("done")
        }
        other => Outcome::unexpected(other),
    })
}

pub(super) fn set(root: &[u8]) -> Box<dyn Work> {
    over(if root == ROOT.as_bytes() {
        Outcome::no("NOPERM", "quotas are set by the operator")
    } else {
        no_such_root()
    })
}

enum Limited {
    Yes,
    No,
}

/// Writes the QUOTA response of a box that has a limit. RFC 9208 §5.1: STORAGE counts units of 1,024 octets.
fn write(core: &mut Core, room: Room) -> Limited {
    let Some(limit_bytes) = room.limit_bytes else {
        return Limited::No;
    };
    let out = &mut core.out;
    out.extend_from_slice(b"* QUOTA ");
    out.extend_from_slice(ROOT.as_bytes());
    out.extend_from_slice(b" (STORAGE ");
    wire::number(out, room.used_bytes.div_ceil(UNIT_BYTES));
    out.push(b' ');
    wire::number(out, limit_bytes / UNIT_BYTES);
    out.extend_from_slice(b")\r\n");
    Limited::Yes
}

fn no_such_root() -> Outcome {
    Outcome::no("NONEXISTENT", "no such quota root")
}

/// The one root: the box as a whole.
const ROOT: &str = "box";

const UNIT_BYTES: u64 = 1024;
