//! Address lists of header fields in the shape of ENVELOPE (RFC 3501 §7.4.2): encoded words and 8-bit bytes as they were sent.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2, memrchr};

/// One element of an ENVELOPE address list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mailbox<'a> {
    /// Display name, quotes and comments resolved, encoded words not.
    pub(crate) name: Option<Cow<'a, [u8]>>,
    /// Source route.
    pub(crate) route: Option<Cow<'a, [u8]>>,
    /// Local part; group name, or `None` at the end of a group.
    pub(crate) local: Option<Cow<'a, [u8]>>,
    /// Domain; `None` marks the start or end of a group.
    pub(crate) domain: Option<Cow<'a, [u8]>>,
}

/// Parses an address list leniently: whatever stands there becomes some list, of bounded length.
pub(crate) fn list(value: &[u8]) -> Vec<Mailbox<'_>> {
    let mut parser = Parser {
        rest: value,
        found: Vec::new(),
        words: Vec::new(),
        comment: None,
        in_group: false,
    };
    parser.run();
    parser.found
}

struct Parser<'a> {
    rest: &'a [u8],
    found: Vec<Mailbox<'a>>,
    /// Words and specials since the last separator.
    words: Vec<Token<'a>>,
    /// The last comment since the last separator: the name in the old style `jean@chu.example (Jean)`.
    comment: Option<Vec<u8>>,
    in_group: bool,
}

#[derive(Clone, Debug)]
struct Token<'a> {
    text: Cow<'a, [u8]>,
    /// White space stood before it.
    apart: bool,
}

impl<'a> Parser<'a> {
    fn run(&mut self) {
        let mut apart = false;
        while let Some((&byte, after)) = self.rest.split_first() {
            if self.found.len() >= ADDRESSES_MAX {
                self.words.clear();
                break;
            }
            let all = self.rest;
            self.rest = after;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    apart = true;
                    continue;
                }
                b'"' => {
                    let text = self.quoted();
                    self.words.push(Token { text, apart });
                }
                b'(' => {
                    let comment = self.comment();
                    // Only behind an address is it the name.
                    if !self.words.is_empty() {
                        self.comment = Some(comment);
                    }
                }
                b'<' => self.angle(),
                b',' => self.finish_bare(),
                b':' => self.open_group(),
                b';' => self.close_group(),
                _ => {
                    let text = self.atom(byte, all);
                    self.words.push(Token { text, apart });
                }
            }
            apart = false;
        }
        self.finish_bare();
        if self.in_group {
            self.close_group();
        }
    }

    /// `all` begins with the first byte, which is consumed.
    fn atom(&mut self, first: u8, all: &'a [u8]) -> Cow<'a, [u8]> {
        // A domain literal may hold colons (RFC 5321 §4.1.3).
        let mut in_literal = first == b'[';
        let ends = |&byte: &u8| match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'(' | b'<' | b',' | b';' => true,
            b':' => !in_literal,
            b'[' | b']' => {
                in_literal = byte == b'[';
                false
            }
            _ => false,
        };
        let end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
        without_nul(&all[..=end])
    }

    /// Text up to the closing quote, backslashes resolved.
    fn quoted(&mut self) -> Cow<'a, [u8]> {
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\r' | b'\n' | 0);
        let end = self.rest.iter().position(special).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        match rest {
            [] | [b'"', ..] => {
                self.rest = rest.get(1..).unwrap_or_default();
                Cow::Borrowed(text)
            }
            _ => Cow::Owned(self.resolved()),
        }
    }

    fn resolved(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some((&byte, after)) = self.rest.split_first() {
            self.rest = after;
            match byte {
                b'\\' => {
                    if let Some((&escaped, after)) = self.rest.split_first() {
                        self.rest = after;
                        text.push(clean(escaped));
                    }
                }
                b'\r' | b'\n' => {}
                b'"' => break,
                byte => text.push(clean(byte)),
            }
        }
        text
    }

    /// A comment, nested ones included; the opening parenthesis is consumed.
    fn comment(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut depth = 1_u32;
        while let Some((&byte, after)) = self.rest.split_first() {
            self.rest = after;
            match byte {
                b'(' => depth += 1,
                b')' if depth == 1 => break,
                b')' => depth -= 1,
                b'\r' | b'\n' => continue,
                b'\\' => {
                    if let Some((&escaped, after)) = self.rest.split_first() {
                        self.rest = after;
                        text.push(clean(escaped));
                    }
                    continue;
                }
                _ => {}
            }
            text.push(clean(byte));
        }
        text
    }

    /// `<route:local@domain>`; the words before it are the name.
    fn angle(&mut self) {
        let inside = self.inside_angle();
        let name = join(&self.words, true);
        self.words.clear();
        let comment = self.comment.take();
        let is_routed = inside.first() == Some(&b'@');
        let colon = is_routed.then(|| find_outside_quotes(&inside, b':')).flatten();
        let (route, spec) = match colon {
            Some(colon) => (Some(cut(&inside, 0..colon)), cut(&inside, colon + 1..inside.len())),
            None => (None, inside),
        };
        let (local, domain) = split_spec(&spec);
        self.found.push(Mailbox {
            name: name.or(comment.map(Cow::Owned)),
            route,
            local: Some(local),
            domain: Some(domain),
        });
    }

    /// Text up to the closing bracket outside quotes, without white space, nothing resolved.
    fn inside_angle(&mut self) -> Cow<'a, [u8]> {
        let end = find_outside_quotes(self.rest, b'>');
        let inside = &self.rest[..end.unwrap_or(self.rest.len())];
        self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
        if inside.iter().any(u8::is_ascii_whitespace) {
            let kept = inside.iter().filter(|b| !b.is_ascii_whitespace());
            return Cow::Owned(kept.map(|&b| clean(b)).collect());
        }
        without_nul(inside)
    }

    /// An address without angle brackets ends here.
    fn finish_bare(&mut self) {
        let comment = self.comment.take();
        let Some(spec) = join(&self.words, false) else { return };
        let is_name = self.words.len() > 1 && !spec.contains(&b'@') && self.words.iter().any(|word| word.apart);
        let mailbox = if is_name {
            // Words without any address: somebody's name.
            Mailbox {
                name: join(&self.words, true),
                route: None,
                local: Some(Cow::Borrowed(b"")),
                domain: Some(Cow::Borrowed(b"")),
            }
        } else {
            let (local, domain) = split_spec(&spec);
            Mailbox {
                name: comment.map(Cow::Owned),
                route: None,
                local: Some(local),
                domain: Some(domain),
            }
        };
        self.words.clear();
        self.found.push(mailbox);
    }

    fn open_group(&mut self) {
        let name = join(&self.words, true).unwrap_or_default();
        self.words.clear();
        self.comment = None;
        if self.in_group {
            // A group within a group, which no grammar has: the first one ends here.
            self.found.push(Mailbox::default());
        }
        self.in_group = true;
        self.found.push(Mailbox {
            local: Some(name),
            ..Mailbox::default()
        });
    }

    fn close_group(&mut self) {
        self.finish_bare();
        if self.in_group {
            self.found.push(Mailbox::default());
        }
        self.in_group = false;
    }
}

