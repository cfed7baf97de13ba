//! Autoconfiguration of mail clients in Mozilla's format: what a client asks for once its user has typed an address (ECO.1.1.9).
//!
//! The domain is that of `emailaddress`, else that of the host asked: `autoconfig.DOMAIN`, or `DOMAIN` itself for the well-known path.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use quick_xml::escape::escape;

use crate::dns::{Service, Site};
use crate::identity::Domain;

/// Whose clients are told what.
#[derive(Clone, Debug, Default)]
pub struct Provider {
    /// Name people read.
    pub name: String,
    /// Its domains and services.
    pub site: Site,
}

/// The documents, by domain.
#[derive(Default)]
pub struct Autoconfig {
    documents: ArcSwap<HashMap<Domain, Arc<str>>>,
}

impl Autoconfig {
    /// Tells clients of these operators from now on, and of no other. An operator without services has no document.
    pub fn install(&self, providers: &[Provider]) {
        let documents = providers
            .iter()
            .filter(|provider| !provider.site.services.is_empty())
            .flat_map(|provider| {
                let domains = provider.site.domains.iter();
                domains.map(|domain| (domain.clone(), document(provider, domain).into()))
            });
        self.documents.store(Arc::new(documents.collect()));
    }

    /// The routes of this face.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/mail/config-v1.1.xml", get(answer))
            .route("/.well-known/autoconfig/mail/config-v1.1.xml", get(answer))
            .with_state(Arc::clone(self))
    }
}

async fn answer(State(autoconfig): State<Arc<Autoconfig>>, uri: Uri, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let domain = asked(uri.query().unwrap_or(""), host.unwrap_or(""));
    let documents = autoconfig.documents.load();
    let Some(document) = domain.and_then(|domain| documents.get(&domain).cloned()) else {
        let help =
            "no operator here serves that domain: ask with ?emailaddress=box@domain, or as host autoconfig.domain\n";
        return (StatusCode::NOT_FOUND, help).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "text/xml; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, document.to_string()).into_response()
}

/// The domain a client wants to know about.
fn asked(query: &str, host: &str) -> Option<Domain> {
    let address = query.split('&').find_map(|pair| pair.strip_prefix("emailaddress="));
    if let Some(address) = address {
        let address = percent_decoded(address)?;
        return address.rsplit_once('@')?.1.parse().ok();
    }
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.strip_prefix("autoconfig.").unwrap_or(host).parse().ok()
}

/// `%40` is `@`. `None` for what no client writes.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn document(provider: &Provider, domain: &Domain) -> String {
    let name = escape(provider.name.as_str());
    let domains: Vec<String> = provider
        .site
        .domains
        .iter()
        .map(|other| format!("    <domain>{other}</domain>\n"))
        .collect();
    let domains = domains.concat();
    let of = |services: [Service; 2], element: &str, kind: &str| -> String {
        let places = services.iter().flat_map(|service| {
            provider
                .site
                .services
                .iter()
                .filter(move |place| place.service == *service)
        });
        places
            .map(|place| {
                let socket = match place.service {
                    Service::Submission | Service::Imap => "STARTTLS",
                    Service::Submissions | Service::Imaps => "SSL",
                };
                server(
                    element,
                    kind,
                    &format!("{}</hostname>\n      <port>{}", place.host, place.address.port()),
                    socket,
                )
            })
            .collect()
    };
    // STARTTLS first: it is what the field's rules name (ECO.1.0.1, ECO.1.0.2), and clients take the first they can use.
    let incoming = of([Service::Imap, Service::Imaps], "incomingServer", "imap");
    let outgoing = of([Service::Submission, Service::Submissions], "outgoingServer", "smtp");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"{domain}\">\n{domains}    <displayName>{name}</displayName>\n    <displayShortName>{name}</displayShortName>\n{incoming}{outgoing}  </emailProvider>\n</clientConfig>\n"
    )
}

/// People log in with a password (the sandbox plays no identity provider yet), software with its certificate.
fn server(element: &str, kind: &str, place: &str, socket: &str) -> String {
    format!(
        "    <{element} type=\"{kind}\">\n      <hostname>{place}</port>\n      <socketType>{socket}</socketType>\n      <authentication>password-cleartext</authentication>\n      <authentication>TLS-client-cert</authentication>\n      <username>%EMAILADDRESS%</username>\n    </{element}>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::ServicePlace;

    fn domain_asked(query: &str, host: &str) -> Option<String> {
        asked(query, host).map(|domain| domain.to_string())
    }

    #[test]
    fn the_address_decides_else_the_host() {
        let lilas = Some("lilas.mssante.fr".to_owned());
        for (query, host) in [
            ("emailaddress=a%40Lilas.mssante.fr", "localhost:10080"),
            ("x=1&emailaddress=a@lilas.mssante.fr", ""),
            ("", "autoconfig.lilas.mssante.fr:10080"),
            ("", "autoconfig.lilas.mssante.fr"),
            ("", "lilas.mssante.fr"),
        ] {
            assert_eq!(domain_asked(query, host), lilas, "{query} {host}");
        }
        for query in [
            "emailaddress=a",
            "emailaddress=a%4",
            "emailaddress=a%zz",
            "emailaddress=a%40%ff",
        ] {
            assert_eq!(domain_asked(query, "lilas.mssante.fr"), None, "{query}");
        }
    }

    #[test]
    fn a_document_has_every_service_and_a_name_that_cannot_break_it() {
        let place = |service, port| ServicePlace {
            service,
            host: "mx.lilas.localhost".parse().unwrap(),
            address: ([127, 0, 0, 1], port).into(),
        };
        let services = vec![
            place(Service::Imaps, 11993),
            place(Service::Imap, 11143),
            place(Service::Submission, 11587),
        ];
        let provider = Provider {
            name: "A & <B>".to_owned(),
            site: Site {
                domains: vec!["lilas.mssante.fr".parse().unwrap()],
                services,
                ..Site::default()
            },
        };
        let text = document(&provider, &provider.site.domains[0]);
        assert!(text.contains("<displayName>A &amp; &lt;B&gt;</displayName>"), "{text}");
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));
        assert!(
            at("<port>11143</port>") < at("<port>11993</port>"),
            "STARTTLS comes first"
        );
        assert!(
            at("<port>11993</port>") < at("<port>11587</port>"),
            "incoming before outgoing"
        );
    }
}
