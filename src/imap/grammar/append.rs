//! APPEND and REPLACE (RFC 9051 §6.3.12, RFC 3502, RFC 3516, RFC 6855 §4, RFC 8508), and the flags of STORE.
//!
//! The bytes of messages are not in the command: `frame` keeps them apart, and leaves what announces each in its place.

use super::lexer::{Cursor, Parsed, is_atom_char};
use super::set;
use super::tree::{AppendHead, Body, Content, Flag, Name, Numbering};
use crate::imap::request::Flags;

/// What follows `APPEND`.
pub(super) fn append(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let folder = folder(cursor)?;
    let mut messages = vec![message(cursor)?];
    while !cursor.is_end() {
        messages.push(message(cursor)?);
    }
    Ok(Body::Append { folder, messages })
}

/// What follows `REPLACE`.
pub(super) fn replace(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<Body> {
    cursor.space()?;
    let message_number = set::end(cursor)?;
    cursor.space()?;
    let folder = folder(cursor)?;
    Ok(Body::Replace {
        numbering,
        message: message_number,
        folder,
        head: message(cursor)?,
    })
}

/// The name of a folder.
pub(super) fn folder(cursor: &mut Cursor<'_>) -> Parsed<Name> {
    Ok(Name(cursor.astring("expected a folder name")?.into_owned()))
}

/// ` (flags) "date" {n}`: one message with what announces it.
fn message(cursor: &mut Cursor<'_>) -> Parsed<AppendHead> {
    let mut head = AppendHead::default();
    cursor.space_or_parenthesis()?;
    if cursor.peek() == Some(b'(') {
        head.flags = cursor.list_or_nothing(flag)?;
        cursor.space()?;
    }
    if cursor.peek() == Some(b'"') {
        head.date = Some(super::date::date_time(cursor)?);
        cursor.space()?;
    }
    if cursor.eat_word("UTF8") {
        cursor.space_or_parenthesis()?;
        cursor.expect(b'(', "expected ( before the literal8")?;
        cursor.expect(b'~', "expected a literal8")?;
        cursor.announcement()?;
        cursor.expect(b')', "expected ) after the literal8")?;
        head.content = Content::Utf8;
    } else {
        if cursor.eat(b'~') {
            head.content = Content::Binary;
        }
        cursor.announcement()?;
    }
    Ok(head)
}

/// Whether the literal announced at the end of `command` is a message of APPEND or REPLACE, and what kind of one.
/// `command` ends with the announcement; messages before it are left out.
pub(crate) fn message_follows(command: &[u8]) -> Option<Content> {
    let mut cursor = Cursor::new(command);
    cursor.run(|b| b != b' ');
    cursor.space().ok()?;
    let uid = cursor.eat_word("UID");
    if uid {
        cursor.space().ok()?;
    }
    if cursor.eat_word("REPLACE") {
        cursor.space().ok()?;
        set::end(&mut cursor).ok()?;
    } else if uid || !cursor.eat_word("APPEND") {
        return None;
    }
    cursor.space().ok()?;
    folder(&mut cursor).ok()?;
    loop {
        let head = message(&mut cursor);
        if cursor.rest().is_empty() {
            // `UTF8 (~{n}` is not complete, and well so far.
            return Some(match head {
                Ok(head) => head.content,
                Err(_) if command.ends_with(b"\n") => Content::Utf8,
                Err(_) => return None,
            });
        }
        head.ok()?;
    }
}

/// One flag.
pub(super) fn flag(cursor: &mut Cursor<'_>) -> Parsed<Flag> {
    if !cursor.eat(b'\\') {
        return Ok(Flag::Keyword(cursor.atom("expected a flag")?.to_owned()));
    }
    let start = cursor.clone();
    let name = cursor.run(is_atom_char);
    let system = SYSTEM
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    match (system, name) {
        (_, b"") => start.fail("expected a flag"),
        (Some((_, bit)), _) => Ok(Flag::System(*bit)),
        (None, name) if name.eq_ignore_ascii_case(b"Recent") => Ok(Flag::Recent),
        (None, name) => Ok(Flag::Unknown(format!("\\{}", String::from_utf8_lossy(name)))),
    }
}

const SYSTEM: [(&str, u8); 5] = [
    ("Answered", Flags::ANSWERED),
    ("Deleted", Flags::DELETED),
    ("Draft", Flags::DRAFT),
    ("Flagged", Flags::FLAGGED),
    ("Seen", Flags::SEEN),
];
