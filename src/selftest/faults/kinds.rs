//! What goes wrong, and how often it did: a run that never hit a kind proves nothing about it.

use std::collections::BTreeMap;

/// What goes wrong: first what a disk does to a running store, then what a crash does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Writes fail (EIO).
    WriteError,
    /// Writes are made in part.
    ShortWrite,
    /// No space is left (ENOSPC).
    DiskFull,
    /// Syncs fail, and what they should have made durable is gone.
    SyncError,
    /// Everything fails, for good.
    DeadDisk,
    /// The process is killed, the system runs on: nothing is lost.
    Killed,
    /// The power fails: all that was not synced is lost.
    LostWrites,
    /// The last changes are lost, and the last one kept is torn.
    TornTail,
    /// Later changes are kept, earlier ones lost.
    Reordered,
    /// Of a change only some sectors are kept.
    TornSectors,
}

/// What of a data folder a change was of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The write-ahead log.
    Log,
    /// The database itself: a checkpoint.
    Database,
    /// A body file.
    Body,
    /// A name: a file made, renamed or removed, or the sync of a folder.
    Name,
}

/// How often something of one kind was arranged, and how often it made a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Faults of a disk: stretches planned. Crashes: images made.
    pub planned: u64,
    /// Faults of a disk: changes that failed. Crashes: images that differ from what an orderly disk holds.
    pub hit: u64,
    /// Of faults of a disk: what they hit.
    pub targets: BTreeMap<Target, u64>,
}

/// The tallies of every kind.
#[derive(Clone, Debug, Default)]
pub struct Tallies(BTreeMap<Kind, Tally>);

impl Kind {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 10] = [
        Self::WriteError,
        Self::ShortWrite,
        Self::DiskFull,
        Self::SyncError,
        Self::DeadDisk,
        Self::Killed,
        Self::LostWrites,
        Self::TornTail,
        Self::Reordered,
        Self::TornSectors,
    ];

    /// Its name in reports; the same in JSON, with `_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteError => "write errors",
            Self::ShortWrite => "short writes",
            Self::DiskFull => "disk full",
            Self::SyncError => "sync errors",
            Self::DeadDisk => "dead disk",
            Self::Killed => "process killed",
            Self::LostWrites => "unsynced writes lost",
            Self::TornTail => "torn tail",
            Self::Reordered => "writes reordered",
            Self::TornSectors => "torn sectors",
        }
    }
}

impl Target {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Database => "database",
            Self::Body => "body files",
            Self::Name => "names",
        }
    }
}

impl Tallies {
    /// Something of this kind was arranged.
    pub(super) fn plan(&mut self, kind: Kind) {
        self.0.entry(kind).or_default().planned += 1;
    }

    /// It made a difference.
    pub(super) fn hit(&mut self, kind: Kind, target: Option<Target>) {
        let tally = self.0.entry(kind).or_default();
        tally.hit += 1;
        if let Some(target) = target {
            *tally.targets.entry(target).or_default() += 1;
        }
    }

    /// Adds those of another part of the run.
    pub(super) fn add(&mut self, other: &Self) {
        for (kind, more) in &other.0 {
            let tally = self.0.entry(*kind).or_default();
            tally.planned += more.planned;
            tally.hit += more.hit;
            for (target, hit) in &more.targets {
                *tally.targets.entry(*target).or_default() += hit;
            }
        }
    }

    /// That of one kind.
    pub fn of(&self, kind: Kind) -> Tally {
        self.0.get(&kind).cloned().unwrap_or_default()
    }

    /// Changes of disks that failed, of every kind.
    pub fn failed(&self) -> u64 {
        self.0.values().flat_map(|tally| tally.targets.values()).copied().sum()
    }

    /// Kinds of which nothing was hit.
    pub fn missed(&self) -> Vec<Kind> {
        let mut kinds = Kind::ALL.to_vec();
        kinds.retain(|kind| self.of(*kind).hit == 0);
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_was_planned_and_never_hit_is_missed() {
        let mut tallies = Tallies::default();
        for kind in Kind::ALL {
            tallies.plan(kind);
            tallies.hit(kind, None);
        }
        assert_eq!(tallies.missed(), []);
        let mut other = Tallies::default();
        other.plan(Kind::SyncError);
        assert_eq!(other.missed().len(), Kind::ALL.len());
        other.hit(Kind::SyncError, Some(Target::Body));
        tallies.add(&other);
        let sum = tallies.of(Kind::SyncError);
        assert_eq!((sum.planned, sum.hit, sum.targets[&Target::Body]), (2, 2, 1));
        assert_eq!(tallies.failed(), 1);
    }
}
