//! The name of a folder in modified UTF-7: whatever is taken has one spelling only, and reads back as the same name in both spellings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::imap::fuzzing::{from_utf7, from_utf8, to_utf7};

fuzz_target!(|sent: &[u8]| {
    if let Some(name) = from_utf7(sent) {
        let wire = to_utf7(&name);
        assert!(wire.is_ascii());
        assert_eq!(from_utf7(&wire), Some(name.clone()));
        assert_eq!(from_utf8(name.as_bytes()), Some(name));
    }
    if let Some(name) = from_utf8(sent) {
        assert_eq!(from_utf7(&to_utf7(&name)), Some(name));
    }
});
