//! The search index: a database of its own beside the store, `search.db`, that gives candidates for text searches and the folded text they are
//! verified on. Losing it loses nothing: whatever it does not know is looked up in the messages, and it is filled again.
//!
//! ```text
//! folder     how far each folder is indexed: UID and modification sequence
//! fact       one row per message of a folder: which message, when it was sent, what SORT and THREAD compare
//! text       the folded text of most of them, on which candidates are verified
//! segment    a run of messages of one folder that share postings      posting   for three bytes in a row: which of them have these
//! ```
//!
//! New messages are *pending* until there are [`SEGMENT_DOCUMENTS_MIN`] of them: their text is looked at as it is. Then they become a segment, and
//! [`MERGE_FAN`] neighbours of one size become one. Folders are apart, so a search costs what its folder holds, not what the store holds.
//!
//! Written by one connection, without a sync at commit (a power cut may lose the last rows, never their order), and never in a transaction of
//! the store. This layer knows bytes, not mail: what a text is and when a key holds is decided by whoever calls.

mod build;
mod check;
mod documents;
mod find;
mod posting;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};

pub use self::check::{Kept, Look};
use self::documents::Cache;
pub use self::find::WANTED_MAX;
use super::readers::Readers;
use super::rows::failed;
use super::schema::Database;
use crate::metrics::Meter;
use crate::store::{FolderKey, LocalDisk, MessageKey, StoreError};

/// The index of one store. Share it as `Arc<SearchIndex>`.
pub struct SearchIndex {
    readers: Readers,
    writer: Arc<Mutex<Connection>>,
    cache: Arc<Cache>,
    path: PathBuf,
}

/// A message of a folder, ready to be indexed.
#[derive(Clone, Debug)]
pub struct Indexed {
    /// Its UID there.
    pub uid: u32,
    /// Its bytes.
    pub message: MessageKey,
    /// What is searched; parts that no sought text spans are separated by bytes above [`TEXT_BYTE_MAX`].
    pub text: Vec<u8>,
    /// Whether `text` is all of it. If not, the message is read for every search.
    pub is_complete: bool,
    /// What sorting needs, opaque here.
    pub facts: Vec<u8>,
}

/// How far a folder is indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages up to this UID are indexed.
    pub uid: u32,
    /// Changes up to this modification sequence are followed; 0 while older messages are still being indexed.
    pub modseq: u64,
}

/// A message that a search asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its UID.
    pub uid: u32,
    /// Its bytes: an index that names others under this UID does not count.
    pub message: MessageKey,
}

/// A text to be found.
#[derive(Clone)]
pub struct Wanted {
    /// Each text that [`Self::holds`] has all of these. None: all texts are looked at.
    pub trigrams: Vec<u32>,
    /// Whether a text is one of those sought.
    pub holds: Holds,
}

/// Whether a text is one of those sought.
pub type Holds = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What the index says; numbers are positions in what was asked, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// For each text wanted, the messages that have it.
    pub hits: Vec<Vec<u32>>,
    /// Messages that must be read for an answer; they are in no list of `hits`.
    pub unknown: Vec<u32>,
}

/// Rows and bytes of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Messages, each counted in each folder it is in.
    pub documents: u64,
    /// Of them not in a segment yet.
    pub pending: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of all folded texts.
    pub text_bytes: u64,
    /// Bytes of all postings.
    pub posting_bytes: u64,
    /// Bytes of the database file.
    pub file_bytes: u64,
}

