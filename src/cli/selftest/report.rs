//! What a test found, for people and for scripts.

use serde_json::{Value, json};

use crate::selftest::faults::Kind;
use crate::selftest::{Findings, Wrong, faults, kill};

/// The report of `--kill`.
pub(super) fn kill_text(outcome: &kill::Outcome, seed: u64) -> String {
    let mut rows = vec![
        ("processes killed", outcome.kills),
        ("messages offered", outcome.offered),
        ("recipients accepted (250)", outcome.accepted),
        ("recipients refused", outcome.refused),
        ("recipients without an answer", outcome.unanswered),
        ("messages bounced", outcome.bounces),
        ("slowest restart, ms", outcome.restart_ms_max),
        ("queues empty after, ms", outcome.drain_ms),
    ];
    if outcome.failed_starts + outcome.ended_alone > 0 {
        rows.push(("starts that failed, tried again", outcome.failed_starts));
        rows.push(("operators that ended by themselves, started again", outcome.ended_alone));
    }
    let title = format!("kill -9 under load, seed {seed}, {:.0} s", outcome.seconds);
    let rate = format!(
        "{:>10.0}  recipients accepted per second, kills and restarts included\n",
        kill_rate(outcome)
    );
    table(&title, &rows, &rate, &outcome.findings)
}

/// The report of `--faults`; `missed` are the kinds it should have hit and did not.
pub(super) fn faults_text(outcome: &faults::Outcome, seed: u64, missed: &[Kind]) -> String {
    let rows = [
        ("stores raised", outcome.scenarios),
        ("of these, killed and started again on their files", outcome.restarts),
        ("changes of the disk recorded", outcome.changes),
        ("of these, failed on purpose", outcome.tallies.failed()),
        ("messages accepted", outcome.accepted),
        ("crash images checked", outcome.images),
        (
            "of these, of a second crash during the recovery",
            outcome.second_crashes,
        ),
    ];
    let title = format!("a disk that fails, seed {seed}, {:.0} s", outcome.seconds);
    let mut text = table(&title, &rows, &kinds_text(outcome), &outcome.findings);
    if !missed.is_empty() {
        let names: Vec<&str> = missed.iter().map(|kind| kind.name()).collect();
        text.push_str(&format!(
            "NOTHING IS PROVED of {}: never hit; ask for more images, or add --allow-unhit\n\n",
            names.join(", ")
        ));
    }
    text
}

/// What was planned and what was hit of each kind.
fn kinds_text(outcome: &faults::Outcome) -> String {
    let mut text = String::from("   planned       hit\n");
    for kind in Kind::ALL {
        let tally = outcome.tallies.of(kind);
        let targets: Vec<String> = tally
            .targets
            .iter()
            .map(|(target, hit)| format!("{} {hit}", target.name()))
            .collect();
        let targets = if targets.is_empty() {
            String::new()
        } else {
            format!(" ({})", targets.join(", "))
        };
        text.push_str(&format!(
            "{:>10}{:>10}  {}{targets}\n",
            tally.planned,
            tally.hit,
            kind.name()
        ));
    }
    text
}

fn table(title: &str, rows: &[(&str, u64)], more: &str, findings: &Findings) -> String {
    let mut text = format!("{title}\n");
    for (name, value) in rows {
        text.push_str(&format!("{value:>10}  {name}\n"));
    }
    text.push_str(more);
    text.push_str(&format!(
        "{:>10}  there without an answer (allowed)\n",
        findings.unanswered
    ));
    for wrong in Wrong::ALL {
        text.push_str(&format!("{:>10}  {}\n", findings.count(wrong), wrong.name()));
    }
    for line in findings.listed() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(if findings.is_clean() {
        "every promise was kept\n\n"
    } else {
        "PROMISES WERE BROKEN\n\n"
    });
    text
}

