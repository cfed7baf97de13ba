//! Whole boxes kept in step with software nobody here wrote: mbsync, and Dovecot's own IMAP client.

#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Imapc, Program, SHAPES, Sandbox, Upstream, corpus, folder, message, open_to_all, stored};
use serde_json::json;

/// Hundreds of messages, without optimisation, on a loaded machine.
const SYNC_LIMIT: Duration = Duration::from_mins(2);

/// What both sides of a synchronisation must agree on: the bytes of a message with the lines of the wire, and its flags.
type Mail = (Vec<u8>, String);

/// A local Maildir folder: file names end with `:2,` and a letter for each flag.
fn maildir_files(maildir: &Path) -> Vec<PathBuf> {
    let parts = ["cur", "new"].map(|part| maildir.join(part));
    let entries = parts.iter().flat_map(|part| fs::read_dir(part).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn local(maildir: &Path) -> BTreeSet<Mail> {
    let files = maildir_files(maildir);
    files
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            let letters = name.split_once(":2,").map_or("", |(_, letters)| letters);
            let mut flags: Vec<&str> = letters.chars().filter_map(flag).collect();
            flags.sort_unstable();
            let wire = with_wire_lines(&fs::read(file).unwrap());
            (without_mark(&wire), flags.join(" "))
        })
        .collect()
}

fn flag(letter: char) -> Option<&'static str> {
    match letter {
        'S' => Some("\\Seen"),
        'F' => Some("\\Flagged"),
        'R' => Some("\\Answered"),
        'D' => Some("\\Draft"),
        'T' => Some("\\Deleted"),
        _ => None,
    }
}

/// A Maildir ends lines with LF, the wire with CR LF.
fn with_wire_lines(bytes: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(bytes.len() + bytes.len() / 40);
    for byte in bytes {
        if *byte == b'\n' && wire.last() != Some(&b'\r') {
            wire.push(b'\r');
        }
        wire.push(*byte);
    }
    wire
}

/// mbsync writes a field of its own into what it uploads, to find it again.
fn without_mark(message: &[u8]) -> Vec<u8> {
    let lines = message.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.starts_with(b"X-TUID: "))
        .flatten()
        .copied()
        .collect()
}

fn remote(sandbox: &Sandbox, user: &str, name: &str) -> BTreeSet<Mail> {
    let found = stored(sandbox, "chu", user, &[name]);
    found
        .into_iter()
        .map(|one| (without_mark(&one.message), one.flags.join(" ")))
        .collect()
}

#[track_caller]
fn assert_same(local: &BTreeSet<Mail>, remote: &BTreeSet<Mail>, count: usize) {
    let only = |one: &BTreeSet<Mail>, other: &BTreeSet<Mail>| -> Vec<String> {
        let missing = one.difference(other);
        missing
            .map(|(bytes, flags)| format!("{flags}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(400)])))
            .collect()
    };
    assert_eq!(only(local, remote), Vec::<String>::new(), "only local");
    assert_eq!(only(remote, local), Vec::<String>::new(), "only remote");
    assert_eq!(remote.len(), count);
}

/// Delivers into a Maildir as another program would.
fn fill(maildir: &Path, messages: &[Vec<u8>]) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.join(part)).unwrap();
    }
    for (number, message) in messages.iter().enumerate() {
        let letters = ["", "S", "FS", "RS", "D"][number % 5];
        let file = format!("cur/{}.{number}.host:2,{letters}", 1_795_000_000 + number);
        let lines = String::from_utf8_lossy(message).is_ascii();
        let bytes = if lines {
            String::from_utf8_lossy(message).replace("\r\n", "\n").into_bytes()
        } else {
            unix(message)
        };
        fs::write(maildir.join(file), bytes).unwrap();
    }
}

/// Lines as a Maildir keeps them.
fn unix(message: &[u8]) -> Vec<u8> {
    let mut kept = message.to_vec();
    let mut previous = 0;
    kept.reverse();
    kept.retain(|byte| {
        let goes = *byte == b'\r' && previous == b'\n';
        previous = *byte;
        !goes
    });
    kept.reverse();
    kept
}

