//! Parameters of MAIL and RCPT (RFC 5321 §4.1.1.11), as values that cannot be malformed. Each prints as it stands on the wire.

use std::fmt;
use std::str::FromStr;

use super::CommandError;
use super::MailFrom;
use super::RcptTo;

/// What the text of a message may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME` (RFC 6152)
    EightBitMime,
    /// `BINARYMIME` (RFC 3030), which no session here offers.
    BinaryMime,
}

/// What of the message a delivery report returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

/// Demand on the way onward (RFC 8689 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Onward {
    /// None made.
    #[default]
    Unsaid,
    /// `REQUIRETLS`: every hop must use proved TLS, which is what this trust space does anyway.
    TlsRequired,
}

/// When the sender wants a delivery report (RFC 3461 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

/// Text that travels as xtext: printable ASCII, `+` and `=` as `+2B` and `+3D` (RFC 3461 §4). Kept decoded, printed encoded.
#[derive(Clone, PartialEq, Eq, Hash)]
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

    /// Text to be sent; `None` if it holds control characters.
    pub fn of(decoded: &str) -> Option<Self> {
        (!decoded.chars().any(char::is_control)).then(|| Self(decoded.to_owned()))
    }
}

/// Whom the sender wrote to in the first place (RFC 3461 §4.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginalRecipient {
    /// Kind of address: `rfc822`, `utf-8`.
    pub kind: String,
    /// The address, decoded.
    pub address: Xtext,
}

/// The text is not a value of that parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a value of this parameter")]
pub struct ParameterError;

impl FromStr for Body {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text.to_ascii_uppercase().as_str() {
            "7BIT" => Ok(Self::SevenBit),
            "8BITMIME" => Ok(Self::EightBitMime),
            "BINARYMIME" => Ok(Self::BinaryMime),
            _ => Err(ParameterError),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SevenBit => "7BIT",
            Self::EightBitMime => "8BITMIME",
            Self::BinaryMime => "BINARYMIME",
        })
    }
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

impl FromStr for Notify {
    type Err = ParameterError;

    /// `NEVER` stands alone; the others may be combined.
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
        let wanted = OCCASIONS.iter().filter(|(_, occasion)| self.wants(*occasion));
        for (position, (name, _)) in wanted.enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl FromStr for Xtext {
    type Err = ParameterError;

    /// Takes the wire form. UTF-8 beyond ASCII stands for itself (RFC 6533 §3).
    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let mut decoded = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '+' => {
                    let (high, low) = (hex(rest.next())?, hex(rest.next())?);
                    let byte = high * 16 + low;
                    if !(b' '..=b'~').contains(&byte) {
                        return Err(ParameterError);
                    }
                    decoded.push(char::from(byte));
                }
                '=' | ' ' => return Err(ParameterError),
                _ if c.is_control() => return Err(ParameterError),
                _ => decoded.push(c),
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

impl FromStr for OriginalRecipient {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let (kind, address) = text.split_once(';').ok_or(ParameterError)?;
        let atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        // RFC 3461 §4.2
        if !atom || address.is_empty() || text.len() > ORCPT_BYTES_MAX {
            return Err(ParameterError);
        }
        Ok(Self {
            kind: kind.to_ascii_lowercase(),
            address: address.parse()?,
        })
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, self.address)
    }
}

/// `KEYWORD` or `KEYWORD=value`.
pub(super) struct Parameter<'a> {
    keyword: String,
    value: Option<&'a str>,
}

/// Splits what follows a path.
pub(super) fn split(text: &str) -> Result<Vec<Parameter<'_>>, CommandError> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(CommandError::Syntax("a space between path and parameters"));
    }
    let words = text.split(' ').filter(|word| !word.is_empty());
    let mut parameters: Vec<Parameter<'_>> = Vec::new();
    for word in words {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        let shape = keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if keyword.is_empty() || !shape || parameters.len() == PARAMETERS_MAX {
            return Err(CommandError::Syntax("parameters are KEYWORD or KEYWORD=value"));
        }
        if parameters.iter().any(|known| known.keyword == keyword) {
            return Err(CommandError::Syntax("a parameter stands twice"));
        }
        parameters.push(Parameter { keyword, value });
    }
    Ok(parameters)
}

impl Parameter<'_> {
    pub(super) fn add_to_mail(&self, mail: &mut MailFrom) -> Result<(), CommandError> {
        match self.keyword.as_str() {
            "SIZE" => mail.size_bytes = Some(self.size()?),
            "BODY" => mail.body = Some(self.value("BODY")?),
            "SMTPUTF8" => {
                self.no_value("SMTPUTF8")?;
                mail.utf8 = true;
            }
            "RET" => mail.ret = Some(self.value("RET")?),
            "ENVID" => mail.envid = Some(self.envid()?),
            "AUTH" => mail.auth = Some(self.value("AUTH")?),
            "REQUIRETLS" => {
                self.no_value("REQUIRETLS")?;
                mail.onward = Onward::TlsRequired;
            }
            _ => return Err(self.unknown()),
        }
        Ok(())
    }

    pub(super) fn add_to_recipient(&self, recipient: &mut RcptTo) -> Result<(), CommandError> {
        match self.keyword.as_str() {
            "NOTIFY" => recipient.notify = Some(self.value("NOTIFY")?),
            "ORCPT" => recipient.orcpt = Some(self.value("ORCPT")?),
            _ => return Err(self.unknown()),
        }
        Ok(())
    }

    fn value<T: FromStr>(&self, name: &'static str) -> Result<T, CommandError> {
        self.value
            .and_then(|value| value.parse().ok())
            .ok_or(CommandError::Parameter(name))
    }

    fn no_value(&self, name: &'static str) -> Result<(), CommandError> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(CommandError::Parameter(name)),
        }
    }

    /// RFC 1870 §3: one to twenty digits. What does not fit a `u64` is larger than any limit.
    fn size(&self) -> Result<u64, CommandError> {
        let digits = self.value.unwrap_or_default();
        if !(1..=20).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CommandError::Parameter("SIZE"));
        }
        Ok(digits.parse().unwrap_or(u64::MAX))
    }

    /// RFC 3461 §4.4: at most 100 characters.
    fn envid(&self) -> Result<Xtext, CommandError> {
        let envid: Xtext = self.value("ENVID")?;
        if self.value.unwrap_or_default().is_empty() || envid.decoded().chars().count() > ENVID_CHARS_MAX {
            return Err(CommandError::Parameter("ENVID"));
        }
        Ok(envid)
    }

    fn unknown(&self) -> CommandError {
        CommandError::UnknownParameter(self.keyword.chars().take(KEYWORD_SHOWN_CHARS).collect())
    }
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
/// More than all known ones together.
const PARAMETERS_MAX: usize = 16;
/// RFC 3461 §4.4.
const ENVID_CHARS_MAX: usize = 100;
/// RFC 3461 §4.2.
const ORCPT_BYTES_MAX: usize = 500;
/// As much of an unknown keyword as a reply repeats.
const KEYWORD_SHOWN_CHARS: usize = 32;
