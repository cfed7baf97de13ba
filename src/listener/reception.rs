//! The desk of the peer face: what another operator may hand us (OP-4, OP-5, OP-6).

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::commit::{Commit, LocalRecipient};
use super::link::Handshake;
use super::repeat::{self, Identified};
use super::smtp::{Desk, Transmission, storage_failed};
use super::spool::Spool;
use super::visitor::Visitor;
use crate::identity::{Address, Domain};
use crate::indicator;
use crate::journal::{Event, Excerpt, Received, Record, Refused, Repeated};
use crate::message::received::{TlsTrace, received_count};
use crate::message::{Class, Header};
use crate::pki::{PeerCertificate, Usage};
use crate::policy::{Reason, Refusal};
use crate::smtp::{Answer, MailFrom, Mechanism, Question, RcptTo};
use crate::store::Once;
use crate::trust::TrustedSender;

/// Receives from one peer.
pub(super) struct Reception {
    visitor: Visitor,
    handshake: Handshake,
    /// The sender's domain whose refusal has its evidence in the journal already.
    examined: Option<Domain>,
    peer: Option<PeerCertificate>,
    /// Its full subject, as every record of it says; empty before it is proved.
    peer_subject: String,
    transaction: Option<Transaction>,
}

/// A transaction exists only with the proof that the peer may speak for the sender (invariant 2).
struct Transaction {
    #[expect(
        dead_code,
        reason = "the proof is held, not read: it cannot be built without the check"
    )]
    proof: TrustedSender,
    mail: MailFrom,
    recipients: Vec<LocalRecipient>,
}

impl Reception {
    pub(super) fn new(visitor: Visitor) -> Self {
        Self {
            visitor,
            handshake: Handshake::default(),
            examined: None,
            peer: None,
            peer_subject: String::new(),
            transaction: None,
        }
    }

    async fn judge(&self, handshake: &Handshake) -> Result<PeerCertificate, Refusal> {
        if handshake.chain.is_empty() {
            let text = "no client certificate was shown: a peer must present its SERV SSL certificate";
            return Err(Refusal::new(Reason::CertificateMissing, text));
        }
        let Visitor { parts, snapshot, .. } = &self.visitor;
        let chain = &handshake.chain;
        let responders = &parts.responders;
        responders
            .judge(&snapshot.authority, chain, Usage::Client, &parts.clock)
            .await
    }

    fn sender(&mut self, mail: MailFrom) -> Result<(), Refusal> {
        let peer = self
            .peer
            .as_ref()
            .ok_or_else(|| Refusal::new(Reason::CertificateMissing, "no client certificate was accepted"))?;
        let list = &self.visitor.snapshot.allow_list;
        let proof = match &mail.path {
            Some(sender) => list.vouch_sender(sender.domain(), &peer.subject)?,
            None => list.vouch_null_sender(&peer.subject)?,
        };
        self.transaction = Some(Transaction {
            proof,
            mail,
            recipients: Vec::new(),
        });
        Ok(())
    }

    fn recipient(&mut self, recipient: &RcptTo) -> Result<(), Refusal> {
        let transaction = self.transaction.as_mut();
        let transaction =
            transaction.ok_or_else(|| Refusal::new(Reason::MessageMalformed, "no transaction is open"))?;
        let recipient = self.visitor.local_recipient(&transaction.mail, recipient)?;
        let known = transaction
            .recipients
            .iter()
            .any(|other| other.inbox == recipient.inbox);
        if !known {
            transaction.recipients.push(recipient);
        }
        Ok(())
    }

