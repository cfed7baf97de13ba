//! Subject DN of a certificate: parsed from the allow list's text or from a certificate's RDNs, normalised, compared whole.
//!
//! The allow list writes names leaf first, in several spellings for one server (quotes around double spaces, a space after a comma, a
//! trailing space, capitals). Text is therefore never compared: both sides become (type, value) pairs and equality is that of the
//! normalised pairs, all of them, in order (OP-4). Same CN with another OU is another name.

mod attributes;
mod rdns;

use std::cmp::Ordering;
use std::fmt;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

pub use attributes::DnAttribute;
use attributes::{TYPES, canonical_type};

/// A subject (or issuer) DN, leaf first: `CN=smtp.exemple.fr,OU=1750000001,O=CH EXEMPLE,ST=Paris (75),C=FR`. Cloning is cheap.
#[derive(Clone)]
pub struct SubjectDn(Arc<Name>);

/// The text is not a DN of RFC 4514.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a subject DN: {problem}")]
pub struct SubjectDnError {
    text: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    #[error("it has more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    #[error("expected TYPE=value at byte {0}")]
    ExpectedType(usize),
    #[error("wrong escape at byte {0}: expected a special character or two hexadecimal digits after the backslash")]
    WrongEscape(usize),
    #[error("wrong #hexadecimal value at byte {0}")]
    WrongHex(usize),
    #[error("the value that ends at byte {0} is not UTF-8 once unescaped")]
    NotUtf8(usize),
}

struct Name {
    /// Leaf first, as given.
    rdns: Vec<Vec<Attribute>>,
    /// What equality, order and hash look at.
    normal: String,
}

#[derive(Clone, Debug)]
struct Attribute {
    /// Short name in capitals, or a dotted OID when it has none.
    kind: String,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    /// BER of a value that is not a character string (RFC 4514 §2.4).
    Encoded(Vec<u8>),
}

impl SubjectDn {
    /// From a certificate: the RDNs in the order of their encoding (country first), each a set of (dotted OID or short type, value).
    ///
    /// Fails when there is none: every certificate of the field has a subject.
    pub fn from_encoded(rdns: Vec<Vec<(String, String)>>) -> Result<Self, SubjectDnError> {
        let attribute = |(kind, value): (String, String)| Attribute {
            kind: canonical_type(&kind),
            value: Value::Text(value),
        };
        let leaf_first = |rdn: Vec<(String, String)>| rdn.into_iter().map(attribute).collect();
        Self::new(rdns.into_iter().rev().map(leaf_first).collect()).map_err(|problem| SubjectDnError {
            text: String::new(),
            problem,
        })
    }

    fn new(rdns: Vec<Vec<Attribute>>) -> Result<Self, Problem> {
        match rdns.iter().map(Vec::len).sum() {
            0 => return Err(Problem::Empty),
            1..=ATTRIBUTES_MAX => {}
            _ => return Err(Problem::TooManyAttributes),
        }
        let normal = normal_form(&rdns);
        Ok(Self(Arc::new(Name { rdns, normal })))
    }

    /// The first CN: of an operator's certificate, the FQDN of its SMTP server. For display; never decide on it alone.
    pub fn common_name(&self) -> Option<&str> {
        self.first("CN")
    }

    /// The first OU: the national structure identifier, `1` + FINESS or `3` + SIRET.
    pub fn organisational_unit(&self) -> Option<&str> {
        self.first("OU")
    }

    /// The first O: the raison sociale, cut at 40 characters in the field. For display.
    pub fn organisation(&self) -> Option<&str> {
        self.first("O")
    }

    fn first(&self, kind: &str) -> Option<&str> {
        let attributes = self.0.rdns.iter().flatten();
        attributes
            .filter(|attribute| attribute.kind == kind)
            .find_map(|attribute| match &attribute.value {
                Value::Text(text) => Some(text.trim()),
                Value::Encoded(_) => None,
            })
    }

    /// The same text without accents or anything else an SMTP reply cannot carry. For messages, not for comparison.
    pub fn to_ascii(&self) -> String {
        let plain = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
        self.to_string()
            .nfkd()
            .filter(|c| !is_combining_mark(*c))
            .map(plain)
            .collect()
    }
}

