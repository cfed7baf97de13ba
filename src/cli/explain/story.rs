//! The story as data: what is printed as JSON, and what the text is made of.

use serde::Serialize;
use serde_json::Value;

use super::find::{Session, reply, sessions_named};
use super::verdict::{Facts, Places, Verdict};
use crate::cli::words::{FailureWords, Words};
use crate::journal::{Event, Examined, HandshakeFailed, MaskedAddress, Record, json_line};
use crate::policy::Reason;

/// What became of an id.
#[derive(Serialize)]
pub(super) struct Story {
    /// As typed.
    pub(super) asked: String,
    /// The session asked for first, then those it speaks of.
    pub(super) sessions: Vec<Told>,
}

/// One session.
#[derive(Serialize)]
pub(super) struct Told {
    /// Whose journal.
    pub(super) operator: String,
    /// Its name.
    pub(super) session: String,
    /// First record, RFC 3339.
    pub(super) began: String,
    /// Which door; empty when no record says.
    pub(super) face: String,
    /// The other end.
    pub(super) peer_ip: String,
    /// Full subject of its certificate, or the login.
    pub(super) peer: String,
    /// Evidence of its handshakes.
    pub(super) examined: Vec<Examined>,
    /// A handshake that came to nothing, with what it means.
    pub(super) failed: Vec<Failed>,
    /// What was refused in it, explained.
    pub(super) refusals: Vec<Verdict>,
    /// Every record, as text.
    pub(super) lines: Vec<Line>,
    /// Every record, as `journal --json` prints it.
    pub(super) records: Vec<Value>,
}

/// A handshake that came to nothing.
#[derive(Serialize)]
pub(super) struct Failed {
    /// As journalled.
    pub(super) event: HandshakeFailed,
    /// What it means.
    pub(super) meaning: &'static str,
    /// What to do.
    pub(super) remedy: &'static str,
}

/// One record for people.
#[derive(Serialize)]
pub(super) struct Line {
    /// RFC 3339.
    pub(super) at: String,
    /// What happened.
    pub(super) text: String,
}

impl Story {
    /// Makes it of sessions that were found.
    pub(super) fn of(asked: &str, sessions: &[Session<'_>], places: &Places, words: &Words) -> Self {
        let known: Vec<&str> = sessions.iter().map(|session| session.id.as_str()).collect();
        let told = |session: &Session<'_>| Told::of(session, &known, places, words);
        Self {
            asked: asked.to_owned(),
            sessions: sessions.iter().map(told).collect(),
        }
    }
}

impl Told {
    fn of(session: &Session<'_>, known: &[&str], places: &Places, words: &Words) -> Self {
        let records = &session.records;
        let examined: Vec<&Examined> = records.iter().filter_map(evidence).collect();
        let refusals = records
            .iter()
            .filter_map(|record| facts(record, session.operator, &examined, known));
        let first = |get: fn(&Event) -> Option<&str>| {
            let found = records
                .iter()
                .find_map(|record| get(&record.event).filter(|text| !text.is_empty()));
            found.unwrap_or_default().to_owned()
        };
        let failed = records.iter().filter_map(|record| match &record.event {
            Event::HandshakeFailed(event) => Some(event),
            _ => None,
        });
        let failed = failed.map(|event| {
            let FailureWords { meaning, remedy } = words.failure(event.alert.as_str(), event.problem.as_str());
            Failed {
                event: event.clone(),
                meaning,
                remedy,
            }
        });
        Self {
            operator: session.operator.to_owned(),
            session: session.id.clone(),
            began: records.first().map(|record| record.at.to_string()).unwrap_or_default(),
            face: first(face),
            peer_ip: first(peer_ip),
            peer: first(peer),
            failed: failed.collect(),
            refusals: refusals.map(|facts| Verdict::of(&facts, places, words)).collect(),
            lines: records.iter().map(|record| line(record, words)).collect(),
            records: records
                .iter()
                .filter_map(|record| serde_json::from_str(&json_line(record)).ok())
                .collect(),
            examined: examined.into_iter().cloned().collect(),
        }
    }
}

fn evidence(record: &Record) -> Option<&Examined> {
    match &record.event {
        Event::Examined(examined) => Some(examined),
        _ => None,
    }
}

/// What there is to explain about a record; nothing about most.
fn facts<'a>(record: &'a Record, operator: &'a str, examined: &[&'a Examined], known: &[&str]) -> Option<Facts<'a>> {
    let with = |reason: &str| examined.iter().find(|one| one.rule.as_str() == reason).copied();
    let base = |reason: Reason| Facts {
        reason,
        operator,
        face: "",
        stage: "",
        said: "",
        recipient: None,
        is_login: false,
        examined: with(reason.id()),
    };
    match &record.event {
        Event::Refused(event) => Some(Facts {
            face: event.face.as_str(),
            stage: event.stage.as_str(),
            said: event.text.as_str(),
            recipient: event.recipient.as_ref().map(MaskedAddress::as_str),
            ..base(reason_of(&event.reason)?)
        }),
        Event::LoginRefused(event) => Some(Facts {
            face: event.face.as_str(),
            stage: event.mechanism.as_str(),
            is_login: true,
            said: event.text.as_str(),
            ..base(reason_of(&event.reason)?)
        }),
        // A connection of our own has no other row for its refusal.
        Event::Examined(event) if event.face.as_str() == RELAY => Some(Facts {
            face: RELAY,
            stage: "certificate",
            said: event.text.as_str(),
            ..base(reason_of(event.rule.as_str())?)
        }),
        // A refusal by somebody whose journal is not here: the reply is all there is.
        Event::Deferred(_) | Event::Bounced(_) => {
            let reply = reply(record)?;
            let told_there = sessions_named(reply).iter().any(|name| known.contains(&name.as_str()));
            let reason = Reason::ALL.into_iter().find(|reason| names(reply, *reason))?;
            (!told_there).then(|| Facts {
                face: RELAY,
                stage: "reply",
                said: reply,
                ..base(reason)
            })
        }
        _ => None,
    }
}

