//! A message too large to hold, written as it is read: a piece at a time, each written before the next is asked for.

use std::ops::Range;

use super::Failed;
use super::plan::Item;
use super::write::{self, Known};
use crate::imap::mime::decode::{Coding, Decoder};
use crate::imap::mime::outline::Outline;
use crate::imap::request::{Answer, Loaded, MessageHandle, Request};
use crate::imap::section::{Binary, BinaryPlace, Place, Section};
use crate::imap::session::Core;
use crate::imap::wire;

/// One message on its way.
pub(super) struct Stream {
    /// Its position in the view.
    at: usize,
    message: MessageHandle,
    items: Vec<Item>,
    /// Index of the item being written, or to be written next.
    item: usize,
    flow: Flow,
    outline: Outline,
    loaded: Loaded,
    preview: Option<String>,
    failed: Failed,
}

/// What a stream does next.
pub(super) enum Flowing {
    Ask(Request),
    /// Something was written.
    Written,
    /// The message is complete.
    Over(Failed),
}

/// What is being read, and what for.
enum Flow {
    /// The response has not begun.
    Start,
    /// Nothing: the next item is due.
    Between,
    /// Bytes of a literal, as they are.
    Plain(Range<usize>),
    /// A header block of which some fields are wanted, and what has come of it.
    Fields(Section, Range<usize>, Vec<u8>),
    /// The header block that says how a part is encoded, and what has come of it.
    Head(Wanted, BinaryPlace, Vec<u8>),
    /// A part whose decoded length must be known first.
    Measure(Wanted, Decoding, Measured),
    /// A part decoded into a literal.
    Decode(Decoding, Window),
}

/// BINARY, or BINARY.SIZE.
#[derive(Clone)]
enum Wanted {
    Content(Binary),
    Size(Binary),
}

/// A part on its way through a decoder.
struct Decoding {
    coding: Coding,
    decoder: Decoder,
    body: Range<usize>,
    /// How far it was read.
    at: usize,
}

#[derive(Default)]
struct Measured {
    length: usize,
    has_nul: bool,
}

/// Which of the decoded bytes are wanted, and how many were decoded.
struct Window {
    wanted: Range<usize>,
    passed: usize,
}

impl Decoding {
    fn new(coding: Coding, body: Range<usize>) -> Self {
        Self {
            coding,
            decoder: Decoder::new(coding),
            at: body.start,
            body,
        }
    }

    /// What the next piece means; the end of the part is noticed.
    fn take(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::with_capacity(piece.len());
        self.decoder.feed(piece, &mut decoded);
        self.at += piece.len();
        if self.is_over() {
            std::mem::replace(&mut self.decoder, Decoder::new(self.coding)).finish(&mut decoded);
        }
        decoded
    }

    fn is_over(&self) -> bool {
        self.at >= self.body.end
    }
}

impl Stream {
    pub(super) fn new(
        (at, message): (usize, MessageHandle),
        items: Vec<Item>,
        outline: Outline,
        (loaded, preview): (Loaded, Option<String>),
    ) -> Self {
        Self {
            at,
            message,
            items,
            item: 0,
            flow: Flow::Start,
            outline,
            loaded,
            preview,
            failed: Failed::default(),
        }
    }

    /// Goes on without an answer.
    pub(super) fn go(&mut self, core: &mut Core) -> Flowing {
        if let Some(range) = self.unread() {
            if range.is_empty() {
                self.step(&mut core.out, &[]);
                return Flowing::Written;
            }
            return Flowing::Ask(Request::LoadPart {
                message: self.message,
                offset: range.start as u64,
                length: range.len().min(PIECE_BYTES),
            });
        }
        let Some(item) = self.items.get(self.item).cloned() else {
            write::end(&mut core.out);
            return Flowing::Over(self.failed);
        };
        self.begin(core, item);
        Flowing::Written
    }

