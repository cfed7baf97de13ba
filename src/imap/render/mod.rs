//! ENVELOPE, BODY and BODYSTRUCTURE in wire form, computed from the bytes of a message (RFC 3501 §7.4.2).

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::mime::Walker;
use super::mime::address::{self, Mailbox};
use super::mime::header::Block;
use super::mime::parameter::{self, Parameterized};
use super::mime::part::{Kind, Part};
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
        let mut structures = Structures::default();
        structures.part(&root);
        let mut summary = Summary {
            header_bytes: u32::try_from(root.header.len()).unwrap_or(u32::MAX),
            layout: root.outline().encode(),
            body: structures.basic,
            body_structure: structures.extended,
            ..Summary::default()
        };
        envelope(&mut summary.envelope, &Block::of(&root.head));
        summary
    }
}

/// Writes the envelope of a header block.
pub(crate) fn envelope(out: &mut Vec<u8>, block: &Block<'_>) {
    let value = |name: &str| block.value(name);
    out.push(b'(');
    wire::nstring(out, value("Date").as_deref());
    out.push(b' ');
    wire::nstring(out, value("Subject").as_deref());
    let from = addresses_of(block, "From");
    // RFC 3501 §7.4.2: an absent or empty Sender or Reply-To is the From.
    out.push(b' ');
    addresses(out, &from);
    for name in ["Sender", "Reply-To"] {
        let found = addresses_of(block, name);
        out.push(b' ');
        addresses(out, if found.is_empty() { &from } else { &found });
    }
    for name in ["To", "Cc", "Bcc"] {
        out.push(b' ');
        addresses(out, &addresses_of(block, name));
    }
    for name in ["In-Reply-To", "Message-ID"] {
        out.push(b' ');
        wire::nstring(out, value(name).as_deref());
    }
    out.push(b')');
}

/// All fields of that name: broken mailers repeat `To`.
fn addresses_of(block: &Block<'_>, name: &str) -> Vec<Mailbox> {
    let all = block.all(name).flat_map(|f| address::list(f.value));
    all.take(ADDRESSES_MAX).collect()
}

fn addresses(out: &mut Vec<u8>, found: &[Mailbox]) {
    if found.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for mailbox in found {
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
    out.push(b')');
}

/// BODY and BODYSTRUCTURE while they are written: the same, but for the extension data.
#[derive(Default)]
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
        let block = Block::of(&part.head);
        self.both(|out| out.push(b'('));
        if let Kind::Multipart(children) = &part.kind {
            for child in children {
                self.part(child);
            }
            self.both(|out| {
                out.push(b' ');
                wire::string(out, &part.media.1);
            });
            self.extended.push(b' ');
            parameters(&mut self.extended, &part.content_type);
        } else {
            self.single(part, &block);
            self.extended.push(b' ');
            wire::nstring(&mut self.extended, block.value("Content-MD5").as_deref());
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
                envelope(out, &Block::of(if enough { b"" } else { &inner.head }));
                out.push(b' ');
            });
            self.part(inner);
        }
        if matches!(part.kind, Kind::Message(_)) || part.media.0 == b"TEXT" {
            self.both(|out| {
                out.push(b' ');
                wire::number(out, part.lines);
            });
        }
    }
}

/// `media-basic` and `body-fields`.
fn fields(out: &mut Vec<u8>, part: &Part, block: &Block<'_>) {
    wire::string(out, &part.media.0);
    out.push(b' ');
    wire::string(out, &part.media.1);
    out.push(b' ');
    parameters(out, &part.content_type);
    for name in ["Content-ID", "Content-Description"] {
        out.push(b' ');
        wire::nstring(out, block.value(name).as_deref());
    }
    out.push(b' ');
    wire::string(out, &encoding(block));
    out.push(b' ');
    wire::number(out, part.body.len() as u64);
}

/// The transfer encoding in capitals; `7BIT` when absent (RFC 2045 §6.1).
fn encoding(block: &Block<'_>) -> Vec<u8> {
    let value = block
        .value("Content-Transfer-Encoding")
        .map(|v| parameter::parse(&v).value);
    match value {
        Some(value) if !value.is_empty() => value.to_ascii_uppercase(),
        _ => b"7BIT".to_vec(),
    }
}

fn parameters(out: &mut Vec<u8>, of: &Parameterized) {
    if of.parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (index, (name, value)) in of.parameters.iter().enumerate() {
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
    match block.value("Content-Disposition").map(|v| parameter::parse(&v)) {
        Some(disposition) if !disposition.value.is_empty() || !disposition.parameters.is_empty() => {
            out.push(b'(');
            wire::string(out, &disposition.value);
            out.push(b' ');
            parameters(out, &disposition);
            out.push(b')');
        }
        _ => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    languages(out, block.value("Content-Language").as_deref());
    out.push(b' ');
    wire::nstring(out, block.value("Content-Location").as_deref());
}

fn languages(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let tags: Vec<Vec<u8>> = value
        .unwrap_or_default()
        .split(|&b| b == b',')
        .map(parameter::strip_comments)
        .filter(|t| !t.is_empty())
        .collect();
    if tags.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (index, tag) in tags.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        wire::string(out, tag);
    }
    out.push(b')');
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
