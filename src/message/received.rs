//! What an operator puts in front of a message: its trace field, what submission completes, and the Return-Path of final delivery.

use std::fmt::Write as _;
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
        let only = match self.recipients {
            [only] if !only.domain().is_patient() => Some(only.as_str()),
            _ => None,
        };
        let mut field = Folded::new("Received:");
        field.clause(|text| self.from(text));
        if let Some(tls) = &self.tls {
            field.clause(|text| tls.comment(text));
        }
        field.clause(|text| text.extend(["by ", self.host.as_str()]));
        field.clause(|text| text.extend(["with ", self.protocol]));
        field.clause(|text| {
            text.push_str("id ");
            clean(self.session, SESSION_MAX, text);
            text.push_str(if only.is_some() { "" } else { ";" });
        });
        if let Some(only) = only {
            field.clause(|text| text.extend(["for <", only, ">;"]));
        }
        field.ending_with(self.at)
    }

    fn from(&self, text: &mut String) {
        text.push_str("from ");
        clean(self.hello, HELLO_MAX, text);
        // Writing into a string cannot fail.
        let _infallible = match self.ip.to_canonical() {
            IpAddr::V4(ip) => write!(text, " ([{ip}])"),
            // RFC 5321 §4.1.3
            IpAddr::V6(ip) => write!(text, " ([IPv6:{ip}])"),
        };
    }

    /// `Received:` and the fields that a submitted message misses.
    pub fn front_of_submission(&self, header: &Header<'_>) -> String {
        let mut front = self.received();
        front.push_str(&missing_fields(header, self));
        front
    }
}

impl TlsTrace<'_> {
    fn comment(&self, text: &mut String) {
        text.push('(');
        clean(self.version, VERSION_MAX, text);
        if let Some(name) = self.peer_name {
            text.push_str(", CN \"");
            text.extend(name.chars().take(PEER_NAME_MAX).map(in_quotes));
            text.push('"');
        }
        text.push(')');
    }
}

/// The `Date` and `Message-ID` that a submitted message misses, ready to stand in front of it (RFC 6409 §8.1, §8.2; ECO.2.2.1).
pub fn missing_fields(header: &Header<'_>, trace: &Trace<'_>) -> String {
    let mut fields = String::new();
    if header.first("Date").is_none() {
        fields.extend(["Date: ", &date(trace.at), "\r\n"]);
    }
    if header.first("Message-ID").is_none() {
        let micros = trace.at.as_microsecond().to_string();
        fields.push_str("Message-ID: <");
        clean(trace.session, SESSION_MAX, &mut fields);
        fields.extend([".", &micros, "@", trace.host.as_str(), ">\r\n"]);
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
    let mut text = String::with_capacity(EPOCH.len() + 1);
    write_date(at, &mut text);
    text
}

fn write_date(at: Timestamp, text: &mut String) {
    let before = text.len();
    if DateTimePrinter::new()
        .print_zoned(&at.to_zoned(TimeZone::UTC), &mut *text)
        .is_err()
    {
        // Years beyond 9999 cannot be printed; no message has one.
        text.truncate(before);
        text.push_str(EPOCH);
    }
}

/// A field whose clauses stand on lines of at most 78 characters where they fit (RFC 5322 §2.1.1).
struct Folded {
    text: String,
    column: usize,
    is_first: bool,
}

impl Folded {
    fn new(name: &str) -> Self {
        let mut text = String::with_capacity(USUAL_BYTES);
        text.push_str(name);
        Self {
            column: text.len(),
            text,
            is_first: true,
        }
    }

    fn clause(&mut self, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        self.text.push(' ');
        write(&mut self.text);
        let length = self.text.len() - start;
        if !self.is_first && self.column + length > LINE_CHARACTERS {
            self.text.replace_range(start..=start, "\r\n\t");
            self.column = TAB_COLUMNS - 1;
        }
        self.column += length;
        self.is_first = false;
    }

    /// The date follows the last semicolon, on a line of its own.
    fn ending_with(mut self, at: Timestamp) -> String {
        self.text.push_str("\r\n\t");
        write_date(at, &mut self.text);
        self.text.push_str("\r\n");
        self.text
    }
}

/// Appends what may stand in a trace clause, bounded: the peer chose this text.
fn clean(from: &str, characters_max: usize, text: &mut String) {
    if from.is_empty() {
        text.push_str("unknown");
    }
    text.extend(from.chars().take(characters_max).map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | ':' | '[' | ']' => c,
        _ => '?',
    }));
}

/// A character of a common name inside a quoted comment: ASCII, no quote, backslash or bracket.
fn in_quotes(c: char) -> char {
    match c {
        '"' | '\\' | '(' | ')' => '?',
        ' '..='~' => c,
        _ => '?',
    }
}

/// RFC 5321 §4.5.3.1.2.
const HELLO_MAX: usize = 255;
const SESSION_MAX: usize = 64;
const VERSION_MAX: usize = 16;
/// X.520 upper bound of a common name.
const PEER_NAME_MAX: usize = 64;
const LINE_CHARACTERS: usize = 78;
const TAB_COLUMNS: usize = 8;
/// What most fields take.
const USUAL_BYTES: usize = 384;
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
    fn a_clause_goes_on_the_line_as_long_as_it_fits() {
        let host = host();
        for length in 1..=200 {
            let hello = "h".repeat(length);
            let field = trace(&hello, &host, &[]).received();
            let mut expected = format!("Received: from {hello} ([127.0.0.2])");
            let mut column = expected.len();
            for clause in [
                "(TLSv1.3, CN \"mx1.chu.mssante.fr\")",
                "by mx.ehpad-lilas.mssante.fr",
                "with ESMTPS",
                "id s-01J;",
            ] {
                if column + 1 + clause.len() > 78 {
                    expected.push_str("\r\n\t");
                    column = 8;
                } else {
                    expected.push(' ');
                    column += 1;
                }
                expected.push_str(clause);
                column += clause.len();
            }
            expected.push_str("\r\n\tSat, 21 Nov 2026 10:00:00 +0000\r\n");
            assert_eq!(field, expected);
        }
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
