//! Allow lists: any bytes are refused or read; what strict reading takes, salvage reads as the same list and skips nothing of it; what was
//! read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::trust::{AllowList, AllowListDocument, Mode, write};

fuzz_target!(|xml: &[u8]| {
    let salvaged = AllowList::parse(xml, Mode::Salvage);
    if let Ok(strict) = AllowList::parse(xml, Mode::Strict) {
        let salvaged = salvaged.as_ref().expect("salvage reads whatever strict reading does");
        assert_eq!(salvaged.list.entries(), strict.list.entries());
        assert!(salvaged.skipped.is_empty());
    }
    let Ok(read) = salvaged else { return };
    let document = AllowListDocument {
        generated: read.list.generated(),
        entries: read.list.entries().to_vec(),
    };
    let again = AllowList::parse(write(&document).as_bytes(), Mode::Strict).expect("a list is written as it can be read");
    assert_eq!(again.list.entries(), read.list.entries());
});
