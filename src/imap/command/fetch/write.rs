//! One message as a FETCH response.

use super::plan::Item;
use crate::imap::mime::outline::Outline;
use crate::imap::render::without_global;
use crate::imap::request::{Entry, Loaded, Summary};
use crate::imap::section::{Binary, BinaryPlace};
use crate::imap::session::{Enabled, Extension};
use crate::imap::view::View;
use crate::imap::wire;

/// What is known of a message beside its entry.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) preview: Option<&'a str>,
    pub(super) enabled: Enabled,
}

/// How structures are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// As RFC 3501 knows them.
    Rev1,
    /// As RFC 9051 does: `message/global` shows what is inside.
    Rev2,
}

/// A part that is written in an encoding nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownEncoding;

/// Writes a whole message; `Err`: one of its items was left out.
pub(super) fn message(
    out: &mut Vec<u8>,
    (view, at): (&View, usize),
    items: &[Item],
    known: Known<'_>,
) -> Result<(), UnknownEncoding> {
    let entry = &view.entries()[at];
    let bytes: &[u8] = known.loaded.bytes.as_ref().map_or(&[], |b| b.as_slice());
    let outline = items
        .iter()
        .any(Item::needs_outline)
        .then(|| Outline::of_message(bytes));
    let mut result = Ok(());
    begin(out, at);
    for item in items {
        let before = out.len();
        separate(out);
        match (item, &outline) {
            (Item::Section(section, name), outline) => {
                match name {
                    Some(name) => out.extend_from_slice(name.as_bytes()),
                    None => section.label(out),
                }
                out.push(b' ');
                section.write(out, bytes, outline.as_ref());
            }
            (Item::Binary(binary), Some(outline)) => {
                if self::binary(out, binary, (bytes, outline)).is_err() {
                    out.truncate(before);
                    result = Err(UnknownEncoding);
                }
            }
            (Item::BinarySize(binary), Some(outline)) => {
                if binary_size(out, binary, (bytes, outline)).is_err() {
                    out.truncate(before);
                    result = Err(UnknownEncoding);
                }
            }
            (item, _) => small(out, (view, entry), item, known),
        }
    }
    end(out);
    result
}

/// `* n FETCH (`
pub(super) fn begin(out: &mut Vec<u8>, at: usize) {
    out.extend_from_slice(b"* ");
    wire::number(out, at as u64 + 1);
    out.extend_from_slice(b" FETCH (");
}

/// A space, unless the item is the first.
pub(super) fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'(') {
        out.push(b' ');
    }
}

pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b")\r\n");
}

/// An item that needs no bytes of the message.
pub(super) fn small(out: &mut Vec<u8>, (view, entry): (&View, &Entry), item: &Item, known: Known<'_>) {
    let none = Summary::default();
    let summary = known.loaded.summary.as_ref().unwrap_or(&none);
    match item {
        Item::Uid => {
            out.extend_from_slice(b"UID ");
            wire::number(out, u64::from(entry.uid));
        }
        Item::Flags => {
            out.extend_from_slice(b"FLAGS ");
            // RFC 9051 §2.3.2: there is no `\Recent` any more.
            let recent = view.is_recent(entry.uid) && !known.enabled.has(Extension::Imap4rev2);
            wire::flags(out, &entry.flags, recent);
        }
        Item::InternalDate => {
            out.extend_from_slice(b"INTERNALDATE ");
            wire::date_time(out, entry.internal_date);
        }
        Item::Size => {
            out.extend_from_slice(b"RFC822.SIZE ");
            wire::number(out, entry.size_bytes);
        }
        Item::Modseq => {
            out.extend_from_slice(b"MODSEQ (");
            wire::number(out, entry.modseq);
            out.push(b')');
        }
        Item::SaveDate => {
            out.extend_from_slice(b"SAVEDATE ");
            wire::date_time(out, entry.saved);
        }
        Item::EmailId => {
            // RFC 8474 §5.1: the same bytes have the same key in whatever folder of the box they are.
            out.extend_from_slice(b"EMAILID (M");
            wire::number(out, entry.message.0.unsigned_abs());
            out.push(b')');
        }
        // RFC 8474 §5.2: a server that has no threads of its own says so.
        Item::ThreadId => out.extend_from_slice(b"THREADID NIL"),
        Item::Preview => {
            out.extend_from_slice(b"PREVIEW ");
            wire::nstring(out, known.preview.map(str::as_bytes));
        }
        Item::Envelope => named(out, b"ENVELOPE ", &summary.envelope),
        Item::Body => structure(out, b"BODY ", &summary.body, shape(known.enabled)),
        Item::BodyStructure => structure(out, b"BODYSTRUCTURE ", &summary.body_structure, shape(known.enabled)),
        Item::Section(..) | Item::Binary(_) | Item::BinarySize(_) => {}
    }
}

fn shape(enabled: Enabled) -> Shape {
    if enabled.has(Extension::Imap4rev2) || enabled.has(Extension::Utf8) {
        Shape::Rev2
    } else {
        Shape::Rev1
    }
}

fn structure(out: &mut Vec<u8>, name: &[u8], value: &[u8], shape: Shape) {
    match shape {
        Shape::Rev1 => named(out, name, &without_global(value)),
        Shape::Rev2 => named(out, name, value),
    }
}

fn named(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// RFC 9051 §6.4.5: `BINARY[…]`.
fn binary(out: &mut Vec<u8>, binary: &Binary, (bytes, outline): (&[u8], &Outline)) -> Result<(), UnknownEncoding> {
    let decoded = decoded(binary, bytes, outline)?;
    binary.label(out, b"BINARY");
    out.push(b' ');
    match decoded {
        None => out.extend_from_slice(b"NIL"),
        Some(decoded) => wire::binary(out, &decoded[binary.cut(decoded.len())]),
    }
    Ok(())
}

fn binary_size(out: &mut Vec<u8>, binary: &Binary, (bytes, outline): (&[u8], &Outline)) -> Result<(), UnknownEncoding> {
    let decoded = decoded(binary, bytes, outline)?;
    binary.label(out, b"BINARY.SIZE");
    out.push(b' ');
    wire::number(out, decoded.map_or(0, |decoded| decoded.len() as u64));
    Ok(())
}

/// The bytes that a part stands for; `None`: there is no such part.
fn decoded(binary: &Binary, bytes: &[u8], outline: &Outline) -> Result<Option<Vec<u8>>, UnknownEncoding> {
    let Some(place) = binary.place(outline) else {
        return Ok(None);
    };
    let head = bytes.get(place.head.clone()).unwrap_or(&[]);
    let coding = BinaryPlace::coding(head).ok_or(UnknownEncoding)?;
    Ok(bytes.get(place.body).map(|body| coding.decode(body)))
}
