//! The journal and the counters.
//!
//! The journal has no index by time: rows come nearly in the order of their times, but a clock may step. Instead the earliest and the latest
//! time of each stretch of rows is kept, and a read by time leaves out the stretches that hold none of what it asks for. Rows that are in no
//! stretch yet, and those of a stretch whose times are missing, are read: what is kept says only where nothing is.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::rows::{integer, time, unsigned};
use crate::store::{Carried, Count, CountKey, JournalFilter, JournalRow, StoreError};

/// Appends records.
pub(super) fn insert(tx: &Connection, records: &[JournalRow]) -> Result<(), StoreError> {
    let sql = "INSERT INTO journal (at, event, session, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    for record in records {
        let sequence = tx.prepare_cached(sql)?.insert((
            record.at.as_millisecond(),
            &record.event,
            &record.session,
            &record.reason,
            &record.detail,
        ))?;
        let stretch = Stretch::of(sequence);
        if stretch.last() == sequence {
            keep_times(tx, stretch)?;
        }
    }
    Ok(())
}

/// Sequences in a row that are left out of a read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch(i64);

impl Stretch {
    fn of(sequence: i64) -> Self {
        Self(sequence >> STRETCH_BITS)
    }

    fn first(self) -> i64 {
        self.0 << STRETCH_BITS
    }

    fn last(self) -> i64 {
        self.first() | ((1 << STRETCH_BITS) - 1)
    }
}

/// Keeps between which times the rows of a stretch were written. No row may come into it after.
fn keep_times(tx: &Connection, stretch: Stretch) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO journal_stretch (number, earliest, latest) \
               SELECT ?1, min(at), max(at) FROM journal WHERE sequence BETWEEN ?2 AND ?3 HAVING count(*) > 0";
    tx.prepare_cached(sql)?
        .execute((stretch.0, stretch.first(), stretch.last()))?;
    Ok(())
}

/// Computes what is kept of one stretch again; whether anything was.
pub(super) fn keep_times_again(tx: &Connection, number: i64) -> Result<bool, StoreError> {
    let was_kept = tx.execute("DELETE FROM journal_stretch WHERE number = ?1", [number])? > 0;
    let stretch = Stretch(number);
    if was_kept && stretch.last() <= last_given(tx)? {
        keep_times(tx, stretch)?;
    }
    Ok(was_kept)
}

/// Keeps the times of every stretch, where those of none are kept.
pub(super) fn keep_all_times(tx: &Connection) -> Result<(), StoreError> {
    let last = last_given(tx)?;
    let mut after = 0;
    loop {
        let sql = "SELECT min(sequence) FROM journal WHERE sequence > ?1";
        let next: Option<i64> = tx.prepare_cached(sql)?.query_row([after], |row| row.get(0))?;
        let Some(stretch) = next.map(Stretch::of).filter(|stretch| stretch.last() <= last) else {
            return Ok(());
        };
        keep_times(tx, stretch)?;
        after = stretch.last();
    }
}

/// What is kept, ascending: the number of each stretch, and its earliest and latest time.
#[cfg(test)]
pub(super) fn kept_times(db: &Connection) -> Result<Vec<(i64, i64, i64)>, StoreError> {
    let sql = "SELECT number, earliest, latest FROM journal_stretch ORDER BY number";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The last sequence given, whether its row is still there or not.
fn last_given(db: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'journal'";
    Ok(db.query_row(sql, [], |row| row.get(0))?)
}

/// Removes the rows up to this sequence.
pub(super) fn remove(tx: &Connection, sequence: i64) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM journal WHERE sequence <= ?1")?
        .execute([sequence])?;
    tx.prepare_cached("DELETE FROM journal_stretch WHERE number < ?1")?
        .execute([Stretch::of(sequence.saturating_add(1)).0])?;
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
    let mut rows = Vec::new();
    ranges(db, filter, |range| {
        rows.append(&mut read(db, filter, range, filter.limit - rows.len())?);
        Ok(rows.len() < filter.limit)
    })?;
    Ok(rows)
}

/// What is behind the first sequence, up to the second if there is one.
type Range = (i64, Option<i64>);

