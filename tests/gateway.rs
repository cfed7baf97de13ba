//! `serve` and `check`: one operator of a field whose authority is elsewhere, with certificates that OpenSSL made.

#![cfg(test)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use common::{
    Certificate, Clinic, Finished, Named, Pki, Postfix, PostfixOptions, Program, Setup, Space, folder, free_port,
    holds, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(40);
const BOX: &str = Clinic::BOX;
const SENDER: &str = Clinic::SENDER;
const CLINIC: Named<'_> = Clinic::SUBJECT;
const NEIGHBOUR: Named<'_> = Clinic::NEIGHBOUR;
const OTHER: Named<'_> = Named {
    structure: "1990000077",
    ..NEIGHBOUR
};

/// A gateway that takes several connections from one address, and not many.
fn clinic() -> Clinic {
    Clinic::new("connections_per_address_max = 20")
}

#[test]
fn a_listed_peer_is_heard_others_are_refused_and_people_read_and_write() {
    let clinic = clinic();
    let running = clinic.serve();
    let listed = clinic.peer(Some(clinic.pki.issue("peer", NEIGHBOUR)));
    listed
        .offer(SENDER, &[BOX], &Clinic::mail(SENDER, "entrant"))
        .assert_accepted();
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
        let replies = clinic
            .peer(certificate)
            .offer(SENDER, &[BOX], &Clinic::mail(SENDER, "refuse"));
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
        .offer(unlisted, &[BOX], &Clinic::mail(unlisted, "refuse"))
        .assert_refused("mail", &["550", "sender-domain-unlisted"]);
    listed
        .offer(SENDER, &["x@ailleurs.example"], &Clinic::mail(SENDER, "refuse"))
        .assert_refused("rcpt", &["550", "relay-denied"]);

    clinic
        .client()
        .submit((BOX, Clinic::PASSWORD), BOX, &Clinic::mail(BOX, "a soi"))
        .assert_accepted();
    clinic
        .client()
        .submit((BOX, "faux"), BOX, &Clinic::mail(BOX, "refuse"))
        .assert_refused("broken", &["535", "credentials-invalid"]);
    let read = clinic.mails();
    let subjects: Vec<&str> = read.iter().filter_map(|mail| mail["subject"].as_str()).collect();
    assert_eq!(subjects, ["entrant", "a soi"]);
    let ended = running.stop("INT", PATIENCE).assert_success();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn what_is_written_to_postmaster_is_read_by_the_box_named_for_it() {
    let clinic = Clinic::set_up(Setup {
        operator: "postmaster = \"accueil@clinique.mssante.fr\"",
        ..Setup::default()
    });
    let running = clinic.serve();
    assert!(!running.stderr().contains("postmaster"), "{}", running.stderr());
    let listed = clinic.listed_peer();
    // RFC 5321 §4.5.1: with every domain served and with none, in any case; two names of one box are one mail.
    for (subject, to) in [
        ("un", &["postmaster"][..]),
        ("deux", &["PostMaster"]),
        ("trois", &["POSTMASTER@Clinique.mssante.fr"]),
        ("quatre", &["postmaster@clinique.mssante.fr", BOX, "postmaster"]),
    ] {
        listed
            .offer(SENDER, to, &Clinic::mail(SENDER, subject))
            .assert_accepted();
    }
    let mail = Clinic::mail(BOX, "cinq");
    clinic
        .client()
        .submit(Clinic::login(), "postmaster", &mail)
        .assert_accepted();
    let read = clinic.mails();
    let subjects: Vec<&str> = read.iter().filter_map(|mail| mail["subject"].as_str()).collect();
    assert_eq!(subjects, ["un", "deux", "trois", "quatre", "cinq"]);
    for record in clinic.records("received") {
        assert!(holds(&record, &[BOX]) && !holds(&record, &["ostmaster"]), "{record}");
    }
    // Who may write is decided as for everybody, and other domains have their own.
    let unlisted = "medecin@rayee.mssante.fr";
    listed
        .offer(unlisted, &["postmaster"], &Clinic::mail(unlisted, "refuse"))
        .assert_refused("mail", &["550", "sender-domain-unlisted"]);
    for (to, words) in [
        ("postmaster@ailleurs.example", ["550 5.7.1", "relay-denied"]),
        ("abuse@clinique.mssante.fr", ["550 5.1.1", "box-unknown"]),
    ] {
        let refused = listed.offer(SENDER, &[to], &Clinic::mail(SENDER, "refuse"));
        refused.assert_refused("rcpt", &words);
    }
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn without_a_box_for_postmaster_the_start_the_check_and_the_refusal_say_so() {
    let clinic = clinic();
    let words = "nobody reads what is written to postmaster at clinique.mssante.fr, and it is refused; RFC 5321 §4.5.1 wants it taken";
    assert!(clinic.run("check").run().assert_success().stderr.contains(words));
    let running = clinic.serve();
    assert!(running.stderr().contains(words), "{}", running.stderr());
    for to in ["postmaster", "postmaster@clinique.mssante.fr"] {
        let refused = clinic
            .listed_peer()
            .offer(SENDER, &[to], &Clinic::mail(SENDER, "refuse"));
        refused.assert_refused(
            "rcpt",
            &[
                "550 5.1.1",
                "box-unknown",
                "names none under `postmaster` in its configuration",
            ],
        );
    }
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn a_changed_allow_list_is_installed_on_sighup_and_an_open_session_keeps_its_verdict() {
    let clinic = clinic();
    let running = clinic.serve();
    let certificate = clinic.pki.issue("peer", NEIGHBOUR);
    let what = json!({
        "pid": running.pid(), "port": clinic.smtp, "authority": clinic.at("root.pem"),
        "certificate": certificate.certificate, "key": certificate.key,
        "from": SENDER, "to": BOX, "message": Clinic::mail(SENDER, "tenu"),
        "list": clinic.at("allow-list.xml"), "lists": [Clinic::list(OTHER), Clinic::list(NEIGHBOUR)],
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
fn a_session_ends_between_two_commands_once_it_is_older_than_allowed() {
    let clinic = clinic();
    let limits = "[limits]\nsmtp_session_max = \"1s\"\nimap_session_max = \"1s\"\n";
    clinic.write("gateway.toml", &clinic.configuration().replace("[limits]\n", limits));
    let running = clinic.serve();
    let certificate = clinic.pki.issue("peer", NEIGHBOUR);
    let what = json!({
        "port": clinic.smtp, "imaps": clinic.imaps, "authority": clinic.at("root.pem"), "password": Clinic::PASSWORD,
        "certificate": certificate.certificate, "key": certificate.key,
        "from": SENDER, "to": BOX, "message": Clinic::mail(SENDER, "long"),
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
    let clinic = clinic();
    let running = clinic.serve();
    let peer = clinic.peer(Some(clinic.pki.issue("peer", NEIGHBOUR)));
    let whole = Clinic::list(NEIGHBOUR);
    for (broken, count) in [("", 1), (&whole[..whole.len() / 2], 2), ("<html>maintenance</html>", 3)] {
        clinic.write("allow-list.xml", broken);
        running.signal("HUP");
        wait_until("the broken list is reported", PATIENCE, || {
            (running.stderr().matches("the last good version stays").count() == count).then_some(())
        });
        peer.offer(SENDER, &[BOX], &Clinic::mail(SENDER, "entrant"))
            .assert_accepted();
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
    let clinic = clinic();
    let _running = clinic.serve();
    let to = "medecin@voisin.mssante.fr";
    clinic
        .client()
        .submit((BOX, Clinic::PASSWORD), to, &Clinic::mail(BOX, "patience"))
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
    let clinic = clinic();
    let good = clinic.run("check").run().assert_success();
    assert!(good.stdout.contains("gateway.toml: good"), "{}", good.text());
    assert!(!clinic.at("data").exists(), "check makes nothing");
}

#[test]
fn check_lists_ten_mistakes_of_one_file_at_once_with_their_lines() {
    let clinic = clinic();
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
        !refused.stderr.contains(Clinic::PASSWORD),
        "a password is never repeated: {}",
        refused.stderr
    );
    assert_eq!(clinic.run("serve").run().code, Some(1));
}

#[test]
fn missing_files_are_all_listed_and_unusable_ones_named() {
    let clinic = clinic();
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
    clinic.write("allow-list.xml", &Clinic::list(NEIGHBOUR));
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
    let clinic = clinic();
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
    for port in clinic.ports() {
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
    let clinic = clinic();
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
    let clinic = clinic();
    let named = clinic.configuration().replace(
        &format!("127.0.0.1:{}", clinic.neighbour),
        &format!("localhost:{}", clinic.neighbour),
    );
    clinic.write("gateway.toml", &named);
    let _running = clinic.serve();
    let to = "medecin@voisin.mssante.fr";
    clinic
        .client()
        .submit((BOX, Clinic::PASSWORD), to, &Clinic::mail(BOX, "nom"))
        .assert_accepted();
    let deferred = clinic.wait_for_record("deferred", &[to]);
    assert!(
        holds(&deferred, &["cannot be reached", &clinic.neighbour.to_string()]),
        "{deferred}"
    );
}

/// smtp-source of Postfix, which knows neither TLS nor AUTH: 5 connections at once through a bridge that lends it TLS.
fn smtp_source(clinic: &Clinic, certificate: Option<&Certificate>, messages: &str) -> Finished {
    let mut task = json!({ "server": clinic.smtp, "ca": clinic.at("root.pem") });
    if let Some(files) = certificate {
        task["certificate"] = json!(files.certificate);
        task["key"] = json!(files.key);
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/tls_bridge.py");
    let bridge = Program::new("python3")
        .args(["-B", script])
        .input(task.to_string())
        .start();
    let port = wait_until("the bridge stands", PATIENCE, || {
        bridge.stdout().trim().parse::<u16>().ok()
    });
    Program::new("smtp-source")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args([
            "-d",
            "-s",
            "5",
            "-m",
            messages,
            "-l",
            "20000",
            "-M",
            "mx.voisin.localhost",
        ])
        .args(["-f", SENDER, "-t", BOX])
        .arg(format!("127.0.0.1:{port}"))
        .run()
}

#[test]
fn smtp_source_delivers_with_a_certificate_that_is_lent_to_it_and_not_without() {
    let clinic = clinic();
    let running = clinic.serve();
    smtp_source(&clinic, Some(&clinic.pki.issue("peer", NEIGHBOUR)), "100").assert_success();
    assert_eq!(clinic.records("received").len(), 100);
    assert_eq!(clinic.mails().len(), 100);
    let refused = smtp_source(&clinic, None, "1").assert_failure();
    assert!(
        refused.stderr.contains("554") && refused.stderr.contains("certificate-missing"),
        "{refused:?}"
    );
    assert_eq!(clinic.mails().len(), 100);
    running.stop("TERM", PATIENCE).assert_success();
}
