//! The simulated DUI against a whole space: what it sends arrives, is counted once for the right establishment, and what is refused
//! is shown with its reason.

#![cfg(test)]

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Finished, Program, Space, folder, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const DUI: &str = "noreply@ehpad-lilas.mssante.fr";
const SHARED_DUI: &str = "dui@lilas.mssante.fr";
const HOSPITAL: &str = "urgences@chu-demo.mssante.fr";
const PATIENT: &str = "279035121518989@patient.mssante.fr";
const EHPAD: &str = "990000028";
const SSIAD: &str = "990000036";
/// Relaying is a matter of milliseconds; the machine may be busy.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

/// A running sandbox with its folder.
struct Sandbox {
    space: Space,
    data: TempDir,
}

impl Sandbox {
    fn up() -> Self {
        let data = folder();
        let space = Space::up(&data.path().join("space"), &["--free-ports"]);
        Self { space, data }
    }

    fn command(&self, name: &str, words: &[&str]) -> Program {
        Space::program()
            .arg(name)
            .arg("--data")
            .arg(self.data.path().join("space"))
            .args(words)
    }

    fn send(&self, words: &[&str]) -> Finished {
        self.command("send", words).run()
    }

    fn send_json(&self, words: &[&str]) -> (Finished, Value) {
        let finished = self.send(&[words, &["--json"]].concat());
        let report = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"));
        (finished, report)
    }

