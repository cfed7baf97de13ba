//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, LIST, LSUB, STATUS (RFC 3501 §6.3.3–§6.3.10).

use std::collections::BTreeMap;

use super::{INBOX, Outcome, Work, folder_name, once, over};
use crate::imap::grammar::tree::{List, Name, StatusItem};
use crate::imap::request::{Answer, Folder, Request, Status};
use crate::imap::session::Core;
use crate::imap::{utf7, wire};

pub(super) fn create(name: &Name, special_uses: &[String]) -> Box<dyn Work> {
    if !special_uses.is_empty() {
        return over(super::not_offered());
    }
    simple(name, "created", |folder| Request::Create { folder })
}

pub(super) fn delete(name: &Name) -> Box<dyn Work> {
    let folder = match folder_name(name) {
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

pub(super) fn rename(from: &Name, to: &Name) -> Box<dyn Work> {
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

pub(super) fn subscribe(name: &Name, subscribed: bool) -> Box<dyn Work> {
    simple(name, "done", move |folder| Request::Subscribe { folder, subscribed })
}

fn simple(name: &Name, text: &'static str, request: impl FnOnce(String) -> Request) -> Box<dyn Work> {
    match folder_name(name) {
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

pub(super) fn list(asked: &List) -> Box<dyn Work> {
    match asked.patterns.as_slice() {
        [pattern] if !asked.extended => matching(&asked.reference, pattern, Which::All),
        _ => over(super::not_offered()),
    }
}

pub(super) fn lsub(reference: &Name, pattern: &[u8]) -> Box<dyn Work> {
    matching(&reference.0, pattern, Which::Subscribed)
}

fn matching(reference: &[u8], wildcard: &[u8], which: Which) -> Box<dyn Work> {
    if wildcard.is_empty() && which == Which::All {
        // RFC 3501 §6.3.8: asks for the separator.
        return Box::new(Separator);
    }
    let (Ok(reference), Ok(wildcard)) = (utf7::decode(reference), utf7::decode(wildcard)) else {
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

pub(super) fn status(name: &Name, items: &[StatusItem]) -> Box<dyn Work> {
    let folder = match folder_name(name) {
        Ok(folder) => folder,
        Err(outcome) => return over(outcome),
    };
    let items = items.to_vec();
    if items.iter().any(|item| figure(*item, &Status::default()).is_none()) {
        return over(super::not_offered());
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
                    status_item(out, *item, &status);
                }
                out.extend_from_slice(b")\r\n");
                Outcome::ok("done")
            }
            other => Outcome::unexpected(other),
        },
    )
}

fn status_item(out: &mut Vec<u8>, item: StatusItem, status: &Status) {
    if let Some((name, value)) = figure(item, status) {
        out.extend_from_slice(name.as_bytes());
        out.push(b' ');
        wire::number(out, value);
    }
}

/// Name and value of an item; `None`: it is not offered.
fn figure(item: StatusItem, status: &Status) -> Option<(&'static str, u64)> {
    Some(match item {
        StatusItem::Messages => ("MESSAGES", u64::from(status.messages)),
        StatusItem::Recent => ("RECENT", u64::from(status.recent)),
        StatusItem::UidNext => ("UIDNEXT", u64::from(status.uid_next)),
        StatusItem::UidValidity => ("UIDVALIDITY", u64::from(status.uid_validity)),
        StatusItem::Unseen => ("UNSEEN", u64::from(status.unseen)),
        StatusItem::HighestModseq => ("HIGHESTMODSEQ", status.highest_modseq),
        StatusItem::Deleted
        | StatusItem::Size
        | StatusItem::AppendLimit
        | StatusItem::MailboxId
        | StatusItem::DeletedStorage => return None,
    })
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
