//! The selected folder as this session was told it is: sequence numbers, flags, and what must still be said (RFC 3501 §5.2, §7.4.1).
//!
//! Invariant: `entries` is exactly what the client knows. A message that is gone keeps its sequence number in it until the client
//! may be told, so that a number always means the same message to both sides.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::grammar::tree::End;
use super::request::{Entry, Flags, FolderHandle, News, Selected};
use super::wire;

/// The selected folder.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) folder: FolderHandle,
    pub(crate) name: String,
    pub(crate) access: Access,
    /// Shared with other sessions until it first changes.
    entries: Arc<Vec<Entry>>,
    recent: BTreeSet<u32>,
    /// Keywords the client knows of, as shown in FLAGS.
    keywords: BTreeSet<String>,
    /// UIDs that are gone and of which the client was not told yet.
    vanished: BTreeSet<u32>,
    pub(crate) modseq: u64,
}

/// SELECT or EXAMINE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// SELECT
    ReadWrite,
    /// EXAMINE
    ReadOnly,
}

/// What may be told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Anything.
    All,
    /// Nothing that changes sequence numbers: EXPUNGE stays pending.
    KeepNumbers,
}

/// A number beyond the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

impl View {
    pub(crate) fn new(name: String, access: Access, selected: Selected) -> Self {
        let mut keywords = BTreeSet::new();
        for entry in selected.entries.iter() {
            learn(&mut keywords, &entry.flags);
        }
        Self {
            folder: selected.folder,
            name,
            access,
            entries: selected.entries,
            recent: selected.recent.into_iter().collect(),
            keywords,
            vanished: BTreeSet::new(),
            modseq: selected.highest_modseq,
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn is_recent(&self, uid: u32) -> bool {
        self.recent.contains(&uid)
    }

    /// Whether the message is known to be gone, though the client was not told yet.
    pub(crate) fn is_vanished(&self, uid: u32) -> bool {
        self.vanished.contains(&uid)
    }

    /// Whether something can be told without asking.
    pub(crate) fn has_pending(&self) -> bool {
        !self.vanished.is_empty()
    }

    /// Position of a UID.
    pub(crate) fn position(&self, uid: u32) -> Option<usize> {
        self.entries.binary_search_by_key(&uid, |e| e.uid).ok()
    }

    /// Writes `* FLAGS` and `PERMANENTFLAGS` for the keywords known.
    pub(crate) fn write_flags(&self, out: &mut Vec<u8>) {
        let known = Flags {
            system: u8::MAX,
            keywords: self.keywords.clone(),
        };
        out.extend_from_slice(b"* FLAGS ");
        wire::flags(out, &known, false);
        out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
        match self.access {
            Access::ReadOnly => out.extend_from_slice(b"()"),
            Access::ReadWrite => {
                wire::flags(out, &known, false);
                // `\*`: the client may make up keywords.
                out.truncate(out.len() - 1);
                out.extend_from_slice(b" \\*)");
            }
        }
        out.extend_from_slice(b"] flags that last\r\n");
    }

    /// Takes in flags of one message; returns whether they differ from what the client knew.
    pub(crate) fn update(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Option<(usize, bool)> {
        let at = self.position(entry.uid)?;
        let known = &self.entries[at];
        let differs = known.flags != entry.flags;
        if differs || known.modseq != entry.modseq {
            let entries = Arc::make_mut(&mut self.entries);
            entries[at].flags = entry.flags.clone();
            entries[at].modseq = entry.modseq;
        }
        if learn(&mut self.keywords, &entry.flags) {
            self.write_flags(out);
        }
        Some((at, differs))
    }

    /// Writes what a News answer means to the client, EXPUNGE only if allowed.
    pub(crate) fn tell(&mut self, news: News, telling: Telling, out: &mut Vec<u8>) {
        self.modseq = self.modseq.max(news.highest_modseq);
        self.note_vanished(&news.expunged);
        let last = self.entries.last().map_or(0, |e| e.uid);
        let split = news.entries.partition_point(|e| e.uid <= last);
        let (known, new) = news.entries.split_at(split);
        for entry in known {
            if let Some((at, true)) = self.update(entry, out) {
                self.write_fetch_flags(at, None, out);
            }
        }
        if telling == Telling::All {
            self.tell_vanished(out);
        }
        let fresh: Vec<Entry> = new
            .iter()
            .filter(|e| news.expunged.binary_search(&e.uid).is_err())
            .cloned()
            .collect();
        if fresh.is_empty() {
            return;
        }
        let learned = fresh.iter().filter(|e| learn(&mut self.keywords, &e.flags)).count() > 0;
        Arc::make_mut(&mut self.entries).extend(fresh);
        self.recent.extend(news.recent.iter().filter(|u| **u > last));
        if learned {
            self.write_flags(out);
        }
        self.write_counts(out);
    }

    /// Writes EXISTS and RECENT.
    pub(crate) fn write_counts(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"* ");
        wire::number(out, self.entries.len() as u64);
        out.extend_from_slice(b" EXISTS\r\n* ");
        wire::number(out, self.recent.len() as u64);
        out.extend_from_slice(b" RECENT\r\n");
    }

    /// Remembers that messages are gone.
    pub(crate) fn note_vanished(&mut self, uids: &[u32]) {
        for &uid in uids {
            if self.position(uid).is_some() {
                self.vanished.insert(uid);
            }
        }
    }

    /// Writes EXPUNGE for everything that is gone; each number counts after the ones before it.
    pub(crate) fn tell_vanished(&mut self, out: &mut Vec<u8>) {
        if self.vanished.is_empty() {
            return;
        }
        let mut removed = 0;
        for uid in &self.vanished {
            if let Ok(at) = self.entries.binary_search_by_key(uid, |e| e.uid) {
                out.extend_from_slice(b"* ");
                wire::number(out, (at + 1 - removed) as u64);
                out.extend_from_slice(b" EXPUNGE\r\n");
                removed += 1;
            }
            self.recent.remove(uid);
        }
        let vanished = std::mem::take(&mut self.vanished);
        Arc::make_mut(&mut self.entries).retain(|e| !vanished.contains(&e.uid));
    }

    /// Writes `* n FETCH (FLAGS (…))`, with the UID when one is given.
    pub(crate) fn write_fetch_flags(&self, at: usize, uid: Option<u32>, out: &mut Vec<u8>) {
        let entry = &self.entries[at];
        out.extend_from_slice(b"* ");
        wire::number(out, at as u64 + 1);
        out.extend_from_slice(b" FETCH (FLAGS ");
        wire::flags(out, &entry.flags, self.is_recent(entry.uid));
        if let Some(uid) = uid {
            out.extend_from_slice(b" UID ");
            wire::number(out, u64::from(uid));
        }
        out.extend_from_slice(b")\r\n");
    }

    /// Positions named by a set of sequence numbers, ascending. A number beyond the last message is an error, and so is `*` when
    /// there is none (RFC 3501 §9, `seq-number`).
    pub(crate) fn by_number(&self, set: &[(End, End)]) -> Result<Vec<usize>, OutOfRange> {
        let count = u32::try_from(self.entries.len()).map_err(|_| OutOfRange)?;
        let ranges = ranges(set, count);
        if ranges.iter().any(|&(from, to)| from == 0 || to > count) {
            return Err(OutOfRange);
        }
        Ok(expand(&ranges, |(from, to)| from as usize - 1..to as usize))
    }

    /// Positions named by a set of UIDs, ascending; UIDs without a message are skipped (RFC 3501 §6.4.8).
    pub(crate) fn by_uid(&self, set: &[(End, End)]) -> Vec<usize> {
        let ranges = ranges(set, self.entries.last().map_or(0, |e| e.uid));
        expand(&ranges, |(from, to)| {
            let start = self.entries.partition_point(|e| e.uid < from);
            let end = self.entries.partition_point(|e| e.uid <= to);
            start..end
        })
    }
}

/// Ranges of a set, smaller end first, sorted and merged; `*` is `largest`.
pub(crate) fn ranges(set: &[(End, End)], largest: u32) -> Vec<(u32, u32)> {
    let value = |end: &End| match end {
        End::Number(number) => number.get(),
        End::Last => largest,
    };
    let mut ranges: Vec<(u32, u32)> = set
        .iter()
        .map(|(a, b)| (value(a).min(value(b)), value(a).max(value(b))))
        .collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = next.0 <= kept.1.saturating_add(1);
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
    ranges
}

fn expand(ranges: &[(u32, u32)], positions: impl Fn((u32, u32)) -> std::ops::Range<usize>) -> Vec<usize> {
    ranges.iter().flat_map(|&range| positions(range)).collect()
}

/// Adds keywords; returns whether one was new.
fn learn(keywords: &mut BTreeSet<String>, flags: &Flags) -> bool {
    let mut learned = false;
    for keyword in &flags.keywords {
        if !keywords.contains(keyword) && !keywords.iter().any(|k| k.eq_ignore_ascii_case(keyword)) {
            keywords.insert(keyword.clone());
            learned = true;
        }
    }
    learned
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::imap::grammar;
    use crate::imap::grammar::tree::{Body, Set};
    use crate::imap::request::MessageHandle;

    fn set(text: &str) -> Vec<(End, End)> {
        let line = format!("a COPY {text} x\r\n");
        match grammar::parse(line.as_bytes()).unwrap().body {
            Body::Copy {
                set: Set::Ranges(ranges),
                ..
            } => ranges,
            other => panic!("{other:?}"),
        }
    }

    fn entry(uid: u32, system: u8) -> Entry {
        Entry {
            uid,
            message: MessageHandle(i64::from(uid)),
            flags: Flags::system(system),
            internal_date: Timestamp::UNIX_EPOCH,
            size_bytes: 1,
            modseq: 1,
        }
    }

    fn view(uids: &[u32]) -> View {
        let selected = Selected {
            folder: FolderHandle(1),
            uid_validity: 1,
            uid_next: 100,
            highest_modseq: 1,
            entries: Arc::new(uids.iter().map(|&u| entry(u, 0)).collect()),
            recent: Vec::new(),
        };
        View::new("INBOX".into(), Access::ReadWrite, selected)
    }

    fn told(view: &mut View, news: News, telling: Telling) -> String {
        let mut out = Vec::new();
        view.tell(news, telling, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn expunge_numbers_count_down_as_messages_go() {
        let mut view = view(&[2, 4, 6, 8]);
        let news = News {
            expunged: vec![2, 6, 7],
            ..News::default()
        };
        assert_eq!(told(&mut view, news, Telling::All), "* 1 EXPUNGE\r\n* 2 EXPUNGE\r\n");
        assert_eq!(view.entries().len(), 2);
    }

    #[test]
    fn numbers_hold_until_the_client_may_be_told() {
        let mut view = view(&[2, 4]);
        let news = News {
            expunged: vec![2],
            entries: vec![entry(4, Flags::SEEN), entry(9, 0)],
            recent: vec![9],
            ..News::default()
        };
        assert_eq!(
            told(&mut view, news, Telling::KeepNumbers),
            "* 2 FETCH (FLAGS (\\Seen))\r\n* 3 EXISTS\r\n* 1 RECENT\r\n"
        );
        assert!(view.is_vanished(2) && view.has_pending());
        assert_eq!(told(&mut view, News::default(), Telling::All), "* 1 EXPUNGE\r\n");
        assert_eq!(view.entries().len(), 2);
    }

    #[test]
    fn the_same_news_twice_says_nothing_new() {
        let mut view = view(&[2]);
        let news = News {
            entries: vec![entry(2, Flags::SEEN), entry(3, 0)],
            expunged: vec![1],
            ..News::default()
        };
        assert!(!told(&mut view, news.clone(), Telling::All).is_empty());
        assert_eq!(told(&mut view, news, Telling::All), "");
    }

    #[test]
    fn sets_mean_what_the_standard_says() {
        let view = view(&[2, 4, 6]);
        assert_eq!(view.by_number(&set("3,1:2")), Ok(vec![0, 1, 2]));
        assert_eq!(view.by_number(&set("*:2")), Ok(vec![1, 2]));
        assert_eq!(view.by_number(&set("4")), Err(OutOfRange));
        assert_eq!(view.by_number(&set("1:9")), Err(OutOfRange));
        assert_eq!(view.by_uid(&set("1:3,6")), [0, 2]);
        assert_eq!(view.by_uid(&set("9:*")), [2]);
        assert_eq!(view.by_uid(&set("5")), [] as [usize; 0]);
        let empty = tests::view(&[]);
        assert_eq!(empty.by_number(&set("1:*")), Err(OutOfRange));
        assert_eq!(empty.by_uid(&set("1:*")), [] as [usize; 0]);
    }
}
