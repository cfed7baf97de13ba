//! The queue of mail to other operators: its rows, and what becomes of them.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::accept::{self, Prepared};
use super::group::Effects;
use super::rows::{failed, integer, time, unsigned};
use crate::identity::Address;
use crate::store::{MessageKey, Outgoing, QueueItem, QueueKey, Settled, Settlement, StoreError};

/// Queues one recipient of a message just stored, leased when `leased_until` says so. The queue has no clock: without a journal record
/// that says when, an item counts as created when it is first due.
pub(super) fn insert(
    tx: &Connection,
    message: MessageKey,
    outgoing: &Outgoing,
    (created, leased_until): (Option<Timestamp>, Option<Timestamp>),
) -> Result<QueueKey, StoreError> {
    let sql = "INSERT INTO queue (message, sender, recipient, domain, created, due, expires, attempts, parameters, \
               session, lease, leased_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11)";
    let key = tx.prepare_cached(sql)?.insert((
        message.0,
        outgoing.sender.as_ref().map(Address::as_str),
        outgoing.recipient.as_str(),
        outgoing.recipient.domain().as_str(),
        created.unwrap_or(outgoing.due).as_millisecond(),
        outgoing.due.as_millisecond(),
        outgoing.expires.as_millisecond(),
        &outgoing.parameters,
        &outgoing.session,
        leased_until.map_or(0, |_| LEASE_FROM_BIRTH),
        leased_until.map_or(0, Timestamp::as_millisecond),
    ))?;
    Ok(QueueKey(key))
}

/// An item just queued under [`LEASE_FROM_BIRTH`], as a look at the queue would show it.
pub(super) fn born_leased(
    (key, message, size_bytes): (QueueKey, MessageKey, u64),
    outgoing: &Outgoing,
    created: Option<Timestamp>,
) -> QueueItem {
    QueueItem {
        key,
        message,
        size_bytes,
        sender: outgoing.sender.clone(),
        recipient: outgoing.recipient.clone(),
        created: as_stored(created.unwrap_or(outgoing.due)),
        due: as_stored(outgoing.due),
        expires: as_stored(outgoing.expires),
        attempts: 0,
        last_reply: None,
        delay_told: None,
        parameters: outgoing.parameters.clone(),
        session: outgoing.session.clone(),
        lease: LEASE_FROM_BIRTH,
        instead: None,
    }
}

/// Rows hold milliseconds.
fn as_stored(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
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

/// Every queued item, oldest first.
pub(super) fn queued(db: &Connection, limit: usize) -> Result<Vec<QueueItem>, StoreError> {
    let sql = format!("SELECT {ITEM_COLUMNS} {FROM} ORDER BY q.key LIMIT ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([integer(limit)], |row| Ok((QueueKey(row.get(0)?), item_row(row))))?;
    readable(rows)
}

/// Ends every lease, and lets every destination be visited.
pub(super) fn release_all(tx: &Connection) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE queue SET lease = 0, leased_until = 0 WHERE lease <> 0")?
        .execute([])?;
    tx.prepare_cached("UPDATE destination SET closed_until = 0")?
        .execute([])?;
    Ok(())
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
        Settled::Unattempted => {
            tx.prepare_cached("UPDATE queue SET lease = 0, leased_until = 0 WHERE key = ?1")?
                .execute([settlement.key.0])?;
            Ok(())
        }
        Settled::Retry {
            due,
            last_reply,
            delay_told,
        } => {
            let sql = "UPDATE queue SET due = ?2, last_reply = ?3, attempts = attempts + 1, lease = 0, leased_until = 0, \
                       delay_told = coalesce(?4, delay_told) WHERE key = ?1";
            let told = delay_told.map(Timestamp::as_millisecond);
            tx.prepare_cached(sql)?
                .execute((settlement.key.0, due.as_millisecond(), last_reply, told))?;
            Ok(())
        }
    }
}

/// Leaves out rows that cannot be read: one damaged row must not hold up everybody's mail. It keeps its lease, so that it is looked at,
/// and complained about, once per lease; it is not deleted, since somebody may repair it.
pub(super) fn readable<T>(
    rows: impl Iterator<Item = rusqlite::Result<(QueueKey, Result<T, StoreError>)>>,
) -> Result<Vec<T>, StoreError> {
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

pub(super) fn item(db: &Connection, key: QueueKey) -> Result<QueueItem, StoreError> {
    let sql = format!("SELECT {ITEM_COLUMNS} {FROM} WHERE q.key = ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query_and_then([key.0], item_row)?;
    rows.next().ok_or(StoreError::NotFound { what: "queue item" })?
}

pub(super) fn item_row(row: &Row<'_>) -> Result<QueueItem, StoreError> {
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
        instead: None,
        delay_told: row.get::<_, Option<i64>>(13)?.map(moment).transpose()?,
    })
}

fn moment(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| failed("a time in the queue", error))
}

fn address(text: &str) -> Result<Address, StoreError> {
    text.parse().map_err(|error| failed("an address in the queue", error))
}

/// The lease that an item is born with. Those it may get later count from 1.
const LEASE_FROM_BIRTH: i64 = -1;
/// What [`item_row`] reads, from `queue q` and `message m`.
pub(super) const ITEM_COLUMNS: &str = "q.key, q.message, m.size_bytes, q.sender, q.recipient, q.created, q.due, \
                                       q.expires, q.attempts, q.last_reply, q.parameters, q.session, q.lease, q.delay_told";
const FROM: &str = "FROM queue q LEFT JOIN message m ON m.key = q.message";
