//! STORE and UID STORE (RFC 3501 §6.4.6).

use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::sequence::SequenceSet;

use super::copy::read_only;
use super::{Numbering, Outcome, Work, flags_of, once, over, positions, told, uids};
use crate::imap::request::{Answer, Entry, FlagChange, Flags, Request};
use crate::imap::session::Core;
use crate::imap::view::{Access, View};

/// What STORE shall do.
pub(super) struct Change {
    how: FlagChange,
    by: Result<Flags, Outcome>,
    response: StoreResponse,
}

impl Change {
    pub(super) fn new(kind: StoreType, response: StoreResponse, flags: &[Flag<'_>]) -> Self {
        Self {
            how: match kind {
                StoreType::Replace => FlagChange::Replace,
                StoreType::Add => FlagChange::Add,
                StoreType::Remove => FlagChange::Remove,
            },
            by: flags_of(flags),
            response,
        }
    }
}

pub(super) fn store(view: &View, set: &SequenceSet, change: Change, numbering: Numbering) -> Box<dyn Work> {
    if view.access == Access::ReadOnly {
        return over(told(read_only(), numbering));
    }
    let (positions, flags) = match (positions(view, set, numbering), change.by) {
        (Ok(positions), Ok(flags)) => (positions, flags),
        (Err(outcome), _) | (_, Err(outcome)) => return over(told(outcome, numbering)),
    };
    let uids = uids(view, &positions);
    if uids.is_empty() {
        return over(told(Outcome::ok("no such message"), numbering));
    }
    let asked = uids.len();
    let request = Request::SetFlags {
        folder: view.folder,
        uids,
        change: change.how,
        flags: flags.clone(),
    };
    let (how, response) = (change.how, change.response);
    once(request, move |core, answer| match answer {
        Answer::Changed(entries) => {
            let missing = entries.len() < asked;
            for entry in &entries {
                tell(
                    core,
                    entry,
                    Expected {
                        how,
                        by: &flags,
                        response,
                    },
                    numbering,
                );
            }
            let outcome = if missing && numbering == Numbering::Sequence {
                Outcome::no("EXPUNGEISSUED", "some of the messages are gone")
            } else {
                Outcome::ok("stored")
            };
            told(outcome, numbering)
        }
        other => told(Outcome::unexpected(other), numbering),
    })
}

/// What the client expects of a message without being told.
#[derive(Clone, Copy)]
struct Expected<'a> {
    how: FlagChange,
    by: &'a Flags,
    response: StoreResponse,
}

/// `.SILENT` keeps quiet only about what the client can know: a change by someone else in between is told.
fn tell(core: &mut Core, entry: &Entry, expected: Expected<'_>, numbering: Numbering) {
    let Some((view, out)) = core.view_and_out() else { return };
    let Some(before) = view.position(entry.uid).and_then(|at| view.entries().get(at)) else {
        return;
    };
    let foreseen = before.flags.changed(expected.how, expected.by);
    if let Some((at, _)) = view.update(entry, out)
        && (expected.response == StoreResponse::Answer || foreseen != entry.flags)
    {
        let uid = (numbering == Numbering::Uid).then_some(entry.uid);
        view.write_fetch_flags(at, uid, out);
    }
}
