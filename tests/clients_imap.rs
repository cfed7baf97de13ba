//! Boxes read with software nobody here wrote: Python's imaplib, curl and mutt, as persons and as a certificate.

#![cfg(test)]

mod common;

use std::fs;
use std::path::Path;

use common::{Program, SHAPES, Sandbox, Stored, corpus, folder, hex, letter, message, stored};
use serde_json::json;

const DUI: &str = "noreply@ehpad-lilas.mssante.fr";
const NURSE: &str = "soins@ehpad-lilas.mssante.fr";

/// The day of a client, in tests/python/imap.py.
#[track_caller]
fn working_day(tls: &str, (operator, user): (&str, &str), certificate: Option<&str>) {
    let sandbox = Sandbox::shared();
    let face = if tls == "implicit" { "imaps" } else { "imap" };
    let messages: Vec<String> = corpus(26).iter().map(|message| hex(message)).collect();
    let mut task = json!({
        "tls": tls, "port": sandbox.port(operator, face), "ca": sandbox.authority(),
        "user": user, "password": "sandbox", "messages": messages,
    });
    if let Some(login) = certificate {
        task["certificate"] = sandbox.login(login, "certificate").into();
        task["key"] = sandbox.login(login, "key").into();
    }
    Sandbox::python("imap.py", &task).assert_success();
}

#[test]
fn imaplib_works_over_implicit_tls_with_a_password() {
    working_day("implicit", ("lilas", "jeanne.briard@ssiad-lilas.mssante.fr"), None);
}

#[test]
fn imaplib_works_over_starttls_with_plain() {
    working_day("starttls", ("chu", "neurologie@chu-demo.mssante.fr"), None);
}

#[test]
fn imaplib_works_with_the_certificate_of_the_dui() {
    working_day("starttls", ("lilas", DUI), Some("dui-ehpad"));
}

#[test]
fn a_session_is_compressed_pipelined_and_used_by_two_logins() {
    let sandbox = Sandbox::shared();
    let messages: Vec<String> = corpus(26).iter().map(|message| hex(message)).collect();
    let task = json!({
        "port": sandbox.port("chu", "imaps"), "ca": sandbox.authority(),
        "user": "geriatrie@chu-demo.mssante.fr", "password": "sandbox", "messages": messages,
    });
    Sandbox::python("imap_session.py", &task).assert_success();
}

#[test]
fn imaplib_speaks_imap4rev2() {
    let sandbox = Sandbox::shared();
    let user = "soins@ehpad-lilas.mssante.fr";
    let task = json!({
        "port": sandbox.port("lilas", "imaps"), "ca": sandbox.authority(),
        "user": user, "password": "sandbox", "message": hex(letter(NURSE, user, "IMAP4rev2").as_bytes()),
    });
    Sandbox::python("imap_rev2.py", &task).assert_success();
}

#[test]
fn an_idling_client_is_told_of_a_mail_as_it_arrives() {
    let sandbox = Sandbox::shared();
    let task = json!({
        "ca": sandbox.authority(), "imap": sandbox.port("chu", "imaps"), "smtp": sandbox.port("lilas", "submissions"),
        "reader": "pharmacie@chu-demo.mssante.fr", "sender": NURSE, "password": "sandbox",
        "message": letter(NURSE, "pharmacie@chu-demo.mssante.fr", "pendant IDLE"),
    });
    Sandbox::python("idle.py", &task).assert_success();
}

/// curl on a folder of the cardiology's box; what it is asked stands after the folder's name.
fn curl(sandbox: &Sandbox, path: &str) -> Program {
    Program::new("curl")
        .args(["--silent", "--show-error", "--cacert", sandbox.authority()])
        .args(["--user", "cardiologie@chu-demo.mssante.fr:sandbox"])
        .arg(format!("imaps://127.0.0.1:{}/{path}", sandbox.port("chu", "imaps")))
}

#[test]
fn curl_appends_lists_searches_reads_and_deletes() {
    let sandbox = Sandbox::shared();
    curl(&sandbox, "")
        .args(["--request", "CREATE Curl"])
        .run()
        .assert_success();
    for (index, message) in corpus(SHAPES).into_iter().enumerate() {
        let files = folder();
        let file = files.path().join("message");
        fs::write(&file, &message).unwrap();
        curl(&sandbox, "Curl")
            .arg("--upload-file")
            .arg(&file)
            .run()
            .assert_success();
        let uid = index + 1;
        curl(&sandbox, &format!("Curl;UID={uid}"))
            .arg("--output")
            .arg(&file)
            .run()
            .assert_success();
        assert_eq!(fs::read(file).unwrap(), message, "message {index}");
    }
    let listed = curl(&sandbox, "").run().assert_success().stdout;
    assert!(listed.contains("* LIST") && listed.contains("Curl"), "{listed}");
    let searched = curl(&sandbox, "Curl?SUBJECT%20%22corpus%204%22")
        .run()
        .assert_success()
        .stdout;
    assert_eq!(searched.trim_end(), "* SEARCH 5");
    let text = curl(&sandbox, "Curl;UID=1;SECTION=TEXT").run().assert_success().stdout;
    assert_eq!(text, "Bonjour 0\r\n");
    let flags = ["--request", "STORE 1 +FLAGS \\Deleted"];
    curl(&sandbox, "Curl").args(flags).run().assert_success();
    curl(&sandbox, "Curl")
        .args(["--request", "EXPUNGE"])
        .run()
        .assert_success();
    curl(&sandbox, "Curl;UID=1").run().assert_failure();
    let status = ["--request", "STATUS Curl (MESSAGES)"];
    let status = curl(&sandbox, "").args(status).run().assert_success().stdout;
    assert!(status.contains(&format!("MESSAGES {}", SHAPES - 1)), "{status}");
}

