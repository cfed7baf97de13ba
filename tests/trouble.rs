//! What a gateway does in trouble, over the wire: a disk that is full, fails or may not be written any more, boxes that are full, bytes that
//! were damaged. It refuses for now, says why in every place, goes on with the rest, and takes mail again without a restart.

#![cfg(test)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use common::{Clinic, Peer, Program, Raw, Running, Setup, body_files, folder, holds, tls_config, wait_until};

const PATIENCE: Duration = Duration::from_secs(40);
const BOX: &str = Clinic::BOX;
const SENDER: &str = Clinic::SENDER;

/// A file system of its own, as long as the value lives. Needs the right to mount, which the tests have where they run as root.
struct Disk {
    folder: tempfile::TempDir,
    image: Option<tempfile::TempDir>,
}

impl Disk {
    /// One in memory, of so many mebibytes.
    fn small(mebibytes: u32) -> Option<Self> {
        Self::mounted(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"], None)
    }

    /// One in a file, with a file system that can be told to fail.
    fn journaled() -> Option<Self> {
        let image = folder();
        let file = image.path().join("image");
        fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
        let made = Program::as_root("mkfs.ext4").args(["-q", "-F"]).arg(&file).run();
        if made.code != Some(0) {
            return None;
        }
        Self::mounted(&["-o", "loop", file.to_str().unwrap()], Some(image))
    }

    fn mounted(words: &[&str], image: Option<tempfile::TempDir>) -> Option<Self> {
        let folder = folder();
        let done = Program::as_root("mount").args(words).arg(folder.path()).run();
        (done.code == Some(0)).then_some(Self { folder, image })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// The rest of it is taken.
    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.ballast()).unwrap();
        for size in [1 << 20, 1 << 12] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// From now on nothing can be written, as after an error of the disk: files that are open for writing fail too.
    fn abort(&self) {
        Program::as_root("mount")
            .args(["-o", "remount,abort"])
            .arg(self.folder.path())
            .run()
            .assert_success();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Program::as_root("umount")
            .arg("-l")
            .arg(self.folder.path())
            .run()
            .assert_success();
        drop(self.image.take());
    }
}

fn clinic_on(disk: &Disk) -> Clinic {
    Clinic::set_up(Setup {
        data: disk.data(),
        ..Setup::default()
    })
}

/// A mail of so many bytes or a little more.
fn mail_of(bytes: usize, subject: &str) -> String {
    format!("From: <{SENDER}>\r\nTo: <{BOX}>\r\nSubject: {subject}\r\n\r\n")
        + &"0123456789abcdef\r\n".repeat(bytes / 18)
}

/// A session of its reader, at INBOX.
fn reader(clinic: &Clinic) -> Raw {
    let mut line = Raw::clear(clinic.imaps).encrypt(&tls_config(&clinic.at("root.pem"), None));
    line.assert_says("* OK");
    let (user, password) = Clinic::login();
    line.say(format!("l LOGIN {user} {password}\r\ns SELECT INBOX\r\n"));
    let answer = line.answer("s");
    assert!(answer.starts_with("s OK"), "{answer}");
    line
}

/// Appends a message and gives the tagged answer; the literal is sent without waiting for leave.
fn append(line: &mut Raw, text: &str) -> String {
    line.say(format!("a APPEND INBOX {{{}+}}\r\n{text}\r\n", text.len()));
    loop {
        let heard = line.hear();
        if heard.is_empty() || heard.starts_with("a ") || heard.starts_with("* BYE") {
            return heard;
        }
    }
}

fn store_check(told: &Value) -> &Value {
    &told["operators"]["mx.clinique.localhost"]["checks"]["store"]
}

/// Everything that was accepted is there, once, and the counters agree with the journal.
#[track_caller]
fn assert_whole(clinic: &Clinic, subjects: &[String]) {
    let mut read: Vec<String> = clinic
        .mails()
        .iter()
        .map(|mail| mail["subject"].as_str().unwrap().to_owned())
        .collect();
    read.sort();
    let mut expected = subjects.to_vec();
    expected.sort();
    assert_eq!(read, expected);
    clinic.run("verify").run().assert_success();
    clinic.run("recount").run().assert_success();
}

#[test]
fn a_full_disk_is_answered_told_and_over_without_a_restart() {
    let Some(disk) = Disk::small(24) else {
        // No right to mount: tests/store_care.rs plays it in the store.
        return;
    };
    let clinic = clinic_on(&disk);
    let running = clinic.serve();
    let peer = clinic.listed_peer();
    let mut accepted = Vec::new();
    for size in [300, 30_000, 300_000] {
        let subject = format!("avant {size}");
        peer.offer(SENDER, &[BOX], &mail_of(size, &subject)).assert_accepted();
        accepted.push(subject);
    }
    disk.fill();
    let full = ["452 4.3.1 the disk is full", "storage-full, session "];
    let refused = (0..40).find_map(|number| {
        // What is left in the log of the store may hold some small ones.
        let subject = format!("plein {number}");
        let replies = peer.offer(SENDER, &[BOX], &mail_of(20_000, &subject));
        if replies.0.last().unwrap().1.starts_with("250 ") {
            accepted.push(subject);
            return None;
        }
        Some(replies)
    });
    refused.expect("a full disk").assert_refused("data", &full);
    for size in [300_000, 3_000_000] {
        peer.offer(SENDER, &[BOX], &mail_of(size, "plein"))
            .assert_refused("data", &full);
    }
    clinic
        .client()
        .submit(Clinic::login(), BOX, &mail_of(30_000, "plein").replace(SENDER, BOX))
        .assert_refused("data", &full);
    let told = clinic.wait_ready("readiness tells it", |status, _| status == 503);
    assert!(
        store_check(&told)["problem"].as_str().unwrap().contains("full"),
        "{told:#}"
    );
    assert!(clinic.counted("vaguemestre_store_errors_total", "kind=\"full\"") > 0.5);
    assert!(
        clinic.counted(
            "vaguemestre_refusals_total",
            "face=\"smtp\",stage=\"data\",reason=\"storage-full\""
        ) > 2.5
    );
    let log = running.stderr();
    assert!(
        log.contains("the store cannot be written") && log.contains("disk_full=true"),
        "{log}"
    );
    reading_goes_on(&clinic, accepted.len());

    fs::remove_file(disk.ballast()).unwrap();
    clinic.wait_ready("it is ready again", |status, _| status == 200);
    peer.offer(SENDER, &[BOX], &mail_of(300_000, "apres")).assert_accepted();
    accepted.push("apres".into());
    assert!(
        running.stderr().contains("the store can be written again"),
        "{}",
        running.stderr()
    );
    assert_whole(&clinic, &accepted);
    running.stop("TERM", PATIENCE).assert_success();
    drop(clinic);
}

/// What would be written is refused in IMAP's own words.
fn reading_goes_on(clinic: &Clinic, mails: usize) {
    assert_eq!(clinic.mails().len(), mails);
    let answer = append(&mut reader(clinic), &mail_of(30_000, "plein"));
    assert!(answer.starts_with("a NO"), "{answer}");
}

#[test]
fn a_disk_that_may_not_be_written_any_more_leaves_reading_and_says_so() {
    let Some(disk) = Disk::journaled() else {
        return;
    };
    let clinic = clinic_on(&disk);
    let running = clinic.serve();
    let peer = clinic.listed_peer();
    peer.offer(SENDER, &[BOX], &mail_of(300, "avant")).assert_accepted();
    peer.offer(SENDER, &[BOX], &mail_of(200_000, "avant aussi"))
        .assert_accepted();
    disk.abort();
    for size in [300, 200_000, 2_000_000] {
        peer.offer(SENDER, &[BOX], &mail_of(size, "refuse"))
            .assert_refused("data", &["451 4.3.0", "storage-failed, session "]);
    }
    clinic
        .client()
        .submit(Clinic::login(), BOX, &mail_of(300, "refuse").replace(SENDER, BOX))
        .assert_refused("data", &["451 4.3.0", "storage-failed"]);
    let told = clinic.wait_ready("readiness tells it", |status, _| status == 503);
    assert!(store_check(&told)["problem"].is_string(), "{told:#}");
    let failed =
        ["read-only", "io"].map(|kind| clinic.counted("vaguemestre_store_errors_total", &format!("kind=\"{kind}\"")));
    assert!(failed.iter().sum::<f64>() > 2.5, "{failed:?}");
    assert!(
        running.stderr().contains("the store cannot be written"),
        "{}",
        running.stderr()
    );
    let read = clinic.mails();
    assert_eq!(read.len(), 2, "reading goes on: {read:#?}");
    let answer = append(&mut reader(&clinic), &mail_of(300, "refuse"));
    assert!(answer.starts_with("a NO"), "{answer}");
    let ended = running.stop("TERM", PATIENCE);
    assert!(ended.code.is_some_and(|code| code != 101), "{ended:?}");
    // A start finds it out at once, and says which folder it is.
    let refused = clinic.run("serve").run().assert_failure();
    assert!(refused.stderr.contains(disk.data().to_str().unwrap()), "{refused:?}");
}

/// A gateway whose system calls fail when they are told to, by Debian's libfiu.
struct Failing {
    clinic: Clinic,
    running: Running,
}

impl Failing {
    fn serve() -> Self {
        let clinic = Clinic::new("");
        let running = clinic
            .run("serve")
            .env(
                "LD_PRELOAD",
                "/usr/lib/fiu/fiu_run_preload.so /usr/lib/fiu/fiu_posix_preload.so",
            )
            .env("FIU_CTRL_FIFO", clinic.at("fiu"))
            .start();
        let running = Clinic::serving(running);
        Self { clinic, running }
    }

