//! What both SMTP desks need: the facts of one connection, and the steps they share.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::commit::LocalRecipient;
use super::smtp::Transmission;
use super::spool::Spool;
use super::{Face, Handshake, Judged, Parts, SessionId, Snapshot};
use crate::directory::BoxState;
use crate::identity::{Address, Domain, POSTMASTER};
use crate::journal::{Event, Excerpt, Refused};
use crate::message::received::{TlsTrace, Trace, received_count};
use crate::message::{Charset, Header, HeaderLimits};
use crate::pki::Usage;
use crate::policy::inbound::{self, BoxStanding, DomainStanding, MessageFacts, RecipientFacts};
use crate::policy::{Reason, Refusal};
use crate::queue::Parameters;
use crate::smtp::{ForwardPath, MailFrom, RcptTo};

/// What is known of one connection from its start.
pub(super) struct Visitor {
    pub(super) parts: Arc<Parts>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) session: SessionId,
    pub(super) face: Face,
    pub(super) host: Domain,
    pub(super) ip: IpAddr,
}

impl Visitor {
    /// The address of a forward-path; `<postmaster>` is the one of the first domain (RFC 5321 §4.5.1).
    pub(super) fn address_of(&self, to: &RcptTo) -> Option<Address> {
        match &to.path {
            ForwardPath::Address(address) => Some(address.clone()),
            ForwardPath::Postmaster => {
                let domain = self.snapshot.directory.domains().first()?;
                format!("{POSTMASTER}@{domain}").parse().ok()
            }
        }
    }

    /// Finds the box of a recipient of this operator.
    pub(super) fn local_recipient(&self, mail: &MailFrom, to: &RcptTo) -> Result<LocalRecipient, Refusal> {
        let Some(address) = self.address_of(to) else {
            return Err(Refusal::new(Reason::BoxUnknown, "this operator has no postmaster box"));
        };
        let mailbox = self.snapshot.directory.receiver(&address);
        let standing = mailbox.map(|mailbox| match mailbox.state {
            BoxState::Active => BoxStanding::Active,
            BoxState::Suspended => BoxStanding::Suspended,
            BoxState::Closed => BoxStanding::Closed,
        });
        let domain = if self.snapshot.directory.serves(address.domain()) {
            DomainStanding::Ours
        } else if self.snapshot.directory.leaving().contains(address.domain()) {
            DomainStanding::Leaving
        } else {
            DomainStanding::Elsewhere
        };
        inbound::recipient(&RecipientFacts {
            address: &address,
            domain,
            standing,
        })?;
        let inbox = mailbox.and_then(|mailbox| self.snapshot.inboxes.get(&mailbox.address));
        match (mailbox, inbox) {
            (Some(mailbox), Some(inbox)) => Ok(LocalRecipient {
                mailbox: Arc::clone(mailbox),
                inbox: *inbox,
                once: None,
                parameters: Parameters::of(mail, to),
            }),
            _ => Err(Refusal::new(Reason::BoxUnknown, "no such box")),
        }
    }

    /// Reads and checks the header block of a message that is complete.
    pub(super) fn header<'a>(&self, spool: &'a Spool, utf8: bool) -> Result<Header<'a>, Refusal> {
        let charset = if utf8 { Charset::Utf8 } else { Charset::Ascii };
        let (header, defect) = match Header::parse(
            spool.head(),
            &HeaderLimits {
                charset,
                header_bytes_max: self.parts.limits().header_bytes_max,
                fields_max: self.parts.limits().header_fields_max,
            },
        ) {
            Ok(header) => (header, None),
            Err(defect) => (Header::scan(spool.head()), Some(defect)),
        };
        let facts = MessageFacts {
            size_bytes: spool.size_bytes(),
            received_count: received_count(&header),
            defect,
        };
        let limits = self.parts.limits();
        let limits = inbound::Limits {
            message_bytes_max: limits.message_bytes_max,
            received_fields_max: limits.hops_max,
            recipients_max: limits.recipients_max,
        };
        inbound::message(&facts, &limits)?;
        if spool.structure().is_too_deep() {
            return Err(inbound::too_deep(self.parts.limits().mime_depth_max));
        }
        Ok(header)
    }

    /// The trace of a message that has just arrived.
    pub(super) fn trace<'a>(
        &'a self,
        transmission: &'a Transmission<'a>,
        tls: TlsTrace<'a>,
        recipients: &'a [Address],
        at: Timestamp,
    ) -> Trace<'a> {
        Trace {
            hello: transmission.hello,
            ip: self.ip,
            host: &self.host,
            protocol: transmission.protocol,
            tls: Some(tls),
            session: self.session.as_str(),
            recipients,
            at,
        }
    }

    /// The text of a 250: the session id is what a support desk will be asked for.
    pub(super) fn receipt(&self) -> String {
        format!("message accepted, session {}", self.session)
    }

    /// Leaves the evidence of a certificate in the journal.
    pub(super) async fn examine(&self, handshake: &Handshake, domain: Option<&Domain>, refusal: Option<&Refusal>) {
        let judged = Judged {
            face: self.face.name(),
            peer_ip: Some(self.ip),
            host: "",
            handshake,
            usage: Usage::Client,
            domain,
            refusal,
        };
        self.parts.examine(&self.session, &judged, &self.snapshot).await;
    }

    /// Writes a refusal of this session into the journal.
    pub(super) async fn refused(&self, mut event: Refused, peer_subject: &str) {
        event.peer_ip = Excerpt::new(self.ip.to_string());
        event.peer_subject = Excerpt::new(peer_subject);
        tracing::info!(operator = self.parts.operator, session = %self.session, reason = event.reason, "refused");
        self.parts.record(&self.session, Event::Refused(event)).await;
    }
}
