//! INS: the national health identity of a person, the local part of an address in the patient space.

use std::fmt;
use std::str::FromStr;

/// An INS matricule: 13 characters and a two-digit key. It never prints itself in full (invariant 9).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ins(String);

/// The text does not have the shape of an INS; it is not repeated, being personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an INS: expected 15 characters, digits only but for 2A or 2B at the sixth place")]
pub struct InsError;

impl Ins {
    /// The fifteen characters, for the places that must write them.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether the last two digits are 97 − (the first 13 modulo 97), `2A` read as 19 and `2B` as 18.
    pub fn key_matches(&self) -> bool {
        let numeric = self.0.replace("2A", "19").replace("2B", "18");
        let parts = numeric.split_at(13);
        match (parts.0.parse::<u64>(), parts.1.parse::<u64>()) {
            (Ok(number), Ok(key)) => 97 - number % 97 == key,
            _ => false,
        }
    }
}

impl FromStr for Ins {
    type Err = InsError;

    fn from_str(text: &str) -> Result<Self, InsError> {
        let bytes = text.as_bytes();
        let shape = bytes.len() == 15
            && bytes.iter().enumerate().all(|(place, byte)| {
                byte.is_ascii_digit() || (place == 6 && matches!(byte, b'A' | b'B') && bytes[5] == b'2')
            });
        if shape { Ok(Self(text.into())) } else { Err(InsError) }
    }
}

impl fmt::Debug for Ins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ins({}…{})", &self.0[..4], &self.0[12..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_the_published_rule() {
        for good in [
            "279035121518989",
            "277076322082910",
            "146026322000196",
            "253072A07300443",
            "253072B07300470",
        ] {
            assert!(good.parse::<Ins>().unwrap().key_matches(), "{good}");
        }
        for wrong in ["223042545611404", "295109912611199"] {
            assert!(!wrong.parse::<Ins>().unwrap().key_matches(), "{wrong}");
        }
    }

    #[test]
    fn it_hides_itself_and_refuses_other_shapes() {
        assert_eq!(
            format!("{:?}", "279035121518989".parse::<Ins>().unwrap()),
            "Ins(2790…989)"
        );
        for text in [
            "27903512151898",
            "2790351215189890",
            "27903X121518989",
            "279031A21518989",
        ] {
            assert!(text.parse::<Ins>().is_err(), "{text}");
        }
    }
}
