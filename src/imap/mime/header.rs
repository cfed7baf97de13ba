//! Header fields of a message or part, as ranges of its bytes.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr3};

/// One header field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// Name, as written.
    pub(crate) name: &'a [u8],
    /// What follows the colon, folding and final line end included.
    pub(crate) value: &'a [u8],
}

/// Length of the header block that `bytes` start with, empty line included; all of them when there is no empty line.
pub(crate) fn block_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let end = line_end(bytes, at);
        if is_empty_line(&bytes[at..end]) {
            return end;
        }
        at = end;
    }
    at
}

/// The fields of a header block, in order. Lines that are no field (no colon, a leading continuation) are skipped.
pub(crate) fn fields(block: &[u8]) -> impl Iterator<Item = Field<'_>> {
    pieces(block).filter_map(field)
}

/// The lines of a header block with those that continue them, in order; the empty line is left out.
pub(crate) fn pieces(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        if start >= block.len() {
            return None;
        }
        let mut end = line_end(block, start);
        if is_empty_line(&block[start..end]) {
            return None;
        }
        while block.get(end).is_some_and(|b| matches!(b, b' ' | b'\t')) {
            end = line_end(block, end);
        }
        at = end;
        Some(&block[start..end])
    })
}

/// A piece as a field; `None`: it has no name.
pub(crate) fn field(raw: &[u8]) -> Option<Field<'_>> {
    let colon = memchr(b':', raw)?;
    let name = raw[..colon].trim_ascii_end();
    let good = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    good.then(|| Field {
        name,
        value: &raw[colon + 1..],
    })
}

/// The empty line at the end of a header block; nothing when it has none.
pub(crate) fn empty_line(block: &[u8]) -> &[u8] {
    match block {
        b"\r\n" | [.., b'\n', b'\r', b'\n'] => &block[block.len() - 2..],
        b"\n" | [.., b'\n', b'\n'] => &block[block.len() - 1..],
        _ => &[],
    }
}

/// A field that is asked for of many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Bcc,
    Cc,
    ContentDescription,
    ContentDisposition,
    ContentId,
    ContentLanguage,
    ContentLocation,
    ContentMd5,
    ContentTransferEncoding,
    ContentType,
    Date,
    From,
    InReplyTo,
    MessageId,
    References,
    ReplyTo,
    Sender,
    Subject,
    To,
}

impl Name {
    const ALL: [(Self, &'static [u8]); 19] = [
        (Self::Bcc, b"Bcc"),
        (Self::Cc, b"Cc"),
        (Self::ContentDescription, b"Content-Description"),
        (Self::ContentDisposition, b"Content-Disposition"),
        (Self::ContentId, b"Content-ID"),
        (Self::ContentLanguage, b"Content-Language"),
        (Self::ContentLocation, b"Content-Location"),
        (Self::ContentMd5, b"Content-MD5"),
        (Self::ContentTransferEncoding, b"Content-Transfer-Encoding"),
        (Self::ContentType, b"Content-Type"),
        (Self::Date, b"Date"),
        (Self::From, b"From"),
        (Self::InReplyTo, b"In-Reply-To"),
        (Self::MessageId, b"Message-ID"),
        (Self::References, b"References"),
        (Self::ReplyTo, b"Reply-To"),
        (Self::Sender, b"Sender"),
        (Self::Subject, b"Subject"),
        (Self::To, b"To"),
    ];

    /// The one that is written so, without case.
    fn of(written: &[u8]) -> Option<Self> {
        let candidates: &[Self] = match written.len() {
            2 => &[Self::To, Self::Cc],
            3 => &[Self::Bcc],
            4 => &[Self::From, Self::Date],
            6 => &[Self::Sender],
            7 => &[Self::Subject],
            8 => &[Self::ReplyTo],
            10 => &[Self::MessageId, Self::ContentId, Self::References],
            11 => &[Self::InReplyTo, Self::ContentMd5],
            12 => &[Self::ContentType],
            16 => &[Self::ContentLanguage, Self::ContentLocation],
            19 => &[Self::ContentDisposition, Self::ContentDescription],
            25 => &[Self::ContentTransferEncoding],
            _ => &[],
        };
        let mut candidates = candidates.iter().copied();
        candidates.find(|name| Self::ALL[*name as usize].1.eq_ignore_ascii_case(written))
    }
}

/// The fields of a header block found once, for whoever asks for many of them.
pub(crate) struct Block<'a> {
    block: &'a [u8],
    places: Places,
}

/// Where the fields of a header block are that have a [`Name`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    /// Where what follows the colon of the first field of each name begins and ends; no field has its colon before the first byte.
    first: [(u32, u32); Name::ALL.len()],
    /// Names of which there are more, a bit for each.
    repeated: u32,
}