/// Words as one text; in a name they keep one space between them where there was some.
fn join<'a>(words: &[Token<'a>], name: bool) -> Option<Cow<'a, [u8]>> {
    let (first, others) = words.split_first()?;
    if others.is_empty() {
        return Some(first.text.clone());
    }
    let mut text = first.text.to_vec();
    for word in others {
        if name && word.apart {
            text.push(b' ');
        }
        text.extend_from_slice(&word.text);
    }
    Some(Cow::Owned(text))
}

/// Splits at the last `@`; without one, all of it is the local part and the domain is empty: NIL would mean a group.
fn split_spec<'a>(spec: &Cow<'a, [u8]>) -> (Cow<'a, [u8]>, Cow<'a, [u8]>) {
    match memrchr(b'@', spec) {
        Some(at) => (unquote(cut(spec, 0..at)), cut(spec, at + 1..spec.len())),
        None => (unquote(spec.clone()), Cow::Borrowed(b"")),
    }
}

/// A part of a text, which lies where the text lies.
fn cut<'a>(text: &Cow<'a, [u8]>, range: Range<usize>) -> Cow<'a, [u8]> {
    match text {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
        Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
    }
}

fn unquote(local: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let [b'"', inside @ .., b'"'] = &*local else {
        return local;
    };
    let mut text = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        text.push(match byte {
            b'\\' => bytes.next().copied().unwrap_or(byte),
            other => other,
        });
    }
    Cow::Owned(text)
}

fn find_outside_quotes(bytes: &[u8], wanted: u8) -> Option<usize> {
    let first = memchr2(wanted, b'"', bytes)?;
    if bytes[first] == wanted {
        return Some(first);
    }
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if byte == wanted && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// No IMAP string may hold NUL.
fn clean(byte: u8) -> u8 {
    if byte == 0 { b'?' } else { byte }
}

fn without_nul(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr(0, text).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.iter().map(|&b| clean(b)).collect())
}

