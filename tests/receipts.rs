//! The delivery receipt, "accusé de réception", end to end: asked for by ordinary clients, written by the operator that delivers, and read by
//! software nobody here wrote.

#![cfg(test)]

mod common;

use std::fmt::Write as _;
use std::time::Duration;

use common::{Program, Running, Sandbox, codes, dialogue, free_port, hex, received, wait_until};
use serde_json::{Value, json};

const NURSE: &str = "soins@ehpad-lilas.mssante.fr";
const COLLEAGUE: &str = "armand.modelle@ehpad-lilas.mssante.fr";
const HOSPITAL: &str = "urgences@chu-demo.mssante.fr";
const NOBODY: &str = "personne@chu-demo.mssante.fr";
/// From the 250 of one operator to the report of another.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

/// A letter that breaks no rule of form; `more` are further fields, each with its line end.
fn letter(to: &str, mark: &str, more: &str) -> String {
    format!(
        "From: Soins EHPAD Les Lilas <{NURSE}>\r\nTo: {to}\r\nSubject: {mark}\r\nMessage-ID: <{}@dui.example>\r\n\
         X-MSS-NIL: DEV935997\r\n{more}\r\nBonjour,\r\nle corps de {mark}.\r\n",
        mark.replace(' ', ".")
    )
}

/// Hands a letter in as the nurse; the replies' codes.
#[track_caller]
fn submit(sandbox: &Sandbox, to: &[&str], message: &str, (mail, rcpt): (&[&str], &[&str])) -> Vec<String> {
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        ["SEND", NURSE, to, hex(message.as_bytes()), mail, rcpt],
    ]);
    let replies = dialogue(sandbox, "implicit", None, &steps);
    assert_eq!(codes(&replies), ["235", "250"], "{replies:?}");
    replies
}

/// The reports about the letter with this mark in the nurse's box.
fn reports(sandbox: &Sandbox, mark: &str) -> Vec<Vec<u8>> {
    let about = format!("In-Reply-To: <{}@dui.example>", mark.replace(' ', "."));
    received(sandbox, "lilas", NURSE, &about)
}

/// The only report about that letter, read by Python's email package.
#[track_caller]
fn report(sandbox: &Sandbox, mark: &str) -> Value {
    let mut found = wait_until(mark, DELIVERY_LIMIT, || {
        Some(reports(sandbox, mark)).filter(|found| !found.is_empty())
    });
    assert_eq!(found.len(), 1, "one report about {mark}");
    let bytes = found.remove(0);
    read_by_mail_parser(&bytes);
    read_by_python(&bytes)
}

fn read_by_mail_parser(report: &[u8]) {
    let parsed = mail_parser::MessageParser::default().parse(report).expect("a message");
    assert_eq!(parsed.parts.len(), 4, "the frame and its three parts");
    let status = std::str::from_utf8(parsed.parts[2].contents()).unwrap();
    assert!(
        status.contains("Reporting-MTA: dns; ") && status.contains("Final-Recipient: "),
        "{status}"
    );
}

fn read_by_python(report: &[u8]) -> Value {
    let script = r#"
import email, email.policy, json, sys
m = email.message_from_bytes(bytes.fromhex(sys.stdin.read()), policy=email.policy.default)
text, status, original = m.iter_parts()
head, *rest = status.get_payload()
print(json.dumps({
    "type": m.get_content_type(), "kind": m.get_param("report-type"), "auto": m["auto-submitted"], "path": m["return-path"],
    "defects": len(m.defects) + sum(len(p.defects) for p in m.walk()),
    "subject": m["subject"], "text": text.get_content(),
    "head": {k.lower(): str(v) for k, v in head.items()},
    "recipients": [{k.lower(): str(v) for k, v in group.items()} for group in rest],
    "original_type": original.get_content_type(),
    "original": original.get_payload(decode=True).decode("utf-8", "replace") if not original.is_multipart() else original.get_payload(0).as_string(),
}))
"#;
    let printed = Program::new("python3")
        .args(["-c", script])
        .input(hex(report))
        .run()
        .assert_success();
    let read: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(read["type"], "multipart/report");
    assert_eq!(read["kind"], "delivery-status");
    assert_eq!(read["auto"], "auto-replied");
    assert_eq!(read["path"], "<>");
    assert_eq!(read["defects"], 0);
    read
}

