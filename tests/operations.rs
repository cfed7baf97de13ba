//! Running an operator: metrics, readiness, reload, drain, logs and limits, seen from outside the process.

#![cfg(test)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use common::{Clinic, Program, Running, mails, wait_until};
use vaguemestre::metrics::CATALOGUE;

const PATIENCE: Duration = Duration::from_secs(40);
const BOX: &str = Clinic::BOX;
const LATER: &str = "etage@clinique.mssante.fr";
const SENDER: &str = Clinic::SENDER;
const INS: &str = "279035121518989@patient.mssante.fr";
const SUBJECT: &str = "Resultat-biologie-confidentiel";
const PASSWORD: &str = Clinic::PASSWORD;

/// A client in the middle of a message.
fn half_a_message(clinic: &Clinic, go_on: Option<PathBuf>) -> Running {
    let what = json!({
        "port": clinic.submission, "authority": clinic.at("root.pem"), "user": BOX, "password": PASSWORD,
        "message": mail(BOX, "moitie"), "go_on": go_on,
    });
    let mut half = Program::new("python3")
        .args(["-c", include_str!("operations/half.py")])
        .input(what.to_string())
        .start();
    wait_until("half a message is sent", PATIENCE, || {
        assert!(!half.has_ended(), "{}", half.stderr());
        half.stdout().contains("held").then_some(())
    });
    half
}

fn page_of(clinic: &Clinic) -> Page {
    let (status, text) = clinic.get("/metrics");
    assert_eq!(status, 200);
    Page::read(&text)
}

fn mail(from: &str, subject: &str) -> String {
    Clinic::mail(from, subject)
}

/// What a Prometheus server makes of a page: the text format, read strictly.
struct Page {
    kinds: BTreeMap<String, String>,
    /// By name and labels, as written.
    series: BTreeMap<String, f64>,
}

