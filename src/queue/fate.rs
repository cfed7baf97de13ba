//! The decision after one attempt for one recipient. Reads no clock, touches no store.

use std::fmt;

use jiff::Timestamp;

use super::schedule::RetryPlan;
use crate::journal::{BounceCause, Excerpt};

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The peer, in an SMTP reply.
    Peer,
    /// This operator: no route, no TLS, no proof of trust, a broken connection.
    Here,
}

/// What an attempt ended with, in the form of an SMTP reply on one line: `550 5.1.1 no such box`. A peer may repeat a patient's
/// address in it, so Debug output masks.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who said it.
    pub origin: Origin,
    /// The line.
    pub text: String,
}

impl Answer {
    /// A peer's reply.
    pub fn peer(text: impl Into<String>) -> Self {
        Self {
            origin: Origin::Peer,
            text: text.into(),
        }
    }

    /// A finding of this operator, worded like a reply.
    pub fn here(text: impl Into<String>) -> Self {
        Self {
            origin: Origin::Here,
            text: text.into(),
        }
    }

    /// The enhanced status code (RFC 3463) after the reply code, if there is one.
    pub fn status(&self) -> Option<&str> {
        let rest = self.text.get(3..)?.trim_start_matches([' ', '-']);
        let word = rest.split_ascii_whitespace().next()?;
        let mut parts = word.split('.');
        let class = parts.next().is_some_and(|part| matches!(part, "2" | "4" | "5"));
        let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let detail = parts.next().is_some_and(number) && parts.next().is_some_and(number);
        (class && detail && parts.next().is_none()).then_some(word)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} said {:?}", self.origin, Excerpt::new(&self.text).as_str())
    }
}

/// How an attempt ended for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer took it, and the duty to report (RFC 3461 §5.2.2) with it.
    Accepted(Answer),
    /// The peer took it, but it does not offer DSN: nobody beyond will report.
    AcceptedWithoutDsn(Answer),
    /// For good.
    Refused(Answer),
    /// For now.
    Deferred(Answer),
}

impl Outcome {
    /// What it ended with.
    pub fn answer(&self) -> &Answer {
        match self {
            Self::Accepted(answer)
            | Self::AcceptedWithoutDsn(answer)
            | Self::Refused(answer)
            | Self::Deferred(answer) => answer,
        }
    }
}

/// What the decision depends on beside the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Attempts finished, this one included; at least 1.
    pub attempts: u32,
    /// When the message is given up.
    pub expires: Timestamp,
    /// Whether somebody may be told of a failure: not for a null reverse-path, not when `NOTIFY` leaves failure out.
    pub tell_failure: bool,
    /// When the sender is to learn that it is late; `None` when that is not wanted, or was said.
    pub late: Option<Timestamp>,
}

/// What becomes of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It leaves the queue; the peer has it.
    Delivered,
    /// It stays, and is tried again then.
    RetryAt(Timestamp),
    /// The same, and its sender is told that it is late.
    TellDelay(Timestamp),
    /// It leaves the queue and its sender is told.
    Bounce(BounceCause),
    /// It leaves the queue and nobody is told.
    Discard(BounceCause),
}

