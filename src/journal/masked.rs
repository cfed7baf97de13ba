//! Texts that may stand in a journal: bounded, on one line, and without an INS.
//!
//! The types are the permission: a journal event has no field of type `String` for what came from outside, and both
//! constructors here mask. A peer's reply is the sly case: `550 <2790…@patient.mssante.fr> unknown` repeats the address.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::Address;

/// A mail address as the journal shows it: whole, but for the INS of a patient.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MaskedAddress(String);

impl MaskedAddress {
    /// The masked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For what a peer gave as an address and is none.
    pub fn from_text(text: &str) -> Self {
        Self(mask(text))
    }
}

impl From<&Address> for MaskedAddress {
    fn from(address: &Address) -> Self {
        Self(mask(&address.masked()))
    }
}

impl fmt::Display for MaskedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A foreign text: a reply, a login, a message id, a distinguished name. At most [`TEXT_CHARS_MAX`] characters on one line, INS masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Excerpt(String);

impl Excerpt {
    /// Cuts, flattens and masks.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(mask(text.as_ref()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is in it; such fields are left out of the row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for Excerpt {
    fn from(text: &T) -> Self {
        Self::new(text)
    }
}

/// Masks whatever has the shape of an INS wherever it stands, replaces control characters, and cuts.
///
/// An INS is fifteen characters, a sixteenth digit makes it something else (a time stamp in a message id, say). The key is not
/// checked: published test identities break it.
fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len().min(TEXT_CHARS_MAX));
    let mut written = 0;
    let mut rest = text;
    let mut after_digit = false;
    while let Some(c) = rest.chars().next() {
        if written >= TEXT_CHARS_MAX {
            masked.push('…');
            break;
        }
        // `3` + SIRET has fifteen digits too: the structure in a subject DN is what a reader needs to see.
        let is_structure = masked.ends_with("OU=");
        if !after_digit && !is_structure && begins_with_ins(rest) {
            masked.push_str(&rest[..MASK_HEAD]);
            masked.push('…');
            masked.push_str(&rest[INS_BYTES - MASK_TAIL..INS_BYTES]);
            written += MASK_HEAD + 1 + MASK_TAIL;
            rest = &rest[INS_BYTES..];
            after_digit = true;
            continue;
        }
        masked.push(if c.is_control() { ' ' } else { c });
        written += 1;
        after_digit = c.is_ascii_digit();
        rest = &rest[c.len_utf8()..];
    }
    masked
}

fn begins_with_ins(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(ins) = bytes.get(..INS_BYTES) else {
        return false;
    };
    let corsica = |place: usize, byte: u8| place == 6 && ins[5] == b'2' && matches!(byte, b'A' | b'B' | b'a' | b'b');
    ins.iter()
        .enumerate()
        .all(|(place, byte)| byte.is_ascii_digit() || corsica(place, *byte))
        && !bytes.get(INS_BYTES).is_some_and(u8::is_ascii_digit)
}

/// Longest foreign text a row keeps: a reply line is at most 512 bytes (RFC 5321 §4.5.3.1.5).
pub const TEXT_CHARS_MAX: usize = 512;
const INS_BYTES: usize = 15;
const MASK_HEAD: usize = 4;
const MASK_TAIL: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ins_is_masked_wherever_it_stands() {
        for (text, masked) in [
            (
                "550 5.1.1 <279035121518989@patient.mssante.fr> unknown",
                "550 5.1.1 <2790…989@patient.mssante.fr> unknown",
            ),
            ("ins279035121518989x", "ins2790…989x"),
            (
                "279035121518989+dui@patient.mssante.fr",
                "2790…989+dui@patient.mssante.fr",
            ),
            ("253072A07300443, 253072b07300470", "2530…443, 2530…470"),
            ("279035121518989", "2790…989"),
        ] {
            assert_eq!(Excerpt::new(text).as_str(), masked);
        }
    }

    #[test]
    fn other_numbers_stay_readable() {
        for text in [
            "<1764000000123456.42@ehpad.mssante.fr>",
            "27903512151898",
            "FINESS 990000010",
            "é…",
        ] {
            assert_eq!(Excerpt::new(text).as_str(), text);
        }
    }

    #[test]
    fn a_foreign_text_stays_on_one_line_and_short() {
        assert_eq!(Excerpt::new("a\r\n\u{1b}[31mb").as_str(), "a   [31mb");
        let cut = Excerpt::new("é".repeat(TEXT_CHARS_MAX + 5));
        assert_eq!(cut.as_str().chars().count(), TEXT_CHARS_MAX + 1);
        assert!(cut.as_str().ends_with('…'));
    }

    #[test]
    fn the_address_of_a_patient_is_masked_and_that_of_a_box_is_not() {
        let patient: Address = "279035121518989@patient.mssante.fr".parse().unwrap();
        assert_eq!(MaskedAddress::from(&patient).as_str(), "2790…989@patient.mssante.fr");
        let service: Address = "foyer@lilas.mssante.fr".parse().unwrap();
        assert_eq!(MaskedAddress::from(&service).as_str(), "foyer@lilas.mssante.fr");
        assert_eq!(MaskedAddress::from_text("279035121518989@").as_str(), "2790…989@");
    }

    proptest! {
        #[test]
        fn no_text_around_an_ins_brings_it_out(before in "(.{0,600}[^0-9])?", after in "([^0-9].{0,20})?", ins in "[1-8][0-9]{14}") {
            let excerpt = Excerpt::new(format!("{before}{ins}{after}"));
            prop_assert!(!excerpt.as_str().contains(&ins));
            prop_assert!(!excerpt.as_str().chars().any(char::is_control));
            prop_assert!(excerpt.as_str().chars().count() <= TEXT_CHARS_MAX + MASK_HEAD + MASK_TAIL + 1);
            prop_assert_eq!(Excerpt::new(excerpt.as_str()).as_str().contains(&ins), false);
        }
    }
}
