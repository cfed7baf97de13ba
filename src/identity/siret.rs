//! SIRET: the number of an establishment of any company.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::luhn;

/// A SIRET number: fourteen digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Siret(Arc<str>);

/// The text does not have the shape of a SIRET number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SIRET number: expected 14 digits")]
pub struct SiretError(String);

impl Siret {
    /// The fourteen digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the key is right: Luhn, or for La Poste (SIREN 356000000) a digit sum that is a multiple of 5.
    pub fn key_matches(&self) -> bool {
        let digits = || self.0.bytes().map(luhn::value);
        luhn::passes(digits())
            || (self.0.starts_with(LA_POSTE) && digits().map(u32::from).sum::<u32>().is_multiple_of(5))
    }

    /// National structure identifier: `3` + SIRET, as in a certificate's OU.
    pub fn structure_id(&self) -> String {
        format!("3{}", self.0)
    }
}

impl FromStr for Siret {
    type Err = SiretError;

    fn from_str(text: &str) -> Result<Self, SiretError> {
        if text.len() == 14 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(SiretError(text.into()))
        }
    }
}

impl fmt::Display for Siret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const LA_POSTE: &str = "356000000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_luhn_except_for_la_poste() {
        assert!("99999999900017".parse::<Siret>().unwrap().key_matches());
        assert!("35600000049837".parse::<Siret>().unwrap().key_matches());
        assert!(!"99999999900018".parse::<Siret>().unwrap().key_matches());
        assert!("9999999990001".parse::<Siret>().is_err());
    }
}
