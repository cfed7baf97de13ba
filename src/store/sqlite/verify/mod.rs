//! Looks at everything a store holds and says what is wrong, each problem with a stable id, its place and what to do; and repairs what
//! can be repaired without losing a byte.
//!
//! Looking needs no lock and disturbs nobody: each check is one read transaction, so it sees one commit. Repairing goes through the writer,
//! one problem per transaction with its journal record, and computes what it writes anew inside it: the store may have changed since.
//! A database that SQLite itself finds damaged is rebuilt from the rows that can still be read, which needs the folder for itself.

mod bodies;
mod repair;
mod rows;
mod salvage;

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::SqliteStore;
use super::rows::failed;
use crate::store::{StoreError, Summary};

pub use repair::Repaired;
pub use salvage::{Salvaged, salvage};

/// What can be wrong. The ids are stable: scripts and docs/store.md refer to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// SQLite cannot read all of the database.
    DatabaseDamaged,
    /// An index does not say what its table says.
    DatabaseIndex,
    /// An entry shows a message that is not there.
    EntryWithoutMessage,
    /// An entry is in a folder that is not there.
    EntryWithoutFolder,
    /// RFC822.SIZE is not the size of the message.
    EntrySize,
    /// A UID that the folder has yet to give, or 0.
    EntryUid,
    /// A modification sequence that the folder has yet to give.
    EntryModseq,
    /// The figures of a folder are not what its entries add up to.
    FolderFigures,
    /// A folder of a box that is not there.
    FolderWithoutBox,
    /// A UIDVALIDITY that was never given, or given twice in a box.
    UidValidity,
    /// A message counts more or fewer references than there are.
    MessageRefs,
    /// A message that nothing refers to.
    MessageUnused,
    /// A message without its body.
    BodyMissing,
    /// A body of another length than it was stored with.
    BodySize,
    /// A body whose bytes changed.
    BodyChanged,
    /// A body in the database that no message has.
    BodyOrphan,
    /// A body file that no message names.
    FileOrphan,
    /// A message in a folder without what IMAP asks of it.
    SummaryMissing,
    /// What IMAP is told of a message is not what the message says.
    SummaryDiffers,
    /// A summary that no message has.
    SummaryOrphan,
    /// A queued recipient whose message is not there.
    QueueWithoutMessage,
    /// A queued recipient that cannot be read.
    QueueUnreadable,
    /// A lease that was never given, or one without an end.
    QueueLease,
    /// A journal row that cannot be read.
    JournalUnreadable,
    /// A journal row below the mark up to which rows were purged.
    JournalSequence,
    /// The times kept of a stretch of the journal are not those of its rows: reads by time may leave rows out.
    JournalTimes,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::DatabaseDamaged,
        Self::DatabaseIndex,
        Self::EntryWithoutMessage,
        Self::EntryWithoutFolder,
        Self::EntrySize,
        Self::EntryUid,
        Self::EntryModseq,
        Self::FolderFigures,
        Self::FolderWithoutBox,
        Self::UidValidity,
        Self::MessageRefs,
        Self::MessageUnused,
        Self::BodyMissing,
        Self::BodySize,
        Self::BodyChanged,
        Self::BodyOrphan,
        Self::FileOrphan,
        Self::SummaryMissing,
        Self::SummaryDiffers,
        Self::SummaryOrphan,
        Self::QueueWithoutMessage,
        Self::QueueUnreadable,
        Self::QueueLease,
        Self::JournalUnreadable,
        Self::JournalSequence,
        Self::JournalTimes,
    ];

    /// Its stable id.
    pub fn id(self) -> &'static str {
        self.row().0
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static str) {
        const SET_ASIDE: &str = "--repair keeps what is left in damaged/ and puts a notice in its place";
        const FIGURES: &str = "--repair computes the figures of the folder again";
        const ASIDE_ROW: &str = "--repair writes it to damaged/ and takes it out";
        const RECOMPUTE: &str = "--repair computes it again";
        match self {
            Self::DatabaseDamaged => (
                "database-damaged",
                "stop the process and run verify --repair: it copies every row that can be read to a new database; or restore a backup",
            ),
            Self::DatabaseIndex => ("database-index", "--repair builds the indexes again"),
            Self::EntryWithoutMessage => ("entry-without-message", SET_ASIDE),
            Self::EntryWithoutFolder => ("entry-without-folder", ASIDE_ROW),
            Self::EntrySize => ("entry-size", "--repair corrects the size"),
            Self::EntryUid => ("entry-uid", FIGURES),
            Self::EntryModseq => ("entry-modseq", FIGURES),
            Self::FolderFigures => ("folder-figures", FIGURES),
            Self::FolderWithoutBox => (
                "folder-without-box",
                "restore the box from a backup; nothing is changed",
            ),
            Self::UidValidity => ("uid-validity", "--repair raises the number they are taken from"),
            Self::MessageRefs => ("message-refs", "--repair counts them again"),
            Self::MessageUnused => ("message-unused", ASIDE_ROW),
            Self::BodyMissing => ("body-missing", SET_ASIDE),
            Self::BodySize => ("body-size", SET_ASIDE),
            Self::BodyChanged => ("body-changed", SET_ASIDE),
            Self::BodyOrphan => ("body-orphan", ASIDE_ROW),
            Self::FileOrphan => ("file-orphan", "--repair moves it to damaged/"),
            Self::SummaryMissing => ("summary-missing", RECOMPUTE),
            Self::SummaryDiffers => ("summary-differs", RECOMPUTE),
            Self::SummaryOrphan => (
                "summary-orphan",
                "--repair takes it out: it holds nothing that a message does not",
            ),
            Self::QueueWithoutMessage => (
                "queue-without-message",
                "--repair holds it; then `vaguemestre queue drop` tells its sender",
            ),
            Self::QueueUnreadable => (
                "queue-unreadable",
                "--repair holds it: correct the row, or take it out of the database",
            ),
            Self::QueueLease => (
                "queue-lease",
                "--repair ends the lease, or raises the number leases are taken from",
            ),
            Self::JournalUnreadable => (
                "journal-unreadable",
                "nothing is changed: the row is evidence; `vaguemestre recount` says whether it should count",
            ),
            Self::JournalSequence => (
                "journal-sequence",
                "nothing is changed: `vaguemestre recount` says whether counters suffer",
            ),
            Self::JournalTimes => ("journal-times", RECOMPUTE),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub check: Check,
    /// Where: `folder 12, UID 7`.
    pub place: String,
    /// What was found.
    pub what: String,
    /// The keys that a repair needs: message or folder first, UID second; a file by its path below `bodies/`.
    key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    None,
    Row(i64, i64),
    File(PathBuf),
}

/// How much to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Rows, figures, files by name and length.
    Rows,
    /// Every byte as well: SQLite's own check, checksums, and summaries computed again.
    Bytes,
}

