//! The authority's OCSP responder (RFC 6960, RFC 5019): requests in, answers out, DER both.
//!
//! It answers for both issuers, about as many certificates as one request may hold, from the registry as it is at that moment. One
//! answer has one signer: who asks about certificates of two issuers at once is told `unknown` about those of the second.

use std::sync::{Arc, PoisonError};

use der::asn1::{Any, Null, OctetString};
use der::{Decode, Encode};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::Version;

use super::super::authority::{AuthorityError, date, later, record_of, validity};
use super::super::create::PEM_BYTES_MAX;
use super::super::crl::LATE_BY;
use super::super::issue::{country, random_serial};
use super::super::sign::{self, SealKey};
use super::super::{Authority, Fault, Issuer, OcspSigner, certificate, extension, files};
use super::message::{self, IdHash};
use super::{
    BasicResponse, CertId, CertStatus, OCSP_BASIC, OcspRequest, OcspResponse, ResponderId, ResponseBytes, ResponseData,
    ResponseStatus, RevokedInfo, SingleResponse,
};

/// What goes back to who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OcspReply {
    /// A response, DER.
    Answer {
        /// The response.
        der: Vec<u8>,
        /// How long caches may keep it; none for errors and for answers to one nonce.
        fresh: Option<SignedDuration>,
    },
    /// Nothing: [`Fault::Unreachable`].
    Unreachable,
}

/// Who signs the answers about an issuer's certificates.
pub(in super::super) struct Responder {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// Answers a request. Never fails: what is wrong with a request, or with the responder, is an answer too.
    pub fn ocsp(&self, request: &[u8], now: Timestamp, fault: Option<Fault>) -> OcspReply {
        if fault == Some(Fault::Unreachable) {
            return OcspReply::Unreachable;
        }
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        match self.answer(request, now, fault) {
            Ok((der, fresh)) => OcspReply::Answer { der, fresh },
            Err(status) => OcspReply::Answer {
                der: OcspResponse::failure(status),
                fresh: None,
            },
        }
    }

    fn answer(
        &self,
        request: &[u8],
        now: Timestamp,
        fault: Option<Fault>,
    ) -> Result<(Vec<u8>, Option<SignedDuration>), ResponseStatus> {
        let request = read(request)?;
        let ids: Vec<&CertId> = request
            .tbs_request
            .request_list
            .iter()
            .map(|one| &one.cert_id)
            .collect();
        let issuers: Vec<Option<Issuer>> = ids.iter().map(|id| self.issuer_of(id)).collect();
        // RFC 6960 §2.3: not capable of answering authoritatively about any of them.
        let issuer = issuers.iter().flatten().next().ok_or(ResponseStatus::Unauthorized)?;
        let broken = |error: AuthorityError| {
            tracing::error!(%error, "the OCSP responder cannot answer");
            ResponseStatus::InternalError
        };
        let validity = SignedDuration::try_from(self.options.validity.ocsp).unwrap_or(SignedDuration::MAX);
        let this_update = match fault {
            Some(Fault::Late) => later(now, -LATE_BY - validity).map_err(broken)?,
            _ => now,
        };
        let single = |(id, of): (&&CertId, &Option<Issuer>)| {
            let known = *of == Some(*issuer) && fault != Some(Fault::Unknown);
            Ok(SingleResponse {
                cert_id: (*id).clone(),
                status: if known {
                    self.status(id, *issuer)?
                } else {
                    CertStatus::Unknown(Null)
                },
                this_update: sign::generalized(this_update)?,
                next_update: Some(sign::generalized(later(this_update, validity)?)?),
                single_extensions: None,
            })
        };
        let responses = ids
            .iter()
            .zip(&issuers)
            .map(single)
            .collect::<Result<Vec<_>, AuthorityError>>();
        let nonce = request.nonce();
        let signed = self.sign_answer(*issuer, (responses.map_err(broken)?, nonce), (this_update, fault), now);
        Ok((signed.map_err(broken)?, nonce.is_none().then_some(validity)))
    }

    fn issuer_of(&self, id: &CertId) -> Option<Issuer> {
        let hash = id.hash()?;
        [Issuer::Intermediate, Issuer::Root].into_iter().find(|issuer| {
            let own = CertId::of(hash, self.certificate(*issuer), id.serial_number.as_bytes());
            own.is_ok_and(|own| own.names_same(id))
        })
    }