impl Page {
    fn read(text: &str) -> Self {
        let (mut kinds, mut helped, mut series) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, _) = help.split_once(' ').unwrap();
                assert!(helped.insert(name.to_owned()), "two HELP lines: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(helped.contains(name), "TYPE before HELP: {line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            } else {
                let (key, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
                let bare = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end));
                let is_histogram = |name: &str| kinds.get(name).is_some_and(|kind| kind == "histogram");
                let family = bare.filter(|name| is_histogram(name)).unwrap_or(name);
                assert!(kinds.contains_key(family), "no TYPE for {line}");
                let inside = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
                for pair in inside.split("\",").filter(|pair| !pair.is_empty()) {
                    let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                    assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
                    assert!(!value.trim_end_matches('"').contains('"'), "{line}");
                }
                let value: f64 = value.parse().unwrap();
                assert!(series.insert(key.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        Self { kinds, series }
    }

    /// The value of a series of the clinic: `vaguemestre_x_total`, `face="smtp"`.
    #[track_caller]
    fn value(&self, name: &str, labels: &str) -> f64 {
        let comma = if labels.is_empty() { "" } else { "," };
        let key = format!("{name}{{operator=\"mx.clinique.localhost\"{comma}{labels}}}");
        *self.series.get(&key).unwrap_or(&0.0)
    }
}

#[test]
fn the_page_of_metrics_is_well_formed_counts_what_happened_and_names_nobody() {
    let clinic = Clinic::new("");
    let running = clinic.serve();
    let peer = clinic.listed_peer();
    peer.offer(SENDER, &[BOX], &mail(SENDER, SUBJECT)).assert_accepted();
    peer.offer(SENDER, &["x@ailleurs.example"], &mail(SENDER, SUBJECT))
        .assert_refused("rcpt", &["relay-denied"]);
    clinic
        .client()
        .submit((BOX, "faux"), BOX, &mail(BOX, SUBJECT))
        .assert_refused("broken", &["credentials-invalid"]);
    assert_eq!(mails(clinic.imaps, &clinic.at("root.pem"), (BOX, PASSWORD)).len(), 1);
    let (_, text) = clinic.get("/metrics");
    let page = Page::read(&text);
    for family in CATALOGUE {
        assert_eq!(
            page.kinds.get(family.name).map(String::as_str),
            Some(family.kind.word()),
            "{}",
            family.name
        );
    }
    // Python offers a password twice: PLAIN, then LOGIN.
    for (name, labels, value) in [
        ("vaguemestre_messages_accepted_total", "face=\"smtp\"", 1.0),
        ("vaguemestre_accept_seconds_count", "face=\"smtp\"", 1.0),
        (
            "vaguemestre_refusals_total",
            "face=\"smtp\",stage=\"rcpt\",reason=\"relay-denied\"",
            1.0,
        ),
        (
            "vaguemestre_refusals_total",
            "face=\"submission\",stage=\"login\",reason=\"credentials-invalid\"",
            2.0,
        ),
        ("vaguemestre_sessions_total", "face=\"smtp\"", 2.0),
        ("vaguemestre_queue_items", "state=\"due\"", 0.0),
        ("vaguemestre_ready", "check=\"store\"", 1.0),
        ("vaguemestre_spooled_messages_total", "place=\"memory\"", 1.0),
    ] {
        assert!(
            (page.value(name, labels) - value).abs() < 0.1,
            "{name}{{{labels}}}\n{text}"
        );
    }
    // The message came in once and was read once; what else is said on a line is more.
    let message_bytes = u32::try_from(mail(SENDER, SUBJECT).len()).unwrap();
    for labels in ["face=\"smtp\",direction=\"in\"", "face=\"imaps\",direction=\"out\""] {
        let bytes = page.value("vaguemestre_network_bytes_total", labels);
        assert!(bytes > f64::from(message_bytes), "{labels}: {bytes}\n{text}");
    }
    let handshakes =
        "vaguemestre_tls_handshakes_total{operator=\"mx.clinique.localhost\",face=\"smtp\",version=\"TLSv1.3\"";
    assert!(text.contains(handshakes), "{text}");
    assert!(page.value("vaguemestre_store_commit_writes_count", "") >= 2.0);
    assert!(page.value("vaguemestre_certificate_expires_seconds", "face=\"smtp\"") > 0.0);
    assert!(page.value("vaguemestre_allow_list_age_seconds", "") > 0.0);
    assert!(page.series["process_open_fds"] > 5.0 && page.series["process_resident_memory_bytes"] > 1e6);
    for secret in ["@", "mssante", SUBJECT, "127.0.0.1", "accueil", "VOISIN", PASSWORD] {
        assert!(!text.contains(secret), "{secret}\n{text}");
    }
    assert_eq!(clinic.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(clinic.get("/elsewhere").0, 404);
    running.stop("TERM", PATIENCE).assert_success();
}

/// What readiness says of the clinic's own operator.
fn operator(told: &Value) -> Value {
    told["operators"]["mx.clinique.localhost"].clone()
}

#[test]
fn files_that_cannot_be_used_leave_the_old_ones_say_so_and_good_ones_are_taken() {
    let clinic = Clinic::new("connections_per_address_max = 50");
    let running = clinic.serve();
    let (status, told) = clinic.ready();
    assert_eq!(
        (status, &told["ready"], &told["state"]),
        (200, &json!(true), &json!("running"))
    );
    assert_eq!(operator(&told)["checks"]["store"], json!({ "ok": true }));
    assert_eq!(operator(&told)["warnings"], json!({}));

    let (good, key) = (clinic.at("server.pem"), clinic.at("server.key"));
    let before = fs::read(&good).unwrap();
    fs::write(&good, "-----BEGIN CERTIFICATE-----\nnothing\n").unwrap();
    clinic.write("allow-list.xml", "<nothing/>");
    running.signal("HUP");
    let told = clinic.wait_ready("bad files are told", |_, told| {
        let warnings = &operator(told)["warnings"];
        warnings["certificates"].is_string() && warnings["allow-list"].is_string()
    });
    assert_eq!(told["ready"], json!(true), "the old ones serve: {told:#}");
    assert!(
        operator(&told)["warnings"]["certificates"]
            .as_str()
            .unwrap()
            .contains("server.pem")
    );
    let page = page_of(&clinic);
    assert!(page.value("vaguemestre_reload_failed", "part=\"certificates\"") > 0.5);
    assert!(page.value("vaguemestre_reloads_total", "part=\"allow-list\",result=\"failed\"") > 0.5);
    clinic
        .listed_peer()
        .offer(SENDER, &[BOX], &mail(SENDER, "ancien"))
        .assert_accepted();
    assert!(
        running.stderr().contains("the last good version stays"),
        "{}",
        running.stderr()
    );

    take_good_files(&clinic, &running, (&good, &key), &before);
    running.stop("TERM", PATIENCE).assert_success();
}

/// Then another certificate, one box more, fewer connections, and something that only a start can use.
#[track_caller]
fn take_good_files(clinic: &Clinic, running: &Running, (good, key): (&Path, &Path), before: &[u8]) {
    let other = clinic.pki.issue("renewed", Clinic::SUBJECT);
    fs::copy(&other.certificate, good).unwrap();
    fs::copy(&other.key, key).unwrap();
    assert_ne!(fs::read(good).unwrap(), before);
    clinic.write("allow-list.xml", &Clinic::list(Clinic::NEIGHBOUR));
    let more = clinic
        .configuration()
        .replace("connections_per_address_max = 50", "connections_per_address_max = 1")
        .replace("allow_remote = false", "allow_remote = false\nexpiry = \"1d\"");
    let label = "type = \"ORG\"\nlabel = \"Etage\"\nestablishment = \"990000028\"\n";
    clinic.write(
        "gateway.toml",
        &format!("{more}[[box]]\naddress = \"{LATER}\"\n{label}"),
    );
    running.signal("HUP");
    let told = clinic.wait_ready("good files are taken", |_, told| {
        let warnings = operator(told)["warnings"].as_object().unwrap().clone();
        warnings.len() == 1 && warnings.contains_key("restart-needed")
    });
    assert!(
        operator(&told)["warnings"]["restart-needed"]
            .as_str()
            .unwrap()
            .contains("[relay]")
    );
    assert!(page_of(clinic).value("vaguemestre_reload_failed", "part=\"certificates\"") < 0.5);
    clinic
        .listed_peer()
        .offer(SENDER, &[LATER], &mail(SENDER, "neuf"))
        .assert_accepted();
    assert_eq!(shown(clinic.submissions), fingerprint(good));
    wait_until("connections of before are gone", PATIENCE, || {
        let page = page_of(clinic);
        (page.value("vaguemestre_sessions_open", "face=\"smtp\"") < 0.5
            && page.value("vaguemestre_sessions_open", "face=\"submissions\"") < 0.5)
            .then_some(())
    });
    let (_first, line) = connect(clinic.smtp);
    assert!(line.starts_with("220 "), "{line}");
    let (_second, line) = connect(clinic.smtp);
    assert!(
        line.starts_with("421 4.7.0 too many connections from your address"),
        "{line}"
    );
}

/// SHA-256 of the certificate that a TLS port shows, and of one in a file.
fn shown(port: u16) -> String {
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    );
    Program::new("sh").args(["-c", &script]).run().assert_success().stdout
}

fn fingerprint(file: &Path) -> String {
    let openssl = Program::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]);
    openssl.arg(file).run().assert_success().stdout
}

