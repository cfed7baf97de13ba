//! What is removed by age, a bounded piece in each transaction, so that no purge keeps mail waiting.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::group::Effects;
use super::rows::{ENTRY_COLUMNS, entry_row, integer, special_use_text};
use super::{SqliteStore, entries, journal, once};
use crate::store::{Count, FolderKey, JournalRow, SpecialUse, StoreError};

/// A piece of a purge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Rows removed.
    pub rows: u64,
    /// Whether there may be more to remove.
    pub has_more: bool,
    /// Folders that changed, for those who watch them.
    pub folders: Vec<FolderKey>,
}

impl SqliteStore {
    /// Removes journal rows older than `before`, oldest first, at most `limit` of them; what they count for is carried over. `counts` is
    /// what one row counts for. Rows go in the order they came in: one that is too young keeps all after it.
    ///
    /// # Errors
    /// The store failed; nothing was removed.
    pub async fn purge_journal(
        &self,
        before: Timestamp,
        limit: usize,
        counts: fn(JournalRow) -> Vec<Count>,
    ) -> Result<Purged, StoreError> {
        self.write(move |tx, _| purge_journal(tx, before, limit, counts)).await
    }

    /// Forgets deliveries that would no longer be taken for repeats at `now`, at most `limit` of them.
    ///
    /// # Errors
    /// The store failed; nothing was removed.
    pub async fn purge_remembered(&self, now: Timestamp, limit: usize) -> Result<Purged, StoreError> {
        self.write(move |tx, _| {
            let rows = once::forget(tx, now.as_millisecond(), limit)?;
            Ok(Purged {
                rows: u64::try_from(rows).unwrap_or(u64::MAX),
                has_more: rows == limit,
                ..Purged::default()
            })
        })
        .await
    }

    /// Notes what the folders of this use hold at `now`, unless that was noted within `apart_ms` milliseconds. Their mail has an age from
    /// then on.
    ///
    /// # Errors
    /// The store failed.
    pub async fn mark_folders(&self, of: SpecialUse, now: Timestamp, apart_ms: i64) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            let sql = "INSERT INTO folder_mark (folder, at, uid_next) SELECT f.key, ?2, f.uid_next FROM folder f \
                       WHERE f.special_use = ?1 AND f.messages > 0 \
                       AND NOT EXISTS (SELECT 1 FROM folder_mark m WHERE m.folder = f.key AND m.at > ?2 - ?3)";
            tx.prepare_cached(sql)?
                .execute((special_use_text(of), now.as_millisecond(), apart_ms))?;
            Ok(())
        })
        .await
    }

    /// Removes what has been in folders of this use since before `before`, at most `limit` messages, with a record made of the folder's
    /// box and how many went.
    ///
    /// # Errors
    /// The store failed; nothing was removed.
    pub async fn purge_folders(
        &self,
        of: SpecialUse,
        before: Timestamp,
        limit: usize,
        record: impl Fn(&str, u64) -> JournalRow + Send + 'static,
    ) -> Result<Purged, StoreError> {
        self.write(move |tx, effects| purge_folder(tx, (of, before), limit, (&record, effects)))
            .await
    }
}

fn purge_journal(
    tx: &Connection,
    before: Timestamp,
    limit: usize,
    counts: fn(JournalRow) -> Vec<Count>,
) -> Result<Purged, StoreError> {
    let rows = journal::oldest(tx, limit)?;
    let old: Vec<JournalRow> = rows.into_iter().take_while(|row| row.at < before).collect();
    let Some(last) = old.last() else {
        return Ok(Purged::default());
    };
    let (sequence, at) = (last.sequence, last.at);
    let purged = Purged {
        rows: u64::try_from(old.len()).unwrap_or(u64::MAX),
        has_more: old.len() == limit,
        folders: Vec::new(),
    };
    for row in old {
        journal::carry(tx, &counts(row))?;
    }
    journal::remove(tx, sequence)?;
    let mut mark = tx.prepare_cached("UPDATE number SET value = ?2 WHERE name = ?1")?;
    mark.execute(("journal_purged", sequence))?;
    mark.execute(("journal_purged_at", at.as_millisecond()))?;
    Ok(purged)
}

/// The record of a piece, from the address of the box and how many messages went.
type RecordOf<'a> = dyn Fn(&str, u64) -> JournalRow + 'a;

/// One folder at most: the next call takes the next one.
fn purge_folder(
    tx: &Connection,
    (of, before): (SpecialUse, Timestamp),
    limit: usize,
    (record, effects): (&RecordOf<'_>, &mut Effects),
) -> Result<Purged, StoreError> {
    let sql = "SELECT m.folder, max(m.uid_next), b.address FROM folder_mark m JOIN folder f ON f.key = m.folder \
               JOIN box b ON b.key = f.box WHERE m.at < ?1 AND f.special_use = ?2 \
               AND EXISTS (SELECT 1 FROM entry e WHERE e.folder = m.folder AND e.uid < m.uid_next) GROUP BY m.folder LIMIT 1";
    let found = tx
        .prepare_cached(sql)?
        .query_row((before.as_millisecond(), special_use_text(of)), |row| {
            Ok((FolderKey(row.get(0)?), row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })
        .optional()?;
    let Some((folder, below, address)) = found else {
        // Marks that were used up, and those of folders that are gone.
        tx.prepare_cached("DELETE FROM folder_mark WHERE at < ?1 OR folder NOT IN (SELECT key FROM folder)")?
            .execute([before.as_millisecond()])?;
        return Ok(Purged::default());
    };
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry WHERE folder = ?1 AND uid < ?2 ORDER BY uid LIMIT ?3");
    let old = tx
        .prepare_cached(&sql)?
        .query_map((folder.0, below, integer(limit)), entry_row)?
        .collect::<Result<Vec<_>, _>>()?;
    entries::remove(tx, folder, &old, effects)?;
    let rows = u64::try_from(old.len()).unwrap_or(u64::MAX);
    journal::insert(tx, &[record(&address, rows)])?;
    Ok(Purged {
        rows,
        has_more: true,
        folders: vec![folder],
    })
}
