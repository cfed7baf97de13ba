//! Small pieces of IMAP response syntax, written straight into the output buffer (RFC 3501 §9).

use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::Offset;
use memchr::{memchr, memchr2};

use super::request::Flags;

/// Writes a decimal number.
pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = DIGITS[usize::try_from(value % 10).unwrap_or(0)];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Writes words for people. RFC 9051 §9, `text`: what is not ASCII stands in it only after ENABLE `IMAP4rev2`, and a client may have named
/// something that is told again.
pub(crate) fn text(out: &mut Vec<u8>, text: &str, is_utf8: bool) {
    if is_utf8 || text.is_ascii() {
        out.extend_from_slice(text.as_bytes());
    } else {
        let shown = |c: char| u8::try_from(c).ok().filter(u8::is_ascii).unwrap_or(b'?');
        out.extend(text.chars().map(shown));
    }
}

/// Writes a `string`: quoted when it may be, a literal otherwise (8-bit text, line ends, very long).
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |b: u8| matches!(b, b' '..=b'~' | b'\t') & !matches!(b, b'"' | b'\\');
    // Nearly all strings have nothing to escape; to look at all of one is quicker than to stop early.
    if text.len() <= QUOTED_BYTES_MAX && text.iter().fold(true, |plain, &b| plain & is_plain(b)) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    } else if text.len() <= QUOTED_BYTES_MAX && text.iter().all(|&b| (0x20..0x7f).contains(&b) || b == b'\t') {
        quoted(out, text);
    } else {
        literal(out, text);
    }
}

/// Writes an `nstring`.
pub(crate) fn nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes a quoted string; the caller knows that it holds neither line ends nor 8-bit text.
pub(crate) fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend([b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Writes a literal.
pub(crate) fn literal(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 16);
    literal_of(out, text.len());
    out.extend_from_slice(text);
}

/// Announces a literal of so many bytes, which follow.
pub(crate) fn literal_of(out: &mut Vec<u8>, length: usize) {
    out.push(b'{');
    number(out, length as u64);
    out.extend_from_slice(b"}\r\n");
}

/// Writes bytes of a message as a literal.
pub(crate) fn content(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 16);
    literal_of(out, bytes.len());
    without_nul(out, bytes);
}

/// Appends bytes of a message. RFC 9051 §4.3: no literal but `literal8` may hold NUL; another byte keeps the lengths right.
pub(crate) fn without_nul(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.extend_from_slice(bytes);
    let mut at = start;
    while let Some(next) = memchr(0, &out[at..]) {
        at += next;
        out[at] = NUL_STAND_IN;
    }
}

/// Writes bytes that may be anything (RFC 3516 §4.2): a `literal8` where an ordinary literal could not hold them.
pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    if memchr(0, bytes).is_some() {
        out.push(b'~');
    }
    literal(out, bytes);
}

/// Writes an `astring`: an atom where possible.
pub(crate) fn astring(out: &mut Vec<u8>, text: &[u8]) {
    if !text.is_empty() && text.iter().all(|&b| is_astring_char(b)) {
        out.extend_from_slice(text);
    } else {
        string(out, text);
    }
}

fn is_astring_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

/// Writes a parenthesised flag list, `\Recent` last.
pub(crate) fn flags(out: &mut Vec<u8>, flags: &Flags, recent: bool) {
    out.push(b'(');
    let mut first = true;
    let mut put = |out: &mut Vec<u8>, name: &[u8]| {
        if !first {
            out.push(b' ');
        }
        first = false;
        out.extend_from_slice(name);
    };
    for (bit, name) in SYSTEM_FLAGS {
        if flags.system & bit != 0 {
            put(out, name.as_bytes());
        }
    }
    for keyword in &flags.keywords {
        put(out, keyword.as_bytes());
    }
    if recent {
        put(out, b"\\Recent");
    }
    out.push(b')');
}

/// Writes a `date-time` in UTC, quotes included. The instant is what counts; the zone a message was appended with is not kept.
pub(crate) fn date_time(out: &mut Vec<u8>, at: Timestamp) {
    let civil = Offset::UTC.to_datetime(at);
    let month = MONTHS[usize::try_from(civil.month() - 1).unwrap_or(0) % 12];
    // Writing into a vector cannot fail.
    let _infallible = write!(
        out,
        "\"{:>2}-{month}-{:04} {:02}:{:02}:{:02} +0000\"",
        civil.day(),
        civil.year(),
        civil.hour(),
        civil.minute(),
        civil.second()
    );
}