/// The same as [`kill_text`] for scripts.
pub(super) fn kill_json(outcome: &kill::Outcome) -> Value {
    let mut value = json!({
        "kills": outcome.kills,
        "offered": outcome.offered,
        "accepted": outcome.accepted,
        "refused": outcome.refused,
        "without_answer": outcome.unanswered,
        "bounced": outcome.bounces,
        "seconds": outcome.seconds,
        "accepted_per_second": kill_rate(outcome),
        "restart_ms_max": outcome.restart_ms_max,
        "drain_ms": outcome.drain_ms,
        "failed_starts": outcome.failed_starts,
        "ended_alone": outcome.ended_alone,
    });
    add_findings(&mut value, &outcome.findings);
    value
}

/// The same as [`faults_text`] for scripts.
pub(super) fn faults_json(outcome: &faults::Outcome, missed: &[Kind]) -> Value {
    let id = |kind: Kind| kind.name().replace(' ', "_");
    let kinds = Kind::ALL.map(|kind| {
        let tally = outcome.tallies.of(kind);
        let targets = tally.targets.iter();
        let targets: serde_json::Map<String, Value> = targets
            .map(|(target, hit)| (target.name().replace(' ', "_"), json!(hit)))
            .collect();
        let value = json!({"planned": tally.planned, "hit": tally.hit, "of": targets});
        (id(kind), value)
    });
    let mut value = json!({
        "stores": outcome.scenarios,
        "restarts": outcome.restarts,
        "changes": outcome.changes,
        "failed_changes": outcome.tallies.failed(),
        "accepted": outcome.accepted,
        "images": outcome.images,
        "second_crashes": outcome.second_crashes,
        "seconds": outcome.seconds,
        "kinds": serde_json::Map::from_iter(kinds),
        "unhit": missed.iter().map(|kind| id(*kind)).collect::<Vec<_>>(),
    });
    add_findings(&mut value, &outcome.findings);
    value
}

fn add_findings(value: &mut Value, findings: &Findings) {
    for wrong in Wrong::ALL {
        value[wrong.name().replace(' ', "_")] = json!(findings.count(wrong));
    }
    value["there_without_answer"] = json!(findings.unanswered);
    value["findings"] = json!(findings.listed());
    value["clean"] = json!(findings.is_clean());
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn kill_rate(outcome: &kill::Outcome) -> f64 {
    outcome.accepted as f64 / outcome.seconds.max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_wrong_and_a_clean_one_that_nothing_was() {
        let mut outcome = kill::Outcome {
            kills: 5,
            accepted: 1200,
            seconds: 4.0,
            ..kill::Outcome::default()
        };
        assert!(kill_text(&outcome, 7).contains("       300  recipients accepted per second"));
        assert!(kill_text(&outcome, 7).ends_with("every promise was kept\n\n"));
        assert!(!kill_text(&outcome, 7).contains("by themselves"));
        assert_eq!(kill_json(&outcome)["lost"], 0);
        outcome.ended_alone = 2;
        outcome.findings.note(Wrong::Lost, String::from("message 3"));
        let text = kill_text(&outcome, 7);
        assert!(text.contains("         1  lost\n") && text.contains("lost: message 3") && text.contains("BROKEN"));
        assert!(text.contains("         2  operators that ended by themselves"));
        assert_eq!(kill_json(&outcome)["clean"], false);
        assert_eq!(kill_json(&outcome)["double_bounces"], 0);
    }

    #[test]
    fn a_report_names_the_kinds_of_fault_that_were_never_hit() {
        let outcome = faults::Outcome::default();
        let missed = outcome.missed();
        let text = faults_text(&outcome, 7, &missed);
        assert!(
            text.contains("NOTHING IS PROVED of write errors, short writes"),
            "{text}"
        );
        assert!(text.contains("         0         0  unsynced writes lost\n"), "{text}");
        assert_eq!(faults_json(&outcome, &missed)["unhit"][0], "write_errors");
        assert_eq!(faults_json(&outcome, &missed)["kinds"]["torn_tail"]["hit"], 0);
        let text = faults_text(&outcome, 7, &[]);
        assert!(text.ends_with("every promise was kept\n\n"), "{text}");
    }
}
