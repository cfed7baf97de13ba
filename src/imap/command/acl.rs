//! MYRIGHTS, GETACL, LISTRIGHTS, SETACL, DELETEACL (RFC 4314). Who may open a box is set in the operator's directory, for all its folders
//! alike: a client reads rights and cannot change them.

use super::{Next, Outcome, Work, folder_name, over};
use crate::imap::grammar::tree::Name;
use crate::imap::names;
use crate::imap::request::{Accessor, Answer, Refused, Request, Rights};
use crate::imap::session::Core;
use crate::imap::wire;

/// What is asked of a folder.
pub(super) enum Asked {
    /// MYRIGHTS
    Mine,
    /// GETACL
    All,
    /// LISTRIGHTS of this identifier.
    Grantable(Vec<u8>),
    /// SETACL or DELETEACL.
    Change,
}

pub(super) fn acl(name: &Name, asked: Asked) -> Box<dyn Work> {
    match folder_name(name) {
        Ok(folder) => Box::new(Acl { folder, asked }),
        Err(outcome) => over(outcome),
    }
}

struct Acl {
    folder: String,
    asked: Asked,
}

impl Work for Acl {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match answer {
            // Nobody learns anything of a folder that is not there.
            None => Next::Ask(Request::Status {
                folder: self.folder.clone(),
            }),
            Some(Answer::Status(_)) => Next::Ask(Request::Access),
            Some(Answer::Access { mine, all }) => Next::Done(self.show(core, &mine, &all)),
            Some(other) => Next::Done(Outcome::unexpected(other)),
        }
    }
}

impl Acl {
    fn show(&self, core: &mut Core, mine: &Accessor, all: &[Accessor]) -> Outcome {
        // RFC 4314 §4: all but MYRIGHTS need the right "a".
        if !matches!(self.asked, Asked::Mine) && mine.rights != Rights::Holder {
            return Outcome::no("NOPERM", "only the holder of the box sees who may open it");
        }
        match &self.asked {
            Asked::Mine => {
                write_my_rights(core, &self.folder, mine.rights);
                Outcome::ok("done")
            }
            Asked::All => {
                self.begin(core, "ACL");
                for one in all {
                    write_words(core, &[one.identifier.as_bytes(), one.rights.letters().as_bytes()]);
                }
                core.out.extend_from_slice(b"\r\n");
                Outcome::ok("done")
            }
            Asked::Grantable(identifier) => {
                let known = all.iter().find(|one| one.identifier.as_bytes() == identifier);
                let rights = known.map_or("", |one| one.rights.letters());
                self.begin(core, "LISTRIGHTS");
                // RFC 4314 §3.7: what it always has, and nothing that could be granted.
                write_words(core, &[identifier, rights.as_bytes()]);
                core.out.extend_from_slice(b"\r\n");
                Outcome::ok("done")
            }
            Asked::Change => Outcome::no("NOPERM", "who may open a box is set by the operator, in its directory"),
        }
    }

    fn begin(&self, core: &mut Core, response: &str) {
        let spelling = core.spelling();
        core.out.extend_from_slice(format!("* {response} ").as_bytes());
        names::write(&mut core.out, &self.folder, spelling);
    }
}

fn write_words(core: &mut Core, words: &[&[u8]]) {
    for word in words {
        core.out.push(b' ');
        wire::astring(&mut core.out, word);
    }
}

/// Writes the MYRIGHTS response of a folder, of LIST too (RFC 8440).
pub(super) fn write_my_rights(core: &mut Core, folder: &str, rights: Rights) {
    let spelling = core.spelling();
    core.out.extend_from_slice(b"* MYRIGHTS ");
    names::write(&mut core.out, folder, spelling);
    core.out
        .extend_from_slice(format!(" {}\r\n", rights.letters()).as_bytes());
}

/// For LIST, where a driver that does not know answers.
pub(super) fn rights_of(answer: Answer) -> Result<Rights, Refused> {
    match answer {
        Answer::Access { mine, .. } => Ok(mine.rights),
        Answer::Refused(refused) => Err(refused),
        _ => Err(Refused::Defect),
    }
}
