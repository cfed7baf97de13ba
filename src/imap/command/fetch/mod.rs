//! FETCH and UID FETCH (RFC 9051 §6.4.5), in bounded pieces: what is asked of the store at once, and what waits to be written. A message
//! too large to hold is never held: see [`stream`].

mod plan;
mod stream;
mod write;

use std::ops::Range;

use self::plan::{Item, Marks, Plan, Previews};
use self::stream::{Flowing, Stream};
use self::write::Known;
use super::{Next, Outcome, Work, over, positions, since, told};
use crate::imap::grammar::tree;
use crate::imap::grammar::tree::{FetchItem, Numbering};
use crate::imap::mime::outline::Outline;
use crate::imap::request::{Answer, FlagChange, Flags, Loaded, Request, What};
use crate::imap::session::{Core, Extension};
use crate::imap::view::View;

pub(super) fn fetch(core: &Core, view: &View, mut asked: tree::Fetch) -> Box<dyn Work> {
    let numbering = asked.numbering;
    let mut positions = match positions(view, &asked.set, numbering) {
        Ok(positions) => positions,
        Err(outcome) => return over(told(outcome, numbering)),
    };
    let vanished = match since::vanished(core, view, &asked) {
        Ok(vanished) => vanished,
        Err(outcome) => return over(told(outcome, numbering)),
    };
    since::narrow(view, &mut asked, &mut positions);
    // RFC 9394 §3.4: the window is one of the messages that are left.
    if let Some(partial) = asked.partial {
        positions = positions[window(positions.len(), partial)].to_vec();
    }
    let plan = Plan::new(&asked.items, numbering, view.access);
    since::after(vanished, Fetch::new(plan, positions, numbering))
}

/// A FETCH of new messages that nobody asked for (RFC 5465 §5.2).
pub(super) fn unasked(view: &View, items: &[FetchItem], positions: Vec<usize>) -> Box<dyn Work> {
    let plan = Plan::new(items, Numbering::Uid, view.access);
    Box::new(Fetch::new(plan, positions, Numbering::Uid))
}

/// An item that sets no flag.
pub(super) fn peeking(item: FetchItem) -> FetchItem {
    match item {
        FetchItem::Section { section, partial, .. } => FetchItem::Section {
            section,
            partial,
            peek: true,
        },
        FetchItem::Binary { part, partial, .. } => FetchItem::Binary {
            part,
            partial,
            peek: true,
        },
        other => other,
    }
}

/// The indices that a window of RFC 9394 §3.1 names: one end and the other, from 1, or from the last when negative.
fn window(length: usize, (a, b): (i64, i64)) -> Range<usize> {
    let [near, far] = [
        a.unsigned_abs().min(b.unsigned_abs()),
        a.unsigned_abs().max(b.unsigned_abs()),
    ]
    .map(|end| usize::try_from(end).unwrap_or(usize::MAX));
    let (first, past) = (near.saturating_sub(1).min(length), far.min(length));
    if a < 0 {
        length - past..length - first
    } else {
        first..past
    }
}

struct Fetch {
    plan: Plan,
    positions: Vec<usize>,
    /// Index in `positions` of the first message not yet dealt with.
    next: usize,
    stage: Stage,
    failed: Failed,
    /// Positions of messages that others changed meanwhile: told at the end.
    changed: Vec<usize>,
    numbering: Numbering,
}

/// What could not be had.
#[derive(Clone, Copy, Debug, Default)]
struct Failed {
    /// Messages that are gone.
    missing: usize,
    /// Items left out because nobody knows how a part is encoded.
    encodings: usize,
    /// Messages that went, or could not be read, while they were written.
    cut: usize,
}

/// Where the messages being dealt with are.
enum Stage {
    Between,
    /// They were asked for.
    Loading(Batch),
    /// Their first words were asked for.
    Previewing(Batch),
    /// Their `\Seen` is being set.
    Marking(Batch),
    /// They can be written.
    Writing(Batch),
    /// One large message is being written.
    Streaming(Box<Stream>),
}

