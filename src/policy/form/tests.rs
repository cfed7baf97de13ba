//! Every rule broken on its own, and messages that break none.

use super::*;
use crate::message::structure::Structure;

/// A letter that breaks nothing.
const GOOD: &str = "From: =?UTF-8?Q?Dr_Jeanne_BRIARD_EHPAD?= <jeanne@ehpad.mssante.fr>\r\nMessage-ID: <1@dui>\r\n\
    Subject: bonjour\r\nX-MSS-NIL: DEV935997\r\n\r\ntexte\r\n";

/// One with a document that breaks nothing either.
const DOCUMENT: &str = "From: DUI <jeanne@ehpad.mssante.fr>\r\nMessage-ID: <1@dui>\r\nX-MSS-NIL: DEV935997\r\n\
    X-MSS-INS: O\r\nX-MSS-CODECDA: 34112-3,PRESC-BIO\r\n\
    Subject: [Annule et remplace] =?UTF-8?Q?XDM/1.0/DDM+CR_d'examens_biologiques_VIAL_Paul_26/11/1978?=\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\r\ntexte\r\n\
    --b\r\nContent-Type: application/zip; name=\"IHE_XDM.zip\"\r\n\r\nAAAA\r\n--b--\r\n";

fn checked(message: &str, recipients: &[&str], is_personal: bool) -> Vec<&'static str> {
    let header = Header::scan(message.as_bytes());
    let mut structure = Structure::new(20);
    structure.feed(message.as_bytes());
    let recipients: Vec<Address> = recipients.iter().map(|text| text.parse().unwrap()).collect();
    let authors = Authors::read(&header).unwrap();
    let submitted = Submitted {
        header: &header,
        class: Class::of_header(&header),
        parts: structure.finish(),
        authors: &authors,
        recipients: &recipients,
        is_personal,
    };
    let found = findings(&submitted, |domain| domain.as_str().ends_with("mssante.fr"));
    found.iter().map(|rule| rule.id).collect()
}

fn found(message: &str) -> Vec<&'static str> {
    checked(message, &["a@chu.mssante.fr"], false)
}

#[test]
fn good_messages_have_no_finding() {
    for message in [GOOD, DOCUMENT] {
        assert!(found(message).is_empty(), "{:?}", found(message));
    }
    assert!(checked(GOOD, &["a@chu.mssante.fr"], true).is_empty());
    let patient = GOOD.replace("Subject", "X-MSS-MES: FIN\r\nSubject");
    assert!(checked(&patient, &["279035121518989@patient.mssante.fr"], false).is_empty());
    let answer = GOOD.replace(
        "Subject: ",
        "In-Reply-To: <0@x>\r\nReferences: <0@x>\r\n <9@y>\r\nSubject: RE: ",
    );
    assert!(found(&answer).is_empty());
    let several = DOCUMENT.replace("CR_d'examens_biologiques", "2_documents");
    assert!(found(&several).is_empty());
}

/// A finding, and a message that has it and no other.
fn broken() -> Vec<(&'static str, String)> {
    let letter = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1)
    };
    let document = |from: &str, to: &str| {
        assert!(DOCUMENT.contains(from), "{from}");
        DOCUMENT.replacen(from, to, 1)
    };
    vec![
        ("nil-missing", letter("X-MSS-NIL: DEV935997\r\n", "")),
        ("nil-malformed", letter("DEV935997", "my product")),
        ("codecda-missing", document("X-MSS-CODECDA: 34112-3,PRESC-BIO\r\n", "")),
        (
            "codecda-unexpected",
            letter("Subject", "X-MSS-CODECDA: 34112-3\r\nSubject"),
        ),
        ("codecda-malformed", document("34112-3,PRESC-BIO", "34112-3, PRESC-BIO")),
        ("ins-missing", document("X-MSS-INS: O\r\n", "")),
        ("ins-unexpected", letter("Subject", "X-MSS-INS: N\r\nSubject")),
        ("ins-malformed", document("X-MSS-INS: O", "X-MSS-INS: oui")),
        ("message-id-missing", letter("Message-ID: <1@dui>\r\n", "")),
        ("message-id-malformed", letter("<1@dui>", "1@dui")),
        ("answer-without-thread", letter("bonjour", "RE: bonjour")),
        (
            "thread-malformed",
            letter("Subject", "In-Reply-To: your mail of today\r\nSubject"),
        ),
        (
            "charset-other",
            letter("Subject", "Content-Type: text/plain; charset=iso-8859-1\r\nSubject"),
        ),
        (
            "body-type",
            letter("Subject", "Content-Type: text/html; charset=utf-8\r\nSubject"),
        ),
        ("subject-without-marker", document("XDM/1.0/DDM+", "")),
        ("subject-malformed", document("26/11/1978", "26/11/78")),
        ("subject-malformed", document("_VIAL_Paul", "")),
        ("subject-without-document", letter("bonjour", "XDM/1.0/DDM+x VIAL Paul")),
        ("label-missing", letter("=?UTF-8?Q?Dr_Jeanne_BRIARD_EHPAD?= ", "")),
        (
            "sender-missing",
            letter(
                "<jeanne@ehpad.mssante.fr>",
                "<jeanne@ehpad.mssante.fr>, X <x@ehpad.mssante.fr>",
            ),
        ),
        (
            "reply-outside",
            letter("Subject", "Reply-To: me@gmail.example\r\nSubject"),
        ),
        (
            "receipt-malformed",
            letter("Subject", "Return-Receipt-To: yes please\r\nSubject"),
        ),
    ]
}

