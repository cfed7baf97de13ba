//! Revocation: what CRLs and OCSP answers say of a certificate, and what to make of it (OP-6, ECO.1.1.6, ECO.1.1.7).
//!
//! Everything here was verified when it was taken: a CRL against the authority that issued it, an OCSP answer against the issuer of the
//! certificate it speaks of. What no one vouches for is never held.

mod crl;
mod held;
mod ocsp;
mod status;

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{CertificateDer, TrustAnchor};

pub use crl::CrlError;
pub(super) use crl::{Crl, signed_by_authority};
pub(super) use held::Crls;
pub(super) use ocsp::{Asked, read_answer};
pub use ocsp::{OcspError, StatusQuestion};
pub(super) use status::{IssuerId, Known, Statuses};

/// What to make of a certificate when nobody can tell whether it is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingRevocation {
    /// Take it: for a sandbox whose CRL is not there yet.
    Accept,
    /// Refuse it with [`crate::policy::Reason::RevocationUnknown`], a temporary refusal.
    Refuse,
}

/// Who is asked, in which order (ECO.1.1.6). Whatever the order, what any of them says is revoked is revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationMethod {
    /// The CRLs held.
    #[default]
    Crl,
    /// OCSP; authorities, which seldom offer it for their own certificate, may be on a CRL instead.
    Ocsp,
    /// OCSP when no CRL can tell.
    CrlThenOcsp,
    /// A CRL when OCSP cannot tell.
    OcspThenCrl,
}

/// How revocation is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationPolicy {
    /// When nobody can tell, or only something that is too old.
    pub missing: MissingRevocation,
    /// Who is asked.
    pub method: RevocationMethod,
    /// How long after its end the last CRL or OCSP answer still counts, in seconds, when no newer one can be had: a failed download must
    /// not cut the service at once (ECO.1.1.7). What an old CRL revoked stays revoked whatever its age.
    pub expired_crl_seconds_max: u32,
    /// How long an OCSP answer is used before it is asked for again, in seconds, even if it says that it is good for longer.
    pub status_age_seconds_max: u32,
    /// How far a CRL or an OCSP answer may lie in the future, in seconds: clocks differ.
    pub clock_tolerance_seconds: u32,
}

impl Default for RevocationPolicy {
    /// CRLs, refuse when unknown; expired data counts four more hours, which is the tolerance of the field's own products.
    fn default() -> Self {
        Self {
            missing: MissingRevocation::Refuse,
            method: RevocationMethod::Crl,
            expired_crl_seconds_max: FOUR_HOURS,
            status_age_seconds_max: FOUR_HOURS,
            clock_tolerance_seconds: 5 * 60,
        }
    }
}

impl RevocationMethod {
    /// Whether OCSP is asked at all.
    pub fn asks_ocsp(self) -> bool {
        self != Self::Crl
    }

    /// Whether nobody else is asked once a CRL has said that a certificate is good. Of an authority it is enough: its list changes once in
    /// years, and few have a responder for it.
    pub(super) fn stops_at_crl(self, is_leaf: bool) -> bool {
        self == Self::CrlThenOcsp || (self.asks_ocsp() && !is_leaf)
    }

    /// Whether a CRL can say that a certificate is good.
    pub(super) fn trusts_crl(self, is_leaf: bool) -> bool {
        self != Self::Ocsp || !is_leaf
    }
}

impl RevocationPolicy {
    pub(super) fn expired_max(&self) -> SignedDuration {
        seconds(self.expired_crl_seconds_max)
    }

    pub(super) fn age_max(&self) -> SignedDuration {
        seconds(self.status_age_seconds_max)
    }

    pub(super) fn clock_tolerance(&self) -> SignedDuration {
        seconds(self.clock_tolerance_seconds)
    }
}

/// One certificate of a verified path and its issuer.
pub(super) struct Link<'a> {
    pub(super) certificate: &'a webpki::Cert<'a>,
    pub(super) is_leaf: bool,
    pub(super) issuer: &'a TrustAnchor<'a>,
    pub(super) issuer_der: &'a CertificateDer<'a>,
}

/// What is known of a certificate.
#[derive(Debug)]
pub(super) enum Status<'a> {
    /// Revoked since then, by the authority of that name.
    Revoked(Timestamp, String),
    /// Not revoked; where that is known from.
    Good(&'static str),
    /// Nobody can tell; the CRL that could is too old, if there is one.
    Unknown(Option<&'a Crl>),
}

fn seconds(count: u32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(count))
}

/// A moment later, as far as the calendar goes.
fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

const FOUR_HOURS: u32 = 4 * 3600;

#[cfg(test)]
mod ocsp_tests;
#[cfg(test)]
mod tests;
