//! Where the parts of a message lie in its bytes: what a section needs, short enough to be kept beside the message.

use std::ops::Range;

use super::part::Part;

/// The places of a part and of what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Its header block, empty line included.
    pub(crate) header: Range<usize>,
    /// Its body.
    pub(crate) body: Range<usize>,
    /// What is in its body.
    pub(crate) inside: Inside,
}

/// What is in the body of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// Data.
    Data,
    /// Body parts, at least one.
    Parts(Vec<Outline>),
    /// A message.
    Message(Box<Outline>),
}

impl Outline {
    /// Reads the places from the bytes of a message.
    pub(crate) fn of_message(bytes: &[u8]) -> Self {
        Part::of_message(bytes).outline()
    }

    /// A message of which only the length of its header block is known.
    pub(crate) fn unparted(header_bytes: usize, length: usize) -> Self {
        Self {
            header: 0..header_bytes,
            body: header_bytes..length,
            inside: Inside::Data,
        }
    }

    /// The part with this number (RFC 9051 §6.4.5.1), not empty. A message that is no multipart has a part 1, its body.
    pub(crate) fn find(&self, number: &[u32]) -> Option<&Self> {
        let (&first, rest) = number.split_first()?;
        match &self.inside {
            Inside::Parts(children) => {
                let child = children.get(usize::try_from(first).ok()?.checked_sub(1)?)?;
                child.below(rest)
            }
            _ if first == 1 => self.below(rest),
            _ => None,
        }
    }

    fn below(&self, rest: &[u32]) -> Option<&Self> {
        match (&self.inside, rest) {
            (_, []) => Some(self),
            (Inside::Message(inner), rest) => inner.find(rest),
            (Inside::Parts(_), rest) => self.find(rest),
            (Inside::Data, _) => None,
        }
    }

    /// A few bytes per part. The length of the header block of the whole is not in it: a line may be put in front of a message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES_USUAL);
        out.push(FORM);
        self.encode_inside(&mut out);
        out
    }

    fn encode_inside(&self, out: &mut Vec<u8>) {
        put(out, self.body.len());
        match &self.inside {
            Inside::Data => put(out, DATA),
            Inside::Message(inner) => {
                put(out, MESSAGE);
                put(out, inner.header.len());
                inner.encode_inside(out);
            }
            Inside::Parts(children) => {
                put(out, PARTS_FROM + children.len());
                let mut end = self.body.start;
                for child in children {
                    put(out, child.header.start.saturating_sub(end));
                    put(out, child.header.len());
                    child.encode_inside(out);
                    end = child.body.end;
                }
            }
        }
    }

    /// Reads what [`Self::encode`] wrote. `None`: it is not that.
    pub(crate) fn decode(bytes: &[u8], header_bytes: usize) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[FORM])?;
        let found = Self::decode_inside(&mut rest, (0, header_bytes), 0)?;
        rest.is_empty().then_some(found)
    }

    fn decode_inside(rest: &mut &[u8], (start, header_bytes): (usize, usize), depth: usize) -> Option<Self> {
        if depth > DEPTH_MAX {
            return None;
        }
        let body_start = start.checked_add(header_bytes)?;
        let body = body_start..body_start.checked_add(take(rest)?)?;
        let inside = match take(rest)? {
            DATA => Inside::Data,
            MESSAGE => {
                let header_bytes = take(rest)?;
                let inner = Self::decode_inside(rest, (body_start, header_bytes), depth + 1)?;
                Inside::Message(Box::new(inner))
            }
            count => {
                let mut children = Vec::new();
                let mut end = body_start;
                for _ in PARTS_FROM..count {
                    let start = end.checked_add(take(rest)?)?;
                    let header_bytes = take(rest)?;
                    let child = Self::decode_inside(rest, (start, header_bytes), depth + 1)?;
                    end = child.body.end;
                    children.push(child);
                }
                Inside::Parts(children)
            }
        };
        Some(Self {
            header: start..body_start,
            body,
            inside,
        })
    }
}

/// Seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number & 0x7F).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= usize::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Room for the places in most messages.
const BYTES_USUAL: usize = 32;
/// How it is written; another number for another way.
const FORM: u8 = 1;
const DATA: usize = 0;
const MESSAGE: usize = 1;
/// This number and above: so many parts more.
const PARTS_FROM: usize = 2;
/// Deeper than any part that is made.
const DEPTH_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_is_read_back_behind_a_longer_header_too() {
        let message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\n\
            Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntwo\r\n--b--\r\n";
        let outline = Outline::of_message(message);
        let written = outline.encode();
        assert!(written.len() < 24, "{} bytes", written.len());
        assert_eq!(Outline::decode(&written, outline.header.len()), Some(outline));
        let lead = b"Return-Path: <>\r\n";
        let whole = Outline::of_message(&[lead, message.as_slice()].concat());
        assert_eq!(Outline::decode(&written, whole.header.len()), Some(whole));
    }

    #[test]
    fn what_nobody_wrote_is_not_read() {
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x02\x00\x00",
            b"\x01\x05\x00\x00",
            b"\x01\x05\xFF\xFF\xFF\x7F",
        ] {
            assert_eq!(Outline::decode(bytes, 3), None, "{bytes:?}");
        }
        let deep: Vec<u8> = std::iter::once(1)
            .chain([9, 1, 0].into_iter().cycle().take(3_000))
            .collect();
        assert_eq!(Outline::decode(&deep, 0), None);
    }

    proptest! {
        #[test]
        fn any_message_has_an_outline_that_reads_back(
            body in "(--b|--b--|--c|--c--|\r\n|\n|x|Content-Type: multipart/mixed; boundary=[bc]|Content-Type: message/rfc822|: ){0,60}"
        ) {
            let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}");
            let outline = Outline::of_message(message.as_bytes());
            prop_assert_eq!(Outline::decode(&outline.encode(), outline.header.len()), Some(outline));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = Outline::decode(&bytes, 7);
        }
    }
}
