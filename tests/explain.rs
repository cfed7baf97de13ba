//! A refusal explains itself: the id out of a reply leads `vaguemestre explain` to what was shown, which check failed, and who has to do
//! what; `vaguemestre doctor` names the first failing step from the other side.

#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use common::{
    Authority, Certificate, Finished, Named, Pki, Program, Sandbox, Space, dialogue, folder, free_port, letter,
    wait_until,
};

const DUI: &str = "noreply@ehpad-lilas.mssante.fr";
const NURSE: &str = "soins@ehpad-lilas.mssante.fr";
const HOSPITAL: &str = "urgences@chu-demo.mssante.fr";
const LILAS: Named<'_> = Named {
    department: LILAS_DEPARTMENT,
    organisation: LILAS_NAME,
    structure: LILAS_STRUCTURE,
    name: "mx.lilas.localhost",
};
const LILAS_DEPARTMENT: &str = "Rhône (69)";
const LILAS_NAME: &str = "OPERATEUR DES LILAS";
const LILAS_STRUCTURE: &str = "399999999900017";

/// What `explain` says of the session named in a reply.
#[track_caller]
fn explain(data: &Path, reply: &str, language: &str) -> String {
    let (_, rest) = reply
        .rsplit_once("session ")
        .unwrap_or_else(|| panic!("a session in {reply:?}"));
    let id: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    assert_eq!(id.len(), 12, "{reply}");
    told(data, &id, language).assert_success().stdout
}

fn told(data: &Path, id: &str, language: &str) -> Finished {
    Space::program()
        .args(["explain", id, "--lang", language, "--data"])
        .arg(data)
        .run()
}

/// The text holds all of these.
#[track_caller]
fn holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} in:\n{text}");
    }
}

/// What the peer face of the hospital answers to a server that shows this certificate, over openssl `s_client`.
fn peer(sandbox: &Sandbox, shown: Option<&Certificate>, says: &str) -> String {
    let port = sandbox.port("chu", "smtp");
    let mut client = Program::new("openssl")
        .args(["s_client", "-quiet", "-starttls", "smtp", "-crlf"])
        .args(["-connect", &format!("127.0.0.1:{port}"), "-CAfile", sandbox.authority()]);
    if let Some(files) = shown {
        client = client.arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
        client = client.arg("-cert_chain").arg(&files.certificate);
    }
    let finished = client.input(format!("{says}\nQUIT\n")).run();
    let mut refusals = finished.stdout.lines().filter(|line| line.starts_with(['4', '5']));
    refusals
        .next_back()
        .unwrap_or_else(|| panic!("a refusal in {finished:?}"))
        .to_owned()
}

#[test]
fn refused_certificates_are_explained_with_every_check_in_both_languages() {
    let sandbox = Sandbox::shared();
    let files = folder();
    let authority = Pki::of_sandbox(sandbox.data(), files.path());
    let expired = authority.issue_expired("expired", LILAS);
    let foreign = Authority::new(files.path()).issue("mx.lilas.localhost");
    let mail = "EHLO mx.lilas.localhost\nMAIL FROM:<noreply@ehpad-lilas.mssante.fr>";
    let reply = peer(&sandbox, Some(&expired), mail);
    holds(
        &explain(sandbox.data(), &reply, "fr"),
        &[
            "certificate-expired",
            "✓ chaîne",
            "✗ dates",
            "exigence OP-6",
            "docs/reasons.md#certificate-expired",
            "le pair",
            "openssl s_client -connect 127.0.0.1:",
            "vaguemestre doctor --host",
            "TLSv1.3",
        ],
    );
    holds(
        &explain(sandbox.data(), &reply, "en"),
        &["✓ chain", "✗ dates", "Renew it", "the peer"],
    );
    let reply = peer(&sandbox, Some(&foreign), mail);
    holds(
        &explain(sandbox.data(), &reply, "fr"),
        &["certificate-untrusted", "✗ chaîne", "CN=Test authority"],
    );
    let reply = peer(&sandbox, None, mail);
    holds(
        &explain(sandbox.data(), &reply, "fr"),
        &["certificate-missing", "OP-2", "Il faudrait: un certificat SERV SSL"],
    );
}

