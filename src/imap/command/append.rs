//! APPEND (RFC 3501 §6.3.11, RFC 4315).

use imap_codec::imap_types::datetime::DateTime;
use imap_codec::imap_types::flag::Flag;
use imap_codec::imap_types::mailbox::Mailbox;
use jiff::Timestamp;

use super::{Outcome, Work, flags_of, folder_name, once, over};
use crate::imap::request::{Answer, Request};

pub(super) fn append(
    mailbox: &Mailbox<'_>,
    flags: &[Flag<'_>],
    date: Option<&DateTime>,
    bytes: Vec<u8>,
) -> Box<dyn Work> {
    let (folder, flags) = match (folder_name(mailbox), flags_of(flags)) {
        (Ok(folder), Ok(flags)) => (folder, flags),
        (Err(outcome), _) | (_, Err(outcome)) => return over(outcome),
    };
    let Ok(date) = date.map(|d| Timestamp::from_second(d.as_ref().timestamp())).transpose() else {
        return over(Outcome::bad("date out of range"));
    };
    let request = Request::Append {
        folder: folder.clone(),
        flags,
        date,
        bytes,
    };
    once(request, move |core, answer| match answer {
        Answer::Appended { uid_validity, uid } => {
            core.touched(&folder);
            let code = format!("APPENDUID {uid_validity} {uid}");
            Outcome::ok_with(code.into_bytes(), "appended")
        }
        other => Outcome::no_destination(other),
    })
}
