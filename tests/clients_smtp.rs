//! Mail handed in with software nobody here wrote: curl, openssl, swaks and Python's smtplib, as certificates and as persons.

#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Finished, Program, Sandbox, codes, dialogue, hex, letter, received, received_by, wait_until};
use serde_json::{Value, json};

const DUI: &str = "noreply@ehpad-lilas.mssante.fr";
const NURSE: &str = "soins@ehpad-lilas.mssante.fr";
const HOSPITAL: &str = "urgences@chu-demo.mssante.fr";
/// From the 250 of one operator to the inbox of another.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

/// Waits for the only message with `mark` at the hospital.
#[track_caller]
fn arrives(sandbox: &Sandbox, mark: &str) -> String {
    let mut messages = wait_until(mark, DELIVERY_LIMIT, || {
        Some(received(sandbox, "chu", HOSPITAL, mark)).filter(|found| !found.is_empty())
    });
    assert_eq!(messages.len(), 1, "{mark}");
    String::from_utf8_lossy(&messages.remove(0)).into_owned()
}

/// curl as the DUI, with the options of a test.
fn curl(sandbox: &Sandbox, url: &str, subject: &str) -> Program {
    Program::new("curl")
        .args(["--silent", "--show-error", "--verbose", "--ssl-reqd", "--url", url])
        .args(["--cacert", sandbox.authority()])
        .args(["--cert", sandbox.login("dui-ehpad", "certificate")])
        .args(["--key", sandbox.login("dui-ehpad", "key")])
        .args(["--login-options", "AUTH=EXTERNAL"])
        .args(["--mail-from", DUI, "--mail-rcpt", HOSPITAL, "--upload-file", "-"])
        .input(letter(DUI, HOSPITAL, subject))
}

#[test]
fn curl_sends_as_the_dui_over_starttls_and_over_implicit_tls() {
    let sandbox = Sandbox::shared();
    for (scheme, face) in [("smtp", "submission"), ("smtps", "submissions")] {
        let url = format!("{scheme}://127.0.0.1:{}/dui.example", sandbox.port("lilas", face));
        let subject = format!("curl par {scheme}");
        let sent = curl(&sandbox, &url, &subject)
            .args(["--user", &format!("{DUI}:")])
            .run()
            .assert_success();
        assert!(sent.text().contains("AUTH EXTERNAL"), "{sent:?}");
        let message = arrives(&sandbox, &subject);
        assert!(
            message.ends_with("\r\n\r\nBonjour,\r\n.\r\n..deux points\r\n"),
            "{message}"
        );
    }
}

/// swaks as a person of the EHPAD.
fn swaks(sandbox: &Sandbox, words: &[&str]) -> Finished {
    Program::new("swaks")
        .args(["--server", "127.0.0.1", "--ehlo", "poste.example"])
        .args(["--tls-verify", "--tls-ca-path", sandbox.authority()])
        .args(["--auth-user", NURSE, "--from", NURSE, "--to", HOSPITAL])
        .args(words)
        .run()
}

#[test]
fn swaks_sends_as_a_person_with_plain_and_login() {
    let sandbox = Sandbox::shared();
    for (tls, face) in [("--tls", "submission"), ("--tls-on-connect", "submissions")] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let port = sandbox.port("lilas", face).to_string();
            let subject = format!("Subject: swaks {mechanism} {face}.");
            let words = ["--port", &port, tls, "--auth", mechanism, "--auth-password", "sandbox"];
            let sent = swaks(&sandbox, &[&words[..], &["--header", &subject]].concat()).assert_success();
            assert!(sent.stdout.contains(&format!("~> AUTH {mechanism}")), "{sent:?}");
            arrives(&sandbox, &subject);

            let wrong = ["--port", &port, tls, "--auth", mechanism, "--auth-password", "autre"];
            let refused = swaks(&sandbox, &wrong).assert_failure();
            let record = sandbox.assert_refused(&refused.stdout, "credentials-invalid");
            assert_eq!(record["detail"]["mechanism"], mechanism);
        }
    }
}

#[test]
fn smtplib_logs_in_with_and_without_an_initial_response() {
    let sandbox = Sandbox::shared();
    for (tls, certificate) in [("starttls", None), ("implicit", None), ("implicit", Some("dui-lilas"))] {
        for initial_response in [true, false] {
            for mechanism in ["PLAIN", "LOGIN"] {
                let steps = json!([["AUTH", mechanism, NURSE, "sandbox", initial_response]]);
                let replies = dialogue(&sandbox, tls, certificate, &steps);
                assert!(replies[0].starts_with("235 2.7.0"), "{replies:?}");
            }
        }
    }
    for authzid in [DUI, ""] {
        for initial_response in [true, false] {
            let steps = json!([["AUTH", "EXTERNAL", authzid, "", initial_response]]);
            let replies = dialogue(&sandbox, "starttls", Some("dui-ehpad"), &steps);
            assert!(replies[0].starts_with("235 2.7.0"), "{replies:?}");
        }
    }
}

