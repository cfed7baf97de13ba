//! What reading a list gives: what could be read, what was left out, or why nothing could.

use crate::trust::AllowList;

use super::{DEFECTS_MAX, LIST_BYTES_MAX};

/// How to take defects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Any defect refuses the whole list: what a signed list deserves.
    Strict,
    /// Defective entries are left out and reported; a missing end tag of the root is accepted.
    Salvage,
}

/// A list, and what was left out of it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What could be read.
    pub list: AllowList,
    /// What could not, in the order of the file; empty in strict mode.
    pub skipped: Vec<Skipped>,
}

/// Something in the file that was not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}: {why}")]
pub struct Skipped {
    /// Line of the file, from 1: where the entry or element starts.
    pub line: usize,
    /// The entry, by its name when it has one.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

/// Why a file is not an allow list at all, or not one that strict mode takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowListError {
    /// Larger than any list could be.
    #[error("the allow list is larger than {LIST_BYTES_MAX} bytes")]
    TooLarge,
    /// The encoding is not the one of the format.
    #[error("the allow list is not UTF-8 (byte {0})")]
    NotUtf8(usize),
    /// Not well-formed, or cut.
    #[error("line {line}: the allow list is not well-formed XML: {problem}")]
    NotXml {
        /// Line of the file, from 1.
        line: usize,
        /// What the parser met.
        problem: String,
    },
    /// Well-formed, but not this format.
    #[error("line {line}: not an MSSanté allow list: {problem}")]
    NotAllowList {
        /// Line of the file, from 1.
        line: usize,
        /// What was expected and found.
        problem: String,
    },
    /// Strict mode: the defects, at least one.
    #[error("{} defect(s) in the allow list, the first at {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Defects(Vec<Skipped>),
    /// So many defects that the file is something else.
    #[error("more than {DEFECTS_MAX} defects in the allow list")]
    TooManyDefects,
}
