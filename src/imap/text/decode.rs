//! From bytes to text: transfer encodings, character sets, encoded words (RFC 2047), extended parameters (RFC 2231). Never fails: what cannot be
//! decoded stays as it is.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;
use memchr::memmem;

use crate::imap::mime::decode::Coding;
use crate::imap::mime::parameter::Parameter;

/// The body of a part with this header, without its transfer encoding (RFC 2045 §6).
pub(crate) fn transfer<'a>(head: &[u8], body: &'a [u8]) -> Cow<'a, [u8]> {
    match Coding::of(head) {
        Coding::Identity | Coding::Unknown => Cow::Borrowed(body),
        coding => Cow::Owned(coding.decode(body)),
    }
}

/// Bytes of a character set as text. Without a name, or under one that nobody knows: UTF-8, else the Western set of old mail programs.
pub(crate) fn charset<'a>(bytes: &'a [u8], name: &[u8]) -> Cow<'a, str> {
    // RFC 2231 §5: a language may follow.
    let name = name.split(|&b| b == b'*').next().unwrap_or_default().trim_ascii();
    let is_plain = ["", "utf-8", "utf8", "us-ascii", "ascii"]
        .iter()
        .any(|plain| name.eq_ignore_ascii_case(plain.as_bytes()));
    let decoder = if is_plain { None } else { charset_decoder(name) };
    match (std::str::from_utf8(bytes), decoder) {
        // ISO-2022 and UTF-7 are ASCII bytes that mean something else.
        (_, Some(decode)) => Cow::Owned(decode(bytes)),
        (Ok(text), None) => Cow::Borrowed(text),
        (Err(_), None) if name.eq_ignore_ascii_case(b"utf-8") => String::from_utf8_lossy(bytes),
        (Err(_), None) => match charset_decoder(b"windows-1252") {
            Some(decode) => Cow::Owned(decode(bytes)),
            None => String::from_utf8_lossy(bytes),
        },
    }
}

/// An unfolded header value with its encoded words decoded. White space between two encoded words is dropped (RFC 2047 §6.2), and neighbours
/// of one character set are decoded as one, since some programs cut characters in two.
pub(crate) fn words(value: &[u8]) -> Cow<'_, str> {
    if memmem::find(value, b"=?").is_none() {
        return charset(value, b"");
    }
    let mut text = String::with_capacity(value.len());
    let mut pending: Option<(&[u8], Vec<u8>)> = None;
    let mut rest = value;
    while !rest.is_empty() {
        let start = memmem::find(rest, b"=?").unwrap_or(rest.len());
        let Some((word, length)) = EncodedWord::at(&rest[start..]) else {
            let end = (start + 2).min(rest.len());
            finish(&mut text, &mut pending);
            text.push_str(&charset(&rest[..end], b""));
            rest = &rest[end..];
            continue;
        };
        let between = &rest[..start];
        rest = &rest[start + length..];
        let is_next = pending.is_some() && between.iter().all(u8::is_ascii_whitespace);
        if !is_next {
            finish(&mut text, &mut pending);
            text.push_str(&charset(between, b""));
        }
        match &mut pending {
            Some((set, bytes)) if set.eq_ignore_ascii_case(word.charset) => bytes.extend(word.decoded()),
            _ => {
                finish(&mut text, &mut pending);
                pending = Some((word.charset, word.decoded()));
            }
        }
    }
    finish(&mut text, &mut pending);
    Cow::Owned(text)
}

fn finish(text: &mut String, pending: &mut Option<(&[u8], Vec<u8>)>) {
    if let Some((set, bytes)) = pending.take() {
        // A decoded line end would be a line of its own to nobody.
        text.push_str(&charset(&bytes, set).replace(['\r', '\n'], " "));
    }
}

/// A parameter as it reads: `name*` holds a character set and percent coding (RFC 2231 §4).
pub(crate) fn parameter((name, value): &Parameter<'_>) -> String {
    let (base, text) = match name.strip_suffix(b"*") {
        Some(base) => (base, extended(value)),
        None => (&**name, words(value)),
    };
    format!("{}={text}", String::from_utf8_lossy(base))
}

fn extended(value: &[u8]) -> Cow<'_, str> {
    let mut parts = value.splitn(3, |&b| b == b'\'');
    let (Some(set), Some(_), Some(coded)) = (parts.next(), parts.next(), parts.next()) else {
        return charset(value, b"");
    };
    Cow::Owned(charset(&escaped(coded, b'%'), set).into_owned())
}

/// `=?charset?encoding?text?=`
struct EncodedWord<'a> {
    charset: &'a [u8],
    is_base64: bool,
    text: &'a [u8],
}

