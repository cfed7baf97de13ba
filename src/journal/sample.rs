//! Synthetic events for tests: one of each, every one handed the INS of a fictive patient where a peer could have put it.

#![cfg(test)]

use jiff::Timestamp;

use super::*;
use crate::identity::Address;
use crate::message::Class;
use crate::policy::{Reason, Refusal};

/// Fictive; must never show in a row.
pub(crate) const INS: &str = "279035121518989";

pub(crate) fn moment() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub(crate) fn masked(text: &str) -> MaskedAddress {
    (&address(text)).into()
}

pub(crate) fn patient() -> MaskedAddress {
    masked(&format!("{INS}@patient.mssante.fr"))
}

pub(crate) fn owner(box_type: &str, establishment: &str, entity: &str) -> Owner {
    let number = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Owner {
        box_type: box_type.into(),
        establishment: number(establishment),
        entity: number(entity),
        rule: "attached".into(),
    }
}

pub(crate) fn submitted(owner: Owner, class: Class, recipient_count: u64) -> Event {
    Event::Submitted(Submitted {
        message_id: Excerpt::new(format!("<{INS}@dui>")),
        sender: masked("noreply@ehpad-lilas.mssante.fr"),
        login: "CN=dui.ehpad-lilas.fr".into(),
        owner,
        class,
        recipients: vec![patient()],
        recipient_count,
        by_place: RecipientCounts {
            patient: recipient_count,
            ..RecipientCounts::default()
        },
        size_bytes: 2048,
        peer_ip: "127.0.0.1".into(),
        product: "DEV935997".into(),
    })
}

pub(crate) fn received(owners: Vec<Owner>, class: Class) -> Event {
    let boxes = owners.into_iter().map(|owner| ReceivedBox {
        address: masked("ssiad@ssiad-lilas.mssante.fr"),
        owner,
    });
    Event::Received(Received {
        message_id: "<1@chu>".into(),
        peer_subject: "CN=mx1.chu.mssante.fr".into(),
        peer_ip: "127.0.0.1".into(),
        sender: Some(patient()),
        boxes: boxes.collect(),
        class,
        size_bytes: 2048,
    })
}

/// In the order of [`Event::NAMES`].
pub(crate) fn every_event() -> Vec<Event> {
    let mut events = vec![
        submitted(owner("APP", "990000010", "990000002"), Class::Message, 2),
        received(
            vec![owner("ORG", "990000010", "990000002"), Owner::default()],
            Class::Mdn,
        ),
    ];
    events.push(Event::Repeated(Repeated {
        message_id: "<1@chu>".into(),
        peer_subject: "CN=mx1.chu.mssante.fr".into(),
        peer_ip: "127.0.0.1".into(),
        sender: Some(masked("medecin@chu.mssante.fr")),
        boxes: vec![patient()],
    }));
    events.push(Event::Appended(Appended {
        mailbox: patient(),
        folder: Excerpt::new(format!("Dossier {INS}")),
        by: INS.into(),
        size_bytes: 10,
    }));
    events.push(Event::Refused(Refused {
        peer_ip: "127.0.0.1".into(),
        peer_subject: "CN=mx1.chu.mssante.fr".into(),
        sender: Some(masked("medecin@chu.mssante.fr")),
        recipient: Some(patient()),
        ..Refused::new(
            "inbound",
            "rcpt",
            &Refusal::new(Reason::BoxUnknown, format!("no box {INS}")),
        )
    }));
    events.extend(queue_events());
    events.push(Event::Reported(Reported {
        action: "delivered".into(),
        recipients: vec![patient()],
        to: masked("noreply@ehpad-lilas.mssante.fr"),
    }));
    events.push(Event::Noted(Noted {
        message_id: Excerpt::new(format!("<{INS}@dui>")),
        sender: masked("noreply@ehpad-lilas.mssante.fr"),
        product: "DEV935997".into(),
        findings: vec!["nil-missing".into(), "ins-missing".into()],
    }));
    events.extend(login_events());
    events.push(Event::Maintained(Maintained {
        action: "repair".into(),
        kind: "body-missing".into(),
        place: "message 7".into(),
        text: Excerpt::new(format!("the file of {INS} is missing")),
        count: 1,
    }));
    events
}

fn queue_events() -> [Event; 5] {
    let reply = Excerpt::new(format!("550 5.1.1 <{INS}@patient.mssante.fr> unknown"));
    [
        Event::Queued(Queued { recipient: patient() }),
        Event::Relayed(Relayed {
            recipient: patient(),
            peer_subject: "CN=mx.patient".into(),
            reply: reply.clone(),
            attempts: 1,
        }),
        Event::Deferred(Deferred {
            recipient: patient(),
            peer_subject: Excerpt::default(),
            reply: reply.clone(),
            attempts: 1,
            due: moment().to_string(),
        }),
        Event::Bounced(Bounced {
            recipient: patient(),
            peer_subject: "CN=mx.patient".into(),
            reply,
            attempts: 1,
            cause: BounceCause::Refused,
            told: Some(masked("noreply@ehpad-lilas.mssante.fr")),
        }),
        Event::Managed(Managed {
            action: QueueAction::Drop,
            item: 7,
            recipient: patient(),
            by: "root".into(),
            attempts: 3,
        }),
    ]
}

fn login_events() -> [Event; 7] {
    [
        Event::Login(Login {
            face: "imap".into(),
            login: "jeanne".into(),
            mailbox: masked("jeanne.briard@ssiad-lilas.mssante.fr"),
            mechanism: "PLAIN".into(),
            peer_ip: "127.0.0.1".into(),
        }),
        Event::LoginRefused(LoginRefused {
            reason: "credentials-invalid".into(),
            face: "imap".into(),
            login: INS.into(),
            mailbox: None,
            mechanism: "PLAIN".into(),
            text: "user name or password is wrong".into(),
            peer_ip: "127.0.0.1".into(),
        }),
        Event::Examined(Box::new(examined())),
        Event::HandshakeFailed(HandshakeFailed {
            face: "smtp".into(),
            peer_ip: "127.0.0.1".into(),
            problem: "received fatal alert: UnknownCA".into(),
            alert: "UnknownCA".into(),
            ..HandshakeFailed::default()
        }),
        Event::Opened(Opened {
            mailbox: patient(),
            by: "CN=dui".into(),
        }),
        Event::Started(Started {
            version: "0.1.0".into(),
        }),
        Event::Stopped(Stopped {}),
    ]
}

/// A refused certificate whose issuer put an INS where none belongs.
pub(crate) fn examined() -> Examined {
    Examined {
        face: "smtp".into(),
        rule: "certificate-expired".into(),
        text: "certificate of CN=mx1.chu.mssante.fr expired on 2026-11-01".into(),
        peer_ip: "127.0.0.1".into(),
        chain: vec![ShownCertificate {
            subject: "CN=mx1.chu.mssante.fr".into(),
            issuer: Excerpt::new(format!("CN={INS}")),
            serial: Encoded::hex("0a0b"),
            ..ShownCertificate::default()
        }],
        leaf: Encoded::base64(b"leaf"),
        checks: vec![CheckOutcome {
            id: "dates".into(),
            outcome: "failed".into(),
            detail: "expired on 2026-11-01".into(),
        }],
        ..Examined::default()
    }
}
