//! SEARCH and UID SEARCH (RFC 3501 §6.4.4): what flags, dates and sizes decide needs no bytes; the rest is loaded in pieces.

use std::collections::VecDeque;

use super::{Next, Outcome, Work, over, told};
use crate::imap::grammar::tree;
use crate::imap::grammar::tree::Numbering;
use crate::imap::request::{Answer, Request, What};
use crate::imap::search::{Evaluated, Program, SearchError, Subject};
use crate::imap::session::Core;
use crate::imap::view::View;

pub(super) fn search(view: &View, asked: &tree::Search) -> Box<dyn Work> {
    let numbering = asked.numbering;
    if asked.returns.is_some() {
        return over(told(super::not_offered(), numbering));
    }
    let charset = asked.charset.as_deref();
    if charset.is_some_and(|c| !["US-ASCII", "UTF-8"].contains(&c)) {
        return over(told(
            Outcome::no("BADCHARSET (US-ASCII UTF-8)", "unknown charset"),
            numbering,
        ));
    }
    let largest = (
        u32::try_from(view.entries().len()).unwrap_or(u32::MAX),
        view.entries().last().map_or(0, |e| e.uid),
    );
    match Program::new(&asked.key, largest) {
        Ok(program) => Box::new(Search {
            program,
            next: 0,
            found: Vec::new(),
            unsure: VecDeque::new(),
            loading: 0,
            numbering,
        }),
        Err(SearchError::NotUtf8) => over(told(Outcome::bad("the text is not in that charset"), numbering)),
        Err(SearchError::Unknown) => over(told(Outcome::bad("unknown search key"), numbering)),
    }
}

struct Search {
    program: Program,
    /// First position not looked at yet.
    next: usize,
    /// Positions found.
    found: Vec<usize>,
    /// Positions whose bytes must decide.
    unsure: VecDeque<usize>,
    /// How many of the first of them are being loaded.
    loading: usize,
    numbering: Numbering,
}

impl Work for Search {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        let Some(view) = core.view() else {
            return Next::Done(Outcome::unexpected(Answer::Done));
        };
        match answer {
            None => self.sift(view),
            Some(Answer::Loaded(loaded)) if loaded.len() == self.loading => {
                for loaded in loaded {
                    let Some(at) = self.unsure.pop_front() else { break };
                    let subject = Subject::new(view, at, loaded.as_ref().and_then(|l| l.bytes.as_deref()));
                    if loaded.is_some() && self.program.evaluate(&subject) == Evaluated::Yes {
                        self.found.push(at);
                    }
                }
            }
            Some(other) => return Next::Done(told(Outcome::unexpected(other), self.numbering)),
        }
        match self.load(view) {
            Some(request) => Next::Ask(request),
            None => self.finish(core),
        }
    }
}

impl Search {
    /// Decides what can be decided without bytes.
    fn sift(&mut self, view: &View) {
        for at in self.next..view.entries().len() {
            // RFC 2180 §4.3: a message known to be gone is not found.
            if view.is_vanished(view.entries()[at].uid) {
                continue;
            }
            match self.program.evaluate(&Subject::new(view, at, None)) {
                Evaluated::Yes => self.found.push(at),
                Evaluated::No => {}
                Evaluated::NeedsBytes => self.unsure.push_back(at),
            }
        }
        self.next = view.entries().len();
    }

    fn load(&mut self, view: &View) -> Option<Request> {
        let what = self.program.needs();
        let mut bytes = 0_u64;
        let mut messages = Vec::new();
        for &at in self.unsure.iter().take(CHUNK_MESSAGES) {
            let entry = &view.entries()[at];
            bytes = bytes.saturating_add(entry.size_bytes);
            if what != What::Header && bytes > CHUNK_BYTES && !messages.is_empty() {
                break;
            }
            messages.push(entry.message);
        }
        self.loading = messages.len();
        (!messages.is_empty()).then_some(Request::Load { messages, what })
    }

    fn finish(&mut self, core: &mut Core) -> Next {
        self.found.sort_unstable();
        let numbers: Vec<u32> = match (self.numbering, core.view()) {
            (Numbering::Uid, Some(view)) => super::uids(view, &self.found),
            _ => self.found.iter().filter_map(|&at| u32::try_from(at + 1).ok()).collect(),
        };
        core.out.extend_from_slice(b"* SEARCH");
        core.write_numbers(&numbers);
        core.out.extend_from_slice(b"\r\n");
        Next::Done(told(Outcome::ok("searched"), self.numbering))
    }
}

/// Most messages asked of the store at once.
const CHUNK_MESSAGES: usize = 200;

/// Most bytes asked of the store at once, unless one message alone is larger.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
