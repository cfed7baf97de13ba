//! Records what happens. Cheap enough for every message: a look-up and an addition, no allocation once a series exists.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::catalogue::{CATALOGUE, Kind, Metric};

/// The counters of one operator. Clones count together.
#[derive(Clone)]
pub struct Meter {
    inner: Arc<Inner>,
}

/// Something that is open until this is dropped.
#[derive(Debug)]
#[must_use = "it counts as open until it is dropped"]
pub struct Open {
    meter: Meter,
    metric: Metric,
    labels: Labels,
    much: f64,
}

/// Counts the bytes of one connection; each read and each write does, so the series are looked up once.
#[derive(Clone, Debug)]
pub struct Traffic {
    came: Option<Arc<Cell>>,
    went: Option<Arc<Cell>>,
}

/// The values of a family's labels; those it does not have are empty.
pub(super) type Labels = [&'static str; LABELS_MAX];

struct Inner {
    operator: String,
    families: Vec<RwLock<BTreeMap<Labels, Arc<Cell>>>>,
}

/// One series.
#[derive(Debug)]
pub(super) enum Cell {
    Count(AtomicU64),
    Level(Real),
    Spread(Spread),
}

/// A distribution.
#[derive(Debug)]
pub(super) struct Spread {
    pub(super) bounds: &'static [f64],
    /// What fell below each bound and above the one before; the last is what is above all.
    pub(super) buckets: Vec<AtomicU64>,
    pub(super) sum: Real,
}

/// A number with a fraction that several threads change.
#[derive(Debug, Default)]
pub(super) struct Real(AtomicU64);

impl Real {
    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    fn add(&self, value: f64) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let next = (f64::from_bits(seen) + value).to_bits();
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }
}

impl Default for Meter {
    /// Of nobody in particular: tests, and stores opened by a command.
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("operator", &self.inner.operator)
            .finish_non_exhaustive()
    }
}

/// What happens, in the words of the mail system.
impl Meter {
    /// Nothing recorded yet.
    pub fn new(operator: &str) -> Self {
        let families = CATALOGUE.iter().map(|_| RwLock::default()).collect();
        Self {
            inner: Arc::new(Inner {
                operator: operator.to_owned(),
                families,
            }),
        }
    }

    /// A message was accepted: call after its transaction.
    pub fn accepted(&self, face: &'static str, size_bytes: u64) {
        self.count(Metric::Accepted, &[face], 1);
        self.count(Metric::AcceptedBytes, &[face], size_bytes);
    }

    /// From the last byte of that message until it was durable.
    pub fn accept_took(&self, face: &'static str, took: Duration) {
        self.observe(Metric::AcceptSeconds, &[face], took.as_secs_f64());
    }

    /// Something was refused. `listener::Parts::record` calls this for every `refused` and `login-refused` that it writes down.
    pub fn refused(&self, face: &'static str, stage: &'static str, reason: &'static str) {
        self.count(Metric::Refused, &[face, stage, reason], 1);
    }

    /// A connection got a place; it is open until the answer is dropped.
    pub fn session(&self, face: &'static str) -> Open {
        self.count(Metric::Sessions, &[face], 1);
        self.open(Metric::SessionsOpen, &[face], 1.0)
    }

    /// A handshake succeeded: `TLSv1.3`, `TLS13_AES_256_GCM_SHA384`. For the relay, `face` is `relay`.
    pub fn handshake(&self, face: &'static str, (version, suite): (&'static str, &'static str), took: Duration) {
        self.count(Metric::Handshakes, &[face, version, suite], 1);
        self.observe(Metric::HandshakeSeconds, &[face], took.as_secs_f64());
    }

    /// A handshake failed: `peer`, `time`, `protocol` or `busy`.
    pub fn handshake_failed(&self, face: &'static str, cause: &'static str) {
        self.count(Metric::HandshakesFailed, &[face, cause], 1);
    }

    /// Where the bytes of a connection are counted.
    pub fn network(&self, face: &'static str) -> Traffic {
        Traffic {
            came: self.cell(Metric::NetworkBytes, &[face, "in"]),
            went: self.cell(Metric::NetworkBytes, &[face, "out"]),
        }
    }

    /// An attempt for one recipient ended: `delivered`, `deferred` or `bounced`. `since_250` is the age of the item when that was final.
    pub fn relayed(&self, outcome: &'static str, since_250: Option<Duration>) {
        self.count(Metric::Relayed, &[outcome], 1);
        if let Some(age) = since_250 {
            self.observe(Metric::DeliverySeconds, &[outcome], age.as_secs_f64());
        }
    }

    /// The store committed `writes` together. `took` is the whole transaction, `sync` its commit.
    pub fn committed(&self, writes: usize, took: Duration, sync: Duration) {
        let writes = u32::try_from(writes).unwrap_or(u32::MAX);
        self.observe(Metric::CommitWrites, &[], f64::from(writes));
        self.observe(Metric::CommitSeconds, &[], took.as_secs_f64());
        self.observe(Metric::SyncSeconds, &[], sync.as_secs_f64());
    }

