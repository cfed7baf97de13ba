//! A domain that moves to another operator while mail for it comes in without pause: whatever was accepted is in a box of its new operator,
//! once, with its folder, flags and date, also when the process is killed on the way.

#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use common::{Peer, Program, Sender, Space, folder, free_port, holds, inbox, letter, wait_until};
use vaguemestre::space::folder::Layout;
use vaguemestre::store::QueueStore;
use vaguemestre::store::sqlite::SqliteStore;

const DOMAIN: &str = "ssiad-lilas.mssante.fr";
const BOX: &str = "soins@ssiad-lilas.mssante.fr";
/// Name of the login that reads it, at whichever operator it is.
const LOGIN: &str = "soins-ssiad";
/// Software of the old operator and of another one: operator, login, box.
const SENDERS: [(&str, &str, &str); 2] = [
    ("lilas", "dui-ehpad", "noreply@ehpad-lilas.mssante.fr"),
    ("chu", "dpi", "dpi@chu-demo.mssante.fr"),
];
const PATIENCE: Duration = Duration::from_mins(3);

type Accepted = Arc<Mutex<BTreeSet<String>>>;

#[test]
fn no_mail_is_lost_or_doubled_while_a_domain_moves_under_load() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let load = Load::start(&space);
    load.wait_for(60);
    space.order(&["domain", "move", DOMAIN, "--to", "ville", "--overlap", "2s"]);
    load.wait_for(60);
    wait_until_moved(&space);
    load.wait_for(30);
    let accepted = load.stop();
    wait_until_sent(data.path());
    check(&space, "ville", &accepted);
    space.interrupt().assert_success();
    let recount = Space::command_on(data.path(), &["recount", "--json"]).assert_success();
    let recount: Value = serde_json::from_str(&recount.stdout).unwrap();
    for operator in recount.as_array().unwrap() {
        assert_eq!(operator["agrees"], true, "{operator:#}");
    }
}

#[test]
fn a_kill_in_the_middle_of_a_move_loses_and_doubles_nothing() {
    let data = folder();
    let mut space = Space::up(data.path(), &["--free-ports"]);
    let load = Load::start(&space);
    load.wait_for(150);
    let mut accepted = load.stop();
    wait_until_sent(data.path());
    for round in 0..3 {
        let load = Load::start(&space);
        let to = ["ville", "region", "chu"][round];
        space.order(&["domain", "move", DOMAIN, "--to", to, "--overlap", "1s"]);
        // Each round a little later on the way.
        load.wait_for(1 + 15 * round);
        space.kill();
        accepted.extend(load.stop());
        space = Space::up(data.path(), &["--free-ports"]);
        wait_until_moved(&space);
        wait_until_sent(data.path());
        check(&space, to, &accepted);
    }
}

#[test]
fn folders_flags_and_dates_move_too_and_coming_back_doubles_nothing() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    for number in 0..5 {
        space.send(
            ("chu", "urgences@chu-demo.mssante.fr"),
            BOX,
            &letter("urgences@chu-demo.mssante.fr", BOX, &format!("n{number}")),
        );
    }
    wait_until("all arrived", PATIENCE, || {
        (space.mails("lilas", BOX).len() == 5).then_some(())
    });
    let before = contents(&space, "lilas", "arrange");
    assert!(before.to_string().contains("Dossiers/2026"), "{before}");
    space.order(&["domain", "move", DOMAIN, "--to", "ville", "--overlap", "0s"]);
    wait_until_moved(&space);
    assert_eq!(contents(&space, "ville", "look"), before);
    let gone = peer(&space, "lilas").submit((BOX, "sandbox"), "urgences@chu-demo.mssante.fr", "x");
    gone.assert_refused("broken", &["535", "credentials-invalid"]);
    space.order(&["domain", "move", DOMAIN, "--to", "lilas", "--overlap", "0s"]);
    wait_until_moved(&space);
    assert_eq!(contents(&space, "lilas", "look"), before);
}

#[test]
fn a_peer_with_the_old_route_is_asked_to_try_again_until_the_move_is_over() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    space.order(&["domain", "move", DOMAIN, "--to", "ville", "--overlap", "4s"]);
    let listed = || {
        let list = fs::read_to_string(data.path().join("listeblanchemssante.xml")).unwrap();
        let entries = list.split("<Domaine>").filter(|entry| entry.contains(DOMAIN));
        entries
            .map(|entry| entry.contains("mx.lilas.localhost"))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed().len(), 2, "both are listed");
    let chu = Peer {
        certificate: Some(space.certificate("chu", "mx1.chu.localhost")),
        port: space.port("lilas", "smtp"),
        ..peer(&space, "lilas")
    };
    let from = "urgences@chu-demo.mssante.fr";
    let offered = chu.offer(from, &[BOX], &letter(from, BOX, "ancienne route"));
    offered.assert_refused("rcpt", &["450 4.1.6", "(domain-leaving, session "]);
    wait_until_moved(&space);
    assert_eq!(listed(), [false], "only the new one is listed");
    let offered = chu.offer(from, &[BOX], &letter(from, BOX, "ancienne route"));
    offered.assert_refused("rcpt", &["550 ", "(relay-denied, session "]);
}