/// Hands over the ranges that may hold what is asked for, ascending, as long as `take` wants more.
fn ranges(
    db: &Connection,
    filter: &JournalFilter,
    mut take: impl FnMut(Range) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut after = filter.after_sequence;
    let is_by_session = filter.session.as_ref().is_some_and(|session| !session.is_empty());
    // Rows of sessions are found by their index.
    if (filter.since.is_some() || filter.until.is_some()) && !is_by_session && filter.session_prefix.is_empty() {
        // NULL, which leaves nothing out, where a time is not asked for.
        let sql = "SELECT number, coalesce(latest < ?2, 0) OR coalesce(earliest >= ?3, 0) FROM journal_stretch \
                   WHERE number >= ?1 ORDER BY number";
        let mut statement = db.prepare_cached(sql)?;
        let [since, until] = [filter.since, filter.until].map(|at| at.map(Timestamp::as_millisecond));
        let mut stretches = statement.query((Stretch::of(after).0, since, until))?;
        while let Some(row) = stretches.next()? {
            let (stretch, is_left_out) = (Stretch(row.get(0)?), row.get::<_, bool>(1)?);
            let end = if is_left_out {
                stretch.first().saturating_sub(1)
            } else {
                stretch.last()
            };
            // What is wanted may be found long before the last stretch.
            let is_enough = is_left_out || end.saturating_sub(after) >= ROWS_AT_ONCE;
            if is_enough && end > after && !take((after, Some(end)))? {
                return Ok(());
            }
            if is_enough {
                after = after.max(stretch.last());
            }
        }
    }
    take((after, None)).map(drop)
}

