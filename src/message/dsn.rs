//! Delivery reports (RFC 3464 in the frame of RFC 6522): what became of a message, for its sender and for his software.
//!
//! A report goes out with the null reverse-path and says `Auto-Submitted: auto-replied`, so that nothing answers it
//! (invariant 6). Its text is in French, then in English. The third part gives the original back, whole or header only.

use jiff::Timestamp;
use mail_builder::mime::MimePart;

use super::fields::Header;
use super::received::date;
use crate::identity::{Address, Domain};

/// Everything a report says. No Debug: it holds addresses as their senders wrote them, and the message (invariant 9).
#[derive(Clone)]
pub struct Report<'a> {
    /// The server that reports: Reporting-MTA and domain of the sender `mailer-daemon`.
    pub host: &'a Domain,
    /// Whom it goes to: the original's reverse-path.
    pub to: &'a Address,
    /// Unique at this host: makes the Message-ID and the boundary.
    pub id: &'a str,
    /// When it is written.
    pub at: Timestamp,
    /// When the original arrived here.
    pub arrived: Timestamp,
    /// ENVID of the original, xtext already decoded (RFC 3461 §4.4).
    pub envelope_id: Option<&'a str>,
    /// Verdicts; one at least.
    pub recipients: &'a [RecipientReport],
    /// The message reported about.
    pub original: Original<'a>,
}

/// The message reported about, and how much of it goes back.
#[derive(Clone, Copy)]
pub enum Original<'a> {
    /// RET=HDRS, or no RET: header only (RFC 3461 §4.3). May be the whole message: only its header is used.
    Headers(&'a [u8]),
    /// RET=FULL.
    Full(&'a [u8]),
}

/// The verdict about one recipient. No Debug: ORCPT may hold an INS.
#[derive(Clone)]
pub struct RecipientReport {
    /// ORCPT as given, xtext decoded: `rfc822;a@b.fr`.
    pub original_recipient: Option<String>,
    /// The address delivery was tried to.
    pub final_recipient: Address,
    /// What became of it.
    pub action: Action,
    /// RFC 3463: `5.1.1`.
    pub status: String,
    /// The server that said so, if another one did.
    pub remote_host: Option<String>,
    /// What it ended with.
    pub diagnostic: Option<Diagnostic>,
    /// When it was last tried.
    pub last_attempt: Option<Timestamp>,
    /// `Delayed` only: until when it will be tried again.
    pub retry_until: Option<Timestamp>,
}

/// What an attempt ended with, and who says so (RFC 3464 §2.3.6): software that reads reports may count on `smtp` being the reply of the
/// server named in `Remote-MTA`. No Debug: a server may repeat an INS.
#[derive(Clone, PartialEq, Eq)]
pub enum Diagnostic {
    /// The reply of that server, as it came: `550 5.1.1 no such box`.
    Smtp(String),
    /// A finding of the server that reports: no route, no proof of the peer, a connection that broke.
    Local(String),
}

impl Diagnostic {
    /// `diagnostic-type`. RFC 3464 §2.3.6: one that is not registered begins with `X-`.
    fn kind(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::Local(_) => "X-Vaguemestre",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Smtp(text) | Self::Local(text) => text,
        }
    }
}

/// RFC 3464 §2.3.3. Greater is worse: the worst names the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is in the recipient's box: the "accusé de réception".
    Delivered,
    /// Handed to a server that does not report (RFC 3461 §5.2.2).
    Relayed,
    /// Not yet delivered; attempts go on.
    Delayed,
    /// Given up.
    Failed,
}

impl Action {
    /// As the report's field names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Delayed => "delayed",
            Self::Failed => "failed",
        }
    }

    /// Subject of the report: ASCII, and nothing of the original's subject, which holds patient identity.
    fn subject(self) -> &'static str {
        match self {
            Self::Delivered => "Message remis / Mail delivered",
            Self::Relayed => "Message transmis / Mail relayed",
            Self::Delayed => "Message en attente / Mail delayed",
            Self::Failed => "Message non remis / Undelivered mail",
        }
    }

    fn sentences(self) -> (&'static str, &'static str) {
        match self {
            Self::Delivered => (
                "Votre message a été remis à ce destinataire.",
                "Your message was delivered to this recipient.",
            ),
            Self::Relayed => (
                "Votre message a été transmis à un serveur qui n'envoie pas d'accusé de réception.",
                "Your message was relayed to a server that sends no delivery receipt.",
            ),
            Self::Delayed => (
                "Votre message n'a pas encore été remis à ce destinataire ; les tentatives continuent, ne le renvoyez pas.",
                "Your message has not yet been delivered to this recipient; attempts go on, do not send it again.",
            ),
            Self::Failed => (
                "Votre message n'a pas été remis à ce destinataire et ne sera plus tenté.",
                "Your message was not delivered to this recipient and will not be tried again.",
            ),
        }
    }
}

