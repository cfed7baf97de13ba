//! FETCH and STORE (RFC 9051 §6.4.5, §6.4.6; RFC 3516, RFC 7162, RFC 8474, RFC 8514, RFC 8970, RFC 9394).

use std::num::NonZeroU32;

use super::append::flag;
use super::lexer::{Cursor, Parsed};
use super::set;
use super::tree::{Body, Fetch, FetchItem, Numbering, Partial, Section, SectionText, Set, Store, StoreChange};

/// What follows `FETCH`.
pub(super) fn fetch(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<Body> {
    cursor.space()?;
    let set = set::set(cursor)?;
    cursor.space_or_parenthesis()?;
    let items = if cursor.peek() == Some(b'(') {
        cursor.list(item)?
    } else {
        match shorthand(&cursor.clone().keyword("expected what to fetch")?) {
            Some(items) => {
                cursor.run(|b| b.is_ascii_alphabetic());
                items
            }
            None => vec![item(cursor)?],
        }
    };
    let mut fetch = Fetch {
        numbering,
        set,
        items,
        changed_since: None,
        vanished: false,
        partial: None,
    };
    if !cursor.is_end() {
        cursor.space_or_parenthesis()?;
        cursor.list(|c| modifier(c, &mut fetch))?;
    }
    // RFC 7162 §3.2.6
    if fetch.vanished && (numbering == Numbering::Sequence || fetch.changed_since.is_none()) {
        return cursor.fail("VANISHED goes with UID FETCH and CHANGEDSINCE");
    }
    Ok(Body::Fetch(fetch))
}

/// RFC 9051 §6.4.5
fn shorthand(name: &str) -> Option<Vec<FetchItem>> {
    let mut items = vec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size];
    match name {
        "FAST" => {}
        "ALL" => items.push(FetchItem::Envelope),
        "FULL" => items.extend([FetchItem::Envelope, FetchItem::Body]),
        _ => return None,
    }
    Some(items)
}

fn modifier(cursor: &mut Cursor<'_>, fetch: &mut Fetch) -> Parsed<()> {
    let start = cursor.clone();
    let again = match cursor.keyword("expected a fetch modifier")?.as_str() {
        "CHANGEDSINCE" => {
            cursor.space()?;
            let since = modseq(cursor)?;
            fetch.changed_since.replace(since).is_some()
        }
        "VANISHED" => std::mem::replace(&mut fetch.vanished, true),
        "PARTIAL" => {
            cursor.space()?;
            let partial = set::partial(cursor)?;
            fetch.partial.replace(partial).is_some()
        }
        _ => return start.fail("unknown fetch modifier"),
    };
    if again {
        return start.fail("a fetch modifier comes twice");
    }
    Ok(())
}

/// `mod-sequence-value` (RFC 7162 §7): not 0.
pub(super) fn modseq(cursor: &mut Cursor<'_>) -> Parsed<u64> {
    let start = cursor.clone();
    match cursor.number64()? {
        0 => start.fail("a modification sequence is not 0"),
        found => Ok(found),
    }
}

/// A data item.
pub(super) fn item(cursor: &mut Cursor<'_>) -> Parsed<FetchItem> {
    let start = cursor.clone();
    let name = cursor
        .run(|b| b.is_ascii_alphanumeric() || b == b'.')
        .to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"UID" => FetchItem::Uid,
        b"FLAGS" => FetchItem::Flags,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"RFC822.SIZE" => FetchItem::Size,
        b"ENVELOPE" => FetchItem::Envelope,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"MODSEQ" => FetchItem::Modseq,
        b"SAVEDATE" => FetchItem::SaveDate,
        b"EMAILID" => FetchItem::EmailId,
        b"THREADID" => FetchItem::ThreadId,
        b"PREVIEW" => FetchItem::Preview { lazy: lazy(cursor)? },
        b"RFC822" => FetchItem::Rfc822,
        b"RFC822.HEADER" => FetchItem::Rfc822Header,
        b"RFC822.TEXT" => FetchItem::Rfc822Text,
        b"BODY" if cursor.peek() != Some(b'[') => FetchItem::Body,
        b"BODY" | b"BODY.PEEK" => FetchItem::Section {
            section: section(cursor)?,
            partial: partial(cursor)?,
            peek: name.ends_with(b"PEEK"),
        },
        b"BINARY" | b"BINARY.PEEK" => FetchItem::Binary {
            part: binary_part(cursor)?,
            partial: partial(cursor)?,
            peek: name.ends_with(b"PEEK"),
        },
        b"BINARY.SIZE" => FetchItem::BinarySize {
            part: binary_part(cursor)?,
        },
        b"" => return start.fail("expected what to fetch"),
        _ => return start.fail("unknown data item"),
    })
}

