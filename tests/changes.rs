//! A space that changes while it runs: operators come, are suspended and go, by commands, by hand, together and interrupted. Mail passes, or
//! is refused with the reason, on both sides.

#![cfg(test)]

mod common;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use common::{
    Certificate, Finished, Peer, Postfix, PostfixOptions, Program, Route, Space, folder, free_port, journal, letter,
    wait_until,
};

const SUD: &[&str] = &[
    "operator",
    "add",
    "sud",
    "--name",
    "OPERATEUR DU SUD",
    "--structure",
    "99999999900041",
    "--department",
    "Var (83)",
    "--domain",
    "sud.mssante.fr",
];
const SUD_BOX: (&str, &str) = ("sud", "contact@sud.mssante.fr");
const SOINS: (&str, &str) = ("lilas", "soins@ehpad-lilas.mssante.fr");
const URGENCES: (&str, &str) = ("chu", "urgences@chu-demo.mssante.fr");
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn an_operator_added_while_the_space_runs_exchanges_mail_at_once_and_open_sessions_stay() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let before = space.card();
    let session = Held::open(&space, URGENCES);
    let added = space.order(SUD);
    assert_eq!(added["state"], "active");
    assert_eq!(added["endpoints"].as_array().unwrap().len(), 5);
    exchange(&space, SOINS, SUD_BOX, "aller");
    exchange(&space, SUD_BOX, SOINS, "retour");
    exchange(&space, SUD_BOX, URGENCES, "pendant");
    assert_eq!(session.look_again(), "still open 1");
    let same = |card: &Value, key: &str| {
        let endpoints = card["endpoints"].as_array().unwrap().iter();
        endpoints
            .filter(|one| one["operator"] == key)
            .cloned()
            .collect::<Vec<_>>()
    };
    for operator in ["lilas", "chu", "ville", "region", "patient"] {
        assert_eq!(
            same(&before, operator),
            same(&space.card(), operator),
            "the others keep their doors"
        );
    }
    assert_eq!(journal_events(&data, "stopped"), 0, "nobody was restarted");
    space.interrupt().assert_success();
    let space = Space::up(data.path(), &["--free-ports"]);
    exchange(&space, SOINS, SUD_BOX, "apres un redemarrage");
    assert_eq!(space.log(), "");
}

/// Records of that event in all journals.
fn journal_events(data: &tempfile::TempDir, event: &str) -> usize {
    let words = [
        "--event".as_ref(),
        event.as_ref(),
        "--data".as_ref(),
        data.path().as_os_str(),
    ];
    journal(words).len()
}

#[test]
fn a_server_of_ones_own_joins_with_the_certificate_that_the_command_issued() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let port = free_port();
    let reach = format!("127.0.0.1:{port}");
    let added = space.order(&[
        "operator",
        "add",
        "voisin",
        "--name",
        "OPERATEUR VOISIN",
        "--structure",
        "990000283",
        "--department",
        "Ain (01)",
        "--domain",
        "voisin.mssante.fr",
        "--reach",
        &reach,
    ]);
    let files = Path::new(added["folder"].as_str().unwrap());
    let certificate = Certificate {
        certificate: files.join("cert.pem"),
        key: files.join("key.pem"),
    };
    let postfix = Postfix::start_on(
        port,
        &PostfixOptions {
            domain: "voisin.mssante.fr",
            host: "mx.voisin.localhost",
            boxes: &["secretariat"],
            certificate: &certificate,
            authority: Path::new(added["ca"].as_str().unwrap()),
            listed_peers: None,
            routes: &[Route {
                domain: "chu-demo.mssante.fr",
                port: space.port("chu", "smtp"),
                host: "mx1.chu.localhost",
            }],
        },
    );
    space.send(
        SOINS,
        "secretariat@voisin.mssante.fr",
        &letter(SOINS.1, "secretariat@voisin.mssante.fr", "vers Postfix"),
    );
    postfix.wait_for_mail("secretariat", "vers Postfix");
    let mail = letter("secretariat@voisin.mssante.fr", URGENCES.1, "de Postfix").replace("\r\n", "\n");
    postfix.send("secretariat@voisin.mssante.fr", &[URGENCES.1], &mail);
    space.wait_for_mail(URGENCES, &["de Postfix"]);
    space.order(&["operator", "suspend", "voisin"]);
    postfix.send("secretariat@voisin.mssante.fr", &[URGENCES.1], &mail);
    postfix.wait_for_log(&["status=bounced", "sender-domain-unlisted"]);
}

