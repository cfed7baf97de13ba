//! A name taken apart, for showing two of them beside each other.

use super::{Attribute, SubjectDn, Value, normal_attribute};

/// One attribute of a name: two of them are equal when `compared` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnAttribute {
    /// `CN`, `OU`…
    pub kind: String,
    /// As written.
    pub value: String,
    /// As comparison sees it.
    pub compared: String,
}

impl SubjectDn {
    /// Every attribute, leaf first, for showing two names beside each other.
    pub fn attributes(&self) -> Vec<DnAttribute> {
        let attributes = self.0.rdns.iter().flatten();
        let shown = |attribute: &Attribute| DnAttribute {
            kind: attribute.kind.clone(),
            value: match &attribute.value {
                Value::Text(text) => text.trim().to_owned(),
                Value::Encoded(bytes) => format!("#{bytes:02x?}"),
            },
            compared: normal_attribute(attribute),
        };
        attributes.map(shown).collect()
    }
}
