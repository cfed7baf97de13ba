//! Judges an OCSP answer (RFC 6960 §3.2): it is believed only when the issuer of the certificate signed it, or a responder to whom that
//! very issuer gave the right to; when it speaks of this certificate, now, and of our question.

use aws_lc_rs::rand;
use der::{Decode, Encode};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;

use super::{IssuerId, Known, RevocationPolicy, later, signed_by_authority};
use crate::pki::certificate::{self, MaySign};
use crate::pki::ocsp::{
    BasicResponse, CertId, CertStatus, IdHash, OCSP_NO_CHECK, OCSP_NONCE, OcspRequest, OcspResponse, ResponseData,
    ResponseStatus, SingleResponse, moment,
};

/// Why an OCSP answer is not believed. What was known before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not an OCSP response.
    #[error("not an OCSP answer: {0}")]
    Unreadable(String),
    /// Larger than any honest answer.
    #[error("an OCSP answer of {0} bytes is not read")]
    TooLarge(usize),
    /// The responder says that it does not answer; nobody signs that.
    #[error("the responder does not answer: {0:?}")]
    NoAnswer(ResponseStatus),
    /// Neither the issuer nor a responder of the issuer signed it.
    #[error(
        "the OCSP answer is not signed by the issuer of the certificate, nor by a responder that this issuer authorised"
    )]
    BadSignature,
    /// The responder's own certificate is revoked.
    #[error("the certificate of the OCSP responder is revoked")]
    ResponderRevoked,
    /// It does not speak of the certificate.
    #[error("the OCSP answer speaks of another certificate")]
    OtherCertificate,
    /// It answers another question.
    #[error("the OCSP answer repeats another nonce: it was given to another question")]
    OtherQuestion,
    /// It is too old.
    #[error("the OCSP answer is too old: it was good until {0}")]
    TooOld(Timestamp),
    /// It is from the future.
    #[error("the OCSP answer is from {0}, which is not yet")]
    NotYet(Timestamp),
    /// The responder does not know the certificate.
    #[error("the OCSP responder does not know this certificate")]
    UnknownCertificate,
}

/// A question to a responder about one certificate of a chain that is verified.
#[derive(Clone, Debug)]
pub struct StatusQuestion {
    /// Its issuer, DER.
    pub(in crate::pki) issuer: CertificateDer<'static>,
    pub(in crate::pki) issuer_id: IssuerId,
    pub(in crate::pki) serial: Vec<u8>,
    pub(in crate::pki) nonce: Vec<u8>,
    /// Responders that the certificate names.
    pub urls: Vec<String>,
    /// The request, DER: `application/ocsp-request`.
    pub request: Vec<u8>,
}

impl StatusQuestion {
    /// A question with a nonce of its own; none when there is no randomness or the issuer cannot be read.
    pub(in crate::pki) fn about(
        issuer: &CertificateDer<'_>,
        issuer_id: IssuerId,
        serial: &[u8],
        urls: Vec<String>,
    ) -> Option<Self> {
        let mut nonce = vec![0; NONCE_BYTES];
        rand::fill(&mut nonce).ok()?;
        // SHA-1 here names, it proves nothing; every responder understands it.
        let id = CertId::of(IdHash::Sha1, issuer, serial).ok()?;
        let request = OcspRequest::about(vec![id], Some(&nonce)).ok()?.to_der().ok()?;
        Some(Self {
            issuer: issuer.clone().into_owned(),
            issuer_id,
            serial: serial.to_vec(),
            nonce,
            urls,
            request,
        })
    }

    /// Names the certificate, for logs and for asking once when many want to know.
    pub fn key(&self) -> String {
        certificate::hex(&[self.issuer_id.bytes(), &self.serial].concat())
    }

    /// Serial number of the certificate, lower-case hexadecimal.
    pub fn serial(&self) -> String {
        certificate::hex(&self.serial)
    }
}

/// What an answer has to be about.
pub(in crate::pki) struct Asked<'a> {
    pub(in crate::pki) issuer: &'a CertificateDer<'a>,
    pub(in crate::pki) serial: &'a [u8],
    /// None for an answer that nobody asked for: stapled to a handshake.
    pub(in crate::pki) nonce: Option<&'a [u8]>,
    /// Whether the issuer has revoked the certificate of a responder, by serial number.
    pub(in crate::pki) is_revoked: &'a dyn Fn(&CertificateDer<'_>) -> bool,
}

/// What the answer says, if it is to be believed.
pub(in crate::pki) fn read_answer(
    answer: &[u8],
    asked: &Asked<'_>,
    (policy, now): (&RevocationPolicy, Timestamp),
) -> Result<Known, OcspError> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(OcspError::TooLarge(answer.len()));
    }
    let response = OcspResponse::from_der(answer).map_err(unreadable)?;
    if response.status != ResponseStatus::Successful {
        return Err(OcspError::NoAnswer(response.status));
    }
    let basic = response
        .basic()
        .ok_or_else(|| OcspError::Unreadable("it holds no basic response".to_owned()))?
        .map_err(unreadable)?;
    verify_signature(&basic, asked, now)?;
    let data = basic.data().map_err(unreadable)?;
    check_nonce(&data, asked)?;
    let single = find(&data, asked)?;
    known(single, policy, now)
}

