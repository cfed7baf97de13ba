//! What SEARCH, SORT and THREAD have in common: finding the messages, and the ESEARCH response (RFC 4731, RFC 9394).

use std::sync::Arc;

use jiff::Timestamp;

use super::{Next, Outcome, told};
use crate::imap::facts::Facts;
use crate::imap::grammar::tree::{self, Numbering, SearchReturn};
use crate::imap::request::{Answer, Entry, Request, Sought};
use crate::imap::search::{Known, Needs, Program, SearchError, SentOn, sent_day};
use crate::imap::session::{Core, Extension};
use crate::imap::view::View;
use crate::imap::wire;

/// Finds messages: what flags, dates and sizes decide needs no question; the rest is asked in pieces.
pub(super) struct Finder {
    program: Program,
    now: Option<Timestamp>,
    /// Positions found.
    found: Vec<usize>,
    /// Positions that are still open, ascending, and when their messages were sent.
    unsure: Vec<(usize, SentOn)>,
    /// How many of them were looked up in the present stage.
    next: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    AskedNow,
    AskedFacts(usize),
    AskedTexts(usize),
}

/// What a finder wants next.
pub(super) enum Finding {
    Ask(Request),
    /// Positions in the view, ascending.
    Done(Vec<usize>),
    Failed(Outcome),
}

impl Finder {
    /// Checks what a search asks; `Err` is the end of the command.
    pub(super) fn new(view: &View, asked: &tree::Search) -> Result<Self, Outcome> {
        let charset = asked.charset.as_deref();
        if charset.is_some_and(|name| !CHARSETS.contains(&name)) {
            return Err(Outcome::no("BADCHARSET (US-ASCII UTF-8)", "unknown charset"));
        }
        let program = Program::new(&asked.key, view).map_err(|error| match error {
            SearchError::NotUtf8 => Outcome::bad("the text is not in that charset"),
        })?;
        Ok(Self {
            program,
            now: None,
            found: Vec::new(),
            unsure: Vec::new(),
            next: 0,
            stage: Stage::Start,
        })
    }

    /// Whether modification sequences are asked for (RFC 7162 §3.1.5).
    pub(super) fn asks_modseq(&self) -> bool {
        self.program.needs().has(Needs::MODSEQ)
    }

    pub(super) fn go(&mut self, view: &View, answer: Option<Answer>) -> Finding {
        match (self.stage, answer) {
            (Stage::Start, None) if self.program.needs().has(Needs::NOW) => {
                self.stage = Stage::AskedNow;
                return Finding::Ask(Request::Now);
            }
            (Stage::Start, None) => self.sift(view),
            (Stage::AskedNow, Some(Answer::Now(now))) => {
                self.now = Some(now);
                self.sift(view);
            }
            (Stage::AskedFacts(asked), Some(Answer::Facts(facts))) if facts.len() == asked => {
                for ((_, sent), facts) in self.unsure[self.next..].iter_mut().zip(facts) {
                    *sent = SentOn::Known(sent_day(facts.as_ref()));
                }
                self.next += asked;
                if self.next == self.unsure.len() {
                    self.sift_again(view);
                }
            }
            (Stage::AskedTexts(asked), Some(Answer::Found { decided, hits })) if (1..=asked).contains(&decided) => {
                self.take_texts(view, decided, &hits);
            }
            (_, answer) => return Finding::Failed(Outcome::unexpected(answer.unwrap_or(Answer::Done))),
        }
        self.ask(view)
    }

    /// Decides what can be decided from the view.
    fn sift(&mut self, view: &View) {
        let known = Known {
            now: self.now,
            ..Known::default()
        };
        if self.program.asks() {
            self.unsure.reserve_exact(view.entries().len());
        }
        for (at, entry) in view.entries().iter().enumerate() {
            // RFC 2180 §4.3: a message known to be gone is not found.
            if view.has_pending() && view.is_vanished(entry.uid) {
                continue;
            }
            match self.program.decides(view, (at, entry), known) {
                Some(true) => self.found.push(at),
                Some(false) => {}
                None => self.unsure.push((at, SentOn::Unknown)),
            }
        }
    }

