//! One store's life on a recorded disk: it works, faults come, the process is killed and starts again on the same files, until the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::check::{Moment, check_store, options};
use super::disk::RecordedDisk;
use super::kinds::Kind;
use super::ledger::Ledger;
use super::plan::{Plan, Scheme};
use super::tape::{Entry, Recorder, Slot};
use super::workload::Worker;
use super::{Campaign, CampaignError, Outcome, make};
use crate::selftest::dice::Dice;
use crate::selftest::findings::Wrong;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{FolderKey, MailboxStore, StoreError};

/// One store's life.
pub(super) struct Scenario {
    pub(super) folder: PathBuf,
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) ledger: Ledger,
    scheme: Scheme,
    recorder: Arc<Recorder>,
    disk: RecordedDisk,
    now: Timestamp,
    folders: OnceLock<Vec<FolderKey>>,
    numbers: AtomicU64,
}

impl Scenario {
    pub(super) fn new(
        campaign: &Campaign,
        number: u64,
        slot: &Arc<Slot>,
        dice: &mut Dice,
    ) -> Result<Arc<Self>, CampaignError> {
        let scheme = if campaign.sabotage {
            Scheme::Lying
        } else {
            Scheme::of(number)
        };
        let folder = campaign.folder.join(format!("store-{number}"));
        make(&folder)?;
        // As SQLite will name the files in it.
        let folder = canonical(&folder)?;
        let plan = Plan::new(scheme, Dice::new(dice.next()));
        let recorder = Recorder::new(&folder, std::iter::empty(), plan, Some(Dice::new(dice.next())));
        Ok(Arc::new(Self {
            disk: slot.insert(&recorder),
            recorder,
            folder,
            name: format!("scenario {number} ({})", scheme.name()),
            seed: campaign.seed.wrapping_add(number),
            scheme,
            ledger: Ledger::default(),
            now: campaign.now,
            folders: OnceLock::new(),
            numbers: AtomicU64::new(1),
        }))
    }

    pub(super) fn folders(&self) -> &[FolderKey] {
        self.folders.get().map_or(&[], Vec::as_slice)
    }

    /// Lives through the load and returns the tape. What the store answers is in the ledger.
    pub(super) async fn play(self: &Arc<Self>, outcome: &mut Outcome, dice: &mut Dice) -> Vec<Entry> {
        if timeout(SCENARIO_MAX, self.live(outcome, dice)).await.is_err() {
            outcome
                .findings
                .note(Wrong::Unusable, self.says("it did not come to an end"));
        }
        outcome.accepted += self.ledger.accepted();
        outcome.tallies.add(&self.recorder.tallies());
        let tape = self.recorder.take();
        outcome.changes += u64::try_from(tape.len()).unwrap_or(u64::MAX);
        tape
    }

    async fn live(self: &Arc<Self>, outcome: &mut Outcome, dice: &mut Dice) {
        let is_mortal = self.scheme != Scheme::Lying && !self.is_doomed();
        let kills = if is_mortal { dice.below(KILLS_MAX + 1) } else { 0 };
        for life in 0..=kills {
            let store = match self.open().await {
                Ok(store) => store,
                // A disk that is dead from the start cannot hold a store.
                Err(_) if self.is_doomed() => return,
                Err(error) => {
                    let what = self.says(&format!("it does not open: {error}"));
                    outcome.findings.note(Wrong::Unusable, what);
                    return;
                }
            };
            if life < kills {
                self.recorder.kill_after(dice.between(1, CHANGES_UNTIL_KILLED));
            }
            self.work(&store, STEPS / (kills + 1), outcome, dice).await;
            if life < kills {
                // Its files are as the kill left them: closing it changes nothing any more.
                self.recorder.kill_after(0);
                drop(store.close().await);
                self.recorder.revive();
                outcome.restarts += 1;
            } else {
                self.end(&store, kills > 0, outcome, dice).await;
            }
        }
    }

