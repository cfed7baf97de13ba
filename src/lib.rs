//! Vaguemestre plays a whole MSSanté trust space for tests, or stands as one gateway/operator inside one.

pub mod clock;
pub mod directory;
pub mod identity;
pub mod imap;
pub mod mailbox;
pub mod policy;
pub mod store;
