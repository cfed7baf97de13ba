//! Wishes about delivery reports (RFC 3461), as values that cannot be malformed. Each prints as it stands on the wire, and a queue row
//! keeps that text, so that what the sender wrote is what the next operator reads.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use super::parameter::ParameterError;
use crate::identity::Address;

/// What of the message a delivery report returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ret {
    /// All of it.
    #[serde(rename = "FULL")]
    Full,
    /// Its header.
    #[serde(rename = "HDRS")]
    Headers,
}

impl FromStr for Ret {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text.to_ascii_uppercase().as_str() {
            "FULL" => Ok(Self::Full),
            "HDRS" => Ok(Self::Headers),
            _ => Err(ParameterError),
        }
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// When the sender wants a delivery report (RFC 3461 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct Notify(u8);

impl Notify {
    /// `NEVER`
    pub const NEVER: Self = Self(0);
    /// `SUCCESS`
    pub const SUCCESS: Self = Self(1);
    /// `FAILURE`
    pub const FAILURE: Self = Self(2);
    /// `DELAY`
    pub const DELAY: Self = Self(4);

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a report is wanted on that occasion.
    pub fn wants(self, occasion: Self) -> bool {
        self.0 & occasion.0 != 0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        OCCASIONS
            .into_iter()
            .filter_map(move |(name, occasion)| self.wants(occasion).then_some(name))
    }
}

impl FromStr for Notify {
    type Err = ParameterError;

    /// RFC 3461 §4.1: `NEVER` stands alone; the others may be combined.
    fn from_str(text: &str) -> Result<Self, ParameterError> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Ok(Self::NEVER);
        }
        text.split(',').try_fold(Self::NEVER, |sum, word| {
            let found = OCCASIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
            found.map(|(_, occasion)| sum.with(*occasion)).ok_or(ParameterError)
        })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("NEVER");
        }
        for (position, name) in self.names().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// A queue row lists the occasions; an empty list is `NEVER`.
impl From<Notify> for Vec<String> {
    fn from(notify: Notify) -> Self {
        notify.names().map(str::to_owned).collect()
    }
}

impl TryFrom<Vec<String>> for Notify {
    type Error = ParameterError;

    fn try_from(names: Vec<String>) -> Result<Self, ParameterError> {
        match names.as_slice() {
            [] => Ok(Self::NEVER),
            names => names.join(",").parse(),
        }
    }
}

/// Text that travels as xtext: printable ASCII, `+` and `=` as `+2B` and `+3D` (RFC 3461 §4). Kept decoded, printed encoded.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Xtext(String);

/// It may hold an address, so debug output shows only its length (invariant 9).
impl fmt::Debug for Xtext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xtext({} bytes)", self.0.len())
    }
}

impl Xtext {
    /// The decoded text.
    pub fn decoded(&self) -> &str {
        &self.0
    }

    /// Text to be sent; `None` if it holds anything but printable ASCII and spaces (RFC 3461 §4.2, §4.4).
    pub fn of(decoded: &str) -> Option<Self> {
        decoded.bytes().all(is_printable).then(|| Self(decoded.to_owned()))
    }
}

impl FromStr for Xtext {
    type Err = ParameterError;

    /// Takes the wire form.
    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let mut decoded = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '+' => {
                    let byte = hex(rest.next())? * 16 + hex(rest.next())?;
                    if !is_printable(byte) {
                        return Err(ParameterError);
                    }
                    decoded.push(char::from(byte));
                }
                '=' => return Err(ParameterError),
                '!'..='~' => decoded.push(c),
                _ => return Err(ParameterError),
            }
        }
        Ok(Self(decoded))
    }
}

impl fmt::Display for Xtext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '+' | '=' | ' ' => write!(f, "+{:02X}", u32::from(c)),
            _ => write!(f, "{c}"),
        })
    }
}

impl From<Xtext> for String {
    fn from(text: Xtext) -> Self {
        text.to_string()
    }
}

impl TryFrom<String> for Xtext {
    type Error = ParameterError;

    fn try_from(text: String) -> Result<Self, ParameterError> {
        text.parse()
    }
}

