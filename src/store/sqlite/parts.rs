//! Reads parts of messages and nothing beside them: header blocks, beginnings, pieces of what is too large to hold.
//!
//! SQL has only `substr` for that, which reads the whole body first, page by page. A blob handle reads the pages asked for, and goes from one
//! body to the next without being opened again.

use std::sync::Arc;

use rusqlite::blob::Blob;
use rusqlite::{Connection, MAIN_DB, OptionalExtension};

use super::accept::{damaged, unreadable};
use super::rows::failed;
use crate::store::blobs::{BlobName, Blobs};
use crate::store::{MessageKey, StoreError};

/// Reads parts of one message after the other, in one transaction.
pub(super) struct Parts<'a> {
    db: &'a Connection,
    blobs: &'a Blobs,
    /// On the body read last.
    body: Option<Blob<'a>>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(db: &'a Connection, blobs: &'a Blobs) -> Self {
        Self { db, blobs, body: None }
    }

    /// Up to `length_max` bytes of a message from `offset` on, counted from its lead when `with_lead`.
    pub(super) fn read(
        &mut self,
        (message, with_lead): (MessageKey, bool),
        (offset, length_max): (u64, usize),
    ) -> Result<Vec<u8>, StoreError> {
        let sql = "SELECT m.size_bytes, m.file, m.file_offset, m.lead FROM message m WHERE m.key = ?1";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([message.0])?;
        let row = rows.next()?.ok_or(StoreError::NotFound { what: "message" })?;
        let lead: &[u8] = if with_lead {
            row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?
        } else {
            &[]
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(lead.len());
        let to = from.saturating_add(length_max).min(lead.len());
        let mut bytes = lead[from..to].to_vec();
        let offset = offset.saturating_sub(lead.len() as u64);
        let left = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0).saturating_sub(offset);
        let length = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(length_max - bytes.len());
        match row.get_ref(1)?.as_str_or_null().map_err(rusqlite::Error::from)? {
            None => self.read_body(message, (offset, length), &mut bytes)?,
            Some(file) => {
                let name: BlobName = file.parse().map_err(|error| failed("the name of a body file", error))?;
                let begin = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
                self.blobs
                    .read(name, begin + offset, length, &mut bytes)
                    .map_err(|error| unreadable(name, message, error))?;
            }
        }
        Ok(bytes)
    }

    /// Appends what there is of a body beside the rows.
    fn read_body(
        &mut self,
        message: MessageKey,
        (offset, length): (u64, usize),
        bytes: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        // A handle that did not get to a row is of no more use.
        let body = match self.body.take() {
            Some(mut body) => body.reopen(message.0).map(|()| body),
            None => self.db.blob_open(MAIN_DB, c"body", c"bytes", message.0, true),
        };
        let body = body.map_err(|error| self.unopened(message, error))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let before = bytes.len();
        bytes.resize(before + length.min(body.len().saturating_sub(from)), 0);
        body.read_at_exact(&mut bytes[before..], from)?;
        self.body = Some(body);
        Ok(())
    }

    /// Why a handle did not get to a row: SQLite has no error of its own for one that is not there.
    fn unopened(&self, message: MessageKey, error: rusqlite::Error) -> StoreError {
        let statement = self.db.prepare_cached("SELECT 1 FROM body WHERE message = ?1");
        match statement.and_then(|mut statement| statement.exists([message.0])) {
            Ok(false) => damaged(message, "its body is missing"),
            _ => error.into(),
        }
    }
}

/// Header blocks of messages, lead included; `None` where it is not known how long one is.
pub(super) fn headers(
    db: &Connection,
    blobs: &Blobs,
    messages: &[MessageKey],
) -> Result<Vec<Option<Arc<Vec<u8>>>>, StoreError> {
    let mut statement = db.prepare_cached("SELECT header_bytes FROM summary WHERE message = ?1")?;
    let mut parts = Parts::new(db, blobs);
    let mut found = Vec::with_capacity(messages.len());
    for message in messages {
        let length: Option<u32> = statement.query_row([message.0], |row| row.get(0)).optional()?;
        let length = length.and_then(|length| usize::try_from(length).ok());
        let header = length.map(|length| parts.read((*message, true), (0, length)));
        // What cannot be read like this is read whole by the caller, who finds out why.
        found.push(header.and_then(Result::ok).map(Arc::new));
    }
    Ok(found)
}

