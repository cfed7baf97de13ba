//! Certificate revocation lists: taken only when their issuer signed them, then asked about every certificate of a chain.
//!
//! The signature is checked once, when a list is taken, against the certificate of an authority we were given; never against one that
//! a peer sent. A list answers for certificates of that very key, so two authorities with one name do not mix.

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::identity::SubjectDn;

use super::certificate;

/// What to make of a certificate when no usable CRL covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingRevocation {
    /// Take it: for a sandbox whose CRL is not there yet.
    Accept,
    /// Refuse it with [`crate::policy::Reason::RevocationUnknown`], a temporary refusal.
    Refuse,
}

/// How revocation is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationPolicy {
    /// When no CRL covers a certificate, or only one that is too old.
    pub missing: MissingRevocation,
    /// How long after its `nextUpdate` the last CRL still counts, in seconds: a failed download must not cut the service at once
    /// (ECO.1.1.7). What an old CRL revoked stays revoked whatever its age.
    pub expired_crl_seconds_max: u32,
}

impl Default for RevocationPolicy {
    /// Refuse when unknown; an expired CRL counts four more hours, which is the tolerance of the field's own products.
    fn default() -> Self {
        Self {
            missing: MissingRevocation::Refuse,
            expired_crl_seconds_max: 4 * 3600,
        }
    }
}

/// Why a CRL was not taken. The one held before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not a CRL, or one with features that nobody here understands (delta, indirect, by reason).
    #[error("not a complete CRL: {0}")]
    Unreadable(String),
    /// None of our authorities has this name.
    #[error("CRL of {0}, which is not one of the configured authorities")]
    UnknownIssuer(SubjectDn),
    /// An authority has this name, but did not sign it or may not.
    #[error("CRL of {0} is not signed by that authority")]
    BadSignature(SubjectDn),
    /// A newer one is held.
    #[error("CRL of {issuer} made on {offered} is older than the one held, made on {held}")]
    Older {
        /// Whose.
        issuer: SubjectDn,
        /// `thisUpdate` of the one offered.
        offered: Timestamp,
        /// `thisUpdate` of the one held.
        held: Timestamp,
    },
}

/// A CRL whose signature was verified.
#[derive(Debug)]
pub(super) struct Crl {
    list: CertRevocationList<'static>,
    issuer_name: Vec<u8>,
    issuer_key: Vec<u8>,
    pub(super) issuer: SubjectDn,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    scope: Scope,
}

/// Which certificates of its issuer a CRL answers for (RFC 5280 §5.2.5).
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    kind: ScopeKind,
    /// URLs; empty for no restriction.
    points: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum ScopeKind {
    All,
    EndEntities,
    Authorities,
}

/// What a CRL says of a certificate.
#[derive(Debug)]
pub(super) enum Status<'a> {
    /// On the list since then.
    Revoked(Timestamp, &'a Crl),
    /// Not on a list that is recent enough.
    Good,
    /// No list, or the last one is too old.
    Unknown(Option<&'a Crl>),
}

impl Crl {
    pub(super) fn read(der: &[u8], authorities: &[CertificateDer<'static>]) -> Result<Self, CrlError> {
        let unreadable = |error: &dyn std::fmt::Display| CrlError::Unreadable(error.to_string());
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
        let issuer = certificate::name(parsed.issuer(), "issuer").map_err(|error| unreadable(&error))?;
        let date = |time| certificate::timestamp(time).map_err(|error| unreadable(&error));
        let next_update = parsed.next_update().ok_or_else(|| unreadable(&"no nextUpdate"))?;
        let signer = signer_of(&parsed, &issuer, authorities)?;
        let anchor = webpki::anchor_from_trusted_cert(signer).map_err(|error| unreadable(&error))?;
        Ok(Self {
            issuer_name: anchor.subject.as_ref().to_vec(),
            issuer_key: anchor.subject_public_key_info.as_ref().to_vec(),
            this_update: date(parsed.last_update())?,
            next_update: date(next_update)?,
            scope: scope_of(&parsed)?,
            list: CertRevocationList::Owned(list),
            issuer,
        })
    }

    /// Whether both answer for the same certificates.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        self.issuer_name == other.issuer_name && self.issuer_key == other.issuer_key && self.scope == other.scope
    }

    fn covers(&self, certificate: &webpki::Cert<'_>, issuer: &TrustAnchor<'_>, is_leaf: bool) -> bool {
        let own =
            self.issuer_name == issuer.subject.as_ref() && self.issuer_key == issuer.subject_public_key_info.as_ref();
        let kind = match self.scope.kind {
            ScopeKind::All => true,
            ScopeKind::EndEntities => is_leaf,
            ScopeKind::Authorities => !is_leaf,
        };
        own && kind && (self.scope.points.is_empty() || names_one_of(&certificate.der(), &self.scope.points))
    }
}

/// What the lists say of a certificate signed by `issuer`.
pub(super) fn status<'a>(
    crls: impl IntoIterator<Item = &'a Crl>,
    (certificate, is_leaf): (&webpki::Cert<'_>, bool),
    issuer: &TrustAnchor<'_>,
    (policy, now): (&RevocationPolicy, Timestamp),
) -> Status<'a> {
    let mut status = Status::Unknown(None);
    for crl in crls.into_iter().filter(|crl| crl.covers(certificate, issuer, is_leaf)) {
        match crl.list.find_serial(certificate.serial()) {
            Ok(Some(entry)) => {
                let since = i64::try_from(entry.revocation_date.as_secs()).unwrap_or(i64::MAX);
                return Status::Revoked(Timestamp::from_second(since).unwrap_or(Timestamp::MAX), crl);
            }
            // Lists are read whole when they are taken, so an error cannot happen; unknown is the safe answer.
            Err(_) => return Status::Unknown(Some(crl)),
            Ok(None) => {}
        }
        let tolerance = SignedDuration::from_secs(i64::from(policy.expired_crl_seconds_max));
        let recent = crl.next_update.duration_until(now) <= tolerance;
        status = match status {
            Status::Good => Status::Good,
            _ if recent => Status::Good,
            _ => Status::Unknown(Some(crl)),
        };
    }
    status
}

