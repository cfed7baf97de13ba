//! Certificate revocation lists, complete and delta: taken only when their issuer signed them.
//!
//! The signature is checked once, when a list is taken, against the certificate of an authority we were given; never against one that
//! a peer sent. A list answers for certificates of that very key, so two authorities with one name do not mix. Serial numbers are
//! hashed once, so that a look-up costs the same in a list of ten and of a million.

use std::collections::HashMap;

use der::Decode;
use der::asn1::UintRef;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use webpki::{EndEntityCert, OwnedCertRevocationList};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::x509::ReasonCode;

use super::Link;
use crate::identity::SubjectDn;
use crate::pki::certificate;

/// Why a CRL was not taken. The one held before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not a CRL, or one with features that nobody here understands (indirect, by reason).
    #[error("not a CRL that can be used: {0}")]
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
        /// When the offered one was made.
        offered: Timestamp,
        /// When the one held was made.
        held: Timestamp,
        /// Whose they are.
        issuer: SubjectDn,
    },
    /// A delta without the list it brings up to date.
    #[error("delta CRL of {0}, whose complete CRL is not held")]
    NoBase(SubjectDn),
    /// A delta to another list than the one held (RFC 5280 §5.2.4).
    #[error("delta CRL of {0} does not continue the complete CRL held")]
    OtherBase(SubjectDn),
}

/// A CRL whose signature was found good.
#[derive(Debug)]
pub(in crate::pki) struct Crl {
    entries: HashMap<Box<[u8]>, Entry>,
    pub(in crate::pki) issuer_name: Vec<u8>,
    pub(in crate::pki) issuer_key: Vec<u8>,
    pub(in crate::pki) issuer: SubjectDn,
    pub(in crate::pki) this_update: Timestamp,
    pub(in crate::pki) next_update: Timestamp,
    scope: Scope,
    number: Option<Number>,
    /// The list that a delta starts from; none for a complete list.
    base: Option<Number>,
}

/// What a list says of one serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Revoked since then.
    Revoked(Timestamp),
    /// On a delta: no longer revoked.
    Removed,
}

/// A CRL number: up to 20 octets (RFC 5280 §5.2.3), compared as the number it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number {
    length: usize,
    digits: Vec<u8>,
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

impl Crl {
    /// Reads a list and verifies its signature.
    pub(in crate::pki) fn read(der: &[u8], authorities: &[CertificateDer<'static>]) -> Result<Self, CrlError> {
        let unreadable = |error: &dyn std::fmt::Display| CrlError::Unreadable(error.to_string());
        let parsed = match CertificateRevocationList::from_der(der) {
            Ok(([], parsed)) => parsed,
            Ok((rest, _)) => return Err(unreadable(&format!("{} bytes follow it", rest.len()))),
            Err(error) => return Err(unreadable(&error)),
        };
        let base = number(&parsed, DELTA_INDICATOR)?;
        if base.is_none() {
            // What a complete list must be like is checked by the library of the handshakes.
            OwnedCertRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
        }
        check_critical(parsed.extensions(), KNOWN_EXTENSIONS)?;
        let issuer = certificate::name(parsed.issuer(), "issuer").map_err(|error| unreadable(&error))?;
        let date = |time| certificate::timestamp(time).map_err(|error| unreadable(&error));
        let next_update = parsed.next_update().ok_or_else(|| unreadable(&"no nextUpdate"))?;
        let signer = signer_of(&parsed, &issuer, authorities)?;
        let anchor = webpki::anchor_from_trusted_cert(signer).map_err(|error| unreadable(&error))?;
        let mut entries = HashMap::with_capacity(parsed.tbs_cert_list.revoked_certificates.len());
        for revoked in parsed.iter_revoked_certificates() {
            entries.insert(revoked.raw_serial().into(), entry(revoked, base.is_some())?);
        }
        Ok(Self {
            entries,
            issuer_name: anchor.subject.as_ref().to_vec(),
            issuer_key: anchor.subject_public_key_info.as_ref().to_vec(),
            this_update: date(parsed.last_update())?,
            next_update: date(next_update)?,
            scope: scope_of(&parsed)?,
            number: number(&parsed, CRL_NUMBER)?,
            base,
            issuer,
        })
    }

    /// Whether it only says what changed since a complete list.
    pub(in crate::pki) fn is_delta(&self) -> bool {
        self.base.is_some()
    }

    /// Whether both answer for the same certificates.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        self.issuer_name == other.issuer_name && self.issuer_key == other.issuer_key && self.scope == other.scope
    }

    /// RFC 5280 §5.2.4 b, c: a delta continues a complete list that is at least its base, and older than itself.
    pub(super) fn updates(&self, complete: &Self) -> bool {
        let (Some(base), Some(own), Some(held)) = (&self.base, &self.number, &complete.number) else {
            return false;
        };
        self.replaces(complete) && held >= base && held < own
    }

    /// Whether the complete list already says what this delta does: authorities publish both at once under one number.
    pub(super) fn adds_nothing_to(&self, complete: &Self) -> bool {
        match (&self.number, &complete.number) {
            (Some(own), Some(held)) => own <= held,
            _ => false,
        }
    }

