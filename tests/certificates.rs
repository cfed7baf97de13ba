//! The certificates of a space over their whole life, by commands: issued, shown, converted, put on hold, revoked, renewed; and the services
//! of the authority when they fail. Judged by openssl, curl and the mail that flows or not.

#![cfg(test)]

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::{Certificate, Finished, Peer, Program, Sandbox, Space, folder, letter};

const NURSE: (&str, &str) = ("lilas", "soins@ehpad-lilas.mssante.fr");
const DOCTOR: (&str, &str) = ("ville", "lucie.specimen@medecin.ville-demo.mssante.fr");
const VILLE: &str = "mx.ville.localhost";

#[test]
fn a_certificate_is_issued_for_a_key_of_ones_own_shown_and_found_again() {
    let (sandbox, files) = (Sandbox::shared(), folder());
    let at = |name: &str| path(files.path(), name);
    request(files.path(), "mx.demande.localhost");
    let space = sandbox.space();
    let csr = at("own.csr");
    let issued = space.order(&["cert", "issue", "serv-ssl", "--csr", &csr, "--out", &at("")]);
    let serial = text(&issued["serial"]);
    assert!(!files.path().join("key.pem").exists(), "the key stays where it is");
    openssl(&[
        "x509",
        "-noout",
        "-pubkey",
        "-in",
        &at("cert.pem"),
        "-out",
        &at("of-it.pub"),
    ]);
    openssl(&["pkey", "-pubout", "-in", &at("own.key"), "-out", &at("own.pub")]);
    let read = |name: &str| fs::read_to_string(files.path().join(name)).unwrap();
    assert_eq!(read("of-it.pub"), read("own.pub"));
    openssl(&[
        "verify",
        "-CAfile",
        sandbox.authority(),
        "-untrusted",
        &at("cert.pem"),
        &at("cert.pem"),
    ]);
    for (words, found) in [
        (&["--subject", "MX.DEMANDE"][..], true),
        (
            &["--subject", "mx.demande", "--profile", "serv-ssl", "--state", "valid"],
            true,
        ),
        (&["--subject", "mx.demande", "--profile", "org-sign"], false),
        (&["--subject", "mx.demande", "--state", "revoked"], false),
        (&["--subject", "mx.demande", "--ends-within", "30"], false),
        (&["--subject", "mx.demande", "--ends-within", "1200"], true),
    ] {
        let listed = space.order(&[&["cert", "list"], words].concat());
        let serials: Vec<&Value> = listed.as_array().unwrap().iter().map(|one| &one["serial"]).collect();
        assert_eq!(
            serials,
            if found { vec![&issued["serial"]] } else { vec![] },
            "{words:?}"
        );
    }
    let odd = space.command(&["cert", "list", "--state", "lost"]).assert_failure();
    says(&odd, &["no state \"lost\"", "valid, revoked, expired"]);
    let seen = space.command(&["cert", "inspect", &at("cert.pem")]).assert_success();
    says(
        &seen,
        &[
            &serial,
            "issued here, valid",
            "not in this file",
            "mx.demande.localhost",
        ],
    );
}

