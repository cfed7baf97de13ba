//! Mail between an operator and Postfix with everything that extensions allow: delivery reports asked for and handed on, chunks, UTF-8,
//! large messages, deferrals that pass, recipients that fare differently, and one connection for several messages.

#![cfg(test)]

mod common;

use std::fs;
use std::time::Duration;

use common::{HOSPITAL, Peer, Postfix, PostfixOptions, Program, Route, Space, folder, free_port, holds, wait_until};
use tempfile::TempDir;

const BOX: (&str, &str) = ("chu", "accueil@chu.mssante.fr");
const HOST: &str = "mx.voisin.localhost";
const TO: &str = "medecin@voisin.mssante.fr";

/// Another box of the hospital, and an operator that somebody else runs.
const SPACE: &str = r#"
[[operator.box]]
address = "travaux@chu.mssante.fr"
type = "ORG"
label = "En travaux"
establishment = "990000069"
state = "suspended"
[[operator]]
key = "voisin"
kind = "external"
name = "OPERATEUR VOISIN"
structure = "990000283"
department = "Ain (01)"
domains = ["voisin.mssante.fr"]
[[operator.host]]
name = "mx.voisin.localhost"
issue = true
"#;
/// A retry within the test, and connections that are soon given up.
const RELAY: &str = r#"
[relay]
retry = ["1s"]
connection_idle = "2s"
"#;

/// What is due at once goes over one connection.
const ONE_CONVERSATION: &str = r#"
[relay]
retry = ["1h"]
connection_idle = "2s"
connections_per_domain_max = 1
"#;
const PATIENCE: Duration = Duration::from_secs(40);

struct Field {
    _files: TempDir,
    space: Space,
    postfix: Postfix,
}

impl Field {
    #[track_caller]
    fn raise() -> Self {
        Self::raise_with(RELAY)
    }

    #[track_caller]
    fn raise_with(relay: &str) -> Self {
        let files = folder();
        let port = free_port();
        let file = files.path().join("space.toml");
        fs::write(&file, format!("{HOSPITAL}{SPACE}reach = \"127.0.0.1:{port}\"\n{relay}")).unwrap();
        let space = Space::up(
            &files.path().join("data"),
            &["--free-ports", "--space", file.to_str().unwrap()],
        );
        let postfix = Postfix::start_on(
            port,
            &PostfixOptions {
                domain: "voisin.mssante.fr",
                host: HOST,
                boxes: &["medecin", "secretariat"],
                certificate: &space.certificate("voisin", HOST),
                authority: &space.authority(),
                listed_peers: None,
                routes: &[Route {
                    domain: "chu.mssante.fr",
                    port: space.port("chu", "smtp"),
                    host: "mx.chu.localhost",
                }],
            },
        );
        postfix.configure(&["message_size_limit=60000000", "virtual_mailbox_limit=60000000"]);
        Self {
            _files: files,
            space,
            postfix,
        }
    }

    /// Sends as the hospital, with parameters of MAIL and of each RCPT.
    #[track_caller]
    fn send(&self, options: (&[&str], &[&str]), to: &[&str], mail: &str) {
        let client = Peer {
            port: self.space.port("chu", "submission"),
            authority: self.space.authority(),
            certificate: None,
        };
        client
            .submit_with((BOX.1, "sandbox"), options, to, mail)
            .assert_accepted();
    }
}

fn mail(subject: &str) -> String {
    format!(
        "From: <{}>\r\nTo: <{TO}>\r\nSubject: {subject}\r\nMessage-ID: <{}@chu.test>\r\n\r\nBonjour\r\n",
        BOX.1,
        subject.len()
    )
}

fn answer(subject: &str) -> String {
    format!("From: <{TO}>\nTo: <{}>\nSubject: {subject}\n\nBonjour\n", BOX.1)
}

