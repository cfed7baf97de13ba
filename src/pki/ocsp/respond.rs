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
        let responder = if let Some(found) = found {
            found
        } else {
            let made = self.make_responder(issuer, now)?;
            files::write_private(&path("key"), made.key.serialize_pem().as_bytes())?;
            files::write_public(
                &path("pem"),
                certificate::pem(std::slice::from_ref(&made.certificate)).as_bytes(),
            )?;
            made
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
        // ub-common-name of RFC 5280 §A.1: at most 64 characters.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{Space, days_later, now, openssl, options, put, server, try_openssl};
    use super::super::super::{AuthorityOptions, Issued, RevocationReason};
    use super::*;

    /// Asks openssl to make a request, has it answered, and asks openssl what it thinks of the answer.
    fn asked(space: &Space, more: &[&str], fault: Option<Fault>) -> (bool, String) {
        let folder = space.folder.path();
        put(
            folder,
            "ca.pem",
            super::super::super::trust_bundle(&space.authority).as_bytes(),
        );
        let issuer = certificate::pem(&[space.authority.certificate(Issuer::Intermediate).clone()]);
        put(folder, "issuer.pem", issuer.as_bytes());
        let ask = ["-issuer", "issuer.pem", "-cert", "leaf.pem", "-reqout", "q.der"];
        openssl(folder, &[&["ocsp"], more, &ask[..]].concat());
        let request = std::fs::read(folder.join("q.der")).unwrap();
        let OcspReply::Answer { der, .. } = space.authority.ocsp(&request, now(), fault) else {
            return (false, "unreachable".to_owned());
        };
        put(folder, "a.der", &der);
        let epoch = now().as_second().to_string();
        let judge = [
            "ocsp",
            "-issuer",
            "issuer.pem",
            "-cert",
            "leaf.pem",
            "-CAfile",
            "ca.pem",
            "-attime",
            &epoch,
            "-validity_period",
            "315360000",
        ];
        let more: Vec<&str> = more.iter().copied().filter(|one| *one != "-no_nonce").collect();
        // The hash stands before the certificate that it names.
        try_openssl(
            folder,
            &[&judge[..1], &more[..], &judge[1..], &["-respin", "a.der"]].concat(),
        )
    }

    fn with_leaf() -> (Space, Issued) {
        let space = Space::new();
        let issued = space.issue(&server("one.chu.fr"));
        put(space.folder.path(), "leaf.pem", issued.chain_pem().as_bytes());
        (space, issued)
    }

    #[test]
    fn openssl_reads_good_revoked_and_hold_by_either_hash() {
        let (space, issued) = with_leaf();
        for hash in ["-sha1", "-sha256"] {
            let (_, text) = asked(&space, &[hash, "-no_nonce"], None);
            assert!(
                text.contains("Response verify OK") && text.contains("leaf.pem: good"),
                "{text}"
            );
        }
        space
            .authority
            .revoke(&issued.serial, RevocationReason::CertificateHold, now())
            .unwrap();
        let (_, text) = asked(&space, &["-no_nonce"], None);
        assert!(
            text.contains("leaf.pem: revoked") && text.contains("certificateHold"),
            "{text}"
        );
        space.authority.release(&issued.serial, now()).unwrap();
        assert!(asked(&space, &["-no_nonce"], None).1.contains("leaf.pem: good"));
        space
            .authority
            .revoke(&issued.serial, RevocationReason::KeyCompromise, now())
            .unwrap();
        let (_, text) = asked(&space, &["-no_nonce"], None);
        assert!(
            text.contains("leaf.pem: revoked") && text.contains("keyCompromise"),
            "{text}"
        );
    }

    #[test]
    fn openssl_sees_each_fault_as_what_it_is() {
        let (space, _) = with_leaf();
        for (fault, verified, said) in [
            (Fault::Unsigned, false, "signature failure"),
            (Fault::WrongSigner, false, "verify error"),
            (Fault::Unknown, true, "leaf.pem: unknown"),
            (Fault::Unreachable, false, "unreachable"),
        ] {
            let (_, text) = asked(&space, &["-no_nonce"], Some(fault));
            assert_eq!(text.contains("Response verify OK"), verified, "{fault}: {text}");
            let said = text.to_lowercase().contains(&said.to_lowercase()) || text.contains("Verify Failure");
            assert!(said, "{fault}: {text}");
        }
        let (_, text) = asked(&space, &["-no_nonce"], None);
        assert!(
            text.contains("Response verify OK") && text.contains("leaf.pem: good"),
            "{text}"
        );
    }

    fn response(space: &Space, request: &OcspRequest, at: Timestamp, fault: Option<Fault>) -> OcspResponse {
        let OcspReply::Answer { der, .. } = space.authority.ocsp(&request.to_der().unwrap(), at, fault) else {
            panic!("no answer");
        };
        OcspResponse::from_der(&der).unwrap()
    }

    fn id(space: &Space, issuer: Issuer, serial: &str) -> CertId {
        let serial = super::super::super::crl::bytes_of(serial);
        CertId::of(IdHash::Sha256, space.authority.certificate(issuer), &serial).unwrap()
    }

    #[test]
    fn several_certificates_are_answered_at_once_and_the_nonce_comes_back() {
        let (space, issued) = with_leaf();
        let foreign = "4123456789abcdef0123456789abcdef";
        let ids = vec![
            id(&space, Issuer::Intermediate, &issued.serial),
            id(&space, Issuer::Intermediate, foreign),
        ];
        let request = OcspRequest::about(ids, Some(&[7; 16])).unwrap();
        let data = response(&space, &request, now(), None)
            .basic()
            .unwrap()
            .unwrap()
            .data()
            .unwrap();
        assert_eq!(data.nonce(), Some(&[7; 16][..]));
        let statuses: Vec<&CertStatus> = data.responses.iter().map(|one| &one.status).collect();
        assert!(matches!(
            statuses.as_slice(),
            [CertStatus::Good(_), CertStatus::Unknown(_)]
        ));
        let until = data.responses[0].next_update.unwrap();
        assert_eq!(message::moment(&until), now() + SignedDuration::from_hours(1));

        // The intermediate's own status is the root's to tell.
        let own = space.authority.issued()[0].serial.clone();
        let request = OcspRequest::about(vec![id(&space, Issuer::Root, &own)], None).unwrap();
        let data = response(&space, &request, now(), None)
            .basic()
            .unwrap()
            .unwrap()
            .data()
            .unwrap();
        assert!(matches!(data.responses[0].status, CertStatus::Good(_)));
        let late = response(&space, &request, now(), Some(Fault::Late))
            .basic()
            .unwrap()
            .unwrap()
            .data()
            .unwrap();
        assert_eq!(
            message::moment(&late.responses[0].next_update.unwrap()),
            now() - LATE_BY
        );
    }

    #[test]
    fn what_is_not_a_question_for_this_responder_is_told_so() {
        let (space, issued) = with_leaf();
        let stranger = Space::new();
        let status = |request: &OcspRequest| response(&space, request, now(), None).status;
        let good = id(&space, Issuer::Intermediate, &issued.serial);
        let about = |id: &CertId| OcspRequest::about(vec![id.clone()], None).unwrap();
        assert_eq!(status(&about(&good)), ResponseStatus::Successful);
        let foreign = id(&stranger, Issuer::Intermediate, &issued.serial);
        assert_eq!(status(&about(&foreign)), ResponseStatus::Unauthorized);
        assert_eq!(
            status(&OcspRequest::about(Vec::new(), None).unwrap()),
            ResponseStatus::MalformedRequest
        );
        let many = OcspRequest::about(vec![good.clone(); CERTIFICATES_MAX + 1], None).unwrap();
        assert_eq!(status(&many), ResponseStatus::MalformedRequest);
        let long = OcspRequest::about(vec![good.clone()], Some(&[0; 129])).unwrap();
        assert_eq!(status(&long), ResponseStatus::MalformedRequest);
        let mut critical = OcspRequest::about(vec![good], Some(&[0; 16])).unwrap();
        critical.tbs_request.request_extensions.as_mut().unwrap()[0].critical = true;
        assert_eq!(status(&critical), ResponseStatus::MalformedRequest);
    }

    #[test]
    fn a_responder_is_found_again_renewed_before_it_ends_and_can_be_the_issuer_itself() {
        let (space, issued) = with_leaf();
        let request = OcspRequest::about(vec![id(&space, Issuer::Intermediate, &issued.serial)], None).unwrap();
        let signer = |authority: &Authority, at| {
            let OcspReply::Answer { der, .. } = authority.ocsp(&request.to_der().unwrap(), at, None) else {
                panic!("no answer");
            };
            OcspResponse::from_der(&der)
                .unwrap()
                .basic()
                .unwrap()
                .unwrap()
                .certificates()
                .unwrap()
        };
        let first = signer(&space.authority, now());
        let open = |options| Authority::create_or_open(&space.folder.path().join("authority"), options, now()).unwrap();
        let again = open(options());
        assert_eq!(signer(&again, now()), first);
        assert_ne!(signer(&again, days_later(364)), first);
        let itself = open(AuthorityOptions {
            ocsp_signer: OcspSigner::Issuer,
            ..options()
        });
        assert!(signer(&itself, now()).is_empty());
        put(space.folder.path(), "r.der", &first[0]);
        let text = openssl(
            space.folder.path(),
            &["x509", "-inform", "DER", "-in", "r.der", "-noout", "-text"],
        );
        assert!(
            text.contains("OCSP Signing") && text.contains("OCSP No Check"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_request_makes_the_responder_fail(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&bytes).is_err() || !bytes.is_empty());
        }

        #[test]
        fn no_damage_to_a_request_makes_the_responder_fail(place in 0_usize..200, value: u8) {
            let id = CertId {
                hash_algorithm: x509_cert::spki::AlgorithmIdentifierOwned { oid: OCSP_BASIC, parameters: None },
                issuer_name_hash: OctetString::new(vec![1; 20]).unwrap(),
                issuer_key_hash: OctetString::new(vec![2; 20]).unwrap(),
                serial_number: der::asn1::Int::new(&[5; 16]).unwrap(),
            };
            let mut der = OcspRequest::about(vec![id], Some(&[9; 16])).unwrap().to_der().unwrap();
            let place = place % der.len();
            der[place] = value;
            if let Ok(request) = read(&der) {
                prop_assert_eq!(request.tbs_request.request_list.len(), 1);
            }
            prop_assert!(OcspResponse::from_der(&der).is_err() || der[0] == 0x30);
        }
    }
}
