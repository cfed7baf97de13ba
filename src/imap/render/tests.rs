//! Tests of summaries and sections.

use proptest::prelude::*;

use super::*;
use crate::imap::check::check;
use crate::imap::{Facts, preview, searchable};
use crate::message::samples;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn envelope_of_a_usual_message() {
    let summary = summarise(
        b"Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nSubject: =?utf-8?q?R=C3=A9sultat?=\r\n de biologie\r\n\
          From: \"DUI Lilas\" <dui@ehpad-lilas.mssante.fr>\r\nTo: a@chu.mssante.fr, B <b@chu.mssante.fr>\r\n\
          Message-ID: <1@x>\r\n\r\nBonjour\r\n",
    );
    assert_eq!(
        text(&summary.envelope),
        "(\"Sat, 21 Nov 2026 10:00:00 +0100\" \"=?utf-8?q?R=C3=A9sultat?= de biologie\" \
         ((\"DUI Lilas\" NIL \"dui\" \"ehpad-lilas.mssante.fr\")) ((\"DUI Lilas\" NIL \"dui\" \"ehpad-lilas.mssante.fr\")) \
         ((\"DUI Lilas\" NIL \"dui\" \"ehpad-lilas.mssante.fr\")) \
         ((NIL NIL \"a\" \"chu.mssante.fr\")(\"B\" NIL \"b\" \"chu.mssante.fr\")) NIL NIL NIL \"<1@x>\")"
    );
    assert_eq!(
        text(&summary.body),
        "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 9 1)"
    );
    assert_eq!(
        text(&summary.body_structure),
        "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 9 1 NIL NIL NIL NIL)"
    );
}

#[test]
fn hostile_messages_have_an_envelope_that_parses() {
    for (message, expected) in [
        ("", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
        ("Subject:\r\n\r\n", "(NIL \"\" NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (
            "Subject: été\r\n\r\n",
            "(NIL {5}\r\nété NIL NIL NIL NIL NIL NIL NIL NIL)",
        ),
        (
            "Subject: a\"b\\c\r\n\r\n",
            "(NIL \"a\\\"b\\\\c\" NIL NIL NIL NIL NIL NIL NIL NIL)",
        ),
        ("Subject: a\0b\r\n\r\n", "(NIL \"a?b\" NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (
            "To: undisclosed-recipients:;\r\n\r\n",
            "(NIL NIL NIL NIL NIL ((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL)",
        ),
        (
            "From: root\r\nSender: \r\n\r\n",
            "(NIL NIL ((NIL NIL \"root\" \"\")) ((NIL NIL \"root\" \"\")) ((NIL NIL \"root\" \"\")) NIL NIL NIL NIL NIL)",
        ),
    ] {
        let summary = summarise(message.as_bytes());
        assert_eq!(text(&summary.envelope), expected, "{message:?}");
        check(message.as_bytes());
    }
}

#[test]
fn structures_that_broke_real_clients() {
    for (message, expected) in [
        // A multipart without any part: one empty text part, as BODYSTRUCTURE cannot say "none".
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n",
            "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL) \"MIXED\" (\"boundary\" \"b\") NIL NIL NIL)",
        ),
        // No boundary parameter.
        (
            "Content-Type: multipart/mixed\r\n\r\ntext\r\n",
            "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL) \"MIXED\" NIL NIL NIL NIL)",
        ),
        // No close delimiter; the line end before a delimiter is not the part's.
        (
            "Content-Type: multipart/alternative; boundary=\"b\"\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\ntwo\r\n",
            "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 3 0 NIL NIL NIL NIL)\
             (\"TEXT\" \"HTML\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 5 1 NIL NIL NIL NIL) \"ALTERNATIVE\" (\"boundary\" \"b\") NIL NIL NIL)",
        ),
        // Types that are no types.
        (
            "Content-Type: text\r\nContent-Transfer-Encoding: Quoted-Printable (yes)\r\n\r\nx",
            "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"QUOTED-PRINTABLE\" 1 0 NIL NIL NIL NIL)",
        ),
        // An attachment with a name in pieces (RFC 2231 §3), an 8-bit name, a language list.
        (
            "Content-Type: application/pdf;\r\n name=\"r\u{e9}.pdf\"\r\nContent-Disposition: attachment;\r\n filename*0*=utf-8''r%C3;\r\n filename*1*=%A9.pdf\r\n\
             Content-Language: fr, en\r\nContent-ID: <1@x>\r\nContent-Location: http://x/\r\n\r\nJVBERi0=\r\n",
            "(\"APPLICATION\" \"PDF\" (\"name\" {7}\r\nr\u{e9}.pdf) \"<1@x>\" NIL \"7BIT\" 10 NIL \
             (\"attachment\" (\"filename*\" \"utf-8''r%C3%A9.pdf\")) (\"fr\" \"en\") \"http://x/\")",
        ),
    ] {
        let summary = summarise(message.as_bytes());
        assert_eq!(text(&summary.body_structure), expected, "{message:?}");
        check(message.as_bytes());
    }
}

