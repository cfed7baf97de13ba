//! The selected folder as this session was told it is: sequence numbers, flags, and what must still be said (RFC 3501 §5.2, §7.4.1).
//!
//! Invariant: `entries` is exactly what the client knows. A message that is gone keeps its sequence number in it until the client
//! may be told, so that a number always means the same message to both sides. What many sessions know alike is shared by them
//! (`contents`): a session keeps only what it alone must still be told.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::entries::{Change, Entries};
use super::grammar::tree::End;
use super::request::{Flags, FolderHandle, News, Selected};
use super::session::{Enabled, Extension};
use super::wire;

/// The selected folder.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) folder: FolderHandle,
    pub(crate) name: String,
    pub(crate) access: Access,
    entries: Entries,
    /// Ranges of UIDs that this session saw first: between two ends nothing else is.
    recent: Vec<(u32, u32)>,
    /// Keywords the client knows of, as shown in FLAGS.
    keywords: Arc<BTreeSet<String>>,
    /// UIDs of the messages that `$` stands for, ascending (RFC 5182).
    pub(crate) saved: Vec<u32>,
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
        let keywords = Arc::clone(selected.contents.keywords());
        let mut view = Self {
            folder: selected.folder,
            name,
            access,
            entries: Entries::new(selected.contents),
            recent: Vec::new(),
            keywords,
            saved: Vec::new(),
        };
        view.note_recent(&selected.recent);
        view
    }

    pub(crate) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Everything up to this modification sequence was taken in.
    pub(crate) fn modseq(&self) -> u64 {
        self.entries.contents().highest_modseq()
    }

    pub(crate) fn is_recent(&self, uid: u32) -> bool {
        let at = self.recent.partition_point(|(_, last)| *last < uid);
        self.recent.get(at).is_some_and(|(first, _)| *first <= uid)
    }

    /// Whether the message is known to be gone, though the client was not told yet.
    pub(crate) fn is_vanished(&self, uid: u32) -> bool {
        self.entries.is_gone(uid)
    }

    /// Whether something can be told without asking.
    pub(crate) fn has_pending(&self) -> bool {
        self.entries.has_ghosts()
    }

    /// Position of a UID.
    pub(crate) fn position(&self, uid: u32) -> Option<usize> {
        self.entries.position(uid).ok()
    }

    /// Writes `* FLAGS` and `PERMANENTFLAGS` for the keywords known.
    pub(crate) fn write_flags(&self, out: &mut Vec<u8>) {
        let known = Flags {
            system: u8::MAX,
            keywords: (*self.keywords).clone().into(),
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

    /// Takes in news; keywords the client does not know are written at once. What the change means is for the caller to tell.
    pub(crate) fn adopt(&mut self, news: News, out: &mut Vec<u8>) -> Change {
        if news.contents.highest_modseq() <= self.modseq() {
            return Change::default();
        }
        let change = self.entries.adopt(news.contents);
        self.note_recent(&news.recent);
        let keywords = self.entries.contents().keywords();
        if keywords.len() != self.keywords.len() {
            self.keywords = Arc::clone(keywords);
            self.write_flags(out);
        }
        change
    }

    /// Writes what news mean to the client, EXPUNGE only if allowed; returns how many messages are new.
    pub(crate) fn tell(&mut self, news: News, telling: Telling, enabled: Enabled, out: &mut Vec<u8>) -> usize {
        let change = self.adopt(news, out);
        for at in change.changed {
            self.write_fetch_flags(at, None, enabled, out);
        }
        self.tell_numbers(change.fresh, telling, enabled, out)
    }

    /// The same without changes of flags, which this client does not want.
    pub(crate) fn tell_quietly(&mut self, news: News, telling: Telling, enabled: Enabled, out: &mut Vec<u8>) -> usize {
        let change = self.adopt(news, out);
        self.tell_numbers(change.fresh, telling, enabled, out)
    }

    fn tell_numbers(&mut self, fresh: usize, telling: Telling, enabled: Enabled, out: &mut Vec<u8>) -> usize {
        if telling == Telling::All {
            self.tell_vanished(enabled, out);
        }
        if fresh > 0 {
            self.write_counts(enabled, out);
        }
        fresh
    }

    /// Writes EXISTS and RECENT.
    pub(crate) fn write_counts(&self, enabled: Enabled, out: &mut Vec<u8>) {
        out.extend_from_slice(b"* ");
        wire::number(out, self.entries.len() as u64);
        out.extend_from_slice(b" EXISTS\r\n");
        // RFC 9051 §E: there is no RECENT any more.
        if enabled.has(Extension::Imap4rev2) {
            return;
        }
        out.extend_from_slice(b"* ");
        wire::number(out, self.recent_count() as u64);
        out.extend_from_slice(b" RECENT\r\n");
    }

    /// Writes EXPUNGE, or VANISHED, for everything that is gone.
    pub(crate) fn tell_vanished(&mut self, enabled: Enabled, out: &mut Vec<u8>) {
        let gone = self.entries.lay();
        if gone.is_empty() {
            return;
        }
        // RFC 7162 §3.2.10
        if enabled.has(Extension::Qresync) {
            out.extend_from_slice(b"* VANISHED ");
            wire::number_set(out, gone.iter().map(|(_, entry)| entry.uid));
            out.extend_from_slice(b"\r\n");
            return;
        }
        for (removed, (at, _)) in gone.iter().enumerate() {
            // Each number counts after the ones before it.
            out.extend_from_slice(b"* ");
            wire::number(out, (at + 1 - removed) as u64);
            out.extend_from_slice(b" EXPUNGE\r\n");
        }
    }

    /// Writes `* n FETCH (FLAGS (…))`, with the UID when one is given.
    pub(crate) fn write_fetch_flags(&self, at: usize, uid: Option<u32>, enabled: Enabled, out: &mut Vec<u8>) {
        let Some(entry) = self.entries.get(at) else { return };
        out.extend_from_slice(b"* ");
        wire::number(out, at as u64 + 1);
        out.extend_from_slice(b" FETCH (FLAGS ");
        wire::flags(
            out,
            &entry.flags,
            self.is_recent(entry.uid) && !enabled.has(Extension::Imap4rev2),
        );
        // RFC 9051 §7.5.2, RFC 7162 §3.2.4, RFC 5465 §5.1: the UID comes too, whether it was asked or not.
        let shows_uid = [Extension::Condstore, Extension::Imap4rev2, Extension::Notify];
        if uid.is_some() || shows_uid.iter().any(|extension| enabled.has(*extension)) {
            out.extend_from_slice(b" UID ");
            wire::number(out, u64::from(entry.uid));
        }
        write_modseq(entry.modseq, enabled, out);
        out.extend_from_slice(b")\r\n");
    }

    /// Writes `* n FETCH (UID u MODSEQ (m))`: what even a silent STORE says (RFC 7162 §3.1.3).
    pub(crate) fn write_fetch_modseq(&self, at: usize, enabled: Enabled, out: &mut Vec<u8>) {
        let Some(entry) = self.entries.get(at) else { return };
        out.extend_from_slice(b"* ");
        wire::number(out, at as u64 + 1);
        out.extend_from_slice(b" FETCH (UID ");
        wire::number(out, u64::from(entry.uid));
        write_modseq(entry.modseq, enabled, out);
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
        expand(&ranges, |range| self.between(range))
    }

    /// Positions of the UIDs of a range.
    fn between(&self, (from, to): (u32, u32)) -> std::ops::Range<usize> {
        let start = self.entries.position(from).unwrap_or_else(|at| at);
        let end = self.entries.position(to).map_or_else(|at| at, |at| at + 1);
        start..end
    }

    /// Adds UIDs, ascending, that no other session was shown before.
    fn note_recent(&mut self, uids: &[u32]) {
        for &uid in uids {
            // One that is not in the contents yet comes with the next news.
            let at = self.entries.position(uid).unwrap_or_else(|at| at);
            match self.recent.last_mut() {
                Some((_, last)) if *last >= uid => {}
                Some((_, last)) if self.entries.position(*last).map_or_else(|at| at, |at| at + 1) == at => *last = uid,
                _ => self.recent.push((uid, uid)),
            }
        }
    }

    fn recent_count(&self) -> usize {
        self.recent.iter().map(|range| self.between(*range).len()).sum()
    }
}

fn write_modseq(modseq: u64, enabled: Enabled, out: &mut Vec<u8>) {
    if enabled.has(Extension::Condstore) {
        out.extend_from_slice(b" MODSEQ (");
        wire::number(out, modseq);
        out.push(b')');
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

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroU32;

    use jiff::Timestamp;

    use super::*;
    use crate::imap::contents::Contents;
    use crate::imap::grammar;
    use crate::imap::grammar::tree::{Body, Set};
    use crate::imap::request::{Entry, MessageHandle};

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

    pub(crate) fn end(number: u32) -> End {
        End::Number(NonZeroU32::new(number).unwrap())
    }

    fn entry(uid: u32, system: u8, modseq: u64) -> Entry {
        Entry {
            uid,
            message: MessageHandle(i64::from(uid)),
            flags: Flags::system(system),
            internal_date: Timestamp::UNIX_EPOCH,
            saved: Timestamp::UNIX_EPOCH,
            size_bytes: 1,
            modseq,
        }
    }

    pub(crate) fn view(uids: &[u32]) -> View {
        let entries = uids.iter().map(|&uid| entry(uid, 0, 1)).collect();
        let selected = Selected {
            object_id: String::new(),
            read_only: false,
            folder: FolderHandle(1),
            uid_validity: 1,
            uid_next: 100,
            contents: Arc::new(Contents::new(entries, 1)),
            recent: Vec::new(),
        };
        View::new("INBOX".into(), Access::ReadWrite, selected)
    }

    /// The folder of a view after changes.
    fn news(view: &View, changed: Vec<Entry>, gone: &[u32], recent: &[u32]) -> News {
        let now = view.entries().contents();
        News {
            contents: Arc::new(now.advanced(changed, gone, now.highest_modseq() + 1)),
            recent: recent.to_vec(),
        }
    }

    fn told(view: &mut View, news: News, telling: Telling) -> String {
        told_with(view, news, telling, &[])
    }

    fn told_with(view: &mut View, news: News, telling: Telling, extensions: &[Extension]) -> String {
        let mut enabled = Enabled::default();
        for extension in extensions {
            enabled.insert(*extension);
        }
        let mut out = Vec::new();
        view.tell(news, telling, enabled, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn expunge_numbers_count_down_as_messages_go() {
        let mut view = view(&[2, 4, 6, 8]);
        let news = news(&view, Vec::new(), &[2, 6, 7], &[]);
        assert_eq!(told(&mut view, news, Telling::All), "* 1 EXPUNGE\r\n* 2 EXPUNGE\r\n");
        assert_eq!(view.entries().len(), 2);
    }

    #[test]
    fn numbers_hold_until_the_client_may_be_told() {
        let mut view = view(&[2, 4]);
        let first = news(&view, vec![entry(4, Flags::SEEN, 2), entry(9, 0, 2)], &[2], &[9]);
        assert_eq!(
            told(&mut view, first, Telling::KeepNumbers),
            "* 2 FETCH (FLAGS (\\Seen))\r\n* 3 EXISTS\r\n* 1 RECENT\r\n"
        );
        assert!(view.is_vanished(2) && view.has_pending() && view.is_recent(9));
        assert_eq!(view.entries().iter().map(|e| e.uid).collect::<Vec<_>>(), [2, 4, 9]);
        let second = news(&view, vec![entry(9, Flags::SEEN, 3), entry(11, 0, 3)], &[4], &[11]);
        assert_eq!(
            told(&mut view, second, Telling::KeepNumbers),
            "* 3 FETCH (FLAGS (\\Seen \\Recent))\r\n* 4 EXISTS\r\n* 2 RECENT\r\n"
        );
        for (at, uid) in [2, 4, 9, 11].into_iter().enumerate() {
            assert_eq!((view.position(uid), view.entries()[at].uid), (Some(at), uid));
        }
        assert_eq!(view.by_uid(&set("3:10")), [1, 2]);
        assert_eq!(
            told(&mut view, News::default(), Telling::All),
            "* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n"
        );
        assert_eq!(view.entries().len(), 2);
    }

    #[test]
    fn what_is_enabled_decides_how_it_is_told() {
        let change = |view: &View| news(view, vec![entry(4, Flags::SEEN, 2), entry(9, 0, 2)], &[2, 3], &[9]);
        let mut condstore = view(&[2, 3, 4]);
        let news = change(&condstore);
        assert_eq!(
            told_with(&mut condstore, news, Telling::All, &[Extension::Condstore]),
            "* 3 FETCH (FLAGS (\\Seen) UID 4 MODSEQ (2))\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 2 EXISTS\r\n* 1 RECENT\r\n"
        );
        let mut qresync = view(&[2, 3, 4]);
        let news = change(&qresync);
        assert_eq!(
            told_with(
                &mut qresync,
                news,
                Telling::All,
                &[Extension::Qresync, Extension::Imap4rev2]
            ),
            "* 3 FETCH (FLAGS (\\Seen) UID 4 MODSEQ (2))\r\n* VANISHED 2:3\r\n* 2 EXISTS\r\n"
        );
    }

    #[test]
    fn the_same_news_twice_says_nothing_new() {
        let mut view = view(&[2]);
        let news = news(&view, vec![entry(2, Flags::SEEN, 2), entry(3, 0, 2)], &[1], &[]);
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
