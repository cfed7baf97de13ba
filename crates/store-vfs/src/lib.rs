//! Layers over SQLite's own file layer (a VFS), for what it has no setting for:
//!
//! - one that asks a [`Watcher`] before each change of a file: to record it, to fail it, or to forget it ([`register`]);
//! - one that gives the system what a commit writes to the log as one piece, and leaves its sync to the program ([`gathering`]);
//! - one that syncs what a checkpoint copies bit by bit ([`pacing`]).
//!
//! Everything else (reading, locks, shared memory) goes to the VFS below as it is, so that what runs over a layer is SQLite's
//! own code path, write-ahead log and several connections included. It exists because the program itself forbids `unsafe`, which the
//! C interface of SQLite cannot do without; so this package holds that interface and nothing else. Maintained packages were
//! looked at first: `sqlite-plugin` builds its own bindings and asks every builder for libclang; neither it nor `sqlite-vfs`
//! hands on to the system's VFS, so locks and shared memory would have been ours to write.
//!
//! The shared memory of the write-ahead log is not watched: SQLite makes it anew after a crash.

mod file;
mod gather;
mod vfs;

use std::ffi::{CString, c_void};
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ffi};

use vfs::Layer;

/// Hears of every change before it is made, from any thread, in the order in which it would be made.
pub trait Watcher: Send + Sync {
    /// What becomes of this change. Must not use SQLite, and must not panic: that ends the process.
    fn change(&self, path: &Path, change: Change<'_>) -> Verdict;
}

/// A change of a file that SQLite asks for.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The file is opened, and made if it does not exist. `handle` names this opening of it until the next one of that name.
    Open { handle: usize },
    /// Bytes at an offset.
    Write { offset: u64, bytes: &'a [u8] },
    /// A new length.
    Truncate { length: u64 },
    /// What was written so far, by whatever handle, is to be made durable; after the first sync of a new log, its name too.
    Sync { handle: usize },
    /// The name goes; durable at once when `sync_folder`.
    Delete { sync_folder: bool },
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Make,
    /// It is not made, and SQLite is told that it was.
    Pretend,
    /// Of a write only so many bytes are made, and SQLite is told that it failed.
    Short(usize, Failure),
    /// It is not made, and SQLite is told that it failed.
    Fail(Failure),
}

/// How a change fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device (EIO).
    Device,
    /// No space left (ENOSPC).
    Full,
}

/// SQLite did not take the VFS.
#[derive(Debug)]
pub struct RegisterError(String);

impl std::fmt::Display for RegisterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RegisterError {}

/// Makes a VFS of this name known to SQLite, for as long as the process runs: connections opened by that name are watched. A few hundred bytes
/// stay in use for each, because SQLite cannot tell when the last connection is gone.
///
/// # Errors
/// When the name cannot be one, or the system's own VFS is not there.
pub fn register(name: &str, watcher: Arc<dyn Watcher>) -> Result<(), RegisterError> {
    let name = CString::new(name).map_err(|error| RegisterError(error.to_string()))?;
    registered(vfs::register(name, None, Layer::Asks(watcher)))
}

/// The name of a VFS over the one named `over`, or over the system's own: connections opened by it give the system what a commit writes to the
/// write-ahead log as one piece (in several when it is large), where SQLite would write each page in two. The same one each time.
///
/// A connection opened by it **must** have `synchronous` at `FULL` and `checkpoint_fullfsync` on: the sync that a commit asks for is what ends the
/// piece, and by these two it can be told from all others. It is not made: the commit is durable once the caller has synced the log by a
/// descriptor of its own, or a checkpoint did. Every other sync is made: of the header of a log that starts over, of the log before a
/// checkpoint, and of the database. Nor may `psow=0` be asked for, with which SQLite pads a commit behind its sync; and nobody else may write to the
/// database: what a transaction leaves that was rolled back may reach the log late, in the place that the next one takes.
///
/// # Errors
/// When there is no VFS of that name.
pub fn gathering(over: Option<&str>) -> Result<String, RegisterError> {
    layered("gathering", over, Layer::Gathers)
}

