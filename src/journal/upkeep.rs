//! What happens to an operator as a whole: its starts and ends, and what is done to its store by age or by an administrator.

use serde::{Deserialize, Serialize};

use super::masked::Excerpt;

/// See [`super::Event::Maintained`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintained {
    /// What was done: `repair`, `purge`, `restore`.
    pub action: Excerpt,
    /// The problem repaired, by its id; or what was purged: `journal`, `trash`, `junk`.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub kind: Excerpt,
    /// Where; a box is shown as the journal shows boxes.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub place: Excerpt,
    /// What was found, or how it was done.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub text: Excerpt,
    /// How many rows or messages.
    pub count: u64,
}

/// See [`super::Event::Started`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Version of the program.
    pub version: Excerpt,
}

/// See [`super::Event::Stopped`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {}
