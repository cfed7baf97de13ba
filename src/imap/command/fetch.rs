//! FETCH and UID FETCH (RFC 3501 §6.4.5), in bounded pieces: what is asked of the store at once, and what waits to be written.

use super::{Next, Outcome, Work, over, positions, told};
use crate::imap::grammar::tree;
use crate::imap::grammar::tree::{FetchItem, Numbering};
use crate::imap::mime::outline::Outline;
use crate::imap::request::{Answer, Entry, FlagChange, Flags, Loaded, Request, Summary, What};
use crate::imap::section::Section;
use crate::imap::session::Core;
use crate::imap::view::{Access, View};
use crate::imap::wire;

/// One thing asked of each message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Uid,
    Flags,
    InternalDate,
    Size,
    Envelope,
    Body,
    BodyStructure,
    /// A section under its own name, or that of an RFC822 item.
    Section(Section, Option<&'static str>),
}

/// What a FETCH asks.
#[derive(Debug)]
struct Plan {
    items: Vec<Item>,
    /// How much must be loaded; `None`: the view knows all.
    what: Option<What>,
    marks: Marks,
}

/// Whether reading sets `\Seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marks {
    Seen,
    Nothing,
}

impl Plan {
    /// `None`: something is not offered.
    fn new(names: Vec<FetchItem>, numbering: Numbering, access: Access) -> Option<Self> {
        let mut plan = Self {
            items: Vec::with_capacity(names.len() + 1),
            what: None,
            marks: Marks::Nothing,
        };
        if numbering == Numbering::Uid {
            plan.items.push(Item::Uid);
        }
        for name in names {
            plan.add(name)?;
        }
        if access == Access::ReadOnly {
            plan.marks = Marks::Nothing;
        }
        Some(plan)
    }

    /// Adds an item; `None`: it is not offered.
    fn add(&mut self, name: FetchItem) -> Option<()> {
        use FetchItem as N;
        let item = match name {
            N::Uid => Item::Uid,
            N::Flags => Item::Flags,
            N::InternalDate => Item::InternalDate,
            N::Size => Item::Size,
            N::Envelope => Item::Envelope,
            N::Body => Item::Body,
            N::BodyStructure => Item::BodyStructure,
            N::Section { section, partial, peek } => {
                if !peek {
                    self.marks = Marks::Seen;
                }
                Item::Section(Section::new(section, partial), None)
            }
            N::Rfc822 => self.marking(Section::WHOLE, "RFC822"),
            N::Rfc822Header => Item::Section(Section::HEADER, Some("RFC822.HEADER")),
            N::Rfc822Text => self.marking(Section::TEXT, "RFC822.TEXT"),
            _ => return None,
        };
        let needed = match &item {
            Item::Envelope | Item::Body | Item::BodyStructure => Some(What::Summary),
            Item::Section(section, _) if section.needs_only_header() => Some(What::Header),
            Item::Section(..) => Some(What::Content),
            _ => None,
        };
        self.what = both(self.what, needed);
        if !self.items.contains(&item) {
            self.items.push(item);
        }
        Some(())
    }

    fn marking(&mut self, section: Section, name: &'static str) -> Item {
        self.marks = Marks::Seen;
        Item::Section(section, Some(name))
    }
}

fn both(a: Option<What>, b: Option<What>) -> Option<What> {
    match (a, b) {
        (None, other) | (other, None) => other,
        (Some(a), Some(b)) if a == b => Some(a),
        (Some(What::Header), Some(What::Content)) | (Some(What::Content), Some(What::Header)) => Some(What::Content),
        _ => Some(What::Both),
    }
}

pub(super) fn fetch(view: &View, asked: tree::Fetch) -> Box<dyn Work> {
    let numbering = asked.numbering;
    if asked.changed_since.is_some() || asked.vanished || asked.partial.is_some() {
        return over(told(super::not_offered(), numbering));
    }
    let positions = match positions(view, &asked.set, numbering) {
        Ok(positions) => positions,
        Err(outcome) => return over(told(outcome, numbering)),
    };
    let Some(plan) = Plan::new(asked.items, numbering, view.access) else {
        return over(told(super::not_offered(), numbering));
    };
    Box::new(Fetch {
        plan,
        positions,
        next: 0,
        chunk: Chunk::None,
        missing: 0,
        numbering,
    })
}

