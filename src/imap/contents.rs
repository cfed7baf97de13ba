//! What is in a folder at one moment: immutable, and shared between all sessions that look at it.
//!
//! Entries lie in chunks. A later moment shares every chunk in which nothing changed, so that a new message in a folder of ten thousand costs one
//! chunk once, however many sessions are told; and what differs between two moments is found by looking only where chunks differ.

use std::collections::BTreeSet;
use std::ops::Index;
use std::sync::Arc;

use super::keywords::Interner;
use super::request::{Entry, Flags};

/// A folder at one moment.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    chunks: Vec<Arc<Chunk>>,
    /// For each chunk, the entries before it.
    starts: Vec<usize>,
    len: usize,
    /// Every keyword seen since the folder was first looked at.
    keywords: Arc<BTreeSet<String>>,
    highest_modseq: u64,
}

#[derive(Debug, Default)]
struct Chunk {
    /// By ascending UID; never empty.
    entries: Vec<Entry>,
    unseen: usize,
}

/// What happened between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Positions at the later moment of entries that were changed, ascending.
    pub(crate) changed: Vec<usize>,
    /// Positions at the earlier moment of those that are gone, ascending.
    pub(crate) gone: Vec<usize>,
    /// How many are new; they come last.
    pub(crate) fresh: usize,
}

impl Contents {
    /// All entries of a folder by ascending UID, as they were at a modification sequence.
    pub fn new(mut entries: Vec<Entry>, highest_modseq: u64) -> Self {
        let mut interner = Interner::default();
        let mut keywords = BTreeSet::new();
        for entry in &mut entries {
            interner.intern(&mut entry.flags.keywords);
            learn(&mut keywords, &entry.flags);
        }
        let mut chunks = Vec::with_capacity(entries.len().div_ceil(CHUNK_ENTRIES));
        let mut rest = entries.into_iter();
        loop {
            let chunk: Vec<Entry> = rest.by_ref().take(CHUNK_ENTRIES).collect();
            if chunk.is_empty() {
                break;
            }
            chunks.push(Chunk::new(chunk));
        }
        Self::of(chunks, Arc::new(keywords), highest_modseq)
    }

    /// This folder after changes: new and changed entries by ascending UID, and the UIDs that are gone.
    #[must_use]
    pub fn advanced(&self, changed: Vec<Entry>, gone: &[u32], highest_modseq: u64) -> Self {
        let mut keywords = Arc::clone(&self.keywords);
        for entry in &changed {
            if entry.flags.keywords.iter().any(|keyword| !keywords.contains(keyword)) {
                learn(Arc::make_mut(&mut keywords), &entry.flags);
            }
        }
        let last = self.last().map_or(0, |entry| entry.uid);
        let split = changed.partition_point(|entry| entry.uid <= last);
        let mut chunks = Vec::with_capacity(self.chunks.len() + 1);
        let (mut known, mut gone_rest) = (&changed[..split], gone);
        for chunk in &self.chunks {
            let end = chunk.entries.last().map_or(0, |entry| entry.uid);
            let here = known.partition_point(|entry| entry.uid <= end);
            let gone_here = gone_rest.partition_point(|uid| *uid <= end);
            let (now, later) = known.split_at(here);
            let (lost, lost_later) = gone_rest.split_at(gone_here);
            (known, gone_rest) = (later, lost_later);
            if now.is_empty() && lost.is_empty() {
                chunks.push(Arc::clone(chunk));
            } else {
                chunks.extend(chunk.changed(now, lost));
            }
        }
        let fresh = changed[split..]
            .iter()
            .filter(|entry| gone.binary_search(&entry.uid).is_err());
        append(&mut chunks, fresh.cloned());
        Self::of(chunks, keywords, highest_modseq)
    }

