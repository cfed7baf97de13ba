//! The messages of OCSP (RFC 6960 §4) as DER: what the responder reads and writes, and what a judge writes and reads.
//!
//! What a signature covers stays as the bytes that were signed ([`BasicResponse::signed`]); decoding it is a second step, to be taken
//! after the signature was verified. Nothing here is believed because it could be decoded.

#![expect(clippy::unnested_or_patterns, reason = "written by the derive macro Choice")]

use aws_lc_rs::digest;
use der::asn1::{Any, BitString, GeneralizedTime, Int, Null, ObjectIdentifier, OctetString};
use der::{Choice, Decode, Encode, Enumerated, Sequence};
use jiff::Timestamp;
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::{Certificate, Version};

use super::super::certificate;

/// What is asked of a responder.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct OcspRequest {
    /// The question.
    pub tbs_request: TbsRequest,
    /// Signature of who asks; never needed here, so it is read over.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub optional_signature: Option<Any>,
}

/// The question itself.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct TbsRequest {
    /// Version 1.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", default = "Default::default")]
    pub version: Version,
    /// Name of who asks.
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub requestor_name: Option<Any>,
    /// The certificates asked about.
    pub request_list: Vec<Request>,
    /// Nonce, mostly.
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    pub request_extensions: Option<Vec<Extension>>,
}

/// One certificate asked about.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Request {
    /// Which.
    pub cert_id: CertId,
    /// About this one.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub single_request_extensions: Option<Vec<Extension>>,
}

/// Names a certificate by hashes of its issuer's name and key, and its serial number.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct CertId {
    /// Which hash.
    pub hash_algorithm: AlgorithmIdentifierOwned,
    /// Of the issuer's DN, DER.
    pub issuer_name_hash: OctetString,
    /// Of the issuer's public key: the content of the BIT STRING, without tag, length and unused bits.
    pub issuer_key_hash: OctetString,
    /// Serial number of the certificate.
    pub serial_number: Int,
}

/// What a responder answers.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct OcspResponse {
    /// Whether it did.
    pub status: ResponseStatus,
    /// The answer, when it did.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub bytes: Option<ResponseBytes>,
}

/// RFC 6960 §4.2.1. Only `Successful` comes with an answer; the others are not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
pub enum ResponseStatus {
    /// An answer follows.
    Successful = 0,
    /// The request cannot be read.
    MalformedRequest = 1,
    /// The responder is broken.
    InternalError = 2,
    /// Not now.
    TryLater = 3,
    /// The request must be signed.
    SigRequired = 5,
    /// Not for this responder: RFC 5019 §2.2.3 also for certificates it knows nothing of.
    Unauthorized = 6,
}

/// An answer of some type.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct ResponseBytes {
    /// [`OCSP_BASIC`] always.
    pub response_type: ObjectIdentifier,
    /// DER of a [`BasicResponse`].
    pub response: OctetString,
}

/// A signed answer.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct BasicResponse {
    /// DER of a [`ResponseData`], as it was signed.
    pub tbs_response_data: Any,
    /// How it was signed.
    pub signature_algorithm: AlgorithmIdentifierOwned,
    /// The signature.
    pub signature: BitString,
    /// Certificates that help to verify it; the responder's own among them.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub certs: Option<Vec<Any>>,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct ResponseData {
    /// Version 1.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", default = "Default::default")]
    pub version: Version,
    /// Who signed.
    pub responder_id: ResponderId,
    /// When.
    pub produced_at: GeneralizedTime,
    /// One per certificate.
    pub responses: Vec<SingleResponse>,
    /// Nonce, mostly.
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub response_extensions: Option<Vec<Extension>>,
}

/// Who signed an answer.
#[derive(Clone, Debug, PartialEq, Eq, Choice)]
pub enum ResponderId {
    /// By the subject of its certificate.
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", constructed = "true")]
    ByName(Name),
    /// By the SHA-1 of its public key, hashed as in [`CertId`].
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", constructed = "true")]
    ByKey(OctetString),
}

/// What is said of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct SingleResponse {
    /// Which.
    pub cert_id: CertId,
    /// What.
    pub status: CertStatus,
    /// From when this is known to be so.
    pub this_update: GeneralizedTime,
    /// Until when it may be relied on; absent, newer information is always at hand.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub next_update: Option<GeneralizedTime>,
    /// About this one.
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub single_extensions: Option<Vec<Extension>>,
}

/// Status of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Choice)]
pub enum CertStatus {
    /// Not revoked.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    /// Revoked, or on hold.
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    /// The responder knows nothing of it.
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

/// When and why a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct RevokedInfo {
    /// When.
    pub revocation_time: GeneralizedTime,
    /// Why.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub revocation_reason: Option<x509_cert::ext::pkix::CrlReason>,
}

/// The hash of a [`CertId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdHash {
    /// What every responder understands.
    Sha1,
    /// What newer ones understand too.
    Sha256,
}

