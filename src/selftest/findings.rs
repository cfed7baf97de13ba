//! What a test of durability found wrong, counted by kind, with the first ones in words.

use std::collections::BTreeMap;

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// Answered with success and not there.
    Lost,
    /// There twice, or again after its removal was answered.
    Doubled,
    /// There, and not what was accepted.
    Corrupted,
    /// One transaction, of which only a part is there.
    Half,
    /// Counters and journal say different things.
    Recount,
    /// Reported to the sender as failed twice, or while it is still tried.
    DoubleBounce,
    /// SQLite's integrity check, or references that do not add up.
    Integrity,
    /// The store does not open, read, write or close, or does not answer.
    Unusable,
}

/// Everything found wrong.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    counts: BTreeMap<Wrong, u64>,
    listed: Vec<String>,
    /// Messages that are there although nobody was told so: allowed, since the crash came between the commit and the answer.
    pub unanswered: u64,
}

impl Wrong {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::Lost,
        Self::Doubled,
        Self::Corrupted,
        Self::Half,
        Self::Recount,
        Self::DoubleBounce,
        Self::Integrity,
        Self::Unusable,
    ];

    /// Its name in reports; the same in JSON, with `_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Corrupted => "corrupted",
            Self::Half => "half written",
            Self::Recount => "recount differences",
            Self::DoubleBounce => "double bounces",
            Self::Integrity => "integrity errors",
            Self::Unusable => "stores unusable",
        }
    }
}

impl Findings {
    /// Counts one, and keeps its words if there is room.
    pub fn note(&mut self, wrong: Wrong, what: String) {
        *self.counts.entry(wrong).or_default() += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(format!("{}: {what}", wrong.name()));
        }
    }

    /// Adds those of another part of the run.
    pub fn add(&mut self, other: &Self) {
        for (wrong, count) in &other.counts {
            *self.counts.entry(*wrong).or_default() += count;
        }
        let room = LISTED_MAX.saturating_sub(self.listed.len());
        self.listed.extend(other.listed.iter().take(room).cloned());
        self.unanswered += other.unanswered;
    }

    /// How many of a kind.
    pub fn count(&self, wrong: Wrong) -> u64 {
        self.counts.get(&wrong).copied().unwrap_or_default()
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// The first ones in words, at most [`LISTED_MAX`].
    pub fn listed(&self) -> &[String] {
        &self.listed
    }
}

/// Findings kept in words: enough to see what they have in common.
pub const LISTED_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_by_kind_and_the_first_are_told() {
        let mut findings = Findings::default();
        assert!(findings.is_clean());
        for number in 0..30 {
            findings.note(Wrong::Lost, format!("message {number}"));
        }
        assert!(!findings.is_clean());
        assert_eq!((findings.count(Wrong::Lost), findings.count(Wrong::Half)), (30, 0));
        assert_eq!(findings.listed().len(), LISTED_MAX);
        assert_eq!(findings.listed()[0], "lost: message 0");
        let mut sum = Findings::default();
        sum.add(&findings);
        sum.add(&findings);
        assert_eq!((sum.count(Wrong::Lost), sum.listed().len()), (60, LISTED_MAX));
    }
}
