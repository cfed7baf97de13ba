//! `vaguemestre queue`: what waits for other operators, why, and what to do about it.
//!
//! Looking reads the stores beside whoever holds them; changing is an order to that process, or done here while nothing runs.

mod change;
mod list;
mod show;
mod tell;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{Span, SpanRelativeTo};

use super::stores;
use crate::journal::QueueAction;
use crate::queue::Selection;
use crate::store::QueueState;

pub(super) use show::{item_story, number_of};

/// Arguments of `vaguemestre queue`.
#[derive(Args, Clone, Debug)]
pub(super) struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum QueueCommand {
    /// Show what waits, oldest first, or sums with --by
    List(list::ListArgs),
    /// Show everything about items: what they wait for, the last answer, what happens next
    Show(show::ShowArgs),
    /// Try items now, and their destinations even if they could not be reached
    Retry(change::ChangeArgs),
    /// Keep items from being tried until they are released
    Hold(change::ChangeArgs),
    /// Let items that were held be tried again
    Release(change::ChangeArgs),
    /// Take items out for good, silently or with a report to their senders
    Drop(change::DropArgs),
}

/// Which items.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct SelectArgs {
    /// Only recipients of this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Only this reverse-path; <> for reports
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Only this recipient
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Only this message, by its number in the list
    #[arg(long, value_name = "NUMBER")]
    message: Option<i64>,
    /// Only what this session submitted
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only items in this state
    #[arg(long, value_name = "STATE", value_parser = QueueState::ALL.map(QueueState::id))]
    state: Option<String>,
    /// Only what has been queued for longer: 30min, 2h, 1d
    #[arg(long, value_name = "AGE", value_parser = age_seconds)]
    older_than: Option<u64>,
}

impl SelectArgs {
    fn selection(&self, ids: &[i64]) -> Selection {
        Selection {
            ids: ids.to_vec(),
            message: self.message,
            domain: self.domain.clone(),
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            session: self.session.clone(),
            state: self.state.clone(),
            older_than_seconds: self.older_than,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &QueueArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        QueueCommand::List(args) => stores::read(args.data(), async |operators, now, output| {
            list::run_list(args, operators, now, output).await
        }),
        QueueCommand::Show(args) => stores::read(args.data(), async |operators, now, output| {
            show::run_show(args, operators, now, output).await
        }),
        QueueCommand::Retry(args) => change::run(args, QueueAction::Retry),
        QueueCommand::Hold(args) => change::run(args, QueueAction::Hold),
        QueueCommand::Release(args) => change::run(args, QueueAction::Release),
        QueueCommand::Drop(args) => change::drop_items(args),
    }
}

fn age_seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected an age such as 30min, 2h or 1d".to_owned();
    let span: Span = text.parse().map_err(|_| wrong())?;
    let age = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    u64::try_from(age.as_secs()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_with_their_unit() {
        for (text, seconds) in [("45s", 45), ("30min", 1800), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(age_seconds(text), Ok(seconds), "{text}");
        }
        for text in ["", "2", "-1h", "yesterday", "1mo"] {
            assert!(age_seconds(text).is_err(), "{text}");
        }
    }
}