/// RFC 6960 §4.2.2.2: the issuer itself, or the holder of a certificate with id-kp-OCSPSigning that the issuer signed directly.
fn verify_signature(basic: &BasicResponse, asked: &Asked<'_>, now: Timestamp) -> Result<(), OcspError> {
    let signed = basic.signed().map_err(unreadable)?;
    let signature = basic
        .signature
        .as_bytes()
        .ok_or_else(|| OcspError::Unreadable("its signature is not whole octets".to_owned()))?;
    if signed_by_authority(asked.issuer, &signed, signature) {
        return Ok(());
    }
    let sent = basic.certificates().map_err(unreadable)?;
    for der in sent.into_iter().take(CERTIFICATES_MAX).map(CertificateDer::from) {
        if signed_by_authority(&der, &signed, signature) && may_answer(&der, asked.issuer, now) {
            // Without id-pkix-ocsp-nocheck its own revocation counts; with it, the issuer promised to keep it short-lived. What the
            // CRL at hand says counts in both cases.
            return if (asked.is_revoked)(&der) {
                Err(OcspError::ResponderRevoked)
            } else {
                Ok(())
            };
        }
    }
    Err(OcspError::BadSignature)
}

fn may_answer(responder: &CertificateDer<'_>, issuer: &CertificateDer<'_>, now: Timestamp) -> bool {
    let (Ok(certificate), Ok(authority)) = (certificate::parse(responder), certificate::parse(issuer)) else {
        return false;
    };
    let Ok(read) = certificate::read(responder) else {
        return false;
    };
    let states_purpose = certificate.extensions().iter().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::ExtendedKeyUsage(usage) if usage.ocsp_signing)
    });
    let understood = certificate.extensions().iter().all(|extension| {
        !extension.critical
            || !extension.parsed_extension().unsupported()
            || extension.oid.to_id_string() == OCSP_NO_CHECK.to_string()
    });
    states_purpose
        && understood
        && read.may_sign == MaySign::Handshakes
        && (read.not_before..=read.not_after).contains(&now)
        && certificate.issuer().as_raw() == authority.subject().as_raw()
        && signed_by_authority(
            issuer,
            certificate.tbs_certificate.as_ref(),
            certificate.signature_value.data.as_ref(),
        )
}

/// An answer made in advance has no nonce, which its dates make up for; another nonce than ours is a replay.
fn check_nonce(data: &ResponseData, asked: &Asked<'_>) -> Result<(), OcspError> {
    let mut extensions = data.response_extensions.iter().flatten();
    if let Some(unknown) = extensions.find(|extension| extension.critical && extension.extn_id != OCSP_NONCE) {
        let text = format!("critical extension {} is not understood", unknown.extn_id);
        return Err(OcspError::Unreadable(text));
    }
    match (asked.nonce, data.nonce()) {
        (Some(sent), Some(received)) if sent != received => Err(OcspError::OtherQuestion),
        _ => Ok(()),
    }
}

fn find<'d>(data: &'d ResponseData, asked: &Asked<'_>) -> Result<&'d SingleResponse, OcspError> {
    for single in data.responses.iter().take(RESPONSES_MAX) {
        let Some(hash) = single.cert_id.hash() else { continue };
        let own = CertId::of(hash, asked.issuer, asked.serial).map_err(unreadable)?;
        if single.cert_id.names_same(&own) {
            return Ok(single);
        }
    }
    Err(OcspError::OtherCertificate)
}

fn known(single: &SingleResponse, policy: &RevocationPolicy, now: Timestamp) -> Result<Known, OcspError> {
    let this_update = moment(&single.this_update);
    if this_update > later(now, policy.clock_tolerance()) {
        return Err(OcspError::NotYet(this_update));
    }
    let end = match &single.next_update {
        Some(next) => moment(next),
        // RFC 6960 §4.2.2.1: newer information is always at hand; so it is good for as long as we would use one.
        None => later(this_update, policy.age_max()),
    };
    if later(end, policy.clock_tolerance()) < now {
        return Err(OcspError::TooOld(end));
    }
    let revoked = match &single.status {
        CertStatus::Good(_) => None,
        CertStatus::Revoked(info) => Some(moment(&info.revocation_time)),
        CertStatus::Unknown(_) => return Err(OcspError::UnknownCertificate),
    };
    let fresh_until = end.min(later(now, policy.age_max()));
    Ok(Known {
        revoked,
        this_update,
        fresh_until,
        usable_until: later(fresh_until, policy.expired_max()),
    })
}

fn unreadable(error: der::Error) -> OcspError {
    OcspError::Unreadable(error.to_string())
}

/// RFC 9654 §2.1 asks for 32.
const NONCE_BYTES: usize = 32;
/// An answer about one certificate with two certificates beside it takes some 4 kB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Certificates in an answer that are looked at.
const CERTIFICATES_MAX: usize = 8;
/// Single responses that are looked at: RFC 5019 §2.2.1 has one.
const RESPONSES_MAX: usize = 64;