struct Fetch {
    plan: Plan,
    positions: Vec<usize>,
    /// Index in `positions` of the first message not yet dealt with.
    next: usize,
    chunk: Chunk,
    missing: usize,
    numbering: Numbering,
}

/// The messages being dealt with.
enum Chunk {
    None,
    /// They were asked for: up to this index.
    Loading(usize),
    /// Their `\Seen` is being set.
    Marking(usize, Vec<Option<Loaded>>),
    /// They can be written.
    Ready {
        end: usize,
        loaded: std::vec::IntoIter<Option<Loaded>>,
        /// Positions whose `\Seen` was just set.
        marked: Vec<usize>,
    },
}

impl Work for Fetch {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match (std::mem::replace(&mut self.chunk, Chunk::None), answer) {
            (Chunk::None, None) => {}
            (Chunk::Loading(end), Some(Answer::Loaded(loaded))) if loaded.len() == end - self.next => {
                if let Some(request) = self.mark(core, end, &loaded) {
                    self.chunk = Chunk::Marking(end, loaded);
                    return Next::Ask(request);
                }
                self.chunk = ready(end, loaded, Vec::new());
            }
            (Chunk::Marking(end, loaded), Some(Answer::Changed(entries))) => {
                let marked = marked(core, &entries);
                self.chunk = ready(end, loaded, marked);
            }
            // The message can be read though it cannot be marked.
            (Chunk::Marking(end, loaded), Some(Answer::Refused(_))) => self.chunk = ready(end, loaded, Vec::new()),
            (ready @ Chunk::Ready { .. }, None) => self.chunk = ready,
            (_, Some(other)) => return self.done(Outcome::unexpected(other)),
            (_, None) => return self.done(Outcome::unexpected(Answer::Done)),
        }
        self.write(core)
    }
}

fn ready(end: usize, loaded: Vec<Option<Loaded>>, marked: Vec<usize>) -> Chunk {
    Chunk::Ready {
        end,
        loaded: loaded.into_iter(),
        marked,
    }
}

/// Takes in the flags just set; returns the positions that changed.
fn marked(core: &mut Core, entries: &[Entry]) -> Vec<usize> {
    let Some((view, out)) = core.view_and_out() else {
        return Vec::new();
    };
    let changed = entries.iter().filter_map(|entry| view.update(entry, out));
    changed.filter(|(_, differs)| *differs).map(|(at, _)| at).collect()
}

impl Fetch {
    fn write(&mut self, core: &mut Core) -> Next {
        loop {
            if let Chunk::Ready { .. } = self.chunk {
                self.write_loaded(core);
            } else if self.next >= self.positions.len() {
                let outcome = if self.missing > 0 {
                    Outcome::no("EXPUNGEISSUED", "some of the messages are gone")
                } else {
                    Outcome::ok("fetched")
                };
                return self.done(outcome);
            } else if let Some(what) = self.plan.what {
                return self.load(core, what);
            } else {
                self.write_known(core);
            }
            if core.is_full() {
                return Next::Continue;
            }
        }
    }

    fn done(&self, outcome: Outcome) -> Next {
        Next::Done(told(outcome, self.numbering))
    }

    /// Asks for the next messages: a bounded number, and a bounded number of bytes unless one alone is larger.
    fn load(&mut self, core: &Core, what: What) -> Next {
        let Some(view) = core.view() else {
            return self.done(Outcome::unexpected(Answer::Done));
        };
        let counts_bytes = matches!(what, What::Content | What::Both);
        let mut bytes = 0_u64;
        let mut end = self.next;
        let mut messages = Vec::new();
        while end < self.positions.len() && messages.len() < CHUNK_MESSAGES {
            let entry = &view.entries()[self.positions[end]];
            bytes = bytes.saturating_add(entry.size_bytes);
            if counts_bytes && bytes > CHUNK_BYTES && !messages.is_empty() {
                break;
            }
            messages.push(entry.message);
            end += 1;
        }
        self.chunk = Chunk::Loading(end);
        Next::Ask(Request::Load { messages, what })
    }

