//! MX look-ups of a gateway in a real network, through the system's resolver configuration.

use std::net::SocketAddr;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use super::{MailHost, RouteError, Routes};
use crate::identity::Domain;

/// Looks MX records up, then the addresses of their hosts.
pub struct MxResolver {
    resolver: TokioResolver,
    port: u16,
}

impl MxResolver {
    /// Asks these servers, or those of the system's resolver configuration when there are none; mail goes to `port` of each host.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr], port: u16) -> Result<Self, NetError> {
        let builder = match servers {
            [] => TokioResolver::builder_tokio()?,
            servers => {
                let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(name_server).collect());
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        Ok(Self {
            resolver: builder.build()?,
            port,
        })
    }

    async fn addresses(&self, host: &str) -> Result<Vec<SocketAddr>, NetError> {
        let found = self.resolver.lookup_ip(host).await?;
        Ok(found.iter().map(|ip| SocketAddr::new(ip, self.port)).collect())
    }
}

#[async_trait]
impl Routes for MxResolver {
    async fn mail_hosts(&self, domain: &Domain) -> Result<Vec<MailHost>, RouteError> {
        let answer = self
            .resolver
            .mx_lookup(format!("{domain}."))
            .await
            .map_err(|error| refine(domain, &error))?;
        let mut hosts = Vec::new();
        let mut last_error = None;
        for record in answer.answers().iter().take(HOSTS_MAX) {
            let RData::MX(mx) = &record.data else { continue };
            let name = mx.exchange.to_utf8();
            // RFC 7505 §3: a single "." says that the domain takes no mail.
            if name == "." {
                continue;
            }
            match self.addresses(&name).await {
                Ok(addresses) => {
                    let name = name.trim_end_matches('.').to_owned();
                    hosts.push(MailHost {
                        preference: mx.preference,
                        name,
                        addresses,
                    });
                }
                Err(error) => last_error = Some(refine(domain, &error)),
            }
        }
        hosts.sort();
        match (hosts.is_empty(), last_error) {
            (false, _) => Ok(hosts),
            (true, Some(error)) => Err(error),
            (true, None) => Err(RouteError::NoRoute(domain.clone())),
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// "There is none" and "nobody answered" lead to different fates: a bounce now, or another try.
fn refine(domain: &Domain, error: &NetError) -> RouteError {
    if error.is_no_records_found() {
        return RouteError::NoRoute(domain.clone());
    }
    RouteError::Unavailable {
        domain: domain.clone(),
        detail: error.to_string(),
    }
}

/// More MX hosts than this are ignored: a bound, far above what operators publish.
const HOSTS_MAX: usize = 16;
