//! When a disk fails: in bursts with calm between them, each counted in changes that its kind can hit, so that rare changes are
//! hit as often as frequent ones.

use store_vfs::Failure;

use super::kinds::{Kind, Tallies, Target};
use crate::selftest::dice::Dice;

/// How a disk is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Nothing goes wrong.
    Calm,
    /// One kind of fault, again and again.
    One(Kind),
    /// Each burst is of another kind.
    Mixed,
    /// Syncs succeed and do nothing: not a fault to survive, but the proof that the test sees a loss.
    Lying,
}

/// What a change is, to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Name,
    Write,
    Sync,
}

/// The faults of one disk, as they come.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) scheme: Scheme,
    dice: Dice,
    burst: Option<Burst>,
    turn: usize,
    pub(super) tallies: Tallies,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    kind: Kind,
    /// Changes of that kind which still succeed.
    calm: u64,
    /// And then fail.
    left: u64,
}

impl Scheme {
    /// The scheme of a scenario: each kind in turn.
    pub(super) fn of(number: u64) -> Self {
        const SCHEMES: [Scheme; 7] = [
            Scheme::One(Kind::SyncError),
            Scheme::One(Kind::WriteError),
            Scheme::One(Kind::DiskFull),
            Scheme::One(Kind::ShortWrite),
            Scheme::One(Kind::DeadDisk),
            Scheme::Mixed,
            Scheme::Calm,
        ];
        let turn = usize::try_from(number % SCHEMES_IN_TURN).unwrap_or(0);
        SCHEMES.get(turn).copied().unwrap_or(Self::Calm)
    }

    /// How findings name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Calm => "no faults",
            Self::One(kind) => kind.name(),
            Self::Mixed => "every fault",
            Self::Lying => "syncs that do nothing",
        }
    }
}

impl Plan {
    pub(super) fn new(scheme: Scheme, dice: Dice) -> Self {
        let mut plan = Self {
            scheme,
            turn: 0,
            dice,
            burst: None,
            tallies: Tallies::default(),
        };
        plan.burst = plan.next_burst();
        plan
    }

    /// The fault that hits this change, if one does.
    pub(super) fn hits(&mut self, act: Act, target: Target) -> Option<Kind> {
        let burst = self.burst.as_mut()?;
        if !is_hit(burst.kind, act) {
            return None;
        }
        if burst.calm > 0 {
            burst.calm -= 1;
            return None;
        }
        let kind = burst.kind;
        burst.left = burst.left.saturating_sub(1);
        if burst.left == 0 {
            self.burst = self.next_burst();
        }
        self.tallies.hit(kind, Some(target));
        Some(kind)
    }

    /// The disk is mended.
    pub(super) fn end(&mut self) {
        self.burst = None;
    }

    fn next_burst(&mut self) -> Option<Burst> {
        let kind = match self.scheme {
            Scheme::Calm | Scheme::Lying => return None,
            Scheme::One(kind) => kind,
            Scheme::Mixed => {
                self.turn += 1;
                *MIXED.get(self.turn % MIXED.len())?
            }
        };
        let (calm_max, length_max) = match kind {
            Kind::SyncError => (CALM_SYNCS_MAX, LONG_SYNCS_MAX),
            Kind::DeadDisk => (CALM_UNTIL_DEAD_MAX, 1),
            _ => (CALM_WRITES_MAX, LONG_WRITES_MAX),
        };
        let length = if self.dice.percent(50) {
            1
        } else {
            self.dice.between(2, length_max)
        };
        self.tallies.plan(kind);
        Some(Burst {
            kind,
            calm: self.dice.below(calm_max).try_into().unwrap_or(0),
            left: if kind == Kind::DeadDisk {
                u64::MAX
            } else {
                length.try_into().unwrap_or(1)
            },
        })
    }
}

/// How a change that a fault hits fails.
pub(super) fn failure(kind: Kind) -> Failure {
    match kind {
        Kind::DiskFull | Kind::ShortWrite => Failure::Full,
        _ => Failure::Device,
    }
}

fn is_hit(kind: Kind, act: Act) -> bool {
    match kind {
        Kind::WriteError | Kind::ShortWrite => act == Act::Write,
        Kind::DiskFull => act != Act::Sync,
        Kind::SyncError => act == Act::Sync,
        _ => true,
    }
}

const SCHEMES_IN_TURN: u64 = 7;
/// Short writes first: they alone succeed when they are repeated.
const MIXED: [Kind; 4] = [Kind::WriteError, Kind::ShortWrite, Kind::SyncError, Kind::DiskFull];
/// A scenario writes a thousand times and more,
const CALM_WRITES_MAX: usize = 250;
/// and syncs a hundred times.
const CALM_SYNCS_MAX: usize = 25;
const CALM_UNTIL_DEAD_MAX: usize = 1_500;
/// Half of the bursts are one change long, the others up to these.
const LONG_WRITES_MAX: usize = 40;
const LONG_SYNCS_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(scheme: Scheme, act: Act) -> Vec<Option<Kind>> {
        let mut plan = Plan::new(scheme, Dice::new(1));
        (0..3_000).map(|_| plan.hits(act, Target::Log)).collect()
    }

    #[test]
    fn each_kind_hits_what_it_can_hit_and_leaves_the_rest_alone() {
        for (kind, act, other) in [
            (Kind::SyncError, Act::Sync, Act::Write),
            (Kind::WriteError, Act::Write, Act::Sync),
            (Kind::ShortWrite, Act::Write, Act::Name),
            (Kind::DiskFull, Act::Name, Act::Sync),
        ] {
            let hit = hits(Scheme::One(kind), act).iter().flatten().count();
            assert!((10..2_500).contains(&hit), "{kind:?}: {hit}");
            assert_eq!(hits(Scheme::One(kind), other).iter().flatten().count(), 0, "{kind:?}");
        }
        assert_eq!(hits(Scheme::Calm, Act::Write).iter().flatten().count(), 0);
    }

    #[test]
    fn a_dead_disk_stays_dead_until_it_is_mended() {
        let dead = hits(Scheme::One(Kind::DeadDisk), Act::Name);
        let first = dead.iter().position(Option::is_some).unwrap();
        assert!(dead[first..].iter().all(Option::is_some));
        let mut plan = Plan::new(Scheme::One(Kind::DeadDisk), Dice::new(1));
        for _ in 0..=first {
            plan.hits(Act::Sync, Target::Log);
        }
        plan.end();
        assert_eq!(plan.hits(Act::Sync, Target::Log), None);
        assert_eq!(plan.tallies.of(Kind::DeadDisk).hit, 1);
    }

    #[test]
    fn mixed_faults_are_of_every_kind() {
        let mut plan = Plan::new(Scheme::Mixed, Dice::new(1));
        for number in 0..9_000 {
            let act = if number % 10 == 0 { Act::Sync } else { Act::Write };
            plan.hits(act, Target::Log);
        }
        for kind in MIXED {
            assert!(plan.tallies.of(kind).hit > 0, "{kind:?}");
        }
    }
}