#[test]
fn the_name_on_the_list_stands_beside_the_name_that_was_shown() {
    let sandbox = Sandbox::shared();
    let files = folder();
    let authority = Pki::of_sandbox(sandbox.data(), files.path());
    let other = authority.issue(
        "other",
        Named {
            structure: "1990009999",
            ..LILAS
        },
    );
    let mail = "EHLO mx.lilas.localhost\nMAIL FROM:<noreply@ehpad-lilas.mssante.fr>";
    let reply = peer(&sandbox, Some(&other), mail);
    let text = explain(sandbox.data(), &reply, "fr");
    holds(
        &text,
        &[
            "certificate-not-for-domain",
            "✗ liste blanche",
            "1. CN  = mx.lilas.localhost",
            "1. OU  ≠ présenté \"1990009999\"",
            "← différent",
            "OP-4",
            "l'autorité",
        ],
    );
    holds(
        &explain(sandbox.data(), &reply, "en"),
        &["1. OU  ≠ shown \"1990009999\"", "the authority"],
    );
    let good = sandbox.space().certificate("lilas", "mx.lilas.localhost");
    let reply = peer(
        &sandbox,
        Some(&good),
        "EHLO mx.lilas.localhost\nMAIL FROM:<a@inconnu.mssante.fr>",
    );
    holds(
        &explain(sandbox.data(), &reply, "fr"),
        &["sender-domain-unlisted", "rien n'est sur la liste"],
    );
    let reply = peer(
        &sandbox,
        Some(&good),
        "EHLO mx.lilas.localhost\nMAIL FROM:<noreply@ehpad-lilas.mssante.fr>\nRCPT TO:<personne@chu-demo.mssante.fr>",
    );
    let text = explain(sandbox.data(), &reply, "en");
    holds(
        &text,
        &[
            "box-unknown",
            "There is no such box.",
            "--to personne@chu-demo.mssante.fr",
        ],
    );
    assert!(
        !text.contains("certificate examined"),
        "an accepted certificate gains no row: {text}"
    );
}

#[test]
fn clear_text_garbage_and_old_tls_are_explained() {
    let sandbox = Sandbox::shared();
    let mut clear = BufReader::new(TcpStream::connect(("127.0.0.1", sandbox.port("chu", "smtp"))).unwrap());
    clear
        .get_mut()
        .write_all(b"EHLO x\r\nMAIL FROM:<a@b.fr>\r\nQUIT\r\n")
        .unwrap();
    let reply = clear
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("530"))
        .unwrap();
    holds(&explain(sandbox.data(), &reply, "fr"), &["tls-required", "OP-5"]);
    let failed = |operator: &str| {
        let found = sandbox.journal(&["--event", "handshake-failed", "--operator", operator]);
        found.last().cloned()
    };
    // A face over TLS that is spoken to in clear.
    let mut garbage = TcpStream::connect(("127.0.0.1", sandbox.port("ville", "imaps"))).unwrap();
    garbage.write_all(b"a1 LOGIN x y\r\na2 LOGOUT\r\n").unwrap();
    let record = wait_until("the record", Duration::from_secs(20), || failed("ville"));
    let id = record["session"].as_str().unwrap();
    holds(
        &told(sandbox.data(), id, "fr").assert_success().stdout,
        &["ce qui est arrivé n'est pas du TLS"],
    );
    Program::new("openssl")
        .args(["s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect"])
        .arg(format!("127.0.0.1:{}", sandbox.port("region", "imaps")))
        .run()
        .assert_failure();
    let record = wait_until("the record", Duration::from_secs(20), || failed("region"));
    let id = record["session"].as_str().unwrap();
    let text = told(sandbox.data(), &id[..9], "en").assert_success().stdout;
    holds(&text, &["offers no TLS version"]);
    Program::new("openssl")
        .args(["s_client", "-tls1_2", "-cipher", "AES128-SHA", "-connect"])
        .arg(format!("127.0.0.1:{}", sandbox.port("patient", "imaps")))
        .run()
        .assert_failure();
    let record = wait_until("the record", Duration::from_secs(20), || failed("patient"));
    let text = told(sandbox.data(), record["session"].as_str().unwrap(), "en")
        .assert_success()
        .stdout;
    holds(&text, &["no cipher suite", "offered: CipherSuite(0x2f)"]);
}

