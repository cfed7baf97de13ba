//! GETMETADATA and SETMETADATA (RFC 5464 §5).

use super::append::folder;
use super::lexer::{Cursor, Parsed};
use super::tree::{Body, Depth};

/// What follows `GETMETADATA`.
pub(super) fn get(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    let (mut max_size, mut depth) = (None, Depth::Zero);
    cursor.space_or_parenthesis()?;
    if cursor.peek() == Some(b'(') {
        cursor.list(|c| option(c, &mut max_size, &mut depth))?;
        cursor.space()?;
    }
    let folder = folder(cursor)?;
    cursor.space_or_parenthesis()?;
    // The examples of RFC 5464 §4.2 have the options behind the folder.
    if options_follow(cursor) {
        cursor.list(|c| option(c, &mut max_size, &mut depth))?;
        cursor.space_or_parenthesis()?;
    }
    let entries = if cursor.peek() == Some(b'(') {
        cursor.list(entry)?
    } else {
        vec![entry(cursor)?]
    };
    Ok(Body::GetMetadata {
        folder,
        max_size,
        depth,
        entries,
    })
}

fn options_follow(cursor: &Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    ahead.eat(b'(') && matches!(ahead.peek(), Some(b'M' | b'm' | b'D' | b'd'))
}

fn option(cursor: &mut Cursor<'_>, max_size: &mut Option<u64>, depth: &mut Depth) -> Parsed<()> {
    let start = cursor.clone();
    let name = cursor.keyword("expected MAXSIZE or DEPTH")?;
    cursor.space()?;
    match name.as_str() {
        "MAXSIZE" => *max_size = Some(cursor.number64()?),
        "DEPTH" => {
            *depth = match cursor.keyword("expected 0, 1 or infinity")?.as_str() {
                "0" => Depth::Zero,
                "1" => Depth::One,
                "INFINITY" => Depth::Infinity,
                _ => return start.fail("expected 0, 1 or infinity"),
            }
        }
        _ => return start.fail("expected MAXSIZE or DEPTH"),
    }
    Ok(())
}

/// The name of an entry; RFC 5464 §3.2 says what such names hold, and the handler answers for them.
pub(super) fn entry(cursor: &mut Cursor<'_>) -> Parsed<Vec<u8>> {
    let start = cursor.clone();
    let found = cursor.astring("expected the name of an entry")?.into_owned();
    if !found.starts_with(b"/") {
        return start.fail("the name of an entry begins with /");
    }
    Ok(found)
}

/// What follows `SETMETADATA`.
pub(super) fn set(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let folder = folder(cursor)?;
    cursor.space_or_parenthesis()?;
    let entries = cursor.list(|c| {
        let name = entry(c)?;
        c.space()?;
        if c.eat(b'~') {
            return Ok((name, Some(c.literal()?.to_vec())));
        }
        let value = c.nstring("expected a value")?;
        Ok((name, value.map(std::borrow::Cow::into_owned)))
    })?;
    Ok(Body::SetMetadata { folder, entries })
}
