//! The peers of other tests, tried on each other: a test that fails against Vaguemestre then says something about Vaguemestre.

#![cfg(test)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use common::{Authority, Imapc, Postfix, PostfixOptions, Program, Route, Upstream, folder, free_port, wait_until};

/// One SMTP command in clear, and the whole reply.
fn say(stream: &mut BufReader<TcpStream>, command: &str) -> String {
    stream.get_mut().write_all(command.as_bytes()).unwrap();
    let mut reply = String::new();
    loop {
        let start = reply.len();
        assert_ne!(
            stream.read_line(&mut reply).unwrap(),
            0,
            "the server left after {reply:?}"
        );
        if reply.as_bytes().get(start + 3) == Some(&b' ') {
            return reply;
        }
    }
}

#[test]
fn postfix_greets_and_wants_tls_before_mail() {
    let files = folder();
    let authority = Authority::new(files.path());
    let postfix = Postfix::start(&PostfixOptions {
        domain: "clinique.mssante.fr",
        host: "mx.clinique.mssante.fr",
        boxes: &["accueil"],
        certificate: &authority.issue("mx.clinique.mssante.fr"),
        authority: &authority.path(),
        listed_peers: None,
        routes: &[],
    });
    let stream = TcpStream::connect(("127.0.0.1", postfix.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = BufReader::new(stream);
    assert!(say(&mut stream, "").starts_with("220 mx.clinique.mssante.fr"));
    assert!(say(&mut stream, "EHLO mx.autre.mssante.fr\r\n").contains("STARTTLS"));
    let refused = say(&mut stream, "MAIL FROM:<a@autre.mssante.fr>\r\n");
    assert!(refused.starts_with("530 5.7.0"), "{refused}");

    let master = format!("/proc/{}", postfix.master_pid().unwrap());
    assert!(Path::new(&master).exists());
    drop(postfix);
    assert!(!Path::new(&master).exists(), "the test left a Postfix behind");
}

#[test]
fn one_postfix_sends_to_another_with_its_certificate_and_only_when_listed() {
    let files = folder();
    let authority = Authority::new(files.path());
    let listed = authority.issue("mx.hopital.mssante.fr");
    let unlisted = authority.issue("mx.inconnu.mssante.fr");
    let fingerprint = sha256_fingerprint(&listed.certificate);
    let receiver = Postfix::start(&PostfixOptions {
        domain: "clinique.mssante.fr",
        host: "mx.clinique.mssante.fr",
        boxes: &["accueil"],
        certificate: &authority.issue("mx.clinique.mssante.fr"),
        authority: &authority.path(),
        listed_peers: Some(&[fingerprint]),
        routes: &[],
    });
    let route = Route {
        domain: "clinique.mssante.fr",
        port: receiver.port(),
        host: "mx.clinique.mssante.fr",
    };
    let sender = |domain, host, certificate| {
        Postfix::start(&PostfixOptions {
            domain,
            host,
            boxes: &["medecin"],
            certificate,
            authority: &authority.path(),
            listed_peers: None,
            routes: std::slice::from_ref(&route),
        })
    };
    let message = "From: medecin@hopital.mssante.fr\nSubject: essai\n\nBonjour\n";

    let good = sender("hopital.mssante.fr", "mx.hopital.mssante.fr", &listed);
    good.send("medecin@hopital.mssante.fr", &["accueil@clinique.mssante.fr"], message);
    let mail = receiver.wait_for_mail("accueil", "Bonjour");
    assert!(mail.contains("mx.hopital.mssante.fr"), "{mail}");

    let bad = sender("inconnu.mssante.fr", "mx.inconnu.mssante.fr", &unlisted);
    bad.send("medecin@inconnu.mssante.fr", &["accueil@clinique.mssante.fr"], message);
    bad.wait_for_log(&["status=bounced", "Access denied"]);
    bad.wait_for_mail("medecin", "Undelivered Mail");
    assert_eq!(receiver.mails("accueil").len(), 1);
}

#[test]
fn dovecot_asks_the_server_behind_it() {
    let files = folder();
    let authority = Authority::new(files.path());
    let nobody = free_port();
    let imapc = Imapc::start(&Upstream {
        host: "localhost",
        port: nobody,
        authority: &authority.path(),
        user: "accueil@clinique.mssante.fr",
        password: "secret",
    });
    let listed = Program::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--user",
            "accueil@clinique.mssante.fr:secret",
        ])
        .arg(format!("imap://127.0.0.1:{}/INBOX", imapc.port()))
        .run();
    listed.assert_failure();
    assert!(imapc.log().contains(&format!("localhost:{nobody}")), "{}", imapc.log());
}

#[test]
fn a_program_that_hangs_is_ended_by_the_limit() {
    let running = Program::new("cat").arg("/dev/zero").start();
    let pid = running.pid();
    running.kill();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let in_vain = std::panic::catch_unwind(|| {
        Program::new("tail")
            .args(["-f", "/dev/null"])
            .within(Duration::from_millis(50))
            .run()
    });
    assert!(in_vain.is_err(), "the limit should have failed the test");
}

#[test]
fn output_input_and_exit_codes_are_kept() {
    let finished = Program::new("sh")
        .args(["-c", "cat; echo out; echo err >&2; exit 3"])
        .input("in\n")
        .run();
    assert_eq!(
        (finished.code, finished.stdout.as_str(), finished.stderr.as_str()),
        (Some(3), "in\nout\n", "err\n")
    );
    finished.assert_failure();
}

#[test]
fn a_wait_ends_as_soon_as_there_is_something() {
    let mut looks = 0;
    let found = wait_until("three looks", Duration::from_secs(10), || {
        looks += 1;
        (looks == 3).then_some("there")
    });
    assert_eq!((found, looks), ("there", 3));
}

fn sha256_fingerprint(certificate: &Path) -> String {
    let printed = Program::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(certificate)
        .run()
        .assert_success();
    let (_, fingerprint) = printed.stdout.trim().split_once('=').unwrap();
    fingerprint.to_owned()
}
