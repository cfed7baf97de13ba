//! The tree of MIME parts of a message, as ranges of its bytes (RFC 2045, RFC 2046).

use std::ops::Range;

use super::header;
use super::outline::{Inside, Outline};
use super::parameter::{self, Parameterized};
use super::walk::Walker;

/// A part: the whole message, a body part of a multipart, or the message inside a `message/rfc822` part.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its header block, empty line included.
    pub(crate) header: Range<usize>,
    /// Its body.
    pub(crate) body: Range<usize>,
    /// Line ends in its body.
    pub(crate) lines: u64,
    /// The bytes of its header block, as far as they are looked at.
    pub(crate) head: Vec<u8>,
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

/// Type of a part that does not say (RFC 2045 §5.2, RFC 2046 §5.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assumed {
    TextPlain,
    MessageRfc822,
}

impl Part {
    /// Reads the structure of a message.
    pub(crate) fn of_message(bytes: &[u8]) -> Self {
        let mut walker = Walker::new();
        walker.feed(bytes);
        walker.finish()
    }

    /// An empty part of unstructured text that begins here.
    pub(super) fn at(start: usize) -> Self {
        let (media, content_type) = content_type(&[], Assumed::TextPlain);
        Self {
            header: start..start,
            body: start..start,
            lines: 0,
            head: Vec::new(),
            media,
            content_type,
            kind: Kind::Leaf,
        }
    }

    /// Takes in what the header block says of the type.
    pub(super) fn read_head(&mut self, assumed: Assumed) {
        (self.media, self.content_type) = content_type(&self.head, assumed);
    }

    /// Nothing of it lies beyond `end`.
    pub(super) fn end_by(&mut self, end: usize) {
        if self.header.end <= end && self.body.end <= end {
            return;
        }
        for range in [&mut self.header, &mut self.body] {
            *range = range.start.min(end)..range.end.min(end);
        }
        match &mut self.kind {
            Kind::Leaf => {}
            Kind::Multipart(children) => children.iter_mut().for_each(|child| child.end_by(end)),
            Kind::Message(inner) => inner.end_by(end),
        }
    }

    /// Whether it holds a message. RFC 9051 §9 `media-message`: `message/global` (RFC 6532 §3.7) is one too.
    pub(super) fn is_message(&self) -> bool {
        self.media.0 == b"MESSAGE" && (self.media.1 == b"RFC822" || self.media.1 == b"GLOBAL")
    }

    /// Only the places of its parts.
    pub(crate) fn outline(&self) -> Outline {
        Outline {
            header: self.header.clone(),
            body: self.body.clone(),
            inside: match &self.kind {
                Kind::Leaf => Inside::Data,
                Kind::Multipart(children) => Inside::Parts(children.iter().map(Self::outline).collect()),
                Kind::Message(inner) => Inside::Message(Box::new(inner.outline())),
            },
        }
    }
}

fn content_type(block: &[u8], assumed: Assumed) -> ((Vec<u8>, Vec<u8>), Parameterized) {
    if let Some(value) = header::value_of(block, "Content-Type") {
        let mut parsed = parameter::parse(&value);
        let mut halves = parsed.value.splitn(2, |&b| b == b'/');
        let (main, sub) = (token(halves.next()), token(halves.next()));
        if let (Some(main), Some(sub)) = (main, sub) {
            // RFC 2046 §4.1.2: text that names no charset is US-ASCII; every server that clients know says so.
            let charset = |name: &[u8]| name.eq_ignore_ascii_case(b"charset") || name.eq_ignore_ascii_case(b"charset*");
            if main == b"TEXT" && !parsed.parameters.iter().any(|(name, _)| charset(name)) {
                parsed.parameters.push((b"CHARSET".to_vec(), b"us-ascii".to_vec()));
            }
            return ((main, sub), parsed);
        }
    }
    match assumed {
        Assumed::TextPlain => (
            (b"TEXT".to_vec(), b"PLAIN".to_vec()),
            Parameterized {
                value: Vec::new(),
                parameters: vec![(b"CHARSET".to_vec(), b"us-ascii".to_vec())],
            },
        ),
        Assumed::MessageRfc822 => ((b"MESSAGE".to_vec(), b"RFC822".to_vec()), Parameterized::default()),
    }
}

fn token(text: Option<&[u8]>) -> Option<Vec<u8>> {
    let text = text?.trim_ascii();
    let good = !text.is_empty() && text.iter().all(|&b| b.is_ascii_graphic() && !is_special(b));
    good.then(|| text.to_ascii_uppercase())
}

/// `tspecials` of RFC 2045 §5.1.
fn is_special(byte: u8) -> bool {
    matches!(
        byte,
        b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'\\' | b'"' | b'/' | b'[' | b']' | b'?' | b'='
    )
}
