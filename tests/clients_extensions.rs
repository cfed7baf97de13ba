//! Service extensions as software nobody here wrote uses them: reports wished for with DSN, messages in chunks, addresses and headers in
//! UTF-8, TLS required all the way.

#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Program, Sandbox, codes, dialogue, hex, letter, received, wait_until};
use serde_json::{Value, json};

const NURSE: &str = "soins@ehpad-lilas.mssante.fr";
const HOSPITAL: &str = "urgences@chu-demo.mssante.fr";
/// Nobody at an operator that exists: the submission takes it, the hospital refuses it.
const NOBODY: &str = "inconnu@chu-demo.mssante.fr";
/// From a 250 to the inbox of another operator, or to the report.
const LIMIT: Duration = Duration::from_secs(30);

#[track_caller]
fn arrives(sandbox: &Sandbox, (operator, user): (&str, &str), mark: &str) -> String {
    let messages = wait_until(mark, LIMIT, || {
        Some(received(sandbox, operator, user, mark)).filter(|found| !found.is_empty())
    });
    assert_eq!(messages.len(), 1, "{mark}");
    String::from_utf8_lossy(&messages[0]).into_owned()
}

/// The report in the nurse's box that has `mark`, checked to be one about `NOBODY`.
#[track_caller]
fn failure_report(sandbox: &Sandbox, mark: &str) -> String {
    let report = arrives(sandbox, ("lilas", NURSE), mark);
    assert!(report.contains("Action: failed"), "{report}");
    assert!(report.starts_with("Return-Path: <>"), "{report}");
    report
}

