//! The grammar of commands: bytes in, a tree out (RFC 9051 §9, with what the extensions add).
//!
//! Lenient where clients are known to be and nothing can be meant but one thing: spaces at the end, a space missing before a
//! parenthesis, 8-bit text in quoted strings, one digit for a day. Strict in everything else. What is too deep or too large is
//! refused here, so that nothing behind this module has to look again.

mod access;
mod append;
mod date;
mod fetch;
mod folders;
mod lexer;
mod metadata;
mod notify;
mod rights;
mod search;
mod set;
pub(crate) mod tree;

pub(crate) use append::message_follows;
use lexer::{Cursor, Parsed};
pub(crate) use lexer::{SyntaxError, tag_of};
use tree::{Body, Command, Numbering};

/// Why a command could not be read; the tag, if there was one, is for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) tag: Option<String>,
    pub(crate) error: SyntaxError,
}

/// Reads a complete command: its literals with their bytes, but messages of APPEND and REPLACE without.
pub(crate) fn parse(command: &[u8]) -> Result<Command, Unread> {
    let mut cursor = Cursor::new(command);
    let tag = tag_of(command);
    let Some(tag) = tag else {
        return Err(Unread {
            tag: None,
            error: SyntaxError::no_tag(),
        });
    };
    cursor.advance(tag.len());
    match after_tag(&mut cursor) {
        Ok(body) => Ok(Command { tag, body }),
        Err(error) => Err(Unread { tag: Some(tag), error }),
    }
}

fn after_tag(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let start = cursor.clone();
    let name = cursor.keyword("expected a command")?;
    let family = of_session(cursor, &name)
        .or_else(|| of_folders(cursor, &name))
        .or_else(|| of_messages(cursor, &name, Numbering::Sequence))
        .or_else(|| of_rights(cursor, &name));
    let body = match family {
        Some(body) => body?,
        None if name == "UID" => {
            cursor.space()?;
            let name = cursor.keyword("expected a command after UID")?;
            match of_messages(cursor, &name, Numbering::Uid) {
                Some(body) => body?,
                None => return start.fail("unknown command after UID"),
            }
        }
        None => return start.fail("unknown command"),
    };
    cursor.end()?;
    Ok(body)
}

/// What a family makes of a command; `None`: it is none of its own.
type Found = Option<Parsed<Body>>;

fn of_session(cursor: &mut Cursor<'_>, name: &str) -> Found {
    Some(match name {
        "CAPABILITY" => Ok(Body::Capability),
        "NOOP" => Ok(Body::Noop),
        "LOGOUT" => Ok(Body::Logout),
        "STARTTLS" => Ok(Body::StartTls),
        "UNAUTHENTICATE" => Ok(Body::Unauthenticate),
        "NAMESPACE" => Ok(Body::Namespace),
        "IDLE" => Ok(Body::Idle),
        "CHECK" => Ok(Body::Check),
        "CLOSE" => Ok(Body::Close),
        "UNSELECT" => Ok(Body::Unselect),
        "ID" => access::id(cursor),
        "AUTHENTICATE" => access::authenticate(cursor),
        "LOGIN" => access::login(cursor),
        "ENABLE" => access::enable(cursor),
        "COMPRESS" => access::compress(cursor),
        "NOTIFY" => notify::notify(cursor),
        _ => return None,
    })
}

fn of_folders(cursor: &mut Cursor<'_>, name: &str) -> Found {
    Some(match name {
        "SELECT" => folders::select(cursor, false),
        "EXAMINE" => folders::select(cursor, true),
        "CREATE" => folders::create(cursor),
        "DELETE" => one_folder(cursor, Body::Delete),
        "RENAME" => rename(cursor),
        "SUBSCRIBE" => one_folder(cursor, Body::Subscribe),
        "UNSUBSCRIBE" => one_folder(cursor, Body::Unsubscribe),
        "LIST" => folders::list(cursor),
        "LSUB" => folders::lsub(cursor),
        "STATUS" => folders::status(cursor),
        "APPEND" => append::append(cursor),
        _ => return None,
    })
}

fn of_messages(cursor: &mut Cursor<'_>, name: &str, numbering: Numbering) -> Found {
    Some(match name {
        "EXPUNGE" if numbering == Numbering::Sequence => Ok(Body::Expunge(None)),
        "EXPUNGE" => cursor
            .space()
            .and_then(|()| set::set(cursor))
            .map(|set| Body::Expunge(Some(set))),
        "SEARCH" => search::search(cursor, numbering).map(Body::Search),
        "SORT" => search::sort(cursor, numbering),
        "THREAD" => search::thread(cursor, numbering),
        "FETCH" => fetch::fetch(cursor, numbering),
        "STORE" => fetch::store(cursor, numbering),
        "COPY" => set_and_folder(cursor).map(|(set, to)| Body::Copy { numbering, set, to }),
        "MOVE" => set_and_folder(cursor).map(|(set, to)| Body::Move { numbering, set, to }),
        "REPLACE" => append::replace(cursor, numbering),
        _ => return None,
    })
}

fn of_rights(cursor: &mut Cursor<'_>, name: &str) -> Found {
    Some(match name {
        "GETQUOTA" => rights::get_quota(cursor),
        "GETQUOTAROOT" => one_folder(cursor, Body::GetQuotaRoot),
        "SETQUOTA" => rights::set_quota(cursor),
        "SETACL" => rights::set_acl(cursor),
        "DELETEACL" => rights::delete_acl(cursor),
        "GETACL" => one_folder(cursor, Body::GetAcl),
        "LISTRIGHTS" => rights::list_rights(cursor),
        "MYRIGHTS" => one_folder(cursor, Body::MyRights),
        "GETMETADATA" => metadata::get(cursor),
        "SETMETADATA" => metadata::set(cursor),
        _ => return None,
    })
}

fn one_folder(cursor: &mut Cursor<'_>, make: fn(tree::Name) -> Body) -> Parsed<Body> {
    cursor.space()?;
    append::folder(cursor).map(make)
}

fn rename(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let from = append::folder(cursor)?;
    cursor.space()?;
    let to = append::folder(cursor)?;
    Ok(Body::Rename { from, to })
}

fn set_and_folder(cursor: &mut Cursor<'_>) -> Parsed<(tree::Set, tree::Name)> {
    cursor.space()?;
    let set = set::set(cursor)?;
    cursor.space()?;
    Ok((set, append::folder(cursor)?))
}

#[cfg(test)]
mod tests;
