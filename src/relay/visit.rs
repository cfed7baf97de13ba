//! One connection to one host of another operator: its name in replies and in the journal, and the evidence it leaves when it fails.

use std::net::SocketAddr;

use jiff::Timestamp;

use super::Relay;
use super::connection::ConnectionError;
use crate::identity::Domain;
use crate::journal::{Event, Excerpt, HandshakeFailed};
use crate::listener::{self, Handshake, Judged, SessionId, Snapshot};
use crate::pki::{Usage, Witness};
use crate::policy::Reason;
use crate::queue::{Answer, Outcome};
use crate::smtp::client;

/// One connection to one host: what replies, the journal and `explain` call it by, and whom it remembers.
pub(super) struct Visit {
    pub(super) session: SessionId,
    pub(super) domain: Domain,
    pub(super) witness: Witness,
}

impl Visit {
    /// One that has met nobody.
    pub(super) fn new(domain: &Domain, now: Timestamp) -> Self {
        Self {
            session: SessionId::new(now),
            domain: domain.clone(),
            witness: Witness::new(),
        }
    }
}

impl Relay {
    /// Leaves the evidence of a host that could not be used in the journal, and says what it means for the items.
    pub(super) async fn turned_back(
        &self,
        error: &ConnectionError,
        visit: &Visit,
        address: SocketAddr,
        snapshot: &Snapshot,
    ) -> Outcome {
        match error {
            ConnectionError::Unproved { name, refusal } => {
                let handshake = Handshake {
                    chain: visit.witness.take().unwrap_or_default(),
                    ..Handshake::default()
                };
                let judged = Judged {
                    face: FACE,
                    peer_ip: Some(address.ip()),
                    host: &format!("{name}:{}", address.port()),
                    handshake: &handshake,
                    usage: Usage::Server,
                    domain: Some(&visit.domain),
                    refusal: Some(refusal),
                };
                self.parts.examine(&visit.session, &judged, snapshot).await;
            }
            ConnectionError::Tls { name, source } => {
                let event = HandshakeFailed {
                    face: FACE.into(),
                    peer_ip: Excerpt::new(address.ip().to_string()),
                    host: Excerpt::new(format!("{name}:{}", address.port())),
                    ..listener::failure(source)
                };
                self.parts.record(&visit.session, Event::HandshakeFailed(event)).await;
            }
            // The settlement of the items says it all.
            ConnectionError::Unreachable { .. } => {}
        }
        outcome_of(error, &visit.session)
    }
}

/// What a host that could not be used means for the items. A certificate that the list does not name is final, everything else may
/// pass: an expired certificate is renewed, a connection comes back.
fn outcome_of(error: &ConnectionError, session: &SessionId) -> Outcome {
    let said = match error {
        ConnectionError::Unproved { name, refusal } => format!(
            "{name} is not the peer it should be: {} ({}, session {session})",
            refusal.text, refusal.reason
        ),
        other => format!("{other} (session {session})"),
    };
    match error {
        ConnectionError::Unproved { refusal, .. } => {
            let is_final = matches!(
                refusal.reason,
                Reason::CertificateNotForDomain | Reason::RecipientDomainUnlisted
            );
            if is_final {
                Outcome::Refused(Answer::here(format!("550 5.7.1 {said}")))
            } else {
                Outcome::Deferred(Answer::here(format!("454 4.7.0 {said}")))
            }
        }
        ConnectionError::Tls { .. } => Outcome::Deferred(Answer::here(format!("454 4.7.0 {said}"))),
        ConnectionError::Unreachable { .. } => Outcome::Deferred(Answer::here(format!("451 4.4.1 {said}"))),
    }
}

/// What a conversation that broke off means for the items.
pub(super) fn failed(failure: &client::Failure, session: &SessionId) -> Outcome {
    let answer = match failure.cause {
        client::Cause::Refused => Answer::peer(failure.text.clone()),
        _ => Answer::here(format!("451 4.4.2 {failure} (session {session})")),
    };
    // A peer without STARTTLS may be repaired: it is asked again until the message expires (never in clear, OP-5).
    if failure.temporary {
        Outcome::Deferred(answer)
    } else {
        Outcome::Refused(answer)
    }
}

/// How the journal calls connections of our own.
pub(super) const FACE: &str = "relay";
