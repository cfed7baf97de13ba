//! What an operator puts in front of a message: its trace field, what submission completes, and the Return-Path of final delivery.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;

use super::fields::Header;
use crate::identity::{Address, Domain};

/// Default for the most `Received` fields before a message counts as looping (RFC 5321 §6.3 asks for at least 100 hops to be
/// *possible* where no better check exists; inside the trust space a mail crosses two operators, so 30 is generous).
pub const RECEIVED_FIELDS_MAX: usize = 30;

/// Longest front that [`Trace::received`] and [`missing_fields`] give together, in bytes.
pub const FRONT_BYTES_MAX: usize = 2048;

/// How a message came in.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// What the peer said in HELO or EHLO; anything that is not a host name or address literal is masked.
    pub hello: &'a str,
    /// Where it came from.
    pub ip: IpAddr,
    /// Our own name.
    pub host: &'a Domain,
    /// Transmission type, such as `ESMTPSA` (RFC 3848, RFC 6531 §4.3).
    pub protocol: &'a str,
    /// TLS, when there was any.
    pub tls: Option<TlsTrace<'a>>,
    /// Session id, as the journal has it.
    pub session: &'a str,
    /// Every recipient of the transaction; the field names one only if it is alone, and never a patient (invariant 9).
    pub recipients: &'a [Address],
    /// When the data ended.
    pub at: Timestamp,
}

/// TLS of the session, for the trace.
#[derive(Clone, Copy, Debug)]
pub struct TlsTrace<'a> {
    /// `TLSv1.3`.
    pub version: &'a str,
    /// Common name of the peer's certificate; nothing else of its subject is shown.
    pub peer_name: Option<&'a str>,
}

impl Trace<'_> {
    /// The `Received:` field with its line end, folded between clauses (RFC 5321 §4.4).
    pub fn received(&self) -> String {
        let ip = match self.ip.to_canonical() {
            IpAddr::V4(ip) => format!("[{ip}]"),
            // RFC 5321 §4.1.3
            IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
        };
        let mut clauses = vec![format!("from {} ({ip})", clean(self.hello, HELLO_BYTES_MAX))];
        if let Some(tls) = &self.tls {
            clauses.push(tls.comment());
        }
        clauses.push(format!("by {}", self.host));
        clauses.push(format!("with {}", self.protocol));
        clauses.push(format!("id {}", clean(self.session, SESSION_BYTES_MAX)));
        if let [only] = self.recipients
            && !only.domain().is_patient()
        {
            clauses.push(format!("for <{only}>"));
        }
        fold("Received:", &clauses, &date(self.at))
    }

    /// `Received:` and the fields that a submitted message misses.
    pub fn front_of_submission(&self, header: &Header<'_>) -> String {
        let mut front = self.received();
        front.push_str(&missing_fields(header, self));
        front
    }
}

impl TlsTrace<'_> {
    fn comment(&self) -> String {
        let version = clean(self.version, VERSION_BYTES_MAX);
        match self.peer_name {
            Some(name) => format!("({version}, CN \"{}\")", clean_name(name)),
            None => format!("({version})"),
        }
    }
}

/// The `Date` and `Message-ID` that a submitted message misses, ready to stand in front of it (RFC 6409 §8.1, §8.2; ECO.2.2.1).
pub fn missing_fields(header: &Header<'_>, trace: &Trace<'_>) -> String {
    let mut fields = String::new();
    if header.first("Date").is_none() {
        fields.extend(["Date: ", &date(trace.at), "\r\n"]);
    }
    if header.first("Message-ID").is_none() {
        let id = clean(trace.session, SESSION_BYTES_MAX);
        let micros = trace.at.as_microsecond().to_string();
        fields.extend(["Message-ID: <", &id, ".", &micros, "@", trace.host.as_str(), ">\r\n"]);
    }
    fields
}

/// The `Return-Path:` line of final delivery (RFC 5321 §4.4); `None` is `<>`.
pub fn return_path(sender: Option<&Address>) -> String {
    format!("Return-Path: <{}>\r\n", sender.map_or("", Address::as_str))
}

/// How many `Received` fields the message has: its hops so far (RFC 5321 §6.3).
pub fn received_count(header: &Header<'_>) -> usize {
    header.all("Received").count()
}

/// A date as RFC 5322 §3.3 writes it, in UTC.
pub fn date(at: Timestamp) -> String {
    // Years beyond 9999 cannot be printed; no message has one.
    DateTimePrinter::new()
        .zoned_to_string(&at.to_zoned(TimeZone::UTC))
        .unwrap_or_else(|_| EPOCH.to_owned())
}

/// Puts clauses on lines of at most 78 characters where they fit (RFC 5322 §2.1.1); the date follows the last semicolon.
fn fold(name: &str, clauses: &[String], date: &str) -> String {
    let mut field = String::from(name);
    let mut column = field.len();
    for (index, clause) in clauses.iter().enumerate() {
        let end = if index + 1 == clauses.len() { ";" } else { "" };
        if index > 0 && column + 1 + clause.len() + end.len() > LINE_CHARACTERS {
            field.push_str("\r\n\t");
            column = TAB_COLUMNS;
        } else {
            field.push(' ');
            column += 1;
        }
        field.extend([clause, end]);
        column += clause.len() + end.len();
    }
    field.push_str("\r\n\t");
    field.push_str(date);
    field.push_str("\r\n");
    field
}

/// Keeps what may stand in a trace clause and bounds it: the peer chose this text.
fn clean(text: &str, bytes_max: usize) -> String {
    let cleaned: String = text
        .chars()
        .take(bytes_max)
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.:[]".contains(c) {
                c
            } else {
                '?'
            }
        })
        .collect();
    if cleaned.is_empty() {
        "unknown".to_owned()
    } else {
        cleaned
    }
}

