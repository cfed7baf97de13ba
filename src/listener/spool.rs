//! The data of a message while it arrives: in memory while small, on disk once large, so that slow large senders cost no memory.

use std::sync::Arc;

use aws_lc_rs::digest;
use memchr::memmem;

use super::memory::Held;
use super::{Parts, repeat};
use crate::message::structure::Structure;
use crate::metrics::{Meter, Metric};
use crate::store::{Content, Stage, Store, StoreError};

/// Collects the body of one message.
pub(super) struct Spool {
    store: Arc<dyn Store>,
    meter: Meter,
    memory_bytes_max: usize,
    memory: Vec<u8>,
    held: Held,
    stage: Option<Box<dyn Stage>>,
    /// On disk: whether `memory` holds the whole header block.
    head: Head,
    size_bytes: u64,
    /// What its parts say they are.
    structure: Structure,
    /// Over the bytes that went to disk, where the desk wants to recognise them.
    digest: Option<digest::Context>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Open,
    Whole,
}

/// A complete body, its front already known.
pub(super) struct Spooled {
    /// What the store takes.
    pub content: Content,
    /// Front and body together, in bytes.
    pub size_bytes: u64,
    /// The memory it takes: to be kept until the store has it.
    pub held: Held,
}

impl Spool {
    /// An empty spool that goes to disk when it is large, or when memory is short.
    pub(super) fn new(parts: &Parts) -> Self {
        let limits = parts.limits();
        Self {
            store: Arc::clone(&parts.store),
            meter: parts.meter.clone(),
            memory_bytes_max: limits.memory_bytes_max,
            memory: Vec::new(),
            held: parts.memory.hold(),
            stage: None,
            head: Head::Open,
            size_bytes: 0,
            structure: Structure::new(limits.mime_depth_max),
            digest: None,
        }
    }

    /// The same, which also computes the SHA-256 of what it collects.
    pub(super) fn recognisable(parts: &Parts) -> Self {
        Self {
            digest: Some(digest::Context::new(&digest::SHA256)),
            ..Self::new(parts)
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk refused them.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.size_bytes += bytes.len() as u64;
        self.structure.feed(&bytes);
        if self.stage.is_none() {
            let wanted = self.memory.len() + bytes.len();
            let is_small = wanted <= self.memory_bytes_max;
            if is_small && self.held.grow(wanted) {
                if self.memory.is_empty() {
                    // Most messages come in one piece.
                    self.memory = bytes;
                } else {
                    self.memory.extend_from_slice(&bytes);
                }
                return Ok(());
            }
            let place = if is_small { "pressure" } else { "disk" };
            self.meter.count(Metric::Spooled, &[place], 1);
            if let Some(digest) = &mut self.digest {
                digest.update(&self.memory);
            }
            let mut stage = self.store.stage().await?;
            stage.write(&self.memory).await?;
            self.stage = Some(stage);
            self.keep_head(&[]);
        }
        if let Some(digest) = &mut self.digest {
            digest.update(&bytes);
        }
        self.keep_head(&bytes);
        match &mut self.stage {
            Some(stage) => stage.write(&bytes).await,
            None => Ok(()),
        }
    }

    /// On disk the header is still needed to judge the message: it is kept, the rest is dropped.
    fn keep_head(&mut self, bytes: &[u8]) {
        if self.head == Head::Whole {
            return;
        }
        let room = HEAD_BYTES_MAX.saturating_sub(self.memory.len());
        self.memory.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let end = memmem::find(&self.memory, b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = end.or((self.memory.len() >= HEAD_BYTES_MAX).then_some(HEAD_BYTES_MAX)) {
            self.memory.truncate(end);
            self.memory.shrink_to_fit();
            self.head = Head::Whole;
        }
        self.held.shrink(self.memory.len());
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
            self.meter.count(Metric::Spooled, &["memory"], 1);
            let mut whole = Vec::with_capacity(front.len() + self.memory.len());
            whole.extend_from_slice(front);
            whole.extend_from_slice(&self.memory);
            Content::Memory(Arc::new(whole))
        };
        Ok(Spooled {
            content,
            size_bytes,
            held: self.held,
        })
    }
}

/// Longest header block that is looked at; a message whose header does not end before it is refused.
pub(super) const HEAD_BYTES_MAX: usize = 256 * 1024;