/// Rows of one range.
fn read(db: &Connection, filter: &JournalFilter, range: Range, limit: usize) -> Result<Vec<JournalRow>, StoreError> {
    let (sql, values) = query(filter, range, limit);
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), journal_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn query(filter: &JournalFilter, (after, through): Range, limit: usize) -> (String, Vec<Value>) {
    let mut sql = String::from("SELECT sequence, at, event, session, reason, detail FROM journal WHERE sequence > ?");
    let mut values = vec![Value::from(after)];
    // With an end, even if it is far away, SQLite takes the range for smaller than one of session names.
    if let Some(through) = through {
        sql.push_str(" AND sequence <= ?");
        values.push(through.into());
    }
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
    values.push(integer(limit).into());
    (sql, values)
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

/// 256 rows: one commit in so many rows writes a page for them, and of 10 million rows there are 39,000, less than a megabyte.
const STRETCH_BITS: u32 = 8;
/// A page of `vaguemestre journal` is less, so it never looks at the times of many stretches.
const ROWS_AT_ONCE: i64 = 4096;
const COUNTER: &str = "INSERT INTO counter (month, direction, establishment, entity, box_type, class, messages, recipients) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE \
                       SET messages = messages + excluded.messages, recipients = recipients + excluded.recipients";
const CARRIED: &str = "INSERT INTO carried (month, direction, establishment, entity, box_type, class, messages, recipients) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE \
                       SET messages = messages + excluded.messages, recipients = recipients + excluded.recipients";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use tempfile::tempdir;

    use super::*;
    use crate::store::LocalDisk;
    use crate::store::sqlite::schema::{self, Database};

    const STRETCH_ROWS: i64 = 1 << STRETCH_BITS;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn open(folder: &Path) -> Connection {
        schema::open_writer(&Database::new(folder.join("store.db"), &LocalDisk), 1).unwrap()
    }

    /// A journal whose rows have these times, in this order.
    fn journal_of(folder: &Path, times: impl IntoIterator<Item = i64>) -> Connection {
        let db = open(folder);
        let row = |ms: i64| JournalRow {
            sequence: 0,
            at: at(ms),
            event: if ms % 3 == 0 { "a" } else { "b" }.to_owned(),
            session: if ms % 2 == 0 { "s" } else { "" }.to_owned(),
            reason: String::new(),
            detail: "{}".to_owned(),
        };
        let rows: Vec<_> = times.into_iter().map(row).collect();
        db.execute_batch("BEGIN").unwrap();
        insert(&db, &rows).unwrap();
        db.execute_batch("COMMIT").unwrap();
        db
    }

    fn by_time(since: Option<i64>, until: Option<i64>) -> JournalFilter {
        JournalFilter {
            since: since.map(at),
            until: until.map(at),
            limit: usize::MAX,
            ..JournalFilter::default()
        }
    }

    fn sequences(db: &Connection, filter: &JournalFilter) -> Vec<i64> {
        let rows = journal(db, filter).unwrap();
        rows.into_iter().map(|row| row.sequence).collect()
    }

    /// How many rows are read for this, wanted or not.
    fn looked_at(db: &Connection, filter: &JournalFilter) -> i64 {
        let mut all = 0;
        ranges(db, filter, |(after, through)| {
            let sql = "SELECT count(*) FROM journal WHERE sequence > ?1 AND sequence <= coalesce(?2, sequence)";
            all += db.query_row(sql, (after, through), |row| row.get::<_, i64>(0))?;
            Ok(true)
        })
        .unwrap();
        all
    }

    #[test]
    fn a_read_by_time_leaves_out_what_is_elsewhere() {
        let folder = tempdir().unwrap();
        let db = journal_of(folder.path(), 1..=100 * STRETCH_ROWS);
        assert_eq!(looked_at(&db, &by_time(None, None)), 100 * STRETCH_ROWS);
        let ahead = by_time(Some(1_000_000), None);
        assert_eq!(looked_at(&db, &ahead), 1, "the row that is in no full stretch");
        assert!(sequences(&db, &ahead).is_empty());
        let [since, until] = [50, 52].map(|stretch| stretch * STRETCH_ROWS);
        assert_eq!(looked_at(&db, &by_time(Some(since), None)), 50 * STRETCH_ROWS + 1);
        let between = by_time(Some(since), Some(until));
        assert_eq!(looked_at(&db, &between), 2 * STRETCH_ROWS + 1);
        assert_eq!(sequences(&db, &between), (since..until).collect::<Vec<_>>());
        let rest = JournalFilter {
            after_sequence: since + 10,
            ..between.clone()
        };
        assert_eq!(looked_at(&db, &rest), 2 * STRETCH_ROWS - 10);
        for one in [50 * STRETCH_ROWS, 51 * STRETCH_ROWS - 1] {
            let edge = by_time(Some(one), Some(one + 1));
            assert_eq!(sequences(&db, &edge), [one], "the first and the last of a stretch");
        }
        let mut taken = Vec::new();
        let since_ever = by_time(Some(0), None);
        ranges(&db, &since_ever, |range| {
            taken.push(range);
            Ok(false)
        })
        .unwrap();
        let end = ROWS_AT_ONCE + STRETCH_ROWS - 1;
        assert_eq!(taken, [(0, Some(end))], "no more than is wanted");
        let first = JournalFilter { limit: 3, ..between };
        assert_eq!(sequences(&db, &first), [since, since + 1, since + 2]);
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing() {
        let folder = tempdir().unwrap();
        // It was ahead by a million for one row, and is set back by half of its way later.
        let half = 10 * STRETCH_ROWS;
        let leap = 3 * STRETCH_ROWS + 7;
        let times = (0..2 * half).map(|row| if row == leap { 1_000_000 } else { row });
        let db = journal_of(folder.path(), times.chain(half..2 * half));
        let late = sequences(&db, &by_time(Some(2 * half - 5), None));
        let expected = [
            leap + 1,
            2 * half - 4,
            2 * half - 3,
            2 * half - 2,
            2 * half - 1,
            2 * half,
        ];
        assert_eq!(late[..6], expected);
        assert_eq!(late[6..], (3 * half - 4..=3 * half).collect::<Vec<_>>());
        assert_eq!(sequences(&db, &by_time(Some(500_000), None)), [leap + 1]);
        assert!(looked_at(&db, &by_time(Some(500_000), None)) <= 2 * STRETCH_ROWS);
    }

    #[test]
    fn a_stretch_whose_times_are_missing_is_read() {
        let folder = tempdir().unwrap();
        let db = journal_of(folder.path(), 1..=10 * STRETCH_ROWS);
        let filter = by_time(Some(5 * STRETCH_ROWS), Some(6 * STRETCH_ROWS));
        let before = sequences(&db, &filter);
        assert_eq!(before.len(), usize::try_from(STRETCH_ROWS).unwrap());
        db.execute("DELETE FROM journal_stretch WHERE number IN (2, 5)", [])
            .unwrap();
        assert_eq!(sequences(&db, &filter), before);
        assert_eq!(looked_at(&db, &filter), 2 * STRETCH_ROWS + 1);
        let all = kept_times(&db).unwrap();
        db.execute("DELETE FROM journal_stretch", []).unwrap();
        assert_eq!(sequences(&db, &filter), before);
        keep_all_times(&db).unwrap();
        assert_eq!(kept_times(&db).unwrap().len(), all.len() + 2);
    }

    #[test]
    fn the_times_of_a_stretch_go_with_its_rows_and_not_before() {
        let folder = tempdir().unwrap();
        let db = journal_of(folder.path(), 1..=3 * STRETCH_ROWS);
        remove(&db, STRETCH_ROWS - 2).unwrap();
        assert_eq!(kept_times(&db).unwrap().len(), 3);
        remove(&db, STRETCH_ROWS - 1).unwrap();
        assert_eq!(kept_times(&db).unwrap()[0].0, 1);
        remove(&db, 3 * STRETCH_ROWS).unwrap();
        assert_eq!(kept_times(&db).unwrap(), []);
    }

    #[test]
    fn times_of_a_stretch_that_is_not_full_are_not_kept() {
        let folder = tempdir().unwrap();
        let db = journal_of(folder.path(), 1..=2 * STRETCH_ROWS);
        db.execute("INSERT INTO journal_stretch VALUES (2, 0, 0)", []).unwrap();
        assert!(keep_times_again(&db, 2).unwrap());
        assert!(!keep_times_again(&db, 2).unwrap());
        db.execute("UPDATE journal_stretch SET latest = 0 WHERE number = 1", [])
            .unwrap();
        assert!(keep_times_again(&db, 1).unwrap());
        let expected = [(0, 1, STRETCH_ROWS - 1), (1, STRETCH_ROWS, 2 * STRETCH_ROWS - 1)];
        assert_eq!(kept_times(&db).unwrap(), expected);
    }

    #[test]
    fn reads_by_time_go_by_sequence_and_reads_by_session_by_their_index() {
        let folder = tempdir().unwrap();
        let db = open(folder.path());
        let plan = |filter: &JournalFilter, through| -> Vec<String> {
            let (sql, values) = query(filter, (1, through), 10);
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let lines = statement.query_map(params_from_iter(values), |row| row.get("detail"));
            lines.unwrap().collect::<Result<_, _>>().unwrap()
        };
        let timed = by_time(Some(1), Some(2));
        let by_sequence = "SEARCH journal USING INTEGER PRIMARY KEY (rowid>?)";
        assert_eq!(plan(&timed, None), [by_sequence]);
        let between = "SEARCH journal USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
        assert_eq!(plan(&timed, Some(9)), [between]);
        let of_session = JournalFilter {
            session: Some("s".to_owned()),
            ..timed.clone()
        };
        let by_index = "SEARCH journal USING INDEX journal_session (session=? AND rowid>?)";
        assert_eq!(plan(&of_session, None), [by_index]);
        let begun = JournalFilter {
            session_prefix: "s".to_owned(),
            ..timed
        };
        let by_names = "SEARCH journal USING INDEX journal_session (session>? AND session<?)";
        assert_eq!(plan(&begun, None)[0], by_names);
        let db = journal_of(folder.path(), 1_000..2_000);
        assert_eq!(looked_at(&db, &of_session), 1_000, "the index needs one range");
        assert_eq!(looked_at(&db, &begun), 1_000);
    }

    /// A clock that goes on by little, and now and then steps either way.
    fn times() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![60 => -3_i64..10, 1 => -2_000_i64..3_000];
        proptest::collection::vec(step, 0..2_000).prop_map(|steps| {
            let mut now = 10_000;
            let go = |step| {
                now = i64::max(now + step, 0);
                now
            };
            steps.into_iter().map(go).collect()
        })
    }

    fn filters() -> impl Strategy<Value = JournalFilter> {
        let time = || proptest::option::of((5_000..20_000_i64).prop_map(at));
        let session = proptest::option::weighted(0.3, prop_oneof![Just(String::new()), Just("s".to_owned())]);
        let limit = prop_oneof![Just(usize::MAX), 0..300_usize];
        let events = proptest::collection::vec(Just("a".to_owned()), 0..2);
        (time(), time(), session, 0..1_500_i64, limit, events).prop_map(
            |(since, until, session, after_sequence, limit, events)| JournalFilter {
                since,
                until,
                events,
                session,
                after_sequence,
                limit,
                ..JournalFilter::default()
            },
        )
    }

    fn is_asked_for(row: &JournalRow, filter: &JournalFilter) -> bool {
        row.sequence > filter.after_sequence
            && filter.since.is_none_or(|since| row.at >= since)
            && filter.until.is_none_or(|until| row.at < until)
            && filter.session.as_ref().is_none_or(|session| row.session == *session)
            && (filter.events.is_empty() || filter.events.contains(&row.event))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_read_finds_what_is_asked_for_whatever_the_clock_did(
            times in times(),
            asked in proptest::collection::vec(filters(), 20),
        ) {
            let folder = tempdir().unwrap();
            let db = journal_of(folder.path(), times.iter().copied());
            let all = journal(&db, &by_time(None, None)).unwrap();
            // Every other time asked for is that of a row.
            let snapped = |asked: Timestamp| {
                let place = usize::try_from(asked.as_millisecond()).unwrap() % (2 * times.len() + 1);
                times.get(place).map_or(asked, |ms| at(*ms))
            };
            for mut filter in asked {
                filter.since = filter.since.map(snapped);
                filter.until = filter.until.map(snapped);
                let expected: Vec<_> = all.iter().filter(|row| is_asked_for(row, &filter)).take(filter.limit).cloned().collect();
                prop_assert_eq!(journal(&db, &filter).unwrap(), expected, "{:?}", filter);
            }
        }
    }
}
