//! Vaguemestre plays a whole MSSanté trust space for tests, or stands as one gateway/operator inside one.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
pub mod dns;
pub mod identity;
pub mod imap;
pub mod indicator;
pub mod journal;
pub mod listener;
pub mod mailbox;
pub mod message;
pub mod pki;
pub mod policy;
pub mod queue;
pub mod relay;
pub mod smtp;
pub mod space;
pub mod store;
pub mod trust;
pub mod web;
