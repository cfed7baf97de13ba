//! A folder as one client knows it, message by message.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Checked, Kind, Resync, Sent, check};
use crate::wire::Value;

/// A message as the client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) uid: Option<u32>,
    pub(crate) flags: Option<BTreeSet<String>>,
    pub(crate) modseq: Option<u64>,
    /// The command under way changes it, and the client was not told how.
    pub(crate) targeted: bool,
    pub(crate) told: bool,
    /// It came while a STORE was under way, which may have named it.
    pub(crate) is_late: bool,
    /// It came while the client had asked for the UID of whatever comes.
    pub(crate) is_fresh: bool,
}

/// The selected folder as the client knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    pub(crate) name: String,
    /// MAILBOXID
    pub(crate) object: String,
    pub(crate) read_only: bool,
    pub(crate) validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) highest: u64,
    pub(crate) messages: Vec<Known>,
    pub(crate) keywords: BTreeSet<String>,
    /// UIDs that were expunged: they never come back.
    pub(crate) gone: BTreeSet<u32>,
    /// It was selected before, and what was known then holds.
    pub(crate) is_kept: bool,
    /// SELECT said how many there are.
    pub(crate) is_counted: bool,
    /// Messages that came while SELECT was answered: nothing is said of them yet.
    pub(crate) late: usize,
    /// EXISTS of SELECT, until what else SELECT says is taken in.
    pub(crate) expected: Option<usize>,
    /// Messages that the client itself put there: NOTIFY names none of them (RFC 5465 §5.2).
    pub(crate) own: usize,
    /// UIDs that `$` stands for.
    pub(crate) saved: BTreeSet<u32>,
    /// UIDs told in the command under way.
    pub(crate) fetched: BTreeSet<u32>,
}

impl Folder {
    /// After a NOOP the client knows what others knew before it.
    pub(crate) fn has_learnt(&self, sent: &Sent) -> Checked {
        let unnamed = self
            .messages
            .iter()
            .filter(|known| known.uid.is_none() && known.is_fresh);
        let are_named = sent.kind != Kind::Noop || unnamed.count() <= self.own;
        check(are_named, || "a new message was not named".into())?;
        for known in &self.messages {
            let Some(uid) = known.uid else { continue };
            check(!sent.due.gone.contains(&uid), || {
                format!("UID {uid} is gone, and NOOP did not say so")
            })?;
            let due = sent.due.modseqs.iter().find(|(due, _)| *due == uid);
            let is_late = |(_, due): &(u32, u64)| known.modseq.is_some_and(|modseq| modseq < *due);
            check(!due.is_some_and(is_late), || {
                format!("UID {uid} has MODSEQ {due:?}, and NOOP left it at {:?}", known.modseq)
            })?;
        }
        Ok(())
    }

    /// All that was saved and is there was fetched.
    pub(crate) fn fetched_saved(&mut self) -> Checked {
        let here: BTreeSet<u32> = self.messages.iter().filter_map(|known| known.uid).collect();
        let missing = self
            .saved
            .iter()
            .find(|uid| here.contains(uid) && !self.fetched.contains(uid));
        check(missing.is_none(), || {
            format!("UID {missing:?} was saved, and not fetched")
        })
    }

    /// Which of the messages without a known UID around `at` went is not known: nor which one has which flags.
    pub(crate) fn blur(&mut self, at: usize) {
        let unknown = |known: &Known| known.uid.is_none();
        let start = self.messages[..at]
            .iter()
            .rposition(|known| !unknown(known))
            .map_or(0, |at| at + 1);
        for known in self.messages[start..].iter_mut().take_while(|known| unknown(known)) {
            *known = Known {
                is_fresh: known.is_fresh,
                ..Known::default()
            };
        }
    }

    /// After what VANISHED took away, the messages are as many as EXISTS said: those that are not remembered come last.
    pub(crate) fn settle(&mut self) -> Checked {
        let Some(count) = self.expected.take() else {
            return Ok(());
        };
        check(self.messages.len() <= count, || {
            format!(
                "EXISTS {count}, and {} remembered ones are not gone",
                self.messages.len()
            )
        })?;
        self.messages.resize(count, Known::default());
        Ok(())
    }