    /// What is still to be read for the item under way; `None`: none is.
    fn unread(&self) -> Option<Range<usize>> {
        match &self.flow {
            Flow::Start | Flow::Between => None,
            Flow::Plain(left) => Some(left.clone()),
            Flow::Fields(_, whole, have) => Some(whole.start + have.len()..whole.end),
            Flow::Head(_, place, have) => Some(place.head.start + have.len()..place.head.end),
            Flow::Measure(_, decoding, _) | Flow::Decode(decoding, _) => Some(decoding.at..decoding.body.end),
        }
    }

    /// Takes the piece that was asked for.
    pub(super) fn take(&mut self, core: &mut Core, answer: Option<Answer>) {
        let piece = match answer {
            None => return,
            Some(Answer::Part(Some(piece))) if !piece.is_empty() => piece,
            Some(_) => {
                self.break_off(&mut core.out);
                return;
            }
        };
        self.step(&mut core.out, &piece);
    }

    /// Begins an item.
    fn begin(&mut self, core: &mut Core, item: Item) {
        let enabled = core.enabled;
        let Some((view, out)) = core.view_and_out() else { return };
        if matches!(self.flow, Flow::Start) {
            write::begin(out, self.at);
        }
        self.flow = Flow::Between;
        match item {
            Item::Section(section, name) => {
                write::separate(out);
                match name {
                    Some(name) => out.extend_from_slice(name.as_bytes()),
                    None => section.label(out),
                }
                out.push(b' ');
                self.begin_section(out, section);
            }
            Item::Binary(binary) => self.begin_binary(out, Wanted::Content(binary)),
            Item::BinarySize(binary) => self.begin_binary(out, Wanted::Size(binary)),
            item => {
                write::separate(out);
                let known = Known {
                    loaded: &self.loaded,
                    preview: self.preview.as_deref(),
                    enabled,
                };
                write::small(out, (view, &view.entries()[self.at]), &item, known);
                self.item += 1;
            }
        }
    }

    fn begin_section(&mut self, out: &mut Vec<u8>, section: Section) {
        match section.place(&self.outline) {
            None => {
                out.extend_from_slice(b"NIL");
                self.item += 1;
            }
            Some(Place::Bytes(range)) => {
                let cut = section.cut(range.len());
                let wanted = range.start + cut.start..range.start + cut.end;
                wire::literal_of(out, wanted.len());
                self.flow = Flow::Plain(wanted);
            }
            Some(Place::Fields(range)) => self.flow = Flow::Fields(section, range, Vec::new()),
        }
    }

    fn begin_binary(&mut self, out: &mut Vec<u8>, wanted: Wanted) {
        if let Some(place) = wanted.part().place(&self.outline) {
            self.flow = Flow::Head(wanted, place, Vec::new());
        } else {
            wanted.label(out);
            out.extend_from_slice(if matches!(wanted, Wanted::Size(_)) {
                b"0"
            } else {
                b"NIL"
            });
            self.item += 1;
        }
    }

    /// Goes on with the bytes that were read; none are given where none are needed.
    fn step(&mut self, out: &mut Vec<u8>, piece: &[u8]) {
        match std::mem::replace(&mut self.flow, Flow::Between) {
            Flow::Start | Flow::Between => {}
            Flow::Plain(left) => {
                let piece = &piece[..piece.len().min(left.len())];
                wire::without_nul(out, piece);
                self.go_on(
                    Flow::Plain(left.start + piece.len()..left.end),
                    left.len() > piece.len(),
                );
            }
            Flow::Fields(section, whole, mut have) => {
                have.extend_from_slice(piece);
                if have.len() < whole.len() {
                    self.flow = Flow::Fields(section, whole, have);
                    return;
                }
                let fields = section.fields(&have);
                wire::content(out, &fields[section.cut(fields.len())]);
                self.item += 1;
            }
            Flow::Head(wanted, place, mut have) => {
                have.extend_from_slice(piece);
                if have.len() < place.head.len() {
                    self.flow = Flow::Head(wanted, place, have);
                    return;
                }
                if let Some(coding) = BinaryPlace::coding(&have) {
                    self.flow = Flow::Measure(wanted, Decoding::new(coding, place.body), Measured::default());
                } else {
                    self.failed.encodings += 1;
                    self.item += 1;
                }
            }
            Flow::Measure(wanted, decoding, measured) => self.measure(out, wanted, (decoding, measured), piece),
            Flow::Decode(decoding, window) => self.decode(out, decoding, window, piece),
        }
    }

