//! The disk under test: everything that is written, synced, named or removed on it is recorded in order, and fails as planned.
//!
//! The files are real, so that the store can read what it wrote; only syncs do nothing, since what is durable is decided later, from the
//! tape. SQLite's files arrive through a watched VFS, body files through the [`Disk`] of the store.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use recording_vfs::{Change, Failure, RegisterError, Verdict, Watcher};

use crate::store::{BodyFile, Disk, LOG_HEAD_BYTES, LogFile};

/// A change of the disk. Paths are relative to the data folder.
#[derive(Debug)]
pub(super) enum Entry {
    /// A name for a file. Durable once the folder is synced.
    Link { path: PathBuf, file: usize },
    /// The name goes. Durable once the folder is synced.
    Unlink { path: PathBuf },
    /// The names of a folder are durable.
    SyncFolder { folder: PathBuf },
    /// Bytes of a file. Durable once it is synced.
    Write { file: usize, offset: u64, bytes: Vec<u8> },
    /// Its length.
    Truncate { file: usize, length: u64 },
    /// What was written to the file is durable.
    Sync { file: usize },
    /// It never will be: the system forgets what it could not write, and the next sync does not mention it.
    SyncFailed { file: usize },
}

/// What goes wrong, and when: from one change of the disk on, until another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    pub(super) from: u64,
    pub(super) until: u64,
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing goes wrong.
    None,
    /// Writes fail (EIO).
    Write,
    /// Writes are made in part.
    Short,
    /// No space is left (ENOSPC).
    Full,
    /// Syncs fail, and what they should have made durable is gone.
    Sync,
    /// Everything fails, for good: the disk is dead.
    Dead,
    /// Syncs succeed and do nothing: not a fault to survive, but the proof that the test sees a loss.
    Lying,
}

/// The disk with its tape.
pub(super) struct Recorder {
    root: PathBuf,
    vfs: String,
    tape: Mutex<Tape>,
}

struct Tape {
    entries: Vec<Entry>,
    names: HashMap<PathBuf, usize>,
    files: usize,
    /// Logs and journals whose name the system syncs with their first sync.
    names_due: HashSet<PathBuf>,
    /// For each file, how many syncs of it failed.
    failed_syncs: HashMap<usize, u64>,
    changes: u64,
    failed: u64,
    plan: Plan,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Write,
    Sync,
}

impl Recorder {
    /// A disk whose data folder is `root`. `vfs` must be a new name.
    pub(super) fn new(root: &Path, vfs: String, plan: Plan) -> Result<Arc<Self>, RegisterError> {
        let tape = Tape {
            entries: Vec::new(),
            names: HashMap::new(),
            files: 0,
            names_due: HashSet::new(),
            failed_syncs: HashMap::new(),
            changes: 0,
            failed: 0,
            plan,
        };
        let recorder = Arc::new(Self {
            root: root.to_owned(),
            vfs: vfs.clone(),
            tape: Mutex::new(tape),
        });
        recording_vfs::register(&vfs, Arc::clone(&recorder) as Arc<dyn Watcher>)?;
        Ok(recorder)
    }

    /// How many changes were recorded so far: what is answered now must be in every later image.
    pub(super) fn position(&self) -> usize {
        self.tape().entries.len()
    }

    /// How many changes failed as planned.
    pub(super) fn failed(&self) -> u64 {
        self.tape().failed
    }

    /// The tape, which starts again empty.
    pub(super) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.tape().entries)
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}

impl Tape {
    /// Whether the plan has this change fail; and of a write, whether a part of it is made.
    fn fails(&mut self, kind: Kind) -> Option<Failure> {
        self.changes += 1;
        if !(self.plan.from..self.plan.until).contains(&self.changes) {
            return None;
        }
        let failure = match (self.plan.fault, kind) {
            (Fault::Write, Kind::Write) | (Fault::Sync, Kind::Sync) | (Fault::Dead, _) => Failure::Device,
            (Fault::Full | Fault::Short, Kind::Write) | (Fault::Full, Kind::Name) => Failure::Full,
            _ => return None,
        };
        self.failed += 1;
        Some(failure)
    }

