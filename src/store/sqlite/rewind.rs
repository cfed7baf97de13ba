//! Undoing a commit whose sync failed.
//!
//! The system may have dropped what it could not write and call the next sync a success, so a failed sync is not repeated: everything
//! behind the last one that succeeded goes, in the log as it is read now and therefore on the disk, and what comes next is written anew.
//! SQLite cannot take a commit back. But a log that ends earlier is what it finds after any crash: so while no connection is open, the
//! log is cut, what shared memory knows of it is made invalid, and the first connection recovers from what is left.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use rusqlite::Connection;

use super::rows::failed;
use super::schema::{Database, PAGE_BYTES};
use super::syncer::Position;
use super::upkeep::{LogPages, log_pages};
use crate::store::{Disk, LOG_HEAD_BYTES, LogFile, StoreError};

/// The log, and how far it is durable.
pub(super) struct Log {
    database: Database,
    disk: Arc<dyn Disk>,
    /// To read from, and to make longer.
    file: Box<dyn LogFile>,
    /// How long it is at least.
    length: u64,
    /// `None` when it could not be learnt.
    durable: Option<Position>,
}

impl Log {
    /// All that is in the log is durable.
    pub(super) fn new(database: Database, disk: Arc<dyn Disk>, connection: &Connection) -> Result<Self, StoreError> {
        let mut log = Self {
            file: disk.log(&database.log()).map_err(unreadable)?,
            length: 0,
            database,
            disk,
            durable: None,
        };
        log.durable = Some(log.position(log_pages(connection)?)?);
        Ok(log)
    }

    /// Where it ends, right after a commit: what is written next may let it start over.
    pub(super) fn position(&mut self, pages: LogPages) -> Result<Position, StoreError> {
        let head = self.file.head().map_err(unreadable)?;
        let frames = u64::try_from(pages.all).map_err(|error| failed("the log", error))?;
        Ok(Position { head, frames })
    }

    /// Makes the file longer when commits behind `at` would soon have to. To be called by the thread that commits, between two commits: a sync costs
    /// more when the length has changed since the last one, and the more, the smaller the pieces are in which the file was first written.
    ///
    /// # Errors
    /// What the system says. A commit that needs more makes the file longer by itself.
    pub(super) fn make_room(&mut self, at: Position) -> io::Result<()> {
        let end = at.bytes().saturating_add(ROOM_BYTES);
        if end > self.length {
            self.length = self.file.grow(end.next_multiple_of(STEP_BYTES))?;
        }
        Ok(())
    }

    /// Another descriptor on it.
    pub(super) fn open(&self) -> Result<Box<dyn LogFile>, StoreError> {
        self.disk.log(&self.database.log()).map_err(unreadable)
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// More of it is durable.
    pub(super) fn is_durable(&mut self, until: Option<Position>) {
        self.durable = until;
    }

    /// Takes away what is not durable. No connection may be open.
    pub(super) fn cut_back(&mut self) -> Result<(), StoreError> {
        let mut log = self.open()?;
        let durable @ Position { head, frames } = self.known()?;
        // A log that started over since then did so because the database had all of the one before.
        let is_same = log.head().map_err(unreadable)? == head;
        let length = if is_same && frames > 0 { durable.bytes() } else { 0 };
        log.cut(length)
            .map_err(|error| failed("the log could not be cut back", error))?;
        self.file = log;
        self.length = 0;
        self.forget_index()
            .map_err(|error| failed("the index of the log could not be made invalid", error))
    }

    /// What shared memory says of the log counts no more. Of consequence when another process reads at the same time: otherwise SQLite
    /// makes it anew.
    fn forget_index(&self) -> io::Result<()> {
        match File::options().write(true).open(self.database.log_index()) {
            Ok(mut index) => index.write_all(&[0; INDEX_HEAD_BYTES]),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the first connection has found all that is durable, and nothing else.
    pub(super) fn check(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let found = self.position(log_pages(connection)?)?;
        let durable = self.known()?;
        let expected = if found.head == durable.head { durable.frames } else { 0 };
        if found.frames == expected {
            return Ok(());
        }
        Err(StoreError::Damaged {
            what: format!("the log (of {expected} frames {} can be read)", found.frames),
        })
    }

    fn known(&self) -> Result<Position, StoreError> {
        self.durable
            .ok_or_else(|| failed("the log", "how far it is durable is not known"))
    }
}

impl Position {
    /// Where the frames before it end in the file.
    fn bytes(self) -> u64 {
        LOG_HEAD_BYTES as u64 + self.frames.saturating_mul(FRAME_BYTES)
    }
}

fn unreadable(error: io::Error) -> StoreError {
    failed("the log", error)
}

/// What is kept free behind a commit: several of them, of a dozen messages of 10 KB each.
const ROOM_BYTES: u64 = 512 << 10;
/// What the file becomes longer by.
const STEP_BYTES: u64 = 1 << 20;
/// A page with its head (SQLite, "WAL-mode File Format" §1).
const FRAME_BYTES: u64 = 24 + PAGE_BYTES as u64;
/// Both copies of the header of the index, and what is known of checkpoints (SQLite, "WAL-mode File Format" §2.1).
const INDEX_HEAD_BYTES: usize = 136;
