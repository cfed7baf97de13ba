//! Where a test works: a folder that did not exist before, so that nobody's data is touched.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

/// The folder of one run.
pub(super) struct Place {
    folder: PathBuf,
    /// The folder above, when it was made for this run.
    made: Option<PathBuf>,
}

impl Place {
    /// A new folder below `parent`, which is made if it is not there, or below the system's temporary folder.
    pub(super) fn make(parent: Option<&Path>, seed: u64) -> anyhow::Result<Self> {
        let made = parent.filter(|parent| !parent.exists()).map(Path::to_owned);
        if let Some(made) = &made {
            std::fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
        }
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        for attempt in 0..ATTEMPTS_MAX {
            let folder = parent.join(format!("vaguemestre-selftest-{seed}-{}-{attempt}", std::process::id()));
            match std::fs::create_dir(&folder) {
                Ok(()) => return Ok(Self { folder, made }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => bail!("cannot make {}: {error}; choose another --folder", folder.display()),
            }
        }
        bail!("{} is full of earlier self-tests: remove them", parent.display())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder in it.
    pub(super) fn part(&self, name: &str) -> anyhow::Result<PathBuf> {
        let part = self.folder.join(name);
        std::fs::create_dir(&part).with_context(|| format!("cannot make {}", part.display()))?;
        Ok(part)
    }

    /// Removes everything that was made. What a store or an operator that was just cut off still writes may come in between: so
    /// it is tried for a while.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        let mut attempts = REMOVALS_MAX;
        while let Err(error) = std::fs::remove_dir_all(&self.folder) {
            attempts -= 1;
            if attempts == 0 {
                return Err(error).with_context(|| format!("cannot remove {}", self.folder.display()));
            }
            thread::park_timeout(REMOVAL_PERIOD);
        }
        if let Some(made) = &self.made {
            std::fs::remove_dir(made).with_context(|| format!("cannot remove {}", made.display()))?;
        }
        Ok(())
    }
}

const ATTEMPTS_MAX: u32 = 100;
/// Five seconds.
const REMOVALS_MAX: u32 = 50;
const REMOVAL_PERIOD: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_a_new_folder_and_leaves_what_was_there() {
        let parent = tempfile::tempdir().unwrap();
        let one = Place::make(Some(parent.path()), 1).unwrap();
        let two = Place::make(Some(parent.path()), 1).unwrap();
        assert_ne!(one.folder(), two.folder());
        assert!(one.folder().read_dir().unwrap().next().is_none());
        one.part("kill").unwrap();
        one.remove().unwrap();
        assert!(two.folder().exists() && parent.path().exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_made_and_goes_again() {
        let parent = tempfile::tempdir().unwrap();
        let absent = parent.path().join("a/b");
        let place = Place::make(Some(&absent), 1).unwrap();
        assert!(place.folder().starts_with(&absent) && place.folder().exists());
        place.remove().unwrap();
        assert!(!absent.exists());
        std::fs::write(parent.path().join("file"), "").unwrap();
        assert!(Place::make(Some(&parent.path().join("file")), 1).is_err());
    }
}
