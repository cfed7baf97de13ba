//! Boxes and folders.

use rusqlite::{Connection, OptionalExtension, Row};

use super::accept::end_reference;
use super::annotations;
use super::group::Effects;
use super::names::{wish, wish_granted};
use super::rows::{raise, special_use, special_use_text, unsigned};
use crate::identity::{Address, Domain};
use crate::store::{BoxKey, FolderKey, FolderRow, FolderStatus, MessageKey, SpecialUse, StoreError};

/// Makes sure the box exists with its INBOX and these folders.
pub(super) fn ensure_box(
    tx: &Connection,
    address: &Address,
    folders: &[(String, Option<SpecialUse>)],
) -> Result<BoxKey, StoreError> {
    let sql = "INSERT INTO box (address, folded) VALUES (?1, ?2) ON CONFLICT (folded) DO NOTHING";
    let mut statement = tx.prepare_cached(sql)?;
    statement.execute((address.as_str(), address.key()))?;
    let owner = find_box(tx, address)?;
    ensure_folder(tx, owner, INBOX, None, true)?;
    for (name, special_use) in folders {
        let name = canonical(name);
        let has_its_use = match special_use {
            Some(special_use) => has_use(tx, owner, *special_use)?,
            None => false,
        };
        if has_its_use {
            continue;
        }
        ensure_parents(tx, owner, &name, true)?;
        ensure_folder(tx, owner, &name, *special_use, true)?;
    }
    Ok(owner)
}

/// The box of an address.
pub(super) fn find_box(db: &Connection, address: &Address) -> Result<BoxKey, StoreError> {
    db.prepare_cached("SELECT key FROM box WHERE folded = ?1")?
        .query_row([address.key()], |row| row.get(0).map(BoxKey))
        .optional()?
        .ok_or(StoreError::NotFound { what: "box" })
}

/// Leaves the boxes of a domain where they are under addresses that nobody has: the next [`ensure_box`] makes new ones.
pub(super) fn set_boxes_aside(tx: &Connection, domain: &Domain) -> Result<(), StoreError> {
    let sql = "UPDATE box SET folded = folded || ' left ' || key WHERE folded LIKE ?1 ESCAPE '\\'";
    let pattern = format!("%@{}", domain.as_str().to_lowercase().replace('_', "\\_"));
    tx.prepare_cached(sql)?.execute([pattern])?;
    Ok(())
}

/// All folders of a box.
pub(super) fn folders(db: &Connection, owner: BoxKey) -> Result<Vec<FolderRow>, StoreError> {
    let sql = "SELECT key, name, special_use, subscribed, uid_validity FROM folder WHERE box = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([owner.0], folder_row)?;
    let folders = rows.collect::<Result<Vec<_>, _>>()?;
    if folders.is_empty() {
        // A box has its INBOX from the start and may lose it only to `delete_folder`.
        db.prepare_cached("SELECT 1 FROM box WHERE key = ?1")?
            .query_row([owner.0], |_| Ok(()))
            .optional()?
            .ok_or(StoreError::NotFound { what: "box" })?;
    }
    Ok(folders)
}

/// Creates a folder and its missing parents.
pub(super) fn create_folder(
    tx: &Connection,
    owner: BoxKey,
    name: &str,
    special_use: Option<SpecialUse>,
) -> Result<FolderRow, StoreError> {
    tx.prepare_cached("SELECT 1 FROM box WHERE key = ?1")?
        .query_row([owner.0], |_| Ok(()))
        .optional()?
        .ok_or(StoreError::NotFound { what: "box" })?;
    let name = canonical(name);
    ensure_parents(tx, owner, &name, false)?;
    match ensure_folder(tx, owner, &name, special_use, false)? {
        Some(row) => Ok(row),
        None => Err(StoreError::FolderExists { name }),
    }
}

