//! RPPS: the national number of a professional.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::luhn;

/// An RPPS number: eleven digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rpps(Arc<str>);

/// The text does not have the shape of an RPPS number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an RPPS number: expected 11 digits")]
pub struct RppsError(String);

impl Rpps {
    /// The eleven digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the last digit is the Luhn key of the others; many published examples break it, see [`super::Finess::key_matches`].
    pub fn key_matches(&self) -> bool {
        luhn::passes(self.0.bytes().map(luhn::value))
    }
}

impl FromStr for Rpps {
    type Err = RppsError;

    fn from_str(text: &str) -> Result<Self, RppsError> {
        if text.len() == 11 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(RppsError(text.into()))
        }
    }
}

impl fmt::Display for Rpps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_luhn_over_the_eleven_digits() {
        for good in ["01234567897", "07655473259", "01990000018", "89990000013"] {
            assert!(good.parse::<Rpps>().unwrap().key_matches(), "{good}");
        }
        assert!(!"01234534765".parse::<Rpps>().unwrap().key_matches());
        assert!("8012345347".parse::<Rpps>().is_err());
        assert!("801234534765".parse::<Rpps>().is_err());
    }
}
