//! Subject names, as they should be and as they should not.

use crate::identity::SubjectDn;
use crate::lab::recipe::SubjectChange;

use super::ForgeError;
use super::der;

/// RDNs in the order of their encoding, country first; each a set of attributes.
#[derive(Clone)]
pub(super) struct Name(pub(super) Vec<Vec<Attribute>>);

#[derive(Clone)]
pub(super) struct Attribute {
    kind: Vec<u64>,
    tag: u8,
    value: Vec<u8>,
}

impl Name {
    /// A subject as it should be written: UTF-8, the country printable, the RDNs in the order of their encoding.
    pub(super) fn of(subject: &SubjectDn) -> Result<Self, ForgeError> {
        let mut rdns = Vec::new();
        for rdn in subject.rdns() {
            let attributes = rdn.iter().map(|(kind, value)| Attribute::named(kind, value));
            rdns.push(attributes.collect::<Option<Vec<_>>>().ok_or(ForgeError::Holder)?);
        }
        rdns.reverse();
        Ok(Self(rdns))
    }

    /// An authority's: `C, O, CN`.
    pub(super) fn of_authority(country: &str, organisation: &str, common_name: &str) -> Self {
        Self(vec![
            vec![Attribute::of(COUNTRY, country)],
            vec![Attribute::of(ORGANISATION, organisation)],
            vec![Attribute::of(COMMON_NAME, common_name)],
        ])
    }

    pub(super) fn der(&self) -> Vec<u8> {
        let rdns: Vec<Vec<u8>> = self
            .0
            .iter()
            .map(|rdn| der::set(rdn.iter().map(Attribute::der).collect()))
            .collect();
        der::tlv(der::SEQUENCE, &rdns.concat())
    }

    /// The subject with its change.
    pub(super) fn changed(subject: &SubjectDn, change: SubjectChange) -> Result<Self, ForgeError> {
        let mut name = Self::of(subject)?;
        match change {
            SubjectChange::Other => {
                name.edit(COMMON_NAME, |text| format!("autre.{text}"));
                name.edit(UNIT, |_| OTHER_UNIT.to_owned());
                name.edit(ORGANISATION, |_| OTHER_ORGANISATION.to_owned());
            }
            SubjectChange::OtherUnit => name.edit(UNIT, |_| OTHER_UNIT.to_owned()),
            SubjectChange::OtherOrganisation => name.edit(ORGANISATION, |_| OTHER_ORGANISATION.to_owned()),
            SubjectChange::OtherName => name.edit(COMMON_NAME, |text| format!("autre.{text}")),
            SubjectChange::OtherCase => name.edit(COMMON_NAME, str::to_uppercase),
            SubjectChange::DoubleSpaces => name.edit(ORGANISATION, |text| format!("{} ", text.replace(' ', "  "))),
            SubjectChange::NoBreakSpaces => name.edit(ORGANISATION, |text| text.replace(' ', "\u{a0}")),
            SubjectChange::Homoglyph => name.edit(COMMON_NAME, lookalike),
            SubjectChange::NulInName => name.edit(COMMON_NAME, |text| format!("{text}\0.exemple.fr")),
            SubjectChange::VeryLong => name.edit(ORGANISATION, |_| "TRES LONG ".repeat(200)),
            _ => name.reshape(change),
        }
        Ok(name)
    }

    /// The text of every attribute of a kind.
    fn edit(&mut self, kind: &[u64], change: impl Fn(&str) -> String) {
        for attribute in self.0.iter_mut().flatten().filter(|attribute| attribute.kind == kind) {
            attribute.value = change(&String::from_utf8_lossy(&attribute.value)).into_bytes();
        }
    }

