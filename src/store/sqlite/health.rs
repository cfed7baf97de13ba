//! Whether the disk takes what is written: told to the operator once when it stops to, now and then while it does not, and once when
//! it does again. A disk that fills fails every message; a line for each would fill what is left of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rows::is_of_disk;
use crate::store::StoreError;

/// Why a store takes nothing at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What failed last.
    pub what: String,
    /// Whether the disk is full; otherwise it failed, or may not be written.
    pub is_full: bool,
    /// Failures since it began.
    pub failures: u64,
}

/// What is written to: each fails and recovers by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Rows,
    Bodies,
}

/// The state of both.
#[derive(Debug, Default)]
pub(super) struct Health {
    failing: [AtomicBool; 2],
    troubles: Mutex<[Option<Known>; 2]>,
}

#[derive(Debug)]
struct Known {
    trouble: Trouble,
    told: Instant,
}

impl Health {
    /// Something could not be written.
    pub(super) fn failed(&self, part: Part, what: &str, is_full: bool) {
        let mut troubles = self.lock();
        let now = Instant::now();
        let slot = &mut troubles[part as usize];
        let first = slot.is_none();
        let known = slot.get_or_insert_with(|| Known {
            trouble: Trouble {
                what: String::new(),
                is_full,
                failures: 0,
            },
            told: now,
        });
        what.clone_into(&mut known.trouble.what);
        known.trouble.is_full = is_full;
        known.trouble.failures += 1;
        if first || now.duration_since(known.told) >= TELL_AGAIN {
            known.told = now;
            tracing::error!(
                what,
                disk_full = is_full,
                failures = known.trouble.failures,
                "the store cannot be written: mail is refused for now, reading goes on"
            );
        }
        self.failing[part as usize].store(true, Ordering::Release);
    }

    /// Something was written.
    pub(super) fn well(&self, part: Part) {
        if !self.failing[part as usize].load(Ordering::Acquire) {
            return;
        }
        let ended = self.lock()[part as usize].take();
        self.failing[part as usize].store(false, Ordering::Release);
        if let Some(Known { trouble, .. }) = ended {
            tracing::warn!(failures = trouble.failures, "the store can be written again");
        }
    }

    /// Notes what became of writing a body.
    pub(super) fn note<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Ok(_) => self.well(Part::Bodies),
            Err(error) if is_of_disk(error) => {
                self.failed(
                    Part::Bodies,
                    &error.with_cause(),
                    matches!(error, StoreError::Full { .. }),
                );
            }
            Err(_) => {}
        }
    }

    /// The trouble there is, if any.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.lock().iter().flatten().map(|known| known.trouble.clone()).next()
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Known>; 2]> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lasts, the log says so this often.
const TELL_AGAIN: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_lasts_until_its_own_part_is_written() {
        let health = Health::default();
        assert_eq!(health.trouble(), None);
        health.failed(Part::Bodies, "no space", true);
        health.failed(Part::Bodies, "no space", true);
        health.well(Part::Rows);
        let trouble = health.trouble().unwrap();
        assert_eq!((trouble.is_full, trouble.failures), (true, 2));
        health.well(Part::Bodies);
        assert_eq!(health.trouble(), None);
    }
}
