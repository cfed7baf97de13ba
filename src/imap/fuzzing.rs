//! What fuzz targets reach of parsers that are private.

use super::check;
use super::names::{self, Spelling};
use super::utf7;

/// Checks everything that is read of a message; panics when one thing contradicts another.
pub fn check(message: &[u8]) {
    check::check(message);
}

/// The folder name of a modified UTF-7 form.
pub fn from_utf7(sent: &[u8]) -> Option<String> {
    names::text(sent, Spelling::Utf7).ok()
}

/// The folder name of a UTF-8 form.
pub fn from_utf8(sent: &[u8]) -> Option<String> {
    names::text(sent, Spelling::Utf8).ok()
}

/// The modified UTF-7 form of a folder name.
pub fn to_utf7(name: &str) -> Vec<u8> {
    utf7::encode(name)
}
