//! Looks at an index without changing it, and empties one that is damaged.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::build::Seen;
use super::documents::{self, row_key, uid_of};
use super::{Asked, FILE, SCHEMA, SearchIndex, VERSION, posting};
use crate::store::sqlite::schema::Database;
use crate::store::{FolderKey, LocalDisk, MessageKey, StoreError};

/// The index of a data folder at one moment.
pub struct Look(Connection);

/// What is kept of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What sorting needs.
    pub facts: Vec<u8>,
    /// The folded text; `None`: it is not kept.
    pub text: Option<Vec<u8>>,
}

impl Look {
    /// `None`: there is none, or one of another version, which the next start builds anew.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Database::new(path, &LocalDisk).connect(flags)?;
        connection.busy_timeout(BUSY_MAX)?;
        connection.execute_batch("BEGIN")?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((version == VERSION).then_some(Self(connection)))
    }

    /// What SQLite, or a look at the postings of each text, finds wrong.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn damage(&self) -> Result<Option<String>, StoreError> {
        let found: String = self.0.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Ok(Some(found.chars().take(WORDS_MAX).collect()));
        }
        let mut segments = self.0.prepare("SELECT key, folder, documents FROM segment")?;
        let mut rows = segments.query([])?;
        while let Some(row) = rows.next()? {
            let (key, folder): (i64, i64) = (row.get(0)?, row.get(1)?);
            let documents: Vec<u8> = row.get(2)?;
            if let Some(what) = self.lost_posting(key, FolderKey(folder), &documents)? {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    /// A text that a search would miss.
    fn lost_posting(&self, segment: i64, folder: FolderKey, encoded: &[u8]) -> Result<Option<String>, StoreError> {
        let all: Vec<_> = documents::decode(encoded).collect();
        let total = documents::length(&all);
        let mut text = self.0.prepare_cached("SELECT text FROM text WHERE key = ?1")?;
        let mut posted = self
            .0
            .prepare_cached("SELECT documents FROM posting WHERE segment = ?1 AND trigram = ?2")?;
        let (mut seen, mut positions) = (Seen::new(), Vec::new());
        for chunk in (0_u32..).zip(&all).collect::<Vec<_>>().chunks(CHUNK_DOCUMENTS) {
            let mut pairs: Vec<(u32, u32)> = Vec::new();
            for (position, document) in chunk {
                let kept: Option<Vec<u8>> = text
                    .query_row([row_key(folder, document.uid)], |row| row.get(0))
                    .optional()?;
                seen.trigrams(&kept.unwrap_or_default(), |trigram| pairs.push((trigram, *position)));
            }
            pairs.sort_unstable();
            for group in pairs.chunk_by(|a, b| a.0 == b.0) {
                let bytes: Option<Vec<u8>> = posted.query_row((segment, group[0].0), |row| row.get(0)).optional()?;
                posting::decode(&bytes.unwrap_or_default(), total, &mut positions);
                if group.iter().any(|(_, at)| positions.binary_search(at).is_err()) {
                    return Ok(Some(format!("a text of folder {} would not be found", folder.0)));
                }
            }
        }
        Ok(None)
    }

    /// Every message that is indexed, each in each folder it is in, by folder and UID.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn messages(&self) -> Result<Vec<(FolderKey, Asked)>, StoreError> {
        let mut statement = self.0.prepare("SELECT key, message FROM fact ORDER BY key")?;
        let rows = statement.query_map([], |row| {
            let key: i64 = row.get(0)?;
            let message = MessageKey(row.get(1)?);
            let uid = uid_of(key);
            Ok((FolderKey(key >> 32), Asked { uid, message }))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What is kept of one of them.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn kept(&self, folder: FolderKey, uid: u32) -> Result<Kept, StoreError> {
        let sql = "SELECT facts, (SELECT text FROM text WHERE text.key = fact.key) FROM fact WHERE key = ?1";
        let kept = self.0.prepare_cached(sql)?.query_row([row_key(folder, uid)], |row| {
            Ok(Kept {
                facts: row.get(0)?,
                text: row.get(1)?,
            })
        })?;
        Ok(kept)
    }
}

impl SearchIndex {
    /// Empties the index of a data folder, damaged or not, whoever has it open. Whoever fills it has to be told.
    ///
    /// # Errors
    /// The file cannot be written, or is in use for too long.
    pub fn reset(folder: &Path) -> Result<(), StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Database::new(folder.join(FILE), &LocalDisk).connect(flags)?;
        connection.busy_timeout(BUSY_MAX)?;
        // Reads the schema, so that the file stays in WAL mode; whether it can be read does not matter.
        let _schema: Result<i64, _> = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
        connection.execute_batch("VACUUM")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA}; PRAGMA user_version = {VERSION}; COMMIT"
        ))?;
        Ok(())
    }
}

/// Longest wait for somebody who writes.
const BUSY_MAX: Duration = Duration::from_secs(30);
/// Texts whose postings are looked up at once.
const CHUNK_DOCUMENTS: usize = 256;
/// Of what SQLite says.
const WORDS_MAX: usize = 200;