/// An mbsync channel between a folder of a box and a Maildir.
fn mbsync(sandbox: &Sandbox, files: &Path, user: &str, name: &str) {
    let at = files.display();
    let text = format!(
        "IMAPAccount box\nHost localhost\nPort {}\nUser {user}\nPass sandbox\nSSLType IMAPS\nSystemCertificates no\nCertificateFile {}\n\
         PipelineDepth 20\n\nIMAPStore far\nAccount box\n\nMaildirStore near\nPath {at}/mail/\nInbox {at}/mail/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns {name}\nSync All\nCreate Both\nRemove None\nExpunge Both\nSyncState *\nCopyArrivalDate yes\n",
        sandbox.port("chu", "imaps"),
        sandbox.authority()
    );
    let settings = files.join("mbsyncrc");
    fs::create_dir_all(files.join("mail")).unwrap();
    fs::write(&settings, text).unwrap();
    Program::new("mbsync")
        .arg("--config")
        .arg(&settings)
        .arg("all")
        .within(SYNC_LIMIT)
        .run()
        .assert_success();
}

#[test]
fn mbsync_makes_a_folder_with_accents_and_finds_it_again() {
    let sandbox = Sandbox::shared();
    let user = "cardiologie@chu-demo.mssante.fr";
    // This client keeps names as the protocol writes them.
    let name = "&AMk-t&AOk-_R&-D";
    let files = folder();
    let maildir = files.path().join("mail").join(name);
    fill(&maildir, &corpus(5));
    mbsync(&sandbox, files.path(), user, name);
    assert_same(&local(&maildir), &remote(&sandbox, user, name), 5);
    let other = folder();
    mbsync(&sandbox, other.path(), user, name);
    assert_same(&local(&other.path().join("mail").join(name)), &local(&maildir), 5);
}

fn append(sandbox: &Sandbox, user: &str, name: &str, messages: &[Vec<u8>]) {
    let messages: Vec<String> = messages.iter().map(|message| common::hex(message)).collect();
    let task = json!({
        "port": sandbox.port("chu", "imaps"), "ca": sandbox.authority(), "user": user, "password": "sandbox",
        "folder": name, "messages": messages,
    });
    Sandbox::python("imap_work.py", &task).assert_success();
}

#[test]
fn dovecot_lists_fetches_and_backs_up_a_box_byte_for_byte() {
    let sandbox = Sandbox::shared();
    let user = "urgences@chu-demo.mssante.fr";
    append(&sandbox, user, "Sauvegarde", &corpus(4 * SHAPES));
    append(&sandbox, user, "Sauvegarde/2026", &corpus(SHAPES));
    let files = folder();
    let authority = files.path().join("ca.pem");
    // Dovecot's processes may not enter the data folder.
    fs::copy(sandbox.authority(), &authority).unwrap();
    open_to_all(&authority);
    let imapc = Imapc::start(&Upstream {
        host: "localhost",
        port: sandbox.port("chu", "imaps"),
        authority: &authority,
        user,
        password: "sandbox",
    });
    let listed = imapc
        .doveadm()
        .args(["mailbox", "list", "-u", user])
        .run()
        .assert_success();
    let names: BTreeSet<&str> = listed.stdout.lines().collect();
    assert!(
        names.is_superset(&BTreeSet::from(["INBOX", "Sauvegarde", "Sauvegarde/2026"])),
        "{names:?}"
    );

    let status = ["mailbox", "status", "-u", user, "messages", "Sauvegarde/2026"];
    let status = imapc.doveadm().args(status).run().assert_success().stdout;
    assert_eq!(status.trim_end(), format!("Sauvegarde/2026 messages={SHAPES}"));
    let fetched = [
        "fetch",
        "-u",
        user,
        "hdr.subject size.physical",
        "mailbox",
        "Sauvegarde",
        "header",
        "Message-ID",
        "corpus.4@",
    ];
    let fetched = imapc.doveadm().args(fetched).run().assert_success().stdout;
    assert!(fetched.contains("corpus 4"), "{fetched}");
    assert!(
        fetched.contains(&format!("size.physical: {}", message(4).len())),
        "{fetched}"
    );

    let copy = imapc.home().join("copy");
    let target = format!("maildir:{}:LAYOUT=fs", copy.display());
    let backup = ["backup", "-u", user, "-x", "INBOX", &target];
    imapc.doveadm().args(backup).within(SYNC_LIMIT).run().assert_success();
    Program::as_root("chmod")
        .args(["-R", "a+rX"])
        .arg(imapc.home())
        .run()
        .assert_success();
    for (name, count) in [("Sauvegarde", 4 * SHAPES), ("Sauvegarde/2026", SHAPES)] {
        assert_same(&local(&copy.join(name)), &remote(&sandbox, user, name), count);
    }
}
