//! Address fields: who a message says it is from (RFC 5322 §3.4, with the obsolete forms of §4.4 and the groups of RFC 6854).
//!
//! A small grammar of our own, because impersonation hides where lenient parsers guess: anything that two readers could
//! understand differently (`a@b <c@d>`, text after the closing bracket) is an error here.

use std::iter::Peekable;
use std::str::Chars;

use mail_parser::parsers::MessageStream;

use super::fields::Header;
use crate::identity::Address;

/// An address with the name shown beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The address.
    pub address: Address,
    /// Display name, or the comment that stands for one; encoded words decoded (ECO.2.2.7).
    pub label: Option<String>,
}

/// Who a message says it is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authors {
    /// `From`, in order; empty when the field is missing or names nobody.
    pub from: Vec<Labelled>,
    /// `Sender`.
    pub sender: Option<Labelled>,
    /// `Reply-To`; empty when missing.
    pub reply_to: Vec<Labelled>,
}

impl Authors {
    /// Reads the three fields. Each may stand once (RFC 5322 §3.6), and `Sender` names one address.
    pub fn read(header: &Header<'_>) -> Result<Self, FieldError> {
        let from = single(header, "From")?;
        let reply_to = single(header, "Reply-To")?;
        let mut sender = single(header, "Sender")?;
        if sender.len() > 1 {
            return Err(FieldError::new("Sender", AddressListError::SeveralSenders));
        }
        Ok(Self {
            from,
            sender: sender.pop(),
            reply_to,
        })
    }
}

/// A field of which the addresses cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {error}")]
pub struct FieldError {
    /// Its name.
    pub field: &'static str,
    /// What is wrong with it.
    #[source]
    pub error: AddressListError,
}

impl FieldError {
    fn new(field: &'static str, error: AddressListError) -> Self {
        Self { field, error }
    }
}

/// Why an address list cannot be read. Entries count from 1; the text is not repeated, it may be an INS (invariant 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressListError {
    /// The field stands more than once.
    #[error("the field stands more than once")]
    Repeated,
    /// `Sender` with several addresses.
    #[error("only one address is allowed")]
    SeveralSenders,
    /// Neither `local@domain` nor `name <local@domain>`.
    #[error("entry {entry} is not an address: expected local@domain or \"name\" <local@domain>")]
    NotAnAddress {
        /// Which.
        entry: usize,
    },
    /// Something follows a complete address.
    #[error("entry {entry} has text after its address; quote a display name that holds @, comma or brackets")]
    Trailing {
        /// Which.
        entry: usize,
    },
    /// A quoted string, comment, bracket or group never ends.
    #[error("entry {entry} has a quote, comment, bracket or group that is not closed")]
    Unclosed {
        /// Which.
        entry: usize,
    },
    /// More addresses than a field may have.
    #[error("more than {ADDRESSES_MAX} addresses")]
    TooMany,
}

/// Reads an unfolded address list. Empty entries are taken (RFC 5322 §4.4); groups give their members.
pub fn list(value: &str) -> Result<Vec<Labelled>, AddressListError> {
    let mut scanner = Scanner::new(value);
    let mut found = Vec::new();
    loop {
        if found.len() > ADDRESSES_MAX {
            return Err(AddressListError::TooMany);
        }
        let parsed = scanner.entry()?;
        found.extend(parsed.mailbox);
        match parsed.end {
            End::Text if scanner.in_group => return Err(scanner.unclosed()),
            End::Text => return Ok(found),
            End::Comma => scanner.entry += 1,
            End::Group if scanner.in_group => return Err(scanner.not_an_address()),
            End::Group => scanner.in_group = true,
            End::Semicolon if scanner.in_group => scanner.close_group()?,
            End::Semicolon => return Err(scanner.not_an_address()),
        }
    }
}

fn single(header: &Header<'_>, name: &'static str) -> Result<Vec<Labelled>, FieldError> {
    let mut fields = header.all(name);
    let Some(field) = fields.next() else {
        return Ok(Vec::new());
    };
    if fields.next().is_some() {
        return Err(FieldError::new(name, AddressListError::Repeated));
    }
    list(&field.value()).map_err(|error| FieldError::new(name, error))
}

