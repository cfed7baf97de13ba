//! Routes held in memory: the sandbox's zone, where a port belongs to each host, and a gateway's static routes.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{MailHost, RouteError, Routes};
use crate::identity::Domain;

/// MX records of known domains.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    hosts: HashMap<Domain, Vec<MailHost>>,
}

impl Zone {
    /// Adds a host to a domain.
    pub fn add(&mut self, domain: Domain, host: MailHost) {
        let hosts = self.hosts.entry(domain).or_default();
        hosts.push(host);
        hosts.sort();
    }
}

#[async_trait]
impl Routes for Zone {
    async fn mail_hosts(&self, domain: &Domain) -> Result<Vec<MailHost>, RouteError> {
        self.hosts
            .get(domain)
            .cloned()
            .ok_or_else(|| RouteError::NoRoute(domain.clone()))
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