/// The name of a VFS over the one named `over`, or over the system's own: what connections opened by it write to the database, as a
/// checkpoint does, is synced each time a mebibyte has come together. Whoever syncs another file on the same disk meanwhile waits for
/// so little at a time. What comes last is not synced: see [`sync_database`]. The same one each time.
///
/// # Errors
/// When there is no VFS of that name.
pub fn pacing(over: Option<&str>) -> Result<String, RegisterError> {
    layered("pacing", over, Layer::Paces)
}

/// The name of the VFS with this layer over another, which is made when it is asked for first.
fn layered(layer_name: &str, over: Option<&str>, layer: Layer) -> Result<String, RegisterError> {
    // Between the look and the registration nobody else may do the same.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let name = format!("{layer_name}-{}", over.unwrap_or_default());
    let c_string = |text: &str| CString::new(text).map_err(|error| RegisterError(error.to_string()));
    let (own, over) = (c_string(&name)?, over.map(c_string).transpose()?);
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if !vfs::is_known(&own) {
        registered(vfs::register(own, over.as_deref(), layer))?;
    }
    Ok(name)
}

/// Makes durable what was written so far to the database file of `connection`, by whatever connection. SQLite does so only once a checkpoint has
/// copied all of the log. The log is not synced.
///
/// # Errors
/// When the file cannot be synced: then the system may have dropped any of what was written since the last sync that succeeded.
pub fn sync_database(connection: &Connection) -> rusqlite::Result<()> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, its main database has a name that ends with a zero byte, and for this operation SQLite writes one pointer.
    let asked = unsafe {
        let into = (&raw mut file).cast::<c_void>();
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            into,
        )
    };
    // SAFETY: the file belongs to the connection, which is borrowed and can be used by no other thread; a file that is not open has no methods.
    let synced = unsafe {
        match file.as_mut().and_then(|file| file.pMethods.as_ref()?.xSync) {
            Some(sync) if asked == ffi::SQLITE_OK => sync(file, ffi::SQLITE_SYNC_NORMAL),
            _ => ffi::SQLITE_IOERR_FSYNC,
        }
    };
    match synced {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(code),
            Some("the database could not be synced".to_owned()),
        )),
    }
}

