//! Annotations of folders and of boxes.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::SqliteStore;
use super::rows::integer;
use crate::store::{Annotation, AnnotationChange, AnnotationStore, BoxKey, FolderKey, StoreError};

#[async_trait]
impl AnnotationStore for SqliteStore {
    async fn annotations(&self, owner: BoxKey, folder: Option<FolderKey>) -> Result<Vec<Annotation>, StoreError> {
        self.readers.run(move |db| annotations(db, owner, folder)).await
    }

    async fn annotate(
        &self,
        owner: BoxKey,
        folder: Option<FolderKey>,
        changes: &[AnnotationChange],
        entries_max: usize,
    ) -> Result<(), StoreError> {
        let changes = changes.to_vec();
        self.write(move |tx, _| annotate(tx, (owner, folder), &changes, entries_max))
            .await
    }
}

/// Takes away what a folder was annotated with.
pub(super) fn forget(tx: &Connection, owner: BoxKey, folder: FolderKey) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM annotation WHERE box = ?1 AND folder = ?2")?
        .execute((owner.0, folder.0))?;
    Ok(())
}

fn annotations(db: &Connection, owner: BoxKey, folder: Option<FolderKey>) -> Result<Vec<Annotation>, StoreError> {
    let sql = "SELECT person, entry, value FROM annotation WHERE box = ?1 AND folder = ?2 ORDER BY person, entry";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((owner.0, place(folder)), |row| {
        let person: String = row.get(0)?;
        Ok(Annotation {
            person: (!person.is_empty()).then_some(person),
            entry: row.get(1)?,
            value: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn annotate(
    tx: &Connection,
    (owner, folder): (BoxKey, Option<FolderKey>),
    changes: &[AnnotationChange],
    entries_max: usize,
) -> Result<(), StoreError> {
    if let Some(folder) = folder {
        tx.prepare_cached("SELECT 1 FROM folder WHERE key = ?1 AND box = ?2")?
            .query_row((folder.0, owner.0), |_| Ok(()))
            .optional()?
            .ok_or(StoreError::NotFound { what: "folder" })?;
    }
    for change in changes {
        let person = change.person.as_deref().unwrap_or_default();
        let key = (owner.0, place(folder), person, &change.entry);
        let Some(value) = &change.value else {
            let sql = "DELETE FROM annotation WHERE box = ?1 AND folder = ?2 AND person = ?3 AND entry = ?4";
            tx.prepare_cached(sql)?.execute(key)?;
            continue;
        };
        let sql = "INSERT INTO annotation (box, folder, person, entry, value) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT DO UPDATE SET value = ?5";
        tx.prepare_cached(sql)?.execute((key.0, key.1, key.2, key.3, value))?;
        let sql = "SELECT count(*) > ?4 FROM annotation WHERE box = ?1 AND folder = ?2 AND person = ?3";
        let too_many: bool = tx
            .prepare_cached(sql)?
            .query_row((key.0, key.1, key.2, integer(entries_max)), |row| row.get(0))?;
        if too_many {
            return Err(StoreError::TooMany { what: "annotations" });
        }
    }
    Ok(())
}

/// Folders are numbered from 1; 0 is the box as a whole.
fn place(folder: Option<FolderKey>) -> i64 {
    folder.map_or(0, |folder| folder.0)
}
