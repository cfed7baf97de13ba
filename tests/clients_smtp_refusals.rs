//! What the submission faces refuse: every refusal tells its reason and its session, and the journal keeps both.

#![cfg(test)]

mod common;

use common::{Program, Sandbox, codes, dialogue, hex, letter};
use serde_json::{Value, json};

const DUI: &str = "noreply@ehpad-lilas.mssante.fr";
const ASSOCIATION: &str = "dui@lilas.mssante.fr";
const NURSE: &str = "soins@ehpad-lilas.mssante.fr";
const HOSPITAL: &str = "urgences@chu-demo.mssante.fr";

/// The last reply of a dialogue is this refusal; those before it are in order.
#[track_caller]
fn refused_last(sandbox: &Sandbox, replies: &[String], code: &str, reason: &str) {
    let (last, before) = replies.split_last().unwrap();
    assert!(before.iter().all(|reply| reply.starts_with('2')), "{replies:?}");
    assert!(last.starts_with(code), "{replies:?}");
    sandbox.assert_refused(last, reason);
}

/// A person's dialogue over STARTTLS that must end with a refusal.
#[track_caller]
fn nurse_is_refused(steps: &[Value], code: &str, reason: &str) {
    let sandbox = Sandbox::shared();
    let steps = [&[json!(["AUTH", "PLAIN", NURSE, "sandbox"])], steps].concat();
    let replies = dialogue(&sandbox, "starttls", None, &json!(steps));
    assert_eq!(replies.len(), steps.len());
    refused_last(&sandbox, &replies, code, reason);
}

#[test]
fn a_certificate_opens_only_the_boxes_it_is_bound_to() {
    let sandbox = Sandbox::shared();
    let external = |login, authzid| {
        dialogue(
            &sandbox,
            "implicit",
            Some(login),
            &json!([["AUTH", "EXTERNAL", authzid]]),
        )
    };
    for (login, authzid) in [
        ("dui-ehpad", DUI),
        ("dui-ehpad", ""),
        ("dui-lilas", DUI),
        ("dui-lilas", ASSOCIATION),
    ] {
        let replies = external(login, authzid);
        assert!(
            replies[0].starts_with("235 2.7.0"),
            "{login} as {authzid:?}: {replies:?}"
        );
    }
    for (login, authzid, reason) in [
        ("dui-ehpad", ASSOCIATION, "certificate-not-bound"),
        ("dui-ehpad", NURSE, "certificate-not-bound"),
        ("dui-ehpad", "nobody", "certificate-not-bound"),
        ("dui-lilas", NURSE, "certificate-not-bound"),
        ("dui-lilas", "", "box-ambiguous"),
        // Another operator's software, with a certificate of the same authority.
        ("dpi", "dpi@chu-demo.mssante.fr", "certificate-not-bound"),
        ("dpi", DUI, "certificate-not-bound"),
        ("dpi", "", "certificate-not-bound"),
    ] {
        refused_last(&sandbox, &external(login, authzid), "535 5.7.8", reason);
    }
}

#[test]
fn external_without_a_certificate_is_not_offered_and_says_what_is_missing() {
    let sandbox = Sandbox::shared();
    let steps = json!([["SAY", "EHLO", "dui.example"], ["AUTH", "EXTERNAL", DUI]]);
    for tls in ["starttls", "implicit"] {
        let replies = dialogue(&sandbox, tls, None, &steps);
        assert!(!replies[0].contains("EXTERNAL"), "{replies:?}");
        refused_last(&sandbox, &replies, "535 5.7.8", "certificate-missing");
    }
    let with = dialogue(
        &sandbox,
        "starttls",
        Some("dui-ehpad"),
        &json!([["SAY", "EHLO", "dui.example"]]),
    );
    assert!(with[0].contains("EXTERNAL"), "{with:?}");
}

#[test]
fn curl_is_told_that_its_certificate_is_bound_to_another_box() {
    let sandbox = Sandbox::shared();
    for (login, user, reason) in [
        ("dui-ehpad", ASSOCIATION, "certificate-not-bound"),
        ("dpi", DUI, "certificate-not-bound"),
    ] {
        let refused = Program::new("curl")
            .args(["--silent", "--show-error", "--verbose"])
            .args([
                "--url",
                &format!("smtps://127.0.0.1:{}", sandbox.port("lilas", "submissions")),
            ])
            .args(["--cacert", sandbox.authority()])
            .args([
                "--cert",
                sandbox.login(login, "certificate"),
                "--key",
                sandbox.login(login, "key"),
            ])
            .args(["--login-options", "AUTH=EXTERNAL", "--user", &format!("{user}:")])
            .args(["--mail-from", user, "--mail-rcpt", HOSPITAL, "--upload-file", "-"])
            .input(letter(user, HOSPITAL, "refus"))
            .run()
            .assert_failure();
        sandbox.assert_refused(&refused.stderr, reason);
    }
}

