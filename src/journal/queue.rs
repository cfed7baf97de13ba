//! What becomes of mail that was accepted: in the queue, by itself and by hand, and in the reports about it.

use serde::{Deserialize, Serialize};

use super::masked::{Excerpt, MaskedAddress};

/// See [`super::Event::Queued`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Forward-path.
    pub recipient: MaskedAddress,
}

/// See [`super::Event::Relayed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relayed {
    /// Forward-path.
    pub recipient: MaskedAddress,
    /// Full subject DN of the operator that took it.
    pub peer_subject: Excerpt,
    /// What it said.
    pub reply: Excerpt,
    /// Attempts it took.
    pub attempts: u32,
}

/// See [`super::Event::Deferred`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// Forward-path.
    pub recipient: MaskedAddress,
    /// Full subject DN of the peer, if it was reached.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_subject: Excerpt,
    /// What the attempt ended with.
    pub reply: Excerpt,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next one is due, RFC 3339.
    pub due: String,
}

/// Why the queue gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BounceCause {
    /// A definite answer.
    #[default]
    Refused,
    /// Its time ran out.
    Expired,
}

/// See [`super::Event::Bounced`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounced {
    /// Forward-path.
    pub recipient: MaskedAddress,
    /// Full subject DN of the peer, if it was reached.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_subject: Excerpt,
    /// What the last attempt ended with.
    pub reply: Excerpt,
    /// Attempts it took.
    pub attempts: u32,
    /// Why it is final.
    pub cause: BounceCause,
    /// Box told about it; absent when nobody may be (null reverse-path, `NOTIFY=NEVER`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<MaskedAddress>,
}

/// See [`super::Event::Reported`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// `delivered`, `relayed` or `delayed` (RFC 3464 §2.3.3).
    pub action: Excerpt,
    /// Whom it is about.
    pub recipients: Vec<MaskedAddress>,
    /// Whom it was written to.
    pub to: MaskedAddress,
}

/// See [`super::Event::Noted`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// `Message-ID`, if the message has one.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub message_id: Excerpt,
    /// The sending box.
    pub sender: MaskedAddress,
    /// `X-MSS-NIL`: the product that wrote it (ECO.2.4.3).
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub product: Excerpt,
    /// Ids of the findings; nothing of what the header says.
    pub findings: Vec<Excerpt>,
}

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
