//! What a remote server and a person do with an operator: hand it a mail, read a box, ask for its journal. By Python's own modules.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Certificate, Program, Space, wait_until};

/// Until another process has done its part, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server that speaks SMTP to the port of an operator.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) port: u16,
    /// PEM file of the roots it believes.
    pub(crate) authority: PathBuf,
    /// What it proves itself with.
    pub(crate) certificate: Option<Certificate>,
}

impl Peer {
    /// Offers a mail; the replies at each stage, `ehlo`, `starttls`, `mail`, `rcpt`, `data`, `broken`.
    pub(crate) fn offer(&self, from: &str, to: &[&str], message: &str) -> Replies {
        self.ask(json!({ "from": from, "to": to, "message": message }))
    }

    /// The same as a person with a password.
    pub(crate) fn submit(&self, (user, password): (&str, &str), to: &str, message: &str) -> Replies {
        self.ask(json!({ "user": user, "password": password, "from": user, "to": [to], "message": message }))
    }

    /// The same to several recipients.
    pub(crate) fn submit_to_all(&self, (user, password): (&str, &str), to: &[String], message: &str) -> Replies {
        self.ask(json!({ "user": user, "password": password, "from": user, "to": to, "message": message }))
    }

    /// The same with parameters of MAIL and of each RCPT.
    pub(crate) fn submit_with(
        &self,
        (user, password): (&str, &str),
        (mail_options, rcpt_options): (&[&str], &[&str]),
        to: &[&str],
        message: &str,
    ) -> Replies {
        self.ask(json!({
            "user": user, "password": password, "from": user, "to": to, "message": message,
            "mail_options": mail_options, "rcpt_options": rcpt_options,
        }))
    }

    fn ask(&self, mut what: Value) -> Replies {
        what["port"] = json!(self.port);
        what["authority"] = json!(self.authority);
        if let Some(files) = &self.certificate {
            what["certificate"] = json!(files.certificate);
            what["key"] = json!(files.key);
        }
        let said = python(include_str!("peer.py"), &what);
        let replies = said.as_array().unwrap().iter().map(|reply| {
            let text = |key: &str| reply[key].as_str().unwrap().to_owned();
            (text("stage"), format!("{} {}", reply["code"], text("text")))
        });
        Replies(replies.collect())
    }
}

/// Stage and reply, in order.
#[derive(Clone, Debug)]
pub(crate) struct Replies(pub(crate) Vec<(String, String)>);

impl Replies {
    /// The last reply is the acceptance of the data.
    #[track_caller]
    pub(crate) fn assert_accepted(&self) {
        let (stage, reply) = self.0.last().unwrap();
        assert!(stage == "data" && reply.starts_with("250 "), "{self:#?}");
    }

    /// The last reply is a refusal at `stage` that holds all of `words`.
    #[track_caller]
    pub(crate) fn assert_refused(&self, stage: &str, words: &[&str]) {
        let (last, reply) = self.0.last().unwrap();
        assert!(last == stage && !reply.starts_with('2'), "{self:#?}");
        for word in words {
            assert!(reply.contains(word), "{word:?} in {self:#?}");
        }
    }
}

/// The mails in a box, read by IMAP over TLS and taken apart: `raw`, `subject`, `from`, `type`, `report_type`, `text`, `status`, ….
pub(crate) fn mails(port: u16, authority: &Path, (user, password): (&str, &str)) -> Vec<Value> {
    let what = json!({ "port": port, "authority": authority, "user": user, "password": password });
    let found = python(include_str!("reader.py"), &what);
    found.as_array().unwrap().clone()
}

/// The journal of an operator as JSON, oldest first; `which` are arguments of `vaguemestre journal`.
pub(crate) fn journal<S: AsRef<std::ffi::OsStr>>(which: impl IntoIterator<Item = S>) -> Vec<Value> {
    let printed = Space::program()
        .args(["journal", "--json"])
        .args(which)
        .run()
        .assert_success();
    let lines = printed.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

impl Space {
    /// Port of a face of an operator; the first when it has several.
    #[track_caller]
    pub(crate) fn port(&self, operator: &str, face: &str) -> u16 {
        self.address(operator, face).port()
    }

    /// PEM file of its authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.printed()["ca"].as_str().unwrap().into()
    }

    /// The certificate it issued for a host of an operator.
    pub(crate) fn certificate(&self, operator: &str, host: &str) -> Certificate {
        let folder = self.data().join("operators").join(operator).join(host);
        Certificate {
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        }
    }

    /// Records of its journals with that event name.
    pub(crate) fn journal(&self, event: &str) -> Vec<Value> {
        let data = self.data();
        journal(["--event".as_ref(), event.as_ref(), "--data".as_ref(), data.as_os_str()])
    }

    /// Waits for a record of that event with all of `words` in it.
    #[track_caller]
    pub(crate) fn wait_for_record(&self, event: &str, words: &[&str]) -> Value {
        wait_until(&format!("{event} with {words:?} in the journal"), PATIENCE, || {
            let mut records = self.journal(event).into_iter();
            records.find(|record| holds(record, words))
        })
    }

    /// Sends a mail as a person with the password of the sandbox; the operator must take it.
    #[track_caller]
    pub(crate) fn send(&self, (operator, from): (&str, &str), to: &str, message: &str) {
        let client = Peer {
            port: self.port(operator, "submission"),
            authority: self.authority(),
            certificate: None,
        };
        client.submit((from, "sandbox"), to, message).assert_accepted();
    }

    /// The mails in a box of an operator.
    pub(crate) fn mails(&self, operator: &str, user: &str) -> Vec<Value> {
        mails(self.port(operator, "imaps"), &self.authority(), (user, "sandbox"))
    }

    /// Waits for a mail with all of `words` in it.
    #[track_caller]
    pub(crate) fn wait_for_mail(&self, (operator, user): (&str, &str), words: &[&str]) -> Value {
        wait_until(&format!("mail with {words:?} for {user}"), PATIENCE, || {
            let mut mails = self.mails(operator, user).into_iter();
            mails.find(|mail| holds(mail, words))
        })
    }
}

/// Whether every word is somewhere in the values.
pub(crate) fn holds(value: &Value, words: &[&str]) -> bool {
    let text = value.to_string();
    words.iter().all(|word| text.contains(word))
}

#[track_caller]
fn python(script: &str, what: &Value) -> Value {
    let printed = Program::new("python3")
        .args(["-c", script])
        .input(what.to_string())
        .run()
        .assert_success();
    serde_json::from_str(&printed.stdout).unwrap()
}