    fn link(&mut self, path: PathBuf) -> usize {
        let file = self.files;
        self.files += 1;
        self.names.insert(path.clone(), file);
        self.entries.push(Entry::Link { path, file });
        file
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> Verdict {
        let verdict = match self.fails(Kind::Write) {
            None => Verdict::Make,
            Some(failure) if self.plan.fault == Fault::Short => Verdict::Short(bytes.len() / 2, failure),
            Some(failure) => Verdict::Fail(failure),
        };
        let made = match verdict {
            Verdict::Make => bytes,
            Verdict::Short(made, _) => bytes.get(..made).unwrap_or_default(),
            _ => return verdict,
        };
        let bytes = made.to_vec();
        self.entries.push(Entry::Write { file, offset, bytes });
        verdict
    }

    fn sync(&mut self, file: usize) -> Verdict {
        if let Some(failure) = self.fails(Kind::Sync) {
            self.entries.push(Entry::SyncFailed { file });
            *self.failed_syncs.entry(file).or_default() += 1;
            return Verdict::Fail(failure);
        }
        if self.plan.fault != Fault::Lying {
            self.entries.push(Entry::Sync { file });
        }
        Verdict::Pretend
    }

    fn sync_folder(&mut self, folder: PathBuf) {
        if self.plan.fault != Fault::Lying {
            self.entries.push(Entry::SyncFolder { folder });
        }
    }
}

impl Watcher for Recorder {
    fn change(&self, path: &Path, change: Change<'_>) -> Verdict {
        let path = self.relative(path);
        let mut tape = self.tape();
        let Some(file) = tape.names.get(&path).copied() else {
            if matches!(change, Change::Open) {
                if let Some(failure) = tape.fails(Kind::Name) {
                    return Verdict::Fail(failure);
                }
                if !is_database(&path) {
                    tape.names_due.insert(path.clone());
                }
                tape.link(path);
            }
            return Verdict::Make;
        };
        match change {
            Change::Open => Verdict::Make,
            Change::Write { offset, bytes } => tape.write(file, offset, bytes),
            Change::Truncate { length } => {
                if let Some(failure) = tape.fails(Kind::Write) {
                    return Verdict::Fail(failure);
                }
                tape.entries.push(Entry::Truncate { file, length });
                Verdict::Make
            }
            Change::Sync => {
                let verdict = tape.sync(file);
                if verdict == Verdict::Pretend && tape.names_due.remove(&path) {
                    tape.sync_folder(PathBuf::new());
                }
                verdict
            }
            Change::Delete { sync_folder } => {
                if let Some(failure) = tape.fails(Kind::Name) {
                    return Verdict::Fail(failure);
                }
                tape.names.remove(&path);
                tape.entries.push(Entry::Unlink { path });
                if sync_folder {
                    tape.sync_folder(PathBuf::new());
                }
                Verdict::Make
            }
        }
    }
}

/// The data folder as the store sees it.
#[derive(Clone)]
pub(super) struct RecordedDisk(pub(super) Arc<Recorder>);

impl fmt::Debug for RecordedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordedDisk")
    }
}

