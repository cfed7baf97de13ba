//! Boxes and folders: how a message comes in, what a session may do with them, and who is told of a change.
//!
//! Invariant: whoever changes a folder through this module tells [`Notify`] after the commit, so that a session in IDLE writes
//! within milliseconds and nobody polls. Deliberately absent: rights and authentication, which the listener decides.

pub mod care;
mod contents;
mod convert;
pub mod deliver;
mod executor;
mod find;
mod indexer;
pub mod notify;
mod transfer;

#[cfg(test)]
pub(crate) mod memory;

pub use deliver::{STANDARD_FOLDERS, new_message, staged_message};
pub use executor::{Access, BoxSession, FolderLimits, Mailboxes, Terms};
pub use indexer::{Indexer, IndexerOptions};
pub use notify::{Notify, Watch};
pub use transfer::Transfer;
