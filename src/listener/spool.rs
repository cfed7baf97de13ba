//! The data of a message while it arrives: in memory while small, on disk once large, so that slow large senders cost no memory.

use std::sync::Arc;

use aws_lc_rs::digest;

use super::repeat;
use crate::message::structure::Structure;
use crate::store::{Content, Stage, Store, StoreError};

/// Collects the body of one message.
pub(super) struct Spool {
    store: Arc<dyn Store>,
    memory_bytes_max: usize,
    memory: Vec<u8>,
    stage: Option<Box<dyn Stage>>,
    size_bytes: u64,
    /// What its parts say they are.
    structure: Structure,
    /// Over the bytes that went to disk, where the desk wants to recognise them.
    digest: Option<digest::Context>,
}

/// A complete body, its front already known.
pub(super) struct Spooled {
    /// What the store takes.
    pub content: Content,
    /// Front and body together, in bytes.
    pub size_bytes: u64,
}

impl Spool {
    /// An empty spool that goes to disk past `memory_bytes_max`, for a message of parts nested no deeper than `mime_depth_max`.
    pub(super) fn new(store: Arc<dyn Store>, (memory_bytes_max, mime_depth_max): (usize, usize)) -> Self {
        Self {
            store,
            memory_bytes_max,
            memory: Vec::new(),
            stage: None,
            size_bytes: 0,
            structure: Structure::new(mime_depth_max),
            digest: None,
        }
    }

    /// The same, which also computes the SHA-256 of what it collects.
    pub(super) fn recognisable(store: Arc<dyn Store>, limits: (usize, usize)) -> Self {
        Self {
            digest: Some(digest::Context::new(&digest::SHA256)),
            ..Self::new(store, limits)
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk refused them.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.size_bytes += bytes.len() as u64;
        self.structure.feed(&bytes);
        if let Some(stage) = &mut self.stage {
            if let Some(digest) = &mut self.digest {
                digest.update(&bytes);
            }
            return stage.write(&bytes).await;
        }
        if self.memory.is_empty() {
            // Most messages come in one piece.
            self.memory = bytes;
        } else {
            self.memory.extend_from_slice(&bytes);
        }
        if self.memory.len() > self.memory_bytes_max {
            if let Some(digest) = &mut self.digest {
                digest.update(&self.memory);
            }
            let mut stage = self.store.stage().await?;
            stage.write(&self.memory).await?;
            self.stage = Some(stage);
            // The header is still needed to judge the message: keep the beginning, drop the rest.
            self.memory.truncate(HEAD_BYTES_MAX);
            self.memory.shrink_to_fit();
        }
        Ok(())
    }

    /// The beginning of the message, long enough to hold any header block that is accepted.
    pub(super) fn head(&self) -> &[u8] {
        &self.memory[..self.memory.len().min(HEAD_BYTES_MAX)]
    }

    /// Says that all bytes have come: [`Self::structure`] is complete from now on.
    pub(super) fn complete(&mut self) {
        self.structure.finish();
    }

    /// The parts of the message.
    pub(super) fn structure(&self) -> &Structure {
        &self.structure
    }

    /// Bytes received so far.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// SHA-256 of the bytes received so far, if it is wanted at all: of a message in memory, computed now.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = self.digest.clone()?;
        if self.stage.is_none() {
            digest.update(&self.memory);
        }
        Some(repeat::finish(digest))
    }

    /// Ends the body and puts `front` before it.
    ///
    /// # Errors
    /// The disk refused the last bytes.
    pub(super) async fn finish(self, front: &[u8]) -> Result<Spooled, StoreError> {
        let size_bytes = self.size_bytes + front.len() as u64;
        let content = if let Some(stage) = self.stage {
            Content::Staged(stage.finish(front).await?)
        } else {
            let mut whole = Vec::with_capacity(front.len() + self.memory.len());
            whole.extend_from_slice(front);
            whole.extend_from_slice(&self.memory);
            Content::Memory(Arc::new(whole))
        };
        Ok(Spooled { content, size_bytes })
    }
}

/// Longest header block that is looked at; a message whose header does not end before it is refused.
pub(super) const HEAD_BYTES_MAX: usize = 256 * 1024;
