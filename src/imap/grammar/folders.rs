//! SELECT, CREATE, LIST, LSUB, STATUS (RFC 9051 §6.3; RFC 5258, RFC 5819, RFC 6154, RFC 7162, RFC 8440, RFC 9590).

use std::borrow::Cow;

use super::append::folder;
use super::fetch::modseq;
use super::lexer::{Cursor, Parsed, is_astring_char};
use super::set;
use super::tree::{Body, List, ListReturn, ListSelection, Qresync, SelectParameters, StatusItem};

/// What follows `SELECT` or `EXAMINE`.
pub(super) fn select(cursor: &mut Cursor<'_>, read_only: bool) -> Parsed<Body> {
    cursor.space()?;
    let folder = folder(cursor)?;
    let mut parameters = SelectParameters::default();
    if !cursor.is_end() {
        cursor.space_or_parenthesis()?;
        cursor.list(|c| select_parameter(c, &mut parameters))?;
    }
    Ok(Body::Select {
        folder,
        read_only,
        parameters,
    })
}

fn select_parameter(cursor: &mut Cursor<'_>, parameters: &mut SelectParameters) -> Parsed<()> {
    let start = cursor.clone();
    let again = match cursor.keyword("expected a parameter of SELECT")?.as_str() {
        "CONDSTORE" => std::mem::replace(&mut parameters.condstore, true),
        "QRESYNC" => {
            cursor.space_or_parenthesis()?;
            let remembered = qresync(cursor)?;
            parameters.qresync.replace(remembered).is_some()
        }
        _ => return start.fail("unknown parameter of SELECT"),
    };
    if again {
        return start.fail("a parameter comes twice");
    }
    Ok(())
}

/// `(uidvalidity modseq [uids] [(numbers uids)])`
fn qresync(cursor: &mut Cursor<'_>) -> Parsed<Qresync> {
    cursor.expect(b'(', "expected (")?;
    let uid_validity = cursor.nonzero()?.get();
    cursor.space()?;
    let modseq = modseq(cursor)?;
    let mut found = Qresync {
        uid_validity,
        modseq,
        known_uids: None,
        matched: None,
    };
    if cursor.peek() == Some(b' ') && cursor.rest().get(1) != Some(&b'(') {
        cursor.space()?;
        found.known_uids = Some(set::known(cursor)?);
    }
    if cursor.eat(b' ') {
        cursor.expect(b'(', "expected (")?;
        let numbers = set::known(cursor)?;
        cursor.space()?;
        let uids = set::known(cursor)?;
        cursor.expect(b')', "expected )")?;
        found.matched = Some((numbers, uids));
    }
    cursor.expect(b')', "expected )")?;
    Ok(found)
}

/// What follows `CREATE`.
pub(super) fn create(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let folder = folder(cursor)?;
    let mut special_uses = Vec::new();
    if !cursor.is_end() {
        cursor.space_or_parenthesis()?;
        cursor.list(|c| {
            if !c.eat_word("USE") {
                return c.fail("unknown parameter of CREATE");
            }
            c.space_or_parenthesis()?;
            special_uses.extend(c.list_or_nothing(special_use)?);
            Ok(())
        })?;
    }
    Ok(Body::Create { folder, special_uses })
}

fn special_use(cursor: &mut Cursor<'_>) -> Parsed<String> {
    cursor.expect(b'\\', "expected \\ and a special use")?;
    Ok(format!("\\{}", cursor.atom("expected a special use")?))
}

/// What follows `LSUB`.
pub(super) fn lsub(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let reference = folder(cursor)?;
    cursor.space()?;
    Ok(Body::Lsub {
        reference,
        pattern: pattern(cursor)?.into_owned(),
    })
}

