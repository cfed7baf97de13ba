//! A process that has few file descriptors: sessions never take the last one, and everything else goes on.

#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use common::{Program, Space, folder, wait_until};

const PATIENCE: Duration = Duration::from_mins(1);
/// So many leave room for a hundred sessions.
const OPEN_FILES: &str = "400";

/// A connection and the first line said on it.
fn connect(address: SocketAddr) -> (TcpStream, String) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    (stream, line)
}

#[test]
fn a_crowd_at_one_operator_leaves_descriptors_for_everything_else() {
    let files = folder();
    let (data, ready) = (files.path().join("data"), files.path().join("ready.json"));
    let mut program = Program::new("sh")
        .args([
            "-c",
            &format!("ulimit -n {OPEN_FILES}; exec \"$0\" up --free-ports --data \"$1\" --ready-file \"$2\""),
            env!("CARGO_BIN_EXE_vaguemestre"),
        ])
        .args([&data, &ready])
        .start();
    let card: Value = wait_until("the space is up", PATIENCE, || {
        assert!(!program.has_ended(), "{}", program.stderr());
        serde_json::from_str(&fs::read_to_string(&ready).ok()?).ok()
    });
    let address = |operator: &str| -> SocketAddr {
        let endpoints = card["endpoints"].as_array().unwrap().iter();
        let mut found = endpoints.filter(|e| e["operator"] == operator && e["face"] == "smtp");
        found.next().unwrap()["address"].as_str().unwrap().parse().unwrap()
    };
    let crowd: Vec<_> = (0..150).map(|_| connect(address("lilas"))).collect();
    let taken = crowd.iter().filter(|(_, line)| line.starts_with("220 ")).count();
    assert_eq!(taken, 100);
    assert!(
        crowd
            .iter()
            .all(|(_, line)| line.starts_with("220 ") || line.starts_with("421 4.7.0"))
    );
    // Another operator of the process has no place either, and says so; what takes no session goes on.
    let (_, other) = connect(address("chu"));
    assert!(other.starts_with("421 4.7.0"), "{other}");
    let curl = |path: &str| {
        let url = format!("{}{path}", card["web"].as_str().unwrap());
        Program::new("curl").args(["-sSf", &url]).run().assert_success().stdout
    };
    assert!(curl("/readyz").contains("\"ready\": true"));
    for command in ["indicator", "journal"] {
        Space::program()
            .arg(command)
            .arg("--data")
            .arg(&data)
            .run()
            .assert_success();
    }
    drop(crowd);
    wait_until("there is room again", PATIENCE, || {
        connect(address("chu")).1.starts_with("220 ").then_some(())
    });
    let stopped = program.stop("INT", PATIENCE).assert_success();
    assert!(!stopped.stderr.contains("accept failed"), "{}", stopped.stderr);
}