/// What only higher layers know.
#[derive(Clone, Copy)]
pub struct Knowledge {
    /// What IMAP asks of these bytes.
    pub summarise: fn(&[u8]) -> Summary,
    /// The message that takes the place of one that is lost, given what is known of it, in a line of ASCII.
    pub notice: fn(Timestamp, &str) -> Vec<u8>,
}

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Messages looked at.
    pub messages: u64,
    /// Bytes of bodies read.
    pub bytes: u64,
    /// Body files found.
    pub files: u64,
    /// Everything that is wrong, at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// Whether more was found than is listed.
    pub is_cut: bool,
}

impl Report {
    fn add(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.is_cut = true;
        }
    }

    /// A check that could not be made, because the database is damaged there; the others go on.
    fn unreadable(&mut self, place: &str, error: &StoreError) {
        self.add(Problem {
            check: Check::DatabaseDamaged,
            place: place.to_owned(),
            what: error.with_cause(),
            key: Key::None,
        });
    }
}

impl SqliteStore {
    /// Looks at the whole store. Works while it is open for reading only, and while mail flows.
    ///
    /// # Errors
    /// The store is closed, or a thread was interrupted. What cannot be read is a problem, not an error.
    pub async fn verify(&self, depth: Depth, knowledge: Knowledge) -> Result<Report, StoreError> {
        let mut report = Report::default();
        if depth == Depth::Bytes {
            match self.readers.run(rows::integrity).await {
                Ok(found) => found.into_iter().for_each(|problem| report.add(problem)),
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => report.unreadable("database", &error),
            }
        }
        for check in rows::CHECKS {
            match self.readers.run(move |db| rows::run(db, check)).await {
                Ok(found) => found.into_iter().for_each(|problem| report.add(problem)),
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => report.unreadable(check.check.id(), &error),
            }
        }
        match self.readers.run(rows::queue_unreadable).await {
            Ok(found) => found.into_iter().for_each(|problem| report.add(problem)),
            Err(error) => report.unreadable("queue", &error),
        }
        self.verify_bodies(depth, knowledge, &mut report).await?;
        self.verify_files(&mut report).await?;
        Ok(report)
    }
}

/// A folder for what a repair takes out.
#[derive(Clone, Debug)]
pub struct Aside {
    folder: PathBuf,
}

impl Aside {
    /// `damaged/<name>` in a data folder; made when something goes there. Give each repair a name of its own: its time.
    pub fn new(data_folder: &Path, name: &str) -> Self {
        Self {
            folder: data_folder.join(FOLDER).join(name),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn made(&self) -> Result<&Path, StoreError> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| failed(&format!("{} could not be made", self.folder.display()), error))?;
        Ok(&self.folder)
    }

    /// Writes and syncs a file.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.made()?.join(name);
        let written = std::fs::File::create(&path).and_then(|mut file| {
            std::io::Write::write_all(&mut file, bytes)?;
            file.sync_all()
        });
        written.map_err(|error| failed(&format!("{} could not be written", path.display()), error))
    }
}

/// More problems than this are counted as "and more": nobody reads them one by one.
pub const PROBLEMS_MAX: usize = 10_000;
const FOLDER: &str = "damaged";
