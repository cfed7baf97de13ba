//! The disk under test: everything that is written, synced, named or removed on it is recorded in order, and fails as planned.
//!
//! The files are real, so that the store can read what it wrote; only syncs do nothing, since what is durable is decided later, from the
//! tape. SQLite's files arrive through a watched VFS, body files through the [`Disk`] of the store.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use recording_vfs::{Change, Failure, RegisterError, Verdict, Watcher};

use super::kinds::{Kind, Tallies, Target};
use super::plan::{Act, Plan, Scheme, failure};
use crate::selftest::dice::Dice;
use crate::store::{BodyFile, Disk, LOG_HEAD_BYTES, LogFile};

/// A change of the disk. Paths are relative to the data folder.
#[derive(Debug)]
pub(super) enum Entry {
    /// A name for a file. Durable once the folder is synced.
    Link { path: PathBuf, file: usize },
    /// The name goes. Durable once the folder is synced.
    Unlink { path: PathBuf },
    /// Bytes of a file. Durable once it is synced.
    Write { file: usize, offset: u64, bytes: Arc<[u8]> },
    /// Its length.
    Truncate { file: usize, length: u64 },
    /// A sync has ended.
    Sync(Sync),
}

/// A sync. It covers what was done before it began: what was written while it was under way is not durable at its end.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) what: Synced,
    /// Position on the tape at which it began.
    pub(super) began: usize,
    /// Otherwise what it should have made durable never will be: the system forgets what it could not write, and the next sync does not
    /// mention it.
    pub(super) succeeded: bool,
}

/// What was synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// The bytes of a file.
    File(usize),
    /// The names in a folder.
    Folder(PathBuf),
}

/// The disk with its tape.
pub(super) struct Recorder {
    root: PathBuf,
    tape: Mutex<Tape>,
    /// What a sync under way waits on, for nobody.
    delay: Condvar,
}

struct Tape {
    entries: Vec<Entry>,
    names: HashMap<PathBuf, usize>,
    targets: Vec<Target>,
    /// Logs and journals whose name the system syncs with their first sync.
    names_due: HashSet<PathBuf>,
    /// For each file, how many syncs of it failed.
    failed_syncs: HashMap<usize, u64>,
    plan: Plan,
    /// How long syncs take; `None`: no time.
    delays: Option<Dice>,
    /// From this position on the process is dead: nothing is changed any more.
    killed_at: usize,
}

impl Recorder {
    /// A disk whose data folder is `root`, with these files in it, all durable.
    pub(super) fn new(
        root: &Path,
        files: impl Iterator<Item = PathBuf>,
        plan: Plan,
        delays: Option<Dice>,
    ) -> Arc<Self> {
        let mut tape = Tape {
            entries: Vec::new(),
            names: HashMap::new(),
            targets: Vec::new(),
            names_due: HashSet::new(),
            failed_syncs: HashMap::new(),
            plan,
            delays,
            killed_at: usize::MAX,
        };
        for path in files {
            tape.name(path);
        }
        Arc::new(Self {
            root: root.to_owned(),
            tape: Mutex::new(tape),
            delay: Condvar::new(),
        })
    }

    /// How many changes were recorded so far: what is answered now must be in every later image.
    pub(super) fn position(&self) -> usize {
        self.tape().entries.len()
    }

    /// The process dies after so many more changes.
    pub(super) fn kill_after(&self, changes: usize) {
        let mut tape = self.tape();
        tape.killed_at = tape.entries.len() + changes;
    }

    /// Whether it is dead: then nobody hears its answers.
    pub(super) fn is_killed(&self) -> bool {
        self.tape().is_killed()
    }

    /// It starts anew, on what is there.
    pub(super) fn revive(&self) {
        self.tape().killed_at = usize::MAX;
    }

    /// No further faults.
    pub(super) fn mend(&self) {
        self.tape().plan.end();
    }