    fn status(&self, id: &CertId, issuer: Issuer) -> Result<CertStatus, AuthorityError> {
        let record = self.record(&id.serial()).filter(|record| record.issuer == issuer);
        Ok(match record.map(|record| record.revocation) {
            None => CertStatus::Unknown(Null),
            Some(None) => CertStatus::Good(Null),
            Some(Some(revocation)) => CertStatus::Revoked(RevokedInfo {
                revocation_time: sign::generalized(revocation.at)?,
                revocation_reason: Some(revocation.reason.encoded()),
            }),
        })
    }

    fn sign_answer(
        &self,
        issuer: Issuer,
        (responses, nonce): (Vec<SingleResponse>, Option<&[u8]>),
        (produced_at, fault): (Timestamp, Option<Fault>),
        now: Timestamp,
    ) -> Result<Vec<u8>, AuthorityError> {
        let delegated = match (fault, self.options.ocsp_signer) {
            (Some(Fault::WrongSigner), _) => Some(Arc::new(self.impostor(now)?)),
            (_, OcspSigner::Delegated) => Some(self.responder(issuer, now)?),
            (_, OcspSigner::Issuer) => None,
        };
        let (key, certificate) = match &delegated {
            Some(responder) => (&responder.key, &responder.certificate),
            None => (self.signer(issuer).issuer.key(), self.certificate(issuer)),
        };
        let own = sign::decoded(certificate)?;
        let name = own
            .tbs_certificate()
            .subject_public_key_info()
            .subject_public_key
            .raw_bytes();
        let data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(OctetString::new(IdHash::Sha1.digest(name))?),
            produced_at: sign::generalized(produced_at)?,
            responses,
            response_extensions: nonce
                .map(message::nonce_extension)
                .transpose()?
                .map(|extension| vec![extension]),
        };
        // Whoever signs, it is with their own key: an answer of an impostor is wrong because of who it is.
        let seal = SealKey::Right(key);
        let signed = data.to_der()?;
        let basic = BasicResponse {
            tbs_response_data: Any::from_der(&signed)?,
            signature_algorithm: seal.algorithm(),
            signature: seal.sign(&signed, fault)?,
            certs: delegated
                .is_some()
                .then(|| Ok::<_, der::Error>(vec![Any::from_der(certificate)?]))
                .transpose()?,
        };
        let response = OcspResponse {
            status: ResponseStatus::Successful,
            bytes: Some(ResponseBytes {
                response_type: OCSP_BASIC,
                response: OctetString::new(basic.to_der()?)?,
            }),
        };
        Ok(response.to_der()?)
    }

    /// The responder of an issuer: in memory, on disk, or a new one when there is none that lasts.
    fn responder(&self, issuer: Issuer, now: Timestamp) -> Result<Arc<Responder>, AuthorityError> {
        let mut responders = self.responders.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = |responder: &Responder| {
            let read = certificate::read(&responder.certificate);
            let renewed = later(now, RENEW_BEFORE);
            read.is_ok_and(|read| read.not_before <= now && renewed.is_ok_and(|renewed| read.not_after > renewed))
        };
        if let Some(responder) = responders.get(&issuer).filter(|responder| lasts(responder)) {
            return Ok(Arc::clone(responder));
        }
        let path = |ending: &str| self.folder.join(format!("{}.{ending}", file_of(issuer)));
        let found = open(&path("pem"), &path("key")).filter(|found| lasts(found) && self.issued_by(issuer, found));
        let responder = match found {
            Some(found) => found,
            None => {
                let made = self.make_responder(issuer, now)?;
                files::write_private(&path("key"), made.key.serialize_pem().as_bytes())?;
                files::write_public(&path("pem"), certificate::pem(&[made.certificate.clone()]).as_bytes())?;
                made
            }
        };
        let responder = Arc::new(responder);
        responders.insert(issuer, Arc::clone(&responder));
        Ok(responder)
    }

    /// A folder whose creation was interrupted may hold the responder of authorities that are no more.
    fn issued_by(&self, issuer: Issuer, responder: &Responder) -> bool {
        let (Ok(own), Ok(authority)) = (
            sign::decoded(&responder.certificate),
            sign::decoded(self.certificate(issuer)),
        ) else {
            return false;
        };
        let named = own
            .tbs_certificate()
            .get_extension::<x509_cert::ext::pkix::AuthorityKeyIdentifier>();
        let named = named.ok().flatten().and_then(|(_, named)| named.key_identifier);
        named.is_some() && named == sign::key_identifier(&authority).ok().flatten()
    }

    fn make_responder(&self, issuer: Issuer, now: Timestamp) -> Result<Responder, AuthorityError> {
        let key = self.options.key.unwrap_or(self.profiles.responder.key).generate()?;
        let signer = self.signer(issuer);
        let params = self.responder_params(issuer, now)?;
        let certificate = params.signed_by(&key, &signer.issuer)?.der().clone();
        self.registry().add_responder(record_of(&certificate, issuer, None)?)?;
        Ok(Responder { key, certificate })
    }

    /// The same names, and no authority behind them.
    fn impostor(&self, now: Timestamp) -> Result<Responder, AuthorityError> {
        let key = super::super::KeyKind::EcdsaP256.generate()?;
        let params = self.responder_params(Issuer::Intermediate, now)?;
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Responder { key, certificate })
    }

    fn responder_params(&self, issuer: Issuer, now: Timestamp) -> Result<CertificateParams, AuthorityError> {
        let authority = &self.profiles.authority;
        let signer = self.signer(issuer);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CountryName, country(&authority.country)?);
        params
            .distinguished_name
            .push(DnType::OrganizationName, authority.organisation.as_str());
        let name = format!("OCSP {}", signer.section.common_name);
        // RFC 5280 appendix A: at most 64 characters.
        let name: String = name.chars().take(COMMON_NAME_CHARS_MAX).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        let (not_before, not_after) = validity(&self.profiles, self.profiles.responder.validity_days, now)?;
        params.not_before = date(not_before)?;
        params.not_after = date(not_after.min(signer.not_after))?;
        params.serial_number = Some(random_serial()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![extension::no_check()];
        Ok(params)
    }
}

