//! Backup and restore of a whole data folder: the stores in it as of one commit each, every other file as it is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::control::SOCKET;
use crate::journal::{Event, Excerpt, Maintained, Record};
use crate::store::sqlite::backup::{self, Copying, MANIFEST, Manifest, RestoredQueue};
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{JournalStore, StoreError};

/// Why a backup or a restore did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A folder that is not what it should be.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
}

/// What a backup holds: written last, so a folder without it is no finished backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// When it was begun.
    pub at: Timestamp,
    /// Each store, by its path in the folder; empty for the folder itself.
    pub stores: Vec<(PathBuf, Manifest)>,
    /// Other files.
    pub files: u64,
}

/// Makes a backup of `root` in `to`, a folder that is empty or not there, and not inside `root`.
///
/// # Errors
/// See [`BackupError`]. What was written so far stays, without contents: remove it.
pub fn back_up(root: &Path, to: &Path, copying: Copying, now: Timestamp) -> Result<Contents, BackupError> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|source| file_error(path, source));
    if absolute(to)?.starts_with(absolute(root)?) {
        return Err(BackupError::Folder {
            path: to.to_owned(),
            problem: "it is inside the folder to be backed up: give another one",
        });
    }
    check_empty(to)?;
    let mut contents = Contents {
        at: now,
        stores: Vec::new(),
        files: 0,
    };
    let mut copy = Copy {
        from: root,
        to,
        contents: &mut contents,
    };
    copy.folder(Path::new(""), &mut |from, to| backup::backup(from, to, copying, now))?;
    let text = serde_json::to_vec_pretty(&contents).map_err(|error| file_error(to, error.into()))?;
    let path = to.join(CONTENTS);
    fs::write(&path, text)
        .and_then(|()| File::open(&path)?.sync_all())
        .and_then(|()| File::open(to)?.sync_all())
        .map_err(|source| file_error(&path, source))?;
    Ok(contents)
}

/// Puts a backup into `root`, which is empty or not there.
///
/// # Errors
/// See [`BackupError`]. What was written so far stays: empty the folder before trying again.
pub async fn restore(from: &Path, root: &Path, queue: RestoredQueue, now: Timestamp) -> Result<Contents, BackupError> {
    if !from.join(CONTENTS).exists() {
        return Err(BackupError::Folder {
            path: from.to_owned(),
            problem: "no finished backup: contents.json, which is written last, is not there",
        });
    }
    check_empty(root)?;
    let mut contents = Contents {
        at: now,
        stores: Vec::new(),
        files: 0,
    };
    let mut copy = Copy {
        from,
        to: root,
        contents: &mut contents,
    };
    copy.folder(Path::new(""), &mut |from, to| backup::restore(from, to, queue, now))?;
    for (path, manifest) in &contents.stores {
        note(&root.join(path), manifest, (queue, now)).await?;
    }
    Ok(contents)
}

/// The journal says from when on it is another run of history.
async fn note(folder: &Path, manifest: &Manifest, (queue, now): (RestoredQueue, Timestamp)) -> Result<(), StoreError> {
    let store = SqliteStore::open(folder, Options::default())?;
    let held = match queue {
        RestoredQueue::Held => "queue held",
        RestoredQueue::Sent => "queue not held",
    };
    let event = Maintained {
        action: "restore".into(),
        text: Excerpt::new(format!("backup of {}, {held}", manifest.at)),
        count: manifest.messages,
        ..Maintained::default()
    };
    let row = Record::new(now, "", Event::Maintained(event)).to_row();
    store.append(vec![row]).await?;
    store.close().await
}

/// A tree of files, in which some folders are stores.
struct Copy<'a> {
    from: &'a Path,
    to: &'a Path,
    contents: &'a mut Contents,
}

type CopyStore<'a> = dyn FnMut(&Path, &Path) -> Result<Manifest, StoreError> + 'a;

impl Copy<'_> {
    fn folder(&mut self, path: &Path, store: &mut CopyStore<'_>) -> Result<(), BackupError> {
        let (from, to) = (self.from.join(path), self.to.join(path));
        let is_store = from.join(DATABASE).exists();
        if is_store {
            let manifest = store(&from, &to)?;
            self.contents.stores.push((path.to_owned(), manifest));
        } else {
            make(&to)?;
        }
        let error = |source| file_error(&from, source);
        for entry in fs::read_dir(&from).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if SKIPPED.contains(&text.as_ref()) || (is_store && OF_STORE.iter().any(|own| text.starts_with(own))) {
                continue;
            }
            let kind = entry.file_type().map_err(error)?;
            let inside = path.join(&name);
            if kind.is_dir() {
                self.folder(&inside, store)?;
            } else if kind.is_file() {
                self.file(&inside)?;
            }
        }
        File::open(&to)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| file_error(&to, source))
    }

    fn file(&mut self, path: &Path) -> Result<(), BackupError> {
        let (from, to) = (self.from.join(path), self.to.join(path));
        match fs::copy(&from, &to) {
            // Replaced at this moment, as files that are written anew are: the next look finds it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !from.exists() => return Ok(()),
            other => other.map_err(|source| file_error(&from, source))?,
        };
        self.contents.files += 1;
        File::open(&to)
            .and_then(|file| file.sync_all())
            .map_err(|source| file_error(&to, source))
    }
}

fn check_empty(folder: &Path) -> Result<(), BackupError> {
    make(folder)?;
    let mut entries = fs::read_dir(folder).map_err(|source| file_error(folder, source))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(BackupError::Folder {
            path: folder.to_owned(),
            problem: "it is not empty: give an empty or new folder",
        }),
    }
}

/// A folder that only its owner enters: it holds health data, or the keys of an authority.
fn make(folder: &Path) -> Result<(), BackupError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| file_error(folder, source))
}

fn file_error(path: &Path, source: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}

/// What a backup of a data folder holds.
pub const CONTENTS: &str = "contents.json";
const DATABASE: &str = "store.db";
/// What the copy of a store brings itself.
const OF_STORE: [&str; 2] = ["store.db", "bodies"];
/// What belongs to a running process, or to a backup.
const SKIPPED: [&str; 4] = ["lock", SOCKET, MANIFEST, CONTENTS];