/// What follows `LIST`.
pub(super) fn list(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    let mut list = List::default();
    cursor.space_or_parenthesis()?;
    if cursor.peek() == Some(b'(') {
        list.selection = cursor.list_or_nothing(selection)?;
        list.extended = true;
        cursor.space()?;
        // RFC 5258 §3.1: RECURSIVEMATCH is no selection by itself.
        let alone = list
            .selection
            .iter()
            .all(|s| matches!(s, ListSelection::RecursiveMatch | ListSelection::Remote));
        if alone && list.selection.contains(&ListSelection::RecursiveMatch) {
            return cursor.fail("RECURSIVEMATCH goes with SUBSCRIBED or SPECIAL-USE");
        }
    }
    list.reference = folder(cursor)?.0;
    cursor.space_or_parenthesis()?;
    if cursor.peek() == Some(b'(') {
        list.patterns = cursor.list(|c| Ok(pattern(c)?.into_owned()))?;
        list.extended = true;
    } else {
        list.patterns = vec![pattern(cursor)?.into_owned()];
    }
    if !cursor.is_end() {
        cursor.space()?;
        if !cursor.eat_word("RETURN") {
            return cursor.fail("expected RETURN");
        }
        cursor.space_or_parenthesis()?;
        list.returns = cursor.list_or_nothing(list_return)?;
        list.extended = true;
    }
    Ok(Body::List(list))
}

/// `list-mailbox`
fn pattern<'a>(cursor: &mut Cursor<'a>) -> Parsed<Cow<'a, [u8]>> {
    if matches!(cursor.peek(), Some(b'"' | b'{')) {
        return cursor.string("expected a pattern");
    }
    let found = cursor.run(|b| is_astring_char(b) || matches!(b, b'%' | b'*'));
    if found.is_empty() {
        return cursor.fail("expected a pattern");
    }
    Ok(Cow::Borrowed(found))
}

fn selection(cursor: &mut Cursor<'_>) -> Parsed<ListSelection> {
    let start = cursor.clone();
    Ok(match cursor.keyword("expected a selection option")?.as_str() {
        "SUBSCRIBED" => ListSelection::Subscribed,
        "REMOTE" => ListSelection::Remote,
        "RECURSIVEMATCH" => ListSelection::RecursiveMatch,
        "SPECIAL-USE" => ListSelection::SpecialUse,
        _ => return start.fail("unknown selection option"),
    })
}

fn list_return(cursor: &mut Cursor<'_>) -> Parsed<ListReturn> {
    let start = cursor.clone();
    Ok(match cursor.keyword("expected a return option")?.as_str() {
        "SUBSCRIBED" => ListReturn::Subscribed,
        "CHILDREN" => ListReturn::Children,
        "SPECIAL-USE" => ListReturn::SpecialUse,
        "STATUS" => {
            cursor.space_or_parenthesis()?;
            ListReturn::Status(cursor.list(status_item)?)
        }
        "METADATA" => {
            cursor.space_or_parenthesis()?;
            ListReturn::Metadata(cursor.list(super::metadata::entry)?)
        }
        "MYRIGHTS" => ListReturn::MyRights,
        _ => return start.fail("unknown return option"),
    })
}

/// What follows `STATUS`.
pub(super) fn status(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let folder = folder(cursor)?;
    cursor.space_or_parenthesis()?;
    Ok(Body::Status {
        folder,
        items: cursor.list(status_item)?,
    })
}

fn status_item(cursor: &mut Cursor<'_>) -> Parsed<StatusItem> {
    let start = cursor.clone();
    Ok(match cursor.keyword("expected a status item")?.as_str() {
        "MESSAGES" => StatusItem::Messages,
        "RECENT" => StatusItem::Recent,
        "UIDNEXT" => StatusItem::UidNext,
        "UIDVALIDITY" => StatusItem::UidValidity,
        "UNSEEN" => StatusItem::Unseen,
        "DELETED" => StatusItem::Deleted,
        "SIZE" => StatusItem::Size,
        "HIGHESTMODSEQ" => StatusItem::HighestModseq,
        "APPENDLIMIT" => StatusItem::AppendLimit,
        "MAILBOXID" => StatusItem::MailboxId,
        "DELETED-STORAGE" => StatusItem::DeletedStorage,
        _ => return start.fail("unknown status item"),
    })
}
