//! The question asked of the allow list before any mail moves, and the proofs it gives (OP-4).

use crate::identity::{Domain, SubjectDn};
use crate::policy::{Reason, Refusal};

use super::AllowList;

/// Proof that the peer's certificate is listed for the sender's domain, or for some domain when there is no sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedSender {
    // Private: only `vouch_sender` and `vouch_null_sender` build this type.
    domain: Option<Domain>,
    peer: SubjectDn,
}

/// Proof that the peer's certificate is listed for the recipient's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedRecipient {
    // Private: only `vouch_recipient` builds this type.
    domain: Domain,
    peer: SubjectDn,
}

impl TrustedSender {
    /// The sender's domain; none for the null reverse-path.
    pub fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    /// The certificate that was looked up.
    pub fn peer(&self) -> &SubjectDn {
        &self.peer
    }
}

impl TrustedRecipient {
    /// The recipient's domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The certificate that was looked up.
    pub fn peer(&self) -> &SubjectDn {
        &self.peer
    }
}

impl AllowList {
    /// Whether `peer`, a subject from a certificate already verified, may send mail from `domain`.
    ///
    /// Refuses with [`Reason::SenderDomainUnlisted`] or [`Reason::CertificateNotForDomain`].
    pub fn vouch_sender(&self, domain: &Domain, peer: &SubjectDn) -> Result<TrustedSender, Refusal> {
        self.check(domain, peer, Reason::SenderDomainUnlisted)?;
        Ok(TrustedSender {
            domain: Some(domain.clone()),
            peer: peer.clone(),
        })
    }

    /// Whether `peer` may send reports with a null reverse-path: it is listed for at least one domain.
    ///
    /// Refuses with [`Reason::PeerUnlisted`].
    pub fn vouch_null_sender(&self, peer: &SubjectDn) -> Result<TrustedSender, Refusal> {
        if self.domains_of(peer).is_empty() {
            let text = format!("certificate {} is on the allow list for no domain", peer.to_ascii());
            return Err(refusal(Reason::PeerUnlisted, text));
        }
        Ok(TrustedSender {
            domain: None,
            peer: peer.clone(),
        })
    }

    /// Whether `peer`, a subject from a certificate already verified, may be given mail for `domain`.
    ///
    /// Refuses with [`Reason::RecipientDomainUnlisted`] or [`Reason::CertificateNotForDomain`].
    pub fn vouch_recipient(&self, domain: &Domain, peer: &SubjectDn) -> Result<TrustedRecipient, Refusal> {
        self.check(domain, peer, Reason::RecipientDomainUnlisted)?;
        Ok(TrustedRecipient {
            domain: domain.clone(),
            peer: peer.clone(),
        })
    }

    fn check(&self, domain: &Domain, peer: &SubjectDn, unlisted: Reason) -> Result<(), Refusal> {
        match self.certificates_of(domain) {
            [] => Err(refusal(unlisted, format!("domain {domain} is not on the allow list"))),
            listed if listed.contains(peer) => Ok(()),
            [first, others @ ..] => {
                let more = match others.len() {
                    0 => String::new(),
                    count => format!(" and {count} more"),
                };
                let text = format!(
                    "certificate {} is not listed for {domain}, listed: {}{more}",
                    peer.to_ascii(),
                    first.to_ascii()
                );
                Err(refusal(Reason::CertificateNotForDomain, text))
            }
        }
    }
}

/// A refusal whose line fits an SMTP reply (RFC 5321 §4.5.3.1.5) with its code, status, reason and session id around it.
fn refusal(reason: Reason, mut text: String) -> Refusal {
    // ASCII already, so any index is a character boundary.
    text.truncate(TEXT_BYTES_MAX);
    Refusal::new(reason, text)
}

