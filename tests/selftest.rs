//! The proof of durability, in its short form, and that it sees a loss when there is one.

#![cfg(test)]

use jiff::Timestamp;
use tokio::runtime::Runtime;

use vaguemestre::selftest::Wrong;
use vaguemestre::selftest::faults::{Campaign, Outcome, run};

fn campaign(images: usize, seed: u64, sabotage: bool) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let campaign = Campaign {
        images,
        seed,
        folder: folder.path().to_owned(),
        now: "2026-11-21T10:00:00Z".parse::<Timestamp>().unwrap(),
        sabotage,
    };
    Runtime::new().unwrap().block_on(run(&campaign, |_| {})).unwrap()
}

#[test]
fn a_store_on_a_failing_disk_keeps_what_it_answered() {
    let outcome = campaign(200, 1, false);
    assert!(outcome.findings.is_clean(), "{outcome:#?}");
    assert_eq!(outcome.images, 200);
    assert!(outcome.accepted > 200, "{outcome:#?}");
    assert!(outcome.faults > 20, "{outcome:#?}");
    assert!(
        outcome.findings.unanswered > 0,
        "no image lies between a commit and its answer: {outcome:#?}"
    );
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let outcome = campaign(50, 1, true);
    assert!(outcome.findings.count(Wrong::Lost) > 0, "{outcome:#?}");
}