    /// Decides what can be decided now that it is known when messages were sent.
    fn sift_again(&mut self, view: &View) {
        for (at, sent) in std::mem::take(&mut self.unsure) {
            let known = Known {
                now: self.now,
                sent,
                texts: None,
            };
            match self.program.finds(view, at, known) {
                Some(true) => self.found.push(at),
                Some(false) => {}
                None => self.unsure.push((at, sent)),
            }
        }
        self.next = 0;
    }

    /// The next question, or the end.
    fn ask(&mut self, view: &View) -> Finding {
        let rest = &self.unsure[self.next..];
        let messages = sought(view, rest.iter().map(|(at, _)| *at));
        if messages.is_empty() {
            self.found.sort_unstable();
            return Finding::Done(std::mem::take(&mut self.found));
        }
        let folder = view.folder;
        let is_sent_known =
            !self.program.needs().has(Needs::SENT) || rest.iter().all(|(_, sent)| *sent != SentOn::Unknown);
        if is_sent_known {
            self.stage = Stage::AskedTexts(messages.len());
            let (messages, keys) = (Arc::new(messages), self.program.texts().to_vec());
            Finding::Ask(Request::Find { folder, messages, keys })
        } else {
            self.stage = Stage::AskedFacts(messages.len());
            let messages = Arc::new(messages);
            Finding::Ask(Request::Facts { folder, messages })
        }
    }

    fn take_texts(&mut self, view: &View, decided: usize, hits: &[Vec<u32>]) {
        let asked = &self.unsure[self.next..][..decided];
        let mut open: Vec<u32> = if self.program.denies_texts() {
            (0..u32::try_from(decided).unwrap_or(u32::MAX)).collect()
        } else {
            // One that has none of the texts would have been found without them.
            hits.iter().flatten().copied().collect()
        };
        open.sort_unstable();
        open.dedup();
        let mut texts = vec![false; self.program.texts().len()];
        let mut hits: Vec<_> = hits.iter().map(|hits| hits.iter().peekable()).collect();
        for position in open {
            let Some((at, sent)) = asked.get(position as usize) else {
                break;
            };
            for (text, hits) in texts.iter_mut().zip(&mut hits) {
                *text = hits.next_if(|hit| **hit == position).is_some();
            }
            let known = Known {
                now: self.now,
                sent: *sent,
                texts: Some(&texts),
            };
            if self.program.finds(view, *at, known) == Some(true) {
                self.found.push(*at);
            }
        }
        self.next += decided;
    }
}

/// The next messages to be asked about.
fn sought(view: &View, positions: impl Iterator<Item = usize>) -> Vec<Sought> {
    let sought = |entry: &Entry| Sought {
        uid: entry.uid,
        message: entry.message,
        size_bytes: entry.size_bytes,
    };
    let entries = view.entries().at_each(positions.take(MESSAGES_AT_ONCE));
    entries.flatten().map(sought).collect()
}

/// Looks up the facts of messages that were found, in pieces.
pub(super) struct Gatherer {
    pub(super) found: Vec<usize>,
    pub(super) facts: Vec<Facts>,
    asked: usize,
}

impl Gatherer {
    pub(super) fn new(found: Vec<usize>) -> Self {
        Self {
            facts: Vec::with_capacity(found.len()),
            found,
            asked: 0,
        }
    }

    /// The next question; `None`: all is known.
    pub(super) fn ask(&mut self, view: &View) -> Option<Request> {
        let messages = sought(view, self.found[self.facts.len()..].iter().copied());
        self.asked = messages.len();
        (!messages.is_empty()).then_some(Request::Facts {
            folder: view.folder,
            messages: Arc::new(messages),
        })
    }

    /// Takes an answer; a message that is gone meanwhile has no facts.
    pub(super) fn take(&mut self, answer: Answer) -> Result<(), Outcome> {
        match answer {
            Answer::Facts(facts) if facts.len() == self.asked => {
                self.facts.extend(facts.into_iter().map(Option::unwrap_or_default));
                Ok(())
            }
            other => Err(Outcome::unexpected(other)),
        }
    }
}