/// Runs nodemailer with a mail of the nurse.
fn nodemailer(sandbox: &Sandbox, tls: &str, mechanism: &str, mail: Value) -> Value {
    let face = if tls == "implicit" { "submissions" } else { "submission" };
    let task = json!({
        "port": sandbox.port("lilas", face), "tls": tls, "ca": sandbox.authority(), "mechanism": mechanism,
        "user": NURSE, "password": "sandbox", "mail": mail,
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/nodemailer.js");
    let ran = Program::new("node")
        .arg(script)
        // Where Debian keeps modules, for a node of any origin.
        .env("NODE_PATH", "/usr/share/nodejs")
        .input(task.to_string())
        .run()
        .assert_success();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// msmtp as the nurse.
fn msmtp(sandbox: &Sandbox, (tls, mechanism): (&str, &str), words: &[&str], message: String) -> common::Finished {
    let (face, starttls) = if tls == "implicit" {
        ("submissions", "off")
    } else {
        ("submission", "on")
    };
    Program::new("msmtp")
        .args([
            "--host=localhost",
            "--tls=on",
            "--auto-from=off",
            "--passwordeval=echo sandbox",
        ])
        .arg(format!("--port={}", sandbox.port("lilas", face)))
        .arg(format!("--tls-starttls={starttls}"))
        .arg(format!("--tls-trust-file={}", sandbox.authority()))
        .args([
            format!("--auth={mechanism}"),
            format!("--user={NURSE}"),
            format!("--from={NURSE}"),
        ])
        .args(words)
        .input(message)
        .run()
}

#[test]
fn both_faces_offer_every_extension_inside_tls() {
    let sandbox = Sandbox::shared();
    let offer = dialogue(&sandbox, "starttls", None, &json!([["SAY", "EHLO", "poste.example"]])).remove(0);
    let hospital = common::Peer {
        port: sandbox.port("lilas", "smtp"),
        authority: sandbox.authority().into(),
        certificate: Some(sandbox.space().certificate("chu", "mx1.chu.localhost")),
    };
    let peer = hospital.offer(HOSPITAL, &[NURSE], &letter(HOSPITAL, NURSE, "offre"));
    peer.assert_accepted();
    let told: Vec<&str> = peer
        .0
        .iter()
        .filter(|(stage, _)| stage == "ehlo")
        .map(|(_, text)| text.as_str())
        .collect();
    assert!(
        !told[0].contains("REQUIRETLS") && told[0].contains("STARTTLS"),
        "{told:?}"
    );
    for keyword in [
        "PIPELINING",
        "SIZE",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "SMTPUTF8",
        "DSN",
        "REQUIRETLS",
        "LIMITS RCPTMAX=100",
    ] {
        assert!(offer.contains(keyword), "submission: {keyword} in {offer}");
        assert!(told[1].contains(keyword), "peer: {keyword} in {told:?}");
    }
    assert!(
        offer.contains("AUTH PLAIN LOGIN") && !offer.contains("OAUTH"),
        "{offer}"
    );
    assert!(!told[1].contains("AUTH"), "{told:?}");
}

#[test]
fn smtplib_and_nodemailer_wish_for_a_report_and_get_it_with_their_words() {
    let sandbox = Sandbox::shared();
    let message = letter(NURSE, NOBODY, "rapport smtplib");
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        [
            "SEND",
            NURSE,
            [NOBODY],
            hex(message.as_bytes()),
            ["RET=FULL", "ENVID=env+2B1"],
            ["NOTIFY=FAILURE,DELAY", format!("ORCPT=rfc822;premier+2B{NOBODY}")]
        ],
    ]);
    assert_eq!(codes(&dialogue(&sandbox, "starttls", None, &steps)), ["235", "250"]);
    let report = failure_report(&sandbox, "Original-Envelope-Id: env+1");
    assert!(
        report.contains(&format!("Original-Recipient: rfc822;premier+{NOBODY}")),
        "{report}"
    );
    assert!(report.contains("..deux points"), "RET=FULL: {report}");

    let mail = json!({
        "from": NURSE, "to": NOBODY, "subject": "rapport nodemailer", "text": "Bonjour,\n.\n",
        "dsn": {"id": "node=1", "return": "headers", "notify": ["failure", "delay"], "recipient": NOBODY},
    });
    for (tls, mechanism) in [("implicit", "PLAIN"), ("starttls", "LOGIN")] {
        let mut mail = mail.clone();
        mail["dsn"]["id"] = json!(format!("node={mechanism}"));
        let told = nodemailer(&sandbox, tls, mechanism, mail);
        assert_eq!(told["code"], 250, "{told}");
        let report = failure_report(&sandbox, &format!("Original-Envelope-Id: node={mechanism}"));
        assert!(
            report.contains(&format!("Original-Recipient: rfc822;{NOBODY}")),
            "{report}"
        );
        assert!(!report.contains("Bonjour"), "RET=HDRS: {report}");
    }
}

#[test]
fn msmtp_wishes_for_silence_and_gets_it() {
    let sandbox = Sandbox::shared();
    for (tls, mechanism, wish, told) in [
        ("starttls", "plain", "never", false),
        ("implicit", "login", "failure,delay", true),
    ] {
        let subject = format!("msmtp {wish}");
        let notify = format!("--dsn-notify={wish}");
        let words = [notify.as_str(), "--dsn-return=headers", NOBODY];
        let id = format!("<msmtp-{mechanism}@poste.example>");
        let message = format!("Message-ID: {id}\r\n{}", letter(NURSE, NOBODY, &subject));
        msmtp(&sandbox, (tls, mechanism), &words, message).assert_success();
        let bounced = wait_until(&subject, LIMIT, || {
            let submitted = sandbox.journal(&["--event", "submitted"]);
            let submitted = submitted.iter().find(|record| common::holds(record, &[id.as_str()]))?;
            let session = submitted["session"].as_str().unwrap();
            sandbox.journal(&["--session", session, "--event", "bounced"]).pop()
        });
        assert_eq!(bounced["detail"]["told"].is_string(), told, "{bounced}");
    }
    assert!(received(&sandbox, "lilas", NURSE, "Subject: msmtp never").is_empty());
    failure_report(&sandbox, "Subject: msmtp failure,delay");
}

#[test]
fn impossible_wishes_are_refused_and_the_session_goes_on() {
    let sandbox = Sandbox::shared();
    let mail = |parameters: &str| json!(["SAY", format!("MAIL FROM:<{NURSE}> {parameters}")]);
    let rcpt = |parameters: &str| json!(["SAY", format!("RCPT TO:<{HOSPITAL}> {parameters}")]);
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        mail("RET=ALL"),
        mail("RET=FULL RET=HDRS"),
        mail("ENVID=a=b"),
        mail("BODY=BINARYMIME"),
        mail("FOO=1"),
        mail("RET=FULL"),
        rcpt("NOTIFY=NEVER,SUCCESS"),
        rcpt("ORCPT=nobody"),
        rcpt("NOTIFY=NEVER NOTIFY=NEVER"),
        rcpt("NOTIFY=SUCCESS,DELAY"),
        ["SAY", "RSET"],
    ]);
    let expected = [
        "235", "501", "501", "501", "555", "555", "250", "501", "501", "501", "250", "250",
    ];
    assert_eq!(codes(&dialogue(&sandbox, "implicit", None, &steps)), expected);
}

