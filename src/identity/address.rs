//! A mail address: what a box has.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use super::domain::{Domain, DomainError};

/// A mail address. It keeps the local part as written and compares without case: MSSanté boxes are declared once, and no
/// operator gives `Jean@` and `jean@` to two holders. Cloning is cheap.
#[derive(Clone)]
pub struct Address {
    written: Arc<str>,
    /// Lower case of the whole; what equality, order and hash use.
    folded: Arc<str>,
    domain: Domain,
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing before it.
    #[error("{0:?} is not a mail address: expected local@domain")]
    Shape(String),
    /// The local part holds something RFC 5321 §4.1.2 does not allow, or is longer than 64 bytes (§4.5.3.1.1).
    #[error(
        "{0:?} has a local part that is neither a dot-string nor a quoted string of RFC 5321, or is longer than 64 bytes"
    )]
    Local(String),
    /// The domain part is not a domain.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Address {
    /// The part before the `@`, as written.
    pub fn local(&self) -> &str {
        &self.written[..self.written.len() - self.domain.as_str().len() - 1]
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The whole address as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The whole address in lower case: the key to store and compare by.
    pub fn key(&self) -> &str {
        &self.folded
    }

    /// Whether it is postmaster of its domain, in any case (RFC 5321 §4.5.1).
    pub fn is_postmaster(&self) -> bool {
        self.local().eq_ignore_ascii_case(POSTMASTER)
    }

    /// The address as logs and journals may show it: the INS of a patient is masked (invariant 9).
    pub fn masked(&self) -> String {
        if !self.domain.is_patient() || !self.local().bytes().take(1).all(|b| b.is_ascii_digit()) {
            return self.written.to_string();
        }
        let local: Vec<char> = self.local().chars().collect();
        let head: String = local.iter().take(MASK_HEAD).collect();
        let tail: String = local
            .iter()
            .skip(local.len().saturating_sub(MASK_TAIL).max(MASK_HEAD))
            .collect();
        format!("{head}…{tail}@{}", self.domain)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| AddressError::Shape(text.into()))?;
        if local.is_empty() {
            return Err(AddressError::Shape(text.into()));
        }
        if local.len() > LOCAL_BYTES_MAX || !(is_dot_string(local) || is_quoted(local)) {
            return Err(AddressError::Local(text.into()));
        }
        let domain: Domain = domain.parse()?;
        let written: Arc<str> = format!("{local}@{domain}").into();
        let folded = if written.bytes().any(|b| b.is_ascii_uppercase()) || !written.is_ascii() {
            written.to_lowercase().into()
        } else {
            Arc::clone(&written)
        };
        Ok(Self {
            written,
            folded,
            domain,
        })
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded.cmp(&other.folded)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Debug output reaches logs, so it masks like [`Address::masked`].
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.masked())
    }
}

/// RFC 5321 §4.1.2 `Dot-string`, with the UTF-8 of RFC 6531 §3.3.
fn is_dot_string(local: &str) -> bool {
    local
        .split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atom_char))
}

fn is_atom_char(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

/// RFC 5321 §4.1.2 `Quoted-string`.
fn is_quoted(local: &str) -> bool {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            _ if c.is_control() => return false,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return false,
            _ => {}
        }
    }
    !escaped && local.len() >= 2
}

/// The local part that every domain that takes mail has to take (RFC 5321 §4.5.1).
pub const POSTMASTER: &str = "postmaster";
/// RFC 5321 §4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;
/// Digits of an INS that a mask leaves at the front and at the end.
const MASK_HEAD: usize = 4;
const MASK_TAIL: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_differ_in_more_than_case() {
        assert_eq!(
            address("Jeanne.Briard@SSIAD.mssante.fr"),
            address("jeanne.briard@ssiad.mssante.fr")
        );
        assert_ne!(address("a@ssiad.mssante.fr"), address("b@ssiad.mssante.fr"));
        assert_eq!(address("Jeanne.Briard@SSIAD.mssante.fr").local(), "Jeanne.Briard");
    }

    #[test]
    fn an_ins_never_shows_in_full() {
        assert_eq!(
            address("279035121518989@patient.mssante.fr").masked(),
            "2790…989@patient.mssante.fr"
        );
        assert_eq!(address("foyer@lilas.mssante.fr").masked(), "foyer@lilas.mssante.fr");
        assert!(!format!("{:?}", address("279035121518989@patient.mssante.fr")).contains("512151"));
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in [
            "",
            "a",
            "@b.fr",
            "a@",
            "a..b@c.fr",
            ".a@c.fr",
            "a b@c.fr",
            "\"a@c.fr",
            "a@b@c..fr",
            "\"\\\"@c.fr",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in ["\"a b\"@c.fr", "a+tag@c.fr", "hélène@c.fr", "\"a\\\"b\"@c.fr"] {
            assert!(text.parse::<Address>().is_ok(), "{text}");
        }
    }
}
