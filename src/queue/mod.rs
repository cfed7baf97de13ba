//! What becomes of mail to other operators: when it is tried again, when it is given up, who is told.
//!
//! Decisions are pure ([`RetryPlan`], [`fate`]); [`enqueue`] and [`settle`] turn them into rows that the caller hands to the store
//! in one transaction. Nothing here opens a connection or builds a message: the relay tries, this decides, the relay performs.
//!
//! Deliberately absent: a report about a report. A message with a null reverse-path is discarded when it fails (invariant 6).

mod enqueue;
mod fate;
mod handover;
mod manage;
mod parameters;
mod schedule;
mod settle;

pub use enqueue::{Submission, enqueue};
pub use fate::{Answer, Fate, Origin, Outcome, Tried, fate};
pub use handover::{Handed, Handover, Place};
pub use manage::{Selection, SelectionError, manage};
pub use parameters::{Parameters, ParametersError};
pub use schedule::{DEFAULT_DELAY_NOTICE, DELAY_MIN, DELAYS_MAX, EXPIRY_MAX, RetryPlan, RetryPlanError};
pub use settle::{Action, Attempt, Notice, Settling, settle};