/// A common name inside a quoted comment: ASCII, no quote, backslash or bracket.
fn clean_name(name: &str) -> String {
    name.chars()
        .take(PEER_NAME_BYTES_MAX)
        .map(|c| {
            if (' '..='~').contains(&c) && !"\"\\()".contains(c) {
                c
            } else {
                '?'
            }
        })
        .collect()
}

/// RFC 5321 §4.5.3.1.2.
const HELLO_BYTES_MAX: usize = 255;
const SESSION_BYTES_MAX: usize = 64;
const VERSION_BYTES_MAX: usize = 16;
/// X.520 upper bound of a common name.
const PEER_NAME_BYTES_MAX: usize = 64;
const LINE_CHARACTERS: usize = 78;
const TAB_COLUMNS: usize = 8;
const EPOCH: &str = "Thu, 1 Jan 1970 00:00:00 +0000";

#[cfg(test)]
mod tests {
    use super::*;

    fn trace<'a>(hello: &'a str, host: &'a Domain, recipients: &'a [Address]) -> Trace<'a> {
        Trace {
            hello,
            ip: "127.0.0.2".parse().unwrap(),
            host,
            protocol: "ESMTPS",
            tls: Some(TlsTrace {
                version: "TLSv1.3",
                peer_name: Some("mx1.chu.mssante.fr"),
            }),
            session: "s-01J",
            recipients,
            at: "2026-11-21T10:00:00Z".parse().unwrap(),
        }
    }

    fn host() -> Domain {
        "mx.ehpad-lilas.mssante.fr".parse().unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_trace_field_says_who_by_whom_how_and_when() {
        let (host, to) = (host(), addresses(&["foyer@ehpad-lilas.mssante.fr"]));
        insta::assert_snapshot!(trace("mx1.chu.mssante.fr", &host, &to).received().replace('\r', ""), @r#"
        Received: from mx1.chu.mssante.fr ([127.0.0.2])
        	(TLSv1.3, CN "mx1.chu.mssante.fr") by mx.ehpad-lilas.mssante.fr
        	with ESMTPS id s-01J for <foyer@ehpad-lilas.mssante.fr>;
        	Sat, 21 Nov 2026 10:00:00 +0000
        "#);
    }

    #[test]
    fn a_recipient_is_named_only_when_alone_and_never_a_patient() {
        let host = host();
        let alone = addresses(&["a@chu.mssante.fr"]);
        let two = addresses(&["a@chu.mssante.fr", "b@chu.mssante.fr"]);
        let patient = addresses(&["279035121518989@patient.mssante.fr"]);
        assert!(trace("h", &host, &alone).received().contains("for <a@chu.mssante.fr>"));
        assert!(!trace("h", &host, &two).received().contains("for <"));
        assert!(!trace("h", &host, &[]).received().contains("for <"));
        assert!(!trace("h", &host, &patient).received().contains("2790"));
    }

    #[test]
    fn what_the_peer_says_cannot_add_a_field_or_grow_the_front() {
        let (host, to) = (host(), addresses(&["a@chu.mssante.fr"]));
        let mut hostile = trace("x\r\nSubject: y (", &host, &to);
        let name = "\"\r\n)".repeat(400);
        hostile.tls = Some(TlsTrace {
            version: "TLSv1.2",
            peer_name: Some(&name),
        });
        let front = hostile.front_of_submission(&Header::scan(b""));
        let names: Vec<&str> = Header::scan(front.as_bytes()).fields().map(|f| f.name()).collect();
        assert_eq!(names, ["Received", "Date", "Message-ID"]);

        let long = "h".repeat(5_000);
        hostile.hello = &long;
        hostile.session = &long;
        assert!(hostile.front_of_submission(&Header::scan(b"")).len() <= FRONT_BYTES_MAX);
    }

    #[test]
    fn addresses_of_both_families_are_written_as_literals() {
        let host = host();
        let mut six = trace("h", &host, &[]);
        six.ip = "::1".parse().unwrap();
        assert!(six.received().contains("([IPv6:::1])"));
        six.ip = "::ffff:127.0.0.1".parse().unwrap();
        assert!(six.received().contains("([127.0.0.1])"));
        six.hello = "[IPv6:::1]";
        assert!(six.received().starts_with("Received: from [IPv6:::1] ("));
        six.hello = "";
        assert!(six.received().starts_with("Received: from unknown ("));
    }

    #[test]
    fn submission_completes_only_what_is_missing() {
        let host = host();
        let trace = trace("h", &host, &[]);
        let complete = Header::scan(b"date: x\r\nMESSAGE-ID: <a@b>\r\n\r\n");
        assert_eq!(missing_fields(&complete, &trace), "");
        assert_eq!(
            missing_fields(&Header::scan(b"Date: x\r\n\r\n"), &trace),
            "Message-ID: <s-01J.1795255200000000@mx.ehpad-lilas.mssante.fr>\r\n"
        );
        assert!(
            missing_fields(&Header::scan(b"\r\n"), &trace).starts_with("Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n")
        );
    }

    #[test]
    fn the_return_path_may_be_null() {
        let sender = addresses(&["a@chu.mssante.fr"]);
        assert_eq!(return_path(Some(&sender[0])), "Return-Path: <a@chu.mssante.fr>\r\n");
        assert_eq!(return_path(None), "Return-Path: <>\r\n");
    }

    #[test]
    fn hops_are_counted_by_their_trace_fields() {
        let looping = b"Received: x\r\n".repeat(31);
        assert_eq!(received_count(&Header::scan(&looping)), 31);
        assert_eq!(
            received_count(&Header::scan(b"X-Received: a\r\n\r\nReceived: b\r\n")),
            0
        );
    }
}
