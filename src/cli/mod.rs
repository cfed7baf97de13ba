//! One file per command: its arguments, and a function that takes what was opened for it and prints. Opening data folders, choosing
//! operators and exit codes is `main`'s.

pub mod indicator;
pub mod journal;
pub mod recount;

mod open;

pub use open::{JsonFlag, OpenOperator, Output};
