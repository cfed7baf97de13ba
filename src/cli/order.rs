//! How a command changes a space: by the process that runs it, or, when none does, in this one.

use std::path::PathBuf;
use std::time::Duration;

use crate::app::control::{self, ControlError};
use crate::clock::Clock;
use crate::space::folder::{DataFolder, FolderError, Layout, default_root};
use crate::space::{Answer, Keeper, Order};

use super::{output, run};

/// Which space a changing command works on, and how it answers.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OrderArgs {
    /// Data folder of the sandbox, running or not [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VAGUEMESTRE_DATA", global = true)]
    data: Option<PathBuf>,
    /// Print the answer as JSON for scripts
    #[arg(long, global = true)]
    json: bool,
}

impl OrderArgs {
    /// The data folder, when one is named.
    pub(super) fn root(&self) -> Option<PathBuf> {
        self.data.clone()
    }

    /// Whether answers are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }
}

/// Has the order carried out and prints the answer.
pub(super) fn run_order(args: &OrderArgs, order: &Order) -> anyhow::Result<()> {
    let answer = carry_out(args.data.clone(), order)?;
    if args.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&answer.data)?))
    } else {
        output::print(&answer.text)
    }
}

/// Has the order carried out. Whoever holds the folder may be another command, about to end: then this one waits for its turn.
pub(super) fn carry_out(root: Option<PathBuf>, order: &Order) -> anyhow::Result<Answer> {
    let root = std::path::absolute(root.map_or_else(default_root, Ok)?)?;
    let layout = Layout::existing(&root)?;
    run::small_runtime()?.block_on(async {
        let mut waited = Duration::ZERO;
        loop {
            match DataFolder::open(&root) {
                Ok(folder) => {
                    let keeper = Keeper::open(folder, Clock::system())?;
                    return Ok(keeper.execute(order.clone()).await?);
                }
                Err(FolderError::InUse(_)) => match control::ask(layout.root(), order) {
                    Err(ControlError::Unreachable { .. }) if waited < TURN_WAIT_MAX => {
                        tokio::time::sleep(TURN_PAUSE).await;
                        waited += TURN_PAUSE;
                    }
                    answered => return Ok(answered?),
                },
                Err(error) => return Err(error.into()),
            }
        }
    })
}

/// A space that starts takes orders once everything runs.
pub(super) const TURN_WAIT_MAX: Duration = Duration::from_mins(1);
/// Pause between two looks at a folder that is held.
pub(super) const TURN_PAUSE: Duration = Duration::from_millis(50);
