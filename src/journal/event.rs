//! What can happen, one type per event. The serde names are the journal's format: additive changes only.

use serde::{Deserialize, Serialize};

use super::evidence::{Examined, HandshakeFailed};
use super::masked::{Excerpt, MaskedAddress};
use super::queue::{Bounced, Deferred, Managed, Noted, Queued, Relayed, Reported};
use super::upkeep::{Maintained, Started, Stopped};
use crate::identity::Address;
use crate::message::Class;
use crate::policy::Refusal;

/// One decision or fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A user's message was accepted: the event that counts as *sent*.
    Submitted(Submitted),
    /// Boxes of this operator received a message: the event that counts as *received*.
    Received(Received),
    /// A peer sent what boxes of this operator already have: it was told so and nothing was done. It counts for nothing.
    Repeated(Repeated),
    /// A client stored a message in a folder. It counts for nothing.
    Appended(Appended),
    /// Something was refused during a mail transaction.
    Refused(Refused),
    /// A recipient at another operator entered the queue.
    Queued(Queued),
    /// The recipient's operator took the message.
    Relayed(Relayed),
    /// It did not for now; another attempt follows.
    Deferred(Deferred),
    /// It will never; the queue gave up.
    Bounced(Bounced),
    /// An administrator did something to an item of the queue.
    Managed(Managed),
    /// A report about recipients was written to their sender; one about a failure is told by [`Event::Bounced`]. It counts for nothing.
    Reported(Reported),
    /// A submitted message was accepted, or refused, with findings about its form. It counts for nothing.
    Noted(Noted),
    /// A login succeeded.
    Login(Login),
    /// A login failed.
    LoginRefused(LoginRefused),
    /// A certificate was judged: the evidence beside a refusal.
    Examined(Box<Examined>),
    /// No TLS connection came about.
    HandshakeFailed(HandshakeFailed),
    /// Somebody opened a box (every access names the person or software behind it).
    Opened(Opened),
    /// The operator started.
    Started(Started),
    /// The operator stopped in good order.
    Stopped(Stopped),
    /// Something was done to the store itself.
    Maintained(Maintained),
    /// A row of a newer program, or one that cannot be read.
    Unknown(Unknown),
}

impl Event {
    /// Name of the event in the journal.
    pub fn name(&self) -> &str {
        match self {
            Self::Submitted(_) => Self::SUBMITTED,
            Self::Received(_) => Self::RECEIVED,
            Self::Repeated(_) => Self::REPEATED,
            Self::Appended(_) => Self::APPENDED,
            Self::Refused(_) => Self::REFUSED,
            Self::Queued(_) => Self::QUEUED,
            Self::Relayed(_) => Self::RELAYED,
            Self::Deferred(_) => Self::DEFERRED,
            Self::Bounced(_) => Self::BOUNCED,
            Self::Managed(_) => Self::MANAGED,
            Self::Reported(_) => Self::REPORTED,
            Self::Noted(_) => Self::NOTED,
            Self::Login(_) => Self::LOGIN,
            Self::LoginRefused(_) => Self::LOGIN_REFUSED,
            Self::Examined(_) => Self::EXAMINED,
            Self::HandshakeFailed(_) => Self::HANDSHAKE_FAILED,
            Self::Opened(_) => Self::OPENED,
            Self::Started(_) => Self::STARTED,
            Self::Stopped(_) => Self::STOPPED,
            Self::Maintained(_) => Self::MAINTAINED,
            Self::Unknown(unknown) => &unknown.name,
        }
    }

