//! The first words of a message, for lists (RFC 8970).

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;

use super::decode::Coding;
use super::header;
use super::parameter;
use super::part::{Kind, Part};

/// As much of a message as is looked at: the text stands near its beginning.
pub const PREVIEW_LOOK_BYTES: usize = 256 * 1024;

/// The preview of a message, of which `bytes` are the first [`PREVIEW_LOOK_BYTES`]. Empty when it has no text that can be shown.
pub fn preview(bytes: &[u8]) -> String {
    let root = Part::of_message(bytes);
    let Some(part) = text_of(&root, Wanted::Any) else {
        return String::new();
    };
    let body = &bytes[part.body.clone()];
    let body = &body[..body.len().min(TEXT_BYTES_MAX)];
    let decoded = match Coding::of(&part.head) {
        Coding::Unknown => return String::new(),
        coding => coding.decode(body),
    };
    // Where US-ASCII is said or assumed, anything beyond it is UTF-8 more often than not.
    let charset = part.charset();
    let charset = charset
        .as_deref()
        .filter(|name| !name.eq_ignore_ascii_case(b"us-ascii"));
    let text = match charset.and_then(charset_decoder) {
        Some(decoder) => decoder(&decoded),
        None => String::from_utf8_lossy(&decoded).into_owned(),
    };
    if part.media.sub() == b"HTML" {
        shorten(&html_to_text(&text))
    } else {
        shorten(&text)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Plain,
    Any,
}

/// The first part that is text to read: in alternatives the plain one.
fn text_of(part: &Part, wanted: Wanted) -> Option<&Part> {
    match &part.kind {
        Kind::Leaf => {
            let is_text = part.media.main() == b"TEXT"
                && (part.media.sub() == b"PLAIN"
                    || (wanted == Wanted::Any && matches!(part.media.sub(), b"HTML" | b"ENRICHED")));
            (is_text && !is_attachment(part)).then_some(part)
        }
        Kind::Multipart(children) => {
            let first = |wanted| children.iter().find_map(|child| text_of(child, wanted));
            // RFC 8970 §3.2: what cannot be read without a key has no preview.
            if part.media.sub() == b"ENCRYPTED" {
                return None;
            }
            if part.media.sub() == b"ALTERNATIVE" {
                return first(Wanted::Plain).or_else(|| if wanted == Wanted::Any { first(wanted) } else { None });
            }
            first(wanted)
        }
        Kind::Message(inner) => text_of(inner, wanted),
    }
}

fn is_attachment(part: &Part) -> bool {
    let disposition = header::value_of(&part.head, "Content-Disposition");
    disposition.is_some_and(|value| parameter::value(&value).eq_ignore_ascii_case(b"attachment"))
}

/// One line: white space made one space, what cannot be shown left out, no longer than allowed.
fn shorten(text: &str) -> String {
    let mut out = String::with_capacity(PREVIEW_CHARS_MAX * 2);
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control() || c == '\u{FEFF}') {
        if word.is_empty() {
            continue;
        }
        if count > 0 && count < PREVIEW_CHARS_MAX {
            out.push(' ');
            count += 1;
        }
        let room = PREVIEW_CHARS_MAX - count;
        let kept = word.char_indices().nth(room).map_or(word, |(end, _)| &word[..end]);
        count += kept.chars().count();
        out.push_str(kept);
        if count >= PREVIEW_CHARS_MAX {
            break;
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// RFC 8970 §3.1: at most 200 characters.
const PREVIEW_CHARS_MAX: usize = 200;

/// As much of the text as is decoded.
const TEXT_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_that_a_person_would_read_first() {
        for (message, expected) in [
            (
                "Subject: x\r\n\r\nBonjour,\r\n\r\n  le  patient\tva bien.\r\n",
                "Bonjour, le patient va bien.",
            ),
            ("", ""),
            ("Subject: x\r\n\r\n", ""),
            (
                "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9t=E9",
                "été",
            ),
            (
                "Content-Type: text/html; charset=utf-8\r\n\r\n<html><head><style>p {}</style></head><body><p>Été &amp; hiver</p></body></html>",
                "Été & hiver",
            ),
            (
                "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>non</b>\r\n\
                 --b\r\n\r\noui\r\n--b--",
                "oui",
            ),
            (
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment\r\n\r\nnon\r\n\
                 --b\r\nContent-Type: image/png\r\n\r\nnon\r\n--b\r\nContent-Type: text/html\r\n\r\n<i>oui</i>\r\n--b--",
                "oui",
            ),
            (
                "Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\nVersion: 1\r\n--b--",
                "",
            ),
            ("Content-Transfer-Encoding: x-secret\r\n\r\nabc", ""),
            ("Content-Type: application/pdf\r\n\r\nabc", ""),
            ("Content-Type: text/plain; charset=unheard-of\r\n\r\nabc\u{7}d", "abc d"),
        ] {
            assert_eq!(preview(message.as_bytes()), expected, "{message}");
        }
    }

    #[test]
    fn it_has_at_most_two_hundred_characters() {
        let long = format!("\r\n{}", "é".repeat(500));
        assert_eq!(preview(long.as_bytes()).chars().count(), 200);
        let words = format!("\r\n{}", "mot ".repeat(500));
        let short = preview(words.as_bytes());
        assert!(short.len() <= 200 && short.ends_with("mot"), "{short}");
    }
}
