//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, LIST, LSUB, STATUS (RFC 3501 §6.3.3–§6.3.10).

use std::collections::BTreeMap;

use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox};
use imap_codec::imap_types::status::StatusDataItemName;

use super::{INBOX, Outcome, Work, folder_name, once, over};
use crate::imap::request::{Answer, Folder, Request, Status};
use crate::imap::session::Core;
use crate::imap::{utf7, wire};

pub(super) fn create(mailbox: &Mailbox<'_>) -> Box<dyn Work> {
    simple(mailbox, "created", |folder| Request::Create { folder })
}

pub(super) fn delete(mailbox: &Mailbox<'_>) -> Box<dyn Work> {
    let folder = match folder_name(mailbox) {
        Ok(folder) if folder == INBOX => return over(Outcome::no("CANNOT", "INBOX cannot be deleted")),
        Ok(folder) => folder,
        Err(outcome) => return over(outcome),
    };
    let request = Request::Delete { folder: folder.clone() };
    once(request, move |core, answer| match answer {
        Answer::Done => {
            if core.view().is_some_and(|v| v.name == folder) {
                core.out
                    .extend_from_slice(b"* OK [CLOSED] the selected folder is deleted\r\n");
                core.select(None);
            }
            Outcome::ok("deleted")
        }
        other => Outcome::unexpected(other),
    })
}

pub(super) fn rename(from: &Mailbox<'_>, to: &Mailbox<'_>) -> Box<dyn Work> {
    let (from, to) = match (folder_name(from), folder_name(to)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(outcome), _) | (_, Err(outcome)) => return over(outcome),
    };
    if to.strip_prefix(&from).is_some_and(|rest| rest.starts_with('/')) && from != INBOX {
        return over(Outcome::no("CANNOT", "a folder cannot go into itself"));
    }
    let request = Request::Rename {
        from: from.clone(),
        to: to.clone(),
    };
    once(request, move |core, answer| match answer {
        Answer::Done => {
            core.touched(&from);
            if let Some((view, _)) = core.view_and_out() {
                follow_rename(&mut view.name, &from, &to);
            }
            Outcome::ok("renamed")
        }
        other => Outcome::unexpected(other),
    })
}

/// The selected folder, or one above it, got a new name.
fn follow_rename(name: &mut String, from: &str, to: &str) {
    if from == INBOX {
        return;
    }
    if let Some(rest) = name.strip_prefix(from)
        && (rest.is_empty() || rest.starts_with('/'))
    {
        *name = format!("{to}{rest}");
    }
}

pub(super) fn subscribe(mailbox: &Mailbox<'_>, subscribed: bool) -> Box<dyn Work> {
    simple(mailbox, "done", move |folder| Request::Subscribe { folder, subscribed })
}

fn simple(mailbox: &Mailbox<'_>, text: &'static str, request: impl FnOnce(String) -> Request) -> Box<dyn Work> {
    match folder_name(mailbox) {
        Err(outcome) => over(outcome),
        Ok(folder) => once(request(folder), move |_, answer| match answer {
            Answer::Done => Outcome::ok(text),
            other => Outcome::unexpected(other),
        }),
    }
}

/// LIST or LSUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Subscribed,
}

pub(super) fn list(reference: &Mailbox<'_>, wildcard: &ListMailbox<'_>, which: Which) -> Box<dyn Work> {
    let wildcard = match wildcard {
        ListMailbox::Token(token) => token.as_ref(),
        ListMailbox::String(string) => string.as_ref(),
    };
    if wildcard.is_empty() && which == Which::All {
        // RFC 3501 §6.3.8: asks for the separator.
        return Box::new(Separator);
    }
    let reference = match reference {
        Mailbox::Inbox => Ok(INBOX.to_owned()),
        Mailbox::Other(other) => utf7::decode(other.as_ref()),
    };
    let (Ok(reference), Ok(wildcard)) = (reference, utf7::decode(wildcard)) else {
        return over(Outcome::ok("no folder can have such a name"));
    };
    let mut pattern = reference + &wildcard;
    if pattern.len() >= INBOX.len() && pattern.is_char_boundary(INBOX.len()) {
        let (first, rest) = pattern.split_at(INBOX.len());
        if first.eq_ignore_ascii_case(INBOX) && (rest.is_empty() || rest.starts_with(['/', '*', '%'])) {
            pattern = format!("{INBOX}{rest}");
        }
    }
    once(Request::Folders, move |core, answer| match answer {
        Answer::Folders(folders) => {
            show(core, &folders, &pattern, which);
            Outcome::ok("done")
        }
        other => Outcome::unexpected(other),
    })
}

struct Separator;