/// Whom the sender wrote to in the first place (RFC 3461 §4.2). It prints in its form of seven bits, which every server takes.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct OriginalRecipient {
    kind: String,
    address: String,
}

/// The address may hold an INS: debug output shows only its length (invariant 9).
impl fmt::Debug for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OriginalRecipient({}; {} bytes)", self.kind, self.address.len())
    }
}

impl OriginalRecipient {
    /// Kind of address in lower case: `rfc822`, `utf-8`, or another that is only passed on.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The address, decoded. Only one of kind `utf-8` goes beyond printable ASCII.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The recipient itself, as a relay may name it when the sender did not (RFC 3461 §5.2.1).
    pub fn of(address: &Address) -> Self {
        let kind = if address.as_str().is_ascii() {
            KIND_ASCII
        } else {
            KIND_UTF8
        };
        Self {
            kind: kind.to_owned(),
            address: address.as_str().to_owned(),
        }
    }
}

impl FromStr for OriginalRecipient {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let (kind, address) = text.split_once(';').ok_or(ParameterError)?;
        let atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        // RFC 3461 §4.2
        if !atom || address.is_empty() || text.len() > ORCPT_BYTES_MAX {
            return Err(ParameterError);
        }
        let kind = kind.to_ascii_lowercase();
        let address = if kind == KIND_UTF8 {
            utf8_address(address)?
        } else {
            address.parse::<Xtext>()?.0
        };
        let read = Self { kind, address };
        // UTF-8 grows in its form of seven bits, which is the one that goes on.
        if read.to_string().len() > ORCPT_BYTES_MAX {
            return Err(ParameterError);
        }
        Ok(read)
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};", self.kind)?;
        self.address.chars().try_for_each(|c| match c {
            '!'..='~' if !is_special(c, &self.kind) => write!(f, "{c}"),
            _ if self.kind == KIND_UTF8 => write!(f, "\\x{{{:02X}}}", u32::from(c)),
            _ => write!(f, "+{:02X}", u32::from(c)),
        })
    }
}

impl From<OriginalRecipient> for String {
    fn from(recipient: OriginalRecipient) -> Self {
        recipient.to_string()
    }
}

impl TryFrom<String> for OriginalRecipient {
    type Error = ParameterError;

    fn try_from(text: String) -> Result<Self, ParameterError> {
        text.parse()
    }
}

/// RFC 6533 §3: `utf-8-addr-xtext` (`\x{E9}` for what ASCII lacks), or UTF-8 as it is.
fn utf8_address(text: &str) -> Result<String, ParameterError> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => {
                let (point, after) = code_point(rest).ok_or(ParameterError)?;
                decoded.push(point);
                rest = after;
            }
            '+' | '=' | ' ' => return Err(ParameterError),
            c if c.is_control() => return Err(ParameterError),
            c => decoded.push(c),
        }
    }
    Ok(decoded)
}

/// `x{HEXPOINT}` and what follows it.
fn code_point(text: &str) -> Option<(char, &str)> {
    let (digits, after) = text.strip_prefix("x{")?.split_once('}')?;
    let shape = (1..=POINT_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let point = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    (shape && !point.is_control()).then_some((point, after))
}

fn is_special(c: char, kind: &str) -> bool {
    matches!(c, '+' | '=') || (c == '\\' && kind == KIND_UTF8)
}

fn is_printable(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

/// RFC 3461 §4: capital hexadecimal digits.
fn hex(c: Option<char>) -> Result<u8, ParameterError> {
    match c {
        Some(c @ ('0'..='9' | 'A'..='F')) => c
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .ok_or(ParameterError),
        _ => Err(ParameterError),
    }
}

const OCCASIONS: [(&str, Notify); 3] = [
    ("SUCCESS", Notify::SUCCESS),
    ("FAILURE", Notify::FAILURE),
    ("DELAY", Notify::DELAY),
];
const KIND_ASCII: &str = "rfc822";
/// RFC 6533 §3.
const KIND_UTF8: &str = "utf-8";
/// `10FFFF`.
const POINT_DIGITS_MAX: usize = 6;
/// RFC 3461 §4.2.
const ORCPT_BYTES_MAX: usize = 500;
