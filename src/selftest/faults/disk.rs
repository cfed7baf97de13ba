//! The recorded disk as a store sees it: body files beside the VFS that records the database.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use store_vfs::{Failure, Verdict};

use super::kinds::Target;
use super::plan::Act;
use super::tape::{Entry, Recorder, Synced};
use crate::store::{BodyFile, Disk, LOG_HEAD_BYTES, LogFile, grow, rewrite};

/// The data folder as the store sees it.
#[derive(Clone)]
pub(super) struct RecordedDisk {
    recorder: Arc<Recorder>,
    vfs: String,
}

impl RecordedDisk {
    pub(super) fn new(recorder: &Arc<Recorder>, vfs: String) -> Self {
        Self {
            recorder: Arc::clone(recorder),
            vfs,
        }
    }
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
        let handle = tape.open_beside(number);
        drop(tape);
        Ok(Box::new(RecordedLog {
            recorder: Arc::clone(&self.recorder),
            file,
            number,
            handle,
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
        self.recorder.sync(Synced::Folder(folder), None).map_err(error)
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let number = self.recorder.tape().names.get(&self.recorder.relative(path)).copied();
        let number = number.ok_or(ErrorKind::NotFound)?;
        let mut file = RecordedFile {
            recorder: Arc::clone(&self.recorder),
            file: File::options().write(true).open(path)?,
            number,
            offset: 0,
        };
        rewrite(path, |bytes, _| file.write_all(bytes))?;
        file.sync()
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
        self.recorder.sync(Synced::File(self.number), None).map_err(error)
    }
}

/// A descriptor of the store's own on the log of the database.
struct RecordedLog {
    recorder: Arc<Recorder>,
    file: File,
    number: usize,
    handle: usize,
}

impl LogFile for RecordedLog {
    fn sync(&mut self) -> io::Result<()> {
        let synced = self.recorder.sync(Synced::File(self.number), Some(self.handle));
        synced.map_err(error)
    }

    fn grow(&mut self, length: u64) -> io::Result<u64> {
        let mut file = RecordedFile {
            recorder: Arc::clone(&self.recorder),
            file: self.file.try_clone()?,
            number: self.number,
            offset: 0,
        };
        grow(self.file.metadata()?.len(), length, |zeros, at| {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(zeros)
        })
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
