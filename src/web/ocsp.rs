//! The OCSP responder's HTTP face (RFC 6960 appendix A, RFC 5019 §5): POST with the request as body, GET with it in the path.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::clock::Clock;
use crate::pki::ocsp::{OcspReply, REQUEST_BYTES_MAX};
use crate::pki::{Authority, Service};

/// What the face answers from.
#[derive(Clone)]
struct Responder {
    authority: Arc<Authority>,
    clock: Clock,
}

/// The paths of the responder: `/ocsp` and `/ocsp/{request in base64}`. Faults are the authority's own of the moment.
pub fn router(authority: Arc<Authority>, clock: Clock) -> Router {
    Router::new()
        .route("/ocsp", post(by_post))
        .route("/ocsp/", post(by_post))
        .route("/ocsp/{*request}", get(by_get))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Responder { authority, clock })
}

async fn by_post(State(responder): State<Responder>, request: Bytes) -> Response {
    responder.answer(request.to_vec(), Caching::Never).await
}

/// Base64 may come with its `/` as they are or escaped, and without its padding.
async fn by_get(State(responder): State<Responder>, Path(request): Path<String>) -> Response {
    match BASE64.decode(request.as_bytes()) {
        Ok(request) => responder.answer(request, Caching::Allowed).await,
        // An empty request is malformed: the answer says so.
        Err(_) => responder.answer(Vec::new(), Caching::Never).await,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Caching {
    Allowed,
    Never,
}

impl Responder {
    /// Signing is work for a thread that may be busy for a while.
    async fn answer(self, request: Vec<u8>, caching: Caching) -> Response {
        let answered = tokio::task::spawn_blocking(move || {
            let fault = self.authority.faults().load().of(Service::Ocsp);
            self.authority.ocsp(&request, self.clock.now(), fault)
        });
        match answered.await {
            Ok(OcspReply::Answer { der, fresh }) => {
                let kept = match fresh.filter(|_| caching == Caching::Allowed) {
                    Some(fresh) => format!("max-age={}, public, no-transform, must-revalidate", fresh.as_secs()),
                    None => "no-store".to_owned(),
                };
                let headers = [
                    (header::CONTENT_TYPE, "application/ocsp-response".to_owned()),
                    (header::CACHE_CONTROL, kept),
                ];
                (headers, der).into_response()
            }
            Ok(OcspReply::Unreachable) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the OCSP responder is away\n").into_response()
            }
            Err(error) => {
                tracing::error!(%error, "the OCSP responder failed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