/// What ended an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Text,
    Comma,
    Semicolon,
    /// The colon after a group's name.
    Group,
}

struct Entry {
    mailbox: Option<Labelled>,
    end: End,
}

/// A piece of a phrase or of a local part.
enum Word {
    Atom(String),
    Quoted(String),
    Dot,
}

struct Scanner<'a> {
    chars: Peekable<Chars<'a>>,
    /// Which entry, from 1.
    entry: usize,
    in_group: bool,
    /// Last comment seen in this entry: the label of old mail, `a@b (Name)`.
    comment: String,
}

impl<'a> Scanner<'a> {
    fn new(value: &'a str) -> Self {
        Self {
            chars: value.chars().peekable(),
            entry: 1,
            in_group: false,
            comment: String::new(),
        }
    }

    fn entry(&mut self) -> Result<Entry, AddressListError> {
        self.comment.clear();
        let words = self.words()?;
        let next = self.chars.next();
        match next {
            Some('<') => {
                let address = self.angle_address()?;
                let end = self.end()?;
                let label = phrase(&words).or_else(|| self.comment_label());
                Ok(Entry::of(address, label, end))
            }
            Some('@') => {
                let address = self.address(&words)?;
                let end = self.end()?;
                let label = self.comment_label();
                Ok(Entry::of(address, label, end))
            }
            Some(':') if !words.is_empty() => Ok(Entry::none(End::Group)),
            Some(',') if words.is_empty() => Ok(Entry::none(End::Comma)),
            Some(';') if words.is_empty() => Ok(Entry::none(End::Semicolon)),
            None if words.is_empty() => Ok(Entry::none(End::Text)),
            _ => Err(self.not_an_address()),
        }
    }

    /// Words up to the first character that is neither part of one, nor space, nor comment.
    fn words(&mut self) -> Result<Vec<Word>, AddressListError> {
        let mut words = Vec::new();
        loop {
            self.skip_space()?;
            match self.chars.peek() {
                Some('"') => words.push(Word::Quoted(self.quoted()?)),
                Some('.') => {
                    self.chars.next();
                    words.push(Word::Dot);
                }
                Some(&c) if is_atom_char(c) => words.push(Word::Atom(self.atom())),
                _ => return Ok(words),
            }
        }
    }

    /// After `<`: an optional obsolete route (RFC 5322 §4.4), the address, `>`.
    fn angle_address(&mut self) -> Result<Address, AddressListError> {
        self.skip_space()?;
        if matches!(self.chars.peek(), Some('@' | ',')) {
            self.skip_route()?;
        }
        let words = self.words()?;
        if self.chars.next() != Some('@') {
            return Err(self.not_an_address());
        }
        let address = self.address(&words)?;
        self.skip_space()?;
        match self.chars.next() {
            Some('>') => Ok(address),
            None => Err(self.unclosed()),
            Some(_) => Err(self.trailing()),
        }
    }

    fn skip_route(&mut self) -> Result<(), AddressListError> {
        loop {
            self.skip_space()?;
            match self.chars.next() {
                Some(':') => return Ok(()),
                Some('@') => {
                    self.domain()?;
                }
                Some(',') => {}
                _ => return Err(self.not_an_address()),
            }
        }
    }

    /// After `@`, the words before it being the local part.
    fn address(&mut self, words: &[Word]) -> Result<Address, AddressListError> {
        let local = local_part(words).ok_or_else(|| self.not_an_address())?;
        // A comment before the address says nothing about whose it is.
        self.comment.clear();
        let domain = self.domain()?;
        format!("{local}@{domain}").parse().map_err(|_| self.not_an_address())
    }

