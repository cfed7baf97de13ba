//! `[search]`: the index that makes searches quick.

use super::reader::Section;
use super::value::Size;

/// What is indexed for searches. Results are the same with any setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Whether there is an index at all.
    pub index: bool,
    /// Text of one message that is indexed, in bytes; one with more is read for every search.
    pub message_bytes_max: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            index: true,
            message_bytes_max: MESSAGE_DEFAULT.0,
        }
    }
}

impl Search {
    pub(super) fn read(section: Section<'_>) -> Self {
        let search = Self {
            index: section.or("index", true),
            message_bytes_max: section
                .within("message_max", MESSAGE_DEFAULT, MESSAGE_SMALLEST..=MESSAGE_LARGEST)
                .0,
        };
        section.close();
        search
    }
}

const MESSAGE_DEFAULT: Size = Size(1 << 20);
/// Less would leave every newsletter to be read.
const MESSAGE_SMALLEST: Size = Size(16 << 10);
/// So much may be held while it is indexed.
const MESSAGE_LARGEST: Size = Size(16 << 20);
