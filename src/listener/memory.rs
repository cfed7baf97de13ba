//! How much memory the messages under way may take together. A message beyond that goes to disk while it arrives, and is looked
//! through in its turn: many slow or large senders cost time, never the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::mailbox::deliver::SUMMARY_MEMORY_BYTES_MAX;

/// The memory of all messages that one operator is receiving.
#[derive(Debug)]
pub struct Memory {
    bytes_max: AtomicUsize,
    used: AtomicUsize,
    /// For messages on disk that are being looked through, in KiB.
    looking: Semaphore,
    looking_kib: u32,
}

/// What one message holds of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    /// So much for messages being received, and as much again for those on disk that are looked through.
    pub fn new(bytes_max: usize) -> Self {
        let looking_kib = u32::try_from(bytes_max / KIB)
            .unwrap_or(u32::MAX >> 4)
            .clamp(1, u32::MAX >> 4);
        Self {
            bytes_max: AtomicUsize::new(bytes_max),
            used: AtomicUsize::new(0),
            looking: Semaphore::new(looking_kib as usize),
            looking_kib,
        }
    }

    /// From now on so much for messages being received.
    pub fn resize(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Nothing yet, for one message.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        Held {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }

    /// A turn to look through a message of so many bytes on disk. One that may take more than the bound takes all of it.
    pub(super) async fn turn(&self, size_bytes: u64) -> Option<SemaphorePermit<'_>> {
        let bytes = size_bytes.saturating_mul(TOLD_TIMES).min(SUMMARY_MEMORY_BYTES_MAX);
        let kib = u32::try_from(bytes / KIB as u64).unwrap_or(u32::MAX);
        self.looking.acquire_many(kib.clamp(1, self.looking_kib)).await.ok()
    }
}

impl Held {
    /// Holds `bytes` in all, if there is room for them: a small message always has.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let used = self.memory.used.fetch_add(more, Ordering::Relaxed) + more;
        if bytes > SMALL_BYTES && used > self.memory.bytes_max.load(Ordering::Relaxed) {
            self.memory.used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }

    /// Gives back what is over `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.memory.used.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

const KIB: usize = 1024;
/// How often a small message that is all header is in memory at its worst: as read, as kept, and what is told of it.
const TOLD_TIMES: u64 = 3;
/// A message up to here stays in memory even when memory is short: a file of its own would cost more than it saves.
const SMALL_BYTES: usize = 32 * KIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_message_finds_no_room_where_a_small_one_still_does() {
        let memory = Arc::new(Memory::new(100 * KIB));
        let (mut one, mut other, mut small) = (memory.hold(), memory.hold(), memory.hold());
        assert!(one.grow(60 * KIB));
        assert!(other.grow(40 * KIB));
        assert!(!other.grow(50 * KIB), "no room");
        assert!(small.grow(SMALL_BYTES), "small ones always have");
        assert_eq!(memory.used(), 132 * KIB);
        one.shrink(10 * KIB);
        assert!(other.grow(45 * KIB));
        drop((one, other, small));
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn messages_on_disk_are_looked_through_in_turn() {
        let memory = Memory::new(100 * KIB);
        let first = memory.turn(20 * KIB as u64).await.unwrap();
        let early = tokio::time::timeout(std::time::Duration::ZERO, memory.turn(20 * KIB as u64)).await;
        assert!(early.is_err());
        drop(first);
        assert!(memory.turn(1 << 40).await.is_some(), "one larger than all takes all");
        // However large they are, no more than their headers is held of them.
        let memory = Memory::new(2 * usize::try_from(SUMMARY_MEMORY_BYTES_MAX).unwrap());
        let large = (memory.turn(1 << 40).await, memory.turn(1 << 40).await);
        let third = tokio::time::timeout(std::time::Duration::ZERO, memory.turn(1 << 40)).await;
        assert!(large.0.is_some() && large.1.is_some() && third.is_err());
    }
}
