//! What must hold of whatever is read of any message: for property tests and the fuzzer.

use super::grammar::tree::{Section as Named, SectionText};
use super::mime::decode::Coding;
use super::mime::outline::{Inside, Outline};
use super::mime::preview::preview;
use super::render::{Summariser, summarise, without_global};
use super::section::{Place, Section};

/// Checks a message; panics where something does not hold.
pub(super) fn check(message: &[u8]) {
    let summary = summarise(message);
    let mut pieces = Summariser::new();
    for piece in message.chunks(message.len() % 97 + 1) {
        pieces.feed(piece);
    }
    assert!(summary == pieces.finish(), "pieces make no difference");
    assert_eq!(envelope(&summary.envelope), Some(&[][..]), "an envelope is one value");
    for structure in [&summary.body, &summary.body_structure] {
        assert_eq!(body(structure), Some(&[][..]), "a structure is one value");
        assert_eq!(
            body(&without_global(structure)),
            Some(&[][..]),
            "and as RFC 3501 knows it"
        );
    }
    let header_bytes = usize::try_from(summary.header_bytes).unwrap_or(usize::MAX);
    let outline = Outline::of_message(message);
    assert_eq!(Outline::decode(&summary.layout, header_bytes).as_ref(), Some(&outline));
    sections((message, &outline), &outline, &mut Vec::new(), true);
    assert!(preview(message).chars().count() <= 200);
}

/// The sections of a part and of what is in it.
fn sections(whole: (&[u8], &Outline), part: &Outline, number: &mut Vec<u32>, is_message: bool) {
    let message = whole.0;
    assert_eq!(part.header.end, part.body.start);
    assert!(part.header.start <= part.header.end && part.body.start <= part.body.end);
    if is_message {
        let take = |text| bytes(whole, number, text);
        let all = &message[part.header.start..part.body.end];
        let header = take(SectionText::Header);
        assert_eq!(
            [header.clone(), take(SectionText::Text)].concat(),
            all,
            "HEADER and TEXT make the whole"
        );
        let names = || vec![b"Subject".to_vec(), b"content-type".to_vec()];
        let (some, others) = (
            take(SectionText::HeaderFields(names())),
            take(SectionText::HeaderFieldsNot(names())),
        );
        let empty_line = super::mime::header::empty_line(&header).len();
        assert_eq!(
            some.len() + others.len(),
            header.len() + empty_line,
            "no field is lost or doubled"
        );
    }
    match &part.inside {
        Inside::Data => {
            let coding = Coding::of(&message[part.header.clone()]);
            let decoded = coding.decode(&message[part.body.clone()]);
            assert!(decoded.len() <= part.body.len(), "decoding makes nothing longer");
        }
        Inside::Message(inner) => {
            assert_eq!(inner.header.start, part.body.start);
            assert!(inner.body.end <= part.body.end);
            // What is not in a multipart is part 1 of its message.
            if is_message {
                number.push(1);
            }
            assert_eq!(bytes(whole, number, SectionText::Whole), message[part.body.clone()]);
            sections(whole, inner, number, true);
            if is_message {
                number.pop();
            }
        }
        Inside::Parts(children) => {
            let mut from = part.body.start;
            assert!(!children.is_empty());
            for (index, child) in children.iter().enumerate() {
                assert!(from <= child.header.start && child.body.end <= part.body.end);
                from = child.body.end;
                number.push(u32::try_from(index + 1).unwrap_or(u32::MAX));
                assert_eq!(bytes(whole, number, SectionText::Whole), message[child.body.clone()]);
                assert_eq!(bytes(whole, number, SectionText::Mime), message[child.header.clone()]);
                sections(whole, child, number, false);
                number.pop();
            }
        }
    }
}

fn bytes((message, outline): (&[u8], &Outline), number: &[u32], text: SectionText) -> Vec<u8> {
    let part = number
        .iter()
        .filter_map(|number| std::num::NonZeroU32::new(*number))
        .collect();
    let section = Section::new(Named { part, text }, None);
    match section.place(outline) {
        Some(Place::Bytes(range)) => message[range].to_vec(),
        Some(Place::Fields(range)) => section.fields(&message[range]),
        None => {
            assert!(number.is_empty(), "a section of a part that is there is nowhere");
            Vec::new()
        }
    }
}

