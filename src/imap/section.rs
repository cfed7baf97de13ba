//! `BODY[section]<partial>`: which bytes of a message a client asked for (RFC 3501 §6.4.5).

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::Range;

use super::grammar::tree::{Partial, Section as Named, SectionText};
use super::mime::decode::Coding;
use super::mime::header;
use super::mime::outline::{Inside, Outline};
use super::wire;

/// A section of a message, checked and kept apart from the codec's borrowed types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Part numbers; empty: the message.
    number: Vec<u32>,
    text: SectionText,
    /// First byte and length.
    partial: Option<Partial>,
}

impl Section {
    /// The whole message.
    pub(crate) const WHOLE: Self = Self::plain(SectionText::Whole);
    /// Its header block.
    pub(crate) const HEADER: Self = Self::plain(SectionText::Header);
    /// Its body.
    pub(crate) const TEXT: Self = Self::plain(SectionText::Text);

    const fn plain(text: SectionText) -> Self {
        Self {
            number: Vec::new(),
            text,
            partial: None,
        }
    }

    /// As a command names it.
    pub(crate) fn new(section: Named, partial: Option<Partial>) -> Self {
        Self {
            number: section.part.iter().map(|n| n.get()).collect(),
            text: section.text,
            partial,
        }
    }

    /// Whether the header block of the message is enough to answer.
    pub(crate) fn needs_only_header(&self) -> bool {
        self.number.is_empty()
            && matches!(
                self.text,
                SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)
            )
    }

    /// Whether the tree of parts is needed.
    pub(crate) fn needs_structure(&self) -> bool {
        !self.number.is_empty()
    }

    /// Writes `BODY[…]<origin>` as the response names it.
    pub(crate) fn label(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"BODY[");
        part_number(out, &self.number);
        if !self.number.is_empty() && self.text != SectionText::Whole {
            out.push(b'.');
        }
        match &self.text {
            SectionText::Whole => {}
            SectionText::Header => out.extend_from_slice(b"HEADER"),
            SectionText::HeaderFields(names) => field_list(out, b"HEADER.FIELDS", names),
            SectionText::HeaderFieldsNot(names) => field_list(out, b"HEADER.FIELDS.NOT", names),
            SectionText::Text => out.extend_from_slice(b"TEXT"),
            SectionText::Mime => out.extend_from_slice(b"MIME"),
        }
        out.push(b']');
        label_partial(out, self.partial);
    }

    /// Writes the bytes as a literal, or `NIL` when the message has no such section.
    /// `outline` is needed when [`Self::needs_structure`] says so.
    pub(crate) fn write(&self, out: &mut Vec<u8>, message: &[u8], outline: Option<&Outline>) {
        match self.extract(message, outline) {
            None => out.extend_from_slice(b"NIL"),
            Some(bytes) => wire::content(out, &bytes[self.cut(bytes.len())]),
        }
    }

    fn extract<'m>(&self, message: &'m [u8], outline: Option<&Outline>) -> Option<Cow<'m, [u8]>> {
        let whole;
        let outline = if let Some(outline) = outline {
            outline
        } else {
            let end = header::block_length(message);
            whole = Outline::unparted(end, message.len());
            &whole
        };
        match self.place(outline)? {
            Place::Bytes(range) => message.get(range).map(Cow::Borrowed),
            Place::Fields(range) => Some(Cow::Owned(self.fields(message.get(range)?))),
        }
    }

    /// Where in the message it lies; `None`: nowhere.
    pub(crate) fn place(&self, outline: &Outline) -> Option<Place> {
        if self.number.is_empty() {
            return match self.text {
                SectionText::Whole => Some(Place::Bytes(0..outline.body.end)),
                SectionText::Mime => None,
                _ => Some(self.of_message(outline)),
            };
        }
        let part = outline.find(&self.number)?;
        match (&self.text, &part.inside) {
            (SectionText::Whole, _) => Some(Place::Bytes(part.body.clone())),
            (SectionText::Mime, _) => Some(Place::Bytes(part.header.clone())),
            (_, Inside::Message(inner)) => Some(self.of_message(inner)),
            _ => None,
        }
    }

    fn of_message(&self, message: &Outline) -> Place {
        match &self.text {
            SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_) => Place::Fields(message.header.clone()),
            SectionText::Header => Place::Bytes(message.header.clone()),
            _ => Place::Bytes(message.body.clone()),
        }
    }

    /// The fields that are asked for, of a header block.
    pub(crate) fn fields(&self, block: &[u8]) -> Vec<u8> {
        match &self.text {
            SectionText::HeaderFields(names) => subset(block, |name| name.is_some_and(|name| has(names, name))),
            SectionText::HeaderFieldsNot(names) => subset(block, |name| name.is_none_or(|name| !has(names, name))),
            _ => block.to_vec(),
        }
    }

    /// What the partial leaves of so many bytes.
    pub(crate) fn cut(&self, length: usize) -> Range<usize> {
        cut(self.partial, length)
    }
}

