//! The store on a disk that fails, forgets and reorders.
//!
//! A *scenario* is one store under load on a recorded disk, with at most one kind of fault in a stretch of its life. From its tape,
//! *crash images* are rebuilt at chosen moments: what was synced is there, of the rest whatever [`Loss`] leaves. Whatever the
//! store had answered by that moment must be in the image.

mod check;
mod image;
mod ledger;
mod tape;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use self::check::{Moment, check_image, check_store, lay_out, options};
use self::image::{Loss, SimulatedDisk};
use self::ledger::Ledger;
use self::tape::{Entry, Fault, Plan, RecordedDisk, Recorder};
use self::workload::Worker;
use super::dice::Dice;
use super::findings::{Findings, Wrong};
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{FolderKey, MailboxStore, StoreError};

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
    /// Have syncs do nothing, to see that the test notices.
    pub sabotage: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Stores raised.
    pub scenarios: u64,
    /// Images checked.
    pub images: u64,
    /// Messages that stores accepted.
    pub accepted: u64,
    /// Changes of disks that were recorded.
    pub changes: u64,
    /// Those that failed on purpose.
    pub faults: u64,
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
    Vfs(#[from] recording_vfs::RegisterError),
}

/// Runs scenarios until so many images are checked; `progress` hears how many are.
///
/// # Errors
/// See [`CampaignError`]: findings are not errors but part of the outcome.
pub async fn run(campaign: &Campaign, progress: impl Fn(u64)) -> Result<Outcome, CampaignError> {
    let mut outcome = Outcome::default();
    let images = campaign.folder.join("image");
    make(&images)?;
    while outcome.images < u64::try_from(campaign.images).unwrap_or(u64::MAX) {
        let left = campaign.images - usize::try_from(outcome.images).unwrap_or(usize::MAX);
        let number = outcome.scenarios;
        let mut dice = Dice::part(campaign.seed, number);
        let scenario = Scenario::new(campaign, number, &mut dice)?;
        let tape = scenario.play(&mut outcome, &mut dice).await;
        let moments = Moments {
            scenario: &scenario,
            folder: &images,
            number: IMAGES_PER_SCENARIO.min(left),
        };
        moments.check(&tape, &mut dice, (&mut outcome, &progress)).await?;
        outcome.scenarios += 1;
        remove(&scenario.folder)?;
    }
    Ok(outcome)
}

/// One store's life.
struct Scenario {
    folder: PathBuf,
    name: String,
    seed: u64,
    plan: Plan,
    recorder: Arc<Recorder>,
    ledger: Arc<Ledger>,
    now: Timestamp,
    folders: std::sync::OnceLock<Vec<FolderKey>>,
}

impl Scenario {
    fn new(campaign: &Campaign, number: u64, dice: &mut Dice) -> Result<Self, CampaignError> {
        let plan = plan(campaign.sabotage, number, dice);
        let folder = campaign.folder.join(format!("store-{number}"));
        make(&folder)?;
        // As SQLite will name the files in it.
        let folder = folder.canonicalize().map_err(|source| CampaignError::Folder {
            path: folder.clone(),
            source,
        })?;
        let vfs = format!(
            "selftest-{}-{}",
            campaign.seed,
            VFS_NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        Ok(Self {
            recorder: Recorder::new(&folder, vfs, plan)?,
            folder,
            name: format!("scenario {number} ({:?})", plan.fault),
            seed: campaign.seed.wrapping_add(number),
            plan,
            ledger: Arc::default(),
            now: campaign.now,
            folders: std::sync::OnceLock::new(),
        })
    }

    fn folders(&self) -> &[FolderKey] {
        self.folders.get().map_or(&[], Vec::as_slice)
    }

    /// Lives through the load and returns the tape. What the store answers is in the ledger.
    async fn play(&self, outcome: &mut Outcome, dice: &mut Dice) -> Vec<Entry> {
        if timeout(SCENARIO_MAX, self.live(outcome, dice)).await.is_err() {
            let what = format!("{}: it did not come to an end", self.name);
            outcome.findings.note(Wrong::Unusable, what);
        }
        outcome.accepted += self.ledger.accepted();
        outcome.faults += self.recorder.failed();
        let tape = self.recorder.take();
        outcome.changes += u64::try_from(tape.len()).unwrap_or(u64::MAX);
        tape
    }

    async fn live(&self, outcome: &mut Outcome, dice: &mut Dice) {
        let store = match self.open().await {
            Ok(store) => store,
            // A disk that fails from the start cannot hold a store; anything else is wrong.
            Err(_) if self.recorder.failed() > 0 => return,
            Err(error) => {
                let what = format!("{}: it does not open: {error}", self.name);
                outcome.findings.note(Wrong::Unusable, what);
                return;
            }
        };
        let numbers = Arc::new(AtomicU64::new(1));
        let folders = Arc::new(self.folders().to_vec());
        let worker = |dice: Dice| Worker {
            store: Arc::clone(&store),
            recorder: Arc::clone(&self.recorder),
            ledger: Arc::clone(&self.ledger),
            folders: Arc::clone(&folders),
            numbers: Arc::clone(&numbers),
            seed: self.seed,
            now: self.now,
            dice,
        };
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| tokio::spawn(worker(Dice::new(dice.next())).work(STEPS)))
            .collect();
        for work in workers {
            if let Err(error) = work.await {
                let what = format!("{}: work ended early: {error}", self.name);
                outcome.findings.note(Wrong::Unusable, what);
            }
        }
        if self.plan.fault != Fault::Dead {
            self.check_live(&store, worker(Dice::new(dice.next())), outcome).await;
        }
        let closed = store.close().await;
        if let (Err(error), false) = (closed, self.plan.fault == Fault::Dead) {
            let what = format!("{}: it does not close: {error}", self.name);
            outcome.findings.note(Wrong::Unusable, what);
        }
    }