    async fn store(&mut self, spool: Spool, transmission: Transmission<'_>) -> Result<(), Refusal> {
        let Some(mut transaction) = self.transaction.take() else {
            return Err(Refusal::new(Reason::MessageMalformed, "no transaction is open"));
        };
        let now = self.visitor.parts.clock.now();
        let header = self.visitor.header(&spool, transmission.utf8)?;
        let class = Class::of(&header, transaction.mail.path.as_ref());
        let message_id = Excerpt::new(header.value("Message-ID").unwrap_or_default());
        for recipient in &mut transaction.recipients {
            recipient.parameters.class = class;
        }
        self.identify(&mut transaction, &spool, &header, now);
        let repeated = self.leave_out_repeats(&mut transaction, now).await?;
        let repeated = self.repeated(transaction.mail.path.as_ref(), message_id.clone(), &repeated);
        if transaction.recipients.is_empty() {
            if let Some(event) = repeated {
                self.visitor.parts.record(&self.visitor.session, event).await;
            }
            return Ok(());
        }
        let peer_name = self.peer.as_ref().and_then(|peer| peer.subject.common_name());
        let recipients: Vec<Address> = transaction
            .recipients
            .iter()
            .map(|r| r.mailbox.address.clone())
            .collect();
        let tls = TlsTrace {
            version: &self.handshake.protocol,
            peer_name,
        };
        let front = self.visitor.trace(&transmission, tls, &recipients, now).received();
        let directory = &self.visitor.snapshot.directory;
        let record = |size_bytes| {
            let event = Received {
                message_id,
                peer_subject: Excerpt::new(&self.peer_subject),
                peer_ip: Excerpt::new(self.visitor.ip.to_string()),
                sender: transaction.mail.path.as_ref().map(Into::into),
                boxes: transaction
                    .recipients
                    .iter()
                    .map(|r| indicator::received_box(&r.mailbox, directory))
                    .collect(),
                class,
                size_bytes,
            };
            let events = [Event::Received(event)].into_iter().chain(repeated);
            let session = self.visitor.session.as_str();
            events.map(|event| Record::new(now, session, event)).collect()
        };
        let sender = transaction.mail.path.as_ref();
        let commit = Commit {
            sender,
            writer: None,
            front,
            spool,
            local: &transaction.recipients,
            outgoing: Vec::new(),
        };
        commit.carry_out(&self.visitor, now, record).await
    }

    /// Gives each recipient the key by which a repetition is recognised.
    fn identify(&self, transaction: &mut Transaction, spool: &Spool, header: &Header<'_>, now: Timestamp) {
        let (message_id, received_count) = (header.value("Message-ID").unwrap_or_default(), received_count(header));
        if !repeat::is_recognisable(received_count, &message_id) {
            return;
        }
        let (Some(_), Some(content)) = (&self.peer, spool.digest()) else {
            return;
        };
        let identified = Identified {
            peer: &self.peer_subject,
            sender: transaction.mail.path.as_ref(),
            message_id: &message_id,
            received_count,
            content,
        };
        let until = now.saturating_add(REPEATS_KNOWN).unwrap_or(Timestamp::MAX);
        for recipient in &mut transaction.recipients {
            let key = identified.key(&recipient.mailbox.address);
            recipient.once = key.map(|key| Once { key, until });
        }
    }

    /// Takes away the recipients who have this very message already, and returns them. Should another connection deliver it between this
    /// look and the transaction, the store refuses the whole, the peer reads "try again", and the next look sees it.
    async fn leave_out_repeats(
        &self,
        transaction: &mut Transaction,
        now: Timestamp,
    ) -> Result<Vec<LocalRecipient>, Refusal> {
        let known = transaction.recipients.iter().filter_map(|recipient| recipient.once);
        let keys: Vec<_> = known.map(|once| once.key).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let asked = self.visitor.parts.store.repeats(&keys, now).await;
        let repeats = asked.map_err(|error| storage_failed(&error))?;
        let repeats: BTreeSet<_> = keys
            .iter()
            .zip(repeats)
            .filter_map(|(key, seen)| seen.then_some(*key))
            .collect();
        let recipients = std::mem::take(&mut transaction.recipients).into_iter();
        let (repeated, left) =
            recipients.partition(|recipient| recipient.once.is_some_and(|once| repeats.contains(&once.key)));
        transaction.recipients = left;
        Ok(repeated)
    }