fn connect(port: u16) -> (TcpStream, String) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    (stream, line)
}

#[test]
fn a_drain_finishes_the_message_under_way_and_takes_nothing_new() {
    let clinic = Clinic::new("drain_timeout = \"1h\"");
    let running = clinic.serve();
    let (idle, line) = connect(clinic.smtp);
    assert!(line.starts_with("220 "), "{line}");
    let go_on = clinic.at("go-on");
    let half = half_a_message(&clinic, Some(go_on.clone()));
    running.signal("TERM");
    let told = clinic.wait_ready("it drains", |status, _| status == 503);
    assert_eq!((&told["ready"], &told["state"]), (&json!(false), &json!("draining")));
    assert!(page_of(&clinic).series["vaguemestre_draining"] > 0.5);
    let mut farewell = String::new();
    BufReader::new(&idle).read_line(&mut farewell).unwrap();
    assert!(farewell.starts_with("421 4.3.2 shutting down"), "{farewell}");
    wait_until("nothing listens any more", PATIENCE, || {
        TcpStream::connect(("127.0.0.1", clinic.smtp)).is_err().then_some(())
    });
    fs::write(go_on, "").unwrap();
    let said = half.wait(PATIENCE).stdout;
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said[1], "250", "{said:?}");
    assert!(said[2].starts_with("421 ") || said[2].starts_with("gone"), "{said:?}");
    running.wait(PATIENCE).assert_success();
    // The message that was under way is there.
    let again = clinic.serve();
    assert_eq!(mails(clinic.imaps, &clinic.at("root.pem"), (BOX, PASSWORD)).len(), 1);
    again.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn a_drain_ends_at_its_limit_and_at_a_second_signal() {
    let clinic = Clinic::new("drain_timeout = \"1s\"");
    let running = clinic.serve();
    let half = half_a_message(&clinic, None);
    let ended = running.stop("TERM", PATIENCE);
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.stderr.contains("were cut"), "{ended:#?}");
    drop(half);

    let text = clinic
        .configuration()
        .replace("drain_timeout = \"1s\"", "drain_timeout = \"1h\"");
    clinic.write("gateway.toml", &text);
    let running = clinic.serve();
    let half = half_a_message(&clinic, None);
    running.signal("TERM");
    clinic.wait_ready("it drains", |status, _| status == 503);
    let ended = running.stop("TERM", PATIENCE);
    assert_eq!(ended.code, Some(143), "{ended:#?}");
    drop(half);
    // Nothing was acknowledged, nothing is there, and the folder is good.
    let again = clinic.serve();
    assert!(mails(clinic.imaps, &clinic.at("root.pem"), (BOX, PASSWORD)).is_empty());
    again.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn a_sender_that_drips_reads_421_and_leaves_nothing() {
    let clinic = Clinic::new("message_timeout = \"2s\"");
    let running = clinic.serve();
    let said = half_a_message(&clinic, None).wait(PATIENCE).stdout;
    assert!(said.contains("421 4.4.2 this takes too long"), "{said}");
    assert!(mails(clinic.imaps, &clinic.at("root.pem"), (BOX, PASSWORD)).is_empty());
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn connections_without_a_handshake_count_and_come_back() {
    let clinic = Clinic::new("connections_per_address_max = 3");
    let running = clinic.serve();
    let half_open: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(("127.0.0.1", clinic.submissions)).unwrap())
        .collect();
    let open = |count: f64| {
        let page = page_of(&clinic);
        let open = page.value("vaguemestre_sessions_open", "face=\"submissions\"");
        ((open - count).abs() < 0.1).then_some(())
    };
    wait_until("three are counted", PATIENCE, || open(3.0));
    let (_, line) = connect(clinic.smtp);
    assert!(
        line.starts_with("421 4.7.0 too many connections from your address"),
        "{line}"
    );
    assert!(line.contains("too-many-connections, session "), "{line}");
    let turned = page_of(&clinic);
    let turned = turned.value(
        "vaguemestre_connections_turned_away_total",
        "face=\"smtp\",limit=\"address\"",
    );
    assert!((turned - 1.0).abs() < 0.1);
    // One that speaks no TLS at all ends as a failed handshake, the others by leaving.
    let mut loud = half_open.into_iter();
    loud.next().unwrap().write_all(b"EHLO in.clear\r\n").unwrap();
    drop(loud);
    wait_until("they are gone", PATIENCE, || open(0.0));
    let page = page_of(&clinic);
    assert!(
        page.value(
            "vaguemestre_tls_handshakes_failed_total",
            "face=\"submissions\",cause=\"protocol\""
        ) > 0.5
    );
    let (_, line) = connect(clinic.smtp);
    assert!(line.starts_with("220 "), "{line}");
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn without_descriptors_accepting_pauses_and_recovers() {
    let clinic = Clinic::new("");
    let running = clinic.serve();
    // Asked now: below the limit nobody, this page included, is sure of a descriptor.
    let used_before = page_of(&clinic).series["process_cpu_seconds_total"];
    let descriptors = |limit: &str| {
        Program::as_root("prlimit")
            .args(["--pid", &running.pid().to_string(), &format!("--nofile={limit}")])
            .run()
            .assert_success();
    };
    let open = fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().count();
    descriptors(&format!("{open}:4096"));
    // More than are left: the kernel keeps them waiting.
    let waiting: Vec<TcpStream> = (0..open + 20)
        .map(|_| TcpStream::connect(("127.0.0.1", clinic.smtp)).unwrap())
        .collect();
    wait_until("it says so", PATIENCE, || {
        running.stderr().contains("accept failed, pausing").then_some(())
    });
    descriptors("4096:4096");
    let greeted = waiting.iter().take(90).all(|stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.starts_with("220 ") || line.starts_with("421 4.7.0")
    });
    assert!(greeted);
    let page = page_of(&clinic);
    assert!(page.value("vaguemestre_accept_errors_total", "face=\"smtp\"") > 0.5);
    let used = page.series["process_cpu_seconds_total"] - used_before;
    assert!(used_before > 0.0, "the time used is told");
    assert!(used < 2.0, "it span: {used} s");
    wait_until("it is ready again", PATIENCE, || {
        (clinic.ready().0 == 200).then_some(())
    });
    drop(waiting);
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn logs_are_json_with_stable_fields_and_hold_nothing_personal() {
    let clinic = Clinic::new("");
    let running = clinic.serve_with(&["--log", "debug", "--log-format", "json"]);
    clinic
        .listed_peer()
        .offer(SENDER, &[BOX], &mail(SENDER, SUBJECT))
        .assert_accepted();
    clinic
        .client()
        .submit((BOX, PASSWORD), INS, &mail(BOX, SUBJECT))
        .assert_refused("rcpt", &["recipient-domain-unlisted"]);
    clinic
        .client()
        .submit((BOX, PASSWORD), BOX, &mail(BOX, SUBJECT))
        .assert_accepted();
    assert_eq!(mails(clinic.imaps, &clinic.at("root.pem"), (BOX, PASSWORD)).len(), 2);
    let (_nobody, _) = connect(clinic.smtp);
    let ended = running.stop("TERM", PATIENCE).assert_success();
    let mut refused = 0;
    for line in ended.stderr.lines().filter(|line| !line.starts_with("vaguemestre: ")) {
        let told: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(told[field].is_string(), "{field}: {line}");
        }
        if told["message"] == "refused" {
            assert_eq!(told["operator"], "mx.clinique.localhost");
            assert_eq!(told["reason"], "recipient-domain-unlisted");
            assert!(told["session"].is_string(), "{line}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1, "{}", ended.stderr);
    for secret in ["279035121518989", SUBJECT, "Bonjour", PASSWORD, BOX, SENDER] {
        assert!(!ended.stderr.contains(secret), "{secret}\n{}", ended.stderr);
    }
}

#[test]
fn the_documented_metrics_are_those_of_the_code() {
    let page = include_str!("../docs/operations.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `vaguemestre_") || line.starts_with("| `process_"));
    let documented: Vec<Vec<&str>> = rows
        .map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let coded: Vec<Vec<String>> = CATALOGUE
        .iter()
        .map(|family| {
            let own = (!family.is_of_process()).then_some("operator");
            let labels: Vec<&str> = own.into_iter().chain(family.labels.iter().copied()).collect();
            vec![
                format!("`{}`", family.name),
                family.kind.word().to_owned(),
                labels.join(", "),
                family.help.to_owned(),
            ]
        })
        .collect();
    let print: Vec<String> = coded.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    assert_eq!(
        documented,
        coded,
        "docs/operations.md should hold:\n{}",
        print.join("\n")
    );
}