fn read(request: &[u8]) -> Result<OcspRequest, ResponseStatus> {
    if request.len() > REQUEST_BYTES_MAX {
        return Err(ResponseStatus::MalformedRequest);
    }
    let request = OcspRequest::from_der(request).map_err(|_| ResponseStatus::MalformedRequest)?;
    let tbs = &request.tbs_request;
    let count = 1..=CERTIFICATES_MAX;
    let singles = tbs
        .request_list
        .iter()
        .filter_map(|one| one.single_request_extensions.as_ref());
    // RFC 6960 §4.4: a critical extension that is not understood must not be passed over. None is understood as critical.
    let critical = tbs
        .request_extensions
        .iter()
        .chain(singles)
        .flatten()
        .any(|extension| extension.critical);
    // RFC 9654 §2.1: 1 to 128 octets.
    let nonce = request
        .nonce()
        .is_none_or(|nonce| (1..=NONCE_BYTES_MAX).contains(&nonce.len()));
    if tbs.version != Version::V1 || !count.contains(&tbs.request_list.len()) || critical || !nonce {
        return Err(ResponseStatus::MalformedRequest);
    }
    Ok(request)
}

/// Files that are damaged are made again: nobody but this responder needs them.
fn open(certificate: &std::path::Path, key: &std::path::Path) -> Option<Responder> {
    let found = CertificateDer::from_pem_slice(&files::read(certificate, PEM_BYTES_MAX).ok()?).ok()?;
    let key = files::read(key, PEM_BYTES_MAX).ok()?;
    let key = KeyPair::from_pem(std::str::from_utf8(&key).ok()?).ok()?;
    certificate::has_key(&found, &key).then_some(Responder {
        key,
        certificate: found,
    })
}

fn file_of(issuer: Issuer) -> &'static str {
    match issuer {
        Issuer::Root => "root-ocsp",
        Issuer::Intermediate => "intermediate-ocsp",
    }
}

/// A request about 32 certificates with SHA-256 hashes, a nonce and a signature fits.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;
const CERTIFICATES_MAX: usize = 32;
const NONCE_BYTES_MAX: usize = 128;
const COMMON_NAME_CHARS_MAX: usize = 64;
/// A responder is replaced while it is still good.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24);
