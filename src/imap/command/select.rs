//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 3501 §6.3.1, §6.3.2, §6.4.2; RFC 3691).

use super::{Next, Outcome, Work, folder_name, once, over};
use crate::imap::grammar::tree::{Name, SelectParameters};
use crate::imap::request::{Answer, Flags, Request, Selected};
use crate::imap::session::Core;
use crate::imap::view::{Access, View};
use crate::imap::wire;

pub(super) fn select(core: &Core, name: &Name, read_only: bool, parameters: &SelectParameters) -> Box<dyn Work> {
    if *parameters != SelectParameters::default() {
        return over(super::not_offered());
    }
    let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
    let folder = match folder_name(name) {
        Ok(folder) => folder,
        Err(outcome) => {
            // RFC 3501 §6.3.1: a SELECT that fails leaves no folder selected.
            return match core.view() {
                Some(_) => leave(outcome),
                None => over(outcome),
            };
        }
    };
    Box::new(Select { folder, access })
}

struct Select {
    folder: String,
    access: Access,
}

impl Work for Select {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match answer {
            None => {
                core.select(None);
                Next::Ask(Request::Select {
                    folder: self.folder.clone(),
                    read_only: self.access == Access::ReadOnly,
                })
            }
            Some(Answer::Selected(selected)) => {
                let name = std::mem::take(&mut self.folder);
                Next::Done(show(core, name, self.access, selected))
            }
            Some(other) => Next::Done(Outcome::unexpected(other)),
        }
    }
}

fn show(core: &mut Core, name: String, access: Access, selected: Selected) -> Outcome {
    let (uid_validity, uid_next) = (selected.uid_validity, selected.uid_next);
    let view = View::new(name, access, selected);
    let out = &mut core.out;
    view.write_flags(out);
    view.write_counts(out);
    let unseen = view.entries().iter().position(|e| e.flags.system & Flags::SEEN == 0);
    if let Some(at) = unseen {
        coded(out, b"UNSEEN", at as u64 + 1, b"first unseen message");
    }
    coded(out, b"UIDVALIDITY", u64::from(uid_validity), b"UIDs valid");
    coded(out, b"UIDNEXT", u64::from(uid_next), b"next UID");
    core.select(Some(view));
    match access {
        Access::ReadWrite => Outcome::ok_with(&b"READ-WRITE"[..], "selected"),
        Access::ReadOnly => Outcome::ok_with(&b"READ-ONLY"[..], "selected"),
    }
}

fn coded(out: &mut Vec<u8>, code: &[u8], number: u64, text: &[u8]) {
    out.extend_from_slice(b"* OK [");
    out.extend_from_slice(code);
    out.push(b' ');
    wire::number(out, number);
    out.extend_from_slice(b"] ");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// CLOSE removes deleted messages without a word, if the folder may be changed.
pub(super) fn close(view: &View) -> Box<dyn Work> {
    Box::new(Close {
        expunge: (view.access == Access::ReadWrite).then_some(Request::Expunge {
            folder: view.folder,
            uids: None,
        }),
    })
}

struct Close {
    expunge: Option<Request>,
}

impl Work for Close {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        if let Some(request) = self.expunge.take() {
            return Next::Ask(request);
        }
        match answer {
            Some(Answer::Done) => {
                core.select(None);
                Next::Done(Outcome::ok("closed"))
            }
            Some(Answer::Expunged(_)) | None => Next::Ask(Request::Leave),
            Some(other) => Next::Done(Outcome::unexpected(other)),
        }
    }
}

pub(super) fn unselect() -> Box<dyn Work> {
    leave(Outcome::ok("closed, nothing removed"))
}

fn leave(outcome: Outcome) -> Box<dyn Work> {
    once(Request::Leave, |core, answer| match answer {
        Answer::Done => {
            core.select(None);
            outcome
        }
        other => Outcome::unexpected(other),
    })
}