    /// A dot-atom, spaces and comments allowed around its dots (RFC 5322 §4.4). Domain literals name no domain of the space.
    fn domain(&mut self) -> Result<String, AddressListError> {
        let mut domain = String::new();
        loop {
            self.skip_space()?;
            match self.chars.peek() {
                Some(&c) if is_atom_char(c) && (domain.is_empty() || domain.ends_with('.')) => {
                    domain.push_str(&self.atom());
                }
                Some('.') if !domain.is_empty() && !domain.ends_with('.') => {
                    self.chars.next();
                    domain.push('.');
                }
                _ if domain.is_empty() || domain.ends_with('.') => return Err(self.not_an_address()),
                _ => return Ok(domain),
            }
        }
    }

    /// What may follow an address.
    fn end(&mut self) -> Result<End, AddressListError> {
        self.skip_space()?;
        match self.chars.next() {
            None => Ok(End::Text),
            Some(',') => Ok(End::Comma),
            Some(';') => Ok(End::Semicolon),
            Some(_) => Err(self.trailing()),
        }
    }

    /// After the `;` of a group: another entry or the end.
    fn close_group(&mut self) -> Result<(), AddressListError> {
        self.in_group = false;
        self.skip_space()?;
        match self.chars.peek() {
            None => Ok(()),
            Some(',') => {
                self.chars.next();
                self.entry += 1;
                Ok(())
            }
            Some(_) => Err(self.trailing()),
        }
    }

    fn skip_space(&mut self) -> Result<(), AddressListError> {
        while let Some(&c) = self.chars.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' => {
                    self.chars.next();
                }
                '(' => self.comment()?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// A comment, nested ones included; no recursion, so depth needs no limit.
    fn comment(&mut self) -> Result<(), AddressListError> {
        self.comment.clear();
        let mut depth = 0_usize;
        while let Some(c) = self.chars.next() {
            match c {
                '(' => {
                    depth += 1;
                    if depth == 1 {
                        continue;
                    }
                }
                ')' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                '\\' => {
                    self.comment.extend(self.chars.next());
                    continue;
                }
                _ => {}
            }
            self.comment.push(c);
        }
        Err(self.unclosed())
    }

    /// A quoted string, its quotes and backslashes taken off.
    fn quoted(&mut self) -> Result<String, AddressListError> {
        let mut text = String::new();
        self.chars.next();
        while let Some(c) = self.chars.next() {
            match c {
                '"' => return Ok(text),
                '\\' => text.extend(self.chars.next()),
                _ => text.push(c),
            }
        }
        Err(self.unclosed())
    }

    fn atom(&mut self) -> String {
        let mut atom = String::new();
        while let Some(c) = self.chars.next_if(|&c| is_atom_char(c)) {
            atom.push(c);
        }
        atom
    }

    fn comment_label(&self) -> Option<String> {
        let text = self.comment.trim();
        (!text.is_empty()).then(|| decode_words(text))
    }

    fn not_an_address(&self) -> AddressListError {
        AddressListError::NotAnAddress { entry: self.entry }
    }

    fn trailing(&self) -> AddressListError {
        AddressListError::Trailing { entry: self.entry }
    }

    fn unclosed(&self) -> AddressListError {
        AddressListError::Unclosed { entry: self.entry }
    }
}

impl Entry {
    fn of(address: Address, label: Option<String>, end: End) -> Self {
        Self {
            mailbox: Some(Labelled { address, label }),
            end,
        }
    }

    fn none(end: End) -> Self {
        Self { mailbox: None, end }
    }
}

/// A display name: words with one space between them, dots as written (RFC 5322 §4.1 allows them).
fn phrase(words: &[Word]) -> Option<String> {
    let mut text = String::new();
    for word in words {
        match word {
            Word::Dot => text.push('.'),
            Word::Atom(part) | Word::Quoted(part) => {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(part);
            }
        }
    }
    let text = text.trim();
    (!text.is_empty()).then(|| decode_words(text))
}

