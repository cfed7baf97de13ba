//! The tree of MIME parts of a message, as ranges of its bytes (RFC 2045, RFC 2046).

use std::ops::Range;

use memchr::{memmem, memrchr};

use super::header;
use super::parameter::{self, Parameterized};

/// A part: the whole message, a body part of a multipart, or the message inside a `message/rfc822` part.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its header block, empty line included.
    pub(crate) header: Range<usize>,
    /// Its body.
    pub(crate) body: Range<usize>,
    /// Type, subtype in upper case.
    pub(crate) media: (Vec<u8>, Vec<u8>),
    /// Content-Type with its parameters; those of the default type when there is none.
    pub(crate) content_type: Parameterized,
    /// What is inside.
    pub(crate) kind: Kind,
}

/// What is inside a part.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Data.
    Leaf,
    /// Body parts; never empty: a multipart without any gets one empty text part, since BODYSTRUCTURE has no way to say "none".
    Multipart(Vec<Part>),
    /// A message.
    Message(Box<Part>),
}

impl Part {
    /// Reads the structure of a message.
    pub(crate) fn of_message(bytes: &[u8]) -> Self {
        let mut walker = Walker { bytes, parts: 0 };
        walker.part(0..bytes.len(), Default::TextPlain, 0)
    }

    /// The part with this number (RFC 3501 §6.4.5), not empty. A message that is no multipart has a part 1, its body.
    pub(crate) fn find(&self, number: &[u32]) -> Option<&Self> {
        let (&first, rest) = number.split_first()?;
        match &self.kind {
            Kind::Multipart(children) => {
                let child = children.get(usize::try_from(first).ok()?.checked_sub(1)?)?;
                child.below(rest)
            }
            _ if first == 1 => self.below(rest),
            _ => None,
        }
    }

    fn below(&self, rest: &[u32]) -> Option<&Self> {
        match (&self.kind, rest) {
            (_, []) => Some(self),
            (Kind::Message(inner), rest) => inner.find(rest),
            (Kind::Multipart(_), rest) => self.find(rest),
            (Kind::Leaf, _) => None,
        }
    }
}

/// Type of a part that does not say (RFC 2045 §5.2, RFC 2046 §5.1.5).
#[derive(Clone, Copy)]
enum Default {
    TextPlain,
    MessageRfc822,
}

struct Walker<'a> {
    bytes: &'a [u8],
    parts: usize,
}

impl Walker<'_> {
    fn part(&mut self, range: Range<usize>, default: Default, depth: usize) -> Part {
        self.parts += 1;
        let header_end = range.start + header::block_length(&self.bytes[range.clone()]);
        let header = range.start..header_end;
        let body = header_end..range.end;
        let (media, content_type) = content_type(&self.bytes[header.clone()], default);
        let mut part = Part {
            header,
            body: body.clone(),
            media,
            content_type,
            kind: Kind::Leaf,
        };
        let deep = depth >= DEPTH_MAX || self.parts >= PARTS_MAX;
        match (part.media.0.as_slice(), part.media.1.as_slice()) {
            (b"MULTIPART", _) if !deep => part.kind = Kind::Multipart(self.children(&part, depth)),
            (b"MESSAGE", b"RFC822") if !deep => {
                part.kind = Kind::Message(Box::new(self.part(body, Default::TextPlain, depth + 1)));
            }
            // RFC 3501 §7.4.2: these two types promise an inside; too deep to show, they are shown as data.
            (b"MULTIPART", _) | (b"MESSAGE", b"RFC822") => {
                part.media = (b"APPLICATION".to_vec(), b"OCTET-STREAM".to_vec());
            }
            _ => {}
        }
        part
    }

    fn children(&mut self, part: &Part, depth: usize) -> Vec<Part> {
        let default = match part.media.1.as_slice() {
            b"DIGEST" => Default::MessageRfc822,
            _ => Default::TextPlain,
        };
        let ranges = match part.content_type.parameter("boundary") {
            Some(boundary) if !boundary.is_empty() => {
                body_parts(self.bytes, part.body.clone(), boundary.trim_ascii_end())
            }
            _ => Vec::new(),
        };
        let mut children = Vec::with_capacity(ranges.len());
        for range in ranges {
            if self.parts >= PARTS_MAX {
                break;
            }
            children.push(self.part(range, default, depth + 1));
        }
        if children.is_empty() {
            children.push(self.part(part.body.end..part.body.end, Default::TextPlain, depth + 1));
        }
        children
    }
}

/// The ranges between delimiter lines (RFC 2046 §5.1.1). The line end before a delimiter belongs to it; a missing close
/// delimiter is made up for by the end of the body.
fn body_parts(bytes: &[u8], body: Range<usize>, boundary: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    let mut at = body.start;
    let line_start = memmem::Finder::new(boundary);
    while at < body.end {
        // Whole lines without the boundary are passed over at once.
        let Some(next) = line_start.find(&bytes[at..body.end]) else {
            break;
        };
        at = memrchr(b'\n', &bytes[at..at + next]).map_or(at, |feed| at + feed + 1);
        let end = header::line_end(&bytes[..body.end], at);
        if let Some(close) = delimiter(&bytes[at..end], boundary) {
            if let Some(from) = start {
                found.push(from..before_line_end(bytes, from, at));
            }
            if close || found.len() >= PARTS_MAX {
                return found;
            }
            start = Some(end);
        }
        at = end;
    }
    found.extend(start.map(|from| from..body.end));
    found
}

