//! Memory under many large messages at once: bodies go to disk while they arrive, so that what all senders hold together stays bounded. The
//! real sizes are a parameter: docs/operations.md, "Memory".

#![cfg(test)]

mod common;

use std::fs;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use common::{Clinic, Program, Raw, Running, Setup, tls_config};

const PATIENCE: Duration = Duration::from_mins(2);
const BOX: &str = Clinic::BOX;
const SENDER: &str = Clinic::SENDER;
const MEBIBYTE: u64 = 1 << 20;

/// A number of the environment, or the one for CI.
fn asked(name: &str, usual: usize) -> usize {
    let asked = std::env::var(name).ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The most memory that was in RAM, and what is now, in bytes.
fn memory(running: &Running) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let kibibytes = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (kibibytes("VmHWM:") * 1024, kibibytes("VmRSS:") * 1024)
}

fn open_files(pid: u32, count: usize) {
    Program::as_root("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={count}:{count}")])
        .run()
        .assert_success();
}

/// As a base64 attachment has them.
fn lines(bytes: usize) -> Vec<u8> {
    [vec![b'A'; 76], b"\r\n".to_vec()].concat().repeat(bytes.div_ceil(78))
}

/// Sends its message in two halves, the second when everybody has sent the first; the reply.
fn send(mut line: Raw, half: &[u8], everybody: &Barrier) -> String {
    line.ask("EHLO peer.test\r\n", "250");
    line.ask(format!("MAIL FROM:<{SENDER}>\r\n"), "250 ");
    line.ask(format!("RCPT TO:<{BOX}>\r\n"), "250 ");
    line.ask("DATA\r\n", "354 ");
    let boundary = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntexte\r\n--b\r\n";
    line.say(format!("From: <{SENDER}>\r\nSubject: lourd\r\n{boundary}"));
    line.say("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    line.say(half);
    everybody.wait();
    line.say(half);
    line.say("--b--\r\n.\r\n");
    line.reply()
}

#[test]
fn many_large_messages_at_once_take_a_bounded_part_of_memory() {
    let connections = asked("VAGUEMESTRE_CONNECTIONS", 60);
    let megabytes = asked("VAGUEMESTRE_MEGABYTES", 3);
    let limits = format!(
        "connections_max = {0}\nconnections_per_address_max = {0}\nspool_memory = \"16 MiB\"\n\
         data_rate_min_bytes_per_second = 0",
        connections + 100
    );
    let clinic = Clinic::new(limits.leak());
    // Also of the other test here, whose gateway takes 1,000 connections.
    open_files(std::process::id(), 4 * connections + 2_500);
    let limited = format!("ulimit -n {}; exec \"$0\" \"$@\"", 4 * connections + 2_000);
    let running = Program::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_vaguemestre"), "serve", "--config"])
        .arg(clinic.at("gateway.toml"))
        .start();
    let running = Clinic::serving(running);
    let (_, before) = memory(&running);
    let certificate = clinic.pki.issue("peer", Clinic::NEIGHBOUR);
    let tls = tls_config(&clinic.at("root.pem"), Some(&certificate));
    let half = Arc::new(lines(megabytes * 500_000));
    let everybody = Arc::new(Barrier::new(connections));
    let door = Arc::new(Mutex::new(()));
    let senders: Vec<_> = (0..connections)
        .map(|_| {
            let (half, everybody, tls, port) =
                (Arc::clone(&half), Arc::clone(&everybody), Arc::clone(&tls), clinic.smtp);
            let door = Arc::clone(&door);
            let work = move || {
                // One after the other: what waits to be accepted is a queue of the system's.
                let turn = door.lock().unwrap();
                let mut line = Raw::clear(port);
                line.tcp.set_read_timeout(Some(PATIENCE * 5)).unwrap();
                line.tcp.set_write_timeout(Some(PATIENCE * 5)).unwrap();
                line.assert_says("220 ");
                line.ask("EHLO peer.test\r\n", "250");
                line.ask("STARTTLS\r\n", "220 ");
                let line = line.encrypt(&tls);
                drop(turn);
                send(line, &half, &everybody)
            };
            thread::Builder::new().stack_size(256 * 1024).spawn(work).unwrap()
        })
        .collect();
    for sender in senders {
        let reply = sender.join().unwrap();
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let (most, after) = memory(&running);
    let all = (connections * megabytes) as u64 * 1_000_000;
    // Spool and what is read whole: 16 MiB each; then buffers of each connection, of TLS and of its file.
    let allowed = 3 * 16 * MEBIBYTE + connections as u64 * 256 * 1024 + 48 * MEBIBYTE;
    let told = format!("{connections} x {megabytes} MB = {all} bytes: before {before}, most {most}, after {after}");
    common::show(&[&told]);
    assert!(most - before < allowed, "{told}; allowed {allowed}");
    let received = clinic.counted("vaguemestre_spooled_messages_total", "place=\"disk\"");
    let wanted = f64::from(u32::try_from(connections).unwrap());
    assert!(received > wanted - 0.5, "{received} went to disk");
    running.stop("TERM", PATIENCE).assert_success();
}

#[test]
fn one_very_large_message_is_accepted_and_read_back_to_the_byte() {
    let megabytes = asked("VAGUEMESTRE_LARGE_MB", 30);
    let clinic = Clinic::set_up(Setup {
        operator: "size_max = \"1 GiB\"",
        ..Setup::default()
    });
    let running = clinic.serve();
    let certificate = clinic.pki.issue("peer", Clinic::NEIGHBOUR);
    let tls = tls_config(&clinic.at("root.pem"), Some(&certificate));
    let mut line = Raw::clear(clinic.smtp);
    line.assert_says("220 ");
    line.ask("EHLO peer.test\r\n", "250");
    line.ask("STARTTLS\r\n", "220 ");
    let half = lines(megabytes * 500_000);
    let reply = send(line.encrypt(&tls), &half, &Barrier::new(1));
    assert!(reply.starts_with("250 "), "{reply}");

    let mut reader = Raw::clear(clinic.imaps).encrypt(&tls_config(&clinic.at("root.pem"), None));
    reader.assert_says("* OK");
    let (user, password) = Clinic::login();
    reader.say(format!("l LOGIN {user} {password}\r\ns EXAMINE INBOX\r\n"));
    assert!(reader.answer("s").starts_with("s OK"));
    reader.say("f FETCH 1 BODY.PEEK[2]\r\n");
    let announced = reader.hear();
    let size: usize = announced
        .trim_end()
        .rsplit_once('{')
        .unwrap()
        .1
        .trim_end_matches('}')
        .parse()
        .unwrap();
    assert_eq!(size + 2, 2 * half.len(), "the last line end is the boundary's");
    let whole = size / 78;
    let wrong = (0..whole).filter(|_| reader.hear().len() != 78).count();
    assert_eq!(wrong, 0);
    assert!(reader.answer("f").starts_with("f OK"));
    let (most, after) = memory(&running);
    common::show(&[&format!("{megabytes} MB: most {most}, after {after}")]);
    running.stop("TERM", PATIENCE).assert_success();
}