    fn of(chunks: Vec<Arc<Chunk>>, keywords: Arc<BTreeSet<String>>, highest_modseq: u64) -> Self {
        let mut starts = Vec::with_capacity(chunks.len());
        let mut len = 0;
        for chunk in &chunks {
            starts.push(len);
            len += chunk.entries.len();
        }
        Self {
            chunks,
            starts,
            len,
            keywords,
            highest_modseq,
        }
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Everything up to this modification sequence is in it.
    pub fn highest_modseq(&self) -> u64 {
        self.highest_modseq
    }

    /// Keywords that were seen in the folder.
    pub(crate) fn keywords(&self) -> &Arc<BTreeSet<String>> {
        &self.keywords
    }

    /// The entry at a position from 0.
    pub fn get(&self, at: usize) -> Option<&Entry> {
        let chunk = self.starts.partition_point(|start| *start <= at).checked_sub(1)?;
        self.chunks.get(chunk)?.entries.get(at - self.starts[chunk])
    }

    /// Reads entries at ascending positions: each is found from the one before.
    pub(crate) fn ascending(&self) -> Ascending<'_> {
        Ascending {
            contents: self,
            chunk: 0,
        }
    }

    /// The last one.
    pub fn last(&self) -> Option<&Entry> {
        self.chunks.last()?.entries.last()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flat_map(|chunk| chunk.entries.iter())
    }

    /// Those from a UID on.
    pub fn iter_from(&self, uid: u32) -> impl Iterator<Item = &Entry> {
        let below = |chunk: &Arc<Chunk>| chunk.entries.last().is_some_and(|entry| entry.uid < uid);
        let at = self.chunks.partition_point(below);
        let entries = self.chunks[at..].iter().flat_map(|chunk| chunk.entries.iter());
        entries.skip_while(move |entry| entry.uid < uid)
    }

    /// Position of a UID, or where it would be.
    pub(crate) fn position(&self, uid: u32) -> Result<usize, usize> {
        let below = |chunk: &Arc<Chunk>| chunk.entries.last().is_some_and(|entry| entry.uid < uid);
        let at = self.chunks.partition_point(below);
        let Some(chunk) = self.chunks.get(at) else {
            return Err(self.len);
        };
        let found = chunk.entries.binary_search_by_key(&uid, |entry| entry.uid);
        found
            .map(|within| within + self.starts[at])
            .map_err(|within| within + self.starts[at])
    }

    /// Position of the first message without `\Seen`.
    pub(crate) fn first_unseen(&self) -> Option<usize> {
        let at = self.chunks.iter().position(|chunk| chunk.unseen > 0)?;
        let within = self.chunks[at].entries.iter().position(is_unseen)?;
        Some(self.starts[at] + within)
    }

    /// What happened between this moment and a later one.
    pub(crate) fn difference(&self, later: &Self) -> Difference {
        let mut found = Difference::default();
        let (mut old, mut new) = (Cursor::of(self), Cursor::of(later));
        loop {
            if let (Some(a), Some(b)) = (old.whole_chunk(), new.whole_chunk())
                && Arc::ptr_eq(a, b)
            {
                old.skip_chunk();
                new.skip_chunk();
                continue;
            }
            match (old.entry(), new.entry()) {
                (None, None) => return found,
                (Some(a), Some(b)) if a.uid == b.uid => {
                    if a.modseq != b.modseq {
                        found.changed.push(new.position);
                    }
                    old.step();
                    new.step();
                }
                (Some(a), b) if b.is_none_or(|b| a.uid < b.uid) => {
                    found.gone.push(old.position);
                    old.step();
                }
                _ => {
                    found.fresh += 1;
                    new.step();
                }
            }
        }
    }
}

/// Reads entries at ascending positions.
pub(crate) struct Ascending<'a> {
    contents: &'a Contents,
    chunk: usize,
}

impl<'a> Ascending<'a> {
    /// The entry at a position that is not before the one read last.
    pub(crate) fn get(&mut self, at: usize) -> Option<&'a Entry> {
        let Contents { chunks, starts, .. } = self.contents;
        while starts.get(self.chunk + 1).is_some_and(|start| *start <= at) {
            self.chunk += 1;
        }
        let within = at.checked_sub(*starts.get(self.chunk)?)?;
        chunks[self.chunk].entries.get(within)
    }
}

impl Index<usize> for Contents {
    type Output = Entry;

    /// A position that came from this contents.
    fn index(&self, at: usize) -> &Entry {
        let chunk = self.starts.partition_point(|start| *start <= at) - 1;
        &self.chunks[chunk].entries[at - self.starts[chunk]]
    }
}

