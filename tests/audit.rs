//! The audit peers, on the real binary: each is refused, or let through, in both directions and for its own reason.

#![cfg(test)]

mod common;

use std::time::Duration;

use serde_json::Value;

use common::{Finished, Space, folder, wait_until};

/// A space with its audit peers raised.
struct Audited {
    space: Space,
    _data: tempfile::TempDir,
}

impl Audited {
    fn up() -> Self {
        let data = folder();
        let space = Space::up(data.path(), &["--free-ports", "--audit"]);
        Self { space, _data: data }
    }

    #[track_caller]
    fn audit(&self, words: &[&str]) -> Finished {
        Space::program()
            .arg("audit")
            .args(words)
            .arg("--data")
            .arg(self.space.data())
            .within(Duration::from_mins(3))
            .run()
    }
}

const PEERS: [&str; 7] = [
    "cert-valide",
    "cert-expire",
    "cert-revoque",
    "cert-non-igc",
    "cert-no-match",
    "cert-cn-diff-dn",
    "sans-tls",
];

#[track_caller]
fn row<'a>(score: &'a Value, id: &str) -> &'a Value {
    let rows = score["rows"].as_array().unwrap();
    rows.iter()
        .find(|row| row["id"] == id)
        .unwrap_or_else(|| panic!("no {id} in {score}"))
}

#[test]
fn every_audit_peer_meets_its_fate_in_both_directions_for_its_own_reason() {
    let audited = Audited::up();
    let junit = audited.space.data().join("audit.xml");
    let ran = audited
        .audit(&["run", "--json", "--junit", junit.to_str().unwrap()])
        .assert_success();
    let score: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(score["passed"], 14, "{score}");
    assert_eq!(score["percent"], 100, "{score}");
    for (peer, reason) in [
        ("cert-expire", "certificate-expired"),
        ("cert-revoque", "certificate-revoked"),
        ("cert-non-igc", "certificate-untrusted"),
        ("cert-no-match", "certificate-not-for-domain"),
        ("cert-cn-diff-dn", "certificate-not-for-domain"),
        ("sans-tls", "tls-required"),
    ] {
        let inbound = row(&score, &format!("from {peer}"))["observed"]
            .as_str()
            .unwrap()
            .to_owned();
        if peer == "sans-tls" {
            assert!(inbound.contains("530 5.7.0"), "{inbound}");
        } else {
            assert!(inbound.contains(reason), "{peer}: {inbound}");
        }
        let domain = format!("{peer}-audit.espacedeconfiance.mssante.fr");
        let told = |record: &Value| {
            let text = record.to_string();
            let name = record["event"].as_str().unwrap_or_default();
            (name == "deferred" || name == "bounced") && text.contains(&domain)
        };
        let why = wait_until(
            &format!("the journal says why {peer} got nothing"),
            Duration::from_secs(30),
            || {
                let records = ["deferred", "bounced"]
                    .map(|event| audited.space.journal(event))
                    .concat();
                records.into_iter().find(&told)
            },
        );
        let why = why.to_string();
        if peer == "sans-tls" {
            assert!(why.contains("STARTTLS"), "{why}");
        } else {
            assert!(why.contains(reason), "{peer}: {why}");
        }
    }
    let text = std::fs::read_to_string(&junit).unwrap();
    assert_eq!(text.matches("<testcase ").count(), 14, "{text}");
    assert!(!text.contains("<failure"), "{text}");
    // What the control received is on disk, whole.
    let received = audited.space.data().join("audit/cert-valide/received");
    let letters: Vec<_> = std::fs::read_dir(received).unwrap().collect();
    assert_eq!(letters.len(), 1);
    let letter = std::fs::read_to_string(letters[0].as_ref().unwrap().path()).unwrap();
    assert!(
        letter.contains("Audit de l'espace de confiance") || letter.contains("audit.cert-valide."),
        "{letter}"
    );
}

#[test]
fn a_box_with_a_password_writes_to_the_peers_by_itself() {
    let audited = Audited::up();
    let ran = audited.audit(&["run", "--json", "--to", "soins@ehpad-lilas.mssante.fr"]);
    let ran = ran.assert_success();
    assert!(!ran.stderr.contains("now send a mail"), "{ran:?}");
    let score: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(score["passed"], 14, "{score}");
}

#[test]
fn peers_are_off_until_raised_survive_a_restart_and_leave_without_a_trace_on_the_list() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let list = || std::fs::read_to_string(data.path().join("listeblanchemssante.xml")).unwrap();
    let audit = |words: &[&str]| {
        Space::program()
            .arg("audit")
            .args(words)
            .arg("--data")
            .arg(data.path())
            .run()
    };
    assert!(!list().contains("espacedeconfiance"));
    let stopped = audit(&["stop"]);
    assert!(
        stopped.code != Some(0) && stopped.stderr.contains("no audit peer is raised"),
        "{stopped:?}"
    );
    audit(&["raise"]).assert_success();
    for peer in PEERS {
        assert!(
            list().contains(&format!("{peer}-audit.espacedeconfiance.mssante.fr")),
            "{peer}"
        );
    }
    assert!(audit(&["raise"]).assert_success().stdout.contains("raised already"));
    space.interrupt();
    let space = Space::up(data.path(), &["--free-ports"]);
    let listed: Value = serde_json::from_str(&audit(&["list", "--json"]).assert_success().stdout).unwrap();
    for peer in listed.as_array().unwrap() {
        let address = peer["address"].as_str().unwrap();
        std::net::TcpStream::connect(address).unwrap_or_else(|error| panic!("{peer}: {error}"));
    }
    audit(&["stop"]).assert_success();
    assert!(!list().contains("espacedeconfiance"));
    let valid = listed[0]["address"].as_str().unwrap();
    wait_until("the peers' ports are closed", Duration::from_secs(10), || {
        std::net::TcpStream::connect(valid).is_err().then_some(())
    });
    drop(space);
}

#[test]
fn a_server_that_trusts_everybody_fails_the_audit() {
    let audited = Audited::up();
    // The control peer itself takes mail from anybody, in TLS: a server without any check.
    let listed: Value = serde_json::from_str(&audited.audit(&["list", "--json"]).assert_success().stdout).unwrap();
    let open = listed[0]["address"].as_str().unwrap();
    let to = "controle@cert-valide-audit.espacedeconfiance.mssante.fr";
    let ran = audited.audit(&["run", "--json", "--to", to, "--target", open, "--for", "0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let score: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(row(&score, "from cert-valide")["verdict"], "passed");
    for peer in [
        "cert-expire",
        "cert-revoque",
        "cert-non-igc",
        "cert-no-match",
        "cert-cn-diff-dn",
    ] {
        assert_eq!(row(&score, &format!("from {peer}"))["verdict"], "failed", "{score}");
        assert_eq!(row(&score, &format!("to {peer}"))["verdict"], "skipped", "{score}");
    }
}
