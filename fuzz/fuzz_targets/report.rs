//! Delivery reports about hostile originals: whatever the message, the reply of a peer and the names say, the report is a message of three
//! parts that says what it should, once for each recipient.

#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use vaguemestre::message::dsn::{Action, Diagnostic, Original, RecipientReport, Report, build};
use vaguemestre::message::structure::Structure;
use vaguemestre::message::{Class, Header};

fuzz_target!(|input: (&[u8], &str, &str, &str, u8)| {
    let (message, reply, original, envelope, choice) = input;
    let at: Timestamp = "2026-11-21T10:00:00Z".parse().expect("a time");
    let actions = [Action::Delivered, Action::Relayed, Action::Delayed, Action::Failed];
    let recipients: Vec<RecipientReport> = (0..=choice % 3)
        .map(|number| RecipientReport {
            original_recipient: Some(original.to_owned()),
            final_recipient: format!("a{number}@b.fr").parse().expect("an address"),
            action: actions[usize::from(choice / 3) % actions.len()],
            status: reply.to_owned(),
            remote_host: Some(original.to_owned()),
            diagnostic: Some(if choice & 64 == 0 {
                Diagnostic::Smtp(reply.to_owned())
            } else {
                Diagnostic::Local(reply.to_owned())
            }),
            last_attempt: Some(at),
            retry_until: Some(at),
        })
        .collect();
    let report = build(&Report {
        host: &"mx.b.fr".parse().expect("a domain"),
        to: &"dui@a.fr".parse().expect("an address"),
        id: envelope,
        at,
        arrived: at,
        envelope_id: Some(envelope),
        recipients: &recipients,
        original: if choice & 128 == 0 { Original::Headers(message) } else { Original::Full(message) },
    });
    let header = Header::scan(&report);
    assert_eq!(Class::of_header(&header), Class::Dsn);
    assert_eq!(header.all("Auto-Submitted").count(), 1);
    assert_eq!(header.all("From").count(), 1);
    let mut structure = Structure::new(100);
    structure.feed(&report);
    let parts = structure.finish();
    let own: Vec<&str> = parts.iter().filter(|part| part.depth == 1).map(|part| part.content_type.as_str()).collect();
    assert_eq!(own.len(), 3, "{own:?}");
    assert_eq!(own[0], "text/plain");
    let text = String::from_utf8_lossy(&report);
    let status = text.split("delivery-status\r\nContent-Transfer-Encoding").nth(1).expect("the part for software");
    let status = status.split("\r\n--").next().unwrap_or_default();
    assert_eq!(status.matches("\r\nAction: ").count(), recipients.len());
    assert_eq!(status.matches("\r\nFinal-Recipient: ").count(), recipients.len());
});
