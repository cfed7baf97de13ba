//! The certificate laboratory: plays named certificate defects, and the audit peers of the trust space, against software under test.

pub mod audit;
pub mod audit_mail;
pub mod audit_material;
pub mod audit_server;
pub mod play;
pub mod probe;
pub mod probe_hello;
mod probe_line;
mod serve_tls;
pub mod serve_visit;