/// The authority of that name whose key verifies the list (RFC 5280 §6.3.3 f, g).
fn signer_of<'c>(
    crl: &CertificateRevocationList<'_>,
    issuer: &SubjectDn,
    authorities: &'c [CertificateDer<'static>],
) -> Result<&'c CertificateDer<'static>, CrlError> {
    let mut named = false;
    for der in authorities {
        let Ok(authority) = certificate::parse(der) else {
            continue;
        };
        if authority.subject().as_raw() != crl.issuer().as_raw() {
            continue;
        }
        named = true;
        if may_sign_crls(&authority) && signed(crl, der) {
            return Ok(der);
        }
    }
    Err(if named {
        CrlError::BadSignature(issuer.clone())
    } else {
        CrlError::UnknownIssuer(issuer.clone())
    })
}

fn may_sign_crls(authority: &X509Certificate<'_>) -> bool {
    match authority.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
        Err(_) => false,
    }
}

fn signed(crl: &CertificateRevocationList<'_>, authority: &CertificateDer<'_>) -> bool {
    let Ok(authority) = EndEntityCert::try_from(authority) else {
        return false;
    };
    let signature = crl.signature_value.data.as_ref();
    // Any accepted algorithm that fits the key: a signature that verifies is a signature.
    let verifies = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
        authority
            .verify_signature(*algorithm, crl.tbs_cert_list.as_ref(), signature)
            .is_ok()
    };
    webpki::ALL_VERIFICATION_ALGS.iter().any(verifies)
}

fn scope_of(crl: &CertificateRevocationList<'_>) -> Result<Scope, CrlError> {
    let point = crl
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(point) => Some(point),
            _ => None,
        });
    let Some(point) = point else {
        return Ok(Scope {
            kind: ScopeKind::All,
            points: Vec::new(),
        });
    };
    let kind = match (point.only_contains_user_certs, point.only_contains_ca_certs) {
        (false, false) => ScopeKind::All,
        (true, false) => ScopeKind::EndEntities,
        (false, true) => ScopeKind::Authorities,
        (true, true) => return Err(CrlError::Unreadable("its scope is empty".to_owned())),
    };
    let points = match &point.distribution_point {
        None => Vec::new(),
        Some(DistributionPointName::FullName(names)) => urls(names),
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => {
            return Err(CrlError::Unreadable(
                "its distribution point is a relative name".to_owned(),
            ));
        }
    };
    Ok(Scope { kind, points })
}

fn urls(names: &[GeneralName<'_>]) -> Vec<String> {
    let url = |name: &GeneralName<'_>| match name {
        GeneralName::URI(url) => Some((*url).to_owned()),
        _ => None,
    };
    names.iter().filter_map(url).collect()
}

/// RFC 5280 §6.3.3 b 2 i: one distribution point of the certificate is one of the list's.
fn names_one_of(der: &CertificateDer<'_>, points: &[String]) -> bool {
    let Ok(certificate) = certificate::parse(der) else {
        return false;
    };
    certificate.extensions().iter().any(|extension| {
        let ParsedExtension::CRLDistributionPoints(own) = extension.parsed_extension() else {
            return false;
        };
        own.points.iter().any(|point| match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => urls(names).iter().any(|url| points.contains(url)),
            _ => false,
        })
    })
}
