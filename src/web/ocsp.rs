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

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;
    use std::process::Command;

    use tokio::net::TcpListener;

    use der::{Decode, Encode};

    use super::*;
    use crate::pki::ocsp::{CertId, IdHash, OcspRequest, OcspResponse, ResponseStatus};
    use crate::pki::{AuthorityOptions, Fault, Faults, Issuer, KeyKind, Names, Profile, Request, Subject, pem};

    fn asked(folder: &FilePath, url: &str) -> String {
        let output = Command::new("openssl")
            .current_dir(folder)
            .args([
                "ocsp",
                "-issuer",
                "issuer.pem",
                "-cert",
                "leaf.pem",
                "-CAfile",
                "ca.pem",
                "-url",
                url,
            ])
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    async fn openssl(folder: &FilePath, url: &str) -> String {
        let (folder, url) = (folder.to_owned(), url.to_owned());
        tokio::task::spawn_blocking(move || asked(&folder, &url)).await.unwrap()
    }

    fn authority(folder: &FilePath, clock: &Clock) -> Arc<Authority> {
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1:1".to_owned(),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        let authority = Authority::create_or_open(&folder.join("authority"), options, clock.now()).unwrap();
        let request = Request {
            profile: Profile::ServSsl,
            subject: Subject {
                common_name: "smtp.chu.fr".to_owned(),
                structure: "1990000010".to_owned(),
                organisation: "CHU DES COLLINES".to_owned(),
                state: "Rhône (69)".to_owned(),
                country: "FR".to_owned(),
            },
            names: Names::default(),
            key: Some(KeyKind::EcdsaP256),
            validity_days: None,
        };
        let issued = authority.issue(&request, clock.now()).unwrap();
        let put = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
        put("leaf.pem", issued.chain_pem());
        put(
            "issuer.pem",
            pem(&[authority.certificate(Issuer::Intermediate).clone()]),
        );
        put("ca.pem", crate::pki::trust_bundle(&authority));
        Arc::new(authority)
    }

    #[tokio::test]
    async fn openssl_asks_over_http_and_meets_the_faults_of_the_moment() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let authority = authority(folder.path(), &clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ocsp", listener.local_addr().unwrap());
        let served = tokio::spawn(axum::serve(listener, router(Arc::clone(&authority), clock)).into_future());
        let good = openssl(folder.path(), &url).await;
        assert!(
            good.contains("Response verify OK") && good.contains("leaf.pem: good"),
            "{good}"
        );
        assert!(!good.contains("no nonce"), "{good}");
        for (fault, said) in [
            (Fault::Late, "Status times invalid"),
            (Fault::Unsigned, "Response Verify Failure"),
            (Fault::WrongSigner, "Response Verify Failure"),
            (Fault::Unknown, "leaf.pem: unknown"),
            (Fault::Unreachable, "503"),
        ] {
            authority
                .set_faults(Faults::default().with(Service::Ocsp, Some(fault)))
                .unwrap();
            let text = openssl(folder.path(), &url).await;
            assert!(text.contains(said), "{fault}: {text}");
        }
        served.abort();
    }

    #[tokio::test]
    async fn a_request_may_come_in_the_path_and_one_that_cannot_be_read_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let authority = authority(folder.path(), &clock);
        let serial = authority.issued().last().unwrap().serial.clone();
        let serial: Vec<u8> = serial
            .as_bytes()
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect();
        let id = CertId::of(IdHash::Sha1, authority.certificate(Issuer::Intermediate), &serial).unwrap();
        let request = OcspRequest::about(vec![id], None).unwrap().to_der().unwrap();
        let responder = Responder { authority, clock };
        for path in [
            base64::engine::general_purpose::STANDARD.encode(&request),
            base64::engine::general_purpose::STANDARD_NO_PAD.encode(&request),
        ] {
            let response = by_get(State(responder.clone()), Path(path)).await;
            let kept = response.headers()[header::CACHE_CONTROL].to_str().unwrap().to_owned();
            assert!(kept.starts_with("max-age=3600"), "{kept}");
            let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
            assert_eq!(
                OcspResponse::from_der(&body).unwrap().status,
                ResponseStatus::Successful
            );
        }
        let response = by_get(State(responder), Path("%%%".to_owned())).await;
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        assert_eq!(
            OcspResponse::from_der(&body).unwrap().status,
            ResponseStatus::MalformedRequest
        );
    }
}
