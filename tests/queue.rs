//! The queue with real processes: commands while an operator runs and while none does, destinations that cannot be reached, and processes
//! that die at the worst moments.

#![cfg(test)]

mod common;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use common::{Clinic, Finished, Peer, Program, Running, Setup, Space, folder, free_port, holds, wait_until};

const PATIENCE: Duration = Duration::from_mins(1);
const INS: &str = "279035121518989";

/// An operator of the sandbox with one box; its structure is `990000051` or `990000283`.
fn local(key: &str, structure: &str) -> String {
    format!(
        "[[operator]]\nkey = \"{key}\"\nname = \"OPERATEUR {key}\"\nstructure = \"{structure}\"\ndepartment = \"Rhône (69)\"\n\
         domains = [\"{key}.mssante.fr\"]\n[[operator.host]]\nname = \"mx.{key}.localhost\"\n\
         [[operator.entity]]\nfiness = \"990000051\"\nname = \"ENTITE D'ESSAI\"\n\
         [[operator.establishment]]\nfiness = \"990000069\"\nentity = \"990000051\"\nname = \"Etablissement d'essai\"\n\
         [[operator.box]]\naddress = \"accueil@{key}.mssante.fr\"\ntype = \"ORG\"\nlabel = \"Accueil\"\nestablishment = \"990000069\"\n\
         [[operator.login]]\nname = \"accueil\"\nkind = \"password\"\npassword = \"sandbox\"\nboxes = [\"accueil@{key}.mssante.fr\"]\n"
    )
}

