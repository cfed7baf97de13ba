//! SORT and THREAD (RFC 5256, RFC 5267 §3 for RETURN, RFC 5957).

use super::found::{Finder, Finding, Gatherer, Reply};
use super::{Next, Outcome, Work, over, search, told};
use crate::imap::facts::Facts;
use crate::imap::grammar::tree::{self, Numbering, SortCriterion};
use crate::imap::request::Answer;
use crate::imap::session::Core;
use crate::imap::sort::{self, Sortable};
use crate::imap::thread::{self, Algorithm};
use crate::imap::view::View;

pub(super) fn sort(view: &View, criteria: Vec<SortCriterion>, asked: tree::Search) -> Box<dyn Work> {
    ordered(view, Order::Sort(criteria), asked)
}

pub(super) fn thread(view: &View, algorithm: &str, asked: tree::Search) -> Box<dyn Work> {
    match Algorithm::named(algorithm) {
        Some(algorithm) => ordered(view, Order::Thread(algorithm), asked),
        None => over(told(Outcome::bad("unknown threading algorithm"), asked.numbering)),
    }
}

fn ordered(view: &View, order: Order, asked: tree::Search) -> Box<dyn Work> {
    match Finder::new(view, &asked) {
        Ok(finder) => Box::new(Ordered {
            reply: Reply {
                numbering: asked.numbering,
                modseq: finder.asks_modseq(),
                returns: asked.returns,
                name: "SORT",
            },
            stage: Stage::Finding(finder),
            order,
        }),
        Err(outcome) => search::refused(outcome, asked.returns.as_deref(), asked.numbering),
    }
}

enum Order {
    Sort(Vec<SortCriterion>),
    Thread(Algorithm),
}

struct Ordered {
    stage: Stage,
    order: Order,
    reply: Reply,
}

enum Stage {
    Finding(Finder),
    Gathering(Gatherer),
}

impl Work for Ordered {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        let Some(view) = core.view() else {
            return Next::Done(Outcome::unexpected(Answer::Done));
        };
        match self.advance(view, answer) {
            Err(outcome) => search::failed(core, outcome, &self.reply),
            Ok(Some(next)) => next,
            Ok(None) => self.finish(core),
        }
    }
}

impl Ordered {
    /// The next question; `None`: everything is known.
    fn advance(&mut self, view: &View, mut answer: Option<Answer>) -> Result<Option<Next>, Outcome> {
        if let Stage::Finding(finder) = &mut self.stage {
            match finder.go(view, answer.take()) {
                Finding::Ask(request) => return Ok(Some(Next::Ask(request))),
                Finding::Failed(outcome) => return Err(outcome),
                Finding::Done(found) => self.stage = Stage::Gathering(Gatherer::new(found)),
            }
        }
        let Stage::Gathering(gatherer) = &mut self.stage else {
            return Ok(None);
        };
        if let Some(answer) = answer {
            gatherer.take(answer)?;
        }
        let needs_facts = match &self.order {
            Order::Sort(criteria) => sort::needs_facts(criteria),
            Order::Thread(_) => true,
        };
        Ok(if needs_facts {
            gatherer.ask(view).map(Next::Ask)
        } else {
            None
        })
    }

    fn finish(&mut self, core: &mut Core) -> Next {
        let Stage::Gathering(Gatherer { found, mut facts, .. }) =
            std::mem::replace(&mut self.stage, Stage::Gathering(Gatherer::new(Vec::new())))
        else {
            return Next::Done(Outcome::unexpected(Answer::Done));
        };
        facts.resize_with(found.len(), Facts::default);
        let Some((view, out)) = core.view_and_out() else {
            return Next::Done(Outcome::unexpected(Answer::Done));
        };
        let mut messages: Vec<Sortable<'_>> = found
            .iter()
            .zip(&facts)
            .filter_map(|(&at, facts)| {
                let entry = view.entries().get(at)?;
                Some(Sortable {
                    number: u32::try_from(at + 1).ok()?,
                    internal_date: entry.internal_date,
                    size_bytes: entry.size_bytes,
                    facts,
                })
            })
            .collect();
        match &self.order {
            Order::Sort(criteria) => {
                sort::sort(&mut messages, criteria);
                let positions: Vec<usize> = messages.iter().map(|message| message.number as usize - 1).collect();
                self.reply.write(core, &positions)
            }
            Order::Thread(algorithm) => {
                out.extend_from_slice(b"* THREAD");
                if !messages.is_empty() {
                    out.push(b' ');
                }
                thread::threads(&messages, *algorithm).write(out, |at| match self.reply.numbering {
                    Numbering::Sequence => messages[at].number,
                    Numbering::Uid => view
                        .entries()
                        .get(messages[at].number as usize - 1)
                        .map_or(0, |entry| entry.uid),
                });
                out.extend_from_slice(b"\r\n");
                Next::Done(told(Outcome::ok("threaded"), self.reply.numbering))
            }
        }
    }
}