#[test]
fn logins_are_explained_and_an_imap_login_is_called_so() {
    let sandbox = Sandbox::shared();
    let replies = dialogue(&sandbox, "starttls", None, &json!([["AUTH", "PLAIN", NURSE, "wrong"]]));
    holds(
        &explain(sandbox.data(), &replies[0], "fr"),
        &["credentials-invalid", "le client"],
    );
    let external = json!([["AUTH", "EXTERNAL", "dui@lilas.mssante.fr"]]);
    let replies = dialogue(&sandbox, "implicit", Some("dui-ehpad"), &external);
    holds(
        &explain(sandbox.data(), &replies[0], "fr"),
        &["certificate-not-bound", "✓ chaîne", "CN=dui-ehpad"],
    );
    let imap = Program::new("openssl")
        .args(["s_client", "-quiet", "-crlf", "-connect"])
        .arg(format!("127.0.0.1:{}", sandbox.port("lilas", "imaps")))
        .input("a1 LOGIN soins@ehpad-lilas.mssante.fr wrong\na2 LOGOUT\n")
        .run();
    let no = imap
        .stdout
        .lines()
        .find(|line| line.starts_with("a1 NO"))
        .unwrap()
        .to_owned();
    let text = explain(sandbox.data(), &no, "en");
    holds(&text, &["credentials-invalid", "(LOGIN)"]);
    assert!(!text.contains("PLAIN"), "{text}");
    let imap = Program::new("openssl")
        .args(["s_client", "-quiet", "-crlf", "-starttls", "imap", "-connect"])
        .arg(format!("127.0.0.1:{}", sandbox.port("lilas", "imap")))
        .input("a1 NONSENSE\na2 LOGOUT\n")
        .run();
    let bad = imap.stdout.lines().find(|line| line.starts_with("a1 BAD")).unwrap();
    assert!(bad.contains("(session "), "{bad}");
}

#[test]
fn a_message_is_followed_through_the_space() {
    let sandbox = Sandbox::shared();
    let good =
        letter(DUI, HOSPITAL, "suivi").replace("Subject:", "Message-ID: <suivi.1@ehpad-lilas.mssante.fr>\r\nSubject:");
    let steps = json!([
        ["AUTH", "EXTERNAL", DUI],
        ["SEND", DUI, [HOSPITAL], common::hex(good.as_bytes())]
    ]);
    let replies = dialogue(&sandbox, "implicit", Some("dui-ehpad"), &steps);
    assert!(replies.last().unwrap().starts_with("250"), "{replies:?}");
    let text = wait_until("the whole way", Duration::from_secs(20), || {
        let text = told(sandbox.data(), "<suivi.1@ehpad-lilas.mssante.fr>", "fr").stdout;
        text.contains("remis à").then_some(text)
    });
    holds(
        &text,
        &[
            "opérateur lilas",
            "soumis par",
            "pris par l'opérateur de",
            "opérateur chu",
            "remis à urgences@chu-demo",
        ],
    );
    let nothing = told(sandbox.data(), "ZZZZZZZZZZ", "fr").assert_failure();
    holds(
        &nothing.stderr,
        &["Journaux lus", "chu", "lilas", "à la fin de chaque refus"],
    );
}

