//! AUTHENTICATE, LOGIN, ID, ENABLE, COMPRESS (RFC 9051 §6.2; RFC 2971, RFC 4959, RFC 4978, RFC 5161).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::lexer::{Cursor, Parsed};
use super::tree::{Body, Secret};

/// What follows `AUTHENTICATE`.
pub(super) fn authenticate(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let mechanism = cursor.keyword("expected a SASL mechanism")?;
    let initial = if cursor.is_end() {
        None
    } else {
        cursor.space()?;
        let found = cursor.run(|b| b.is_ascii_graphic());
        match response(found) {
            Some(decoded) if !found.is_empty() => Some(decoded),
            _ => return cursor.fail("the initial response is not base64"),
        }
    };
    Ok(Body::Authenticate { mechanism, initial })
}

/// RFC 4959 §3: `=` is an empty response.
fn response(found: &[u8]) -> Option<Secret> {
    if found == b"=" {
        return Some(Secret(Vec::new()));
    }
    STANDARD.decode(found).ok().map(Secret)
}

/// What follows `LOGIN`.
pub(super) fn login(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let user = cursor.astring("expected a user name")?.into_owned();
    cursor.space()?;
    let password = cursor.astring("expected a password")?.into_owned();
    Ok(Body::Login {
        user,
        password: Secret(password),
    })
}

/// What follows `ID`.
pub(super) fn id(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space_or_parenthesis()?;
    if cursor.eat_word("NIL") {
        return Ok(Body::Id(None));
    }
    let pairs = cursor.list_or_nothing(|c| {
        let name = c.string("expected the name of a field")?.into_owned();
        c.space()?;
        let value = c.nstring("expected a value")?;
        Ok((name, value.map(std::borrow::Cow::into_owned)))
    })?;
    Ok(Body::Id(Some(pairs)))
}

/// What follows `ENABLE`.
pub(super) fn enable(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    let mut names = Vec::new();
    loop {
        cursor.space()?;
        names.push(cursor.keyword("expected a capability")?);
        if cursor.is_end() {
            return Ok(Body::Enable(names));
        }
    }
}

/// What follows `COMPRESS`.
pub(super) fn compress(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    Ok(Body::Compress {
        mechanism: cursor.keyword("expected a compression mechanism")?,
    })
}
