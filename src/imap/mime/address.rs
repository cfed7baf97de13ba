//! Address lists of header fields in the shape of ENVELOPE (RFC 3501 §7.4.2): encoded words and 8-bit bytes as they were sent.

/// One element of an ENVELOPE address list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mailbox {
    /// Display name, quotes and comments resolved, encoded words not.
    pub(crate) name: Option<Vec<u8>>,
    /// Source route.
    pub(crate) route: Option<Vec<u8>>,
    /// Local part; group name, or `None` at the end of a group.
    pub(crate) local: Option<Vec<u8>>,
    /// Domain; `None` marks the start or end of a group.
    pub(crate) domain: Option<Vec<u8>>,
}

/// Parses an address list leniently: whatever stands there becomes some list, of bounded length.
pub(crate) fn list(value: &[u8]) -> Vec<Mailbox> {
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
    found: Vec<Mailbox>,
    /// Words and specials since the last separator.
    words: Vec<Token>,
    /// The last comment since the last separator: the name in the old style `jean@chu.example (Jean)`.
    comment: Option<Vec<u8>>,
    in_group: bool,
}

#[derive(Clone, Debug)]
struct Token {
    text: Vec<u8>,
    /// White space stood before it.
    apart: bool,
}

impl Parser<'_> {
    fn run(&mut self) {
        let mut apart = false;
        while let Some((&byte, after)) = self.rest.split_first() {
            if self.found.len() >= ADDRESSES_MAX {
                self.words.clear();
                break;
            }
            self.rest = after;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    apart = true;
                    continue;
                }
                b'"' => {
                    let text = self.delimited(b'"');
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
                    let text = self.atom(byte);
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

    fn atom(&mut self, first: u8) -> Vec<u8> {
        // A domain literal may hold colons (RFC 5321 §4.1.3).
        let mut in_literal = first == b'[';
        let ends = |&byte: &u8| {
            match byte {
                b'[' => in_literal = true,
                b']' => in_literal = false,
                _ => {}
            }
            b" \t\r\n\"(<,;".contains(&byte) || (byte == b':' && !in_literal)
        };
        let end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let mut text = vec![clean(first)];
        text.extend(self.rest[..end].iter().map(|&b| clean(b)));
        self.rest = &self.rest[end..];
        text
    }

    /// Text up to the closing delimiter, backslashes resolved.
    fn delimited(&mut self, close: u8) -> Vec<u8> {
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
                byte if byte == close => break,
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
        let inside: Vec<u8> = self
            .delimited_raw(b'>')
            .into_iter()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        let name = join(&std::mem::take(&mut self.words), true);
        let comment = self.comment.take();
        let (route, spec) = match (inside.first(), find_outside_quotes(&inside, b':')) {
            (Some(b'@'), Some(colon)) => (Some(inside[..colon].to_vec()), &inside[colon + 1..]),
            _ => (None, &inside[..]),
        };
        let (local, domain) = split_spec(spec);
        self.found.push(Mailbox {
            name: name.or(comment),
            route,
            local: Some(local),
            domain: Some(domain),
        });
    }

    /// Text up to the closing delimiter outside quotes, nothing resolved.
    fn delimited_raw(&mut self, close: u8) -> Vec<u8> {
        let end = find_outside_quotes(self.rest, close);
        let inside = self.rest[..end.unwrap_or(self.rest.len())]
            .iter()
            .map(|&b| clean(b))
            .collect();
        self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
        inside
    }

    /// An address without angle brackets ends here.
    fn finish_bare(&mut self) {
        let words = std::mem::take(&mut self.words);
        let comment = self.comment.take();
        let Some(spec) = join(&words, false) else { return };
        let is_name = words.len() > 1 && !spec.contains(&b'@') && words.iter().any(|word| word.apart);
        if is_name {
            // Words without any address: somebody's name.
            self.found.push(Mailbox {
                name: join(&words, true),
                route: None,
                local: Some(Vec::new()),
                domain: Some(Vec::new()),
            });
            return;
        }
        let (local, domain) = split_spec(&spec);
        self.found.push(Mailbox {
            name: comment,
            route: None,
            local: Some(local),
            domain: Some(domain),
        });
    }

    fn open_group(&mut self) {
        let name = join(&std::mem::take(&mut self.words), true).unwrap_or_default();
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
fn join(words: &[Token], name: bool) -> Option<Vec<u8>> {
    if words.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if name && index > 0 && word.apart {
            text.push(b' ');
        }
        text.extend_from_slice(&word.text);
    }
    Some(text)
}

/// Splits at the last `@`; without one, all of it is the local part and the domain is empty: NIL would mean a group.
fn split_spec(spec: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match spec.iter().rposition(|&b| b == b'@') {
        Some(at) => (unquote(&spec[..at]), spec[at + 1..].to_vec()),
        None => (unquote(spec), Vec::new()),
    }
}

fn unquote(local: &[u8]) -> Vec<u8> {
    match local {
        [b'"', inside @ .., b'"'] => {
            let mut text = Vec::with_capacity(inside.len());
            let mut bytes = inside.iter();
            while let Some(&byte) = bytes.next() {
                text.push(match byte {
                    b'\\' => bytes.next().copied().unwrap_or(byte),
                    other => other,
                });
            }
            text
        }
        plain => plain.to_vec(),
    }
}

fn find_outside_quotes(bytes: &[u8], wanted: u8) -> Option<usize> {
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

/// Bounds the work and the answer for one field.
const ADDRESSES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(value: &str) -> Vec<String> {
        let text = |t: &Option<Vec<u8>>| match t {
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
