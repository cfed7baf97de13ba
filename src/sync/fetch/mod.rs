//! One HTTP exchange, bounded in time and size. HTTPS believes the authority's certificates only, never the system's, and always checks
//! the host name; plain HTTP is for what carries its own signature (CRL, OCSP), as the field publishes it. No redirect leaves the host
//! that was asked, no proxy is taken from the environment.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};

use crate::clock::Clock;
use crate::pki::{self, Expectation, HostNameCheck, MissingRevocation, TlsMinimum, TrustStore};
use crate::policy::Refusal;

/// Fetches documents. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    options: FetchOptions,
    has_authority: bool,
}

/// Bounds of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// Longest wait for a connection, TLS included.
    pub connect: Duration,
    /// Longest time for the whole exchange.
    pub total: Duration,
    /// Largest document, in bytes.
    pub bytes_max: usize,
    /// How far it may go.
    pub reach: Reach,
}

/// Which hosts may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Every host.
    #[default]
    Anywhere,
    /// This machine only: a sandbox, or a rehearsal.
    Loopback,
}

/// What the server said of the version it gave, to ask again only for a newer one (RFC 9110 §13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, as received.
    pub etag: Option<String>,
    /// `Last-Modified`, as received.
    pub last_modified: Option<String>,
}

/// The answer to a conditional request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The version named by the validators is still the last one.
    NotModified,
    /// A document.
    Document(Document),
}

/// A document as it was received; nothing is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// `Content-Type`, lower case, without parameters; empty when there was none.
    pub media_type: String,
    /// To ask for it again.
    pub validators: Validators,
}

/// Why there is no document. Each names the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Not a URL that may be asked.
    #[error("{url}: {problem}")]
    Url {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The server's certificate is not good enough.
    #[error("{url}: {refusal}")]
    Untrusted {
        /// What was asked for.
        url: String,
        /// The verdict.
        refusal: Refusal,
    },
    /// No connection, or it broke.
    #[error("{url}: {cause}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// It took too long.
    #[error("{url}: no complete answer within {} ms", .limit.as_millis())]
    TooLate {
        /// What was asked for.
        url: String,
        /// What was waited for.
        limit: Duration,
    },
    /// Larger than accepted.
    #[error("{url}: larger than {bytes_max} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit.
        bytes_max: usize,
    },
    /// The server has something else to say.
    #[error("{url}: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// It points to another host, which nobody configured.
    #[error("{url}: redirected to {to}, which is not followed: give that URL if it is the right one")]
    Redirected {
        /// What was asked for.
        url: String,
        /// Where it points.
        to: String,
    },
}

/// HTTP that cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum FetcherError {
    /// Its TLS.
    #[error(transparent)]
    Tls(#[from] pki::TlsError),
    /// The library.
    #[error("cannot configure HTTP: {0}")]
    Http(String),
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            total: Duration::from_mins(1),
            // The real list takes 3.7 MB, a large CRL as much.
            bytes_max: 64 * 1024 * 1024,
            reach: Reach::Anywhere,
        }
    }
}

impl Fetcher {
    /// A fetcher that believes `authority` for HTTPS; without one, only `http://` can be asked. A revoked server is refused; one whose
    /// revocation nobody can tell is taken, since this is how that gets known, and what is fetched proves itself.
    ///
    /// # Errors
    /// See [`FetcherError`].
    pub fn new(authority: Option<&TrustStore>, clock: &Clock, options: FetchOptions) -> Result<Self, FetcherError> {
        let tls = match authority {
            Some(authority) => authority_only(authority, clock)?,
            None => nobody().map_err(pki::TlsError::from)?,
        };
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(Policy::custom(same_host))
            .referer(false)
            .connect_timeout(options.connect)
            .timeout(options.total)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .user_agent(concat!("vaguemestre/", env!("CARGO_PKG_VERSION")));
        let builder = match options.reach {
            Reach::Anywhere => builder,
            Reach::Loopback => builder.dns_resolver(Arc::new(LoopbackNames)),
        };
        let client = builder.build().map_err(|error| FetcherError::Http(told(&error)))?;
        Ok(Self {
            client,
            options,
            has_authority: authority.is_some(),
        })
    }