#[test]
fn a_delivery_report_shows_the_message_inside() {
    let report = b"From: <>\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
        --b\r\n\r\nUndelivered\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\nFrom: a@b.fr\r\n\r\nline\r\nline\r\n--b--\r\n";
    check(report);
    let summary = summarise(report);
    assert_eq!(
        text(&summary.body),
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 11 0)\
         (\"MESSAGE\" \"DELIVERY-STATUS\" NIL NIL NIL \"7BIT\" 23)\
         (\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 43 (NIL \"inside\" ((NIL NIL \"a\" \"b.fr\")) ((NIL NIL \"a\" \"b.fr\")) \
         ((NIL NIL \"a\" \"b.fr\")) NIL NIL NIL NIL NIL) (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 10 1) 4) \"REPORT\")"
    );
}

#[test]
fn a_digest_holds_messages_by_default() {
    let digest = b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: one\r\n\r\nx\r\n--b--\r\n";
    assert!(
        text(&summarise(digest).body).starts_with("((\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 17 (NIL \"one\" ")
    );
}

#[test]
fn a_usual_message_is_told_as_it_was_recorded() {
    let message = samples::usual();
    check(&message);
    let summary = summarise(&message);
    assert_eq!(
        text(&summary.envelope),
        "(\"Sun, 22 Nov 2026 10:00:00 +0100\" \"=?utf-8?Q?Synth=C3=A8se_d'essai,_sans_patient_r=C3=A9el?=\" \
         ((\"Foyer Lilas - DUI\" NIL \"dui\" \"ehpad-lilas.mssante.fr\")) ((\"Foyer Lilas - DUI\" NIL \"dui\" \"ehpad-lilas.mssante.fr\")) \
         ((NIL NIL \"foyer\" \"ehpad-lilas.mssante.fr\")) ((NIL NIL \"urgences\" \"chu.mssante.fr\")(\"Alix Test\" NIL \"alix\" \"chu.mssante.fr\")) \
         NIL NIL NIL \"<m1@ehpad-lilas.mssante.fr>\")"
    );
    assert_eq!(
        text(&summary.body_structure),
        "((\"TEXT\" \"PLAIN\" (\"charset\" \"utf-8\") NIL NIL \"QUOTED-PRINTABLE\" 48 2 NIL NIL NIL NIL)\
         (\"APPLICATION\" \"PDF\" (\"name\" \"20261122_Synthese_TEST_Alix.pdf\") NIL NIL \"BASE64\" 9086 NIL \
         (\"attachment\" (\"filename\" \"20261122_Synthese_TEST_Alix.pdf\")) NIL NIL) \"MIXED\" (\"boundary\" \"=_0123456789abcdef\") NIL NIL NIL)"
    );
}

#[test]
fn what_is_told_of_any_message_is_what_was_recorded() {
    let summaries = samples::any(4000).map(|message| {
        let told = summarise(&message);
        let mut in_pieces = Summariser::new();
        message.chunks(7).for_each(|piece| in_pieces.feed(piece));
        assert_eq!(in_pieces.finish(), told, "{}", message.escape_ascii());
        let head = told.header_bytes.to_le_bytes().to_vec();
        [head, told.envelope, told.body, told.body_structure, told.layout].join(&b'|')
    });
    let read = samples::any(4000).map(|message| {
        let shown = format!("{}|{:?}|", preview(&message), Facts::of(&message));
        [shown.into_bytes(), searchable(&message, 100_000).text].concat()
    });
    assert_eq!(
        (samples::digest(summaries), samples::digest(read)),
        (3_827_064_349, 1_671_504_423)
    );
}

