//! What a store asks of the disk beside reading: the one seam through which every byte, name and sync goes, for the database (by the
//! name of a SQLite VFS) and for body files alike. The program uses [`LocalDisk`]; `vaguemestre selftest --faults` puts a disk there
//! that fails, forgets and reorders.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
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
}

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

impl BodyFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
