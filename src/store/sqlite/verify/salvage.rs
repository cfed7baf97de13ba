//! A new database from the rows of a damaged one that can still be read. The old one is kept as it was, in the folder for damaged things.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::super::rows::{execute, failed};
use super::super::schema::{self, Database};
use super::super::{DATABASE, Options, journal, lock};
use super::Aside;
use crate::store::StoreError;
use crate::store::blobs::Blobs;

/// What became of a damaged database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Rows that were read, by table.
    pub rows: Vec<(String, u64)>,
    /// Tables of which some rows may be lost.
    pub torn: Vec<String>,
    /// Body files that no row names any more, moved beside the old database.
    pub files: u64,
}

/// Builds the database of the store in `folder` again if SQLite finds it damaged; `None` when it does not. Nothing else may have the
/// folder open.
///
/// # Errors
/// [`StoreError::InUse`] while a process holds the folder; or nothing could be read at all.
pub fn salvage(folder: &Path, aside: &Aside) -> Result<Option<Salvaged>, StoreError> {
    let held = lock(folder)?;
    let options = Options::default();
    let path = folder.join(DATABASE);
    let old = Database::new(path.clone(), &*options.disk);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let damaged = old.connect(flags)?;
    let found = integrity(&damaged);
    if found == Integrity::Whole {
        return Ok(None);
    }
    let is_of_this_version = schema::check_version_to_salvage(&damaged, &path)?;
    // What REINDEX repairs needs no new database, if it can be opened.
    if found == Integrity::Index && is_of_this_version {
        return Ok(None);
    }
    let io = |error: io::Error| failed("the database could not be built again", error);
    let beside = folder.join(REBUILT);
    for name in [REBUILT.to_owned(), format!("{REBUILT}-wal"), format!("{REBUILT}-shm")] {
        remove(&folder.join(name)).map_err(io)?;
    }
    let new = schema::open_writer(&Database::new(beside.clone(), &*options.disk), 1)?;
    let mut salvaged = Salvaged::default();
    // What rows say of others is made anew, from those that are left.
    for table in tables(&new)?.into_iter().filter(|table| table != "journal_stretch") {
        let (rows, is_whole) = copy(&damaged, &new, &table)?;
        salvaged.rows.push((table.clone(), rows));
        if !is_whole {
            salvaged.torn.push(table);
        }
    }
    execute(&new, "BEGIN IMMEDIATE")?;
    journal::keep_all_times(&new)?;
    execute(&new, "COMMIT")?;
    new.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    salvaged.files = unnamed(folder, &new, aside)?;
    new.close().map_err(|(_, error)| error)?;
    drop(damaged);
    let kept = aside.made()?;
    for name in [
        DATABASE.to_owned(),
        format!("{DATABASE}-wal"),
        format!("{DATABASE}-shm"),
    ] {
        match fs::rename(folder.join(&name), kept.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    options.disk.rename(&beside, &path).map_err(io)?;
    options
        .disk
        .sync_folder(kept)
        .and_then(|()| options.disk.sync_folder(folder))
        .map_err(io)?;
    drop(held);
    Ok(Some(salvaged))
}

/// What SQLite says of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Integrity {
    Whole,
    /// An index is not what its table says.
    Index,
    Damaged,
}

fn integrity(db: &Connection) -> Integrity {
    let check = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    match check.as_deref() {
        Ok("ok") => Integrity::Whole,
        Ok(line) if line.contains("index") => Integrity::Index,
        _ => Integrity::Damaged,
    }
}

fn tables(db: &Connection) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    let mut statement = db.prepare(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// A table with the columns of its key, and whether SQLite numbers its rows.
struct Table {
    name: String,
    columns: Vec<String>,
    key: Vec<String>,
    has_rowid: bool,
}

impl Table {
    fn of(db: &Connection, name: &str) -> Result<Self, StoreError> {
        let mut statement = db.prepare(&format!("PRAGMA table_info({name})"))?;
        let columns = statement
            .query_map([], |row| Ok((row.get::<_, String>(1)?, row.get::<_, i64>(5)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        let mut key: Vec<_> = columns.iter().filter(|(_, place)| *place > 0).collect();
        key.sort_by_key(|(_, place)| *place);
        let key = key.into_iter().map(|(name, _)| name.clone()).collect();
        let has_rowid = db.prepare(&format!("SELECT rowid FROM {name}")).is_ok();
        Ok(Self {
            name: name.to_owned(),
            columns: columns.into_iter().map(|(name, _)| name).collect(),
            key,
            has_rowid,
        })
    }

    fn select(&self, rest: &str) -> String {
        let first = if self.has_rowid { "rowid" } else { "0" };
        format!("SELECT {first}, {} FROM {} {rest}", self.columns.join(", "), self.name)
    }
}

/// Copies what can be read; whether that was everything.
fn copy(from: &Connection, to: &Connection, name: &str) -> Result<(u64, bool), StoreError> {
    let table = Table::of(to, name)?;
    let marks = vec!["?"; table.columns.len()].join(", ");
    // `number` has its rows from the start.
    let insert = format!(
        "INSERT OR REPLACE INTO {name} ({}) VALUES ({marks})",
        table.columns.join(", ")
    );
    execute(to, "BEGIN IMMEDIATE")?;
    let whole = if table.has_rowid {
        forward(from, to, (&table, &insert))
    } else {
        both_ways(from, to, (&table, &insert))
    };
    execute(to, "COMMIT")?;
    let rows: i64 = to.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0))?;
    Ok((rows.cast_unsigned(), whole?))
}

/// By number, with steps over what cannot be read.
fn forward(from: &Connection, to: &Connection, (table, insert): (&Table, &str)) -> Result<bool, StoreError> {
    let sql = table.select("WHERE rowid > ?1 ORDER BY rowid");
    let (mut after, mut step, mut is_whole) = (i64::MIN, 1_i64, true);
    loop {
        let mut last = after;
        let ended = pour(from, to, (&sql, insert), &[Value::from(after)], &mut last)?;
        if ended {
            return Ok(is_whole);
        }
        is_whole = false;
        step = if last > after { 1 } else { step.saturating_mul(2) };
        after = last.max(0).saturating_add(step);
        if step > STEP_MAX {
            return Ok(false);
        }
    }
}

/// From the first and from the last row, as far as each way goes.
fn both_ways(from: &Connection, to: &Connection, (table, insert): (&Table, &str)) -> Result<bool, StoreError> {
    let mut last = 0;
    let order = table.key.join(", ");
    if pour(
        from,
        to,
        (&table.select(&format!("ORDER BY {order}")), insert),
        &[],
        &mut last,
    )? {
        return Ok(true);
    }
    let order = table.key.join(" DESC, ");
    let sql = table.select(&format!("ORDER BY {order} DESC"));
    pour(from, to, (&sql, insert), &[], &mut last)?;
    Ok(false)
}

/// Copies rows until the end or until one cannot be read; whether it came to the end.
fn pour(
    from: &Connection,
    to: &Connection,
    (select, insert): (&str, &str),
    values: &[Value],
    last: &mut i64,
) -> Result<bool, StoreError> {
    let Ok(mut statement) = from.prepare(select) else {
        return Ok(false);
    };
    let mut insert = to.prepare_cached(insert)?;
    let columns = statement.column_count();
    let Ok(mut rows) = statement.query(params_from_iter(values)) else {
        return Ok(false);
    };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        };
        let values: Result<Vec<Value>, _> = (1..columns).map(|column| row.get(column)).collect();
        let (Ok(values), Ok(number)) = (values, row.get(0)) else {
            return Ok(false);
        };
        // A row that the new table does not take (a NULL where there must be none) is as lost as one that cannot be read.
        if let Err(error) = insert.execute(params_from_iter(values)) {
            tracing::warn!(%error, "a row of the damaged database makes no sense and is left out");
        }
        *last = number;
    }
}

/// Moves body files that no row names beside the old database: the next start would remove them.
fn unnamed(folder: &Path, db: &Connection, aside: &Aside) -> Result<u64, StoreError> {
    let options = Options::default();
    let blobs = Blobs::new(folder, u64::MAX, options.disk);
    let io = |error: io::Error| failed("body files could not be looked at", error);
    let mut moved = 0;
    for (path, name) in blobs.list().map_err(io)? {
        let Some(name) = name else { continue };
        let is_named: bool = db.query_row(
            "SELECT EXISTS (SELECT 1 FROM message WHERE file = ?1)",
            [name.to_string()],
            |row| row.get(0),
        )?;
        if !is_named {
            let to = aside.made()?;
            moved += u64::from(blobs.move_aside(&path, to).map_err(io)?);
        }
    }
    Ok(moved)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The new database until it takes the place of the old one.
const REBUILT: &str = "store.db.rebuilt";
/// Row numbers that are tried over a hole.
const STEP_MAX: i64 = 1 << 24;
