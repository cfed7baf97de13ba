//! Large message bodies as files under `bodies/`, beside a database that names them.
//!
//! A file is written in `bodies/incoming/`, synced, renamed into one of 256 folders and that folder synced, all *before* the
//! transaction that names it; it is removed only *after* the transaction that forgets it. So a crash can leave a file that
//! no row names, never a row that names no file. Each start of the program has its own run number, which begins every file
//! name: files of earlier runs that no row names are orphans and may be swept while this run goes on.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{BodyFile, Disk};

/// The files of one data folder, as one run of the program sees them.
#[derive(Debug)]
pub(super) struct Blobs {
    root: PathBuf,
    run: u64,
    next: AtomicU64,
    disk: Arc<dyn Disk>,
    /// Messages on their way into a file.
    stages: AtomicUsize,
    /// Files to remove once no backup copies them.
    waiting: Mutex<Vec<BlobName>>,
}

/// Name of a body file: the run that wrote it and its number in that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BlobName {
    /// The run that wrote it.
    pub(super) run: u64,
    number: u64,
}

impl Blobs {
    /// The files under `folder`, for a run whose number no earlier run had.
    pub(super) fn new(folder: &Path, run: u64, disk: Arc<dyn Disk>) -> Self {
        Self {
            root: folder.join("bodies"),
            run,
            next: AtomicU64::new(1),
            disk,
            stages: AtomicUsize::new(0),
            waiting: Mutex::default(),
        }
    }

    /// A message begins its way into a file.
    pub(super) fn stage_begins(&self) {
        self.stages.fetch_add(1, Ordering::Relaxed);
    }

    /// It has arrived there, or came to nothing.
    pub(super) fn stage_ends(&self) {
        self.stages.fetch_sub(1, Ordering::Relaxed);
    }

    /// What each of them gets of `bytes`.
    pub(super) fn stage_share(&self, bytes: usize) -> usize {
        bytes / self.stages.load(Ordering::Relaxed).max(1)
    }

    /// Makes every folder that a file may be published in, once and for all, so that a file's own folder is durable before the file.
    pub(super) fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(self.root.join(INCOMING))?;
        for number in 0..FOLDERS {
            match fs::create_dir(self.root.join(folder_name(number))) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.disk.sync_folder(&self.root)
    }

    /// Starts a file in `incoming`.
    pub(super) fn create(&self) -> io::Result<(BlobName, Box<dyn BodyFile>)> {
        let name = BlobName {
            run: self.run,
            number: self.next.fetch_add(1, Ordering::Relaxed),
        };
        let file = self.disk.create(&self.incoming(name))?;
        Ok((name, file))
    }