    /// A call of the store failed: `full`, `read-only`, `io`, `corrupt`, `busy` or `other`.
    pub fn store_error(&self, kind: &'static str) {
        self.count(Metric::StoreErrors, &[kind], 1);
    }

    /// A part was reloaded, or stays as it was because the new version cannot be used.
    pub fn reloaded(&self, part: &'static str, ok: bool) {
        self.count(Metric::Reloads, &[part, if ok { "ok" } else { "failed" }], 1);
        self.set(Metric::ReloadFailed, &[part], if ok { 0.0 } else { 1.0 });
    }
}

impl Traffic {
    /// Bytes came.
    pub fn came(&self, bytes: usize) {
        add(self.came.as_deref(), bytes as u64);
    }

    /// Bytes went.
    pub fn went(&self, bytes: usize) {
        add(self.went.as_deref(), bytes as u64);
    }
}

/// The three ways to record anything of the catalogue. Labels stand in the catalogue's order; a wrong number of them, or a metric of
/// another kind, records nothing.
impl Meter {
    /// Adds to a counter.
    pub fn count(&self, metric: Metric, labels: &[&'static str], much: u64) {
        add(self.cell(metric, labels).as_deref(), much);
    }

    /// Sets a level.
    pub fn set(&self, metric: Metric, labels: &[&'static str], value: f64) {
        if let Some(cell) = self.cell(metric, labels)
            && let Cell::Level(level) = &*cell
        {
            level.set(value);
        }
    }

    /// Raises a level until the answer is dropped.
    pub fn open(&self, metric: Metric, labels: &[&'static str], much: f64) -> Open {
        let open = Open {
            meter: self.clone(),
            metric,
            labels: padded(labels),
            much,
        };
        self.raise(metric, open.labels, much);
        open
    }

    /// Adds one value to a distribution.
    pub fn observe(&self, metric: Metric, labels: &[&'static str], value: f64) {
        if let Some(cell) = self.cell(metric, labels)
            && let Cell::Spread(spread) = &*cell
        {
            let bucket = spread.bounds.partition_point(|bound| *bound < value);
            spread.buckets[bucket].fetch_add(1, Ordering::Relaxed);
            spread.sum.add(value);
        }
    }

    /// Whose it is; empty for the process.
    pub(super) fn operator(&self) -> &str {
        &self.inner.operator
    }

    /// All series of a family, in a stable order.
    pub(super) fn series(&self, metric: Metric) -> Vec<(Labels, Arc<Cell>)> {
        let series = self.inner.families[metric as usize]
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        series
            .iter()
            .map(|(labels, cell)| (*labels, Arc::clone(cell)))
            .collect()
    }

    fn raise(&self, metric: Metric, labels: Labels, much: f64) {
        let labels = &labels[..metric.family().labels.len()];
        if let Some(cell) = self.cell(metric, labels)
            && let Cell::Level(level) = &*cell
        {
            level.add(much);
        }
    }

    fn cell(&self, metric: Metric, labels: &[&'static str]) -> Option<Arc<Cell>> {
        let family = metric.family();
        if labels.len() != family.labels.len() {
            debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
            return None;
        }
        let key = padded(labels);
        let cells = &self.inner.families[metric as usize];
        if let Some(cell) = cells.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(Arc::clone(cell));
        }
        let mut cells = cells.write().unwrap_or_else(PoisonError::into_inner);
        // Labels are words of the program, so this is never reached; a slip must not become a leak.
        if cells.len() >= SERIES_MAX && !cells.contains_key(&key) {
            return None;
        }
        Some(Arc::clone(
            cells.entry(key).or_insert_with(|| Arc::new(Cell::of(family.kind))),
        ))
    }
}

impl Cell {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Count(AtomicU64::new(0)),
            Kind::Gauge | Kind::Reading => Self::Level(Real::default()),
            Kind::Histogram(bounds) => Self::Spread(Spread {
                bounds,
                buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
                sum: Real::default(),
            }),
        }
    }
}

impl Open {
    /// Changes how much it stands for.
    pub fn change(&mut self, much: f64) {
        self.meter.raise(self.metric, self.labels, much - self.much);
        self.much = much;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.meter.raise(self.metric, self.labels, -self.much);
    }
}

fn add(cell: Option<&Cell>, much: u64) {
    if let Some(Cell::Count(count)) = cell {
        count.fetch_add(much, Ordering::Relaxed);
    }
}

fn padded(labels: &[&'static str]) -> Labels {
    let mut all = [""; LABELS_MAX];
    for (place, label) in all.iter_mut().zip(labels) {
        *place = label;
    }
    all
}

/// Most labels of a metric, `operator` aside.
pub(super) const LABELS_MAX: usize = 3;
/// Most series of one metric and operator.
const SERIES_MAX: usize = 1_000;