impl Chunk {
    fn new(entries: Vec<Entry>) -> Arc<Self> {
        let unseen = entries.iter().filter(|entry| is_unseen(entry)).count();
        Arc::new(Self { entries, unseen })
    }

    /// The same with some entries replaced and some gone; `None` when nothing is left.
    fn changed(&self, now: &[Entry], gone: &[u32]) -> Option<Arc<Self>> {
        let mut now = now.iter().peekable();
        let mut entries = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            while now.next_if(|changed| changed.uid < entry.uid).is_some() {}
            let changed = now.next_if(|changed| changed.uid == entry.uid);
            if gone.binary_search(&entry.uid).is_err() {
                entries.push(changed.unwrap_or(entry).clone());
            }
        }
        (!entries.is_empty()).then(|| Self::new(entries))
    }
}

/// Adds entries at the end: into the last chunk while there is room, and while it is not made of many small ones.
fn append(chunks: &mut Vec<Arc<Chunk>>, fresh: impl Iterator<Item = Entry>) {
    let mut fresh = fresh.peekable();
    if fresh.peek().is_none() {
        return;
    }
    let mut open = match chunks.last() {
        Some(last) if last.entries.len() < CHUNK_ENTRIES => {
            let entries = last.entries.clone();
            chunks.pop();
            entries
        }
        _ => Vec::new(),
    };
    for entry in fresh {
        if open.len() >= CHUNK_ENTRIES {
            chunks.push(Chunk::new(std::mem::take(&mut open)));
        }
        open.push(entry);
    }
    chunks.push(Chunk::new(open));
    if chunks.len() > CHUNKS_MIN
        && chunks.iter().map(|chunk| chunk.entries.len()).sum::<usize>() < chunks.len() * SPARSE
    {
        repack(chunks);
    }
}

/// Makes chunks full again, where removals left many small ones.
fn repack(chunks: &mut Vec<Arc<Chunk>>) {
    let entries: Vec<Entry> = chunks.iter().flat_map(|chunk| chunk.entries.iter().cloned()).collect();
    *chunks = entries
        .chunks(CHUNK_ENTRIES)
        .map(|piece| Chunk::new(piece.to_vec()))
        .collect();
}

/// A walk over the entries of a contents.
struct Cursor<'a> {
    chunks: &'a [Arc<Chunk>],
    within: usize,
    position: usize,
}

impl<'a> Cursor<'a> {
    fn of(contents: &'a Contents) -> Self {
        Self {
            chunks: &contents.chunks,
            within: 0,
            position: 0,
        }
    }

    fn entry(&self) -> Option<&'a Entry> {
        self.chunks.first()?.entries.get(self.within)
    }

    /// The present chunk when none of it was walked over.
    fn whole_chunk(&self) -> Option<&'a Arc<Chunk>> {
        self.chunks.first().filter(|_| self.within == 0)
    }

    fn skip_chunk(&mut self) {
        if let Some((first, rest)) = self.chunks.split_first() {
            self.position += first.entries.len();
            self.chunks = rest;
        }
    }

    fn step(&mut self) {
        self.position += 1;
        self.within += 1;
        if let Some((first, rest)) = self.chunks.split_first()
            && self.within >= first.entries.len()
        {
            (self.chunks, self.within) = (rest, 0);
        }
    }
}

fn is_unseen(entry: &Entry) -> bool {
    entry.flags.system & Flags::SEEN == 0
}

/// Adds keywords, compared without case.
fn learn(keywords: &mut BTreeSet<String>, flags: &Flags) {
    for keyword in &flags.keywords {
        if !keywords.contains(keyword) && !keywords.iter().any(|known| known.eq_ignore_ascii_case(keyword)) {
            keywords.insert(keyword.clone());
        }
    }
}