    fn tell(&self, what: &str) {
        Program::new("fiu-ctrl")
            .arg("-f")
            .arg(self.clinic.at("fiu"))
            .args(["-c", what, &self.running.pid().to_string()])
            .run()
            .assert_success();
    }
}

#[test]
fn a_disk_that_fails_refuses_for_now_and_is_used_again_when_it_works() {
    let failing = Failing::serve();
    let clinic = &failing.clinic;
    let peer = clinic.listed_peer();
    let mut accepted = vec!["avant".to_owned()];
    peer.offer(SENDER, &[BOX], &mail_of(300, "avant")).assert_accepted();
    // EIO, from what writes and from what syncs.
    for (number, fault) in ["posix/io/rw/pwrite", "posix/io/sync/*"].iter().enumerate() {
        failing.tell(&format!("enable name={fault},failinfo=5"));
        for size in [300, 200_000] {
            let replies = peer.offer(SENDER, &[BOX], &mail_of(size, "refuse"));
            let (stage, reply) = replies.0.last().unwrap();
            assert_eq!(stage, "data");
            assert!(
                reply.starts_with("451 4.3.0") && reply.contains("storage-failed, session "),
                "{fault}: {reply}"
            );
        }
        let told = clinic.wait_ready("readiness tells it", |status, _| status == 503);
        assert!(store_check(&told)["problem"].is_string(), "{told:#}");
        failing.tell(&format!("disable name={fault}"));
        clinic.wait_ready("it is ready again", |status, _| status == 200);
        let subject = format!("apres {number}");
        peer.offer(SENDER, &[BOX], &mail_of(200_000, &subject))
            .assert_accepted();
        accepted.push(subject);
    }
    assert!(clinic.counted("vaguemestre_store_errors_total", "kind=\"io\"") > 1.5);
    assert_whole(clinic, &accepted);
    let Failing { clinic, running } = failing;
    let ended = running.stop("TERM", PATIENCE).assert_success();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    let again = clinic.serve();
    assert_whole(&clinic, &accepted);
    again.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn a_full_box_is_refused_at_its_recipient_and_an_append_in_imaps_own_words() {
    let clinic = Clinic::set_up(Setup {
        operator: "quota = \"1 MiB\"",
        ..Setup::default()
    });
    let running = clinic.serve();
    let peer = clinic.listed_peer();
    let mut line = reader(&clinic);
    let over = append(&mut line, &mail_of(1_200_000, "trop"));
    assert!(
        over.starts_with("a NO [OVERQUOTA]"),
        "what is appended has to fit: {over}"
    );
    peer.offer(SENDER, &[BOX], &mail_of(1_200_000, "le dernier"))
        .assert_accepted();
    let full = ["452 4.2.2", "over-quota, session "];
    peer.offer(SENDER, &[BOX], &mail_of(300, "un de trop"))
        .assert_refused("rcpt", &full);
    clinic
        .client()
        .submit(Clinic::login(), BOX, &mail_of(300, "a soi").replace(SENDER, BOX))
        .assert_refused("rcpt", &full);
    clinic.wait_for_record("refused", &["over-quota", "rcpt", BOX]);
    let over = append(&mut line, "Subject: x\r\n\r\nx\r\n");
    assert!(over.starts_with("a NO [OVERQUOTA]"), "{over}");
    assert!(
        clinic.counted(
            "vaguemestre_refusals_total",
            "face=\"smtp\",stage=\"rcpt\",reason=\"over-quota\""
        ) > 0.5
    );
    line.say("d STORE 1:* +FLAGS.SILENT (\\Deleted)\r\nx EXPUNGE\r\n");
    assert!(line.answer("x").starts_with("x OK"));
    let small = append(&mut line, "Subject: x\r\n\r\nx\r\n");
    assert!(small.starts_with("a OK"), "{small}");
    peer.offer(SENDER, &[BOX], &mail_of(300, "de nouveau"))
        .assert_accepted();
    running.stop("TERM", PATIENCE).assert_success();
}

/// Changes a byte in the middle of a file.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_message_damaged_on_disk_is_never_shown_as_whole_and_the_others_are() {
    let clinic = Clinic::new("");
    let running = clinic.serve();
    let peer = clinic.listed_peer();
    for (size, subject) in [
        (300, "premier"),
        (200_000, "abime"),
        (3_000, "rangee abimee"),
        (300, "dernier"),
    ] {
        peer.offer(SENDER, &[BOX], &mail_of(size, subject)).assert_accepted();
    }
    let files = body_files(&clinic.data());
    let [file] = files.as_slice() else { panic!("{files:?}") };
    damage(file);
    let db = rusqlite::Connection::open(clinic.data().join("store.db")).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let sql = "UPDATE body SET bytes = zeroblob(length(bytes)) WHERE length(bytes) > 2000";
    assert_eq!(db.execute(sql, []).unwrap(), 1);
    drop(db);

    let mut line = reader(&clinic);
    for (number, is_whole) in [(1, true), (2, false), (3, false), (4, true)] {
        line.say(format!("f FETCH {number} (UID BODY.PEEK[TEXT])\r\n"));
        let (mut shown, mut last) = (0, String::new());
        while !last.starts_with("f ") {
            last = line.hear();
            assert!(
                !last.is_empty() && !last.starts_with("* BYE"),
                "message {number} ends the session: {last:?}"
            );
            shown += usize::from(last.contains("0123456789abcdef"));
        }
        assert_eq!(last.starts_with("f OK"), is_whole, "message {number}: {last}");
        assert_eq!(shown > 0, is_whole, "message {number}");
    }
    // What was computed when it came is still told, and the rest of the session works.
    line.say("e FETCH 1:* (FLAGS RFC822.SIZE)\r\n");
    assert!(line.answer("e").starts_with("e OK"));
    drop(line);
    assert!(clinic.counted("vaguemestre_store_errors_total", "kind=\"corrupt\"") > 1.5);
    peer.offer(SENDER, &[BOX], &mail_of(300, "apres")).assert_accepted();
    let found = clinic.command(&["verify", "--json"]).run();
    assert_eq!(found.code, Some(2), "{}", found.text());
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found[0]["problems"].as_array().unwrap().len(), 2, "{found:#}");
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn a_queued_message_damaged_on_disk_is_not_sent_and_delays_no_other() {
    let clinic = Clinic::new("");
    let running = clinic.serve();
    let to = format!("medecin@{}", "voisin.mssante.fr");
    let client: Peer = clinic.client();
    let from = |text: String| text.replace(SENDER, BOX);
    for (size, subject) in [(2_000_000, "abime en file"), (200_000, "sain en file")] {
        client
            .submit(Clinic::login(), &to, &from(mail_of(size, subject)))
            .assert_accepted();
    }
    let mut files = body_files(&clinic.data());
    files.sort_by_key(|file| fs::metadata(file).unwrap().len());
    damage(files.last().unwrap());
    let shown = clinic.pki.issue("voisin", Clinic::NEIGHBOUR);
    clinic.write("how", "takes");
    let hosts = json!([{
        "port": clinic.neighbour, "how": clinic.at("how"), "go-on": clinic.at("how"),
        "certificate": shown.certificate, "key": shown.key,
    }]);
    let hosts = Program::new("python3")
        .args(["-c", include_str!("queue/hosts.py")])
        .input(hosts.to_string())
        .start();
    clinic.wait_for_record("relayed", &[&to]);
    wait_until("the sound one is there", PATIENCE, || {
        hosts.stdout().contains("took 1 sain en file").then_some(())
    });
    let deferred = clinic.wait_for_record("deferred", &["cannot be read from the store"]);
    assert!(holds(&deferred, &["451 4.3.0"]), "{deferred}");
    let left = clinic.queue_lines(&["list"]);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!hosts.stdout().contains("abime"), "{}", hosts.stdout());
    assert!(
        running.stderr().contains("a queued message cannot be read"),
        "{}",
        running.stderr()
    );
    running.stop("TERM", PATIENCE).assert_success();
}
