//! The journal and the counters.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::rows::{integer, time, unsigned};
use crate::store::{Carried, Count, CountKey, JournalFilter, JournalRow, StoreError};

/// Appends records.
pub(super) fn insert(tx: &Connection, records: &[JournalRow]) -> Result<(), StoreError> {
    let sql = "INSERT INTO journal (at, event, session, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    for record in records {
        tx.prepare_cached(sql)?.execute((
            record.at.as_millisecond(),
            &record.event,
            &record.session,
            &record.reason,
            &record.detail,
        ))?;
    }
    Ok(())
}

/// Adds increments to the counters.
pub(super) fn count(tx: &Connection, counts: &[Count]) -> Result<(), StoreError> {
    add(tx, COUNTER, counts)
}

/// Adds what purged rows counted for to what is carried over.
pub(super) fn carry(tx: &Connection, counts: &[Count]) -> Result<(), StoreError> {
    add(tx, CARRIED, counts)
}

/// The oldest rows.
pub(super) fn oldest(tx: &Connection, limit: usize) -> Result<Vec<JournalRow>, StoreError> {
    let sql = "SELECT sequence, at, event, session, reason, detail FROM journal ORDER BY sequence LIMIT ?1";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([integer(limit)], journal_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What purged rows counted for, and which those are.
pub(super) fn carried(db: &Connection) -> Result<Carried, StoreError> {
    let number = |name: &str| -> Result<i64, rusqlite::Error> {
        db.prepare_cached("SELECT value FROM number WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
    };
    let sequence = number("journal_purged")?;
    let until = Timestamp::from_millisecond(number("journal_purged_at")?).ok();
    let mut statement = db.prepare_cached(
        "SELECT month, direction, establishment, entity, box_type, class, messages, recipients FROM carried",
    )?;
    let counts = statement.query_map([], count_row)?;
    Ok(Carried {
        sequence,
        until: until.filter(|_| sequence > 0),
        counts: counts.collect::<Result<_, _>>()?,
    })
}

fn add(tx: &Connection, sql: &str, counts: &[Count]) -> Result<(), StoreError> {
    for Count {
        key,
        messages,
        recipients,
    } in counts
    {
        tx.prepare_cached(sql)?.execute((
            &key.month,
            &key.direction,
            &key.establishment,
            &key.entity,
            &key.box_type,
            &key.class,
            integer(*messages),
            integer(*recipients),
        ))?;
    }
    Ok(())
}

/// Journal rows by ascending sequence.
pub(super) fn journal(db: &Connection, filter: &JournalFilter) -> Result<Vec<JournalRow>, StoreError> {
    let mut sql = String::from("SELECT sequence, at, event, session, reason, detail FROM journal WHERE sequence > ?");
    let mut values = vec![Value::from(filter.after_sequence)];
    if let Some(since) = filter.since {
        sql.push_str(" AND at >= ?");
        values.push(since.as_millisecond().into());
    }
    if let Some(until) = filter.until {
        sql.push_str(" AND at < ?");
        values.push(until.as_millisecond().into());
    }
    if let Some(session) = &filter.session {
        // The index leaves rows without a session out, and is used only for a query that does as well.
        sql.push_str(if session.is_empty() {
            " AND session = ?"
        } else {
            " AND session <> '' AND session = ?"
        });
        values.push(session.clone().into());
    }
    if !filter.session_prefix.is_empty() {
        // A range, so that the index serves it; names are ASCII.
        sql.push_str(" AND session <> '' AND session >= ? AND session < ?");
        values.push(filter.session_prefix.clone().into());
        values.push(format!("{}\u{7f}", filter.session_prefix).into());
    }
    if !filter.mentions.is_empty() {
        sql.push_str(" AND instr(detail, ?) > 0");
        values.push(filter.mentions.clone().into());
    }
    if !filter.events.is_empty() {
        sql.push_str(" AND event IN (");
        sql.push_str(&vec!["?"; filter.events.len()].join(", "));
        sql.push(')');
        values.extend(filter.events.iter().cloned().map(Value::from));
    }
    sql.push_str(" ORDER BY sequence LIMIT ?");
    values.push(integer(filter.limit).into());
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), journal_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Counters of a month, or all.
pub(super) fn counters(db: &Connection, month: Option<&str>) -> Result<Vec<Count>, StoreError> {
    let sql = "SELECT month, direction, establishment, entity, box_type, class, messages, recipients FROM counter \
               WHERE ?1 IS NULL OR month = ?1 ORDER BY month, direction, establishment, entity, box_type, class";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([month], count_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn journal_row(row: &Row<'_>) -> Result<JournalRow, rusqlite::Error> {
    Ok(JournalRow {
        sequence: row.get(0)?,
        at: time(row, 1)?,
        event: row.get(2)?,
        session: row.get(3)?,
        reason: row.get(4)?,
        detail: row.get(5)?,
    })
}

fn count_row(row: &Row<'_>) -> Result<Count, rusqlite::Error> {
    Ok(Count {
        key: CountKey {
            month: row.get(0)?,
            direction: row.get(1)?,
            establishment: row.get(2)?,
            entity: row.get(3)?,
            box_type: row.get(4)?,
            class: row.get(5)?,
        },
        messages: unsigned(row, 6)?,
        recipients: unsigned(row, 7)?,
    })
}

const COUNTER: &str = "INSERT INTO counter (month, direction, establishment, entity, box_type, class, messages, recipients) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE \
                       SET messages = messages + excluded.messages, recipients = recipients + excluded.recipients";
const CARRIED: &str = "INSERT INTO carried (month, direction, establishment, entity, box_type, class, messages, recipients) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE \
                       SET messages = messages + excluded.messages, recipients = recipients + excluded.recipients";