/// Records of this event that name this address.
fn records(sandbox: &Sandbox, event: &str, address: &str) -> Vec<Value> {
    let all = sandbox.journal(&["--event", event]);
    all.into_iter()
        .filter(|row| row["detail"].to_string().contains(address))
        .collect()
}

/// Checks that a recount of every operator gives the counters.
#[track_caller]
fn assert_recounts(sandbox: &Sandbox) {
    common::Space::program()
        .args(["recount", "--data"])
        .arg(sandbox.data())
        .run()
        .assert_success();
}

#[test]
fn the_receipt_of_another_operator_arrives_in_the_senders_box() {
    let sandbox = Sandbox::shared();
    let mark = "recu entre operateurs";
    let asked = (
        &["RET=HDRS", "ENVID=QQ+3D42"][..],
        &[
            "NOTIFY=SUCCESS,FAILURE",
            "ORCPT=rfc822;urgences+2Bnuit@chu-demo.mssante.fr",
        ][..],
    );
    submit(&sandbox, &[HOSPITAL], &letter(HOSPITAL, mark, ""), asked);
    let report = report(&sandbox, mark);
    assert_eq!(report["subject"], "Message remis / Mail delivered");
    assert_eq!(report["head"]["original-envelope-id"], "QQ=42");
    assert!(report["head"]["reporting-mta"].as_str().unwrap().starts_with("dns; mx"));
    let recipient = &report["recipients"][0];
    assert_eq!(recipient["action"], "delivered");
    assert_eq!(recipient["status"], "2.0.0");
    assert_eq!(recipient["final-recipient"], format!("rfc822; {HOSPITAL}"));
    assert_eq!(
        recipient["original-recipient"],
        "rfc822;urgences+nuit@chu-demo.mssante.fr"
    );
    assert!(recipient["last-attempt-date"].is_string());
    let text = report["text"].as_str().unwrap();
    assert!(text.contains("a été remis") && text.contains("was delivered"), "{text}");
    assert_eq!(report["original_type"], "text/rfc822-headers");
    let original = report["original"].as_str().unwrap();
    assert!(
        original.contains("Message-ID: <recu.entre.operateurs@dui.example>"),
        "{original}"
    );
    assert!(!original.contains("le corps de"), "only the header goes back");

    let reported = records(&sandbox, "reported", HOSPITAL);
    assert!(
        reported
            .iter()
            .any(|row| row["detail"]["action"] == "delivered" && row["detail"]["to"] == NURSE),
        "{reported:?}"
    );
    assert_recounts(&sandbox);
}

#[test]
fn a_receipt_within_one_operator_tells_of_all_its_recipients_at_once() {
    let sandbox = Sandbox::shared();
    let mark = "recu local";
    let asked = (&[][..], &["NOTIFY=SUCCESS"][..]);
    submit(&sandbox, &[COLLEAGUE, NURSE], &letter(COLLEAGUE, mark, ""), asked);
    let found = reports(&sandbox, mark);
    assert_eq!(found.len(), 1, "it is there as soon as the 250 is");
    let report = read_by_python(&found[0]);
    let mut told = String::new();
    for recipient in report["recipients"].as_array().unwrap() {
        writeln!(told, "{} {}", recipient["action"], recipient["final-recipient"]).unwrap();
    }
    assert_eq!(
        told,
        format!("\"delivered\" \"rfc822; {COLLEAGUE}\"\n\"delivered\" \"rfc822; {NURSE}\"\n")
    );
    assert_recounts(&sandbox);
}

