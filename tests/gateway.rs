//! `serve` and `check`: one operator of a field whose authority is elsewhere, with certificates that OpenSSL made.

#![cfg(test)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use common::{
    Certificate, Finished, Named, Peer, Pki, Postfix, PostfixOptions, Program, Running, Space, folder, free_port,
    holds, journal, mails, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(40);
const BOX: &str = "accueil@clinique.mssante.fr";
const SENDER: &str = "medecin@voisin.mssante.fr";
const CLINIC: Named<'_> = Named {
    department: "Ain (01)",
    organisation: "CLINIQUE D'ESSAI",
    structure: "1990000283",
    name: "mx.clinique.localhost",
};
const NEIGHBOUR: Named<'_> = Named {
    department: "Rhône (69)",
    organisation: "OPERATEUR VOISIN",
    structure: "1990000051",
    name: "mx.voisin.localhost",
};
const OTHER: Named<'_> = Named {
    structure: "1990000077",
    ..NEIGHBOUR
};

/// Files of a gateway, and what runs on them.
struct Clinic {
    files: TempDir,
    pki: Pki,
    smtp: u16,
    submission: u16,
    imaps: u16,
    /// Where the neighbour would listen.
    neighbour: u16,
}

impl Clinic {
    fn new() -> Self {
        let files = folder();
        let pki = Pki::root(files.path(), "root");
        pki.issue("server", CLINIC);
        let clinic = Self {
            files,
            pki,
            smtp: free_port(),
            submission: free_port(),
            imaps: free_port(),
            neighbour: free_port(),
        };
        clinic.write("allow-list.xml", &list(NEIGHBOUR));
        clinic.write("gateway.toml", &clinic.configuration());
        clinic
    }

    fn at(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn configuration(&self) -> String {
        let Self {
            smtp,
            submission,
            imaps,
            neighbour,
            ..
        } = self;
        format!(
            "[operator]\nhost = \"mx.clinique.localhost\"\ndomains = [\"clinique.mssante.fr\"]\n\
             [data]\nfolder = \"data\"\n\
             [listen]\nsmtp = \"127.0.0.1:{smtp}\"\nsubmission = \"127.0.0.1:{submission}\"\nimaps = \"127.0.0.1:{imaps}\"\n\
             [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [trust]\nca = [\"root.pem\"]\nallow_list = \"allow-list.xml\"\nmissing_revocation = \"accept\"\n\
             [relay]\nretry = [\"1s\"]\nallow_remote = false\n\
             [[relay.route]]\ndomain = \"voisin.mssante.fr\"\nhosts = [\"127.0.0.1:{neighbour}\"]\n\
             [limits]\nconnections_per_address_max = 20\n\
             [[entity]]\nfiness = \"990000010\"\nname = \"CLINIQUE D'ESSAI\"\n\
             [[establishment]]\nfiness = \"990000028\"\nentity = \"990000010\"\nname = \"Clinique\"\n\
             [[box]]\naddress = \"{BOX}\"\ntype = \"ORG\"\nlabel = \"Accueil\"\nestablishment = \"990000028\"\n\
             [[login]]\nname = \"accueil\"\nkind = \"password\"\npassword = \"essai\"\nboxes = [\"{BOX}\"]\n"
        )
    }

    fn run(&self, command: &str) -> Program {
        Space::program()
            .args([command, "--config"])
            .arg(self.at("gateway.toml"))
    }

    /// Starts it, and waits until it serves.
    #[track_caller]
    fn serve(&self) -> Running {
        let mut running = self.run("serve").start();
        wait_until("the gateway serves", PATIENCE, || {
            assert!(!running.has_ended(), "serve ended: {}", running.stderr());
            running.stderr().contains("is serving").then_some(())
        });
        running
    }

    fn peer(&self, certificate: Option<Certificate>) -> Peer {
        Peer {
            port: self.smtp,
            authority: self.at("root.pem"),
            certificate,
        }
    }

    fn client(&self) -> Peer {
        Peer {
            port: self.submission,
            ..self.peer(None)
        }
    }

    fn mails(&self) -> Vec<Value> {
        mails(self.imaps, &self.at("root.pem"), (BOX, "essai"))
    }

    fn records(&self, event: &str) -> Vec<Value> {
        let file = self.at("gateway.toml");
        journal([
            "--event".as_ref(),
            event.as_ref(),
            "--config".as_ref(),
            file.as_os_str(),
        ])
    }

    #[track_caller]
    fn wait_for_record(&self, event: &str, words: &[&str]) -> Value {
        wait_until(&format!("{event} with {words:?}"), PATIENCE, || {
            self.records(event).into_iter().find(|record| holds(record, words))
        })
    }
}

/// An allow list with the clinic, and the neighbour under this subject.
fn list(neighbour: Named<'_>) -> String {
    let entry = |domain: &str, subject: Named<'_>| {
        format!(
            "<Domaine><Nom>{domain}</Nom><Description>{}</Description><DNCertificatOperateur>{}</DNCertificatOperateur>\
             <ResponsableContact>a@{domain}</ResponsableContact><SupportContact>a@{domain}</SupportContact>\
             <DateMAJ>2026-11-01T00:00:00Z</DateMAJ></Domaine>",
            subject.organisation,
            subject.listed()
        )
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListeBlancheMSSante xmlns=\"https://listeblanche.mssante.fr/schema\">\
         <DateDeGeneration>2026-11-01T00:00:00Z</DateDeGeneration><ListeDomaines>{}{}</ListeDomaines></ListeBlancheMSSante>\n",
        entry("clinique.mssante.fr", CLINIC),
        entry("voisin.mssante.fr", neighbour)
    )
}

