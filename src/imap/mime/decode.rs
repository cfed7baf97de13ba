//! Content transfer encodings undone, piece by piece (RFC 2045 §6). Nothing fails: what is no such encoding is passed over.

use super::header;
use super::parameter;

/// How the body of a part is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// `7bit`, `8bit` and `binary`: as it is.
    Identity,
    /// RFC 2045 §6.8.
    Base64,
    /// RFC 2045 §6.7.
    QuotedPrintable,
    /// One that no standard defines: nobody can decode it (RFC 3516 §4.3).
    Unknown,
}

impl Coding {
    /// What the header block of a part says.
    pub(crate) fn of(head: &[u8]) -> Self {
        let Some(value) = header::value_of(head, "Content-Transfer-Encoding") else {
            return Self::Identity;
        };
        match parameter::value(&value).to_ascii_lowercase().as_slice() {
            b"" | b"7bit" | b"8bit" | b"binary" => Self::Identity,
            b"base64" => Self::Base64,
            b"quoted-printable" => Self::QuotedPrintable,
            _ => Self::Unknown,
        }
    }

    /// All of it at once.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut decoder = Decoder::new(self);
        decoder.feed(bytes, &mut out);
        decoder.finish(&mut out);
        out
    }
}

/// Undoes an encoding.
#[derive(Debug)]
pub(crate) struct Decoder {
    coding: Coding,
    /// Base64: bits not yet given out, and how many.
    bits: u32,
    bits_count: u32,
    /// Quoted-printable: white space that counts only if something follows it on its line.
    spaces: Vec<u8>,
    escape: Escape,
}

/// What of an escape has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// `=`, and how many bytes of white space after it.
    Begun,
    /// `=` and one digit.
    Digit(u8),
    /// `=` and white space: a soft line break if the line ends here.
    Soft,
}

impl Decoder {
    pub(crate) fn new(coding: Coding) -> Self {
        Self {
            coding,
            bits: 0,
            bits_count: 0,
            spaces: Vec::new(),
            escape: Escape::None,
        }
    }

    /// Appends what the next bytes mean.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.coding {
            Coding::Identity | Coding::Unknown => out.extend_from_slice(bytes),
            Coding::Base64 => bytes.iter().for_each(|&byte| self.base64(byte, out)),
            Coding::QuotedPrintable => bytes.iter().for_each(|&byte| self.quoted(byte, out)),
        }
    }

    /// The end of the part.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        if self.coding == Coding::QuotedPrintable {
            self.broken_escape(out);
            // White space at the very end is not meant (RFC 2045 §6.7 rule 3).
        }
    }

    fn base64(&mut self, byte: u8, out: &mut Vec<u8>) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            // Pieces encoded apart and joined each end like this.
            b'=' => {
                (self.bits, self.bits_count) = (0, 0);
                return;
            }
            // RFC 2045 §6.8: other characters are to be ignored.
            _ => return,
        };
        self.bits = (self.bits << 6) | u32::from(value);
        self.bits_count += 6;
        if self.bits_count >= 8 {
            self.bits_count -= 8;
            out.push(u8::try_from((self.bits >> self.bits_count) & 0xFF).unwrap_or(0));
            self.bits &= (1 << self.bits_count) - 1;
        }
    }

    fn quoted(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.escape, byte) {
            (Escape::None, b'=') => {
                out.append(&mut self.spaces);
                self.escape = Escape::Begun;
            }
            (Escape::None, b' ' | b'\t') if self.spaces.len() < SPACES_MAX => self.spaces.push(byte),
            (Escape::None, b'\r') => self.spaces.push(byte),
            (Escape::None, b'\n') => {
                // White space before a line end was added on the way (RFC 2045 §6.7 rule 3).
                let ends_with_return = self.spaces.last() == Some(&b'\r');
                self.spaces.clear();
                out.extend_from_slice(if ends_with_return { b"\r\n" } else { b"\n" });
            }
            (Escape::None, _) => {
                out.append(&mut self.spaces);
                out.push(byte);
            }
            (Escape::Begun, _) if byte.is_ascii_hexdigit() => self.escape = Escape::Digit(byte),
            (Escape::Begun | Escape::Soft, b'\n') => self.escape = Escape::None,
            (Escape::Begun | Escape::Soft, b' ' | b'\t' | b'\r') => self.escape = Escape::Soft,
            (Escape::Digit(first), _) if byte.is_ascii_hexdigit() => {
                self.escape = Escape::None;
                out.push((nibble(first) << 4) | nibble(byte));
            }
            _ => {
                self.broken_escape(out);
                self.quoted(byte, out);
            }
        }
    }

    /// An escape that is none is left as it stands (RFC 2045 §6.7, note 1).
    fn broken_escape(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.escape, Escape::None) {
            Escape::Digit(digit) => out.extend([b'=', digit]),
            Escape::Begun => out.push(b'='),
            Escape::None | Escape::Soft => {}
        }
    }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10) & 15,
    }
}

