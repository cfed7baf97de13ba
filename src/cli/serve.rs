//! `vaguemestre serve`: one operator, from a documented configuration file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::run::{StopSignal, drain, server_runtime};
use super::{output, up};
use crate::app::gateway::{self, Material, Trusted};
use crate::app::{Operator, Running, bind};
use crate::clock::Clock;
use crate::config::Gateway;
use crate::web::{Published, Serving};

/// Arguments of `vaguemestre serve`.
#[derive(Args, Clone, Debug)]
pub(super) struct ServeArgs {
    /// Configuration file; config/gateway.toml documents every key
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the operator until a signal.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let (gateway, warnings) = Gateway::load(&args.config)?;
    up::warn(&warnings);
    gateway.verify_files()?;
    let material = material(&gateway)?;
    server_runtime()?.block_on(async {
        let mut signal = StopSignal::watch()?;
        let running = Running::default();
        let clock = Clock::system();
        let published = Arc::new(Published::new(String::from("{}"), &clock));
        let web = match gateway.listen.web {
            Some(address) => Some(Serving::start(bind(address, "[listen] web").await?, published.router())),
            None => None,
        };
        let plan = gateway::plan(&gateway, material, &clock).await?;
        let operator = Arc::new(Operator::start(plan, &running).await?);
        published.set_ready(true);
        output::error_line(&format!(
            "{} is serving {} domains; Ctrl-C stops it",
            gateway.host,
            gateway.domains.len()
        ));
        let (reloading, stop) = (Arc::clone(&operator), running.stop.clone());
        let drain_max = gateway.limits.timeouts.drain;
        running.tracker.spawn(reload(gateway, reloading, stop));
        signal.received().await;
        published.set_ready(false);
        let code = drain(&running, drain_max).await;
        operator.close().await;
        if let Some(web) = web {
            web.stop().await;
        }
        Ok(code)
    })
}

/// Reads every file the configuration names, and tells what of the allow list could not be used.
pub(super) fn material(gateway: &Gateway) -> anyhow::Result<Material> {
    let material = Material::read(gateway)?;
    let list = gateway.trust.allow_list.display();
    for skipped in material.skipped() {
        output::error_line(&format!("warning: {list}: {skipped}; this entry is not used"));
    }
    Ok(material)
}

/// Reads the authority's files again at each period and on SIGHUP; a file that cannot be used leaves everything as it was.
async fn reload(gateway: Gateway, operator: Arc<Operator>, stop: CancellationToken) {
    let hangup = signal(SignalKind::hangup()).context("cannot watch for SIGHUP");
    let mut hangup = match hangup {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!("{error:#}: trust is not reloaded"),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => {}
            () = tokio::time::sleep(gateway.trust.reload) => {}
        }
        match Trusted::read(&gateway) {
            Ok(trusted) if trusted.allow_list.generated() < operator.list_generated() => {
                tracing::error!("the allow list is older than the one in force: not installed");
            }
            Ok(trusted) => {
                for skipped in &trusted.skipped {
                    tracing::warn!(%skipped, "an entry of the allow list is not used");
                }
                operator.install(trusted.allow_list, trusted.authority);
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "trust not reloaded, the last good one stays"
            ),
        }
    }
}
