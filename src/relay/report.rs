//! The delivery report to the sender of a message that could not be delivered (RFC 3464), into the sender's own box.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::Relay;
use crate::directory::MailBox;
use crate::identity::{Address, Domain};
use crate::indicator;
use crate::journal::{Event, Received, Record};
use crate::listener::{SessionId, Snapshot};
use crate::mailbox::deliver;
use crate::message::Class;
use crate::message::dsn::{self, Action, Original, RecipientReport, Report};
use crate::queue::{self, Notice, Parameters};
use crate::smtp::command::{Ret, Xtext};
use crate::store::{Content, Delivery, FolderKey, NewMessage, Outgoing};

/// A report ready to be stored with the settlement it tells of.
pub(super) struct Delivered {
    pub(super) message: NewMessage,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) records: Vec<Record>,
}

/// Where a report goes.
enum Destination {
    /// Into a box of this operator.
    Here(Arc<MailBox>, FolderKey),
    /// Into the queue.
    Elsewhere(Vec<Outgoing>, Vec<Record>),
}

impl Relay {
    /// The report about recipients of one message. `None` when nobody is to be told, or the sender's box is no more.
    pub(super) async fn report(
        &self,
        notices: &[Notice],
        (snapshot, departed): (&Snapshot, &HashSet<Domain>),
        now: Timestamp,
    ) -> Option<Delivered> {
        let first = notices.first()?;
        let sender = first.item.sender.as_ref()?;
        let destination = self.destination(sender, (snapshot, departed), (&first.item.session, now))?;
        // Even a message that cannot be read any more is reported: its sender must know.
        let original = self
            .parts
            .store
            .content(first.item.message)
            .await
            .unwrap_or_else(|error| {
                let operator = &self.parts.operator;
                tracing::error!(
                    operator,
                    error = &error as &dyn std::error::Error,
                    "a report goes without its original"
                );
                Arc::default()
            });
        let recipients: Vec<RecipientReport> = notices.iter().map(|notice| recipient(notice, now)).collect();
        let id = SessionId::new();
        let report = Report {
            host: &self.host,
            to: sender,
            id: id.as_str(),
            at: now,
            arrived: first.item.created,
            envelope_id: first.parameters.envid.as_ref().map(Xtext::decoded),
            recipients: &recipients,
            original: match first.parameters.ret {
                Some(Ret::Full) => Original::Full(&original),
                _ => Original::Headers(&original),
            },
        };
        let bytes = dsn::build(&report);
        let size_bytes = bytes.len() as u64;
        let lead = deliver::return_path(None);
        match destination {
            Destination::Here(mailbox, inbox) => {
                let event = Received {
                    boxes: vec![indicator::received_box(&mailbox, &snapshot.directory)],
                    class: Class::Dsn,
                    size_bytes,
                    ..Received::default()
                };
                Some(Delivered {
                    message: deliver::new_message(bytes.into(), lead),
                    deliveries: vec![deliver::unread(inbox, now)],
                    outgoing: Vec::new(),
                    records: vec![Record::new(now, &first.item.session, Event::Received(event))],
                })
            }
            Destination::Elsewhere(outgoing, records) => Some(Delivered {
                message: NewMessage {
                    content: Content::Memory(bytes.into()),
                    lead,
                    summary: None,
                },
                deliveries: Vec::new(),
                outgoing,
                records,
            }),
        }
    }

    /// Where the report goes: into the sender's box, or after it when its domain has moved to another operator since.
    fn destination(
        &self,
        sender: &Address,
        (snapshot, departed): (&Snapshot, &HashSet<Domain>),
        (session, now): (&str, Timestamp),
    ) -> Option<Destination> {
        let has_left = departed.contains(sender.domain());
        if let (Some(mailbox), Some(inbox)) = (snapshot.directory.find(sender), snapshot.inboxes.get(sender))
            && !has_left
        {
            return Some(Destination::Here(Arc::clone(mailbox), *inbox));
        }
        if !has_left {
            tracing::warn!(operator = self.parts.operator, sender = %sender.masked(), "a report has no box to go to");
            return None;
        }
        let submission = queue::Submission {
            sender: None,
            recipients: &[(sender.clone(), Parameters::default())],
            session,
        };
        match queue::enqueue(&submission, &self.parts.retry, now) {
            Ok((outgoing, records)) => Some(Destination::Elsewhere(outgoing, records)),
            Err(error) => {
                let operator = &self.parts.operator;
                tracing::error!(
                    operator,
                    error = &error as &dyn std::error::Error,
                    "a report cannot be queued"
                );
                None
            }
        }
    }
}

fn recipient(notice: &Notice, now: Timestamp) -> RecipientReport {
    RecipientReport {
        original_recipient: notice
            .parameters
            .orcpt
            .as_ref()
            .map(|orcpt| format!("{};{}", orcpt.kind(), orcpt.address())),
        final_recipient: notice.item.recipient.clone(),
        action: match notice.action {
            queue::Action::Failed => Action::Failed,
            queue::Action::Relayed => Action::Relayed,
        },
        status: notice.status.clone(),
        remote_host: notice.peer_host.clone(),
        diagnostic: Some(notice.answer.text.clone()),
        last_attempt: Some(now),
        retry_until: None,
    }
}