impl SearchIndex {
    /// Opens the index in a data folder, creating it, and replacing one that is damaged or of another version.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let database = Database::new(path.clone(), &LocalDisk);
        let connection = match open_writer(&database) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the search index cannot be used; it is built anew");
                remove(&path)?;
                open_writer(&database)?
            }
        };
        Ok(Self {
            readers: Readers::new(database, READERS, (Arc::default(), Meter::default())),
            writer: Arc::new(Mutex::new(connection)),
            cache: Arc::default(),
            path,
        })
    }

    /// Removes the index of a data folder that nobody has open; the next start fills a new one.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn discard(folder: &Path) -> Result<(), StoreError> {
        remove(&folder.join(FILE))
    }

    /// How far each folder is indexed.
    pub async fn progress(&self) -> Result<HashMap<FolderKey, Progress>, StoreError> {
        self.readers.run(write::progress).await
    }

    /// Adds messages of a folder, by ascending UID, all above what is indexed. With `more` to come soon, segments are made later.
    pub async fn add(
        &self,
        folder: FolderKey,
        messages: Vec<Indexed>,
        progress: Progress,
        more: bool,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            write::add(tx, folder, &messages, progress)?;
            build::settle(tx, folder, more)
        })
        .await
    }

    /// Removes messages that are gone from a folder, and notes how far its changes are followed.
    pub async fn remove(&self, folder: FolderKey, uids: Vec<u32>, progress: Progress) -> Result<(), StoreError> {
        self.write(move |tx| {
            write::remove(tx, folder, &uids, progress)?;
            build::compact(tx, folder)
        })
        .await
    }

    /// Forgets a folder.
    pub async fn forget(&self, folder: FolderKey) -> Result<(), StoreError> {
        self.write(move |tx| write::forget(tx, folder)).await
    }

    /// UIDs of a folder that are indexed, ascending.
    pub async fn uids(&self, folder: FolderKey) -> Result<Vec<u32>, StoreError> {
        self.readers.run(move |db| write::uids(db, folder)).await
    }

    /// Looks for texts among messages of a folder, asked by ascending UID.
    pub async fn find<A>(&self, folder: FolderKey, asked: A, wanted: Vec<Wanted>) -> Result<Found, StoreError>
    where
        A: IntoIterator<Item = Asked> + Send + 'static,
    {
        let cache = Arc::clone(&self.cache);
        self.readers
            .run(move |db| find::find(db, &cache, folder, asked.into_iter(), &wanted))
            .await
    }

    /// The facts of messages of a folder, asked by ascending UID; `None` for those not indexed.
    pub async fn facts<A>(&self, folder: FolderKey, asked: A) -> Result<Vec<Option<Vec<u8>>>, StoreError>
    where
        A: IntoIterator<Item = Asked> + Send + 'static,
    {
        self.readers
            .run(move |db| find::facts(db, folder, asked.into_iter()))
            .await
    }

    /// What it holds. Reads all of it.
    pub async fn size(&self) -> Result<Size, StoreError> {
        self.readers.run(write::size).await
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends its reads and closes it.
    pub async fn close(&self) {
        self.readers.close(READERS).await;
    }

    async fn write<F>(&self, change: F) -> Result<(), StoreError>
    where
        F: FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    {
        let writer = Arc::clone(&self.writer);
        let work = tokio::task::spawn_blocking(move || {
            let mut connection = lock(&writer);
            let tx = connection.transaction()?;
            change(&tx)?;
            Ok(tx.commit()?)
        });
        work.await
            .map_err(|source| failed("a change of the search index was interrupted", source))?
    }
}

fn lock(writer: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    // A transaction that a panic ended is rolled back.
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_writer(database: &Database) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = database.connect(flags)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL syncs at checkpoints only: a power cut may take the last changes, in their order, and nothing is damaged.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            connection.execute_batch(&format!("BEGIN; {SCHEMA}; PRAGMA user_version = {VERSION}; COMMIT"))?;
        }
        VERSION => {}
        other => return Err(failed("the search index", format!("it is of version {other}"))),
    }
    Ok(connection)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(
                    &format!("{} could not be removed", Path::new(&name).display()),
                    error,
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bytes above it separate texts: no posting spans them.
pub const TEXT_BYTE_MAX: u8 = 0xFD;

const FILE: &str = "search.db";
const SCHEMA: &str = include_str!("schema.sql");
/// Of the rows and of what is in them: an index of another version is built anew.
const VERSION: u32 = 1;
const PAGE_BYTES: u32 = 8192;
/// Searches that read at once; each keeps up to 2 MiB of pages.
const READERS: usize = 4;
/// Some 16 MB of log.
const CHECKPOINT_PAGES: u32 = 2048;
const WRITER_CACHE_KIB: i64 = -8_192;
/// More than there are distinct statements.
const STATEMENTS_MAX: usize = 64;
/// Messages that make a segment.
const SEGMENT_DOCUMENTS_MIN: u32 = 128;
/// Neighbours of one size that become one.
const MERGE_FAN: usize = 8;

#[cfg(test)]
mod tests;
