//! `vaguemestre serve`: one operator, from a documented configuration file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal as watch};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::run::{StopSignal, drain, server_runtime, small_runtime};
use super::{output, up};
use crate::app::control;
use crate::app::crl;
use crate::app::gateway::{self, Material};
use crate::app::{Operator, Running, TrustKeeper, Trusted, bind, sessions_room};
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
    let material = Material::read(&gateway)?;
    server_runtime()?.block_on(async {
        let mut signal = StopSignal::watch()?;
        // From now on SIGHUP does not end the process, even while it starts.
        let hangup = watch(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
        let running = Running::with_room(sessions_room());
        let clock = Clock::system();
        let mut trust = TrustKeeper::new(&gateway, Arc::clone(material.authority()), &clock);
        let trusted = trust.start().await?;
        tell_skipped(&gateway, &trusted);
        let published = Arc::new(Published::new(String::from("{}"), &clock));
        let web = match gateway.listen.web {
            Some(address) => Some(Serving::start(bind(address, "[listen] web").await?, published.router())),
            None => None,
        };
        let plan = gateway::plan(&gateway, material, trusted, &clock).await?;
        let store_folder = plan.store_folder.clone();
        let operator = Arc::new(Operator::start(plan, &running).await?);
        control::listen(&store_folder, Arc::new(operator.hands()), &running)?;
        published.set_ready(true);
        output::error_line(&format!(
            "{} is serving {} domains; Ctrl-C stops it",
            gateway.host,
            gateway.domains.len()
        ));
        let (reloading, stop) = (Arc::clone(&operator), running.stop.clone());
        let drain_max = gateway.limits.timeouts.drain;
        let period = gateway.trust.reload;
        let asked = Arc::new(Notify::new());
        running.tracker.spawn(crl::keep(
            gateway,
            Arc::clone(&operator),
            clock,
            (Arc::clone(&asked), stop.clone()),
        ));
        let reloading = reload(trust, (period, hangup), reloading, (asked, stop));
        running.tracker.spawn(reloading);
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

/// Reads everything the configuration names without asking anybody, and tells what of the allow list could not be used.
pub(super) fn check(gateway: &Gateway) -> anyhow::Result<()> {
    let material = Material::read(gateway)?;
    small_runtime()?.block_on(async {
        let mut trust = TrustKeeper::new(gateway, Arc::clone(material.authority()), &Clock::system());
        match trust.at_hand().await? {
            Some(trusted) => tell_skipped(gateway, &trusted),
            None => output::error_line("the allow list was not fetched yet: `vaguemestre list verify URL` looks at it"),
        }
        Ok(())
    })
}

fn tell_skipped(gateway: &Gateway, trusted: &Trusted) {
    let list = &gateway.trust.allow_list;
    let file = list.file.as_ref().map(|file| file.display().to_string());
    let from = list.url.clone().or(file).unwrap_or_default();
    for skipped in &trusted.skipped {
        output::error_line(&format!("warning: {from}: {skipped}; this entry is not used"));
    }
}

/// Looks at the authority's files and at the allow list again at each period and on SIGHUP; what cannot be used leaves everything as it was.
async fn reload(
    mut trust: TrustKeeper,
    (period, mut hangup): (Duration, Signal),
    operator: Arc<Operator>,
    (asked_now, stop): (Arc<Notify>, CancellationToken),
) {
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => true,
            () = tokio::time::sleep(period) => false,
        };
        if asked {
            asked_now.notify_one();
        }
        trust.renew(&operator, asked).await;
    }
}