#[test]
fn a_suspended_operator_is_refused_by_everybody_in_both_directions_until_it_resumes() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    space.order(SUD);
    exchange(&space, SOINS, SUD_BOX, "avant");
    space.order(&["operator", "suspend", "sud"]);
    let text = letter(SOINS.1, SUD_BOX.1, "pendant");
    client(&space, "lilas")
        .submit((SOINS.1, "sandbox"), SUD_BOX.1, &text)
        .assert_refused("rcpt", &["550 ", "(recipient-domain-unlisted, session "]);
    let text = letter(SUD_BOX.1, URGENCES.1, "pendant");
    peer(&space, ("sud", "mx.sud.localhost"), "chu")
        .offer(SUD_BOX.1, &[URGENCES.1], &text)
        .assert_refused("mail", &["550 ", "(sender-domain-unlisted, session "]);
    // Its own users are told by a report, since every other operator refuses.
    space.send(SUD_BOX, URGENCES.1, &text);
    space.wait_for_mail(SUD_BOX, &["sender-domain-unlisted"]);
    assert_eq!(space.mails("sud", SUD_BOX.1).len(), 2, "they still read their mail");
    let again = space.command(&["operator", "suspend", "sud"]).assert_failure();
    assert!(again.stderr.contains("suspended already"), "{again:?}");
    space.order(&["operator", "resume", "sud"]);
    exchange(&space, SOINS, SUD_BOX, "apres");
    exchange(&space, SUD_BOX, SOINS, "apres, retour");
}

#[test]
fn a_revoked_certificate_is_refused_in_both_directions_at_once_and_a_renewed_one_taken_up_without_a_restart() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    space.order(SUD);
    exchange(&space, SOINS, SUD_BOX, "avant");
    let session = Held::open(&space, SUD_BOX);
    space.order(&["cert", "revoke", "mx.sud.localhost"]);
    let text = letter(SUD_BOX.1, URGENCES.1, "revoque");
    peer(&space, ("sud", "mx.sud.localhost"), "chu")
        .offer(SUD_BOX.1, &[URGENCES.1], &text)
        .assert_refused("ehlo", &["554 ", "(certificate-revoked, session "]);
    space.send(SOINS, SUD_BOX.1, &letter(SOINS.1, SUD_BOX.1, "vers le revoque"));
    space.wait_for_record("deferred", &["certificate-revoked", "contact@sud.mssante.fr"]);
    space.order(&["cert", "renew", "mx.sud.localhost"]);
    exchange(&space, SOINS, SUD_BOX, "renouvele");
    exchange(&space, SUD_BOX, SOINS, "renouvele, retour");
    assert!(session.look_again().starts_with("still open"));
}

#[test]
fn a_removed_operator_is_refused_and_closed_and_its_data_stays() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    space.order(SUD);
    exchange(&space, SOINS, SUD_BOX, "avant");
    let doors = ["smtp", "imaps"].map(|face| space.address("sud", face));
    let certificate = peer(&space, ("sud", "mx.sud.localhost"), "chu");
    space.order(&["operator", "remove", "sud"]);
    certificate
        .offer(SUD_BOX.1, &[URGENCES.1], &letter(SUD_BOX.1, URGENCES.1, "apres"))
        .assert_refused("mail", &["550 ", "(sender-domain-unlisted, session "]);
    let text = letter(SOINS.1, SUD_BOX.1, "apres");
    client(&space, "lilas")
        .submit((SOINS.1, "sandbox"), SUD_BOX.1, &text)
        .assert_refused("rcpt", &["(recipient-domain-unlisted, session "]);
    for door in doors {
        assert!(TcpStream::connect(door).is_err(), "{door} is closed");
    }
    let now = space.command(&["journal", "--operator", "sud"]).assert_failure();
    assert!(now.stderr.contains("no operator"), "{now:?}");
    let all = space
        .command(&["journal", "--all", "--operator", "sud"])
        .assert_success();
    assert!(all.stdout.contains("received"), "{all:?}");
    // Added again under the same name it goes on where it was.
    space.order(SUD);
    assert_eq!(space.mails("sud", SUD_BOX.1).len(), 1);
}

#[test]
fn an_order_that_would_make_the_space_invalid_changes_nothing_and_says_every_error() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let state = || {
        let file = |name: &str| fs::read_to_string(data.path().join(name)).unwrap();
        let list = file("listeblanchemssante.xml");
        (file("space.toml"), file("card.json"), list)
    };
    let before = state();
    for (words, said) in invalid_orders() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let refused = space.command(&words).assert_failure();
        for word in said {
            assert!(refused.stderr.contains(word), "{word:?} in {refused:?}");
        }
        assert!(state() == before, "{words:?} changed something");
    }
    exchange(&space, SOINS, URGENCES, "comme avant");
}