/// The first bytes of messages, lead included; `None` for one that cannot be read.
pub(super) fn fronts(
    db: &Connection,
    blobs: &Blobs,
    messages: &[MessageKey],
    length_max: usize,
) -> Vec<Option<Vec<u8>>> {
    let mut parts = Parts::new(db, blobs);
    let front = |message: &MessageKey| parts.read((*message, true), (0, length_max)).ok();
    messages.iter().map(front).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::sqlite::accept::{self, Body, PublishedFile};
    use crate::store::sqlite::schema::{self, Database, PAGE_BYTES};
    use crate::store::{Content, LocalDisk, NewMessage, Summary};

    const LEAD: &[u8] = b"Return-Path: <>\r\n";

    fn open(folder: &Path) -> (Database, Connection, Arc<Blobs>) {
        let database = Database::new(folder.join("store.db"), &LocalDisk);
        let writer = schema::open_writer(&database, 1).unwrap();
        let blobs = Arc::new(Blobs::new(folder, 1, Arc::new(LocalDisk)));
        blobs.prepare().unwrap();
        (database, writer, blobs)
    }

    fn insert(writer: &Connection, body: &Body, header_bytes: u32) -> MessageKey {
        let summary = Summary {
            header_bytes,
            ..Summary::default()
        };
        let message = NewMessage {
            content: Content::Memory(Arc::default()),
            lead: LEAD.to_vec(),
            summary: Some(summary),
        };
        accept::insert_message(writer, &message, body, 1).unwrap().0
    }

    fn inline(bytes: Vec<u8>) -> Body {
        let checksum = crc32fast::hash(&bytes);
        let bytes = Arc::new(bytes);
        Body::Inline { bytes, checksum }
    }

    fn text(size: usize) -> Vec<u8> {
        (b'a'..=b'z').cycle().take(size).collect()
    }

    #[test]
    fn one_handle_reads_many_messages_whatever_lies_between_them() {
        let folder = tempfile::tempdir().unwrap();
        let (database, writer, blobs) = open(folder.path());
        let name = blobs.write(&text(20_000)).unwrap();
        blobs.publish(name).unwrap();
        let file = Body::File {
            file: PublishedFile::new(name, Arc::clone(&blobs)),
            offset: 3,
            size_bytes: 19_997,
            checksum: None,
        };
        let short = insert(&writer, &inline(text(10_000)), 900);
        let missing = insert(&writer, &inline(text(10_000)), 900);
        let filed = insert(&writer, &file, 4_000);
        let long = insert(&writer, &inline(text(30_000)), 28_000);
        let empty = insert(&writer, &inline(Vec::new()), 17);
        writer
            .execute("DELETE FROM body WHERE message = ?1", [missing.0])
            .unwrap();

        let db = schema::open_reader(&database).unwrap();
        let keys = [short, missing, filed, MessageKey(99), long, missing, empty, short];
        let found = headers(&db, &blobs, &keys).unwrap();
        let lengths: Vec<_> = found
            .iter()
            .map(|header| header.as_ref().map(|header| header.len()))
            .collect();
        let expected = [
            Some(900),
            None,
            Some(4_000),
            None,
            Some(28_000),
            None,
            Some(17),
            Some(900),
        ];
        assert_eq!(lengths, expected);
        for (key, header) in keys.iter().zip(found) {
            let Some(header) = header else { continue };
            assert!(accept::bytes(&db, &blobs, *key, true).unwrap().starts_with(&header));
        }
        let fronts = fronts(&db, &blobs, &[missing, long], 20);
        assert_eq!(fronts, [None, Some([LEAD, b"abc"].concat())]);
        let read = |message, of| Parts::new(&db, &blobs).read((message, false), of);
        assert_eq!(read(long, (26_000, 9_000)).unwrap(), text(4_000));
        assert_eq!(read(long, (u64::MAX, 9)).unwrap(), b"");
        let lost = read(missing, (0, 0)).map_err(|error| error.to_string());
        assert!(
            matches!(&lost, Err(why) if why.contains("its body is missing")),
            "{lost:?}"
        );
    }

    #[test]
    fn no_page_is_read_that_nothing_is_asked_of() {
        let folder = tempfile::tempdir().unwrap();
        let (database, writer, blobs) = open(folder.path());
        let message = insert(&writer, &inline(vec![b'x'; 40_000]), 900);
        schema::copy_at_close(&writer).unwrap();
        drop(writer);
        // A page full of text has the number of the next one in front: none of them leads anywhere any more.
        let mut bytes = std::fs::read(&database.path).unwrap();
        let pages = bytes.chunks_mut(PAGE_BYTES as usize);
        let full = pages.filter(|page| page[4..].iter().all(|byte| *byte == b'x'));
        let cut = full.map(|page| page[..4].fill(0xff)).count();
        assert_eq!(cut, 4);
        std::fs::write(&database.path, bytes).unwrap();

        let db = schema::open_reader(&database).unwrap();
        let header = headers(&db, &blobs, &[message]).unwrap().remove(0);
        assert_eq!(header.unwrap().len(), 900);
        let whole = Parts::new(&db, &blobs).read((message, true), (0, 40_000));
        assert!(matches!(whole, Err(StoreError::Damaged { .. })), "{whole:?}");
    }
}