    /// Writes and syncs a whole file in `incoming`.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<BlobName> {
        let (name, mut file) = self.create()?;
        let written = file.write_all(bytes).and_then(|()| file.sync());
        if let Err(error) = written {
            drop(file);
            self.discard(name);
            return Err(error);
        }
        Ok(name)
    }

    /// Moves a synced file to its place for good and returns its length in bytes. Durable on return.
    pub(super) fn publish(&self, name: BlobName) -> io::Result<u64> {
        let place = self.place(name);
        self.disk.rename(&self.incoming(name), &place)?;
        let durable = self.disk.sync_folder(&self.root.join(folder_name(name.number)));
        let length = durable.and_then(|()| Ok(fs::metadata(&place)?.len()));
        if length.is_err() {
            self.remove(name);
        }
        length
    }

    /// Appends `length_bytes` of a file, from `offset` on, to `into`.
    pub(super) fn read(&self, name: BlobName, offset: u64, length_bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut file = File::open(self.place(name))?;
        file.seek(SeekFrom::Start(offset))?;
        into.reserve_exact(length_bytes);
        let limit = u64::try_from(length_bytes).unwrap_or(u64::MAX);
        let got = file.take(limit).read_to_end(into)?;
        if got < length_bytes {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The first `length_bytes` of the last `left_bytes` of a file that is still in `incoming`.
    pub(super) fn read_incoming(&self, name: BlobName, left_bytes: u64, length_bytes: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.incoming(name))?;
        let back = i64::try_from(left_bytes).map_err(|_| ErrorKind::FileTooLarge)?;
        file.seek(SeekFrom::End(-back))?;
        let mut bytes = vec![0; length_bytes];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes a file that no row names any more; a failure leaves an orphan for the next start to sweep. While a backup copies files, they
    /// stay until it is over.
    pub(super) fn remove(&self, name: BlobName) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(name);
        match self.gate() {
            Ok(Some(gate)) => {
                waiting
                    .drain(..)
                    .for_each(|name| self.remove_or_tell(&self.place(name)));
                drop(gate);
            }
            Ok(None) if waiting.len() < WAITING_MAX => {}
            Ok(None) => {
                tracing::warn!("many body files wait for a backup to end; the next start removes them");
                waiting.clear();
            }
            Err(error) => {
                tracing::warn!(%error, "body files that are no longer used could not be removed; the next removal tries again");
            }
        }
    }

    /// The right to remove files, until it is dropped; `None` while a backup copies them.
    fn gate(&self) -> io::Result<Option<File>> {
        let gate = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(GATE))?;
        match gate.try_lock() {
            Ok(()) => Ok(Some(gate)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Keeps every file where it is until the value is dropped, in whatever process removes them.
    pub(super) fn hold(&self) -> io::Result<File> {
        let gate = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(GATE))?;
        gate.lock_shared()?;
        Ok(gate)
    }

    /// The number of this run; 0 for one that only reads.
    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// Makes the names of all files durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        for number in 0..FOLDERS {
            self.disk.sync_folder(&self.root.join(folder_name(number)))?;
        }
        self.disk.sync_folder(&self.root)
    }

    /// Length of a published file.
    pub(super) fn length(&self, name: BlobName) -> io::Result<u64> {
        Ok(fs::metadata(self.place(name))?.len())
    }

    /// Path of a published file below `bodies/`.
    pub(super) fn relative(name: BlobName) -> PathBuf {
        Path::new(&folder_name(name.number)).join(name.to_string())
    }

    /// Every file below `bodies/`, those in `incoming` included, with the name it is if it is one of ours.
    pub(super) fn list(&self) -> io::Result<Vec<(PathBuf, Option<BlobName>)>> {
        let mut files = Vec::new();
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for entry in fs::read_dir(folder.path())? {
                let entry = entry?.file_name();
                let name = entry.to_str().and_then(|text| text.parse().ok());
                files.push((Path::new(&folder.file_name()).join(entry), name));
            }
        }
        Ok(files)
    }

    /// Moves a file below `bodies/` into another folder of the disk; false when it is gone.
    pub(super) fn move_aside(&self, path: &Path, to: &Path) -> io::Result<bool> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        match self.disk.rename(&self.root.join(path), &to.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            other => other?,
        }
        self.disk.sync_folder(to)?;
        Ok(true)
    }

    /// Keeps a published file under another name too, so that its removal loses nothing.
    pub(super) fn keep(&self, name: BlobName, path: &Path) -> io::Result<()> {
        let place = self.place(name);
        if path.exists() {
            // Kept before; to copy a file onto its own link would empty it.
            return Ok(());
        }
        if fs::hard_link(&place, path).is_err() {
            fs::copy(&place, path)?;
        }
        File::open(path)?.sync_all()
    }

    /// Removes a file that was never published.
    pub(super) fn discard(&self, name: BlobName) {
        self.remove_or_tell(&self.incoming(name));
    }

    /// Removes what earlier runs left in `incoming` and every published file of theirs for which `named` says no.
    /// Returns how many were removed.
    pub(super) fn sweep(&self, mut named: impl FnMut(BlobName) -> io::Result<bool>) -> io::Result<u64> {
        let mut removed = 0;
        let Some(_gate) = self.gate()? else {
            return Ok(removed);
        };
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let incoming = folder.file_name() == INCOMING;
            for path in earlier_files(&folder.path(), self.run)? {
                if incoming || !named(path.1)? {
                    self.remove_or_tell(&path.0);
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    fn remove_or_tell(&self, path: &Path) {
        match self.disk.remove(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a body file that is no longer used could not be removed; the next start tries again");
            }
            _ => {}
        }
    }

    fn incoming(&self, name: BlobName) -> PathBuf {
        self.root.join(INCOMING).join(name.to_string())
    }

    fn place(&self, name: BlobName) -> PathBuf {
        self.root.join(folder_name(name.number)).join(name.to_string())
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.run, self.number)
    }
}

