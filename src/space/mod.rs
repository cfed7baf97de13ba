//! The sandbox: authority roles, operators and patient space, composed from the same parts as `serve`. Operators reach each other
//! only through SMTP over mutual TLS: nothing here passes a message from one to another.
//!
//! `<data>/space.toml` is what the space is. [`raise()`] makes it run; a [`Keeper`] carries [`Order`]s out, which change the file first
//! and then what runs. A command that finds the folder free keeps the space itself for a moment; otherwise it speaks to the process that
//! runs it ([`crate::app::control`]).

mod apply;
pub mod card;
mod change_domain;
mod change_operator;
mod doors;
mod edit;
pub mod folder;
mod keeper;
mod list;
mod made;
mod material;
mod moving;
mod order;
mod order_at;
mod order_audit;
mod order_cert;
mod order_certlab;
mod order_list;
mod order_renew;
mod people;
mod ports;
mod raise;
mod services;
mod visit;
mod zone;

pub use change_operator::NewOperator;
pub use keeper::Keeper;
pub use list::{SIGNER_COMMON_NAME, SIGNER_STRUCTURE, expected_signer, signer_files};
pub use order::{Answer, Order, OrderError, Reply};
pub use order_cert::{CertFilter, NewCertificate};
pub use order_certlab::ForgeOrder;
pub use order_renew::{Before, Renewal};
pub use ports::Ports;
pub use raise::{RaiseError, Raised, raise};
