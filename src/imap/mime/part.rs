//! The tree of MIME parts of a message, as ranges of its bytes (RFC 2045, RFC 2046).

use std::borrow::Cow;
use std::ops::Range;

use super::header::{Block, Name, Places};
use super::outline::{Inside, Outline};
use super::parameter::{self, Parameter};
use super::walk::Walker;

/// A part: the whole message, a body part of a multipart, or the message inside a `message/rfc822` part.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its header block, empty line included.
    pub(crate) header: Range<usize>,
    /// Its body.
    pub(crate) body: Range<usize>,
    /// Line ends in its body if that is text or a message; nobody is told of others.
    pub(crate) lines: u64,
    /// The bytes of its header block, as far as they are looked at.
    pub(crate) head: Vec<u8>,
    /// Where its fields are in them.
    places: Places,
    /// What it is.
    pub(crate) media: Media,
    /// What it is because its header block does not say; `None`: it says.
    assumed: Option<Assumed>,
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

/// Type and subtype of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    main: Cow<'static, [u8]>,
    sub: Cow<'static, [u8]>,
}

impl Media {
    /// Both in upper case.
    const fn new(main: &'static [u8], sub: &'static [u8]) -> Self {
        Self {
            main: Cow::Borrowed(main),
            sub: Cow::Borrowed(sub),
        }
    }

    /// What a field says; `None`: nothing that is a type.
    fn of(content_type: &[u8]) -> Option<Self> {
        let value = parameter::value(content_type);
        let mut halves = value.splitn(2, |&b| b == b'/');
        let (main, sub) = (token(halves.next()), token(halves.next()));
        Some(Self { main: main?, sub: sub? })
    }

    /// Type in upper case.
    pub(crate) fn main(&self) -> &[u8] {
        &self.main
    }

    /// Subtype in upper case.
    pub(crate) fn sub(&self) -> &[u8] {
        &self.sub
    }
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
        Self {
            header: start..start,
            body: start..start,
            lines: 0,
            head: Vec::new(),
            places: Places::default(),
            media: TEXT_PLAIN,
            assumed: Some(Assumed::TextPlain),
            kind: Kind::Leaf,
        }
    }

    /// Takes in what the header block says of the type. The boundary of a multipart, if it has one.
    pub(super) fn read_head(&mut self, assumed: Assumed) -> Option<Vec<u8>> {
        self.places = Places::of(&self.head);
        let value = self.block().value(Name::ContentType);
        let said = value.as_deref().and_then(Media::of);
        let assumed = said.is_none().then_some(assumed);
        let media = said.unwrap_or(match assumed {
            Some(Assumed::MessageRfc822) => MESSAGE_RFC822,
            _ => TEXT_PLAIN,
        });
        let boundary = match value.as_deref() {
            Some(value) if media.main() == b"MULTIPART" => parameter::parse(value).into_parameter("boundary"),
            _ => None,
        };
        let boundary = boundary.map(Cow::into_owned);
        (self.assumed, self.media) = (assumed, media);
        boundary
    }

    /// The fields of its header block.
    pub(crate) fn block(&self) -> Block<'_> {
        Block::found(&self.head, self.places)
    }

    /// It is something else than its header block says.
    pub(super) fn becomes_data(&mut self) {
        self.media = Media::new(b"APPLICATION", b"OCTET-STREAM");
    }

    /// The parameters of its type, of which this is the field if it has one; those of the default type when it says none.
    pub(crate) fn parameters<'a>(&self, content_type: Option<&'a [u8]>) -> Vec<Parameter<'a>> {
        // RFC 2046 §4.1.2: text that names no charset is US-ASCII; every server that clients know says so.
        const US_ASCII: Parameter<'static> = (Cow::Borrowed(b"CHARSET"), Cow::Borrowed(b"us-ascii"));
        let said = match self.assumed {
            Some(Assumed::TextPlain) => return vec![US_ASCII],
            Some(Assumed::MessageRfc822) => None,
            None => content_type,
        };
        let Some(value) = said else { return Vec::new() };
        let mut parameters = parameter::parse(value).parameters;
        let charset = |name: &[u8]| name.eq_ignore_ascii_case(b"charset") || name.eq_ignore_ascii_case(b"charset*");
        if self.media.main() == b"TEXT" && !parameters.iter().any(|(name, _)| charset(name)) {
            parameters.push(US_ASCII);
        }
        parameters
    }

    /// Its `charset` parameter.
    pub(crate) fn charset(&self) -> Option<Vec<u8>> {
        let value = self.block().value(Name::ContentType);
        let mut parameters = self.parameters(value.as_deref()).into_iter();
        let found = parameters.find(|(name, _)| name.eq_ignore_ascii_case(b"charset"));
        found.map(|(_, value)| value.into_owned())
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

    /// Whether clients are told how many lines it has.
    pub(super) fn has_lines(&self) -> bool {
        self.media.main() == b"TEXT" || self.is_message()
    }

    /// Whether it holds a message. RFC 9051 §9 `media-message`: `message/global` (RFC 6532 §3.7) is one too.
    pub(super) fn is_message(&self) -> bool {
        self.media.main() == b"MESSAGE" && matches!(self.media.sub(), b"RFC822" | b"GLOBAL")
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

fn token(text: Option<&[u8]>) -> Option<Cow<'static, [u8]>> {
    let text = text?.trim_ascii();
    let good = !text.is_empty() && text.iter().all(|&b| b.is_ascii_graphic() && !is_special(b));
    good.then(|| upper(text))
}

/// A word in upper case.
pub(crate) fn upper(word: &[u8]) -> Cow<'static, [u8]> {
    let mut usual = USUAL.iter();
    match usual.find(|usual| usual.eq_ignore_ascii_case(word)) {
        Some(usual) => Cow::Borrowed(usual),
        None => Cow::Owned(word.to_ascii_uppercase()),
    }
}

/// `tspecials` of RFC 2045 §5.1.
fn is_special(byte: u8) -> bool {
    matches!(
        byte,
        b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'\\' | b'"' | b'/' | b'[' | b']' | b'?' | b'='
    )
}

const TEXT_PLAIN: Media = Media::new(b"TEXT", b"PLAIN");
const MESSAGE_RFC822: Media = Media::new(b"MESSAGE", b"RFC822");

/// Types, subtypes and encodings of nearly all parts.
const USUAL: [&[u8]; 15] = [
    b"TEXT",
    b"PLAIN",
    b"HTML",
    b"XML",
    b"MULTIPART",
    b"MIXED",
    b"ALTERNATIVE",
    b"APPLICATION",
    b"PDF",
    b"ZIP",
    b"OCTET-STREAM",
    b"7BIT",
    b"8BIT",
    b"BASE64",
    b"QUOTED-PRINTABLE",
];
