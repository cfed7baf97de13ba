//! Opening connections, and the versions of the data format.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::rows::failed;
use crate::store::{Disk, StoreError};

/// Version of the data format this program writes: the number of [`MIGRATIONS`].
pub(super) const VERSION: u32 = 10;

/// Its tables have the columns of this version's; what it does not have is made anew from their rows.
const LIKE_THIS_VERSION: u32 = 9;

/// Each brings the data from the version before to its own.
const MIGRATIONS: [&str; VERSION as usize] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
    include_str!("migrations/0009.sql"),
    include_str!("migrations/0010.sql"),
];

/// Where the database is, and by which VFS SQLite reaches it; `None`: its own for this system.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    vfs: Option<String>,
}

impl Database {
    pub(super) fn new(path: PathBuf, disk: &dyn Disk) -> Self {
        Self {
            path,
            vfs: disk.vfs().map(str::to_owned),
        }
    }

    /// Its log.
    pub(super) fn log(&self) -> PathBuf {
        self.beside("-wal")
    }

    /// What SQLite keeps of the log in shared memory.
    pub(super) fn log_index(&self) -> PathBuf {
        self.beside("-shm")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    pub(super) fn connect(&self, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
        self.connect_by(self.vfs.as_deref(), flags)
    }

    fn connect_by(&self, vfs: Option<&str>, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
        let connection = match vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs),
            None => Connection::open_with_flags(&self.path, flags),
        }?;
        // Plans do not follow the values bound. Without it SQLite compiles a statement anew at each value that might have had another plan.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    }
}

/// Opens a connection that writes, creating or migrating the database. `uid_validity_first` goes into a new database.
pub(super) fn open_writer(database: &Database, uid_validity_first: u32) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = database.connect(flags)?;
    // Given up on the way, it leaves the log as it is, and where it is: another descriptor may be open on it.
    never_copy_at_close(&connection)?;
    connection.busy_timeout(BUSY_MAX)?;
    // Takes effect only before the first table is made.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    write_with_care(&connection)?;
    migrate(&mut connection, &database.path, uid_validity_first)?;
    copy_at_close(&connection)?;
    Ok(connection)
}

