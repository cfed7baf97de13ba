//! The sandbox: authority roles, operators and patient space, composed from the same parts as `serve`. Operators reach each other
//! only through SMTP over mutual TLS: nothing here passes a message from one to another.

pub mod card;
pub mod folder;
mod made;
mod material;
mod ports;
mod raise;
mod visit;

pub use ports::free_ports;
pub use raise::{RaiseError, Raised, raise};