/// `BINARY[section]<partial>`: a part without its transfer encoding (RFC 3516 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    /// Part numbers; empty: the message, which as a whole has no encoding.
    number: Vec<u32>,
    partial: Option<Partial>,
}

/// Where such a part lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BinaryPlace {
    /// The header block that says how it is encoded; empty: not at all.
    pub(crate) head: Range<usize>,
    pub(crate) body: Range<usize>,
}

impl BinaryPlace {
    /// How it is encoded; `None`: nobody knows.
    pub(crate) fn coding(head: &[u8]) -> Option<Coding> {
        match Coding::of(head) {
            Coding::Unknown => None,
            known => Some(known),
        }
    }
}

impl Binary {
    pub(crate) fn new(part: &[NonZeroU32], partial: Option<Partial>) -> Self {
        Self {
            number: part.iter().map(|number| number.get()).collect(),
            partial,
        }
    }

    /// Writes its name: `what` and the part.
    pub(crate) fn label(&self, out: &mut Vec<u8>, what: &[u8]) {
        out.extend_from_slice(what);
        out.push(b'[');
        part_number(out, &self.number);
        out.push(b']');
        label_partial(out, self.partial);
    }

    /// Where it lies; `None`: nowhere. RFC 2045 §6.4: multiparts and messages have no encoding of their own.
    pub(crate) fn place(&self, outline: &Outline) -> Option<BinaryPlace> {
        if self.number.is_empty() {
            return Some(BinaryPlace {
                head: 0..0,
                body: 0..outline.body.end,
            });
        }
        let part = outline.find(&self.number)?;
        Some(BinaryPlace {
            head: match part.inside {
                Inside::Data => part.header.clone(),
                Inside::Parts(_) | Inside::Message(_) => 0..0,
            },
            body: part.body.clone(),
        })
    }

    /// What the partial leaves of so many decoded bytes.
    pub(crate) fn cut(&self, length: usize) -> Range<usize> {
        cut(self.partial, length)
    }
}

fn part_number(out: &mut Vec<u8>, number: &[u32]) {
    for (index, number) in number.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        wire::number(out, u64::from(*number));
    }
}

fn label_partial(out: &mut Vec<u8>, partial: Option<Partial>) {
    if let Some((origin, _)) = partial {
        out.push(b'<');
        wire::number(out, origin);
        out.push(b'>');
    }
}

/// What a partial (first byte, length) leaves of so many bytes.
pub(crate) fn cut(partial: Option<Partial>, length: usize) -> Range<usize> {
    match partial {
        None => 0..length,
        Some((origin, wanted)) => {
            let start = usize::try_from(origin).unwrap_or(usize::MAX).min(length);
            let wanted = usize::try_from(wanted.get()).unwrap_or(usize::MAX);
            start..start.saturating_add(wanted).min(length)
        }
    }
}

/// Where a section lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// These bytes.
    Bytes(Range<usize>),
    /// Some fields of the header block that lies there.
    Fields(Range<usize>),
}

fn subset(block: &[u8], wanted: impl Fn(Option<&[u8]>) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in header::pieces(block) {
        if wanted(header::field(piece).map(|field| field.name)) {
            out.extend_from_slice(piece);
        }
    }
    // RFC 9051 §6.4.5.1: the blank line is included, "except in the case of a message that has no body and no blank line".
    out.extend_from_slice(header::empty_line(block));
    out
}

fn has(names: &[Vec<u8>], name: &[u8]) -> bool {
    names.iter().any(|n| n.eq_ignore_ascii_case(name))
}

