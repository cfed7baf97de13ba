//! Who gets the next connections: destinations in turn, each with its oldest items.
//!
//! Items that may be leased stand in one index by destination and time, so that a look costs one step per destination, however many items
//! each has. A destination that cannot be reached is closed for a while: its items stay where they are, but for those that expire.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::queue::{item, readable};
use super::rows::{failed, integer, raise, time, unsigned};
use crate::identity::Domain;
use crate::store::{Closed, Destination, Instead, Portion, QueueItem, QueueKey, StoreError};

/// Leases a portion of what may be leased at `now`.
pub(super) fn lease(
    tx: &Connection,
    now: Timestamp,
    until: Timestamp,
    portion: &Portion,
) -> Result<Vec<QueueItem>, StoreError> {
    tx.prepare_cached("UPDATE queue SET lease = 0, leased_until = 0 WHERE lease <> 0 AND leased_until <= ?1")?
        .execute([now.as_millisecond()])?;
    let mut chosen = Chosen::new(portion.items_max);
    chosen.given_up(tx)?;
    chosen.overdue(tx, now, portion)?;
    chosen.due(tx, now, portion)?;
    if chosen.keys.is_empty() {
        return Ok(Vec::new());
    }
    let first = raise(tx, "lease", integer(chosen.keys.len()))? + 1;
    let sql = "UPDATE queue SET lease = ?2, leased_until = ?3 WHERE key = ?1";
    for (number, key) in (first..).zip(&chosen.keys) {
        tx.prepare_cached(sql)?
            .execute((key.0, number, until.as_millisecond()))?;
    }
    let Chosen { keys, mut instead, .. } = chosen;
    readable(keys.into_iter().map(|key| {
        let leased = item(tx, key).map(|item| QueueItem {
            instead: instead.remove(&key),
            ..item
        });
        Ok((key, leased))
    }))
}

/// When there is something to do next.
pub(super) fn next_due(db: &Connection, busy: &[Domain]) -> Result<Option<Timestamp>, StoreError> {
    let mut next = first_time(
        db,
        "SELECT min(leased_until) FROM queue WHERE lease <> 0 AND leased_until > 0",
    )?;
    let given_up = "SELECT min(due) FROM queue WHERE verdict IS NOT NULL AND lease = 0";
    next = earlier(next, first_time(db, given_up)?);
    let closed = closed(db)?;
    for (domain, due) in ready(db)? {
        let at = match closed.get(&domain) {
            Some(closed) => earlier(Some(due.max(closed.until)), first_expiry(db, &domain)?),
            None if busy.iter().any(|busy| busy.as_str() == domain) => None,
            None => Some(due),
        };
        next = earlier(next, at);
    }
    next.map(Timestamp::from_millisecond)
        .transpose()
        .map_err(|error| failed("a time in the queue", error))
}

/// When the oldest item was queued behind a closed destination whose sender was not told that it is late: one step in the index for each.
pub(super) fn oldest_untold(db: &Connection, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(created) FROM queue INDEXED BY queue_late WHERE lease = 0 AND held = 0 AND domain = ?1 \
               AND delay_told IS NULL";
    let mut statement = db.prepare_cached(sql)?;
    let mut oldest = None;
    for (domain, closed) in closed(db)? {
        if closed.until > now.as_millisecond() {
            oldest = earlier(oldest, statement.query_row([domain], |row| row.get(0))?);
        }
    }
    oldest
        .map(Timestamp::from_millisecond)
        .transpose()
        .map_err(|error| failed("a time in the queue", error))
}

/// One failure more.
pub(super) fn close(tx: &Connection, domain: &Domain, closed: &Closed) -> Result<(), StoreError> {
    let sql = "INSERT INTO destination (domain, failures, since, closed_until, last_reply) VALUES (?1, 1, ?2, ?3, ?4) \
               ON CONFLICT (domain) DO UPDATE SET failures = failures + 1, \
               closed_until = excluded.closed_until, last_reply = excluded.last_reply";
    tx.prepare_cached(sql)?.execute((
        domain.as_str(),
        closed.at.as_millisecond(),
        closed.until.as_millisecond(),
        &closed.last_reply,
    ))?;
    Ok(())
}

/// It was reached; some of what waits for a later attempt is due now.
pub(super) fn open(tx: &Connection, domain: &Domain, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
    tx.prepare_cached("DELETE FROM destination WHERE domain = ?1")?
        .execute([domain.as_str()])?;
    // The latest first: each step takes one from the end of the index.
    let sql = "UPDATE queue SET due = ?2 WHERE key IN (SELECT key FROM queue INDEXED BY queue_ready \
               WHERE lease = 0 AND held = 0 AND domain = ?1 AND due > ?2 ORDER BY due DESC LIMIT ?3)";
    let hastened = tx
        .prepare_cached(sql)?
        .execute((domain.as_str(), now.as_millisecond(), integer(limit)))?;
    Ok(hastened)
}

