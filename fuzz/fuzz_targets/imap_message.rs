//! What IMAP reads of any message: valid syntax, the same whole or in pieces, sections that add up, in time that grows with its length.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| vaguemestre::imap::fuzzing::check(message));
