//! How the operators of a process are: readiness with its reasons, and their metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use super::process::{self, real};
use crate::listener::{CHECKS, Findings, Parts};
use crate::metrics::{Meter, Metric, render};
use crate::store::sqlite::SqliteStore;
use crate::store::{QueueBy, QueueFilter, QueueState, QueueStore, StoreError};
use crate::web::Observed;

/// What a process knows of itself.
#[derive(Debug, Default)]
pub struct Watch {
    stage: AtomicU8,
    process: Meter,
    operators: Mutex<Vec<Watched>>,
}

/// An operator, as long as it lives.
#[derive(Clone)]
struct Watched {
    parts: Weak<Parts>,
    store: Weak<SqliteStore>,
    probed: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Running,
    Draining,
}

impl Watch {
    /// Everything was started.
    pub fn started(&self) {
        // A signal to stop may have come before.
        let _: Result<u8, u8> = self.stage.compare_exchange(
            Stage::Starting as u8,
            Stage::Running as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    /// No new work is taken: readiness says no from now on.
    pub fn draining(&self) {
        self.stage.store(Stage::Draining as u8, Ordering::Release);
    }

    /// Watches an operator until it is dropped.
    pub(super) fn add(&self, parts: &Arc<Parts>, store: &Arc<SqliteStore>) {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.retain(|watched| watched.parts.strong_count() > 0);
        operators.push(Watched {
            parts: Arc::downgrade(parts),
            store: Arc::downgrade(store),
            probed: Arc::default(),
        });
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Running,
            _ => Stage::Draining,
        }
    }

    /// Those that live, in the order of their keys.
    fn operators(&self) -> Vec<(Arc<Parts>, Arc<SqliteStore>, Watched)> {
        let operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = operators
            .iter()
            .filter_map(|one| Some((one.parts.upgrade()?, one.store.upgrade()?, one.clone())));
        let mut alive: Vec<_> = alive.collect();
        alive.sort_by(|(one, ..), (other, ..)| one.operator.cmp(&other.operator));
        alive
    }
}

#[async_trait]
impl Observed for Watch {
    async fn readiness(&self) -> (bool, Value) {
        let stage = self.stage();
        let mut ready = stage == Stage::Running;
        let mut operators = Map::new();
        for (parts, store, watched) in self.operators() {
            watched.probe(&parts, &store).await;
            let findings = parts.health.findings();
            ready &= findings.faults.is_empty();
            operators.insert(parts.operator.clone(), told(&findings));
        }
        let state = match stage {
            Stage::Starting => "starting",
            Stage::Running => "running",
            Stage::Draining => "draining",
        };
        (ready, json!({ "ready": ready, "state": state, "operators": operators }))
    }

    async fn metrics(&self) -> String {
        process::observe(&self.process);
        let draining = self.stage() == Stage::Draining;
        self.process.set(Metric::Draining, &[], f64::from(u8::from(draining)));
        let mut meters = vec![self.process.clone()];
        for (parts, store, watched) in self.operators() {
            watched.probe(&parts, &store).await;
            observe(&parts, &store).await;
            meters.push(parts.meter.clone());
        }
        render(&meters)
    }
}

impl Watched {
    /// Has the store write something, at most every [`PROBE_PERIOD`]: whoever asks more often costs no more syncs.
    async fn probe(&self, parts: &Parts, store: &SqliteStore) {
        let mut last = self.probed.lock().await;
        if last.is_some_and(|at| at.elapsed() < PROBE_PERIOD) {
            return;
        }
        let problem = match timeout(PROBE_MAX, store.probe()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(with_causes(&error)),
            Err(_) => Some(format!("no write was finished within {} s", PROBE_MAX.as_secs())),
        };
        if let Some(problem) = &problem {
            tracing::error!(operator = parts.operator, problem, "the store cannot write");
        }
        parts.health.report("store", problem);
        *last = Some(Instant::now());
    }
}

/// How much waits in the queue, by state; how old it is; how many destinations cannot be reached.
async fn observe_queue(meter: &Meter, store: &SqliteStore, now: Timestamp) -> Result<(), StoreError> {
    let groups = store.queue_groups(QueueBy::State, &QueueFilter::all(now, 0)).await?;
    for state in QueueState::ALL {
        let group = groups.iter().find(|group| group.name == state.id());
        meter.set(
            Metric::QueueItems,
            &[state.id()],
            real(group.map_or(0, |group| group.items)),
        );
    }
    let moving = groups.iter().filter(|group| group.name != QueueState::Held.id());
    let oldest = moving.map(|group| group.oldest).min();
    meter.set(Metric::QueueOldest, &[], oldest.map_or(0.0, |at| seconds(at, now)));
    let unreached = store.destinations().await?.len();
    meter.set(Metric::QueueUnreached, &[], real(unreached as u64));
    Ok(())
}

/// Brings the levels of an operator up to date.
async fn observe(parts: &Parts, store: &SqliteStore) {
    let (meter, now) = (&parts.meter, parts.clock.now());
    if let Err(error) = observe_queue(meter, store, now).await {
        tracing::error!(
            operator = parts.operator,
            error = &error as &dyn std::error::Error,
            "the queue cannot be counted"
        );
    }
    let snapshot = parts.snapshot.load_full();
    meter.set(Metric::ListAge, &[], seconds(snapshot.allow_list.generated(), now));
    if let Some(made) = snapshot.authority.oldest_crl() {
        meter.set(Metric::RevocationAge, &[], seconds(made, now));
    }
    if let Some(ends) = snapshot.authority.next_crl_update() {
        meter.set(Metric::RevocationLeft, &[], seconds(now, ends));
    }
    let findings = parts.health.findings();
    for (face, until) in findings.certificates {
        meter.set(Metric::CertificateLeft, &[face], seconds(now, until));
    }
    for check in CHECKS {
        let holds = !findings.faults.contains_key(check);
        meter.set(Metric::Ready, &[check], f64::from(u8::from(holds)));
    }
}

fn told(findings: &Findings) -> Value {
    let checks: BTreeMap<&str, Value> = CHECKS
        .into_iter()
        .map(|check| match findings.faults.get(check) {
            Some(problem) => (check, json!({ "ok": false, "problem": problem })),
            None => (check, json!({ "ok": true })),
        })
        .collect();
    json!({ "ready": findings.faults.is_empty(), "checks": checks, "warnings": findings.warnings })
}

/// An error and what it came from, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let told = next.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = next.source();
    }
    text
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    SignedDuration::as_secs_f64(&to.duration_since(from))
}

/// Between two probes of a store.
const PROBE_PERIOD: Duration = Duration::from_secs(5);
/// A store that takes longer to write is not one to rely on.
const PROBE_MAX: Duration = Duration::from_secs(5);