#[test]
fn a_server_that_we_refuse_is_explained_from_our_side() {
    let (data, files) = (folder(), folder());
    let port = free_port();
    let foreign = Authority::new(files.path()).issue("mx.voisin.localhost");
    let neighbour = Program::new("python3")
        .args(["-c", NEIGHBOUR])
        .arg(&foreign.certificate)
        .arg(&foreign.key)
        .arg(port.to_string())
        .start();
    wait_until("the neighbour listens", Duration::from_secs(20), || {
        neighbour.stdout().contains("listening").then_some(())
    });
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/sandbox.toml")).unwrap();
    let file = files.path().join("space.toml");
    fs::write(
        &file,
        format!("{text}\n{}", EXTERNAL.replace("PORT", &port.to_string())),
    )
    .unwrap();
    let space = Space::up(data.path(), &["--free-ports", "--space", file.to_str().unwrap()]);
    let card = space.login("lilas", "dui-ehpad");
    Space::program()
        .args(["send", "--from", DUI, "--to", "accueil@voisin.mssante.fr", "--data"])
        .arg(data.path())
        .run()
        .assert_success();
    assert!(card["certificate"].is_string());
    let deferred = wait_until("an attempt", Duration::from_secs(30), || {
        let found = common::journal(["--event", "deferred", "--data", data.path().to_str().unwrap()]);
        found.first().cloned()
    });
    let reply = deferred["detail"]["reply"].as_str().unwrap();
    let text = explain(data.path(), reply, "fr");
    holds(
        &text,
        &[
            "porte relay",
            "certificate-untrusted",
            "✗ chaîne",
            "CN=mx.voisin.localhost",
            "reporté pour accueil@voisin",
            "mx.voisin.localhost:",
        ],
    );
}

fn doctor(sandbox: &Sandbox, words: &[&str]) -> Finished {
    let finished = Space::program()
        .args(["doctor", "--lang", "en", "--data"])
        .arg(sandbox.data())
        .args(words)
        .run();
    assert!(finished.stderr.is_empty(), "{finished:?}");
    finished
}

/// The doctor names this step as the first that fails.
#[track_caller]
fn fails_at(finished: Finished, step: &str, words: &[&str]) {
    let finished = finished.assert_failure();
    holds(
        &finished.stdout,
        &[&format!("First failing step: {step}"), "What to do: "],
    );
    holds(&finished.stdout, words);
}

#[test]
fn the_doctor_finds_nothing_wrong_with_a_good_visit_and_a_good_sandbox() {
    let sandbox = Sandbox::shared();
    for words in [
        &["--login", "dui-ehpad", "--to", HOSPITAL][..],
        &["--login", "dui-ehpad", "--face", "imaps"],
        &["--login", "soins-ehpad", "--face", "imap"],
        &[
            "--login",
            "dui-ehpad",
            "--face",
            "submissions",
            "--to",
            HOSPITAL,
            "--send",
        ],
    ] {
        let good = doctor(&sandbox, words).assert_success();
        holds(&good.stdout, &["✓ TLS handshake", "✓ login", "as it should be"]);
    }
    let files = sandbox.space().certificate("lilas", "mx.lilas.localhost");
    let at = format!("127.0.0.1:{}", sandbox.port("chu", "smtp"));
    let list = sandbox.data().join("listeblanchemssante.xml");
    let good = doctor(
        &sandbox,
        &[
            "--host",
            &at,
            "--face",
            "smtp",
            "--cert",
            files.certificate.to_str().unwrap(),
            "--key",
            files.key.to_str().unwrap(),
            "--domain",
            "ehpad-lilas.mssante.fr",
            "--to",
            HOSPITAL,
            "--list",
            list.to_str().unwrap(),
            "--json",
        ],
    );
    let report: Value = serde_json::from_str(&good.assert_success().stdout).unwrap();
    let outcome = |id: &str| {
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["id"] == id).unwrap()["outcome"].clone()
    };
    for id in [
        "own-certificate",
        "own-listed",
        "server-certificate",
        "server-listed",
        "recipient",
        "quit",
    ] {
        assert_eq!(outcome(id), "passed", "{report}");
    }
    let itself = doctor(&sandbox, &[]);
    holds(
        &itself.stdout,
        &[
            "✓ ports",
            "✓ certificates",
            "✓ revocation list",
            "✓ allow list",
            "✓ boxes",
            "✓ clock",
        ],
    );
}

