//! The journal for people (one aligned line per record) and for programs (JSON lines).

use serde_json::Value;
use serde_json::json;

use super::event::{Event, Received, Refused, Repeated, Submitted};
use super::evidence::Examined;
use super::masked::{Excerpt, MaskedAddress};
use super::queue::{BounceCause, Noted};
use super::record::Record;
use super::upkeep::Maintained;

/// Time (UTC, to the millisecond), session, event, what: one line without its end.
pub fn line(record: &Record) -> String {
    let session = if record.session.is_empty() {
        "-"
    } else {
        &record.session
    };
    let (session, name) = (Excerpt::new(session), Excerpt::new(record.event.name()));
    format!(
        "{:.3}  {:<12}  {:<13}  {}",
        record.at,
        session.as_str(),
        name.as_str(),
        what(&record.event)
    )
    .trim_end()
    .to_owned()
}

/// One JSON object: `sequence`, `at`, `session`, `event`, `reason`, `detail` (the event's own object).
pub fn json_line(record: &Record) -> String {
    let row = record.to_row();
    let detail = serde_json::from_str(&row.detail).unwrap_or(Value::String(row.detail));
    json!({
        "sequence": row.sequence,
        "at": row.at.to_string(),
        "session": row.session,
        "event": row.event,
        "reason": row.reason,
        "detail": detail,
    })
    .to_string()
}

fn what(event: &Event) -> String {
    match event {
        Event::Submitted(submitted) => submitted_line(submitted),
        Event::Received(received) => received_line(received),
        Event::Refused(refused) => refused_line(refused),
        Event::Repeated(e) => repeated_line(e),
        Event::Appended(e) => format!("{} into {} of {} by {}", size(e.size_bytes), e.folder, e.mailbox, e.by),
        Event::Queued(e) => format!("to {}", e.recipient),
        Event::Relayed(e) => format!("to {} by {}: {}", e.recipient, e.peer_subject, e.reply),
        Event::Deferred(e) => format!(
            "to {}, attempt {}, next {}: {}",
            e.recipient, e.attempts, e.due, e.reply
        ),
        Event::Bounced(e) => {
            let cause = match e.cause {
                BounceCause::Refused => "refused",
                BounceCause::Expired => "expired",
            };
            let told = e
                .told
                .as_ref()
                .map_or("nobody told".to_owned(), |to| format!("told {to}"));
            format!(
                "to {}, {cause} after {}, {told}: {}",
                e.recipient,
                attempts(e.attempts),
                e.reply
            )
        }
        Event::Managed(e) => format!(
            "{} of item {} to {} by {}, after {}",
            e.action.id(),
            e.item,
            e.recipient,
            e.by,
            attempts(e.attempts)
        ),
        Event::Reported(e) => format!("{} {} to {}", addresses(&e.recipients), e.action, e.to),
        Event::Noted(e) => noted_line(e),
        Event::Login(e) => format!("{}: {} opens {} with {}", e.face, e.login, e.mailbox, e.mechanism),
        Event::LoginRefused(e) => {
            let asked = e
                .mailbox
                .as_ref()
                .map_or(String::new(), |asked| format!(" for {asked}"));
            format!(
                "{}: {}{asked} with {} ({})",
                e.face,
                e.login,
                e.mechanism,
                Excerpt::new(&e.reason)
            )
        }
        Event::Examined(e) => examined_line(e),
        Event::HandshakeFailed(e) => format!("{}: {} [{}]", e.face, e.problem, place(&e.host, &e.peer_ip)),
        Event::Opened(e) => format!("{} by {}", e.mailbox, e.by),
        Event::Started(e) => format!("version {}", e.version),
        Event::Stopped(_) => String::new(),
        Event::Maintained(e) => maintained_line(e),
        Event::Unknown(e) => Excerpt::new(&e.detail).as_str().to_owned(),
    }
}