/// Destinations that could not be reached.
pub(super) fn destinations(db: &Connection) -> Result<Vec<Destination>, StoreError> {
    let sql = "SELECT domain, failures, since, closed_until, last_reply FROM destination ORDER BY domain";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let domain: String = row.get(0)?;
        Ok((domain, unsigned(row, 1)?, time(row, 2)?, time(row, 3)?, row.get(4)?))
    })?;
    let mut destinations = Vec::new();
    for row in rows {
        let (domain, failures, since, closed_until, last_reply) = row?;
        let domain = domain
            .parse()
            .map_err(|error| failed("a destination of the queue", error))?;
        destinations.push(Destination {
            domain,
            failures,
            since,
            closed_until,
            last_reply,
        });
    }
    Ok(destinations)
}

/// What is about to be leased.
struct Chosen {
    keys: Vec<QueueKey>,
    taken: HashSet<QueueKey>,
    instead: HashMap<QueueKey, Instead>,
    items_max: usize,
}

impl Chosen {
    fn new(items_max: usize) -> Self {
        Self {
            keys: Vec::new(),
            taken: HashSet::new(),
            instead: HashMap::new(),
            items_max,
        }
    }

    fn room(&self) -> usize {
        self.items_max.saturating_sub(self.keys.len())
    }

    fn take(&mut self, key: QueueKey) {
        if self.taken.insert(key) {
            self.keys.push(key);
        }
    }

    /// Items that somebody gave up.
    fn given_up(&mut self, tx: &Connection) -> Result<(), StoreError> {
        let sql = "SELECT key, verdict FROM queue WHERE verdict IS NOT NULL AND lease = 0 ORDER BY key LIMIT ?1";
        let mut statement = tx.prepare_cached(sql)?;
        let mut rows = statement.query([integer(self.room())])?;
        while let Some(row) = rows.next()? {
            let key = QueueKey(row.get(0)?);
            self.instead.insert(key, Instead::Dropped(row.get(1)?));
            self.take(key);
        }
        Ok(())
    }

    /// Items of closed destinations that expired, or whose senders are to be told that they are late.
    fn overdue(&mut self, tx: &Connection, now: Timestamp, portion: &Portion) -> Result<(), StoreError> {
        let expired = "SELECT key FROM queue INDEXED BY queue_expires WHERE lease = 0 AND held = 0 AND domain = ?1 \
                       AND expires <= ?2 ORDER BY expires LIMIT ?3";
        let late = "SELECT key FROM queue WHERE lease = 0 AND held = 0 AND domain = ?1 AND delay_told IS NULL \
                    AND created <= ?2 ORDER BY created LIMIT ?3";
        for (domain, closed) in closed(tx)? {
            if closed.until <= now.as_millisecond() {
                continue;
            }
            for (sql, until) in [(expired, Some(now)), (late, portion.late_before)] {
                let Some(until) = until else { continue };
                let limit = self.room().min(portion.per_destination_max);
                let mut statement = tx.prepare_cached(sql)?;
                let mut rows = statement.query((&domain, until.as_millisecond(), integer(limit)))?;
                while let Some(row) = rows.next()? {
                    let key = QueueKey(row.get(0)?);
                    let why = || Instead::Closed(closed.last_reply.clone());
                    self.instead.entry(key).or_insert_with(why);
                    self.take(key);
                }
            }
        }
        Ok(())
    }

    /// Due items: an equal share for each destination, then what is left for those that have more.
    fn due(&mut self, tx: &Connection, now: Timestamp, portion: &Portion) -> Result<(), StoreError> {
        let candidates = candidates(tx, now, portion)?;
        let share = self.room().div_ceil(candidates.len().max(1));
        let share = share.min(portion.per_destination_max);
        let mut with_more = Vec::new();
        for domain in &candidates {
            if self.of_destination(tx, domain, now, share)? {
                with_more.push(domain);
            }
        }
        for domain in with_more {
            if self.room() == 0 {
                break;
            }
            // Those of the share are among them, and taken already.
            self.of_destination(tx, domain, now, portion.per_destination_max)?;
        }
        Ok(())
    }