impl FromStr for BlobName {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let parsed = text.split_once('-').and_then(|(run, number)| {
            Some(Self {
                run: u64::from_str_radix(run, 16).ok()?,
                number: u64::from_str_radix(number, 16).ok()?,
            })
        });
        // One spelling only: what is not printed back as it came was not written here.
        parsed
            .filter(|name| name.to_string() == text)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "not the name of a body file"))
    }
}

/// Files of runs before `run` in one folder. Anything else there is left alone.
fn earlier_files(folder: &Path, run: u64) -> io::Result<Vec<(PathBuf, BlobName)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .to_str()
            .and_then(|text| text.parse::<BlobName>().ok());
        if let Some(name) = name.filter(|name| name.run < run) {
            files.push((entry.path(), name));
        }
    }
    Ok(files)
}

/// The folder that the file of this number is published in.
fn folder_name(number: u64) -> String {
    format!("{:02x}", number % FOLDERS)
}

/// Where files are written before a row may name them.
const INCOMING: &str = "incoming";
/// Locked by whoever removes files, and shared by whoever wants them kept.
const GATE: &str = "gate";
/// Files that wait for a backup; each is a name of 16 bytes.
const WAITING_MAX: usize = 1_000_000;
/// Folders that published files are spread over.
const FOLDERS: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LocalDisk;

    fn blobs(folder: &Path, run: u64) -> Blobs {
        let blobs = Blobs::new(folder, run, Arc::new(LocalDisk));
        blobs.prepare().unwrap();
        blobs
    }

    #[test]
    fn a_published_file_reads_back_from_any_offset() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs(folder.path(), 1);
        let name = blobs.write(b"0123456789").unwrap();
        assert_eq!(blobs.publish(name).unwrap(), 10);
        let mut bytes = b">".to_vec();
        blobs.read(name, 4, 6, &mut bytes).unwrap();
        assert_eq!(bytes, b">456789");
        assert!(
            blobs.read(name, 4, 7, &mut bytes).is_err(),
            "a truncated file is an error"
        );
    }

    #[test]
    fn sweeping_leaves_named_files_and_files_of_this_run() {
        let folder = tempfile::tempdir().unwrap();
        let first = blobs(folder.path(), 1);
        let (kept, orphan) = (first.write(b"kept").unwrap(), first.write(b"orphan").unwrap());
        first.publish(kept).unwrap();
        first.publish(orphan).unwrap();
        first.write(b"never published").unwrap();

        let second = blobs(folder.path(), 2);
        let mine = second.write(b"mine").unwrap();
        let removed = second.sweep(|name| Ok(name == kept)).unwrap();
        assert_eq!(removed, 2);
        second.publish(mine).unwrap();
        let mut bytes = Vec::new();
        second.read(kept, 0, 4, &mut bytes).unwrap();
        second.read(mine, 0, 4, &mut bytes).unwrap();
        assert_eq!(bytes, b"keptmine");
        assert!(second.read(orphan, 0, 6, &mut bytes).is_err());
    }

    #[test]
    fn names_from_elsewhere_are_refused() {
        for text in ["", "1", "1-", "-1", "../x", "1-2/3", "01-2", "1-+2", "1-A"] {
            assert!(text.parse::<BlobName>().is_err(), "{text}");
        }
        assert_eq!("a-1f".parse::<BlobName>().unwrap().to_string(), "a-1f");
    }
}