fn names(reply: &str, reason: Reason) -> bool {
    reply.contains(&format!("({reason})")) || reply.contains(&format!("({reason}, session "))
}

fn reason_of(id: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.id() == id)
}

fn face(event: &Event) -> Option<&str> {
    match event {
        Event::Refused(e) => Some(e.face.as_str()),
        Event::Login(e) => Some(e.face.as_str()),
        Event::LoginRefused(e) => Some(e.face.as_str()),
        Event::Examined(e) => Some(e.face.as_str()),
        Event::HandshakeFailed(e) => Some(e.face.as_str()),
        Event::Submitted(_) => Some("submission"),
        Event::Received(e) if !e.peer_subject.is_empty() => Some("smtp"),
        _ => None,
    }
}

fn peer_ip(event: &Event) -> Option<&str> {
    match event {
        Event::Refused(e) => Some(e.peer_ip.as_str()),
        Event::Login(e) => Some(e.peer_ip.as_str()),
        Event::LoginRefused(e) => Some(e.peer_ip.as_str()),
        Event::Examined(e) => Some(e.peer_ip.as_str()),
        Event::HandshakeFailed(e) => Some(e.peer_ip.as_str()),
        Event::Submitted(e) => Some(e.peer_ip.as_str()),
        Event::Received(e) => Some(e.peer_ip.as_str()),
        _ => None,
    }
}

fn peer(event: &Event) -> Option<&str> {
    match event {
        Event::Refused(e) => Some(e.peer_subject.as_str()),
        Event::Login(e) => Some(e.login.as_str()),
        Event::LoginRefused(e) => Some(e.login.as_str()),
        Event::Examined(e) => e.chain.first().map(|leaf| leaf.subject.as_str()),
        Event::Submitted(e) => Some(e.login.as_str()),
        Event::Received(e) => Some(e.peer_subject.as_str()),
        _ => None,
    }
}

fn line(record: &Record, words: &Words) -> Line {
    let texts = &words.texts;
    let text = match &record.event {
        Event::Submitted(e) => {
            let to: Vec<&str> = e.recipients.iter().map(MaskedAddress::as_str).collect();
            format!(
                "{} {} → {} {}",
                texts.event_submitted,
                e.sender,
                to.join(", "),
                e.message_id
            )
        }
        Event::Received(e) => {
            let to: Vec<&str> = e.boxes.iter().map(|one| one.address.as_str()).collect();
            format!("{} {} {}", texts.event_received, to.join(", "), e.message_id)
        }
        Event::Repeated(e) => {
            let to: Vec<&str> = e.boxes.iter().map(MaskedAddress::as_str).collect();
            format!("{} {}", to.join(", "), texts.event_repeated)
        }
        Event::Queued(e) => format!("{} {}", texts.event_queued, e.recipient),
        Event::Relayed(e) => format!("{} {}: {}", texts.event_relayed, e.recipient, e.reply),
        Event::Deferred(e) => {
            format!(
                "{} {} ({} {}): {}",
                texts.event_deferred, e.recipient, texts.event_next, e.due, e.reply
            )
        }
        Event::Bounced(e) => {
            let told = e
                .told
                .as_ref()
                .map(|to| format!(" ({} {to})", texts.event_told))
                .unwrap_or_default();
            format!("{} {}{told}: {}", texts.event_bounced, e.recipient, e.reply)
        }
        Event::Login(e) => format!("{}: {} → {} ({})", texts.event_login, e.login, e.mailbox, e.mechanism),
        Event::LoginRefused(e) => format!("{}: {} ({})", texts.event_login_refused, e.login, e.mechanism),
        Event::Refused(e) => format!("{} ({}): {} ({})", texts.event_refused, e.stage, e.text, e.reason),
        Event::Examined(e) if e.rule.is_empty() => texts.event_examined.to_owned(),
        Event::Examined(e) => format!("{} ({})", texts.event_examined, e.rule),
        Event::HandshakeFailed(e) => format!("{}: {}", texts.event_handshake_failed, e.problem),
        Event::Opened(e) => format!("{}: {} ({})", texts.event_opened, e.mailbox, e.by),
        other => other.name().to_owned(),
    };
    Line {
        at: format!("{:.3}", record.at),
        text: text.trim_end().to_owned(),
    }
}

/// How the journal calls connections of our own.
const RELAY: &str = "relay";
