//! The life of `vaguemestre up`: what a first start creates, a second finds again; what stands in the way is said with its remedy; the end
//! is orderly.

#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Runtime;

use common::{Finished, Letter, Program, Running, Sender, Space, folder, free_port, inbox, wait_until};
use vaguemestre::clock::Clock;
use vaguemestre::config;
use vaguemestre::space::folder::Layout;
use vaguemestre::store::sqlite::SqliteStore;
use vaguemestre::store::{QueueItem, QueueStore};

const DUI: (&str, &str) = ("lilas", "dui-ehpad");
const DUI_BOX: &str = "noreply@ehpad-lilas.mssante.fr";
const HOSPITAL: (&str, &str, &str) = ("urgences@chu-demo.mssante.fr", "chu", "urgences");
const LOCAL: (&str, &str, &str) = ("soins@ssiad-lilas.mssante.fr", "lilas", "soins-ssiad");
const NEIGHBOUR: &str = "accueil@voisin.mssante.fr";
const LIST_NAMESPACE: &str = "https://listeblanche.mssante.fr/schema";

/// What must be the same after a stop and a start.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    files: BTreeMap<PathBuf, Vec<u8>>,
    hospital: Vec<Letter>,
    local: Vec<Letter>,
    indicator: Value,
}

impl Held {
    fn of(space: &Space) -> Self {
        let data = space.data();
        let mut files = BTreeMap::new();
        for path in all_files(&data) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if ["ca.pem", "cert.pem", "key.pem", "cert.p12"].contains(&name) {
                files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
        Self {
            files,
            hospital: inbox(space, HOSPITAL.1, HOSPITAL.2),
            local: inbox(space, LOCAL.1, LOCAL.2),
            indicator: serde_json::from_str(&read(&data, &["indicator", "--json"])).unwrap(),
        }
    }
}

#[test]
fn stopping_and_starting_changes_nothing() {
    let data = folder();
    let data = data.path().join("new/one");
    let begun = Clock::system().now();
    let space = Space::up(&data, &["--free-ports"]);
    measure("ready on an empty folder", begun);
    send(&space, &[HOSPITAL.0, LOCAL.0]);
    wait_until("the mail arrives", Duration::from_secs(20), || {
        (!inbox(&space, HOSPITAL.1, HOSPITAL.2).is_empty()).then_some(())
    });
    let before = Held::of(&space);
    assert!(before.files.len() > 10, "{:?}", before.files.keys());
    assert_eq!((before.hospital.len(), before.local.len()), (1, 1));
    space.interrupt().assert_success();
    for _ in 0..2 {
        let begun = Clock::system().now();
        let space = Space::up(&data, &["--free-ports"]);
        measure("ready on an existing folder", begun);
        assert_eq!(Held::of(&space), before);
        space.interrupt().assert_success();
    }
}

#[test]
fn what_is_printed_is_what_the_ready_file_and_the_web_say_and_keys_are_private() {
    let data = folder();
    let files = folder();
    let ready = files.path().join("ready.json");
    let mut program = start(
        data.path(),
        &["--free-ports", "--json", "--ready-file", ready.to_str().unwrap()],
    );
    let printed = wait_until("the ready file", READY, || {
        assert!(!program.has_ended(), "{}", program.stderr());
        serde_json::from_str::<Value>(&fs::read_to_string(&ready).ok()?).ok()
    });
    assert_eq!(serde_json::from_str::<Value>(&program.stdout()).unwrap(), printed);
    let web = printed["web"].as_str().unwrap().to_owned();
    assert_eq!(
        serde_json::from_str::<Value>(&curl(&format!("{web}/")).stdout).unwrap(),
        printed
    );
    let keys: Vec<_> = all_files(data.path())
        .into_iter()
        .filter(|file| {
            let is_pkcs12 = file.extension().is_some_and(|extension| extension == "p12");
            is_pkcs12 || fs::read_to_string(file).is_ok_and(|text| text.contains("PRIVATE KEY"))
        })
        .collect();
    assert!(keys.len() > 5, "{keys:?}");
    for key in keys {
        let mode = fs::metadata(&key).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", key.display());
    }
    assert_eq!(fs::metadata(data.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let finished = program.stop("INT", STOP);
    assert_orderly(&finished);
    assert!(!ready.exists(), "the ready file of a space that is gone");
}

#[test]
fn the_authority_publishes_what_openssl_and_an_xml_parser_accept() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let web = space.printed()["web"].as_str().unwrap();
    assert_eq!(curl(&format!("{web}/healthz")).stdout, "ok\n");
    assert!(curl(&format!("{web}/readyz")).stdout.contains("\"ready\": true"));
    let ca = fs::read_to_string(space.printed()["ca"].as_str().unwrap()).unwrap();
    assert_eq!(curl(&format!("{web}/ca.pem")).stdout, ca);
    let work = folder();
    let bundle = work.path().join("bundle.pem");
    let mut trusted = ca;
    for url in crl_urls(&space) {
        let der = work.path().join("list.crl");
        Program::new("curl")
            .args(["-sSf", "-o"])
            .arg(&der)
            .arg(&url)
            .run()
            .assert_success();
        let shown = openssl(&[
            "crl",
            "-inform",
            "DER",
            "-in",
            path(&der),
            "-CAfile",
            space.printed()["ca"].as_str().unwrap(),
        ]);
        assert!(shown.text().contains("verify OK"), "{shown:?}");
        trusted.push_str(&shown.stdout);
    }
    fs::write(&bundle, trusted).unwrap();
    let mut seen = 0;
    for login in space.printed()["logins"].as_array().unwrap() {
        let Some(certificate) = login["certificate"].as_str() else {
            continue;
        };
        seen += 1;
        openssl(&[
            "verify",
            "-crl_check_all",
            "-purpose",
            "sslclient",
            "-CAfile",
            path(&bundle),
            certificate,
        ]);
        check_pkcs12(login);
    }
    assert!(seen >= 3, "{seen} certificate logins");
    check_allow_list(&curl(&format!("{web}/listeblanchemssante.xml")).stdout, work.path());
    let nothing = Program::new("curl").args(["-sf", &format!("{web}/nothing")]).run();
    nothing.assert_failure();
    space.interrupt().assert_success();
}

/// The PKCS#12 file of a login holds the certificate and the key of its PEM files.
fn check_pkcs12(login: &Value) {
    let file = |name: &str| login[name].as_str().unwrap();
    assert_eq!(login["pkcs12_password"], "sandbox");
    let opened = ["pkcs12", "-in", file("pkcs12"), "-passin", "pass:sandbox"];
    let certificate = openssl(&[&opened[..], &["-clcerts", "-nokeys"]].concat()).stdout;
    let key = openssl(&[&opened[..], &["-nocerts", "-nodes"]].concat()).stdout;
    let fingerprint = |pem: &str| {
        let asked = Program::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256"]);
        asked.input(pem).run().assert_success().stdout
    };
    let chain = fs::read_to_string(file("certificate")).unwrap();
    assert_eq!(fingerprint(&certificate), fingerprint(&chain), "{}", login["name"]);
    let public = |pem: &str| {
        let asked = Program::new("openssl").args(["pkey", "-pubout"]);
        asked.input(pem).run().assert_success().stdout
    };
    let pem = fs::read_to_string(file("key")).unwrap();
    assert_eq!(public(&key), public(&pem), "{}", login["name"]);
}

/// Where the certificates say that the revocation lists are.
fn crl_urls(space: &Space) -> Vec<String> {
    let login = space.login(DUI.0, DUI.1);
    let certificate = login["certificate"].as_str().unwrap();
    let ca = space.printed()["ca"].as_str().unwrap();
    let mut urls = Vec::new();
    for pem in [certificate, ca] {
        let chain = fs::read_to_string(pem).unwrap();
        for one in chain.split_inclusive("-----END CERTIFICATE-----\n") {
            let shown = Program::new("openssl").args(["x509", "-noout", "-ext", "crlDistributionPoints"]);
            let text = shown.input(one).run().text();
            let found = text.lines().filter_map(|line| line.trim().strip_prefix("URI:"));
            urls.extend(found.map(str::to_owned));
        }
    }
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 2, "root and intermediate: {urls:?}");
    urls
}

fn check_allow_list(xml: &str, work: &Path) {
    let file = work.join("list.xml");
    fs::write(&file, xml).unwrap();
    let script = "import sys, xml.etree.ElementTree as x\nroot = x.parse(sys.argv[1]).getroot()\nprint(root.tag)\nfor e in root.iter():\n  print(e.tag, (e.text or '').strip())";
    let shown = Program::new("python3")
        .args(["-c", script, path(&file)])
        .run()
        .assert_success();
    let root = shown.stdout.lines().next().unwrap();
    assert!(root.starts_with(&format!("{{{LIST_NAMESPACE}}}")), "{root}");
    for domain in ["ehpad-lilas.mssante.fr", "chu-demo.mssante.fr", "patient.mssante.fr"] {
        assert!(
            shown.stdout.contains(&format!(" {domain}\n")),
            "{domain} is not on the list"
        );
    }
}

#[test]
fn every_port_that_is_taken_is_named_at_once_with_the_remedy() {
    let data = folder();
    let files = folder();
    let base = 26_000;
    let space = files.path().join("space.toml");
    let text = config::Space::DEFAULT_TEXT
        .replace("port_base = 10000", &format!("port_base = {base}"))
        .replace("web = 10080", &format!("web = {}", free_port()));
    fs::write(&space, text).unwrap();
    // Ports of the first operator: submissions and imaps.
    let taken =
        [base + 1465, base + 1993].map(|port| TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).unwrap());
    let ready = files_in(&files, "ready", "left behind by a run that was killed");
    let refused = up_refused(data.path(), &["--space", path(&space), "--ready-file", path(&ready)]);
    assert!(!ready.exists(), "a script that waits for it would believe it");
    for listener in &taken {
        let address = listener.local_addr().unwrap().to_string();
        assert!(refused.stderr.contains(&address), "{address}: {}", refused.stderr);
    }
    assert!(refused.stderr.contains("submissions of lilas"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("stop what listens there, or change the port"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_folder_that_cannot_be_used_is_left_alone_and_the_remedy_is_said() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let refused = up_refused(data.path(), &["--free-ports"]);
    assert!(
        refused.stderr.contains("in use by another vaguemestre"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--data"), "{}", refused.stderr);
    space.interrupt().assert_success();

    let marker = data.path().join("vaguemestre-data");
    let format = fs::read(&marker).unwrap();
    fs::write(&marker, "99\n").unwrap();
    let refused = up_refused(data.path(), &["--free-ports"]);
    assert!(refused.stderr.contains("use a newer vaguemestre"), "{}", refused.stderr);
    fs::write(&marker, format).unwrap();
    Space::up(data.path(), &["--free-ports"]).interrupt().assert_success();

    let other = folder();
    fs::write(other.path().join("thesis.txt"), "precious").unwrap();
    let refused = up_refused(other.path(), &["--free-ports"]);
    assert!(
        refused.stderr.contains("holds no vaguemestre data"),
        "{}",
        refused.stderr
    );
    assert_eq!(all_files(other.path()), [other.path().join("thesis.txt")]);

    let file = files_in(&other, "file", "");
    let refused = up_refused(&file, &["--free-ports"]);
    assert!(refused.stderr.contains(path(&file)), "{}", refused.stderr);
}

#[test]
fn a_space_file_that_cannot_be_read_is_named_and_ten_mistakes_are_ten_lines() {
    let data = folder();
    let files = folder();
    let absent = files.path().join("absent.toml");
    let refused = up_refused(data.path(), &["--space", path(&absent)]);
    assert!(refused.stderr.contains(path(&absent)), "{}", refused.stderr);
    let broken = files_in(&files, "broken.toml", "[space\nname =");
    let refused = up_refused(data.path(), &["--space", path(&broken)]);
    assert!(refused.stderr.contains("broken.toml:1"), "{}", refused.stderr);
    let latin = files.path().join("latin.toml");
    fs::write(&latin, b"# \xe9\n").unwrap();
    let refused = up_refused(data.path(), &["--space", path(&latin)]);
    assert!(refused.stderr.contains(path(&latin)), "{}", refused.stderr);

    let mut text = config::Space::DEFAULT_TEXT.to_owned();
    for (right, wrong) in MISTAKES {
        assert!(text.contains(right), "{right}");
        text = text.replacen(right, wrong, 1);
    }
    let wrong = files_in(&files, "wrong.toml", &text);
    let refused = up_refused(data.path(), &["--space", path(&wrong)]);
    let lines: Vec<_> = refused
        .stderr
        .lines()
        .filter(|line| line.contains("wrong.toml:"))
        .collect();
    assert_eq!(lines.len(), MISTAKES.len(), "{}", refused.stderr);
    assert!(all_files(data.path()).is_empty(), "nothing was created");
}

const MISTAKES: [(&str, &str); 10] = [
    ("port_base = 10000", "port_base = \"many\""),
    ("allow_remote = false", "allow_remotes = false"),
    ("people_default = 80", "people_default = -1"),
    ("rpps = \"01990000018\"", "rpps = \"01990000019\""),
    ("label = \"DUI EHPAD Les Lilas\"", "label = 3"),
    ("structure = \"99999999900025\"", "structure = \"99999999900026\""),
    ("name = \"mx1.chu.localhost\"", "name = \"mx1 chu\""),
    (
        "# An ORG AUTH_CLI",
        "[[operator.box]]\naddress = \"soins@ssiad-lilas.mssante.fr\"\ntype = \"ORG\"\nlabel = \"Encore\"\nestablishment = \"990000036\"\n#",
    ),
    ("size_max = \"25 MB\"", "size_max = \"25 bananas\""),
    ("ins = \"277076322082910\"", "ins = \"27707632208291\""),
];

#[test]
fn a_signal_ends_open_sessions_politely() {
    for signal in ["INT", "TERM"] {
        let data = folder();
        let files = folder();
        let ready = files.path().join("ready");
        let mut program = start(data.path(), &["--free-ports", "--json", "--ready-file", path(&ready)]);
        let card: Value = wait_until("ready", READY, || {
            assert!(!program.has_ended(), "{}", program.stderr());
            serde_json::from_str(&fs::read_to_string(&ready).ok()?).ok()
        });
        let mut sessions = ["smtp", "submission", "imap"].map(|face| Session::open(&card, "lilas", face));
        let idle = idle(&card);
        wait_until("the client is idle", Duration::from_secs(20), || {
            assert!(!idle.stderr().contains("Traceback"), "{}", idle.stderr());
            idle.stdout().contains("idling").then_some(())
        });
        let stopping = Clock::system().now();
        program.signal(signal);
        for session in &mut sessions {
            let rest = session.rest();
            let farewell = if session.face == "imap" { "* BYE" } else { "421 4.3.2" };
            assert!(rest.contains(farewell), "{signal}, {}: {rest:?}", session.face);
        }
        let idle = idle.wait(STOP).assert_success();
        assert!(idle.stdout.contains("* BYE"), "{idle:?}");
        let finished = program.wait(STOP);
        assert_orderly(&finished);
        measure(&format!("end after SIG{signal} with four open sessions"), stopping);
        assert!(!ready.exists());
    }
}

#[test]
fn a_start_says_not_ready_until_it_is_and_a_stop_says_so_while_it_drains() {
    let data = folder();
    let files = folder();
    let web = free_port();
    let text = config::Space::DEFAULT_TEXT.replace("web = 10080", &format!("web = {web}"));
    let space = files_in(
        &files,
        "space.toml",
        &text.replace("port_base = 10000", "port_base = 3000"),
    );
    let mut program = start(data.path(), &["--space", path(&space)]);
    let answer = || {
        let asked = Program::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "20"]);
        asked.arg(format!("http://127.0.0.1:{web}/readyz")).run().stdout
    };
    let mut answers = Vec::new();
    wait_until("ready", READY, || {
        assert!(!program.has_ended(), "{}", program.stderr());
        answers.push(answer());
        (answers.last()? == "200").then_some(())
    });
    assert!(answers.iter().any(|code| code == "503"), "{answers:?}");
    // A message under way keeps the drain waiting, and is still accepted.
    let go_on = files.path().join("go-on");
    let card: Value = serde_json::from_str(&fs::read_to_string(data.path().join("card.json")).unwrap()).unwrap();
    let client = slow_sender(&card, &go_on);
    wait_until("half a message is sent", Duration::from_secs(20), || {
        assert!(!client.stderr().contains("Traceback"), "{}", client.stderr());
        client.stdout().contains("half").then_some(())
    });
    program.signal("TERM");
    wait_until("not ready any more", Duration::from_secs(8), || {
        (answer() == "503").then_some(())
    });
    assert!(!program.has_ended());
    fs::write(&go_on, "").unwrap();
    let client = client.wait(STOP).assert_success();
    assert!(client.stdout.contains("250"), "{client:?}");
    assert_orderly(&program.wait(STOP));
}

/// A client that sends half a message, and the rest once the file `go_on` is there.
fn slow_sender(card: &Value, go_on: &Path) -> Running {
    let address = address(card, "lilas", "submissions");
    let (_, port) = address.rsplit_once(':').unwrap();
    let logins = card["logins"].as_array().unwrap();
    let login = logins.iter().find(|one| one["name"] == LOCAL.2).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Program::new("python3")
        .args(["-c", SLOW_SENDER, &text(&card["ca"]), port])
        .args([text(&login["user"]), text(&login["password"]), LOCAL.0.to_owned()])
        .arg(go_on)
        .start()
}

#[test]
fn without_data_the_folder_is_the_users_own() {
    let home = folder();
    let program = Space::program()
        .args(["up", "--free-ports", "--json"])
        .env("XDG_DATA_HOME", home.path())
        .start();
    let expected = home.path().join("vaguemestre");
    let printed = wait_until("it prints where it is", READY, || {
        serde_json::from_str::<Value>(&program.stdout()).ok()
    });
    assert_eq!(printed["data"], path(&expected));
    assert!(expected.join("vaguemestre-data").exists());
    assert_orderly(&program.stop("INT", STOP));
}

#[test]
fn queued_mail_survives_a_restart_and_leaves_when_the_other_operator_is_back() {
    let data = folder();
    let files = folder();
    let port = free_port();
    let space_file = files_in(&files, "space.toml", &with_neighbour(port));
    let options = ["--free-ports", "--space", path(&space_file)];
    // Nobody listens there.
    let space = Space::up(data.path(), &options);
    send(&space, &[NEIGHBOUR]);
    let before = wait_until("an attempt has failed", Duration::from_secs(20), || {
        queued(data.path()).filter(|item| item.attempts == 1)
    });
    space.interrupt().assert_success();
    // It listens and says nothing; this time the process dies during the attempt.
    let silent = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let space = Space::up(data.path(), &options);
    let after = queued(data.path()).unwrap();
    assert_eq!(
        (after.key, after.attempts, after.due),
        (before.key, before.attempts, before.due)
    );
    send(&space, &[NEIGHBOUR]);
    silent.accept().unwrap();
    space.kill();
    drop(silent);
    let certificates = data.path().join("operators/voisin/mx.voisin.localhost");
    let neighbour = Program::new("python3")
        .args(["-c", NEIGHBOUR_SERVER, path(&certificates)])
        .arg(port.to_string())
        .start();
    wait_until("the neighbour listens", Duration::from_secs(20), || {
        assert!(!neighbour.stderr().contains("Traceback"), "{}", neighbour.stderr());
        neighbour.stdout().contains("listening").then_some(())
    });
    let space = Space::up(data.path(), &options);
    wait_until("the neighbour has it", Duration::from_secs(20), || {
        assert!(!neighbour.stderr().contains("Traceback"), "{}", neighbour.stderr());
        neighbour.stdout().contains("Subject: essai").then_some(())
    });
    space.interrupt().assert_success();
}

/// The default space and an operator of its own beyond it.
fn with_neighbour(port: u16) -> String {
    let text = config::Space::DEFAULT_TEXT;
    let (before, commented) = text.split_once("# [[operator]]").unwrap();
    let uncommented: String = format!("# [[operator]]{commented}")
        .replace("\n# ", "\n")
        .replace("\n#\n", "\n\n");
    let section = uncommented
        .trim_start_matches("# ")
        .replace("127.0.0.1:2525", &format!("127.0.0.1:{port}"));
    format!("{before}{section}")
}

fn queued(data: &Path) -> Option<QueueItem> {
    let store = SqliteStore::open_read_only(&Layout::new(data).store("lilas")).unwrap();
    Runtime::new()
        .unwrap()
        .block_on(store.queued(10))
        .unwrap()
        .into_iter()
        .next()
}

/// One connection in clear, its greeting read.
struct Session {
    face: &'static str,
    stream: BufReader<TcpStream>,
}

impl Session {
    fn open(card: &Value, operator: &str, face: &'static str) -> Self {
        let stream = TcpStream::connect(address(card, operator, face)).unwrap();
        stream.set_read_timeout(Some(STOP)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).unwrap();
        assert!(
            greeting.starts_with("220 ") || greeting.starts_with("* OK"),
            "{greeting}"
        );
        if face != "imap" {
            stream.get_mut().write_all(b"NOOP\r\n").unwrap();
            stream.read_line(&mut greeting).unwrap();
        }
        Self { face, stream }
    }

    /// What the server still says until it closes.
    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        rest
    }
}

fn address(card: &Value, operator: &str, face: &str) -> String {
    let endpoints = card["endpoints"].as_array().unwrap();
    let found = endpoints
        .iter()
        .find(|one| one["operator"] == operator && one["face"] == face);
    found.unwrap()["address"].as_str().unwrap().to_owned()
}

/// A client of the hospital that waits for news of its INBOX.
fn idle(card: &Value) -> Running {
    let (_, port) = address(card, "chu", "imaps")
        .rsplit_once(':')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let logins = card["logins"].as_array().unwrap();
    let login = logins.iter().find(|one| one["name"] == HOSPITAL.2).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Program::new("python3")
        .args(["-c", IDLER, &text(&card["ca"]), &port])
        .args([text(&login["user"]), text(&login["password"])])
        .start()
}

fn send(space: &Space, to: &[&str]) {
    let mail = format!(
        "From: <{DUI_BOX}>\r\nTo: <{}>\r\nSubject: essai\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@sandbox.example>\r\n\r\nBonjour\r\n",
        to[0]
    );
    let sender = Sender::dui(space, DUI, DUI_BOX);
    let answer = Runtime::new()
        .unwrap()
        .block_on(async { sender.line().send(to, mail.as_bytes()).await });
    assert_eq!(answer, Ok(vec![250; to.len()]));
}

fn start(data: &Path, more: &[&str]) -> Running {
    Space::program().args(["up", "--data"]).arg(data).args(more).start()
}

/// A start that must fail, with an error that is for people.
#[track_caller]
fn up_refused(data: &Path, more: &[&str]) -> Finished {
    let refused = start(data, more).wait(READY).assert_failure();
    assert!(refused.stdout.is_empty(), "{refused:?}");
    assert!(!refused.stderr.contains("panicked"), "{refused:?}");
    refused
}

/// Exit code 0, nothing cut, nothing to complain about.
#[track_caller]
fn assert_orderly(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "", "something was cut or went wrong");
}

#[track_caller]
fn read(data: &Path, words: &[&str]) -> String {
    Space::program()
        .args(words)
        .arg("--data")
        .arg(data)
        .run()
        .assert_success()
        .stdout
}

#[track_caller]
fn curl(url: &str) -> Finished {
    Program::new("curl").args(["-sSf", url]).run().assert_success()
}

#[track_caller]
fn openssl(words: &[&str]) -> Finished {
    Program::new("openssl").args(words).run().assert_success()
}

fn files_in(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let file = folder.path().join(name);
    File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
    file
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(all_files(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[expect(clippy::print_stderr, reason = "a measure is shown, never judged: machines differ")]
fn measure(what: &str, begun: Timestamp) {
    let took = Clock::system().now().duration_since(begun);
    eprintln!("measure: {what}: {} ms", took.as_millis());
}

/// From start to ready, on a loaded machine and without optimisation.
const READY: Duration = Duration::from_mins(1);
/// Well above the drain's own deadline.
const STOP: Duration = Duration::from_secs(30);

const IDLER: &str = r#"
import imaplib, ssl, sys
ca, port, user, password = sys.argv[1:5]
box = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=ssl.create_default_context(cafile=ca), timeout=60)
box.login(user, password)
box.select("INBOX")
box.send(b"x1 IDLE\r\n")
print(box.readline().decode(), "idling", flush=True)
while True:
    line = box.readline()
    if not line:
        break
    print(line.decode(), flush=True)
"#;

const SLOW_SENDER: &str = r#"
import os, smtplib, ssl, sys, time
ca, port, user, password, box, go_on = sys.argv[1:7]
client = smtplib.SMTP_SSL("localhost", int(port), context=ssl.create_default_context(cafile=ca), timeout=30)
client.login(user, password)
client.mail(box)
client.rcpt(box)
assert client.docmd("DATA")[0] == 354
client.send("From: <%s>\r\nTo: <%s>\r\nSubject: essai\r\n\r\nBon" % (box, box))
print("half", flush=True)
for _ in range(600):
    if os.path.exists(go_on):
        break
    time.sleep(0.02)
client.send("jour\r\n.\r\n")
print(client.getreply(), flush=True)
"#;

/// The least SMTP server that an operator will talk to.
const NEIGHBOUR_SERVER: &str = r#"
import socket, ssl, sys
folder, port = sys.argv[1:3]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
server = socket.create_server(("127.0.0.1", int(port)))
print("listening", flush=True)
while True:
    raw, _ = server.accept()
    raw.sendall(b"220 mx.voisin.localhost ESMTP\r\n")
    lines = raw.makefile("rb")
    lines.readline()
    raw.sendall(b"250-mx.voisin.localhost\r\n250 STARTTLS\r\n")
    lines.readline()
    raw.sendall(b"220 go\r\n")
    tls = context.wrap_socket(raw, server_side=True)
    lines, data = tls.makefile("rb"), False
    for line in lines:
        word = line[:4].upper()
        if data:
            print(line.decode(), end="", flush=True)
            if line == b".\r\n":
                data = False
                tls.sendall(b"250 taken\r\n")
        elif word == b"DATA":
            data = True
            tls.sendall(b"354 go on\r\n")
        elif word == b"QUIT":
            tls.sendall(b"221 bye\r\n")
            break
        else:
            tls.sendall(b"250 mx.voisin.localhost\r\n")
    tls.close()
"#;