#[test]
fn a_failure_is_reported_with_the_whole_message_when_asked_and_never_when_not() {
    let sandbox = Sandbox::shared();
    let whole = (
        &["RET=FULL", "ENVID=e1"][..],
        &["NOTIFY=FAILURE", "ORCPT=rfc822;alias@x.example"][..],
    );
    submit(&sandbox, &[NOBODY], &letter(NOBODY, "echec entier", ""), whole);
    // RFC 8689 §5: RET=FULL counts for nothing beside it.
    let demanding = (&["RET=FULL", "REQUIRETLS"][..], &[][..]);
    submit(&sandbox, &[NOBODY], &letter(NOBODY, "echec exigeant", ""), demanding);
    let never = (&[][..], &["NOTIFY=NEVER"][..]);
    submit(&sandbox, &[NOBODY], &letter(NOBODY, "echec muet", ""), never);
    submit(&sandbox, &[NOBODY], &letter(NOBODY, "echec simple", ""), (&[], &[]));

    let report_of = |mark| report(&sandbox, mark);
    let full = report_of("echec entier");
    let recipient = &full["recipients"][0];
    assert_eq!(
        (&recipient["action"], &recipient["status"]),
        (&json!("failed"), &json!("5.1.1"))
    );
    assert_eq!(recipient["original-recipient"], "rfc822;alias@x.example");
    assert!(recipient["remote-mta"].as_str().unwrap().starts_with("dns; mx"));
    let diagnostic = recipient["diagnostic-code"].as_str().unwrap();
    assert!(
        diagnostic.starts_with("smtp; 550 5.1.1") && diagnostic.contains("box-unknown"),
        "{diagnostic}"
    );
    assert_eq!(full["head"]["original-envelope-id"], "e1");
    assert_eq!(full["original_type"], "message/rfc822");
    assert!(full["original"].as_str().unwrap().contains("le corps de echec entier"));

    for mark in ["echec simple", "echec exigeant"] {
        assert_eq!(report_of(mark)["original_type"], "text/rfc822-headers", "{mark}");
    }
    wait_until("the silent failure is final", DELIVERY_LIMIT, || {
        let bounced = records(&sandbox, "bounced", NOBODY);
        bounced
            .iter()
            .any(|row| row["detail"].get("told").is_none())
            .then_some(())
    });
    assert!(reports(&sandbox, "echec muet").is_empty());
    assert_recounts(&sandbox);
}

#[test]
fn the_old_receipt_field_asks_for_a_receipt_when_it_names_the_senders_own_box() {
    let sandbox = Sandbox::shared();
    let own = format!("Return-Receipt-To: <{NURSE}>\r\n");
    submit(
        &sandbox,
        &[HOSPITAL],
        &letter(HOSPITAL, "ancien champ", &own),
        (&[], &[]),
    );
    let other = format!("Return-Receipt-To: {COLLEAGUE}\r\n");
    submit(
        &sandbox,
        &[HOSPITAL],
        &letter(HOSPITAL, "champ d'un autre", &other),
        (&[], &[]),
    );
    let said = (&[][..], &["NOTIFY=FAILURE"][..]);
    submit(&sandbox, &[HOSPITAL], &letter(HOSPITAL, "notify decide", &own), said);
    let automatic = format!("{own}Auto-Submitted: auto-replied\r\n");
    submit(
        &sandbox,
        &[HOSPITAL],
        &letter(HOSPITAL, "reponse automatique", &automatic),
        (&[], &[]),
    );

    assert_eq!(report(&sandbox, "ancien champ")["recipients"][0]["action"], "delivered");
    for mark in [
        "ancien champ",
        "champ d'un autre",
        "notify decide",
        "reponse automatique",
    ] {
        let found = wait_until(mark, DELIVERY_LIMIT, || {
            Some(received(&sandbox, "chu", HOSPITAL, &format!("Subject: {mark}\r\n"))).filter(|found| !found.is_empty())
        });
        let text = String::from_utf8_lossy(&found[0]).into_owned();
        assert!(text.contains("Return-Receipt-To: "), "the field itself is passed on");
        if mark != "ancien champ" {
            assert!(reports(&sandbox, mark).is_empty(), "{mark}");
        }
    }
}