    /// Up to `count` items of a destination, those already taken included; the others of a message follow its first. Whether the
    /// destination may have more.
    fn of_destination(
        &mut self,
        tx: &Connection,
        domain: &str,
        now: Timestamp,
        count: usize,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT key FROM queue INDEXED BY queue_ready WHERE lease = 0 AND held = 0 AND domain = ?1 AND due <= ?2 \
                   ORDER BY due, key LIMIT ?3";
        let mut statement = tx.prepare_cached(sql)?;
        let rows = statement.query_map((domain, now.as_millisecond(), integer(count)), |row| {
            row.get(0).map(QueueKey)
        })?;
        let oldest = rows.collect::<Result<Vec<_>, _>>()?;
        let may_have_more = oldest.len() >= count;
        let mut taken = oldest.iter().filter(|key| self.taken.contains(key)).count();
        for key in oldest {
            if self.room() == 0 || taken >= count {
                break;
            }
            if self.taken.contains(&key) {
                continue;
            }
            let wanted = self.room().min(count - taken);
            // Those taken already are among what is found.
            let found = companions(tx, (key, domain), now, wanted + self.keys.len())?;
            let fresh: Vec<_> = found.into_iter().filter(|key| !self.taken.contains(key)).collect();
            for key in fresh.into_iter().take(wanted) {
                self.take(key);
                taken += 1;
            }
        }
        Ok(may_have_more)
    }
}

/// Destinations with something due, those first that have the fewest deliveries under way, then those that wait longest.
fn candidates(tx: &Connection, now: Timestamp, portion: &Portion) -> Result<Vec<String>, StoreError> {
    let now = now.as_millisecond();
    let closed = closed(tx)?;
    let mut candidates: Vec<(String, i64)> = ready(tx)?
        .into_iter()
        .filter(|(domain, due)| {
            *due <= now
                && closed.get(domain).is_none_or(|closed| closed.until <= now)
                && portion.busy.iter().all(|busy| busy.as_str() != domain)
        })
        .collect();
    let under_way: HashMap<&str, usize> = portion
        .under_way
        .iter()
        .map(|(domain, count)| (domain.as_str(), *count))
        .collect();
    let under_way = |domain: &str| under_way.get(domain).copied().unwrap_or(0);
    candidates.sort_by_cached_key(|(domain, due)| (under_way(domain), *due));
    candidates.truncate(portion.destinations_max);
    Ok(candidates.into_iter().map(|(domain, _)| domain).collect())
}

/// Every destination that has items to lease at some time, with when the first of them is due: one step in the index for each.
fn ready(db: &Connection) -> Result<Vec<(String, i64)>, StoreError> {
    let sql = "SELECT domain, due FROM queue INDEXED BY queue_ready WHERE lease = 0 AND held = 0 AND domain > ?1 \
               ORDER BY domain, due LIMIT 1";
    let mut statement = db.prepare_cached(sql)?;
    let mut found: Vec<(String, i64)> = Vec::new();
    loop {
        let last = found.last().map_or("", |(domain, _)| domain.as_str());
        let next = statement
            .query_row([last], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match next {
            Some(next) => found.push(next),
            None => return Ok(found),
        }
    }
}

/// The item itself first, then what else is due and free of its message and domain. Put in order here: few messages have more than one
/// such item, and SQLite would set up a sorter for each.
fn companions(
    tx: &Connection,
    (key, domain): (QueueKey, &str),
    now: Timestamp,
    limit: usize,
) -> Result<Vec<QueueKey>, StoreError> {
    let sql = "SELECT key, due FROM queue INDEXED BY queue_message \
               WHERE message = (SELECT message FROM queue WHERE key = ?1) AND domain = ?2 \
               AND due <= ?3 AND lease = 0 AND held = 0 AND verdict IS NULL";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map((key.0, domain, now.as_millisecond()), |row| {
        let other = QueueKey(row.get(0)?);
        Ok((other != key, row.get::<_, i64>(1)?, other))
    })?;
    let mut found = rows.collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    found.truncate(limit);
    Ok(found.into_iter().map(|(_, _, key)| key).collect())
}

struct ClosedRow {
    /// Milliseconds.
    until: i64,
    last_reply: String,
}

fn closed(db: &Connection) -> Result<HashMap<String, ClosedRow>, StoreError> {
    let sql = "SELECT domain, closed_until, last_reply FROM destination";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let until = row.get(1)?;
        let last_reply = row.get(2)?;
        Ok((row.get(0)?, ClosedRow { until, last_reply }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn first_expiry(db: &Connection, domain: &str) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT min(expires) FROM queue INDEXED BY queue_expires WHERE lease = 0 AND held = 0 AND domain = ?1";
    Ok(db.prepare_cached(sql)?.query_row([domain], |row| row.get(0))?)
}

fn first_time(db: &Connection, sql: &str) -> Result<Option<i64>, StoreError> {
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
