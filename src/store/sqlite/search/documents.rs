//! Which messages of a folder the index knows, kept in memory for folders that are searched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension};

use crate::store::{FolderKey, MessageKey, StoreError};

/// A message of a folder, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) uid: u32,
    pub(super) message: MessageKey,
    /// Whether the text that was indexed is all of it.
    pub(super) is_complete: bool,
}

/// A segment: its key, and which documents of [`Documents::all`] it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) key: i64,
    pub(super) start: u32,
    pub(super) count: u32,
}

/// The documents of a folder by ascending UID: those of its segments, then those that are pending.
#[derive(Debug, Default)]
pub(super) struct Documents {
    generation: i64,
    pub(super) all: Vec<Document>,
    pub(super) segments: Vec<Segment>,
    /// The first that is pending.
    pub(super) pending: u32,
}

/// Documents of the folders searched last.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<FolderKey, Arc<Documents>>>);

impl Cache {
    /// The documents of a folder as this read transaction sees them.
    pub(super) fn of(&self, db: &Connection, folder: FolderKey) -> Result<Arc<Documents>, StoreError> {
        let generation = generation(db, folder)?;
        if let Some(known) = self.lock().get(&folder).filter(|known| known.generation == generation) {
            return Ok(Arc::clone(known));
        }
        let documents = Arc::new(load(db, folder, generation)?);
        let mut known = self.lock();
        let total: usize = known.values().map(|documents| documents.all.len()).sum();
        if total + documents.all.len() > CACHED_DOCUMENTS_MAX || known.len() >= CACHED_FOLDERS_MAX {
            known.clear();
        }
        known.insert(folder, Arc::clone(&documents));
        Ok(documents)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FolderKey, Arc<Documents>>> {
        // Nothing can panic half-way through a change of the table.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn generation(db: &Connection, folder: FolderKey) -> Result<i64, StoreError> {
    let found = db
        .prepare_cached("SELECT generation FROM folder WHERE key = ?1")?
        .query_row([folder.0], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn load(db: &Connection, folder: FolderKey, generation: i64) -> Result<Documents, StoreError> {
    let mut documents = Documents {
        generation,
        ..Documents::default()
    };
    let mut statement = db.prepare_cached("SELECT key, documents FROM segment WHERE folder = ?1 ORDER BY first")?;
    let mut rows = statement.query([folder.0])?;
    while let Some(row) = rows.next()? {
        let start = length(&documents.all);
        documents
            .all
            .extend(decode(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?));
        documents.segments.push(Segment {
            key: row.get(0)?,
            start,
            count: length(&documents.all) - start,
        });
    }
    documents.pending = length(&documents.all);
    let after = documents.all.last().map_or(0, |last| last.uid);
    documents.all.extend(pending(db, folder, after)?);
    Ok(documents)
}

/// The documents after this UID.
pub(super) fn pending(db: &Connection, folder: FolderKey, after: u32) -> Result<Vec<Document>, StoreError> {
    let sql = "SELECT key, message, kept FROM fact WHERE key > ?1 AND key <= ?2 ORDER BY key";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((row_key(folder, after), row_key(folder, u32::MAX)), |row| {
        Ok(Document {
            uid: uid_of(row.get(0)?),
            message: MessageKey(row.get(1)?),
            is_complete: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The key of a message of a folder.
pub(super) fn row_key(folder: FolderKey, uid: u32) -> i64 {
    folder.0 << 32 | i64::from(uid)
}

/// The inverse of [`row_key`].
pub(super) fn uid_of(key: i64) -> u32 {
    u32::try_from(key & i64::from(u32::MAX)).unwrap_or_default()
}

/// Documents as a segment keeps them.
pub(super) fn encode(documents: &[Document]) -> Vec<u8> {
    let mut out = Vec::with_capacity(documents.len() * DOCUMENT_BYTES);
    for document in documents {
        out.extend_from_slice(&document.uid.to_le_bytes());
        out.extend_from_slice(&document.message.0.to_le_bytes());
        out.push(document.is_complete.into());
    }
    out
}

/// The inverse of [`encode`].
pub(super) fn decode(bytes: &[u8]) -> impl Iterator<Item = Document> + '_ {
    let (documents, _) = bytes.as_chunks::<DOCUMENT_BYTES>();
    documents
        .iter()
        .map(|[a, b, c, d, e, f, g, h, i, j, k, l, is_complete]| Document {
            uid: u32::from_le_bytes([*a, *b, *c, *d]),
            message: MessageKey(i64::from_le_bytes([*e, *f, *g, *h, *i, *j, *k, *l])),
            is_complete: *is_complete != 0,
        })
}

pub(super) fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

const DOCUMENT_BYTES: usize = 13;
/// Some 8 MB.
const CACHED_DOCUMENTS_MAX: usize = 500_000;
const CACHED_FOLDERS_MAX: usize = 256;
