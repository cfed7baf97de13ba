//! What changes in a running operator when its files are read again, and what it says of itself meanwhile.

use std::sync::{Arc, PoisonError};

use super::gateway::Identities;
use super::{Operator, StartError};
use crate::directory::Directory;
use crate::listener::{Face, Limits};
use crate::metrics::Metric;
use crate::store::StoreError;

impl Operator {
    /// A part was read again: it is used from now on, or it cannot be and the former version stays in use.
    pub fn reloaded(&self, part: &'static str, result: Result<(), String>) {
        let operator = &self.parts.operator;
        match &result {
            Ok(()) => tracing::info!(operator, part, "reloaded"),
            Err(problem) => tracing::error!(operator, part, problem, "not reloaded, the last good version stays"),
        }
        self.parts.meter.reloaded(part, result.is_ok());
        self.parts.health.warn(part, result.err());
    }

    /// A part was looked at and nothing is wrong with it.
    pub fn unchanged(&self, part: &'static str) {
        self.parts.meter.set(Metric::ReloadFailed, &[part], 0.0);
        self.parts.health.warn(part, None);
    }

    /// Reports what should keep traffic away, or that nothing does any more.
    pub fn fault(&self, check: &'static str, problem: Option<String>) {
        self.parts.health.report(check, problem);
    }

    /// Reports what somebody should look at, or that nothing is left to look at.
    pub fn warn(&self, part: &'static str, problem: Option<String>) {
        self.parts.health.warn(part, problem);
    }

    /// Uses other limits: those of connections at once, the others in sessions that begin from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.places
            .resize(limits.connections_max, limits.connections_per_address_max);
        self.parts.limits.store(Arc::new(limits));
    }

    /// Uses another directory, with the list and the authority in force.
    ///
    /// # Errors
    /// The store could not make a new box; nothing has changed.
    pub async fn adopt_directory(&self, directory: Directory) -> Result<(), StoreError> {
        let snapshot = self.parts.snapshot.load_full();
        let (list, authority) = (&snapshot.allow_list, &snapshot.authority);
        self.adopt(directory, Arc::clone(list), Arc::clone(authority)).await
    }

    /// Shows other certificates from the next handshake on, as server and as client. All of them are tried before one is shown.
    ///
    /// # Errors
    /// A key that TLS cannot use; nothing has changed.
    pub fn show_by_face(&self, identities: &Identities) -> Result<(), StartError> {
        let mut ready = Vec::new();
        for door in &self.doors {
            let identity = identities.of(door.face);
            ready.push((door, identity, self.face_tls(door.face, identity)?));
        }
        for (door, identity, tls) in ready {
            let mut shown = door.shown.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.certificate().fingerprint != identity.certificate().fingerprint {
                door.tls.store(tls);
                self.parts
                    .health
                    .shows(door.face.name(), identity.certificate().not_after);
                *shown = Arc::clone(identity);
            }
        }
        self.sender.1.store(Arc::clone(identities.of(Face::Peer)));
        Ok(())
    }
}
