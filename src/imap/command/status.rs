//! STATUS (RFC 9051 §6.3.11), and the same figures in LIST (RFC 5819).

use super::{Outcome, Work, folder_name, once, over};
use crate::imap::grammar::tree::{Name, StatusItem};
use crate::imap::names;
use crate::imap::request::{Answer, Request, Status};
use crate::imap::session::{Core, Extension};
use crate::imap::wire;

pub(super) fn status(name: &Name, items: Vec<StatusItem>) -> Box<dyn Work> {
    let folder = match folder_name(name) {
        Ok(folder) => folder,
        Err(outcome) => return over(outcome),
    };
    once(
        Request::Status { folder: folder.clone() },
        move |core, answer| match answer {
            Answer::Status(status) => {
                write(core, &folder, &items, &status);
                Outcome::ok("done")
            }
            other => Outcome::unexpected(other),
        },
    )
}

/// Writes the STATUS response of a folder.
pub(super) fn write(core: &mut Core, folder: &str, items: &[StatusItem], status: &Status) {
    if items.contains(&StatusItem::HighestModseq) {
        // RFC 7162 §3.1: who asks for it knows CONDSTORE.
        core.enabled.insert(Extension::Condstore);
    }
    let (spelling, append_bytes_max) = (core.spelling(), core.options.append_bytes_max);
    let out = &mut core.out;
    out.extend_from_slice(b"* STATUS ");
    names::write(out, folder, spelling);
    for (index, item) in items.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        write_item(out, *item, status, append_bytes_max as u64);
    }
    out.extend_from_slice(b")\r\n");
}

fn write_item(out: &mut Vec<u8>, item: StatusItem, status: &Status, append_bytes_max: u64) {
    let (name, value) = match item {
        StatusItem::Messages => ("MESSAGES", u64::from(status.messages)),
        StatusItem::Recent => ("RECENT", u64::from(status.recent)),
        StatusItem::UidNext => ("UIDNEXT", u64::from(status.uid_next)),
        StatusItem::UidValidity => ("UIDVALIDITY", u64::from(status.uid_validity)),
        StatusItem::Unseen => ("UNSEEN", u64::from(status.unseen)),
        StatusItem::Deleted => ("DELETED", u64::from(status.deleted)),
        StatusItem::Size => ("SIZE", status.size_bytes),
        StatusItem::HighestModseq => ("HIGHESTMODSEQ", status.highest_modseq),
        StatusItem::AppendLimit => ("APPENDLIMIT", append_bytes_max),
        // RFC 9208 §4.1.4: in octets, unlike STORAGE.
        StatusItem::DeletedStorage => ("DELETED-STORAGE", status.deleted_bytes),
        StatusItem::MailboxId => {
            out.extend_from_slice(format!("MAILBOXID ({})", status.object_id).as_bytes());
            return;
        }
    };
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    wire::number(out, value);
}