/// Messages that go together: `positions` from `next` up to `end`.
struct Batch {
    end: usize,
    loaded: Vec<Option<Loaded>>,
    previews: Vec<Option<String>>,
    /// Positions whose `\Seen` was just set.
    marked: Vec<usize>,
    size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// They are loaded whole.
    Usual,
    /// One message, of which only the summary is loaded at first.
    Large,
}

impl Work for Fetch {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        if self.plan.items.contains(&Item::Modseq) {
            // RFC 7162 §3.1: who asks for it wants to be told.
            core.enabled.insert(Extension::Condstore);
        }
        match (std::mem::replace(&mut self.stage, Stage::Between), answer) {
            (Stage::Between, None) => {}
            (Stage::Loading(batch), Some(Answer::Loaded(loaded))) if loaded.len() == batch.end - self.next => {
                if let Some(ask) = self.loaded(core, Batch { loaded, ..batch }) {
                    return ask;
                }
            }
            (Stage::Previewing(batch), Some(Answer::Previews(previews))) => {
                if let Some(ask) = self.mark(core, Batch { previews, ..batch }) {
                    return ask;
                }
            }
            (Stage::Marking(mut batch), Some(Answer::Changed { news, .. })) => {
                let (marked, others) = since::marked(core, news, &self.positions[self.next..batch.end]);
                batch.marked = marked;
                self.changed.extend(others);
                self.begin_writing(core, batch);
            }
            // The message can be read though it cannot be marked.
            (Stage::Marking(batch), Some(Answer::Refused(_))) => self.begin_writing(core, batch),
            (Stage::Streaming(mut stream), answer) => {
                stream.take(core, answer);
                self.stage = Stage::Streaming(stream);
            }
            (writing @ Stage::Writing(_), None) => self.stage = writing,
            (_, other) => {
                since::tell(core, std::mem::take(&mut self.changed));
                return self.done(Outcome::unexpected(other.unwrap_or(Answer::Done)));
            }
        }
        self.write(core)
    }
}

impl Fetch {
    fn new(plan: Plan, positions: Vec<usize>, numbering: Numbering) -> Self {
        Self {
            plan,
            positions,
            next: 0,
            stage: Stage::Between,
            failed: Failed::default(),
            changed: Vec::new(),
            numbering,
        }
    }

