//! The desk of the submission faces: what a login may send (ECO.1.0.1, OP-10), as which box, to whom, and what it counts for.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::commit::{Commit, LocalRecipient};
use super::link::Handshake;
use super::login::{self, Attempt, Opened, Place};
use super::smtp::{Desk, Transmission};
use super::spool::Spool;
use super::visitor::Visitor;
use crate::directory::{BoxState, BoxType, MailBox};
use crate::identity::{Address, Domain};
use crate::indicator;
use crate::journal::{Event, Excerpt, Noted, Received, Record, Refused, Submitted};
use crate::message::received::TlsTrace;
use crate::message::structure::Structure;
use crate::message::{Authors, Class, Header};
use crate::policy::form::{self, Mode};
use crate::policy::submission::{self, AuthorFacts, Destination, Rules, SenderRule};
use crate::policy::{Reason, Refusal, inbound};
use crate::queue;
use crate::smtp::command::Notify;
use crate::smtp::{Answer, Credentials, MailFrom, Mechanism, Question, RcptTo};
use crate::store::Outgoing;

/// Takes mail from one login.
pub(super) struct Submission {
    visitor: Visitor,
    handshake: Handshake,
    login: Option<Opened>,
    transaction: Option<Transaction>,
}

struct Transaction {
    mail: MailFrom,
    sender: Arc<MailBox>,
    local: Vec<LocalRecipient>,
    /// Recipients elsewhere, with what their operator must see.
    remote: Vec<(Address, queue::Parameters)>,
}

impl Submission {
    pub(super) fn new(visitor: Visitor) -> Self {
        Self {
            visitor,
            handshake: Handshake::default(),
            login: None,
            transaction: None,
        }
    }

    fn sender(&mut self, mail: MailFrom) -> Result<(), Refusal> {
        let login = self
            .login
            .as_ref()
            .ok_or_else(|| Refusal::new(Reason::AuthenticationRequired, "log in first"))?;
        submission::sender(&login.boxes, mail.path.as_ref())?;
        // A notification has no envelope sender; it still comes from the login's own box.
        let address = mail.path.as_ref().unwrap_or(&login.own);
        let mailbox = self.visitor.snapshot.directory.find(address).cloned();
        let mailbox =
            mailbox.ok_or_else(|| Refusal::new(Reason::SenderNotAllowed, "the sending box does not exist"))?;
        if mailbox.state != BoxState::Active {
            return Err(Refusal::new(
                Reason::SenderNotAllowed,
                "the sending box is suspended or closed",
            ));
        }
        self.transaction = Some(Transaction {
            mail,
            sender: mailbox,
            local: Vec::new(),
            remote: Vec::new(),
        });
        Ok(())
    }

    fn recipient(&mut self, to: &RcptTo) -> Result<(), Refusal> {
        let Some(address) = self.visitor.address_of(to) else {
            return Err(Refusal::new(Reason::BoxUnknown, "this operator has no postmaster box"));
        };
        let transaction = self.transaction.as_mut();
        let transaction =
            transaction.ok_or_else(|| Refusal::new(Reason::MessageMalformed, "no transaction is open"))?;
        let rules = &self.visitor.parts.sending;
        submission::patient_size(&address, transaction.mail.size_bytes.unwrap_or(0), rules)?;
        if self.visitor.snapshot.directory.serves(address.domain()) {
            let recipient = self.visitor.local_recipient(&transaction.mail, to)?;
            if !transaction.local.iter().any(|other| other.inbox == recipient.inbox) {
                transaction.local.push(recipient);
            }
            return Ok(());
        }
        let destination = if self.visitor.snapshot.allow_list.lists(address.domain()) {
            Destination::Listed
        } else {
            Destination::Unlisted
        };
        submission::recipient(&address, destination)?;
        if !transaction.remote.iter().any(|(other, _)| *other == address) {
            let parameters = queue::Parameters::of(&transaction.mail, to);
            transaction.remote.push((address, parameters));
        }
        Ok(())
    }

