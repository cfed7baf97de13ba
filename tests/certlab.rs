//! `certlab` against software that we did not write, and against our own faces: ours score 100 %, the others show what they cannot see.

#![cfg(test)]

mod common;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use common::{
    Finished, Named, Pki, Postfix, PostfixOptions, Program, Running, Sandbox, Space, folder, free_port, wait_until,
};

#[track_caller]
fn certlab(data: &Path, words: &[&str]) -> Finished {
    Space::program()
        .arg("certlab")
        .args(words)
        .arg("--data")
        .arg(data)
        .within(Duration::from_mins(4))
        .run()
}

#[track_caller]
fn score(ran: &Finished) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[track_caller]
fn verdict<'a>(score: &'a Value, id: &str) -> &'a str {
    let rows = score["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["id"] == id);
    row.unwrap_or_else(|| panic!("no {id} in {score}"))["verdict"]
        .as_str()
        .unwrap()
}

fn failed(score: &Value) -> Vec<String> {
    let rows = score["rows"].as_array().unwrap();
    let failed = rows.iter().filter(|row| row["verdict"] == "failed");
    failed
        .map(|row| format!("{}: {}", row["id"], row["observed"]))
        .collect()
}

/// Nothing of ours trusts what it should not, nor refuses what it should not.
#[track_caller]
fn assert_whole(sandbox: &Sandbox, face: &str) {
    let target = format!("127.0.0.1:{}", sandbox.port("lilas", face));
    let ran = certlab(sandbox.data(), &["probe", &target, "--json"]);
    let score = score(&ran);
    assert!(failed(&score).is_empty(), "{face}: {:#?}", failed(&score));
    assert_eq!((score["percent"].as_u64(), ran.code), (Some(100), Some(0)), "{score}");
    assert!(score["target"].as_str().unwrap().starts_with(face), "{score}");
    assert_eq!(verdict(&score, "expired"), "passed");
    assert_eq!(verdict(&score, "revoked"), "passed");
}

#[test]
fn the_peer_face_scores_everything() {
    assert_whole(&Sandbox::shared(), "smtp");
}

#[test]
fn the_faces_of_clients_score_everything() {
    let sandbox = Sandbox::shared();
    for face in ["submission", "submissions", "imap", "imaps"] {
        assert_whole(&sandbox, face);
    }
}

#[test]
fn a_probe_leaves_nothing_behind_unless_it_is_told_to() {
    let sandbox = Sandbox::up();
    let target = format!("127.0.0.1:{}", sandbox.port("lilas", "smtp"));
    let received = || sandbox.journal(&["--event", "received"]).len();
    certlab(sandbox.data(), &["probe", &target, "--only", "control"]).assert_success();
    assert_eq!(received(), 0);
    certlab(sandbox.data(), &["probe", &target, "--only", "expired", "--deliver"]).assert_success();
    assert!(received() > 0);
}