impl OcspRequest {
    /// A question about certificates, with a nonce when replays matter (8 to 32 random bytes, RFC 8954 §2.1).
    pub fn about(ids: Vec<CertId>, nonce: Option<&[u8]>) -> der::Result<Self> {
        let extension = nonce.map(nonce_extension).transpose()?;
        let request = |cert_id| Request {
            cert_id,
            single_request_extensions: None,
        };
        Ok(Self {
            tbs_request: TbsRequest {
                version: Version::V1,
                requestor_name: None,
                request_list: ids.into_iter().map(request).collect(),
                request_extensions: extension.map(|extension| vec![extension]),
            },
            optional_signature: None,
        })
    }

    /// The nonce, if there is one.
    pub fn nonce(&self) -> Option<&[u8]> {
        nonce_in(self.tbs_request.request_extensions.as_deref())
    }
}

impl OcspResponse {
    /// The signed answer of a successful response.
    pub fn basic(&self) -> Option<der::Result<BasicResponse>> {
        let bytes = self.bytes.as_ref().filter(|bytes| bytes.response_type == OCSP_BASIC)?;
        Some(BasicResponse::from_der(bytes.response.as_bytes()))
    }

    /// A response without answer, DER.
    pub fn failure(status: ResponseStatus) -> Vec<u8> {
        // ENUMERATED in a SEQUENCE: RFC 6960 §4.2.1.
        vec![0x30, 0x03, 0x0a, 0x01, status as u8]
    }
}

impl BasicResponse {
    /// The bytes that the signature covers.
    pub fn signed(&self) -> der::Result<Vec<u8>> {
        self.tbs_response_data.to_der()
    }

    /// What they say. Verify the signature first.
    pub fn data(&self) -> der::Result<ResponseData> {
        ResponseData::from_der(&self.signed()?)
    }

    /// The certificates in it, DER each.
    pub fn certificates(&self) -> der::Result<Vec<Vec<u8>>> {
        self.certs.iter().flatten().map(Encode::to_der).collect()
    }
}

impl ResponseData {
    /// The nonce, if there is one.
    pub fn nonce(&self) -> Option<&[u8]> {
        nonce_in(self.response_extensions.as_deref())
    }
}

impl CertId {
    /// Names the certificate with this serial number (big-endian, as in the certificate) of this issuer (its certificate, DER).
    pub fn of(hash: IdHash, issuer: &[u8], serial: &[u8]) -> der::Result<Self> {
        let issuer = Certificate::from_der(issuer)?;
        let issuer = issuer.tbs_certificate();
        let name = issuer.subject().to_der()?;
        let key = issuer.subject_public_key_info().subject_public_key.raw_bytes();
        Ok(Self {
            hash_algorithm: hash.algorithm(),
            issuer_name_hash: OctetString::new(hash.digest(&name))?,
            issuer_key_hash: OctetString::new(hash.digest(key))?,
            serial_number: Int::new(serial)?,
        })
    }

    /// Which hash it uses; none when it is one we do not know.
    pub fn hash(&self) -> Option<IdHash> {
        [IdHash::Sha1, IdHash::Sha256]
            .into_iter()
            .find(|hash| hash.oid() == self.hash_algorithm.oid)
    }

    /// The serial number as the registry and journal write it: lower-case hexadecimal, as in the certificate.
    pub fn serial(&self) -> String {
        certificate::hex(self.serial_number.as_bytes())
    }

    /// Whether both name the same certificate by the same hash. The parameters of the hash do not matter: some leave the NULL out.
    pub fn names_same(&self, other: &Self) -> bool {
        self.hash_algorithm.oid == other.hash_algorithm.oid
            && self.issuer_name_hash == other.issuer_name_hash
            && self.issuer_key_hash == other.issuer_key_hash
            && self.serial_number == other.serial_number
    }
}

impl IdHash {
    /// Hash of some bytes.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            // RFC 6960 §4.3: every client and responder must support it; it names, it proves nothing.
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha1 => SHA1,
            Self::Sha256 => SHA256,
        }
    }

    fn algorithm(self) -> AlgorithmIdentifierOwned {
        AlgorithmIdentifierOwned {
            oid: self.oid(),
            parameters: Some(Any::null()),
        }
    }
}

/// The time of a message, to the second.
pub fn moment(time: &GeneralizedTime) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// RFC 8954 §2.1: the value is an OCTET STRING in the extension's OCTET STRING.
pub(super) fn nonce_extension(nonce: &[u8]) -> der::Result<Extension> {
    Ok(Extension {
        extn_id: OCSP_NONCE,
        critical: false,
        extn_value: OctetString::new(OctetString::new(nonce)?.to_der()?)?,
    })
}

/// The value as sent when it is not wrapped, as some old clients do.
fn nonce_in(extensions: Option<&[Extension]>) -> Option<&[u8]> {
    let found = extensions?.iter().find(|extension| extension.extn_id == OCSP_NONCE)?;
    let value = found.extn_value.as_bytes();
    let unwrapped = <&der::asn1::OctetStringRef>::from_der(value).map(der::asn1::OctetStringRef::as_bytes);
    Some(unwrapped.unwrap_or(value))
}

/// id-pkix-ocsp-basic.
pub const OCSP_BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// id-pkix-ocsp-nonce.
pub const OCSP_NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
/// id-pkix-ocsp-nocheck: the responder's own certificate is not to be checked for revocation (RFC 6960 §4.2.2.2.1).
pub const OCSP_NO_CHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");
/// id-kp-OCSPSigning: the purpose of a delegated responder's certificate.
pub const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