#[test]
fn a_report_is_never_answered_whatever_it_asks() {
    let sandbox = Sandbox::shared();
    let mdn = "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n";
    let asked = (&[][..], &["NOTIFY=SUCCESS,FAILURE,DELAY"][..]);
    submit(
        &sandbox,
        &[HOSPITAL],
        &letter(HOSPITAL, "accuse de lecture", mdn),
        asked,
    );
    submit(&sandbox, &[NOBODY], &letter(NOBODY, "accuse a personne", mdn), asked);
    wait_until("it arrived", DELIVERY_LIMIT, || {
        (!received(&sandbox, "chu", HOSPITAL, "accuse de lecture").is_empty()).then_some(())
    });
    // What comes back for the letter after it has passed the same queues.
    submit(&sandbox, &[HOSPITAL], &letter(HOSPITAL, "lettre apres", ""), asked);
    assert_eq!(report(&sandbox, "lettre apres")["recipients"][0]["action"], "delivered");
    assert!(reports(&sandbox, "accuse de lecture").is_empty());
    assert!(reports(&sandbox, "accuse a personne").is_empty());
}

#[test]
fn a_message_passes_byte_for_byte_below_the_trace_fields() {
    let sandbox = Sandbox::shared();
    let fields = format!(
        "Disposition-Notification-To: {NURSE}\r\nReturn-Receipt-To:\r\n\t<{NURSE}>\r\nx-mss-ins:N\r\nX-MSS-INS : O\r\n\
         X-Odd: a\r\n \t b  \r\nBcc: {COLLEAGUE}\r\nReturn-Path: <forged@x.example>\r\nReply-To: \"D\" <{COLLEAGUE}>\r\n\
         References:\r\n <a@b>\r\n  <c@d>\r\nX-Long: {}\r\n",
        "y".repeat(900)
    );
    let message = letter(HOSPITAL, "octet pour octet", &fields) + "..\r\n.x\r\n\tfin  \r\n";
    submit(&sandbox, &[HOSPITAL], &message, (&[], &[]));
    let found = wait_until("it arrived", DELIVERY_LIMIT, || {
        Some(received(&sandbox, "chu", HOSPITAL, "octet pour octet\r\nMessage-ID")).filter(|found| !found.is_empty())
    });
    let arrived = String::from_utf8(found[0].clone()).unwrap();
    // Python's smtplib adds nothing; what stands in front is ours: Date, since the client wrote none, and the trace.
    let (front, rest) = arrived.split_at(arrived.len() - message.len());
    assert_eq!(rest, message);
    let names: Vec<&str> = front
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(names, ["Return-Path", "Received", "Received", "Date"]);
}

#[test]
fn findings_about_the_form_go_to_the_journal_and_the_message_passes() {
    let sandbox = Sandbox::shared();
    let message = format!(
        "From: {NURSE}\r\nTo: {HOSPITAL}\r\nSubject: XDM/1.0/DDM+sans document VIAL Paul\r\nX-Mark: constats\r\n\r\nx\r\n"
    );
    submit(&sandbox, &[HOSPITAL], &message, (&[], &[]));
    wait_until("it arrived", DELIVERY_LIMIT, || {
        (!received(&sandbox, "chu", HOSPITAL, "X-Mark: constats").is_empty()).then_some(())
    });
    let noted = sandbox.journal(&["--event", "noted"]);
    let expected = json!([
        "nil-missing",
        "message-id-missing",
        "subject-without-document",
        "label-missing"
    ]);
    assert!(
        noted.iter().any(|row| row["detail"]["findings"] == expected),
        "{noted:?}"
    );
    assert!(
        noted.iter().all(|row| !row.to_string().contains("VIAL")),
        "a subject is never written down"
    );
    assert_recounts(&sandbox);
}

const PATIENT: &str = "279035121518989@patient.mssante.fr";

/// A sandbox whose operators enforce the rules and are quick to say that mail is late, beside two foreign servers without DSN: one takes
/// everything, the other postpones every recipient.
struct Strict {
    sandbox: Sandbox,
    _hosts: Running,
}

