//! `vaguemestre list`: looks at allow lists, compares, verifies, signs and publishes them.

mod changes;
mod publish;
mod show;
mod source;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Arguments of `vaguemestre list`.
#[derive(Args, Clone, Debug)]
pub(super) struct ListArgs {
    #[command(subcommand)]
    command: ListCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ListCommand {
    /// Show a list: domains, and the certificates that speak for them
    Show(show::ShowArgs),
    /// Say in words what changed between two lists
    Diff(changes::DiffArgs),
    /// Verify the signature of a list and say each check
    Verify(verify::VerifyArgs),
    /// Sign a list with a certificate of yours, or with the sandbox authority's
    Sign(publish::SignArgs),
    /// Publish a signed list: in a running sandbox, or in a folder with its checksum
    Publish(publish::PublishArgs),
}

/// Runs one of them. Exit code 1: two lists differ, or one does not verify.
pub(super) fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let code = match &args.command {
        ListCommand::Show(args) => show::run(args)?,
        ListCommand::Diff(args) => changes::run(args)?,
        ListCommand::Verify(args) => verify::run(args)?,
        ListCommand::Sign(args) => publish::sign(args)?,
        ListCommand::Publish(args) => publish::publish(args)?,
    };
    Ok(ExitCode::from(code))
}
