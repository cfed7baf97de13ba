//! The program under test, started as a user starts it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Finished, Program, Running, folder, wait_until};

/// A space with one operator of the sandbox: a hospital with one box and its login. What follows may add boxes to it.
pub(crate) const HOSPITAL: &str = r#"
[space]
name = "essai"
[[operator]]
key = "chu"
name = "CENTRE HOSPITALIER D'ESSAI"
structure = "990000051"
department = "Rhône (69)"
domains = ["chu.mssante.fr"]
[[operator.host]]
name = "mx.chu.localhost"
[[operator.entity]]
finess = "990000051"
name = "CENTRE HOSPITALIER D'ESSAI"
[[operator.establishment]]
finess = "990000069"
entity = "990000051"
name = "Hôpital d'essai"
[[operator.box]]
address = "accueil@chu.mssante.fr"
type = "ORG"
label = "Accueil"
establishment = "990000069"
[[operator.login]]
name = "accueil"
kind = "password"
password = "sandbox"
boxes = ["accueil@chu.mssante.fr"]
"#;

/// From start to ready on an empty folder, on a loaded machine and without optimisation.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// A drain has a deadline of its own, well below.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running `vaguemestre up`. Killed when dropped.
pub(crate) struct Space {
    program: Running,
    printed: Value,
    _ready: TempDir,
}

impl Space {
    /// The built binary with other arguments.
    pub(crate) fn program() -> Program {
        Program::new(env!("CARGO_BIN_EXE_vaguemestre"))
    }

    /// Raises a space in `data`, and returns once it is ready. `more` are further arguments, `--space FILE` for one.
    #[track_caller]
    pub(crate) fn up(data: &Path, more: &[&str]) -> Self {
        let ready = folder();
        let ready_file = ready.path().join("ready");
        let mut program = Self::program()
            .args(["up", "--json", "--data"])
            .arg(data)
            .arg("--ready-file")
            .arg(&ready_file)
            .args(more)
            .start();
        wait_until("the space is ready", READY_LIMIT, || {
            assert!(
                !program.has_ended(),
                "up ended: {}{}",
                program.stdout(),
                program.stderr()
            );
            fs::metadata(&ready_file).ok()
        });
        let printed = serde_json::from_str(&program.stdout()).expect("up --json prints JSON");
        Self {
            program,
            printed,
            _ready: ready,
        }
    }

    /// What `up --json` printed.
    pub(crate) fn printed(&self) -> &Value {
        &self.printed
    }

    /// The printed shell line of this name.
    #[track_caller]
    pub(crate) fn command_line(&self, name: &str) -> String {
        let commands = self.printed["commands"].as_array().expect("a list of commands");
        let found = commands.iter().find(|command| command["name"] == name);
        let line = found.and_then(|command| command["line"].as_str());
        line.unwrap_or_else(|| panic!("no command {name} in {}", self.printed))
            .to_owned()
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.printed["data"].as_str().expect("a data folder").into()
    }

    /// Where a face of an operator listens; the first when it has several.
    #[track_caller]
    pub(crate) fn address(&self, operator: &str, face: &str) -> SocketAddr {
        let card = self.card();
        let endpoints = card["endpoints"].as_array().expect("a list of endpoints");
        let found = endpoints
            .iter()
            .find(|one| one["operator"] == operator && one["face"] == face);
        let address = found.and_then(|one| one["address"].as_str());
        address
            .unwrap_or_else(|| panic!("no {face} of {operator}"))
            .parse()
            .unwrap()
    }

    /// A login as printed.
    #[track_caller]
    pub(crate) fn login(&self, operator: &str, name: &str) -> Value {
        let card = self.card();
        let logins = card["logins"].as_array().expect("a list of logins");
        let mut found = logins.iter().filter(|one| one["operator"] == operator);
        found
            .find(|one| one["name"] == name)
            .unwrap_or_else(|| panic!("no login {name} of {operator}"))
            .clone()
    }

    /// What the space says of itself now: commands may have changed it since it was raised.
    pub(crate) fn card(&self) -> Value {
        let text = fs::read_to_string(self.data().join("card.json")).expect("a card in the data folder");
        serde_json::from_str(&text).expect("a card in JSON")
    }

    /// Runs a command on this space, such as `operator list`; it may fail.
    #[track_caller]
    pub(crate) fn command(&self, words: &[&str]) -> Finished {
        Self::command_on(&self.data(), words)
    }

    /// Runs a command on a data folder, whether its space runs or not.
    #[track_caller]
    pub(crate) fn command_on(data: &Path, words: &[&str]) -> Finished {
        Self::program().args(words).arg("--data").arg(data).run()
    }

    /// Runs a command that must succeed, and reads its answer.
    #[track_caller]
    pub(crate) fn order(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        let printed = self.command(&words).assert_success().stdout;
        serde_json::from_str(&printed).expect("--json prints JSON")
    }

    /// Sends it a signal by name.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.program.stderr()
    }

    /// Ctrl-C, and waits for its end.
    #[track_caller]
    pub(crate) fn interrupt(self) -> Finished {
        self.program.stop("INT", STOP_LIMIT)
    }

    /// `kill -9`.
    pub(crate) fn kill(self) {
        self.program.kill();
    }
}