/// Room for two ordinary DNs of 130 characters and the words around them.
const TEXT_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use crate::trust::{AllowListDocument, ListedDomain};

    use super::*;

    const ONE: &str = "CN=smtp-1.chu.fr,OU=1990000010,O=CHU DES COLLINES,ST=Rhône (69),C=FR";
    const TWO: &str = "CN=smtp-2.chu.fr,OU=1990000010,O=CHU DES COLLINES,ST=Rhône (69),C=FR";
    const OTHER: &str = "CN=smtp-1.chu.fr,OU=1990000028,O=CHU DES COLLINES,ST=Rhône (69),C=FR";

    fn list(pairs: &[(&str, &str)]) -> AllowList {
        let at = "2026-11-21T10:00:00Z".parse().unwrap();
        let entry = |(domain, certificate): &(&str, &str)| ListedDomain {
            domain: domain.parse().unwrap(),
            description: String::new(),
            certificate: certificate.parse().unwrap(),
            responsible_contact: String::new(),
            support_contact: String::new(),
            updated: at,
        };
        AllowList::new(AllowListDocument {
            generated: at,
            entries: pairs.iter().map(entry).collect(),
        })
    }

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    fn dn(text: &str) -> SubjectDn {
        text.parse().unwrap()
    }

    #[test]
    fn every_listed_certificate_speaks_for_its_domain_in_both_directions() {
        let list = list(&[
            ("chu.mssante.fr", ONE),
            ("CHU.mssante.fr", TWO),
            ("chu.mssante.fr", ONE),
        ]);
        for peer in [ONE, TWO, &ONE.to_uppercase()] {
            let sender = list.vouch_sender(&domain("chu.mssante.fr"), &dn(peer)).unwrap();
            assert_eq!(sender.domain(), Some(&domain("chu.mssante.fr")));
            let recipient = list.vouch_recipient(&domain("chu.mssante.fr"), &dn(peer)).unwrap();
            assert_eq!(recipient.domain().as_str(), "chu.mssante.fr");
            assert_eq!(list.vouch_null_sender(&dn(peer)).unwrap().domain(), None);
        }
        assert_eq!(list.certificates_of(&domain("chu.mssante.fr")).len(), 2);
        assert_eq!(list.domains_of(&dn(ONE)), [domain("chu.mssante.fr")]);
    }

    #[test]
    fn the_same_common_name_with_another_structure_is_refused_and_both_names_are_shown() {
        let list = list(&[("chu.mssante.fr", ONE), ("chu.mssante.fr", TWO)]);
        let refusal = list.vouch_sender(&domain("chu.mssante.fr"), &dn(OTHER)).unwrap_err();
        assert_eq!(refusal.reason, Reason::CertificateNotForDomain);
        assert!(refusal.text.contains("OU=1990000028"), "{refusal}");
        assert!(refusal.text.contains("OU=1990000010"), "{refusal}");
        assert!(refusal.text.contains("ST=Rhone (69)"), "{refusal}");
        assert!(refusal.text.contains("and 1 more"), "{refusal}");
        let refusal = list.vouch_recipient(&domain("chu.mssante.fr"), &dn(OTHER)).unwrap_err();
        assert_eq!(refusal.reason, Reason::CertificateNotForDomain);
        assert_eq!(
            list.vouch_null_sender(&dn(OTHER)).unwrap_err().reason,
            Reason::PeerUnlisted
        );
    }

    #[test]
    fn a_listed_certificate_does_not_speak_for_another_domain_nor_for_a_subdomain() {
        let list = list(&[("chu.mssante.fr", ONE), ("ehpad.mssante.fr", TWO)]);
        let reason = |name: &str| list.vouch_sender(&domain(name), &dn(ONE)).unwrap_err().reason;
        assert_eq!(reason("ehpad.mssante.fr"), Reason::CertificateNotForDomain);
        assert_eq!(reason("a.chu.mssante.fr"), Reason::SenderDomainUnlisted);
        assert_eq!(reason("mssante.fr"), Reason::SenderDomainUnlisted);
        let out = list.vouch_recipient(&domain("gmail.com"), &dn(ONE)).unwrap_err();
        assert_eq!(out.reason, Reason::RecipientDomainUnlisted);
        assert!(!list.lists(&domain("gmail.com")));
        assert!(list.lists(&domain("ehpad.mssante.fr")));
    }

    #[test]
    fn the_line_of_a_refusal_is_short_whatever_the_peer_presents() {
        let list = list(&[("chu.mssante.fr", ONE)]);
        let long = format!("CN={},O={}", "é".repeat(900), "x".repeat(900));
        let refusal = list.vouch_sender(&domain("chu.mssante.fr"), &dn(&long)).unwrap_err();
        assert!(refusal.text.len() <= TEXT_BYTES_MAX && refusal.text.is_ascii());
    }
}