    /// Changes that are not those of a text.
    fn reshape(&mut self, change: SubjectChange) {
        let rdns = &mut self.0;
        match change {
            SubjectChange::T61 => self.rewrite(der::T61_STRING, latin1),
            SubjectChange::Bmp => self.rewrite(der::BMP_STRING, |text| {
                Some(text.encode_utf16().flat_map(u16::to_be_bytes).collect())
            }),
            SubjectChange::Printable => self.rewrite(der::PRINTABLE_STRING, printable),
            SubjectChange::MultiValued => {
                if let Some(last) = rdns.pop()
                    && let Some(rdn) = rdns.last_mut()
                {
                    rdn.extend(last);
                }
            }
            SubjectChange::Reversed => rdns.reverse(),
            SubjectChange::Extended => rdns.push(vec![Attribute::of(SERIAL_NUMBER, "1")]),
            SubjectChange::Shortened => rdns.retain(|rdn| rdn.iter().all(|attribute| attribute.kind != ORGANISATION)),
            SubjectChange::Empty => rdns.clear(),
            SubjectChange::TwoNames => rdns.push(vec![Attribute::of(COMMON_NAME, "mx.exemple.fr")]),
            SubjectChange::SecondName => {
                let place = rdns.len().saturating_sub(1);
                rdns.insert(place, vec![Attribute::of(COMMON_NAME, "mx.exemple.fr")]);
            }
            SubjectChange::NotText => {
                if let Some(attribute) = rdns.last_mut().and_then(|rdn| rdn.first_mut()) {
                    (attribute.tag, attribute.value) = (der::INTEGER, vec![1]);
                }
            }
            _ => {}
        }
    }

    /// Every value that can be written so; the country stays.
    fn rewrite(&mut self, tag: u8, encode: impl Fn(&str) -> Option<Vec<u8>>) {
        for attribute in self
            .0
            .iter_mut()
            .flatten()
            .filter(|attribute| attribute.kind != COUNTRY)
        {
            let text = String::from_utf8_lossy(&attribute.value);
            if let Some(value) = encode(&text) {
                (attribute.tag, attribute.value) = (tag, value);
            }
        }
    }
}

impl Attribute {
    /// RFC 5280 appendix A: a country is printable; the rest is UTF-8.
    fn of(kind: &[u64], text: &str) -> Self {
        let tag = if kind == COUNTRY {
            der::PRINTABLE_STRING
        } else {
            der::UTF8_STRING
        };
        Self {
            kind: kind.to_vec(),
            tag,
            value: text.as_bytes().to_vec(),
        }
    }

    /// By its dotted object identifier.
    fn named(dotted: &str, text: &str) -> Option<Self> {
        let arcs: Option<Vec<u64>> = dotted.split('.').map(|arc| arc.parse().ok()).collect();
        Some(Self::of(&arcs?, text))
    }

    fn der(&self) -> Vec<u8> {
        der::sequence(&[&der::oid(&self.kind), &der::tlv(self.tag, &self.value)])
    }
}

/// The first letter that has a Cyrillic twin, replaced by it.
fn lookalike(text: &str) -> String {
    let twins = [
        ('a', '\u{430}'),
        ('c', '\u{441}'),
        ('e', '\u{435}'),
        ('o', '\u{43e}'),
        ('p', '\u{440}'),
        ('x', '\u{445}'),
        ('i', '\u{456}'),
        ('A', '\u{410}'),
        ('E', '\u{415}'),
        ('I', '\u{406}'),
        ('O', '\u{41e}'),
    ];
    let twin = twins.into_iter().find(|(latin, _)| text.contains(*latin));
    twin.map_or_else(
        || text.to_owned(),
        |(latin, cyrillic)| text.replacen(latin, &cyrillic.to_string(), 1),
    )
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// The characters of X.680's `PrintableString`.
fn printable(text: &str) -> Option<Vec<u8>> {
    let fits = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
    text.chars().all(fits).then(|| text.as_bytes().to_vec())
}

const OTHER_UNIT: &str = "3120000000000";
const OTHER_ORGANISATION: &str = "AUTRE ORGANISATION";
const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];
const COUNTRY: &[u64] = &[2, 5, 4, 6];
const ORGANISATION: &[u64] = &[2, 5, 4, 10];
const UNIT: &[u64] = &[2, 5, 4, 11];
