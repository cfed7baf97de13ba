//! A MIME walker that keeps what IMAP must show as it was sent: raw encoded words, exact offsets, parameters of RFC 2231.
//!
//! `mail-parser` decodes, which is what SEARCH wants; ENVELOPE, BODYSTRUCTURE and `BODY[…]` want the bytes.
//! Nothing here fails: any bytes are some message. Depth and number of parts are bounded.

pub(crate) mod address;
pub(crate) mod decode;
pub(crate) mod header;
pub(crate) mod outline;
pub(crate) mod parameter;
pub(crate) mod part;
pub(crate) mod preview;
mod walk;

pub(crate) use walk::Walker;
