//! When a deferred message is tried again.

use jiff::{SignedDuration, Timestamp};

/// The waits between attempts, and how long a message may stay in the queue (RFC 5321 §4.5.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPlan {
    delays: Vec<SignedDuration>,
    expiry: SignedDuration,
    delay_notice: Option<SignedDuration>,
}

/// A plan that could not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryPlanError {
    /// No delay, or more than [`DELAYS_MAX`].
    #[error("a retry plan has 1 to {DELAYS_MAX} delays, this one has {0}")]
    Delays(usize),
    /// Attempts would follow each other without a pause.
    #[error("retry delay {0:#} is shorter than {DELAY_MIN:#}")]
    DelayTooShort(SignedDuration),
    /// Mail would live (nearly) for ever, or not at all.
    #[error("expiry {0:#} is not between {DELAY_MIN:#} and {EXPIRY_MAX:#}")]
    Expiry(SignedDuration),
}

impl RetryPlan {
    /// A plan: the wait after the first attempt, after the second …; the last one repeats. Messages expire `expiry` after they were
    /// queued.
    pub fn new(delays: Vec<SignedDuration>, expiry: SignedDuration) -> Result<Self, RetryPlanError> {
        if delays.is_empty() || delays.len() > DELAYS_MAX {
            return Err(RetryPlanError::Delays(delays.len()));
        }
        if let Some(short) = delays.iter().find(|delay| **delay < DELAY_MIN) {
            return Err(RetryPlanError::DelayTooShort(*short));
        }
        if !(DELAY_MIN..=EXPIRY_MAX).contains(&expiry) {
            return Err(RetryPlanError::Expiry(expiry));
        }
        Ok(Self {
            delays,
            expiry,
            delay_notice: Some(DEFAULT_DELAY_NOTICE),
        })
    }

    /// Tells senders that their mail is late after `delay_notice` in the queue; never with `None`.
    #[must_use]
    pub fn with_delay_notice(self, delay_notice: Option<SignedDuration>) -> Self {
        Self { delay_notice, ..self }
    }

    /// When a message queued at `created` counts as late; `None` when nobody is to be told.
    pub fn late(&self, created: Timestamp) -> Option<Timestamp> {
        let after = self.delay_notice?;
        Some(created.saturating_add(after).unwrap_or(Timestamp::MAX))
    }

    /// Until when a message was queued that counts as late at `now`; `None` when nobody is to be told.
    pub fn late_before(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now.saturating_sub(self.delay_notice?).unwrap_or(Timestamp::MIN))
    }

    /// When a message queued at `now` is given up.
    pub fn expires(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.expiry).unwrap_or(Timestamp::MAX)
    }

    /// When the attempt after `attempts` failed ones is due; `None` once `expires` is reached. The last attempt falls on `expires`
    /// itself, so a message is not given up earlier than promised.
    pub fn next(&self, attempts: u32, now: Timestamp, expires: Timestamp) -> Option<Timestamp> {
        if now >= expires {
            return None;
        }
        let due = now.saturating_add(self.pause(attempts)).unwrap_or(Timestamp::MAX);
        Some(due.min(expires))
    }

    /// The wait after so many failed attempts; a destination that cannot be reached is left alone at the same pace.
    pub fn pause(&self, attempts: u32) -> SignedDuration {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = self.delays.get(index).or(self.delays.last());
        // A plan has at least one.
        delay.copied().unwrap_or(DELAY_MIN)
    }
}

/// 1, 5, 15 and 30 minutes, 1, 2 and 4 hours, then every 4 hours; given up after 48 hours. A restart or a short outage of a peer
/// delays mail by minutes; a sender learns within two days, a working day of which the peer could repair something.
impl Default for RetryPlan {
    fn default() -> Self {
        Self {
            delays: DEFAULT_DELAYS_MINUTES.map(SignedDuration::from_mins).to_vec(),
            expiry: SignedDuration::from_hours(48),
            delay_notice: Some(DEFAULT_DELAY_NOTICE),
        }
    }
}

/// Most delays a plan may list.
pub const DELAYS_MAX: usize = 64;
/// Shortest delay.
pub const DELAY_MIN: SignedDuration = SignedDuration::from_secs(1);
/// Longest life in the queue: thirty days.
pub const EXPIRY_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Half a working day: a document that was not delivered by then is worth a telephone call.
pub const DEFAULT_DELAY_NOTICE: SignedDuration = SignedDuration::from_hours(4);
const DEFAULT_DELAYS_MINUTES: [i64; 7] = [1, 5, 15, 30, 60, 120, 240];

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    /// Every attempt of a message that never gets through, in minutes after it was queued.
    fn played(plan: &RetryPlan) -> Vec<i64> {
        let expires = plan.expires(start());
        let mut attempts = vec![0];
        let mut now = start();
        while let Some(due) = plan.next(u32::try_from(attempts.len()).unwrap(), now, expires) {
            assert!(due > now);
            now = due;
            attempts.push(now.duration_since(start()).as_mins());
        }
        attempts
    }

    #[test]
    fn the_default_schedule_tries_often_at_first_and_ends_after_two_days() {
        let minutes = played(&RetryPlan::default());
        assert_eq!(minutes[..8], [0, 1, 6, 21, 51, 111, 231, 471]);
        assert!(minutes[8..].windows(2).all(|pair| pair[1] - pair[0] <= 240));
        assert_eq!(minutes.last(), Some(&(48 * 60)));
    }

    #[test]
    fn a_plan_of_ones_own_is_followed() {
        let minutes = |n| SignedDuration::from_mins(n);
        let plan = RetryPlan::new(vec![minutes(2)], minutes(5)).unwrap();
        assert_eq!(played(&plan), [0, 2, 4, 5]);
    }

    #[test]
    fn a_plan_that_cannot_work_is_refused() {
        let hour = SignedDuration::from_hours(1);
        assert_eq!(RetryPlan::new(vec![], hour), Err(RetryPlanError::Delays(0)));
        assert_eq!(RetryPlan::new(vec![hour; 65], hour), Err(RetryPlanError::Delays(65)));
        for delay in [SignedDuration::ZERO, -hour] {
            assert!(matches!(
                RetryPlan::new(vec![hour, delay], hour),
                Err(RetryPlanError::DelayTooShort(_))
            ));
        }
        for expiry in [SignedDuration::ZERO, hour * 1000] {
            assert!(matches!(
                RetryPlan::new(vec![hour], expiry),
                Err(RetryPlanError::Expiry(_))
            ));
        }
    }
}
