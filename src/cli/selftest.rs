//! `vaguemestre selftest`: proof of durability that anybody can run, in folders of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use super::output;
use super::run::server_runtime;
use crate::clock::Clock;
use crate::selftest::{Findings, Wrong, faults, kill};

/// Arguments of `vaguemestre selftest`.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["kill", "faults"]))]
pub(super) struct SelftestArgs {
    /// Raise two operators, load them, and kill -9 one or both so many times; then account for every message
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=KILLS_MAX))]
    kill: Option<u64>,
    /// Rebuild so many crash images of stores on a disk that fails, forgets and reorders; open and check each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=IMAGES_MAX))]
    faults: Option<u64>,
    /// Repeat the choices of an earlier run [default: from the clock, and printed]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Mean time between two kills, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0.4, value_parser = seconds)]
    seconds_between: f64,
    /// Work in a new folder below this one and keep it: on the disk to be tested [default: the system's temporary folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Environment variable of the operators (may be repeated): LD_PRELOAD and FIU_ENABLE run them under libfiu, see docs/durability.md
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    operator_env: Vec<(String, String)>,
    #[command(flatten)]
    report: ReportArgs,
}

/// How it ends.
#[derive(Args, Clone, Copy, Debug)]
struct ReportArgs {
    /// Break durability on purpose (a message taken away, a disk that only says it synced): the test must find it and exit with 1
    #[arg(long)]
    sabotage: bool,
    /// Print JSON for scripts
    #[arg(long)]
    json: bool,
}

/// Runs what was asked; exit code 0 only if every promise was kept.
pub(super) fn run(args: &SelftestArgs) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let seed = args
        .seed
        .unwrap_or(clock.now().as_millisecond().unsigned_abs() % SEED_MAX);
    let folder = work_folder(args.folder.as_deref(), seed)?;
    let done = play(args, seed, &folder, &clock);
    // Kept when it was asked for, and when there is something to look at.
    let is_kept = args.folder.is_some() || !matches!(done, Ok((true, _)));
    if is_kept {
        output::error_line(&format!("the files are in {}", folder.display()));
    } else {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let (is_clean, report) = done?;
    output::print(&report)?;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(args: &SelftestArgs, seed: u64, folder: &Path, clock: &Clock) -> anyhow::Result<(bool, String)> {
    let mut is_clean = true;
    let mut values = Map::from_iter([(String::from("seed"), json!(seed))]);
    let mut text = String::new();
    if let Some(kills) = args.kill {
        let outcome = play_kill(args, (kills, seed), folder, clock)?;
        is_clean &= outcome.findings.is_clean();
        text.push_str(&kill_text(&outcome, seed));
        values.insert(String::from("kill"), kill_json(&outcome));
    }
    if let Some(images) = args.faults {
        let outcome = play_faults(args, (images, seed), folder, clock)?;
        is_clean &= outcome.findings.is_clean();
        text.push_str(&faults_text(&outcome, seed));
        values.insert(String::from("faults"), faults_json(&outcome));
    }
    if args.report.json {
        text = serde_json::to_string_pretty(&Value::Object(values))? + "\n";
    }
    Ok((is_clean, text))
}

fn play_kill(
    args: &SelftestArgs,
    (kills, seed): (u64, u64),
    folder: &Path,
    clock: &Clock,
) -> anyhow::Result<kill::Outcome> {
    let campaign = kill::Campaign {
        program: std::env::current_exe().context("this program's own file is not known")?,
        kills,
        seed,
        between: Duration::from_secs_f64(args.seconds_between),
        folder: made(folder, "kill")?,
        clock: clock.clone(),
        environment: args.operator_env.clone(),
        sabotage: args.report.sabotage,
    };
    let bar = progress(args.report.json, kills, "kills");
    let outcome = server_runtime()?.block_on(kill::run(&campaign, |done| bar.set_position(done)));
    bar.finish_and_clear();
    Ok(outcome?)
}

fn play_faults(
    args: &SelftestArgs,
    (images, seed): (u64, u64),
    folder: &Path,
    clock: &Clock,
) -> anyhow::Result<faults::Outcome> {
    let campaign = faults::Campaign {
        images: usize::try_from(images)?,
        seed,
        folder: made(folder, "faults")?,
        now: clock.now(),
        sabotage: args.report.sabotage,
    };
    let bar = progress(args.report.json, images, "images");
    let outcome = server_runtime()?.block_on(faults::run(&campaign, |done| bar.set_position(done)));
    bar.finish_and_clear();
    Ok(outcome?)
}

fn kill_text(outcome: &kill::Outcome, seed: u64) -> String {
    let rows = [
        ("processes killed", outcome.kills),
        ("messages offered", outcome.offered),
        ("recipients accepted (250)", outcome.accepted),
        ("recipients refused", outcome.refused),
        ("recipients without an answer", outcome.unanswered),
        ("messages bounced", outcome.bounces),
        ("slowest restart, ms", outcome.restart_ms_max),
        ("queues empty after, ms", outcome.drain_ms),
    ];
    let title = format!("kill -9 under load, seed {seed}, {:.0} s", outcome.seconds);
    let rate = format!(
        "{:>10.0}  recipients accepted per second, kills and restarts included\n",
        kill_rate(outcome)
    );
    table(&title, &rows, &rate, &outcome.findings)
}

fn faults_text(outcome: &faults::Outcome, seed: u64) -> String {
    let rows = [
        ("stores raised", outcome.scenarios),
        ("changes of the disk recorded", outcome.changes),
        ("of these, failed on purpose", outcome.faults),
        ("messages accepted", outcome.accepted),
        ("crash images checked", outcome.images),
    ];
    table(&format!("a disk that fails, seed {seed}"), &rows, "", &outcome.findings)
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

fn kill_json(outcome: &kill::Outcome) -> Value {
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
    });
    add_findings(&mut value, &outcome.findings);
    value
}