    async fn store(&mut self, spool: Spool, transmission: Transmission<'_>) -> Result<(), Refusal> {
        let (Some(mut transaction), Some(login)) = (self.transaction.take(), &self.login) else {
            return Err(Refusal::new(Reason::MessageMalformed, "no transaction is open"));
        };
        let now = self.visitor.parts.clock.now();
        let header = self.visitor.header(&spool, transmission.utf8)?;
        let authors = self.authors(&header, login, &transaction)?;
        let recipients = transaction.recipients();
        let rules = &self.visitor.parts.sending;
        for recipient in &recipients {
            submission::patient_size(recipient, spool.size_bytes(), rules)?;
        }
        transaction.want(&header, rules);
        let tls = TlsTrace {
            version: &self.handshake.protocol,
            peer_name: None,
        };
        let front = self
            .visitor
            .trace(&transmission, tls, &recipients, now)
            .front_of_submission(&header);
        let facts = Facts {
            transaction: &transaction,
            login,
            header: &header,
            authors: &authors,
            recipients: &recipients,
        };
        let noted = self.noted(&facts, spool.structure()).await?;
        let (submitted, received) = (self.submitted(&facts), self.received(&facts));
        let session = self.visitor.session.as_str();
        let (outgoing, queued) = self.enqueue(&transaction, now)?;
        let records = |size_bytes| {
            let submitted = Event::Submitted(Submitted {
                size_bytes,
                ..submitted
            });
            let received = received.map(|received| Event::Received(Received { size_bytes, ..received }));
            let events = std::iter::once(submitted).chain(received).chain(noted);
            let records = events.map(|event| Record::new(now, session, event));
            records.chain(queued).collect()
        };
        let commit = Commit {
            sender: transaction.mail.path.as_ref(),
            writer: Some(&login.own),
            front,
            spool,
            local: &transaction.local,
            outgoing,
        };
        commit.carry_out(&self.visitor, now, records).await
    }

    /// Reads who wrote the message and checks that the login may write in their name.
    fn authors(&self, header: &Header<'_>, login: &Opened, transaction: &Transaction) -> Result<Authors, Refusal> {
        let authors = Authors::read(header);
        submission::authors(&AuthorFacts {
            boxes: &login.boxes,
            reverse_path: transaction.mail.path.as_ref(),
            authors: &authors,
            class: Class::of_header(header),
            // With a BAL applicative, Sender is the person who asked for the send: anybody of this operator.
            sender_rule: SenderRule::Domains(self.visitor.snapshot.directory.domains()),
        })?;
        authors.map_err(|error| inbound::malformed(&error))
    }

    /// Checks the form of the message. What is found is to stand in the journal beside it; where findings are enforced, it stands there
    /// and the message is refused.
    async fn noted(&self, facts: &Facts<'_>, structure: &Structure) -> Result<Option<Event>, Refusal> {
        let mode = self.visitor.parts.sending.checks;
        if mode == Mode::Off {
            return Ok(None);
        }
        let Visitor { parts, snapshot, .. } = &self.visitor;
        let submitted = form::Submitted {
            header: facts.header,
            class: facts.class(),
            parts: structure.parts(),
            authors: facts.authors,
            recipients: facts.recipients,
            is_personal: facts.transaction.sender.box_type == BoxType::Personal,
        };
        let is_trusted = |domain: &Domain| snapshot.directory.serves(domain) || snapshot.allow_list.lists(domain);
        let findings = form::findings(&submitted, is_trusted);
        let Some(first) = findings.first() else {
            return Ok(None);
        };
        let event = Event::Noted(Noted {
            message_id: facts.field("Message-ID"),
            sender: (&facts.transaction.sender.address).into(),
            product: facts.field("X-MSS-NIL"),
            findings: findings.iter().map(|rule| Excerpt::new(rule.id)).collect(),
        });
        if mode == Mode::Enforce {
            parts.record(&self.visitor.session, event).await;
            return Err(form::refusal(first));
        }
        Ok(Some(event))
    }