impl Strict {
    #[track_caller]
    fn up() -> Self {
        let ports = [free_port(), free_port()];
        let mut text = include_str!("../config/sandbox.toml")
            .replace("retry = [\"2s\"", "delay_notice = \"3s\"\nretry = [\"1s\", \"2s\"")
            .replace(
                "\n[sending]\n",
                "\n[sending]\nchecks = \"enforce\"\npatient_size_max = \"64 KiB\"\n",
            )
            .replace(
                "\n[limits]\n",
                "\n[limits]\nmime_depth_max = 5\nheader_max = \"16 KiB\"\nreport_original_max = \"1 KiB\"\n",
            );
        for (name, port) in ["muet", "lent"].iter().zip(ports) {
            write!(
                text,
                "\n[[operator]]\nkey = \"{name}\"\nkind = \"external\"\nname = \"VOISIN\"\nstructure = \"990000283\"\n\
                 department = \"Ain (01)\"\ndomains = [\"{name}.mssante.fr\"]\n[[operator.host]]\nname = \"mx.{name}.localhost\"\n\
                 reach = \"127.0.0.1:{port}\"\nissue = true\n"
            )
            .unwrap();
        }
        let sandbox = Sandbox::up_from(&text);
        let host = |name: &str, port: u16, how: &str| {
            let shown = sandbox.space().certificate(name, &format!("mx.{name}.localhost"));
            json!({"port": port, "how": how, "certificate": shown.certificate, "key": shown.key})
        };
        let hosts = json!([
            host("muet", ports[0], "takes all"),
            host("lent", ports[1], "RCPT 451 4.2.0 later"),
        ]);
        let hosts = Program::new("python3")
            .args(["-c", include_str!("routes/hosts.py")])
            .input(hosts.to_string())
            .start();
        wait_until("the hosts listen", DELIVERY_LIMIT, || {
            hosts.stdout().contains("ready").then_some(())
        });
        Self { sandbox, _hosts: hosts }
    }

    /// The last reply to a letter.
    fn reply(&self, to: &str, message: &str) -> String {
        let steps = json!([
            ["AUTH", "PLAIN", NURSE, "sandbox"],
            ["SEND", NURSE, [to], hex(message.as_bytes())],
        ]);
        dialogue(&self.sandbox, "implicit", None, &steps).pop().unwrap()
    }
}

#[test]
fn relayed_and_late_mail_is_reported_and_broken_rules_are_refused() {
    let strict = Strict::up();
    let sandbox = &strict.sandbox;
    // RFC 3461 §5.2.2: the next server does not offer DSN, so this operator says how far it knows.
    let quiet = "a@muet.mssante.fr";
    let asked = (&["RET=FULL", "ENVID=e2"][..], &["NOTIFY=SUCCESS"][..]);
    submit(sandbox, &[quiet], &letter(quiet, "vers un muet", ""), asked);
    let renamed = (
        &[][..],
        &["NOTIFY=SUCCESS", "ORCPT=rfc822;avant+2Bnuit@lilas.mssante.fr"][..],
    );
    submit(sandbox, &[quiet], &letter(quiet, "vers un muet renomme", ""), renamed);
    let known = "ORCPT=rfc822;avant@lilas.mssante.fr";
    for (mark, notify) in [
        ("muet et sans echec", "NOTIFY=FAILURE"),
        ("muet pour toujours", "NOTIFY=NEVER"),
    ] {
        submit(sandbox, &[quiet], &letter(quiet, mark, ""), (&[], &[notify, known]));
    }
    let slow = "a@lent.mssante.fr";
    submit(sandbox, &[slow], &letter(slow, "en retard", ""), (&[], &[]));
    let failure_only = (&[][..], &["NOTIFY=FAILURE"][..]);
    submit(sandbox, &[slow], &letter(slow, "en retard muet", ""), failure_only);

    forms_are_enforced(&strict);
    sizes_and_depths_are_bounded(&strict);

    let relayed = report(sandbox, "vers un muet");
    assert_eq!(relayed["recipients"][0]["action"], "relayed");
    assert_eq!(relayed["recipients"][0]["remote-mta"], "dns; mx.muet.localhost");
    assert_eq!(relayed["original_type"], "text/rfc822-headers", "nothing failed");
    assert_eq!(relayed["head"]["original-envelope-id"], "e2");
    assert!(
        relayed["recipients"][0]["original-recipient"].is_null(),
        "nobody said it"
    );
    // RFC 3461 §5.2.2, RFC 3464 §2.3.1: what the next server could not be told stands in the report, decoded.
    let renamed = &report(sandbox, "vers un muet renomme")["recipients"][0];
    assert_eq!(renamed["action"], "relayed");
    assert_eq!(renamed["original-recipient"], "rfc822;avant+nuit@lilas.mssante.fr");
    assert_eq!(renamed["final-recipient"], format!("rfc822; {quiet}"));
    wait_until("all four are relayed", DELIVERY_LIMIT, || {
        (records(sandbox, "relayed", quiet).len() == 4).then_some(())
    });
    for mark in ["muet et sans echec", "muet pour toujours"] {
        assert!(reports(sandbox, mark).is_empty(), "{mark}");
    }
    let late = report(sandbox, "en retard");
    let recipient = &late["recipients"][0];
    assert_eq!(
        (&recipient["action"], &recipient["status"]),
        (&json!("delayed"), &json!("4.2.0"))
    );
    assert!(recipient["will-retry-until"].is_string());
    assert!(late["text"].as_str().unwrap().contains("ne le renvoyez pas"));
    assert!(reports(sandbox, "en retard muet").is_empty());
    let told = records(sandbox, "reported", slow);
    assert_eq!(told.len(), 1, "once, however often it is tried: {told:?}");
    assert_recounts(sandbox);
}