/// Writes ascending numbers as a `sequence-set`: `1:3,7`.
pub(crate) fn number_set(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>) {
    let mut numbers = numbers.into_iter().peekable();
    let mut first = true;
    while let Some(from) = numbers.next() {
        let mut to = from;
        while let Some(next) = numbers.next_if(|&n| n == to.wrapping_add(1)) {
            to = next;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        number(out, u64::from(from));
        if to != from {
            out.push(b':');
            number(out, u64::from(to));
        }
    }
}

/// Names of the system flags, in the order they are shown.
pub(crate) const SYSTEM_FLAGS: [(u8, &str); 5] = [
    (Flags::ANSWERED, "\\Answered"),
    (Flags::FLAGGED, "\\Flagged"),
    (Flags::DELETED, "\\Deleted"),
    (Flags::SEEN, "\\Seen"),
    (Flags::DRAFT, "\\Draft"),
];

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

const DIGITS: &[u8; 10] = b"0123456789";

/// Of the largest number.
const DIGITS_MAX: usize = 20;

/// Neither ASCII nor the beginning of anything in UTF-8.
const NUL_STAND_IN: u8 = 0x80;

/// Above this, clients with a line limit are spared by a literal.
const QUOTED_BYTES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::imap::grammar;
    use crate::imap::grammar::tree::{Body, Set};
    use crate::imap::view::ranges;

    type Way = fn(&mut Vec<u8>, &[u8]);

    /// What a command line means that ends with what `write` writes.
    fn read(command: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> Body {
        let mut line = command.to_vec();
        write(&mut line);
        line.extend_from_slice(b" x\r\n");
        match grammar::parse(&line) {
            Ok(command) => command.body,
            Err(unread) => panic!("{}: {}", String::from_utf8_lossy(&line), unread.error),
        }
    }

    fn any_text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(1..=u8::MAX, 0..40),
            "[ -~]{0,40}".prop_map(String::into_bytes),
            "[\"\\\\{}()\\[\\]%*\r\n a]{0,20}".prop_map(String::into_bytes),
            // About the length from which a literal is written.
            (990..1010_usize).prop_map(|length| vec![b'a'; length]),
        ]
    }

    proptest! {
        #[test]
        fn a_string_is_read_back_whichever_way_it_is_written(text in any_text()) {
            for way in [string as Way, astring, literal] {
                let body = read(b"a LOGIN ", |out| way(out, &text));
                assert!(matches!(&body, Body::Login { user, .. } if *user == text), "{body:?}");
            }
        }

        #[test]
        fn a_set_is_read_back(numbers in prop::collection::btree_set(prop_oneof![1..60_u32, Just(u32::MAX), Just(u32::MAX - 1)], 1..40)) {
            let Body::Copy { set: Set::Ranges(read), .. } = read(b"a COPY ", |out| number_set(out, numbers.iter().copied())) else {
                panic!("a set");
            };
            let read: BTreeSet<u32> = ranges(&read, 1).into_iter().flat_map(|(from, to)| from..=to).collect();
            assert_eq!(read, numbers);
        }
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn text_is_quoted_when_it_may_be_and_a_literal_otherwise() {
        assert_eq!(written(|o| string(o, br#"a "b" \c"#)), r#""a \"b\" \\c""#);
        assert_eq!(written(|o| string(o, "été".as_bytes())), "{5}\r\nété");
        assert_eq!(written(|o| string(o, b"a\r\nb")), "{4}\r\na\r\nb");
        assert_eq!(written(|o| nstring(o, None)), "NIL");
        assert_eq!(written(|o| nstring(o, Some(b""))), "\"\"");
        assert_eq!(written(|o| astring(o, b"X-TUID")), "X-TUID");
        assert_eq!(written(|o| astring(o, b"two words")), "\"two words\"");
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, 4_294_967_295, u64::MAX] {
            assert_eq!(written(|o| number(o, value)), value.to_string());
        }
    }

    #[test]
    fn words_for_people_are_ascii_unless_the_client_reads_more() {
        assert_eq!(written(|o| text(o, "a été b", false)), "a ?t? b");
        assert_eq!(written(|o| text(o, "a été b", true)), "a été b");
        assert_eq!(written(|o| text(o, "a b", false)), "a b");
    }

    #[test]
    fn dates_have_a_padded_day() {
        let at = "2026-11-05T09:08:07Z".parse().unwrap();
        assert_eq!(written(|o| date_time(o, at)), "\" 5-Nov-2026 09:08:07 +0000\"");
    }

    #[test]
    fn number_sets_are_short() {
        assert_eq!(written(|o| number_set(o, [1, 2, 3, 7, 9, 10])), "1:3,7,9:10");
        assert_eq!(written(|o| number_set(o, [])), "");
    }
}