    /// What the indicator counts as sent for an establishment: messages and recipients.
    fn counted(&self, establishment: &str) -> (u64, u64) {
        let printed = self.command("indicator", &["--json"]).run().assert_success().stdout;
        let report: Value = serde_json::from_str(&printed).unwrap();
        let rows = report["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["establishment"] == establishment);
        let sent = &row.unwrap_or_else(|| panic!("no {establishment} in {report:#}"))["sent"];
        (sent["messages"].as_u64().unwrap(), sent["recipients"].as_u64().unwrap())
    }

    /// The messages counted as sent by all establishments together.
    fn counted_in_all(&self) -> u64 {
        let printed = self.command("indicator", &["--json"]).run().assert_success().stdout;
        let report: Value = serde_json::from_str(&printed).unwrap();
        let rows = report["rows"].as_array().unwrap();
        rows.iter().filter_map(|row| row["sent"]["messages"].as_u64()).sum()
    }

    fn card(&self, list: &str, wanted: impl Fn(&Value) -> bool) -> &Value {
        let all = self.space.printed()[list].as_array().unwrap();
        all.iter()
            .find(|one| wanted(one))
            .unwrap_or_else(|| panic!("not in {list}"))
    }

    fn address(&self, operator: &str, face: &str) -> String {
        let endpoint = self.card("endpoints", |one| one["operator"] == operator && one["face"] == face);
        endpoint["address"].as_str().unwrap().to_owned()
    }

    /// Every message of a box's INBOX once there are `count`, read by a client nobody here wrote.
    fn inbox(&self, of: &str, count: usize) -> Vec<Value> {
        let login = self.card("logins", |one| {
            one["kind"] == "password" && one["boxes"][0].as_str() == Some(of)
        });
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let imaps = self.address(&text(&login["operator"]), "imaps");
        let (user, password, ca) = (
            text(&login["user"]),
            text(&login["password"]),
            text(&self.space.printed()["ca"]),
        );
        wait_until("the mail has been delivered", DELIVERY_LIMIT, || {
            let read = Program::new("python3")
                .args(["-c", READ_INBOX])
                .args([&imaps, &ca, &user, &password])
                .run()
                .assert_success();
            let messages: Vec<Value> = serde_json::from_str(&read.stdout).unwrap();
            (messages.len() >= count).then_some(messages)
        })
    }

    /// `--server …` with the files of the DUI that opens one box.
    fn by_hand(&self, server: &str) -> Vec<String> {
        let login = self.card("logins", |one| one["name"] == "dui-ehpad");
        let file = |value: &Value| value.as_str().unwrap().to_owned();
        let pairs = [
            ("--server", server.to_owned()),
            ("--cert", file(&login["certificate"])),
            ("--key", file(&login["key"])),
            ("--ca", file(&self.space.printed()["ca"])),
            ("--to", HOSPITAL.to_owned()),
        ];
        pairs
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }
}

/// Prints the messages of INBOX as JSON: header fields, and attachments in hexadecimal.
const READ_INBOX: &str = r#"
import email, email.policy, imaplib, json, ssl, sys
address, ca, user, password = sys.argv[1:]
host, port = address.rsplit(":", 1)
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
with imaplib.IMAP4_SSL(host, int(port), ssl_context=context) as imap:
    imap.login(user, password)
    imap.select("INBOX", readonly=True)
    messages = []
    for number in imap.search(None, "ALL")[1][0].split():
        data = imap.fetch(number, "(BODY.PEEK[])")[1][0][1]
        mail = email.message_from_bytes(data, policy=email.policy.default)
        messages.append({
            "size": len(data),
            "fields": {name.lower(): str(value) for name, value in mail.items()},
            "files": {part.get_filename(): part.get_payload(decode=True).hex() for part in mail.iter_attachments()},
        })
    print(json.dumps(messages))
"#;

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[test]
fn one_mail_of_the_dui_arrives_with_its_page_and_counts_for_the_establishment() {
    let sandbox = Sandbox::up();
    let sent = sandbox.send(&["--to", HOSPITAL]).assert_success();
    assert!(sent.stdout.starts_with("1 of 1 mail sent"), "{sent:#?}");
    assert!(sent.stdout.contains("1 × accepted: 250 2.0.0"), "{sent:#?}");
    assert_eq!(sent.stderr, "", "no progress bar without a terminal");

    let inbox = sandbox.inbox(HOSPITAL, 1);
    assert_eq!(inbox.len(), 1);
    let fields = &inbox[0]["fields"];
    assert!(fields["from"].as_str().unwrap().contains(DUI), "{fields}");
    assert_eq!(fields["to"], HOSPITAL);
    assert_eq!(fields["x-mss-nil"], "BAC-A-SABLE");
    let files = inbox[0]["files"].as_object().unwrap();
    let (name, page) = files.iter().next().unwrap();
    assert_eq!(
        (files.len(), Path::new(name).extension().unwrap().to_str()),
        (1, Some("pdf"))
    );
    assert!(page.as_str().unwrap().starts_with(&hex(b"%PDF-1.4")));

    assert_eq!(sandbox.counted(EHPAD), (1, 1));
    assert_eq!(sandbox.counted_in_all(), 1);
    sandbox.space.interrupt().assert_success();
}

#[test]
fn twenty_mails_at_a_rate_reach_a_service_and_a_patient() {
    let sandbox = Sandbox::up();
    let to = format!("{HOSPITAL},{PATIENT}");
    let words = [
        "--to",
        &to,
        "--count",
        "20",
        "--rate",
        "20",
        "--connections",
        "2",
        "--starttls",
    ];
    let (finished, report) = sandbox.send_json(&words);
    finished.assert_success();
    assert_eq!(report["mails"]["accepted"], 20, "{report:#}");
    assert_eq!(report["replies"].as_array().unwrap().len(), 1, "{report:#}");
    assert_eq!(
        (&report["replies"][0]["code"], &report["replies"][0]["count"]),
        (&250.into(), &40.into())
    );
    // The twentieth is due 19 intervals after the first.
    assert!(report["seconds"].as_f64().unwrap() >= 0.95, "{report:#}");

    for of in [HOSPITAL, PATIENT] {
        let inbox = sandbox.inbox(of, 20);
        let mut ids: Vec<&str> = inbox
            .iter()
            .map(|mail| mail["fields"]["message-id"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((inbox.len(), ids.len()), (20, 20));
    }
    assert_eq!(sandbox.counted(EHPAD), (20, 40));
    assert_eq!(sandbox.counted_in_all(), 20);
    sandbox.command("recount", &[]).run().assert_success();
}

#[test]
fn an_unlisted_recipient_is_refused_and_the_reason_shown() {
    let sandbox = Sandbox::up();
    let refused = sandbox.send(&["--to", "accueil@nowhere.fr"]);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stdout.contains("0 accepted, 1 refused"), "{refused:#?}");
    assert!(refused.stdout.contains("1 × refused: 550 5.7.1"), "{refused:#?}");
    assert!(
        refused.stdout.contains("(recipient-domain-unlisted, session "),
        "{refused:#?}"
    );
    assert_eq!(sandbox.counted_in_all(), 0);

    // Beside a good one, and again over the same connection.
    let (finished, report) = sandbox.send_json(&["--to", "accueil@nowhere.fr", "--to", HOSPITAL, "--count", "3"]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert_eq!(report["mails"]["partly_accepted"], 3, "{report:#}");
    assert_eq!(sandbox.counted(EHPAD), (3, 3));
    assert_eq!(sandbox.inbox(HOSPITAL, 3).len(), 3);
}

#[test]
fn a_box_that_no_certificate_opens_sends_nothing() {
    let sandbox = Sandbox::up();
    for from in ["nobody@lilas.mssante.fr", "soins@ehpad-lilas.mssante.fr"] {
        let refused = sandbox.send(&["--to", HOSPITAL, "--from", from]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(
            refused.stderr.contains(from) && refused.stderr.contains(DUI),
            "{refused:#?}"
        );
        assert_eq!(refused.stdout, "");
    }
    // Asked of the server itself: it says no to the login, with a reason.
    let server = sandbox.address("lilas", "submissions");
    let refused = Space::program()
        .arg("send")
        .args(sandbox.by_hand(&server))
        .args(["--from", SHARED_DUI])
        .run();
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("AUTH: 535"), "{refused:#?}");
    assert_eq!(sandbox.counted_in_all(), 0);
}

#[test]
fn without_a_running_space_it_says_what_to_start() {
    let sandbox = Sandbox::up();
    let data = sandbox.data.path().join("space");
    let Sandbox { space, data: _folder } = sandbox;
    space.interrupt().assert_success();
    let send = |data: &Path| {
        Space::program()
            .args(["send", "--to", HOSPITAL, "--count", "1000", "--data"])
            .arg(data)
            .run()
    };
    let stopped = send(&data);
    assert_eq!(stopped.code, Some(2), "{stopped:#?}");
    let hint = format!("is `vaguemestre up` running on {}?", data.display());
    assert!(stopped.stderr.contains(&hint), "{stopped:#?}");

    let empty = folder();
    let nothing = send(empty.path());
    assert_eq!(nothing.code, Some(2), "{nothing:#?}");
    assert!(nothing.stderr.contains("run `vaguemestre up` first"), "{nothing:#?}");
}

#[test]
fn attached_files_and_fields_arrive_as_they_were() {
    let sandbox = Sandbox::up();
    let files = folder();
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_003).collect();
    let contents: [(&str, &[u8]); 3] = [
        ("20261121_Synthèse_TEST_Alix.pdf", b"%PDF-1.4\r\n.\r\n..\r\n\n\r"),
        ("IHE_XDM.ZIP", &every_byte),
        ("empty.txt", b""),
    ];
    let mut words = vec!["--to".to_owned(), HOSPITAL.to_owned()];
    for (name, bytes) in contents {
        let path = files.path().join(name);
        fs::write(&path, bytes).unwrap();
        words.extend(["--attach".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    for pair in [
        ["--subject", "Synthèse d'essai, sans patient réel"],
        ["--reply-to", "soins@ehpad-lilas.mssante.fr"],
        ["--header", "X-MSS-NIL: DEV000001"],
        ["--header", "X-MSS-CODECDA: 11490-0"],
        ["--size", "300000"],
    ] {
        words.extend(pair.map(str::to_owned));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    sandbox.send(&words).assert_success();

    let inbox = sandbox.inbox(HOSPITAL, 1);
    let received = inbox[0]["files"].as_object().unwrap();
    assert_eq!(received.len(), contents.len(), "{:?}", received.keys());
    for (name, bytes) in contents {
        assert!(received[name] == hex(bytes), "{name} has changed");
    }
    let fields = &inbox[0]["fields"];
    assert_eq!(fields["subject"], "Synthèse d'essai, sans patient réel");
    assert_eq!(fields["reply-to"], "soins@ehpad-lilas.mssante.fr");
    assert_eq!(fields["x-mss-nil"], "DEV000001");
    assert_eq!(fields["x-mss-codecda"], "11490-0");
    assert!(inbox[0]["size"].as_u64().unwrap() >= 300_000);

    let missing = sandbox.send(&["--to", HOSPITAL, "--attach", "/nonexistent/file.pdf"]);
    assert_eq!(missing.code, Some(2), "{missing:#?}");
    assert!(missing.stderr.contains("/nonexistent/file.pdf"), "{missing:#?}");
}

#[test]
fn mail_of_the_shared_dui_counts_for_the_establishment_of_its_answer_box() {
    let sandbox = Sandbox::up();
    let words = [
        "--to",
        HOSPITAL,
        "--from",
        SHARED_DUI,
        "--reply-to",
        "soins@ssiad-lilas.mssante.fr",
    ];
    sandbox.send(&[&words[..], &["--count", "4"]].concat()).assert_success();
    sandbox
        .send(&["--to", HOSPITAL, "--from", DUI, "--count", "3"])
        .assert_success();
    assert_eq!(sandbox.counted(SSIAD), (4, 4));
    assert_eq!(sandbox.counted(EHPAD), (3, 3));
    assert_eq!(sandbox.counted_in_all(), 7);
}

#[test]
fn any_other_operator_is_reached_with_files_and_proved_first() {
    let sandbox = Sandbox::up();
    let run = |server: &str, more: &[&str]| {
        Space::program()
            .arg("send")
            .args(sandbox.by_hand(server))
            .args(["--from", DUI])
            .args(more)
            .run()
    };
    let (implicit, starttls) = (
        sandbox.address("lilas", "submissions"),
        sandbox.address("lilas", "submission"),
    );
    run(&implicit, &[]).assert_success();
    run(&starttls, &["--starttls"]).assert_success();

    // The certificates of a sandbox name the loopback addresses too: some clients check what they typed.
    run(&implicit, &["--check-name"]).assert_success();

    // Authorities that did not issue the server's certificate.
    let elsewhere = folder();
    let stranger = common::Authority::new(elsewhere.path());
    let mut words = sandbox.by_hand(&implicit);
    let ca = words.iter().position(|word| word == "--ca").unwrap();
    words[ca + 1] = stranger.path().display().to_string();
    let untrusted = Space::program().arg("send").args(&words).args(["--from", DUI]).run();
    assert_eq!(untrusted.code, Some(2), "{untrusted:#?}");
    assert!(untrusted.stderr.contains("certificate-untrusted"), "{untrusted:#?}");
    assert_eq!(sandbox.counted(EHPAD), (3, 3));
}

#[test]
fn ctrl_c_ends_it_with_the_summary_so_far() {
    let sandbox = Sandbox::up();
    let words = ["--to", HOSPITAL, "--count", "1000", "--rate", "2", "--json"];
    let sending = sandbox.command("send", &words).start();
    wait_until("some mail is sent", DELIVERY_LIMIT, || {
        (sandbox.counted_in_all() >= 2).then_some(())
    });
    let stopped = sending.stop("INT", Duration::from_secs(20));
    assert_eq!(stopped.code, Some(1), "{stopped:#?}");
    let report: Value = serde_json::from_str(&stopped.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["mails"]["unknown"], 0, "{report:#}");
    assert_eq!(
        report["mails"]["accepted"].as_u64(),
        Some(sandbox.counted_in_all()),
        "{report:#}"
    );
}

#[test]
fn a_connection_that_ends_between_two_mails_is_replaced() {
    let sandbox = Sandbox::up();
    let cutter = Cutter::before(&sandbox.address("lilas", "submissions"));
    let sending = Space::program()
        .arg("send")
        .args(sandbox.by_hand(&cutter.address))
        .args(["--from", DUI, "--count", "2", "--rate", "0.3", "--json"])
        .start();
    wait_until("the first mail is accepted", DELIVERY_LIMIT, || {
        (sandbox.counted_in_all() == 1).then_some(())
    });
    cutter.cut.store(true, Ordering::SeqCst);
    let sent = sending.wait(DELIVERY_LIMIT).assert_success();
    let report: Value = serde_json::from_str(&sent.stdout).unwrap();
    assert_eq!(report["mails"]["accepted"], 2, "{report:#}");
    assert_eq!(cutter.connections.load(Ordering::SeqCst), 2);
    assert_eq!(sandbox.counted(EHPAD), (2, 2));
}

/// Stands between client and server, and ends the first connection when told, once nothing moves on it.
struct Cutter {
    address: String,
    cut: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Cutter {
    fn before(server: &str) -> Self {
        let server: SocketAddr = server.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (cut, connections) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (told, counted) = (Arc::clone(&cut), Arc::clone(&connections));
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
                let told = if first { Arc::clone(&told) } else { Arc::default() };
                join(&client.unwrap(), &TcpStream::connect(server).unwrap(), &told);
            }
        });
        Self {
            address,
            cut,
            connections,
        }
    }
}

fn join(client: &TcpStream, server: &TcpStream, told: &Arc<AtomicBool>) {
    for (from, to) in [(client, server), (server, client)] {
        let (from, to, told) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(told));
        thread::spawn(move || copy(from, to, &told));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, told: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && !told.load(Ordering::SeqCst) => {}
            _ => break,
        }
    }
    // Both may be closed already, which is what is wanted.
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