fn submitted_line(submitted: &Submitted) -> String {
    let to = match submitted.recipients.as_slice() {
        [only] if submitted.recipient_count == 1 => only.to_string(),
        _ => format!("{} recipients", submitted.recipient_count),
    };
    let owner = &submitted.owner;
    let counted = match (&owner.establishment, &owner.entity) {
        (Some(eg), _) => format!("counts for EG {}", Excerpt::new(eg)),
        (None, Some(ej)) => format!("counts for EJ {}, establishment unknown", Excerpt::new(ej)),
        (None, None) => "counts without structure".to_owned(),
    };
    format!(
        "{} from {} to {to}, {}, {counted} ({})",
        submitted.class.id(),
        submitted.sender,
        size(submitted.size_bytes),
        Excerpt::new(&owner.rule)
    )
}

fn maintained_line(e: &Maintained) -> String {
    let mut line = format!("{} {}", e.action, e.kind);
    for (before, part) in [(" at ", &e.place), (": ", &e.text)] {
        if !part.is_empty() {
            line.push_str(&format!("{before}{part}"));
        }
    }
    match e.count {
        0 | 1 => line,
        count => format!("{line} ({count})"),
    }
}

fn noted_line(noted: &Noted) -> String {
    let findings: Vec<&str> = noted.findings.iter().map(Excerpt::as_str).collect();
    let product = if noted.product.is_empty() {
        "a product without number"
    } else {
        noted.product.as_str()
    };
    format!("from {} by {product}: {}", noted.sender, findings.join(", "))
}

fn addresses(list: &[MaskedAddress]) -> String {
    match list {
        [only] => only.to_string(),
        several => format!("{} recipients", several.len()),
    }
}

fn repeated_line(repeated: &Repeated) -> String {
    let to = match repeated.boxes.as_slice() {
        [only] => only.to_string(),
        several => format!("{} boxes", several.len()),
    };
    format!(
        "from {}, {to} had it before, by {}",
        path(repeated.sender.as_ref()),
        repeated.peer_subject
    )
}

fn received_line(received: &Received) -> String {
    let to = match received.boxes.as_slice() {
        [only] => only.address.to_string(),
        several => format!("{} boxes", several.len()),
    };
    let by = if received.peer_subject.is_empty() {
        "this operator"
    } else {
        received.peer_subject.as_str()
    };
    format!(
        "{} from {} to {to}, {}, by {by}",
        received.class.id(),
        path(received.sender.as_ref()),
        size(received.size_bytes)
    )
}

fn refused_line(refused: &Refused) -> String {
    let recipient = refused
        .recipient
        .as_ref()
        .map_or(String::new(), |to| format!(" to {to}"));
    let sender = refused
        .sender
        .as_ref()
        .map_or(String::new(), |from| format!(" from {from}"));
    let peer = if refused.peer_subject.is_empty() {
        &refused.peer_ip
    } else {
        &refused.peer_subject
    };
    format!(
        "{} {}{sender}{recipient}: {} ({}) [{peer}]",
        refused.face,
        refused.stage,
        refused.text,
        Excerpt::new(&refused.reason)
    )
}

fn examined_line(examined: &Examined) -> String {
    let subject = examined
        .chain
        .first()
        .map_or("no certificate", |leaf| leaf.subject.as_str());
    let verdict = if examined.rule.is_empty() {
        "good"
    } else {
        examined.rule.as_str()
    };
    let at = place(&examined.host, &examined.peer_ip);
    format!("{}: {subject}: {verdict} [{at}]", examined.face)
}

fn place<'a>(host: &'a Excerpt, ip: &'a Excerpt) -> &'a Excerpt {
    if host.is_empty() { ip } else { host }
}

fn path(sender: Option<&MaskedAddress>) -> &str {
    sender.map_or("<>", MaskedAddress::as_str)
}

fn attempts(count: u32) -> String {
    match count {
        1 => "1 attempt".to_owned(),
        _ => format!("{count} attempts"),
    }
}

