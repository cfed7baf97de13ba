//! `vaguemestre up`: raises the sandbox and says how to use it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::run::{StopSignal, drain, server_runtime};
use super::{JsonFlag, output};
use crate::app::Running;
use crate::clock::Clock;
use crate::config::{Space, Warning};
use crate::pki;
use crate::space::folder::{DataFolder, Layout, default_root};
use crate::space::{self, Raised};

/// Arguments of `vaguemestre up`.
#[derive(Args, Clone, Debug)]
pub(super) struct UpArgs {
    /// Data folder, created when missing [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VAGUEMESTRE_DATA")]
    data: Option<PathBuf>,
    /// Your own space, instead of the default one (see config/sandbox.toml)
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// Use any free ports instead of those of the space file
    #[arg(long)]
    free_ports: bool,
    /// Print endpoints, logins and commands as JSON
    #[command(flatten)]
    json: JsonFlag,
    /// Write this file (the JSON of --json) once everything answers
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Runs the sandbox until a signal.
pub(super) fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let root = args.data.clone().map_or_else(default_root, Ok)?;
    let root = std::path::absolute(&root).with_context(|| format!("cannot use {}", root.display()))?;
    let text = space_text(args)?;
    let file_name = args
        .space
        .as_ref()
        .map_or(Space::DEFAULT_FILE.into(), |file| file.display().to_string());
    let (mut space, warnings) = Space::parse(&text, &file_name)?;
    warn(&warnings);
    if args.free_ports {
        space::free_ports(&mut space);
    }
    let folder = DataFolder::open(&root)?;
    // The folder is ours: a ready file can only be one that a killed run left behind.
    remove_ready_file(args)?;
    server_runtime()?.block_on(async {
        let mut stop = StopSignal::watch()?;
        let running = Running::default();
        let raised = match space::raise(folder, &space, &Clock::system(), &running).await {
            Ok(raised) => raised,
            Err(error) => {
                running.drain(DRAIN_MAX).await;
                return Err(error.into());
            }
        };
        // Reading commands find the space as it was raised last.
        pki::write_private(&Layout::new(&root).space(), text.as_bytes())?;
        announce(args, &raised)?;
        stop.received().await;
        raised.announce_stop();
        let code = drain(&running, DRAIN_MAX).await;
        raised.close().await;
        remove_ready_file(args)?;
        Ok(code)
    })
}

fn remove_ready_file(args: &UpArgs) -> anyhow::Result<()> {
    let Some(file) = &args.ready_file else {
        return Ok(());
    };
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

fn space_text(args: &UpArgs) -> anyhow::Result<String> {
    match &args.space {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display())),
        None => Ok(Space::DEFAULT_TEXT.to_owned()),
    }
}

fn announce(args: &UpArgs, raised: &Raised) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(&raised.card)?;
    if args.json.json {
        output::print(&format!("{json}\n"))?;
    } else {
        output::print(&raised.card.to_text())?;
    }
    if let Some(file) = &args.ready_file {
        pki::write_private(file, json.as_bytes())?;
    }
    Ok(())
}

pub(super) fn warn(warnings: &[Warning]) {
    for warning in warnings {
        output::error_line(&format!("warning: {warning}"));
    }
}

/// How long open sessions may go on after Ctrl-C.
const DRAIN_MAX: Duration = Duration::from_secs(10);
