//! STORE and UID STORE (RFC 9051 §6.4.6), and only what nobody changed meanwhile (RFC 7162 §3.1.3).

use std::collections::BTreeMap;

use super::{Outcome, Work, flags_of, once, over, positions, read_only, told, uids};
use crate::imap::grammar::tree;
use crate::imap::grammar::tree::{Numbering, StoreChange};
use crate::imap::request::{Answer, FlagChange, Flags, News, Refused, Request};
use crate::imap::session::{Core, Extension};
use crate::imap::view::{Access, View};
use crate::imap::wire;

pub(super) fn store(view: &View, asked: &tree::Store) -> Box<dyn Work> {
    let numbering = asked.numbering;
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
    let how = match asked.change {
        StoreChange::Replace => FlagChange::Replace,
        StoreChange::Add => FlagChange::Add,
        StoreChange::Remove => FlagChange::Remove,
    };
    let request = Request::SetFlags {
        folder: view.folder,
        uids: uids.clone(),
        change: how,
        flags: flags.clone(),
        unchanged_since: asked.unchanged_since,
    };
    let stored = Stored {
        uids,
        how,
        by: flags,
        is_silent: asked.silent,
        numbering,
    };
    let is_conditional = asked.unchanged_since.is_some();
    once(request, move |core, answer| match answer {
        Answer::Changed { news, refused } => {
            if is_conditional {
                // RFC 7162 §3.1: who uses it wants to be told.
                core.enabled.insert(Extension::Condstore);
            }
            told(stored.tell(core, news, &refused), numbering)
        }
        other => told(Outcome::unexpected(other), numbering),
    })
}

/// What a STORE did.
struct Stored {
    /// What it named.
    uids: Vec<u32>,
    how: FlagChange,
    by: Flags,
    is_silent: bool,
    numbering: Numbering,
}

impl Stored {
    fn tell(&self, core: &mut Core, news: News, refused: &[u32]) -> Outcome {
        let enabled = core.enabled;
        let Some((view, out)) = core.view_and_out() else {
            return Outcome::refused(Refused::Defect);
        };
        let foreseen = self.foreseen(view);
        let change = view.adopt(news, out);
        let mut changed = change.changed.into_iter().peekable();
        for uid in &self.uids {
            let Some(at) = view.position(*uid).filter(|_| !view.is_vanished(*uid)) else {
                continue;
            };
            // Changes by others are told in their order.
            while let Some(other) = changed.next_if(|other| *other < at) {
                view.write_fetch_flags(other, None, enabled, out);
            }
            let differs = changed.next_if(|changed| *changed == at).is_some();
            let is_refused = refused.binary_search(uid).is_ok();
            // `.SILENT` keeps quiet only about what the client can know: a change by someone else in between is told.
            let is_foreseen = view.entries().get(at).map(|entry| &entry.flags) == foreseen.get(uid);
            let is_told = if is_refused {
                differs
            } else {
                !(self.is_silent && is_foreseen)
            };
            if is_told {
                let shown = (self.numbering == Numbering::Uid).then_some(*uid);
                view.write_fetch_flags(at, shown, enabled, out);
            } else if !is_refused && enabled.has(Extension::Condstore) {
                view.write_fetch_modseq(at, enabled, out);
            }
        }
        for other in changed {
            view.write_fetch_flags(other, None, enabled, out);
        }
        if change.fresh > 0 {
            view.write_counts(enabled, out);
        }
        let outcome = self.outcome(view, refused);
        core.counted(change.fresh);
        outcome
    }

    /// The flags the client expects where it is not told any.
    fn foreseen(&self, view: &View) -> BTreeMap<u32, Flags> {
        if !self.is_silent {
            return BTreeMap::new();
        }
        let entries = self
            .uids
            .iter()
            .filter_map(|uid| view.entries().get(view.position(*uid)?));
        entries
            .map(|entry| (entry.uid, entry.flags.changed(self.how, &self.by)))
            .collect()
    }

    fn outcome(&self, view: &View, refused: &[u32]) -> Outcome {
        let is_missing = self.uids.iter().any(|uid| view.is_vanished(*uid));
        let by_number = self.numbering == Numbering::Sequence;
        if refused.is_empty() {
            return if is_missing && by_number {
                Outcome::no("EXPUNGEISSUED", "some of the messages are gone")
            } else {
                Outcome::ok("stored")
            };
        }
        let mut code = b"MODIFIED ".to_vec();
        if by_number {
            let numbers = refused.iter().filter_map(|uid| view.position(*uid));
            wire::number_set(&mut code, numbers.filter_map(|at| u32::try_from(at + 1).ok()));
        } else {
            wire::number_set(&mut code, refused.iter().copied());
        }
        if is_missing && by_number {
            Outcome::no_with(code, "some of the messages are gone, some were changed meanwhile")
        } else {
            Outcome::ok_with(code, "some of the messages were changed meanwhile")
        }
    }
}
