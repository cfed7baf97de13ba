//! What was asked of the store and what it answered, each with its place on the tape: from this follows what an image must hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::selftest::dice::Dice;

/// Where a message was to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// One of the folders, by its number.
    Folder(usize),
    /// The queue, for this recipient.
    Queue(String),
}

/// When something was asked, and when it was answered with success, both as positions on the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) at: usize,
    /// `None`: no answer yet, or a failure.
    pub(super) answered: Option<usize>,
    pub(super) failed: bool,
}

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) number: u64,
    pub(super) content: Arc<Vec<u8>>,
    pub(super) asked: Asked,
    /// Where it goes, and its removal from there.
    pub(super) places: BTreeMap<Place, Option<Asked>>,
    /// UIDs given, for folders.
    pub(super) uids: BTreeMap<Place, u32>,
    /// The queued message whose settlement brings this one: the one is there exactly when the other is gone.
    pub(super) settles: Option<(u64, String)>,
}

/// Every message of one scenario.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    messages: Mutex<BTreeMap<u64, Message>>,
}

impl Asked {
    pub(super) fn new(at: usize) -> Self {
        Self {
            at,
            answered: None,
            failed: false,
        }
    }

    /// Whether it was answered before this position.
    pub(super) fn is_answered(&self, position: usize) -> bool {
        self.answered.is_some_and(|at| at <= position)
    }
}

impl Ledger {
    pub(super) fn messages(&self) -> MutexGuard<'_, BTreeMap<u64, Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of a message, if it was ever offered.
    pub(super) fn content(&self, number: u64) -> Option<Arc<Vec<u8>>> {
        self.messages().get(&number).map(|message| Arc::clone(&message.content))
    }

    /// Messages whose acceptance was answered.
    pub(super) fn accepted(&self) -> u64 {
        let messages = self.messages();
        let accepted = messages.values().filter(|message| message.asked.answered.is_some());
        u64::try_from(accepted.count()).unwrap_or(u64::MAX)
    }
}

/// The bytes of a message: its number first, then text that follows from seed and number.
pub(super) fn content(seed: u64, number: u64, size: usize) -> Vec<u8> {
    let head = format!("X-Selftest: {number}\r\nSubject: essai\r\n\r\n");
    let mut dice = Dice::part(seed, number.wrapping_add(0x5EED));
    let text = dice.text(size.saturating_sub(head.len()));
    [head.into_bytes(), text].concat()
}

/// The number that stands first in a message.
pub(super) fn number_of(content: &[u8]) -> Option<u64> {
    let rest = content.strip_prefix(b"X-Selftest: ")?;
    let digits = rest.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_follows_from_its_number_and_tells_it() {
        let one = content(1, 42, 2_000);
        assert_eq!(one, content(1, 42, 2_000));
        assert_ne!(one, content(1, 43, 2_000));
        assert_eq!(one.len(), 2_000);
        assert_eq!(number_of(&one), Some(42));
        assert_eq!(number_of(b"X-Selftest: x\r\n"), None);
        assert_eq!(number_of(b"Subject: 42\r\n"), None);
    }
}
