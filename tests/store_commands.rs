//! `verify`, `backup` and `restore` as a user types them, on a sandbox that runs.

#![cfg(test)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use tokio::runtime::Runtime;

use common::{Sender, Space, folder, inbox, wait_until};
use vaguemestre::space::folder::Layout;

const FROM: &str = "noreply@ehpad-lilas.mssante.fr";
const HOSPITAL: &str = "urgences@chu-demo.mssante.fr";

fn json(data: &Path, words: &[&str], code: i32) -> Value {
    let done = Space::command_on(data, words);
    assert_eq!(done.code, Some(code), "{words:?}: {}", done.text());
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn a_running_space_is_verified_repaired_backed_up_and_restored() {
    let data = folder();
    let space = Space::up(data.path(), &["--free-ports"]);
    let relay = Sender::operator(&space, ("lilas", "mx.lilas.localhost"), FROM, "chu");
    let large = [common_letter("large"), b"0123456789abcdef\r\n".repeat(60_000)].concat();
    Runtime::new().unwrap().block_on(async {
        let mut line = relay.line();
        assert_eq!(line.send(&[HOSPITAL], &common_letter("small")).await, Ok(vec![250]));
        assert_eq!(line.send(&[HOSPITAL], &large).await, Ok(vec![250]));
    });
    let verified = json(data.path(), &["verify", "--json"], 0);
    assert!(
        verified.as_array().unwrap().iter().all(|one| one["sound"] == true),
        "{verified:#}"
    );

    let store = Layout::new(data.path()).store("chu");
    damage(&store);
    let found = json(data.path(), &["verify", "--operator", "chu", "--json"], 2);
    assert_eq!(found[0]["problems"][0]["id"], "body-changed", "{found:#}");
    let repaired = json(data.path(), &["verify", "--operator", "chu", "--repair", "--json"], 0);
    assert_eq!(repaired[0]["repaired"][0]["id"], "body-changed", "{repaired:#}");
    let kept = repaired[0]["damaged_folder"].as_str().unwrap();
    assert_eq!(fs::read_dir(kept).unwrap().count(), 2, "the bytes, and where they were");
    let journal = Space::command_on(data.path(), &["journal", "--operator", "chu"]).assert_success();
    assert!(journal.stdout.contains("repair body-changed"), "{}", journal.stdout);

    // Nothing is lost with a search index that says something else: it is filled again.
    let indexed = || {
        let index = Connection::open(store.join("search.db")).ok()?;
        let whole = "SELECT count(*) FROM fact WHERE length(facts) > 1";
        let count: i64 = index.query_row(whole, [], |row| row.get(0)).ok()?;
        (count > 0).then_some(index)
    };
    let index = wait_until("messages are indexed", Duration::from_mins(1), indexed);
    index.execute("UPDATE fact SET facts = x'00'", []).unwrap();
    drop(index);
    let found = json(data.path(), &["verify", "--operator", "chu", "--json"], 2);
    assert_eq!(found[0]["problems"][0]["id"], "search-index", "{found:#}");
    let repaired = json(data.path(), &["verify", "--operator", "chu", "--repair", "--json"], 0);
    assert_eq!(repaired[0]["repaired"][0]["id"], "search-index", "{repaired:#}");
    wait_until("messages are indexed again", Duration::from_mins(1), indexed);
    json(data.path(), &["verify", "--operator", "chu", "--json"], 0);

    let (to, again) = (folder(), folder());
    let (backup, restored) = (to.path().join("b"), again.path().join("r"));
    Space::command_on(data.path(), &["backup", backup.to_str().unwrap()]).assert_success();
    Space::command_on(data.path(), &["backup", backup.to_str().unwrap()]).assert_failure();
    space.interrupt().assert_success();
    Space::command_on(&restored, &["restore", backup.to_str().unwrap()]).assert_success();
    Space::command_on(&restored, &["restore", backup.to_str().unwrap()]).assert_failure();
    for operator in json(&restored, &["recount", "--json"], 0).as_array().unwrap() {
        assert_eq!(operator["agrees"], true);
    }
    let space = Space::up(&restored, &["--free-ports"]);
    let letters = inbox(&space, "chu", "urgences");
    assert_eq!(
        letters.len(),
        2,
        "the small one, and the notice of the one that was damaged"
    );
    space.interrupt().assert_success();
}

fn common_letter(id: &str) -> Vec<u8> {
    format!("From: <{FROM}>\r\nMessage-ID: <{id}@store.example>\r\nSubject: {id}\r\n\r\ntext\r\n").into_bytes()
}

/// Changes one byte of the one body file.
fn damage(store: &Path) {
    let folders = fs::read_dir(store.join("bodies"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = folders
        .filter(|path| path.is_dir())
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}
