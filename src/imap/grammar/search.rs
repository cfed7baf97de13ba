//! SEARCH, SORT and THREAD (RFC 9051 §6.4.4; RFC 4731, RFC 5032, RFC 5182, RFC 5256, RFC 7162, RFC 8474, RFC 8514, RFC 9394).

use jiff::civil::Date;

use super::lexer::{Cursor, Parsed};
use super::tree::{Body, Numbering, Search, SearchKey, SearchReturn, SortCriterion, SortKey, When};
use super::{date, set};
use crate::imap::request::Flags;

/// What follows `SEARCH`.
pub(super) fn search(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<Search> {
    let returns = returns(cursor)?;
    cursor.space()?;
    let charset = if cursor.eat_word("CHARSET") {
        cursor.space()?;
        let charset = charset(cursor)?;
        cursor.space()?;
        Some(charset)
    } else {
        None
    };
    Ok(Search {
        numbering,
        returns,
        charset,
        key: program(cursor)?,
    })
}

/// What follows `SORT`.
pub(super) fn sort(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<Body> {
    let returns = returns(cursor)?;
    cursor.space_or_parenthesis()?;
    let criteria = cursor.list(sort_criterion)?;
    Ok(Body::Sort {
        criteria,
        search: with_charset(cursor, numbering, returns)?,
    })
}

/// What follows `THREAD`.
pub(super) fn thread(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<Body> {
    cursor.space()?;
    let algorithm = cursor.keyword("expected a threading algorithm")?;
    Ok(Body::Thread {
        algorithm,
        search: with_charset(cursor, numbering, None)?,
    })
}

/// RFC 5256 §6: SORT and THREAD always name a charset.
fn with_charset(cursor: &mut Cursor<'_>, numbering: Numbering, returns: Option<Vec<SearchReturn>>) -> Parsed<Search> {
    cursor.space()?;
    let charset = charset(cursor)?;
    cursor.space()?;
    Ok(Search {
        numbering,
        returns,
        charset: Some(charset),
        key: program(cursor)?,
    })
}

fn charset(cursor: &mut Cursor<'_>) -> Parsed<String> {
    let name = cursor.astring("expected a charset")?;
    Ok(String::from_utf8_lossy(&name).to_ascii_uppercase())
}

/// ` RETURN (…)`, if it is there.
fn returns(cursor: &mut Cursor<'_>) -> Parsed<Option<Vec<SearchReturn>>> {
    let mut ahead = cursor.clone();
    ahead.space()?;
    if !ahead.eat_word("RETURN") {
        return Ok(None);
    }
    ahead.space_or_parenthesis()?;
    *cursor = ahead;
    let found = cursor.list_or_nothing(search_return)?;
    let partial = found.iter().filter(|r| matches!(r, SearchReturn::Partial(..))).count();
    // RFC 9394 §3.1
    if partial > 1 || (partial == 1 && found.contains(&SearchReturn::All)) {
        return cursor.fail("PARTIAL stands alone, without ALL");
    }
    Ok(Some(found))
}

fn search_return(cursor: &mut Cursor<'_>) -> Parsed<SearchReturn> {
    let start = cursor.clone();
    Ok(match cursor.keyword("expected a search return option")?.as_str() {
        "MIN" => SearchReturn::Min,
        "MAX" => SearchReturn::Max,
        "ALL" => SearchReturn::All,
        "COUNT" => SearchReturn::Count,
        "SAVE" => SearchReturn::Save,
        "PARTIAL" => {
            cursor.space()?;
            let (from, to) = set::partial(cursor)?;
            SearchReturn::Partial(from, to)
        }
        _ => return start.fail("unknown search return option"),
    })
}

fn sort_criterion(cursor: &mut Cursor<'_>) -> Parsed<SortCriterion> {
    let reverse = cursor.eat_word("REVERSE");
    if reverse {
        cursor.space()?;
    }
    let start = cursor.clone();
    let key = match cursor.keyword("expected a sort key")?.as_str() {
        "ARRIVAL" => SortKey::Arrival,
        "CC" => SortKey::Cc,
        "DATE" => SortKey::Date,
        "FROM" => SortKey::From,
        "SIZE" => SortKey::Size,
        "SUBJECT" => SortKey::Subject,
        "TO" => SortKey::To,
        "DISPLAYFROM" => SortKey::DisplayFrom,
        "DISPLAYTO" => SortKey::DisplayTo,
        _ => return start.fail("unknown sort key"),
    };
    Ok(SortCriterion { key, reverse })
}

/// One key or more, to the end of the command.
fn program(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    let mut keys = vec![key(cursor, 0)?];
    while !cursor.is_end() {
        cursor.space()?;
        keys.push(key(cursor, 0)?);
    }
    Ok(joined(keys))
}

fn joined(mut keys: Vec<SearchKey>) -> SearchKey {
    match (keys.len(), keys.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            keys.extend(last);
            SearchKey::And(keys)
        }
    }
}

fn key(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<SearchKey> {
    if depth > SEARCH_DEPTH_MAX {
        return cursor.fail("search keys nested too deep");
    }
    if cursor.peek() == Some(b'(') {
        return Ok(joined(cursor.list(|c| key(c, depth + 1))?));
    }
    if cursor.eat_word("NOT") {
        cursor.space()?;
        return Ok(not(key(cursor, depth + 1)?));
    }
    if cursor.eat_word("OR") {
        cursor.space()?;
        let one = key(cursor, depth + 1)?;
        cursor.space()?;
        let other = key(cursor, depth + 1)?;
        return Ok(SearchKey::Or(Box::new(one), Box::new(other)));
    }
    simple(cursor)
}

fn not(key: SearchKey) -> SearchKey {
    SearchKey::Not(Box::new(key))
}

/// A key that holds no other.
fn simple(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    if matches!(cursor.peek(), Some(b'0'..=b'9' | b'*' | b'$')) {
        return Ok(SearchKey::Numbers(set::set(cursor)?));
    }
    let start = cursor.clone();
    let name = cursor.keyword("expected a search key")?;
    if let Some(found) = of_flags(&name) {
        return Ok(found);
    }
    if let Some((when, field)) = dated(&name) {
        cursor.space()?;
        return Ok(field(when, date::date(cursor)?));
    }
    match with_argument(cursor, &name)? {
        Some(found) => Ok(found),
        None => start.fail("unknown search key"),
    }
}

fn of_flags(name: &str) -> Option<SearchKey> {
    let unset = |bit| Some(not(SearchKey::System(bit)));
    match name {
        "ALL" => Some(SearchKey::And(Vec::new())),
        "ANSWERED" => Some(SearchKey::System(Flags::ANSWERED)),
        "DELETED" => Some(SearchKey::System(Flags::DELETED)),
        "DRAFT" => Some(SearchKey::System(Flags::DRAFT)),
        "FLAGGED" => Some(SearchKey::System(Flags::FLAGGED)),
        "SEEN" => Some(SearchKey::System(Flags::SEEN)),
        "UNANSWERED" => unset(Flags::ANSWERED),
        "UNDELETED" => unset(Flags::DELETED),
        "UNDRAFT" => unset(Flags::DRAFT),
        "UNFLAGGED" => unset(Flags::FLAGGED),
        "UNSEEN" => unset(Flags::SEEN),
        "NEW" => Some(SearchKey::New),
        "OLD" => Some(SearchKey::Old),
        "RECENT" => Some(SearchKey::Recent),
        "SAVEDATESUPPORTED" => Some(SearchKey::SaveDateSupported),
        _ => None,
    }
}

/// What a dated key makes.
type Dated = fn(When, Date) -> SearchKey;

fn dated(name: &str) -> Option<(When, Dated)> {
    let (when, field): (_, Dated) = match name {
        "BEFORE" => (When::Before, SearchKey::Internal),
        "ON" => (When::On, SearchKey::Internal),
        "SINCE" => (When::Since, SearchKey::Internal),
        "SENTBEFORE" => (When::Before, SearchKey::Sent),
        "SENTON" => (When::On, SearchKey::Sent),
        "SENTSINCE" => (When::Since, SearchKey::Sent),
        "SAVEDBEFORE" => (When::Before, SearchKey::Saved),
        "SAVEDON" => (When::On, SearchKey::Saved),
        "SAVEDSINCE" => (When::Since, SearchKey::Saved),
        _ => return None,
    };
    Some((when, field))
}

/// `None`: there is no such key.
fn with_argument(cursor: &mut Cursor<'_>, name: &str) -> Parsed<Option<SearchKey>> {
    let header = |cursor: &mut Cursor<'_>| Ok(SearchKey::Header(name.as_bytes().to_vec(), text(cursor)?));
    Ok(Some(match name {
        "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => header(cursor)?,
        "BODY" => SearchKey::Body(text(cursor)?),
        "TEXT" => SearchKey::Text(text(cursor)?),
        "HEADER" => {
            let field = text(cursor)?;
            SearchKey::Header(field, text(cursor)?)
        }
        "KEYWORD" => SearchKey::Keyword(atom(cursor)?),
        "UNKEYWORD" => not(SearchKey::Keyword(atom(cursor)?)),
        "LARGER" => SearchKey::Larger(number(cursor)?),
        "SMALLER" => SearchKey::Smaller(number(cursor)?),
        "UID" => {
            cursor.space()?;
            SearchKey::Uids(set::set(cursor)?)
        }
        "OLDER" => SearchKey::Older(interval(cursor)?),
        "YOUNGER" => SearchKey::Younger(interval(cursor)?),
        "MODSEQ" => modseq(cursor)?,
        "EMAILID" => SearchKey::EmailId(object_id(cursor)?),
        "THREADID" => SearchKey::ThreadId(object_id(cursor)?),
        _ => return Ok(None),
    }))
}

fn text(cursor: &mut Cursor<'_>) -> Parsed<Vec<u8>> {
    cursor.space()?;
    Ok(cursor.astring("expected a text to search for")?.into_owned())
}

fn atom(cursor: &mut Cursor<'_>) -> Parsed<String> {
    cursor.space()?;
    Ok(cursor.atom("expected a keyword")?.to_owned())
}

fn number(cursor: &mut Cursor<'_>) -> Parsed<u64> {
    cursor.space()?;
    cursor.number64()
}

/// RFC 5032 §4: a number of seconds, not 0.
fn interval(cursor: &mut Cursor<'_>) -> Parsed<u32> {
    cursor.space()?;
    Ok(cursor.nonzero()?.get())
}

/// RFC 8474 §7
fn object_id(cursor: &mut Cursor<'_>) -> Parsed<String> {
    cursor.space()?;
    let found = cursor.run(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if found.is_empty() || found.len() > OBJECT_ID_BYTES_MAX {
        return cursor.fail("expected an object id");
    }
    Ok(String::from_utf8_lossy(found).into_owned())
}

/// RFC 7162 §3.1.5: the name of an entry and its kind may come first.
fn modseq(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    cursor.space()?;
    if cursor.peek() == Some(b'"') {
        let entry = cursor.string("expected the name of an entry")?;
        if !entry.starts_with(b"/flags/") {
            return cursor.fail("expected an entry of /flags/");
        }
        cursor.space()?;
        let start = cursor.clone();
        match cursor.keyword("expected priv, shared or all")?.as_str() {
            "PRIV" | "SHARED" | "ALL" => {}
            _ => return start.fail("expected priv, shared or all"),
        }
        cursor.space()?;
    }
    Ok(SearchKey::Modseq(cursor.number64()?))
}

/// Deepest nesting of search keys: clients write `OR a OR b OR c …` for long lists.
pub(super) const SEARCH_DEPTH_MAX: usize = 200;

/// RFC 8474 §4
const OBJECT_ID_BYTES_MAX: usize = 255;