#[test]
fn smtplib_sends_8_bit_text_as_it_is() {
    let sandbox = Sandbox::shared();
    let mut message =
        format!("From: {NURSE}\r\nTo: {HOSPITAL}\r\nSubject: huit bits\r\nMIME-Version: 1.0\r\n").into_bytes();
    message.extend(b"Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    let body = b"\xC9tat g\xE9n\xE9ral : \xFF\x80\x01\r\n.\r\n..\r\n".to_vec();
    message.extend(&body);
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        ["SEND", NURSE, [HOSPITAL], hex(&message), ["BODY=8BITMIME"]],
    ]);
    assert_eq!(codes(&dialogue(&sandbox, "starttls", None, &steps)), ["235", "250"]);
    arrives(&sandbox, "Subject: huit bits");
    let stored = received(&sandbox, "chu", HOSPITAL, "Subject: huit bits").remove(0);
    assert!(stored.ends_with(&[b"\r\n\r\n", &body[..]].concat()));
}

#[test]
fn one_message_reaches_thirty_recipients_of_every_operator() {
    let sandbox = Sandbox::shared();
    let open = |login: &&Value| login["kind"] == "password" && login["name"] != "ANNE FERMEE";
    let boxes: Vec<(&str, &str)> = sandbox
        .logins()
        .iter()
        .filter(open)
        .map(|login| (login["operator"].as_str().unwrap(), login["user"].as_str().unwrap()))
        .rev()
        .take(30)
        .collect();
    assert_eq!(boxes.len(), 30);
    let recipients: Vec<&str> = boxes.iter().map(|(_, user)| *user).collect();
    let message = letter(NURSE, "plusieurs:;", "trente destinataires");
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        ["SEND", NURSE, recipients, hex(message.as_bytes())],
    ]);
    assert_eq!(codes(&dialogue(&sandbox, "implicit", None, &steps)), ["235", "250"]);
    wait_until("everybody has it", DELIVERY_LIMIT, || {
        let counts: Vec<usize> = received_by(&sandbox, &boxes, "trente destinataires")
            .iter()
            .map(Vec::len)
            .collect();
        assert!(counts.iter().all(|count| *count <= 1), "{counts:?}");
        (counts == [1; 30]).then_some(())
    });
}

#[test]
fn five_megabytes_pass_and_forty_are_refused_before_they_are_sent() {
    let sandbox = Sandbox::shared();
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        ["ATTACH", NURSE, [HOSPITAL], "cinq megaoctets", 5_000_000],
        ["ATTACH", NURSE, [HOSPITAL], "quarante megaoctets", 29_500_000],
        ["SAY", "NOOP"],
    ]);
    let replies = dialogue(&sandbox, "starttls", None, &steps);
    assert_eq!(codes(&replies), ["235", "250", "552", "250"]);
    sandbox.assert_refused(&replies[2], "message-too-large");
    let message = arrives(&sandbox, "Subject: cinq megaoctets");
    // RFC 2045 §6.8: four characters for three bytes, in lines of 76.
    assert!(message.len() > 5_000_000 / 3 * 4, "{}", message.len());
}

#[test]
fn a_message_larger_than_it_said_is_refused_after_its_data() {
    let sandbox = Sandbox::shared();
    let large = format!(
        "{}{}",
        letter(NURSE, HOSPITAL, "sans SIZE"),
        format!("{}\r\n", "x".repeat(70)).repeat(380_000)
    );
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        ["SAY", format!("MAIL FROM:<{NURSE}> SIZE=1000")],
        ["SAY", format!("RCPT TO:<{HOSPITAL}>")],
        ["DATA", large],
        [
            "SEND",
            NURSE,
            [HOSPITAL],
            hex(letter(NURSE, HOSPITAL, "apres le gros").as_bytes())
        ],
    ]);
    let replies = dialogue(&sandbox, "starttls", None, &steps);
    assert_eq!(codes(&replies), ["235", "250", "250", "552", "250"]);
    sandbox.assert_refused(&replies[3], "message-too-large");
    arrives(&sandbox, "Subject: apres le gros");
}
