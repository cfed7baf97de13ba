//! The last step of an accepted message, whichever face it came in by: trace header, copies for local boxes, queue items, journal
//! and counts, all in one store transaction. 250 is answered only after it (invariant 1).

use std::sync::Arc;

use super::Parts;
use super::smtp::storage_failed;
use super::spool::{Spool, Spooled};
use crate::directory::MailBox;
use crate::identity::Address;
use crate::indicator;
use crate::journal::Record;
use crate::mailbox::deliver;
use crate::policy::{Refusal, inbound};
use crate::queue::Parameters;
use crate::store::{Acceptance, Content, Delivery, FolderKey, NewMessage, Once, Outgoing, StoreError};

/// A box of this operator that gets the message.
#[derive(Clone)]
pub(super) struct LocalRecipient {
    pub(super) mailbox: Arc<MailBox>,
    pub(super) inbox: FolderKey,
    /// What makes a repetition of this delivery recognisable; only between operators.
    pub(super) once: Option<Once>,
    /// What the sender asked for at MAIL and RCPT, report wishes included.
    #[expect(
        dead_code,
        reason = "delivery reports will read it; until then it is only carried here"
    )]
    pub(super) parameters: Parameters,
}

/// Everything that accepting a message changes.
pub(super) struct Commit<'a> {
    /// Reverse-path; `None` is `<>`.
    pub(super) sender: Option<&'a Address>,
    /// The box of this operator that submits the message; none when another operator hands it over.
    pub(super) writer: Option<&'a Address>,
    /// `Received:` and whatever else stands in front of the data.
    pub(super) front: String,
    pub(super) spool: Spool,
    pub(super) local: &'a [LocalRecipient],
    pub(super) outgoing: Vec<Outgoing>,
}

impl Commit<'_> {
    /// Ends the data, computes what IMAP will ask for, and stores it all. `records` is given the final size.
    pub(super) async fn carry_out(
        self,
        parts: &Parts,
        now: jiff::Timestamp,
        records: impl FnOnce(u64) -> Vec<Record>,
    ) -> Result<(), Refusal> {
        let lead = deliver::return_path(self.sender.map(Address::as_str));
        let spooled = self
            .spool
            .finish(self.front.as_bytes())
            .await
            .map_err(|error| storage_failed(&error))?;
        let Spooled { content, size_bytes } = spooled;
        let folders: Vec<FolderKey> = self.local.iter().map(|recipient| recipient.inbox).collect();
        let mut acceptance = Acceptance {
            outgoing: self.outgoing,
            ..Acceptance::default()
        };
        acceptance.message = Some(
            message(parts, content, lead, !folders.is_empty())
                .await
                .map_err(|error| storage_failed(&error))?,
        );
        let copies = self.local.iter().map(|recipient| Delivery {
            once: recipient.once,
            ..deliver::unread(recipient.inbox, now)
        });
        acceptance.deliveries = copies.collect();
        indicator::enter(&mut acceptance, &records(size_bytes));
        let queued = !acceptance.outgoing.is_empty();
        // Held until the delivery is durable: after a domain has been named there, its boxes get nothing more.
        let departed = parts.departed.read().await;
        let recipients = self.local.iter().map(|recipient| recipient.mailbox.address.domain());
        let writer = self.writer.iter().map(|own| own.domain());
        if let Some(domain) = recipients.chain(writer).find(|domain| departed.contains(*domain)) {
            return Err(inbound::leaving(domain));
        }
        parts
            .store
            .accept(acceptance)
            .await
            .map_err(|error| storage_failed(&error))?;
        drop(departed);
        for folder in folders {
            parts.mailboxes.notify().changed(folder);
        }
        if queued {
            parts.queued.notify_one();
        }
        Ok(())
    }
}

/// The message with what IMAP will ask of it; nobody asks anything of one that only passes through.
async fn message(parts: &Parts, content: Content, lead: Vec<u8>, is_local: bool) -> Result<NewMessage, StoreError> {
    if !is_local {
        return Ok(NewMessage {
            content,
            lead,
            summary: None,
        });
    }
    match content {
        Content::Memory(bytes) => Ok(deliver::new_message(bytes, lead)),
        Content::Staged(file) => {
            let bytes = parts.store.staged(&file).await?;
            let message = deliver::new_message(bytes, lead);
            Ok(NewMessage {
                content: Content::Staged(file),
                ..message
            })
        }
    }
}
