//! `vaguemestre up`: raises the sandbox and says how to use it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::run::{StopSignal, drain, operator_runtime};
use super::{JsonFlag, output};
use crate::app::{Room, Running};
use crate::clock::Clock;
use crate::config::{Space, Warning};
use crate::pki;
use crate::space::folder::{DataFolder, Layout, default_root};
use crate::space::{self, Keeper, Order, Ports, Raised};

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
    #[command(flatten)]
    audit: AuditFlag,
    /// Print endpoints, logins and commands as JSON
    #[command(flatten)]
    json: JsonFlag,
    /// Write this file (the JSON of --json) once everything answers
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// The `--audit` of `up`.
#[derive(Args, Clone, Copy, Debug)]
struct AuditFlag {
    /// Raise the audit peers too (see `vaguemestre audit`)
    #[arg(long)]
    audit: bool,
}

/// Runs the sandbox until a signal.
pub(super) fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let root = args.data.clone().map_or_else(default_root, Ok)?;
    let root = std::path::absolute(&root).with_context(|| format!("cannot use {}", root.display()))?;
    // Before anything is created: a file with mistakes leaves no trace.
    let given = args.space.as_deref().map(given).transpose()?;
    let folder = DataFolder::open(&root)?;
    let described = Described::find(given, &folder.layout())?;
    let (space, warnings) = Space::parse(&described.text, &described.name)?;
    warn(&warnings);
    let ports = if args.free_ports { Ports::Free } else { Ports::Declared };
    // The folder is ours: a ready file can only be one that a killed run left behind.
    remove_ready_file(args)?;
    operator_runtime()?.block_on(async {
        let mut stop = StopSignal::watch()?;
        // From now on SIGHUP does not end the process, even while it starts.
        let hangup = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
        let running = Running::with_room(Room::of_process());
        let connections_max = space.limits.connections_max as usize;
        if let Some(warning) = running.room.warning(connections_max, &described.name) {
            output::error_line(&warning);
        }
        // Before the first order can change it.
        let layout = folder.layout();
        described.keep(&layout)?;
        let raised = match space::raise(folder, (space, ports), &Clock::system(), &running).await {
            Ok(raised) => raised,
            Err(error) => {
                running.drain(DRAIN_MAX).await;
                described.take_back(&layout)?;
                return Err(error.into());
            }
        };
        running.tracker.spawn(apply_on_hangup(
            hangup,
            Arc::clone(raised.keeper()),
            running.stop.clone(),
        ));
        if args.audit.audit {
            raised.keeper().execute(Order::AuditRaise).await?;
        }
        announce(args, &raised)?;
        stop.received().await;
        raised.announce_stop();
        let code = drain(&running, DRAIN_MAX, &mut stop).await;
        raised.close().await;
        remove_ready_file(args)?;
        Ok(code)
    })
}

/// SIGHUP means what `vaguemestre apply` means; the answer goes to standard error.
async fn apply_on_hangup(mut hangup: Signal, keeper: Arc<Keeper>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => {}
        }
        match keeper.execute(Order::Apply).await {
            Ok(answer) => output::error_line(answer.text.trim_end()),
            Err(error) => output::error_line(&format!("the space stays as it was: {}", error.with_causes())),
        }
    }
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

/// Text and name of the file given with `--space`, without mistakes.
fn given(file: &Path) -> anyhow::Result<(String, String)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.display().to_string();
    Space::parse(&text, &name)?;
    Ok((text, name))
}

/// The description of the space to raise, and what the folder kept before.
struct Described {
    text: String,
    /// What messages call it.
    name: String,
    /// The space as it was raised or changed last.
    kept: Option<String>,
}

impl Described {
    /// The file given; else the space that the folder keeps; else the default one.
    fn find(given: Option<(String, String)>, layout: &Layout) -> anyhow::Result<Self> {
        let path = layout.space();
        let kept = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let (text, name) = match (given, &kept) {
            (Some(given), _) => given,
            (None, Some(kept)) => (kept.clone(), path.display().to_string()),
            (None, None) => (Space::DEFAULT_TEXT.to_owned(), Space::DEFAULT_FILE.to_owned()),
        };
        Ok(Self { text, name, kept })
    }

    /// Makes it the space of the folder. One that replaces a space which commands had changed says so, and leaves it beside.
    fn keep(&self, layout: &Layout) -> anyhow::Result<()> {
        if self.kept.as_ref() == Some(&self.text) {
            return Ok(());
        }
        if let Some(kept) = &self.kept {
            pki::write_private(&layout.space_before(), kept.as_bytes())?;
            let raised = std::fs::read_to_string(layout.space_given()).unwrap_or_default();
            if raised != *kept {
                output::error_line(&format!(
                    "warning: {} replaces a space that was changed since it was raised; the changed one is kept as {}",
                    self.name,
                    layout.space_before().display()
                ));
            }
        }
        pki::write_private(&layout.space_given(), self.text.as_bytes())?;
        pki::write_private(&layout.space(), self.text.as_bytes())?;
        Ok(())
    }

    /// The space could not be raised: the folder keeps what it kept.
    fn take_back(&self, layout: &Layout) -> anyhow::Result<()> {
        match &self.kept {
            Some(kept) => pki::write_private(&layout.space(), kept.as_bytes())?,
            None => std::fs::remove_file(layout.space()).context("cannot take the space file back")?,
        }
        Ok(())
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
        output::error_line(&warning.to_string());
    }
}

/// How long open sessions may go on after Ctrl-C.
const DRAIN_MAX: Duration = Duration::from_secs(10);
