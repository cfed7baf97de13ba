//! Files that are whole or absent: written beside, synced, renamed, the folder synced. Keys are readable by their owner only.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Creates a folder with mode 0700, or takes the existing one and closes it to others.
pub fn private_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|error| FileError::new("create private folder", path, error))
}

/// Replaces a file with mode 0600. Returns once the new content would survive a crash.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, 0o600)
}

/// Replaces a file with mode 0644. Returns once the new content would survive a crash.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, 0o644)
}

/// Reads a whole file of at most `bytes_max` bytes.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError::new("read", path, error);
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > bytes_max {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes, at most {bytes_max} expected"),
        )));
    }
    std::fs::read(path).map_err(failed)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    replace(path, bytes, mode).map_err(|error| FileError::new("write", path, error))
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // A leftover of a crash may have another mode: it is removed, not reused.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        private_folder(&inner).unwrap();
        let path = inner.join("key.pem");
        std::fs::write(inner.join("key.pem.new"), "leftover").unwrap();
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"two");
        assert!(read(&path, 2).is_err());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&inner)), (0o600, 0o700));
        assert!(!inner.join("key.pem.new").exists());
    }

    #[test]
    fn an_error_names_the_file() {
        let error = write_public(Path::new("/nonexistent/a.pem"), b"").unwrap_err();
        assert_eq!(error.to_string(), "cannot write /nonexistent/a.pem");
    }
}