fn registered(code: std::ffi::c_int) -> Result<(), RegisterError> {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(RegisterError(format!("SQLite refused the VFS with code {code}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    use rusqlite::{ErrorCode, OpenFlags};
    use tempfile::TempDir;

    use super::*;

    #[derive(Default)]
    struct Log {
        heard: Mutex<Vec<String>>,
        /// From which change on, counted from 0, and how it fails; 0: never.
        fails_from: AtomicUsize,
        failure: Option<Failure>,
        /// Files cannot grow beyond so many bytes; 0: they can.
        room: AtomicU64,
        database_syncs_fail: AtomicBool,
    }

    impl Watcher for Log {
        fn change(&self, path: &Path, change: Change<'_>) -> Verdict {
            let mut heard = self.heard.lock().unwrap();
            let what = match change {
                Change::Open { .. } => "open".to_owned(),
                Change::Write { bytes, .. } => format!("write {}", bytes.len()),
                Change::Truncate { length } => format!("truncate {length}"),
                Change::Sync { .. } => "sync".to_owned(),
                Change::Delete { .. } => "delete".to_owned(),
            };
            heard.push(format!("{} {what}", path.file_name().unwrap().to_str().unwrap()));
            let room = self.room.load(Ordering::Relaxed);
            if let Change::Write { offset, bytes } = change
                && room > 0
                && offset + u64::try_from(bytes.len()).unwrap() > room
            {
                return Verdict::Fail(Failure::Full);
            }
            let is_database = path.extension().is_some_and(|extension| extension == "db");
            if matches!(change, Change::Sync { .. }) && is_database && self.database_syncs_fail.load(Ordering::Relaxed)
            {
                return Verdict::Fail(Failure::Device);
            }
            let fails_from = self.fails_from.load(Ordering::Relaxed);
            match self.failure {
                Some(failure) if fails_from > 0 && heard.len() > fails_from => Verdict::Fail(failure),
                _ => Verdict::Make,
            }
        }
    }

    fn open(folder: &Path, vfs: &str) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs(folder.join("t.db"), flags, vfs).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection.pragma_update(None, "checkpoint_fullfsync", true).unwrap();
        connection
    }

    #[test]
    fn each_commit_is_heard_with_its_sync_and_other_connections_see_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::default());
        register("heard", Arc::clone(&log) as Arc<dyn Watcher>).unwrap();
        let one = open(folder.path(), "heard");
        let two = open(folder.path(), "heard");
        one.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
            .unwrap();
        let before = log.heard.lock().unwrap().len();
        one.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        let heard = log.heard.lock().unwrap()[before..].to_vec();
        assert_eq!(heard.last().map(String::as_str), Some("t.db-wal sync"), "{heard:?}");
        assert!(
            heard.iter().any(|line| line.starts_with("t.db-wal write ")),
            "{heard:?}"
        );
        let sum: i64 = two.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 3);
        drop((one, two));
        let heard = log.heard.lock().unwrap().clone();
        assert!(heard.contains(&"t.db-wal delete".to_owned()), "{heard:?}");
        let again = Connection::open(folder.path().join("t.db")).unwrap();
        let sum: i64 = again.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 3, "the files are the system's own");
    }

    #[test]
    fn a_failed_change_is_the_error_it_says() {
        for (name, failure, code) in [
            ("device", Failure::Device, ErrorCode::SystemIoFailure),
            ("full", Failure::Full, ErrorCode::DiskFull),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let log = Arc::new(Log {
                failure: Some(failure),
                ..Log::default()
            });
            register(name, Arc::clone(&log) as Arc<dyn Watcher>).unwrap();
            let db = open(folder.path(), name);
            db.execute_batch("CREATE TABLE t (a)").unwrap();
            log.fails_from.store(log.heard.lock().unwrap().len(), Ordering::Relaxed);
            let error = db.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(code), "{error}");
            log.fails_from.store(0, Ordering::Relaxed);
            db.execute_batch("INSERT INTO t VALUES (2)").unwrap();
            let sum: i64 = db.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(sum, 2);
        }
    }

    #[test]
    fn a_name_that_cannot_be_one_is_refused() {
        assert!(register("a\0b", Arc::new(Log::default())).is_err());
        assert!(gathering(Some("a\0b")).is_err());
        assert!(gathering(Some("nobody registered this")).is_err());
    }

    /// Changes of the log heard while `sql` runs.
    fn heard(log: &Log, db: &Connection, sql: &str) -> Vec<String> {
        heard_of("t.db-wal ", log, db, sql)
    }

    fn heard_of(file: &str, log: &Log, db: &Connection, sql: &str) -> Vec<String> {
        let before = log.heard.lock().unwrap().len();
        db.execute_batch(sql).unwrap();
        let heard = log.heard.lock().unwrap()[before..].to_vec();
        heard.into_iter().filter(|line| line.starts_with(file)).collect()
    }

    const TWENTY: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) \
                          INSERT INTO t SELECT randomblob(3000) FROM n";

    #[test]
    fn a_commit_is_one_write_of_the_log_whose_sync_is_left_to_the_caller() {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::default());
        register("below one", Arc::clone(&log) as Arc<dyn Watcher>).unwrap();
        let vfs = gathering(Some("below one")).unwrap();
        assert_eq!(gathering(Some("below one")).unwrap(), vfs);
        let plain = open(folder.path(), "below one");
        plain
            .execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)")
            .unwrap();
        assert!(heard(&log, &plain, TWENTY).len() > 30);
        let db = open(folder.path(), &vfs);
        db.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        let commit = heard(&log, &db, TWENTY);
        assert_eq!(commit.len(), 1, "{commit:?}");
        assert!(commit[0].starts_with("t.db-wal write "), "{commit:?}");
        let count = |db: &Connection| db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
        assert_eq!((count(&plain).unwrap(), count(&db).unwrap()), (40, 40));
        // SQLite's file layer does not take a large one whole.
        let large = "INSERT INTO t VALUES (zeroblob(1000000))";
        let pieces = heard(&log, &db, large);
        assert!((8..12).contains(&pieces.len()), "{pieces:?}");
        assert_eq!(count(&plain).unwrap(), 41);
        // A checkpoint syncs the log itself; so does the header of the log that starts over, before anything behind it.
        let copied = heard(&log, &db, "PRAGMA wal_checkpoint(RESTART)");
        assert_eq!(copied, ["t.db-wal sync"]);
        let restarted = heard(&log, &db, "INSERT INTO t VALUES (1)");
        let is_header_first = matches!(&*restarted, [header, sync, frames]
            if header == "t.db-wal write 32" && sync == "t.db-wal sync" && frames.starts_with("t.db-wal write "));
        assert!(is_header_first, "{restarted:?}");
    }

    #[test]
    fn what_a_transaction_reads_back_from_the_log_and_what_it_takes_back_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let vfs = gathering(None).unwrap();
        let db = open(folder.path(), &vfs);
        db.execute_batch("PRAGMA cache_size = 4; PRAGMA cache_spill = 2; CREATE TABLE t (a)")
            .unwrap();
        // With so small a cache pages go to the log and are read from there, and written again, before the commit.
        db.execute_batch("BEGIN").unwrap();
        for _ in 0..40 {
            db.execute_batch(TWENTY).unwrap();
            db.execute_batch("UPDATE t SET a = randomblob(3000) WHERE rowid % 7 = 0")
                .unwrap();
        }
        let sum: i64 = db
            .query_row("SELECT sum(length(a)) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 40 * 20 * 3000);
        db.execute_batch("SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT")
            .unwrap();
        db.execute_batch("BEGIN; DELETE FROM t; ROLLBACK").unwrap();
        let other = Connection::open(folder.path().join("t.db")).unwrap();
        for db in [&db, &other] {
            let sum: i64 = db
                .query_row("SELECT sum(length(a)) FROM t", [], |row| row.get(0))
                .unwrap();
            assert_eq!(sum, 40 * 20 * 3000);
            let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(sound, "ok");
        }
    }

    #[test]
    fn a_commit_whose_piece_cannot_be_written_fails_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(Log {
            failure: Some(Failure::Full),
            ..Log::default()
        });
        register("below full", Arc::clone(&log) as Arc<dyn Watcher>).unwrap();
        let db = open(folder.path(), &gathering(Some("below full")).unwrap());
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        log.fails_from.store(log.heard.lock().unwrap().len(), Ordering::Relaxed);
        let error = db.execute_batch(TWENTY).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull), "{error}");
        log.fails_from.store(0, Ordering::Relaxed);
        let commit = heard(&log, &db, "INSERT INTO t VALUES (2)");
        assert_eq!(commit.len(), 1, "nothing of the one before: {commit:?}");
        let other = Connection::open(folder.path().join("t.db")).unwrap();
        for db in [&db, &other] {
            let sum: i64 = db.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(sum, 2);
        }
    }

    #[test]
    fn what_a_checkpoint_copies_is_synced_bit_by_bit_and_what_is_left_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::default());
        register("below paced", Arc::clone(&log) as Arc<dyn Watcher>).unwrap();
        let db = open(folder.path(), &pacing(Some("below paced")).unwrap());
        db.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)")
            .unwrap();
        for _ in 0..80 {
            db.execute_batch(TWENTY).unwrap();
        }
        // A read that goes on has SQLite copy a part, and sync nothing by itself.
        let reader = Connection::open(folder.path().join("t.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        db.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        let copied = heard_of("t.db ", &log, &db, "PRAGMA wal_checkpoint(PASSIVE)");
        let bits: Vec<usize> = copied.split(|line| line == "t.db sync").map(<[_]>::len).collect();
        // Pages of 4 KiB; one was written when the database was made.
        let (last, whole) = bits.split_last().unwrap();
        assert!(
            whole.len() > 3 && whole.iter().all(|pages| (255..=256).contains(pages)) && *last > 0,
            "{bits:?}"
        );
        sync_database(&db).unwrap();
        assert_eq!(log.heard.lock().unwrap().last().map(String::as_str), Some("t.db sync"));
    }

    #[test]
    fn a_database_that_cannot_be_synced_is_an_error_of_a_sync() {
        for bytes in [3_000, 3_000_000] {
            let folder = tempfile::tempdir().unwrap();
            let log = Arc::new(Log::default());
            let name = format!("below failing {bytes}");
            register(&name, Arc::clone(&log) as Arc<dyn Watcher>).unwrap();
            let db = open(folder.path(), &pacing(Some(&name)).unwrap());
            db.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)")
                .unwrap();
            db.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes]).unwrap();
            log.database_syncs_fail.store(true, Ordering::Relaxed);
            let copied = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            for failed in [copied, sync_database(&db)].map(Result::unwrap_err) {
                let code = failed.sqlite_error().map(|error| error.extended_code);
                assert_eq!(code, Some(ffi::SQLITE_IOERR_FSYNC), "{bytes}: {failed}");
            }
        }
    }

    /// A connection over a watched disk whose log has a table and room for so many bytes more, and nothing of it is copied.
    fn over(name: &str, room: u64) -> (TempDir, Arc<Log>, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::default());
        register(name, Arc::clone(&log) as Arc<dyn Watcher>).unwrap();
        let db = open(folder.path(), &gathering(Some(name)).unwrap());
        db.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
            .unwrap();
        let end = folder.path().join("t.db-wal").metadata().unwrap().len();
        log.room.store(end + room, Ordering::Relaxed);
        (folder, log, db)
    }

    fn sum(db: &Connection) -> i64 {
        db.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap()
    }

    /// Leaves something gathered that belongs to no transaction any more.
    fn roll_back_what_was_spilled(db: &Connection) {
        db.execute_batch("PRAGMA cache_size = 4; PRAGMA cache_spill = 2; BEGIN")
            .unwrap();
        db.execute_batch(TWENTY).unwrap();
        db.execute_batch("ROLLBACK").unwrap();
    }

    #[test]
    fn a_large_commit_that_finds_no_room_is_not_tried_again_before_a_small_one() {
        let (_folder, _log, db) = over("below large", 40_000);
        let error = db
            .execute_batch("INSERT INTO t VALUES (zeroblob(1000000))")
            .unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull), "{error}");
        assert_eq!(sum(&db), 1);
        db.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(sum(&db), 3);
    }

    #[test]
    fn what_was_rolled_back_keeps_nobody_from_reading_when_there_is_no_room_for_it() {
        let (_folder, _log, db) = over("below spilled", 10_000);
        roll_back_what_was_spilled(&db);
        db.execute_batch("PRAGMA shrink_memory").unwrap();
        assert_eq!(sum(&db), 1);
        // The first one finds it in its way.
        drop(db.execute_batch("INSERT INTO t VALUES (2)"));
        db.execute_batch("DELETE FROM t; INSERT INTO t VALUES (4)").unwrap();
        assert_eq!(sum(&db), 4);
    }

    #[test]
    fn a_checkpoint_syncs_the_log_whatever_was_rolled_back_before_it() {
        let (_folder, log, db) = over("below rolled back", 1 << 30);
        roll_back_what_was_spilled(&db);
        let copied = heard(&log, &db, "PRAGMA wal_checkpoint(RESTART)");
        assert_eq!(copied.last().map(String::as_str), Some("t.db-wal sync"), "{copied:?}");
    }
}
