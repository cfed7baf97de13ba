//! Mail hosts that do what a test tells them, and an operator whose relay meets them: all in this process, with real sockets and TLS.

mod field;
mod host;

pub(crate) use field::{Field, Mail, Options};
pub(crate) use host::Host;
