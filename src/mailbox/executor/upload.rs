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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::summarise;
    use crate::store::MessageStore;
    use crate::store::sqlite::{Options, SqliteStore};

    struct World {
        uploads: Uploads,
        store: SqliteStore,
        _files: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let files = tempfile::tempdir().unwrap();
            Self {
                uploads: Uploads::default(),
                store: SqliteStore::open(files.path(), Options::default()).unwrap(),
                _files: files,
            }
        }

        async fn write(&mut self, message: &[u8], mut begins: Begins) {
            for piece in message.chunks(100_000) {
                self.uploads.write(&self.store, piece.to_vec(), begins).await.unwrap();
                begins = Begins::Nothing;
            }
        }

        async fn send(&mut self, message: &[u8], begins: Begins) -> SpoolHandle {
            self.write(message, begins).await;
            self.uploads.end().await.unwrap()
        }

        /// What became of a message, and whether it is on disk.
        async fn take(&mut self, handle: SpoolHandle) -> Option<(Vec<u8>, bool, NewMessage)> {
            let message = self.uploads.message(imap::Bytes::Spooled(handle))?;
            let (bytes, on_disk) = match &message.content {
                Content::Memory(bytes) => (bytes.to_vec(), false),
                Content::Staged(file) => {
                    let size = usize::try_from(file.size_bytes).unwrap();
                    (self.store.staged_part(file, 0, size + 1).await.unwrap(), true)
                }
            };
            Some((bytes, on_disk, message))
        }
    }

    /// A message of that many bytes, which no other is like.
    fn message(length: usize) -> Vec<u8> {
        let mut message = format!("Subject: {length}\r\n\r\n").into_bytes();
        message.extend(b"Bonjour\r\n".iter().cycle().take(length.saturating_sub(message.len())));
        message
    }

    #[tokio::test]
    async fn a_message_is_the_same_wherever_it_is_kept() {
        let mut world = World::new();
        for length in [100, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX + 1, 700_000] {
            let sent = message(length);
            let handle = world.send(&sent, Begins::Command).await;
            let (bytes, on_disk, kept) = world.take(handle).await.unwrap();
            assert!(bytes == sent, "{length}");
            assert_eq!(on_disk, length > MEMORY_BYTES_MAX, "{length}");
            assert!(kept.summary == Some(convert::summary_row(summarise(&sent))), "{length}");
            assert!(kept.lead.is_empty());
        }
        // Nothing at all is a message too.
        let handle = world.uploads.end().await.unwrap();
        assert!(world.take(handle).await.unwrap().0.is_empty());
    }

    #[tokio::test]
    async fn each_message_of_a_command_is_taken_once() {
        let mut world = World::new();
        let first = world.send(&message(300_000), Begins::Command).await;
        let second = world.send(&message(400_000), Begins::Message).await;
        assert_ne!(first, second);
        assert_eq!(world.take(first).await.unwrap().0.len(), 300_000);
        assert!(world.take(first).await.is_none());
        assert_eq!(world.take(second).await.unwrap().0.len(), 400_000);
        assert!(world.take(second).await.is_none() && world.take(SpoolHandle(9)).await.is_none());
    }

    #[tokio::test]
    async fn what_nothing_became_of_is_forgotten_with_the_next_command() {
        let mut world = World::new();
        let left = world.send(&message(300_000), Begins::Command).await;
        let handle = world.send(&message(400_000), Begins::Command).await;
        assert_eq!(world.take(handle).await.unwrap().0.len(), 400_000);
        assert!(world.take(left).await.is_none());
        for begins in [Begins::Command, Begins::Message] {
            for broken_off in [200_000, 300_000] {
                world.write(&message(broken_off), Begins::Command).await;
                let handle = world.send(&message(500), begins).await;
                assert_eq!(world.take(handle).await.unwrap().0, message(500), "{begins:?}");
            }
        }
    }
}