/// A space around operators of the sandbox, and the domains of others.
struct Field {
    files: TempDir,
    neighbours: Vec<(&'static str, u16)>,
}

impl Field {
    fn new(locals: &[&str], neighbours: &[&'static str], retry: &str) -> Self {
        let files = folder();
        let mut text = format!("[space]\nname = \"essai\"\n[relay]\nretry = [\"{retry}\"]\n");
        for (key, structure) in locals.iter().zip(["990000051", "990000283"]) {
            text.push_str(&local(key, structure));
        }
        let neighbours: Vec<_> = neighbours.iter().map(|name| (*name, free_port())).collect();
        for (name, port) in &neighbours {
            write!(
                text,
                "[[operator]]\nkey = \"{name}\"\nkind = \"external\"\nname = \"VOISIN {name}\"\nstructure = \"990000283\"\n\
                 department = \"Ain (01)\"\ndomains = [\"{name}.mssante.fr\"]\n\
                 [[operator.host]]\nname = \"mx.{name}.localhost\"\nreach = \"127.0.0.1:{port}\"\nissue = true\n"
            )
            .unwrap();
        }
        fs::write(files.path().join("space.toml"), text).unwrap();
        Self { files, neighbours }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.at("data")
    }

    fn up(&self) -> Space {
        let file = self.at("space.toml");
        Space::up(&self.data(), &["--free-ports", "--space", file.to_str().unwrap()])
    }

    fn behave(&self, how: &str) {
        fs::write(self.at("how"), how).unwrap();
    }

    /// Starts the neighbours' hosts.
    fn hosts(&self, how: &str, only: &[&str]) -> Running {
        self.behave(how);
        let hosts: Vec<Value> = self
            .neighbours
            .iter()
            .filter(|(name, _)| only.contains(name))
            .map(|(name, port)| {
                let files = self.data().join(format!("operators/{name}/mx.{name}.localhost"));
                json!({
                    "port": port, "how": self.at("how"), "go-on": self.at("go-on"),
                    "certificate": files.join("cert.pem"), "key": files.join("key.pem"),
                })
            })
            .collect();
        let running = Program::new("python3")
            .args(["-c", include_str!("queue/hosts.py")])
            .input(json!(hosts).to_string())
            .start();
        wait_until("the hosts listen", PATIENCE, || {
            assert!(!running.stderr().contains("Traceback"), "{}", running.stderr());
            running.stdout().contains("ready").then_some(())
        });
        running
    }

    fn port(&self, name: &str) -> u16 {
        self.neighbours.iter().find(|(one, _)| *one == name).unwrap().1
    }

    /// A command on the data folder, whether the space runs or not.
    fn queue(&self, words: &[&str]) -> Finished {
        Space::command_on(&self.data(), &[&["queue"], words].concat())
    }

    fn lines(&self, words: &[&str]) -> Vec<Value> {
        let printed = self.queue(&[words, &["--json"]].concat()).assert_success().stdout;
        printed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn changed(&self, words: &[&str]) -> u64 {
        self.lines(words)[0]["changed"].as_u64().unwrap()
    }

    /// Waits until what is listed is as wanted.
    fn wait_for(&self, what: &str, words: &[&str], is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        wait_until(what, PATIENCE, || Some(self.lines(words)).filter(|lines| is_so(lines)))
    }
}

fn send(space: &Space, operator: &str, to: &[String], subject: &str) {
    let from = format!("accueil@{operator}.mssante.fr");
    let client = Peer {
        port: space.port(operator, "submission"),
        authority: space.authority(),
        certificate: None,
    };
    let mail = format!("From: <{from}>\r\nTo: <a@b.fr>\r\nSubject: {subject}\r\n\r\nBonjour\r\n");
    client.submit_to_all((&from, "sandbox"), to, &mail).assert_accepted();
}

fn one(local: &str, domain: &str) -> Vec<String> {
    vec![format!("{local}@{domain}.mssante.fr")]
}

fn said(running: &Running, port: u16, what: &str) -> usize {
    let prefix = format!("{port} {what}");
    running
        .stdout()
        .lines()
        .filter(|line| line.starts_with(&prefix))
        .count()
}

fn attempted(lines: &[Value]) -> bool {
    lines.iter().all(|line| line["attempts"].as_u64() == Some(1))
}

#[test]
fn the_queue_of_a_sandbox_is_shown_and_changed_while_it_runs_and_while_it_does_not() {
    let field = Field::new(&["chu", "lilas"], &["mort"], "30m");
    let space = field.up();
    send(&space, "chu", &one("a", "mort"), "un");
    field.wait_for("a failed attempt", &["list"], |lines| {
        lines.len() == 1 && attempted(lines)
    });
    send(&space, "chu", &one(INS, "mort"), "deux");
    send(&space, "lilas", &one("b", "mort"), "trois");
    let listed = field.wait_for("three items", &["list"], |lines| {
        lines.len() == 3 && lines[2]["attempts"] == 1
    });
    assert!(listed.iter().all(|line| line["state"] == "blocked"), "{listed:?}");
    assert_eq!(
        listed[1]["attempts"], 0,
        "a closed destination is not visited for each item"
    );
    let text = field.queue(&["list"]).assert_success().stdout;
    assert!(
        text.contains("-> 2790…989@mort.mssante.fr") && !text.contains(INS),
        "{text}"
    );
    let full = field.queue(&["list", "--show-addresses"]).assert_success().stdout;
    assert!(full.contains(&format!("-> {INS}@mort.mssante.fr")), "{full}");
    let sums = field.lines(&["list", "--by", "domain", "--operator", "chu"]);
    assert_eq!(
        (&sums[0]["items"], &sums[0]["not_reached_times"]),
        (&json!(2), &json!(1))
    );

    change_what_runs(&field);
    space.interrupt().assert_success();
    change_what_does_not(&field);
    let space = field.up();
    see_it_through(&field, &space);
    space.command(&["recount"]).assert_success();
    space.interrupt().assert_success();
}

/// Changes by the process that runs.
fn change_what_runs(field: &Field) {
    let several = field.queue(&["hold", "1"]).assert_failure();
    assert!(
        several.stderr.contains("chu (1), lilas (1)") && several.stderr.contains("--operator"),
        "{several:?}"
    );
    assert!(field.queue(&["hold"]).assert_failure().stderr.contains("--every"));
    let hold = &["hold", "1", "--operator", "chu", "--by", "essai"][..];
    assert_eq!((field.changed(hold), field.changed(hold)), (1, 0));
    let shown = field.queue(&["show", "1", "--operator", "chu"]).assert_success().stdout;
    assert!(
        shown.contains("held by essai") && shown.contains("hold of item 1"),
        "{shown}"
    );
}

/// Changes by the command itself.
fn change_what_does_not(field: &Field) {
    assert_eq!(field.lines(&["list", "--state", "held"]).len(), 1);
    assert_eq!(field.changed(&["release", "--state", "held"]), 1);
    let unsure = field
        .queue(&["drop", "--operator", "lilas", "--domain", "mort.mssante.fr"])
        .assert_failure();
    assert!(
        unsure.stderr.contains("--yes") && unsure.stderr.contains("1 items of lilas"),
        "{unsure:?}"
    );
    assert_eq!(
        field.changed(&["drop", "--operator", "lilas", "--older-than", "1h", "--yes"]),
        0
    );
    assert_eq!(
        field.changed(&["drop", "--operator", "lilas", "--domain", "mort.mssante.fr", "--yes"]),
        1
    );
    let absent = field.queue(&["drop", "99"]).assert_failure();
    assert!(absent.stderr.contains("no item 99"), "{absent:?}");
    let given_up = field.queue(&["drop", "2", "--bounce"]).assert_success();
    assert!(given_up.stdout.contains("told when the operator runs"), "{given_up:?}");
    assert_eq!(field.queue(&["show", "7"]).code, Some(1));
}

/// One item is reported, the other delivered.
fn see_it_through(field: &Field, space: &Space) {
    let report = space.wait_for_mail(("chu", "accueil@chu.mssante.fr"), &["554 5.0.0", "Subject: deux"]);
    assert!(report.to_string().contains("administrator"), "{report}");
    space.wait_for_record("bounced", &["\"attempts\":1", "taken out of the queue"]);
    let hosts = field.hosts("takes", &["mort"]);
    assert_eq!(field.changed(&["retry", "1"]), 1);
    wait_until("it is taken", PATIENCE, || {
        (said(&hosts, field.port("mort"), "took 1 un") == 1).then_some(())
    });
    field.wait_for("an empty queue", &["list"], <[Value]>::is_empty);
    let managed: Vec<String> = space
        .journal("managed")
        .iter()
        .map(|record| {
            format!(
                "{} {}",
                record["detail"]["action"].as_str().unwrap(),
                record["detail"]["item"]
            )
        })
        .collect();
    assert_eq!(managed, ["hold 1", "release 1", "drop 1", "bounce 2", "retry 1"]);
}

#[test]
fn a_dead_destination_is_visited_a_few_times_for_many_items_and_delays_nobody() {
    let field = Field::new(&["chu"], &["mort", "vif"], "30m");
    let space = field.up();
    let hosts = field.hosts("busy", &["mort"]);
    for batch in 0..4 {
        let names: Vec<String> = (0..100).map(|n| format!("r{batch}-{n}@mort.mssante.fr")).collect();
        send(&space, "chu", &names, &format!("lot {batch}"));
    }
    field.wait_for("a closed destination", &["list", "--by", "domain"], |lines| {
        lines.first().is_some_and(|line| line["states"]["blocked"] == 400)
    });
    let files = field.files.path();
    fs::write(files.join("how2"), "takes").unwrap();
    let living = living_hosts(&field, &files.join("how2"));
    send(&space, "chu", &one("a", "vif"), "frais");
    wait_until("fresh mail passes", PATIENCE, || {
        (said(&living, field.port("vif"), "took 1 frais") == 1).then_some(())
    });
    let visits = said(&hosts, field.port("mort"), "visited");
    assert!((1..=4).contains(&visits), "{visits} visits for 400 items");
    assert_eq!(field.lines(&["list", "--domain", "mort.mssante.fr"]).len(), 400);

    // One item by hand finds it back; then all go.
    field.behave("takes");
    assert_eq!(field.changed(&["retry", "1"]), 1);
    field.wait_for("an empty queue", &["list"], <[Value]>::is_empty);
    let explained = space.command(&["explain", "queue:1"]);
    assert_eq!(explained.code, Some(1), "{explained:?}");
    space.interrupt().assert_success();
}

fn living_hosts(field: &Field, how: &Path) -> Running {
    let files = field.data().join("operators/vif/mx.vif.localhost");
    let host = json!([{
        "port": field.port("vif"), "how": how, "go-on": how,
        "certificate": files.join("cert.pem"), "key": files.join("key.pem"),
    }]);
    let running = Program::new("python3")
        .args(["-c", include_str!("queue/hosts.py")])
        .input(host.to_string())
        .start();
    wait_until("the host listens", PATIENCE, || {
        running.stdout().contains("ready").then_some(())
    });
    running
}

#[test]
fn a_process_killed_between_the_peers_250_and_the_settlement_loses_nothing_and_reports_nothing() {
    let field = Field::new(&["chu"], &["muet"], "30m");
    let space = field.up();
    let hosts = field.hosts("mute", &["muet"]);
    let port = field.port("muet");
    send(&space, "chu", &one("a", "muet"), "entre deux");
    wait_until("the peer has the message", PATIENCE, || {
        (said(&hosts, port, "mute") == 1).then_some(())
    });
    // It cannot read the 250 that now comes.
    space.signal("STOP");
    fs::write(field.at("go-on"), "").unwrap();
    wait_until("the peer says 250", PATIENCE, || {
        (said(&hosts, port, "answered") == 1).then_some(())
    });
    space.kill();
    field.behave("takes");
    assert_eq!(field.lines(&["list"]).len(), 1);
    let space = field.up();
    wait_until("it goes again", PATIENCE, || {
        (said(&hosts, port, "took 1 entre deux") == 1).then_some(())
    });
    field.wait_for("an empty queue", &["list"], <[Value]>::is_empty);
    assert_eq!(space.journal("relayed").len(), 1);
    assert!(space.mails("chu", "accueil@chu.mssante.fr").is_empty());
    space.interrupt().assert_success();
}

#[test]
fn a_process_killed_while_it_reports_failures_reports_each_once() {
    let field = Field::new(&["chu"], &["non"], "30m");
    let space = field.up();
    for n in 0..8 {
        send(&space, "chu", &one(&format!("r{n}"), "non"), &format!("sujet {n:02}."));
    }
    let hosts = field.hosts("refuses", &["non"]);
    assert!(field.changed(&["retry", "--every"]) > 0);
    wait_until("some are reported", PATIENCE, || {
        (space.journal("bounced").len() >= 2).then_some(())
    });
    space.kill();
    let space = field.up();
    field.changed(&["retry", "--every"]);
    field.wait_for("an empty queue", &["list"], <[Value]>::is_empty);
    assert_eq!(space.journal("bounced").len(), 8);
    let mails = space.mails("chu", "accueil@chu.mssante.fr");
    for n in 0..8 {
        let about = format!("sujet {n:02}.");
        let reports = mails.iter().filter(|mail| mail.to_string().contains(&about)).count();
        assert_eq!(reports, 1, "{about}");
    }
    assert!(said(&hosts, field.port("non"), "visited") > 0);
    space.command(&["recount"]).assert_success();
    space.interrupt().assert_success();
}

/// Somebody else's operator, to which a gateway sends.
fn neighbour_of(clinic: &Clinic, how: &str) -> Running {
    clinic.write("how", how);
    let shown = clinic.pki.issue("voisin", Clinic::NEIGHBOUR);
    let hosts = json!([{
        "port": clinic.neighbour, "how": clinic.at("how"), "go-on": clinic.at("how"),
        "certificate": shown.certificate, "key": shown.key,
    }]);
    let hosts = Program::new("python3")
        .args(["-c", include_str!("queue/hosts.py")])
        .input(hosts.to_string())
        .start();
    wait_until("the host listens", PATIENCE, || {
        hosts.stdout().contains("ready").then_some(())
    });
    hosts
}

fn recipients(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["recipient"].as_str().unwrap()).collect()
}

/// A gateway with three items that wait for a neighbour who is not there: `a` of one message, `b` and `c` of another.
fn clinic_with_a_queue() -> (Clinic, Running) {
    let clinic = Clinic::set_up(Setup {
        retry: "[\"30m\"]",
        ..Setup::default()
    });
    let running = clinic.serve();
    let mail = Clinic::mail(Clinic::BOX, "un");
    clinic
        .client()
        .submit_to_all(Clinic::login(), &one("a", "voisin"), &mail)
        .assert_accepted();
    wait_until("a failed attempt", PATIENCE, || {
        let listed = clinic.queue_lines(&["list", "--state", "blocked"]);
        (listed.len() == 1 && attempted(&listed)).then_some(())
    });
    let both = ["b", "c"].map(|name| format!("{name}@voisin.mssante.fr"));
    let mail = Clinic::mail(Clinic::BOX, "deux");
    clinic
        .client()
        .submit_to_all(Clinic::login(), &both, &mail)
        .assert_accepted();
    (clinic, running)
}

#[test]
fn the_queue_of_a_gateway_is_shown_and_changed_while_it_serves_and_while_it_does_not() {
    let (clinic, running) = clinic_with_a_queue();
    every_filter_finds_its_items(&clinic);
    changes_reach_the_process(&clinic);
    running.stop("TERM", PATIENCE).assert_success();
    changes_without_a_process(&clinic);

    let hosts = neighbour_of(&clinic, "takes");
    let running = clinic.serve();
    // After a restart what is due goes, and what somebody asks for; what is held stays.
    let b = "b@voisin.mssante.fr";
    assert_eq!(clinic.queue_lines(&["retry", "--recipient", b])[0]["changed"], 1);
    wait_until("the one that is not held goes", PATIENCE, || {
        (said(&hosts, clinic.neighbour, "took 1 deux") == 1).then_some(())
    });
    wait_until("the held one is left", PATIENCE, || {
        let left = clinic.queue_lines(&["list"]);
        (recipients(&left) == ["a@voisin.mssante.fr"] && left[0]["state"] == "held").then_some(())
    });
    assert_eq!(clinic.queue_lines(&["release", "--state", "held"])[0]["changed"], 1);
    assert_eq!(clinic.queue_lines(&["retry", "1"])[0]["changed"], 1);
    wait_until("the released one goes", PATIENCE, || {
        (said(&hosts, clinic.neighbour, "took 1 un") == 1).then_some(())
    });
    wait_until("an empty queue", PATIENCE, || {
        clinic.queue_lines(&["list"]).is_empty().then_some(())
    });
    let managed: Vec<String> = clinic
        .records("managed")
        .iter()
        .map(|record| {
            format!(
                "{} {}",
                record["detail"]["action"].as_str().unwrap(),
                record["detail"]["item"]
            )
        })
        .collect();
    let expected = [
        "hold 2",
        "release 2",
        "retry 1",
        "retry 2",
        "retry 3",
        "bounce 3",
        "hold 1",
        "hold 2",
        "release 2",
        "retry 2",
        "release 1",
        "retry 1",
    ];
    assert_eq!(managed, expected);
    clinic.run("recount").run().assert_success();
    running.stop("TERM", PATIENCE).assert_success();
}

fn every_filter_finds_its_items(clinic: &Clinic) {
    let listed = clinic.queue_lines(&["list"]);
    let [a, b, c] = ["a", "b", "c"].map(|name| format!("{name}@voisin.mssante.fr"));
    assert_eq!(recipients(&listed), [&a, &b, &c].map(String::as_str));
    for field in [
        "operator",
        "item",
        "message",
        "state",
        "sender",
        "domain",
        "session",
        "size_bytes",
        "created",
        "due",
        "expires",
    ] {
        assert!(!listed[0][field].is_null(), "{field}: {}", listed[0]);
    }
    assert_eq!(listed[0]["operator"], "mx.clinique.localhost");
    let (message, session) = (listed[1]["message"].to_string(), listed[0]["session"].as_str().unwrap());
    for (filter, expected) in [
        (&["--domain", "voisin.mssante.fr"][..], &[&a, &b, &c][..]),
        (&["--domain", "ailleurs.mssante.fr"], &[]),
        (&["--sender", Clinic::BOX], &[&a, &b, &c]),
        (&["--sender", "<>"], &[]),
        (&["--recipient", &b], &[&b]),
        (&["--message", &message], &[&b, &c]),
        (&["--session", session], &[&a]),
        (&["--state", "blocked"], &[&a, &b, &c]),
        (&["--state", "held"], &[]),
        (&["--older-than", "1h"], &[]),
        (&["--message", &message, "--recipient", &a], &[]),
        (&["--limit", "2"], &[&a, &b]),
    ] {
        let found = clinic.queue_lines(&[&["list"], filter].concat());
        assert_eq!(
            recipients(&found),
            expected.iter().map(|one| one.as_str()).collect::<Vec<_>>(),
            "{filter:?}"
        );
    }
    for (by, name, items) in [
        ("domain", "voisin.mssante.fr", 3),
        ("state", "blocked", 3),
        ("sender", Clinic::BOX, 3),
        ("message", message.as_str(), 2),
    ] {
        let sums = clinic.queue_lines(&["list", "--by", by]);
        let sum = sums
            .iter()
            .find(|sum| sum["name"] == name)
            .unwrap_or_else(|| panic!("{by}: {sums:?}"));
        assert_eq!(sum["items"], items, "{by}");
    }
    let shown = clinic.queue_lines(&["show", "1", "3"]);
    assert_eq!(recipients(&shown), [&a, &c].map(String::as_str));
    assert!(
        shown[0]["next"].is_string() && shown[0]["journal"].as_array().unwrap().len() > 1,
        "{shown:?}"
    );
    assert_eq!(clinic.queue(&["show", "99"]).code, Some(1));
    assert_eq!(clinic.queue(&["list", "--state", "lost"]).code, Some(2));
    let told = clinic.command(&["explain", "queue:1"]).run();
    assert!(told.stdout.contains("a@voisin.mssante.fr"), "{told:?}");
}

/// Over its control socket.
fn changes_reach_the_process(clinic: &Clinic) {
    let b = &["--recipient", "b@voisin.mssante.fr"][..];
    let change = |words: &[&str]| clinic.queue_lines(words).remove(0);
    let counts = |change: &Value| {
        (
            change["changed"].as_u64(),
            change["busy"].as_u64(),
            change["unchanged"].as_u64(),
        )
    };
    let held = change(&[&["hold", "--by", "essai"], b].concat());
    assert_eq!(
        (held["action"].as_str(), counts(&held)),
        (Some("hold"), (Some(1), Some(0), Some(0)))
    );
    assert_eq!(counts(&change(&[&["hold"], b].concat())), (Some(0), Some(0), Some(1)));
    let held = clinic.queue_lines(&["list", "--state", "held"]);
    assert_eq!(
        (recipients(&held), &held[0]["held_by"]),
        (vec!["b@voisin.mssante.fr"], &json!("essai"))
    );
    assert_eq!(counts(&change(&["release", "2"])), (Some(1), Some(0), Some(0)));
    assert_eq!(change(&["retry", "--every"])["changed"], 3);
    wait_until("it is visited again, in vain", PATIENCE, || {
        let sums = clinic.queue_lines(&["list", "--by", "domain"]);
        (sums[0]["not_reached_times"] == 2 && sums[0]["states"]["blocked"] == 3).then_some(())
    });
    for (words, why) in [
        (&["drop", "--domain", "voisin.mssante.fr"][..], "--yes"),
        (&["hold"], "--every"),
        (&["retry", "99"], "no item 99"),
    ] {
        let refused = clinic.queue(words).assert_failure();
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
    assert_eq!(change(&["drop", "3", "--bounce"])["changed"], 1);
    let report = wait_until("the report of what was dropped", PATIENCE, || clinic.mails().pop());
    assert!(
        holds(&report, &["c@voisin.mssante.fr", "X-Vaguemestre; 554 5.0.0"]),
        "{report}"
    );
    assert_eq!(clinic.queue_lines(&["list"]).len(), 2);
}

/// By the command itself.
fn changes_without_a_process(clinic: &Clinic) {
    assert_eq!(clinic.queue_lines(&["list"]).len(), 2);
    assert_eq!(clinic.queue_lines(&["hold", "--every"])[0]["changed"], 2);
    assert_eq!(
        clinic.queue_lines(&["release", "--recipient", "b@voisin.mssante.fr"])[0]["changed"],
        1
    );
    let held = clinic.queue(&["show", "1"]).assert_success();
    assert!(held.stdout.contains("held by"), "{held:?}");
    assert_eq!(
        clinic.queue_lines(&["drop", "--older-than", "1h", "--yes"])[0]["changed"],
        0
    );
}

#[test]
fn the_sender_is_told_at_its_time_that_mail_waits_for_a_destination_nobody_reaches() {
    let clinic = Clinic::set_up(Setup {
        retry: "[\"30m\"]\ndelay_notice = \"3s\"",
        ..Setup::default()
    });
    let running = clinic.serve();
    let mail = Clinic::mail(Clinic::BOX, "attend");
    clinic
        .client()
        .submit_to_all(Clinic::login(), &one("a", "voisin"), &mail)
        .assert_accepted();
    let report = wait_until("the notice", PATIENCE, || clinic.mails().pop());
    let expected = [
        "Action: delayed",
        "Diagnostic-Code: X-Vaguemestre; 451 4.4.1",
        "Will-Retry-Until",
        "Subject: attend",
    ];
    assert!(holds(&report, &expected), "{report}");
    let told = clinic.records("reported");
    let queued = clinic.records("queued");
    let at = |record: &Value| record["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let after = at(&told[0]).duration_since(at(&queued[0])).as_secs_f64();
    assert!((2.9..6.0).contains(&after), "told after {after} s");
    let waits = clinic.queue_lines(&["list"]);
    assert_eq!(
        (waits.len(), &waits[0]["state"]),
        (1, &json!("blocked")),
        "it stays where it is"
    );
    assert_eq!(told.len(), 1);
    running.stop("TERM", PATIENCE).assert_success();
}
