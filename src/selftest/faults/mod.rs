//! The store on a disk that fails, forgets and reorders.
//!
//! A *scenario* is one store under load on a recorded disk, with at most one kind of fault in a stretch of its life. From its tape,
//! *crash images* are rebuilt at chosen moments: what was synced is there, of the rest whatever [`Loss`] leaves. Whatever the
//! store had answered by that moment must be in the image.

mod check;
mod disk;
mod image;
mod kinds;
mod ledger;
mod moments;
mod plan;
mod scenario;
mod tape;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use self::kinds::{Kind, Tallies, Tally, Target};
use self::moments::Moments;
use self::scenario::{Scenario, canonical};
use self::tape::Slot;
use super::dice::Dice;
use super::findings::Findings;
use crate::clock::Stopwatch;

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// How many crash images to rebuild and check.
    pub images: usize,
    /// Repeats the choices.
    pub seed: u64,
    /// Where to work: a folder of its own, on any disk.
    pub folder: PathBuf,
    /// The moment that journal records carry.
    pub now: Timestamp,
    /// How many stores work at once.
    pub jobs: usize,
    /// Have syncs do nothing, to see that the test notices.
    pub sabotage: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Stores raised.
    pub scenarios: u64,
    /// Times that one was killed and started again on its files.
    pub restarts: u64,
    /// Images checked.
    pub images: u64,
    /// Those that are the second crash of another.
    pub second_crashes: u64,
    /// Messages that stores accepted.
    pub accepted: u64,
    /// Changes of disks that were recorded.
    pub changes: u64,
    /// How long it took.
    pub seconds: f64,
    /// How often each kind of fault was planned, and hit.
    pub tallies: Tallies,
    /// What was wrong.
    pub findings: Findings,
}

/// Why a campaign could not be carried out; says nothing of durability.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// The folder to work in.
    #[error("{path}: {source}", path = .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The VFS.
    #[error(transparent)]
    Vfs(#[from] store_vfs::RegisterError),
    /// A part of this program.
    #[error("a worker of the test ended early: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// Runs scenarios until so many images are checked; `progress` hears how many are.
///
/// # Errors
/// See [`CampaignError`]: findings are not errors but part of the outcome.
pub async fn run(campaign: &Campaign, progress: impl Fn(u64)) -> Result<Outcome, CampaignError> {
    let watch = Stopwatch::start();
    let campaign = Arc::new(Campaign {
        folder: canonical(&campaign.folder)?,
        ..campaign.clone()
    });
    let scenarios = Arc::new(AtomicU64::new(0));
    let (checked, mut news) = mpsc::channel(NEWS_MAX);
    let mut workers = JoinSet::new();
    for number in 0..campaign.jobs.max(1) {
        let worker = Worker::new(&campaign, number, &scenarios, checked.clone())?;
        workers.spawn(worker.run());
    }
    drop(checked);
    let mut images = 0;
    while news.recv().await.is_some() {
        images += 1;
        progress(images);
    }
    let mut parts = Vec::new();
    while let Some(done) = workers.join_next().await {
        parts.extend(done??);
    }
    // In the order of scenarios, so that a seed repeats the report too.
    parts.sort_by_key(|(number, _)| *number);
    let mut outcome = Outcome {
        seconds: watch.elapsed().as_secs_f64(),
        ..Outcome::default()
    };
    for (_, part) in &parts {
        outcome.add(part);
    }
    Ok(outcome)
}

/// One of those who raise stores.
struct Worker {
    campaign: Arc<Campaign>,
    slot: Arc<Slot>,
    images: PathBuf,
    scenarios: Arc<AtomicU64>,
    checked: mpsc::Sender<()>,
}

impl Worker {
    fn new(
        campaign: &Arc<Campaign>,
        number: usize,
        scenarios: &Arc<AtomicU64>,
        checked: mpsc::Sender<()>,
    ) -> Result<Self, CampaignError> {
        let images = campaign.folder.join(format!("image-{number}"));
        make(&images)?;
        let vfs = format!("selftest-{}", VFS_NUMBER.fetch_add(1, Ordering::Relaxed));
        Ok(Self {
            campaign: Arc::clone(campaign),
            slot: Slot::new(vfs)?,
            images,
            scenarios: Arc::clone(scenarios),
            checked,
        })
    }

    /// Takes one scenario after the other until none is left.
    async fn run(self) -> Result<Vec<(u64, Outcome)>, CampaignError> {
        let mut outcomes = Vec::new();
        let each = images_per_scenario(self.campaign.images);
        loop {
            let number = self.scenarios.fetch_add(1, Ordering::Relaxed);
            let first = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(each);
            let images = each.min(self.campaign.images.saturating_sub(first));
            if images == 0 {
                return Ok(outcomes);
            }
            let outcome = self.scenario(number, (first, images)).await?;
            outcomes.push((number, outcome));
        }
    }

    async fn scenario(&self, number: u64, (first, images): (usize, usize)) -> Result<Outcome, CampaignError> {
        let mut outcome = Outcome {
            scenarios: 1,
            ..Outcome::default()
        };
        let mut dice = Dice::part(self.campaign.seed, number);
        let scenario = Scenario::new(&self.campaign, number, &self.slot, &mut dice)?;
        let tape = scenario.play(&mut outcome, &mut dice).await;
        let moments = Moments {
            scenario: &scenario,
            folder: &self.images,
            slot: &self.slot,
            images,
            first,
        };
        let progress = || {
            if self.checked.try_send(()).is_err() {
                tracing::trace!("an image is checked, and nobody counts");
            }
        };
        moments.check(&tape, &mut dice, (&mut outcome, &progress)).await?;
        remove(&scenario.folder)?;
        Ok(outcome)
    }
}

impl Outcome {
    fn add(&mut self, part: &Self) {
        self.scenarios += part.scenarios;
        self.restarts += part.restarts;
        self.images += part.images;
        self.second_crashes += part.second_crashes;
        self.accepted += part.accepted;
        self.changes += part.changes;
        self.tallies.add(&part.tallies);
        self.findings.add(&part.findings);
    }

    /// Kinds of which nothing was hit: the run proves nothing about them.
    pub fn missed(&self) -> Vec<Kind> {
        self.tallies.missed()
    }
}

/// Enough that a tape's cost is shared, few enough that a short run has every kind of fault.
fn images_per_scenario(images: usize) -> usize {
    (images / SCENARIOS_MIN).clamp(1, IMAGES_PER_SCENARIO)
}

fn make(folder: &Path) -> Result<(), CampaignError> {
    std::fs::create_dir_all(folder).map_err(|source| CampaignError::Folder {
        path: folder.to_owned(),
        source,
    })
}

fn remove(folder: &Path) -> Result<(), CampaignError> {
    std::fs::remove_dir_all(folder).map_err(|source| CampaignError::Folder {
        path: folder.to_owned(),
        source,
    })
}

/// VFS names stay taken as long as the process runs.
static VFS_NUMBER: AtomicU64 = AtomicU64::new(0);
const IMAGES_PER_SCENARIO: usize = 20;
/// Each kind of fault once.
const SCENARIOS_MIN: usize = 7;
/// Checked images that may wait to be counted.
const NEWS_MAX: usize = 10_000;
