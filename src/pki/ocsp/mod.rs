//! OCSP (RFC 6960): its messages, for both sides, and the authority's responder.

mod message;
mod respond;

pub use message::{
    BasicResponse, CertId, CertStatus, IdHash, OCSP_BASIC, OCSP_NO_CHECK, OCSP_NONCE, OCSP_SIGNING, OcspRequest,
    OcspResponse, Request, ResponderId, ResponseBytes, ResponseData, ResponseStatus, RevokedInfo, SingleResponse,
    TbsRequest, moment,
};
pub(super) use respond::Responder;
pub use respond::{OcspReply, REQUEST_BYTES_MAX};
