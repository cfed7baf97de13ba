//! What a store asks of the disk beside reading: the one seam through which every byte, name and sync goes, for the database (by the
//! name of a SQLite VFS) and for body files alike. The program uses [`LocalDisk`]; `vaguemestre selftest --faults` puts a disk there
//! that fails, forgets and reorders.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A disk that keeps what was synced.
pub trait Disk: fmt::Debug + Send + Sync {
    /// SQLite's name of the VFS for the database; `None`: its own for this system.
    fn vfs(&self) -> Option<&str> {
        None
    }

    /// Makes a file that must not exist yet, for writing.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn BodyFile>>;

    /// Renames a file within the disk. Durable once the folder of `to` is synced.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes names created, renamed or removed in a folder durable.
    ///
    /// # Errors
    /// What the system says; then none of them may be counted on.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Opens the log of the database, which SQLite writes, so that it can be synced and cut beside it.
    ///
    /// # Errors
    /// What the system says.
    fn log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(File::options().read(true).write(true).open(path)?))
    }

    /// Writes the bytes of a file once more over themselves and syncs it, so that it is durable as it is read now. Needed where an earlier
    /// process may have been told that a sync failed: the system keeps showing what it could not write, and has nothing left to write when it
    /// is asked again.
    ///
    /// # Errors
    /// What the system says.
    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let mut to = File::options().write(true).open(path)?;
        rewrite(path, |bytes, _| to.write_all(bytes))?;
        to.sync_data()
    }
}

/// Hands each piece of a file, with its offset, to `write`, which puts it back there.
///
/// # Errors
/// What the system says.
pub fn rewrite(path: &Path, mut write: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        let read = file.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        write(bytes, at)?;
        at += u64::try_from(read).unwrap_or(u64::MAX);
    }
}

/// Hands zeros to `write`, each piece with its offset, that make a file of `now` bytes one of `length`, and returns how long it is then. Pieces end
/// where a large piece of memory does: as they are written, so the system keeps them, and a sync looks at each.
///
/// # Errors
/// What `write` says.
pub fn grow(now: u64, length: u64, mut write: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<u64> {
    let mut at = now;
    while at < length {
        let end = (at + 1).next_multiple_of(ZEROS.len() as u64).min(length);
        let zeros = usize::try_from(end - at).ok().and_then(|bytes| ZEROS.get(..bytes));
        write(zeros.unwrap_or(&ZEROS), at)?;
        at = end;
    }
    Ok(at)
}

/// A descriptor of its own on the log of the database.
pub trait LogFile: Send {
    /// Returns once everything that anybody has written to the log is on stable storage.
    ///
    /// # Errors
    /// What the system says, also when a sync of the same file by somebody else failed since this one's last; then what was written since
    /// may not be counted on, nor does a second call bring it back.
    fn sync(&mut self) -> io::Result<()>;

    /// Makes the file `length` bytes long with zeros where it is shorter, and returns how long it is now. Nobody else may write to it meanwhile.
    ///
    /// # Errors
    /// What the system says; it may be longer than before.
    fn grow(&mut self, length: u64) -> io::Result<u64>;

    /// Forgets everything from `length` on.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// The first bytes of the file; zeros when it is shorter than that.
    ///
    /// # Errors
    /// What the system says.
    fn head(&mut self) -> io::Result<[u8; LOG_HEAD_BYTES]>;
}

/// Length of the header of a log (SQLite, "WAL-mode File Format" §1).
pub const LOG_HEAD_BYTES: usize = 32;

/// A body file being written.
pub trait BodyFile: Write + Seek + Send {
    /// Returns once everything written is on stable storage.
    ///
    /// # Errors
    /// What the system says; then none of it may be counted on, nor does a second call bring it back.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn BodyFile>> {
        Ok(Box::new(File::options().write(true).create_new(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

impl LogFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn grow(&mut self, length: u64) -> io::Result<u64> {
        grow(self.metadata()?.len(), length, |zeros, at| self.write_all_at(zeros, at))
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn head(&mut self) -> io::Result<[u8; LOG_HEAD_BYTES]> {
        let mut head = [0; LOG_HEAD_BYTES];
        self.rewind()?;
        match self.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok([0; LOG_HEAD_BYTES]),
            read => read.map(|()| head),
        }
    }
}

impl BodyFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// What a file becomes longer by.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
/// Memory that a rewrite takes.
const PIECE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_grows_to_the_length_asked_for_and_keeps_what_it_has() {
        const MEBIBYTE: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, [7; 100]).unwrap();
        let mut log = LocalDisk.log(&path).unwrap();
        for (asked, length) in [
            (99, 100),
            (100, 100),
            (101, 101),
            (MEBIBYTE, MEBIBYTE),
            (0, MEBIBYTE),
            (3 * MEBIBYTE + 5, 3 * MEBIBYTE + 5),
        ] {
            assert_eq!(log.grow(asked).unwrap(), length);
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len() as u64, length);
            assert!(bytes[..100] == [7; 100] && bytes[100..].iter().all(|byte| *byte == 0));
        }
        let mut pieces = Vec::new();
        let note = |zeros: &[u8], at: u64| {
            pieces.push((at, zeros.len() as u64));
            Ok(())
        };
        grow(500, 2 * MEBIBYTE + 1, note).unwrap();
        let whole = [(500, MEBIBYTE - 500), (MEBIBYTE, MEBIBYTE), (2 * MEBIBYTE, 1)];
        assert_eq!(pieces, whole);
        assert!(grow(0, 1, |_, _| Err(ErrorKind::StorageFull.into())).is_err());
    }

    #[test]
    fn a_file_that_is_rewritten_stays_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 17] {
            let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            fs::write(&path, &bytes).unwrap();
            LocalDisk.rewrite(&path).unwrap();
            assert!(fs::read(&path).unwrap() == bytes, "{length}");
            let mut written = 0;
            let count = |piece: &[u8], at: u64| {
                assert_eq!(at, written);
                written += u64::try_from(piece.len()).unwrap();
                Ok(())
            };
            rewrite(&path, count).unwrap();
            assert_eq!(written, u64::try_from(length).unwrap(), "every byte is written");
        }
        assert!(LocalDisk.rewrite(&folder.path().join("absent")).is_err());
    }
}
