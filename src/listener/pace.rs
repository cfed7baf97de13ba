//! Whether a sender keeps up a minimum rate while a message is awaited from it. What counts is the time that this end spends waiting: a disk that
//! is slow here never makes a sender slow.

use std::time::Duration;

/// How slowly a message may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes per second, on average; 0: no minimum.
    pub bytes_per_second_min: u64,
    /// Over so long.
    pub grace: Duration,
}

/// The waiting of one message: every `rate x grace` bytes have to come within `grace`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate: Rate,
    waited: Duration,
    came_bytes: u64,
}

impl Pace {
    /// Nothing was waited for yet.
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            waited: Duration::ZERO,
            came_bytes: 0,
        }
    }

    /// How long the next bytes may be waited for; `None`: as long as other limits allow.
    pub(super) fn left(&self) -> Option<Duration> {
        (self.rate.bytes_per_second_min > 0).then(|| self.rate.grace.saturating_sub(self.waited))
    }

    /// So many bytes came after so long.
    pub(super) fn came(&mut self, bytes: usize, waited: Duration) {
        self.waited = self.waited.saturating_add(waited);
        self.came_bytes = self.came_bytes.saturating_add(bytes as u64);
        let portion = self.rate.bytes_per_second_min.saturating_mul(self.rate.grace.as_secs());
        if self.came_bytes >= portion {
            self.rest();
        }
    }

    /// Nothing is waited for that has to come at a rate.
    pub(super) fn rest(&mut self) {
        *self = Self::new(self.rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(bytes_per_second_min: u64) -> Pace {
        let grace = Duration::from_secs(10);
        Pace::new(Rate {
            bytes_per_second_min,
            grace,
        })
    }

    #[test]
    fn drops_use_the_grace_up_and_a_portion_in_time_gives_it_back() {
        let mut slow = pace(100);
        for second in 1..10 {
            slow.came(1, SECOND);
            assert_eq!(slow.left(), Some(SECOND * (10 - second)));
        }
        slow.came(990, SECOND / 2);
        assert_eq!(slow.left(), Some(SECOND / 2), "999 bytes are not yet a portion");
        slow.came(1, Duration::ZERO);
        assert_eq!(slow.left(), Some(SECOND * 10));
    }

    #[test]
    fn what_came_quickly_is_no_credit_for_later() {
        let mut burst = pace(100);
        burst.came(50_000_000, SECOND);
        burst.came(1, SECOND * 9);
        assert_eq!(burst.left(), Some(SECOND));
        burst.came(1, SECOND * 9);
        assert_eq!(burst.left(), Some(Duration::ZERO));
        burst.rest();
        assert_eq!(burst.left(), Some(SECOND * 10));
    }

    #[test]
    fn no_minimum_is_no_limit() {
        let mut free = pace(0);
        free.came(1, SECOND * 1_000);
        assert_eq!(free.left(), None);
    }
}
