//! Many sessions on one box, random commands, and for each client a model of what it must have been told (RFC 3501 §5.2, §7.4.1; RFC 7162;
//! RFC 5465). Folders come and go under them, logins end and begin again.
//! A line that cannot be true fails with the seed and everything said since the beginning.
//!
//! `STATE_SEEDS` is how many seeds are played in memory, `STATE_SEED` the first of them, `STATE_SECONDS` how long a running server is
//! worked on.

#![cfg(test)]
#![allow(
    clippy::struct_excessive_bools,
    reason = "what a client believes is many small facts"
)]

mod common;
#[path = "imap_state/folder.rs"]
mod folder;
#[path = "imap_state/memory.rs"]
mod memory;
#[path = "imap_state/model.rs"]
mod model;
#[path = "imap_state/notice.rs"]
mod notice;
#[path = "imap_state/random.rs"]
mod random;
#[path = "imap_state/script.rs"]
mod script;
#[path = "imap_state/server.rs"]
mod server;
#[path = "imap_state/truth.rs"]
mod truth;
#[path = "imap_state/wire.rs"]
mod wire;

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn every_session_is_told_what_happens_in_memory() {
    let (first, seeds) = (number("STATE_SEED", 1), number("STATE_SEEDS", 6));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for seed in first..first + seeds {
        runtime.block_on(memory::play(seed));
    }
}

#[test]
fn every_session_is_told_what_happens_on_a_server() {
    server::play(number("STATE_SEED", 1), number("STATE_SECONDS", 8));
}