#[test]
fn a_message_in_pipelined_chunks_keeps_its_dots_and_arrives_once() {
    let sandbox = Sandbox::shared();
    let text = letter(NURSE, HOSPITAL, "en morceaux").into_bytes();
    let (head, tail) = text.split_at(50);
    let flight = [
        format!(
            "MAIL FROM:<{NURSE}> BODY=8BITMIME\r\nRCPT TO:<{HOSPITAL}>\r\nBDAT {}\r\n",
            head.len()
        )
        .as_bytes(),
        head,
        b"BDAT 0\r\n",
        format!("BDAT {}\r\n", tail.len()).as_bytes(),
        tail,
        b"BDAT 0 LAST\r\n",
    ]
    .concat();
    let steps = json!([["AUTH", "PLAIN", NURSE, "sandbox"], ["RAW", hex(&flight), 6]]);
    let replies = dialogue(&sandbox, "starttls", None, &steps);
    assert!(
        replies[1].contains("250 2.0.0 0 octets received") && replies[1].starts_with("250"),
        "{replies:?}"
    );
    let message = arrives(&sandbox, ("chu", HOSPITAL), "Subject: en morceaux");
    assert!(
        message.ends_with("\r\n\r\nBonjour,\r\n.\r\n..deux points\r\n"),
        "{message}"
    );
}

#[test]
fn chunks_that_are_wrong_are_consumed_and_refused() {
    let sandbox = Sandbox::shared();
    let open = format!("MAIL FROM:<{NURSE}>\r\nRCPT TO:<{HOSPITAL}>\r\n");
    let smuggled = "MAIL FROM:<evil@x.fr>\r\n";
    let hex = |text: String| hex(text.as_bytes());
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        // Without a transaction.
        ["RAW", hex(format!("BDAT {} LAST\r\n{smuggled}", smuggled.len())), 1],
        // DATA after BDAT, and a new MAIL.
        [
            "RAW",
            hex(format!("{open}BDAT 3\r\na\r\nDATA\r\nMAIL FROM:<{NURSE}>\r\nRSET\r\n")),
            6
        ],
        // A bare LF in the text: as with DATA.
        ["RAW", hex(format!("{open}BDAT 3 LAST\r\na\nb")), 3],
        // More than is taken here, announced at once.
        ["RAW", hex(format!("{open}BDAT 4294967296\r\n")), 2],
    ]);
    // The last chunk never comes: smtplib's QUIT is text of it.
    let replies = dialogue_cut(&sandbox, &steps);
    assert!(replies[1].starts_with("503 503 5.5.1"), "{replies:?}");
    assert!(
        replies[2].contains("| 503 5.5.1 bad sequence of commands | 503 5.5.1"),
        "{replies:?}"
    );
    assert!(replies[2].ends_with("| 250 2.0.0 ok"), "{replies:?}");
    assert!(
        replies[3].contains("| 554 5.6.0 the message holds an LF without CR"),
        "{replies:?}"
    );
    assert!(replies[4].starts_with("250 "), "{replies:?}");
    let refused = wait_until("the journal has it at once", LIMIT, || {
        sandbox
            .journal(&["--event", "refused"])
            .into_iter()
            .find(|record| record["reason"] == "message-too-large")
    });
    assert_eq!(refused["reason"], "message-too-large");
}

/// A dialogue whose end is cut: the client leaves without QUIT.
fn dialogue_cut(sandbox: &Sandbox, steps: &Value) -> Vec<String> {
    let mut steps = steps.clone();
    steps.as_array_mut().unwrap().push(json!(["LEAVE"]));
    dialogue(sandbox, "starttls", None, &steps)
}