    pub(crate) fn opened(mut self, (read_only, resync): (bool, Resync)) -> Result<Self, String> {
        self.settle()?;
        self.read_only = read_only;
        let unknown = self.messages.iter().filter(|known| known.uid.is_none()).count();
        check(
            !(resync == Resync::Everything && self.is_kept) || unknown <= self.late,
            || format!("{unknown} messages were not told at SELECT"),
        )?;
        Ok(self)
    }

    pub(crate) fn validity_is(&mut self, validity: u32) -> Checked {
        let before = std::mem::replace(&mut self.validity, validity);
        if self.is_kept && before != validity {
            // Another folder of that name: nothing remembered holds.
            *self = Self {
                name: std::mem::take(&mut self.name),
                expected: self.expected,
                is_counted: self.is_counted,
                keywords: std::mem::take(&mut self.keywords),
                validity,
                ..Self::default()
            };
            return Ok(());
        }
        check(before == 0 || before == validity, || {
            format!("UIDVALIDITY {validity} of {} after {before}", self.name)
        })
    }

    /// A FETCH during SELECT (QRESYNC) names the UID; the number is the one of the new list.
    pub(crate) fn resynced(&mut self, at: usize, items: &[Value]) -> Checked {
        let mut told = BTreeMap::new();
        for pair in items.chunks(2) {
            told.insert(pair[0].atom().to_ascii_uppercase(), pair.get(1).cloned());
        }
        self.settle()?;
        let value = |name: &str| told.get(name).cloned().flatten();
        let uid = value("UID")
            .and_then(|v| v.number())
            .ok_or("FETCH without UID at SELECT")?;
        let modseq = value("MODSEQ").and_then(|v| v.list().first().and_then(Value::number));
        let flags = value("FLAGS").map(|v| self.flags(v.list())).transpose()?;
        self.named(at - 1, u32::try_from(uid).unwrap())?;
        let known = &mut self.messages[at - 1];
        (known.flags, known.modseq) = (flags, modseq);
        check(modseq.is_some(), || "FETCH without MODSEQ at SELECT".into())
    }

    /// Where a message of that UID may be, among those whose UID is not known.
    pub(crate) fn unknown_place(&self, uid: u32) -> Result<usize, String> {
        let after = self
            .messages
            .iter()
            .rposition(|known| known.uid.is_some_and(|u| u < uid));
        let at = after.map_or(0, |at| at + 1);
        match self.messages.get(at) {
            Some(known) if known.uid.is_none() => Ok(at),
            _ => Err(format!("UID {uid} has no place")),
        }
    }

    /// The message at `at` has that UID.
    pub(crate) fn named(&mut self, at: usize, uid: u32) -> Checked {
        check(!self.gone.contains(&uid), || format!("UID {uid} came back"))?;
        let known = self.messages.get(at).ok_or("no message of that number")?;
        check(known.uid.is_none_or(|old| old == uid), || {
            format!("message {} was UID {:?} and is {uid}", at + 1, known.uid)
        })?;
        let below = self.messages[..at].iter().filter_map(|known| known.uid).max();
        let above = self.messages[at + 1..].iter().filter_map(|known| known.uid).min();
        check(below.is_none_or(|b| b < uid) && above.is_none_or(|a| a > uid), || {
            format!("UID {uid} at {} is out of order", at + 1)
        })?;
        self.messages[at].uid = Some(uid);
        Ok(())
    }

    /// Flags as told, `\Recent` apart. Every keyword was announced.
    pub(crate) fn flags(&self, list: &[Value]) -> Result<BTreeSet<String>, String> {
        let flags: BTreeSet<String> = list.iter().map(Value::text).filter(|flag| flag != "\\Recent").collect();
        match flags.iter().find(|flag| !self.keywords.contains(*flag)) {
            Some(flag) => Err(format!("{flag} was not in FLAGS")),
            None => Ok(flags),
        }
    }
}
