//! A field with parameters, Content-Type or Content-Disposition, read for those parameters that are asked for (RFC 2045 §5.1, RFC 2183).

use std::borrow::Cow;

use mail_parser::parsers::MessageStream;
use memchr::memchr;

use super::fields::Field;

/// What such a field says. No Debug: names of files may be those of patients.
#[derive(PartialEq, Eq)]
pub(super) struct Parameterized<'a, const N: usize> {
    /// What stands before the parameters: a type with its subtype, or a disposition.
    pub(super) value: Cow<'a, str>,
    /// The first of each of the parameters that were asked for, its continuations (RFC 2231) and encoded words decoded.
    pub(super) parameters: [Option<Cow<'a, str>>; N],
}

/// Reads a field; `wanted` are names of parameters, compared without case. `None`: nothing stands there.
pub(super) fn read<'a, const N: usize>(field: &Field<'a>, wanted: [&str; N]) -> Option<Parameterized<'a, N>> {
    simple(field.folded_value().trim_ascii(), wanted).or_else(|| full(&field.value(), wanted))
}

/// Nearly all fields: words and quoted strings of ASCII, in which nothing has to be decoded. `None`: the full parser is to be asked.
fn simple<'a, const N: usize>(text: &'a [u8], wanted: [&str; N]) -> Option<Parameterized<'a, N>> {
    let mut rest = text;
    if take(&mut rest, is_name).is_empty() {
        return None;
    }
    if let Some(subtype) = rest.strip_prefix(b"/") {
        rest = subtype;
        if take(&mut rest, is_name).is_empty() {
            return None;
        }
    }
    let value = str::from_utf8(&text[..text.len() - rest.len()]).ok()?;
    let mut parameters = [const { None }; N];
    loop {
        take(&mut rest, is_space);
        let Some((&separator, after)) = rest.split_first() else {
            break;
        };
        if separator != b';' {
            return None;
        }
        rest = after;
        take(&mut rest, is_space);
        let name = take(&mut rest, is_name);
        if name.is_empty() {
            continue;
        }
        rest = rest.strip_prefix(b"=")?;
        let found = if let Some(inside) = rest.strip_prefix(b"\"") {
            let end = memchr(b'"', inside)?;
            rest = &inside[end + 1..];
            &inside[..end]
        } else {
            take(&mut rest, is_unquoted)
        };
        // Not even empty strings are what they seem.
        if found.is_empty() || !found.iter().copied().all(is_plain) {
            return None;
        }
        let place = wanted
            .iter()
            .position(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name));
        if let Some(place) = place.and_then(|at| parameters.get_mut(at)) {
            place.get_or_insert(Cow::Borrowed(str::from_utf8(found).ok()?));
        }
    }
    Some(Parameterized {
        value: Cow::Borrowed(value),
        parameters,
    })
}

/// What `text` begins with of such bytes; the rest is left.
fn take<'a>(text: &mut &'a [u8], is_such: fn(u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|&byte| !is_such(byte)).unwrap_or(text.len());
    let (taken, rest) = text.split_at(end);
    *text = rest;
    taken
}

/// White space and, between fields' lines, their ends; a form feed is none (RFC 5322 §2.2.2).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'+')
}

fn is_unquoted(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b';' | b'"' | b'(')
}

/// An escape or an encoded word may begin with the others.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t') && !matches!(byte, b'\\' | b'?')
}

/// Any field, unfolded.
fn full<const N: usize>(text: &str, wanted: [&str; N]) -> Option<Parameterized<'static, N>> {
    // The parser wants the line end that unfolding took away.
    let line = format!("{text}\n");
    let read = MessageStream::new(line.as_bytes()).parse_content_type();
    let read = read.as_content_type()?;
    let subtype = read.subtype().map(|subtype| format!("/{subtype}")).unwrap_or_default();
    let attributes = read.attributes().unwrap_or_default();
    let parameters = wanted.map(|name| {
        let found = attributes.iter().find(|found| found.name.eq_ignore_ascii_case(name))?;
        Some(Cow::Owned(found.value.to_string()))
    });
    Some(Parameterized {
        value: Cow::Owned(format!("{}{subtype}", read.ctype())),
        parameters,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::fields::Header;

    const WANTED: [&str; 3] = ["charset", "name", "boundary"];

    fn shown<const N: usize>(read: Option<Parameterized<'_, N>>) -> Option<String> {
        let read = read?;
        let parameters = read.parameters.iter().map(|found| found.as_deref().unwrap_or("-"));
        let parameters: Vec<&str> = parameters.collect();
        Some(format!("{} {}", read.value.to_ascii_lowercase(), parameters.join("|")))
    }

    #[test]
    fn usual_fields_need_no_full_parser() {
        for (text, expected) in [
            ("Text/HTML", "text/html -|-|-"),
            ("text/plain; charset=UTF-8", "text/plain UTF-8|-|-"),
            (
                "multipart/mixed;\r\n\tboundary=\"=_a b;(c)\" ; x=y;",
                "multipart/mixed -|-|=_a b;(c)",
            ),
            (
                "a/b; NAME=one.pdf; name=\"two.pdf\";; boundary==_b",
                "a/b -|one.pdf|=_b",
            ),
            ("attachment; filename=\"a.pdf\"", "attachment -|-|-"),
        ] {
            assert_eq!(
                shown(simple(text.as_bytes(), WANTED)).as_deref(),
                Some(expected),
                "{text}"
            );
        }
        for text in [
            "",
            "a/",
            "a b",
            "a/b; name*0=x",
            "a/b; name=\"\"",
            "a/b; name=\"é\"",
            "a/b; name=x y",
            "a/b\u{c}; x=y",
        ] {
            assert!(simple(text.as_bytes(), WANTED).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_full_parser_reads(
            value in "(text/plain|a|A/b|a/b/c|[ -~]{0,3})(( ?;|; |;\r\n[ \t]|;\r|[ -~]?)\
                (charset|NAME|boundary|x|name\\*|b c|[ -~]{0,2})(=|=|=|==|= ?|[ -~]|\u{c}=)\
                (utf-8|b|=_b|\"a b\"|\"a\\\\\\\\\"b\"|\" a\t\"|\"\"|=\\?utf-8\\?q\\?a\\?=|\"[ -~]{0,3}\"|[!-~é]{0,3}|\"a\r\n b\"))*\
                [ ;\"\u{c}]{0,2}",
        ) {
            let header = format!("Content-Type: {value}\r\n");
            let field = Header::scan(header.as_bytes()).fields().next().unwrap();
            prop_assert_eq!(shown(read(&field, WANTED)), shown(full(&field.value(), WANTED)));
        }
    }
}
