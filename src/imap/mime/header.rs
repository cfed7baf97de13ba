//! Header fields of a message or part, as ranges of its bytes.

use std::borrow::Cow;

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

/// The fields of a header block found once, for whoever asks for many of them.
pub(crate) struct Block<'a>(Vec<Field<'a>>);

impl<'a> Block<'a> {
    /// Reads a header block.
    pub(crate) fn of(block: &'a [u8]) -> Self {
        let mut found = Vec::with_capacity(FIELDS_USUAL);
        found.extend(fields(block));
        Self(found)
    }

    /// All fields of that name, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = Field<'a>> {
        self.0
            .iter()
            .copied()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The value of the first field of that name, like [`value_of`].
    pub(crate) fn value(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.all(name).next().map(|field| unfold(field.value))
    }
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
    for &byte in value {
        match byte {
            b'\r' | b'\n' => {}
            0 => out.push(b'?'),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// Where the line that starts at `at` ends, line feed included.
pub(crate) fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |feed| at + feed + 1)
}

fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

/// As many fields as most messages have.
const FIELDS_USUAL: usize = 24;

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
        assert_eq!(&*Block::of(block).value("SUBJECT").unwrap(), b"one two\tthree");
        assert_eq!(fields(block).count(), 2);
        assert_eq!(&*value_of(b"X: a\0b\r\n", "x").unwrap(), b"a?b");
        assert_eq!(value_of(block, "To"), None);
    }
}
