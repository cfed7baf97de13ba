//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1; RFC 3691), and what a client says it remembers of a folder
//! (RFC 7162 §3.2.5).

use super::resync::Resync;
use super::{Next, Outcome, Work, folder_name, list, once, over};
use crate::imap::grammar::tree::{Name, SelectParameters};
use crate::imap::listing::Attributes;
use crate::imap::request::{Answer, Refused, Request, Selected};
use crate::imap::session::{Core, Extension};
use crate::imap::view::{Access, View};
use crate::imap::wire;

pub(super) fn select(core: &Core, name: &Name, read_only: bool, parameters: SelectParameters) -> Box<dyn Work> {
    // RFC 7162 §3.2.5: only of one that understands what it will be told.
    if parameters.qresync.is_some() && !core.enabled.has(Extension::Qresync) {
        return over(Outcome::bad("ENABLE QRESYNC first"));
    }
    let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
    let folder = match folder_name(name) {
        Ok(folder) => folder,
        Err(outcome) => {
            // RFC 3501 §6.3.1: a SELECT that fails leaves no folder selected.
            return match core.view() {
                Some(_) => leave(outcome, CLOSED),
                None => over(outcome),
            };
        }
    };
    Box::new(Select {
        folder,
        access,
        parameters,
        selected: None,
        resync: None,
        failed: None,
    })
}

struct Select {
    folder: String,
    access: Access,
    parameters: SelectParameters,
    /// The folder, while it is found out what LIST says of it.
    selected: Option<Selected>,
    resync: Option<Resync>,
    /// What the command ends with once the folder is left again.
    failed: Option<Outcome>,
}

impl Work for Select {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        // RFC 3501 §6.3.1: a SELECT that fails leaves no folder selected, whatever was told of it before.
        if let Some(outcome) = self.failed.take() {
            core.select(None);
            return Next::Done(outcome);
        }
        match answer {
            None if self.resync.is_some() => self.resync(core),
            None => {
                // RFC 7162 §3.2.11: what comes next is about the other folder.
                if core.view().is_some() {
                    core.out.extend_from_slice(CLOSED);
                }
                core.select(None);
                Next::Ask(Request::Select {
                    folder: self.folder.clone(),
                    read_only: self.access == Access::ReadOnly,
                })
            }
            // RFC 9051 §6.3.2: what LIST says of the folder is told too.
            Some(Answer::Selected(selected)) if core.enabled.has(Extension::Imap4rev2) => {
                self.selected = Some(selected);
                Next::Ask(Request::Listing)
            }
            Some(Answer::Selected(selected)) => self.show(core, selected, None),
            Some(Answer::Listing { folders, wishes }) => match self.selected.take() {
                Some(selected) => {
                    let attributes = Attributes::new(&folders, &wishes, &[]).of(&self.folder);
                    self.show(core, selected, Some(&attributes))
                }
                None => Next::Done(Outcome::unexpected(Answer::Done)),
            },
            Some(Answer::Vanished(vanished)) => {
                if let (Some(resync), Some((view, out))) = (&self.resync, core.view_and_out()) {
                    resync.write_vanished(view, vanished, out);
                }
                self.resync(core)
            }
            // It was deleted since it was opened, or cannot be read.
            Some(other) if self.selected.is_some() || core.view().is_some() => {
                self.failed = Some(Outcome::unexpected(other));
                Next::Ask(Request::Leave)
            }
            Some(other) => Next::Done(Outcome::unexpected(other)),
        }
    }
}

impl Select {
    /// `listed`: its attributes, of a client that uses `IMAP4rev2`.
    fn show(&mut self, core: &mut Core, selected: Selected, listed: Option<&[&str]>) -> Next {
        if self.parameters.condstore {
            core.enabled.insert(Extension::Condstore);
        }
        let (uid_validity, uid_next) = (selected.uid_validity, selected.uid_next);
        if selected.read_only {
            self.access = Access::ReadOnly;
        }
        let object_id = format!("* OK [MAILBOXID ({})] of this folder\r\n", selected.object_id);
        let view = View::new(std::mem::take(&mut self.folder), self.access, selected);
        view.write_flags(&mut core.out);
        view.write_counts(core.enabled, &mut core.out);
        let sent = core.sent.take();
        if let Some(attributes) = listed {
            list::write_named(core, attributes, &view.name, sent.as_deref());
        }
        let out = &mut core.out;
        // RFC 9051 §E: UNSEEN is for those who have no LIST here.
        if let (None, Some(at)) = (listed, view.entries().contents().first_unseen()) {
            coded(out, b"UNSEEN", at as u64 + 1, b"first unseen message");
        }
        coded(out, b"UIDVALIDITY", u64::from(uid_validity), b"UIDs valid");
        coded(out, b"UIDNEXT", u64::from(uid_next), b"next UID");
        // RFC 7162 §3.1.2.1: whether the client asked or not.
        coded(out, b"HIGHESTMODSEQ", view.modseq(), b"highest modification sequence");
        // RFC 8474 §4.2
        out.extend_from_slice(object_id.as_bytes());
        let folder = view.folder;
        core.select(Some(view));
        match self.parameters.qresync.take() {
            // RFC 7162 §3.2.5: of another folder of that name nothing is remembered.
            Some(known) if known.uid_validity == uid_validity => {
                let since = known.modseq;
                self.resync = Some(Resync::of_select(known, uid_next));
                Next::Ask(Request::Vanished { folder, since })
            }
            _ => Next::Done(self.done()),
        }
    }

    /// Tells what happened while the client was away.
    fn resync(&mut self, core: &mut Core) -> Next {
        let enabled = core.enabled;
        let (Some(resync), Some((view, out))) = (&mut self.resync, core.view_and_out()) else {
            return Next::Done(Outcome::unexpected(Answer::Done));
        };
        if resync.write_changed(view, enabled, out) {
            return Next::Continue;
        }
        Next::Done(self.done())
    }

    fn done(&self) -> Outcome {
        // What goes while the folder is shown is told with the next command: a client that compares what it remembers with what is shown
        // is not to be told in between that less is there.
        match self.access {
            Access::ReadWrite => Outcome::ok_with(&b"READ-WRITE"[..], "selected"),
            Access::ReadOnly => Outcome::ok_with(&b"READ-ONLY"[..], "selected"),
        }
        .keeping_numbers()
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
            // A folder that another session deleted meanwhile is left all the same.
            Some(Answer::Expunged(_) | Answer::Refused(Refused::NoSuchFolder)) | None => Next::Ask(Request::Leave),
            Some(other) => Next::Done(Outcome::unexpected(other)),
        }
    }
}

pub(super) fn unselect() -> Box<dyn Work> {
    leave(Outcome::ok("closed, nothing removed"), b"")
}

/// Leaves the folder, with a word about it.
fn leave(outcome: Outcome, word: &'static [u8]) -> Box<dyn Work> {
    once(Request::Leave, move |core, answer| match answer {
        Answer::Done => {
            core.out.extend_from_slice(word);
            core.select(None);
            outcome
        }
        other => Outcome::unexpected(other),
    })
}

/// RFC 9051 §7.1: what comes behind it is about no folder, or another one.
const CLOSED: &[u8] = b"* OK [CLOSED] the folder before is closed\r\n";