/// Opens the connection that commits groups, on a database that is as [`open_writer`] leaves it. What a commit adds to the log is one write,
/// and its sync is left to `syncer`; the header of a log that starts over is still synced before anything is written behind it,
/// the log before a checkpoint copies from it, and the database before the log starts over.
pub(super) fn open_committer(database: &Database) -> Result<Connection, StoreError> {
    let vfs = store_vfs::gathering(database.vfs.as_deref())
        .map_err(|error| failed("SQLite's file layer could not be set up", error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = database.connect_by(Some(&vfs), flags)?;
    never_copy_at_close(&connection)?;
    connection.busy_timeout(BUSY_MAX)?;
    write_with_care(&connection)?;
    // By this the layer tells a commit's sync, which it leaves to others, from every other; on Linux the sync itself is the same.
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    Ok(connection)
}

/// Opens the connection that copies the log into the database beside the writer. What it copies is synced bit by bit: the syncs of
/// commits would wait for one of all of it.
pub(super) fn open_copier(database: &Database) -> Result<Connection, StoreError> {
    let vfs = store_vfs::pacing(database.vfs.as_deref())
        .map_err(|error| failed("SQLite's file layer could not be set up", error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = database.connect_by(Some(&vfs), flags)?;
    // FULL makes a checkpoint sync the log before it copies, and the database once all is copied.
    connection.pragma_update(None, "synchronous", "FULL")?;
    never_copy_at_close(&connection)?;
    Ok(connection)
}

/// What connections that write have in common.
fn write_with_care(connection: &Connection) -> Result<(), StoreError> {
    // FULL asks for a sync of the log at every commit. That is also what ends the write of a committer: less would leave commits unwritten.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Checkpoints are run by `upkeep`, away from the commits.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}

/// Has the connection be closed without a checkpoint, which would copy what a failed sync left in the log.
pub(super) fn never_copy_at_close(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// The last close of a store: the log is copied and goes.
pub(super) fn copy_at_close(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Opens one connection that reads. It never waits for the writer.
pub(super) fn open_reader(database: &Database) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = database.connect(flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "cache_size", READER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// Checks that the database is of the version this program knows.
pub(super) fn check_version(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    match version(connection)? {
        VERSION => Ok(()),
        found if found > VERSION => Err(newer(path, found)),
        found => Err(failed(
            &format!(
                "{} is of version {found} of the data format, and only opening it for writing brings it to {VERSION}",
                path.display()
            ),
            "older data format",
        )),
    }
}

/// Checks that rows can be taken from the database as they are, though an opening may be unable to bring it to this version: what brings it
/// there reads pages that may be damaged. Whether it is of this version.
pub(super) fn check_version_to_salvage(connection: &Connection, path: &Path) -> Result<bool, StoreError> {
    match version(connection)? {
        LIKE_THIS_VERSION => Ok(false),
        _ => check_version(connection, path).map(|()| true),
    }
}

fn migrate(connection: &mut Connection, path: &Path, uid_validity_first: u32) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(newer(path, found));
    }
    for (to, script) in (1u32..).zip(MIGRATIONS).filter(|(to, _)| *to > found) {
        let tx = connection.transaction()?;
        tx.execute_batch(script)?;
        if to == 1 {
            // What these hold is the last number given.
            let sql = "INSERT INTO number (name, value) VALUES ('run', 0), ('lease', 0), ('uid_validity', ?1)";
            tx.execute(sql, [i64::from(uid_validity_first.max(1)) - 1])?;
        }
        tx.pragma_update(None, "user_version", to)?;
        tx.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn newer(path: &Path, found: u32) -> StoreError {
    StoreError::Newer {
        path: path.display().to_string(),
        found,
        known: VERSION,
    }
}

/// Rows with their summary fit one page, and a 10 KB body takes two. Pages of 4 and 2 KiB make a tenth fewer durable accepts (docs/performance.md).
pub(super) const PAGE_BYTES: u32 = 8192;
/// Writers exclude each other by a lock file, so only the short exclusive moments of a start or a recovery are ever waited for.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// Negative values are KiB. The writer keeps the inner pages of every tree and the pages of one group.
const WRITER_CACHE_KIB: i64 = -16_384;
const READER_CACHE_KIB: i64 = -2_048;
/// More than there are distinct statements.
const STATEMENTS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::LocalDisk;
    use crate::store::Portion;
    use crate::store::sqlite::{journal, queue_lease};

    #[test]
    fn a_database_that_is_given_up_keeps_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(folder.path().join("store.db"), &LocalDisk);
        let earlier = open_writer(&database, 1).unwrap();
        never_copy_at_close(&earlier).unwrap();
        earlier.pragma_update(None, "user_version", VERSION + 1).unwrap();
        drop(earlier);
        let length = || std::fs::metadata(database.log()).map(|log| log.len()).ok();
        let before = length();
        assert!(before > Some(0));
        let opened = open_writer(&database, 1).map(drop);
        assert!(matches!(opened, Err(StoreError::Newer { .. })), "{opened:?}");
        assert_eq!(length(), before, "another descriptor may be open on it");
    }

    #[test]
    fn a_statement_is_compiled_once_whatever_is_bound() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(folder.path().join("store.db"), &LocalDisk);
        let connection = open_writer(&database, 1).unwrap();
        // What SQLite would compile again: a condition that an index of part of a table has, or a join that may turn out an inner one.
        for sql in [
            "SELECT key FROM queue INDEXED BY queue_ready WHERE lease = 0 AND held = 0 AND domain = ?1 AND due <= ?1 ORDER BY due",
            "SELECT m.size_bytes, b.bytes FROM message m LEFT JOIN body b ON b.message = m.key WHERE m.key = ?1",
        ] {
            let mut statement = connection.prepare(sql).unwrap();
            for value in 0..3 {
                assert!(!statement.exists([value]).unwrap());
            }
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
        }
    }

    #[test]
    fn data_of_every_earlier_version_is_brought_to_this_one_and_kept() {
        for found in 1..VERSION {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store.db");
            let earlier = Connection::open(&path).unwrap();
            for script in &MIGRATIONS[..usize::try_from(found).unwrap()] {
                earlier.execute_batch(script).unwrap();
            }
            earlier
                .execute_batch("INSERT INTO number (name, value) VALUES ('run', 7), ('lease', 8), ('uid_validity', 9)")
                .unwrap();
            earlier
                .execute_batch(
                    "INSERT INTO message (size_bytes, lead, file_offset, refs) VALUES (1, '', 0, 1); \
                     INSERT INTO queue (message, recipient, domain, created, due, expires, attempts, parameters, session, \
                     lease, leased_until) VALUES (1, 'a@chu.mssante.fr', 'chu.mssante.fr', 1, 2, 900, 1, '', 's', 0, 0)",
                )
                .unwrap();
            earlier
                .execute_batch(
                    "INSERT INTO folder (key, box, name, subscribed, uid_validity, uid_next, modseq, recent_from, messages, unseen, \
                     size_bytes) VALUES (1, 1, 'INBOX', 1, 1, 4, 4, 1, 3, 1, 60); \
                     INSERT INTO entry (folder, uid, message, flags, keywords, internal_date, size_bytes, modseq) VALUES \
                     (1, 1, 1, 8, '', 1, 10, 2), (1, 2, 1, 1, '', 1, 20, 3), (1, 3, 1, 9, '', 1, 30, 4)",
                )
                .unwrap();
            earlier
                .execute_batch(
                    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 600) \
                     INSERT INTO journal (at, event, session, reason, detail) SELECT n * 7 % 1000, 'a', '', '', '{}' FROM n; \
                     DELETE FROM journal WHERE sequence < 10",
                )
                .unwrap();
            earlier.pragma_update(None, "user_version", found).unwrap();
            drop(earlier);
            let now = open_writer(&Database::new(path, &LocalDisk), 1).unwrap();
            assert_eq!(version(&now).unwrap(), VERSION);
            let kept: i64 = now
                .query_row("SELECT value FROM number WHERE name = 'lease'", [], |row| row.get(0))
                .unwrap();
            assert_eq!(kept, 8);
            now.execute_batch("SELECT sequence, key, until FROM delivered_once")
                .unwrap();
            now.execute_batch("SELECT delay_told FROM queue").unwrap();
            now.execute_batch(
                "SELECT box, name FROM subscription; SELECT box, folder, person, entry, value FROM annotation",
            )
            .unwrap();
            let deleted = now.query_row("SELECT deleted, deleted_bytes FROM folder", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            });
            let expected = if found < 8 { (2, 40) } else { (0, 0) };
            assert_eq!(
                deleted.unwrap(),
                expected,
                "counted from the entries when they were not counted yet"
            );
            now.execute_batch("SELECT layout, preview FROM summary").unwrap();
            let at = |ms| jiff::Timestamp::from_millisecond(ms).unwrap();
            let leased = queue_lease::lease(&now, at(5), at(9), &Portion::of(10)).unwrap();
            assert_eq!((leased.len(), leased[0].attempts), (1, 1), "what was queued is tried");
            let brought = journal::kept_times(&now).unwrap();
            let expected = if found < 10 { 2 } else { 0 };
            assert_eq!(brought.len(), expected, "the last stretch is not full");
            now.execute_batch("DELETE FROM journal_stretch").unwrap();
            journal::keep_all_times(&now).unwrap();
            assert!(journal::kept_times(&now).unwrap().ends_with(&brought));
        }
    }
}
