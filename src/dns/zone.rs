//! Routes held in memory: the sandbox's zone, where a port belongs to each host, and a gateway's static routes.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{MailHost, RouteError, Routes, Site};
use crate::identity::Domain;

/// MX records of known domains.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    hosts: HashMap<Domain, Vec<MailHost>>,
    /// Hosts whose addresses are asked of the system each time: they may move.
    named: HashMap<Domain, Vec<NamedHost>>,
}

#[derive(Clone, Debug)]
struct NamedHost {
    preference: u16,
    name: Domain,
    port: u16,
}

impl Zone {
    /// The MX records of these operators.
    pub fn of<'a>(sites: impl IntoIterator<Item = &'a Site>) -> Self {
        let mut zone = Self::default();
        for site in sites {
            for domain in &site.domains {
                for host in &site.mail_hosts {
                    zone.add(domain.clone(), host.clone());
                }
            }
        }
        zone
    }

    /// Adds a host to a domain.
    pub fn add(&mut self, domain: Domain, host: MailHost) {
        let hosts = self.hosts.entry(domain).or_default();
        hosts.push(host);
        hosts.sort();
    }

    /// Adds a host whose addresses the system looks up when it is used.
    pub fn add_named(&mut self, domain: Domain, preference: u16, name: Domain, port: u16) {
        self.named
            .entry(domain)
            .or_default()
            .push(NamedHost { preference, name, port });
    }
}

impl NamedHost {
    async fn resolve(&self) -> Option<MailHost> {
        match tokio::net::lookup_host((self.name.as_str(), self.port)).await {
            Ok(addresses) => {
                let addresses = addresses.collect();
                Some(MailHost {
                    preference: self.preference,
                    name: self.name.to_string(),
                    addresses,
                })
            }
            Err(error) => {
                tracing::warn!(host = %self.name, %error, "the host of a static route has no address now");
                None
            }
        }
    }
}

#[async_trait]
impl Routes for Zone {
    async fn mail_hosts(&self, domain: &Domain) -> Result<Vec<MailHost>, RouteError> {
        let mut hosts = self.hosts.get(domain).cloned().unwrap_or_default();
        let named = self.named.get(domain).map(Vec::as_slice).unwrap_or_default();
        for host in named {
            hosts.extend(host.resolve().await);
        }
        hosts.sort();
        match (hosts.is_empty(), named.is_empty()) {
            (false, _) => Ok(hosts),
            (true, true) => Err(RouteError::NoRoute(domain.clone())),
            (true, false) => Err(RouteError::Unavailable {
                domain: domain.clone(),
                detail: "no host of its static route has an address".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(preference: u16, name: &str) -> MailHost {
        MailHost {
            preference,
            name: name.to_owned(),
            addresses: vec!["127.0.0.1:2525".parse().unwrap()],
        }
    }

    #[tokio::test]
    async fn hosts_come_by_preference_and_an_unknown_domain_has_no_route() {
        let domain: Domain = "chu.mssante.fr".parse().unwrap();
        let mut zone = Zone::default();
        zone.add(domain.clone(), host(20, "mx2"));
        zone.add(domain.clone(), host(10, "mx1"));
        let names: Vec<String> = zone
            .mail_hosts(&domain)
            .await
            .unwrap()
            .into_iter()
            .map(|h| h.name)
            .collect();
        assert_eq!(names, ["mx1", "mx2"]);
        let unknown: Domain = "ailleurs.mssante.fr".parse().unwrap();
        assert_eq!(zone.mail_hosts(&unknown).await, Err(RouteError::NoRoute(unknown)));
    }
}
