//! `vaguemestre authority`: faults of the authority's services, played on demand.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::order::{OrderArgs, run_order};
use crate::space::Order;

/// Arguments of `vaguemestre authority`.
#[derive(Args, Clone, Debug)]
pub(super) struct AuthorityArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(subcommand)]
    command: AuthorityCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum AuthorityCommand {
    /// Have the CRLs or the OCSP responder answer wrongly, to see who notices
    #[command(subcommand)]
    Fault(FaultCommand),
}

#[derive(Subcommand, Clone, Debug)]
enum FaultCommand {
    /// Play a fault until it is cleared, over restarts too
    Set {
        /// crl or ocsp
        service: String,
        /// late, unsigned, wrong-signer, unknown or unreachable
        fault: String,
    },
    /// Answer rightly again
    Clear {
        /// crl or ocsp [default: both]
        service: Option<String>,
    },
    /// Show the faults being played
    List,
}

/// Carries one of them out.
pub(super) fn run(args: &AuthorityArgs) -> anyhow::Result<ExitCode> {
    let AuthorityCommand::Fault(command) = args.command.clone();
    let order = match command {
        FaultCommand::Set { service, fault } => Order::AuthorityFault {
            service: Some(service),
            fault: Some(fault),
        },
        FaultCommand::Clear { service } => Order::AuthorityFault { service, fault: None },
        FaultCommand::List => Order::AuthorityFaults,
    };
    run_order(&args.order, &order)?;
    Ok(ExitCode::SUCCESS)
}
