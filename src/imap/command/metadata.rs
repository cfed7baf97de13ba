//! GETMETADATA and SETMETADATA (RFC 5464), and the same annotations in LIST (RFC 9590).
//!
//! `/private` entries belong to the person behind the login, so that those who share a box do not see each other's; `/shared` ones to all
//! who open it. What is said of the box as a whole (`""`) under `/shared` is the operator's to set.

use super::notify::Own;
use super::{Next, Outcome, Work, folder_name, once, over};
use crate::imap::grammar::tree::{Depth, Name};
use crate::imap::names;
use crate::imap::request::{Annotation, Answer, Refused, Request};
use crate::imap::session::Core;
use crate::imap::wire;

/// Depth, and the longest value wanted.
type Bounds = (Depth, Option<u64>);

pub(super) fn get(folder: &Name, entries: Vec<Vec<u8>>, bounds: Bounds) -> Box<dyn Work> {
    let entries = match bounds {
        (Depth::Zero, _) => all(entries),
        (Depth::One | Depth::Infinity, _) => few(entries, |entry| root(entry).map_or_else(|| entry_name(entry), Ok)),
    };
    let (folder, entries) = match (place(folder), entries) {
        (Ok(folder), Ok(entries)) => (folder, entries),
        (Err(outcome), _) | (_, Err(outcome)) => return over(outcome),
    };
    let request = Request::Annotations { folder: folder.clone() };
    once(request, move |core, answer| match answer {
        Answer::Annotations(found) => show(core, folder.as_deref().unwrap_or_default(), (&entries, &found), bounds),
        other => Outcome::unexpected(other),
    })
}

fn show(core: &mut Core, folder: &str, (asked, found): (&[String], &[Annotation]), bounds: Bounds) -> Outcome {
    let (depth, bytes_max) = bounds;
    let mut shown: Vec<(&str, Option<&[u8]>)> = Vec::new();
    let mut longest = 0;
    for entry in asked {
        let below = found.iter().filter(|one| reaches(entry, &one.entry, depth));
        let mut any = false;
        for one in below {
            any = true;
            let value = one.value.as_deref().unwrap_or_default();
            if bytes_max.is_some_and(|max| value.len() as u64 > max) {
                longest = longest.max(value.len());
            } else if !shown.iter().any(|(name, _)| *name == one.entry) {
                shown.push((&one.entry, Some(value)));
            }
        }
        // RFC 5464 §4.2: what was asked for by its name and is not there is NIL.
        if !any && depth == Depth::Zero {
            shown.push((entry, None));
        }
    }
    if !shown.is_empty() {
        write(core, folder, &shown);
    }
    if longest > 0 {
        return Outcome::ok_with(format!("METADATA LONGENTRIES {longest}").into_bytes(), "done");
    }
    Outcome::ok("done")
}

/// Whether asking for `asked` at that depth shows `entry`.
fn reaches(asked: &str, entry: &str, depth: Depth) -> bool {
    let Some(rest) = entry.strip_prefix(asked) else {
        return false;
    };
    match depth {
        _ if rest.is_empty() => true,
        Depth::Zero => false,
        Depth::One => rest.starts_with('/') && !rest[1..].contains('/'),
        Depth::Infinity => rest.starts_with('/'),
    }
}

/// Writes a METADATA response (RFC 5464 §4.4.1).
fn write(core: &mut Core, folder: &str, values: &[(&str, Option<&[u8]>)]) {
    let spelling = core.spelling();
    let out = &mut core.out;
    out.extend_from_slice(b"* METADATA ");
    names::write(out, folder, spelling);
    for (index, (entry, value)) in values.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        wire::astring(out, entry.as_bytes());
        out.push(b' ');
        match value {
            // RFC 3516 §4.3: NUL stands only in a literal8.
            Some(value) if value.contains(&0) => {
                out.push(b'~');
                wire::literal(out, value);
            }
            value => wire::nstring(out, *value),
        }
    }
    out.extend_from_slice(b")\r\n");
}

/// Writes what LIST was asked to show of a folder's annotations (RFC 9590 §3).
pub(super) fn write_listed(core: &mut Core, folder: &str, (asked, found): (&[String], &[Annotation])) {
    let values: Vec<(&str, Option<&[u8]>)> = asked
        .iter()
        .map(|entry| {
            let one = found.iter().find(|one| one.entry == *entry);
            (entry.as_str(), one.and_then(|one| one.value.as_deref()))
        })
        .collect();
    write(core, folder, &values);
}

