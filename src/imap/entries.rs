//! The messages of the selected folder as the client numbers them: a contents shared with other sessions, and those that are gone from it
//! though the client was not told yet.

use std::ops::Index;
use std::sync::Arc;

use super::contents::Contents;
use super::request::Entry;

/// Messages by the client's sequence numbers, counted from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    contents: Arc<Contents>,
    /// Positions of messages that are gone, ascending, with what they were. Numbers count them until the client is told.
    ghosts: Vec<(usize, Entry)>,
}

/// What the client does not know yet, see [`Entries::adopt`]. Positions are those it counts by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Messages whose flags may have changed.
    pub(crate) changed: Vec<usize>,
    /// Messages added at the end.
    pub(crate) fresh: usize,
}

impl Entries {
    pub(crate) fn new(contents: Arc<Contents>) -> Self {
        Self {
            contents,
            ghosts: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.contents.len() + self.ghosts.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Entry> {
        match self.ghosts.binary_search_by_key(&at, |(at, _)| *at) {
            Ok(ghost) => self.ghosts.get(ghost).map(|(_, entry)| entry),
            Err(before) => self.contents.get(at - before),
        }
    }

    /// The entries at ascending positions: cheaper than [`Self::get`] of each.
    pub(crate) fn at_each(&self, positions: impl Iterator<Item = usize>) -> impl Iterator<Item = Option<&Entry>> {
        let mut living = self.contents.ascending();
        positions.map(move |at| {
            if self.ghosts.is_empty() {
                living.get(at)
            } else {
                self.get(at)
            }
        })
    }

    pub(crate) fn last(&self) -> Option<&Entry> {
        self.get(self.len().checked_sub(1)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let mut ghosts = self.ghosts.iter().peekable();
        let mut living = self.contents.iter();
        (0..self.len()).filter_map(move |at| match ghosts.next_if(|(ghost, _)| *ghost == at) {
            Some((_, entry)) => Some(entry),
            None => living.next(),
        })
    }

    /// Position of a UID, or where it would be.
    pub(crate) fn position(&self, uid: u32) -> Result<usize, usize> {
        let before = self.ghosts.partition_point(|(_, entry)| entry.uid < uid);
        if let Some((at, ghost)) = self.ghosts.get(before)
            && ghost.uid == uid
        {
            return Ok(*at);
        }
        let found = self.contents.position(uid);
        found.map(|at| at + before).map_err(|at| at + before)
    }

    /// Whether the message of that UID is gone, though the client still numbers it.
    pub(crate) fn is_gone(&self, uid: u32) -> bool {
        self.ghosts.binary_search_by_key(&uid, |(_, entry)| entry.uid).is_ok()
    }

    /// Whether some are.
    pub(crate) fn has_ghosts(&self) -> bool {
        !self.ghosts.is_empty()
    }

    /// What is there, as last learnt.
    pub(crate) fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    /// Takes in a later moment. Who is gone keeps its number, and new ones come after all others, so that no number changes.
    pub(crate) fn adopt(&mut self, later: Arc<Contents>) -> Change {
        let difference = self.contents.difference(&later);
        let mut ghosts = Vec::with_capacity(difference.gone.len());
        for at in difference.gone {
            if let Some(entry) = self.contents.get(at) {
                let before = self.ghosts.partition_point(|(_, ghost)| ghost.uid < entry.uid);
                ghosts.push((at + before, entry.clone()));
            }
        }
        self.ghosts.extend(ghosts);
        self.ghosts.sort_unstable_by_key(|(at, _)| *at);
        self.contents = later;
        let numbered = |at: usize| {
            let uid = self.contents.get(at).map_or(0, |entry| entry.uid);
            at + self.ghosts.partition_point(|(_, ghost)| ghost.uid < uid)
        };
        Change {
            changed: difference.changed.into_iter().map(numbered).collect(),
            fresh: difference.fresh,
        }
    }

    /// Forgets who is gone: what they were, by ascending position.
    pub(crate) fn lay(&mut self) -> Vec<(usize, Entry)> {
        std::mem::take(&mut self.ghosts)
    }
}

impl Index<usize> for Entries {
    type Output = Entry;

    /// A position that came from these entries.
    fn index(&self, at: usize) -> &Entry {
        match self.ghosts.binary_search_by_key(&at, |(at, _)| *at) {
            Ok(ghost) => &self.ghosts[ghost].1,
            Err(before) => &self.contents[at - before],
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::imap::request::{Flags, MessageHandle};

    fn entry(uid: u32) -> Entry {
        Entry {
            uid,
            message: MessageHandle(i64::from(uid)),
            flags: Flags::default(),
            internal_date: Timestamp::UNIX_EPOCH,
            saved: Timestamp::UNIX_EPOCH,
            size_bytes: 1,
            modseq: 1,
        }
    }

    #[test]
    fn entries_read_in_order_are_those_at_their_positions_whoever_is_gone() {
        let before = Arc::new(Contents::new((1..=300).map(entry).collect(), 1));
        let mut entries = Entries::new(Arc::clone(&before));
        for gone in [vec![], vec![1, 5, 6, 200, 300]] {
            entries.adopt(Arc::new(before.advanced(Vec::new(), &gone, 2)));
            assert_eq!(entries.has_ghosts(), !gone.is_empty());
            for step in [1, 3, 130] {
                let positions = || (0..entries.len() + step).step_by(step);
                let read: Vec<_> = entries.at_each(positions()).collect();
                let each: Vec<_> = positions().map(|at| entries.get(at)).collect();
                assert_eq!(read, each, "every {step} of them, {gone:?} gone");
            }
        }
    }
}