    /// Queue rows and records of the recipients elsewhere.
    fn enqueue(&self, transaction: &Transaction, now: Timestamp) -> Result<(Vec<Outgoing>, Vec<Record>), Refusal> {
        let leaving = queue::Submission {
            sender: transaction.mail.path.as_ref(),
            recipients: &transaction.remote,
            session: self.visitor.session.as_str(),
        };
        queue::enqueue(&leaving, &self.visitor.parts.retry, now).map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "queue parameters could not be written");
            let text = "the message could not be queued, try again later";
            Refusal::new(Reason::StorageFailed, text)
        })
    }

    fn submitted(&self, facts: &Facts<'_>) -> Submitted {
        let mailbox = &facts.transaction.sender;
        let reply_to: Vec<Address> = facts
            .authors
            .reply_to
            .iter()
            .map(|author| author.address.clone())
            .collect();
        let attribution = indicator::attribute(mailbox, &reply_to, &self.visitor.snapshot.directory);
        Submitted {
            message_id: facts.field("Message-ID"),
            sender: (&mailbox.address).into(),
            login: Excerpt::new(&facts.login.name),
            owner: attribution.owner(mailbox.box_type),
            class: facts.class(),
            peer_ip: Excerpt::new(self.visitor.ip.to_string()),
            // ECO.2.4.3: which product sent it.
            product: facts.field("X-MSS-NIL"),
            ..Submitted::default()
        }
        .to(facts.recipients, |address| {
            self.visitor.snapshot.directory.serves(address.domain())
        })
    }

    /// The same message seen by the boxes of this operator that receive it.
    fn received(&self, facts: &Facts<'_>) -> Option<Received> {
        let directory = &self.visitor.snapshot.directory;
        let local = &facts.transaction.local;
        (!local.is_empty()).then(|| Received {
            message_id: facts.field("Message-ID"),
            peer_ip: Excerpt::new(self.visitor.ip.to_string()),
            sender: facts.transaction.mail.path.as_ref().map(Into::into),
            boxes: local
                .iter()
                .map(|recipient| indicator::received_box(&recipient.mailbox, directory))
                .collect(),
            class: facts.class(),
            ..Received::default()
        })
    }

    async fn authenticate(&mut self, credentials: Credentials) -> Result<(), Refusal> {
        let attempt = match attempt(&credentials) {
            Ok(attempt) => attempt,
            Err(refusal) => {
                self.journal_refusal("auth", &refusal).await;
                return Err(refusal);
            }
        };
        let Visitor { parts, snapshot, .. } = &self.visitor;
        login::ask(parts, snapshot, &self.handshake, &attempt).await;
        let now = parts.clock.now();
        let opened = login::open(&self.visitor.snapshot, &self.handshake, &attempt, now);
        let visitor = &self.visitor;
        let place = Place {
            parts: &visitor.parts,
            session: &visitor.session,
            face: visitor.face,
            ip: visitor.ip,
        };
        login::journal(&place, &attempt, &opened).await;
        if let Err(refusal) = &opened
            && attempt.password.is_none()
            && !self.handshake.chain.is_empty()
        {
            self.visitor.examine(&self.handshake, None, Some(refusal)).await;
        }
        self.login = Some(opened?);
        Ok(())
    }
}

fn attempt(credentials: &Credentials) -> Result<Attempt<'_>, Refusal> {
    match credentials {
        Credentials::External { authzid } => Ok(Attempt {
            mechanism: "EXTERNAL",
            authorisation: authzid.as_deref(),
            password: None,
        }),
        Credentials::Plain {
            mechanism,
            authzid,
            user,
            password,
        } => {
            let password = Some((user.as_str(), password.reveal()));
            Ok(Attempt {
                mechanism: mechanism.name(),
                authorisation: authzid.as_deref(),
                password,
            })
        }
        Credentials::Bearer { .. } => Err(Refusal::new(
            Reason::CredentialsInvalid,
            "no identity provider vouches for tokens at this operator",
        )),
    }
}

