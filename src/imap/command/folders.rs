//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 §6.3.4–§6.3.8, RFC 6154 §3).

use super::notify::Own;
use super::{Outcome, Work, folder_name, once, over};
use crate::imap::grammar::tree::Name;
use crate::imap::listing::is_below;
use crate::imap::names::INBOX;
use crate::imap::request::{Answer, Refused, Request};

pub(super) fn create(name: &Name, special_uses: &[String]) -> Box<dyn Work> {
    let special_use = match special_uses {
        [] => None,
        [one] => Some(one.clone()),
        // RFC 6154 §3: a folder has one use here.
        _ => return over(Outcome::refused(Refused::SpecialUse)),
    };
    let folder = match folder_name(name) {
        Ok(folder) => folder,
        Err(outcome) => return over(outcome),
    };
    let request = Request::Create {
        folder: folder.clone(),
        special_use,
    };
    once(request, |core, answer| match answer {
        Answer::Created { object_id } => {
            core.did(Own::Name(folder));
            // RFC 8474 §4.1.
            Outcome::ok_with(format!("MAILBOXID ({object_id})").into_bytes(), "created")
        }
        other => Outcome::unexpected(other),
    })
}

pub(super) fn delete(name: &Name) -> Box<dyn Work> {
    let folder = match folder_name(name) {
        Ok(folder) if folder == INBOX => return over(Outcome::no("CANNOT", "INBOX cannot be deleted")),
        Ok(folder) => folder,
        Err(outcome) => return over(outcome),
    };
    let request = Request::Delete { folder: folder.clone() };
    once(request, move |core, answer| match answer {
        Answer::Deleted(handle) => {
            // By what it is, for another session may have given it another name.
            if core.view().is_some_and(|view| view.folder == handle) {
                core.out
                    .extend_from_slice(b"* OK [CLOSED] the selected folder is deleted\r\n");
                core.select(None);
            }
            core.did(Own::Name(folder));
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
    if is_below(&to, &from) && from != INBOX {
        return over(Outcome::no("CANNOT", "a folder cannot go into itself"));
    }
    let request = Request::Rename {
        from: from.clone(),
        to: to.clone(),
    };
    once(request, move |core, answer| match answer {
        Answer::Done => {
            core.did(Own::Name(to.clone()));
            core.put_into(&from, []);
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
    match folder_name(name) {
        Err(outcome) => over(outcome),
        Ok(folder) => {
            let request = Request::Subscribe {
                folder: folder.clone(),
                subscribed,
            };
            once(request, |core, answer| match answer {
                Answer::Done => {
                    core.did(Own::Subscription(folder));
                    Outcome::ok("done")
                }
                other => Outcome::unexpected(other),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_folder_follows_a_rename() {
        let mut name = "a/b".to_owned();
        follow_rename(&mut name, "a", "c");
        assert_eq!(name, "c/b");
        follow_rename(&mut name, "c/", "x");
        assert_eq!(name, "c/b");
    }
}