/// Whether a line is a delimiter, and then whether it is the closing one.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (close, rest) = match rest.strip_prefix(b"--") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    rest.iter().all(u8::is_ascii_whitespace).then_some(close)
}

fn before_line_end(bytes: &[u8], from: usize, at: usize) -> usize {
    match &bytes[from..at] {
        [.., b'\r', b'\n'] => at - 2,
        [.., b'\n'] => at - 1,
        _ => at,
    }
}

fn content_type(block: &[u8], default: Default) -> ((Vec<u8>, Vec<u8>), Parameterized) {
    if let Some(value) = header::value_of(block, "Content-Type") {
        let parsed = parameter::parse(&value);
        let mut halves = parsed.value.splitn(2, |&b| b == b'/');
        let (main, sub) = (token(halves.next()), token(halves.next()));
        if let (Some(main), Some(sub)) = (main, sub) {
            return ((main, sub), parsed);
        }
    }
    match default {
        Default::TextPlain => (
            (b"TEXT".to_vec(), b"PLAIN".to_vec()),
            Parameterized {
                value: Vec::new(),
                parameters: vec![(b"CHARSET".to_vec(), b"us-ascii".to_vec())],
            },
        ),
        Default::MessageRfc822 => ((b"MESSAGE".to_vec(), b"RFC822".to_vec()), Parameterized::default()),
    }
}

fn token(text: Option<&[u8]>) -> Option<Vec<u8>> {
    let text = text?.trim_ascii();
    let good = !text.is_empty()
        && text
            .iter()
            .all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(b));
    good.then(|| text.to_ascii_uppercase())
}

/// Deeper parts are shown as data.
const DEPTH_MAX: usize = 20;

/// More parts than this are left out.
const PARTS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text<'a>(message: &'a [u8], number: &[u32]) -> Option<&'a str> {
        let root = Part::of_message(message);
        let part = root.find(number)?;
        std::str::from_utf8(&message[part.body.clone()]).ok()
    }

    #[test]
    fn parts_are_numbered_as_the_standard_says() {
        let message =
            b"Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\npreamble\r\n--a b\r\n\r\none\r\n--a b \r\n\
            Content-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n\
            --in\r\n\r\ntwo.one\r\n--in\r\nContent-Type: text/html\r\n\r\ntwo.two\r\n--in--\r\n\r\n--a b--\r\nepilogue";
        assert_eq!(text(message, &[1]), Some("one"));
        assert_eq!(text(message, &[2, 1]), Some("two.one"));
        assert_eq!(text(message, &[2, 2]), Some("two.two"));
        assert!(text(message, &[2]).unwrap().starts_with("Subject: in\r\n"));
        assert_eq!(text(message, &[1, 1]), None);
        assert_eq!(text(message, &[3]), None);
        assert_eq!(text(message, &[0]), None);
    }

    #[test]
    fn a_boundary_that_starts_like_another_is_not_it() {
        let message = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=xy\r\n\r\n\
            --xy\r\n\r\ninner\r\n--xy--\r\n--x\r\n\r\nlast";
        assert_eq!(text(message, &[1, 1]), Some("inner"));
        assert_eq!(text(message, &[2]), Some("last"));
    }

    #[test]
    fn a_plain_message_has_one_part_and_an_empty_multipart_too() {
        assert_eq!(text(b"Subject: x\r\n\r\nbody", &[1]), Some("body"));
        assert_eq!(text(b"Subject: x\r\n\r\nbody", &[2]), None);
        assert_eq!(text(b"Content-Type: multipart/mixed\r\n\r\nbody", &[1]), Some(""));
        assert_eq!(
            text(b"Content-Type: multipart/mixed; boundary=q\r\n\r\nbody", &[1]),
            Some("")
        );
        assert_eq!(
            text(b"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q--\r\n", &[1]),
            Some("")
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let mut message = Vec::new();
        for _ in 0..500 {
            message.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\n");
        }
        let mut part = &Part::of_message(&message);
        let mut depth = 0;
        while let Kind::Message(inner) = &part.kind {
            part = inner;
            depth += 1;
        }
        assert_eq!(depth, DEPTH_MAX);
        assert_eq!(part.media.0, b"APPLICATION");
    }

    proptest! {
        #[test]
        fn any_bytes_are_some_message(
            body in "(--b|--b--|\r\n|\n|x|Content-Type: multipart/mixed; boundary=b|Content-Type: message/rfc822|: ){0,40}"
        ) {
            let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}");
            let root = Part::of_message(message.as_bytes());
            prop_assert!(matches!(root.kind, Kind::Multipart(_)));
        }
    }
}