/// Removes a folder and what is in it.
pub(super) fn delete_folder(tx: &Connection, folder: FolderKey, effects: &mut Effects) -> Result<(), StoreError> {
    let (owner, name, subscribed) = tx
        .prepare_cached("DELETE FROM folder WHERE key = ?1 RETURNING box, name, subscribed")?
        .query_row([folder.0], |row| {
            Ok((BoxKey(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, bool>(2)?))
        })
        .optional()?
        .ok_or(StoreError::NotFound { what: "folder" })?;
    if subscribed {
        // RFC 3501 §6.3.6: what is subscribed stays so when the folder goes.
        wish(tx, owner, &name)?;
    }
    annotations::forget(tx, owner, folder)?;
    let mut statement = tx.prepare_cached("SELECT message FROM entry WHERE folder = ?1")?;
    let messages = statement
        .query_map([folder.0], |row| row.get(0).map(MessageKey))?
        .collect::<Result<Vec<_>, _>>()?;
    tx.prepare_cached("DELETE FROM entry WHERE folder = ?1")?
        .execute([folder.0])?;
    tx.prepare_cached("DELETE FROM expunged WHERE folder = ?1")?
        .execute([folder.0])?;
    for message in messages {
        end_reference(tx, message, effects)?;
    }
    Ok(())
}

/// Every folder with its highest modification sequence.
pub(super) fn marks(db: &Connection) -> Result<Vec<(FolderKey, u64)>, StoreError> {
    let mut statement = db.prepare_cached("SELECT key, modseq FROM folder")?;
    let rows = statement.query_map([], |row| Ok((FolderKey(row.get(0)?), unsigned(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Figures of a folder.
pub(super) fn status(db: &Connection, folder: FolderKey) -> Result<FolderStatus, StoreError> {
    let sql = "SELECT messages, unseen, uid_next, uid_validity, modseq, size_bytes, \
               (SELECT count(*) FROM entry WHERE folder = key AND uid >= recent_from), deleted, deleted_bytes FROM folder WHERE key = ?1";
    let read = |row: &Row<'_>| {
        Ok(FolderStatus {
            messages: unsigned(row, 0)?,
            unseen: unsigned(row, 1)?,
            uid_next: unsigned(row, 2)?,
            uid_validity: unsigned(row, 3)?,
            highest_modseq: unsigned(row, 4)?,
            size_bytes: unsigned(row, 5)?,
            recent: unsigned(row, 6)?,
            deleted: unsigned(row, 7)?,
            deleted_bytes: unsigned(row, 8)?,
        })
    };
    db.prepare_cached(sql)?
        .query_row([folder.0], read)
        .optional()?
        .ok_or(StoreError::NotFound { what: "folder" })
}

/// Figures of several folders, in the order asked.
pub(super) fn statuses(db: &Connection, folders: &[FolderKey]) -> Result<Vec<(FolderKey, FolderStatus)>, StoreError> {
    let mut found = Vec::with_capacity(folders.len());
    for folder in folders {
        match status(db, *folder) {
            Ok(status) => found.push((*folder, status)),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A folder by name, with its figures.
pub(super) fn look_up(db: &Connection, owner: BoxKey, name: &str) -> Result<(FolderRow, FolderStatus), StoreError> {
    let sql = "SELECT key, name, special_use, subscribed, uid_validity FROM folder WHERE box = ?1 AND name = ?2";
    let row = db
        .prepare_cached(sql)?
        .query_row((owner.0, name), folder_row)
        .optional()?
        .ok_or(StoreError::NotFound { what: "folder" })?;
    let status = status(db, row.key)?;
    Ok((row, status))
}

/// Fails unless the folder exists.
pub(super) fn check_folder(db: &Connection, folder: FolderKey) -> Result<(), StoreError> {
    db.prepare_cached("SELECT 1 FROM folder WHERE key = ?1")?
        .query_row([folder.0], |_| Ok(()))
        .optional()?
        .ok_or(StoreError::NotFound { what: "folder" })
}

/// Whether a folder of the box has that special use.
fn has_use(tx: &Connection, owner: BoxKey, special_use: SpecialUse) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM folder WHERE box = ?1 AND special_use = ?2)";
    Ok(tx
        .prepare_cached(sql)?
        .query_row((owner.0, special_use_text(special_use)), |row| row.get(0))?)
}

pub(super) fn ensure_parents(tx: &Connection, owner: BoxKey, name: &str, subscribed: bool) -> Result<(), StoreError> {
    for (end, _) in name.match_indices('/') {
        if end > 0 {
            ensure_folder(tx, owner, &name[..end], None, subscribed)?;
        }
    }
    Ok(())
}

/// Creates the folder unless it exists; returns the row when it was created.
fn ensure_folder(
    tx: &Connection,
    owner: BoxKey,
    name: &str,
    special_use: Option<SpecialUse>,
    subscribed: bool,
) -> Result<Option<FolderRow>, StoreError> {
    let known = tx
        .prepare_cached("SELECT 1 FROM folder WHERE box = ?1 AND name = ?2")?
        .query_row((owner.0, name), |_| Ok(()))
        .optional()?;
    if known.is_some() {
        return Ok(None);
    }
    // RFC 3501 §2.3.1.1: one number line for all folders of the store, so a name made again gets a greater one.
    let uid_validity = raise(tx, "uid_validity", 1)? + 1;
    let sql = "INSERT INTO folder (box, name, special_use, subscribed, uid_validity, uid_next, modseq, recent_from, \
               messages, unseen, size_bytes) VALUES (?1, ?2, ?3, ?4, ?5, 1, 1, 1, 0, 0, 0) \
               RETURNING key, name, special_use, subscribed, uid_validity";
    let word = special_use.map(special_use_text);
    let mut row = tx
        .prepare_cached(sql)?
        .query_row((owner.0, name, word, subscribed, uid_validity), folder_row)?;
    row.subscribed |= wish_granted(tx, owner, (row.key, name))?;
    Ok(Some(row))
}

fn folder_row(row: &Row<'_>) -> Result<FolderRow, rusqlite::Error> {
    Ok(FolderRow {
        key: FolderKey(row.get(0)?),
        name: row.get(1)?,
        special_use: special_use(row.get_ref(2)?.as_str_or_null()?),
        subscribed: row.get(3)?,
        uid_validity: unsigned(row, 4)?,
    })
}

/// RFC 3501 §5.1: INBOX is the one name without case.
pub(super) fn canonical(name: &str) -> String {
    match name.split_once('/') {
        None if name.eq_ignore_ascii_case(INBOX) => INBOX.into(),
        Some((first, rest)) if first.eq_ignore_ascii_case(INBOX) => format!("{INBOX}/{rest}"),
        _ => name.into(),
    }
}

const INBOX: &str = "INBOX";
