//! How a message comes into a local box: its folders, and the message with what IMAP will ask of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::convert;
use crate::imap::{self, Summariser};
use crate::store::{
    Content, Delivery, Flags, FolderKey, MessageStore, NewMessage, Room, SpecialUse, StagedFile, StoreError,
};

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
    let summary = imap::summarise(&content);
    summarised(Content::Memory(content), lead, summary)
}

/// The same for a message in a file, which is read in pieces: no more of it is in memory than one of them and its header blocks, bounded by
/// [`SUMMARY_MEMORY_BYTES_MAX`].
///
/// # Errors
/// The file could not be read.
pub async fn staged_message(
    store: &dyn MessageStore,
    file: StagedFile,
    lead: Vec<u8>,
) -> Result<NewMessage, StoreError> {
    let mut summariser = Summariser::new();
    let mut offset = 0;
    while offset < file.size_bytes {
        let piece = store.staged_part(&file, offset, PIECE_BYTES).await?;
        if piece.is_empty() {
            let what = "the file of a message that has just come".to_owned();
            return Err(StoreError::Damaged { what });
        }
        summariser.feed(&piece);
        offset += piece.len() as u64;
    }
    Ok(summarised(Content::Staged(file), lead, summariser.finish()))
}

fn summarised(content: Content, lead: Vec<u8>, mut summary: imap::Summary) -> NewMessage {
    // A whole header field in front changes nothing else that IMAP is told: no envelope has it, and sizes are those of bodies.
    let lead_bytes = u32::try_from(lead.len()).unwrap_or(u32::MAX);
    summary.header_bytes = summary.header_bytes.saturating_add(lead_bytes);
    NewMessage {
        content,
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

/// As much of a file is read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What the summary of a message in a file may take at its worst, in bytes: a piece, all header blocks that are kept, and what is told of them.
pub const SUMMARY_MEMORY_BYTES_MAX: u64 = 24 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use jiff::Timestamp;

    use super::*;
    use crate::store::{Acceptance, Accepted, MessageKey, Stage};

    /// A staged file, and what was read of it: offset and length.
    struct File {
        bytes: Vec<u8>,
        read: Mutex<Vec<(u64, usize)>>,
    }

    impl File {
        fn of(bytes: &[u8]) -> Self {
            Self {
                bytes: bytes.to_vec(),
                read: Mutex::default(),
            }
        }

        fn staged(&self) -> StagedFile {
            StagedFile {
                name: "1-1".into(),
                size_bytes: self.bytes.len() as u64,
                checksum: None,
                guard: None,
            }
        }
    }

    #[async_trait]
    impl MessageStore for File {
        async fn staged_part(&self, _: &StagedFile, offset: u64, length_max: usize) -> Result<Vec<u8>, StoreError> {
            let from = usize::try_from(offset).unwrap().min(self.bytes.len());
            let part = self.bytes[from..].iter().take(length_max).copied().collect::<Vec<_>>();
            self.read.lock().unwrap().push((offset, part.len()));
            Ok(part)
        }

        async fn accept(&self, _: Acceptance) -> Result<Accepted, StoreError> {
            Err(StoreError::NotFound { what: "acceptance" })
        }

        async fn repeats(&self, _: &[[u8; 32]], _: Timestamp) -> Result<Vec<bool>, StoreError> {
            Err(StoreError::NotFound { what: "repeats" })
        }

        async fn stage(&self) -> Result<Box<dyn Stage>, StoreError> {
            Err(StoreError::NotFound { what: "stage" })
        }

        async fn content(&self, _: MessageKey) -> Result<Arc<Vec<u8>>, StoreError> {
            Err(StoreError::NotFound { what: "content" })
        }
    }

    #[tokio::test]
    async fn a_message_in_a_file_is_summarised_piece_by_piece_as_if_it_were_in_memory() {
        let line = [b"A".repeat(76), b"\r\n".to_vec()].concat();
        let head = "From: a@b.fr\r\nSubject: lourd\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
        let part = "--b\r\nContent-Type: application/pdf\r\n\r\n";
        // The second part begins within one piece or across two.
        for lines in [0, 1, 3_359, 3_360, 3_361, 30_000] {
            let body = line.repeat(lines);
            let bytes = [
                head.as_bytes(),
                part.as_bytes(),
                &body,
                part.as_bytes(),
                &body,
                b"--b--\r\n",
            ]
            .concat();
            let file = File::of(&bytes);
            let lead = return_path(Some("a@b.fr"));
            let message = staged_message(&file, file.staged(), lead.clone()).await.unwrap();
            let whole = new_message(Arc::new(bytes.clone()), lead);
            assert!(message.summary == whole.summary, "{lines} lines");
            assert_eq!(message.lead, whole.lead);
            assert!(matches!(message.content, Content::Staged(staged) if staged.name == "1-1"));
            let read = file.read.into_inner().unwrap();
            let mut at = 0;
            for (offset, length) in read {
                assert_eq!(offset, at, "each byte once, in order");
                assert!(length <= PIECE_BYTES, "{length} bytes at once");
                at += length as u64;
            }
            assert_eq!(at, bytes.len() as u64);
        }
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_is_told() {
        let file = File::of(b"Subject: x\r\n\r\nbody");
        let longer = StagedFile {
            size_bytes: 1_000_000,
            ..file.staged()
        };
        let error = staged_message(&file, longer, Vec::new()).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }

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