#[test]
fn a_server_that_does_not_trust_the_authority_is_told_so_and_gets_no_score() {
    let sandbox = Sandbox::shared();
    let other = folder();
    let pki = Pki::root(other.path(), "elsewhere");
    let server = openssl_server(&pki, &pki.authority.certificate, &["-verify_return_error"]);
    let target = format!("127.0.0.1:{}", server.port);
    let ran = certlab(sandbox.data(), &["probe", &target, "--face", "tls"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains("Nothing was scored") && ran.stderr.contains("ca.pem"),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains('%'), "{ran:?}");
}

#[test]
fn openssl_without_revocation_lists_is_caught_trusting_the_revoked_only() {
    let sandbox = Sandbox::shared();
    let files = folder();
    let pki = Pki::of_sandbox(sandbox.data(), files.path());
    let server = openssl_server(&pki, Path::new(sandbox.authority()), &["-verify_return_error"]);
    let target = format!("127.0.0.1:{}", server.port);
    let junit = files.path().join("score.xml");
    let ran = certlab(
        sandbox.data(),
        &[
            "probe",
            &target,
            "--face",
            "tls",
            "--json",
            "--junit",
            junit.to_str().unwrap(),
        ],
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let score = score(&ran);
    for id in ["expired", "not-yet-valid", "self-signed", "foreign-issuer"] {
        assert_eq!(verdict(&score, id), "passed", "{score}");
    }
    assert_eq!(verdict(&score, "revoked"), "failed", "{score}");
    assert!(
        std::fs::read_to_string(junit)
            .unwrap()
            .contains("name=\"revoked\"><failure")
    );
}

#[test]
fn old_handshakes_are_recognised_on_a_server_that_allows_them() {
    let sandbox = Sandbox::shared();
    let files = folder();
    let pki = Pki::of_sandbox(sandbox.data(), files.path());
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-verify_return_error"];
    let server = openssl_server(&pki, Path::new(sandbox.authority()), &old);
    let target = format!("127.0.0.1:{}", server.port);
    // A server of old handshakes only refuses the control: the hand-written message is what reaches it.
    let ran = certlab(
        sandbox.data(),
        &["probe", &target, "--face", "tls", "--only", "protocol"],
    );
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("protocol_version"), "{ran:?}");
}

/// What Postfix sees of a peer: chain and dates; neither revocation nor the list.
#[test]
fn postfix_alone_sees_neither_revocation_nor_the_allow_list() {
    let sandbox = Sandbox::shared();
    let files = folder();
    let pki = Pki::of_sandbox(sandbox.data(), files.path());
    let certificate = pki.issue("postfix", POSTFIX);
    let postfix = Postfix::start(&PostfixOptions {
        domain: "postfix.mssante.fr",
        host: POSTFIX.name,
        boxes: &["accueil"],
        certificate: &certificate,
        authority: Path::new(sandbox.authority()),
        listed_peers: None,
        routes: &[],
    });
    let target = format!("127.0.0.1:{}", postfix.port());
    let to = "accueil@postfix.mssante.fr";
    let ran = certlab(sandbox.data(), &["probe", &target, "--recipient", to, "--json"]);
    let score = score(&ran);
    assert_eq!(ran.code, Some(1), "{score}");
    for id in ["expired", "not-yet-valid", "self-signed", "foreign-issuer"] {
        assert_eq!(verdict(&score, id), "passed", "{score}");
    }
    assert_eq!(verdict(&score, "revoked"), "failed", "{score}");
    assert!(postfix.mails("accueil").is_empty(), "nothing is left behind");
}

#[test]
fn a_client_that_verifies_passes_and_one_that_does_not_is_caught() {
    let sandbox = Sandbox::up();
    let files = folder();
    let junit = files.path().join("clients.xml");
    let servers = Space::program()
        .args([
            "certlab",
            "serve",
            "--json",
            "--once",
            "--for",
            "120",
            "--only",
            "expired,foreign-issuer",
            "--files",
        ])
        .arg(files.path())
        .arg("--junit")
        .arg(&junit)
        .arg("--data")
        .arg(sandbox.data())
        .start();
    let transport = wait_until("the servers listen", Duration::from_mins(1), || {
        std::fs::read_to_string(files.path().join("transport")).ok()
    });
    let mut careless = 0;
    for line in transport.lines() {
        let port = line.rsplit(':').next().unwrap();
        let trusts_all = line.starts_with("foreign-issuer.");
        careless += usize::from(trusts_all);
        visit(port, sandbox.authority(), trusts_all);
    }
    assert_eq!(careless, 1, "{transport}");
    let ran = servers.wait(Duration::from_mins(1));
    let score = score(&ran);
    assert_eq!(ran.code, Some(1), "{score}");
    assert_eq!(verdict(&score, "expired"), "passed", "{score}");
    assert_eq!(verdict(&score, "foreign-issuer"), "failed", "{score}");
    assert_eq!(failed(&score).len(), 1, "the controls were trusted: {score}");
}

/// `openssl s_client` as a sending server: EHLO, STARTTLS, and MAIL if it went on.
fn visit(port: &str, authority: &str, trusts_all: bool) {
    let mut client = Program::new("openssl").args([
        "s_client",
        "-connect",
        &format!("127.0.0.1:{port}"),
        "-starttls",
        "smtp",
        "-quiet",
        "-crlf",
        "-CAfile",
        authority,
    ]);
    if !trusts_all {
        client = client.arg("-verify_return_error");
    }
    client
        .input("EHLO client.localhost\nMAIL FROM:<essai@lilas.mssante.fr>\nQUIT\n")
        .run();
}

#[test]
fn the_catalogue_can_be_listed_for_people_and_programs() {
    let data = folder();
    let text = certlab(data.path(), &["list"]).assert_success().stdout;
    assert!(text.contains("expired") && text.contains("revoked"), "{text}");
    let listed = certlab(data.path(), &["list", "--json", "--only", "validity"]).assert_success();
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert!(listed.as_array().unwrap().iter().all(|one| one["group"] == "validity"));
    assert_eq!(listed[0]["expected"]["peer-in"], "certificate-expired");
    let unknown = certlab(data.path(), &["list", "--only", "nonsense"]);
    assert!(
        unknown.code != Some(0) && unknown.stderr.contains("certlab list"),
        "{unknown:?}"
    );
}

struct Server {
    _program: Running,
    port: u16,
}

/// `openssl s_server` that demands a client certificate of an authority.
fn openssl_server(pki: &Pki, authority: &Path, more: &[&str]) -> Server {
    let certificate = pki.issue("server", SERVER);
    let port = free_port();
    let program = Program::new("openssl")
        .args([
            "s_server",
            "-www",
            "-Verify",
            "4",
            "-accept",
            &format!("127.0.0.1:{port}"),
        ])
        .arg("-CAfile")
        .arg(authority)
        .arg("-cert")
        .arg(&certificate.certificate)
        .arg("-key")
        .arg(&certificate.key)
        .args(more)
        .start();
    wait_until("openssl listens", Duration::from_secs(20), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    Server {
        _program: program,
        port,
    }
}

const SERVER: Named<'_> = Named {
    department: "Ain (01)",
    organisation: "SERVEUR SOUS TEST",
    structure: "1990000283",
    name: "server.localhost",
};
const POSTFIX: Named<'_> = Named {
    name: "mx.postfix.localhost",
    ..SERVER
};
