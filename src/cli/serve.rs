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

use super::run::{StopSignal, drain, operator_runtime, small_runtime};
use super::{output, up};
use crate::app::control;
use crate::app::crl;
use crate::app::gateway::{self, Material};
use crate::app::{Operator, Reloader, Room, Running, TrustKeeper, Trusted, Watch, bind};
use crate::clock::Clock;
use crate::config::Gateway;
use crate::web::{Observed, Published, Serving, health, operations};

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
    operator_runtime()?.block_on(serve(args, gateway, material))
}

async fn serve(args: &ServeArgs, gateway: Gateway, material: Material) -> anyhow::Result<ExitCode> {
    let mut signal = StopSignal::watch()?;
    // From now on SIGHUP does not end the process, even while it starts.
    let hangup = watch(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    let room = Room::of_process();
    room.holds(gateway.limits.connections_max as usize)?;
    let running = Running::with_room(room);
    let clock = Clock::system();
    let faces = http_faces(&gateway, &running, &clock).await?;
    let mut trust = TrustKeeper::new(&gateway, Arc::clone(material.authority()), &clock);
    let trusted = trust.start().await?;
    tell_skipped(&gateway, &trusted);
    let plan = gateway::plan(&gateway, material, trusted, &clock).await?;
    let store_folder = plan.store_folder.clone();
    let operator = Arc::new(Operator::start(plan, &running).await?);
    control::listen(&store_folder, Arc::new(operator.hands()), &running)?;
    trust.watch_age(&operator);
    running.watch.started();
    output::error_line(&format!(
        "{} is serving {} domains; Ctrl-C stops it",
        gateway.host,
        gateway.domains.len()
    ));
    let stop = running.stop.clone();
    let drain_max = gateway.limits.timeouts.drain;
    let period = gateway.trust.reload;
    let asked = Arc::new(Notify::new());
    running.tracker.spawn(crl::keep(
        gateway.clone(),
        Arc::clone(&operator),
        clock,
        (Arc::clone(&asked), stop.clone()),
    ));
    let reloader = Reloader::new(args.config.clone(), gateway, trust, Arc::clone(&operator), room);
    running.tracker.spawn(reload(reloader, (period, hangup), (asked, stop)));
    signal.received().await;
    let code = drain(&running, drain_max, &mut signal).await;
    operator.close().await;
    for face in faces {
        face.stop().await;
    }
    Ok(code)
}

/// Opened before everything else, and closed last: whoever asks meanwhile reads "not ready" instead of nothing.
async fn http_faces(gateway: &Gateway, running: &Running, clock: &Clock) -> anyhow::Result<Vec<Serving>> {
    let observed: Arc<dyn Observed> = Arc::<Watch>::clone(&running.watch);
    let mut faces = Vec::new();
    if let Some(address) = gateway.listen.web {
        let published = Arc::new(Published::new(String::from("{}"), clock));
        let router = published.router().merge(health(Arc::clone(&observed)));
        faces.push(Serving::start(bind(address, "[listen] web").await?, router));
    }
    if let Some(address) = gateway.listen.metrics {
        let listener = bind(address, "[listen] metrics").await?;
        faces.push(Serving::start(listener, operations(observed)));
    }
    Ok(faces)
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

/// Looks at the authority's files and at the allow list again at each period, and at everything on SIGHUP; what cannot be used leaves
/// everything as it was.
async fn reload(
    mut reloader: Reloader,
    (period, mut hangup): (Duration, Signal),
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
            reloader.reload().await;
        } else {
            reloader.look().await;
        }
    }
}