/// Decides what becomes of a recipient after one attempt.
pub fn fate(outcome: &Outcome, tried: Tried, plan: &RetryPlan, now: Timestamp) -> Fate {
    let give_up = |cause| {
        if tried.tell_failure {
            Fate::Bounce(cause)
        } else {
            Fate::Discard(cause)
        }
    };
    match outcome {
        Outcome::Accepted(_) | Outcome::AcceptedWithoutDsn(_) => Fate::Delivered,
        Outcome::Refused(_) => give_up(BounceCause::Refused),
        Outcome::Deferred(_) => match plan.next(tried.attempts, now, tried.expires) {
            Some(due) => match tried.late {
                Some(late) if late <= now => Fate::TellDelay(due),
                // One more attempt before saying so: the notice is neither early nor, between two long waits, hours late.
                Some(late) => Fate::RetryAt(due.min(late)),
                None => Fate::RetryAt(due),
            },
            None => give_up(BounceCause::Expired),
        },
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn one_attempt_has_one_fate() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let plan = RetryPlan::default();
        let later = plan.expires(now);
        let in_minutes = |minutes| Fate::RetryAt(now + SignedDuration::from_mins(minutes));
        let ok = || Outcome::Accepted(Answer::peer("250 2.0.0 ok"));
        let silent = || Outcome::AcceptedWithoutDsn(Answer::peer("250 ok"));
        let no = || Outcome::Refused(Answer::peer("550 5.1.1 no"));
        let busy = || Outcome::Deferred(Answer::peer("451 4.3.0 later"));
        for (outcome, attempts, expires, tell_failure, expected) in [
            (ok(), 1, later, true, Fate::Delivered),
            (ok(), 9, now, false, Fate::Delivered),
            (silent(), 1, later, true, Fate::Delivered),
            (no(), 1, later, true, Fate::Bounce(BounceCause::Refused)),
            (no(), 1, later, false, Fate::Discard(BounceCause::Refused)),
            (busy(), 1, later, true, in_minutes(1)),
            (busy(), 2, later, true, in_minutes(5)),
            (busy(), 7, later, false, in_minutes(240)),
            (busy(), 500, later, true, in_minutes(240)),
            (
                busy(),
                1,
                now + SignedDuration::from_secs(1),
                true,
                Fate::RetryAt(now + SignedDuration::from_secs(1)),
            ),
            (busy(), 1, now, true, Fate::Bounce(BounceCause::Expired)),
            (busy(), 1, now, false, Fate::Discard(BounceCause::Expired)),
            (busy(), 0, later, true, in_minutes(1)),
        ] {
            let tried = Tried {
                attempts,
                expires,
                tell_failure,
                late: None,
            };
            assert_eq!(fate(&outcome, tried, &plan, now), expected, "{outcome:?} {tried:?}");
        }
    }

    #[test]
    fn the_sender_learns_of_a_delay_when_the_message_is_late_and_not_before() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let plan = RetryPlan::default();
        let busy = Outcome::Deferred(Answer::peer("451 4.3.0 later"));
        let minutes = |minutes| now + SignedDuration::from_mins(minutes);
        let with = |late, expires| {
            let tried = Tried {
                attempts: 7,
                expires,
                tell_failure: true,
                late,
            };
            fate(&busy, tried, &plan, now)
        };
        let later = minutes(6_000);
        assert_eq!(with(None, later), Fate::RetryAt(minutes(240)));
        assert_eq!(with(Some(minutes(9)), later), Fate::RetryAt(minutes(9)));
        assert_eq!(with(Some(minutes(999)), later), Fate::RetryAt(minutes(240)));
        assert_eq!(with(Some(now), later), Fate::TellDelay(minutes(240)));
        assert_eq!(with(Some(minutes(-9)), later), Fate::TellDelay(minutes(240)));
        assert_eq!(with(Some(now), now), Fate::Bounce(BounceCause::Expired));
        let taken = Outcome::Accepted(Answer::peer("250 ok"));
        let tried = Tried {
            attempts: 7,
            expires: later,
            tell_failure: true,
            late: Some(now),
        };
        assert_eq!(fate(&taken, tried, &plan, now), Fate::Delivered);
    }

    #[test]
    fn debug_output_masks_what_a_peer_repeats() {
        let shown = format!("{:?}", Answer::peer("550 <279035121518989@patient.mssante.fr> unknown"));
        assert_eq!(shown, "Peer said \"550 <2790…989@patient.mssante.fr> unknown\"");
    }

    #[test]
    fn the_enhanced_status_is_read_from_the_reply() {
        for (text, status) in [
            ("550 5.1.1 no such box", Some("5.1.1")),
            ("451-4.3.0 later", Some("4.3.0")),
            ("554 5.7.026 x", Some("5.7.026")),
            ("550 no such box", None),
            ("550 127.0.0.1 refused", None),
            ("550", None),
            ("550 5.1.1.1", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(Answer::peer(text).status(), status, "{text}");
        }
    }
}
