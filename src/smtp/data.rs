//! Message text on the wire: taking off the dots of RFC 5321 §4.5.2 while receiving, adding them while sending.
//!
//! Both work on whole slices (one scan, one copy) and keep their place between slices, so that it does not matter how the
//! network cuts the bytes. Only CR LF ends a line and only CR LF `.` CR LF ends a message: whoever takes anything else for the
//! end lets a second message be smuggled inside the first one.

use memchr::memchr2;

/// What is wrong with the text of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// A CR that no LF follows (RFC 5321 §2.3.8).
    #[error("a CR without LF")]
    BareCr,
    /// An LF that no CR precedes (RFC 5321 §2.3.8).
    #[error("an LF without CR")]
    BareLf,
    /// A line is longer than this server takes (RFC 5321 §4.5.3.1.6).
    #[error("a line that is too long")]
    LineTooLong,
}

/// How the end of the text is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA: dots are stuffed, CR LF `.` CR LF ends it.
    Dots,
    /// BDAT (RFC 3030): octets are counted, dots mean nothing.
    Counted,
}

/// Decoder of received text: takes off stuffed dots, finds the end, checks line ends and line lengths.
///
/// After a fault it copies nothing more but goes on looking for the end, so that the refusal comes where the peer expects it.
#[derive(Debug)]
pub struct Unstuffer {
    framing: Framing,
    place: Place,
    output: Output,
    line_bytes: usize,
    line_bytes_max: usize,
}

/// Where in the grammar of lines the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    Text,
    /// After a CR in a line.
    Cr,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot and a CR at the start of a line.
    DotCr,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Copied,
    Dropped,
    Faulty(TextFault),
}

impl Unstuffer {
    /// At the start of a message. `line_bytes_max` counts a line without its CR LF and without a stuffed dot.
    pub fn new(framing: Framing, line_bytes_max: usize) -> Self {
        Self {
            framing,
            place: Place::LineStart,
            output: Output::Copied,
            line_bytes: 0,
            line_bytes_max,
        }
    }

    /// Decodes `input` to the end of `output` and returns how many bytes of it belong to the message, end mark included.
    /// Less than all of them means that the message has ended there.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> usize {
        let mut at = 0;
        let mut kept = 0;
        while at < input.len() && self.place != Place::End {
            match self.place {
                Place::Text => at += self.text(&input[at..]),
                Place::Cr => at += self.after_cr(input[at]),
                Place::LineStart if input[at] == b'.' && self.framing == Framing::Dots => {
                    self.copy(&input[kept..at], output);
                    at += 1;
                    kept = at;
                    self.place = Place::Dot;
                }
                Place::Dot if input[at] == b'\r' => {
                    at += 1;
                    kept = at;
                    self.place = Place::DotCr;
                }
                Place::DotCr if input[at] == b'\n' => {
                    at += 1;
                    kept = at;
                    self.place = Place::End;
                }
                Place::DotCr => {
                    self.blame(TextFault::BareCr);
                    self.place = Place::Text;
                }
                Place::LineStart | Place::Dot | Place::End => self.place = Place::Text,
            }
        }
        self.copy(&input[kept..at], output);
        at
    }

    /// Whether CR LF `.` CR LF has been seen.
    pub fn ended(&self) -> bool {
        self.place == Place::End
    }

    /// Tells that no more octets will come (BDAT LAST), and what was wrong with the text, if anything.
    pub fn finish(&mut self) -> Option<TextFault> {
        if self.place == Place::Cr {
            self.blame(TextFault::BareCr);
        }
        self.fault()
    }

    /// What is wrong with the text so far.
    pub fn fault(&self) -> Option<TextFault> {
        match self.output {
            Output::Faulty(fault) => Some(fault),
            Output::Copied | Output::Dropped => None,
        }
    }

    /// From now on only looks for the end: nobody wants the text any more.
    pub fn drop_rest(&mut self) {
        if self.output == Output::Copied {
            self.output = Output::Dropped;
        }
    }

    /// Inside a line: up to the next CR or LF.
    fn text(&mut self, rest: &[u8]) -> usize {
        let Some(found) = memchr2(b'\r', b'\n', rest) else {
            self.lengthen(rest.len());
            return rest.len();
        };
        self.lengthen(found);
        if rest[found] == b'\n' {
            // Never a line end: what follows is still the same line.
            self.blame(TextFault::BareLf);
        } else {
            self.place = Place::Cr;
        }
        found + 1
    }

    fn after_cr(&mut self, byte: u8) -> usize {
        if byte == b'\n' {
            self.line_bytes = 0;
            self.place = Place::LineStart;
            return 1;
        }
        self.blame(TextFault::BareCr);
        self.place = Place::Text;
        0
    }

    fn lengthen(&mut self, bytes: usize) {
        self.line_bytes = self.line_bytes.saturating_add(bytes);
        if self.line_bytes > self.line_bytes_max {
            self.blame(TextFault::LineTooLong);
        }
    }

    fn blame(&mut self, fault: TextFault) {
        if !matches!(self.output, Output::Faulty(_)) {
            self.output = Output::Faulty(fault);
        }
    }

    fn copy(&self, run: &[u8], output: &mut Vec<u8>) {
        if self.output == Output::Copied {
            output.extend_from_slice(run);
        }
    }
}