#[test]
fn reports_chunks_and_utf8_pass_to_postfix_over_one_connection() {
    let field = Field::raise();
    let (space, postfix) = (&field.space, &field.postfix);
    let asking = (&["RET=HDRS", "ENVID=QQ314159"][..], &["NOTIFY=SUCCESS,FAILURE"][..]);
    field.send(asking, &[TO], &mail("accuse"));
    postfix.wait_for_mail("medecin", "Subject: accuse");
    field.send((&[], &[]), &[TO], &mail("simple"));
    postfix.wait_for_mail("medecin", "Subject: simple");
    // Beyond ASCII in the header: without SMTPUTF8 Postfix would have to refuse or to recode.
    field.send((&["SMTPUTF8", "BODY=8BITMIME"], &[]), &[TO], &mail("été à l'hôpital"));
    postfix.wait_for_mail("medecin", "Subject: été à l'hôpital");
    for _ in 0..3 {
        space.wait_for_record("relayed", &[TO]);
    }
    // Postfix, which has taken the duty to report, does: with the sender's own id, and only because NOTIFY said so.
    let report = space.wait_for_mail(BOX, &["delivery-status", "accuse"]);
    assert!(
        holds(&report["status"], &["delivered", "QQ314159", TO, HOST]),
        "{report:#}"
    );
    // What it counted when the idle connection was closed: one handshake, three messages by BDAT, none by DATA.
    let line = postfix.wait_for_log(&["smtpd", "disconnect from", "mail=3"]);
    for word in ["starttls=1", "rcpt=3", "bdat=3", "quit=1"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(!line.contains(" data="), "{line}");
}

#[test]
fn a_postfix_that_lacks_an_extension_gets_what_it_can_take() {
    let field = Field::raise();
    let (space, postfix) = (&field.space, &field.postfix);
    postfix.configure(&[
        "smtpd_discard_ehlo_keywords=chunking,pipelining,dsn,smtputf8",
        "smtputf8_enable=no",
    ]);
    field.send(
        (&["RET=HDRS", "ENVID=QQ27"], &["NOTIFY=SUCCESS"]),
        &[TO],
        &mail("relaye"),
    );
    postfix.wait_for_mail("medecin", "Subject: relaye");
    // RFC 3461 §5.2.2: nobody beyond will report, so this operator says that it was relayed.
    let report = space.wait_for_mail(BOX, &["delivery-status", "relaye"]);
    assert!(holds(&report["status"], &["relayed", "QQ27", TO]), "{report:#}");
    let utf8 = mail("été");
    field.send((&["SMTPUTF8", "BODY=8BITMIME"], &[]), &[TO], &utf8);
    let bounced = space.wait_for_record("bounced", &["5.6.7"]);
    assert!(holds(&bounced, &[TO, "SMTPUTF8"]), "{bounced}");
    let line = postfix.wait_for_log(&["smtpd", "disconnect from", "data=1"]);
    assert!(!line.contains("bdat="), "{line}");
}

#[test]
fn each_recipient_at_postfix_has_its_own_end_and_a_deferral_passes() {
    let field = Field::raise();
    let (space, postfix) = (&field.space, &field.postfix);
    let table = postfix.etc().join("later");
    fs::write(&table, "secretariat@voisin.mssante.fr 450 4.2.0 come back later\n").unwrap();
    let restriction = format!(
        "smtpd_recipient_restrictions=check_recipient_access texthash:{},permit",
        table.display()
    );
    postfix.configure(&[&restriction]);
    let (later, unknown) = ("secretariat@voisin.mssante.fr", "personne@voisin.mssante.fr");
    field.send((&[], &[]), &[TO, later, unknown], &mail("partage"));
    postfix.wait_for_mail("medecin", "Subject: partage");
    space.wait_for_record("relayed", &[TO]);
    space.wait_for_record("bounced", &[unknown, "5.1.1"]);
    space.wait_for_record("deferred", &[later, "come back later"]);
    postfix.configure(&["smtpd_recipient_restrictions="]);
    postfix.wait_for_mail("secretariat", "Subject: partage");
    let relayed = space.wait_for_record("relayed", &[later]);
    assert!(relayed["detail"]["attempts"].as_u64().unwrap() > 1, "{relayed}");
    assert_eq!(postfix.mails("medecin").len(), 1, "who has it does not get it again");
}

#[test]
fn a_conversation_with_postfix_goes_in_single_flights_and_survives_a_text_for_nobody() {
    let field = Field::raise_with(ONE_CONVERSATION);
    let (space, postfix) = (&field.space, &field.postfix);
    let table = postfix.etc().join("later");
    fs::write(&table, "voisin.mssante.fr 450 4.2.0 come back later\n").unwrap();
    let restriction = format!("check_recipient_access texthash:{},permit", table.display());
    postfix.configure(&[&format!("smtpd_recipient_restrictions={restriction}")]);
    let unknown = "personne@voisin.mssante.fr";
    let mails = [
        ("une", TO),
        ("deux", TO),
        ("trois", unknown),
        ("quatre", TO),
        ("cinq", TO),
    ];
    for (subject, to) in mails {
        // A text that would be obeyed if it were taken for commands.
        let text = format!("{}MAIL FROM:<x@chu.mssante.fr>\r\nQUIT\r\n", mail(subject));
        field.send((&[], &[]), &[to], &text);
    }
    wait_until("all wait for later", PATIENCE, || {
        let listed = space.command(&["queue", "list", "--json"]).assert_success().stdout;
        (listed.matches("\"waiting\"").count() == mails.len()).then_some(())
    });
    postfix.configure(&["smtpd_recipient_restrictions="]);
    space.command(&["queue", "retry", "--every"]).assert_success();
    for (subject, to) in mails {
        if to == TO {
            postfix.wait_for_mail("medecin", &format!("Subject: {subject}"));
        }
    }
    space.wait_for_record("bounced", &[unknown, "5.1.1"]);
    let line = postfix.wait_for_log(&["smtpd", "disconnect from", "mail=5"]);
    for word in ["rcpt=4/5", "bdat=4/5", "rset=1", "quit=1"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert_eq!(postfix.mails("medecin").len(), 4);
}

#[test]
fn postfix_hands_on_reports_utf8_and_what_each_recipient_gets() {
    let field = Field::raise();
    let (space, postfix) = (&field.space, &field.postfix);
    let sent = Program::as_root("sendmail")
        .arg("-C")
        .arg(postfix.etc())
        .args(["-i", "-f", TO, "-N", "success,failure", "-V", "QQ161803", "--", BOX.1])
        .input(answer("demande d'accusé"))
        .run();
    sent.assert_success();
    space.wait_for_mail(BOX, &["demande d'accus"]);
    // This operator delivers, so it reports: Postfix has handed the wish on.
    let report = postfix.wait_for_mail("medecin", "delivery-status");
    for word in ["Action: delivered", "QQ161803", BOX.1, "mx.chu.localhost"] {
        assert!(report.contains(word), "{word}: {report}");
    }
    let recipients = [BOX.1, "personne@chu.mssante.fr", "travaux@chu.mssante.fr"];
    postfix.send(TO, &recipients, &answer("plusieurs"));
    space.wait_for_mail(BOX, &["plusieurs"]);
    postfix.wait_for_log(&["to=<personne@chu.mssante.fr>", "status=bounced"]);
    postfix.wait_for_log(&["to=<travaux@chu.mssante.fr>", "status=deferred"]);
    postfix.wait_for_log(&["to=<accueil@chu.mssante.fr>", "status=sent"]);
}

#[test]
fn a_message_of_twenty_megabytes_passes_both_ways() {
    let field = Field::raise();
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n";
    let body = line.repeat(20_000_000 / line.len());
    field.send((&[], &[]), &[TO], &format!("{}{body}", mail("grand")));
    let arrived = field.postfix.wait_for_mail("medecin", "Subject: grand");
    assert_eq!(arrived.matches("0123456789abcdef\n").count(), 20_000_000 / line.len());
    field.postfix.send(
        TO,
        &[BOX.1],
        &format!("{}{}", answer("grande reponse"), body.replace("\r\n", "\n")),
    );
    let received = field.space.wait_for_record("received", &["mx.voisin.localhost"]);
    assert!(
        received["detail"]["size_bytes"].as_u64().unwrap() > 19_900_000,
        "{received}"
    );
}
