//! What a check and a repair of the store need to know of mail.

use jiff::Timestamp;

use super::convert;
use crate::clock::paris;
use crate::imap;
use crate::store::Summary;
use crate::store::sqlite::verify::Knowledge;

/// What IMAP asks of a message, and what stands in for one that is lost.
pub fn knowledge() -> Knowledge {
    Knowledge { summarise, notice }
}

fn summarise(bytes: &[u8]) -> Summary {
    convert::summary_row(imap::summarise(bytes))
}

/// A message to the user of the box, in both languages. `what` is a line without personal data.
fn notice(at: Timestamp, what: &str) -> Vec<u8> {
    let date = jiff::fmt::rfc2822::to_string(&at.to_zoned(paris())).unwrap_or_default();
    let what: String = what.chars().filter(|c| (' '..='~').contains(c)).collect();
    format!(
        "Date: {date}\r\n\
         From: Vaguemestre <postmaster@localhost>\r\n\
         Subject: Message perdu / message lost\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         Auto-Submitted: auto-generated\r\n\
         \r\n\
         Un message de ce dossier a été endommagé sur le disque du serveur et ne peut plus être lu.\r\n\
         Votre opérateur en garde les restes ; donnez-lui la ligne ci-dessous.\r\n\
         \r\n\
         A message of this folder was damaged on the disk of the server and cannot be read any more.\r\n\
         Your operator keeps what is left of it; give them the line below.\r\n\
         \r\n\
         {what}\r\n"
    )
    .into_bytes()
}
