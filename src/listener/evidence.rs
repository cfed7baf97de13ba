//! Evidence for the journal: what a handshake agreed on, what was shown in it, and every check of that.
//!
//! A certificate that is refused is always written down. One that is accepted is only if the configuration asks for it: the way of an
//! accepted mail must not gain a row.

use std::net::IpAddr;

use jiff::Timestamp;
use rustls::AlertDescription;
use rustls_pki_types::CertificateDer;

use super::{Face, Handshake, Offer, Parts, SessionId, Snapshot, Unfinished};
use crate::identity::Domain;
use crate::journal::{CheckOutcome, Encoded, Event, Examined, Excerpt, HandshakeFailed, Negotiated, ShownCertificate};
use crate::pki::{Examination, Presented, Usage};
use crate::policy::Refusal;

/// Which handshakes leave their evidence in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handshakes {
    /// Those after which a certificate was refused.
    #[default]
    Refused,
    /// The others too, once per session.
    All,
}

/// A certificate that was judged, and where.
pub struct Judged<'a> {
    /// Which door, `relay` for a connection of our own.
    pub face: &'a str,
    /// The other end.
    pub peer_ip: Option<IpAddr>,
    /// The host we connected to, for a connection of our own.
    pub host: &'a str,
    /// What was agreed on and shown.
    pub handshake: &'a Handshake,
    /// What it was shown for.
    pub usage: Usage,
    /// The mail domain it was to speak for.
    pub domain: Option<&'a Domain>,
    /// The refusal; `None` when everything passed.
    pub refusal: Option<&'a Refusal>,
}

/// The evidence of a certificate, judged again check by check by the same snapshot.
pub fn examined(judged: &Judged<'_>, snapshot: &Snapshot, now: Timestamp) -> Examined {
    let chain = &judged.handshake.chain;
    let mut examination = snapshot.authority.examine(chain, judged.usage, now);
    if let Some(refusal) = judged.refusal
        && examination.verdict.is_ok()
    {
        examination = examination.refused(refusal.clone());
    }
    let list = &snapshot.allow_list;
    let listed = judged
        .domain
        .map(|domain| list.certificates_of(domain))
        .unwrap_or_default();
    Examined {
        face: judged.face.into(),
        rule: Excerpt::new(judged.refusal.map(|refusal| refusal.reason.id()).unwrap_or_default()),
        text: Excerpt::new(judged.refusal.map(|refusal| refusal.text.as_str()).unwrap_or_default()),
        peer_ip: Excerpt::new(judged.peer_ip.map(|ip| ip.to_string()).unwrap_or_default()),
        host: judged.host.into(),
        domain: Excerpt::new(judged.domain.map(Domain::as_str).unwrap_or_default()),
        tls: negotiated(judged.handshake),
        leaf: leaf(chain),
        listed: bounded(listed, Examined::LISTED_MAX, |subject| {
            Excerpt::new(subject.to_string())
        }),
        list_generated: Excerpt::new(list.generated().to_string()),
        crl_next_update: Excerpt::new(
            snapshot
                .authority
                .next_crl_update()
                .map(|at| at.to_string())
                .unwrap_or_default(),
        ),
        ..told(&examination)
    }
}

impl Parts {
    /// Writes the evidence of a refused certificate; of an accepted one if the configuration asks for it.
    pub async fn examine(&self, session: &SessionId, judged: &Judged<'_>, snapshot: &Snapshot) {
        if judged.refusal.is_none() && self.handshakes == Handshakes::Refused {
            return;
        }
        let event = examined(judged, snapshot, self.clock.now());
        self.record(session, Event::Examined(Box::new(event))).await;
    }

