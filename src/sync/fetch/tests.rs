//! A server of a few lines on loopback, and what the fetcher makes of it.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::pki::{
    Authority, AuthorityOptions, ClientCertificates, Issuer, KeyKind, Names, Profile, Request, Subject, server_config,
};

fn clock() -> Clock {
    Clock::manual("2026-11-21T10:00:00Z".parse().unwrap())
}

fn fetcher() -> Fetcher {
    Fetcher::new(None, &clock(), options()).unwrap()
}

fn options() -> FetchOptions {
    FetchOptions {
        connect: Duration::from_secs(5),
        total: Duration::from_secs(5),
        bytes_max: 1000,
        reach: Reach::Loopback,
    }
}

/// A server that gives the same answer to every request and remembers what it was asked.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::start(answer.into(), None).await
    }

    async fn start(answer: Vec<u8>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(tls) = &tls else {
                    converse(stream, &answer, &asked).await;
                    continue;
                };
                if let Ok(stream) = tls.accept(stream).await {
                    converse(stream, &answer, &asked).await;
                }
            }
        });
        Self { url, requests }
    }

    fn asked(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// One request, one answer, end. An answer that is empty is never given.
async fn converse(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin + Send + 'static,
    answer: &[u8],
    asked: &Arc<Mutex<Vec<String>>>,
) {
    let mut request = Vec::new();
    let mut buffer = [0; 2048];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    asked
        .lock()
        .unwrap()
        .push(String::from_utf8_lossy(&request).into_owned());
    if answer.is_empty() {
        // Held open: the client has to give up.
        tokio::spawn(async move { stream.read(&mut buffer).await });
        return;
    }
    let written = stream.write_all(answer).await;
    assert!(written.is_ok() || answer.len() > 1000, "{written:?}");
    drop(stream.shutdown().await);
}

fn ok(headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_document_comes_with_what_is_needed_to_ask_for_it_again() {
    let headers = "ETag: \"v1\"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Type: Application/XML; charset=utf-8\r\n";
    let server = Server::answering(ok(headers, "<list/>")).await;
    let known = Validators::default();
    let Fetched::Document(document) = fetcher().get(&server.url, &known).await.unwrap() else {
        panic!("nothing was known before");
    };
    assert_eq!(document.bytes, b"<list/>");
    assert_eq!(document.media_type, "application/xml");
    assert_eq!(document.validators.etag.as_deref(), Some("\"v1\""));
    assert!(
        !server.asked()[0].to_lowercase().contains("if-"),
        "{:?}",
        server.asked()
    );

    let server = Server::answering("HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n").await;
    let fetched = fetcher().get(&server.url, &document.validators).await.unwrap();
    assert_eq!(fetched, Fetched::NotModified);
    let asked = server.asked()[0].to_lowercase();
    assert!(asked.contains("if-none-match: \"v1\""), "{asked}");
    assert!(
        asked.contains("if-modified-since: sat, 21 nov 2026 10:00:00 gmt"),
        "{asked}"
    );
    // "Not modified" says nothing to somebody who has nothing.
    let error = fetcher().get(&server.url, &known).await.unwrap_err();
    assert!(matches!(error, FetchError::Status { status: 304, .. }), "{error}");
}

#[tokio::test]
async fn a_question_is_posted_with_its_media_type() {
    let server = Server::answering(ok("", "answer")).await;
    let document = fetcher()
        .post(&server.url, "application/ocsp-request", b"question".to_vec())
        .await
        .unwrap();
    assert_eq!(document.bytes, b"answer");
    let asked = &server.asked()[0];
    assert!(asked.starts_with("POST / "), "{asked}");
    assert!(
        asked.to_lowercase().contains("content-type: application/ocsp-request"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_large_document_is_given_up_whether_it_says_its_size_or_not() {
    let body = "x".repeat(1001);
    let unsaid = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
    for answer in [ok("", &body), unsaid] {
        let server = Server::answering(answer).await;
        let error = fetcher().get(&server.url, &Validators::default()).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { bytes_max: 1000, .. }), "{error}");
        assert!(error.to_string().starts_with(&server.url), "{error}");
    }
    let server = Server::answering(ok("", &body[1..])).await;
    assert!(fetcher().get(&server.url, &Validators::default()).await.is_ok());
}

#[tokio::test]
async fn errors_name_the_url_and_the_cause() {
    let server = Server::answering("HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n").await;
    let error = fetcher().get(&server.url, &Validators::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{}: the server answered 503", server.url));

    let half = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    let error = fetcher().get(&half.url, &Validators::default()).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Unreachable { .. }),
        "half a document is none: {error}"
    );

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = fetcher()
        .get(&format!("http://{nobody}/x"), &Validators::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");

    let silent = Server::answering("").await;
    let total = Duration::from_millis(200);
    let hasty = Fetcher::new(None, &clock(), FetchOptions { total, ..options() }).unwrap();
    let error = hasty.get(&silent.url, &Validators::default()).await.unwrap_err();
    assert!(
        matches!(error, FetchError::TooLate { limit, .. } if limit == total),
        "{error}"
    );
}

#[tokio::test]
async fn a_redirection_stays_on_its_host() {
    let other = Server::answering(ok("", "elsewhere")).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}/x\r\nContent-Length: 0\r\n\r\n",
        other.url
    );
    let server = Server::answering(answer).await;
    let error = fetcher().get(&server.url, &Validators::default()).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Redirected { to, .. } if to.starts_with(&other.url)),
        "{error}"
    );
    assert!(other.asked().is_empty(), "the other host was asked");

    let round =
        Server::answering("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
    let error = fetcher().get(&round.url, &Validators::default()).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirected { .. }), "{error}");
    assert_eq!(round.asked().len(), REDIRECTS_MAX + 1, "within the host, a few times");
}