/// Bounds the work and the answer for one field.
const ADDRESSES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(value: &str) -> Vec<String> {
        let text = |t: &Option<Cow<'_, [u8]>>| match t {
            Some(t) => String::from_utf8_lossy(t).into_owned(),
            None => "NIL".into(),
        };
        list(value.as_bytes())
            .iter()
            .map(|m| {
                format!(
                    "{}|{}|{}|{}",
                    text(&m.name),
                    text(&m.route),
                    text(&m.local),
                    text(&m.domain)
                )
            })
            .collect()
    }

    #[test]
    fn usual_addresses() {
        assert_eq!(shown("a@b.fr"), ["NIL|NIL|a|b.fr"]);
        assert_eq!(
            shown("Jean  Briard <a@b.fr>, c@d.fr"),
            ["Jean Briard|NIL|a|b.fr", "NIL|NIL|c|d.fr"]
        );
        assert_eq!(
            shown("\"Briard, J. \\\"JB\\\"\" <a@b.fr>"),
            ["Briard, J. \"JB\"|NIL|a|b.fr"]
        );
        assert_eq!(
            shown("=?utf-8?q?J=C3=A9r=C3=B4me?= <a@b.fr>"),
            ["=?utf-8?q?J=C3=A9r=C3=B4me?=|NIL|a|b.fr"]
        );
        assert_eq!(shown("a@b.fr (Jean (le) Bon)"), ["Jean (le) Bon|NIL|a|b.fr"]);
        assert_eq!(shown("\"odd local\"@b.fr"), ["NIL|NIL|odd local|b.fr"]);
        assert_eq!(shown("<\"odd>local\"@b.fr>"), ["NIL|NIL|odd>local|b.fr"]);
        assert_eq!(shown("<@a.fr,@b.fr:c@d.fr>"), ["NIL|@a.fr,@b.fr|c|d.fr"]);
    }

    #[test]
    fn groups_have_a_start_and_an_end() {
        assert_eq!(
            shown("Team: a@b.fr, C <c@d.fr>;, e@f.fr"),
            [
                "NIL|NIL|Team|NIL",
                "NIL|NIL|a|b.fr",
                "C|NIL|c|d.fr",
                "NIL|NIL|NIL|NIL",
                "NIL|NIL|e|f.fr"
            ]
        );
        assert_eq!(
            shown("undisclosed-recipients:;"),
            ["NIL|NIL|undisclosed-recipients|NIL", "NIL|NIL|NIL|NIL"]
        );
        assert_eq!(
            shown("Open: a@b.fr"),
            ["NIL|NIL|Open|NIL", "NIL|NIL|a|b.fr", "NIL|NIL|NIL|NIL"]
        );
    }

    #[test]
    fn nonsense_becomes_some_list() {
        assert_eq!(shown(""), Vec::<String>::new());
        assert_eq!(shown(",,;"), Vec::<String>::new());
        assert_eq!(shown("root"), ["NIL|NIL|root|"]);
        assert_eq!(shown("Jean <a@b.fr"), ["Jean|NIL|a|b.fr"]);
        assert_eq!(shown("<>"), ["NIL|NIL||"]);
        assert_eq!(shown("\"open"), ["NIL|NIL|open|"]);
        assert_eq!(shown("(avant) a@b.fr"), ["NIL|NIL|a|b.fr"]);
        assert_eq!(
            shown("a@[IPv6:2001:db8::1], b@[192.0.2.1]"),
            ["NIL|NIL|a|[IPv6:2001:db8::1]", "NIL|NIL|b|[192.0.2.1]"]
        );
        assert_eq!(shown("Jean  Dupont"), ["Jean Dupont|NIL||"]);
        assert_eq!(
            shown("a: b: c@d;"),
            [
                "NIL|NIL|a|NIL",
                "NIL|NIL|NIL|NIL",
                "NIL|NIL|b|NIL",
                "NIL|NIL|c|d",
                "NIL|NIL|NIL|NIL"
            ]
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_groups_balance(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let found = list(&value);
            let opened = found.iter().filter(|m| m.local.is_some() && m.domain.is_none()).count();
            let closed = found.iter().filter(|m| m.local.is_none()).count();
            prop_assert_eq!(opened, closed);
        }
    }
}
