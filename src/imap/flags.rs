//! Flags of messages, and how they change.

use super::keywords::Keywords;

/// IMAP flags of a message (RFC 3501 §2.3.2), `\Recent` apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flags {
    /// System flags, a set of the bit constants below.
    pub system: u8,
    /// Keywords as first written; compared without case.
    pub keywords: Keywords,
}

impl Flags {
    /// `\Seen`
    pub const SEEN: u8 = 1;
    /// `\Answered`
    pub const ANSWERED: u8 = 2;
    /// `\Flagged`
    pub const FLAGGED: u8 = 4;
    /// `\Deleted`
    pub const DELETED: u8 = 8;
    /// `\Draft`
    pub const DRAFT: u8 = 16;

    /// Only these system flags.
    pub fn system(bits: u8) -> Self {
        Self {
            system: bits,
            keywords: Keywords::new(),
        }
    }

    /// Whether a keyword is set, without regard to case.
    pub fn has_keyword(&self, keyword: &str) -> bool {
        self.keywords.iter().any(|k| k.eq_ignore_ascii_case(keyword))
    }

    /// These flags after a change; keywords keep the case they were first written with.
    #[must_use]
    pub fn changed(&self, change: FlagChange, by: &Self) -> Self {
        match change {
            FlagChange::Replace => by.clone(),
            FlagChange::Add => {
                let mut flags = self.clone();
                flags.system |= by.system;
                let added = by.keywords.iter().filter(|k| !self.has_keyword(k)).cloned();
                flags.keywords.extend(added);
                flags
            }
            FlagChange::Remove => {
                let mut flags = self.clone();
                flags.system &= !by.system;
                flags.keywords.retain(|k| !by.has_keyword(k));
                flags
            }
        }
    }
}

/// How STORE changes flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagChange {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}
