//! The last step of an accepted message, whichever face it came in by: trace header, copies for local boxes, queue items, journal
//! and counts, all in one store transaction. 250 is answered only after it (invariant 1).

use std::collections::HashSet;
use std::sync::Arc;

use super::report;
use super::smtp::storage_failed;
use super::spool::{Spool, Spooled};
use super::visitor::Visitor;
use super::{Parts, Telling, Told};
use crate::directory::MailBox;
use crate::identity::{Address, Domain};
use crate::indicator;
use crate::journal::Record;
use crate::mailbox::deliver;
use crate::message::Header;
use crate::message::dsn::{Original, RecipientReport};
use crate::policy::{Refusal, inbound};
use crate::queue::{Parameters, Place};
use crate::smtp::command::Onward;
use crate::store::{Acceptance, Content, Delivery, FolderKey, NewMessage, Once, Outgoing, StoreError};

/// A box of this operator that gets the message.
#[derive(Clone)]
pub(super) struct LocalRecipient {
    pub(super) mailbox: Arc<MailBox>,
    pub(super) inbox: FolderKey,
    /// What makes a repetition of this delivery recognisable; only between operators.
    pub(super) once: Option<Once>,
    /// What the sender asked for at MAIL and RCPT, report wishes included.
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
        visitor: &Visitor,
        now: jiff::Timestamp,
        records: impl FnOnce(u64) -> Vec<Record>,
    ) -> Result<(), Refusal> {
        let parts = &*visitor.parts;
        let delivered = self.delivered(now);
        let lead = deliver::return_path(self.sender.map(Address::as_str));
        let spooled = self
            .spool
            .finish(self.front.as_bytes())
            .await
            .map_err(|error| storage_failed(&error))?;
        let Spooled {
            content,
            size_bytes,
            held,
        } = spooled;
        let place = parts.handover.reserve(&self.outgoing, now);
        let mut acceptance = Acceptance {
            outgoing: self.outgoing,
            leased_until: place.as_ref().map(Place::leased_until),
            ..Acceptance::default()
        };
        acceptance.message = Some(
            message(parts, content, lead, !self.local.is_empty())
                .await
                .map_err(|error| storage_failed(&error))?,
        );
        let copies = self.local.iter().map(|recipient| Delivery {
            once: recipient.once,
            ..deliver::unread(recipient.inbox, now)
        });
        acceptance.deliveries = copies.collect();
        indicator::enter(&mut acceptance, &records(size_bytes));
        // Held until the delivery is durable: after a domain has been named there, its boxes get nothing more.
        let departed = parts.departed.read().await;
        let recipients = self.local.iter().map(|recipient| recipient.mailbox.address.domain());
        let writer = self.writer.iter().map(|own| own.domain());
        if let Some(domain) = recipients.chain(writer).find(|domain| departed.contains(*domain)) {
            return Err(inbound::leaving(domain));
        }
        let told = delivered.and_then(|delivered| delivered.tell(visitor, &departed, now));
        if let Some(told) = told {
            indicator::enter(&mut acceptance, &told.records);
            acceptance.reports.push(told.enclosure);
        }
        let reports = acceptance.reports.iter().map(|report| &report.outgoing);
        let unplaced = place.is_none().then_some(&acceptance.outgoing);
        let is_queued = reports.chain(unplaced).any(|outgoing| !outgoing.is_empty());
        let mut accepted = parts
            .store
            .accept(acceptance)
            .await
            .map_err(|error| storage_failed(&error))?;
        drop((departed, held));
        parts.mailboxes.notify().accepted(&accepted);
        if let Some(place) = place {
            place.hand_over(std::mem::take(&mut accepted.leased));
        }
        if is_queued {
            parts.queued.notify_one();
        }
        Ok(())
    }
}

impl Commit<'_> {
    /// The report about the boxes of which the sender wants to know that they have it. Asked before the data is handed over.
    fn delivered(&self, now: jiff::Timestamp) -> Option<Delivered> {
        let sender = self.sender?;
        let recipients = report::delivered(self.local, Some(sender), now);
        let first = self
            .local
            .iter()
            .find(|one| one.parameters.tell_success(Some(sender)))?;
        let head = self.spool.head();
        let header = &head[..Header::scan(head).len()];
        Some(Delivered {
            sender: sender.clone(),
            recipients,
            envelope_id: first.parameters.envid.as_ref().map(|envid| envid.decoded().to_owned()),
            header: [self.front.as_bytes(), header].concat(),
            onward: first.parameters.onward,
        })
    }
}

/// What a report about a delivery says. RFC 3461 §4.3: the header alone goes back when nothing failed.
struct Delivered {
    sender: Address,
    recipients: Vec<RecipientReport>,
    envelope_id: Option<String>,
    header: Vec<u8>,
    onward: Onward,
}

impl Delivered {
    fn tell(&self, visitor: &Visitor, departed: &HashSet<Domain>, now: jiff::Timestamp) -> Option<Told> {
        let telling = Telling {
            host: &visitor.host,
            sender: &self.sender,
            session: visitor.session.as_str(),
            arrived: now,
            envelope_id: self.envelope_id.as_deref(),
            recipients: &self.recipients,
            original: Original::Headers(&self.header),
            onward: self.onward,
        };
        visitor.parts.tell(&telling, (&visitor.snapshot, departed), now)
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
            // Held until the message has been looked through: large ones take turns.
            let _turn = parts.memory.turn(file.size_bytes).await;
            deliver::staged_message(&*parts.store, file, lead).await
        }
    }
}
