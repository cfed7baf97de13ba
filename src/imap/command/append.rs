//! APPEND of one message or several, and REPLACE (RFC 9051 §6.3.12; RFC 3502, RFC 4315, RFC 6855 §4, RFC 8508).

use super::{Outcome, Work, flags_of, folder_name, once, over, positions, read_only, told, uids};
use crate::imap::grammar::tree::{AppendHead, Content, End, Name, Numbering, Set};
use crate::imap::request::{Answer, Bytes, Request, Upload};
use crate::imap::session::{Core, Extension};
use crate::imap::view::{Access, View};
use crate::imap::wire;

pub(super) fn append(core: &Core, name: &Name, heads: Vec<AppendHead>, messages: Vec<Bytes>) -> Box<dyn Work> {
    let (folder, messages) = match (folder_name(name), uploads(core, heads, messages)) {
        (Ok(folder), Ok(messages)) => (folder, messages),
        (_, Err(outcome)) | (Err(outcome), _) => return over(outcome),
    };
    let request = Request::Append {
        folder: folder.clone(),
        messages,
        replaces: None,
    };
    once(request, move |core, answer| match answer {
        Answer::Appended { uid_validity, uids } => {
            core.put_into(&folder, uids.iter().copied());
            Outcome::ok_with(append_uid(uid_validity, &uids), "appended")
        }
        other => Outcome::no_destination(other),
    })
}

/// RFC 8508 §3: the new message comes and the old one goes at once, or nothing happens.
pub(super) fn replace(
    (core, view): (&Core, &View),
    (message, numbering): (End, Numbering),
    name: &Name,
    (head, messages): (AppendHead, Vec<Bytes>),
) -> Box<dyn Work> {
    let (uid, folder, messages) = match replacement((core, view), (message, numbering), name, (head, messages)) {
        Ok(found) => found,
        Err(outcome) => return over(told(outcome, numbering)),
    };
    let request = Request::Append {
        folder: folder.clone(),
        messages,
        replaces: Some((view.folder, uid)),
    };
    once(request, move |core, answer| match answer {
        Answer::Appended { uid_validity, uids } => {
            core.put_into(&folder, uids.iter().copied());
            core.out.extend_from_slice(b"* OK [");
            core.out.extend_from_slice(&append_uid(uid_validity, &uids));
            core.out.extend_from_slice(b"] here is the replacement\r\n");
            // The EXPUNGE comes as news, before the tagged response.
            core.stale = true;
            Outcome::ok("replaced").with_modseq()
        }
        other => Outcome::no_destination(other),
    })
}

fn replacement(
    (core, view): (&Core, &View),
    (message, numbering): (End, Numbering),
    name: &Name,
    (head, messages): (AppendHead, Vec<Bytes>),
) -> Result<(u32, String, Vec<Upload>), Outcome> {
    if view.access == Access::ReadOnly {
        return Err(read_only());
    }
    let messages = uploads(core, vec![head], messages)?;
    let found = positions(view, &Set::Ranges(vec![(message, message)]), numbering)?;
    match uids(view, &found).as_slice() {
        [uid] => Ok((*uid, folder_name(name)?, messages)),
        _ => Err(Outcome::no("NONEXISTENT", "no such message")),
    }
}

/// Heads and bytes together, if all of them may be stored.
fn uploads(core: &Core, heads: Vec<AppendHead>, messages: Vec<Bytes>) -> Result<Vec<Upload>, Outcome> {
    if heads.len() != messages.len() {
        return Err(Outcome::bad("a message is missing"));
    }
    let each = heads.into_iter().zip(messages).map(|(head, bytes)| {
        // RFC 6855 §4
        if head.content == Content::Utf8 && !core.enabled.has(Extension::Utf8) {
            return Err(Outcome::bad("ENABLE UTF8=ACCEPT first"));
        }
        // RFC 3502 §6.3.11: how a client calls it off.
        if matches!(&bytes, Bytes::Memory(bytes) if bytes.is_empty()) {
            return Err(Outcome::no("CANNOT", "an empty message is not stored"));
        }
        Ok(Upload {
            flags: flags_of(&head.flags)?,
            date: head.date,
            bytes,
        })
    });
    each.collect()
}

/// The APPENDUID response code (RFC 4315 §3, RFC 3502 §6.3.11).
fn append_uid(uid_validity: u32, uids: &[u32]) -> Vec<u8> {
    let mut code = format!("APPENDUID {uid_validity} ").into_bytes();
    wire::number_set(&mut code, uids.iter().copied());
    code
}