    async fn open(&self) -> Result<Arc<SqliteStore>, StoreError> {
        let store = SqliteStore::open(
            &self.folder,
            Options {
                disk: Arc::new(RecordedDisk(Arc::clone(&self.recorder))),
                ..options()
            },
        )?;
        let mut keys = Vec::new();
        for number in 0..FOLDERS {
            let address = format!("b{number}@selftest.mssante.fr")
                .parse()
                .map_err(|_| StoreError::NotFound { what: "address" })?;
            let owner = store.ensure_box(&address, &[]).await?;
            keys.extend(store.folders(owner).await?.first().map(|folder| folder.key));
        }
        self.folders.get_or_init(|| keys);
        Ok(Arc::new(store))
    }

    /// Once the fault is over, the store must go on, and what it refused must not be there.
    async fn check_live(&self, store: &SqliteStore, mut worker: Worker, outcome: &mut Outcome) {
        let goes_on = async {
            for _ in 0..ATTEMPTS_MAX {
                if worker.accept().await {
                    return true;
                }
            }
            false
        };
        if !goes_on.await {
            let what = format!("{}: it does not go on after the fault", self.name);
            outcome.findings.note(Wrong::Unusable, what);
        }
        let name = format!("{}, before the end", self.name);
        let moment = Moment {
            ledger: &self.ledger,
            folders: self.folders(),
            seed: self.seed,
            position: usize::MAX,
            name: &name,
            is_live: true,
        };
        check_store(store, &moment, &mut outcome.findings).await;
    }
}

/// The moments of a scenario at which the power fails.
struct Moments<'a> {
    scenario: &'a Scenario,
    folder: &'a Path,
    number: usize,
}

impl Moments<'_> {
    async fn check(
        &self,
        tape: &[Entry],
        dice: &mut Dice,
        (outcome, progress): (&mut Outcome, &impl Fn(u64)),
    ) -> Result<(), CampaignError> {
        let mut disk = SimulatedDisk::default();
        let mut done = 0;
        for position in self.positions(tape, dice) {
            for entry in tape.get(done..position).unwrap_or_default() {
                disk.apply(entry);
            }
            done = position;
            let loss = Loss::any(dice);
            let files = disk.image(loss, dice);
            lay_out(self.folder, &files).map_err(|source| CampaignError::Folder {
                path: self.folder.to_owned(),
                source,
            })?;
            let name = format!(
                "{}, {loss:?} after change {position} of {}",
                self.scenario.name,
                tape.len()
            );
            let moment = Moment {
                ledger: &self.scenario.ledger,
                folders: self.scenario.folders(),
                seed: self.scenario.seed,
                position,
                name: &name,
                is_live: false,
            };
            check_image(self.folder, &moment, &mut outcome.findings).await;
            outcome.images += 1;
            progress(outcome.images);
        }
        Ok(())
    }

    /// Half of them beside a sync, where mistakes lie; in order.
    fn positions(&self, tape: &[Entry], dice: &mut Dice) -> Vec<usize> {
        let syncs: Vec<usize> = tape
            .iter()
            .enumerate()
            .filter(|(_, entry)| {
                matches!(
                    entry,
                    Entry::Sync { .. } | Entry::SyncFolder { .. } | Entry::SyncFailed { .. }
                )
            })
            .map(|(index, _)| index)
            .collect();
        let mut positions: Vec<usize> = (0..self.number)
            .map(|_| match syncs.get(dice.below(syncs.len())) {
                Some(sync) if dice.percent(50) => sync + dice.below(2),
                _ => dice.below(tape.len() + 1),
            })
            .collect();
        positions.sort_unstable();
        positions
    }
}

/// Two scenarios of three have a fault, each kind in turn, somewhere in their lives.
fn plan(sabotage: bool, number: u64, dice: &mut Dice) -> Plan {
    const FAULTS: [Fault; 5] = [Fault::Sync, Fault::Write, Fault::Full, Fault::Short, Fault::Dead];
    if sabotage {
        return Plan {
            fault: Fault::Lying,
            from: u64::MAX,
            until: u64::MAX,
        };
    }
    let turn = usize::try_from(number).unwrap_or(0);
    let fault = match FAULTS.get((turn - turn / 3) % FAULTS.len()) {
        Some(fault) if turn % 3 != 0 => *fault,
        _ => Fault::None,
    };
    let from = u64::try_from(dice.below(FAULTS_BEFORE)).unwrap_or(0);
    let length = if dice.percent(50) { 1 } else { dice.between(2, 40) };
    let until = match fault {
        Fault::Dead => u64::MAX,
        _ => from + u64::try_from(length).unwrap_or(1),
    };
    Plan { fault, from, until }
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
/// Enough that a tape's cost is shared, few enough that many tapes are made.
const IMAGES_PER_SCENARIO: usize = 20;
const WORKERS: usize = 4;
const STEPS: usize = 30;
const FOLDERS: usize = 3;
/// Faults begin within so many changes of the disk, which a scenario exceeds.
const FAULTS_BEFORE: usize = 900;
/// Messages offered until a store whose fault is over must have taken one.
const ATTEMPTS_MAX: usize = 50;
/// A scenario takes a second; one that hangs is a finding.
const SCENARIO_MAX: Duration = Duration::from_mins(2);
