//! What a box holds, and whether there is room for more. Nothing is scanned: every change of a folder keeps its figures.

use rusqlite::{Connection, OptionalExtension, Row};

use super::rows::{integer, unsigned};
use crate::identity::Address;
use crate::store::{FolderKey, Room, StoreError, Usage};

/// What the box of a folder holds.
pub(super) fn usage(db: &Connection, folder: FolderKey) -> Result<Usage, StoreError> {
    let sql = "SELECT sum(other.size_bytes), sum(other.messages), (SELECT quota_bytes FROM box WHERE key = one.box) \
               FROM folder one JOIN folder other ON other.box = one.box WHERE one.key = ?1 GROUP BY one.box";
    db.prepare_cached(sql)?
        .query_row([folder.0], usage_row)
        .optional()?
        .ok_or(StoreError::NotFound { what: "folder" })
}

fn usage_row(row: &Row<'_>) -> Result<Usage, rusqlite::Error> {
    Ok(Usage {
        used_bytes: unsigned(row, 0)?,
        messages: unsigned(row, 1)?,
        quota_bytes: match row.get::<_, Option<i64>>(2)? {
            Some(_) => Some(unsigned(row, 2)?),
            None => None,
        },
    })
}

/// Sets the quotas of boxes; those that do not exist are skipped.
pub(super) fn set(tx: &Connection, quotas: &[(Address, Option<u64>)]) -> Result<(), StoreError> {
    let sql = "UPDATE box SET quota_bytes = ?2 WHERE folded = ?1 AND quota_bytes IS NOT ?2";
    let mut statement = tx.prepare_cached(sql)?;
    for (address, quota) in quotas {
        statement.execute((address.key(), quota.map(integer)))?;
    }
    Ok(())
}

/// Fails when an entry of `size_bytes` that was just put into a folder should not have been, its box having this quota.
pub(super) fn check_entry(
    tx: &Connection,
    folder: FolderKey,
    (quota_bytes, size_bytes): (u64, i64),
    room: Room,
) -> Result<(), StoreError> {
    let used_bytes = usage(tx, folder)?.used_bytes;
    let before = used_bytes.saturating_sub(size_bytes.max(0).cast_unsigned());
    let fits = match room {
        Room::IfNotFull => before < quota_bytes,
        Room::Whole => used_bytes <= quota_bytes,
        Room::Always => true,
    };
    if fits {
        return Ok(());
    }
    Err(StoreError::OverQuota {
        used_bytes: before,
        quota_bytes,
    })
}

/// Fails when a box holds more than it may, after something was copied into one of its folders.
pub(super) fn check(tx: &Connection, folder: FolderKey) -> Result<(), StoreError> {
    match usage(tx, folder)? {
        Usage {
            used_bytes,
            quota_bytes: Some(quota_bytes),
            ..
        } if used_bytes > quota_bytes => Err(StoreError::OverQuota {
            used_bytes,
            quota_bytes,
        }),
        _ => Ok(()),
    }
}
