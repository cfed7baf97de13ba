//! The delivery report to the sender of a queued message (RFC 3464): what is known of each recipient, and the original.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::Relay;
use crate::identity::Domain;
use crate::listener::{Snapshot, Telling, Told, original_recipient};
use crate::message::dsn::{Action, Diagnostic, Original, RecipientReport};
use crate::queue::{self, Notice, Origin};
use crate::smtp::command::{Ret, Xtext};
use crate::store::{QueueItem, STAGE_FRONT_BYTES_MAX, StoreError};

/// Whether a report may go without the original, or its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// No, as long as the store may be able to read it a moment later.
    Needed,
    /// Yes.
    IfReadable,
}

impl Relay {
    /// The report about recipients of one message. `None` when nobody is to be told, or the sender's box is no more.
    ///
    /// # Errors
    /// The original that is needed cannot be read now.
    pub(super) async fn report(
        &self,
        notices: &[Notice],
        place: (&Snapshot, &HashSet<Domain>),
        (now, returned): (Timestamp, Returned),
    ) -> Result<Option<Told>, StoreError> {
        let Some((first, sender)) = notices
            .first()
            .and_then(|first| Some((first, first.item.sender.as_ref()?)))
        else {
            return Ok(None);
        };
        let is_whole = self.returns_whole(notices);
        let original = match self.original(&first.item, is_whole).await {
            Err(error) if returned == Returned::Needed && may_pass(&error) => return Err(error),
            other => other.unwrap_or_else(|error| {
                let operator = &self.parts.operator;
                let error = &error as &dyn std::error::Error;
                tracing::error!(operator, error, "a report goes without its original");
                Arc::default()
            }),
        };
        let recipients: Vec<RecipientReport> = notices.iter().map(|notice| recipient(notice, now)).collect();
        let telling = Telling {
            host: &self.host,
            sender,
            session: &first.item.session,
            arrived: first.item.created,
            envelope_id: first.parameters.envid.as_ref().map(Xtext::decoded),
            recipients: &recipients,
            original: if is_whole {
                Original::Full(&original)
            } else {
                Original::Headers(&original)
            },
            onward: first.parameters.onward,
        };
        Ok(self.parts.tell(&telling, place, now))
    }

    /// RFC 3461 §4.3: the whole only if it was asked for and something failed; and not when it is large. RFC 8689 §5: nor when TLS is demanded.
    fn returns_whole(&self, notices: &[Notice]) -> bool {
        let is_failed = notices.iter().any(|notice| notice.action == queue::Action::Failed);
        let first = notices.first();
        is_failed
            && first.is_some_and(|notice| {
                notice.parameters.ret == Some(Ret::Full)
                    && notice.parameters.onward.is_unsaid()
                    && notice.item.size_bytes <= self.parts.limits().report_original_bytes_max
            })
    }

    /// As much of the message as goes back.
    async fn original(&self, item: &QueueItem, is_whole: bool) -> Result<Arc<Vec<u8>>, StoreError> {
        let store = &self.parts.store;
        if is_whole {
            return store.content(item.message).await;
        }
        // The header, and the trace before it.
        let header_bytes = self.parts.limits().header_bytes_max + STAGE_FRONT_BYTES_MAX;
        store.content_part(item.message, 0, header_bytes).await.map(Arc::new)
    }
}

/// Whether it is worth asking again. Even a message that will never be readable is reported: its sender must know.
fn may_pass(error: &StoreError) -> bool {
    !matches!(error, StoreError::Damaged { .. } | StoreError::NotFound { .. })
}

fn recipient(notice: &Notice, now: Timestamp) -> RecipientReport {
    RecipientReport {
        original_recipient: original_recipient(&notice.parameters),
        final_recipient: notice.item.recipient.clone(),
        action: match notice.action {
            queue::Action::Failed => Action::Failed,
            queue::Action::Relayed => Action::Relayed,
            queue::Action::Delayed => Action::Delayed,
        },
        status: notice.status.clone(),
        remote_host: notice.peer_host.clone(),
        diagnostic: Some(match notice.answer.origin {
            Origin::Peer => Diagnostic::Smtp(notice.answer.text.clone()),
            Origin::Here => Diagnostic::Local(notice.answer.text.clone()),
        }),
        last_attempt: Some(now),
        retry_until: (notice.action == queue::Action::Delayed).then_some(notice.item.expires),
    }
}
