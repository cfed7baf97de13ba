//! A SQLite VFS over the system's own that asks a [`Watcher`] before each change of a file: to record it, to fail it, or to forget it.
//!
//! Everything else (reading, locks, shared memory) goes to the system's VFS as it is, so that what runs under a watcher is SQLite's
//! own code path, write-ahead log and several connections included. It exists because the program itself forbids `unsafe`, which the
//! C interface of SQLite cannot do without; so this package holds that interface and nothing else. Maintained packages were
//! looked at first: `sqlite-plugin` builds its own bindings and asks every builder for libclang; neither it nor `sqlite-vfs`
//! hands on to the system's VFS, so locks and shared memory would have been ours to write.
//!
//! The shared memory of the write-ahead log is not watched: SQLite makes it anew after a crash.

mod file;
mod vfs;

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use rusqlite::ffi;

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
    match vfs::register(name, watcher) {
        ffi::SQLITE_OK => Ok(()),
        code => Err(RegisterError(format!("SQLite refused the VFS with code {code}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rusqlite::{Connection, ErrorCode, OpenFlags};

    use super::*;

    #[derive(Default)]
    struct Log {
        heard: Mutex<Vec<String>>,
        /// From which change on, counted from 0, and how it fails; 0: never.
        fails_from: AtomicUsize,
        failure: Option<Failure>,
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
    }
}
