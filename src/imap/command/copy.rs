//! COPY, MOVE, EXPUNGE and their UID forms (RFC 3501 §6.4.3, §6.4.7; RFC 4315; RFC 6851).

use super::{Outcome, Work, folder_name, once, over, positions, read_only, uids};
use crate::imap::grammar::tree::{Name, Numbering, Set};
use crate::imap::request::{Answer, CopyMode, Request};
use crate::imap::view::{Access, View};
use crate::imap::wire;

pub(super) fn copy(view: &View, set: &Set, to: &Name, numbering: Numbering) -> Box<dyn Work> {
    let (uids, to) = match named(view, set, to, numbering) {
        Ok(named) => named,
        Err(outcome) => return over(outcome),
    };
    let request = Request::Copy {
        folder: view.folder,
        uids,
        to: to.clone(),
        mode: CopyMode::Copy,
    };
    once(request, move |core, answer| match answer {
        Answer::Copied { uid_validity, pairs } => {
            core.put_into(&to, pairs.iter().map(|(_, new)| *new));
            match copy_uid(uid_validity, &pairs) {
                Some(code) => Outcome::ok_with(code, "copied"),
                None => Outcome::ok("nothing to copy"),
            }
        }
        other => Outcome::no_destination(other),
    })
}

pub(super) fn move_to(view: &View, set: &Set, to: &Name, numbering: Numbering) -> Box<dyn Work> {
    if view.access == Access::ReadOnly {
        return over(read_only());
    }
    let (uids, to) = match named(view, set, to, numbering) {
        Ok(named) => named,
        Err(outcome) => return over(outcome),
    };
    let request = Request::Copy {
        folder: view.folder,
        uids,
        to: to.clone(),
        mode: CopyMode::Move,
    };
    once(request, move |core, answer| match answer {
        Answer::Copied { uid_validity, pairs } => {
            core.put_into(&to, pairs.iter().map(|(_, new)| *new));
            // RFC 6851 §4.3: COPYUID comes in an untagged OK, before the EXPUNGEs.
            if let Some(code) = copy_uid(uid_validity, &pairs) {
                core.out.extend_from_slice(b"* OK [");
                core.out.extend_from_slice(&code);
                core.out.extend_from_slice(b"] moved\r\n");
            }
            if pairs.is_empty() {
                return Outcome::ok("done");
            }
            // The EXPUNGEs come as news, before the tagged response.
            core.stale = true;
            Outcome::ok("done").with_modseq()
        }
        other => Outcome::no_destination(other),
    })
}

pub(super) fn expunge(view: &View, set: Option<&Set>) -> Box<dyn Work> {
    if view.access == Access::ReadOnly {
        return over(read_only());
    }
    let named = match set.map(|set| positions(view, set, Numbering::Uid)).transpose() {
        Ok(named) => named,
        Err(outcome) => return over(outcome),
    };
    let request = Request::Expunge {
        folder: view.folder,
        uids: named.map(|named| uids(view, &named)),
    };
    once(request, |core, answer| match answer {
        Answer::Expunged(gone) => {
            if gone.is_empty() {
                return Outcome::ok("expunged");
            }
            core.stale = true;
            Outcome::ok("expunged").with_modseq()
        }
        other => Outcome::unexpected(other),
    })
}

fn named(view: &View, set: &Set, to: &Name, numbering: Numbering) -> Result<(Vec<u32>, String), Outcome> {
    let to = folder_name(to)?;
    Ok((uids(view, &positions(view, set, numbering)?), to))
}

/// The COPYUID response code, if anything was copied (RFC 4315 §3).
fn copy_uid(uid_validity: u32, pairs: &[(u32, u32)]) -> Option<Vec<u8>> {
    if pairs.is_empty() {
        return None;
    }
    let mut code = format!("COPYUID {uid_validity} ").into_bytes();
    wire::number_set(&mut code, pairs.iter().map(|(old, _)| *old));
    code.push(b' ');
    wire::number_set(&mut code, pairs.iter().map(|(_, new)| *new));
    Some(code)
}
