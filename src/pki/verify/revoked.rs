//! The revocation part of a verdict: asks the CRLs and the OCSP answers held, in the order of the policy, about every link of a path.

use std::cell::RefCell;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{TrustStore, Usage, certificate, day, refusal, shown};
use crate::pki::revocation::{
    Asked, IssuerId, Known, Link, MissingRevocation, OcspError, RevocationMethod, Status, StatusQuestion, read_answer,
};
use crate::pki::{PeerCertificate, presented};
use crate::policy::{Reason, Refusal};

/// How recent an OCSP answer has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Recent, or as old as the policy accepts when nobody answers: the last word.
    #[default]
    Usable,
    /// Recent, else [`Reason::RevocationUnknown`], even where the policy would accept: the responder can still be asked.
    Fresh,
}

/// What a verdict is asked for.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) now: Timestamp,
    pub(super) demand: Demand,
    /// An OCSP answer that came with the handshake; empty for none.
    pub(super) staple: &'a [u8],
}

impl TrustStore {
    /// What could be asked of OCSP responders before this chain is judged: the certificates of which nothing recent is known. Empty when
    /// the chain does not verify: nothing that a stranger's certificate says is followed.
    pub fn status_questions(&self, chain: &[CertificateDer<'_>], usage: Usage, now: Timestamp) -> Vec<StatusQuestion> {
        let questions = RefCell::new(Vec::<StatusQuestion>::new());
        let collect = |link: &Link<'_>, _: &PeerCertificate| {
            let id = IssuerId::of(link.issuer);
            if self.settled(link, &id, now) {
                return Ok(());
            }
            let urls = presented::ocsp_urls(&link.certificate.der());
            let question = StatusQuestion::about(link.issuer_der, id, link.certificate.serial(), urls);
            let mut questions = questions.borrow_mut();
            if let Some(question) = question
                && questions.iter().all(|other| other.key() != question.key())
            {
                questions.push(question);
            }
            Ok(())
        };
        let verified = self.verify_path(chain, (usage, now), &collect);
        verified.map(|_| questions.into_inner()).unwrap_or_default()
    }

    /// Takes a responder's answer to one of [`Self::status_questions`]. All clones of this store, and the stores that succeed it, know
    /// it from now on.
    ///
    /// # Errors
    /// The answer is not to be believed; nothing changes.
    pub fn learn(&self, question: &StatusQuestion, answer: &[u8], now: Timestamp) -> Result<(), OcspError> {
        let asked = Asked {
            issuer: &question.issuer,
            serial: &question.serial,
            nonce: Some(&question.nonce),
            is_revoked: &|responder| self.is_revoked(responder, &question.issuer, now),
        };
        let known = read_answer(answer, &asked, (&self.revocation, now))?;
        self.statuses.remember(question.issuer_id, &question.serial, known);
        Ok(())
    }

    /// Whether an answer to this question would tell nothing new.
    pub fn knows(&self, question: &StatusQuestion, now: Timestamp) -> bool {
        let known = self.statuses.find(&question.issuer_id, &question.serial);
        known.is_some_and(|known| known.revoked.is_some() || now <= known.fresh_until)
    }

    /// Whether OCSP is asked under this store's policy.
    pub fn asks_ocsp(&self) -> bool {
        self.revocation.method.asks_ocsp()
    }

    /// Whether asking a responder would change nothing.
    fn settled(&self, link: &Link<'_>, id: &IssuerId, now: Timestamp) -> bool {
        let method = self.revocation.method;
        let by_crl = || {
            matches!(
                self.crls.status(link, (&self.revocation, now)),
                Status::Good(_) | Status::Revoked(..)
            )
        };
        let by_ocsp = || {
            let known = self.statuses.find(id, link.certificate.serial());
            known.is_some_and(|known| known.revoked.is_some() || now <= known.fresh_until)
        };
        match method {
            RevocationMethod::Crl => true,
            method if method.stops_at_crl(link.is_leaf) => by_crl() || by_ocsp(),
            _ => by_ocsp(),
        }
    }