    async fn work(self: &Arc<Self>, store: &Arc<SqliteStore>, steps: usize, outcome: &mut Outcome, dice: &mut Dice) {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| tokio::spawn(self.worker(store, dice).work(steps)))
            .collect();
        for work in workers {
            if let Err(error) = work.await {
                let what = self.says(&format!("work ended early: {error}"));
                outcome.findings.note(Wrong::Unusable, what);
            }
        }
    }

    fn worker(self: &Arc<Self>, store: &Arc<SqliteStore>, dice: &mut Dice) -> Worker {
        Worker {
            store: Arc::clone(store),
            scenario: Arc::clone(self),
            dice: Dice::new(dice.next()),
        }
    }

    /// The faults are over: the store must go on, what it refused must not be there, and it closes.
    async fn end(self: &Arc<Self>, store: &Arc<SqliteStore>, was_killed: bool, outcome: &mut Outcome, dice: &mut Dice) {
        if !self.is_doomed() {
            self.recorder.mend();
            self.check_live(store, was_killed, outcome, dice).await;
        }
        if let (Err(error), false) = (store.close().await, self.is_doomed()) {
            let what = self.says(&format!("it does not close: {error}"));
            outcome.findings.note(Wrong::Unusable, what);
        }
    }

    /// As a service manager does: again when it fails, in the end without faults.
    async fn open(&self) -> Result<Arc<SqliteStore>, StoreError> {
        for _ in 0..OPENS_MAX {
            if let Ok(store) = self.open_once().await {
                return Ok(store);
            }
        }
        if !self.is_doomed() {
            self.recorder.mend();
        }
        self.open_once().await
    }

    async fn open_once(&self) -> Result<Arc<SqliteStore>, StoreError> {
        let store = SqliteStore::open(
            &self.folder,
            Options {
                disk: Arc::new(self.disk.clone()),
                ..options()
            },
        )?;
        match self.make_folders(&store).await {
            Ok(keys) => {
                self.folders.get_or_init(|| keys);
                Ok(Arc::new(store))
            }
            Err(error) => {
                // The folder must be free for the next attempt.
                drop(store.close().await);
                Err(error)
            }
        }
    }

    async fn make_folders(&self, store: &SqliteStore) -> Result<Vec<FolderKey>, StoreError> {
        let mut keys = Vec::new();
        for number in 0..FOLDERS {
            let address = format!("b{number}@selftest.mssante.fr")
                .parse()
                .map_err(|_| StoreError::NotFound { what: "address" })?;
            let owner = store.ensure_box(&address, &[]).await?;
            keys.extend(store.folders(owner).await?.first().map(|folder| folder.key));
        }
        Ok(keys)
    }

    async fn check_live(
        self: &Arc<Self>,
        store: &Arc<SqliteStore>,
        was_killed: bool,
        outcome: &mut Outcome,
        dice: &mut Dice,
    ) {
        let mut worker = self.worker(store, dice);
        let mut goes_on = false;
        for _ in 0..ATTEMPTS_MAX {
            goes_on = goes_on || worker.accept().await;
        }
        if !goes_on {
            let what = self.says("it does not go on after the fault");
            outcome.findings.note(Wrong::Unusable, what);
        }
        let name = self.says("before the end");
        let moment = Moment {
            ledger: &self.ledger,
            folders: self.folders(),
            position: usize::MAX,
            name: &name,
            // A transaction whose sync failed may come back when the process is killed before the next one.
            is_refused_gone: !was_killed,
        };
        check_store(store, &moment, &mut outcome.findings).await;
    }

    /// How many changes were recorded so far.
    pub(super) fn position(&self) -> usize {
        self.recorder.position()
    }

    /// Whether the process is dead, so that nobody hears an answer.
    pub(super) fn is_killed(&self) -> bool {
        self.recorder.is_killed()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// A number that no message had.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn is_doomed(&self) -> bool {
        self.scheme == Scheme::One(Kind::DeadDisk)
    }

    fn says(&self, what: &str) -> String {
        format!("{}: {what}", self.name)
    }
}

/// A folder as SQLite names it.
pub(super) fn canonical(folder: &Path) -> Result<PathBuf, CampaignError> {
    folder.canonicalize().map_err(|source| CampaignError::Folder {
        path: folder.to_owned(),
        source,
    })
}

const WORKERS: usize = 4;
const STEPS: usize = 30;
const FOLDERS: usize = 3;
/// Kills in one scenario.
const KILLS_MAX: usize = 2;
/// About what half of the work of a scenario changes.
const CHANGES_UNTIL_KILLED: usize = 1_200;
/// Starts under faults until one without.
const OPENS_MAX: u32 = 20;
/// Messages offered once the fault is over, of which one must be taken.
const ATTEMPTS_MAX: usize = 3;
/// A scenario takes a second; one that hangs is a finding.
const SCENARIO_MAX: Duration = Duration::from_mins(2);