fn forms_are_enforced(strict: &Strict) {
    let bare =
        format!("From: Soins <{NURSE}>\r\nTo: {HOSPITAL}\r\nMessage-ID: <1@x>\r\nSubject: secret VIAL\r\n\r\nx\r\n");
    let refused = strict.reply(HOSPITAL, &bare);
    assert!(
        refused.starts_with("554 5.6.0 no X-MSS-NIL field") && refused.contains("(ECO.2.4.3: nil-missing)"),
        "{refused}"
    );
    strict.sandbox.assert_refused(&refused, "message-form");
    let noted = strict.sandbox.journal(&["--event", "noted"]);
    assert!(
        noted
            .iter()
            .any(|row| row["detail"]["findings"] == json!(["nil-missing"])),
        "{noted:?}"
    );
    assert!(!format!("{noted:?}").contains("VIAL"));
}

fn sizes_and_depths_are_bounded(strict: &Strict) {
    let big = letter(PATIENT, "trop gros", "") + &"x".repeat(70_000).replace("xxxxxxxx", "xxxxxx\r\n");
    // smtplib says the size at MAIL.
    let announced = strict.reply(PATIENT, &big);
    assert!(announced.starts_with("552 5.3.4"), "{announced}");
    strict.sandbox.assert_refused(&announced, "patient-message-too-large");
    let steps = json!([
        ["AUTH", "PLAIN", NURSE, "sandbox"],
        ["SAY", "MAIL", format!("FROM:<{NURSE}>")],
        ["SAY", "RCPT", format!("TO:<{PATIENT}>")],
        ["DATA", big],
    ]);
    let replies = dialogue(&strict.sandbox, "implicit", None, &steps);
    assert_eq!(codes(&replies)[..3], ["235", "250", "250"], "{replies:?}");
    let counted = replies[3].clone();
    strict.sandbox.assert_refused(&counted, "patient-message-too-large");
    assert!(strict.reply(PATIENT, &letter(PATIENT, "petit", "")).starts_with("250"));
    assert!(strict.reply(HOSPITAL, &big).starts_with("250"), "others take more");

    let nested = |levels: usize| {
        let mut message = letter(HOSPITAL, "profond", "")
            .split("\r\n\r\n")
            .next()
            .unwrap()
            .to_owned()
            + "\r\n";
        for level in 0..levels {
            write!(
                message,
                "Content-Type: multipart/alternative; boundary=b{level}\r\n\r\n--b{level}\r\n"
            )
            .unwrap();
        }
        message + "\r\ntexte\r\n"
    };
    assert!(strict.reply(HOSPITAL, &nested(5)).starts_with("250"));
    let deep = strict.reply(HOSPITAL, &nested(6));
    strict.sandbox.assert_refused(&deep, "message-malformed");
    assert!(deep.contains("inside each other"), "{deep}");
    let fields = format!("X-Filler: {}\r\n", "y".repeat(900)).repeat(20);
    let long = strict.reply(HOSPITAL, &letter(HOSPITAL, "long", &fields));
    assert!(long.contains("longer than 16384 bytes"), "{long}");
}