    /// The document at `url`, unless it is still the version that `known` names.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn get(&self, url: &str, known: &Validators) -> Result<Fetched, FetchError> {
        let mut request = self.client.get(self.allowed(url)?);
        if let Some(etag) = &known.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(date) = &known.last_modified {
            request = request.header(header::IF_MODIFIED_SINCE, date);
        }
        let response = self.send(url, request).await?;
        if response.status() == StatusCode::NOT_MODIFIED && *known != Validators::default() {
            return Ok(Fetched::NotModified);
        }
        self.document(url, response).await.map(Fetched::Document)
    }

    /// The answer to `body`.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn post(&self, url: &str, media_type: &str, body: Vec<u8>) -> Result<Document, FetchError> {
        let request = self.client.post(self.allowed(url)?);
        let request = request.header(header::CONTENT_TYPE, media_type).body(body);
        let response = self.send(url, request).await?;
        self.document(url, response).await
    }

    /// The URL, if it may be asked at all.
    fn allowed(&self, text: &str) -> Result<Url, FetchError> {
        let wrong = |problem| FetchError::Url {
            url: text.to_owned(),
            problem,
        };
        let url = Url::parse(text).map_err(|_| wrong("not a URL"))?;
        match url.scheme() {
            "http" => {}
            "https" if self.has_authority => {}
            "https" => return Err(wrong("no authority is configured to believe for https")),
            _ => return Err(wrong("only http and https are fetched")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a URL with a user name is not fetched"));
        }
        let host = url.host_str().ok_or_else(|| wrong("it names no host"))?;
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if self.options.reach == Reach::Loopback && address.is_some_and(|ip| !ip.is_loopback()) {
            return Err(wrong("only this machine is asked"));
        }
        Ok(url)
    }

    async fn send(&self, url: &str, request: RequestBuilder) -> Result<Response, FetchError> {
        let response = request.send().await.map_err(|error| self.failed(url, &error))?;
        let status = response.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            let to = text(response.headers(), header::LOCATION).unwrap_or_default();
            return Err(FetchError::Redirected {
                url: url.to_owned(),
                to,
            });
        }
        Ok(response)
    }

    async fn document(&self, url: &str, mut response: Response) -> Result<Document, FetchError> {
        let status = response.status();
        if status != StatusCode::OK {
            return Err(FetchError::Status {
                url: url.to_owned(),
                status: status.as_u16(),
            });
        }
        let bytes_max = self.options.bytes_max;
        let too_large = || FetchError::TooLarge {
            url: url.to_owned(),
            bytes_max,
        };
        if response
            .content_length()
            .is_some_and(|length| length > bytes_max as u64)
        {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.failed(url, &error))? {
            if bytes.len() + piece.len() > bytes_max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
        }
        let headers = response.headers();
        let media_type = text(headers, header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        Ok(Document {
            media_type: media_type.to_ascii_lowercase(),
            validators: Validators {
                etag: text(headers, header::ETAG),
                last_modified: text(headers, header::LAST_MODIFIED),
            },
            bytes,
        })
    }

    fn failed(&self, url: &str, error: &reqwest::Error) -> FetchError {
        let url = url.to_owned();
        if let Some(refusal) = refusal(error) {
            return FetchError::Untrusted { url, refusal };
        }
        if error.is_timeout() {
            let limit = if error.is_connect() {
                self.options.connect
            } else {
                self.options.total
            };
            return FetchError::TooLate { url, limit };
        }
        FetchError::Unreachable {
            url,
            cause: told(error),
        }
    }
}

fn authority_only(authority: &TrustStore, clock: &Clock) -> Result<ClientConfig, pki::TlsError> {
    let authority = authority.clone().with_missing_revocation(MissingRevocation::Accept);
    let expectation = Expectation::new(Arc::new(authority)).with_host_name(HostNameCheck::On);
    let config = pki::client_config(None, expectation, TlsMinimum::Tls12, clock)?;
    Ok(ClientConfig::clone(&config))
}

/// TLS that believes no certificate: the library wants one even when only plain HTTP is asked for.
fn nobody() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// Same scheme, host and port, a few times at most. Otherwise the redirection itself is the answer, and an error.
fn same_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let origin = attempt.previous().first().map(Url::origin);
    if attempt.previous().len() <= REDIRECTS_MAX && origin == Some(attempt.url().origin()) {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// Resolves names to addresses of this machine, or not at all.
#[derive(Debug)]
struct LoopbackNames;

impl Resolve for LoopbackNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let own: Vec<SocketAddr> = found.filter(|address| address.ip().is_loopback()).collect();
            if own.is_empty() {
                let text = format!("{} is not this machine, and nothing else may be asked", name.as_str());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text).into());
            }
            Ok(Box::new(own.into_iter()) as Addrs)
        })
    }
}

/// The verdict on the server's certificate, if that is what ended the exchange.
fn refusal(error: &reqwest::Error) -> Option<Refusal> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>().and_then(pki::refusal_of))
}

/// The innermost causes say most; the URL is said by whoever shows the error.
fn told(error: &reqwest::Error) -> String {
    let mut said: Vec<String> = causes(error).map(ToString::to_string).collect();
    said.dedup();
    if said.is_empty() {
        error.to_string()
    } else {
        said.join(": ")
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Redirections followed within one host.
const REDIRECTS_MAX: usize = 3;
/// Connections kept per host: requests are rare.
const IDLE_CONNECTIONS_MAX: usize = 2;

#[cfg(test)]
mod tests;
