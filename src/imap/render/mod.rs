//! ENVELOPE, BODY and BODYSTRUCTURE in wire form, computed from the bytes of a message (RFC 3501 §7.4.2).

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::mime::Walker;
use super::mime::address::{self, Mailbox};
use super::mime::header::{Block, Name};
use super::mime::parameter::{self, Parameter};
use super::mime::part::{Kind, Part, upper};
use super::request::Summary;
use super::wire;

/// Everything IMAP asks for again and again about a message. `bytes` are what a client reads: lead and content.
pub fn summarise(bytes: &[u8]) -> Summary {
    let mut summariser = Summariser::new();
    summariser.feed(bytes);
    summariser.finish()
}

/// The same for a message that comes in pieces: no more of it is kept than its header blocks.
pub struct Summariser(Walker);

impl Summariser {
    /// Before the first byte.
    #[expect(clippy::new_without_default, reason = "a summary of nothing is no default")]
    pub fn new() -> Self {
        Self(Walker::new())
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// After the last byte.
    pub fn finish(self) -> Summary {
        let root = self.0.finish();
        let mut structures = Structures {
            basic: Vec::with_capacity(SUMMARY_BYTES_USUAL),
            extended: Vec::with_capacity(SUMMARY_BYTES_USUAL),
        };
        structures.part(&root);
        let mut summary = Summary {
            header_bytes: u32::try_from(root.header.len()).unwrap_or(u32::MAX),
            layout: root.outline().encode(),
            body: structures.basic,
            body_structure: structures.extended,
            envelope: Vec::with_capacity(SUMMARY_BYTES_USUAL),
        };
        envelope(&mut summary.envelope, &root.block());
        summary
    }
}

/// Writes the envelope of a header block.
pub(crate) fn envelope(out: &mut Vec<u8>, block: &Block<'_>) {
    let nstring = |out: &mut Vec<u8>, name| wire::nstring(out, block.value(name).as_deref());
    out.push(b'(');
    nstring(out, Name::Date);
    out.push(b' ');
    nstring(out, Name::Subject);
    out.push(b' ');
    let from = out.len();
    addresses(out, block, Name::From);
    let from = from..out.len();
    // RFC 3501 §7.4.2: an absent or empty Sender or Reply-To is the From.
    for name in [Name::Sender, Name::ReplyTo] {
        out.push(b' ');
        if !some_addresses(out, block, name) {
            out.extend_from_within(from.clone());
        }
    }
    for name in [Name::To, Name::Cc, Name::Bcc] {
        out.push(b' ');
        addresses(out, block, name);
    }
    for name in [Name::InReplyTo, Name::MessageId] {
        out.push(b' ');
        nstring(out, name);
    }
    out.push(b')');
}

fn addresses(out: &mut Vec<u8>, block: &Block<'_>, name: Name) {
    if !some_addresses(out, block, name) {
        out.extend_from_slice(b"NIL");
    }
}

/// Writes the addresses of all fields of that name: broken mailers repeat `To`. `false`: there is none, and nothing is written.
fn some_addresses(out: &mut Vec<u8>, block: &Block<'_>, name: Name) -> bool {
    let start = out.len();
    for mailbox in block.all(name).flat_map(address::list).take(ADDRESSES_MAX) {
        if out.len() == start {
            out.push(b'(');
        }
        address(out, &mailbox);
    }
    let is_some = out.len() > start;
    if is_some {
        out.push(b')');
    }
    is_some
}

fn address(out: &mut Vec<u8>, mailbox: &Mailbox<'_>) {
    out.push(b'(');
    wire::nstring(out, mailbox.name.as_deref());
    out.push(b' ');
    wire::nstring(out, mailbox.route.as_deref());
    out.push(b' ');
    wire::nstring(out, mailbox.local.as_deref());
    out.push(b' ');
    wire::nstring(out, mailbox.domain.as_deref());
    out.push(b')');
}

/// BODY and BODYSTRUCTURE while they are written: the same, but for the extension data.
struct Structures {
    /// BODY.
    basic: Vec<u8>,
    /// BODYSTRUCTURE.
    extended: Vec<u8>,
}

impl Structures {
    /// Writes what both have.
    fn both(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.extended.len();
        write(&mut self.extended);
        self.basic.extend_from_slice(&self.extended[start..]);
    }

    fn part(&mut self, part: &Part) {
        let block = part.block();
        self.both(|out| out.push(b'('));
        if let Kind::Multipart(children) = &part.kind {
            for child in children {
                self.part(child);
            }
            self.both(|out| {
                out.push(b' ');
                wire::string(out, part.media.sub());
            });
            self.extended.push(b' ');
            let content_type = block.value(Name::ContentType);
            parameters(&mut self.extended, &part.parameters(content_type.as_deref()));
        } else {
            self.single(part, &block);
            self.extended.push(b' ');
            wire::nstring(&mut self.extended, block.value(Name::ContentMd5).as_deref());
        }
        disposition_language_location(&mut self.extended, &block);
        self.both(|out| out.push(b')'));
    }

