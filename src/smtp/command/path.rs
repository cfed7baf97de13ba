//! Reverse-path and forward-path (RFC 5321 §4.1.2).

use std::fmt;

use super::CommandError;
use crate::identity::Address;

/// Where a message shall go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// A box.
    Address(Address),
    /// `<postmaster>` without a domain: the one of this server (RFC 5321 §4.5.1).
    Postmaster,
}

impl ForwardPath {
    /// The address, unless it is the bare postmaster.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Address(address) => Some(address),
            Self::Postmaster => None,
        }
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}

/// Splits `<path> parameters` into the path without its brackets and the rest. A quoted local part may hold a `>`.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if at > PATH_BYTES_MAX => return None,
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some((&inner[..at], &inner[at + 1..])),
            _ => {}
        }
    }
    None
}

/// The path of MAIL; `Ok(None)` is the null reverse-path.
pub(super) fn reverse(path: &str) -> Result<Option<Address>, CommandError> {
    if path.is_empty() {
        return Ok(None);
    }
    let mailbox = without_route(path).and_then(|mailbox| mailbox.parse().ok());
    mailbox.map(Some).ok_or(CommandError::ReversePath)
}

/// The path of RCPT.
pub(super) fn forward(path: &str) -> Option<ForwardPath> {
    // RFC 5321 §4.1.1.3: postmaster, in any case, is the one name that needs no domain.
    if path.eq_ignore_ascii_case("postmaster") {
        return Some(ForwardPath::Postmaster);
    }
    without_route(path)?.parse().ok().map(ForwardPath::Address)
}

/// RFC 5321 appendix C: source routes are accepted and ignored.
fn without_route(path: &str) -> Option<&str> {
    if path.starts_with('@') {
        path.split_once(':').map(|(_, mailbox)| mailbox)
    } else {
        Some(path)
    }
}

/// RFC 5321 §4.5.3.1.3 says 256, for an ASCII path; room is left for the route that is dropped anyway.
const PATH_BYTES_MAX: usize = 512;