fn size(bytes: u64) -> String {
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Unknown;
    use crate::journal::sample;

    #[test]
    fn each_event_reads_as_one_line() {
        let lines: Vec<String> = sample::every_event()
            .into_iter()
            .map(|event| line(&Record::new(sample::moment(), "s-42", event)))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        2026-11-21T10:00:00.000Z  s-42          submitted      message from noreply@ehpad-lilas.mssante.fr to 2 recipients, 2048 bytes, counts for EG 990000010 (attached)
        2026-11-21T10:00:00.000Z  s-42          received       mdn from 2790…989@patient.mssante.fr to 2 boxes, 2048 bytes, by CN=mx1.chu.mssante.fr
        2026-11-21T10:00:00.000Z  s-42          repeated       from medecin@chu.mssante.fr, 2790…989@patient.mssante.fr had it before, by CN=mx1.chu.mssante.fr
        2026-11-21T10:00:00.000Z  s-42          appended       10 bytes into Dossier 2790…989 of 2790…989@patient.mssante.fr by 2790…989
        2026-11-21T10:00:00.000Z  s-42          refused        inbound rcpt from medecin@chu.mssante.fr to 2790…989@patient.mssante.fr: no box 2790…989 (box-unknown) [CN=mx1.chu.mssante.fr]
        2026-11-21T10:00:00.000Z  s-42          queued         to 2790…989@patient.mssante.fr
        2026-11-21T10:00:00.000Z  s-42          relayed        to 2790…989@patient.mssante.fr by CN=mx.patient: 550 5.1.1 <2790…989@patient.mssante.fr> unknown
        2026-11-21T10:00:00.000Z  s-42          deferred       to 2790…989@patient.mssante.fr, attempt 1, next 2026-11-21T10:00:00Z: 550 5.1.1 <2790…989@patient.mssante.fr> unknown
        2026-11-21T10:00:00.000Z  s-42          bounced        to 2790…989@patient.mssante.fr, refused after 1 attempt, told noreply@ehpad-lilas.mssante.fr: 550 5.1.1 <2790…989@patient.mssante.fr> unknown
        2026-11-21T10:00:00.000Z  s-42          managed        drop of item 7 to 2790…989@patient.mssante.fr by root, after 3 attempts
        2026-11-21T10:00:00.000Z  s-42          reported       2790…989@patient.mssante.fr delivered to noreply@ehpad-lilas.mssante.fr
        2026-11-21T10:00:00.000Z  s-42          noted          from noreply@ehpad-lilas.mssante.fr by DEV935997: nil-missing, ins-missing
        2026-11-21T10:00:00.000Z  s-42          login          imap: jeanne opens jeanne.briard@ssiad-lilas.mssante.fr with PLAIN
        2026-11-21T10:00:00.000Z  s-42          login-refused  imap: 2790…989 with PLAIN (credentials-invalid)
        2026-11-21T10:00:00.000Z  s-42          examined       smtp: CN=mx1.chu.mssante.fr: certificate-expired [127.0.0.1]
        2026-11-21T10:00:00.000Z  s-42          handshake-failed  smtp: received fatal alert: UnknownCA [127.0.0.1]
        2026-11-21T10:00:00.000Z  s-42          opened         2790…989@patient.mssante.fr by CN=dui
        2026-11-21T10:00:00.000Z  s-42          started        version 0.1.0
        2026-11-21T10:00:00.000Z  s-42          stopped
        2026-11-21T10:00:00.000Z  s-42          maintained     repair body-missing at message 7: the file of 2790…989 is missing
        "#);
    }

    #[test]
    fn a_terminal_is_not_driven_by_what_a_peer_wrote() {
        let event = Event::Unknown(Unknown {
            name: "x\u{1b}[2J".into(),
            reason: String::new(),
            detail: "a\nb".into(),
        });
        let text = line(&Record::new(sample::moment(), "s\r\n", event));
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn a_program_reads_json_lines() {
        let record = Record::new(sample::moment(), "s-42", sample::every_event().swap_remove(4));
        insta::assert_snapshot!(json_line(&record), @r#"{"at":"2026-11-21T10:00:00Z","detail":{"face":"inbound","peer_ip":"127.0.0.1","peer_subject":"CN=mx1.chu.mssante.fr","recipient":"2790…989@patient.mssante.fr","sender":"medecin@chu.mssante.fr","stage":"rcpt","text":"no box 2790…989"},"event":"refused","reason":"box-unknown","sequence":0,"session":"s-42"}"#);
    }
}
