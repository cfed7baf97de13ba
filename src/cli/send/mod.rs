//! `vaguemestre send`: simulates a DUI that submits mail from its BAL applicative with its certificate.
//!
//! What was typed becomes a [`Route`] (where to, as whom), a [`Recipe`] (what) and a [`Pace`] (when); [`run::send_all`] carries them
//! out and a [`Tally`] says how it went. All content is synthetic unless files are attached.
//!
//! Exit code: 0 when every mail asked for was accepted for every recipient, 1 when some were not, 2 when nothing could be sent.

mod args;
mod attach;
mod pace;
mod recipe;
mod route;
mod run;
mod summary;

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(super) use args::{SendArgs, ServerName};
use recipe::Recipe;
use route::Route;
use run::Job;
use summary::Tally;

use super::output;
use super::run::{server_runtime, small_runtime};
use crate::clock::Clock;
use crate::message::synthetic::SyntheticError;

/// Sends, and prints the summary. Whatever keeps it from sending anything at all ends in exit code 2.
pub(super) fn run(args: &SendArgs) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let tally = prepare(args, &clock).and_then(|job| {
        let runtime = match job.connections {
            1 => small_runtime()?,
            _ => server_runtime()?,
        };
        let bar = progress(args, job.count);
        let tally = runtime.block_on(run::send_all(job, clock, &bar))?;
        bar.finish_and_clear();
        Ok(tally)
    });
    match tally {
        Ok(tally) => {
            print(args, &tally)?;
            Ok(ExitCode::from(tally.exit_code()))
        }
        Err(error) => {
            output::error_line(&format!("{error:#}"));
            Ok(ExitCode::from(NOTHING_SENT))
        }
    }
}

/// Checks everything that can be checked before the first connection.
fn prepare(args: &SendArgs, clock: &Clock) -> anyhow::Result<Job> {
    let route = Route::choose(&args.route, clock)?;
    let recipe = Recipe::new(&args.mail, route.from.clone())?;
    // A field or a file that cannot be written is found now rather than on the first connection.
    recipe.mail(1, clock.now()).map_err(|error| explain(&error))?;
    Ok(Job {
        route,
        recipe,
        pace: args.pace.pace(),
        count: args.pace.count,
        connections: args.pace.connections,
    })
}

fn explain(error: &SyntheticError) -> anyhow::Error {
    let cause = std::error::Error::source(error).map_or(String::new(), |source| format!(": {source}"));
    anyhow::anyhow!("the mail cannot be written: {error}{cause}")
}

fn print(args: &SendArgs, tally: &Tally) -> anyhow::Result<()> {
    if args.json.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&tally.report())?))
    } else {
        output::print(&tally.to_text())?;
        if let Some(reason) = tally.stopped() {
            output::error_line(reason);
        }
        Ok(())
    }
}

/// On standard error and only for a person: indicatif draws nothing when that is no terminal.
fn progress(args: &SendArgs, count: u64) -> ProgressBar {
    let target = if args.json.json || count == 1 {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(count), target);
    match ProgressStyle::with_template(BAR) {
        Ok(style) => bar.with_style(style),
        Err(error) => {
            tracing::debug!(%error, "the progress bar keeps its default look");
            bar
        }
    }
}

const BAR: &str = "{bar:40} {pos}/{len} mails, {per_sec}, {eta} left";
/// Exit code when nothing could be sent.
const NOTHING_SENT: u8 = 2;
