//! A mail message as bytes: what its header says, what we put in front of it, and the messages we write ourselves.
//!
//! Nothing here parses a body, waits, stores or reads a clock. Header fields are read where they lie, so that a message is
//! relayed byte for byte; [`fields::Header`] is the one scanner that everything else uses.

pub mod addresses;
pub mod class;
pub mod dsn;
pub mod fields;
pub(crate) mod lines;
mod parameters;
pub mod pdf;
pub mod received;
#[cfg(test)]
pub(crate) mod samples;
pub mod structure;
pub mod synthetic;

pub use addresses::{AddressListError, Authors, Labelled};
pub use class::Class;
pub use fields::{Charset, Field, Header, HeaderDefect, HeaderLimits};