    /// Writes that no TLS connection came about. A client that only looked whether somebody listens said nothing and leaves nothing.
    pub async fn handshake_failed(&self, session: &SessionId, (face, peer): (Face, IpAddr), unfinished: &Unfinished) {
        let silent = unfinished.offer.is_none() && tls_error(&unfinished.error).is_none();
        if silent {
            return;
        }
        let event = HandshakeFailed {
            face: face.name().into(),
            peer_ip: Excerpt::new(peer.to_string()),
            tls: unfinished.offer.as_ref().map(offered).unwrap_or_default(),
            ..failure(&unfinished.error)
        };
        tracing::info!(operator = self.operator, %session, face = face.name(), problem = %event.problem, "handshake failed");
        self.record(session, Event::HandshakeFailed(event)).await;
    }
}

/// What went wrong in a handshake, in the library's words.
pub fn failure(error: &std::io::Error) -> HandshakeFailed {
    let alert = tls_error(error).and_then(|error| match error {
        rustls::Error::AlertReceived(alert) => Some(alert_name(*alert)),
        _ => None,
    });
    let problem = tls_error(error).map_or_else(|| error.to_string(), ToString::to_string);
    HandshakeFailed {
        problem: Excerpt::new(problem),
        alert: Excerpt::new(alert.unwrap_or_default()),
        ..HandshakeFailed::default()
    }
}

/// `CertificateExpired`, as the alert is called in the journal and by `explain`.
fn alert_name(alert: AlertDescription) -> String {
    format!("{alert:?}")
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn negotiated(handshake: &Handshake) -> Negotiated {
    Negotiated {
        version: Excerpt::new(&handshake.protocol),
        suite: Excerpt::new(handshake.suite.map(|suite| format!("{suite:?}")).unwrap_or_default()),
        server_name: Excerpt::new(handshake.offer.server_name.as_deref().unwrap_or_default()),
        offered: Vec::new(),
    }
}

fn offered(offer: &Offer) -> Negotiated {
    Negotiated {
        server_name: Excerpt::new(offer.server_name.as_deref().unwrap_or_default()),
        offered: bounded(&offer.suites, Negotiated::OFFERED_MAX, |suite| {
            Excerpt::new(format!("{suite:?}"))
        }),
        ..Negotiated::default()
    }
}

/// The chain and its checks.
fn told(examination: &Examination) -> Examined {
    let checks = examination.checks.iter().map(|check| CheckOutcome {
        id: check.id.id().into(),
        outcome: Excerpt::new(format!("{:?}", check.outcome).to_ascii_lowercase()),
        detail: Excerpt::new(&check.detail),
    });
    Examined {
        chain: bounded(&examination.chain, Examined::CHAIN_MAX, shown),
        checks: checks.collect(),
        ..Examined::default()
    }
}

fn shown(presented: &Presented) -> ShownCertificate {
    let moment = |at: Option<Timestamp>| Excerpt::new(at.map(|at| at.to_string()).unwrap_or_default());
    let none = Vec::new();
    let texts = |lists: [&Vec<String>; 3]| {
        let all: Vec<&String> = lists.into_iter().flatten().collect();
        bounded(&all, Examined::VALUES_MAX, |text| Excerpt::new(text.as_str()))
    };
    ShownCertificate {
        subject: Excerpt::new(&presented.subject),
        issuer: Excerpt::new(&presented.issuer),
        serial: Encoded::hex(&presented.serial),
        not_before: moment(presented.not_before),
        not_after: moment(presented.not_after),
        fingerprint: Encoded::hex(&presented.fingerprint),
        key: Excerpt::new(&presented.key),
        signature: Excerpt::new(&presented.signature),
        usages: texts([&presented.key_usage, &presented.extended_key_usage, &none]),
        names: texts([&presented.names, &none, &none]),
        urls: texts([&presented.crl_urls, &presented.ocsp_urls, &presented.issuer_urls]),
    }
}

fn leaf(chain: &[CertificateDer<'_>]) -> Encoded {
    match chain.first() {
        Some(leaf) if leaf.len() <= Examined::LEAF_BYTES_MAX => Encoded::base64(leaf),
        _ => Encoded::default(),
    }
}

fn bounded<T, U>(values: &[T], at_most: usize, each: impl Fn(&T) -> U) -> Vec<U> {
    values.iter().take(at_most).map(each).collect()
}
