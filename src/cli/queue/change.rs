//! `vaguemestre queue retry|hold|release|drop`.

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::SelectArgs;
use crate::app::order::{Order, QueueOrder};
use crate::cli::open::{JsonFlag, OpenOperator, chosen};
use crate::cli::stores::DataArgs;
use crate::cli::{act, output, run as runtime, stores};
use crate::clock::Clock;
use crate::journal::QueueAction;
use crate::queue::Selection;
use crate::store::QueueBy;

/// Arguments of the commands that change items.
#[derive(Args, Clone, Debug)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Items, by their number in the list
    #[arg(value_name = "ITEM")]
    ids: Vec<i64>,
    #[command(flatten)]
    select: SelectArgs,
    /// The operator they are at, when several have such items
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// Everything in the queue; without it, an item or a filter must be given
    #[arg(long)]
    every: bool,
    /// Who asks, for the journal [default: the user]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Print one JSON object.
    #[command(flatten)]
    json: JsonFlag,
}

/// Arguments of `vaguemestre queue drop`.
#[derive(Args, Clone, Debug)]
pub(super) struct DropArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Tell the senders, with a report that says that the message was not delivered
    #[arg(long)]
    bounce: bool,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Args, Clone, Copy, Debug)]
struct Consent {
    /// Do it, without naming each item
    #[arg(long)]
    yes: bool,
}

/// Takes items out.
pub(super) fn drop_items(args: &DropArgs) -> anyhow::Result<ExitCode> {
    let action = if args.bounce {
        QueueAction::Bounce
    } else {
        QueueAction::Drop
    };
    // Whoever types the numbers has seen the items.
    let is_sure = args.consent.yes || !args.change.ids.is_empty();
    change(&args.change, action, is_sure)
}

/// Does one of the others.
pub(super) fn run(args: &ChangeArgs, action: QueueAction) -> anyhow::Result<ExitCode> {
    change(args, action, true)
}

fn change(args: &ChangeArgs, action: QueueAction, is_sure: bool) -> anyhow::Result<ExitCode> {
    let select = args.select.selection(&args.ids);
    if select.is_everything() && !args.every {
        bail!("which items? Give their numbers, a filter such as --domain, or --every for all of them");
    }
    let Some((operator, items)) = place(args, &select)? else {
        let data = json!({ "action": action.id(), "changed": 0, "busy": 0, "unchanged": 0 });
        return say(args, "nothing in the queue fits\n", &data);
    };
    if !is_sure {
        bail!(
            "{items} items of {operator} would leave the queue for good, {}: give --yes, or the number of each",
            match action {
                QueueAction::Bounce => "each with a report to its sender",
                _ => "and nobody would be told",
            }
        );
    }
    let order = Order::Queue(QueueOrder {
        action,
        select,
        by: args.by.clone().unwrap_or_else(user),
    });
    let answer = act::act(&args.data, &operator, order)?;
    let mut data = answer.data;
    data["operator"] = json!(operator);
    say(args, &answer.text, &data)
}

fn say(args: &ChangeArgs, text: &str, data: &serde_json::Value) -> anyhow::Result<ExitCode> {
    if args.json.json {
        output::print(&format!("{data}\n"))?;
    } else {
        output::print(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The operator that has such items, and how many; numbers of items mean something at one operator only.
fn place(args: &ChangeArgs, select: &Selection) -> anyhow::Result<Option<(String, u64)>> {
    let operators = stores::open(&args.data)?;
    let named: Vec<String> = args.operator.iter().cloned().collect();
    let operators = chosen(&operators, &named)?;
    let filter = select.filter(Clock::system().now(), 1)?;
    let mut found = Vec::new();
    runtime::small_runtime()?.block_on(async {
        for operator in &operators {
            let Some(queue) = &operator.queue else { continue };
            let groups = queue.queue_groups(QueueBy::State, &filter).await?;
            let items: u64 = groups.iter().map(|group| group.items).sum();
            if items > 0 {
                found.push((operator.name.clone(), items));
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    match found.as_slice() {
        [] if select.is_by_id() => bail!("{}", missing(select, &operators)),
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|(name, items)| format!("{name} ({items})"))
                .collect();
            bail!(
                "several operators have such items: {}; say which with --operator",
                names.join(", ")
            )
        }
    }
}

fn missing(select: &Selection, operators: &[&OpenOperator]) -> String {
    let ids: Vec<String> = select.ids.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = operators.iter().map(|one| one.name.as_str()).collect();
    format!(
        "there is no item {} in the queue of {}: it was delivered, reported or dropped",
        ids.join(", "),
        names.join(", ")
    )
}

/// Who runs this, as the system tells.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty());
    named.unwrap_or_else(|| {
        std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |own| format!("uid {}", own.uid()))
    })
}