#[tokio::test]
async fn only_urls_that_may_be_asked_are_asked() {
    let problem = |url: &'static str| async move {
        match fetcher().get(url, &Validators::default()).await.unwrap_err() {
            FetchError::Url { problem, .. } => problem.to_owned(),
            FetchError::Unreachable { cause, .. } => cause,
            other => panic!("{other}"),
        }
    };
    assert_eq!(problem("no url").await, "not a URL");
    assert_eq!(problem("file:///etc/passwd").await, "only http and https are fetched");
    assert_eq!(
        problem("ldap://annuaire-igc.esante.gouv.fr/").await,
        "only http and https are fetched"
    );
    assert_eq!(
        problem("https://127.0.0.1/").await,
        "no authority is configured to believe for https"
    );
    assert_eq!(
        problem("http://user@127.0.0.1/").await,
        "a URL with a user name is not fetched"
    );
    assert_eq!(problem("http://192.0.2.1/").await, "only this machine is asked");
    assert_eq!(problem("http://[2001:db8::1]/").await, "only this machine is asked");
}

#[tokio::test]
async fn https_believes_the_authority_and_checks_the_host_name() {
    let folder = tempfile::tempdir().unwrap();
    let now = clock().now();
    let authority = |name: &str| {
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1".to_owned(),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        Authority::create_or_open(&folder.path().join(name), options, now).unwrap()
    };
    let (ours, foreign) = (authority("ours"), authority("foreign"));
    let trust = |authority: &Authority| {
        let certificate = |issuer| vec![authority.certificate(issuer).clone()];
        TrustStore::new(certificate(Issuer::Root), certificate(Issuer::Intermediate)).unwrap()
    };
    let server = |names: Names| {
        let request = Request {
            profile: Profile::ServSsl,
            subject: Subject {
                common_name: "liste.mssante.fr".to_owned(),
                structure: "1990000010".to_owned(),
                organisation: "AUTORITE".to_owned(),
                state: "Paris (75)".to_owned(),
                country: "FR".to_owned(),
            },
            names,
            key: Some(KeyKind::EcdsaP256),
            validity_days: None,
        };
        let identity = ours.issue(&request, now).unwrap().identity().unwrap();
        let config = server_config(&identity, ClientCertificates::None, TlsMinimum::Tls12, &clock()).unwrap();
        Server::start(ok("", "list").into_bytes(), Some(TlsAcceptor::from(config)))
    };
    let right = server(Names {
        ip: vec!["127.0.0.1".parse().unwrap()],
        ..Names::default()
    })
    .await;
    let get = |trust: TrustStore, url: String| async move {
        let fetcher = Fetcher::new(Some(&trust), &clock(), options()).unwrap();
        fetcher.get(&url, &Validators::default()).await
    };
    assert!(matches!(
        get(trust(&ours), right.url.clone()).await,
        Ok(Fetched::Document(_))
    ));
    let error = get(trust(&foreign), right.url.clone()).await.unwrap_err();
    assert!(matches!(&error, FetchError::Untrusted { .. }), "{error}");
    let other_host = server(Names::default()).await;
    let error = get(trust(&ours), other_host.url.clone()).await.unwrap_err();
    assert!(error.to_string().contains("not the one of host 127.0.0.1"), "{error}");
    assert!(other_host.asked().is_empty(), "something was said to an unproved host");
}
