//! MX look-ups of a gateway in a real network, through the system's resolver configuration.

use std::collections::HashMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use super::{MailHost, RouteError, Routes};
use crate::identity::Domain;

/// On which port the hosts that MX records name take mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailPort {
    /// The same for all: 25 in the field.
    Fixed(u16),
    /// What `_smtp._tcp` SRV records say, of the domain or of the host, else 25. MX still decides which hosts and in which order: a
    /// sandbox, whose hosts share one address, publishes such records.
    Srv,
}

/// Looks MX records up, then the addresses of their hosts.
pub struct MxResolver {
    resolver: TokioResolver,
    port: MailPort,
}

impl MxResolver {
    /// Asks these servers, or those of the system's resolver configuration when there are none.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr], port: MailPort) -> Result<Self, NetError> {
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

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, NetError> {
        let found = self.resolver.lookup_ip(host).await?;
        let addresses = found.iter().map(|ip| SocketAddr::new(ip, port));
        Ok(addresses.take(ADDRESSES_MAX).collect())
    }

    /// What SRV records of a domain or host say: target, in lower case, and port; those that say "not offered" apart.
    async fn smtp_services(&self, owner: &str) -> Result<HashMap<String, u16>, NetError> {
        let answer = match self.resolver.srv_lookup(format!("_smtp._tcp.{owner}")).await {
            Ok(answer) => answer,
            Err(error) if error.is_no_records_found() => return Ok(HashMap::new()),
            Err(error) => return Err(error),
        };
        let mut ports = HashMap::new();
        for record in answer.answers().iter().take(HOSTS_MAX) {
            let RData::SRV(srv) = &record.data else { continue };
            if !srv.target.is_root() {
                ports.entry(srv.target.to_utf8().to_lowercase()).or_insert(srv.port);
            }
        }
        Ok(ports)
    }

    /// The port of one host, given what the domain's own SRV records say.
    async fn port_of(&self, host: &str, of_domain: &HashMap<String, u16>) -> Result<u16, NetError> {
        let port = match (self.port, of_domain.get(&host.to_lowercase())) {
            (MailPort::Fixed(port), _) => return Ok(port),
            (MailPort::Srv, Some(port)) => Some(*port),
            (MailPort::Srv, None) => self.smtp_services(host).await?.into_values().next(),
        };
        Ok(port.unwrap_or(SMTP))
    }

    /// The hosts of MX records, as they come; one that has no address now is an error to remember.
    async fn hosts_of(&self, domain: &Domain, exchanges: &[(u16, String)]) -> Result<Vec<MailHost>, NetError> {
        let ports = match self.port {
            MailPort::Srv => self.smtp_services(&format!("{domain}.")).await?,
            MailPort::Fixed(_) => HashMap::new(),
        };
        let mut hosts = Vec::new();
        let mut last_error = None;
        for (preference, name) in exchanges {
            let found = match self.port_of(name, &ports).await {
                Ok(port) => self.addresses(name, port).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(addresses) => hosts.push(MailHost {
                    preference: *preference,
                    name: name.trim_end_matches('.').to_owned(),
                    addresses,
                }),
                Err(error) => last_error = Some(error),
            }
        }
        match last_error {
            Some(error) if hosts.is_empty() => Err(error),
            _ => Ok(hosts),
        }
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
        let records = answer.answers().iter().filter_map(|record| match &record.data {
            // RFC 7505 §3: a single "." says that the domain takes no mail.
            RData::MX(mx) if !mx.exchange.is_root() => Some((mx.preference, mx.exchange.to_utf8())),
            _ => None,
        });
        let exchanges: Vec<(u16, String)> = records.take(HOSTS_MAX).collect();
        let mut hosts = self
            .hosts_of(domain, &exchanges)
            .await
            .map_err(|error| refine(domain, &error))?;
        if hosts.is_empty() {
            return Err(RouteError::NoRoute(domain.clone()));
        }
        hosts.sort();
        Ok(hosts)
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
/// Addresses of one host beyond this are ignored.
const ADDRESSES_MAX: usize = 8;
/// RFC 5321 §4.5.4.2.
const SMTP: u16 = 25;
