//! The grammar of commands: bytes in, a tree out (RFC 9051 §9, with what the extensions add).

#![expect(dead_code, reason = "the parser that makes these values follows")]

pub(crate) mod tree;