/// White space beyond this on one line is not held back.
const SPACES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(coding: Coding, text: &str) -> String {
        String::from_utf8_lossy(&coding.decode(text.as_bytes())).into_owned()
    }

    #[test]
    fn the_field_says_how_a_part_is_written() {
        for (field, expected) in [
            ("", Coding::Identity),
            ("Content-Transfer-Encoding: Base64\r\n", Coding::Base64),
            (
                "content-transfer-encoding: quoted-printable (yes)\r\n",
                Coding::QuotedPrintable,
            ),
            ("Content-Transfer-Encoding: BINARY\r\n", Coding::Identity),
            ("Content-Transfer-Encoding:\r\n", Coding::Identity),
            ("Content-Transfer-Encoding: x-uuencode\r\n", Coding::Unknown),
        ] {
            assert_eq!(Coding::of(format!("{field}\r\n").as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn base64_is_read_past_what_is_none() {
        for (text, expected) in [
            ("Qm9uam91cg==", "Bonjour"),
            ("Qm9u\r\nam91\r\ncg==\r\n", "Bonjour"),
            ("Qm9u!am91 cg", "Bonjour"),
            ("Qm8=bmpvdXI=", "Bonjour"),
            ("", ""),
            ("A", ""),
        ] {
            assert_eq!(decoded(Coding::Base64, text), expected, "{text}");
        }
    }

    #[test]
    fn quoted_printable_as_the_standard_says_and_as_it_comes() {
        for (text, expected) in [
            ("=C3=A9t=c3=a9", "été"),
            ("a=\r\nb=\nc= \t\r\nd", "abcd"),
            ("a \t\r\nb \r\n", "a\r\nb\r\n"),
            ("a b", "a b"),
            ("a=XYb=4", "a=XYb=4"),
            ("a=", "a="),
            ("==41", "=A"),
            ("a=3", "a=3"),
            ("x  ", "x"),
            ("a\rb", "a\rb"),
        ] {
            assert_eq!(decoded(Coding::QuotedPrintable, text), expected, "{text}");
        }
        assert_eq!(decoded(Coding::Identity, "=41 \r\n"), "=41 \r\n");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "(=|=4|=41|\r\n| |\t|\r|é|QUJD|[A-Za-z+/]{1,5}){0,40}", piece in 1..9_usize) {
            for coding in [Coding::Identity, Coding::Base64, Coding::QuotedPrintable] {
                let mut out = Vec::new();
                let mut decoder = Decoder::new(coding);
                text.as_bytes().chunks(piece).for_each(|piece| decoder.feed(piece, &mut out));
                decoder.finish(&mut out);
                prop_assert_eq!(&out, &coding.decode(text.as_bytes()));
            }
        }

        #[test]
        fn what_was_encoded_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            prop_assert_eq!(Coding::Base64.decode(text.as_bytes()), bytes);
        }
    }
}
