//! Backup while mail flows, and restore.
//!
//! A backup is a data folder like any other: the database as of one commit (`VACUUM INTO`, on a connection that only reads), and the body
//! files it names. Files are written once and never changed, so a hard link is as good as a copy where both are on one file system; while
//! they are linked or copied, [`Blobs::hold`] keeps the running process from removing any. Everything is synced before the manifest is
//! written, last: a folder without one is no backup.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::rows::failed;
use super::schema::{self, Database};
use super::{DATABASE, Options, create_private, lock};
use crate::store::blobs::{BlobName, Blobs};
use crate::store::{LocalDisk, StoreError};

/// What a backup holds: written beside it, read before a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the data format.
    pub format: u32,
    /// When it was made.
    pub at: Timestamp,
    /// Version of the program that made it.
    pub program: String,
    /// Messages in it.
    pub messages: u64,
    /// Of them in files.
    pub files: u64,
    /// Bytes of all bodies.
    pub body_bytes: u64,
    /// Queued recipients.
    pub queued: u64,
    /// Last journal sequence.
    pub journal: i64,
}

/// Whether files that need not be copied are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// Hard links where the file system allows: quick, and no second copy of large bodies on that disk.
    Linked,
    /// Always copies.
    Copied,
}

/// What a restore does with mail that waits in the queue: what was sent after the backup was made would be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoredQueue {
    /// It is held until somebody releases it, item by item or all.
    Held,
    /// It is sent when it is due.
    Sent,
}

/// Makes a backup of the store in `folder` in `to`, a folder that is empty or not there. The store may be in use.
///
/// # Errors
/// `to` holds something, or something could not be read or written; then there is no manifest in it.
pub fn backup(folder: &Path, to: &Path, copying: Copying, now: Timestamp) -> Result<Manifest, StoreError> {
    empty(to)?;
    let disk = LocalDisk;
    let blobs = Blobs::new(folder, 0, Arc::new(disk));
    let io = |error: io::Error| failed(&format!("{} could not be written", to.display()), error);
    // From here on nothing that the snapshot names is removed.
    let held = blobs.hold().map_err(|error| {
        failed(
            &format!("{} is no data folder that can be read", folder.display()),
            error,
        )
    })?;
    snapshot(folder, &to.join(DATABASE))?;
    let copy = Database::new(to.join(DATABASE), &disk);
    let db = copy.connect(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let target = Blobs::new(to, 0, Arc::new(disk));
    target.prepare().map_err(io)?;
    let from = folder.join(BODIES);
    for name in files(&db)? {
        let path = Blobs::relative(name);
        let target = to.join(BODIES).join(&path);
        duplicate(&from.join(&path), &target, copying)
            .map_err(|error| failed(&format!("body file {name} could not be copied"), error))?;
    }
    drop(held);
    target.sync().map_err(io)?;
    let manifest = manifest(&db, now)?;
    drop(db);
    File::open(to).and_then(|folder| folder.sync_all()).map_err(io)?;
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| failed("the manifest", error))?;
    write_synced(&to.join(MANIFEST), &text).map_err(io)?;
    Ok(manifest)
}

/// The manifest of a backup.
///
/// # Errors
/// The folder holds none: it is no backup, or one that was not finished.
pub fn manifest_of(folder: &Path) -> Result<Manifest, StoreError> {
    let path = folder.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| {
        failed(
            &format!(
                "{} cannot be read: it is written last, so this is no finished backup",
                path.display()
            ),
            error,
        )
    })?;
    serde_json::from_slice(&text).map_err(|error| failed(&format!("{} is damaged", path.display()), error))
}

/// Puts a backup into `folder`, which is empty or not there. UIDs, UIDVALIDITY, queue, journal and counters are those of the backup; only
/// the numbers to be given next are raised, so that no mail program meets another message under a UID it has seen (RFC 3501 §2.3.1.1).
///
/// # Errors
/// `folder` holds something, `from` is no finished backup, or something could not be read or written.
pub fn restore(from: &Path, folder: &Path, queue: RestoredQueue, now: Timestamp) -> Result<Manifest, StoreError> {
    let manifest = manifest_of(from)?;
    if manifest.format > schema::VERSION {
        return Err(StoreError::Newer {
            path: from.display().to_string(),
            found: manifest.format,
            known: schema::VERSION,
        });
    }
    empty(folder)?;
    let held = lock(folder)?;
    let io = |error: io::Error| failed(&format!("{} could not be written", folder.display()), error);
    let target = Blobs::new(folder, 0, Arc::new(LocalDisk));
    target.prepare().map_err(io)?;
    duplicate(&from.join(DATABASE), &folder.join(DATABASE), Copying::Copied).map_err(io)?;
    let db = schema::open_writer(&Database::new(folder.join(DATABASE), &LocalDisk), 1)?;
    for name in files(&db)? {
        let path = Blobs::relative(name);
        // Never linked: a backup must not share its bytes with what is used from now on.
        duplicate(
            &from.join(BODIES).join(&path),
            &folder.join(BODIES).join(&path),
            Copying::Copied,
        )
        .map_err(|error| failed(&format!("body file {name} of the backup could not be copied"), error))?;
    }
    target.sync().map_err(io)?;
    settle(&db, queue, now)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    drop(held);
    Ok(manifest)
}

