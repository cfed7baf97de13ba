//! Deliveries that must not be made twice. Only a bounded number is remembered, each until its own end.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::rows::integer;
use crate::store::{Delivery, Once, StoreError};

/// Which keys were used and are not forgotten at `now_ms`, in the order asked.
pub(super) fn repeats(db: &Connection, keys: &[[u8; 32]], now_ms: i64) -> Result<Vec<bool>, StoreError> {
    let mut statement = db.prepare_cached("SELECT 1 FROM delivered_once WHERE key = ?1 AND until > ?2")?;
    let known = keys
        .iter()
        .map(|key| statement.query_row((key, now_ms), |_| Ok(())).optional());
    known.map(|row| Ok(row?.is_some())).collect()
}

/// Every key that is not forgotten at `now_ms`.
pub(super) fn remembered(db: &Connection, now_ms: i64) -> Result<Vec<Once>, StoreError> {
    let mut statement = db.prepare_cached("SELECT key, until FROM delivered_once WHERE until > ?1")?;
    let rows = statement.query_map([now_ms], |row| {
        let until = Timestamp::from_millisecond(row.get(1)?).unwrap_or(Timestamp::MAX);
        Ok(Once {
            key: row.get(0)?,
            until,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first `limit` keys behind this sequence, forgotten or not, each with its own.
pub(super) fn keys_after(db: &Connection, sequence: i64, limit: usize) -> Result<Vec<(i64, [u8; 32])>, StoreError> {
    let sql = "SELECT sequence, key FROM delivered_once WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((sequence, integer(limit)), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes up keys that another store remembers; those it has stay as they are.
pub(super) fn remember(tx: &Connection, keys: &[Once], entered: &mut Entered) -> Result<(), StoreError> {
    let sql = "INSERT INTO delivered_once (key, until) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
    let mut statement = tx.prepare_cached(sql)?;
    for once in keys {
        statement.execute((&once.key, once.until.as_millisecond()))?;
        entered.keys.push(once.key);
    }
    Ok(())
}

/// Forgets keys that are past their end, at most `limit` of the oldest; how many were looked at and gone.
pub(super) fn forget(tx: &Connection, now_ms: i64, limit: usize) -> Result<usize, StoreError> {
    let sql = "DELETE FROM delivered_once WHERE until <= ?1 \
               AND sequence IN (SELECT sequence FROM delivered_once ORDER BY sequence LIMIT ?2)";
    Ok(tx.prepare_cached(sql)?.execute((now_ms, integer(limit)))?)
}

/// Keys used in one transaction.
#[derive(Debug, Default)]
pub(super) struct Entered {
    /// All that it may have put into the table, also taken up from another store: [`super::known`] learns them before the commit.
    pub(super) keys: Vec<[u8; 32]>,
    count: usize,
    /// The sequence of the last.
    last: i64,
    /// When it was used, in milliseconds.
    at_ms: i64,
}

/// Uses the keys of these deliveries; fails with [`StoreError::Repeated`] when one was used before.
pub(super) fn enter(tx: &Connection, deliveries: &[Delivery], entered: &mut Entered) -> Result<(), StoreError> {
    for delivery in deliveries {
        if let Some(once) = &delivery.once {
            let at_ms = delivery.internal_date.as_millisecond();
            entered.last = enter_one(tx, once, at_ms)?;
            entered.at_ms = at_ms;
            entered.count += 1;
            entered.keys.push(once.key);
        }
    }
    Ok(())
}

/// Makes up for the keys that a transaction used: at its end, since those that come together are one step then. Oldest first; a row that
/// lasts longer than those behind it only keeps them a little longer.
pub(super) fn make_room(tx: &Connection, entered: &Entered) -> Result<(), StoreError> {
    if entered.count == 0 {
        return Ok(());
    }
    forget(tx, entered.at_ms, entered.count.saturating_mul(FORGOTTEN_FOR_EACH))?;
    tx.prepare_cached("DELETE FROM delivered_once WHERE sequence <= ?1")?
        .execute([entered.last - integer(KEYS_MAX)])?;
    Ok(())
}

/// Returns its sequence.
fn enter_one(tx: &Connection, once: &Once, now_ms: i64) -> Result<i64, StoreError> {
    let sql = "INSERT INTO delivered_once (key, until) VALUES (?1, ?2) \
               ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE until <= ?3 RETURNING sequence";
    let sequence: Option<i64> = tx
        .prepare_cached(sql)?
        .query_row((&once.key, once.until.as_millisecond(), now_ms), |row| row.get(0))
        .optional()?;
    sequence.ok_or(StoreError::Repeated)
}

/// More than one, so that old keys go faster than new ones come.
const FORGOTTEN_FOR_EACH: usize = 4;
/// About 120 MB. An operator that takes more mail than this within the time a key is kept recognises the latest only.
const KEYS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::LocalDisk;
    use crate::store::sqlite::schema::{self, Database};

    fn open(path: &Path) -> Connection {
        schema::open_writer(&Database::new(path.to_owned(), &LocalDisk), 1).unwrap()
    }

    fn key(number: u32) -> [u8; 32] {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// A transaction that uses one key.
    fn use_one(db: &Connection, once: &Once, at_ms: i64) {
        let entered = Entered {
            keys: vec![once.key],
            count: 1,
            last: enter_one(db, once, at_ms).unwrap(),
            at_ms,
        };
        make_room(db, &entered).unwrap();
    }

    fn kept(db: &Connection) -> i64 {
        db.query_row("SELECT count(*) FROM delivered_once", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn keys_that_are_past_their_end_go_as_new_ones_come() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder.path().join("store.db"));
        let enter = |number: u32, now_ms: i64| {
            let until = Timestamp::from_millisecond(now_ms + 50).unwrap();
            let once = Once {
                key: key(number),
                until,
            };
            use_one(&db, &once, now_ms);
        };
        for number in 0..100 {
            enter(number, 0);
        }
        assert_eq!(kept(&db), 100);
        for number in 100..150 {
            enter(number, 60);
        }
        assert_eq!(kept(&db), 50, "only those that are still known");
        assert_eq!(repeats(&db, &[key(0), key(120)], 60).unwrap(), [false, true]);
    }

    #[test]
    fn a_transaction_of_many_keys_makes_room_for_all_of_them_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder.path().join("store.db"));
        let once = |number, end| Once {
            key: key(number),
            until: Timestamp::from_millisecond(end).unwrap(),
        };
        for number in 0..20 {
            use_one(&db, &once(number, 50), 0);
        }
        make_room(&db, &Entered::default()).unwrap();
        assert_eq!(kept(&db), 20, "nothing was used");
        let last = (20..23)
            .map(|number| enter_one(&db, &once(number, 500), 60).unwrap())
            .last();
        let entered = Entered {
            keys: (20..23).map(key).collect(),
            count: 3,
            last: last.unwrap(),
            at_ms: 60,
        };
        make_room(&db, &entered).unwrap();
        assert_eq!(kept(&db), 20 + 3 - 3 * i64::try_from(FORGOTTEN_FOR_EACH).unwrap());
    }

    #[test]
    fn keys_go_from_one_store_to_another_and_stay_what_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["a", "b"].map(|name| open(&folder.path().join(name)));
        let until = |ms| Timestamp::from_millisecond(ms).unwrap();
        for (number, end) in [(1, 50), (2, 500), (3, 500)] {
            let once = Once {
                key: key(number),
                until: until(end),
            };
            enter_one(&from, &once, 0).unwrap();
        }
        let own = Once {
            key: key(3),
            until: until(900),
        };
        enter_one(&to, &own, 0).unwrap();
        for _ in 0..2 {
            remember(&to, &remembered(&from, 60).unwrap(), &mut Entered::default()).unwrap();
        }
        assert_eq!(
            repeats(&to, &[key(1), key(2), key(3)], 60).unwrap(),
            [false, true, true]
        );
        assert_eq!(repeats(&to, &[key(2), key(3)], 600).unwrap(), [false, true]);
    }

    #[test]
    fn only_so_many_keys_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder.path().join("store.db"));
        let once = |number| Once {
            key: key(number),
            until: Timestamp::from_millisecond(50).unwrap(),
        };
        use_one(&db, &once(1), 0);
        // As if the bound had just been reached.
        let sql = "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'delivered_once'";
        db.execute(sql, [integer(KEYS_MAX)]).unwrap();
        use_one(&db, &once(2), 0);
        assert_eq!(repeats(&db, &[key(1), key(2)], 0).unwrap(), [false, true]);
    }
}
