//! How a message comes into a local box: its folders, and the message with what IMAP will ask of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::convert;
use crate::imap;
use crate::store::{Content, Delivery, Flags, FolderKey, NewMessage, Room, SpecialUse};

/// The folders every box has beside INBOX.
pub const STANDARD_FOLDERS: [(&str, Option<SpecialUse>); 6] = [
    ("INBOX", None),
    ("Sent", Some(SpecialUse::Sent)),
    ("Drafts", Some(SpecialUse::Drafts)),
    ("Trash", Some(SpecialUse::Trash)),
    ("Junk", Some(SpecialUse::Junk)),
    ("Archive", Some(SpecialUse::Archive)),
];

/// A message held in memory, with its summary. `lead` is the `Return-Path:` line of final delivery; empty for APPEND.
pub fn new_message(content: Arc<Vec<u8>>, lead: Vec<u8>) -> NewMessage {
    let mut summary = imap::summarise(&content);
    // A whole header field in front changes nothing else that IMAP is told: no envelope has it, and sizes are those of bodies.
    let lead_bytes = u32::try_from(lead.len()).unwrap_or(u32::MAX);
    summary.header_bytes = summary.header_bytes.saturating_add(lead_bytes);
    NewMessage {
        content: Content::Memory(content),
        lead,
        summary: Some(convert::summary_row(summary)),
    }
}

/// A new, unread copy in a folder.
pub fn unread(folder: FolderKey, received: Timestamp) -> Delivery {
    Delivery {
        folder,
        flags: Flags::default(),
        internal_date: received,
        saved: None,
        once: None,
        room: Room::IfNotFull,
    }
}

/// A report on the box's own mail: a full box gets it too.
pub fn report(folder: FolderKey, received: Timestamp) -> Delivery {
    Delivery {
        room: Room::Always,
        ..unread(folder, received)
    }
}

/// The `Return-Path:` line of final delivery (RFC 5321 §4.4); `None` is the null reverse-path.
pub fn return_path(sender: Option<&str>) -> Vec<u8> {
    format!("Return-Path: <{}>\r\n", sender.unwrap_or_default()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_covers_the_lead() {
        let content = Arc::new(b"Subject: x\r\n\r\nbody".to_vec());
        let lead = return_path(Some("a@b.fr"));
        let message = new_message(Arc::clone(&content), lead.clone());
        let header_bytes = message.summary.unwrap().header_bytes;
        assert_eq!(header_bytes as usize, lead.len() + 14);
        for content in [
            "Subject: x\r\n\r\nbody",
            "\r\nbody",
            " odd\r\nTo: a@b.fr\r\n\r\n",
            "",
            "x",
        ] {
            let whole = [&lead, content.as_bytes()].concat();
            let apart = new_message(Arc::new(content.as_bytes().to_vec()), lead.clone());
            assert!(
                new_message(Arc::new(whole), Vec::new()).summary == apart.summary,
                "{content:?}"
            );
        }
        assert_eq!(new_message(content, Vec::new()).summary.unwrap().header_bytes, 14);
        assert_eq!(return_path(None), b"Return-Path: <>\r\n");
    }
}