/// Words and dots in turn (RFC 5322 §4.4); a quoted string that needs no quotes loses them, as RFC 5321 §4.1.2 asks.
fn local_part(words: &[Word]) -> Option<String> {
    let mut text = String::new();
    let mut is_quoted = false;
    for (index, word) in words.iter().enumerate() {
        match (index % 2, word) {
            (0, Word::Atom(part)) => text.push_str(part),
            (0, Word::Quoted(part)) => {
                is_quoted |= part.is_empty()
                    || !part
                        .split('.')
                        .all(|atom| !atom.is_empty() && atom.chars().all(is_atom_char));
                text.push_str(part);
            }
            (1, Word::Dot) => text.push('.'),
            _ => return None,
        }
    }
    if words.len().is_multiple_of(2) {
        return None;
    }
    if is_quoted {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        return Some(format!("\"{escaped}\""));
    }
    Some(text)
}

/// Decodes the encoded words of RFC 2047 in a label.
pub(crate) fn decode_words(text: &str) -> String {
    if !text.contains("=?") {
        return text.to_owned();
    }
    let line = format!("{text}\n");
    let decoded = MessageStream::new(line.as_bytes()).parse_unstructured();
    decoded.as_text().map_or_else(|| text.to_owned(), ToOwned::to_owned)
}

/// RFC 5322 §3.2.3 `atext`, with the UTF-8 of RFC 6532 §3.2.
fn is_atom_char(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && c != char::REPLACEMENT_CHARACTER)
}

