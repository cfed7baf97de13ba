//! A process that has few file descriptors: sessions never take the last one, and everything else goes on.

#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use common::{Clinic, Program, Running, Space, folder, wait_until};

const PATIENCE: Duration = Duration::from_mins(1);
/// So many leave room for 150 sessions.
const OPEN_FILES: &str = "400";

/// A connection and the first line said on it.
fn connect(address: SocketAddr) -> (TcpStream, String) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    (stream, line)
}

/// The sandbox with few open files, and what its ready file says.
fn raise(data: &Path, ready: &Path) -> (Running, Value) {
    let mut program = Program::new("sh")
        .args([
            "-c",
            &format!("ulimit -n {OPEN_FILES}; exec \"$0\" up --free-ports --data \"$1\" --ready-file \"$2\""),
            env!("CARGO_BIN_EXE_vaguemestre"),
        ])
        .args([data, ready])
        .start();
    let card = wait_until("the space is up", PATIENCE, || {
        assert!(!program.has_ended(), "{}", program.stderr());
        serde_json::from_str(&fs::read_to_string(ready).ok()?).ok()
    });
    (program, card)
}

#[test]
fn a_crowd_at_one_operator_leaves_descriptors_for_everything_else() {
    let files = folder();
    let (data, ready) = (files.path().join("data"), files.path().join("ready.json"));
    let (program, card) = raise(&data, &ready);
    let address = |operator: &str| -> SocketAddr {
        let endpoints = card["endpoints"].as_array().unwrap().iter();
        let mut found = endpoints.filter(|e| e["operator"] == operator && e["face"] == "smtp");
        found.next().unwrap()["address"].as_str().unwrap().parse().unwrap()
    };
    // One address may have a hundred connections to each operator.
    let doors = [("lilas", 100), ("chu", 80)];
    let crowd = doors
        .iter()
        .flat_map(|(operator, count)| (0..*count).map(|_| connect(address(operator))));
    let crowd: Vec<_> = crowd.collect();
    let taken = crowd.iter().filter(|(_, line)| line.starts_with("220 ")).count();
    assert_eq!(taken, 150);
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
    // It came up, but not with as many connections as its file says.
    let promised = "`connections_max` is 1000, but this process may open 400 files, which is room for 150 connections";
    let apply = || Space::command_on(&data, &["apply"]).assert_success().stdout;
    let told = apply();
    assert!(told.contains(promised), "{told}");
    let space = data.join("space.toml");
    let less = fs::read_to_string(&space)
        .unwrap()
        .replace("[limits]", "[limits]\nconnections_max = 150");
    fs::write(&space, less).unwrap();
    let told = apply();
    assert!(!told.contains("connections_max"), "{told}");
    let stopped = program.stop("INT", PATIENCE).assert_success();
    assert!(stopped.stderr.contains(promised), "{}", stopped.stderr);
    assert!(!stopped.stderr.contains("accept failed"), "{}", stopped.stderr);
}

/// Serves the clinic with 1,024 open files, which are room for 384 connections.
fn serve(clinic: &Clinic) -> Program {
    Program::new("sh")
        .args(["-c", "ulimit -n 1024; exec \"$0\" serve --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_vaguemestre"))
        .arg(clinic.at("gateway.toml"))
}

#[test]
fn a_gateway_does_not_promise_more_connections_than_it_has_descriptors_for() {
    let told = serve(&Clinic::new("connections_max = 385")).run();
    let words = [
        "`connections_max` is 385",
        "may open 1024 files",
        "`connections_max = 384`",
        "ulimit -n",
    ];
    for words in words {
        assert!(told.stderr.contains(words), "{}", told.stderr);
    }
    assert!(
        !told.stderr.contains("is serving") && told.code != Some(0),
        "{}",
        told.stderr
    );
    let clinic = Clinic::new("connections_max = 384");
    Clinic::serving(serve(&clinic).start())
        .stop("INT", PATIENCE)
        .assert_success();
}

#[test]
fn a_reload_does_not_promise_more_connections_either_and_keeps_the_former_limits() {
    let clinic = Clinic::new("connections_max = 383");
    let running = Clinic::serving(serve(&clinic).start());
    let reload = |limits: &str| {
        let text = clinic.configuration().replace("connections_max = 383", limits);
        clinic.write("gateway.toml", &text);
        running.signal("HUP");
    };
    let address = SocketAddr::from(([127, 0, 0, 1], clinic.smtp));
    let limits = |told: &Value| told["operators"]["mx.clinique.localhost"]["warnings"]["limits"].clone();

    reload("connections_max = 385\nconnections_per_address_max = 1");
    let told = clinic.wait_ready("the limits are refused", |_, told| limits(told).is_string());
    let (warning, log) = (limits(&told).to_string(), running.stderr());
    for words in [
        "gateway.toml, [limits]: `connections_max` is 385",
        "may open 1024 files",
        "`connections_max = 384`",
        "restart",
    ] {
        assert!(warning.contains(words), "{warning}");
        assert!(log.contains(words), "{log}");
    }
    assert!(log.contains("not reloaded, the last good version stays"), "{log}");
    let crowd = [connect(address), connect(address)];
    assert!(crowd.iter().all(|(_, line)| line.starts_with("220 ")), "{crowd:?}");
    drop(crowd);

    reload("connections_max = 384\nconnections_per_address_max = 1");
    clinic.wait_ready("the limits are taken", |_, told| limits(told).is_null());
    wait_until("one connection has a place", PATIENCE, || {
        let first = connect(address);
        first.1.starts_with("220 ").then(|| {
            let (_, second) = connect(address);
            assert!(second.starts_with("421 4.7.0"), "{second}");
        })
    });
    running.stop("INT", PATIENCE).assert_success();
}