    fn repeated(&self, sender: Option<&Address>, message_id: Excerpt, boxes: &[LocalRecipient]) -> Option<Event> {
        let boxes: Vec<_> = boxes.iter().map(|one| (&one.mailbox.address).into()).collect();
        (!boxes.is_empty()).then(|| {
            Event::Repeated(Repeated {
                message_id,
                peer_subject: Excerpt::new(&self.peer_subject),
                peer_ip: Excerpt::new(self.visitor.ip.to_string()),
                sender: sender.map(Into::into),
                boxes,
            })
        })
    }

    /// What the list said of the peer's certificate, once for each domain in a row: a peer may repeat itself.
    async fn examine_sender(&mut self, sender: Option<&Address>, refusal: &Refusal) {
        let domain = sender.map(Address::domain);
        let is_of_list = matches!(
            refusal.reason,
            Reason::SenderDomainUnlisted | Reason::CertificateNotForDomain | Reason::PeerUnlisted
        );
        if is_of_list && (self.examined.is_none() || self.examined.as_ref() != domain) {
            self.examined = domain.cloned();
            self.visitor.examine(&self.handshake, domain, Some(refusal)).await;
        }
    }
}

#[async_trait]
impl Desk for Reception {
    async fn handshake(&mut self, handshake: Handshake) -> Result<(), Refusal> {
        let judged = self.judge(&handshake).await;
        self.handshake = handshake;
        if !self.handshake.chain.is_empty() {
            self.visitor.examine(&self.handshake, None, judged.as_ref().err()).await;
        }
        let peer = judged?;
        self.peer_subject = peer.subject.to_string();
        self.peer = Some(peer);
        Ok(())
    }

    async fn ask(&mut self, question: Question) -> Answer {
        let (stage, result, sender, recipient) = match question {
            Question::Sender(mail) => {
                let path = mail.path.clone();
                ("mail", self.sender(mail), path, None)
            }
            Question::Recipient(to) => {
                let address = self.visitor.address_of(&to);
                let sender = self
                    .transaction
                    .as_ref()
                    .and_then(|transaction| transaction.mail.path.clone());
                let room = self.visitor.has_room(&to).await;
                ("rcpt", room.and_then(|()| self.recipient(&to)), sender, address)
            }
            Question::Authenticate(_) | Question::Message => {
                let refusal = Refusal::new(
                    Reason::CredentialsInvalid,
                    "a peer is known by its certificate, not by a login",
                );
                ("auth", Err(refusal), None, None)
            }
        };
        match result {
            Ok(()) => Answer::Accepted,
            Err(refusal) => {
                let mut event = Refused::new(self.visitor.face.name(), stage, &refusal);
                event.sender = sender.as_ref().map(Into::into);
                event.recipient = recipient.as_ref().map(Into::into);
                self.visitor.refused(event, &self.peer_subject).await;
                if stage == "mail" {
                    self.examine_sender(sender.as_ref(), &refusal).await;
                }
                Answer::Refused(refusal)
            }
        }
    }

    async fn message(&mut self, spool: Spool, transmission: Transmission<'_>) -> Answer {
        match self.store(spool, transmission).await {
            Ok(()) => Answer::AcceptedAs(self.visitor.receipt()),
            Err(refusal) => {
                self.journal_refusal("data", &refusal).await;
                Answer::Refused(refusal)
            }
        }
    }

    fn abandon(&mut self) {
        self.transaction = None;
    }

    fn mechanisms(&self) -> Vec<Mechanism> {
        Vec::new()
    }

    async fn journal_refusal(&self, stage: &'static str, refusal: &Refusal) {
        let event = Refused::new(self.visitor.face.name(), stage, refusal);
        self.visitor.refused(event, &self.peer_subject).await;
    }
}

/// How long a delivery is remembered: longer than mail usually waits in a queue (RFC 5321 §4.5.4.1 asks for four to five days).
const REPEATS_KNOWN: SignedDuration = SignedDuration::from_hours(7 * 24);
