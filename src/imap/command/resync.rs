//! What happened to messages since a modification sequence the client names: VANISHED (EARLIER) and FETCH (RFC 7162 §3.2.5, §3.2.6).

use crate::imap::grammar::tree::{End, Qresync};
use crate::imap::session::{Enabled, WRITE_BYTES};
use crate::imap::view::{View, ranges};
use crate::imap::wire;

/// What the client knows.
#[derive(Debug)]
pub(super) struct Resync {
    /// Everything up to this modification sequence.
    since: u64,
    /// Of the messages with these UIDs: ranges, ascending.
    known: Vec<(u32, u32)>,
    /// UIDs and the sequence numbers they had.
    matched: Vec<(u32, u32)>,
    /// Position of the first message not yet looked at.
    next: usize,
}

impl Resync {
    /// What SELECT says is remembered.
    pub(super) fn of_select(known: Qresync, uid_next: u32) -> Self {
        let last = uid_next.saturating_sub(1);
        let all = (1, last.max(1));
        let matched = known
            .matched
            .map_or_else(Vec::new, |(numbers, uids)| pairs(&numbers, &uids));
        Self {
            since: known.modseq,
            known: known.known_uids.map_or_else(|| vec![all], |known| ranges(&known, last)),
            matched,
            next: 0,
        }
    }

    /// What UID FETCH asks of a set of UIDs.
    pub(super) fn of_fetch(set: &[(End, End)], since: u64, last: u32) -> Self {
        Self {
            since,
            known: ranges(set, last),
            matched: Vec::new(),
            next: 0,
        }
    }

    /// Writes VANISHED (EARLIER): who went since, or, where that is forgotten, every UID the client may know that has no message.
    pub(super) fn write_vanished(&self, view: &View, vanished: Option<Vec<u32>>, out: &mut Vec<u8>) {
        let gone: Vec<(u32, u32)> = match vanished {
            Some(uids) => {
                let known = uids.into_iter().filter(|uid| self.knows(*uid));
                // One that went after the folder was looked at is told when that is told.
                joined(known.filter(|uid| view.position(*uid).is_none()))
            }
            None => self.missing(view),
        };
        if gone.is_empty() {
            return;
        }
        out.extend_from_slice(b"* VANISHED (EARLIER) ");
        for (at, (from, to)) in gone.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            wire::number(out, u64::from(from));
            if to > from {
                out.push(b':');
                wire::number(out, u64::from(to));
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes FETCH for messages that were changed since, a bounded part; whether there is more to write.
    pub(super) fn write_changed(&mut self, view: &View, enabled: Enabled, out: &mut Vec<u8>) -> bool {
        while let Some(entry) = view.entries().get(self.next) {
            if entry.modseq > self.since && self.knows(entry.uid) {
                view.write_fetch_flags(self.next, Some(entry.uid), enabled, out);
            }
            self.next += 1;
            if out.len() >= WRITE_BYTES {
                return true;
            }
        }
        false
    }

    fn knows(&self, uid: u32) -> bool {
        let at = self.known.partition_point(|(_, to)| *to < uid);
        self.known.get(at).is_some_and(|(from, _)| *from <= uid)
    }

    /// Ranges of known UIDs without a message. Up to the last pair that holds still, nothing went (RFC 7162 §3.2.5.2).
    fn missing(&self, view: &View) -> Vec<(u32, u32)> {
        let holds = |(number, uid): &&(u32, u32)| {
            view.position(*uid)
                .is_some_and(|at| at as u64 + 1 == u64::from(*number))
        };
        let held = self.matched.iter().rev().find(holds).map_or(0, |(_, uid)| *uid);
        let mut missing = Vec::new();
        for &(from, to) in &self.known {
            let mut from = from.max(held.saturating_add(1));
            let start = view.entries().position(from).unwrap_or_else(|at| at);
            let mut at = start;
            while let Some(entry) = view.entries().get(at).filter(|entry| entry.uid <= to) {
                if entry.uid > from {
                    missing.push((from, entry.uid - 1));
                }
                from = entry.uid.saturating_add(1);
                at += 1;
            }
            if from <= to {
                missing.push((from, to));
            }
        }
        missing
    }
}

/// Ascending numbers as ranges.
fn joined(numbers: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == number => *to = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// Numbers and UIDs side by side, as many as there are of both, and no more than would ever help.
fn pairs(numbers: &[(End, End)], uids: &[(End, End)]) -> Vec<(u32, u32)> {
    let single = |set: &[(End, End)]| -> Vec<u32> {
        let ranges = ranges(set, 0).into_iter().filter(|(from, _)| *from > 0);
        ranges.flat_map(|(from, to)| from..=to).take(PAIRS_MAX).collect()
    };
    single(numbers).into_iter().zip(single(uids)).collect()
}

/// Pairs looked at: clients send a few dozen.
const PAIRS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::session::Extension;
    use crate::imap::view::tests::{end, view};

    fn written(resync: &mut Resync, view: &View, vanished: Option<Vec<u32>>) -> String {
        let mut enabled = Enabled::default();
        enabled.insert(Extension::Qresync);
        let mut out = Vec::new();
        resync.write_vanished(view, vanished, &mut out);
        assert!(!resync.write_changed(view, enabled, &mut out));
        String::from_utf8(out).unwrap()
    }

    fn known(known_uids: Option<&[(u32, u32)]>, matched: &[(u32, u32)]) -> Resync {
        let set = |ranges: &[(u32, u32)]| ranges.iter().map(|(a, b)| (end(*a), end(*b))).collect::<Vec<_>>();
        let numbers: Vec<(u32, u32)> = matched.iter().map(|(n, _)| (*n, *n)).collect();
        let uids: Vec<(u32, u32)> = matched.iter().map(|(_, u)| (*u, *u)).collect();
        let qresync = Qresync {
            uid_validity: 1,
            modseq: 5,
            known_uids: known_uids.map(set),
            matched: (!matched.is_empty()).then(|| (set(&numbers), set(&uids))),
        };
        Resync::of_select(qresync, 20)
    }

    #[test]
    fn who_went_is_told_of_those_the_client_knows() {
        let view = view(&[2, 4, 9]);
        let gone = || Some(vec![3, 5, 6, 7]);
        assert_eq!(
            written(&mut known(None, &[]), &view, gone()),
            "* VANISHED (EARLIER) 3,5:7\r\n"
        );
        let mut some = known(Some(&[(1, 5)]), &[]);
        assert_eq!(written(&mut some, &view, gone()), "* VANISHED (EARLIER) 3,5\r\n");
        assert_eq!(written(&mut known(Some(&[(9, 9)]), &[]), &view, gone()), "");
    }

    #[test]
    fn where_that_is_forgotten_everything_missing_is_told() {
        let view = view(&[2, 4, 9]);
        let mut all = known(None, &[]);
        assert_eq!(written(&mut all, &view, None), "* VANISHED (EARLIER) 1,3,5:8,10:19\r\n");
        let mut some = known(Some(&[(3, 9)]), &[]);
        assert_eq!(written(&mut some, &view, None), "* VANISHED (EARLIER) 3,5:8\r\n");
        // The second message is still UID 4: what went, went after it.
        let mut matched = known(Some(&[(1, 9)]), &[(2, 4), (5, 9)]);
        assert_eq!(written(&mut matched, &view, None), "* VANISHED (EARLIER) 5:8\r\n");
    }
}