/// What follows an envelope (RFC 9051 §9).
fn envelope(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"(")?;
    for field in 0..10 {
        if field > 0 {
            rest = rest.strip_prefix(b" ")?;
        }
        rest = if (2..8).contains(&field) {
            addresses(rest)?
        } else {
            nstring(rest)?
        };
    }
    rest.strip_prefix(b")")
}

fn addresses(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"NIL") {
        return Some(rest);
    }
    let mut rest = text.strip_prefix(b"((")?;
    loop {
        for field in 0..4 {
            if field > 0 {
                rest = rest.strip_prefix(b" ")?;
            }
            rest = nstring(rest)?;
        }
        rest = rest.strip_prefix(b")")?;
        match rest.strip_prefix(b"(") {
            Some(next) => rest = next,
            None => return rest.strip_prefix(b")"),
        }
    }
}

/// What follows a `body` (RFC 9051 §9).
fn body(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"(")?;
    if rest.starts_with(b"(") {
        while rest.starts_with(b"(") {
            rest = body(rest)?;
        }
        rest = string(rest.strip_prefix(b" ")?)?;
        return extension(rest, parameters);
    }
    let media = rest;
    rest = string(string(rest)?.strip_prefix(b" ")?)?;
    let media = media[..media.len() - rest.len()].to_ascii_uppercase();
    rest = parameters(rest.strip_prefix(b" ")?)?;
    rest = nstring(rest.strip_prefix(b" ")?)?;
    rest = nstring(rest.strip_prefix(b" ")?)?;
    rest = string(rest.strip_prefix(b" ")?)?;
    rest = number(rest.strip_prefix(b" ")?)?;
    let holds_message = rest.starts_with(b" (") && media.starts_with(b"\"MESSAGE\" ");
    if holds_message {
        rest = body(envelope(rest.strip_prefix(b" ")?)?.strip_prefix(b" ")?)?;
    }
    if holds_message || media.starts_with(b"\"TEXT\" ") {
        rest = number(rest.strip_prefix(b" ")?)?;
    }
    extension(rest, nstring)
}

/// Extension data, if any: its first field, then disposition, languages and location; and the closing parenthesis.
fn extension(text: &[u8], first: fn(&[u8]) -> Option<&[u8]>) -> Option<&[u8]> {
    let Some(rest) = text.strip_prefix(b" ") else {
        return text.strip_prefix(b")");
    };
    let mut rest = first(rest)?.strip_prefix(b" ")?;
    rest = match rest.strip_prefix(b"(") {
        Some(inside) => parameters(string(inside)?.strip_prefix(b" ")?)?.strip_prefix(b")")?,
        None => rest.strip_prefix(b"NIL")?,
    };
    rest = strings(rest.strip_prefix(b" ")?)?;
    nstring(rest.strip_prefix(b" ")?)?.strip_prefix(b")")
}

/// An even number of strings in parentheses, or NIL.
fn parameters(text: &[u8]) -> Option<&[u8]> {
    let rest = strings(text)?;
    Some(rest)
}

fn strings(text: &[u8]) -> Option<&[u8]> {
    let Some(mut rest) = text.strip_prefix(b"(") else {
        return text.strip_prefix(b"NIL");
    };
    loop {
        rest = string(rest)?;
        match rest.strip_prefix(b" ") {
            Some(next) => rest = next,
            None => return rest.strip_prefix(b")"),
        }
    }
}

fn nstring(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"NIL").or_else(|| string(text))
}

/// A quoted string of ASCII, or a literal without NUL.
fn string(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"{") {
        let line = rest.iter().position(|&byte| byte == b'\r')?;
        let length: usize = std::str::from_utf8(rest[..line].strip_suffix(b"}")?)
            .ok()?
            .parse()
            .ok()?;
        let rest = rest[line..].strip_prefix(b"\r\n")?;
        return (!rest.get(..length)?.contains(&0)).then(|| &rest[length..]);
    }
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = match byte {
            b'"' => return Some(after),
            b'\\' => after.strip_prefix(b"\\").or_else(|| after.strip_prefix(b"\""))?,
            b'\r' | b'\n' | 0 | 0x80.. => return None,
            _ => after,
        };
    }
}

fn number(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| &text[digits..])
}
