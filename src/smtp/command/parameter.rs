//! Parameters of MAIL and RCPT (RFC 5321 §4.1.1.11), as values that cannot be malformed. Each prints as it stands on the wire.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use super::CommandError;
use super::MailFrom;
use super::RcptTo;
use super::Xtext;

/// What the text of a message may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// `7BIT`
    #[serde(rename = "7BIT")]
    SevenBit,
    /// `8BITMIME` (RFC 6152)
    #[serde(rename = "8BITMIME")]
    EightBitMime,
    /// `BINARYMIME` (RFC 3030), which no session here offers.
    #[serde(rename = "BINARYMIME")]
    BinaryMime,
}

/// Demand on the way onward (RFC 8689 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Onward {
    /// None made.
    #[default]
    Unsaid,
    /// `REQUIRETLS`: every hop must use proved TLS, which is what this trust space does anyway.
    #[serde(rename = "REQUIRETLS")]
    TlsRequired,
}

impl Onward {
    /// Whether no demand was made.
    pub fn is_unsaid(&self) -> bool {
        *self == Self::Unsaid
    }
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
            return Err(CommandError::RepeatedParameter(shown(&keyword)));
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

    /// RFC 3461 §4.4: at most 100 characters, as they stand here.
    fn envid(&self) -> Result<Xtext, CommandError> {
        if !(1..=ENVID_CHARS_MAX).contains(&self.value.unwrap_or_default().len()) {
            return Err(CommandError::Parameter("ENVID"));
        }
        self.value("ENVID")
    }

    fn unknown(&self) -> CommandError {
        CommandError::UnknownParameter(shown(&self.keyword))
    }
}

fn shown(keyword: &str) -> String {
    keyword.chars().take(KEYWORD_SHOWN_CHARS).collect()
}

/// More than all known ones together.
const PARAMETERS_MAX: usize = 16;
/// RFC 3461 §4.4.
const ENVID_CHARS_MAX: usize = 100;
/// As much of a keyword as a reply repeats.
const KEYWORD_SHOWN_CHARS: usize = 32;
