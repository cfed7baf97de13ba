//! Content-Type and Content-Disposition: a value and parameters, continuations of RFC 2231 §3 joined.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3};

/// A structured value with its parameters in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameterized<'a> {
    /// What stands before the first `;`, trimmed.
    pub(crate) value: Cow<'a, [u8]>,
    /// Names as written, values unquoted. An extended value keeps the `*` of its name and its percent coding.
    pub(crate) parameters: Vec<Parameter<'a>>,
}

/// A name and a value.
pub(crate) type Parameter<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl<'a> Parameterized<'a> {
    /// The value of a parameter, by name without case.
    pub(crate) fn into_parameter(self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut parameters = self.parameters.into_iter();
        let found = parameters.find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value)
    }
}

/// Parses an unfolded field value leniently.
pub(crate) fn parse(text: &[u8]) -> Parameterized<'_> {
    let mut rest = text;
    let value = strip_comments(take_until_semicolon(&mut rest));
    let mut raw = Vec::new();
    while !rest.is_empty() && raw.len() < PARAMETERS_MAX {
        let piece = past_comments(take_until_semicolon(&mut rest));
        let Some(equals) = memchr(b'=', piece) else {
            continue;
        };
        let name = strip_comments(&piece[..equals]);
        if !name.is_empty() {
            raw.push((name, unquote(piece[equals + 1..].trim_ascii())));
        }
    }
    Parameterized {
        value,
        parameters: join_continuations(raw),
    }
}

/// Only what stands before the parameters of an unfolded field value.
pub(crate) fn value(mut text: &[u8]) -> Cow<'_, [u8]> {
    strip_comments(take_until_semicolon(&mut text))
}

/// Takes up to the next `;` outside quotes and comments, and drops the `;`.
fn take_until_semicolon<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = semicolon(rest);
    let piece = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or(&[]);
    piece
}

/// Where the next `;` outside quotes and comments is; the end when there is none.
fn semicolon(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(special) = memchr3(b';', b'"', b'(', &text[at..]) {
        at += special;
        let quoted = match text[at] {
            b';' => return at,
            b'"' => memchr2(b'"', b'\\', &text[at + 1..]).map(|end| at + 1 + end),
            _ => None,
        };
        match quoted {
            Some(end) if text[end] == b'"' => at = end + 1,
            // Comments and escapes are rare.
            _ => return at + outside(&text[at..]),
        }
    }
    text.len()
}

/// The same, a byte at a time.
fn outside(text: &[u8]) -> usize {
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_u32);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            b';' if !quoted && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// What stands outside comments.
pub(crate) fn strip_comments(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'(', text).is_none() {
        return Cow::Borrowed(text.trim_ascii());
    }
    let mut depth = 0_u32;
    let kept: Vec<u8> = text
        .iter()
        .copied()
        .filter(|&byte| {
            let inside = depth > 0 || byte == b'(';
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            !inside
        })
        .collect();
    Cow::Owned(kept.trim_ascii().to_vec())
}

