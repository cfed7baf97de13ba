//! Judges a peer's certificate chain: authority, dates, usage, revocation (OP-6). Every refusal has its reason and says what to look at.

mod examine;
mod issuers;
mod remembered;
mod revoked;
mod signatures;
mod usage;
mod words;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, VerifiedPath};

use crate::identity::SubjectDn;
use crate::policy::{Reason, Refusal};

use super::certificate::{self, MaySign, PeerCertificate};
use super::revocation::{Crl, CrlError, Crls, Link, MissingRevocation, RevocationPolicy, Statuses};

pub use examine::{Check, CheckId, Examination, Outcome};
pub use remembered::Remembered;
pub use revoked::Demand;
use revoked::Question;
use signatures::Signatures;
use usage::Purposes;
pub use usage::{Usage, UsageCheck};
pub(super) use words::shown;
use words::{day, day_of, malformed, refusal, whose};

/// The authorities we were given, the CRLs they signed, and the rules. Immutable and cheap to clone: a session keeps one, a new CRL
/// makes another (invariant 4).
///
/// When intermediates are given, only they may issue: what a peer sends beside its certificate is ignored, and a certificate issued by
/// the root itself is refused (ECO.1.1.10: the range "Élémentaire Organisations" only). Without them, the peer's are used.
#[derive(Clone, Debug)]
pub struct TrustStore {
    authorities: Arc<Authorities>,
    crls: Crls,
    /// Shared by all clones: an answer once verified holds for every snapshot.
    statuses: Arc<Statuses>,
    /// Shared by all clones.
    signatures: Arc<Signatures>,
    revocation: RevocationPolicy,
    usage: UsageCheck,
}

/// Asked about each link of a path whose signatures, dates and purposes are proved.
type Judge<'a> = &'a dyn Fn(&Link<'_>, &PeerCertificate) -> Result<(), Refusal>;

#[derive(Debug)]
struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<SubjectDn>,
    /// `notAfter` of each root: an anchor carries no date, and an expired root proves nothing.
    root_ends: Vec<Timestamp>,
    intermediates: Vec<CertificateDer<'static>>,
    issuers: Vec<SubjectDn>,
    /// Roots, then intermediates.
    all: Vec<CertificateDer<'static>>,
}

/// Authorities that cannot be trusted because they cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustStoreError {
    /// Nothing to trust.
    #[error("no root certificate among the authorities to trust")]
    NoRoot,
    /// A file without any.
    #[error("no certificate in it: expected PEM")]
    Empty,
    /// Not a certificate.
    #[error("authority certificate {place} cannot be used: {problem}")]
    Unreadable {
        /// From 1, in the order given.
        place: usize,
        /// Why.
        problem: String,
    },
    /// An end entity among the authorities.
    #[error("{0} is not the certificate of an authority")]
    NotAnAuthority(SubjectDn),
}

impl TrustStore {
    /// Trusts these authorities, with no CRL yet, revocation refused when unknown and either TLS purpose accepted.
    pub fn new(
        roots: Vec<CertificateDer<'static>>,
        intermediates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, TrustStoreError> {
        let mut anchors = Vec::new();
        for (place, root) in roots.iter().enumerate() {
            let anchor = webpki::anchor_from_trusted_cert(root).map_err(|error| unreadable(place, &error))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(TrustStoreError::NoRoot);
        }
        let end = |(place, root)| {
            certificate::read(root)
                .map(|read| read.not_after)
                .map_err(|p| unreadable(place, &p))
        };
        let root_ends = roots.iter().enumerate().map(end).collect::<Result<_, _>>()?;
        let all: Vec<_> = roots.iter().chain(&intermediates).cloned().collect();
        let names = all.iter().enumerate().map(|(place, der)| authority_name(place, der));
        let mut names = names.collect::<Result<Vec<_>, _>>()?;
        let issuers = names.split_off(roots.len());
        Ok(Self {
            authorities: Arc::new(Authorities {
                anchors,
                roots: names,
                root_ends,
                intermediates,
                issuers,
                all,
            }),
            crls: Crls::default(),
            statuses: Arc::default(),
            signatures: Arc::default(),
            revocation: RevocationPolicy::default(),
            usage: UsageCheck::EitherSide,
        })
    }

    /// The same from a bundle: self-issued certificates are roots, the others intermediates.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, TrustStoreError> {
        let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
        for (place, section) in CertificateDer::pem_slice_iter(bundle).enumerate() {
            let der = section.map_err(|error| unreadable(place, &error))?;
            let read = certificate::read(&der).map_err(|error| unreadable(place, &error))?;
            if read.subject == read.issuer {
                roots.push(der);
            } else {
                intermediates.push(der);
            }
        }
        Self::new(roots, intermediates)
    }

