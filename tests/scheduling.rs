//! The threads of an operator run as a batch, unless whoever started it chose a scheduling policy.

#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use common::{Clinic, Program, Space, folder};

const PATIENCE: Duration = Duration::from_mins(1);
/// As sched(7) and the kernel's headers number them.
const SCHED_BATCH: &str = "3";
const SCHED_IDLE: &str = "5";

/// Policies and nicenesses of all threads of a process (proc(5), `stat`).
fn scheduled(pid: u32) -> BTreeSet<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let told = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).ok());
    // The name, in parentheses, may hold spaces; behind it comes the third field.
    let of_thread = |stat: String| {
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        (fields[41 - 3].to_owned(), fields[19 - 3].to_owned())
    };
    told.map(of_thread).collect()
}

fn all(policy: &str, niceness: &str) -> BTreeSet<(String, String)> {
    BTreeSet::from([(policy.to_owned(), niceness.to_owned())])
}

/// That of the tests themselves.
fn niceness() -> String {
    let told = Program::new("nice").run().assert_success();
    told.stdout.trim().to_owned()
}

#[test]
fn all_threads_of_a_gateway_are_a_batch_unless_somebody_chose_otherwise() {
    let nicer = Program::new("nice").args(["-n", "3", "nice"]).run().assert_success();
    for (launcher, expected) in [
        (&["env"][..], all(SCHED_BATCH, &niceness())),
        (&["nice", "-n", "3"], all(SCHED_BATCH, nicer.stdout.trim())),
        (&["chrt", "--idle", "0"], all(SCHED_IDLE, &niceness())),
    ] {
        let clinic = Clinic::new("");
        let program = Program::new(launcher[0])
            .args(&launcher[1..])
            .args([env!("CARGO_BIN_EXE_vaguemestre"), "serve", "--config"])
            .arg(clinic.at("gateway.toml"));
        let running = Clinic::serving(program.start());
        assert_eq!(scheduled(running.pid()), expected, "{launcher:?}");
        running.stop("INT", PATIENCE).assert_success();
    }
}

#[test]
fn all_threads_of_a_sandbox_are_a_batch() {
    let files = folder();
    let space = Space::up(&files.path().join("data"), &["--free-ports"]);
    assert_eq!(scheduled(space.pid()), all(SCHED_BATCH, &niceness()));
    space.interrupt().assert_success();
}
