//! A gateway that reads its files again: certificates and keys, the directory, the limits, and whom it believes. Each part is taken for
//! itself: one that cannot be used stays as it was, says so, and shows in readiness and metrics until it is put right.

use std::path::PathBuf;
use std::sync::Arc;

use super::gateway::{self, Identities};
use super::watch::with_causes;
use super::{Operator, Room, TrustKeeper, limits_of};
use crate::config::Gateway;

/// Reads a configuration again and has the operator do what it says.
pub struct Reloader {
    /// The configuration file.
    file: PathBuf,
    /// As it is in force.
    gateway: Gateway,
    trust: TrustKeeper,
    operator: Arc<Operator>,
    /// What the process has room for, as it was started.
    room: Room,
}

impl Reloader {
    /// What `operator` was started from, in a process with so much room.
    pub fn new(file: PathBuf, gateway: Gateway, trust: TrustKeeper, operator: Arc<Operator>, room: Room) -> Self {
        Self {
            file,
            gateway,
            trust,
            operator,
            room,
        }
    }

    /// Looks at the authority's files and at the allow list, as at each period.
    pub async fn look(&mut self) {
        self.trust.renew(&self.operator, false).await;
    }

    /// Reads everything again, now.
    pub async fn reload(&mut self) {
        match Gateway::load(&self.file) {
            Ok((gateway, warnings)) => {
                for warning in warnings {
                    tracing::warn!(%warning, "the configuration was read again");
                }
                self.operator.reloaded("configuration", Ok(()));
                self.take(gateway).await;
            }
            Err(errors) => self.operator.reloaded("configuration", Err(errors.to_string())),
        }
        self.trust.renew(&self.operator, true).await;
        tracing::info!("everything was read again");
    }

    async fn take(&mut self, gateway: Gateway) {
        let restart = needs_restart(&self.gateway, &gateway);
        let problem = (!restart.is_empty()).then(|| format!("{} changed: restart to use it", restart.join(", ")));
        if let Some(problem) = &problem {
            tracing::warn!(problem, "a part of the configuration waits for a restart");
        }
        self.operator.warn("restart-needed", problem);

        let shown = Identities::read(&gateway)
            .map_err(|error| with_causes(&error))
            .and_then(|identities| {
                self.operator
                    .show_by_face(&identities)
                    .map_err(|error| with_causes(&error))
            });
        self.operator.reloaded("certificates", shown);

        let directory = gateway::directory(&gateway).map_err(|error| with_causes(&error));
        let adopted = match directory {
            Ok(directory) => self
                .operator
                .adopt_directory(directory)
                .await
                .map_err(|error| with_causes(&error)),
            Err(problem) => Err(problem),
        };
        self.operator.reloaded("directory", adopted);

        let held = self.set_limits(&gateway);
        self.operator.reloaded("limits", held);
    }

    /// No more connections are promised than a start would: the limit of open files is what it was then.
    fn set_limits(&self, gateway: &Gateway) -> Result<(), String> {
        let limits = limits_of(&gateway.limits, gateway.size_bytes_max);
        self.room.holds(limits.connections_max).map_err(|no_room| {
            format!(
                "{}, [limits]: {no_room}; more open files take a restart",
                self.file.display()
            )
        })?;
        self.operator.set_limits(limits);
        Ok(())
    }
}

/// A part of a configuration, as text.
type Look = fn(&Gateway) -> String;

/// Sections of which something changed that only a start can use.
fn needs_restart(before: &Gateway, after: &Gateway) -> Vec<&'static str> {
    let differ = |part: Look| part(before) != part(after);
    let parts: [(&'static str, Look); 6] = [
        ("[operator] host", |gateway| gateway.host.to_string()),
        ("[data]", |gateway| gateway.data_folder.display().to_string()),
        ("[listen]", |gateway| format!("{:?}", gateway.listen)),
        ("[trust]", |gateway| format!("{:?}", gateway.trust)),
        ("[relay]", |gateway| format!("{:?}", gateway.relay)),
        ("[journal]", |gateway| format!("{:?}", gateway.journal)),
    ];
    parts
        .into_iter()
        .filter_map(|(name, part)| differ(part).then_some(name))
        .collect()
}
