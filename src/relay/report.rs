//! The delivery report to the sender of a message that could not be delivered (RFC 3464), into the sender's own box.

use std::sync::Arc;

use jiff::Timestamp;

use super::Relay;
use crate::indicator;
use crate::journal::{Event, Received, Record};
use crate::listener::{SessionId, Snapshot};
use crate::mailbox::deliver;
use crate::message::Class;
use crate::message::dsn::{self, Action, Original, RecipientReport, Report};
use crate::queue::{self, Notice, Ret};
use crate::store::{Delivery, NewMessage};

/// A report ready to be stored with the settlement it tells of.
pub(super) struct Delivered {
    pub(super) message: NewMessage,
    pub(super) delivery: Delivery,
    pub(super) record: Record,
}

impl Relay {
    /// The report about recipients of one message. `None` when nobody is to be told, or the sender's box is no more.
    pub(super) async fn report(&self, notices: &[Notice], snapshot: &Snapshot, now: Timestamp) -> Option<Delivered> {
        let first = notices.first()?;
        let sender = first.item.sender.as_ref()?;
        let (Some(mailbox), Some(inbox)) = (snapshot.directory.find(sender), self.parts.inboxes.get(sender)) else {
            tracing::warn!(operator = self.parts.operator, sender = %sender.masked(), "a report has no box to go to");
            return None;
        };
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
            envelope_id: first.parameters.envid.as_deref(),
            recipients: &recipients,
            original: match first.parameters.ret {
                Some(Ret::Full) => Original::Full(&original),
                _ => Original::Headers(&original),
            },
        };
        let bytes = dsn::build(&report);
        let size_bytes = bytes.len() as u64;
        let event = Received {
            boxes: vec![indicator::received_box(mailbox, &snapshot.directory)],
            class: Class::Dsn,
            size_bytes,
            ..Received::default()
        };
        Some(Delivered {
            message: deliver::new_message(bytes.into(), deliver::return_path(None)),
            delivery: deliver::unread(*inbox, now),
            record: Record::new(now, &first.item.session, Event::Received(event)),
        })
    }
}

fn recipient(notice: &Notice, now: Timestamp) -> RecipientReport {
    RecipientReport {
        original_recipient: notice.parameters.orcpt.clone(),
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