    /// Stays with the item, or goes on to the next.
    fn go_on(&mut self, flow: Flow, stays: bool) {
        if stays {
            self.flow = flow;
        } else {
            self.item += 1;
        }
    }

    fn measure(
        &mut self,
        out: &mut Vec<u8>,
        wanted: Wanted,
        (mut decoding, mut measured): (Decoding, Measured),
        piece: &[u8],
    ) {
        let decoded = decoding.take(piece);
        measured.length += decoded.len();
        measured.has_nul |= decoded.contains(&0);
        if !decoding.is_over() {
            self.flow = Flow::Measure(wanted, decoding, measured);
            return;
        }
        wanted.label(out);
        match wanted {
            Wanted::Size(_) => {
                wire::number(out, measured.length as u64);
                self.item += 1;
            }
            Wanted::Content(binary) => {
                let window = binary.cut(measured.length);
                if measured.has_nul {
                    out.push(b'~');
                }
                wire::literal_of(out, window.len());
                let again = Decoding::new(decoding.coding, decoding.body);
                let stays = !window.is_empty();
                let window = Window {
                    wanted: window,
                    passed: 0,
                };
                self.go_on(Flow::Decode(again, window), stays);
            }
        }
    }

    fn decode(&mut self, out: &mut Vec<u8>, mut decoding: Decoding, mut window: Window, piece: &[u8]) {
        let decoded = decoding.take(piece);
        let here = window.passed..window.passed + decoded.len();
        let from = window.wanted.start.clamp(here.start, here.end) - here.start;
        let to = window.wanted.end.clamp(here.start, here.end) - here.start;
        out.extend_from_slice(&decoded[from..to]);
        window.passed = here.end;
        let stays = window.passed < window.wanted.end && !decoding.is_over();
        self.go_on(Flow::Decode(decoding, window), stays);
    }

    /// The message is gone, or cannot be read. A literal that was begun is filled, since nothing else can follow; the tagged response says
    /// that it is not what it should be.
    fn break_off(&mut self, out: &mut Vec<u8>) {
        self.failed.cut += 1;
        match std::mem::replace(&mut self.flow, Flow::Between) {
            Flow::Plain(left) => out.resize(out.len() + left.len(), b' '),
            Flow::Decode(_, window) => {
                let left = window.wanted.end - window.wanted.start.max(window.passed).min(window.wanted.end);
                out.resize(out.len() + left, b' ');
            }
            Flow::Fields(..) => out.extend_from_slice(b"NIL"),
            Flow::Head(wanted, ..) | Flow::Measure(wanted, ..) => {
                wanted.label(out);
                out.extend_from_slice(if matches!(wanted, Wanted::Size(_)) {
                    b"0"
                } else {
                    b"NIL"
                });
            }
            Flow::Start | Flow::Between => {}
        }
        self.item += 1;
    }
}

impl Wanted {
    fn part(&self) -> &Binary {
        match self {
            Self::Content(part) | Self::Size(part) => part,
        }
    }

    /// Writes the name of the item and a space.
    fn label(&self, out: &mut Vec<u8>) {
        write::separate(out);
        match self {
            Self::Content(part) => part.label(out, b"BINARY"),
            Self::Size(part) => part.label(out, b"BINARY.SIZE"),
        }
        out.push(b' ');
    }
}

/// Asked of the store at once.
const PIECE_BYTES: usize = 256 * 1024;