#[test]
fn every_rule_is_broken_by_something_and_by_it_alone() {
    let cases = broken();
    let letter = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    let mut broken: Vec<&str> = cases.iter().map(|(id, _)| *id).collect();
    for (id, message) in &cases {
        assert_eq!(found(message), [*id]);
    }
    let patient = letter("Subject", "X-MSS-MES: fin\r\nSubject");
    assert_eq!(
        checked(&patient, &["279035121518989@patient.mssante.fr"], false),
        ["mes-malformed"]
    );
    let colleague = letter("Subject", "X-MSS-MES: FIN\r\nSubject");
    assert_eq!(found(&colleague), ["mes-without-patient"]);
    let nickname = letter("=?UTF-8?Q?Dr_Jeanne_BRIARD_EHPAD?=", "jeannot");
    assert_eq!(checked(&nickname, &["a@chu.mssante.fr"], true), ["label-malformed"]);
    assert!(found(&nickname).is_empty(), "a service may call itself what it likes");
    broken.extend(["mes-malformed", "mes-without-patient", "label-malformed"]);
    for rule in RULES {
        assert!(broken.contains(&rule.id), "no test breaks {}", rule.id);
    }
}

#[test]
fn a_field_that_stands_twice_is_found() {
    let twice = GOOD.replace("X-MSS-NIL", "X-MSS-NIL: DEV1\r\nX-MSS-NIL");
    assert_eq!(found(&twice), ["nil-malformed"]);
    let twice = DOCUMENT.replace("X-MSS-INS", "x-mss-ins: N\r\nX-MSS-INS");
    assert_eq!(found(&twice), ["ins-malformed"]);
}

#[test]
fn reports_and_notifications_are_not_letters() {
    let mdn = GOOD.replace(
        "Subject",
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\nSubject",
    );
    assert!(found(&mdn).is_empty());
    assert_eq!(found(&mdn.replace("X-MSS-NIL: DEV935997\r\n", "")), ["nil-missing"]);
}

#[test]
fn an_attached_message_is_not_judged() {
    let forwarded = format!(
        "From: DUI <jeanne@ehpad.mssante.fr>\r\nMessage-ID: <2@dui>\r\nX-MSS-NIL: DEV1\r\nSubject: fwd\r\n\
         Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nvoir\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n{}--o--\r\n",
        DOCUMENT.replace("utf-8", "iso-8859-15")
    );
    assert!(found(&forwarded).is_empty(), "{:?}", found(&forwarded));
}

#[test]
fn a_refusal_names_the_finding_and_the_requirement_and_nothing_of_the_message() {
    let refusal = refusal(&RULES[0]);
    assert_eq!(refusal.reason, Reason::MessageForm);
    assert_eq!(
        refusal.text,
        "no X-MSS-NIL field: write the product number of the software, such as DEV935997 (ECO.2.4.3: nil-missing)"
    );
    for rule in RULES {
        assert!(rule.text.is_ascii() && rule.text.len() <= 160, "{}", rule.id);
    }
}

#[test]
fn the_page_says_what_the_table_says() {
    let page = include_str!("../../../docs/submission.md");
    let rows = |line: &&str| line.starts_with("| `") && line.contains("| ECO.");
    assert_eq!(
        page.lines().filter(rows).count(),
        RULES.len(),
        "one row per rule and no other"
    );
    for rule in RULES {
        let about = match rule.scope {
            Scope::Every => "every message",
            Scope::Letters => "letters",
        };
        let row = format!("| `{}` | {} | {about} | {} |", rule.id, rule.requirement, rule.text);
        assert!(page.contains(&row), "docs/submission.md lacks {row}");
    }
}
