//! What kind of message it is, for counting and to keep automatic messages from answering each other (invariant 6).

use std::borrow::Cow;
use std::fmt;

use mail_parser::parsers::MessageStream;
use serde::{Deserialize, Serialize};

use super::fields::Header;
use crate::identity::Address;

/// Class of a message. Its names are part of the journal's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Written by a person, or by a software on behalf of one.
    #[default]
    Message,
    /// A disposition notification, "accusé de lecture" (RFC 8098).
    Mdn,
    /// A delivery report, "accusé de réception" or failure (RFC 3464).
    Dsn,
    /// Any other automatic message (RFC 3834 §5), or one without a sender to answer.
    Auto,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Message, Self::Mdn, Self::Dsn, Self::Auto];

    /// Reads the class from `Content-Type`, `Auto-Submitted` and the reverse-path (`None`: `<>`).
    pub fn of(header: &Header<'_>, reverse_path: Option<&Address>) -> Self {
        match Self::of_header(header) {
            Self::Message if reverse_path.is_none() => Self::Auto,
            class => class,
        }
    }

    /// Reads the class from the header alone.
    pub fn of_header(header: &Header<'_>) -> Self {
        match report_type(header).as_deref() {
            // RFC 8098 §3, RFC 3464 §2
            Some("disposition-notification") => Self::Mdn,
            Some("delivery-status") => Self::Dsn,
            _ if is_auto_submitted(header) => Self::Auto,
            _ => Self::Message,
        }
    }

    /// `message`, `mdn`, `dsn` or `auto`: how counters and the journal name it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Mdn => "mdn",
            Self::Dsn => "dsn",
            Self::Auto => "auto",
        }
    }

    /// Whether a delivery report about it may be written. Reports about reports loop (RFC 3464 §2, RFC 8098 §2.1); an automatic
    /// message that somebody sends from a box, a result sent by a software, must not vanish without its failure report.
    pub fn may_be_reported(self, reverse_path: Option<&Address>) -> bool {
        reverse_path.is_some() && matches!(self, Self::Message | Self::Auto)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// The `report-type` of a `multipart/report`, in lower case (RFC 6522 §3).
fn report_type(header: &Header<'_>) -> Option<String> {
    let value = header.value("Content-Type")?;
    // Most messages are no reports, which shows without a parser.
    if !value
        .as_bytes()
        .windows(REPORT.len())
        .any(|part| part.eq_ignore_ascii_case(REPORT))
    {
        return None;
    }
    // The parser wants the line end that unfolding took away.
    let line = format!("{value}\n");
    let parsed = MessageStream::new(line.as_bytes()).parse_content_type();
    let content_type = parsed.as_content_type()?;
    let is_report = content_type.ctype().eq_ignore_ascii_case("multipart")
        && content_type
            .subtype()
            .is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"));
    is_report
        .then(|| content_type.attribute("report-type").map(str::to_ascii_lowercase))
        .flatten()
}

/// RFC 3834 §5: anything but `no`, comments and parameters aside.
fn is_auto_submitted(header: &Header<'_>) -> bool {
    header.value("Auto-Submitted").is_some_and(|value: Cow<'_, str>| {
        let keyword = value.split([';', '(', ' ', '\t']).next().unwrap_or_default();
        !keyword.eq_ignore_ascii_case("no")
    })
}

/// The subtype that every report has (RFC 6522 §3).
const REPORT: &[u8] = b"report";

#[cfg(test)]
mod tests {
    use super::*;

    fn class(fields: &str, sender: Option<&str>) -> Class {
        let message = format!("{fields}\r\n\r\nbody");
        let sender: Option<Address> = sender.map(|text| text.parse().unwrap());
        Class::of(&Header::scan(message.as_bytes()), sender.as_ref())
    }

    #[test]
    fn the_class_is_read_from_the_header() {
        let from_a_box = Some("a@b.fr");
        let cases = [
            ("Content-Type: text/plain", from_a_box, Class::Message),
            ("Subject: x", from_a_box, Class::Message),
            ("Auto-Submitted: no", from_a_box, Class::Message),
            ("Auto-Submitted: No (by hand)", from_a_box, Class::Message),
            ("Auto-Submitted: auto-generated", from_a_box, Class::Auto),
            ("Auto-Submitted: auto-replied; x=y", from_a_box, Class::Auto),
            ("Subject: x", None, Class::Auto),
            (
                "Content-Type: multipart/report; report-type=delivery-status; boundary=b",
                None,
                Class::Dsn,
            ),
            (
                "content-type: Multipart/Report;\r\n\tboundary=\"b;report-type=x\";\r\n\tReport-Type=\"Disposition-Notification\"",
                from_a_box,
                Class::Mdn,
            ),
            (
                "Content-Type: multipart/report; report-type=disposition-notification\r\nAuto-Submitted: auto-replied",
                None,
                Class::Mdn,
            ),
            (
                "Content-Type: multipart/report; report-type=feedback-report",
                None,
                Class::Auto,
            ),
            (
                "Content-Type: multipart/mixed; report-type=delivery-status",
                from_a_box,
                Class::Message,
            ),
        ];
        for (fields, sender, expected) in cases {
            assert_eq!(class(fields, sender), expected, "{fields}");
        }
    }

    #[test]
    fn reports_are_never_reported_and_automatic_results_are() {
        let sender: Address = "app@lilas.mssante.fr".parse().unwrap();
        assert!(Class::Message.may_be_reported(Some(&sender)));
        assert!(Class::Auto.may_be_reported(Some(&sender)));
        assert!(!Class::Mdn.may_be_reported(Some(&sender)));
        assert!(!Class::Dsn.may_be_reported(Some(&sender)));
        assert!(!Class::Message.may_be_reported(None));
    }
}
