//! Mail as the clients of tests hand it in and read it back.

use serde_json::{Value, json};

use super::Sandbox;

/// The messages of INBOX of a box that contain `mark`.
pub(crate) fn received(sandbox: &Sandbox, operator: &str, user: &str, mark: &str) -> Vec<Vec<u8>> {
    let mut found = received_by(sandbox, &[(operator, user)], mark);
    found.remove(0)
}

/// The same for several boxes at once: operator and user name of each.
pub(crate) fn received_by(sandbox: &Sandbox, boxes: &[(&str, &str)], mark: &str) -> Vec<Vec<Vec<u8>>> {
    let asked: Vec<Value> = boxes
        .iter()
        .map(|(operator, user)| json!({"port": sandbox.port(operator, "imaps"), "user": user, "password": "sandbox"}))
        .collect();
    let read = sandbox
        .python("imap_boxes.py", &json!({"ca": sandbox.authority(), "boxes": asked}))
        .assert_success();
    let read: Value = serde_json::from_str(&read.stdout).unwrap();
    let of_box = |user: &str| {
        let messages = read[user].as_array().unwrap();
        let bytes = messages.iter().map(|message| unhex(message.as_str().unwrap()));
        bytes
            .filter(|message| String::from_utf8_lossy(message).contains(mark))
            .collect()
    };
    boxes.iter().map(|(_, user)| of_box(user)).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A short message whose body has lines of dots.
pub(crate) fn letter(from: &str, to: &str, subject: &str) -> String {
    format!("From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nBonjour,\r\n.\r\n..deux points\r\n")
}

/// One dialogue with smtplib; the replies, a line each.
#[track_caller]
pub(crate) fn dialogue(sandbox: &Sandbox, tls: &str, login: Option<&str>, steps: &Value) -> Vec<String> {
    let face = if tls == "implicit" { "submissions" } else { "submission" };
    let mut task = json!({"port": sandbox.port("lilas", face), "tls": tls, "ca": sandbox.authority(), "steps": steps});
    if let Some(login) = login {
        task["certificate"] = sandbox.login(login, "certificate").into();
        task["key"] = sandbox.login(login, "key").into();
    }
    let finished = sandbox.python("smtp.py", &task).assert_success();
    finished.stdout.lines().map(str::to_owned).collect()
}

/// The reply codes alone.
pub(crate) fn codes(replies: &[String]) -> Vec<&str> {
    replies.iter().map(|reply| &reply[..3]).collect()
}

/// A message as it lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub(crate) folder: String,
    pub(crate) message: Vec<u8>,
    pub(crate) flags: Vec<String>,
    pub(crate) uid: u64,
}

/// Everything in these folders of a box, read with imaplib, in the order of the folders and of their UIDs.
pub(crate) fn stored(sandbox: &Sandbox, operator: &str, user: &str, folders: &[&str]) -> Vec<Stored> {
    let port = sandbox.port(operator, "imaps");
    let asked =
        json!({"port": port, "ca": sandbox.authority(), "user": user, "password": "sandbox", "folders": folders});
    let read = sandbox.python("imap_dump.py", &asked).assert_success();
    let read: Vec<Value> = serde_json::from_str(&read.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let one = |value: &Value| Stored {
        folder: text(&value["folder"]),
        message: unhex(&text(&value["message"])),
        flags: value["flags"].as_array().unwrap().iter().map(text).collect(),
        uid: value["uid"].as_u64().unwrap(),
    };
    read.iter().map(one).collect()
}
