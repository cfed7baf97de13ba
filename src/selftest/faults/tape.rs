//! The disk under test: everything that is written, synced, named or removed on it is recorded in order, and fails as planned.
//!
//! The files are real, so that the store can read what it wrote; only syncs do nothing, since what is durable is decided later, from the
//! tape. SQLite's files arrive through a watched VFS, body files through the [`Disk`] of the store.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store_vfs::{Change, Failure, RegisterError, Verdict, Watcher};

use super::disk::RecordedDisk;
use super::kinds::{Kind, Tallies, Target};
use super::plan::{Act, Plan, Scheme, failure};
use crate::selftest::dice::Dice;

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

pub(super) struct Tape {
    pub(super) entries: Vec<Entry>,
    pub(super) names: HashMap<PathBuf, usize>,
    targets: Vec<Target>,
    /// How often what was written to a file could not be made durable.
    errors: Vec<u64>,
    /// How many of these each handle has heard of.
    heard: HashMap<usize, u64>,
    /// Handles opened beside SQLite's.
    beside: usize,
    /// Logs and journals whose name the system syncs with their first sync.
    names_due: HashSet<PathBuf>,
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
            errors: Vec::new(),
            heard: HashMap::new(),
            beside: 0,
            names_due: HashSet::new(),
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

    /// No further faults, and nobody is told late of an earlier one.
    pub(super) fn mend(&self) {
        let mut tape = self.tape();
        tape.plan.end();
        tape.heard.values_mut().for_each(|heard| *heard = u64::MAX);
    }

    /// How often which fault hit.
    pub(super) fn tallies(&self) -> Tallies {
        self.tape().plan.tallies.clone()
    }

    /// The tape, which starts again empty.
    pub(super) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.tape().entries)
    }

    pub(super) fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    /// Syncs in its own time, while others go on. As Linux does since 4.13, a failure is told once by each handle of the file that was open
    /// when it happened, whoever's sync it was.
    pub(super) fn sync(&self, what: Synced, handle: Option<usize>) -> Result<(), Failure> {
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
        if !succeeded || tape.plan.scheme != Scheme::Lying {
            let file = if let Synced::File(file) = what {
                Some(file)
            } else {
                None
            };
            tape.entries.push(Entry::Sync(Sync { what, began, succeeded }));
            if let Some(file) = file {
                return tape.hear(file, handle, succeeded);
            }
        }
        verdict
    }
}

impl Tape {
    fn is_killed(&self) -> bool {
        self.entries.len() >= self.killed_at
    }

    /// How this change fails, if it does.
    pub(super) fn fails(&mut self, act: Act, target: Target) -> Result<(), Failure> {
        if self.is_killed() {
            return Err(Failure::Device);
        }
        self.plan.hits(act, target).map_or(Ok(()), |kind| Err(failure(kind)))
    }

    /// A sync of the file ended: whether its handle is told of a failure, this one or one before.
    fn hear(&mut self, file: usize, handle: Option<usize>, succeeded: bool) -> Result<(), Failure> {
        let Some(errors) = self.errors.get_mut(file) else {
            return Ok(());
        };
        if !succeeded {
            *errors += 1;
        }
        let now = *errors;
        let is_told = match handle {
            Some(handle) => self.heard.insert(handle, now).is_some_and(|heard| heard < now),
            None => !succeeded,
        };
        if is_told { Err(Failure::Device) } else { Ok(()) }
    }

    /// A handle on the file that SQLite does not know of.
    pub(super) fn open_beside(&mut self, file: usize) -> usize {
        self.beside += 1;
        // SQLite's are addresses of structures, and even.
        let handle = 2 * self.beside + 1;
        self.opened(file, handle);
        handle
    }

    fn opened(&mut self, file: usize, handle: usize) {
        let errors = self.errors.get(file).copied().unwrap_or_default();
        self.heard.insert(handle, errors);
    }

    fn name(&mut self, path: PathBuf) -> usize {
        let file = self.targets.len();
        self.errors.push(0);
        self.targets.push(match path.extension().and_then(OsStr::to_str) {
            Some("db") => Target::Database,
            Some("db-wal" | "db-journal") => Target::Log,
            _ => Target::Body,
        });
        self.names.insert(path, file);
        file
    }

    pub(super) fn link(&mut self, path: PathBuf) -> usize {
        let file = self.name(path.clone());
        self.entries.push(Entry::Link { path, file });
        file
    }

    pub(super) fn unlink(&mut self, path: PathBuf) {
        self.names.remove(&path);
        self.entries.push(Entry::Unlink { path });
    }

    fn target(&self, file: usize) -> Target {
        self.targets.get(file).copied().unwrap_or(Target::Body)
    }

    pub(super) fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> Verdict {
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
        // A disk keeps or loses blocks, not writes.
        let mut offset = offset;
        let mut rest = made;
        while !rest.is_empty() {
            let block = BLOCK_BYTES - usize::try_from(offset).unwrap_or(0) % BLOCK_BYTES;
            let (bytes, behind) = rest.split_at(block.min(rest.len()));
            let entry = Entry::Write {
                file,
                offset,
                bytes: Arc::from(bytes),
            };
            self.entries.push(entry);
            offset += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            rest = behind;
        }
        verdict
    }

    pub(super) fn truncate(&mut self, file: usize, length: u64) -> Verdict {
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
        if self.sync(Synced::Folder(PathBuf::new()), None).is_err() {
            tracing::trace!("names of the data folder are not synced");
        }
    }

    /// What becomes of a change that SQLite asks for.
    fn change(&self, path: &Path, change: Change<'_>) -> Verdict {
        let path = self.relative(path);
        let mut tape = self.tape();
        let Some(file) = tape.names.get(&path).copied() else {
            return match change {
                Change::Open { handle } => open(&mut tape, path, handle),
                _ => Verdict::Make,
            };
        };
        match change {
            Change::Open { .. } if tape.is_killed() => Verdict::Fail(Failure::Device),
            Change::Open { handle } => {
                tape.opened(file, handle);
                Verdict::Make
            }
            Change::Write { offset, bytes } => tape.write(file, offset, bytes),
            Change::Truncate { length } => tape.truncate(file, length),
            Change::Sync { handle } => {
                let is_name_due = tape.names_due.remove(&path);
                drop(tape);
                let synced = self.sync(Synced::File(file), Some(handle));
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

fn open(tape: &mut Tape, path: PathBuf, handle: usize) -> Verdict {
    if let Err(failure) = tape.fails(Act::Name, Target::Name) {
        return Verdict::Fail(failure);
    }
    if path.extension().is_none_or(|extension| extension != "db") {
        tape.names_due.insert(path.clone());
    }
    let file = tape.link(path);
    tape.opened(file, handle);
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
        store_vfs::register(&vfs, Arc::clone(&slot) as Arc<dyn Watcher>)?;
        Ok(slot)
    }

    /// From now on this disk, as a store sees it.
    pub(super) fn insert(self: &Arc<Self>, recorder: &Arc<Recorder>) -> RecordedDisk {
        *self.recorder() = Some(Arc::clone(recorder));
        RecordedDisk::new(recorder, self.vfs.clone())
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

/// What a disk writes whole.
const BLOCK_BYTES: usize = 4096;
/// Longest time that a sync takes here, in half of the cases: enough for others to write meanwhile.
const SYNC_MICROSECONDS_MAX: usize = 400;
