//! `vaguemestre domain`: the domains of a space, changed while it runs or not.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::operator::OverlapArgs;
use super::order::{OrderArgs, run_order};
use crate::space::Order;

/// Arguments of `vaguemestre domain`.
#[derive(Args, Clone, Debug)]
pub(super) struct DomainArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(subcommand)]
    command: DomainCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum DomainCommand {
    /// Show the domains, whose they are, and which are moving
    List,
    /// Give an operator one more domain, with a box contact@DOMAIN
    Add(ToArgs),
    /// Move a domain to another operator with its boxes, logins and mail; none is lost
    Move(MoveArgs),
    /// Take a domain out of the space; what its boxes hold stays on disk
    Remove {
        /// The domain
        domain: String,
    },
}

#[derive(Args, Clone, Debug)]
struct ToArgs {
    /// The domain
    domain: String,
    /// The operator that has it from now on
    #[arg(long, value_name = "OPERATOR")]
    to: String,
}

#[derive(Args, Clone, Debug)]
struct MoveArgs {
    #[command(flatten)]
    to: ToArgs,
    #[command(flatten)]
    overlap: OverlapArgs,
}

/// Carries one of them out.
pub(super) fn run(args: &DomainArgs) -> anyhow::Result<ExitCode> {
    let order = match args.command.clone() {
        DomainCommand::List => Order::DomainList,
        DomainCommand::Add(ToArgs { domain, to }) => Order::DomainAdd { domain, to },
        DomainCommand::Move(MoveArgs { to, overlap }) => Order::DomainMove {
            domain: to.domain,
            to: to.to,
            overlap_seconds: overlap.seconds(),
        },
        DomainCommand::Remove { domain } => Order::DomainRemove { domain },
    };
    run_order(&args.order, &order)?;
    Ok(ExitCode::SUCCESS)
}