#[test]
fn a_large_message_in_many_chunks_arrives_whole() {
    let sandbox = Sandbox::shared();
    let mut text = letter(NURSE, HOSPITAL, "gros morceaux").into_bytes();
    let line = [&b"."[..], &[b'x'; 75], b"\r\n"].concat();
    text.extend(line.repeat(40_000));
    let mut flight = format!("MAIL FROM:<{NURSE}>\r\nRCPT TO:<{HOSPITAL}>\r\n").into_bytes();
    let chunks = text.chunks(100_001);
    let count = chunks.len();
    for (number, chunk) in chunks.enumerate() {
        let last = if number + 1 == count { " LAST" } else { "" };
        flight.extend(format!("BDAT {}{last}\r\n", chunk.len()).into_bytes());
        flight.extend(chunk);
    }
    let steps = json!([["AUTH", "PLAIN", NURSE, "sandbox"], ["RAW", hex(&flight), count + 2]]);
    let replies = dialogue(&sandbox, "implicit", None, &steps);
    assert!(replies[1].contains("message accepted"), "{replies:?}");
    let message = arrives(&sandbox, ("chu", HOSPITAL), "Subject: gros morceaux");
    assert!(
        message.as_bytes().ends_with(&line) && message.len() > text.len(),
        "{}",
        message.len()
    );
}

#[test]
fn utf8_in_header_and_address_needs_its_parameter_and_is_told_onward() {
    let sandbox = Sandbox::shared();
    let message = format!("From: Hélène <{NURSE}>\r\nTo: {HOSPITAL}\r\nSubject: été à Noël\r\n\r\nBonjour\r\n");
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        [
            "RAW",
            hex("MAIL FROM:<hélène@ehpad-lilas.mssante.fr>\r\n".as_bytes()),
            1
        ],
        ["SAY", format!("MAIL FROM:<{NURSE}>")],
        ["RAW", hex("RCPT TO:<hélène@chu-demo.mssante.fr>\r\n".as_bytes()), 1],
        ["SAY", "RSET"],
        [
            "SEND",
            NURSE,
            [HOSPITAL],
            hex(message.as_bytes()),
            ["SMTPUTF8", "BODY=8BITMIME"]
        ],
    ]);
    let replies = dialogue(&sandbox, "starttls", None, &steps);
    assert_eq!(codes(&replies), ["235", "553", "250", "553", "250", "250"]);
    assert!(
        replies[1].contains("5.6.7") && replies[3].contains("5.6.7"),
        "{replies:?}"
    );
    let arrived = arrives(&sandbox, ("chu", HOSPITAL), "Subject: été à Noël");
    assert!(
        arrived.contains("with UTF8SMTPSA") && arrived.contains("with UTF8SMTPS\r\n"),
        "{arrived}"
    );
    let told = nodemailer(
        &sandbox,
        "implicit",
        "PLAIN",
        json!({"from": NURSE, "to": "hélène@chu-demo.mssante.fr", "subject": "adresse", "text": "x"}),
    );
    assert_eq!(told["code"], 250, "{told}");
    let report = failure_report(&sandbox, "hélène@chu-demo.mssante.fr");
    assert!(
        report.contains("Final-Recipient: utf-8; hélène@chu-demo.mssante.fr"),
        "{report}"
    );
}

#[test]
fn tls_required_all_the_way_reaches_another_operator() {
    let sandbox = Sandbox::shared();
    let message = letter(NURSE, HOSPITAL, "tls exige");
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        ["SEND", NURSE, [HOSPITAL], hex(message.as_bytes()), ["REQUIRETLS"]],
    ]);
    assert_eq!(codes(&dialogue(&sandbox, "starttls", None, &steps)), ["235", "250"]);
    arrives(&sandbox, ("chu", HOSPITAL), "Subject: tls exige");
}

#[test]
fn swaks_pipelines_a_whole_transaction() {
    let sandbox = Sandbox::shared();
    let port = sandbox.port("lilas", "submission").to_string();
    let sent = Program::new("swaks")
        .args([
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--ehlo",
            "poste.example",
            "--tls",
            "--pipeline",
        ])
        .args(["--tls-verify", "--tls-ca-path", sandbox.authority()])
        .args(["--auth", "PLAIN", "--auth-user", NURSE, "--auth-password", "sandbox"])
        .args([
            "--from",
            NURSE,
            "--to",
            HOSPITAL,
            "--header",
            "Subject: swaks en rafale",
        ])
        .run()
        .assert_success();
    let lines: Vec<&str> = sent.stdout.lines().collect();
    let mail = lines.iter().position(|line| line.contains("MAIL FROM")).unwrap();
    assert!(
        lines[mail + 1].contains("RCPT TO") && lines[mail + 2].contains("DATA"),
        "{sent:?}"
    );
    arrives(&sandbox, ("chu", HOSPITAL), "Subject: swaks en rafale");
}
