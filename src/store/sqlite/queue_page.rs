//! The queue as rows to show: pages and sums of what fits a filter.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::queue::{ITEM_COLUMNS, item_row, readable};
use super::rows::{failed, integer, time, unsigned};
use crate::store::{QueueBy, QueueEntry, QueueFilter, QueueGroup, QueueKey, QueueState, Sender, StoreError};

/// One page by ascending key.
pub(super) fn page(db: &Connection, filter: &QueueFilter) -> Result<Vec<QueueEntry>, StoreError> {
    let (condition, mut values) = condition(filter, true);
    let sql = format!(
        "SELECT {ITEM_COLUMNS}, {STATE}, q.leased_until, q.held, q.held_by, q.held_at, q.verdict FROM queue q \
         LEFT JOIN message m ON m.key = q.message {DESTINATION} WHERE {condition} ORDER BY q.key LIMIT ?"
    );
    values.push(integer(filter.limit).into());
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| Ok((QueueKey(row.get(0)?), entry(row))))?;
    readable(rows)
}

/// Sums, the largest group first.
pub(super) fn groups(db: &Connection, by: QueueBy, filter: &QueueFilter) -> Result<Vec<QueueGroup>, StoreError> {
    let name = match by {
        QueueBy::Domain => "domain",
        QueueBy::State => "state",
        QueueBy::Sender => "coalesce(sender, '<>')",
        QueueBy::Message => "CAST(message AS TEXT)",
    };
    let (condition, values) = condition(filter, false);
    let sums: Vec<String> = QueueState::ALL
        .iter()
        .map(|state| format!("sum(state = '{}')", state.id()))
        .collect();
    let sql = format!(
        "SELECT {name}, count(*), sum(size_bytes), min(created), min(CASE WHEN held = 0 THEN due END), {} FROM \
         (SELECT q.domain, q.sender, q.message, q.created, q.due, q.held, m.size_bytes, {STATE} AS state FROM queue q \
         LEFT JOIN message m ON m.key = q.message {DESTINATION} WHERE {condition}) GROUP BY 1 ORDER BY 2 DESC, 1",
        sums.join(", ")
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| {
        let mut states = [0; QueueState::ALL.len()];
        for (column, count) in (FIRST_SUM..).zip(&mut states) {
            *count = unsigned(row, column)?;
        }
        let next: Option<i64> = row.get(4)?;
        Ok(QueueGroup {
            name: row.get(0)?,
            items: unsigned(row, 1)?,
            // None when the messages of all are gone: rows for `verify`.
            size_bytes: row.get::<_, Option<i64>>(2)?.map_or(0, i64::unsigned_abs),
            oldest: time(row, 3)?,
            next: next.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()),
            states,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a filter says in SQL, with its values in order; the state that it uses first needs `now`.
pub(super) fn condition(filter: &QueueFilter, is_page: bool) -> (String, Vec<Value>) {
    let now: Value = filter.now.as_millisecond().into();
    let mut sql = String::from("1");
    // The state that is shown.
    let mut values = vec![now.clone(); STATE_VALUES];
    let mut and = |clause: &str, value: Value| {
        sql.push_str(clause);
        values.push(value);
    };
    if is_page {
        and(" AND q.key > ?", filter.after.0.into());
    }
    if let Some(message) = filter.message {
        and(" AND q.message = ?", message.0.into());
    }
    if let Some(domain) = &filter.domain {
        and(" AND q.domain = ?", domain.as_str().to_owned().into());
    }
    match &filter.sender {
        Some(Sender::Address(address)) => {
            and(" AND q.sender = ? COLLATE NOCASE", address.as_str().to_owned().into());
        }
        Some(Sender::Null) => and(" AND q.sender IS ?", Value::Null),
        None => {}
    }
    if let Some(recipient) = &filter.recipient {
        and(
            " AND q.recipient = ? COLLATE NOCASE",
            recipient.as_str().to_owned().into(),
        );
    }
    if let Some(session) = &filter.session {
        and(" AND q.session = ?", session.clone().into());
    }
    if let Some(before) = filter.created_before {
        and(" AND q.created < ?", before.as_millisecond().into());
    }
    if !filter.keys.is_empty() {
        let marks = vec!["?"; filter.keys.len()].join(", ");
        sql.push_str(&format!(" AND q.key IN ({marks})"));
        values.extend(filter.keys.iter().map(|key| Value::from(key.0)));
    }
    if let Some(state) = filter.state {
        // What an index knows.
        sql.push_str(match state {
            QueueState::Held => " AND q.held <> 0",
            QueueState::Leased => " AND q.lease <> 0",
            QueueState::Due | QueueState::Waiting | QueueState::Blocked => "",
        });
        sql.push_str(&format!(" AND {STATE} = ?"));
        values.extend(std::iter::repeat_n(now, STATE_VALUES));
        values.push(state.id().to_owned().into());
    }
    (sql, values)
}

fn entry(row: &Row<'_>) -> Result<QueueEntry, StoreError> {
    let item = item_row(row)?;
    let state: String = row.get(14)?;
    let state = QueueState::from_id(&state).ok_or_else(|| failed("the state of a queue item", "unknown state"))?;
    let held = match (row.get::<_, i64>(16)?, row.get::<_, Option<i64>>(18)?) {
        (0, _) | (_, None) => None,
        (_, Some(_)) => Some((row.get::<_, Option<String>>(17)?.unwrap_or_default(), time(row, 18)?)),
    };
    Ok(QueueEntry {
        leased_until: (item.lease != 0).then(|| time(row, 15)).transpose()?,
        item,
        state,
        held,
        verdict: row.get(19)?,
    })
}

/// The state of an item at a moment given three times.
const STATE: &str = "CASE WHEN q.lease <> 0 AND q.leased_until > ? THEN 'leased' WHEN q.held <> 0 THEN 'held' \
                     WHEN d.closed_until > ? AND q.verdict IS NULL THEN 'blocked' WHEN q.due <= ? THEN 'due' ELSE 'waiting' END";
const STATE_VALUES: usize = 3;
const DESTINATION: &str = "LEFT JOIN destination d ON d.domain = q.domain";
/// Column of the first sum by state.
const FIRST_SUM: usize = 5;
