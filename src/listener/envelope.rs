//! What a client asked for in MAIL and RCPT, as the queue keeps it for the next operator.

use crate::queue::{Body, Parameters};
use crate::smtp::MailFrom;
use crate::smtp::command::Body as WireBody;

/// Parameters of every recipient of a transaction. Report wishes (RFC 3461) join them once DSN is offered.
pub(super) fn parameters(mail: &MailFrom) -> Parameters {
    let body = mail.body.map(|body| match body {
        WireBody::SevenBit => Body::SevenBit,
        WireBody::EightBitMime | WireBody::BinaryMime => Body::EightBitMime,
    });
    Parameters {
        body,
        smtputf8: mail.utf8,
        ..Parameters::default()
    }
}
