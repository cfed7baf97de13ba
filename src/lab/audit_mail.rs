//! What an audit writes: one synthetic mail for each peer and direction, recognisable by its subject and Message-ID.

use jiff::Timestamp;

use super::audit::AuditPeer;
use crate::identity::Address;
use crate::message::synthetic::{SyntheticError, SyntheticMail};

/// The mail of one direction of one peer.
///
/// # Errors
/// An address cannot stand in a field.
pub fn mail(peer: AuditPeer, from: &Address, to: &Address, now: Timestamp) -> Result<Vec<u8>, SyntheticError> {
    let subject = format!("Audit de l'espace de confiance : {peer}");
    let message_id = format!("audit.{peer}.{}@{}", now.as_millisecond(), from.domain());
    let text = format!(
        "Message d'audit, sans contenu.\r\n\r\nPeer: {peer}: {}.\r\nExpected: {}.\r\n",
        peer.what(),
        peer.expected()
    );
    SyntheticMail {
        from,
        label: Some("Audit"),
        to: std::slice::from_ref(to),
        reply_to: None,
        subject: &subject,
        date: now,
        message_id: &message_id,
        fields: &[("Auto-Submitted", "auto-generated")],
        text: &text,
        attachments: &[],
    }
    .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_names_its_peer() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let peer = AuditPeer::CertRevoque;
        let from = address(&peer.address());
        let mail = mail(peer, &from, &address("soins@ehpad-lilas.mssante.fr"), now).unwrap();
        let text = String::from_utf8(mail).unwrap();
        assert!(
            text.contains("cert-revoque") && text.contains("audit.cert-revoque."),
            "{text}"
        );
    }
}
