//! How much memory the messages under way may take together. A message beyond that goes to disk while it arrives, and one that has to be
//! read whole waits for its turn: many slow or large senders cost time, never the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The memory of all messages that one operator is receiving.
#[derive(Debug)]
pub struct Memory {
    bytes_max: AtomicUsize,
    used: AtomicUsize,
    /// For messages read whole, in KiB.
    whole: Semaphore,
    whole_kib: u32,
}

/// What one message holds of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    /// So much for messages being received, and as much again for those read whole.
    pub fn new(bytes_max: usize) -> Self {
        let whole_kib = u32::try_from(bytes_max / KIB)
            .unwrap_or(u32::MAX >> 4)
            .clamp(1, u32::MAX >> 4);
        Self {
            bytes_max: AtomicUsize::new(bytes_max),
            used: AtomicUsize::new(0),
            whole: Semaphore::new(whole_kib as usize),
            whole_kib,
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

    /// A turn to read a message of so many bytes whole. One that is larger than the bound takes all of it.
    pub(super) async fn turn(&self, size_bytes: u64) -> Option<SemaphorePermit<'_>> {
        let kib = u32::try_from(size_bytes.saturating_mul(WHOLE_TIMES) / KIB as u64).unwrap_or(u32::MAX);
        self.whole.acquire_many(kib.clamp(1, self.whole_kib)).await.ok()
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
/// How often a message that is read whole is in memory at its worst: as read, with its first line, and its parts decoded.
const WHOLE_TIMES: u64 = 3;
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
    async fn messages_read_whole_wait_for_their_turn() {
        let memory = Memory::new(100 * KIB);
        let first = memory.turn(20 * KIB as u64).await.unwrap();
        let early = tokio::time::timeout(std::time::Duration::ZERO, memory.turn(20 * KIB as u64)).await;
        assert!(early.is_err());
        drop(first);
        assert!(memory.turn(1 << 40).await.is_some(), "one larger than all takes all");
    }
}