#[test]
fn the_old_operator_stays_listed_until_it_has_sent_what_it_took_before() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let reach = format!("127.0.0.1:{}", free_port());
    space.order(&[
        "operator",
        "add",
        "loin",
        "--name",
        "LOIN",
        "--structure",
        "990000283",
        "--department",
        "Ain (01)",
        "--domain",
        "loin.mssante.fr",
        "--reach",
        &reach,
    ]);
    space.send(
        ("lilas", BOX),
        "quelqu.un@loin.mssante.fr",
        &letter(BOX, "quelqu.un@loin.mssante.fr", "en attente"),
    );
    space.wait_for_record("deferred", &["loin.mssante.fr"]);
    space.order(&["domain", "move", DOMAIN, "--to", "ville", "--overlap", "0s"]);
    space.wait_for_record("deferred", &["loin.mssante.fr"]);
    assert!(moving(&space), "its mail still waits");
    let refused = space.command(&["operator", "remove", "lilas"]).assert_failure();
    assert!(refused.stderr.contains("on its way from lilas to ville"), "{refused:?}");
    let refused = space
        .command(&["domain", "move", DOMAIN, "--to", "chu"])
        .assert_failure();
    assert!(refused.stderr.contains("on its way"), "{refused:?}");
    // The mail comes back; its sender reads the report at the new operator, and the move is over.
    space.order(&["operator", "suspend", "loin"]);
    wait_until("the report", PATIENCE, || {
        let mut mails = space.mails("ville", BOX).into_iter();
        mails
            .any(|mail| holds(&mail, &["recipient-domain-unlisted"]))
            .then_some(())
    });
    wait_until_moved(&space);
}

#[test]
fn an_operator_merged_into_another_ends_and_its_people_go_on() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let (urgences, soins) = ("urgences@chu-demo.mssante.fr", "soins@ehpad-lilas.mssante.fr");
    space.send(("lilas", soins), urgences, &letter(soins, urgences, "avant la fusion"));
    space.wait_for_mail(("chu", urgences), &["avant la fusion"]);
    space.order(&["operator", "merge", "chu", "region", "--overlap", "1s"]);
    space.send(
        ("lilas", soins),
        urgences,
        &letter(soins, urgences, "pendant la fusion"),
    );
    wait_until("chu is no more", PATIENCE, || {
        let operators = space.order(&["operator", "list"]);
        operators
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["operator"] != "chu")
            .then_some(())
    });
    for subject in ["avant la fusion", "pendant la fusion"] {
        space.wait_for_mail(("region", urgences), &[subject]);
    }
    space.send(("region", urgences), soins, &letter(urgences, soins, "apres la fusion"));
    space.wait_for_mail(("lilas", soins), &["apres la fusion"]);
    // Its software logs in with the files it has, at the operator that took over.
    let dpi = Sender::dui_at(&space, ("chu", "dpi"), "region", "dpi@chu-demo.mssante.fr");
    let sent = Runtime::new().unwrap().block_on(
        dpi.line()
            .send(&[soins], &mail(soins, "dpi@chu-demo.mssante.fr", "<dpi@move.example>")),
    );
    assert_eq!(sent, Ok(vec![250]));
    let counted = space.order(&["indicator", "--all", "--operator", "chu"]);
    assert!(counted.to_string().contains("Hôpital de démonstration"), "{counted}");
}

/// Two softwares that send to the box without pause, each over connections of its own.
struct Load {
    runtime: Runtime,
    accepted: Accepted,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(space: &Space) -> Self {
        static RUN: Mutex<usize> = Mutex::new(0);
        let run = {
            let mut run = RUN.lock().unwrap();
            *run += 1;
            *run
        };
        let runtime = Runtime::new().unwrap();
        let (accepted, stop) = (Accepted::default(), Arc::new(AtomicBool::new(false)));
        let tasks = SENDERS.iter().map(|(operator, login, from)| {
            let sender = Sender::dui(space, (operator, login), from);
            runtime.spawn(send(
                sender,
                (*from).to_owned(),
                format!("{operator}.{run}"),
                Arc::clone(&accepted),
                Arc::clone(&stop),
            ))
        });
        let tasks = tasks.collect();
        Self {
            runtime,
            accepted,
            stop,
            tasks,
        }
    }

