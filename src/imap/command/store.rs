//! STORE and UID STORE (RFC 3501 §6.4.6).

use super::{Outcome, Work, flags_of, once, over, positions, read_only, told, uids};
use crate::imap::grammar::tree;
use crate::imap::grammar::tree::{Numbering, StoreChange};
use crate::imap::request::{Answer, Entry, FlagChange, Flags, Request};
use crate::imap::session::Core;
use crate::imap::view::{Access, View};

pub(super) fn store(view: &View, asked: &tree::Store) -> Box<dyn Work> {
    let numbering = asked.numbering;
    if asked.unchanged_since.is_some() {
        return over(told(super::not_offered(), numbering));
    }
    if view.access == Access::ReadOnly {
        return over(told(read_only(), numbering));
    }
    let (positions, flags) = match (positions(view, &asked.set, numbering), flags_of(&asked.flags)) {
        (Ok(positions), Ok(flags)) => (positions, flags),
        (Err(outcome), _) | (_, Err(outcome)) => return over(told(outcome, numbering)),
    };
    let uids = uids(view, &positions);
    if uids.is_empty() {
        return over(told(Outcome::ok("no such message"), numbering));
    }
    let named = uids.len();
    let how = match asked.change {
        StoreChange::Replace => FlagChange::Replace,
        StoreChange::Add => FlagChange::Add,
        StoreChange::Remove => FlagChange::Remove,
    };
    let silent = asked.silent;
    let request = Request::SetFlags {
        folder: view.folder,
        uids,
        change: how,
        flags: flags.clone(),
    };
    once(request, move |core, answer| match answer {
        Answer::Changed(entries) => {
            let missing = entries.len() < named;
            for entry in &entries {
                tell(
                    core,
                    entry,
                    Expected {
                        how,
                        by: &flags,
                        silent,
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
    silent: bool,
}

/// `.SILENT` keeps quiet only about what the client can know: a change by someone else in between is told.
fn tell(core: &mut Core, entry: &Entry, expected: Expected<'_>, numbering: Numbering) {
    let Some((view, out)) = core.view_and_out() else { return };
    let Some(before) = view.position(entry.uid).and_then(|at| view.entries().get(at)) else {
        return;
    };
    let foreseen = before.flags.changed(expected.how, expected.by);
    if let Some((at, _)) = view.update(entry, out)
        && (!expected.silent || foreseen != entry.flags)
    {
        let uid = (numbering == Numbering::Uid).then_some(entry.uid);
        view.write_fetch_flags(at, uid, out);
    }
}
