//! How a verdict is said: names and dates in a line that fits an SMTP reply.

use jiff::Timestamp;
use rustls_pki_types::UnixTime;

use crate::identity::SubjectDn;
use crate::pki::PeerCertificate;
use crate::policy::{Reason, Refusal};

pub(in crate::pki) fn malformed(problem: &dyn std::fmt::Display) -> Refusal {
    refusal(
        Reason::CertificateMalformed,
        format!("the certificate cannot be read: {problem}"),
    )
}

/// A refusal whose line fits an SMTP reply with its code, status, reason and session id around it.
pub(in crate::pki) fn refusal(reason: Reason, text: String) -> Refusal {
    let mut refusal = Refusal::new(reason, text);
    // ASCII by construction, so any index is a character boundary.
    refusal.text.truncate(TEXT_BYTES_MAX);
    refusal
}

/// The leaf when the date is its own, else an authority above it.
pub(in crate::pki) fn whose(peer: &PeerCertificate, date: UnixTime, own: Timestamp) -> String {
    if i64::try_from(date.as_secs()) == Ok(own.as_second()) {
        format!("certificate of {}", shown(&peer.subject))
    } else {
        format!("an authority above {}", shown(&peer.subject))
    }
}

/// A name in a message, cut so that two of them fit the line.
pub(in crate::pki) fn shown(name: &SubjectDn) -> String {
    let mut text = name.to_ascii();
    text.truncate(NAME_BYTES_MAX);
    text
}

pub(in crate::pki) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

pub(in crate::pki) fn day_of(at: UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    day(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

/// RFC 5321 §4.5.3.1.5 allows 512 octets with code and CRLF.
pub(super) const TEXT_BYTES_MAX: usize = 400;
/// The field's names take about 130.
const NAME_BYTES_MAX: usize = 150;