    /// How often which fault hit.
    pub(super) fn tallies(&self) -> Tallies {
        self.tape().plan.tallies.clone()
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

    /// Syncs in its own time, while others go on.
    fn sync(&self, what: Synced) -> Result<(), Failure> {
        let mut tape = self.tape();
        let began = tape.entries.len();
        let target = match &what {
            Synced::File(file) => tape.target(*file),
            Synced::Folder(_) => Target::Name,
        };
        let verdict = tape.fails(Act::Sync, target);
        if tape.is_killed() {
            return verdict;
        }
        let delay = |dice: &mut Dice| {
            if dice.percent(50) {
                0
            } else {
                dice.below(SYNC_MICROSECONDS_MAX)
            }
        };
        let microseconds = tape.delays.as_mut().map_or(0, delay);
        if microseconds > 0 {
            let delay = Duration::from_micros(u64::try_from(microseconds).unwrap_or(0));
            let waited = self.delay.wait_timeout_while(tape, delay, |_| true);
            (tape, _) = waited.unwrap_or_else(PoisonError::into_inner);
            // Killed meanwhile: it is not known to have ended.
            if tape.is_killed() {
                return Err(Failure::Device);
            }
        }
        let succeeded = verdict.is_ok();
        if let (false, Synced::File(file)) = (succeeded, &what) {
            *tape.failed_syncs.entry(*file).or_default() += 1;
        }
        if !succeeded || tape.plan.scheme != Scheme::Lying {
            tape.entries.push(Entry::Sync(Sync { what, began, succeeded }));
        }
        verdict
    }
}

impl Tape {
    fn is_killed(&self) -> bool {
        self.entries.len() >= self.killed_at
    }

    /// How this change fails, if it does.
    fn fails(&mut self, act: Act, target: Target) -> Result<(), Failure> {
        if self.is_killed() {
            return Err(Failure::Device);
        }
        self.plan.hits(act, target).map_or(Ok(()), |kind| Err(failure(kind)))
    }

    fn name(&mut self, path: PathBuf) -> usize {
        let file = self.targets.len();
        self.targets.push(match path.extension().and_then(OsStr::to_str) {
            Some("db") => Target::Database,
            Some("db-wal" | "db-journal") => Target::Log,
            _ => Target::Body,
        });
        self.names.insert(path, file);
        file
    }

    fn link(&mut self, path: PathBuf) -> usize {
        let file = self.name(path.clone());
        self.entries.push(Entry::Link { path, file });
        file
    }

    fn unlink(&mut self, path: PathBuf) {
        self.names.remove(&path);
        self.entries.push(Entry::Unlink { path });
    }

    fn failed_syncs(&self, file: usize) -> u64 {
        self.failed_syncs.get(&file).copied().unwrap_or(0)
    }

    fn target(&self, file: usize) -> Target {
        self.targets.get(file).copied().unwrap_or(Target::Body)
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> Verdict {
        if self.is_killed() {
            return Verdict::Fail(Failure::Device);
        }
        let target = self.target(file);
        let verdict = match self.plan.hits(Act::Write, target) {
            None => Verdict::Make,
            Some(Kind::ShortWrite) => Verdict::Short(bytes.len() / 2, failure(Kind::ShortWrite)),
            Some(kind) => Verdict::Fail(failure(kind)),
        };
        let made = match verdict {
            Verdict::Make => bytes,
            Verdict::Short(made, _) => bytes.get(..made).unwrap_or_default(),
            _ => return verdict,
        };
        let bytes = Arc::from(made);
        self.entries.push(Entry::Write { file, offset, bytes });
        verdict
    }

    fn truncate(&mut self, file: usize, length: u64) -> Verdict {
        if let Err(failure) = self.fails(Act::Write, self.target(file)) {
            return Verdict::Fail(failure);
        }
        self.entries.push(Entry::Truncate { file, length });
        Verdict::Make
    }
}

impl Recorder {
    /// As SQLite does it beside something else, without a word when it fails.
    fn sync_root(&self) {
        if self.sync(Synced::Folder(PathBuf::new())).is_err() {
            tracing::trace!("names of the data folder are not synced");
        }
    }

    /// What becomes of a change that SQLite asks for.
    fn change(&self, path: &Path, change: Change<'_>) -> Verdict {
        let path = self.relative(path);
        let mut tape = self.tape();
        let Some(file) = tape.names.get(&path).copied() else {
            return if matches!(change, Change::Open) {
                open(&mut tape, path)
            } else {
                Verdict::Make
            };
        };
        match change {
            Change::Open if tape.is_killed() => Verdict::Fail(Failure::Device),
            Change::Open => Verdict::Make,
            Change::Write { offset, bytes } => tape.write(file, offset, bytes),
            Change::Truncate { length } => tape.truncate(file, length),
            Change::Sync => {
                let is_name_due = tape.names_due.remove(&path);
                drop(tape);
                let synced = self.sync(Synced::File(file));
                if is_name_due {
                    self.sync_root();
                }
                synced.map_or_else(Verdict::Fail, |()| Verdict::Pretend)
            }
            Change::Delete { sync_folder } => {
                if let Err(failure) = tape.fails(Act::Name, Target::Name) {
                    return Verdict::Fail(failure);
                }
                tape.unlink(path);
                drop(tape);
                if sync_folder {
                    self.sync_root();
                }
                Verdict::Make
            }
        }
    }
}

fn open(tape: &mut Tape, path: PathBuf) -> Verdict {
    if let Err(failure) = tape.fails(Act::Name, Target::Name) {
        return Verdict::Fail(failure);
    }
    if path.extension().is_none_or(|extension| extension != "db") {
        tape.names_due.insert(path.clone());
    }
    tape.link(path);
    Verdict::Make
}

/// A VFS for one disk after the other: their names stay taken as long as the process runs.
pub(super) struct Slot {
    vfs: String,
    recorder: Mutex<Option<Arc<Recorder>>>,
}

impl Slot {
    /// `vfs` must be a new name.
    pub(super) fn new(vfs: String) -> Result<Arc<Self>, RegisterError> {
        let slot = Arc::new(Self {
            vfs: vfs.clone(),
            recorder: Mutex::default(),
        });
        recording_vfs::register(&vfs, Arc::clone(&slot) as Arc<dyn Watcher>)?;
        Ok(slot)
    }