/// What must not be as it was when the backup was made.
fn settle(db: &Connection, queue: RestoredQueue, now: Timestamp) -> Result<(), StoreError> {
    let tx = db.unchecked_transaction()?;
    tx.execute(
        "UPDATE folder SET uid_next = min(uid_next + ?1, 4294967295), modseq = modseq + ?2",
        (UIDS_SKIPPED, MODSEQS_SKIPPED),
    )?;
    tx.execute(
        "UPDATE number SET value = value + ?1 WHERE name IN ('uid_validity', 'lease', 'run')",
        [NUMBERS_SKIPPED],
    )?;
    // Whoever held a lease worked for another folder.
    tx.execute("UPDATE queue SET lease = 0, leased_until = 0", [])?;
    if queue == RestoredQueue::Held {
        tx.execute(
            "UPDATE queue SET held = 1, held_by = 'restore', held_at = ?1 WHERE held = 0",
            [now.as_millisecond()],
        )?;
    }
    tx.commit()?;
    Ok(())
}

/// One commit of the database, in a file of its own. The copy is compact, and in no log mode yet.
fn snapshot(folder: &Path, to: &Path) -> Result<(), StoreError> {
    let options = Options::default();
    let from = Database::new(folder.join(DATABASE), &*options.disk);
    let db = schema::open_reader(&from)?;
    schema::check_version(&db, &from.path)?;
    let path = to
        .to_str()
        .ok_or_else(|| failed("the name of the backup's folder", "it is not UTF-8"))?;
    db.execute("VACUUM INTO ?1", [path])?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|error| failed("the database of the backup could not be written", error))
}

fn files(db: &Connection) -> Result<Vec<BlobName>, StoreError> {
    let mut statement = db.prepare("SELECT file FROM message WHERE file IS NOT NULL")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for name in names {
        found.push(
            name?
                .parse()
                .map_err(|error| failed("the name of a body file", error))?,
        );
    }
    Ok(found)
}

fn manifest(db: &Connection, now: Timestamp) -> Result<Manifest, StoreError> {
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
    let count = |sql: &str| number(sql).map(i64::cast_unsigned);
    Ok(Manifest {
        format: schema::VERSION,
        at: now,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        messages: count("SELECT count(*) FROM message")?,
        files: count("SELECT count(*) FROM message WHERE file IS NOT NULL")?,
        body_bytes: count("SELECT coalesce(sum(size_bytes), 0) FROM message")?,
        queued: count("SELECT count(*) FROM queue")?,
        journal: number("SELECT coalesce(max(sequence), 0) FROM journal")?,
    })
}

/// Links or copies a file; a copy is synced, a link's bytes were when they were written.
fn duplicate(from: &Path, to: &Path, copying: Copying) -> io::Result<()> {
    if copying == Copying::Linked && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// Makes the folder, or sees that it is empty.
pub(super) fn empty(folder: &Path) -> Result<(), StoreError> {
    let io = |error: io::Error| failed(&format!("{} could not be made", folder.display()), error);
    create_private(folder, &LocalDisk).map_err(io)?;
    let first: Option<PathBuf> = fs::read_dir(folder)
        .and_then(|mut entries| entries.next().transpose())
        .map_err(io)?
        .map(|entry| entry.path());
    match first {
        None => Ok(()),
        Some(first) => Err(failed(
            &format!("{} is not empty: give an empty or new folder", folder.display()),
            format!("it holds {}", first.display()),
        )),
    }
}

/// Writes and syncs a file and its folder.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Name of the manifest in a backup.
pub const MANIFEST: &str = "backup.json";
const BODIES: &str = "bodies";
/// More mail than a folder gets between a backup and its restore; a folder has four thousand million UIDs.
const UIDS_SKIPPED: i64 = 1_000_000;
const MODSEQS_SKIPPED: i64 = 100_000_000;
/// Folders made, leases given and starts since.
const NUMBERS_SKIPPED: i64 = 1_000_000;