#[test]
fn a_file_is_inspected_and_converted_in_every_form() {
    let (sandbox, files) = (Sandbox::shared(), folder());
    let at = |name: &str| path(files.path(), name);
    let space = sandbox.space();
    let subject = "org-auth-cli --cn logiciel.formes --structure 1990000283 --organisation ESSAI --department Ain";
    let words: Vec<&str> = ["cert", "issue"].into_iter().chain(subject.split(' ')).collect();
    let more = ["--out", &at(""), "--password", "deux mots"];
    let serial = text(&space.order(&[&words[..], &more].concat())["serial"]);
    let (pem, key) = (at("cert.pem"), at("key.pem"));
    let export = |words: &[&str]| space.command(&[&["cert", "export"], words].concat()).assert_success();
    export(&[&serial, "--format", "der", "--out", &at("cert.der")]);
    let modern = space.command(&["cert", "inspect", &at("cert.p12"), "--password", "deux mots"]);
    says(&modern.assert_success(), &[&serial, "the private key is in the file"]);
    let wrong = space
        .command(&["cert", "inspect", &at("cert.p12"), "--password", "un mot"])
        .assert_failure();
    says(&wrong, &["cert.p12", "password"]);
    says(
        &space.command(&["cert", "inspect", &at("cert.der")]).assert_success(),
        &[&serial, "logiciel.formes"],
    );
    fs::write(at("none"), "nothing of the kind").unwrap();
    says(
        &space.command(&["cert", "inspect", &at("none")]).assert_failure(),
        &["neither PEM"],
    );
    let p12 = ["--format", "p12", "--legacy", "--password", "ancien", "--out"];
    export(&[&[pem.as_str(), "--key", &key][..], &p12, &[&at("old.p12")]].concat());
    let old = openssl(&[
        "pkcs12",
        "-legacy",
        "-in",
        &at("old.p12"),
        "-passin",
        "pass:ancien",
        "-nodes",
        "-info",
    ]);
    says(&old, &["BEGIN PRIVATE KEY", "3-KeyTripleDES-CBC", "MAC: sha1"]);
    export(&[&pem, "--format", "p7b", "--out", &at("chain.p7b")]);
    let chain = openssl(&[
        "pkcs7",
        "-inform",
        "DER",
        "-in",
        &at("chain.p7b"),
        "-print_certs",
        "-noout",
    ]);
    assert_eq!(chain.stdout.matches("subject=").count(), 2, "{chain:?}");
    export(&["--trust", "--out", &at("trust.pem")]);
    openssl(&["verify", "-CAfile", &at("trust.pem"), &pem]);
    let keyless = space.command(&["cert", "export", &serial, "--format", "p12", "--out", &at("x.p12")]);
    says(&keyless.assert_failure(), &["give it with --key FILE"]);
}

#[test]
fn a_certificate_is_held_released_and_revoked_once() {
    let (sandbox, files) = (Sandbox::shared(), folder());
    let space = sandbox.space();
    request(files.path(), "mx.suspendu.localhost");
    let (csr, out) = (path(files.path(), "own.csr"), path(files.path(), ""));
    let issued = space.order(&["cert", "issue", "serv-ssl", "--csr", &csr, "--out", &out]);
    let serial = text(&issued["serial"]);
    let cert = |words: &[&str]| space.command(&[&["cert"], words].concat());
    says(&cert(&["revoke", &serial, "--hold"]).assert_success(), &["put on hold"]);
    says(
        &cert(&["list", "--subject", "mx.suspendu"]),
        &["revoked", "certificate-hold"],
    );
    says(
        &cert(&["release", &serial]).assert_success(),
        &["off hold and good again"],
    );
    says(&cert(&["list", "--subject", "mx.suspendu"]), &["valid"]);
    let reason = ["revoke", &serial, "--reason", "key-compromise"];
    assert_eq!(space.order(&[&["cert"], &reason[..]].concat())["changed"], true);
    let again = space.order(&["cert", "revoke", &serial]);
    assert_eq!(again["changed"], false);
    says(
        &cert(&["revoke", &serial]),
        &["was revoked already", "key-compromise", "nothing has changed"],
    );
    cert(&["release", &serial]).assert_failure();
    says(
        &cert(&["revoke", "00ff00ff"]).assert_failure(),
        &["no certificate \"00ff00ff\"", "cert list"],
    );
    let renewed = cert(&["renew", &serial, "--out", &out]).assert_success();
    says(&renewed, &["stays revoked since", "(key-compromise)"]);
    assert!(!renewed.stdout.contains("unless you revoke it"), "{renewed:?}");
}