    /// Judges one link.
    pub(super) fn judge_revocation(
        &self,
        link: &Link<'_>,
        peer: &PeerCertificate,
        question: &Question<'_>,
    ) -> Result<&'static str, Refusal> {
        let now = question.now;
        let crl = self.crls.status(link, (&self.revocation, now));
        if let Status::Revoked(since, by) = &crl {
            return Err(revoked(link, peer, *since, by));
        }
        let method = self.revocation.method;
        let by_crl = match crl {
            Status::Good(said) if method.trusts_crl(link.is_leaf) => Some(said),
            _ => None,
        };
        if !method.asks_ocsp() || (by_crl.is_some() && method.stops_at_crl(link.is_leaf)) {
            return by_crl.map_or_else(|| self.unknown(link, peer, &crl), Ok);
        }
        let known = self.known(link, question);
        if let Some(Known {
            revoked: Some(since), ..
        }) = known
        {
            return Err(revoked(link, peer, since, &shown(&peer.issuer)));
        }
        let good_until = |known: Known| match question.demand {
            Demand::Fresh => known.fresh_until,
            Demand::Usable => known.usable_until,
        };
        match known {
            Some(known) if now <= good_until(known) => Ok("good, says the OCSP responder"),
            _ if question.demand == Demand::Fresh && could_ask(link) => self.refuse_unknown(link, peer, &crl),
            _ => by_crl.map_or_else(|| self.unknown(link, peer, &crl), Ok),
        }
    }

    /// What OCSP said of a certificate, or says now with the handshake.
    fn known(&self, link: &Link<'_>, question: &Question<'_>) -> Option<Known> {
        let (id, serial) = (IssuerId::of(link.issuer), link.certificate.serial());
        let held = self.statuses.find(&id, serial);
        let is_recent = held.is_some_and(|held| question.now <= held.fresh_until);
        if is_recent || question.staple.is_empty() || !link.is_leaf {
            return held;
        }
        let asked = Asked {
            issuer: link.issuer_der,
            serial,
            nonce: None,
            is_revoked: &|responder| self.is_revoked(responder, link.issuer_der, question.now),
        };
        match read_answer(question.staple, &asked, (&self.revocation, question.now)) {
            Ok(known) => {
                self.statuses.remember(id, serial, known);
                Some(known)
            }
            Err(error) => {
                tracing::debug!(%error, "a stapled OCSP answer is not used");
                held
            }
        }
    }

    /// Whether a CRL at hand says that this certificate of that issuer is revoked.
    fn is_revoked(&self, certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>, now: Timestamp) -> bool {
        let (Ok(entity), Ok(anchor)) = (
            EndEntityCert::try_from(certificate),
            webpki::anchor_from_trusted_cert(issuer),
        ) else {
            return true;
        };
        let link = Link {
            certificate: &entity,
            is_leaf: true,
            issuer: &anchor,
            issuer_der: issuer,
        };
        matches!(self.crls.status(&link, (&self.revocation, now)), Status::Revoked(..))
    }

    fn unknown(&self, link: &Link<'_>, peer: &PeerCertificate, crl: &Status<'_>) -> Result<&'static str, Refusal> {
        match self.revocation.missing {
            MissingRevocation::Accept => Ok("nobody can tell, which the configuration accepts"),
            MissingRevocation::Refuse => self.refuse_unknown(link, peer, crl),
        }
    }

    fn refuse_unknown(
        &self,
        link: &Link<'_>,
        peer: &PeerCertificate,
        crl: &Status<'_>,
    ) -> Result<&'static str, Refusal> {
        let whose = whose_link(link, peer);
        let ocsp = if self.revocation.method.asks_ocsp() {
            " and no OCSP answer"
        } else {
            ""
        };
        let text = if let Status::Unknown(Some(crl)) = crl {
            format!(
                "last CRL of {} expired on {}{}, cannot say whether {whose} is revoked",
                shown(&crl.issuer),
                day(crl.next_update),
                ocsp.replace(" no", " there is no")
            )
        } else {
            let serial = certificate::hex(link.certificate.serial());
            let crl = if self.revocation.method.trusts_crl(link.is_leaf) {
                format!("no CRL{ocsp} at hand says")
            } else {
                "no OCSP answer at hand says".to_owned()
            };
            format!("{crl} whether {whose} (serial {serial}) is revoked")
        };
        Err(refusal(Reason::RevocationUnknown, text))
    }
}

/// Authorities seldom have a responder for their own certificate: without one, and with a CRL, there is nobody to ask.
fn could_ask(link: &Link<'_>) -> bool {
    link.is_leaf || !presented::ocsp_urls(&link.certificate.der()).is_empty()
}

fn revoked(link: &Link<'_>, peer: &PeerCertificate, since: Timestamp, by: &str) -> Refusal {
    let (whose, serial) = (whose_link(link, peer), certificate::hex(link.certificate.serial()));
    refusal(
        Reason::CertificateRevoked,
        format!(
            "certificate of {whose} (serial {serial}) was revoked on {} by {by}",
            day(since)
        ),
    )
}

fn whose_link(link: &Link<'_>, peer: &PeerCertificate) -> String {
    if link.is_leaf {
        shown(&peer.subject)
    } else {
        format!("the authority that issued {}", shown(&peer.subject))
    }
}