/// What the journal wants to know of a submission.
struct Facts<'a> {
    transaction: &'a Transaction,
    login: &'a Opened,
    header: &'a Header<'a>,
    authors: &'a Authors,
    recipients: &'a [Address],
}

impl Facts<'_> {
    fn class(&self) -> Class {
        Class::of(self.header, self.transaction.mail.path.as_ref())
    }

    fn field(&self, name: &str) -> Excerpt {
        Excerpt::new(self.header.value(name).unwrap_or_default())
    }
}

impl Transaction {
    /// What the header adds to the wishes of MAIL and RCPT: the kind of message, which bounds the reports about it, and the old receipt
    /// field, which counts for recipients without NOTIFY.
    fn want(&mut self, header: &Header<'_>, rules: &Rules) {
        let sender = self.mail.path.as_ref();
        let class = Class::of(header, sender);
        let asks = class == Class::Message && submission::asks_old_receipt(header, sender, rules);
        let local = self.local.iter_mut().map(|recipient| &mut recipient.parameters);
        let remote = self.remote.iter_mut().map(|(_, parameters)| parameters);
        for parameters in local.chain(remote) {
            parameters.class = class;
            if asks && parameters.notify.is_none() {
                // What no NOTIFY means, and success (RFC 3461 §4.1).
                parameters.notify = Some(Notify::SUCCESS.with(Notify::FAILURE).with(Notify::DELAY));
            }
        }
    }

    fn recipients(&self) -> Vec<Address> {
        let local = self.local.iter().map(|recipient| recipient.mailbox.address.clone());
        local
            .chain(self.remote.iter().map(|(address, _)| address.clone()))
            .collect()
    }
}

#[async_trait]
impl Desk for Submission {
    async fn handshake(&mut self, handshake: Handshake) -> Result<(), Refusal> {
        // A foreign certificate never ends a session here: people log in without one. It is judged when it is used (EXTERNAL).
        self.handshake = handshake;
        if !self.handshake.chain.is_empty() {
            self.visitor.examine(&self.handshake, None, None).await;
        }
        Ok(())
    }

    async fn ask(&mut self, question: Question) -> Answer {
        let sender = self
            .transaction
            .as_ref()
            .map(|transaction| transaction.sender.address.clone());
        let (stage, result, sender, recipient) = match question {
            Question::Authenticate(credentials) => return answer(self.authenticate(credentials).await),
            Question::Sender(mail) => {
                let path = mail.path.clone();
                ("mail", self.sender(mail), path, None)
            }
            Question::Recipient(to) => {
                let room = self.visitor.has_room(&to).await;
                let result = room.and_then(|()| self.recipient(&to));
                ("rcpt", result, sender, self.visitor.address_of(&to))
            }
            Question::Message => {
                return Answer::Refused(Refusal::new(Reason::MessageMalformed, "no transaction is open"));
            }
        };
        if let Err(refusal) = &result {
            let mut event = Refused::new(self.visitor.face.name(), stage, refusal);
            event.sender = sender.as_ref().map(Into::into);
            event.recipient = recipient.as_ref().map(Into::into);
            self.visitor.refused(event, "").await;
        }
        answer(result)
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
        let external = (!self.handshake.chain.is_empty()).then_some(Mechanism::External);
        external
            .into_iter()
            .chain([Mechanism::Plain, Mechanism::Login])
            .collect()
    }

    async fn journal_refusal(&self, stage: &'static str, refusal: &Refusal) {
        let event = Refused::new(self.visitor.face.name(), stage, refusal);
        self.visitor.refused(event, "").await;
    }
}

fn answer(result: Result<(), Refusal>) -> Answer {
    match result {
        Ok(()) => Answer::Accepted,
        Err(refusal) => Answer::Refused(refusal),
    }
}