#[test]
fn a_certificate_of_another_authority_does_not_log_in() {
    let sandbox = Sandbox::shared();
    let files = common::folder();
    let foreign = common::Authority::new(files.path()).issue("dui.example");
    let task = json!({
        "port": sandbox.port("lilas", "submissions"), "tls": "implicit", "ca": sandbox.authority(),
        "certificate": foreign.certificate, "key": foreign.key,
        "steps": [["AUTH", "EXTERNAL", DUI], ["AUTH", "PLAIN", NURSE, "sandbox"]],
    });
    let finished = Sandbox::python("smtp.py", &task).assert_success();
    let replies: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
    refused_last(&sandbox, &replies[..1], "535 5.7.8", "certificate-untrusted");
    assert!(replies[1].starts_with("235"), "{replies:?}");
}

#[test]
fn a_wrong_password_and_a_wrong_user_get_the_same_answer() {
    let sandbox = Sandbox::shared();
    for (mechanism, user) in [
        ("PLAIN", NURSE),
        ("LOGIN", NURSE),
        ("PLAIN", "personne@lilas.mssante.fr"),
        ("PLAIN", DUI),
    ] {
        let replies = dialogue(&sandbox, "starttls", None, &json!([["AUTH", mechanism, user, "faux"]]));
        refused_last(
            &sandbox,
            &replies,
            "535 5.7.8 user name or password is wrong",
            "credentials-invalid",
        );
    }
}

#[test]
fn nothing_but_starttls_is_possible_in_clear() {
    let sandbox = Sandbox::shared();
    let steps = json!([
        ["SAY", "EHLO", "dui.example"],
        ["SAY", "AUTH", "PLAIN AGEAYg=="],
        ["SAY", "AUTH", "EXTERNAL ="],
        ["SAY", format!("MAIL FROM:<{NURSE}>")],
        ["SAY", format!("RCPT TO:<{HOSPITAL}>")],
        ["SAY", "NOOP"],
    ]);
    let replies = dialogue(&sandbox, "none", None, &steps);
    assert_eq!(codes(&replies), ["250", "530", "530", "530", "530", "250"]);
    assert!(
        replies[0].contains("STARTTLS") && !replies[0].contains("AUTH"),
        "{replies:?}"
    );
    for reply in &replies[1..5] {
        sandbox.assert_refused(reply, "tls-required");
    }
}

#[test]
fn mail_before_a_login_is_refused() {
    let sandbox = Sandbox::shared();
    for tls in ["starttls", "implicit"] {
        let steps = json!([["SAY", "EHLO", "dui.example"], ["SAY", format!("MAIL FROM:<{NURSE}>")]]);
        let replies = dialogue(&sandbox, tls, Some("dui-ehpad"), &steps);
        refused_last(&sandbox, &replies, "530 5.7.0", "authentication-required");
    }
}

#[test]
fn the_envelope_sender_must_be_a_box_of_the_login() {
    for sender in [DUI, "armand.modelle@ehpad-lilas.mssante.fr", HOSPITAL] {
        let steps = [json!(["SAY", format!("MAIL FROM:<{sender}>")])];
        nurse_is_refused(&steps, "553 5.7.1", "sender-not-allowed");
    }
    let sandbox = Sandbox::shared();
    let steps = json!([["AUTH", "EXTERNAL", ASSOCIATION], ["SAY", format!("MAIL FROM:<{DUI}>")]]);
    let replies = dialogue(&sandbox, "starttls", Some("dui-lilas"), &steps);
    refused_last(&sandbox, &replies, "553 5.7.1", "sender-not-allowed");
}

#[test]
fn a_person_may_send_from_the_boxes_of_the_service() {
    let sandbox = Sandbox::shared();
    let steps = json!([
        ["AUTH", "PLAIN", "armand.modelle@ehpad-lilas.mssante.fr", "sandbox"],
        [
            "SEND",
            NURSE,
            [HOSPITAL],
            hex(letter(NURSE, HOSPITAL, "pour le service").as_bytes())
        ],
    ]);
    assert_eq!(codes(&dialogue(&sandbox, "starttls", None, &steps)), ["235", "250"]);
}