/// Orders that cannot be carried out, and what each is told.
fn invalid_orders() -> Vec<(Vec<String>, &'static [&'static str])> {
    let add = |key: &str, structure: &str, domain: &str| {
        let words = [
            "operator",
            "add",
            key,
            "--name",
            "X",
            "--structure",
            structure,
            "--department",
            "Ain (01)",
            "--domain",
        ];
        [words.as_slice(), &[domain]]
            .concat()
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        (
            add("lilas", "990000283", "neuf.mssante.fr"),
            &["operator lilas is declared twice"],
        ),
        (
            add("neuf", "990000283", "chu-demo.mssante.fr"),
            &["domain chu-demo.mssante.fr is declared twice"],
        ),
        (
            add("Neuf !", "12", "pas un domaine"),
            &["Neuf !", "12", "pas un domaine"],
        ),
        (words("operator suspend personne"), &["no operator \"personne\""]),
        (words("operator merge chu chu"), &["into itself"]),
        (
            words("domain move chu-demo.mssante.fr --to ville"),
            &["operator merge chu ville"],
        ),
        (
            words("domain move nulle.part.fr --to ville"),
            &["nulle.part.fr is not in the space"],
        ),
        (
            words("domain move pmi.region-demo.mssante.fr --to region"),
            &["belongs to operator region already"],
        ),
        (
            words("domain add lilas.mssante.fr --to chu"),
            &["belongs to operator lilas"],
        ),
        (
            words("domain remove chu-demo.mssante.fr"),
            &["the only domain of operator chu"],
        ),
    ]
}

#[test]
fn a_file_edited_by_hand_is_applied_on_a_signal_or_refused_whole() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let path = data.path().join("space.toml");
    let before = fs::read_to_string(&path).unwrap();
    let section = "\n[[operator]]\nkey = \"ouest\"\nname = \"OPERATEUR DE L'OUEST\"\nstructure = \"990000283\"\ndepartment = \"Finistère (29)\"\n\
                   kind = \"external\"\ndomains = [\"ouest.mssante.fr\"]\n[[operator.host]]\nname = \"mx.ouest.localhost\"\n\
                   reach = \"127.0.0.1:9\"\nissue = true\n";
    fs::write(
        &path,
        format!("{before}{section}")
            .replace("kind =", "kinde =")
            .replace("OUEST\"\nstr", "OUEST\"\nstructur"),
    )
    .unwrap();
    space.signal("HUP");
    wait_until("both errors are told", PATIENCE, || {
        let log = space.log();
        (log.contains("`kinde`") && log.contains("stays as it was")).then_some(())
    });
    let list = || fs::read_to_string(data.path().join("listeblanchemssante.xml")).unwrap();
    assert!(!list().contains("ouest.mssante.fr"));
    let refused = space.command(SUD).assert_failure();
    assert!(
        refused.stderr.contains("`kinde`"),
        "a command does not write over it: {refused:?}"
    );
    fs::write(&path, format!("{before}{section}")).unwrap();
    space.signal("HUP");
    wait_until("it is listed", PATIENCE, || {
        list().contains("ouest.mssante.fr").then_some(())
    });
    assert_eq!(space.order(&["operator", "list"]).as_array().unwrap().len(), 6);
}

#[test]
fn commands_at_the_same_time_are_all_carried_out() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let commands: Vec<_> = (0..4).map(|n| adding(data.path(), n)).collect();
    for command in commands {
        command.wait(PATIENCE).assert_success();
    }
    for n in 0..4 {
        let address = format!("contact@op{n}.mssante.fr");
        exchange(&space, SOINS, (&format!("op{n}"), &address), "a chacun");
    }
    space.interrupt().assert_success();
    // The same without anybody running the space: they take turns with its folder.
    let commands: Vec<_> = (4..8).map(|n| adding(data.path(), n)).collect();
    for command in commands {
        command.wait(PATIENCE).assert_success();
    }
    let space = Space::up(data.path(), &["--free-ports"]);
    assert_eq!(space.order(&["operator", "list"]).as_array().unwrap().len(), 13);
    exchange(
        &space,
        SOINS,
        ("op7", "contact@op7.mssante.fr"),
        "ajoute sans qu'il tourne",
    );
}