fn mail(from: &str, subject: &str) -> String {
    format!("From: <{from}>\r\nTo: <{BOX}>\r\nSubject: {subject}\r\n\r\nBonjour\r\n")
}

#[test]
fn a_listed_peer_is_heard_others_are_refused_and_people_read_and_write() {
    let clinic = Clinic::new();
    let running = clinic.serve();
    let listed = clinic.peer(Some(clinic.pki.issue("peer", NEIGHBOUR)));
    listed.offer(SENDER, &[BOX], &mail(SENDER, "entrant")).assert_accepted();
    let strangers = folder();
    let foreign = Pki::root(strangers.path(), "strangers").issue("peer", NEIGHBOUR);
    for (certificate, words) in [
        (
            Some(clinic.pki.issue("other", OTHER)),
            ["550", "certificate-not-for-domain"],
        ),
        (Some(foreign), ["554", "certificate-untrusted"]),
        (
            Some(clinic.pki.issue_expired("old", NEIGHBOUR)),
            ["554", "certificate-expired"],
        ),
        (None, ["554", "certificate-missing"]),
    ] {
        let replies = clinic.peer(certificate).offer(SENDER, &[BOX], &mail(SENDER, "refuse"));
        assert!(
            replies
                .0
                .last()
                .is_some_and(|(_, reply)| words.iter().all(|word| reply.contains(word))),
            "{replies:#?}"
        );
        clinic.wait_for_record("refused", &words[1..]);
    }
    let unlisted = "medecin@rayee.mssante.fr";
    listed
        .offer(unlisted, &[BOX], &mail(unlisted, "refuse"))
        .assert_refused("mail", &["550", "sender-domain-unlisted"]);
    listed
        .offer(SENDER, &["x@ailleurs.example"], &mail(SENDER, "refuse"))
        .assert_refused("rcpt", &["550", "relay-denied"]);

    clinic
        .client()
        .submit((BOX, "essai"), BOX, &mail(BOX, "a soi"))
        .assert_accepted();
    clinic
        .client()
        .submit((BOX, "faux"), BOX, &mail(BOX, "refuse"))
        .assert_refused("broken", &["535", "credentials-invalid"]);
    let read = clinic.mails();
    let subjects: Vec<&str> = read.iter().filter_map(|mail| mail["subject"].as_str()).collect();
    assert_eq!(subjects, ["entrant", "a soi"]);
    let ended = running.stop("INT", PATIENCE).assert_success();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_changed_allow_list_is_installed_on_sighup_and_an_open_session_keeps_its_verdict() {
    let clinic = Clinic::new();
    let running = clinic.serve();
    let certificate = clinic.pki.issue("peer", NEIGHBOUR);
    let what = json!({
        "pid": running.pid(), "port": clinic.smtp, "authority": clinic.at("root.pem"),
        "certificate": certificate.certificate, "key": certificate.key,
        "from": SENDER, "to": BOX, "message": mail(SENDER, "tenu"),
        "list": clinic.at("allow-list.xml"), "lists": [list(OTHER), list(NEIGHBOUR)],
    });
    let script = include_str!("gateway/held.py");
    let told = Program::new("python3")
        .args(["-c", script])
        .input(what.to_string())
        .within(2 * PATIENCE)
        .run()
        .assert_success();
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(
        told,
        json!({ "before": 250, "changed": true, "held": [250, 250, 250, 221], "back": true })
    );
    assert!(holds(&json!(clinic.mails()), &["tenu"]));
    clinic.wait_for_record("refused", &["certificate-not-for-domain", "OU=1990000077"]);
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn a_session_ends_between_two_messages_once_it_is_older_than_allowed() {
    let clinic = Clinic::new();
    let limits = "[limits]\nsmtp_session_max = \"1s\"\nimap_session_max = \"1s\"\n";
    clinic.write("gateway.toml", &clinic.configuration().replace("[limits]\n", limits));
    let running = clinic.serve();
    let certificate = clinic.pki.issue("peer", NEIGHBOUR);
    let what = json!({
        "port": clinic.smtp, "imaps": clinic.imaps, "authority": clinic.at("root.pem"), "password": "essai",
        "certificate": certificate.certificate, "key": certificate.key,
        "from": SENDER, "to": BOX, "message": mail(SENDER, "long"),
    });
    let told = Program::new("python3")
        .args(["-c", include_str!("gateway/worn.py")])
        .input(what.to_string())
        .within(2 * PATIENCE)
        .run()
        .assert_success();
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert!(holds(&told["ending"], &["421", "4.3.2", "connect again"]), "{told}");
    assert!(holds(&told["login"], &["a OK"]), "{told}");
    assert!(holds(&told["bye"], &["* BYE [UNAVAILABLE]", "connect again"]), "{told}");
    assert_eq!(Some(clinic.mails().len() as u64), told["accepted"].as_u64(), "{told}");
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn a_broken_allow_list_is_reported_and_the_last_good_one_stays() {
    let clinic = Clinic::new();
    let running = clinic.serve();
    let peer = clinic.peer(Some(clinic.pki.issue("peer", NEIGHBOUR)));
    let whole = list(NEIGHBOUR);
    for (broken, count) in [("", 1), (&whole[..whole.len() / 2], 2), ("<html>maintenance</html>", 3)] {
        clinic.write("allow-list.xml", broken);
        running.signal("HUP");
        wait_until("the broken list is reported", PATIENCE, || {
            (running.stderr().matches("the last good version stays").count() == count).then_some(())
        });
        peer.offer(SENDER, &[BOX], &mail(SENDER, "entrant")).assert_accepted();
    }
    assert!(
        running.stderr().contains("allow-list.xml"),
        "the file is named: {}",
        running.stderr()
    );
    assert_eq!(clinic.mails().len(), 3);
}

#[test]
fn mail_for_a_peer_that_is_down_is_tried_again_until_it_is_up() {
    let clinic = Clinic::new();
    let _running = clinic.serve();
    let to = "medecin@voisin.mssante.fr";
    clinic
        .client()
        .submit((BOX, "essai"), to, &mail(BOX, "patience"))
        .assert_accepted();
    let deferred = clinic.wait_for_record("deferred", &[to, "\"attempts\":2"]);
    assert!(holds(&deferred, &["4.4.1", "cannot be reached"]), "{deferred}");
    let postfix = Postfix::start_on(
        clinic.neighbour,
        &PostfixOptions {
            domain: "voisin.mssante.fr",
            host: NEIGHBOUR.name,
            boxes: &["medecin"],
            certificate: &clinic.pki.issue("peer", NEIGHBOUR),
            authority: &clinic.at("root.pem"),
            listed_peers: None,
            routes: &[],
        },
    );
    postfix.wait_for_mail("medecin", "Subject: patience");
    let relayed = clinic.wait_for_record("relayed", &[to]);
    assert!(relayed["detail"]["attempts"].as_u64() > Some(2), "{relayed}");
    assert_punctual(&clinic.records("deferred"));
    assert_eq!(postfix.mails("medecin").len(), 1, "delivered once");
    assert!(clinic.mails().is_empty(), "no report of what was delivered");
}

/// Each attempt came within seconds of when it was due.
#[track_caller]
fn assert_punctual(deferred: &[Value]) {
    let moment = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for pair in deferred.windows(2) {
        let late = moment(&pair[1]["at"]).duration_since(moment(&pair[0]["detail"]["due"]));
        assert!(late.as_secs() < 8, "{late:#} late: {pair:#?}");
    }
}

#[test]
fn check_accepts_what_serve_would_run() {
    let clinic = Clinic::new();
    let good = clinic.run("check").run().assert_success();
    assert!(good.stdout.contains("gateway.toml: good"), "{}", good.text());
    assert!(!clinic.at("data").exists(), "check makes nothing");
}

#[test]
fn check_lists_ten_mistakes_of_one_file_at_once_with_their_lines() {
    let clinic = Clinic::new();
    let mistakes = [
        ("host = \"mx.clinique.localhost\"", "host = \"pas un nom\"", "host"),
        ("folder = \"data\"", "folder = 12", "folder"),
        ("smtp = \"127.0.0.1:", "smtp = \"partout:", "smtp"),
        ("key = \"server.key\"", "clef = \"server.key\"", "clef"),
        (
            "missing_revocation = \"accept\"",
            "missing_revocation = \"peut-etre\"",
            "missing_revocation",
        ),
        ("retry = [\"1s\"]", "retry = [\"bientôt\"]", "retry"),
        (
            "connections_per_address_max = 20",
            "connections_per_address_max = 0",
            "connections_per_address_max",
        ),
        (
            "[[entity]]\nfiness = \"990000010\"",
            "[[entity]]\nfiness = \"990000011\"",
            "990000011",
        ),
        ("type = \"ORG\"", "type = \"BOITE\"", "BOITE"),
        ("kind = \"password\"", "kind = \"sesame\"", "sesame"),
    ];
    let mut text = clinic.configuration();
    for (right, wrong, _) in mistakes {
        assert_eq!(text.matches(right).count(), 1, "{right}");
        text = text.replace(right, wrong);
    }
    clinic.write("gateway.toml", &text);
    let refused = clinic.run("check").run();
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    for (_, wrong, word) in mistakes {
        let last = wrong.lines().last().unwrap();
        let line = 1 + text.lines().position(|line| line.contains(last)).unwrap();
        let place = format!("gateway.toml:{line}:");
        let told = refused
            .stderr
            .lines()
            .any(|told| told.contains(&place) && told.contains(word));
        assert!(told, "{place} {word} in {}", refused.stderr);
    }
    assert!(
        !refused.stderr.contains("essai"),
        "a password is never repeated: {}",
        refused.stderr
    );
    assert_eq!(clinic.run("serve").run().code, Some(1));
}

#[test]
fn missing_files_are_all_listed_and_unusable_ones_named() {
    let clinic = Clinic::new();
    let kept = fs::read(clinic.at("server.key")).unwrap();
    for name in ["server.pem", "server.key", "allow-list.xml"] {
        fs::remove_file(clinic.at(name)).unwrap();
    }
    for command in ["check", "serve"] {
        let refused = clinic.run(command).run();
        assert_eq!(refused.code, Some(1), "{refused:#?}");
        for name in ["server.pem", "server.key", "allow-list.xml"] {
            assert!(refused.stderr.contains(name), "{name} in {}", refused.stderr);
        }
        assert!(refused.stderr.contains("gateway.toml:"), "{}", refused.stderr);
    }
    clinic.pki.issue("server", OTHER);
    clinic.write("allow-list.xml", &list(NEIGHBOUR));
    fs::write(clinic.at("server.key"), kept).unwrap();
    assert_tells(&clinic.run("check").run(), &["private key", "CN=mx.voisin.localhost"]);
    clinic.pki.issue("server", CLINIC);
    clinic.write("allow-list.xml", "<html/>");
    assert_tells(&clinic.run("check").run(), &["allow-list.xml"]);
    fs::remove_file(clinic.at("gateway.toml")).unwrap();
    assert_tells(&clinic.run("check").run(), &["gateway.toml"]);
}

#[track_caller]
fn assert_tells(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    for word in words {
        assert!(finished.stderr.contains(word), "{word:?} in {}", finished.stderr);
    }
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn taken_ports_and_a_data_folder_in_use_are_told_with_the_remedy() {
    let clinic = Clinic::new();
    let taken = [clinic.smtp, clinic.imaps].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let refused = clinic.run("serve").run();
    let (smtp, imaps) = (clinic.smtp.to_string(), clinic.imaps.to_string());
    assert_tells(
        &refused,
        &[&smtp, &imaps, "[listen] smtp", "[listen] imaps", "change the port"],
    );
    drop(taken);

    let _running = clinic.serve();
    let mut second = clinic.configuration();
    for port in [clinic.smtp, clinic.submission, clinic.imaps] {
        second = second.replace(&format!(":{port}\""), &format!(":{}\"", free_port()));
    }
    clinic.write("second.toml", &second);
    let refused = Space::program()
        .args(["serve", "--config"])
        .arg(clinic.at("second.toml"))
        .run();
    assert_tells(&refused, &["data", "in use"]);
}
#[test]
fn one_address_has_no_more_connections_than_configured() {
    let clinic = Clinic::new();
    let _running = clinic.serve();
    let connect = || {
        let stream = std::net::TcpStream::connect(("127.0.0.1", clinic.smtp)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = std::io::BufReader::new(stream);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        (reader, line)
    };
    let open: Vec<_> = (0..20).map(|_| connect()).collect();
    assert!(open.iter().all(|(_, line)| line.starts_with("220 ")));
    let (_, line) = connect();
    assert!(
        line.starts_with("421 4.7.0") && line.contains("too-many-connections"),
        "{line:?}"
    );
    drop(open);
    wait_until("there is room again", PATIENCE, || {
        connect().1.starts_with("220 ").then_some(())
    });
}

#[test]
fn a_static_route_may_name_its_host() {
    let clinic = Clinic::new();
    let named = clinic.configuration().replace(
        &format!("127.0.0.1:{}", clinic.neighbour),
        &format!("localhost:{}", clinic.neighbour),
    );
    clinic.write("gateway.toml", &named);
    let _running = clinic.serve();
    let to = "medecin@voisin.mssante.fr";
    clinic
        .client()
        .submit((BOX, "essai"), to, &mail(BOX, "nom"))
        .assert_accepted();
    let deferred = clinic.wait_for_record("deferred", &[to]);
    assert!(
        holds(&deferred, &["cannot be reached", &clinic.neighbour.to_string()]),
        "{deferred}"
    );
}