impl<'a> EncodedWord<'a> {
    /// The word that `input` starts with, and its length.
    fn at(input: &'a [u8]) -> Option<(Self, usize)> {
        let inside = input.strip_prefix(b"=?")?;
        let mut parts = inside.splitn(3, |&b| b == b'?');
        let (charset, encoding, text) = (parts.next()?, parts.next()?, parts.next()?);
        let is_base64 = match encoding {
            [b'B' | b'b'] => true,
            [b'Q' | b'q'] => false,
            _ => return None,
        };
        let end = memmem::find(text, b"?=")?;
        // Spaces inside are against the rule and frequent; another word inside is none.
        let is_good = !charset.is_empty() && charset.iter().all(u8::is_ascii_graphic);
        let length = 2 + charset.len() + 1 + encoding.len() + 1 + end + 2;
        let text = &text[..end];
        is_good.then_some((
            Self {
                charset,
                is_base64,
                text,
            },
            length,
        ))
    }

    fn decoded(&self) -> Vec<u8> {
        if self.is_base64 {
            return base64(self.text);
        }
        let spaced: Vec<u8> = self.text.iter().map(|&b| if b == b'_' { b' ' } else { b }).collect();
        escaped(&spaced, b'=')
    }
}

/// Base64, whatever else stands between its letters; after padding it goes on, as joined pieces do.
fn base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0_u8);
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                (bits, count) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count).to_le_bytes()[0]);
        }
    }
    out
}

/// Resolves `=41` or `%41`; what is no such escape stays.
fn escaped(text: &[u8], mark: u8) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|&b| char::from(b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if let (true, Some(high), Some(low)) = (text[at] == mark, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            out.push((high << 4 | low).to_le_bytes()[0]);
            at += 3;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> String {
        words(value.as_bytes()).into_owned()
    }

    #[test]
    fn encoded_words_read_as_the_standard_shows() {
        // RFC 2047 §8
        assert_eq!(read("=?ISO-8859-1?Q?a?="), "a");
        assert_eq!(read("=?ISO-8859-1?Q?a?= b"), "a b");
        assert_eq!(read("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?="), "ab");
        assert_eq!(read("=?ISO-8859-1?Q?a?=    =?utf-8?Q?b?="), "ab");
        assert_eq!(read("=?ISO-8859-1?Q?a_b?="), "a b");
        assert_eq!(read("=?ISO-8859-1?Q?Andr=E9?= Pirard <a@b>"), "André Pirard <a@b>");
        assert_eq!(read("=?utf-8*fr?Q?=C3=A9t=C3=A9?="), "été");
    }

    #[test]
    fn characters_cut_in_two_are_put_together() {
        assert_eq!(read("=?utf-8?Q?caf=C3?= =?UTF-8?Q?=A9?="), "café");
        assert_eq!(read("=?utf-8?B?w6k=?= =?utf-8?B?w6k=?="), "éé");
    }

    #[test]
    fn what_is_no_encoded_word_stays() {
        for value in ["=?", "a =? b", "=?utf-8?X?abc?=", "=?utf-8?Q?abc", "=??Q?a?=", "a=?=b"] {
            assert_eq!(read(value), value);
        }
        assert_eq!(read("=?x =?utf-8?Q?a?="), "=?x a");
        assert_eq!(words(b"\xE9t\xE9"), "été", "old mail programs");
    }

    #[test]
    fn bodies_are_decoded_leniently() {
        assert_eq!(base64(b"YWln\r\ndWls*bGU="), b"aiguille");
        assert_eq!(base64(b"YQ==Yg=="), b"ab");
        let coded = |name: &str, body: &'static [u8]| {
            transfer(format!("Content-Transfer-Encoding: {name}\r\n\r\n").as_bytes(), body)
        };
        assert_eq!(&*coded("base64", b"YWln\r\ndWlsbGU="), b"aiguille");
        assert_eq!(&*coded("Quoted-Printable", b"a=3Db=\r\nc"), b"a=bc");
        assert_eq!(&*coded("8bit", b"x="), b"x=");
        assert_eq!(&*coded("nonsense", b"x="), b"x=");
    }

    #[test]
    fn extended_parameters_read_as_text() {
        let shown = |name: &str, value: &str| parameter(&(name.as_bytes().into(), value.as_bytes().into()));
        assert_eq!(shown("filename*", "utf-8'fr'%C3%A9t%C3%A9.pdf"), "filename=été.pdf");
        assert_eq!(shown("filename*", "iso-8859-1''%E9"), "filename=é");
        assert_eq!(shown("filename*", "no quotes"), "filename=no quotes");
        assert_eq!(shown("name", "=?utf-8?Q?=C3=A9?="), "name=é");
    }

    proptest! {
        #[test]
        fn anything_is_read(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            words(&value);
            charset(&value, &value);
        }
    }
}
