//! Proof of durability that anybody can run: `vaguemestre selftest`.
//!
//! * [`kill`] raises two operators as processes of their own, loads them, kills them without warning again and again, and then counts what
//!   became of every message that was answered with 250.
//! * [`faults`] runs the store on a disk that fails, and rebuilds from the record of its writes what a power cut would have left at any
//!   moment; each such image is opened by the store as a start after the crash does, and checked.
//!
//! Both take seeds, work in folders of their own, and never touch the user's data. `docs/durability.md` has the promises, the
//! commands and the results.

mod dice;
pub mod faults;
mod findings;
pub mod kill;

pub use findings::{Findings, LISTED_MAX, Wrong};