/// Entries of a full chunk: a change copies one, and a folder of ten thousand has eighty.
const CHUNK_ENTRIES: usize = 128;
/// Below it chunks are not made full again.
const CHUNKS_MIN: usize = 8;
/// Entries per chunk below which they are.
const SPARSE: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::imap::request::MessageHandle;

    fn entry(uid: u32, modseq: u64) -> Entry {
        Entry {
            uid,
            message: MessageHandle(i64::from(uid)),
            flags: Flags::system(u8::try_from(modseq % 2).unwrap()),
            internal_date: Timestamp::UNIX_EPOCH,
            saved: Timestamp::UNIX_EPOCH,
            size_bytes: 1,
            modseq,
        }
    }

    fn folder(uids: std::ops::RangeInclusive<u32>) -> Contents {
        Contents::new(uids.map(|uid| entry(uid, 1)).collect(), 1)
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let before = folder(1..=10_000);
        let after = before.advanced(vec![entry(5000, 2)], &[7], 2);
        let shared = before
            .chunks
            .iter()
            .filter(|chunk| after.chunks.iter().any(|other| Arc::ptr_eq(chunk, other)));
        assert_eq!(shared.count(), before.chunks.len() - 2);
        let difference = before.difference(&after);
        assert_eq!(
            (difference.changed, difference.gone, difference.fresh),
            (vec![4998], vec![6], 0)
        );
        assert_eq!(after.position(5000), Ok(4998));
        assert_eq!(after.position(7), Err(6));
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 80, "{}", size_of::<Entry>());
    }

    #[test]
    fn entries_are_read_one_after_the_other() {
        let contents = folder(1..=1_000);
        let contents = contents.advanced(Vec::new(), &(300..=700).collect::<Vec<_>>(), 2);
        for step in [1, 7, 250] {
            let mut reader = contents.ascending();
            for at in (0..contents.len() + 2 * step).step_by(step) {
                assert_eq!(reader.get(at), contents.get(at), "{at} by {step}");
                assert_eq!(reader.get(at), contents.get(at), "{at} again");
            }
        }
        assert_eq!(Contents::default().ascending().get(0), None);
    }

    proptest! {
        #[test]
        fn a_listing_is_what_a_map_says(steps in prop::collection::vec((0_u8..4, 0_u32..400), 1..60)) {
            let mut model: BTreeMap<u32, Entry> = (1..=300).map(|uid| (uid, entry(uid, 1))).collect();
            let mut contents = folder(1..=300);
            let mut next = 301;
            for (modseq, (what, at)) in (2..).zip(steps) {
                let (earlier, before) = (contents.clone(), model.clone());
                let (mut changed, mut gone) = (Vec::new(), Vec::new());
                match (what, model.keys().nth(at as usize % model.len().max(1)).copied()) {
                    (0, _) => {
                        changed.extend((next..=next + at % 200).map(|uid| entry(uid, modseq)));
                        next += at % 200 + 1;
                    }
                    (1, Some(uid)) => changed.push(entry(uid, modseq)),
                    (_, Some(uid)) => gone.extend(model.keys().copied().filter(|u| *u >= uid).take(at as usize % 90)),
                    _ => {}
                }
                model.extend(changed.iter().map(|e| (e.uid, e.clone())));
                model.retain(|uid, _| !gone.contains(uid));
                contents = earlier.advanced(changed, &gone, modseq);
                prop_assert!(contents.iter().eq(model.values()));
                prop_assert_eq!(contents.len(), model.len());
                for (at, uid) in model.keys().enumerate() {
                    prop_assert_eq!(contents.position(*uid), Ok(at));
                    prop_assert_eq!(contents.get(at).map(|e| e.uid), Some(*uid));
                }
                prop_assert_eq!(contents.get(model.len()), None);
                let unseen = model.values().position(|e| e.flags.system & Flags::SEEN == 0);
                prop_assert_eq!(contents.first_unseen(), unseen);
                let difference = earlier.difference(&contents);
                let lost: Vec<usize> = before.keys().enumerate().filter(|(_, u)| !model.contains_key(u)).map(|(at, _)| at).collect();
                prop_assert_eq!(difference.gone, lost);
                prop_assert_eq!(difference.fresh, model.keys().filter(|u| !before.contains_key(u)).count());
                let changed: Vec<usize> = model.iter().enumerate()
                    .filter(|(_, (u, e))| before.get(u).is_some_and(|b| b != *e)).map(|(at, _)| at).collect();
                prop_assert_eq!(difference.changed, changed);
            }
        }
    }
}
