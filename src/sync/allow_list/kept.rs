//! The last good list on disk: the file as it was received, and what is known of it.

use std::io::ErrorKind;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pki::{self, FileError};
use crate::sync::Validators;

use super::ListError;

/// What is known of the list in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Where it came from.
    pub(super) url: Option<String>,
    etag: Option<String>,
    last_modified: Option<String>,
    /// When it was verified.
    pub(super) accepted_at: Option<Timestamp>,
    /// When it was last known to be the last one.
    pub(super) confirmed_at: Option<Timestamp>,
}

impl State {
    pub(super) fn accepted(url: &str, validators: &Validators, now: Timestamp) -> Self {
        let mut state = Self {
            url: Some(url.to_owned()),
            accepted_at: Some(now),
            confirmed_at: Some(now),
            ..Self::default()
        };
        state.know(validators);
        state
    }

    pub(super) fn know(&mut self, validators: &Validators) {
        self.etag.clone_from(&validators.etag);
        self.last_modified.clone_from(&validators.last_modified);
    }

    pub(super) fn validators(&self) -> Validators {
        Validators {
            etag: self.etag.clone(),
            last_modified: self.last_modified.clone(),
        }
    }
}

/// The folder that keeps them.
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The list.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("list.xml")
    }

    fn state_path(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// The list and what is known of it; none before the first was kept. A state that is lost or damaged only costs one more fetch.
    pub(super) fn load(&self) -> Result<Option<(Vec<u8>, State)>, ListError> {
        let path = self.path();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ListError::Read { path, source }),
        };
        let state = std::fs::read(self.state_path()).ok();
        let state = state.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Some((bytes, state.unwrap_or_default())))
    }

    /// Both, each whole or not at all. The state goes first without its validators: between the two files, nothing claims that the list
    /// on disk is the one the server would not send again.
    pub(super) fn store(&self, list: &[u8], state: &State) -> Result<(), FileError> {
        pki::private_folder(&self.folder)?;
        let mut unsure = state.clone();
        unsure.know(&Validators::default());
        self.store_state(&unsure)?;
        pki::write_private(&self.path(), list)?;
        self.store_state(state)
    }

    pub(super) fn store_state(&self, state: &State) -> Result<(), FileError> {
        let json = serde_json::to_vec_pretty(state).unwrap_or_default();
        pki::write_private(&self.state_path(), &json)
    }
}