#[test]
fn the_doctor_names_the_first_failing_step_of_an_operator() {
    let sandbox = Sandbox::shared();
    let files = folder();
    let nobody = format!("127.0.0.1:{}", free_port());
    fails_at(
        doctor(&sandbox, &["--host", &nobody]),
        "connection",
        &["– TLS handshake"],
    );
    let own = sandbox.space().certificate("lilas", "mx.lilas.localhost");
    let at = format!("127.0.0.1:{}", sandbox.port("chu", "smtp"));
    let smtp = |more: &[&str]| doctor(&sandbox, &[&["--host", &at, "--face", "smtp"], more].concat());
    let other_key = Path::new(sandbox.login("dui-ehpad", "key")).to_owned();
    fails_at(
        smtp(&shown(&own.certificate, &other_key)),
        "your certificate",
        &["not the one of certificate"],
    );
    fails_at(
        smtp(&[]),
        "capabilities under TLS",
        &["certificate-missing", "vaguemestre explain "],
    );
    let authority = Pki::of_sandbox(sandbox.data(), files.path());
    let expired = authority.issue_expired("expired", LILAS);
    fails_at(
        smtp(&shown(&expired.certificate, &expired.key)),
        "your certificate",
        &["✗ dates", "certificate-expired"],
    );
    let other = authority.issue(
        "other",
        Named {
            structure: "1990009999",
            ..LILAS
        },
    );
    let domain = ["--domain", "ehpad-lilas.mssante.fr"];
    let other = [&shown(&other.certificate, &other.key)[..], &domain].concat();
    let list = sandbox.data().join("listeblanchemssante.xml");
    fails_at(
        smtp(&[&other[..], &["--list", list.to_str().unwrap()]].concat()),
        "your entry on the list",
        &["OU \"1990009999\" ≠ "],
    );
    fails_at(smtp(&other), "sender", &["certificate-not-for-domain"]);
    let unknown = Authority::new(files.path());
    fails_at(
        smtp(&["--ca", unknown.path().to_str().unwrap()]),
        "certificate of the server",
        &["✗ chain"],
    );
}

/// The options that show a certificate.
fn shown<'a>(certificate: &'a Path, key: &'a Path) -> [&'a str; 4] {
    ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()]
}

#[test]
fn the_doctor_names_the_first_failing_step_of_a_client() {
    let sandbox = Sandbox::shared();
    fails_at(
        doctor(&sandbox, &["--login", "soins-ehpad", "--password", "wrong"]),
        "login",
        &["credentials-invalid", "vaguemestre explain "],
    );
    fails_at(
        doctor(&sandbox, &["--login", "dui-ehpad", "--to", "x@inconnu.mssante.fr"]),
        "recipient",
        &["recipient-domain-unlisted"],
    );
}

#[test]
fn the_doctor_stops_at_a_server_without_tls() {
    let sandbox = Sandbox::shared();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream);
        lines.get_mut().write_all(b"220 clear.example ESMTP\r\n").unwrap();
        let mut hello = String::new();
        lines.read_line(&mut hello).unwrap();
        lines.get_mut().write_all(b"250-clear.example\r\n250 SIZE\r\n").unwrap();
        let mut rest = String::new();
        lines.read_line(&mut rest).unwrap_or_default();
        rest
    });
    fails_at(
        doctor(&sandbox, &["--host", &at, "--user", DUI, "--password", "x"]),
        "STARTTLS",
        &["SIZE"],
    );
    assert_eq!(server.join().unwrap(), "", "nothing more is said in clear");
}

/// A server that greets, starts TLS with the given certificate, and waits.
const NEIGHBOUR: &str = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = socket.create_server(("127.0.0.1", int(sys.argv[3])))
print("listening", flush=True)
while True:
    raw, _ = server.accept()
    try:
        raw.sendall(b"220 mx.voisin.localhost ESMTP\r\n")
        lines = raw.makefile("rb")
        lines.readline()
        raw.sendall(b"250-mx.voisin.localhost\r\n250 STARTTLS\r\n")
        lines.readline()
        raw.sendall(b"220 go\r\n")
        context.wrap_socket(raw, server_side=True)
    except OSError:
        raw.close()
"#;

const EXTERNAL: &str = r#"
[[operator]]
key = "voisin"
name = "OPERATEUR VOISIN"
structure = "990000283"
department = "Ain (01)"
kind = "external"
domains = ["voisin.mssante.fr"]

[[operator.host]]
name = "mx.voisin.localhost"
reach = "127.0.0.1:PORT"
issue = true
"#;