/// `operator add` on its way.
fn adding(data: &Path, n: usize) -> common::Running {
    Space::program()
        .args(["operator", "add", "--name", "OPERATEUR", "--department", "Ain (01)"])
        .args([
            "--structure",
            &siret(n),
            "--domain",
            &format!("op{n}.mssante.fr"),
            &format!("op{n}"),
        ])
        .arg("--data")
        .arg(data)
        .start()
}

/// Invented numbers with their key.
fn siret(n: usize) -> String {
    let valid = |text: &String| {
        text.parse::<vaguemestre::identity::Siret>()
            .is_ok_and(|siret| siret.key_matches())
    };
    (0..10).map(|key| format!("9999999999{n:03}{key}")).find(valid).unwrap()
}

#[test]
fn a_change_interrupted_by_a_kill_is_whole_or_absent_after_the_next_start() {
    let data = folder();
    let mut space = Space::up(data.path(), &["--free-ports"]);
    for round in 0..4 {
        let command = adding(data.path(), round);
        // At other moments of the work in each round, and in none after it.
        let mark = ["space.toml", "operators", "card.json", "listeblanchemssante.xml"][round];
        let name = format!("op{round}");
        wait_until("the change has begun", PATIENCE, || {
            begun(&data.path().join(mark), &name).then_some(())
        });
        space.kill();
        drop(command.wait(PATIENCE));
        space = Space::up(data.path(), &["--free-ports"]);
        let listed = space.order(&["operator", "list"]);
        assert!(
            listed
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["operator"] == name.as_str()),
            "{listed}"
        );
        exchange(
            &space,
            SOINS,
            (&name, &format!("contact@{name}.mssante.fr")),
            "apres la coupure",
        );
    }
}

/// Whether a file names it, or a folder holds it.
fn begun(path: &Path, name: &str) -> bool {
    path.join(name).exists() || fs::read_to_string(path).is_ok_and(|text| text.contains(name))
}

#[test]
fn a_space_given_anew_replaces_the_changed_one_and_keeps_it_beside() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    space.order(SUD);
    space.interrupt().assert_success();
    let file = data.path().join("given.toml");
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/sandbox.toml");
    fs::copy(default, &file).unwrap();
    let space = Space::up(data.path(), &["--free-ports", "--space", file.to_str().unwrap()]);
    assert!(space.log().contains("space.toml.before"), "{}", space.log());
    assert_eq!(space.order(&["operator", "list"]).as_array().unwrap().len(), 5);
    let kept = fs::read_to_string(data.path().join("space.toml.before")).unwrap();
    assert!(kept.contains("\"sud\""));
    space.interrupt().assert_success();
    let space = Space::up(data.path(), &["--free-ports", "--space", file.to_str().unwrap()]);
    assert_eq!(space.log(), "", "nothing was changed since");
}

/// An IMAP session of a person that stays open.
struct Held {
    client: common::Running,
    again: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Held {
    fn open(space: &Space, (operator, user): (&str, &str)) -> Self {
        let folder = folder();
        let again = folder.path().join("again");
        let ask = json!({
            "authority": space.authority(), "port": space.port(operator, "imaps"),
            "user": user, "password": "sandbox", "again": again,
        });
        let client = Program::new("python3")
            .args(["-c", include_str!("common/held.py")])
            .input(ask.to_string())
            .start();
        wait_until("the session is open", PATIENCE, || {
            client.stdout().contains("open").then_some(())
        });
        Self {
            client,
            again,
            _folder: folder,
        }
    }

    /// The last line it says.
    fn look_again(self) -> String {
        fs::write(&self.again, "").unwrap();
        let ended: Finished = self.client.wait(PATIENCE).assert_success();
        ended.stdout.lines().last().unwrap().to_owned()
    }
}

/// One mail from a person to another, which arrives.
#[track_caller]
fn exchange(space: &Space, from: (&str, &str), to: (&str, &str), subject: &str) {
    space.send(from, to.1, &letter(from.1, to.1, subject));
    space.wait_for_mail(to, &[subject]);
}

fn client(space: &Space, operator: &str) -> Peer {
    Peer {
        port: space.port(operator, "submission"),
        authority: space.authority(),
        certificate: None,
    }
}

/// The server of an operator of the sandbox, to the port of another one.
fn peer(space: &Space, (operator, host): (&str, &str), to: &str) -> Peer {
    Peer {
        port: space.port(to, "smtp"),
        authority: space.authority(),
        certificate: Some(space.certificate(operator, host)),
    }
}
