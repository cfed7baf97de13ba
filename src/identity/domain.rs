//! A mail domain.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A mail domain in lower case: the allow list has at least one in capitals, and domains compare without case (RFC 5321 §2.4).
/// Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

/// The text is not a host name of RFC 1123 §2.1: labels of letters, digits and inner hyphens, 63 characters a label, 253 in all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a domain name: labels of letters, digits and inner hyphens, separated by dots")]
pub struct DomainError(String);

impl Domain {
    /// The name, lower case, without trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain of Mon espace santé, where the local part is an INS.
    pub fn is_patient(&self) -> bool {
        &*self.0 == PATIENT
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.is_empty() || bare.len() > NAME_BYTES_MAX || !bare.split('.').all(is_label) {
            return Err(DomainError(text.chars().take(NAME_BYTES_MAX).collect()));
        }
        Ok(Self(bare.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_';
    !bytes.is_empty()
        && bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(inner)
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

const PATIENT: &str = "patient.mssante.fr";
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// RFC 1035 §2.3.4, in text form.
const NAME_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_kept_in_lower_case_without_its_trailing_dot() {
        assert_eq!("CHU.MSSante.fr.".parse::<Domain>().unwrap().as_str(), "chu.mssante.fr");
    }

    #[test]
    fn what_is_not_a_host_name_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "-a.fr",
            "a-.fr",
            "sessad@ase.fr",
            "a b.fr",
            "é.fr",
            &"a".repeat(64),
        ] {
            assert!(text.parse::<Domain>().is_err(), "{text}");
        }
    }
}