#[test]
fn a_revoked_host_is_refused_in_both_directions_until_its_certificate_is_renewed_in_place() {
    let sandbox = Sandbox::up();
    let space = sandbox.space();
    let files = space.certificate("ville", VILLE);
    let before = fs::read(&files.certificate).unwrap();
    space.order(&["cert", "revoke", VILLE, "--reason", "key-compromise"]);
    let mail = letter(DOCTOR.1, NURSE.1, "revoque");
    let replies = ville(&sandbox).offer(DOCTOR.1, &[NURSE.1], &mail);
    replies.assert_refused("ehlo", &["554 ", "(certificate-revoked, session "]);
    explained(&sandbox, &replies.0.last().unwrap().1);
    space.send(NURSE, DOCTOR.1, &letter(NURSE.1, DOCTOR.1, "vers le revoque"));
    space.wait_for_record("deferred", &["certificate-revoked", DOCTOR.1]);
    let short = space
        .command(&["cert", "renew", VILLE, "--days", "30"])
        .assert_failure();
    says(&short, &["within 30 days", "--out DIR"]);
    let renewed = space.command(&["cert", "renew", VILLE]).assert_success();
    says(
        &renewed,
        &["every handshake from now on", "stays revoked since", "(key-compromise)"],
    );
    assert!(!renewed.stdout.contains("unless you revoke it"), "{renewed:?}");
    assert_ne!(fs::read(&files.certificate).unwrap(), before);
    let p12 = path(files.certificate.parent().unwrap(), "cert.p12");
    openssl(&["pkcs12", "-in", &p12, "-passin", "pass:sandbox", "-nokeys"]);
    ville(&sandbox)
        .offer(DOCTOR.1, &[NURSE.1], &letter(DOCTOR.1, NURSE.1, "aller"))
        .assert_accepted();
    space.wait_for_mail(NURSE, &["aller"]);
    space.send(NURSE, DOCTOR.1, &letter(NURSE.1, DOCTOR.1, "retour"));
    space.wait_for_mail(DOCTOR, &["retour"]);
    login_renewed_with_its_key(&sandbox);
}

/// A login keeps its key, and the one before is revoked once the new one is in its folder.
#[track_caller]
fn login_renewed_with_its_key(sandbox: &Sandbox) {
    let space = sandbox.space();
    let key = fs::read(sandbox.login("dui-ehpad", "key")).unwrap();
    let renewed = space.order(&["cert", "renew", "dui-ehpad", "--same-key", "--revoke-old"]);
    assert_eq!(renewed["in_use"], true);
    assert_eq!(renewed["before"]["revocation"]["reason"], "superseded");
    assert_eq!(fs::read(sandbox.login("dui-ehpad", "key")).unwrap(), key);
    let seen = space
        .command(&["cert", "inspect", sandbox.login("dui-ehpad", "pkcs12")])
        .assert_success();
    says(
        &seen,
        &[
            &text(&renewed["serial"]),
            "issued here, valid",
            "the private key is in the file",
        ],
    );
    let visit = space
        .command(&["doctor", "--lang", "en", "--login", "dui-ehpad"])
        .assert_success();
    says(&visit, &["✓ revocation"]);
    assert!(!visit.stdout.contains("nobody can tell"), "{visit:?}");
    space.order(&["cert", "revoke", &text(&renewed["serial"])]);
    let visit = space
        .command(&["doctor", "--lang", "en", "--login", "dui-ehpad"])
        .assert_failure();
    says(&visit, &["First failing step: your certificate", "certificate-revoked"]);
    let words = [
        "--cert",
        sandbox.login("dui-ehpad", "certificate"),
        "--key",
        sandbox.login("dui-ehpad", "key"),
    ];
    let at = format!("127.0.0.1:{}", sandbox.port("lilas", "submission"));
    let more = ["doctor", "--lang", "en", "--host", &at, "--ca", sandbox.authority()];
    let visit = space.command(&[&more[..], &words].concat()).assert_failure();
    says(&visit, &["not looked at: no --crl"]);
}

/// What the session of a reply was refused for, for whoever reads one language or the other.
#[track_caller]
fn explained(sandbox: &Sandbox, reply: &str) {
    let (_, rest) = reply.split_once("session ").expect("a session in the reply");
    let id = rest.split(')').next().unwrap();
    for (language, words) in [
        ("fr", ["✗ révocation", "was revoked on", "le pair"]),
        ("en", ["✗ revocation", "was revoked on", "the peer"]),
    ] {
        let told = sandbox
            .space()
            .command(&["explain", id, "--lang", language])
            .assert_success();
        says(&told, &["certificate-revoked"]);
        says(&told, &words);
    }
}

