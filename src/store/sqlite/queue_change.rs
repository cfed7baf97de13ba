//! What an administrator does to items, a page of them in one transaction with its records.

use rusqlite::Connection;

use super::group::Effects;
use super::{accept, journal, queue_page};
use crate::store::{ChangeRecord, Changed, QueueChange, QueueEntry, QueueFilter, QueueState, StoreError};

/// Changes a page of what fits.
pub(super) fn change(
    tx: &Connection,
    (filter, change): (&QueueFilter, &QueueChange),
    record: &ChangeRecord,
    effects: &mut Effects,
) -> Result<Changed, StoreError> {
    let page = queue_page::page(tx, filter)?;
    let mut done = Changed {
        seen: page.len(),
        last: page.last().map(|entry| entry.item.key),
        ..Changed::default()
    };
    let mut records = Vec::new();
    for entry in &page {
        if entry.state == QueueState::Leased && !matches!(change, QueueChange::Hold { .. } | QueueChange::Release) {
            done.busy += 1;
            continue;
        }
        if apply(tx, filter, (entry, change), effects)? {
            done.changed += 1;
            records.push(record(&entry.item));
        }
    }
    journal::insert(tx, &records)?;
    Ok(done)
}

/// Whether it changed anything.
fn apply(
    tx: &Connection,
    filter: &QueueFilter,
    (entry, change): (&QueueEntry, &QueueChange),
    effects: &mut Effects,
) -> Result<bool, StoreError> {
    let (key, now) = (entry.item.key.0, filter.now.as_millisecond());
    match change {
        QueueChange::Retry if matches!(entry.state, QueueState::Waiting | QueueState::Blocked) => {
            tx.prepare_cached("UPDATE queue SET due = min(due, ?2) WHERE key = ?1")?
                .execute((key, now))?;
            tx.prepare_cached("UPDATE destination SET closed_until = 0 WHERE domain = ?1")?
                .execute([entry.item.recipient.domain().as_str()])?;
        }
        QueueChange::Hold { by } if entry.held.is_none() => {
            tx.prepare_cached("UPDATE queue SET held = 1, held_by = ?2, held_at = ?3 WHERE key = ?1")?
                .execute((key, by, now))?;
        }
        QueueChange::Release if entry.held.is_some() => {
            tx.prepare_cached("UPDATE queue SET held = 0, held_by = NULL, held_at = NULL WHERE key = ?1")?
                .execute([key])?;
        }
        QueueChange::Drop => {
            tx.prepare_cached("DELETE FROM queue WHERE key = ?1")?.execute([key])?;
            accept::end_reference(tx, entry.item.message, effects)?;
        }
        QueueChange::Bounce { verdict } => {
            let sql = "UPDATE queue SET verdict = ?2, due = min(due, ?3), held = 0, held_by = NULL, held_at = NULL WHERE key = ?1";
            tx.prepare_cached(sql)?.execute((key, verdict, now))?;
        }
        QueueChange::Retry | QueueChange::Hold { .. } | QueueChange::Release => return Ok(false),
    }
    Ok(true)
}
