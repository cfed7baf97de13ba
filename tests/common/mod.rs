//! What tests with real peers share: folders, ports, programs that end with the test, and the mail servers nobody here wrote.
//! A test file that uses it begins with `#![cfg(test)]`: then clippy knows
//! that all of the file is test code.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test file uses its own part, and compiles the rest too"
)]

mod certificates;
mod clinic;
mod corpus;
mod dovecot;
mod inbox;
mod mail;
mod openssl;
mod postfix;
mod program;
mod raw;
mod sandbox;
mod sender;
mod space;
mod talk;
mod wait;

pub(crate) use certificates::{Authority, Certificate};
pub(crate) use clinic::{Clinic, Setup, body_files, get};
pub(crate) use corpus::{SHAPES, corpus, message};
pub(crate) use dovecot::{Imapc, Upstream};
pub(crate) use inbox::{Letter, inbox};
pub(crate) use mail::{Stored, codes, dialogue, letter, received, received_by, stored};
pub(crate) use openssl::{Named, Pki};
pub(crate) use postfix::{Postfix, PostfixOptions, Route};
pub(crate) use program::{Finished, Program, Running};
pub(crate) use raw::{Raw, tls_config};
pub(crate) use sandbox::{Sandbox, hex};
pub(crate) use sender::{Line, Sender};
pub(crate) use space::{HOSPITAL, Space};
pub(crate) use talk::{Peer, Replies, holds, journal, mails};
pub(crate) use wait::wait_until;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process;
use std::sync::Mutex;

use tempfile::TempDir;

/// An empty folder that other users can enter (mail servers drop their privileges); removed when dropped.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("vm").tempdir().unwrap();
    open_to_all(folder.path());
    folder
}

pub(crate) fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

/// A port of 127.0.0.1 that nobody uses, given out once per process. It lies below the range from which the kernel takes ports of
/// outgoing connections; test processes begin at different places.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 18_000;
    const COUNT: u16 = 14_000;
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let start = u16::try_from(process::id().wrapping_mul(61) % u32::from(COUNT)).unwrap();
    let port = (0..COUNT)
        .map(|step| FIRST + (start + step) % COUNT)
        .find(|port| !given.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port");
    given.insert(port);
    port
}

/// Shows a peer's side of a failed test.
#[expect(clippy::print_stderr, reason = "the test harness shows it with the failure")]
pub(crate) fn show(texts: &[&str]) {
    for text in texts {
        eprintln!("{text}");
    }
}