impl FromStr for SubjectDn {
    type Err = SubjectDnError;

    /// Reads RFC 4514 text, plus what the allow list and older tools write: spaces around separators, a value between double quotes,
    /// unescaped quotes inside a value.
    fn from_str(text: &str) -> Result<Self, SubjectDnError> {
        let parsed = match text.len() {
            0..=TEXT_BYTES_MAX => Parser { text, at: 0 }.name().and_then(Self::new),
            _ => Err(Problem::TooLong),
        };
        parsed.map_err(|problem| SubjectDnError {
            text: text.chars().take(ERROR_CHARS_MAX).collect(),
            problem,
        })
    }
}

impl PartialEq for SubjectDn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.normal == other.0.normal
    }
}

impl Eq for SubjectDn {}

impl Hash for SubjectDn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.normal.hash(state);
    }
}

impl PartialOrd for SubjectDn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SubjectDn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.normal.cmp(&other.0.normal)
    }
}

impl fmt::Display for SubjectDn {
    /// RFC 4514 text, leaf first, values as they were given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, rdn) in self.0.rdns.iter().enumerate() {
            if place > 0 {
                f.write_char(',')?;
            }
            for (place, attribute) in rdn.iter().enumerate() {
                if place > 0 {
                    f.write_char('+')?;
                }
                write!(f, "{}=", attribute.kind)?;
                write_value(f, &attribute.value)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SubjectDn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectDn({self})")
    }
}

