//! The text of a message on its way to a peer: in memory when it is small, read from the store piece by piece when it is large, so that
//! many connections with large messages do not each hold a whole one.

use std::sync::Arc;

use crate::store::{MessageKey, Store, StoreError};

/// The text of a message.
#[derive(Clone)]
pub enum Text {
    /// All of it.
    Memory(Arc<Vec<u8>>),
    /// Where it lies.
    Stored {
        /// The store.
        store: Arc<dyn Store>,
        /// The message in it.
        message: MessageKey,
        /// Bytes of the message.
        size_bytes: u64,
    },
}

impl Text {
    /// The text of a stored message.
    ///
    /// # Errors
    /// The store cannot read it. Where the text is large, that may still come out at [`Self::piece`].
    pub async fn of(store: &Arc<dyn Store>, message: MessageKey, size_bytes: u64) -> Result<Self, StoreError> {
        if size_bytes > MEMORY_BYTES_MAX {
            return Ok(Self::Stored {
                store: Arc::clone(store),
                message,
                size_bytes,
            });
        }
        store.content(message).await.map(Self::Memory)
    }

    /// Bytes of the text.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Stored { size_bytes, .. } => *size_bytes,
        }
    }

    /// Whether a server without 8BITMIME can take it (RFC 6152). Where the text is read in pieces, all of them are looked at, and compared with
    /// the checksum of the message: the first byte that a peer gets is of a text that is whole.
    ///
    /// # Errors
    /// The store cannot read it, or it is not what was stored.
    pub async fn is_ascii(&self) -> Result<bool, StoreError> {
        let (store, message) = match self {
            Self::Memory(bytes) => return Ok(bytes.is_ascii()),
            Self::Stored { store, message, .. } => (store, *message),
        };
        let expected = store.checksum(message).await?;
        let (mut at, mut is_ascii, mut checksum) = (0, true, crc32fast::Hasher::new());
        while at < self.size_bytes() {
            let piece = self.piece(at).await?;
            is_ascii &= piece.bytes().is_ascii();
            checksum.update(piece.bytes());
            at += piece.bytes().len() as u64;
        }
        if expected.is_some_and(|expected| expected != checksum.finalize()) {
            let what = format!("message {}: its bytes are not those that were stored; it", message.0);
            return Err(StoreError::Damaged { what });
        }
        Ok(is_ascii)
    }

    /// What follows byte number `at`: never nothing, unless that is the end.
    ///
    /// # Errors
    /// The store cannot read it, or has less of it than it said.
    pub async fn piece(&self, at: u64) -> Result<Piece<'_>, StoreError> {
        match self {
            Self::Memory(bytes) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(PIECE_BYTES).min(bytes.len());
                Ok(Piece::Memory(&bytes[from..to]))
            }
            Self::Stored {
                store,
                message,
                size_bytes,
            } => {
                let left = usize::try_from(size_bytes.saturating_sub(at)).unwrap_or(usize::MAX);
                let piece = store.content_part(*message, at, left.min(PIECE_BYTES)).await?;
                if piece.is_empty() && left > 0 {
                    return Err(StoreError::NotFound {
                        what: "rest of a message",
                    });
                }
                Ok(Piece::Read(piece))
            }
        }
    }
}

/// A part of a text.
pub enum Piece<'a> {
    /// Of one that is in memory.
    Memory(&'a [u8]),
    /// Just read.
    Read(Vec<u8>),
}

impl Piece<'_> {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(Arc::new(bytes))
    }
}

/// A larger message is read piece by piece. Most are smaller, and one read is quicker than several.
const MEMORY_BYTES_MAX: u64 = 1024 * 1024;
/// A piece: what a connection holds of a large message at a time.
const PIECE_BYTES: usize = 256 * 1024;
