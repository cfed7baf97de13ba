//! Messages that a client appends in pieces: in memory while small, on disk once large, so that many large ones cost no memory.

use std::sync::{Arc, Mutex, PoisonError};

use crate::imap::{self, Begins, SpoolHandle, Summariser};
use crate::mailbox::convert;
use crate::store::{Content, NewMessage, Stage, Store, StoreError};

/// What a session has sent of messages that are not appended yet.
#[derive(Default)]
pub(super) struct Uploads {
    current: Option<Upload>,
    /// Complete ones, by the number of their handle; each is taken once.
    complete: Vec<Option<NewMessage>>,
}

/// A message on its way.
struct Upload {
    /// Empty once it goes to disk.
    memory: Vec<u8>,
    /// Never locked: a session does one thing at a time, and this makes it shareable all the same.
    stage: Option<Mutex<Box<dyn Stage>>>,
    summariser: Summariser,
}

impl Uploads {
    /// Takes the next bytes of the current message. Files of messages that nothing became of go with it.
    pub(super) async fn write(&mut self, store: &dyn Store, bytes: Vec<u8>, begins: Begins) -> Result<(), StoreError> {
        match begins {
            Begins::Command => *self = Self::default(),
            Begins::Message => self.current = None,
            Begins::Nothing => {}
        }
        let upload = self.current.get_or_insert_with(|| Upload {
            memory: Vec::new(),
            stage: None,
            summariser: Summariser::new(),
        });
        upload.summariser.feed(&bytes);
        if let Some(stage) = &mut upload.stage {
            return stage
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .write(&bytes)
                .await;
        }
        if upload.memory.len() + bytes.len() <= MEMORY_BYTES_MAX {
            upload.memory.extend_from_slice(&bytes);
            return Ok(());
        }
        let mut stage = store.stage().await?;
        stage.write(&upload.memory).await?;
        stage.write(&bytes).await?;
        upload.memory = Vec::new();
        upload.stage = Some(Mutex::new(stage));
        Ok(())
    }

    /// The current message is complete.
    pub(super) async fn end(&mut self) -> Result<SpoolHandle, StoreError> {
        let upload = self.current.take().unwrap_or_else(|| Upload {
            memory: Vec::new(),
            stage: None,
            summariser: Summariser::new(),
        });
        let content = match upload.stage {
            Some(stage) => {
                let stage = stage.into_inner().unwrap_or_else(PoisonError::into_inner);
                Content::Staged(stage.finish(&[]).await?)
            }
            None => Content::Memory(Arc::new(upload.memory)),
        };
        self.complete.push(Some(NewMessage {
            content,
            lead: Vec::new(),
            summary: Some(convert::summary_row(upload.summariser.finish())),
        }));
        Ok(SpoolHandle(self.complete.len() - 1))
    }

    /// The message of an APPEND; `None`: no such upload.
    pub(super) fn message(&mut self, bytes: imap::Bytes) -> Option<NewMessage> {
        match bytes {
            imap::Bytes::Memory(bytes) => Some(crate::mailbox::deliver::new_message(Arc::new(bytes), Vec::new())),
            imap::Bytes::Spooled(handle) => {
                let found = self.complete.get_mut(handle.0)?.take();
                if self.complete.iter().all(Option::is_none) {
                    self.complete.clear();
                }
                found
            }
        }
    }
}

/// What is kept in memory of a message on its way.
const MEMORY_BYTES_MAX: usize = 256 * 1024;
