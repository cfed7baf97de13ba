//! The smallest pieces of a command: atoms, strings, numbers, parentheses (RFC 9051 §9).

use std::borrow::Cow;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// Why bytes are not a command: what stood wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    text: &'static str,
    at: usize,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at byte {}", self.text, self.at)
    }
}

impl SyntaxError {
    pub(super) fn no_tag() -> Self {
        Self {
            text: "expected a tag",
            at: 0,
        }
    }

    /// The words without the place.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &'static str {
        self.text
    }
}

pub(super) type Parsed<T> = Result<T, SyntaxError>;

/// A place in a command.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(whole: &'a [u8]) -> Self {
        Self { whole, at: 0 }
    }

    pub(super) fn fail<T>(&self, text: &'static str) -> Parsed<T> {
        Err(SyntaxError { text, at: self.at })
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.whole[self.at..]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.whole.get(self.at).copied()
    }

    pub(super) fn advance(&mut self, by: usize) {
        self.at = self.at.saturating_add(by).min(self.whole.len());
    }

    /// Takes that byte if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn expect(&mut self, byte: u8, text: &'static str) -> Parsed<()> {
        if self.eat(byte) { Ok(()) } else { self.fail(text) }
    }

    /// One space.
    pub(super) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "expected a space")
    }

    /// One space, which some clients leave out before a parenthesis.
    pub(super) fn space_or_parenthesis(&mut self) -> Parsed<()> {
        if self.peek() == Some(b'(') {
            Ok(())
        } else {
            self.space()
        }
    }

    /// Whether the command ends here, spaces apart, which some clients leave at the end.
    pub(super) fn is_end(&self) -> bool {
        let rest = self.rest();
        let spaces = rest.iter().take_while(|&&b| b == b' ').count();
        matches!(&rest[spaces..], b"" | b"\n" | b"\r\n")
    }

    pub(super) fn end(&self) -> Parsed<()> {
        if self.is_end() {
            Ok(())
        } else {
            self.fail("expected the end of the command")
        }
    }

    /// Bytes from here on that satisfy `is`.
    pub(super) fn run(&mut self, is: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().take_while(|&&b| is(b)).count();
        self.at += length;
        &rest[..length]
    }

    /// The bytes of the next atom, without taking them.
    pub(super) fn peek_atom(&self) -> &'a [u8] {
        self.clone().run(is_atom_char)
    }

    pub(super) fn atom(&mut self, text: &'static str) -> Parsed<&'a str> {
        let start = self.at;
        let found = self.run(is_atom_char);
        match std::str::from_utf8(found) {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => {
                self.at = start;
                self.fail(text)
            }
        }
    }

    /// An atom in capitals.
    pub(super) fn keyword(&mut self, text: &'static str) -> Parsed<String> {
        Ok(self.atom(text)?.to_ascii_uppercase())
    }

    /// Takes that atom if it is next, in any case.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek_atom().eq_ignore_ascii_case(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    /// An `astring`.
    pub(super) fn astring(&mut self, text: &'static str) -> Parsed<Cow<'a, [u8]>> {
        if let Some(b'"' | b'{') = self.peek() {
            return self.string(text);
        }
        let found = self.run(is_astring_char);
        if found.is_empty() {
            return self.fail(text);
        }
        Ok(Cow::Borrowed(found))
    }

    /// A `string`: quoted, or a literal.
    pub(super) fn string(&mut self, text: &'static str) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => {
                let found = self.literal()?;
                if found.contains(&0) {
                    return self.fail("NUL may stand only in a literal8");
                }
                Ok(Cow::Borrowed(found))
            }
            _ => self.fail(text),
        }
    }

    /// An `nstring`; `None` is NIL.
    pub(super) fn nstring(&mut self, text: &'static str) -> Parsed<Option<Cow<'a, [u8]>>> {
        if self.eat_word("NIL") {
            return Ok(None);
        }
        self.string(text).map(Some)
    }

    /// A quoted string. RFC 6855 §3 allows UTF-8; clients send it without asking.
    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'"', "expected a quoted string")?;
        let plain = self.run(is_quoted_char);
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            if self.eat(b'"') {
                return Ok(Cow::Owned(text));
            }
            if self.eat(b'\\') {
                match self.peek() {
                    Some(quoted @ (b'"' | b'\\')) => text.push(quoted),
                    _ => return self.fail("only \" and \\ are quoted with \\"),
                }
                self.at += 1;
            } else {
                let plain = self.run(is_quoted_char);
                if plain.is_empty() {
                    return self.fail("a quoted string does not end");
                }
                text.extend_from_slice(plain);
            }
        }
    }

    /// A literal with its bytes; `~` was taken before.
    pub(super) fn literal(&mut self) -> Parsed<&'a [u8]> {
        let length = self.announcement()?;
        let rest = self.rest();
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(found) => {
                self.at += found.len();
                Ok(found)
            }
            None => self.fail("a literal is not complete"),
        }
    }

    /// `{n}` or `{n+}` and the end of its line, without the bytes announced.
    pub(super) fn announcement(&mut self) -> Parsed<u64> {
        self.expect(b'{', "expected a literal")?;
        let length = self.number64()?;
        self.eat(b'+');
        if !self.rest().starts_with(b"}\r\n") {
            return self.fail("expected } and the end of the line");
        }
        self.at += 3;
        Ok(length)
    }

    /// A number of 32 bits.
    pub(super) fn number(&mut self) -> Parsed<u32> {
        let start = self.clone();
        let number = self.number64()?;
        u32::try_from(number).or_else(|_| start.fail("a number is too large"))
    }

    pub(super) fn nonzero(&mut self) -> Parsed<NonZeroU32> {
        let start = self.clone();
        NonZeroU32::new(self.number()?).map_or_else(|| start.fail("0 cannot stand here"), Ok)
    }

    pub(super) fn nonzero64(&mut self) -> Parsed<NonZeroU64> {
        let start = self.clone();
        NonZeroU64::new(self.number64()?).map_or_else(|| start.fail("0 cannot stand here"), Ok)
    }

    /// A number of 63 bits (RFC 9051 §9, RFC 7162 §7).
    pub(super) fn number64(&mut self) -> Parsed<u64> {
        let start = self.clone();
        let digits = self.run(|b| b.is_ascii_digit());
        if digits.is_empty() {
            return self.fail("expected a number");
        }
        let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<i64>().ok());
        match number.and_then(|n| u64::try_from(n).ok()) {
            Some(number) => Ok(number),
            None => start.fail("a number is too large"),
        }
    }

    /// `(item item …)`, one at least.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect(b'(', "expected (")?;
        let mut found = vec![item(self)?];
        while !self.eat(b')') {
            self.list_space()?;
            // `(a b )`: a space too many does no harm.
            if self.eat(b')') {
                break;
            }
            found.push(item(self)?);
        }
        Ok(found)
    }

    fn list_space(&mut self) -> Parsed<()> {
        self.expect(b' ', "expected a space or )")
    }

    /// `(item item …)` or `()`.
    pub(super) fn list_or_nothing<T>(&mut self, item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        if self.rest().starts_with(b"()") {
            self.at += 2;
            return Ok(Vec::new());
        }
        self.list(item)
    }
}

/// The tag a command starts with, if it has one that can be repeated in an answer.
pub(crate) fn tag_of(command: &[u8]) -> Option<String> {
    let end = command
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(command.len());
    let tag = &command[..end];
    let good = !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && tag.iter().all(|&b| is_astring_char(b) && b != b'+');
    good.then(|| String::from_utf8_lossy(tag).into_owned())
}

/// `ATOM-CHAR`
pub(super) fn is_atom_char(byte: u8) -> bool {
    is_astring_char(byte) && byte != b']'
}

/// `ASTRING-CHAR`
pub(super) fn is_astring_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

fn is_quoted_char(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\\' | b'\r' | b'\n' | 0)
}

/// Longest tag repeated in an answer.
const TAG_BYTES_MAX: usize = 256;
