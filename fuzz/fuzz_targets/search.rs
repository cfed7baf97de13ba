//! Searches in any message for any text: what holds in a message holds by an index of its trigrams too, and HEADER sees the same in the header
//! alone as in the whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::imap::{Facts, TextKey, searchable, searchable_header};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (at, length, message) = input;
    // What is sought is a piece of the message, so that much is found.
    let from = (usize::from(at) * message.len()) >> 8;
    let needle = &message[from..message.len().min(from + usize::from(length % 24))];
    let whole = searchable(message, usize::MAX);
    let header = searchable_header(message);
    assert!(whole.is_complete && whole.text.iter().filter(|b| **b == 0xFE).count() == 2);
    // Sorted: hashing them took most of the time.
    let mut has: Vec<u32> = whole.text.windows(3).map(|w| u32::from_be_bytes([0, w[0], w[1], w[2]])).collect();
    has.sort_unstable();
    let keys = [TextKey::text(needle), TextKey::body(needle), TextKey::header(b"Subject", needle)];
    for key in keys.into_iter().flatten() {
        let holds = key.holds(&whole.text);
        assert!(!holds || key.trigrams().iter().all(|trigram| has.binary_search(trigram).is_ok()));
        assert!(key.needs_body() || holds == key.holds(&header));
    }
    let cut = searchable(message, 200);
    assert!(cut.is_complete || cut.text.len() <= whole.text.len());
    let facts = Facts::of(message);
    assert!(Facts::from_bytes(&facts.to_bytes()) == Some(facts));
});
