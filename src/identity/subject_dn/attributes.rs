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

/// Short name for a known OID, capitals for the rest: `2.5.4.3`, `oid.2.5.4.3` and `cn` are one type.
pub(super) fn canonical_type(kind: &str) -> String {
    let upper = kind.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("OID.").unwrap_or(&upper);
    let known = TYPES.iter().find(|(oid, names)| *oid == bare || names.contains(&bare));
    known.map_or_else(|| bare.to_owned(), |(_, names)| names[0].to_owned())
}

/// OID and names of the types met in certificates; the first name is the one shown.
pub(super) const TYPES: [(&str, &[&str]); 16] = [
    ("2.5.4.3", &["CN", "COMMONNAME"]),
    ("2.5.4.4", &["SN", "SURNAME"]),
    ("2.5.4.5", &["SERIALNUMBER"]),
    ("2.5.4.6", &["C", "COUNTRYNAME"]),
    ("2.5.4.7", &["L", "LOCALITYNAME"]),
    ("2.5.4.8", &["ST", "S", "STATEORPROVINCENAME"]),
    ("2.5.4.9", &["STREET", "STREETADDRESS"]),
    ("2.5.4.10", &["O", "ORGANIZATIONNAME"]),
    ("2.5.4.11", &["OU", "ORGANIZATIONALUNITNAME"]),
    ("2.5.4.12", &["T", "TITLE"]),
    ("2.5.4.17", &["POSTALCODE"]),
    ("2.5.4.42", &["GN", "G", "GIVENNAME"]),
    ("2.5.4.97", &["ORGANIZATIONIDENTIFIER"]),
    ("0.9.2342.19200300.100.1.1", &["UID", "USERID"]),
    ("0.9.2342.19200300.100.1.25", &["DC", "DOMAINCOMPONENT"]),
    ("1.2.840.113549.1.9.1", &["EMAILADDRESS", "E", "EMAIL"]),
];
