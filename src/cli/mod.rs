//! The command line, one file per command. Results go to standard output, everything else to standard error.
//!
//! Each reading command is its arguments and a function that takes what was opened for it and prints; opening data folders and
//! choosing operators is `stores`'s.

mod act;
mod apply;
mod audit;
mod authority;
mod cert;
mod certlab;
mod check;
mod doctor;
mod domain;
mod explain;
pub mod indicator;
pub mod journal;
mod list;
mod open;
mod operator;
mod order;
mod output;
mod queue;
pub mod recount;
mod run;
mod selftest;
mod send;
mod serve;
mod stores;
mod up;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use open::{JsonFlag, OpenOperator, Output};

/// Plays a whole MSSanté trust space for tests, or runs one operator of one.
#[derive(Debug, Parser)]
#[command(name = "vaguemestre", version, about, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What to log on standard error: error, warn, info, debug, or a filter such as `vaguemestre::relay=debug`
    #[arg(
        long,
        global = true,
        default_value = LOG_DEFAULT,
        env = "VAGUEMESTRE_LOG",
        value_name = "LEVEL"
    )]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Raise the sandbox trust space and run it until Ctrl-C
    Up(up::UpArgs),
    /// Run one operator from a configuration file until Ctrl-C
    Serve(serve::ServeArgs),
    /// Make the space what the space.toml of its data folder says, without a restart
    Apply(order::OrderArgs),
    /// Add, suspend, remove or merge operators of a space, while it runs or not
    Operator(operator::OperatorArgs),
    /// Add, move or remove domains of a space, while it runs or not
    Domain(domain::DomainArgs),
    /// Issue, renew, revoke, show and convert certificates of a sandbox's authority
    Cert(cert::CertArgs),
    /// Have the services of a sandbox's authority play faults
    Authority(authority::AuthorityArgs),
    /// Raise the audit peers of the trust space, and play them against an operator in both directions
    Audit(audit::AuditArgs),
    /// Play the catalogue of certificate defects against a server or a client under test
    Certlab(certlab::CertlabArgs),
    /// Validate a configuration file and list every error in it
    Check(check::CheckArgs),
    /// Show, compare, verify, sign and publish allow lists
    List(list::ListArgs),
    /// Send mail as a DUI does, from its BAL applicative with its certificate
    Send(send::SendArgs),
    /// Messages sent and received per establishment, and the usage rate
    Indicator(Reading<indicator::IndicatorArgs>),
    /// Show the decisions taken, one per line
    Journal(Reading<journal::JournalArgs>),
    /// Show and change what waits for other operators, while the operator runs or not
    Queue(queue::QueueArgs),
    /// Tell the story of a session or message: what was shown, each check, what refused it and what to do
    Explain(Reading<explain::ExplainArgs>),
    /// Connect as a client or server would and name the first failing step, or look at the sandbox itself
    Doctor(doctor::DoctorArgs),
    /// Prove durability: kill operators under load, or run stores on a disk that fails, and count what is lost
    Selftest(selftest::SelftestArgs),
    /// Recompute every counter from the journal and compare
    Recount(Reading<recount::RecountArgs>),
}

impl Arguments {
    /// What to log. A self-test has stores fail by the thousand: unless asked for, their complaints are not shown.
    fn log_filter(&self) -> &str {
        match self.command {
            Command::Selftest(_) if self.log == LOG_DEFAULT => "off",
            _ => &self.log,
        }
    }
}

const LOG_DEFAULT: &str = "warn";

/// A command that reads stores: which ones, and its own arguments.
#[derive(Debug, clap::Args)]
struct Reading<A: clap::Args> {
    #[command(flatten)]
    data: stores::DataArgs,
    #[command(flatten)]
    args: A,
}

/// Runs one command to its end. Errors are told on standard error with their causes.
pub fn run(arguments: Arguments) -> ExitCode {
    output::start_log(arguments.log_filter());
    let result = match arguments.command {
        Command::Up(args) => up::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Apply(args) => apply::run(&args),
        Command::Operator(args) => operator::run(&args),
        Command::Domain(args) => domain::run(&args),
        Command::Cert(args) => cert::run(&args),
        Command::Authority(args) => authority::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Certlab(args) => certlab::run(&args),
        Command::Check(args) => check::run(&args),
        Command::List(args) => list::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Queue(args) => queue::run(&args),
        Command::Indicator(reading) => stores::read(&reading.data, async |operators, now, output| {
            indicator::run_indicator(&reading.args, operators, now, output)
                .await
                .map(|()| 0)
        }),
        Command::Journal(reading) => stores::read(&reading.data, async |operators, now, output| {
            journal::run_journal(&reading.args, operators, now, output)
                .await
                .map(|()| 0)
        }),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(reading) => {
            let places = reading.data.places();
            stores::read(&reading.data, async |operators, now, output| {
                explain::run_explain(&reading.args, operators, (&places, now), output).await
            })
        }
        Command::Recount(reading) => stores::read(&reading.data, async |operators, _, output| {
            recount::run_recount(&reading.args, operators, output).await
        }),
    };
    result.unwrap_or_else(|error| {
        output::error_line(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