    /// Reason id of a refusal; empty for every other event.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused(refused) => &refused.reason,
            Self::LoginRefused(refused) => &refused.reason,
            Self::Unknown(unknown) => &unknown.reason,
            _ => "",
        }
    }

    /// Name of [`Event::Submitted`].
    pub const SUBMITTED: &'static str = "submitted";
    /// Name of [`Event::Received`].
    pub const RECEIVED: &'static str = "received";
    /// Name of [`Event::Repeated`].
    pub const REPEATED: &'static str = "repeated";
    /// Name of [`Event::Appended`].
    pub const APPENDED: &'static str = "appended";
    /// Name of [`Event::Refused`].
    pub const REFUSED: &'static str = "refused";
    /// Name of [`Event::Queued`].
    pub const QUEUED: &'static str = "queued";
    /// Name of [`Event::Relayed`].
    pub const RELAYED: &'static str = "relayed";
    /// Name of [`Event::Deferred`].
    pub const DEFERRED: &'static str = "deferred";
    /// Name of [`Event::Bounced`].
    pub const BOUNCED: &'static str = "bounced";
    /// Name of [`Event::Managed`].
    pub const MANAGED: &'static str = "managed";
    /// Name of [`Event::Reported`].
    pub const REPORTED: &'static str = "reported";
    /// Name of [`Event::Noted`].
    pub const NOTED: &'static str = "noted";
    /// Name of [`Event::Login`].
    pub const LOGIN: &'static str = "login";
    /// Name of [`Event::LoginRefused`].
    pub const LOGIN_REFUSED: &'static str = "login-refused";
    /// Name of [`Event::Examined`].
    pub const EXAMINED: &'static str = "examined";
    /// Name of [`Event::HandshakeFailed`].
    pub const HANDSHAKE_FAILED: &'static str = "handshake-failed";
    /// Name of [`Event::Opened`].
    pub const OPENED: &'static str = "opened";
    /// Name of [`Event::Started`].
    pub const STARTED: &'static str = "started";
    /// Name of [`Event::Stopped`].
    pub const STOPPED: &'static str = "stopped";
    /// Name of [`Event::Maintained`].
    pub const MAINTAINED: &'static str = "maintained";

    /// Every name this program writes.
    pub const NAMES: [&'static str; 20] = [
        Self::SUBMITTED,
        Self::RECEIVED,
        Self::REPEATED,
        Self::APPENDED,
        Self::REFUSED,
        Self::QUEUED,
        Self::RELAYED,
        Self::DEFERRED,
        Self::BOUNCED,
        Self::MANAGED,
        Self::REPORTED,
        Self::NOTED,
        Self::LOGIN,
        Self::LOGIN_REFUSED,
        Self::EXAMINED,
        Self::HANDSHAKE_FAILED,
        Self::OPENED,
        Self::STARTED,
        Self::STOPPED,
        Self::MAINTAINED,
    ];
}

/// What a message counts for: frozen in the journal, so that a recount does not depend on today's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `PER`, `ORG`, `APP`, `CAB`; empty for a patient.
    #[serde(default)]
    pub box_type: String,
    /// FINESS EG; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub establishment: Option<String>,
    /// FINESS EJ; absent when the box has no structure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// Id of the rule that decided, one of `indicator::Rule`.
    pub rule: String,
}

/// Recipients by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientCounts {
    /// Boxes of this operator.
    pub same_operator: u64,
    /// Boxes of other operators.
    pub other_operator: u64,
    /// Addresses of the patient space, wherever it is hosted.
    pub patient: u64,
}

impl RecipientCounts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.same_operator
            .saturating_add(self.other_operator)
            .saturating_add(self.patient)
    }
}

/// See [`Event::Submitted`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// `Message-ID`, if the message has one.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub message_id: Excerpt,
    /// The sending box.
    pub sender: MaskedAddress,
    /// Who used it: certificate subject or user name.
    pub login: Excerpt,
    /// What it counts for.
    pub owner: Owner,
    /// What kind of message.
    pub class: Class,
    /// The recipients, at most [`Submitted::RECIPIENTS_LISTED_MAX`] of them.
    pub recipients: Vec<MaskedAddress>,
    /// How many recipients there are.
    pub recipient_count: u64,
    /// The same, by where they are.
    #[serde(default)]
    pub by_place: RecipientCounts,
    /// Size of the message.
    pub size_bytes: u64,
    /// Where the client is.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_ip: Excerpt,
    /// `X-MSS-NIL`: the product that wrote it (ECO.2.4.3).
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub product: Excerpt,
}

impl Submitted {
    /// More recipients than this are counted but not listed: a row must stay readable.
    pub const RECIPIENTS_LISTED_MAX: usize = 1000;

    /// Fills `recipients`, `recipient_count` and `by_place` together, so that they cannot contradict each other. `is_ours` tells
    /// whether an address belongs to this operator; the patient space is a place of its own, wherever it is hosted.
    #[must_use]
    pub fn to(mut self, recipients: &[Address], is_ours: impl Fn(&Address) -> bool) -> Self {
        self.by_place = RecipientCounts::default();
        for recipient in recipients {
            *if recipient.domain().is_patient() {
                &mut self.by_place.patient
            } else if is_ours(recipient) {
                &mut self.by_place.same_operator
            } else {
                &mut self.by_place.other_operator
            } += 1;
        }
        self.recipient_count = self.by_place.total();
        let listed = recipients.iter().take(Self::RECIPIENTS_LISTED_MAX);
        self.recipients = listed.map(MaskedAddress::from).collect();
        self
    }
}

/// See [`Event::Received`]. A message between two boxes of one operator gives a `submitted` and a `received`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// `Message-ID`, if the message has one.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub message_id: Excerpt,
    /// Full subject DN of the operator it came from; empty when it came from this one.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_subject: Excerpt,
    /// Where the peer is.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_ip: Excerpt,
    /// Reverse-path; absent for `<>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<MaskedAddress>,
    /// The boxes that received it.
    pub boxes: Vec<ReceivedBox>,
    /// What kind of message.
    pub class: Class,
    /// Size of the message.
    pub size_bytes: u64,
}

