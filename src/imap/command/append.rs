//! APPEND (RFC 3501 §6.3.11, RFC 4315).

use super::{Outcome, Work, flags_of, folder_name, once, over};
use crate::imap::grammar::tree::{AppendHead, Content, Name};
use crate::imap::request::{Answer, Request};

pub(super) fn append(name: &Name, heads: &[AppendHead], messages: Vec<Vec<u8>>) -> Box<dyn Work> {
    let mut messages = messages.into_iter();
    let ([head], Some(bytes)) = (heads, messages.next()) else {
        return over(super::not_offered());
    };
    if head.content != Content::Text {
        return over(super::not_offered());
    }
    let (folder, flags) = match (folder_name(name), flags_of(&head.flags)) {
        (Ok(folder), Ok(flags)) => (folder, flags),
        (Err(outcome), _) | (_, Err(outcome)) => return over(outcome),
    };
    let request = Request::Append {
        folder: folder.clone(),
        flags,
        date: head.date,
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