#[test]
fn the_from_field_must_be_a_box_of_the_login() {
    for from in [DUI, HOSPITAL, "Soins <personne@ehpad-lilas.mssante.fr>"] {
        let steps = [json!([
            "SEND",
            NURSE,
            [HOSPITAL],
            hex(letter(from, HOSPITAL, "pas moi").as_bytes())
        ])];
        nurse_is_refused(&steps, "550 5.7.1", "from-not-allowed");
    }
    let without = hex(b"Subject: personne\r\n\r\nBonjour\r\n");
    nurse_is_refused(
        &[json!(["SEND", NURSE, [HOSPITAL], without])],
        "550 5.7.1",
        "from-not-allowed",
    );
}

#[test]
fn a_null_sender_is_for_notifications_only() {
    let sending = hex(letter(NURSE, HOSPITAL, "lettre").as_bytes());
    nurse_is_refused(
        &[json!(["SEND", "", [HOSPITAL], sending])],
        "553 5.7.1",
        "sender-not-allowed",
    );
}

#[test]
fn a_recipient_outside_the_trust_space_is_refused_at_once() {
    for recipient in ["quelquun@example.org", "urgences@chu.mssante.fr", "a@mssante.fr"] {
        let steps = [
            json!(["SAY", format!("MAIL FROM:<{NURSE}>")]),
            json!(["SAY", format!("RCPT TO:<{recipient}>")]),
        ];
        nurse_is_refused(&steps, "550 5.7.1", "recipient-domain-unlisted");
    }
}

#[test]
fn an_unknown_box_of_ours_is_refused_and_the_others_still_get_the_message() {
    let sandbox = Sandbox::shared();
    let steps = [
        json!(["SAY", format!("MAIL FROM:<{NURSE}>")]),
        json!(["SAY", format!("RCPT TO:<{HOSPITAL}>")]),
        json!(["SAY", "RCPT TO:<personne@ehpad-lilas.mssante.fr>"]),
    ];
    nurse_is_refused(&steps, "550 5.1.1", "box-unknown");
    let all = [
        HOSPITAL,
        "personne@ehpad-lilas.mssante.fr",
        "soins@ssiad-lilas.mssante.fr",
    ];
    let message = hex(letter(NURSE, "plusieurs:;", "un inconnu parmi").as_bytes());
    let steps = json!([["AUTH", "PLAIN", NURSE, "sandbox"], ["SEND", NURSE, all, message]]);
    let replies = dialogue(&sandbox, "starttls", None, &steps);
    // smtplib returns the recipients that were refused; the message went to the others.
    sandbox.assert_refused(&replies[1], "box-unknown");
    let found = common::received(&sandbox, "lilas", "soins@ssiad-lilas.mssante.fr", "un inconnu parmi");
    assert_eq!(found.len(), 1);
}

#[test]
fn a_message_that_breaks_the_format_is_refused() {
    let bare = format!("From: {NURSE}\nSubject: fins de ligne nues\n\nBonjour\n");
    let utf8 = format!("From: {NURSE}\r\nSubject: \u{e9}t\u{e9}\r\n\r\nBonjour\r\n");
    let twice = format!("From: {NURSE}\r\nFrom: {NURSE}\r\n\r\nBonjour\r\n");
    for message in [bare, utf8, twice] {
        let steps = [json!(["SEND", NURSE, [HOSPITAL], hex(message.as_bytes())])];
        nurse_is_refused(&steps, "554 5.6.0", "message-malformed");
    }
}

#[test]
fn a_hundred_recipients_are_taken_and_one_beyond_the_limit_is_asked_to_come_later() {
    let sandbox = Sandbox::shared();
    let mut steps = vec![
        json!(["AUTH", "PLAIN", NURSE, "sandbox"]),
        json!(["SAY", format!("MAIL FROM:<{NURSE}>")]),
    ];
    steps.extend((0..1_001).map(|number| json!(["SAY", format!("RCPT TO:<box{number}@chu-demo.mssante.fr>")])));
    let replies = dialogue(&sandbox, "starttls", None, &json!(steps));
    let taken = replies.iter().skip(2).take_while(|reply| reply.starts_with("250"));
    // RFC 5321 §4.5.3.1.8
    assert!(taken.count() >= 100);
    assert!(replies[1_002].starts_with("452 4.5.3"), "{}", replies[1_002]);
    sandbox.assert_refused(&replies[1_002], "too-many-recipients");
}
