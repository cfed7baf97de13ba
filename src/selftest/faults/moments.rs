//! The moments of a scenario at which the power fails or the process dies: images are rebuilt from the tape and checked. Some of them crash
//! once more, while they recover.

use std::path::PathBuf;
use std::sync::Arc;

use super::check::{Moment, check_image, lay_out};
use super::image::{Files, Loss, SimulatedDisk};
use super::plan::{Plan, Scheme};
use super::scenario::Scenario;
use super::tape::{Entry, Recorder, Slot};
use super::{CampaignError, Outcome};
use crate::selftest::dice::Dice;

/// Where the images of one scenario are checked.
pub(super) struct Moments<'a> {
    pub(super) scenario: &'a Scenario,
    /// The folder they are laid out in, as SQLite names it.
    pub(super) folder: &'a PathBuf,
    pub(super) slot: &'a Arc<Slot>,
    /// How many.
    pub(super) images: usize,
    /// The number of the first in the whole run.
    pub(super) first: usize,
}

impl Moments<'_> {
    /// Checks them in their order; `progress` hears of each.
    pub(super) async fn check(
        &self,
        tape: &[Entry],
        dice: &mut Dice,
        (outcome, progress): (&mut Outcome, &impl Fn()),
    ) -> Result<(), CampaignError> {
        let mut disk = SimulatedDisk::default();
        let mut done = 0;
        let again = self.images / CRASHES_PER_SECOND_ONE;
        for (number, position) in Self::positions(tape, self.images - again, dice).into_iter().enumerate() {
            for entry in tape.get(done..position).unwrap_or_default() {
                disk.apply(entry);
            }
            done = position;
            let loss = Loss::of(self.first + number);
            let name = format!(
                "{}, {loss:?} after change {position} of {}",
                self.scenario.name,
                tape.len()
            );
            let files = Self::make(&disk, loss, dice, outcome);
            let second = self.check_one(&files, position, &name, outcome).await?;
            progress();
            if number < again {
                self.crash_again((files, &second), (position, &name), dice, outcome)
                    .await?;
                progress();
            }
        }
        Ok(())
    }

    /// The power fails once more, somewhere in the recovery or in what was done after it.
    async fn crash_again(
        &self,
        (files, tape): (Files, &[Entry]),
        (position, name): (usize, &str),
        dice: &mut Dice,
        outcome: &mut Outcome,
    ) -> Result<(), CampaignError> {
        let mut disk = SimulatedDisk::of(files);
        let until = dice.below(tape.len() + 1);
        for entry in tape.iter().take(until) {
            disk.apply(entry);
        }
        let loss = Loss::of(dice.below(8));
        let files = Self::make(&disk, loss, dice, outcome);
        let name = format!("{name}, then {loss:?} after change {until} of {}", tape.len());
        outcome.second_crashes += 1;
        self.check_one(&files, position, &name, outcome).await.map(drop)
    }

    fn make(disk: &SimulatedDisk, loss: Loss, dice: &mut Dice, outcome: &mut Outcome) -> Files {
        let (files, is_hit) = disk.image(loss, dice);
        outcome.tallies.plan(loss.kind());
        if is_hit {
            outcome.tallies.hit(loss.kind(), None);
        }
        outcome.images += 1;
        files
    }

    /// Checks an image, and returns what that changed on its disk.
    async fn check_one(
        &self,
        files: &Files,
        position: usize,
        name: &str,
        outcome: &mut Outcome,
    ) -> Result<Vec<Entry>, CampaignError> {
        lay_out(self.folder, files).map_err(|source| CampaignError::Folder {
            path: self.folder.clone(),
            source,
        })?;
        let calm = Plan::new(Scheme::Calm, Dice::new(0));
        let recorder = Recorder::new(self.folder, files.keys().cloned(), calm, None);
        let disk = self.slot.insert(&recorder);
        let moment = Moment {
            ledger: &self.scenario.ledger,
            folders: self.scenario.folders(),
            position,
            name,
            is_refused_gone: false,
        };
        check_image((self.folder, disk), &moment, &mut outcome.findings).await;
        Ok(recorder.take())
    }

    /// Half of them beside a sync, where mistakes lie; in order.
    fn positions(tape: &[Entry], number: usize, dice: &mut Dice) -> Vec<usize> {
        let syncs: Vec<usize> = tape
            .iter()
            .enumerate()
            .filter(|(_, entry)| matches!(entry, Entry::Sync(_)))
            .map(|(index, _)| index)
            .collect();
        let mut positions: Vec<usize> = (0..number)
            .map(|_| match syncs.get(dice.below(syncs.len())) {
                Some(sync) if dice.percent(50) => sync + dice.below(2),
                _ => dice.below(tape.len() + 1),
            })
            .collect();
        positions.sort_unstable();
        positions
    }
}

/// One image in so many is the second crash of another.
const CRASHES_PER_SECOND_ONE: usize = 5;
