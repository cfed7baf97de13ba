//! The certificate laboratory: plays named certificate defects, and the audit peers of the trust space, against software under test.

pub mod play;
pub mod probe;
pub mod probe_hello;
mod probe_line;
pub mod serve_visit;
