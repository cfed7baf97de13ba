//! A delivery report on its way to the sender: into its box of this operator, or through the queue to its own operator. It is handed to
//! the store with what it tells of, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::commit::LocalRecipient;
use super::{Parts, SessionId, Snapshot};
use crate::directory::MailBox;
use crate::identity::{Address, Domain};
use crate::indicator;
use crate::journal::{Event, Received, Record, Reported};
use crate::mailbox::deliver;
use crate::message::Class;
use crate::message::dsn::{self, Action, Original, RecipientReport, Report};
use crate::queue::{self, Parameters};
use crate::smtp::command::{Onward, OriginalRecipient};
use crate::store::{Content, Enclosure, FolderKey, NewMessage};

/// What a report is to say, and to whom. No Debug: it holds the message.
pub struct Telling<'a> {
    /// The server that reports.
    pub host: &'a Domain,
    /// Whom it is told to: the reverse-path.
    pub sender: &'a Address,
    /// Session that the message came in with.
    pub session: &'a str,
    /// When it arrived.
    pub arrived: Timestamp,
    /// ENVID of the transaction, decoded.
    pub envelope_id: Option<&'a str>,
    /// The verdicts; one at least.
    pub recipients: &'a [RecipientReport],
    /// The message, and how much of it goes back.
    pub original: Original<'a>,
    /// What the message demands on its way, and so does the report (RFC 8689 §5).
    pub onward: Onward,
}

/// A report ready for the store. No Debug: it holds the message.
pub struct Told {
    /// The report and where it goes.
    pub enclosure: Enclosure,
    /// Its records.
    pub records: Vec<Record>,
}

/// Where a report goes.
enum Destination {
    /// Into a box of this operator.
    Here(Arc<MailBox>, FolderKey),
    /// To the sender's operator.
    Elsewhere,
}

impl Parts {
    /// The report, written at `now`. `None` when the sender's box is no more, or its domain has left the trust space. `departed` must be
    /// held until the report is stored: after a domain has been named there, its boxes here get nothing more.
    pub fn tell(
        &self,
        telling: &Telling<'_>,
        (snapshot, departed): (&Snapshot, &HashSet<Domain>),
        now: Timestamp,
    ) -> Option<Told> {
        let destination = self.destination(telling.sender, snapshot, departed)?;
        let id = SessionId::new(now);
        let bytes = dsn::build(&Report {
            host: telling.host,
            to: telling.sender,
            id: id.as_str(),
            at: now,
            arrived: telling.arrived,
            envelope_id: telling.envelope_id,
            recipients: telling.recipients,
            original: telling.original,
        });
        let mut records = reported(telling, now);
        let enclosure = match destination {
            Destination::Here(mailbox, inbox) => {
                let event = Received {
                    boxes: vec![indicator::received_box(&mailbox, &snapshot.directory)],
                    class: Class::Dsn,
                    size_bytes: bytes.len() as u64,
                    ..Received::default()
                };
                records.push(Record::new(now, telling.session, Event::Received(event)));
                Enclosure {
                    message: deliver::new_message(bytes.into(), deliver::return_path(None)),
                    deliveries: vec![deliver::report(inbox, now)],
                    outgoing: Vec::new(),
                }
            }
            Destination::Elsewhere => {
                let submission = queue::Submission {
                    sender: None,
                    recipients: &[(telling.sender.clone(), onward(&bytes, telling.onward))],
                    session: telling.session,
                };
                let (outgoing, queued) = queue::enqueue(&submission, &self.retry, now)
                    .inspect_err(|error| self.lost(error))
                    .ok()?;
                records.extend(queued);
                Enclosure {
                    message: NewMessage {
                        content: Content::Memory(bytes.into()),
                        lead: deliver::return_path(None),
                        summary: None,
                    },
                    deliveries: Vec::new(),
                    outgoing,
                }
            }
        };
        Some(Told { enclosure, records })
    }

    /// Into the sender's box, or after it when its domain is, or has moved to, another operator's.
    fn destination(&self, sender: &Address, snapshot: &Snapshot, departed: &HashSet<Domain>) -> Option<Destination> {
        let domain = sender.domain();
        if departed.contains(domain) {
            return Some(Destination::Elsewhere);
        }
        if let (Some(mailbox), Some(inbox)) = (snapshot.directory.find(sender), snapshot.inboxes.get(sender)) {
            return Some(Destination::Here(Arc::clone(mailbox), *inbox));
        }
        if !snapshot.directory.serves(domain) && snapshot.allow_list.lists(domain) {
            return Some(Destination::Elsewhere);
        }
        tracing::warn!(operator = self.operator, sender = %sender.masked(), "a report has no box to go to");
        None
    }

    fn lost(&self, error: &queue::ParametersError) {
        let error = error as &dyn std::error::Error;
        tracing::error!(operator = self.operator, error, "a report cannot be queued");
    }
}

/// The report that `recipients` were delivered to, whose senders asked for it. Nearly always none.
pub(super) fn delivered(
    recipients: &[LocalRecipient],
    sender: Option<&Address>,
    now: Timestamp,
) -> Vec<RecipientReport> {
    let asked = recipients
        .iter()
        .filter(|recipient| recipient.parameters.tell_success(sender));
    asked
        .map(|recipient| RecipientReport {
            original_recipient: original_recipient(&recipient.parameters),
            final_recipient: recipient.mailbox.address.clone(),
            action: Action::Delivered,
            status: STATUS_DELIVERED.to_owned(),
            remote_host: None,
            diagnostic: None,
            last_attempt: Some(now),
            retry_until: None,
        })
        .collect()
}

/// `Original-Recipient`, as the sender gave it.
pub fn original_recipient(parameters: &Parameters) -> Option<String> {
    let shown = |orcpt: &OriginalRecipient| format!("{};{}", orcpt.kind(), orcpt.address());
    parameters.orcpt.as_ref().map(shown)
}

/// What the next operator must offer to be given the report.
fn onward(report: &[u8], demand: Onward) -> Parameters {
    let header_bytes = crate::message::Header::scan(report).len();
    Parameters {
        body: (!report.is_ascii()).then_some(crate::smtp::command::Body::EightBitMime),
        smtputf8: !report.get(..header_bytes).unwrap_or(report).is_ascii(),
        onward: demand,
        class: Class::Dsn,
        ..Parameters::default()
    }
}

/// One record for each kind of verdict; a failure has its own, which names who was told.
fn reported(telling: &Telling<'_>, now: Timestamp) -> Vec<Record> {
    let mut by_action: HashMap<&str, Reported> = HashMap::new();
    for recipient in telling.recipients.iter().filter(|one| one.action != Action::Failed) {
        let action = recipient.action.as_str();
        let record = by_action.entry(action).or_insert_with(|| Reported {
            action: action.into(),
            to: telling.sender.into(),
            recipients: Vec::new(),
        });
        record.recipients.push((&recipient.final_recipient).into());
    }
    let mut records: Vec<Reported> = by_action.into_values().collect();
    records.sort_by(|one, other| one.action.cmp(&other.action));
    let records = records.into_iter().map(Event::Reported);
    records.map(|event| Record::new(now, telling.session, event)).collect()
}

/// RFC 3463 §3.1.
const STATUS_DELIVERED: &str = "2.0.0";