impl Places {
    /// Finds them in a header block. Beyond four gigabytes nothing is found.
    pub(crate) fn of(block: &[u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in known(block) {
            let (Ok(start), Ok(end)) = (u32::try_from(value.start), u32::try_from(value.end)) else {
                break;
            };
            let first = &mut found.first[name as usize];
            if *first == (0, 0) {
                *first = (start, end);
            } else {
                found.repeated |= 1 << name as u32;
            }
        }
        found
    }
}

impl<'a> Block<'a> {
    /// Reads a header block.
    pub(crate) fn of(block: &'a [u8]) -> Self {
        Self::found(block, Places::of(block))
    }

    /// A header block that was read before.
    pub(crate) fn found(block: &'a [u8], places: Places) -> Self {
        Self { block, places }
    }

    fn first(&self, name: Name) -> Option<&'a [u8]> {
        let (start, end) = self.places.first[name as usize];
        let place = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
        if place.is_empty() && place.start == 0 {
            return None;
        }
        self.block.get(place)
    }

    /// What follows the colon of all fields of that name, in order.
    pub(crate) fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        let is_repeated = self.places.repeated & (1 << name as u32) != 0;
        let block = if is_repeated { self.block } else { &[] };
        let others = known(block).filter_map(move |(other, value)| (other == name).then(|| &block[value]));
        self.first(name).into_iter().chain(others.skip(1))
    }

    /// The value of the first field of that name, like [`value_of`].
    pub(crate) fn value(&self, name: Name) -> Option<Cow<'a, [u8]>> {
        self.first(name).map(unfold)
    }
}

/// The fields of a header block that have a [`Name`], in order, with the place of what follows their colon.
fn known(block: &[u8]) -> impl Iterator<Item = (Name, Range<usize>)> {
    let mut at = 0;
    pieces(block).filter_map(move |raw| {
        let start = at;
        at += raw.len();
        let colon = memchr(b':', raw)?;
        let name = Name::of(raw[..colon].trim_ascii_end())?;
        Some((name, start + colon + 1..at))
    })
}

/// The value of the first field of that name, unfolded and trimmed; 8-bit bytes stay.
pub(crate) fn value_of<'a>(block: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    fields(block)
        .find(|f| f.name.eq_ignore_ascii_case(name.as_bytes()))
        .map(|f| unfold(f.value))
}

/// A value on one line (RFC 5322 §2.2.3), trimmed. NUL, which no IMAP string may hold, becomes `?`.
pub(crate) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr3(b'\r', b'\n', 0, value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr3(b'\r', b'\n', 0, rest) {
        out.extend_from_slice(&rest[..at]);
        if rest[at] == 0 {
            out.push(b'?');
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Where the line that starts at `at` ends, line feed included.
pub(crate) fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |feed| at + feed + 1)
}

fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_with_its_empty_line() {
        assert_eq!(block_length(b"A: b\r\n\r\nbody"), 8);
        assert_eq!(block_length(b"A: b\n\nbody"), 6);
        assert_eq!(block_length(b"\r\nbody"), 2);
        assert_eq!(block_length(b"A: b"), 4);
        assert_eq!(block_length(b""), 0);
    }

    #[test]
    fn fields_are_unfolded_and_garbage_is_skipped() {
        let block = b"From nobody Mon\r\nSubject: one\r\n two\r\n\tthree \r\nno field\r\nsubject: later\r\n\r\n";
        assert_eq!(&*value_of(block, "SUBJECT").unwrap(), b"one two\tthree");
        assert_eq!(&*Block::of(block).value(Name::Subject).unwrap(), b"one two\tthree");
        assert_eq!(fields(block).count(), 2);
        assert_eq!(&*value_of(b"X: a\0b\r\n", "x").unwrap(), b"a?b");
        assert_eq!(value_of(block, "To"), None);
    }

    #[test]
    fn fields_that_have_a_name_are_found_as_those_that_are_sought() {
        for (name, written) in Name::ALL {
            let written = str::from_utf8(written).unwrap();
            let block = format!(
                "X-{written}: no\r\n{written} : one\r\n{}:\r\n two\r\n{written}x: no\r\n\r\n{written}: no\r\n",
                written.to_ascii_uppercase()
            );
            let found = Block::of(block.as_bytes());
            assert_eq!(
                found.all(name).collect::<Vec<_>>(),
                [&b" one\r\n"[..], b"\r\n two\r\n"],
                "{written}"
            );
            assert_eq!(found.value(name), value_of(block.as_bytes(), written));
            let others = Name::ALL.iter().filter(|(other, _)| *other != name);
            assert!(
                others
                    .clone()
                    .all(|(other, _)| found.value(*other).is_none() && found.all(*other).next().is_none())
            );
        }
    }
}
