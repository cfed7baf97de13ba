//! ENVELOPE, BODY and BODYSTRUCTURE in wire form, computed from the bytes of a message (RFC 3501 §7.4.2).

use memchr::memchr_iter;

use super::mime::address::{self, Mailbox};
use super::mime::header::Block;
use super::mime::parameter::{self, Parameterized};
use super::mime::part::{Kind, Part};
use super::request::Summary;
use super::wire;

/// Everything IMAP asks for again and again about a message. `bytes` are what a client reads: lead and content.
pub fn summarise(bytes: &[u8]) -> Summary {
    let root = Part::of_message(bytes);
    let mut summary = Summary {
        header_bytes: u32::try_from(root.header.len()).unwrap_or(u32::MAX),
        ..Summary::default()
    };
    envelope(&mut summary.envelope, &bytes[root.header.clone()]);
    body(&mut summary.body, bytes, &root, Detail::Basic);
    body(&mut summary.body_structure, bytes, &root, Detail::Extended);
    summary
}

/// Writes the envelope of a header block.
pub(crate) fn envelope(out: &mut Vec<u8>, block: &[u8]) {
    let block = Block::of(block);
    let value = |name: &str| block.value(name);
    out.push(b'(');
    wire::nstring(out, value("Date").as_deref());
    out.push(b' ');
    wire::nstring(out, value("Subject").as_deref());
    let from = addresses_of(&block, "From");
    // RFC 3501 §7.4.2: an absent or empty Sender or Reply-To is the From.
    out.push(b' ');
    addresses(out, &from);
    for name in ["Sender", "Reply-To"] {
        let found = addresses_of(&block, name);
        out.push(b' ');
        addresses(out, if found.is_empty() { &from } else { &found });
    }
    for name in ["To", "Cc", "Bcc"] {
        out.push(b' ');
        addresses(out, &addresses_of(&block, name));
    }
    for name in ["In-Reply-To", "Message-ID"] {
        out.push(b' ');
        wire::nstring(out, value(name).as_deref());
    }
    out.push(b')');
}

/// All fields of that name: broken mailers repeat `To`.
fn addresses_of(block: &Block<'_>, name: &str) -> Vec<Mailbox> {
    block.all(name).flat_map(|f| address::list(f.value)).collect()
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

/// BODY or BODYSTRUCTURE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// BODY: no extension data.
    Basic,
    /// BODYSTRUCTURE.
    Extended,
}

/// Writes the structure of a part.
pub(crate) fn body(out: &mut Vec<u8>, bytes: &[u8], part: &Part, detail: Detail) {
    let block = Block::of(&bytes[part.header.clone()]);
    out.push(b'(');
    if let Kind::Multipart(children) = &part.kind {
        for child in children {
            body(out, bytes, child, detail);
        }
        out.push(b' ');
        wire::string(out, &part.media.1);
        if detail == Detail::Extended {
            out.push(b' ');
            parameters(out, &part.content_type);
            disposition_language_location(out, &block);
        }
    } else {
        single(out, bytes, (part, &block), detail);
        if detail == Detail::Extended {
            out.push(b' ');
            wire::nstring(out, block.value("Content-MD5").as_deref());
            disposition_language_location(out, &block);
        }
    }
    out.push(b')');
}

/// `body-type-basic`, `body-type-text` or `body-type-msg`, without extension data.
fn single(out: &mut Vec<u8>, bytes: &[u8], (part, block): (&Part, &Block<'_>), detail: Detail) {
    let content = &bytes[part.body.clone()];
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
    wire::number(out, content.len() as u64);
    if let Kind::Message(inner) = &part.kind {
        out.push(b' ');
        envelope(out, &bytes[inner.header.clone()]);
        out.push(b' ');
        body(out, bytes, inner, detail);
    }
    if matches!(part.kind, Kind::Message(_)) || part.media.0 == b"TEXT" {
        out.push(b' ');
        wire::number(out, lines(content));
    }
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

/// Lines of a body; a last one without line end counts.
fn lines(content: &[u8]) -> u64 {
    let feeds = memchr_iter(b'\n', content).count() as u64;
    feeds + u64::from(content.last().is_some_and(|&b| b != b'\n'))
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
        Some(disposition) if !disposition.value.is_empty() => {
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
    let tags: Vec<&[u8]> = value
        .unwrap_or_default()
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|t| !t.is_empty())
        .collect();
    match tags.as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        [one] => wire::string(out, one),
        many => {
            out.push(b'(');
            for (index, tag) in many.iter().enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                wire::string(out, tag);
            }
            out.push(b')');
        }
    }
}

#[cfg(test)]
mod tests;