    /// Waits until so many more were accepted.
    #[track_caller]
    fn wait_for(&self, more: usize) {
        let count = || self.accepted.lock().unwrap().len();
        let enough = count() + more;
        wait_until("more is accepted", PATIENCE, || (count() >= enough).then_some(()));
    }

    fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            self.runtime.block_on(task).unwrap();
        }
        Arc::try_unwrap(self.accepted).unwrap().into_inner().unwrap()
    }
}

/// Until told to stop, or until nobody answers. What is refused for now is not sent again: only what was accepted counts.
async fn send(sender: Sender, from: String, name: String, accepted: Accepted, stop: Arc<AtomicBool>) {
    let mut line = sender.line();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let id = format!("<{name}.{number}@move.example>");
        match line.send(&[BOX], &mail(BOX, &from, &id)).await.as_deref() {
            Ok([250]) => drop(accepted.lock().unwrap().insert(id)),
            Ok([code]) => assert!((400..500).contains(code), "{id}: {code}"),
            Ok(codes) => panic!("{id}: {codes:?}"),
            Err(_) => return,
        }
    }
}

fn mail(to: &str, from: &str, id: &str) -> Vec<u8> {
    letter(from, to, "essai")
        .replace("Subject:", &format!("Message-ID: {id}\r\nSubject:"))
        .into_bytes()
}

/// Everything accepted is in the box, once.
#[track_caller]
fn check(space: &Space, operator: &str, accepted: &BTreeSet<String>) {
    let letters = inbox(space, operator, LOGIN);
    let ids: Vec<&String> = letters.iter().map(|letter| &letter.message_id).collect();
    let there: BTreeSet<&String> = ids.iter().copied().collect();
    assert_eq!(ids.len(), there.len(), "some are there twice");
    let lost: Vec<_> = accepted.iter().filter(|id| !there.contains(id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

fn moving(space: &Space) -> bool {
    let domains = space.order(&["domain", "list"]);
    domains.as_array().unwrap().iter().any(|one| !one["from"].is_null())
}

#[track_caller]
fn wait_until_moved(space: &Space) {
    wait_until("the move is over", PATIENCE, || (!moving(space)).then_some(()));
}

/// Waits until nobody has anything left to send.
#[track_caller]
fn wait_until_sent(data: &Path) {
    wait_until("the queues are empty", PATIENCE, || {
        let empty = |operator: &str| {
            let store = SqliteStore::open_read_only(&Layout::new(data).store(operator)).unwrap();
            Runtime::new().unwrap().block_on(store.queued(1)).unwrap().is_empty()
        };
        ["lilas", "chu"].into_iter().all(empty).then_some(())
    });
}

/// Folders of the box with flags, dates and subjects of what is in them; `arrange` files and marks some first.
fn contents(space: &Space, operator: &str, what: &str) -> Value {
    let ask =
        json!({ "authority": space.authority(), "port": space.port(operator, "imaps"), "user": BOX, "what": what });
    let printed = Program::new("python3")
        .args(["-c", CONTENTS])
        .input(ask.to_string())
        .run()
        .assert_success();
    serde_json::from_str(&printed.stdout).unwrap()
}

const CONTENTS: &str = r#"
import imaplib, json, re, ssl, sys
ask = json.load(sys.stdin)
box = imaplib.IMAP4_SSL("localhost", ask["port"], ssl_context=ssl.create_default_context(cafile=ask["authority"]))
box.login(ask["user"], "sandbox")
def done(answer):
    assert answer[0] == "OK", answer
    return answer[1]
if ask["what"] == "arrange":
    done(box.create("Dossiers/2026"))
    done(box.create("Vide"))
    done(box.select("INBOX"))
    done(box.store("1:2", "+FLAGS", "(\\Seen \\Flagged $Urgent)"))
    done(box.copy("2:3", "Dossiers/2026"))
    done(box.append("Drafts", "(\\Draft)", '"01-Feb-2020 10:11:12 +0100"', b"Subject: brouillon\r\n\r\nx\r\n"))
found = {}
for row in done(box.list()):
    name = re.search(r'"/" "?(.*?)"?$', row.decode())[1]
    count = int(done(box.select(f'"{name}"', readonly=True))[0])
    rows = done(box.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")) if count else []
    letters = []
    for row in rows:
        if isinstance(row, tuple):
            text = row[0].decode()
            flags = sorted(f for f in re.search(r"FLAGS \(([^)]*)\)", text)[1].split() if f != "\\Recent")
            letters.append([flags, re.search(r'INTERNALDATE "([^"]*)"', text)[1], row[1].decode().strip()])
    found[name] = sorted(letters)
box.logout()
print(json.dumps(found, sort_keys=True))
"#;

fn peer(space: &Space, operator: &str) -> Peer {
    Peer {
        port: space.port(operator, "submission"),
        authority: space.authority(),
        certificate: None,
    }
}