#[test]
fn curl_is_refused_with_a_wrong_password_and_without_trust() {
    let sandbox = Sandbox::shared();
    let wrong = curl(&sandbox, "INBOX").args(["--user", "cardiologie@chu-demo.mssante.fr:faux", "--verbose"]);
    let wrong = wrong.run().assert_failure();
    sandbox.assert_refused(&wrong.stderr, "credentials-invalid");
    let untrusted = curl(&sandbox, "INBOX")
        .args(["--cacert", "/etc/ssl/certs/ca-certificates.crt"])
        .run();
    // 60: the peer's certificate cannot be verified.
    assert_eq!(untrusted.code, Some(60), "{untrusted:?}");
}

/// mutt on a terminal that nobody looks at; `keys` as typed.
fn mutt(sandbox: &Sandbox, files: &Path, keys: &str) {
    let settings = files.join("muttrc");
    let url = format!(
        "imaps://geriatrie%40chu-demo.mssante.fr@127.0.0.1:{}",
        sandbox.port("chu", "imaps")
    );
    fs::write(&settings, mutt_settings(sandbox, &url)).unwrap();
    let command = format!("mutt -F {} -f {url}/INBOX -e 'push {keys}'", settings.display());
    Program::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("TERM", "vt100")
        .env("HOME", files.display().to_string())
        .run()
        .assert_success();
}

fn mutt_settings(sandbox: &Sandbox, url: &str) -> String {
    format!(
        "set ssl_ca_certificates_file = \"{}\"\nset imap_pass = sandbox\nset folder = \"{url}/\"\nset spoolfile = \"{url}/INBOX\"\n\
         set ssl_starttls = yes\nset confirmappend = no\nset confirmcreate = no\nset delete = yes\nset quit = yes\nset move = no\n\
         set wait_key = no\nset mark_old = no\nset header_cache = \"\"\nset ssl_verify_host = yes\n",
        sandbox.authority()
    )
}

#[test]
fn mutt_reads_a_message_and_moves_another() {
    let sandbox = Sandbox::shared();
    let files = folder();
    for number in [0, 1, 4] {
        let file = files.path().join("appended");
        fs::write(&file, message(number)).unwrap();
        let url = format!("imaps://127.0.0.1:{}/INBOX", sandbox.port("chu", "imaps"));
        Program::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--cacert",
                sandbox.authority(),
                "--upload-file",
            ])
            .arg(&file)
            .args(["--user", "geriatrie@chu-demo.mssante.fr:sandbox", &url])
            .run()
            .assert_success();
    }
    let copy = files.path().join("lu.mbox");
    let keys = format!(
        "1<enter><display-message><exit>2<enter><save-message>=Classeur<enter>3<enter><flag-message><decode-copy>{}<enter><quit>",
        copy.display()
    );
    mutt(&sandbox, files.path(), &keys);
    let now = stored(&sandbox, "chu", "geriatrie@chu-demo.mssante.fr", &["INBOX", "Classeur"]);
    let copied = fs::read(&copy).unwrap();
    assert!(String::from_utf8_lossy(&copied).contains("corpus 4"), "{copied:?}");
    let number = |one: &Stored| (0..SHAPES).find(|number| message(*number) == one.message);
    let seen: Vec<(&str, Option<usize>, String)> = now
        .iter()
        .map(|one| (one.folder.as_str(), number(one), one.flags.join(" ")))
        .collect();
    assert_eq!(
        seen,
        [
            ("INBOX", Some(0), "\\Seen".to_owned()),
            ("INBOX", Some(4), "\\Flagged \\Seen".to_owned()),
            ("Classeur", Some(1), "\\Seen".to_owned()),
        ]
    );
}

/// What imaplib is told when it may not log in.
#[track_caller]
fn refused_login(certificate: Option<&str>, authzid: &str, reason: &str) {
    let sandbox = Sandbox::shared();
    let mut task = json!({"ca": sandbox.authority(), "port": sandbox.port("lilas", "imaps"), "authzid": authzid});
    if let Some(login) = certificate {
        task["certificate"] = sandbox.login(login, "certificate").into();
        task["key"] = sandbox.login(login, "key").into();
    }
    let told = Sandbox::python("imap_external.py", &task).assert_success();
    if reason.is_empty() {
        assert_eq!(told.stdout.trim_end(), "OK", "{told:?}");
    } else {
        sandbox.assert_refused(&told.stdout, reason);
        // RFC 5530 §3
        let code = match reason {
            "certificate-missing" => "[AUTHENTICATIONFAILED]",
            _ => "[AUTHORIZATIONFAILED]",
        };
        assert!(told.stdout.starts_with(code), "{told:?}");
    }
}

#[test]
fn a_certificate_reads_only_the_boxes_it_is_bound_to() {
    refused_login(Some("dui-ehpad"), "", "");
    refused_login(Some("dui-ehpad"), DUI, "");
    refused_login(Some("dui-lilas"), "dui@lilas.mssante.fr", "");
    refused_login(Some("dui-lilas"), "", "box-ambiguous");
    refused_login(Some("dui-ehpad"), NURSE, "certificate-not-bound");
    refused_login(Some("dpi"), "dpi@chu-demo.mssante.fr", "certificate-not-bound");
    refused_login(None, DUI, "certificate-missing");
}