/// Writes the report, CRLF line ends. Pure ASCII unless the original or an address is not; then it says 8bit and uses the
/// types of RFC 6533.
pub fn build(report: &Report<'_>) -> Vec<u8> {
    let status = delivery_status(report);
    let (returned, is_full) = returned(report.original);
    let is_utf8 = !status.is_ascii() || !report.to.as_str().is_ascii() || !header_is_ascii(returned);
    let encoding = if is_utf8 || !returned.is_ascii() {
        "8bit"
    } else {
        "7bit"
    };
    let boundary = boundary(report.id, &[returned, status.as_bytes()]);

    let mut out = Vec::with_capacity(returned.len() + FRAME_BYTES);
    out.extend_from_slice(head(report, &boundary, encoding).as_bytes());
    open_part(&mut out, &boundary);
    MimePart::new("text/plain", text(report)).write_part(&mut out);
    open_part(&mut out, &boundary);
    let status_type = if is_utf8 {
        "message/global-delivery-status"
    } else {
        "message/delivery-status"
    };
    part(&mut out, status_type, encoding, status.as_bytes());
    open_part(&mut out, &boundary);
    let returned_type = match (is_full, is_utf8) {
        (true, false) => "message/rfc822",
        (true, true) => "message/global",
        (false, false) => "text/rfc822-headers",
        (false, true) => "message/global-headers",
    };
    part(&mut out, returned_type, encoding, returned);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// The report's own header.
fn head(report: &Report<'_>, boundary: &str, encoding: &str) -> String {
    let worst = report
        .recipients
        .iter()
        .map(|r| r.action)
        .max()
        .unwrap_or(Action::Failed);
    let original = match report.original {
        Original::Headers(bytes) | Original::Full(bytes) => Header::scan(bytes),
    };
    let thread =
        message_id(&original).map_or_else(String::new, |id| format!("In-Reply-To: {id}\r\nReferences: {id}\r\n"));
    let body_encoding = if encoding == "7bit" {
        ""
    } else {
        "Content-Transfer-Encoding: 8bit\r\n"
    };
    format!(
        "From: Mail Delivery System <mailer-daemon@{host}>\r\n\
         To: <{to}>\r\n\
         Subject: {subject}\r\n\
         Date: {date}\r\n\
         Message-ID: <{id}@{host}>\r\n\
         {thread}\
         Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\
         \tboundary=\"{boundary}\"\r\n\
         {body_encoding}\r\n",
        host = report.host,
        to = report.to,
        subject = worst.subject(),
        date = date(report.at),
        id = token(report.id),
    )
}

/// The part for people.
fn text(report: &Report<'_>) -> String {
    let host = report.host;
    let mut text = format!("Ceci est un message automatique du serveur {host}.\r\n");
    for recipient in report.recipients {
        text.push_str(&paragraph(recipient, recipient.action.sentences().0, &FRENCH));
    }
    text.extend([
        "\r\n---\r\n\r\nThis is an automatic message from the server ",
        host.as_str(),
        ".\r\n",
    ]);
    for recipient in report.recipients {
        text.push_str(&paragraph(recipient, recipient.action.sentences().1, &ENGLISH));
    }
    text
}

/// Words of one language.
struct Words {
    cause: &'static str,
    reply: &'static str,
    finding: &'static str,
    until: &'static str,
    column: usize,
}

const FRENCH: Words = Words {
    cause: "Motif : ",
    reply: "Réponse : ",
    finding: "Constat : ",
    until: "Dernière tentative au plus tard : ",
    column: 1,
};

const ENGLISH: Words = Words {
    cause: "Cause: ",
    reply: "Reply: ",
    finding: "Finding: ",
    until: "Last attempt not after: ",
    column: 2,
};

fn paragraph(recipient: &RecipientReport, sentence: &str, words: &Words) -> String {
    let mut text = format!("\r\n<{}>\r\n{sentence}\r\n", recipient.final_recipient);
    if recipient.action >= Action::Delayed
        && let Some(row) = CAUSES.iter().find(|row| recipient.status.ends_with(row.0))
    {
        let cause = if words.column == 1 { row.1 } else { row.2 };
        text.extend([words.cause, cause, "\r\n"]);
    }
    if let Some(diagnostic) = &recipient.diagnostic {
        let who = match diagnostic {
            Diagnostic::Smtp(_) => words.reply,
            Diagnostic::Local(_) => words.finding,
        };
        text.extend([who, &one_line(diagnostic.text()), "\r\n"]);
    }
    if let (Action::Delayed, Some(until)) = (recipient.action, recipient.retry_until) {
        text.extend([words.until, &date(until), "\r\n"]);
    }
    text
}

/// The part for software (RFC 3464 §2).
fn delivery_status(report: &Report<'_>) -> String {
    let mut fields = String::new();
    if let Some(id) = report.envelope_id {
        field(&mut fields, "Original-Envelope-Id", &one_line(id));
    }
    field(&mut fields, "Reporting-MTA", &format!("dns; {}", report.host));
    field(&mut fields, "Arrival-Date", &date(report.arrived));
    for recipient in report.recipients {
        fields.push_str("\r\n");
        recipient_status(&mut fields, recipient);
    }
    fields
}

/// One group of per-recipient fields (RFC 3464 §2.3).
fn recipient_status(fields: &mut String, recipient: &RecipientReport) {
    if let Some(original) = &recipient.original_recipient {
        field(fields, "Original-Recipient", &one_line(original));
    }
    let address = &recipient.final_recipient;
    // RFC 6533 §3
    let address_type = if address.as_str().is_ascii() { "rfc822" } else { "utf-8" };
    field(fields, "Final-Recipient", &format!("{address_type}; {address}"));
    field(fields, "Action", recipient.action.as_str());
    field(fields, "Status", status(recipient));
    if let Some(host) = &recipient.remote_host {
        field(fields, "Remote-MTA", &format!("dns; {}", token(host)));
    }
    if let Some(diagnostic) = &recipient.diagnostic {
        let ascii = one_line(diagnostic.text()).replace(|c: char| !c.is_ascii(), "?");
        field(fields, "Diagnostic-Code", &format!("{}; {ascii}", diagnostic.kind()));
    }
    if let Some(at) = recipient.last_attempt {
        field(fields, "Last-Attempt-Date", &date(at));
    }
    if let (Action::Delayed, Some(until)) = (recipient.action, recipient.retry_until) {
        field(fields, "Will-Retry-Until", &date(until));
    }
}

/// The status, or the class's own `x.0.0` if what we were given is none of RFC 3463 §2.
fn status(recipient: &RecipientReport) -> &str {
    let numbers: Vec<&str> = recipient.status.split('.').collect();
    let is_number = |text: &&str| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match (numbers.len() == 3 && numbers.iter().all(is_number), recipient.action) {
        (true, _) => &recipient.status,
        (false, Action::Delivered | Action::Relayed) => "2.0.0",
        (false, Action::Delayed) => "4.0.0",
        (false, Action::Failed) => "5.0.0",
    }
}

/// Writes a field, folded at spaces (RFC 5322 §2.2.3).
fn field(fields: &mut String, name: &str, value: &str) {
    fields.push_str(name);
    fields.push(':');
    let mut column = name.len() + 1;
    for (index, word) in value.split(' ').enumerate() {
        if index > 0 && !word.is_empty() && column + 1 + word.len() > LINE_CHARACTERS {
            fields.push_str("\r\n");
            column = 0;
        }
        fields.push(' ');
        fields.push_str(word);
        column += 1 + word.len();
    }
    fields.push_str("\r\n");
}

fn open_part(out: &mut Vec<u8>, boundary: &str) {
    out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
}

fn part(out: &mut Vec<u8>, content_type: &str, encoding: &str, content: &[u8]) {
    let head = format!("Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(content);
}

/// What goes back of the original, and whether that is all of it.
fn returned(original: Original<'_>) -> (&[u8], bool) {
    match original {
        Original::Headers(message) => (Header::scan(message).block(), false),
        Original::Full(message) => (message, true),
    }
}

fn header_is_ascii(message: &[u8]) -> bool {
    Header::scan(message).block().is_ascii()
}

/// The original's Message-ID, if it is one that may be repeated.
fn message_id(header: &Header<'_>) -> Option<String> {
    let id = header.value("Message-ID")?;
    let is_sound = id.len() <= MESSAGE_ID_BYTES_MAX
        && id.starts_with('<')
        && id.ends_with('>')
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_sound.then(|| id.into_owned())
}

/// A boundary that no line of the parts begins with (RFC 2046 §5.1.1). A part has finitely many lines, so the search ends.
fn boundary(id: &str, parts: &[&[u8]]) -> String {
    let id: String = token(id).chars().take(BOUNDARY_ID_BYTES_MAX).collect();
    let mut attempt = 0_usize;
    loop {
        let name = format!("=_{id}_{attempt}");
        let line = format!("--{name}");
        let mut lines = parts.iter().flat_map(|part| part.split(|&byte| byte == b'\n'));
        if !lines.any(|one| one.starts_with(line.as_bytes())) {
            return name;
        }
        attempt += 1;
    }
}

/// Text on one line, control characters and excess cut: it comes from a peer.
fn one_line(text: &str) -> String {
    text.chars()
        .take(REPLY_CHARACTERS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A word of letters, digits and `.-_`.
fn token(text: &str) -> String {
    text.chars()
        .take(TOKEN_CHARACTERS_MAX)
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".-_".contains(c) {
                c
            } else {
                '?'
            }
        })
        .collect()
}

/// End of the status (RFC 3463), then the cause in French and in English: what the sender can do about it.
const CAUSES: [(&str, &str, &str); 9] = [
    (
        ".1.1",
        "cette adresse n'existe pas ; vérifiez-la dans l'annuaire.",
        "there is no such address; check it in the directory.",
    ),
    (
        ".2.1",
        "cette boîte est fermée ou suspendue.",
        "this box is closed or suspended.",
    ),
    (".2.2", "cette boîte est pleine.", "this box is full."),
    (
        ".3.4",
        "le message est trop volumineux pour le destinataire.",
        "the message is too large for the recipient.",
    ),
    (
        ".4.1",
        "le serveur du destinataire ne répond pas.",
        "the recipient's server does not answer.",
    ),
    (
        ".4.4",
        "le domaine du destinataire n'a pas de serveur de messagerie.",
        "the recipient's domain has no mail server.",
    ),
    (
        ".4.6",
        "le message tourne en boucle entre serveurs.",
        "the message loops between servers.",
    ),
    (
        ".4.7",
        "le délai de remise est dépassé.",
        "the time allowed for delivery has run out.",
    ),
    (
        ".7.1",
        "le destinataire ou son serveur n'est pas autorisé dans l'espace de confiance, ou vous refuse.",
        "the recipient or his server is not authorised in the trust space, or refuses you.",
    ),
];

/// Room for the frame and the text, to allocate once.
const FRAME_BYTES: usize = 8 * 1024;
const LINE_CHARACTERS: usize = 78;
/// RFC 5322 §2.1.1, the field's name aside.
const MESSAGE_ID_BYTES_MAX: usize = 900;
/// RFC 2046 §5.1.1 allows 70 for the whole boundary.
const BOUNDARY_ID_BYTES_MAX: usize = 50;
const REPLY_CHARACTERS_MAX: usize = 900;
const TOKEN_CHARACTERS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;
    use crate::message::class::Class;
    use crate::message::fields::HeaderLimits;

    const ORIGINAL: &[u8] = b"From: a@b.fr\r\nSubject: secret\r\nMessage-ID: <m1@b.fr>\r\n\r\nbody line\r\n";

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn recipient(text: &str, action: Action, status: &str) -> RecipientReport {
        RecipientReport {
            original_recipient: Some(format!("rfc822;{text}")),
            final_recipient: address(text),
            action,
            status: status.to_owned(),
            remote_host: Some("mx1.chu.mssante.fr".to_owned()),
            diagnostic: Some(Diagnostic::Smtp(
                "550 5.1.1 no such box, check the address in the directory, then send the mail again".to_owned(),
            )),
            last_attempt: Some("2026-11-21T10:05:00Z".parse().unwrap()),
            retry_until: Some("2026-11-23T10:00:00Z".parse().unwrap()),
        }
    }

    /// Builds a report about `recipients` and hands it over.
    fn report(recipients: &[RecipientReport], original: Original<'_>) -> Vec<u8> {
        build(&Report {
            host: &"mx.ehpad-lilas.mssante.fr".parse().unwrap(),
            to: &address("dui@ehpad-lilas.mssante.fr"),
            id: "r-01J",
            at: "2026-11-21T10:06:00Z".parse().unwrap(),
            arrived: "2026-11-21T10:00:00Z".parse().unwrap(),
            envelope_id: Some("DUI-42"),
            recipients,
            original,
        })
    }

    /// What Python's email package reads: one line per fact.
    fn read_by_python(report: &[u8]) -> String {
        let script = r"
import sys, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
print(m.get_content_type(), m.get_param('report-type'), m['auto-submitted'], len(m.defects), 'defects')
for p in m.iter_parts():
    print(p.get_content_type(), p['content-transfer-encoding'], len(p.defects), 'defects')
s = list(m.iter_parts())[1]
for g in s.get_payload():
    print(sorted(k.lower() for k in g.keys()), g['action'], g['status'], g['final-recipient'])
print(list(m.iter_parts())[0].get_content().splitlines()[0])
";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .env("PYTHONIOENCODING", "utf-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(report).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn python_reads_a_failure_report_without_a_defect() {
        let recipients = [
            recipient("urgences@chu.mssante.fr", Action::Failed, "5.1.1"),
            recipient("labo@chu.mssante.fr", Action::Delayed, "4.4.1"),
        ];
        let bytes = report(&recipients, Original::Full(ORIGINAL));
        insta::assert_snapshot!(read_by_python(&bytes), @r"
        multipart/report delivery-status auto-replied 0 defects
        text/plain quoted-printable 0 defects
        message/delivery-status 7bit 0 defects
        message/rfc822 7bit 0 defects
        ['arrival-date', 'original-envelope-id', 'reporting-mta'] None None None
        ['action', 'diagnostic-code', 'final-recipient', 'last-attempt-date', 'original-recipient', 'remote-mta', 'status'] failed 5.1.1 rfc822; urgences@chu.mssante.fr
        ['action', 'diagnostic-code', 'final-recipient', 'last-attempt-date', 'original-recipient', 'remote-mta', 'status', 'will-retry-until'] delayed 4.4.1 rfc822; labo@chu.mssante.fr
        Ceci est un message automatique du serveur mx.ehpad-lilas.mssante.fr.
        ");
    }

    #[test]
    fn the_report_is_ascii_sound_and_of_class_dsn() {
        let bytes = report(
            &[recipient("urgences@chu.mssante.fr", Action::Failed, "5.1.1")],
            Original::Headers(ORIGINAL),
        );
        assert!(bytes.is_ascii());
        assert!(
            bytes
                .split(|&b| b == b'\n')
                .rev()
                .skip(1)
                .all(|line| line.ends_with(b"\r") && line.len() <= 79)
        );
        let header = Header::parse(&bytes, &HeaderLimits::default()).unwrap();
        assert_eq!(Class::of(&header, None), Class::Dsn);
        assert_eq!(header.value("in-reply-to").unwrap(), "<m1@b.fr>");
        assert_eq!(header.value("subject").unwrap(), "Message non remis / Undelivered mail");

        let parsed = MessageParser::default().parse(&bytes).unwrap();
        let text = parsed.body_text(0).unwrap();
        assert!(text.contains("cette adresse n'existe pas") && text.contains("there is no such address"));
        let types: Vec<String> = parsed.parts[1..]
            .iter()
            .map(|part| part.content_type().unwrap())
            .map(|t| format!("{}/{}", t.ctype(), t.subtype().unwrap()))
            .collect();
        assert_eq!(types, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    }

    #[test]
    fn ret_decides_whether_the_body_goes_back() {
        let recipients = [recipient("urgences@chu.mssante.fr", Action::Failed, "5.1.1")];
        let contains = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
        assert!(contains(&report(&recipients, Original::Full(ORIGINAL)), b"body line"));
        assert!(!contains(
            &report(&recipients, Original::Headers(ORIGINAL)),
            b"body line"
        ));
    }

    #[test]
    fn each_verdict_has_its_words() {
        for (action, status, word) in [
            (Action::Delivered, "2.0.0", "Mail delivered"),
            (Action::Relayed, "2.0.0", "Mail relayed"),
            (Action::Delayed, "4.4.1", "Mail delayed"),
            (Action::Failed, "5.4.7", "Undelivered mail"),
        ] {
            let bytes = report(
                &[recipient("a@chu.mssante.fr", action, status)],
                Original::Headers(ORIGINAL),
            );
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(word), "{text}");
            assert!(text.contains(&format!("Action: {}\r\nStatus: {status}\r\n", action.as_str())));
            assert_eq!(text.contains("Will-Retry-Until"), action == Action::Delayed);
        }
    }

    #[test]
    fn what_this_server_found_is_not_given_out_as_the_reply_of_another() {
        let diagnosed = |diagnostic| {
            let mut one = recipient("a@chu.mssante.fr", Action::Failed, "5.4.7");
            one.diagnostic = Some(diagnostic);
            String::from_utf8(report(&[one], Original::Headers(ORIGINAL))).unwrap()
        };
        let said = diagnosed(Diagnostic::Smtp("451 4.2.0 later".into()));
        assert!(said.contains("Diagnostic-Code: smtp; 451 4.2.0 later\r\n"), "{said}");
        assert!(said.contains("Reply: 451 4.2.0") && !said.contains("Finding"), "{said}");
        let found = diagnosed(Diagnostic::Local("451 4.4.1 no host answers".into()));
        assert!(found.contains("Diagnostic-Code: X-Vaguemestre; 451 4.4.1"), "{found}");
        assert!(
            found.contains("Finding: 451 4.4.1") && !found.contains("smtp;"),
            "{found}"
        );
    }

    #[test]
    fn the_worst_verdict_names_the_report() {
        let recipients = [
            recipient("a@chu.mssante.fr", Action::Delivered, "2.0.0"),
            recipient("b@chu.mssante.fr", Action::Failed, "5.2.1"),
            recipient("c@chu.mssante.fr", Action::Delayed, "4.4.1"),
        ];
        let bytes = report(&recipients, Original::Headers(ORIGINAL));
        assert!(Header::scan(&bytes).value("subject").unwrap().contains("Undelivered"));
    }

    #[test]
    fn an_original_in_8bit_is_declared_and_a_utf8_header_changes_the_types() {
        let recipients = [recipient("a@chu.mssante.fr", Action::Failed, "5.1.1")];
        let body = "From: a@b.fr\r\n\r\nété\r\n".as_bytes();
        let text = String::from_utf8(report(&recipients, Original::Full(body))).unwrap();
        assert!(text.contains("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit"));
        let whole = Header::scan(text.as_bytes());
        assert_eq!(whole.value("content-transfer-encoding").unwrap(), "8bit");

        let header = "Subject: été\r\n\r\n".as_bytes();
        let text = String::from_utf8(report(&recipients, Original::Full(header))).unwrap();
        assert!(text.contains("Content-Type: message/global\r\n"));
        let utf8 = [recipient("hélène@chu.mssante.fr", Action::Failed, "5.1.1")];
        let text = String::from_utf8(report(&utf8, Original::Headers(ORIGINAL))).unwrap();
        assert!(text.contains("Final-Recipient: utf-8; hélène@chu.mssante.fr"));
        assert!(text.contains("Content-Type: message/global-delivery-status"));
    }

    #[test]
    fn what_a_peer_replies_cannot_break_the_report() {
        let mut hostile = recipient("a@chu.mssante.fr", Action::Failed, "5.1.1\r\nAction: delivered");
        hostile.diagnostic = Some(Diagnostic::Smtp(format!(
            "550 x\r\nAction: delivered\r\n\r\n--=_r-01J_0--{}é",
            "y".repeat(5_000)
        )));
        hostile.remote_host = Some("evil\r\nX: y".to_owned());
        hostile.original_recipient = Some("rfc822;a\r\nAction: delivered".to_owned());
        let original = b"Subject: x\r\n\r\n--=_r-01J_0\r\n--=_r-01J_0--\r\n--=_r-01J_1\r\n";
        let bytes = report(&[hostile], Original::Full(original));
        let read = read_by_python(&bytes);
        assert!(read.contains("failed 5.0.0"), "{read}");
        assert!(!read.contains("delivered"), "{read}");
        assert_eq!(read.matches(" 0 defects\n").count(), 4, "{read}");
        assert!(bytes.windows(9).any(|w| w == b"=_r-01J_2"));
    }
}