    fn write(&mut self, core: &mut Core) -> Next {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Between) {
                Stage::Writing(batch) => self.write_batch(core, batch),
                Stage::Streaming(mut stream) => match stream.go(core) {
                    Flowing::Ask(request) => {
                        self.stage = Stage::Streaming(stream);
                        return Next::Ask(request);
                    }
                    Flowing::Written => self.stage = Stage::Streaming(stream),
                    Flowing::Over(failed) => {
                        self.failed.encodings += failed.encodings;
                        self.failed.cut += failed.cut;
                        self.next += 1;
                    }
                },
                _ if self.next >= self.positions.len() => {
                    since::tell(core, std::mem::take(&mut self.changed));
                    return self.done(self.outcome());
                }
                _ => match self.plan.what {
                    None if self.plan.previews == Previews::No => self.write_known(core),
                    _ => {
                        if let Some(ask) = self.load(core) {
                            return ask;
                        }
                    }
                },
            }
            if core.is_full() {
                return Next::Continue;
            }
        }
    }

    fn outcome(&self) -> Outcome {
        let Failed {
            missing,
            encodings,
            cut,
        } = self.failed;
        if cut > 0 {
            Outcome::no(
                "SERVERBUG",
                "a message could not be read to its end: what came of it is not what it was",
            )
        } else if missing > 0 {
            Outcome::no("EXPUNGEISSUED", "some of the messages are gone")
        } else if encodings > 0 {
            // RFC 3516 §4.3
            Outcome::no("UNKNOWN-CTE", "a part is written in an encoding that is not known here")
        } else {
            Outcome::ok("fetched")
        }
    }

    fn done(&self, outcome: Outcome) -> Next {
        Next::Done(told(outcome, self.numbering))
    }

    /// Asks for the next messages: a bounded number, and a bounded number of bytes.
    fn load(&mut self, core: &Core) -> Option<Next> {
        let Some(view) = core.view() else {
            return Some(self.done(Outcome::unexpected(Answer::Done)));
        };
        let counts_bytes = matches!(self.plan.what, Some(What::Content | What::Both));
        let mut bytes = 0_u64;
        let mut end = self.next;
        let mut messages = Vec::new();
        while end < self.positions.len() && messages.len() < CHUNK_MESSAGES {
            let entry = &view.entries()[self.positions[end]];
            let together = bytes.saturating_add(entry.size_bytes);
            if counts_bytes && together > CHUNK_BYTES && !messages.is_empty() {
                break;
            }
            bytes = together;
            messages.push(entry.message);
            end += 1;
        }
        let size = if counts_bytes && bytes > CHUNK_BYTES {
            Size::Large
        } else {
            Size::Usual
        };
        let batch = Batch {
            end,
            loaded: Vec::new(),
            previews: Vec::new(),
            marked: Vec::new(),
            size,
        };
        let what = match (size, self.plan.what) {
            (Size::Large, _) => What::Summary,
            (Size::Usual, Some(what)) => what,
            (Size::Usual, None) => {
                let loaded = vec![Some(Loaded::default()); messages.len()];
                return self.loaded(core, Batch { loaded, ..batch });
            }
        };
        self.stage = Stage::Loading(batch);
        Some(Next::Ask(Request::Load { messages, what }))
    }

    /// The messages are here; what is next. `None`: they can be written.
    fn loaded(&mut self, core: &Core, mut batch: Batch) -> Option<Next> {
        let Some(view) = core.view() else {
            return Some(self.done(Outcome::unexpected(Answer::Done)));
        };
        let entries = self.positions[self.next..batch.end]
            .iter()
            .map(|&at| &view.entries()[at]);
        let size_bytes = entries.clone().map(|entry| entry.size_bytes).sum();
        let messages = entries.map(|entry| entry.message).collect();
        if let (Size::Large, [Some(loaded)]) = (batch.size, batch.loaded.as_slice())
            && outline(loaded, size_bytes).is_none()
        {
            // Stored by a version that did not keep where its parts lie.
            batch.size = Size::Usual;
            self.stage = Stage::Loading(batch);
            return Some(Next::Ask(Request::Load {
                messages,
                what: What::Both,
            }));
        }
        if self.plan.previews == Previews::No {
            return self.mark(core, batch);
        }
        self.stage = Stage::Previewing(batch);
        Some(Next::Ask(Request::Previews {
            messages,
            lazy: self.plan.previews == Previews::Lazy,
        }))
    }

    /// Sets `\Seen` where reading does. `None`: there is nothing to set, they can be written.
    fn mark(&mut self, core: &Core, batch: Batch) -> Option<Next> {
        let request = self.mark_request(core, &batch);
        if let Some(request) = request {
            self.stage = Stage::Marking(batch);
            Some(Next::Ask(request))
        } else {
            self.begin_writing(core, batch);
            None
        }
    }

    fn mark_request(&self, core: &Core, batch: &Batch) -> Option<Request> {
        let view = core.view()?;
        if self.plan.marks == Marks::Nothing {
            return None;
        }
        let uids: Vec<u32> = self.positions[self.next..batch.end]
            .iter()
            .zip(&batch.loaded)
            .filter(|(_, loaded)| loaded.is_some())
            .map(|(&at, _)| &view.entries()[at])
            .filter(|e| e.flags.system & Flags::SEEN == 0)
            .map(|e| e.uid)
            .collect();
        (!uids.is_empty()).then(|| Request::SetFlags {
            folder: view.folder,
            uids,
            unchanged_since: None,
            change: FlagChange::Add,
            flags: Flags::system(Flags::SEEN),
        })
    }

    fn begin_writing(&mut self, core: &Core, mut batch: Batch) {
        let (Size::Large, Some(view)) = (batch.size, core.view()) else {
            self.stage = Stage::Writing(batch);
            return;
        };
        let at = self.positions[self.next];
        let Some(loaded) = batch.loaded.pop().flatten() else {
            self.failed.missing += 1;
            self.next += 1;
            return;
        };
        let entry = &view.entries()[at];
        let Some(outline) = outline(&loaded, entry.size_bytes) else {
            // Asked for whole before this, so that it is never so.
            self.failed.cut += 1;
            self.next += 1;
            return;
        };
        self.stage = Stage::Streaming(Box::new(Stream::new(
            (at, entry.message),
            self.items(core, batch.marked.contains(&at)),
            outline,
            (loaded, batch.previews.pop().flatten()),
        )));
    }

    /// Writes messages of which the view knows all that is asked.
    fn write_known(&mut self, core: &mut Core) {
        let enabled = core.enabled;
        let Some((view, out)) = core.view_and_out() else { return };
        let known = Known {
            loaded: &Loaded::default(),
            preview: None,
            enabled,
        };
        while let Some(&at) = self.positions.get(self.next) {
            // Nothing of the message is asked, so nothing can be left out.
            let _complete = write::message(out, (view, at), &self.plan.items, known);
            self.next += 1;
            if out.len() >= FLUSH_BYTES {
                return;
            }
        }
    }

    fn write_batch(&mut self, core: &mut Core, mut batch: Batch) {
        let enabled = core.enabled;
        let first = batch.end - batch.loaded.len();
        let with_flags = self.items(core, true);
        let Some((view, out)) = core.view_and_out() else { return };
        while self.next < batch.end {
            let (at, index) = (self.positions[self.next], self.next - first);
            self.next += 1;
            let Some(loaded) = batch.loaded[index].take() else {
                self.failed.missing += 1;
                continue;
            };
            let items = if batch.marked.contains(&at) {
                &with_flags
            } else {
                &self.plan.items
            };
            let known = Known {
                loaded: &loaded,
                preview: batch.previews.get(index).and_then(Option::as_deref),
                enabled,
            };
            if write::message(out, (view, at), items, known).is_err() {
                self.failed.encodings += 1;
            }
            if out.len() >= FLUSH_BYTES && self.next < batch.end {
                self.stage = Stage::Writing(batch);
                return;
            }
        }
    }

    /// What is written of a message; of one whose `\Seen` was just set also its flags (RFC 7162 §3.1: with MODSEQ).
    fn items(&self, core: &Core, marked: bool) -> Vec<Item> {
        let mut items = self.plan.items.clone();
        let mut add = |item| {
            if marked && !items.contains(&item) {
                items.push(item);
            }
        };
        add(Item::Flags);
        if core.enabled.has(Extension::Condstore) {
            add(Item::Modseq);
        }
        items
    }
}

/// Where the parts of a loaded message of so many bytes lie; `None`: it is not known.
fn outline(loaded: &Loaded, size_bytes: u64) -> Option<Outline> {
    let summary = loaded.summary.as_ref()?;
    let outline = Outline::decode(&summary.layout, usize::try_from(summary.header_bytes).ok()?)?;
    u64::try_from(outline.body.end)
        .is_ok_and(|end| end == size_bytes)
        .then_some(outline)
}

/// Most messages asked of the store at once.
const CHUNK_MESSAGES: usize = 200;

/// Most bytes asked of the store at once; a message that alone is larger comes in pieces.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// Responses are handed over from this size on, also between the messages of a chunk.
const FLUSH_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_from_either_end() {
        for (asked, expected) in [
            ((1, 3), 0..3),
            ((3, 1), 0..3),
            ((2, 100), 1..10),
            ((11, 20), 10..10),
            ((-1, -3), 7..10),
            ((-100, -9), 0..2),
            ((-11, -20), 0..0),
            ((i64::MIN, -1), 0..10),
        ] {
            assert_eq!(window(10, asked), expected, "{asked:?}");
        }
        assert_eq!(window(0, (1, 5)), 0..0);
        assert_eq!(window(0, (-1, -5)), 0..0);
    }
}
