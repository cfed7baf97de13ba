//! The only reader of the wall clock. Tests and the sandbox set it, so that month ends, retry schedules and certificate expiry
//! are played in seconds (invariant 10). Layers 0 to 3 receive `now` as an argument or through this type.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The wall clock, or one that a test moves. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System { offset_ms: Arc<AtomicI64> },
    Manual { now_ms: Arc<AtomicI64> },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self {
            source: Source::System {
                offset_ms: Arc::default(),
            },
        }
    }

    /// A clock that stands still at `now` until it is moved.
    pub fn manual(now: Timestamp) -> Self {
        Self {
            source: Source::Manual {
                now_ms: Arc::new(AtomicI64::new(now.as_millisecond())),
            },
        }
    }

    /// The time, to the millisecond.
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Source::System { offset_ms } => {
                let offset = SignedDuration::from_millis(offset_ms.load(Ordering::Relaxed));
                read_wall_clock().saturating_add(offset).unwrap_or(Timestamp::MAX)
            }
            Source::Manual { now_ms } => {
                Timestamp::from_millisecond(now_ms.load(Ordering::Relaxed)).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Moves the clock forward, or back with a negative duration.
    pub fn advance(&self, by: SignedDuration) {
        let cell = match &self.source {
            Source::System { offset_ms } => offset_ms,
            Source::Manual { now_ms } => now_ms,
        };
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        cell.fetch_add(by_ms, Ordering::Relaxed);
    }
}

/// How long something takes, whatever happens to the clock meanwhile. For figures only: decisions ask a [`Clock`].
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now on.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since then.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// The civil month of a moment in Europe/Paris, as counters and indicators name it: `2026-11`.
pub fn month_of(at: Timestamp) -> String {
    let zoned = at.to_zoned(paris());
    format!("{:04}-{:02}", zoned.year(), zoned.month())
}

/// Europe/Paris; the data is bundled, so the fallback is unreachable but harmless.
pub fn paris() -> TimeZone {
    TimeZone::get("Europe/Paris").unwrap_or(TimeZone::UTC)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
fn read_wall_clock() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_at_midnight_in_paris() {
        assert_eq!(month_of("2026-10-31T22:59:59Z".parse().unwrap()), "2026-10");
        assert_eq!(month_of("2026-10-31T23:00:00Z".parse().unwrap()), "2026-11");
        assert_eq!(month_of("2026-06-30T22:00:00Z".parse().unwrap()), "2026-07");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual("2026-11-21T10:00:00Z".parse().unwrap());
        let other = clock.clone();
        clock.advance(SignedDuration::from_hours(2));
        assert_eq!(other.now().to_string(), "2026-11-21T12:00:00Z");
    }
}