fn field_list(out: &mut Vec<u8>, what: &[u8], names: &[Vec<u8>]) {
    out.extend_from_slice(what);
    out.extend_from_slice(b" (");
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        wire::astring(out, name);
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::grammar;
    use crate::imap::grammar::tree::{Body, FetchItem};

    fn section(text: &str) -> Section {
        let line = format!("a FETCH 1 BODY{text}\r\n");
        let Body::Fetch(mut fetch) = grammar::parse(line.as_bytes()).unwrap().body else {
            panic!("not a fetch");
        };
        match fetch.items.pop() {
            Some(FetchItem::Section { section, partial, .. }) => Section::new(section, partial),
            other => panic!("{other:?}"),
        }
    }

    fn fetched(message: &str, asked: &str) -> String {
        let section = section(asked);
        let mut out = Vec::new();
        section.label(&mut out);
        out.push(b' ');
        section.write(
            &mut out,
            message.as_bytes(),
            Some(&Outline::of_message(message.as_bytes())),
        );
        String::from_utf8(out).unwrap()
    }

    const MESSAGE: &str = "From: a@b\r\nSubject: s\r\n\tfolded\r\nX: 1\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: message/rfc822\r\nX-Mime: y\r\n\r\n\
        Subject: in\r\n\r\ninner\r\n--b--\r\n";

    #[test]
    fn sections_are_exact() {
        for (asked, expected) in [
            ("[1]", "BODY[1] {5}\r\nhello"),
            ("[1.MIME]", "BODY[1.MIME] {28}\r\nContent-Type: text/plain\r\n\r\n"),
            ("[2]", "BODY[2] {20}\r\nSubject: in\r\n\r\ninner"),
            ("[2.HEADER]", "BODY[2.HEADER] {15}\r\nSubject: in\r\n\r\n"),
            ("[2.TEXT]", "BODY[2.TEXT] {5}\r\ninner"),
            ("[2.1]", "BODY[2.1] {5}\r\ninner"),
            (
                "[2.HEADER.FIELDS (subject)]",
                "BODY[2.HEADER.FIELDS (subject)] {15}\r\nSubject: in\r\n\r\n",
            ),
            (
                "[2.MIME]",
                "BODY[2.MIME] {43}\r\nContent-Type: message/rfc822\r\nX-Mime: y\r\n\r\n",
            ),
            (
                "[HEADER.FIELDS (SUBJECT x)]",
                "BODY[HEADER.FIELDS (SUBJECT x)] {29}\r\nSubject: s\r\n\tfolded\r\nX: 1\r\n\r\n",
            ),
            ("[HEADER.FIELDS (None)]", "BODY[HEADER.FIELDS (None)] {2}\r\n\r\n"),
            (
                "[HEADER.FIELDS.NOT (Subject From Content-Type)]",
                "BODY[HEADER.FIELDS.NOT (Subject From Content-Type)] {8}\r\nX: 1\r\n\r\n",
            ),
            ("[3]", "BODY[3] NIL"),
            ("[1.HEADER]", "BODY[1.HEADER] NIL"),
            ("[1.TEXT]", "BODY[1.TEXT] NIL"),
            ("[]<0.6>", "BODY[]<0> {6}\r\nFrom: "),
            ("[1]<3.10>", "BODY[1]<3> {2}\r\nlo"),
            ("[1]<5.1>", "BODY[1]<5> {0}\r\n"),
            ("[1]<900.1>", "BODY[1]<900> {0}\r\n"),
            // RFC 9051 §9, `partial`: both numbers have 63 bits.
            ("[1]<0.9223372036854775807>", "BODY[1]<0> {5}\r\nhello"),
            ("[1]<4294967296.1>", "BODY[1]<4294967296> {0}\r\n"),
        ] {
            assert_eq!(fetched(MESSAGE, asked), expected);
        }
        assert_eq!(
            fetched(MESSAGE, "[]"),
            format!("BODY[] {{{}}}\r\n{MESSAGE}", MESSAGE.len())
        );
    }

    #[test]
    fn header_and_text_make_the_whole() {
        let take = |asked: &str| fetched(MESSAGE, asked).split_once("\r\n").unwrap().1.to_owned();
        assert_eq!(take("[HEADER]") + &take("[TEXT]"), MESSAGE);
    }

    #[test]
    fn a_plain_message_has_part_one() {
        let message = "Subject: x\r\n\r\nbody\r\n";
        assert_eq!(fetched(message, "[1]"), "BODY[1] {6}\r\nbody\r\n");
        assert_eq!(fetched(message, "[1.MIME]"), "BODY[1.MIME] {14}\r\nSubject: x\r\n\r\n");
        assert_eq!(fetched(message, "[1.HEADER]"), "BODY[1.HEADER] NIL");
        assert_eq!(fetched("Subject: x", "[TEXT]"), "BODY[TEXT] {0}\r\n");
        assert_eq!(
            fetched("A: b", "[HEADER.FIELDS (A)]"),
            "BODY[HEADER.FIELDS (A)] {4}\r\nA: b"
        );
    }

    #[test]
    fn fields_wanted_and_not_wanted_are_all_there_is() {
        let message = " odd\r\nno field\r\nA: 1\r\n x\r\n: y\r\na : 2\r\nB: 3\r\n\r\nbody";
        assert_eq!(
            fetched(message, "[HEADER.FIELDS (a)]"),
            "BODY[HEADER.FIELDS (a)] {19}\r\nA: 1\r\n x\r\na : 2\r\n\r\n"
        );
        assert_eq!(
            fetched(message, "[HEADER.FIELDS.NOT (a)]"),
            "BODY[HEADER.FIELDS.NOT (a)] {29}\r\n odd\r\nno field\r\n: y\r\nB: 3\r\n\r\n"
        );
    }
}
