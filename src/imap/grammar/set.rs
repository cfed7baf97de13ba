//! Sets of messages (`sequence-set`, `$`) and the ranges of PARTIAL (RFC 9051 §9, RFC 5182, RFC 9394).

use super::lexer::{Cursor, Parsed};
use super::tree::{End, Set};

/// A set, or `$`.
pub(super) fn set(cursor: &mut Cursor<'_>) -> Parsed<Set> {
    if cursor.eat(b'$') {
        return Ok(Set::Saved);
    }
    Ok(Set::Ranges(ranges(cursor)?))
}

/// `1,3:5,*`
pub(super) fn ranges(cursor: &mut Cursor<'_>) -> Parsed<Vec<(End, End)>> {
    let mut found = Vec::new();
    loop {
        let from = end(cursor)?;
        let to = if cursor.eat(b':') { end(cursor)? } else { from };
        found.push((from, to));
        if !cursor.eat(b',') {
            return Ok(found);
        }
    }
}

/// The same without `*`: what a client remembers has numbers (RFC 7162 §7).
pub(super) fn known(cursor: &mut Cursor<'_>) -> Parsed<Vec<(End, End)>> {
    let start = cursor.clone();
    let found = ranges(cursor)?;
    if found.iter().any(|&(from, to)| from == End::Last || to == End::Last) {
        return start.fail("* cannot stand in this set");
    }
    Ok(found)
}

/// A number, or `*`.
pub(super) fn end(cursor: &mut Cursor<'_>) -> Parsed<End> {
    match cursor.peek() {
        Some(b'*') => {
            cursor.advance(1);
            Ok(End::Last)
        }
        Some(b'0'..=b'9') => Ok(End::Number(cursor.nonzero()?)),
        _ => cursor.fail("expected a message number"),
    }
}

/// `1:500`, or `-1:-500` from the end (RFC 9394 §3.4).
pub(super) fn partial(cursor: &mut Cursor<'_>) -> Parsed<(i64, i64)> {
    let from = signed(cursor)?;
    cursor.expect(b':', "expected : and the other end")?;
    let to = signed(cursor)?;
    if (from < 0) != (to < 0) {
        return cursor.fail("both ends must count from the same side");
    }
    Ok((from, to))
}

fn signed(cursor: &mut Cursor<'_>) -> Parsed<i64> {
    let negative = cursor.eat(b'-');
    let number = i64::from(cursor.nonzero()?.get());
    Ok(if negative { -number } else { number })
}
