//! What is in a box, read over IMAP by Python's own library.

use serde_json::Value;

use super::{Program, Space};

/// A message in INBOX.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Letter {
    pub(crate) uid: u64,
    pub(crate) message_id: String,
    /// The field `X-Checksum` that the sender wrote.
    pub(crate) checksum: String,
    /// SHA-256 of the text that arrived.
    pub(crate) text_sha256: String,
}

/// Every message in INBOX of a password login's own box, in the order of arrival.
#[track_caller]
pub(crate) fn inbox(space: &Space, operator: &str, login: &str) -> Vec<Letter> {
    let card = space.login(operator, login);
    let address = space.address(operator, "imaps");
    let printed = Program::new("python3")
        .args(["-c", READER])
        .arg(space.printed()["ca"].as_str().unwrap())
        .arg(address.port().to_string())
        .arg(card["user"].as_str().unwrap())
        .arg(card["password"].as_str().unwrap())
        .run()
        .assert_success()
        .stdout;
    let letters: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let letter = |row: &Value| Letter {
        uid: row[0].as_u64().unwrap(),
        message_id: text(&row[1]),
        checksum: text(&row[2]),
        text_sha256: text(&row[3]),
    };
    letters.iter().map(letter).collect()
}

const READER: &str = r#"
import email, hashlib, imaplib, json, re, ssl, sys
ca, port, user, password = sys.argv[1:5]
box = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=ssl.create_default_context(cafile=ca), timeout=25)
box.login(user, password)
kind, count = box.select("INBOX", readonly=True)
assert kind == "OK", count
letters = []
if int(count[0]):
    kind, rows = box.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
    assert kind == "OK", rows
    for row in rows:
        if not isinstance(row, tuple):
            continue
        uid = int(re.search(rb"UID (\d+)", row[0])[1])
        header, text = row[1].split(b"\r\n\r\n", 1)
        fields = email.message_from_bytes(header)
        letters.append([uid, fields.get("Message-ID", ""), fields.get("X-Checksum", ""), hashlib.sha256(text).hexdigest()])
box.logout()
print(json.dumps(letters))
"#;