/// RFC 4514 §2.4: which characters a value cannot hold bare.
fn write_value(f: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    let text = match value {
        Value::Text(text) => text,
        Value::Encoded(bytes) => {
            f.write_char('#')?;
            return bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"));
        }
    };
    let last = text.chars().count().saturating_sub(1);
    for (place, c) in text.chars().enumerate() {
        match c {
            ' ' if place == 0 || place == last => f.write_str("\\ ")?,
            '#' if place == 0 => f.write_str("\\#")?,
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => write!(f, "\\{c}")?,
            c if c.is_ascii_control() => write!(f, "\\{:02x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

/// Each attribute as `TYPE=<length>:<value>`: the length makes two different lists of pairs two different strings.
fn normal_form(rdns: &[Vec<Attribute>]) -> String {
    let mut normal = String::new();
    for rdn in rdns {
        let mut pairs: Vec<String> = rdn.iter().map(normal_attribute).collect();
        // X.501: a multi-valued RDN is a set.
        pairs.sort();
        normal.push_str(&pairs.concat());
        normal.push(';');
    }
    normal
}

fn normal_attribute(attribute: &Attribute) -> String {
    let value = match &attribute.value {
        Value::Text(text) => normal_value(text),
        Value::Encoded(bytes) => bytes
            .iter()
            .fold("#".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    };
    let mark = match &attribute.value {
        Value::Text(_) => ':',
        Value::Encoded(_) => '#',
    };
    format!("{}={}{mark}{value}", attribute.kind, value.len())
}

/// NFKC (a no-break space becomes a space), lower case, white space collapsed and trimmed.
fn normal_value(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    let mut value = String::with_capacity(folded.len());
    for word in folded.split_whitespace() {
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(word);
    }
    value
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn name(mut self) -> Result<Vec<Vec<Attribute>>, Problem> {
        self.skip_space();
        if self.peek().is_none() {
            return Err(Problem::Empty);
        }
        let mut rdns = vec![vec![self.attribute()?]];
        let mut count = 1;
        // Bounded: each turn reads at least one byte, and at most ATTRIBUTES_MAX turns are made.
        while let Some(separator) = self.next() {
            let attribute = self.attribute()?;
            match (separator, rdns.last_mut()) {
                (b'+', Some(rdn)) => rdn.push(attribute),
                _ => rdns.push(vec![attribute]),
            }
            count += 1;
            if count > ATTRIBUTES_MAX {
                return Err(Problem::TooManyAttributes);
            }
        }
        Ok(rdns)
    }

    fn attribute(&mut self) -> Result<Attribute, Problem> {
        self.skip_space();
        let start = self.at;
        while self.peek().is_some_and(is_type_byte) {
            self.at += 1;
        }
        let kind = &self.text[start..self.at];
        let first = kind.bytes().next().ok_or(Problem::ExpectedType(start))?;
        let dotted = kind.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let shape = if first.is_ascii_digit() {
            dotted
        } else {
            first.is_ascii_alphabetic()
        };
        let kind = canonical_type(kind);
        self.skip_space();
        if !shape || kind.is_empty() || self.next() != Some(b'=') {
            return Err(Problem::ExpectedType(start));
        }
        self.skip_space();
        let value = self.value()?;
        Ok(Attribute { kind, value })
    }

    fn value(&mut self) -> Result<Value, Problem> {
        match self.peek() {
            Some(b'#') => self.hex_value(),
            Some(b'"') => {
                let start = self.at;
                if let Some(text) = self.quoted()? {
                    return Ok(Value::Text(text));
                }
                self.at = start;
                self.bare().map(Value::Text)
            }
            _ => self.bare().map(Value::Text),
        }
    }

    /// RFC 4514 §2.4: `#` and the BER of the value; a character string is decoded so that it equals its written form.
    fn hex_value(&mut self) -> Result<Value, Problem> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        while let Some((high, low)) = self.hex_pair(self.at) {
            bytes.push(high * 16 + low);
            self.at += 2;
        }
        self.skip_space();
        if bytes.is_empty() || !matches!(self.peek(), None | Some(b',' | b'+')) {
            return Err(Problem::WrongHex(start));
        }
        Ok(decode_string(&bytes).map_or(Value::Encoded(bytes), Value::Text))
    }

    /// A value between double quotes (RFC 2253 §4), or `None` when more text follows the closing quote: the quotes are then its own.
    fn quoted(&mut self) -> Result<Option<String>, Problem> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match self.peek() {
                None => return Ok(None),
                Some(b'"') => break,
                Some(b'\\') => bytes.push(self.escape()?),
                Some(byte) => {
                    bytes.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        self.skip_space();
        match self.peek() {
            None | Some(b',' | b'+') => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| Problem::NotUtf8(self.at)),
            Some(_) => Ok(None),
        }
    }

    fn bare(&mut self) -> Result<String, Problem> {
        let mut bytes = Vec::new();
        // Where the value ends if only unescaped spaces follow.
        let mut kept = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b',' | b'+' => break,
                b'\\' => {
                    bytes.push(self.escape()?);
                    kept = bytes.len();
                }
                byte => {
                    bytes.push(byte);
                    self.at += 1;
                    if !is_space(byte) {
                        kept = bytes.len();
                    }
                }
            }
        }
        bytes.truncate(kept);
        String::from_utf8(bytes).map_err(|_| Problem::NotUtf8(self.at))
    }

    /// RFC 4514 §3: `\` and a special character, or two hexadecimal digits.
    fn escape(&mut self) -> Result<u8, Problem> {
        let start = self.at;
        if let Some((high, low)) = self.hex_pair(start + 1) {
            self.at += 3;
            return Ok(high * 16 + low);
        }
        let special = self.text.as_bytes().get(start + 1).copied();
        match special.filter(|b| b" \"#+,;<=>\\".contains(b)) {
            Some(byte) => {
                self.at += 2;
                Ok(byte)
            }
            None => Err(Problem::WrongEscape(start)),
        }
    }

    fn hex_pair(&self, at: usize) -> Option<(u8, u8)> {
        let digit = |at: usize| {
            let byte = char::from(*self.text.as_bytes().get(at)?);
            byte.to_digit(16).and_then(|value| u8::try_from(value).ok())
        };
        Some((digit(at)?, digit(at + 1)?))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_type_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-'
}

/// The text of a DER character string with a short length; `None` for anything else.
fn decode_string(der: &[u8]) -> Option<String> {
    let (tag, body) = match der {
        [tag, length, body @ ..] if *length < 0x80 && usize::from(*length) == body.len() => (*tag, body),
        _ => return None,
    };
    match tag {
        // UTF8String, PrintableString, IA5String.
        0x0c | 0x13 | 0x16 => String::from_utf8(body.to_vec()).ok(),
        // BMPString: UCS-2.
        0x1e if body.len() % 2 == 0 => {
            let units = body.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// Longest text read. The longest of the real list is under 200 bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Most attributes in one name. The field uses five.
const ATTRIBUTES_MAX: usize = 32;
/// How much of a refused text its error repeats.
const ERROR_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dn(text: &str) -> SubjectDn {
        text.parse().unwrap()
    }

    fn encoded(pairs: &[(&str, &str)]) -> SubjectDn {
        let rdn = |(kind, value): &(&str, &str)| vec![((*kind).to_owned(), (*value).to_owned())];
        SubjectDn::from_encoded(pairs.iter().map(rdn).collect()).unwrap()
    }

    const PLAIN: &str = "CN=smtp-1.exemple.fr,OU=1750000001,O=CH EXEMPLE,ST=Paris (75),C=FR";

    #[test]
    fn a_certificate_in_encoding_order_equals_the_list_text_leaf_first() {
        let certificate = encoded(&[
            ("2.5.4.6", "FR"),
            ("2.5.4.8", "Paris (75)"),
            ("2.5.4.10", "CH EXEMPLE"),
            ("2.5.4.11", "1750000001"),
            ("2.5.4.3", "smtp-1.exemple.fr"),
        ]);
        assert_eq!(certificate, dn(PLAIN));
        assert_eq!(certificate.to_string(), PLAIN);
        assert_eq!(certificate.common_name(), Some("smtp-1.exemple.fr"));
        assert_eq!(certificate.organisational_unit(), Some("1750000001"));
    }

    #[test]
    fn spellings_of_one_name_are_equal() {
        for same in [
            "cn=SMTP-1.exemple.FR,ou=1750000001,o=Ch Exemple,st=paris (75),c=fr",
            "CN=smtp-1.exemple.fr, OU=1750000001, O=CH EXEMPLE, ST=Paris (75), C=FR",
            "CN=smtp-1.exemple.fr ,OU=1750000001,O=CH EXEMPLE ,ST=Paris (75),C=FR ",
            "CN=smtp-1.exemple.fr,OU=1750000001,O=\"CH  EXEMPLE\",ST=Paris (75),C=FR",
            "CN=smtp-1.exemple.fr,OU=1750000001,O=CH\u{a0}\u{a0}EXEMPLE,S=Paris (75),C=FR",
            "CN=smtp-1.exemple.fr,OU=1750000001,O=CH\\ EXEMPLE,ST=Paris\\20(75),C=FR",
            "2.5.4.3=smtp-1.exemple.fr,OID.2.5.4.11=1750000001,O=#0c0a434820455845 4d504c45,ST=Paris (75),C=FR"
                .replace("5845 4d", "58454d")
                .as_str(),
            "CN=ｓｍｔｐ-1.exemple.fr,OU=1750000001,O=CH EXEMPLE,ST=Paris (75),C=FR",
        ] {
            assert_eq!(dn(same), dn(PLAIN), "{same}");
        }
        assert_eq!(dn("CN=a,ST=Pyre\u{301}ne\u{301}es"), dn("CN=a,ST=PYRÉNÉES"));
    }

    #[test]
    fn the_whole_name_counts_in_order() {
        for other in [
            "CN=smtp-1.exemple.fr,OU=1750000002,O=CH EXEMPLE,ST=Paris (75),C=FR",
            "CN=smtp-1.exemple.fr,OU=1750000001,O=CH EXEMPLE,L=Paris (75),C=FR",
            "CN=smtp-1.exemple.fr,OU=1750000001,O=CH EXEMPLE,ST=Paris (75)",
            "OU=1750000001,CN=smtp-1.exemple.fr,O=CH EXEMPLE,ST=Paris (75),C=FR",
            "CN=smtp-1.exemple.fr,OU=1750000001+O=CH EXEMPLE,ST=Paris (75),C=FR",
            "CN=smtp-1.exemple.fr,OU=1750000001,O=CH \"EXEMPLE\",ST=Paris (75),C=FR",
            "CN=smtp-1.exemple.fr,CN=x,OU=1750000001,O=CH EXEMPLE,ST=Paris (75),C=FR",
        ] {
            assert_ne!(dn(other), dn(PLAIN), "{other}");
        }
    }

    #[test]
    fn separators_inside_a_value_do_not_make_another_name() {
        assert_eq!(dn(r"CN=a\,OU=b"), encoded(&[("CN", "a,OU=b")]));
        assert_ne!(dn(r"CN=a\,OU=b"), dn("CN=a,OU=b"));
        assert_eq!(dn("CN=\"a,OU=b\""), dn(r"CN=a\,OU=b"));
        assert_eq!(dn(r"CN=Lu\C4\8Di\C4\87"), dn("CN=Lučić"));
        assert_eq!(dn("CN=a+UID=b,C=FR"), dn("UID=b + CN=a,C=FR"));
        assert_ne!(dn("CN=\\#0c0161"), dn("CN=#0c0161"));
        assert_ne!(dn("CN=\\#020101"), dn("CN=#020101"));
    }

    #[test]
    fn inner_quotes_belong_to_the_value() {
        let hospital = dn("CN=m.fr,O=CENTRE HOSPITALIER \"FRANCK-JOLY\",C=FR");
        assert_eq!(
            hospital,
            encoded(&[("C", "FR"), ("O", "CENTRE HOSPITALIER \"FRANCK-JOLY\""), ("CN", "m.fr")])
        );
        assert_eq!(dn("O=\"A\" B"), encoded(&[("O", "\"A\" B")]));
        assert_eq!(dn("O=\"A\\\"B\""), encoded(&[("O", "A\"B")]));
        assert_eq!(dn("O=\"A"), encoded(&[("O", "\"A")]));
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_its_place() {
        for (text, problem) in [
            ("", "empty"),
            ("  ", "empty"),
            ("smtp.exemple.fr", "TYPE=value at byte 0"),
            ("CN=a,b", "TYPE=value at byte 5"),
            ("CN=a,", "TYPE=value at byte 5"),
            ("=a", "TYPE=value at byte 0"),
            ("1a=b", "TYPE=value at byte 0"),
            ("OID.=b", "TYPE=value at byte 0"),
            ("CN=a\\", "wrong escape at byte 4"),
            ("CN=a\\q", "wrong escape at byte 4"),
            ("CN=#0c0", "wrong #hexadecimal value at byte 3"),
            ("CN=#zz", "wrong #hexadecimal value at byte 3"),
            ("CN=\\ff", "not UTF-8"),
        ] {
            let error = text.parse::<SubjectDn>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
        assert!("CN=a,".repeat(40).trim_end_matches(',').parse::<SubjectDn>().is_err());
        assert!(format!("CN={}", "a".repeat(5000)).parse::<SubjectDn>().is_err());
        assert!(SubjectDn::from_encoded(Vec::new()).is_err());
    }

    #[test]
    fn a_reply_gets_it_without_accents() {
        assert_eq!(dn("CN=é\u{a0}☃,ST=Rhône (69)").to_ascii(), "CN=e ?,ST=Rhone (69)");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(name) = text.parse::<SubjectDn>() {
                prop_assert_eq!(name.to_string().parse::<SubjectDn>().unwrap(), name);
            }
        }

        #[test]
        fn text_that_looks_like_a_name_is_read_or_refused(text in r##"(CN|ou|2\.5\.4\.10|x)=[a-z "#\\,+=é0-9;<>]{0,20}(,(O|C)=["#\\, 0-9a-f]{0,12}){0,3}"##) {
            if let Ok(name) = text.parse::<SubjectDn>() {
                prop_assert_eq!(name.to_string().parse::<SubjectDn>().unwrap(), name);
            }
        }

        #[test]
        fn what_is_shown_is_read_back_equal(values in prop::collection::vec(("(CN|OU|O|L|1\\.2\\.3)", "\\PC{0,20}"), 1..6)) {
            let rdns = values.into_iter().map(|pair| vec![pair]).collect();
            let name = SubjectDn::from_encoded(rdns).unwrap();
            prop_assert_eq!(name.to_string().parse::<SubjectDn>().unwrap(), name);
        }
    }
}