fn faults_json(outcome: &faults::Outcome) -> Value {
    let mut value = json!({
        "stores": outcome.scenarios,
        "changes": outcome.changes,
        "failed_changes": outcome.faults,
        "accepted": outcome.accepted,
        "images": outcome.images,
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

/// A folder that did not exist before, so that nobody's data is touched.
fn work_folder(parent: Option<&Path>, seed: u64) -> anyhow::Result<PathBuf> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    for attempt in 0..FOLDER_ATTEMPTS_MAX {
        let folder = parent.join(format!("vaguemestre-selftest-{seed}-{}-{attempt}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => bail!("cannot make {}: {error}; choose another --folder", folder.display()),
        }
    }
    bail!("{} is full of earlier self-tests: remove them", parent.display())
}

fn made(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let made = folder.join(name);
    std::fs::create_dir(&made).with_context(|| format!("cannot make {}", made.display()))?;
    Ok(made)
}

/// On standard error and only for a person: indicatif draws nothing when that is no terminal.
fn progress(is_hidden: bool, length: u64, unit: &str) -> ProgressBar {
    let target = if is_hidden {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    match ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit}, {{eta}} left")) {
        Ok(style) => bar.with_style(style),
        Err(error) => {
            tracing::debug!(%error, "the progress bar keeps its default look");
            bar
        }
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("{text:?} is not NAME=VALUE");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let is_name = !name.is_empty() && !name.contains('\0') && !value.contains('\0');
    is_name.then(|| (name.to_owned(), value.to_owned())).ok_or_else(wrong)
}

fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected seconds, from {BETWEEN_MIN} to {BETWEEN_MAX}");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    (BETWEEN_MIN..=BETWEEN_MAX)
        .contains(&seconds)
        .then_some(seconds)
        .ok_or_else(wrong)
}

/// A day of kills.
const KILLS_MAX: u64 = 200_000;
const IMAGES_MAX: u64 = 10_000_000;
const BETWEEN_MIN: f64 = 0.05;
const BETWEEN_MAX: f64 = 3600.0;
/// Seeds that a person can type again.
const SEED_MAX: u64 = 1_000_000_000;
const FOLDER_ATTEMPTS_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SelftestArgs,
    }

    fn parse(words: &[&str]) -> Result<SelftestArgs, clap::Error> {
        Cli::try_parse_from([&["selftest"], words].concat()).map(|cli| cli.args)
    }

    #[test]
    fn one_test_or_both_are_asked_for() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--kill", "0"]).is_err());
        assert!(parse(&["--kill", "5", "--seconds-between", "0"]).is_err());
        let both = parse(&["--kill", "5", "--faults", "20", "--seed", "7", "--json"]).unwrap();
        assert_eq!((both.kill, both.faults, both.seed), (Some(5), Some(20), Some(7)));
    }

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
        assert_eq!(kill_json(&outcome)["lost"], 0);
        outcome.findings.note(Wrong::Lost, String::from("message 3"));
        let text = kill_text(&outcome, 7);
        assert!(text.contains("         1  lost\n") && text.contains("lost: message 3") && text.contains("BROKEN"));
        assert_eq!(kill_json(&outcome)["clean"], false);
        assert_eq!(kill_json(&outcome)["double_bounces"], 0);
    }

    #[test]
    fn the_work_folder_is_a_new_one() {
        let parent = tempfile::tempdir().unwrap();
        let one = work_folder(Some(parent.path()), 1).unwrap();
        let two = work_folder(Some(parent.path()), 1).unwrap();
        assert_ne!(one, two);
        assert!(one.read_dir().unwrap().next().is_none());
        assert!(work_folder(Some(&parent.path().join("absent")), 1).is_err());
    }
}
