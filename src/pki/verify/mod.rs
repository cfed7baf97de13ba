//! Judges a peer's certificate chain: authority, dates, usage, revocation (OP-6). Every refusal has its reason and says what to look at.

mod examine;
mod issuers;
mod usage;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, VerifiedPath};

use crate::identity::SubjectDn;
use crate::policy::{Reason, Refusal};

use super::certificate::{self, PeerCertificate};
use super::revocation::{Crl, CrlError, MissingRevocation, RevocationPolicy, Status, status};

pub use examine::{Check, CheckId, Examination, Outcome};
use usage::Purposes;
pub use usage::{Usage, UsageCheck};

/// The authorities we were given, the CRLs they signed, and the rules. Immutable and cheap to clone: a session keeps one, a new CRL
/// makes another (invariant 4).
///
/// When intermediates are given, only they may issue: what a peer sends beside its certificate is ignored, and a certificate issued by
/// the root itself is refused (ECO.1.1.10: the range "Élémentaire Organisations" only). Without them, the peer's are used.
#[derive(Clone, Debug)]
pub struct TrustStore {
    authorities: Arc<Authorities>,
    crls: Vec<Arc<Crl>>,
    revocation: RevocationPolicy,
    usage: UsageCheck,
}

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
            crls: Vec::new(),
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

    /// The same store with one more CRL (DER), which replaces the older one of the same issuer. On an error nothing changes.
    pub fn with_crl(&self, der: &[u8]) -> Result<Self, CrlError> {
        let crl = Crl::read(der, &self.authorities.all)?;
        let mut store = self.clone();
        match store.crls.iter_mut().find(|held| crl.replaces(held)) {
            Some(held) if held.this_update > crl.this_update => {
                return Err(CrlError::Older {
                    offered: crl.this_update,
                    held: held.this_update,
                    issuer: crl.issuer,
                });
            }
            Some(held) => *held = Arc::new(crl),
            None => store.crls.push(Arc::new(crl)),
        }
        Ok(store)
    }

    /// When the first of the CRLs held expires; none without CRL.
    pub fn next_crl_update(&self) -> Option<Timestamp> {
        self.crls.iter().map(|crl| crl.next_update).min()
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
        let judge = |path: &VerifiedPath<'_>| {
            self.judge_path(path, &peer, now).map_err(|refusal| {
                said.replace(Some(refusal));
                // The variant only has to be an error; what was said is in `said`.
                webpki::Error::CertRevoked
            })
        };
        let verified = entity.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &self.authorities.anchors,
            intermediates,
            unix_time(now),
            Purposes::of(usage, self.usage),
            None,
            Some(&judge),
        );
        match verified.map(|_| ()) {
            Ok(()) if peer.may_sign_handshakes && usage != Usage::ListSigner => Ok(peer),
            Ok(()) if peer.may_sign_documents && usage == Usage::ListSigner => Ok(peer),
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
    fn judge_path(&self, path: &VerifiedPath<'_>, peer: &PeerCertificate, now: Timestamp) -> Result<(), Refusal> {
        let mut authorities: Vec<&webpki::Cert<'_>> = path.intermediate_certificates().collect();
        if authorities.is_empty() && !self.authorities.intermediates.is_empty() {
            return Err(self.untrusted(peer, "issued by the root itself"));
        }
        self.judge_root(path.anchor(), peer, now)?;
        self.judge_issuers(path, peer)?;
        let leaf: &webpki::Cert<'_> = path.end_entity();
        authorities.insert(0, leaf);
        for (place, certificate) in authorities.iter().enumerate() {
            let own;
            let issuer = match authorities.get(place + 1) {
                Some(issuer) => {
                    own = issuer.der();
                    &webpki::anchor_from_trusted_cert(&own)
                        .map_err(|error| self.refusal(&error, peer, Usage::Server))?
                }
                None => path.anchor(),
            };
            self.judge_revocation((certificate, place == 0), issuer, peer, now)?;
        }
        Ok(())
    }

    fn judge_root(&self, anchor: &TrustAnchor<'_>, peer: &PeerCertificate, now: Timestamp) -> Result<(), Refusal> {
        let known = self.authorities.anchors.iter().position(|known| known == anchor);
        match known.map(|place| self.authorities.root_ends[place]) {
            Some(end) if now <= end => Ok(()),
            Some(end) => Err(refusal(
                Reason::CertificateExpired,
                format!("the root above {} expired on {}", shown(&peer.subject), day(end)),
            )),
            None => Err(self.untrusted(peer, "which is not one of our authorities")),
        }
    }

    fn judge_revocation(
        &self,
        (certificate, is_leaf): (&webpki::Cert<'_>, bool),
        issuer: &TrustAnchor<'_>,
        peer: &PeerCertificate,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let crls = self.crls.iter().map(Arc::as_ref);
        let serial = certificate::hex(certificate.serial());
        let whose = if is_leaf {
            shown(&peer.subject)
        } else {
            format!("the authority that issued {}", shown(&peer.subject))
        };
        match status(crls, (certificate, is_leaf), issuer, (&self.revocation, now)) {
            Status::Good => Ok(()),
            Status::Revoked(since, crl) => Err(refusal(
                Reason::CertificateRevoked,
                format!(
                    "certificate of {whose} (serial {serial}) was revoked on {} by {}",
                    day(since),
                    shown(&crl.issuer)
                ),
            )),
            Status::Unknown(_) if self.revocation.missing == MissingRevocation::Accept => Ok(()),
            Status::Unknown(Some(crl)) => Err(refusal(
                Reason::RevocationUnknown,
                format!(
                    "last CRL of {} expired on {}, cannot say whether {whose} is revoked",
                    shown(&crl.issuer),
                    day(crl.next_update)
                ),
            )),
            Status::Unknown(None) => Err(refusal(
                Reason::RevocationUnknown,
                format!("no CRL at hand says whether {whose} (serial {serial}) is revoked"),
            )),
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

fn malformed(problem: &dyn std::fmt::Display) -> Refusal {
    refusal(
        Reason::CertificateMalformed,
        format!("the certificate cannot be read: {problem}"),
    )
}

/// A refusal whose line fits an SMTP reply with its code, status, reason and session id around it.
fn refusal(reason: Reason, text: String) -> Refusal {
    let mut refusal = Refusal::new(reason, text);
    // ASCII by construction, so any index is a character boundary.
    refusal.text.truncate(TEXT_BYTES_MAX);
    refusal
}

/// The leaf when the date is its own, else an authority above it.
fn whose(peer: &PeerCertificate, date: UnixTime, own: Timestamp) -> String {
    if i64::try_from(date.as_secs()) == Ok(own.as_second()) {
        format!("certificate of {}", shown(&peer.subject))
    } else {
        format!("an authority above {}", shown(&peer.subject))
    }
}

/// A name in a message, cut so that two of them fit the line.
fn shown(name: &SubjectDn) -> String {
    let mut text = name.to_ascii();
    text.truncate(NAME_BYTES_MAX);
    text
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn day_of(at: UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    day(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    // Before 1970 no certificate is valid yet: zero says the same.
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)))
}

/// Certificates beside the leaf: the field sends one.
const SENT_CERTIFICATES_MAX: usize = 9;
/// RFC 5321 §4.5.3.1.5 allows 512 octets with code and CRLF.
const TEXT_BYTES_MAX: usize = 400;
/// The field's names take about 130.
const NAME_BYTES_MAX: usize = 150;

#[cfg(test)]
mod examine_tests;
#[cfg(test)]
mod tests;
