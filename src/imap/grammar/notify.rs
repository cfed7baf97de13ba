//! NOTIFY (RFC 5465 §8).

use super::append::folder;
use super::lexer::{Cursor, Parsed};
use super::tree::{Body, FetchItem, Name};

/// NOTIFY SET (RFC 5465 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notify {
    /// STATUS of every folder named is sent at once.
    pub(crate) status: bool,
    pub(crate) groups: Vec<NotifyGroup>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifyGroup {
    pub(crate) folders: NotifyFolders,
    /// Empty: NONE.
    pub(crate) events: Vec<NotifyEvent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotifyFolders {
    Selected,
    SelectedDelayed,
    Inboxes,
    Personal,
    Subscribed,
    Subtree(Vec<Name>),
    Named(Vec<Name>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotifyEvent {
    /// With what to fetch of each new message.
    MessageNew(Vec<FetchItem>),
    MessageExpunge,
    FlagChange,
    AnnotationChange,
    MailboxName,
    SubscriptionChange,
    MailboxMetadataChange,
    ServerMetadataChange,
    /// In capitals: for BADEVENT (RFC 5465 §5).
    Unknown(String),
}

/// What follows `NOTIFY`.
pub(super) fn notify(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    if cursor.eat_word("NONE") {
        return Ok(Body::Notify(None));
    }
    if !cursor.eat_word("SET") {
        return cursor.fail("expected SET or NONE");
    }
    cursor.space_or_parenthesis()?;
    let status = cursor.eat_word("STATUS");
    if status {
        cursor.space_or_parenthesis()?;
    }
    let mut groups = vec![group(cursor)?];
    while !cursor.is_end() {
        cursor.space_or_parenthesis()?;
        groups.push(group(cursor)?);
    }
    Ok(Body::Notify(Some(Notify { status, groups })))
}

/// `(folders events)`
fn group(cursor: &mut Cursor<'_>) -> Parsed<NotifyGroup> {
    cursor.expect(b'(', "expected (")?;
    let folders = folders(cursor)?;
    cursor.space_or_parenthesis()?;
    let events = if cursor.eat_word("NONE") {
        Vec::new()
    } else {
        cursor.list(event)?
    };
    cursor.expect(b')', "expected )")?;
    Ok(NotifyGroup { folders, events })
}

fn folders(cursor: &mut Cursor<'_>) -> Parsed<NotifyFolders> {
    let start = cursor.clone();
    Ok(match cursor.keyword("expected which folders")?.as_str() {
        "SELECTED" => NotifyFolders::Selected,
        "SELECTED-DELAYED" => NotifyFolders::SelectedDelayed,
        "INBOXES" => NotifyFolders::Inboxes,
        "PERSONAL" => NotifyFolders::Personal,
        "SUBSCRIBED" => NotifyFolders::Subscribed,
        "SUBTREE" => NotifyFolders::Subtree(names(cursor)?),
        "MAILBOXES" => NotifyFolders::Named(names(cursor)?),
        _ => return start.fail("unknown kind of folders"),
    })
}

fn names(cursor: &mut Cursor<'_>) -> Parsed<Vec<Name>> {
    cursor.space_or_parenthesis()?;
    if cursor.peek() == Some(b'(') {
        cursor.list(folder)
    } else {
        Ok(vec![folder(cursor)?])
    }
}

fn event(cursor: &mut Cursor<'_>) -> Parsed<NotifyEvent> {
    let name = cursor.keyword("expected an event")?;
    Ok(match name.as_str() {
        "MESSAGENEW" => {
            let mut ahead = cursor.clone();
            ahead.eat(b' ');
            if ahead.peek() != Some(b'(') {
                return Ok(NotifyEvent::MessageNew(Vec::new()));
            }
            *cursor = ahead;
            NotifyEvent::MessageNew(cursor.list(super::fetch::item)?)
        }
        "MESSAGEEXPUNGE" => NotifyEvent::MessageExpunge,
        "FLAGCHANGE" => NotifyEvent::FlagChange,
        "ANNOTATIONCHANGE" => NotifyEvent::AnnotationChange,
        "MAILBOXNAME" => NotifyEvent::MailboxName,
        "SUBSCRIPTIONCHANGE" => NotifyEvent::SubscriptionChange,
        "MAILBOXMETADATACHANGE" => NotifyEvent::MailboxMetadataChange,
        "SERVERMETADATACHANGE" => NotifyEvent::ServerMetadataChange,
        _ => NotifyEvent::Unknown(name),
    })
}
