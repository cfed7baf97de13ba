//! A key of SEARCH that looks at text, ready to be asked of any message.

use memchr::{memchr, memmem};

use super::{SECTION_END, UNIT_END, folded};

/// HEADER, BODY or TEXT with what they look for (RFC 9051 §6.4.4); FROM, TO, CC, BCC and SUBJECT are HEADER.
#[derive(Clone, Debug)]
pub struct TextKey {
    place: Place,
    /// Folded.
    needle: Vec<u8>,
    finder: memmem::Finder<'static>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The folded name, colon and space.
    Header(Vec<u8>),
    Body,
    Text,
}

impl TextKey {
    /// HEADER; `None`: not UTF-8. An empty text asks whether the field is there.
    pub fn header(name: &[u8], text: &[u8]) -> Option<Self> {
        let mut line: Vec<u8> = std::str::from_utf8(name).ok()?.to_ascii_uppercase().into_bytes();
        line.extend_from_slice(b": ");
        Self::new(Place::Header(line), text)
    }

    /// BODY; `None`: not UTF-8.
    pub fn body(text: &[u8]) -> Option<Self> {
        Self::new(Place::Body, text)
    }

    /// TEXT; `None`: not UTF-8.
    pub fn text(text: &[u8]) -> Option<Self> {
        Self::new(Place::Text, text)
    }

    fn new(place: Place, text: &[u8]) -> Option<Self> {
        let needle = folded(std::str::from_utf8(text).ok()?);
        let finder = memmem::Finder::new(&needle).into_owned();
        Some(Self { place, needle, finder })
    }

    /// Whether it looks at more than the header of a message.
    pub fn needs_body(&self) -> bool {
        !matches!(self.place, Place::Header(_))
    }

    /// Whether it holds for every message: an empty text is part of any.
    pub fn is_always(&self) -> bool {
        self.needs_body() && self.needle.is_empty()
    }

    /// Whether it holds for a message with this [`super::Searchable`] text.
    pub fn holds(&self, text: &[u8]) -> bool {
        match &self.place {
            Place::Text => self.finder.find(text).is_some(),
            Place::Body => self.finder.find(body(text)).is_some(),
            Place::Header(line) => header(text)
                .split(|&b| b == UNIT_END)
                .filter_map(|field| field.strip_prefix(line.as_slice()))
                .any(|value| self.finder.find(value).is_some()),
        }
    }

    /// Three bytes each: a text for which the key holds has all of them. None when it has to be looked at.
    pub fn trigrams(&self) -> Vec<u32> {
        let name = match &self.place {
            // The name of a field says less than what it holds, so it is used when there is nothing else.
            Place::Header(line) if self.needle.len() < 3 => line.as_slice(),
            _ => &[],
        };
        let mut all: Vec<u32> = trigrams(&self.needle).chain(trigrams(name)).collect();
        all.sort_unstable();
        all.dedup();
        // The rest tells little more.
        all.truncate(TRIGRAMS_MAX);
        all
    }
}

/// Every three bytes in a row, marks between texts excluded.
fn trigrams(text: &[u8]) -> impl Iterator<Item = u32> + '_ {
    text.windows(3)
        .filter(|window| window.iter().all(|&b| b < SECTION_END))
        .map(|window| u32::from_be_bytes([0, window[0], window[1], window[2]]))
}

fn header(text: &[u8]) -> &[u8] {
    &text[..memchr(SECTION_END, text).unwrap_or(text.len())]
}

fn body(text: &[u8]) -> &[u8] {
    let after = |text| memchr(SECTION_END, text).map_or(text.len(), |end| end + 1);
    let rest = &text[after(text)..];
    &rest[after(rest)..]
}

/// More would only cost time.
const TRIGRAMS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::searchable;
    use super::*;

    #[test]
    fn what_is_not_utf_8_is_no_key() {
        assert!(TextKey::text(b"\xE9").is_none() && TextKey::header(b"\xE9", b"").is_none());
        assert!(TextKey::text("é".as_bytes()).is_some());
    }

    #[test]
    fn an_empty_text_is_in_every_message() {
        assert!(TextKey::text(b"").unwrap().is_always() && TextKey::body(b"").unwrap().is_always());
        assert!(!TextKey::header(b"X", b"").unwrap().is_always());
    }

    proptest! {
        /// What makes an index possible: nothing is missed.
        #[test]
        fn a_text_for_which_a_key_holds_has_all_its_trigrams(
            text in "[a-eéÉ\u{fb01} ]{0,60}", at in 0_usize..60, length in 0_usize..12, subject in any::<bool>()
        ) {
            let letters: Vec<char> = text.chars().collect();
            let from = at.min(letters.len());
            let needle: String = letters[from..(from + length).min(letters.len())].iter().collect();
            let mail = if subject {
                format!("Subject: {text}\r\n\r\n")
            } else {
                format!("Subject: s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}")
            };
            let keys = [TextKey::text(needle.as_bytes()), TextKey::body(needle.as_bytes()), TextKey::header(b"subject", needle.as_bytes())];
            let searchable = searchable(mail.as_bytes(), usize::MAX).text;
            let has: Vec<u32> = trigrams(&searchable).collect();
            for key in keys.into_iter().flatten() {
                if key.holds(&searchable) {
                    prop_assert!(key.trigrams().iter().all(|wanted| has.contains(wanted)));
                }
            }
        }
    }
}
