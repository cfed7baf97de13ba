//! `vaguemestre selftest`: proof of durability that anybody can run, in folders of its own.

mod place;
mod progress;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

use self::place::Place;
use self::progress::Progress;
use super::run::{StopSignal, server_runtime};
use super::{JsonFlag, output};
use crate::clock::Clock;
use crate::selftest::faults::Kind;
use crate::selftest::{faults, kill};

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
    /// Stores that --faults has at work at once [default: two for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=JOBS_MAX))]
    jobs: Option<u16>,
    /// Work in a new folder below this one, made if it is not there, and keep what was made: on the disk to be tested [default: the system's temporary folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Environment variable of the operators (may be repeated): runs them under libfiu, see docs/durability.md
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    operator_env: Vec<(String, String)>,
    /// Break durability on purpose (a message taken away, a disk that only says it synced): the test must find it and exit with 1
    #[arg(long)]
    sabotage: bool,
    #[command(flatten)]
    waiver: Waiver,
    #[command(flatten)]
    json: JsonFlag,
}

/// What a run may be forgiven.
#[derive(Args, Clone, Copy, Debug)]
struct Waiver {
    /// Let --faults succeed although some kind of fault was never hit, as in very short runs
    #[arg(long)]
    allow_unhit: bool,
}

/// What both tests came to.
struct Verdict {
    is_proved: bool,
    report: String,
}

/// Runs what was asked; exit code 0 only if every promise was kept, and every kind of fault was there to break it.
pub(super) fn run(args: &SelftestArgs) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let seed = args
        .seed
        .unwrap_or(clock.now().as_millisecond().unsigned_abs() % SEED_MAX);
    let runtime = server_runtime()?;
    let mut stop = {
        let _inside = runtime.enter();
        Stop::watch()?
    };
    let place = Place::make(args.folder.as_deref(), seed)?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = play(args, seed, &place, &clock) => Ok(done),
            code = stop.received() => Err(code),
        }
    });
    // Operators ended with what was dropped; stores under test end here.
    runtime.shutdown_timeout(ENDS_WITHIN);
    let done = match done {
        Ok(done) => done,
        Err(code) => {
            place.remove()?;
            output::error_line("ended by a signal: nothing is proved, and the files are removed");
            return Ok(ExitCode::from(code));
        }
    };
    // Kept when it was asked for, and when there is something to look at.
    if args.folder.is_some() || !matches!(done, Ok(Verdict { is_proved: true, .. })) {
        output::error_line(&format!("the files are in {}", place.folder().display()));
    } else {
        place.remove()?;
    }
    let verdict = done?;
    output::print(&verdict.report)?;
    Ok(if verdict.is_proved {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Ctrl-C, a polite kill, or the end of the terminal.
struct Stop {
    signal: StopSignal,
    hangup: tokio::signal::unix::Signal,
}

impl Stop {
    fn watch() -> anyhow::Result<Self> {
        Ok(Self {
            signal: StopSignal::watch()?,
            hangup: signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?,
        })
    }

    async fn received(&mut self) -> u8 {
        tokio::select! {
            code = self.signal.received() => code,
            _ = self.hangup.recv() => 129,
        }
    }
}

async fn play(args: &SelftestArgs, seed: u64, place: &Place, clock: &Clock) -> anyhow::Result<Verdict> {
    let mut is_proved = true;
    let mut values = Map::from_iter([(String::from("seed"), json!(seed))]);
    let mut text = String::new();
    if let Some(kills) = args.kill {
        let outcome = play_kill(args, (kills, seed), place, clock).await?;
        is_proved &= outcome.findings.is_clean();
        text.push_str(&report::kill_text(&outcome, seed));
        values.insert(String::from("kill"), report::kill_json(&outcome));
    }
    if let Some(images) = args.faults {
        let outcome = play_faults(args, (images, seed), place, clock).await?;
        let missed = wanted(args, &outcome);
        is_proved &= outcome.findings.is_clean() && missed.is_empty();
        text.push_str(&report::faults_text(&outcome, seed, &missed));
        values.insert(String::from("faults"), report::faults_json(&outcome, &missed));
    }
    let report = if args.json.json {
        serde_json::to_string_pretty(&Value::Object(values))? + "\n"
    } else {
        text
    };
    Ok(Verdict { is_proved, report })
}

/// Kinds of fault that should have been hit and were not; the lying disk of a sabotage has no others.
fn wanted(args: &SelftestArgs, outcome: &faults::Outcome) -> Vec<Kind> {
    if args.waiver.allow_unhit || args.sabotage {
        Vec::new()
    } else {
        outcome.missed()
    }
}

async fn play_kill(
    args: &SelftestArgs,
    (kills, seed): (u64, u64),
    place: &Place,
    clock: &Clock,
) -> anyhow::Result<kill::Outcome> {
    let campaign = kill::Campaign {
        program: std::env::current_exe().context("this program's own file is not known")?,
        kills,
        seed,
        between: Duration::from_secs_f64(args.seconds_between),
        folder: place.part("kill")?,
        clock: clock.clone(),
        environment: args.operator_env.clone(),
        sabotage: args.sabotage,
    };
    let progress = Progress::new(args.json.json, kills, "kills");
    Ok(kill::run(&campaign, |done| progress.at(done)).await?)
}

async fn play_faults(
    args: &SelftestArgs,
    (images, seed): (u64, u64),
    place: &Place,
    clock: &Clock,
) -> anyhow::Result<faults::Outcome> {
    let processors = available_parallelism().map_or(1, usize::from);
    let campaign = faults::Campaign {
        images: usize::try_from(images)?,
        seed,
        folder: place.part("faults")?,
        now: clock.now(),
        jobs: args.jobs.map_or(processors * JOBS_PER_PROCESSOR, usize::from),
        sabotage: args.sabotage,
    };
    let progress = Progress::new(args.json.json, images, "images");
    Ok(faults::run(&campaign, |done| progress.at(done)).await?)
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
const JOBS_MAX: i64 = 256;
/// A store hands its work from thread to thread: two keep a processor busy.
const JOBS_PER_PROCESSOR: usize = 2;
const BETWEEN_MIN: f64 = 0.05;
const BETWEEN_MAX: f64 = 3600.0;
/// Seeds that a person can type again.
const SEED_MAX: u64 = 1_000_000_000;
/// What still runs when the test is over or given up gets so long.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

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
        assert!(parse(&["--faults", "5", "--jobs", "0"]).is_err());
        let both = parse(&["--kill", "5", "--faults", "20", "--seed", "7", "--json"]).unwrap();
        assert_eq!((both.kill, both.faults, both.seed), (Some(5), Some(20), Some(7)));
    }

    #[test]
    fn every_kind_of_fault_must_be_hit_unless_that_is_waived() {
        let outcome = faults::Outcome::default();
        assert!(!wanted(&parse(&["--faults", "5"]).unwrap(), &outcome).is_empty());
        assert!(wanted(&parse(&["--faults", "5", "--allow-unhit"]).unwrap(), &outcome).is_empty());
        assert!(wanted(&parse(&["--faults", "5", "--sabotage"]).unwrap(), &outcome).is_empty());
    }
}
