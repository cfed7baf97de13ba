//! `vaguemestre check`: validates a configuration without running it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{output, up};
use crate::config::{Gateway, Space};

/// Arguments of `vaguemestre check`.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct CheckArgs {
    /// Configuration of a gateway; the files it names are looked at too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A space file, as `up --space` takes it
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
}

/// Lists every error at once; exit code 1 when there is one.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.config {
        let (gateway, warnings) = Gateway::load(file)?;
        up::warn(&warnings);
        gateway.verify_files()?;
        // Beyond existing, the files must be what they are said to be.
        super::serve::check(&gateway).with_context(|| file.display().to_string())?;
        output::print(&format!("{}: good\n", file.display()))?;
    }
    if let Some(file) = &args.space {
        let (_, warnings) = Space::load(file)?;
        up::warn(&warnings);
        output::print(&format!("{}: good\n", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