/// Encoder of text to be sent with DATA: doubles dots at line starts and adds the end mark.
///
/// A bare CR or LF leaves as CR LF: whatever the text is, the peer sees one message.
#[derive(Debug)]
pub struct DotStuffer {
    place: Place,
}

impl DotStuffer {
    /// At the start of a message.
    pub fn new() -> Self {
        Self {
            place: Place::LineStart,
        }
    }

    /// Encodes `input` to the end of `output`.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) {
        output.reserve(input.len() + input.len() / STUFFING_SHARE);
        let mut at = 0;
        let mut kept = 0;
        while at < input.len() {
            match self.place {
                Place::LineStart => {
                    if input[at] == b'.' {
                        output.extend_from_slice(&input[kept..at]);
                        output.push(b'.');
                        kept = at;
                    }
                    self.place = Place::Text;
                }
                Place::Cr => {
                    if input[at] == b'\n' {
                        at += 1;
                    } else {
                        output.extend_from_slice(&input[kept..at]);
                        output.push(b'\n');
                        kept = at;
                    }
                    self.place = Place::LineStart;
                }
                _ => {
                    let Some(found) = memchr2(b'\r', b'\n', &input[at..]) else {
                        break;
                    };
                    at += found + 1;
                    self.place = Place::Cr;
                    if input[at - 1] == b'\n' {
                        output.extend_from_slice(&input[kept..at - 1]);
                        output.extend_from_slice(b"\r\n");
                        kept = at;
                        self.place = Place::LineStart;
                    }
                }
            }
        }
        output.extend_from_slice(&input[kept..]);
    }

    /// Ends the last line if it is open and adds the end mark.
    pub fn finish(self, output: &mut Vec<u8>) {
        let end: &[u8] = match self.place {
            Place::LineStart => b".\r\n",
            Place::Cr => b"\n.\r\n",
            _ => b"\r\n.\r\n",
        };
        output.extend_from_slice(end);
    }
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Room made for stuffing: one byte in this many.
const STUFFING_SHARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unstuff(chunks: &[&[u8]]) -> (Vec<u8>, Unstuffer, usize) {
        let mut decoder = Unstuffer::new(Framing::Dots, 998);
        let mut out = Vec::new();
        let mut consumed = 0;
        for chunk in chunks {
            consumed += decoder.push(chunk, &mut out);
        }
        (out, decoder, consumed)
    }

    fn stuff(chunks: &[&[u8]]) -> Vec<u8> {
        let mut encoder = DotStuffer::new();
        let mut out = Vec::new();
        for chunk in chunks {
            encoder.push(chunk, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn a_stuffed_dot_is_taken_off_and_the_end_is_found() {
        let (text, decoder, consumed) = unstuff(&[b"a\r\n..b\r\n.c\r\n.\r\nQUIT\r\n"]);
        assert_eq!(text, b"a\r\n.b\r\nc\r\n");
        assert!(decoder.ended());
        assert_eq!(consumed, 15);
        assert_eq!(decoder.fault(), None);
    }

    #[test]
    fn an_empty_message_ends_at_once() {
        let (text, decoder, consumed) = unstuff(&[b".\r\n"]);
        assert_eq!((text.as_slice(), decoder.ended(), consumed), (&b""[..], true, 3));
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_a_message() {
        for (text, fault) in [
            (&b"a\n.\nMAIL"[..], TextFault::BareLf),
            (b"a\r\n.\nMAIL", TextFault::BareLf),
            (b"a\n.\r\nMAIL", TextFault::BareLf),
            (b"a\r.\rMAIL", TextFault::BareCr),
            (b"a\r\n.\rMAIL", TextFault::BareCr),
            (b"a\r.\r\nMAIL", TextFault::BareCr),
            (b"a\r\n.\r\rMAIL", TextFault::BareCr),
            (b"a\r\r\n.\nMAIL", TextFault::BareCr),
            (b".\nMAIL", TextFault::BareLf),
        ] {
            let (_, decoder, consumed) = unstuff(&[text]);
            assert!(!decoder.ended(), "{text:?}");
            assert_eq!(decoder.fault(), Some(fault), "{text:?}");
            assert_eq!(consumed, text.len());
        }
    }

    #[test]
    fn a_faulty_message_is_still_read_to_its_end() {
        let (_, decoder, consumed) = unstuff(&[b"a\nb\r\n.\r\nQUIT"]);
        assert!(decoder.ended());
        assert_eq!(consumed, 8);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        for (length, fault) in [(998, None), (999, Some(TextFault::LineTooLong))] {
            let text = [&vec![b'x'; length][..], b"\r\n.\r\n"].concat();
            assert_eq!(unstuff(&[&text]).1.fault(), fault, "{length}");
            let stuffed = [b".", &vec![b'x'; length][..], b"\r\n.\r\n"].concat();
            assert_eq!(unstuff(&[&stuffed]).1.fault(), fault, "stuffed {length}");
        }
    }

    #[test]
    fn counted_text_keeps_its_dots_and_must_not_end_in_a_bare_cr() {
        let mut decoder = Unstuffer::new(Framing::Counted, 998);
        let mut out = Vec::new();
        assert_eq!(decoder.push(b".\r\n..a\r", &mut out), 7);
        assert_eq!(decoder.push(b"\n", &mut out), 1);
        assert_eq!((out.as_slice(), decoder.finish()), (&b".\r\n..a\r\n"[..], None));
        decoder.push(b"\r", &mut out);
        assert_eq!(decoder.finish(), Some(TextFault::BareCr));
    }

    #[test]
    fn bare_line_ends_leave_as_crlf_so_that_nothing_is_smuggled_out() {
        assert_eq!(stuff(&[b"a\n.\nb\r.\rc"]), b"a\r\n..\r\nb\r\n..\r\nc\r\n.\r\n");
        assert_eq!(stuff(&[b"a\r", b"\n.", b"b\r"]), b"a\r\n..b\r\n.\r\n");
        assert_eq!(stuff(&[]), b".\r\n");
    }

    /// Lines rich in dots, and where to cut the bytes.
    fn text_and_cuts() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let line = proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'a'), any::<u8>()], 0..12);
        let text = proptest::collection::vec(line, 0..12).prop_map(|lines| {
            let mut text = Vec::new();
            for line in lines {
                text.extend(line.into_iter().filter(|b| !matches!(b, b'\r' | b'\n')));
                text.extend_from_slice(b"\r\n");
            }
            text
        });
        (text, proptest::collection::vec(0usize..200, 0..8))
    }

    fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn unstuffing_undoes_stuffing_however_the_bytes_are_cut((text, cuts) in text_and_cuts()) {
            let wire = stuff(&cut(&text, &cuts));
            let (back, decoder, consumed) = unstuff(&cut(&wire, &cuts));
            prop_assert!(decoder.ended());
            prop_assert_eq!(decoder.fault(), None);
            prop_assert_eq!(consumed, wire.len());
            prop_assert_eq!(back, text);
        }

        #[test]
        fn whatever_is_sent_the_peer_sees_one_message_without_fault(
            text in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let wire = stuff(&cut(&text, &cuts));
            let (_, decoder, consumed) = unstuff(&[&wire]);
            prop_assert!(decoder.ended());
            prop_assert_eq!(decoder.fault(), None);
            prop_assert_eq!(consumed, wire.len());
        }

        #[test]
        fn decoding_does_not_depend_on_the_cuts(
            wire in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let whole = unstuff(&[&wire]);
            let pieces = unstuff(&cut(&wire, &cuts));
            prop_assert_eq!(whole.1.ended(), pieces.1.ended());
            prop_assert_eq!(whole.1.fault(), pieces.1.fault());
            prop_assert_eq!(whole.2, pieces.2);
            if whole.1.fault().is_none() {
                prop_assert_eq!(whole.0, pieces.0);
            }
        }
    }
}