/// What follows white space and comments.
fn past_comments(text: &[u8]) -> &[u8] {
    let mut rest = text.trim_ascii();
    while rest.first() == Some(&b'(') {
        let mut depth = 0_u32;
        let end = rest.iter().position(|&byte| {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        rest = end.map_or(&[], |end| rest[end + 1..].trim_ascii());
    }
    rest
}

fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let value = past_comments(value);
    let Some(inside) = value.strip_prefix(b"\"") else {
        return strip_comments(value);
    };
    let end = memchr2(b'"', b'\\', inside).unwrap_or(inside.len());
    if inside.get(end) != Some(&b'\\') {
        return Cow::Borrowed(&inside[..end]);
    }
    let mut text = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => text.extend(bytes.next()),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

/// RFC 2231 §6: continuations are joined by the server; charset and percent coding are left to the client.
fn join_continuations(raw: Vec<Parameter<'_>>) -> Vec<Parameter<'_>> {
    if raw.iter().all(|(name, _)| memchr(b'*', name).is_none()) {
        return raw;
    }
    let mut joined: Vec<Parameter<'_>> = Vec::with_capacity(raw.len());
    let mut sections: Vec<Section> = Vec::new();
    for (name, value) in raw {
        match Section::of(&name, &value) {
            Some(section) => sections.push(section),
            None => joined.push((name, value)),
        }
    }
    while let Some(first) = sections.first() {
        let base = first.base.to_ascii_lowercase();
        let (mut same, others): (Vec<_>, Vec<_>) =
            sections.into_iter().partition(|s| s.base.eq_ignore_ascii_case(&base));
        sections = others;
        same.sort_by_key(|s| s.number);
        // RFC 2231 §3: numbers begin at 0 and leave none out; what does not is no continuation.
        let whole = (0..).zip(&same).all(|(number, section)| section.number == number);
        if whole {
            joined.push(Section::join(same));
        } else {
            joined.extend(same.into_iter().map(Section::apart));
        }
    }
    joined
}

/// One `name*N` or `name*N*` parameter.
struct Section {
    base: Vec<u8>,
    number: u32,
    extended: bool,
    value: Vec<u8>,
}

impl Section {
    fn of(name: &[u8], value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?;
        let (base, tail) = text.split_once('*')?;
        let (number, extended) = match tail.strip_suffix('*') {
            Some(number) => (number, true),
            None => (tail, false),
        };
        Some(Self {
            base: base.into(),
            number: number.parse().ok()?,
            extended,
            value: value.to_vec(),
        })
    }

    /// As it was written.
    fn apart<'a>(self) -> Parameter<'a> {
        let mut name = self.base;
        name.extend_from_slice(format!("*{}{}", self.number, if self.extended { "*" } else { "" }).as_bytes());
        (name.into(), self.value.into())
    }

    fn join<'a>(sections: Vec<Self>) -> Parameter<'a> {
        let extended = sections.iter().any(|s| s.extended);
        let mut name = sections.first().map(|s| s.base.clone()).unwrap_or_default();
        if extended {
            name.push(b'*');
        }
        let mut value = Vec::new();
        for (index, section) in sections.iter().enumerate() {
            if !extended || section.extended {
                value.extend_from_slice(&section.value);
            } else {
                if index == 0 {
                    value.extend_from_slice(b"us-ascii''");
                }
                section.value.iter().for_each(|&b| percent(b, &mut value));
            }
        }
        (name.into(), value.into())
    }
}

fn percent(byte: u8, out: &mut Vec<u8>) {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        out.push(byte);
    } else {
        out.push(b'%');
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// More parameters than this are left out.
const PARAMETERS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let parsed = parse(text.as_bytes());
        let mut out = String::from_utf8_lossy(&parsed.value).into_owned();
        for (name, value) in &parsed.parameters {
            out.push('|');
            out.push_str(&String::from_utf8_lossy(name));
            out.push('=');
            out.push_str(&String::from_utf8_lossy(value));
        }
        out
    }

    #[test]
    fn usual_and_broken_parameters() {
        assert_eq!(shown("text/plain; charset=utf-8"), "text/plain|charset=utf-8");
        assert_eq!(
            shown("text/plain (a; b); charset=\"a;\\\"b\" (c)"),
            "text/plain|charset=a;\"b"
        );
        assert_eq!(shown("a/b; name=my file.pdf; x"), "a/b|name=my file.pdf");
        assert_eq!(shown("a/b; name=\"open; c=d"), "a/b|name=open; c=d");
        assert_eq!(shown("; =x;;"), "");
        assert_eq!(shown("a/b; (x=y) (z) name (n) = (v) \"w\" (u)"), "a/b|name=w");
        assert_eq!(shown("a/b; (open name=x"), "a/b");
    }

    #[test]
    fn continuations_are_joined_in_the_order_of_their_numbers() {
        assert_eq!(
            shown("a/b; filename*1=\"lo.pdf\"; filename*0=hel; x=y"),
            "a/b|x=y|filename=hello.pdf"
        );
        assert_eq!(
            shown("a; filename*0*=utf-8''%C3%A9t; filename*1*=%C3%A9; filename*2=\" 1.pdf\""),
            "a|filename*=utf-8''%C3%A9t%C3%A9%201.pdf"
        );
        assert_eq!(shown("a; f*0=hel; f*2*=lo; x=y"), "a|x=y|f*0=hel|f*2*=lo");
        assert_eq!(shown("a; f*0=hel; F*0=lo"), "a|f*0=hel|F*0=lo");
        assert_eq!(shown("a; filename*=utf-8'fr'%C3%A9"), "a|filename*=utf-8'fr'%C3%A9");
    }

    proptest! {
        #[test]
        fn a_piece_ends_where_a_look_at_each_byte_ends_it(text in "[a;\"\\\\()]{0,12}") {
            prop_assert_eq!(semicolon(text.as_bytes()), outside(text.as_bytes()));
        }
    }
}
