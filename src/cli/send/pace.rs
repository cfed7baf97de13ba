//! When each mail is due.

use std::time::Duration;

/// A steady rate: mail number n (from 1) is due (n - 1) / rate seconds after the start. A sender that fell behind catches up, so that
/// the mean rate holds. Reads no clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_second: f64,
}

impl Pace {
    /// A rate in mails per second; 0 is as fast as possible.
    pub(super) fn new(per_second: f64) -> Self {
        Self { per_second }
    }

    /// How long to wait for this mail, `elapsed` after the start.
    pub(super) fn wait(self, number: u64, elapsed: Duration) -> Duration {
        if self.per_second <= 0.0 {
            return Duration::ZERO;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact up to 2^53 mails, which nobody lives to see"
        )]
        let due = number.saturating_sub(1) as f64 / self.per_second;
        Duration::try_from_secs_f64(due)
            .unwrap_or(Duration::MAX)
            .saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of the mails leaves if sending one takes `work`, with one sender.
    fn departures(per_second: f64, work: Duration, count: u64) -> Vec<Duration> {
        let pace = Pace::new(per_second);
        let mut now = Duration::ZERO;
        let mut departures = Vec::new();
        for number in 1..=count {
            now += pace.wait(number, now);
            departures.push(now);
            now += work;
        }
        departures
    }

    fn ms(ms: &[u64]) -> Vec<Duration> {
        ms.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn mails_leave_at_equal_distances_and_the_first_at_once() {
        assert_eq!(departures(10.0, Duration::ZERO, 4), ms(&[0, 100, 200, 300]));
        assert_eq!(departures(0.5, Duration::from_millis(3), 3), ms(&[0, 2000, 4000]));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let work = Duration::from_millis(7);
        assert_eq!(departures(0.0, work, 3), ms(&[0, 7, 14]));
    }

    #[test]
    fn a_sender_that_fell_behind_catches_up() {
        let pace = Pace::new(10.0);
        // Mail 3 was due at 200 ms: late, so at once; mail 6 is due at 500 ms as if nothing had happened.
        assert_eq!(pace.wait(3, Duration::from_millis(450)), Duration::ZERO);
        assert_eq!(pace.wait(6, Duration::from_millis(450)), Duration::from_millis(50));
    }

    #[test]
    fn the_last_mail_of_a_huge_count_overflows_nothing() {
        assert!(Pace::new(0.0001).wait(u64::MAX, Duration::ZERO) > Duration::from_secs(1));
    }
}
