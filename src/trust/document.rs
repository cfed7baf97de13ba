//! The allow list as it is written: one entry per domain and certificate.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;

use crate::identity::{Domain, SubjectDn};

/// The list as the authority writes it, before any index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowListDocument {
    /// `DateDeGeneration`, to the second; a reader refuses to go back in time.
    pub generated: Timestamp,
    /// In the order of the file; a domain is repeated once per authorised certificate.
    pub entries: Vec<ListedDomain>,
}

/// One `Domaine` element: this certificate may speak for this mail domain (OP-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDomain {
    /// `Nom`.
    pub domain: Domain,
    /// `Description`, free text.
    pub description: String,
    /// `DNCertificatOperateur`.
    pub certificate: SubjectDn,
    /// `ResponsableContact`: phone, mail (OP-20).
    pub responsible_contact: String,
    /// `SupportContact`: phone, mail (OP-20).
    pub support_contact: String,
    /// `DateMAJ`, to the second.
    pub updated: Timestamp,
}

/// The XML of a list, in the exact shape of the field, unsigned. A signature goes before the last line, as last child of the root.
pub fn write(document: &AllowListDocument) -> String {
    let mut xml = String::with_capacity(512 * (document.entries.len() + 1));
    xml.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    push(&mut xml, format_args!("<{ROOT} xmlns=\"{NAMESPACE}\">\n"));
    push(
        &mut xml,
        format_args!(
            "    <DateDeGeneration>{}</DateDeGeneration>\n    <ListeDomaines>\n",
            date(document.generated)
        ),
    );
    for entry in &document.entries {
        xml.push_str("        <Domaine>\n");
        let certificate = entry.certificate.to_string();
        let updated = date(entry.updated);
        for (name, value) in [
            ("Nom", entry.domain.as_str()),
            ("Description", entry.description.as_str()),
            ("DNCertificatOperateur", certificate.as_str()),
            ("ResponsableContact", entry.responsible_contact.as_str()),
            ("SupportContact", entry.support_contact.as_str()),
            ("DateMAJ", updated.as_str()),
        ] {
            push(
                &mut xml,
                format_args!("            <{name}>{}</{name}>\n", escape(value)),
            );
        }
        xml.push_str("        </Domaine>\n");
    }
    xml.push_str("    </ListeDomaines>\n");
    push(&mut xml, format_args!("</{ROOT}>\n"));
    xml
}

/// Appends; writing to a `String` cannot fail.
fn push(xml: &mut String, text: std::fmt::Arguments<'_>) {
    let written = xml.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

/// ISO 8601 UTC with `Z`, to the second.
fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Text content: the three special characters escaped, control characters that XML 1.0 §2.2 forbids replaced.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '\r') || forbidden(c);
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\r' => escaped.push_str("&#13;"),
            c if forbidden(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// What XML 1.0 §2.2 does not allow in a document.
pub(super) fn forbidden(c: char) -> bool {
    (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Name of the root element.
pub(super) const ROOT: &str = "ListeBlancheMSSante";
/// The one namespace of the list.
pub(super) const NAMESPACE: &str = "https://listeblanche.mssante.fr/schema";
