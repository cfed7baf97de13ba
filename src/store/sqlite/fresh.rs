//! Contents just accepted for other operators. The relay asks for each within milliseconds, and is spared the read of what was written a
//! moment ago: a turn in another thread, some pages, and the wait for whatever is being synced meanwhile.
//!
//! The oldest are asked for first, so a full cache takes no more until some of them have gone; and a content that nobody has asked for while
//! thousands came after it goes, since its destination cannot be reached.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::MessageKey;

/// Each is handed out once.
#[derive(Default)]
pub(super) struct Fresh {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    contents: BTreeMap<MessageKey, Arc<Vec<u8>>>,
    bytes: usize,
}

impl Fresh {
    /// Keeps what is durable from now on.
    pub(super) fn keep(&self, message: MessageKey, content: Arc<Vec<u8>>) {
        let mut kept = self.kept();
        while let Some((oldest, _)) = kept.contents.first_key_value()
            && oldest.0.saturating_add(PASSED_MAX) < message.0
        {
            kept.pop_first();
        }
        if kept.bytes + content.len() <= BYTES_MAX {
            kept.bytes += content.len();
            kept.contents.insert(message, content);
        }
    }

    /// Whoever asks again reads it from the store.
    pub(super) fn take(&self, message: MessageKey) -> Option<Arc<Vec<u8>>> {
        self.kept().remove(message)
    }

    /// Nothing refers to these any more, or a transaction failed that was to see to that: then they are read from the store.
    pub(super) fn forget(&self, messages: &[MessageKey]) {
        if messages.is_empty() {
            return;
        }
        let mut kept = self.kept();
        for message in messages {
            kept.remove(*message);
        }
    }

    /// Forgets all: the store is closed.
    pub(super) fn clear(&self) {
        *self.kept() = Kept::default();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, message: MessageKey) -> Option<Arc<Vec<u8>>> {
        let content = self.contents.remove(&message)?;
        self.bytes -= content.len();
        Some(content)
    }

    fn pop_first(&mut self) {
        if let Some((_, content)) = self.contents.pop_first() {
            self.bytes -= content.len();
        }
    }
}

/// What one operator keeps at most.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// A content goes when so many messages have come after it.
const PASSED_MAX: i64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: usize) -> Arc<Vec<u8>> {
        Arc::new(vec![7; bytes])
    }

    #[test]
    fn a_content_is_handed_out_once() {
        let fresh = Fresh::default();
        fresh.keep(MessageKey(1), content(10));
        assert_eq!(fresh.take(MessageKey(1)).unwrap().len(), 10);
        assert!(fresh.take(MessageKey(1)).is_none());
        fresh.keep(MessageKey(2), content(10));
        fresh.forget(&[MessageKey(1), MessageKey(2)]);
        assert!(fresh.take(MessageKey(2)).is_none());
        assert_eq!(fresh.kept().bytes, 0);
    }

    #[test]
    fn the_oldest_stay_when_it_is_full_since_they_are_asked_for_first() {
        let fresh = Fresh::default();
        fresh.keep(MessageKey(1), content(BYTES_MAX));
        fresh.keep(MessageKey(2), content(1));
        assert!(fresh.take(MessageKey(2)).is_none());
        assert!(fresh.take(MessageKey(1)).is_some());
        fresh.keep(MessageKey(3), content(1));
        assert!(fresh.take(MessageKey(3)).is_some());
    }

    #[test]
    fn one_that_nobody_asks_for_makes_room_in_time() {
        let fresh = Fresh::default();
        fresh.keep(MessageKey(1), content(BYTES_MAX));
        fresh.keep(MessageKey(1 + PASSED_MAX), content(1));
        assert!(fresh.take(MessageKey(1 + PASSED_MAX)).is_none());
        fresh.keep(MessageKey(2 + PASSED_MAX), content(1));
        assert!(fresh.take(MessageKey(2 + PASSED_MAX)).is_some());
        assert!(fresh.take(MessageKey(1)).is_none());
        assert_eq!(fresh.kept().bytes, 0);
    }
}
