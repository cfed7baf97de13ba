//! Rows that come and go.

use std::collections::HashMap;

use rusqlite::Connection;

use super::documents::{row_key, uid_of};
use super::{Indexed, Progress, Size};
use crate::store::sqlite::rows::{integer, unsigned};
use crate::store::{FolderKey, StoreError};

pub(super) fn progress(db: &Connection) -> Result<HashMap<FolderKey, Progress>, StoreError> {
    let mut statement = db.prepare_cached("SELECT key, uid, modseq FROM folder")?;
    let rows = statement.query_map([], |row| {
        let progress = Progress {
            uid: unsigned(row, 1)?,
            modseq: unsigned(row, 2)?,
        };
        Ok((FolderKey(row.get(0)?), progress))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds rows. Those that are there already, from a batch that was not finished, are written again.
pub(super) fn add(
    tx: &Connection,
    folder: FolderKey,
    messages: &[Indexed],
    progress: Progress,
) -> Result<(), StoreError> {
    let mut fact =
        tx.prepare_cached("INSERT OR REPLACE INTO fact (key, message, kept, facts) VALUES (?1, ?2, ?3, ?4)")?;
    let mut text = tx.prepare_cached("INSERT OR REPLACE INTO text (key, text) VALUES (?1, ?2)")?;
    for message in messages {
        let key = row_key(folder, message.uid);
        fact.execute((key, message.message.0, message.is_complete, &message.facts))?;
        if message.is_complete {
            text.execute((key, &message.text))?;
        }
    }
    note(tx, folder, progress)
}

/// Notes how far a folder is, and that its documents changed. The first generation is any number: what is remembered of an index that was
/// emptied is not taken for what is in it now.
fn note(tx: &Connection, folder: FolderKey, progress: Progress) -> Result<(), StoreError> {
    let sql = "INSERT INTO folder (key, uid, modseq, generation) VALUES (?1, ?2, ?3, abs(random() / 2)) \
               ON CONFLICT (key) DO UPDATE SET uid = ?2, modseq = ?3, generation = generation + 1";
    tx.prepare_cached(sql)?
        .execute((folder.0, progress.uid, integer(progress.modseq)))?;
    Ok(())
}

pub(super) fn remove(tx: &Connection, folder: FolderKey, uids: &[u32], progress: Progress) -> Result<(), StoreError> {
    for &uid in uids {
        let key = row_key(folder, uid);
        tx.prepare_cached("DELETE FROM text WHERE key = ?1")?.execute([key])?;
        let gone = tx.prepare_cached("DELETE FROM fact WHERE key = ?1")?.execute([key])?;
        if gone > 0 {
            tx.prepare_cached("UPDATE segment SET gone = gone + 1 WHERE folder = ?1 AND first <= ?2 AND last >= ?2")?
                .execute((folder.0, uid))?;
        }
    }
    note(tx, folder, progress)
}

pub(super) fn forget(tx: &Connection, folder: FolderKey) -> Result<(), StoreError> {
    let rows = (row_key(folder, 0), row_key(folder, u32::MAX));
    tx.prepare_cached("DELETE FROM text WHERE key BETWEEN ?1 AND ?2")?
        .execute(rows)?;
    tx.prepare_cached("DELETE FROM fact WHERE key BETWEEN ?1 AND ?2")?
        .execute(rows)?;
    tx.prepare_cached("DELETE FROM posting WHERE segment IN (SELECT key FROM segment WHERE folder = ?1)")?
        .execute([folder.0])?;
    tx.prepare_cached("DELETE FROM segment WHERE folder = ?1")?
        .execute([folder.0])?;
    tx.prepare_cached("DELETE FROM folder WHERE key = ?1")?
        .execute([folder.0])?;
    Ok(())
}

pub(super) fn uids(db: &Connection, folder: FolderKey) -> Result<Vec<u32>, StoreError> {
    let mut statement = db.prepare_cached("SELECT key FROM fact WHERE key BETWEEN ?1 AND ?2 ORDER BY key")?;
    let rows = statement.query_map((row_key(folder, 0), row_key(folder, u32::MAX)), |row| {
        Ok(uid_of(row.get(0)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn size(db: &Connection) -> Result<Size, StoreError> {
    let one = |sql: &str| db.query_row(sql, [], |row| unsigned::<u64>(row, 0));
    let in_segments = one("SELECT coalesce(sum(length(documents) / 13 - gone), 0) FROM segment")?;
    let documents = one("SELECT count(*) FROM fact")?;
    Ok(Size {
        documents,
        pending: documents.saturating_sub(in_segments),
        segments: one("SELECT count(*) FROM segment")?,
        text_bytes: one("SELECT coalesce(sum(length(text)), 0) FROM text")?,
        posting_bytes: one("SELECT coalesce(sum(length(documents)), 0) FROM posting")?,
        file_bytes: one("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?,
    })
}
