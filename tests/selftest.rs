//! The proof of durability in its short form, as a user runs it; and that it sees a loss when there is one.

#![cfg(test)]

mod common;

use std::time::Duration;

use serde_json::Value;

use common::{Finished, Program, Space, folder};

/// Runs `vaguemestre selftest` in a folder of its own.
fn selftest(words: &[&str]) -> Finished {
    let work = folder();
    let program: Program = Space::program();
    program
        .args(["selftest", "--json", "--folder"])
        .arg(work.path())
        .args(words)
        .within(Duration::from_mins(3))
        .run()
}

#[track_caller]
fn part(finished: &Finished, name: &str) -> Value {
    let printed: Value = serde_json::from_str(&finished.stdout).unwrap();
    printed[name].clone()
}

/// Every promise, by its name in the report.
const PROMISES: [&str; 8] = [
    "lost",
    "doubled",
    "corrupted",
    "half_written",
    "recount_differences",
    "double_bounces",
    "integrity_errors",
    "stores_unusable",
];

#[test]
fn operators_killed_under_load_keep_what_they_answered() {
    let finished = selftest(&["--kill", "5", "--seed", "1"]).assert_success();
    let report = part(&finished, "kill");
    for promise in PROMISES {
        assert_eq!(report[promise], 0, "{report:#}");
    }
    assert!(report["accepted"].as_u64() > Some(20), "{report:#}");
    assert!(report["kills"].as_u64() >= Some(5), "{report:#}");
}

#[test]
fn a_message_that_an_operator_forgot_is_missed() {
    let finished = selftest(&["--kill", "3", "--seed", "2", "--sabotage"]);
    let report = part(&finished, "kill");
    assert_eq!(finished.code, Some(1), "{report:#}");
    assert!(report["lost"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["clean"], false);
}

#[test]
fn stores_on_a_failing_disk_keep_what_they_answered() {
    let finished = selftest(&["--faults", "200", "--seed", "1"]).assert_success();
    let report = part(&finished, "faults");
    for promise in PROMISES {
        assert_eq!(report[promise], 0, "{report:#}");
    }
    assert_eq!(report["images"], 200);
    for figure in ["accepted", "failed_changes", "there_without_answer"] {
        assert!(report[figure].as_u64() > Some(0), "{figure}: {report:#}");
    }
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let finished = selftest(&["--faults", "20", "--seed", "1", "--sabotage"]);
    let report = part(&finished, "faults");
    assert_eq!(finished.code, Some(1), "{report:#}");
    assert!(report["lost"].as_u64() > Some(0), "{report:#}");
}
