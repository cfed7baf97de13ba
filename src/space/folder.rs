//! The data folder of a sandbox: where everything lives, who holds it, which version wrote it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::app::control::SOCKET;
use crate::pki::{FileError, private_folder, write_public};

/// An open data folder, locked against a second process.
pub struct DataFolder {
    root: PathBuf,
    /// Held for as long as the process runs.
    _lock: File,
}

/// Why a data folder cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process runs on it.
    #[error("{0} is in use by another vaguemestre: stop it, or give another folder with --data")]
    InUse(PathBuf),
    /// A newer program wrote it.
    #[error(
        "{path} was written by data format {found}, and this program knows formats up to {FORMAT}: use a newer vaguemestre, or another folder with --data"
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not a data folder of ours.
    #[error("{0} is not empty and holds no vaguemestre data: give an empty or new folder with --data")]
    Foreign(PathBuf),
    /// The file system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of ours could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing was ever raised in it.
    #[error("{0} holds no space yet: run `vaguemestre up` first, or give the folder with --data")]
    Empty(PathBuf),
    /// No place is known for data.
    #[error("there is no home folder to keep data in: give a folder with --data")]
    NoHome,
}

impl DataFolder {
    /// Opens or creates the folder and locks it.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let marker = root.join(MARKER);
        if root.exists() && !marker.exists() && !is_empty(root)? {
            return Err(FolderError::Foreign(root.to_owned()));
        }
        // Only now: somebody else's folder must not change its mode.
        private_folder(root)?;
        let lock_path = root.join(LOCK);
        let lock = File::create(&lock_path).map_err(|source| FolderError::Io {
            path: lock_path.clone(),
            source,
        })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FolderError::InUse(root.to_owned())),
            Err(fs::TryLockError::Error(source)) => {
                return Err(FolderError::Io {
                    path: lock_path,
                    source,
                });
            }
        }
        check_format(root)?;
        if !marker.exists() {
            write_public(&marker, format!("{FORMAT}\n").as_bytes())?;
        }
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
        })
    }

    /// The folder's layout.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.root)
    }
}

/// Names of things in a data folder; for readers too, which take no lock.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of a folder, whether it exists or not.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// An existing data folder, for commands that only read.
    ///
    /// # Errors
    /// There is no data in it, or a newer program wrote it.
    pub fn existing(root: &Path) -> Result<Self, FolderError> {
        let marker = root.join(MARKER);
        if !marker.exists() {
            let source = io::Error::new(
                io::ErrorKind::NotFound,
                "no vaguemestre data there: run `vaguemestre up` first, or give the folder with --data",
            );
            return Err(FolderError::Io {
                path: root.to_owned(),
                source,
            });
        }
        check_format(root)?;
        Ok(Self::new(root))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Keys and registry of the authority.
    pub fn authority(&self) -> PathBuf {
        self.root.join("authority")
    }

    /// A revocation list, by the file name that certificates give it.
    pub fn revocation_list(&self, name: &str) -> PathBuf {
        self.authority().join("crl").join(name)
    }

    /// The allow list.
    pub fn allow_list(&self) -> PathBuf {
        self.root.join("listeblanchemssante.xml")
    }

    /// Trust anchors for clients: root and intermediate.
    pub fn ca(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// Certificates and keys of an operator's hosts.
    pub fn operator(&self, key: &str) -> PathBuf {
        self.root.join("operators").join(key)
    }

    /// The section of an operator that was removed from the space, for whoever reads its data.
    pub fn removed(&self, key: &str) -> PathBuf {
        self.operator(key).join("removed.toml")
    }

    /// Keys of the operators that were removed from the space and left something, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn removed_operators(&self) -> Result<Vec<String>, FolderError> {
        let folder = self.root.join("operators");
        let entries = fs::read_dir(&folder).map_err(|source| FolderError::Io { path: folder, source })?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut keys: Vec<String> = names.filter(|key| self.removed(key).exists()).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Rows and bodies of an operator.
    pub fn store(&self, key: &str) -> PathBuf {
        self.operator(key).join("store")
    }

    /// Files of a login of an operator: certificate, key, PKCS#12.
    pub fn login(&self, operator: &str, name: &str) -> PathBuf {
        self.root.join("logins").join(operator).join(name)
    }

    /// The space as it was raised last, for commands that run beside it.
    pub fn space(&self) -> PathBuf {
        self.root.join("space.toml")
    }

    /// The space as `up` was given it, before any command changed it.
    pub fn space_given(&self) -> PathBuf {
        self.root.join("space.toml.given")
    }

    /// The space that `up --space` replaced last.
    pub fn space_before(&self) -> PathBuf {
        self.root.join("space.toml.before")
    }

    /// Where commands speak to the process that runs the space.
    pub fn control(&self) -> PathBuf {
        self.root.join(SOCKET)
    }

    /// Endpoints and commands, as `up --json` prints them.
    pub fn card(&self) -> PathBuf {
        self.root.join("card.json")
    }

    /// A first message to send.
    pub fn first_mail(&self) -> PathBuf {
        self.root.join("first-mail.eml")
    }
}

/// The folder used without `--data`: the XDG data folder of the user.
///
/// # Errors
/// Neither `XDG_DATA_HOME` nor `HOME` is set.
pub fn default_root() -> Result<PathBuf, FolderError> {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")));
    Ok(base.ok_or(FolderError::NoHome)?.join("vaguemestre"))
}

fn is_empty(root: &Path) -> Result<bool, FolderError> {
    let wrap = |source| FolderError::Io {
        path: root.to_owned(),
        source,
    };
    Ok(fs::read_dir(root)
        .map_err(wrap)?
        .filter_map(Result::ok)
        .all(|entry| entry.file_name() == LOCK))
}

fn check_format(root: &Path) -> Result<(), FolderError> {
    let path = root.join(MARKER);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(FolderError::Newer {
                path: root.to_owned(),
                found,
            }),
            Ok(_) => Ok(()),
            Err(_) => Err(FolderError::Foreign(root.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FolderError::Io { path, source }),
    }
}

/// Version of the folder's layout; the store inside has a version of its own.
const FORMAT: u32 = 1;
const MARKER: &str = "vaguemestre-data";
const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_opens_again_but_not_twice_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path()).unwrap();
        assert!(matches!(DataFolder::open(folder.path()), Err(FolderError::InUse(_))));
        drop(first);
        assert!(DataFolder::open(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_of_a_newer_program_or_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MARKER), "99\n").unwrap();
        let error = DataFolder::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains("use a newer vaguemestre"), "{error}");
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("thesis.txt"), "precious").unwrap();
        assert!(matches!(DataFolder::open(other.path()), Err(FolderError::Foreign(_))));
    }

    #[test]
    fn a_foreign_folder_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("thesis.txt"), "precious").unwrap();
        fs::set_permissions(other.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(DataFolder::open(other.path()).is_err());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(other.path()), 0o755);
        let own = tempfile::tempdir().unwrap();
        assert!(DataFolder::open(own.path()).is_ok());
        assert_eq!(mode(own.path()), 0o700);
    }

    #[test]
    fn a_reader_of_an_empty_folder_is_told_to_run_up_first() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            Layout::existing(folder.path())
                .unwrap_err()
                .to_string()
                .contains("vaguemestre up")
        );
    }
}
