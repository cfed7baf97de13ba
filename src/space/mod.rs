//! The sandbox: authority roles, operators and patient space, composed from the same parts as `serve`. Operators reach each other
//! only through SMTP over mutual TLS: nothing here passes a message from one to another.
//!
//! `<data>/space.toml` is what the space is. [`raise()`] makes it run; a [`Keeper`] carries [`Order`]s out, which change the file first
//! and then what runs. A command that finds the folder free keeps the space itself for a moment; otherwise it speaks to the process that
//! runs it ([`control`]).

pub mod card;
pub mod control;
mod doors;
pub mod folder;
mod keeper;
mod list;
mod made;
mod material;
mod order;
mod order_list;
mod ports;
mod raise;
mod services;
mod visit;
mod zone;

pub use keeper::Keeper;
pub use list::{SIGNER_COMMON_NAME, SIGNER_STRUCTURE, expected_signer, signer_files};
pub use order::{Answer, Order, OrderError, Reply};
pub use ports::free_ports;
pub use raise::{RaiseError, Raised, raise};