    /// The request that sets `\Seen` where reading does, if any.
    fn mark(&self, core: &Core, end: usize, loaded: &[Option<Loaded>]) -> Option<Request> {
        let view = core.view()?;
        if self.plan.marks == Marks::Nothing {
            return None;
        }
        let uids: Vec<u32> = self.positions[self.next..end]
            .iter()
            .zip(loaded)
            .filter(|(_, loaded)| loaded.is_some())
            .map(|(&at, _)| &view.entries()[at])
            .filter(|e| e.flags.system & Flags::SEEN == 0)
            .map(|e| e.uid)
            .collect();
        (!uids.is_empty()).then(|| Request::SetFlags {
            folder: view.folder,
            uids,
            change: FlagChange::Add,
            flags: Flags::system(Flags::SEEN),
        })
    }

    /// Writes messages of which the view knows all that is asked.
    fn write_known(&mut self, core: &mut Core) {
        let Some((view, out)) = core.view_and_out() else { return };
        let nothing = Loaded::default();
        while let Some(&at) = self.positions.get(self.next) {
            write_message(out, view, at, &self.plan.items, &nothing);
            self.next += 1;
            if out.len() >= FLUSH_BYTES {
                return;
            }
        }
    }

    fn write_loaded(&mut self, core: &mut Core) {
        let (Chunk::Ready { end, loaded, marked }, Some((view, out))) = (&mut self.chunk, core.view_and_out()) else {
            return;
        };
        while self.next < *end {
            let at = self.positions[self.next];
            self.next += 1;
            match loaded.next().flatten() {
                None => self.missing += 1,
                Some(loaded) if marked.contains(&at) && !self.plan.items.contains(&Item::Flags) => {
                    let mut items = self.plan.items.clone();
                    items.push(Item::Flags);
                    write_message(out, view, at, &items, &loaded);
                }
                Some(loaded) => write_message(out, view, at, &self.plan.items, &loaded),
            }
            if out.len() >= FLUSH_BYTES && self.next < *end {
                return;
            }
        }
        self.chunk = Chunk::None;
    }
}

fn write_message(out: &mut Vec<u8>, view: &View, at: usize, items: &[Item], loaded: &Loaded) {
    let entry = &view.entries()[at];
    let bytes: &[u8] = loaded.bytes.as_ref().map_or(&[], |b| b.as_slice());
    let structure = items
        .iter()
        .any(|i| matches!(i, Item::Section(section, _) if section.needs_structure()))
        .then(|| Outline::of_message(bytes));
    let none = Summary::default();
    let summary = loaded.summary.as_ref().unwrap_or(&none);
    out.extend_from_slice(b"* ");
    wire::number(out, at as u64 + 1);
    out.extend_from_slice(b" FETCH (");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        match item {
            Item::Uid => {
                out.extend_from_slice(b"UID ");
                wire::number(out, u64::from(entry.uid));
            }
            Item::Flags => {
                out.extend_from_slice(b"FLAGS ");
                wire::flags(out, &entry.flags, view.is_recent(entry.uid));
            }
            Item::InternalDate => {
                out.extend_from_slice(b"INTERNALDATE ");
                wire::date_time(out, entry.internal_date);
            }
            Item::Size => {
                out.extend_from_slice(b"RFC822.SIZE ");
                wire::number(out, entry.size_bytes);
            }
            Item::Envelope => named(out, b"ENVELOPE ", &summary.envelope),
            Item::Body => named(out, b"BODY ", &summary.body),
            Item::BodyStructure => named(out, b"BODYSTRUCTURE ", &summary.body_structure),
            Item::Section(section, name) => {
                match name {
                    Some(name) => out.extend_from_slice(name.as_bytes()),
                    None => section.label(out),
                }
                out.push(b' ');
                section.write(out, bytes, structure.as_ref());
            }
        }
    }
    out.extend_from_slice(b")\r\n");
}

fn named(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// Most messages asked of the store at once.
const CHUNK_MESSAGES: usize = 200;

/// Most bytes asked of the store at once, unless one message alone is larger.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// Responses are handed over from this size on, also between the messages of a chunk.
const FLUSH_BYTES: usize = 64 * 1024;
