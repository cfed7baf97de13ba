//! `vaguemestre apply`: makes a space what its file says, after the file was edited by hand.

use std::process::ExitCode;

use super::order::{OrderArgs, run_order};
use crate::space::Order;

/// Applies the space file of the data folder.
pub(super) fn run(args: &OrderArgs) -> anyhow::Result<ExitCode> {
    run_order(args, &Order::Apply)?;
    Ok(ExitCode::SUCCESS)
}
