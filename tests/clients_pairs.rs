//! Two clients of one kind at once on one box, with 500 messages of every shape: each brings in its half, flags, moves and expunges, and in
//! the end both and the box, looked at by a third, must hold the same, byte for byte. `tests/python/pair.py` has the plan.

#![cfg(test)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Finished, HOSPITAL, Imapc, Program, Sandbox, Upstream, folder, open_to_all};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Twice 250 messages without optimisation, on a loaded machine.
const LIMIT: Duration = Duration::from_mins(4);

const SOLANGE: (&str, &str) = ("chu", "solange.testard@chu-demo.mssante.fr");
const EMERGENCY: (&str, &str) = ("chu", "urgences@chu-demo.mssante.fr");
const CARDIOLOGY: (&str, &str) = ("chu", "cardiologie@chu-demo.mssante.fr");
const GERIATRICS: (&str, &str) = ("chu", "geriatrie@chu-demo.mssante.fr");
const PHARMACY: (&str, &str) = ("chu", "pharmacie@chu-demo.mssante.fr");
const WORKSHOP: (&str, &str) = ("region", "accueil@esat.region-demo.mssante.fr");
const NEUROLOGY: (&str, &str) = ("chu", "neurologie@chu-demo.mssante.fr");

/// Which messages a client can keep as they are, and what it knows: see `tests/python/corpus.py` and `pair.py`.
struct Kind {
    keeper: &'static str,
    /// MOVE and keywords.
    shared: bool,
    /// Roles whose messages are read, whatever else is done with them.
    read: &'static [u8],
}

const WHATEVER: Kind = Kind {
    keeper: "wire",
    shared: true,
    read: &[],
};

/// A folder that two clients work on.
struct Pair {
    task: Value,
    files: TempDir,
}

impl Pair {
    fn new(sandbox: &Sandbox, (operator, user): (&str, &str), name: &str, kind: &Kind) -> Self {
        let files = folder();
        let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
        let task = json!({
            "server": {
                "port": sandbox.port(operator, "imaps"), "ca": sandbox.authority(), "user": user, "password": "sandbox",
            },
            "folder": name, "keeper": kind.keeper, "shared": kind.shared, "read": kind.read, "files": path(""), "views": [path("a.json"), path("b.json")],
        });
        Self { task, files }
    }

    /// The plan written out, for what is not Python.
    fn plan(&self) -> Value {
        let printed = python("pair_plan.py", &self.task).stdout;
        serde_json::from_str(&printed).unwrap()
    }

    /// The box holds what the plan says, and both clients have seen it so.
    fn check(&self) {
        python("pair.py", &self.task);
    }
}

/// A client that `scripts/test clients` puts below the build folder.
fn client(path: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/clients");
    let client = tools.join(path);
    assert!(
        client.exists(),
        "{} is not installed: run scripts/test clients once",
        client.display()
    );
    client
}

/// Like `Sandbox::python`, with more time.
#[track_caller]
fn python(name: &str, input: &Value) -> Finished {
    Program::new("python3")
        .arg("-B")
        .arg(script("python").join(name))
        .input(input.to_string())
        .within(LIMIT)
        .run()
        .assert_success()
}

fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

#[test]
fn two_imapclients_share_a_box_and_use_its_extensions() {
    let space = HOSPITAL.replace("domains = ", "quota = \"100 MiB\"\ndomains = ");
    let sandbox = Sandbox::up_from(&space);
    // imaplib, below imapclient, ends every line with CR LF.
    let kind = Kind {
        keeper: "maildir",
        ..WHATEVER
    };
    let pair = Pair::new(&sandbox, ("chu", "accueil@chu.mssante.fr"), "Bibliotheque", &kind);
    Program::new(client("python/bin/python"))
        .arg("-B")
        .arg(script("python/pair_imapclient.py"))
        .input(pair.task.to_string())
        .within(LIMIT)
        .run()
        .assert_success();
    pair.check();
}

#[test]
fn two_imaplibs_share_a_box_and_write_commands_by_hand() {
    let sandbox = Sandbox::shared();
    // It ends every line with CR LF.
    let kind = Kind {
        keeper: "maildir",
        ..WHATEVER
    };
    let pair = Pair::new(&sandbox, WORKSHOP, "Imaplib", &kind);
    python("pair_imaplib.py", &pair.task);
    pair.check();
}

#[test]
fn two_imapflows_share_a_box_and_use_its_extensions() {
    let sandbox = Sandbox::shared();
    let pair = Pair::new(&sandbox, CARDIOLOGY, "Noeud", &WHATEVER);
    let modules = client("node/node_modules/imapflow");
    Program::new("node")
        .arg(script("node/imapflow.js"))
        .env("NODE_PATH", modules.parent().unwrap())
        .input(pair.plan().to_string())
        .within(LIMIT)
        .run()
        .assert_success();
    pair.check();
}

#[test]
fn two_curls_share_a_box() {
    let sandbox = Sandbox::shared();
    let pair = Pair::new(&sandbox, GERIATRICS, "Curl", &WHATEVER);
    python("pair_curl.py", &pair.plan());
    pair.check();
}

/// Two copies kept by a program that synchronises a box with Maildir folders.
fn copies(tool: &str, whose: (&str, &str), keeper: &'static str) {
    let sandbox = Sandbox::shared();
    let kind = Kind {
        keeper,
        shared: false,
        ..WHATEVER
    };
    let pair = Pair::new(&sandbox, whose, tool, &kind);
    let mut task = pair.task.clone();
    task["tool"] = tool.into();
    python("pair_maildir.py", &task);
    pair.check();
}

#[test]
fn two_copies_by_mbsync_stay_the_same_as_the_box() {
    copies("mbsync", PHARMACY, "maildir");
}

#[test]
fn two_copies_by_offlineimap_stay_the_same_as_the_box() {
    copies("offlineimap", NEUROLOGY, "offlineimap");
}

#[test]
fn two_mutts_share_a_box() {
    let sandbox = Sandbox::shared();
    // To say in mutt that a message is answered is to have read it.
    let kind = Kind {
        keeper: "maildir",
        shared: false,
        read: &[4],
    };
    let pair = Pair::new(&sandbox, EMERGENCY, "Mutt", &kind);
    let mut task = pair.task.clone();
    task["tool"] = "mutt".into();
    python("pair_mutt.py", &task);
    pair.check();
}

#[test]
fn two_doveadms_import_into_a_box_and_back_it_up() {
    let sandbox = Sandbox::shared();
    let kind = Kind {
        keeper: "maildir",
        shared: false,
        ..WHATEVER
    };
    let pair = Pair::new(&sandbox, SOLANGE, "Dovecot", &kind);
    // Dovecot's processes may not enter the data folder.
    let authority = pair.files.path().join("ca.pem");
    fs::copy(sandbox.authority(), &authority).unwrap();
    open_to_all(&authority);
    let imapc = Imapc::start(&Upstream {
        host: "localhost",
        port: sandbox.port(SOLANGE.0, "imaps"),
        authority: &authority,
        user: SOLANGE.1,
        password: "sandbox",
    });
    let mut task = pair.task.clone();
    task["home"] = imapc.home().to_str().unwrap().into();
    task["settings"] = imapc.settings().to_str().unwrap().into();
    task["root"] = json!(Program::root_words());
    python("pair_dovecot.py", &task);
    pair.check();
}