    /// Whether every certificate of a bundle is one of an authority; whether there is a root is for the whole of them to say.
    ///
    /// # Errors
    /// The first one that is not, or a bundle without certificates.
    pub fn check_pem(bundle: &[u8]) -> Result<(), TrustStoreError> {
        let mut count = 0;
        for (place, section) in CertificateDer::pem_slice_iter(bundle).enumerate() {
            let der = section.map_err(|error| unreadable(place, &error))?;
            authority_name(place, &der)?;
            count = place + 1;
        }
        if count == 0 {
            return Err(TrustStoreError::Empty);
        }
        Ok(())
    }

    /// The same store with another way to judge revocation.
    #[must_use]
    pub fn with_revocation(mut self, policy: RevocationPolicy) -> Self {
        self.revocation = policy;
        self
    }

    /// The same store with another answer to what nobody can tell.
    #[must_use]
    pub fn with_missing_revocation(mut self, missing: MissingRevocation) -> Self {
        self.revocation.missing = missing;
        self
    }

    /// The same store with another way to read extended key usage.
    #[must_use]
    pub fn with_usage_check(mut self, check: UsageCheck) -> Self {
        self.usage = check;
        self
    }

    /// The same store with one more CRL (DER), which replaces the older one of the same issuer, or brings it up to date if it is a delta.
    /// On an error nothing changes.
    pub fn with_crl(&self, der: &[u8]) -> Result<Self, CrlError> {
        let crl = Crl::read(der, &self.authorities.all)?;
        let mut store = self.clone();
        store.crls.take(Arc::new(crl))?;
        Ok(store)
    }

    /// This store as the successor of another one: CRLs of the other that are newer and still of our authorities stay, and so does what
    /// responders said. An older CRL never replaces a newer one, whatever file it came from (ECO.1.1.7).
    #[must_use]
    pub fn succeeding(mut self, before: &Self) -> Self {
        let anchors = self
            .authorities
            .all
            .iter()
            .filter_map(|der| webpki::anchor_from_trusted_cert(der).ok());
        let anchors: Vec<TrustAnchor<'_>> = anchors.collect();
        let is_ours = |crl: &Crl| {
            anchors.iter().any(|anchor| {
                anchor.subject.as_ref() == crl.issuer_name && anchor.subject_public_key_info.as_ref() == crl.issuer_key
            })
        };
        self.crls.take_newer(&before.crls, is_ours);
        self.statuses = Arc::clone(&before.statuses);
        self.signatures = Arc::clone(&before.signatures);
        self
    }

    /// When the first of the CRLs held expires; none without CRL.
    pub fn next_crl_update(&self) -> Option<Timestamp> {
        self.crls.next_update()
    }

    /// When the oldest of the CRLs held was made; none without CRL.
    pub fn oldest_crl(&self) -> Option<Timestamp> {
        self.crls.oldest()
    }

