//! Who may send what to whom: pure verdicts with a stable reason each. Nothing here waits, stores or logs.

mod refusal;

pub use refusal::{Reason, Refusal};