/// ` (LAZY)` (RFC 8970 §3.1), which is not a list of fetch modifiers.
fn lazy(cursor: &mut Cursor<'_>) -> Parsed<bool> {
    let mut ahead = cursor.clone();
    ahead.eat(b' ');
    if !(ahead.eat(b'(') && ahead.eat_word("LAZY")) {
        return Ok(false);
    }
    ahead.expect(b')', "expected ) after LAZY")?;
    *cursor = ahead;
    Ok(true)
}

/// `[…]` of BODY.
fn section(cursor: &mut Cursor<'_>) -> Parsed<Section> {
    cursor.expect(b'[', "expected [")?;
    let part = part(cursor)?;
    let text = match cursor.peek() {
        Some(b']') => SectionText::Whole,
        _ => section_text(cursor, !part.is_empty())?,
    };
    cursor.expect(b']', "expected ]")?;
    Ok(Section { part, text })
}

fn section_text(cursor: &mut Cursor<'_>, of_part: bool) -> Parsed<SectionText> {
    let start = cursor.clone();
    let name = cursor
        .run(|b| b.is_ascii_alphabetic() || b == b'.')
        .to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"HEADER" => SectionText::Header,
        b"HEADER.FIELDS" => SectionText::HeaderFields(fields(cursor)?),
        b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(fields(cursor)?),
        b"TEXT" => SectionText::Text,
        b"MIME" if of_part => SectionText::Mime,
        b"MIME" => return start.fail("MIME goes with a part number"),
        _ => return start.fail("unknown section"),
    })
}

fn fields(cursor: &mut Cursor<'_>) -> Parsed<Vec<Vec<u8>>> {
    cursor.space_or_parenthesis()?;
    cursor.list(|c| Ok(c.astring("expected the name of a field")?.into_owned()))
}

/// `1.2.3`, and the dot that stands before a text.
fn part(cursor: &mut Cursor<'_>) -> Parsed<Vec<NonZeroU32>> {
    let mut found = Vec::new();
    while matches!(cursor.peek(), Some(b'0'..=b'9')) {
        if found.len() >= PART_DEPTH_MAX {
            return cursor.fail("a part number is too long");
        }
        found.push(cursor.nonzero()?);
        if !cursor.eat(b'.') {
            if cursor.peek() != Some(b']') {
                return cursor.fail("expected . or ]");
            }
            return Ok(found);
        }
        if cursor.peek() == Some(b']') {
            return cursor.fail("expected what follows the dot");
        }
    }
    Ok(found)
}

fn binary_part(cursor: &mut Cursor<'_>) -> Parsed<Vec<NonZeroU32>> {
    cursor.expect(b'[', "expected [")?;
    let part = part(cursor)?;
    cursor.expect(b']', "expected a part number and ]")?;
    Ok(part)
}

/// `<first.length>`
fn partial(cursor: &mut Cursor<'_>) -> Parsed<Option<Partial>> {
    if !cursor.eat(b'<') {
        return Ok(None);
    }
    let first = cursor.number64()?;
    cursor.expect(b'.', "expected . and a length")?;
    let length = cursor.nonzero64()?;
    cursor.expect(b'>', "expected >")?;
    Ok(Some((first, length)))
}

/// What follows `STORE`.
pub(super) fn store(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<Body> {
    cursor.space()?;
    let set: Set = set::set(cursor)?;
    cursor.space_or_parenthesis()?;
    let mut unchanged_since = None;
    if cursor.peek() == Some(b'(') {
        cursor.list(|c| store_modifier(c, &mut unchanged_since))?;
        cursor.space()?;
    }
    let change = match cursor.peek() {
        Some(b'+') => StoreChange::Add,
        Some(b'-') => StoreChange::Remove,
        _ => StoreChange::Replace,
    };
    if change != StoreChange::Replace {
        cursor.advance(1);
    }
    let start = cursor.clone();
    let silent = match cursor.keyword("expected FLAGS")?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return start.fail("expected FLAGS"),
    };
    cursor.space_or_parenthesis()?;
    let flags = if cursor.peek() == Some(b'(') {
        cursor.list_or_nothing(flag)?
    } else {
        let mut flags = vec![flag(cursor)?];
        while !cursor.is_end() {
            cursor.space()?;
            flags.push(flag(cursor)?);
        }
        flags
    };
    Ok(Body::Store(Store {
        numbering,
        set,
        unchanged_since,
        change,
        silent,
        flags,
    }))
}

/// RFC 7162 §3.1.3; 0 is allowed here.
fn store_modifier(cursor: &mut Cursor<'_>, unchanged_since: &mut Option<u64>) -> Parsed<()> {
    let start = cursor.clone();
    if !cursor.eat_word("UNCHANGEDSINCE") {
        return start.fail("unknown store modifier");
    }
    cursor.space()?;
    let since = cursor.number64()?;
    if unchanged_since.replace(since).is_some() {
        return start.fail("a store modifier comes twice");
    }
    Ok(())
}

/// Deepest part that can be asked for.
const PART_DEPTH_MAX: usize = 100;