/// One box that received a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedBox {
    /// Its address.
    pub address: MaskedAddress,
    /// What it counts for.
    #[serde(flatten)]
    pub owner: Owner,
}

/// See [`Event::Repeated`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// `Message-ID`.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub message_id: Excerpt,
    /// Full subject DN of the operator it came from.
    pub peer_subject: Excerpt,
    /// Where the peer is.
    pub peer_ip: Excerpt,
    /// Reverse-path; absent for `<>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<MaskedAddress>,
    /// The boxes that had it before.
    pub boxes: Vec<MaskedAddress>,
}

/// See [`Event::Appended`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The box.
    #[serde(rename = "box")]
    pub mailbox: MaskedAddress,
    /// The folder.
    pub folder: Excerpt,
    /// Who did it.
    pub by: Excerpt,
    /// Size of the message.
    pub size_bytes: u64,
}

/// See [`Event::Refused`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Reason id; it stands in the row's own column.
    #[serde(skip)]
    pub reason: String,
    /// Which door: `inbound`, `submission`, `imap`.
    pub face: Excerpt,
    /// At which step: `mail`, `rcpt`, `data`…
    pub stage: Excerpt,
    /// What an administrator reads.
    pub text: Excerpt,
    /// Where the peer is.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_ip: Excerpt,
    /// Full subject DN of its certificate.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_subject: Excerpt,
    /// Reverse-path, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<MaskedAddress>,
    /// Forward-path, when one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<MaskedAddress>,
}

impl Refused {
    /// The refusal as it met the peer; the other fields are the caller's to fill.
    pub fn new(face: &str, stage: &str, refusal: &Refusal) -> Self {
        Self {
            reason: refusal.reason.id().to_owned(),
            face: face.into(),
            stage: stage.into(),
            text: Excerpt::new(&refusal.text),
            ..Self::default()
        }
    }
}

/// See [`Event::Login`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Which door: `submission`, `imap`.
    pub face: Excerpt,
    /// User name or certificate subject.
    pub login: Excerpt,
    /// The box it opens.
    #[serde(rename = "box")]
    pub mailbox: MaskedAddress,
    /// SASL mechanism.
    pub mechanism: Excerpt,
    /// Where the client is.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_ip: Excerpt,
}

/// See [`Event::LoginRefused`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRefused {
    /// Reason id; it stands in the row's own column.
    #[serde(skip)]
    pub reason: String,
    /// Which door: `submission`, `imap`.
    pub face: Excerpt,
    /// User name or certificate subject, as given.
    pub login: Excerpt,
    /// The box asked for, if one was named.
    #[serde(rename = "box", default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<MaskedAddress>,
    /// SASL mechanism, or `LOGIN`.
    pub mechanism: Excerpt,
    /// What an administrator reads.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub text: Excerpt,
    /// Where the client is.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub peer_ip: Excerpt,
}

/// See [`Event::Opened`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The box.
    #[serde(rename = "box")]
    pub mailbox: MaskedAddress,
    /// The person or software that opened it.
    pub by: Excerpt,
}

/// See [`Event::Unknown`]. It is kept exactly as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Its name.
    pub name: String,
    /// Its reason id.
    pub reason: String,
    /// Its detail.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;

    #[test]
    fn recipients_are_listed_masked_and_counted_by_place() {
        let recipients = [
            sample::address("ssiad@lilas.mssante.fr"),
            sample::address("medecin@ville.mssante.fr"),
            sample::address("pharmacie@ville.mssante.fr"),
            sample::address(&format!("{}@patient.mssante.fr", sample::INS)),
        ];
        let submitted = Submitted::default().to(&recipients, |to| to.domain().as_str() == "lilas.mssante.fr");
        let counts = RecipientCounts {
            same_operator: 1,
            other_operator: 2,
            patient: 1,
        };
        assert_eq!((submitted.by_place, submitted.recipient_count), (counts, 4));
        assert_eq!(submitted.recipients[3], sample::patient());
    }

    #[test]
    fn a_long_list_of_recipients_is_cut_and_counted_in_full() {
        let many = vec![sample::address("a@b.fr"); Submitted::RECIPIENTS_LISTED_MAX + 1];
        let submitted = Submitted::default().to(&many, |_| false);
        assert_eq!(submitted.recipients.len(), Submitted::RECIPIENTS_LISTED_MAX);
        assert_eq!(submitted.recipient_count, many.len() as u64);
    }
}