impl Disk for RecordedDisk {
    fn vfs(&self) -> Option<&str> {
        Some(&self.0.vfs)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn BodyFile>> {
        let mut tape = self.0.tape();
        if let Some(failure) = tape.fails(Kind::Name) {
            return Err(error(failure));
        }
        let file = File::options().write(true).create_new(true).open(path)?;
        let number = tape.link(self.0.relative(path));
        drop(tape);
        Ok(Box::new(RecordedFile {
            recorder: Arc::clone(&self.0),
            file,
            number,
            offset: 0,
        }))
    }

    fn log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = File::options().read(true).write(true).open(path)?;
        let path = self.0.relative(path);
        let mut tape = self.0.tape();
        if let Some(failure) = tape.fails(Kind::Name) {
            return Err(error(failure));
        }
        let number = tape.names.get(&path).copied();
        let number = number.ok_or_else(|| io::Error::other("SQLite has not opened it"))?;
        Ok(Box::new(RecordedLog {
            recorder: Arc::clone(&self.0),
            file,
            number,
            failed_syncs: tape.failed_syncs.get(&number).copied().unwrap_or(0),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tape = self.0.tape();
        if let Some(failure) = tape.fails(Kind::Name) {
            return Err(error(failure));
        }
        fs::rename(from, to)?;
        let (from, to) = (self.0.relative(from), self.0.relative(to));
        if let Some(file) = tape.names.remove(&from) {
            tape.names.insert(to.clone(), file);
            tape.entries.push(Entry::Link { path: to, file });
        }
        tape.entries.push(Entry::Unlink { path: from });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut tape = self.0.tape();
        if let Some(failure) = tape.fails(Kind::Name) {
            return Err(error(failure));
        }
        fs::remove_file(path)?;
        let path = self.0.relative(path);
        tape.names.remove(&path);
        tape.entries.push(Entry::Unlink { path });
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut tape = self.0.tape();
        if let Some(failure) = tape.fails(Kind::Sync) {
            return Err(error(failure));
        }
        let folder = self.0.relative(folder);
        tape.sync_folder(folder);
        Ok(())
    }
}

/// A body file being written on the disk under test.
struct RecordedFile {
    recorder: Arc<Recorder>,
    file: File,
    number: usize,
    offset: u64,
}

impl Write for RecordedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let verdict = self.recorder.tape().write(self.number, self.offset, bytes);
        let made = match verdict {
            Verdict::Make | Verdict::Pretend => bytes,
            // As the system does: a short write is no error, the one after it is.
            Verdict::Short(made, _) if made > 0 => bytes.get(..made).unwrap_or_default(),
            Verdict::Short(_, failure) | Verdict::Fail(failure) => return Err(error(failure)),
        };
        self.file.write_all(made)?;
        self.offset += u64::try_from(made.len()).unwrap_or(u64::MAX);
        Ok(made.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for RecordedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.offset = self.file.seek(to)?;
        Ok(self.offset)
    }
}

impl BodyFile for RecordedFile {
    fn sync(&mut self) -> io::Result<()> {
        match self.recorder.tape().sync(self.number) {
            Verdict::Fail(failure) | Verdict::Short(_, failure) => Err(error(failure)),
            Verdict::Make | Verdict::Pretend => Ok(()),
        }
    }
}

/// A descriptor of the store's own on the log of the database.
struct RecordedLog {
    recorder: Arc<Recorder>,
    file: File,
    number: usize,
    /// Those it has heard of.
    failed_syncs: u64,
}

impl LogFile for RecordedLog {
    fn sync(&mut self) -> io::Result<()> {
        let mut tape = self.recorder.tape();
        // Linux tells each open descriptor of a file once that something could not be written, whoever asked for it.
        let known = tape.failed_syncs.get(&self.number).copied().unwrap_or(0);
        if std::mem::replace(&mut self.failed_syncs, known) < known {
            return Err(error(Failure::Device));
        }
        match tape.sync(self.number) {
            Verdict::Fail(failure) | Verdict::Short(_, failure) => {
                self.failed_syncs += 1;
                Err(error(failure))
            }
            Verdict::Make | Verdict::Pretend => Ok(()),
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut tape = self.recorder.tape();
        if let Some(failure) = tape.fails(Kind::Write) {
            return Err(error(failure));
        }
        let file = self.number;
        tape.entries.push(Entry::Truncate { file, length });
        self.file.set_len(length)
    }

    fn head(&mut self) -> io::Result<[u8; LOG_HEAD_BYTES]> {
        self.file.head()
    }
}

fn error(failure: Failure) -> io::Error {
    match failure {
        Failure::Device => io::Error::other("input/output error (injected)"),
        Failure::Full => ErrorKind::StorageFull.into(),
    }
}

fn is_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "db")
}
