//! `vaguemestre operator`: the operators of a space, changed while it runs or not.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::order::{OrderArgs, run_order};
use crate::space::{NewOperator, Order};

/// Arguments of `vaguemestre operator`.
#[derive(Args, Clone, Debug)]
pub(super) struct OperatorArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(subcommand)]
    command: OperatorCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum OperatorCommand {
    /// Show the operators, their domains and where they listen
    List,
    /// Add an operator: certificate, allow list, routes, and its doors unless the server is yours
    Add(AddArgs),
    /// Take an operator off the allow list: nobody exchanges mail with it; its data stays
    Suspend(OneArgs),
    /// Put a suspended operator back on the allow list
    Resume(OneArgs),
    /// Remove an operator from the space; its data stays on disk
    Remove(OneArgs),
    /// Move all domains of an operator to another one, with their mail, and end it
    Merge(MergeArgs),
}

#[derive(Args, Clone, Debug)]
struct AddArgs {
    /// Short name, for files and commands: lower-case letters, digits, hyphens
    key: String,
    /// Raison sociale: the O of its certificate
    #[arg(long)]
    name: String,
    /// Its FINESS or SIRET: the OU of its certificate
    #[arg(long, value_name = "NUMBER")]
    structure: String,
    /// Département as certificates write it, such as "Rhône (69)": the ST of its certificate
    #[arg(long)]
    department: String,
    /// A mail domain; repeat it for several
    #[arg(long = "domain", value_name = "DOMAIN", required = true)]
    domains: Vec<String>,
    /// Its MX host: the CN of its certificate [default: mx.KEY.localhost]
    #[arg(long)]
    host: Option<String>,
    /// Your own server, which listens there: it gets a certificate and is listed. Without, the sandbox runs the operator
    #[arg(long, value_name = "ADDRESS:PORT")]
    reach: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// Its short name
    key: String,
}

#[derive(Args, Clone, Debug)]
struct MergeArgs {
    /// The operator that ends
    from: String,
    /// The operator that takes over
    into: String,
    #[command(flatten)]
    overlap: OverlapArgs,
}

/// How long two operators are listed for a domain that moves.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct OverlapArgs {
    /// How long both operators are listed at least: as long as peers may keep the old route or list, such as 30s or 1h [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    overlap: Option<u32>,
}

impl OverlapArgs {
    /// In seconds, when given.
    pub(super) fn seconds(self) -> Option<u32> {
        self.overlap
    }
}

fn seconds(text: &str) -> Result<u32, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}: write a number with its unit, such as 30s, 10m or 1h"))?;
    u32::try_from(span.as_secs()).map_err(|_| "write a duration from 0s to 100 years".to_owned())
}

/// Carries one of them out.
pub(super) fn run(args: &OperatorArgs) -> anyhow::Result<ExitCode> {
    let order = match args.command.clone() {
        OperatorCommand::List => Order::OperatorList,
        OperatorCommand::Add(add) => Order::OperatorAdd(NewOperator {
            key: add.key,
            name: add.name,
            structure: add.structure,
            department: add.department,
            domains: add.domains,
            host: add.host,
            reach: add.reach,
        }),
        OperatorCommand::Suspend(one) => Order::OperatorSuspend { operator: one.key },
        OperatorCommand::Resume(one) => Order::OperatorResume { operator: one.key },
        OperatorCommand::Remove(one) => Order::OperatorRemove { operator: one.key },
        OperatorCommand::Merge(merge) => Order::OperatorMerge {
            operator: merge.from,
            into: merge.into,
            overlap_seconds: merge.overlap.seconds(),
        },
    };
    run_order(&args.order, &order)?;
    Ok(ExitCode::SUCCESS)
}
