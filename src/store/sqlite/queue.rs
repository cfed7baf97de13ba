//! The queue of mail to other operators: leases and settlements.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::accept::{self, Prepared};
use super::rows::{failed, integer, raise, time, unsigned};
use super::writer::Effects;
use crate::identity::Address;
use crate::store::{MessageKey, Outgoing, QueueItem, QueueKey, Settled, Settlement, StoreError};

/// Queues one recipient of a message just stored. The queue has no clock: without a journal record that says when, an item
/// counts as created when it is first due.
pub(super) fn insert(
    tx: &Connection,
    message: MessageKey,
    outgoing: &Outgoing,
    created: Option<Timestamp>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO queue (message, sender, recipient, domain, created, due, expires, attempts, parameters, \
               session, lease, leased_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, 0, 0)";
    tx.prepare_cached(sql)?.execute((
        message.0,
        outgoing.sender.as_ref().map(Address::as_str),
        outgoing.recipient.as_str(),
        outgoing.recipient.domain().as_str(),
        created.unwrap_or(outgoing.due).as_millisecond(),
        outgoing.due.as_millisecond(),
        outgoing.expires.as_millisecond(),
        &outgoing.parameters,
        &outgoing.session,
    ))?;
    Ok(())
}

/// Leases due items that are free at `now`, each with the others of its message and domain.
pub(super) fn lease(
    tx: &Connection,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<QueueItem>, StoreError> {
    let candidates = due_keys(tx, now, limit)?;
    let mut chosen: Vec<QueueKey> = Vec::with_capacity(candidates.len());
    let mut taken: HashSet<QueueKey> = HashSet::new();
    for key in candidates {
        if chosen.len() >= limit {
            break;
        }
        if taken.contains(&key) {
            continue;
        }
        let together = companions(tx, key, now, limit - chosen.len())?;
        taken.extend(&together);
        chosen.extend(together);
    }
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let first = raise(tx, "lease", integer(chosen.len()))? + 1;
    let sql = "UPDATE queue SET lease = ?2, leased_until = ?3 WHERE key = ?1";
    for (number, key) in (first..).zip(&chosen) {
        tx.prepare_cached(sql)?
            .execute((key.0, number, until.as_millisecond()))?;
    }
    readable(chosen.into_iter().map(|key| Ok((key, item(tx, key)))))
}

/// Settles items and applies `also`; changes nothing and returns `false` unless every lease is still held.
pub(super) fn settle(
    tx: &Connection,
    settlements: &[Settlement],
    also: &Prepared,
    effects: &mut Effects,
) -> Result<bool, StoreError> {
    let mut seen = HashSet::new();
    for settlement in settlements {
        if !seen.insert(settlement.key) || !is_held(tx, settlement)? {
            also.abandon(effects);
            return Ok(false);
        }
    }
    for settlement in settlements {
        apply(tx, settlement, effects)?;
    }
    accept::accept(tx, also, effects)?;
    Ok(true)
}

/// When there is something to do next.
pub(super) fn next_due(db: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(at) FROM (SELECT * FROM (SELECT due AS at FROM queue WHERE lease = 0 ORDER BY due LIMIT 1) \
               UNION ALL SELECT * FROM (SELECT leased_until AS at FROM queue WHERE lease <> 0 ORDER BY leased_until LIMIT 1))";
    let at = db
        .prepare_cached(sql)?
        .query_row([], |row| row.get::<_, Option<i64>>(0))?;
    at.map(Timestamp::from_millisecond)
        .transpose()
        .map_err(|error| failed("a time in the queue", error))
}

/// Every queued item, oldest first.
pub(super) fn queued(db: &Connection, limit: usize) -> Result<Vec<QueueItem>, StoreError> {
    let sql = format!("{ITEM} ORDER BY q.key LIMIT ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([integer(limit)], |row| Ok((QueueKey(row.get(0)?), item_row(row))))?;
    readable(rows)
}

/// Ends every lease.
pub(super) fn release_all(tx: &Connection) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE queue SET lease = 0, leased_until = 0 WHERE lease <> 0")?
        .execute([])?;
    Ok(())
}

fn due_keys(tx: &Connection, now: Timestamp, limit: usize) -> Result<Vec<QueueKey>, StoreError> {
    let sql = "SELECT key FROM queue WHERE due <= ?1 AND leased_until <= ?1 ORDER BY due, key LIMIT ?2";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map((now.as_millisecond(), integer(limit)), |row| row.get(0).map(QueueKey))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The item itself first, then what else is due and free of its message and domain.
fn companions(tx: &Connection, key: QueueKey, now: Timestamp, limit: usize) -> Result<Vec<QueueKey>, StoreError> {
    let sql = "SELECT other.key FROM queue one JOIN queue other ON other.message = one.message AND other.domain = one.domain \
               WHERE one.key = ?1 AND other.due <= ?2 AND other.leased_until <= ?2 \
               ORDER BY other.key <> ?1, other.due, other.key LIMIT ?3";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map((key.0, now.as_millisecond(), integer(limit)), |row| {
        row.get(0).map(QueueKey)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn is_held(tx: &Connection, settlement: &Settlement) -> Result<bool, StoreError> {
    let lease = tx
        .prepare_cached("SELECT lease FROM queue WHERE key = ?1")?
        .query_row([settlement.key.0], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(settlement.lease != 0 && lease == Some(settlement.lease))
}

fn apply(tx: &Connection, settlement: &Settlement, effects: &mut Effects) -> Result<(), StoreError> {
    match &settlement.fate {
        Settled::Done => {
            let message = tx
                .prepare_cached("DELETE FROM queue WHERE key = ?1 RETURNING message")?
                .query_row([settlement.key.0], |row| row.get(0).map(MessageKey))?;
            accept::end_reference(tx, message, effects)
        }
        Settled::Retry { due, last_reply } => {
            let sql = "UPDATE queue SET due = ?2, last_reply = ?3, attempts = attempts + 1, lease = 0, leased_until = 0 \
                       WHERE key = ?1";
            tx.prepare_cached(sql)?
                .execute((settlement.key.0, due.as_millisecond(), last_reply))?;
            Ok(())
        }
    }
}

/// Leaves out rows that cannot be read: one damaged row must not hold up everybody's mail. It keeps its lease, so that it is looked at,
/// and complained about, once per lease; it is not deleted, since somebody may repair it.
fn readable(
    rows: impl Iterator<Item = rusqlite::Result<(QueueKey, Result<QueueItem, StoreError>)>>,
) -> Result<Vec<QueueItem>, StoreError> {
    let mut readable = Vec::new();
    for row in rows {
        let (key, item) = row?;
        match item {
            Ok(item) => readable.push(item),
            Err(error) if database_failed(&error) => return Err(error),
            Err(error) => {
                tracing::error!(
                    item = key.0,
                    error = &error as &dyn std::error::Error,
                    "a row of the queue cannot be read and is left alone: repair or remove it"
                );
            }
        }
    }
    Ok(readable)
}

/// Whether it is about more than one row: SQLite itself could not go on.
fn database_failed(error: &StoreError) -> bool {
    match error {
        StoreError::Full { .. } | StoreError::Damaged { .. } => true,
        StoreError::Backend { source, .. } => {
            matches!(source.downcast_ref(), Some(rusqlite::Error::SqliteFailure(..)))
        }
        _ => false,
    }
}

fn item(db: &Connection, key: QueueKey) -> Result<QueueItem, StoreError> {
    let sql = format!("{ITEM} WHERE q.key = ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query_and_then([key.0], item_row)?;
    rows.next().ok_or(StoreError::NotFound { what: "queue item" })?
}

fn item_row(row: &Row<'_>) -> Result<QueueItem, StoreError> {
    let sender = row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let recipient = row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?;
    Ok(QueueItem {
        key: QueueKey(row.get(0)?),
        message: MessageKey(row.get(1)?),
        size_bytes: unsigned(row, 2)?,
        sender: sender.map(address).transpose()?,
        recipient: address(recipient)?,
        created: time(row, 5)?,
        due: time(row, 6)?,
        expires: time(row, 7)?,
        attempts: unsigned(row, 8)?,
        last_reply: row.get(9)?,
        parameters: row.get(10)?,
        session: row.get(11)?,
        lease: row.get(12)?,
    })
}

fn address(text: &str) -> Result<Address, StoreError> {
    text.parse().map_err(|error| failed("an address in the queue", error))
}

/// Columns of [`item_row`].
const ITEM: &str = "SELECT q.key, q.message, m.size_bytes, q.sender, q.recipient, q.created, q.due, q.expires, q.attempts, \
                    q.last_reply, q.parameters, q.session, q.lease FROM queue q LEFT JOIN message m ON m.key = q.message";