    /// From now on this disk, as a store sees it.
    pub(super) fn insert(self: &Arc<Self>, recorder: &Arc<Recorder>) -> RecordedDisk {
        *self.recorder() = Some(Arc::clone(recorder));
        RecordedDisk {
            recorder: Arc::clone(recorder),
            vfs: self.vfs.clone(),
        }
    }

    fn recorder(&self) -> MutexGuard<'_, Option<Arc<Recorder>>> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Slot {
    fn change(&self, path: &Path, change: Change<'_>) -> Verdict {
        let recorder = self.recorder().clone();
        match recorder {
            // What an earlier disk's store still does is nobody's business.
            Some(recorder) if path.starts_with(&recorder.root) => recorder.change(path, change),
            _ => Verdict::Make,
        }
    }
}

/// The data folder as the store sees it.
#[derive(Clone)]
pub(super) struct RecordedDisk {
    recorder: Arc<Recorder>,
    vfs: String,
}

impl fmt::Debug for RecordedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordedDisk")
    }
}

impl Disk for RecordedDisk {
    fn vfs(&self) -> Option<&str> {
        Some(&self.vfs)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn BodyFile>> {
        let mut tape = self.recorder.tape();
        tape.fails(Act::Name, Target::Name).map_err(error)?;
        let file = File::options().write(true).create_new(true).open(path)?;
        let number = tape.link(self.recorder.relative(path));
        drop(tape);
        Ok(Box::new(RecordedFile {
            recorder: Arc::clone(&self.recorder),
            file,
            number,
            offset: 0,
        }))
    }

    fn log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let mut tape = self.recorder.tape();
        tape.fails(Act::Name, Target::Name).map_err(error)?;
        let file = File::options().read(true).write(true).open(path)?;
        let number = tape.names.get(&self.recorder.relative(path)).copied();
        let number = number.ok_or_else(|| io::Error::other("SQLite has not opened it"))?;
        Ok(Box::new(RecordedLog {
            recorder: Arc::clone(&self.recorder),
            file,
            number,
            failed_syncs: tape.failed_syncs(number),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tape = self.recorder.tape();
        tape.fails(Act::Name, Target::Name).map_err(error)?;
        fs::rename(from, to)?;
        let (from, to) = (self.recorder.relative(from), self.recorder.relative(to));
        if let Some(file) = tape.names.remove(&from) {
            tape.names.insert(to.clone(), file);
            tape.entries.push(Entry::Link { path: to, file });
        }
        tape.entries.push(Entry::Unlink { path: from });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut tape = self.recorder.tape();
        tape.fails(Act::Name, Target::Name).map_err(error)?;
        fs::remove_file(path)?;
        tape.unlink(self.recorder.relative(path));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let folder = self.recorder.relative(folder);
        self.recorder.sync(Synced::Folder(folder)).map_err(error)
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
        self.recorder.sync(Synced::File(self.number)).map_err(error)
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
        let synced = self.recorder.sync(Synced::File(self.number));
        // Linux tells each open descriptor of a file once that something could not be written, whoever asked for it.
        let known = self.recorder.tape().failed_syncs(self.number);
        if std::mem::replace(&mut self.failed_syncs, known) < known {
            return Err(error(synced.err().unwrap_or(Failure::Device)));
        }
        synced.map_err(error)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut tape = self.recorder.tape();
        match tape.truncate(self.number, length) {
            Verdict::Fail(failure) | Verdict::Short(_, failure) => Err(error(failure)),
            Verdict::Make | Verdict::Pretend => self.file.set_len(length),
        }
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

/// Longest time that a sync takes here, in half of the cases: enough for others to write meanwhile.
const SYNC_MICROSECONDS_MAX: usize = 400;