    /// Whether clients are told the same names by both.
    pub fn names_same_authorities(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.authorities, &other.authorities) || self.authorities.all == other.authorities.all
    }

    /// Names to hint to clients when a certificate is asked for, DER.
    pub fn issuer_hints(&self) -> Vec<rustls::DistinguishedName> {
        let anchors = self.authorities.anchors.iter();
        let roots = anchors.map(|anchor| rustls::DistinguishedName::in_sequence(anchor.subject.as_ref()));
        let intermediates = self.authorities.intermediates.iter().filter_map(|der| {
            let anchor = webpki::anchor_from_trusted_cert(der).ok()?;
            Some(rustls::DistinguishedName::in_sequence(anchor.subject.as_ref()))
        });
        roots.chain(intermediates).collect()
    }

    /// Judges the chain a peer presented, leaf first: chain to our authorities, dates, key usage and extended key usage, revocation of
    /// the leaf and of every intermediate. Whether the name may speak for a domain is the allow list's business.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now: Timestamp,
    ) -> Result<PeerCertificate, Refusal> {
        self.verify_with(chain, (usage, now), Demand::Usable, &[])
    }

    /// The same, with a demand on how recent an OCSP answer is, and the answer that came with the handshake, if one did.
    pub fn verify_with(
        &self,
        chain: &[CertificateDer<'_>],
        (usage, now): (Usage, Timestamp),
        demand: Demand,
        staple: &[u8],
    ) -> Result<PeerCertificate, Refusal> {
        let question = Question { now, demand, staple };
        self.verify_path(chain, (usage, now), &|link, peer| {
            self.judge_revocation(link, peer, &question).map(|_| ())
        })
    }

    /// Everything but revocation, which `judge` is asked about link by link, from the leaf up, once the rest is proved.
    fn verify_path(
        &self,
        chain: &[CertificateDer<'_>],
        (usage, now): (Usage, Timestamp),
        judge: Judge<'_>,
    ) -> Result<PeerCertificate, Refusal> {
        let (leaf, others) = chain
            .split_first()
            .ok_or_else(|| Refusal::new(Reason::CertificateMissing, "no certificate was presented"))?;
        if others.len() > SENT_CERTIFICATES_MAX {
            let text = format!(
                "{} certificates presented, at most {SENT_CERTIFICATES_MAX} expected",
                chain.len()
            );
            return Err(Refusal::new(Reason::CertificateMalformed, text));
        }
        let peer = certificate::read(leaf).map_err(|problem| malformed(&problem))?;
        let entity = EndEntityCert::try_from(leaf).map_err(|error| self.refusal(&error, &peer, usage))?;
        let intermediates = match self.authorities.intermediates.as_slice() {
            [] => others,
            configured => configured,
        };
        let said = RefCell::new(None);
        let judge_path = |path: &VerifiedPath<'_>| {
            self.judge_path(path, &peer, now, judge).map_err(|refusal| {
                said.replace(Some(refusal));
                // The variant only has to be an error; what was said is in `said`.
                webpki::Error::CertRevoked
            })
        };
        let algorithms = self.signatures.algorithms();
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> = algorithms.iter().map(|one| one as _).collect();
        let verified = entity.verify_for_usage(
            &algorithms,
            &self.authorities.anchors,
            intermediates,
            unix_time(now),
            Purposes::of(usage, self.usage),
            None,
            Some(&judge_path),
        );
        match verified.map(|_| ()) {
            Ok(()) if peer.may_sign == MaySign::Handshakes && usage != Usage::ListSigner => Ok(peer),
            Ok(()) if peer.may_sign >= MaySign::Documents && usage == Usage::ListSigner => Ok(peer),
            Ok(()) => Err(Refusal::new(
                Reason::CertificateUsage,
                format!(
                    "key usage of {} does not include digital signature",
                    shown(&peer.subject)
                ),
            )),
            Err(error) => Err(said.take().unwrap_or_else(|| self.refusal(&error, &peer, usage))),
        }
    }

    /// What webpki does not look at: who may issue, and revocation.
    fn judge_path(
        &self,
        path: &VerifiedPath<'_>,
        peer: &PeerCertificate,
        now: Timestamp,
        judge: Judge<'_>,
    ) -> Result<(), Refusal> {
        let mut certificates: Vec<&webpki::Cert<'_>> = path.intermediate_certificates().collect();
        if certificates.is_empty() && !self.authorities.intermediates.is_empty() {
            return Err(self.untrusted(peer, "issued by the root itself"));
        }
        let root = self.judge_root(path.anchor(), peer, now)?;
        self.judge_issuers(path, peer)?;
        let leaf: &webpki::Cert<'_> = path.end_entity();
        certificates.insert(0, leaf);
        for (place, certificate) in certificates.iter().enumerate() {
            let (own, anchor);
            let (issuer, issuer_der) = match certificates.get(place + 1) {
                Some(issuer) => {
                    own = issuer.der();
                    anchor = webpki::anchor_from_trusted_cert(&own)
                        .map_err(|error| self.refusal(&error, peer, Usage::Server))?;
                    (&anchor, &own)
                }
                None => (path.anchor(), root),
            };
            let link = Link {
                certificate,
                is_leaf: place == 0,
                issuer,
                issuer_der,
            };
            judge(&link, peer)?;
        }
        Ok(())
    }

    /// The root's certificate, if it is one of ours and has not expired.
    fn judge_root(
        &self,
        anchor: &TrustAnchor<'_>,
        peer: &PeerCertificate,
        now: Timestamp,
    ) -> Result<&CertificateDer<'static>, Refusal> {
        let known = self.authorities.anchors.iter().position(|known| known == anchor);
        match known.map(|place| (self.authorities.root_ends[place], &self.authorities.all[place])) {
            Some((end, root)) if now <= end => Ok(root),
            Some((end, _)) => Err(refusal(
                Reason::CertificateExpired,
                format!("the root above {} expired on {}", shown(&peer.subject), day(end)),
            )),
            None => Err(self.untrusted(peer, "which is not one of our authorities")),
        }
    }

    /// One reason per error of webpki.
    fn refusal(&self, error: &webpki::Error, peer: &PeerCertificate, usage: Usage) -> Refusal {
        use webpki::Error;
        match error {
            Error::CertExpired { not_after, .. } => refusal(
                Reason::CertificateExpired,
                format!(
                    "{} expired on {}",
                    whose(peer, *not_after, peer.not_after),
                    day_of(*not_after)
                ),
            ),
            Error::CertNotValidYet { not_before, .. } => refusal(
                Reason::CertificateNotYetValid,
                format!(
                    "{} is not valid before {}",
                    whose(peer, *not_before, peer.not_before),
                    day_of(*not_before)
                ),
            ),
            Error::CertRevoked => refusal(
                Reason::CertificateRevoked,
                format!("certificate of {} is revoked", shown(&peer.subject)),
            ),
            Error::UnknownRevocationStatus | Error::CrlExpired { .. } => refusal(
                Reason::RevocationUnknown,
                format!("cannot say whether {} is revoked", shown(&peer.subject)),
            ),
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => refusal(
                Reason::CertificateUsage,
                format!(
                    "extended key usage of {} does not include {}",
                    shown(&peer.subject),
                    self.usage.expected(usage)
                ),
            ),
            Error::CaUsedAsEndEntity => refusal(
                Reason::CertificateUsage,
                format!("{} is the certificate of an authority", shown(&peer.subject)),
            ),
            Error::InvalidSignatureForPublicKey => {
                self.untrusted(peer, "whose key did not sign it: another authority of that name")
            }
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | Error::SignatureAlgorithmMismatch => {
                self.untrusted(peer, "signed with an algorithm or key size that is not accepted")
            }
            Error::UnknownIssuer => self.untrusted(peer, "which is not one of our authorities"),
            Error::EndEntityUsedAsCa
            | Error::PathLenConstraintViolated
            | Error::NameConstraintViolation
            | Error::MaximumPathDepthExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumSignatureChecksExceeded
            | Error::MaximumNameConstraintComparisonsExceeded
            | Error::CertDistrusted => self.untrusted(peer, "through a chain that breaks its constraints"),
            other => malformed(other),
        }
    }

    fn untrusted(&self, peer: &PeerCertificate, problem: &str) -> Refusal {
        let expected = match self.authorities.issuers.as_slice() {
            [] => &self.authorities.roots,
            _ => &self.authorities.issuers,
        };
        let expected = expected.first().map(shown).unwrap_or_default();
        let text = format!(
            "certificate of {} comes from {}, {problem}; expected issuer {expected}",
            shown(&peer.subject),
            shown(&peer.issuer)
        );
        refusal(Reason::CertificateUntrusted, text)
    }
}

fn authority_name(place: usize, der: &CertificateDer<'_>) -> Result<SubjectDn, TrustStoreError> {
    let parsed = certificate::parse(der).map_err(|problem| unreadable(place, &problem))?;
    let name = certificate::name(parsed.subject(), "subject").map_err(|problem| unreadable(place, &problem))?;
    if parsed.is_ca() {
        Ok(name)
    } else {
        Err(TrustStoreError::NotAnAuthority(name))
    }
}

fn unreadable(place: usize, problem: &dyn std::fmt::Display) -> TrustStoreError {
    TrustStoreError::Unreadable {
        place: place + 1,
        problem: problem.to_string(),
    }
}

pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    // Before 1970 no certificate is valid yet: zero says the same.
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)))
}

/// Certificates beside the leaf: the field sends one.
const SENT_CERTIFICATES_MAX: usize = 9;

#[cfg(test)]
mod examine_tests;
#[cfg(test)]
mod tests;
