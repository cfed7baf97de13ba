//! FETCH of what changed (RFC 7162 §3.1.4.1, §3.2.6), and what others changed while a FETCH is under way.

use super::resync::Resync;
use super::{Next, Outcome, Work};
use crate::imap::grammar::tree::{Fetch, FetchItem, Numbering, Set};
use crate::imap::request::{Answer, News, Request};
use crate::imap::session::{Core, Extension};
use crate::imap::view::View;

/// Leaves only messages changed since the modification sequence named, if one is. MODSEQ is told then, asked or not.
pub(super) fn narrow(view: &View, asked: &mut Fetch, positions: &mut Vec<usize>) {
    let Some(since) = asked.changed_since else { return };
    positions.retain(|at| view.entries().get(*at).is_some_and(|entry| entry.modseq > since));
    if !asked.items.contains(&FetchItem::Modseq) {
        asked.items.push(FetchItem::Modseq);
    }
}

/// What VANISHED asks, if it stands there.
pub(super) fn vanished(core: &Core, view: &View, asked: &Fetch) -> Result<Option<(Request, Resync)>, Outcome> {
    if !asked.vanished {
        return Ok(None);
    }
    // RFC 7162 §3.2.6
    if !core.enabled.has(Extension::Qresync) || asked.numbering == Numbering::Sequence {
        return Err(Outcome::bad("VANISHED needs QRESYNC enabled, and UID FETCH"));
    }
    let (Some(since), Set::Ranges(set)) = (asked.changed_since, &asked.set) else {
        return Err(Outcome::bad("VANISHED needs CHANGEDSINCE, and UIDs"));
    };
    let last = view.entries().last().map_or(0, |entry| entry.uid);
    let folder = view.folder;
    Ok(Some((
        Request::Vanished { folder, since },
        Resync::of_fetch(set, since, last),
    )))
}

/// A FETCH, after what vanished was told if that is asked.
pub(super) fn after(vanished: Option<(Request, Resync)>, fetch: impl Work + 'static) -> Box<dyn Work> {
    match vanished {
        None => Box::new(fetch),
        Some((request, resync)) => Box::new(After {
            request: Some(request),
            resync: Some(resync),
            fetch,
        }),
    }
}

struct After<F> {
    request: Option<Request>,
    resync: Option<Resync>,
    fetch: F,
}

impl<F: Work> Work for After<F> {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        if let Some(request) = self.request.take() {
            return Next::Ask(request);
        }
        let Some(resync) = self.resync.take() else {
            return self.fetch.go(core, answer);
        };
        match answer {
            Some(Answer::Vanished(vanished)) => {
                if let Some((view, out)) = core.view_and_out() {
                    resync.write_vanished(view, vanished, out);
                }
                self.fetch.go(core, None)
            }
            other => Next::Done(Outcome::unexpected(other.unwrap_or(Answer::Done))),
        }
    }
}

/// Takes in the folder after `\\Seen` was set; returns which of these positions changed, and which others. The others are told
/// after what was asked for: some clients take the first FETCH response for the one they wait for.
pub(super) fn marked(core: &mut Core, news: News, positions: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let enabled = core.enabled;
    let Some((view, out)) = core.view_and_out() else {
        return (Vec::new(), Vec::new());
    };
    let change = view.adopt(news, out);
    if change.fresh > 0 {
        view.write_counts(enabled, out);
        core.counted(change.fresh);
    }
    change.changed.into_iter().partition(|at| positions.contains(at))
}

/// Tells the flags of messages that others changed.
pub(super) fn tell(core: &mut Core, changed: Vec<usize>) {
    let enabled = core.enabled;
    if let Some((view, out)) = core.view_and_out() {
        for at in changed {
            view.write_fetch_flags(at, None, enabled, out);
        }
    }
}
