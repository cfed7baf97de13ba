//! The usage indicator: which establishment a message counts for, the counters, their proof, and the report.
//!
//! One function, [`increments`], says what an event counts. It is used when the event is written ([`enter`]) and when the journal
//! is recounted ([`recount`]), so counters and journal can only differ if one of them was tampered with or a write was torn
//! (invariant 1). Attribution is decided once, at acceptance, and frozen in the event: a directory changed later moves no figure.

mod attribution;
mod counter;
mod month;
mod recount;
mod render;
mod report;
mod usage;

#[cfg(test)]
pub(crate) mod fake;

pub use attribution::{Attribution, Rule, attribute, received_box};
pub use counter::{RECEIVED, SENT, enter, increments};
pub use month::{Month, MonthError};
pub use recount::{CarriedOver, DAMAGED_LISTED_MAX, Difference, PAGE_ROWS, Recount, RecountError, Tally, recount};
pub use render::{csv, table};
pub use report::{BoxTypeRow, EntitySum, Report, Row, RowKind, Structures, Traffic, indicator};
pub use usage::{NotComputable, TARGET_PERCENT, Usage, Window};
