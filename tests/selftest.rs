//! The proof of durability in its short form, as a user runs it; and that it sees a loss when there is one.

#![cfg(test)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
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

/// Preloaded into the operators: one system call in twenty that writes makes only a part of it, or finds no room.
#[test]
fn operators_whose_writes_fail_or_are_cut_short_keep_what_they_answered() {
    let preload = "LD_PRELOAD=/usr/lib/fiu/fiu_run_preload.so /usr/lib/fiu/fiu_posix_preload.so";
    for faults in [
        "FIU_ENABLE=enable_random name=posix/io/rw/pwrite/reduce,probability=0.05",
        "FIU_ENABLE=enable_random name=posix/io/rw/pwrite,probability=0.02,failinfo=28",
    ] {
        let env = ["--operator-env", preload, "--operator-env", faults];
        let finished = selftest(&[&["--kill", "2", "--seed", "3"][..], &env].concat()).assert_success();
        let report = part(&finished, "kill");
        for promise in PROMISES {
            assert_eq!(report[promise], 0, "{report:#}");
        }
    }
}

#[test]
fn a_message_that_an_operator_forgot_is_missed() {
    let finished = selftest(&["--kill", "6", "--seed", "2", "--sabotage"]);
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
    for figure in [
        "accepted",
        "failed_changes",
        "there_without_answer",
        "restarts",
        "second_crashes",
    ] {
        assert!(report[figure].as_u64() > Some(0), "{figure}: {report:#}");
    }
    let kinds = report["kinds"].as_object().unwrap();
    assert_eq!(kinds.len(), 10, "{report:#}");
    for (kind, tally) in kinds {
        assert!(tally["hit"].as_u64() > Some(4), "{kind}: {report:#}");
    }
}

/// Seven images are one store for each kind of fault; one image is one store without most of them.
#[test]
fn a_run_that_never_hits_a_kind_of_fault_proves_nothing_unless_that_is_waived() {
    let finished = selftest(&["--faults", "1", "--seed", "1"]);
    let report = part(&finished, "faults");
    assert_eq!(
        (finished.code, &report["clean"]),
        (Some(1), &Value::Bool(true)),
        "{report:#}"
    );
    assert!(
        report["unhit"].as_array().unwrap().contains(&"disk_full".into()),
        "{report:#}"
    );
    let waived = selftest(&["--faults", "1", "--seed", "1", "--allow-unhit"]).assert_success();
    assert_eq!(part(&waived, "faults")["unhit"], Value::Array(Vec::new()));
}

/// The folder that was made for it goes too, and no operator stays behind.
#[test]
fn a_signal_ends_the_test_and_leaves_nothing() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let above = folder();
        let work = above.path().join("made/here");
        let mut child = Command::new(env!("CARGO_BIN_EXE_vaguemestre"))
            .args(["selftest", "--kill", "10000", "--faults", "100000", "--folder"])
            .arg(&work)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The first line of progress comes once operators run and are killed.
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("of 10000 kills") && line.contains(" left"), "{line}");
        assert!(!operators_in(&work).is_empty());
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(operators_in(&work), Vec::<String>::new());
        assert!(!work.exists(), "{signal} left files");
        assert!(work.parent().unwrap().exists() || !above.path().join("made").exists());
    }
}

/// Processes whose command line names the folder, the test itself apart.
fn operators_in(folder: &Path) -> Vec<String> {
    let named = folder.to_string_lossy().into_owned();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines
        .filter(|line| line.contains(&named) && line.contains(" serve "))
        .collect()
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let finished = selftest(&["--faults", "20", "--seed", "1", "--sabotage"]);
    let report = part(&finished, "faults");
    assert_eq!(finished.code, Some(1), "{report:#}");
    assert!(report["lost"].as_u64() > Some(0), "{report:#}");
}
