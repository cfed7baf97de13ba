//! SEARCH and UID SEARCH (RFC 9051 §6.4.4).

use super::found::{Finder, Finding, Reply};
use super::{Next, Outcome, Work, over, told};
use crate::imap::grammar::tree::{self, Numbering, SearchReturn};
use crate::imap::request::Answer;
use crate::imap::session::{Core, Extension};
use crate::imap::view::View;

pub(super) fn search(core: &Core, view: &View, asked: tree::Search) -> Box<dyn Work> {
    let numbering = asked.numbering;
    // RFC 6855 §3: everything is UTF-8 then. SORT and THREAD must name a charset, and so may.
    if asked.charset.is_some() && core.enabled.has(Extension::Utf8) {
        return over(told(Outcome::bad("no CHARSET after ENABLE UTF8=ACCEPT"), numbering));
    }
    match Finder::new(view, &asked) {
        Ok(finder) => Box::new(Search {
            reply: Reply {
                numbering,
                modseq: finder.asks_modseq(),
                returns: asked.returns,
                name: "SEARCH",
            },
            finder,
        }),
        Err(outcome) => refused(outcome, asked.returns.as_deref(), numbering),
    }
}

/// The end of a search that was not begun.
pub(super) fn refused(outcome: Outcome, returns: Option<&[SearchReturn]>, numbering: Numbering) -> Box<dyn Work> {
    let outcome = told(outcome, numbering);
    if outcome.status == "NO" && saves(returns) {
        return Box::new(Unsaved(Some(outcome)));
    }
    over(outcome)
}

/// Whether the result is saved for `$`.
pub(super) fn saves(returns: Option<&[SearchReturn]>) -> bool {
    returns.is_some_and(|returns| returns.contains(&SearchReturn::Save))
}

struct Search {
    finder: Finder,
    reply: Reply,
}

impl Work for Search {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        let Some(view) = core.view() else {
            return Next::Done(Outcome::unexpected(Answer::Done));
        };
        match self.finder.go(view, answer) {
            Finding::Ask(request) => Next::Ask(request),
            Finding::Done(found) => self.reply.write(core, &found),
            Finding::Failed(outcome) => failed(core, outcome, &self.reply),
        }
    }
}

/// The end of a search that could not be finished.
pub(super) fn failed(core: &mut Core, outcome: Outcome, reply: &Reply) -> Next {
    if saves(reply.returns.as_deref()) {
        forget_saved(core);
    }
    Next::Done(told(outcome, reply.numbering))
}

/// RFC 5182 §2.1: a search that fails leaves `$` empty.
fn forget_saved(core: &mut Core) {
    if let Some((view, _)) = core.view_and_out() {
        view.saved.clear();
    }
}

/// A search that was refused at once.
struct Unsaved(Option<Outcome>);

impl Work for Unsaved {
    fn go(&mut self, core: &mut Core, _answer: Option<Answer>) -> Next {
        forget_saved(core);
        Next::Done(self.0.take().unwrap_or_else(|| Outcome::unexpected(Answer::Done)))
    }
}
