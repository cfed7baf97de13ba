//! FINESS: the number of a legal entity (EJ) or of a geographic establishment (EG).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::luhn;

/// A FINESS number, nine characters: département (`2A` and `2B` included), then seven digits. Nothing in it tells EJ from EG.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finess(Arc<str>);

/// The text does not have the shape of a FINESS number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a FINESS number: expected 9 characters, a département (01 to 99, 2A, 2B) and 7 digits")]
pub struct FinessError(String);

impl Finess {
    /// The nine characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the last digit is the Luhn key of the others. Published examples break it, so the shape alone is enforced at the door:
    /// refuse a bad key where we create something, warn where we read someone else's data.
    pub fn key_matches(&self) -> bool {
        luhn::passes(self.0.bytes().map(luhn::value))
    }

    /// National structure identifier: `1` + FINESS, as in a certificate's OU.
    pub fn structure_id(&self) -> String {
        format!("1{}", self.0)
    }
}

impl FromStr for Finess {
    type Err = FinessError;

    fn from_str(text: &str) -> Result<Self, FinessError> {
        match text.as_bytes() {
            [b'0'..=b'9', b'0'..=b'9', rest @ ..] | [b'2', b'A' | b'B', rest @ ..]
                if rest.len() == 7 && rest.iter().all(u8::is_ascii_digit) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(FinessError(text.into())),
        }
    }
}

impl fmt::Display for Finess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_numbers_pass_the_key_and_published_examples_that_break_it_are_still_read() {
        for good in [
            "750712184",
            "690781810",
            "540002698",
            "990000010",
            "2A0000014",
            "2B0000020",
        ] {
            assert!(good.parse::<Finess>().unwrap().key_matches(), "{good}");
        }
        for bad_key in ["458174839", "123456789"] {
            assert!(!bad_key.parse::<Finess>().unwrap().key_matches(), "{bad_key}");
        }
    }

    #[test]
    fn another_shape_is_refused_and_the_error_names_it() {
        for text in [
            "",
            "75071218",
            "7507121840",
            "2C0000014",
            "A50712184",
            "75071218x",
            "７50712184",
        ] {
            assert!(text.parse::<Finess>().unwrap_err().to_string().contains(text), "{text}");
        }
    }
}