#[test]
fn faults_of_the_authority_are_seen_by_its_clients_until_they_are_cleared() {
    let (sandbox, files) = (Sandbox::shared(), folder());
    let space = sandbox.space();
    let fault = |words: &[&str]| space.command(&[&["authority", "fault"], words].concat());
    let leaf = space.certificate("lilas", "mx.lilas.localhost").certificate;
    let url = first_url(&leaf, "crlDistributionPoints");
    let fetched = || {
        let curl =
            Program::new("curl").args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", &url]);
        curl.run().assert_success().stdout
    };
    assert_eq!(fetched(), "200", "{url}");
    says(
        &fault(&["set", "crl", "unreachable"]).assert_success(),
        &["unreachable", "as it should be"],
    );
    assert_eq!(fetched(), "503");
    says(&fault(&["list"]).assert_success(), &["crl   unreachable"]);
    fault(&["clear", "crl"]).assert_success();
    assert_eq!(fetched(), "200");
    let asked = || ocsp(&sandbox, files.path(), &leaf);
    says(&asked(), &["Response verify OK", "cert.pem: good"]);
    fault(&["set", "ocsp", "unknown"]).assert_success();
    says(&asked(), &["Response verify OK", "cert.pem: unknown"]);
    fault(&["set", "ocsp", "wrong-signer"]).assert_success();
    says(&asked(), &["Response Verify Failure"]);
    fault(&["clear"]).assert_success();
    says(&asked(), &["Response verify OK", "cert.pem: good"]);
    says(&fault(&["set", "ocsp", "sleepy"]).assert_failure(), &["sleepy"]);
}

/// What `openssl ocsp` says of a certificate, asked where the certificate says.
fn ocsp(sandbox: &Sandbox, files: &Path, leaf: &Path) -> Finished {
    let certificate = leaf.to_str().unwrap();
    let url = openssl(&["x509", "-noout", "-ocsp_uri", "-in", certificate]).stdout;
    let issuer = path(files, "issuer.pem");
    fs::copy(sandbox.data().join("authority/intermediate.pem"), &issuer).unwrap();
    let question = ["ocsp", "-issuer", &issuer, "-cert", certificate, "-url", url.trim()];
    let words = [&question[..], &["-CAfile", sandbox.authority(), "-no_nonce"]].concat();
    Program::new("openssl").args(words).run()
}

/// The first URL of an extension.
#[track_caller]
fn first_url(certificate: &Path, extension: &str) -> String {
    let file = certificate.to_str().unwrap();
    let shown = openssl(&["x509", "-noout", "-ext", extension, "-in", file]).stdout;
    let mut urls = shown.split_whitespace().filter_map(|word| word.strip_prefix("URI:"));
    urls.next().expect("a URL").to_owned()
}

/// The server of the operator of the town, at the port of the other one.
fn ville(sandbox: &Sandbox) -> Peer {
    let space: &Space = sandbox.space();
    let files: Certificate = space.certificate("ville", VILLE);
    Peer {
        port: space.port("lilas", "smtp"),
        authority: space.authority(),
        certificate: Some(files),
    }
}

/// A key and a PKCS#10 request for a host: `own.key`, `own.csr`.
#[track_caller]
fn request(files: &Path, host: &str) {
    let subject = format!("/C=FR/ST=Ain (01)/O=ESSAI/OU=1990000283/CN={host}");
    let (key, csr) = (path(files, "own.key"), path(files, "own.csr"));
    let words = [
        "req", "-new", "-newkey", "rsa:2048", "-nodes", "-utf8", "-subj", &subject,
    ];
    openssl(&[&words[..], &["-keyout", &key, "-out", &csr]].concat());
}

#[track_caller]
fn openssl(words: &[&str]) -> Finished {
    Program::new("openssl").args(words).run().assert_success()
}

/// Both streams hold all of these.
#[track_caller]
fn says(finished: &Finished, words: &[&str]) {
    for word in words {
        assert!(finished.text().contains(word), "{word:?} in {finished:?}");
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