/// How the result is told.
pub(super) struct Reply {
    pub(super) numbering: Numbering,
    pub(super) returns: Option<Vec<SearchReturn>>,
    /// `SEARCH` or `SORT`.
    pub(super) name: &'static str,
    /// Whether modification sequences are told.
    pub(super) modseq: bool,
}

impl Reply {
    /// Writes the result: positions in the order they are told.
    pub(super) fn write(&self, core: &mut Core, positions: &[usize]) -> Next {
        let is_rev2 = core.enabled.has(Extension::Imap4rev2) && self.name == "SEARCH";
        if self.modseq {
            core.enabled.insert(Extension::Condstore);
        }
        let all = [SearchReturn::All];
        let returns = match &self.returns {
            // RFC 4731 §3.1: no option means ALL; IMAP4rev2 always answers so (RFC 9051 §7.3.4).
            Some(returns) if returns.is_empty() => Some(&all[..]),
            Some(returns) => Some(returns.as_slice()),
            None if is_rev2 => Some(&all[..]),
            None => None,
        };
        match returns {
            None => self.write_plain(core, positions),
            Some(returns) => self.write_extended(core, positions, returns),
        }
        Next::Done(told(Outcome::ok("searched"), self.numbering))
    }

    fn write_plain(&self, core: &mut Core, positions: &[usize]) {
        let Some((view, out)) = core.view_and_out() else {
            return;
        };
        out.extend_from_slice(b"* ");
        out.extend_from_slice(self.name.as_bytes());
        for &at in positions {
            out.push(b' ');
            wire::number(out, u64::from(self.number(view, at)));
        }
        if self.modseq && !positions.is_empty() {
            out.extend_from_slice(b" (MODSEQ ");
            wire::number(out, highest_modseq(view, positions));
            out.push(b')');
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_extended(&self, core: &mut Core, positions: &[usize], returns: &[SearchReturn]) {
        let tag = core.tag.clone();
        let Some((view, out)) = core.view_and_out() else {
            return;
        };
        let told = Told::of(positions, returns);
        if returns.contains(&SearchReturn::Save) {
            view.saved = told
                .saved
                .iter()
                .filter_map(|&at| Some(view.entries().get(at)?.uid))
                .collect();
            view.saved.sort_unstable();
            view.saved.dedup();
        }
        // RFC 5182 §2.1: nothing is told of what is only saved.
        if matches!(returns, [SearchReturn::Save]) {
            return;
        }
        out.extend_from_slice(b"* ESEARCH (TAG \"");
        out.extend_from_slice(tag.as_bytes());
        out.extend_from_slice(b"\")");
        if self.numbering == Numbering::Uid {
            out.extend_from_slice(b" UID");
        }
        for item in returns {
            self.write_item(view, out, (positions, *item));
        }
        if self.modseq && !told.told.is_empty() {
            out.extend_from_slice(b" MODSEQ ");
            wire::number(out, highest_modseq(view, &told.told));
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_item(&self, view: &View, out: &mut Vec<u8>, (positions, item): (&[usize], SearchReturn)) {
        let one = |out: &mut Vec<u8>, name: &str, at: Option<&usize>| {
            if let Some(&at) = at {
                out.extend_from_slice(name.as_bytes());
                wire::number(out, u64::from(self.number(view, at)));
            }
        };
        match item {
            SearchReturn::Min => one(out, " MIN ", positions.first()),
            SearchReturn::Max => one(out, " MAX ", positions.last()),
            SearchReturn::Count => {
                out.extend_from_slice(b" COUNT ");
                wire::number(out, positions.len() as u64);
            }
            SearchReturn::All if positions.is_empty() => {}
            SearchReturn::All => {
                out.extend_from_slice(b" ALL ");
                self.write_set(view, out, positions);
            }
            SearchReturn::Partial(from, to) => {
                out.extend_from_slice(format!(" PARTIAL ({from}:{to} ").as_bytes());
                match partial(positions, from, to) {
                    [] => out.extend_from_slice(b"NIL"),
                    some => self.write_set(view, out, some),
                }
                out.push(b')');
            }
            SearchReturn::Save => {}
        }
    }

    /// Numbers in the order of `positions`; those that follow one another as a range.
    fn write_set(&self, view: &View, out: &mut Vec<u8>, positions: &[usize]) {
        let mut numbers = positions.iter().map(|&at| self.number(view, at)).peekable();
        let mut is_first = true;
        while let Some(first) = numbers.next() {
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            wire::number(out, u64::from(first));
            let mut last = first;
            while let Some(next) = numbers.next_if(|next| Some(*next) == last.checked_add(1)) {
                last = next;
            }
            if last != first {
                out.push(b':');
                wire::number(out, u64::from(last));
            }
        }
    }

    fn number(&self, view: &View, at: usize) -> u32 {
        match self.numbering {
            Numbering::Uid => view.entries().get(at).map_or(0, |entry| entry.uid),
            Numbering::Sequence => u32::try_from(at + 1).unwrap_or(u32::MAX),
        }
    }
}

/// Which messages a response tells of, and which it saves.
struct Told {
    told: Vec<usize>,
    saved: Vec<usize>,
}

impl Told {
    /// RFC 5182 §2.4, RFC 7162 §3.1.10: with ALL or COUNT, or with SAVE alone, all of them; else those that are named.
    fn of(positions: &[usize], returns: &[SearchReturn]) -> Self {
        let has = |item| returns.contains(&item);
        if has(SearchReturn::All) || has(SearchReturn::Count) || matches!(returns, [SearchReturn::Save]) {
            return Self {
                told: positions.to_vec(),
                saved: positions.to_vec(),
            };
        }
        let mut named = Vec::new();
        for item in returns {
            match *item {
                SearchReturn::Min => named.extend(positions.first()),
                SearchReturn::Max => named.extend(positions.last()),
                SearchReturn::Partial(from, to) => named.extend_from_slice(partial(positions, from, to)),
                SearchReturn::All | SearchReturn::Count | SearchReturn::Save => {}
            }
        }
        Self {
            told: named.clone(),
            saved: named,
        }
    }
}

/// RFC 9394 §3.1: a window of the result, counted from its first message or, if negative, from its last.
fn partial(positions: &[usize], from: i64, to: i64) -> &[usize] {
    let count = i64::try_from(positions.len()).unwrap_or(i64::MAX);
    let place = |end: i64| if end < 0 { count + end + 1 } else { end };
    let (first, last) = (place(from).min(place(to)).max(1), place(from).max(place(to)).min(count));
    let range = usize::try_from(first - 1).unwrap_or(0)..usize::try_from(last).unwrap_or(0);
    positions.get(range).unwrap_or(&[])
}

fn highest_modseq(view: &View, positions: &[usize]) -> u64 {
    let modseqs = positions.iter().filter_map(|&at| Some(view.entries().get(at)?.modseq));
    modseqs.max().unwrap_or_default()
}

/// RFC 9051 §6.4.4: those that every server knows.
const CHARSETS: [&str; 2] = ["US-ASCII", "UTF-8"];
/// Messages asked about at once.
const MESSAGES_AT_ONCE: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_counted_from_either_end() {
        let positions = [10, 20, 30, 40, 50];
        assert_eq!(partial(&positions, 1, 2), [10, 20]);
        assert_eq!(partial(&positions, 2, 1), [10, 20]);
        assert_eq!(partial(&positions, 4, 9), [40, 50]);
        assert_eq!(partial(&positions, 6, 9), [] as [usize; 0]);
        assert_eq!(partial(&positions, -1, -2), [40, 50]);
        assert_eq!(partial(&positions, -4, -100), [10, 20]);
        assert_eq!(partial(&positions, -6, -7), [] as [usize; 0]);
        assert_eq!(partial(&[], 1, 5), [] as [usize; 0]);
    }
}
