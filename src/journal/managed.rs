//! What an administrator does to the queue.

use serde::{Deserialize, Serialize};

use super::masked::{Excerpt, MaskedAddress};

/// See [`super::Event::Managed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// What was done.
    pub action: QueueAction,
    /// Key of the item in the queue.
    pub item: i64,
    /// Forward-path.
    pub recipient: MaskedAddress,
    /// Who did it.
    pub by: Excerpt,
    /// Attempts finished before.
    pub attempts: u32,
}

/// What can be done to an item by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueAction {
    /// It is tried at once.
    #[default]
    Retry,
    /// It is not tried until it is released.
    Hold,
    /// It is tried again.
    Release,
    /// It left the queue and nobody is told: this is its final verdict.
    Drop,
    /// It is given up; its `bounced` record follows.
    Bounce,
}

impl QueueAction {
    /// Its name in the journal and in answers.
    pub fn id(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Drop => "drop",
            Self::Bounce => "bounce",
        }
    }
}
