//! The parts of any message, however its bytes come: the same parts, in bounded memory, and never deeper than allowed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::message::structure::Structure;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, message) = input;
    let mut whole = Structure::new(20);
    whole.feed(message);
    let mut pieces = Structure::new(20);
    for piece in message.chunks(usize::from(piece).max(1)) {
        pieces.feed(piece);
    }
    let parts = whole.finish().to_vec();
    assert!(parts == pieces.finish(), "pieces make no difference");
    assert!(parts.iter().all(|part| part.depth <= 21));
});