    /// `body-type-basic`, `body-type-text` or `body-type-msg`, without extension data.
    fn single(&mut self, part: &Part, block: &Block<'_>) {
        self.both(|out| fields(out, part, block));
        if let Kind::Message(inner) = &part.kind {
            // An address of two bytes takes fifty in an envelope: a small message of many must not become a large answer.
            let enough = self.extended.len() > ENVELOPES_BYTES_MAX;
            self.both(|out| {
                out.push(b' ');
                envelope(out, &if enough { Block::of(b"") } else { inner.block() });
                out.push(b' ');
            });
            self.part(inner);
        }
        if matches!(part.kind, Kind::Message(_)) || part.media.main() == b"TEXT" {
            self.both(|out| {
                out.push(b' ');
                wire::number(out, part.lines);
            });
        }
    }
}

/// `media-basic` and `body-fields`.
fn fields(out: &mut Vec<u8>, part: &Part, block: &Block<'_>) {
    wire::string(out, part.media.main());
    out.push(b' ');
    wire::string(out, part.media.sub());
    out.push(b' ');
    let content_type = block.value(Name::ContentType);
    parameters(out, &part.parameters(content_type.as_deref()));
    for name in [Name::ContentId, Name::ContentDescription] {
        out.push(b' ');
        wire::nstring(out, block.value(name).as_deref());
    }
    out.push(b' ');
    wire::string(out, &encoding(block));
    out.push(b' ');
    wire::number(out, part.body.len() as u64);
}

/// The transfer encoding in capitals; `7BIT` when absent (RFC 2045 §6.1).
fn encoding(block: &Block<'_>) -> Cow<'static, [u8]> {
    let value = block.value(Name::ContentTransferEncoding).unwrap_or_default();
    let value = parameter::value(&value);
    upper(if value.is_empty() { b"7BIT" } else { &value })
}

fn parameters(out: &mut Vec<u8>, parameters: &[Parameter<'_>]) {
    if parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        wire::string(out, name);
        out.push(b' ');
        wire::string(out, value);
    }
    out.push(b')');
}

fn disposition_language_location(out: &mut Vec<u8>, block: &Block<'_>) {
    out.push(b' ');
    let disposition = block.value(Name::ContentDisposition);
    match disposition.as_deref().map(parameter::parse) {
        Some(disposition) if !disposition.value.is_empty() || !disposition.parameters.is_empty() => {
            out.push(b'(');
            wire::string(out, &disposition.value);
            out.push(b' ');
            parameters(out, &disposition.parameters);
            out.push(b')');
        }
        _ => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    languages(out, block.value(Name::ContentLanguage).as_deref());
    out.push(b' ');
    wire::nstring(out, block.value(Name::ContentLocation).as_deref());
}

fn languages(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let start = out.len();
    let tags = value.unwrap_or_default().split(|&b| b == b',');
    for tag in tags.map(parameter::strip_comments).filter(|tag| !tag.is_empty()) {
        out.push(if out.len() == start { b'(' } else { b' ' });
        wire::string(out, &tag);
    }
    out.extend_from_slice(if out.len() == start { b"NIL" } else { b")" });
}

/// A structure as RFC 3501 §9 knows it, where only `message/rfc822` shows the message inside: what RFC 9051 §9 shows of a
/// `message/global` (RFC 6532 §3.7) is taken out.
pub(crate) fn without_global(structure: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(structure, GLOBAL).is_none() {
        return Cow::Borrowed(structure);
    }
    let mut out = Vec::with_capacity(structure.len());
    let mut rest = structure;
    while let Some((&byte, after)) = rest.split_first() {
        if rest.starts_with(GLOBAL) {
            // Seven fields stay, then come envelope, structure and lines.
            let fields = values_length(rest, GLOBAL_FIELDS);
            let inside = values_length(&rest[fields..], 3);
            out.extend_from_slice(&rest[..fields]);
            rest = &rest[fields + inside..];
        } else if matches!(byte, b'"' | b'{') {
            let length = value_length(rest);
            out.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    Cow::Owned(out)
}

/// Length of so many values, the spaces before them included.
fn values_length(text: &[u8], count: usize) -> usize {
    let mut at = 0;
    for _ in 0..count {
        at += usize::from(text.get(at) == Some(&b' '));
        at += value_length(&text[at..]);
    }
    at
}

/// Length of the value that a response of ours begins with: a list, a string, a literal, a number or NIL.
fn value_length(text: &[u8]) -> usize {
    match text.first() {
        Some(b'(') => {
            let mut at = 1;
            while text.get(at).is_some_and(|&byte| byte != b')') {
                at += if text[at] == b' ' {
                    1
                } else {
                    value_length(&text[at..]).max(1)
                };
            }
            (at + 1).min(text.len())
        }
        Some(b'"') => {
            let mut escaped = false;
            let end = text[1..].iter().position(|&byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            end.map_or(text.len(), |end| end + 2)
        }
        Some(b'{') => {
            let line = memchr(b'\n', text).map_or(text.len(), |feed| feed + 1);
            let digits = text[1..line].iter().take_while(|byte| byte.is_ascii_digit());
            let length = digits.fold(0_usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            (line + length).min(text.len())
        }
        _ => text.iter().position(|byte| b" ()".contains(byte)).unwrap_or(text.len()),
    }
}

/// Room for each of the three lists of most messages.
const SUMMARY_BYTES_USUAL: usize = 512;

/// Most addresses of one kind in an envelope.
const ADDRESSES_MAX: usize = 10_000;

/// In a structure that has become longer, messages inside are shown as if they had no header.
const ENVELOPES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How such a part begins.
const GLOBAL: &[u8] = b"\"MESSAGE\" \"GLOBAL\" ";

/// Fields of a part that is data: type, subtype, parameters, id, description, encoding, octets.
const GLOBAL_FIELDS: usize = 7;

#[cfg(test)]
mod tests;
