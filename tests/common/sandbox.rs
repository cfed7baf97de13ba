//! The default trust space on free ports, shared by the tests of one file, with what its card says.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use serde_json::Value;
use tempfile::TempDir;

use super::{Finished, Program, Space, folder};

/// A running default space. Ended, and its data removed, when the last test that holds it ends.
pub(crate) struct Sandbox {
    space: Space,
    data: TempDir,
}

impl Sandbox {
    /// A space of its own.
    #[track_caller]
    pub(crate) fn up() -> Self {
        let data = folder();
        let space = Space::up(data.path(), &["--free-ports"]);
        Self { space, data }
    }

    /// A space of its own, from this text of a `space.toml`.
    #[track_caller]
    pub(crate) fn up_from(text: &str) -> Self {
        let (data, given) = (folder(), folder());
        let file = given.path().join("space.toml");
        std::fs::write(&file, text).unwrap();
        let space = Space::up(data.path(), &["--free-ports", "--space", file.to_str().unwrap()]);
        Self { space, data }
    }

    /// The space that tests of this file running at the same time share: each keeps to its own subjects and folders.
    #[track_caller]
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Sandbox>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let raised = Arc::new(Self::up());
            *shared = Arc::downgrade(&raised);
            raised
        })
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// PEM file of the authority.
    pub(crate) fn authority(&self) -> &str {
        self.space.printed()["ca"].as_str().unwrap()
    }

    /// Port on 127.0.0.1 of the first such face of an operator.
    #[track_caller]
    pub(crate) fn port(&self, operator: &str, face: &str) -> u16 {
        let endpoints = self.space.printed()["endpoints"].as_array().unwrap();
        let endpoint = endpoints
            .iter()
            .find(|e| e["operator"] == operator && e["face"] == face);
        let address = endpoint.expect("an endpoint")["address"].as_str().unwrap();
        address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap()
    }

    pub(crate) fn logins(&self) -> &[Value] {
        self.space.printed()["logins"].as_array().unwrap()
    }

    /// A field of a login's card: `certificate`, `key`, `user`.
    #[track_caller]
    pub(crate) fn login(&self, name: &str, field: &str) -> &str {
        let login = self.logins().iter().find(|login| login["name"] == name);
        login.expect("a login")[field].as_str().expect("a field of a login")
    }

    /// A shell line of the card, as a user types it.
    pub(crate) fn shell(line: &str) -> Program {
        Program::new("sh").args(["-c", line])
    }

    /// Records of the journal of all operators that these words choose.
    #[track_caller]
    pub(crate) fn journal(&self, words: &[&str]) -> Vec<Value> {
        let printed = Space::program()
            .args(["journal", "--json", "--data"])
            .arg(self.data())
            .args(words)
            .run()
            .assert_success();
        let lines = printed.stdout.lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Checks that a reply is a refusal for this reason, and that the journal of its session says so too: that record.
    #[track_caller]
    pub(crate) fn assert_refused(&self, reply: &str, reason: &str) -> Value {
        let mark = format!("({reason}, session ");
        let Some((_, rest)) = reply.split_once(&mark) else {
            panic!("{reason} is not what {reply:?} says");
        };
        let session = rest.split(')').next().unwrap();
        let records = self.journal(&["--session", session]);
        let found = records.iter().find(|record| record["reason"] == reason);
        let found = found.unwrap_or_else(|| panic!("session {session} was refused for {reason}: {records:?}"));
        found.clone()
    }

    /// Runs a script of tests/python; an assertion that fails there fails here.
    pub(crate) fn python(script: &str, input: &Value) -> Finished {
        let mut path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
        path.push(script);
        Program::new("python3")
            .arg("-B")
            .arg(path)
            .input(input.to_string())
            .within(std::time::Duration::from_mins(2))
            .run()
    }
}

/// Hexadecimal, for scripts that take bytes in JSON.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