impl Work for Separator {
    fn go(&mut self, core: &mut Core, _answer: Option<Answer>) -> super::Next {
        core.out.extend_from_slice(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
        super::Next::Done(Outcome::ok("done"))
    }
}

/// Writes one line for each name that matches: folders, and levels that exist only through their children.
fn show(core: &mut Core, folders: &[Folder], pattern: &str, which: Which) {
    let mut names: BTreeMap<&str, Option<&Folder>> = BTreeMap::new();
    for folder in folders.iter().filter(|f| which == Which::All || f.subscribed) {
        names.insert(&folder.name, Some(folder));
        for (at, _) in folder.name.match_indices('/') {
            names.entry(&folder.name[..at]).or_insert(None);
        }
    }
    for (name, folder) in &names {
        // RFC 3501 §6.3.9: LSUB "%" names the level above a subscribed folder; "*" names the folder itself.
        let above_only = folder.is_none() && which == Which::Subscribed && pattern.contains('*');
        if above_only || !matches(pattern, name) {
            continue;
        }
        let out = &mut core.out;
        out.extend_from_slice(if which == Which::All { b"* LIST (" } else { b"* LSUB (" });
        attributes(out, *folder, has_children(folders, name), which);
        out.extend_from_slice(b") \"/\" ");
        wire::astring(out, &utf7::encode(name));
        out.extend_from_slice(b"\r\n");
    }
}

fn attributes(out: &mut Vec<u8>, folder: Option<&Folder>, children: bool, which: Which) {
    if folder.is_none() {
        out.extend_from_slice(b"\\Noselect ");
    }
    if which == Which::All {
        out.extend_from_slice(if children { b"\\HasChildren" } else { b"\\HasNoChildren" });
        if let Some(special_use) = folder.and_then(|f| f.special_use) {
            out.push(b' ');
            out.extend_from_slice(special_use.as_bytes());
        }
    }
    if out.ends_with(b" ") {
        out.truncate(out.len() - 1);
    }
}

fn has_children(folders: &[Folder], name: &str) -> bool {
    folders
        .iter()
        .any(|f| f.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
}

/// Whether a name matches: `*` is anything, `%` anything but the separator. Takes time in proportion to pattern × name.
fn matches(pattern: &str, name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    // reached[i]: the pattern so far can match the first i characters.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for wanted in pattern.chars() {
        let mut next = vec![false; name.len() + 1];
        match wanted {
            '*' | '%' => {
                for i in 0..=name.len() {
                    next[i] = reached[i] || (i > 0 && next[i - 1] && (wanted == '*' || name[i - 1] != '/'));
                }
            }
            _ => {
                for i in 1..=name.len() {
                    next[i] = reached[i - 1] && name[i - 1] == wanted;
                }
            }
        }
        reached = next;
    }
    reached[name.len()]
}

pub(super) fn status(mailbox: &Mailbox<'_>, items: &[StatusDataItemName]) -> Box<dyn Work> {
    let folder = match folder_name(mailbox) {
        Ok(folder) => folder,
        Err(outcome) => return over(outcome),
    };
    let items = items.to_vec();
    if items
        .iter()
        .any(|i| matches!(i, StatusDataItemName::Deleted | StatusDataItemName::DeletedStorage))
    {
        return over(Outcome::bad("unknown status item"));
    }
    once(
        Request::Status { folder: folder.clone() },
        move |core, answer| match answer {
            Answer::Status(status) => {
                let out = &mut core.out;
                out.extend_from_slice(b"* STATUS ");
                wire::astring(out, &utf7::encode(&folder));
                out.extend_from_slice(b" (");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b' ');
                    }
                    status_item(out, item, &status);
                }
                out.extend_from_slice(b")\r\n");
                Outcome::ok("done")
            }
            other => Outcome::unexpected(other),
        },
    )
}

fn status_item(out: &mut Vec<u8>, item: &StatusDataItemName, status: &Status) {
    let (name, value) = match item {
        StatusDataItemName::Messages => ("MESSAGES", u64::from(status.messages)),
        StatusDataItemName::Recent => ("RECENT", u64::from(status.recent)),
        StatusDataItemName::UidNext => ("UIDNEXT", u64::from(status.uid_next)),
        StatusDataItemName::UidValidity => ("UIDVALIDITY", u64::from(status.uid_validity)),
        StatusDataItemName::Unseen => ("UNSEEN", u64::from(status.unseen)),
        _ => ("HIGHESTMODSEQ", status.highest_modseq),
    };
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    wire::number(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stop_at_the_separator_or_not() {
        for (pattern, name, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("a/%", "a/b", true),
            ("a/%", "a", false),
            ("%/%", "a/b", true),
            ("*b", "a/b", true),
            ("a*", "b", false),
            ("é%", "été", true),
            ("", "a", false),
            ("INBOX", "INBOX", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        let slow = "*a".repeat(40) + "b";
        assert!(!matches(&slow, &"a".repeat(500)));
    }

    #[test]
    fn the_selected_folder_follows_a_rename() {
        let mut name = "a/b".to_owned();
        follow_rename(&mut name, "a", "c");
        assert_eq!(name, "c/b");
        follow_rename(&mut name, "c/", "x");
        assert_eq!(name, "c/b");
    }
}