/// Most addresses in one field.
const ADDRESSES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Label and address of each entry, one per line.
    fn read(value: &str) -> String {
        match list(value) {
            Ok(found) => found
                .iter()
                .map(|one| format!("{}|{}", one.label.as_deref().unwrap_or("-"), one.address))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => format!("! {error:?}"),
        }
    }

    #[test]
    fn what_the_field_writes_is_read() {
        let cases = [
            ("a@b.fr", "-|a@b.fr"),
            (" < a@b.fr > ", "-|a@b.fr"),
            (
                "Dr_Jeanne_BRIARD_SSIAD Lilas <jeanne.briard@ssiad.mssante.fr>",
                "Dr_Jeanne_BRIARD_SSIAD Lilas|jeanne.briard@ssiad.mssante.fr",
            ),
            ("\"Briard, Jeanne (Dr)\" <a@b.fr>", "Briard, Jeanne (Dr)|a@b.fr"),
            ("=?UTF-8?Q?H=C3=B4pital_C?= <a@b.fr>", "Hôpital C|a@b.fr"),
            ("Hôpital C – Biologie <a@b.fr>", "Hôpital C – Biologie|a@b.fr"),
            ("M. X. Y. <a@b.fr>", "M. X. Y.|a@b.fr"),
            (
                "a@b.fr (Jeanne (la \\) vraie) Briard)",
                "Jeanne (la ) vraie) Briard|a@b.fr",
            ),
            ("a@b.fr, c@d.fr", "-|a@b.fr\n-|c@d.fr"),
            ("a@b.fr, , c@d.fr,", "-|a@b.fr\n-|c@d.fr"),
            ("Service: a@b.fr, X <c@d.fr>;, e@f.fr", "-|a@b.fr\nX|c@d.fr\n-|e@f.fr"),
            ("undisclosed-recipients:;", ""),
            ("", ""),
            ("(only a comment)", ""),
            ("a (x) . (y) b @ c . fr", "-|a.b@c.fr"),
            ("<@relay.fr,@other.fr:a@b.fr>", "-|a@b.fr"),
            ("\"jeanne.briard\"@b.fr", "-|jeanne.briard@b.fr"),
            ("\"jeanne briard\"@b.fr", "-|\"jeanne briard\"@b.fr"),
            ("\"a\\\"b\"@c.fr", "-|\"a\\\"b\"@c.fr"),
            ("<hélène@b.fr>", "-|hélène@b.fr"),
        ];
        for (value, expected) in cases {
            assert_eq!(read(value), expected, "{value}");
        }
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        use AddressListError::{NotAnAddress, Trailing, Unclosed};
        let cases = [
            ("a@b.fr <c@d.fr>", Trailing { entry: 1 }),
            ("<a@b.fr> <c@d.fr>", Trailing { entry: 1 }),
            ("<a@b.fr> garbage", Trailing { entry: 1 }),
            ("<a@b.fr c@d.fr>", Trailing { entry: 1 }),
            ("a@b.fr c@d.fr", Trailing { entry: 1 }),
            ("a@b.fr@c.fr", Trailing { entry: 1 }),
            ("x: a@b.fr; y", Trailing { entry: 1 }),
            ("a@b.fr, jean dupont@b.fr", NotAnAddress { entry: 2 }),
            ("jean", NotAnAddress { entry: 1 }),
            ("<>", NotAnAddress { entry: 1 }),
            ("<a>", NotAnAddress { entry: 1 }),
            ("a@", NotAnAddress { entry: 1 }),
            ("@b.fr", NotAnAddress { entry: 1 }),
            ("a..b@c.fr", NotAnAddress { entry: 1 }),
            ("a@[127.0.0.1]", NotAnAddress { entry: 1 }),
            ("a@b..fr", NotAnAddress { entry: 1 }),
            ("x: y: a@b.fr;;", NotAnAddress { entry: 1 }),
            ("a@b.fr;", NotAnAddress { entry: 1 }),
            ("a\u{fffd}@b.fr", NotAnAddress { entry: 1 }),
            ("\"a <a@b.fr>", Unclosed { entry: 1 }),
            ("(a <a@b.fr>", Unclosed { entry: 1 }),
            ("<a@b.fr", Unclosed { entry: 1 }),
            ("x: a@b.fr", Unclosed { entry: 1 }),
        ];
        for (value, error) in cases {
            assert_eq!(list(value), Err(error), "{value}");
        }
    }

    #[test]
    fn a_list_is_bounded_and_deep_comments_cost_no_stack() {
        assert_eq!(list(&"a@b.fr,".repeat(1_001)), Err(AddressListError::TooMany));
        assert_eq!(list(&"a@b.fr,".repeat(1_000)).unwrap().len(), 1_000);
        let deep = format!("{}x{}a@b.fr", "(".repeat(200_000), ")".repeat(200_000));
        assert_eq!(list(&deep).unwrap().len(), 1);
    }

    #[test]
    fn authors_are_read_from_a_header() {
        let header = Header::scan(b"From: A <a@b.fr>,\r\n c@d.fr\r\nSender: e@f.fr\r\nReply-To: g@h.fr\r\n\r\n");
        let authors = Authors::read(&header).unwrap();
        assert_eq!(authors.from.len(), 2);
        assert_eq!(authors.sender.unwrap().address.as_str(), "e@f.fr");
        assert_eq!(authors.reply_to[0].address.as_str(), "g@h.fr");
        assert_eq!(
            Authors::read(&Header::scan(b"To: a@b.fr\r\n\r\n")),
            Ok(Authors::default())
        );
    }

    #[test]
    fn two_from_fields_or_two_senders_are_an_error() {
        let two_from = Header::scan(b"From: a@b.fr\r\nfrom: c@d.fr\r\n\r\n");
        assert_eq!(
            Authors::read(&two_from),
            Err(FieldError::new("From", AddressListError::Repeated))
        );
        let two_senders = Header::scan(b"From: a@b.fr\r\nSender: a@b.fr, c@d.fr\r\n\r\n");
        assert_eq!(
            Authors::read(&two_senders).unwrap_err().to_string(),
            "Sender: only one address is allowed"
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(value in "[a-c@.,:;<>()\"\\\\ é=?]{0,60}") {
            let found = list(&value);
            prop_assert!(found.is_err() || found.is_ok_and(|all| all.len() <= value.len()));
        }

        #[test]
        fn a_written_address_reads_back(label in "[ -~é]{0,20}", local in "[a-z]{1,5}(\\.[a-z]{1,5})?") {
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("\"{escaped}\" <{local}@ehpad-lilas.mssante.fr>");
            let found = list(&value).unwrap();
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].address.local(), local);
        }
    }
}