    /// What it says of a serial number.
    pub(super) fn entry(&self, serial: &[u8]) -> Option<Entry> {
        self.entries.get(serial).copied()
    }

    /// Whether it answers for a certificate.
    pub(super) fn covers(&self, link: &Link<'_>) -> bool {
        let issuer = link.issuer;
        let own =
            self.issuer_name == issuer.subject.as_ref() && self.issuer_key == issuer.subject_public_key_info.as_ref();
        let kind = match self.scope.kind {
            ScopeKind::All => true,
            ScopeKind::EndEntities => link.is_leaf,
            ScopeKind::Authorities => !link.is_leaf,
        };
        own && kind && (self.scope.points.is_empty() || names_one_of(&link.certificate.der(), &self.scope.points))
    }
}

fn entry(revoked: &RevokedCertificate<'_>, is_delta: bool) -> Result<Entry, CrlError> {
    check_critical(revoked.extensions(), &[REASON])?;
    if revoked
        .reason_code()
        .is_some_and(|(_, reason)| reason == ReasonCode::RemoveFromCRL)
    {
        if is_delta {
            return Ok(Entry::Removed);
        }
        return Err(CrlError::Unreadable(
            "a complete list takes a certificate off".to_owned(),
        ));
    }
    let since =
        certificate::timestamp(revoked.revocation_date).map_err(|error| CrlError::Unreadable(error.to_string()))?;
    Ok(Entry::Revoked(since))
}

/// RFC 5280 §5.2: a list with a critical extension that is not understood must not be used.
fn check_critical(extensions: &[X509Extension<'_>], known: &[&str]) -> Result<(), CrlError> {
    for extension in extensions.iter().filter(|extension| extension.critical) {
        let oid = extension.oid.to_id_string();
        if !known.contains(&oid.as_str()) {
            return Err(CrlError::Unreadable(format!(
                "critical extension {oid} is not understood"
            )));
        }
    }
    Ok(())
}

fn number(crl: &CertificateRevocationList<'_>, oid: &str) -> Result<Option<Number>, CrlError> {
    let Some(extension) = crl
        .extensions()
        .iter()
        .find(|extension| extension.oid.to_id_string() == oid)
    else {
        return Ok(None);
    };
    let number = UintRef::from_der(extension.value);
    let number = number.map_err(|error| CrlError::Unreadable(format!("extension {oid}: {error}")))?;
    let digits: Vec<u8> = number
        .as_bytes()
        .iter()
        .copied()
        .skip_while(|digit| *digit == 0)
        .collect();
    Ok(Some(Number {
        length: digits.len(),
        digits,
    }))
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
        let (message, signature) = (crl.tbs_cert_list.as_ref(), crl.signature_value.data.as_ref());
        if may_sign_crls(&authority) && signed_by_authority(der, message, signature) {
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

/// Whether the key of `authority` made the signature, with any accepted algorithm that fits the key: a signature that verifies is a
/// signature.
pub(in crate::pki) fn signed_by_authority(authority: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    let Ok(authority) = EndEntityCert::try_from(authority) else {
        return false;
    };
    webpki::ALL_VERIFICATION_ALGS
        .iter()
        .any(|algorithm| authority.verify_signature(*algorithm, message, signature).is_ok())
}

fn scope_of(crl: &CertificateRevocationList<'_>) -> Result<Scope, CrlError> {
    let unreadable = |problem: &str| Err(CrlError::Unreadable(problem.to_owned()));
    let oid_is = |extension: &&X509Extension<'_>| extension.oid.to_id_string() == ISSUING_POINT;
    let point = match crl
        .extensions()
        .iter()
        .find(oid_is)
        .map(X509Extension::parsed_extension)
    {
        None => {
            return Ok(Scope {
                kind: ScopeKind::All,
                points: Vec::new(),
            });
        }
        Some(ParsedExtension::IssuingDistributionPoint(point)) => point,
        Some(_) => return unreadable("its scope cannot be read"),
    };
    if point.indirect_crl || point.only_some_reasons.is_some() || point.only_contains_attribute_certs {
        return unreadable("it is indirect, for some reasons only or for attribute certificates");
    }
    let kind = match (point.only_contains_user_certs, point.only_contains_ca_certs) {
        (false, false) => ScopeKind::All,
        (true, false) => ScopeKind::EndEntities,
        (false, true) => ScopeKind::Authorities,
        (true, true) => return unreadable("its scope is empty"),
    };
    let points = match &point.distribution_point {
        None => Vec::new(),
        Some(DistributionPointName::FullName(names)) => urls(names),
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => {
            return unreadable("its distribution point is a relative name");
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

const CRL_NUMBER: &str = "2.5.29.20";
const REASON: &str = "2.5.29.21";
const DELTA_INDICATOR: &str = "2.5.29.27";
const ISSUING_POINT: &str = "2.5.29.28";
/// Those above, authority key identifier and freshest CRL.
const KNOWN_EXTENSIONS: &[&str] = &[CRL_NUMBER, DELTA_INDICATOR, ISSUING_POINT, "2.5.29.35", "2.5.29.46"];
