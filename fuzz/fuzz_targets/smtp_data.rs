//! Message text of DATA: the decoder, however the bytes are cut, agrees with the plain definition of RFC 5321 §4.5.2, and what the encoder
//! sends is one message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::smtp::data::{DotStuffer, Framing, TextFault, Unstuffer};

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, wire) = input;
    let piece = usize::from(cut) + 1;
    decode(wire, piece);
    encode(wire, piece);
});

fn decode(wire: &[u8], piece: usize) {
    let mut decoder = Unstuffer::new(Framing::Dots, LINE_BYTES_MAX);
    let (mut text, mut consumed) = (Vec::new(), 0);
    for bytes in wire.chunks(piece) {
        let taken = decoder.push(bytes, &mut text);
        consumed += taken;
        assert!(taken == bytes.len() || decoder.ended(), "only the end stops it");
        if decoder.ended() {
            break;
        }
    }
    // The end: CR LF `.` CR LF, or `.` CR LF at the very beginning.
    let lined = [b"\r\n", wire].concat();
    let end = lined.windows(5).position(|five| five == b"\r\n.\r\n");
    assert_eq!(decoder.ended(), end.is_some());
    let Some(end) = end else { return };
    assert_eq!(consumed, end + 3);
    let body = &wire[..end];
    let lines: Vec<&[u8]> = split_lines(body);
    let bare = lines.iter().any(|line| line.contains(&b'\r') || line.contains(&b'\n'));
    let stripped: Vec<&[u8]> = lines.iter().map(|line| line.strip_prefix(b".").unwrap_or(line)).collect();
    let long = stripped.iter().any(|line| line.len() > LINE_BYTES_MAX);
    match decoder.fault() {
        None => {
            assert!(!bare && !long);
            // What is not empty ends with its last line's CR LF, behind which nothing is left.
            assert_eq!(text, stripped.join(&b"\r\n"[..]));
        }
        Some(TextFault::LineTooLong) => assert!(long || bare),
        Some(TextFault::BareCr | TextFault::BareLf) => assert!(bare),
    }
}

/// Between CR LFs.
fn split_lines(body: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

fn encode(text: &[u8], piece: usize) {
    let (mut encoder, mut wire) = (DotStuffer::new(), Vec::new());
    text.chunks(piece).for_each(|bytes| encoder.push(bytes, &mut wire));
    encoder.finish(&mut wire);
    let mut decoder = Unstuffer::new(Framing::Dots, usize::MAX);
    let mut read = Vec::new();
    assert_eq!(decoder.push(&wire, &mut read), wire.len(), "one message, and nothing after it");
    assert!(decoder.ended() && decoder.fault().is_none());
    let clean = !split_lines(text).iter().any(|line| line.contains(&b'\r') || line.contains(&b'\n'));
    if clean && text.ends_with(b"\r\n") {
        assert_eq!(read, text);
    }
}

const LINE_BYTES_MAX: usize = 40;