pub(super) fn set(folder: &Name, entries: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Box<dyn Work> {
    let folder = match place(folder) {
        Ok(folder) => folder,
        Err(outcome) => return over(outcome),
    };
    let mut changes = Vec::with_capacity(entries.len());
    for (entry, value) in entries {
        let entry = match entry_name(&entry) {
            Ok(entry) => entry,
            Err(outcome) => return over(outcome),
        };
        if value.as_ref().is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return over(Outcome::no(VALUE_TOO_LONG, "the value is too long"));
        }
        if folder.is_none() && entry.starts_with("/shared/") {
            return over(Outcome::no(
                "NOPERM",
                "what is shared of the whole box is set by the operator",
            ));
        }
        if entry.ends_with("/specialuse") {
            return over(Outcome::no(
                "CANNOT",
                "the special use of a folder is given when it is created",
            ));
        }
        changes.push(Annotation { entry, value });
    }
    Box::new(Set {
        entries: changes.iter().map(|change| change.entry.clone()).collect(),
        folder: folder.clone(),
        request: Some(Request::Annotate { folder, changes }),
    })
}

struct Set {
    folder: Option<String>,
    entries: Vec<String>,
    request: Option<Request>,
}

impl Work for Set {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match (answer, self.request.take()) {
            (None, Some(request)) => Next::Ask(request),
            (Some(Answer::Done), _) => {
                for entry in self.entries.drain(..) {
                    core.did(Own::Entry(self.folder.clone(), entry));
                }
                Next::Done(Outcome::ok("done"))
            }
            // RFC 5464 §4.3.
            (Some(Answer::Refused(Refused::Limit)), _) => {
                Next::Done(Outcome::no("METADATA TOOMANY", "too many annotations"))
            }
            (Some(other), _) => Next::Done(Outcome::unexpected(other)),
            (None, None) => Next::Done(Outcome::refused(Refused::Defect)),
        }
    }
}

/// The folder; `None` is the box as a whole.
fn place(name: &Name) -> Result<Option<String>, Outcome> {
    if name.0.is_empty() {
        return Ok(None);
    }
    folder_name(name).map(Some)
}

/// Names of entries in lower case.
pub(super) fn all(entries: Vec<Vec<u8>>) -> Result<Vec<String>, Outcome> {
    few(entries, entry_name)
}

fn few(entries: Vec<Vec<u8>>, read: impl Fn(&[u8]) -> Result<String, Outcome>) -> Result<Vec<String>, Outcome> {
    if entries.len() > ENTRIES_ASKED_MAX {
        return Err(Outcome::no("LIMIT", "too many entries at once"));
    }
    entries.iter().map(|entry| read(entry)).collect()
}

/// What all entries of one kind are below: no entry itself, but what a client asks for with a depth to learn which there are
/// (RFC 5464 §4.2.2).
fn root(sent: &[u8]) -> Option<String> {
    let roots = ["/private", "/shared"].into_iter();
    roots
        .map(str::to_owned)
        .find(|root| sent.eq_ignore_ascii_case(root.as_bytes()))
}

/// RFC 5464 §3.2: `/private` or `/shared`, then levels without wildcards; case makes no difference.
fn entry_name(sent: &[u8]) -> Result<String, Outcome> {
    let bad = || Outcome::bad("an entry is below /private/ or /shared/, in ASCII, without * and %");
    let name = std::str::from_utf8(sent).map_err(|_| bad())?.to_ascii_lowercase();
    let is_good = name.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && !name.contains(['*', '%']);
    let mut levels = name.split('/');
    let begins = (levels.next(), levels.next());
    let mut rest = levels.peekable();
    if !is_good
        || name.len() > ENTRY_BYTES_MAX
        || !matches!(begins, (Some(""), Some("private" | "shared")))
        || rest.peek().is_none()
        || rest.any(str::is_empty)
    {
        return Err(bad());
    }
    Ok(name)
}

/// Longest value, in bytes; told in [`VALUE_TOO_LONG`].
const VALUE_BYTES_MAX: usize = 16 * 1024;
const VALUE_TOO_LONG: &str = "METADATA MAXSIZE 16384";
/// Longest name of an entry.
const ENTRY_BYTES_MAX: usize = 250;
/// Most entries that one command asks for.
const ENTRIES_ASKED_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_private_or_shared() {
        for (sent, expected) in [
            ("/private/comment", Some("/private/comment")),
            ("/SHARED/Vendor/x y", Some("/shared/vendor/x y")),
            ("/comment", None),
            ("/private", None),
            ("/private/", None),
            ("/private//x", None),
            ("/private/x/", None),
            ("private/x", None),
            ("/shared/*", None),
            ("/shared/é", None),
            ("/sharedx/y", None),
        ] {
            assert_eq!(entry_name(sent.as_bytes()).ok().as_deref(), expected, "{sent}");
        }
        assert!(entry_name(format!("/private/{}", "x".repeat(300)).as_bytes()).is_err());
    }

    #[test]
    fn depth_says_how_far_down_is_shown() {
        for (entry, depth, expected) in [
            ("/shared/a", Depth::Zero, true),
            ("/shared/a/b", Depth::Zero, false),
            ("/shared/a/b", Depth::One, true),
            ("/shared/a/b/c", Depth::One, false),
            ("/shared/a/b/c", Depth::Infinity, true),
            ("/shared/ab", Depth::Infinity, false),
        ] {
            assert_eq!(reaches("/shared/a", entry, depth), expected, "{entry} {depth:?}");
        }
    }
}