#[test]
fn a_summary_stays_in_proportion_however_many_addresses_a_message_holds() {
    let crowd = |fields: usize| format!("From: {}\r\n", "a,".repeat(5_000)).repeat(fields);
    // One header of many fields, and many messages inside each other with a few.
    let wide = format!("{}\r\nx", crowd(300));
    let deep = format!("Content-Type: message/rfc822\r\n{}\r\n", crowd(3)).repeat(90) + "x";
    for message in [wide, deep] {
        let summary = summarise(message.as_bytes());
        for (what, bytes) in [
            ("envelope", &summary.envelope),
            ("body", &summary.body),
            ("structure", &summary.body_structure),
        ] {
            assert!(bytes.len() < 6 * 1024 * 1024, "{what}: {} bytes", bytes.len());
        }
        check(message.as_bytes());
    }
    // What people write is shown whole.
    let usual = format!(
        "Content-Type: message/rfc822\r\n\r\nTo: {}\r\n\r\nx",
        "a@b.fr, ".repeat(3_000)
    );
    let shown = text(&summarise(usual.as_bytes()).body);
    assert_eq!(shown.matches("\"b.fr\"").count(), 3_000);
}

proptest! {
    #[test]
    fn any_message_has_a_summary_that_a_client_can_parse(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("Content-Type: multipart/mixed; boundary=b\r\n".to_string()),
                Just("Content-Type: message/rfc822\r\n".to_string()),
                Just("Content-Type: message/global\r\n".to_string()),
                Just("Content-Transfer-Encoding: base64\r\n".to_string()),
                Just("Content-Transfer-Encoding: quoted-printable\r\n".to_string()),
                Just("Content-Disposition: attachment; filename*0=\"x\"; filename*1*=%\r\n".to_string()),
                Just("From: A (b) \"c\" <d@e>, f: g;\r\n".to_string()),
                Just("\r\n--b\r\n".to_string()),
                Just("\r\n--b--\r\n".to_string()),
                Just("\r\n".to_string()),
                Just("Content-Language: fr,,en\r\n".to_string()),
                "[ -~\\x00é]{0,12}",
                "Subject: [ -~é]{0,20}\r\n",
                "To: [ -~é]{0,20}\r\n",
            ],
            0..30,
        )
    ) {
        let message = pieces.concat();
        check(message.as_bytes());
    }
}

#[test]
fn a_global_message_shows_its_inside_only_where_the_grammar_has_a_place_for_it() {
    let message = "Content-Type: multipart/mixed; boundary=\"(\\\"\"\r\n\r\n--(\"\r\nContent-Type: message/global\r\n\r\n\
        Subject: \u{e9}\r\n\r\nx\r\n--(\"\r\nContent-Type: message/rfc822\r\n\r\nSubject: \"MESSAGE\" \"GLOBAL\"\r\n\r\ny\r\n--(\"--";
    let summary = summarise(message.as_bytes());
    let inside = "(NIL {2}\r\n\u{e9} NIL NIL NIL NIL NIL NIL NIL NIL) (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 1 0) 2";
    let with = format!("((\"MESSAGE\" \"GLOBAL\" NIL NIL NIL \"7BIT\" 16 {inside})");
    let without = "((\"MESSAGE\" \"GLOBAL\" NIL NIL NIL \"7BIT\" 16)";
    assert!(text(&summary.body).starts_with(&with), "{}", text(&summary.body));
    let shown = text(&without_global(&summary.body));
    assert_eq!(shown, text(&summary.body).replacen(&with, without, 1));
    let extended = text(&without_global(&summary.body_structure));
    assert!(
        extended
            .starts_with("((\"MESSAGE\" \"GLOBAL\" NIL NIL NIL \"7BIT\" 16 NIL NIL NIL NIL)(\"MESSAGE\" \"RFC822\""),
        "{extended}"
    );
    let usual = summarise(b"Subject: x\r\n\r\ny");
    assert!(matches!(without_global(&usual.body), Cow::Borrowed(_)));
}
