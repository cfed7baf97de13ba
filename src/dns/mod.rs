//! Where the mail of a domain goes: the sandbox's own zone, a gateway's static routes, or real MX records.
//!
//! The allow list names domains and certificates, never hosts or ports, so MX is the only source of routes. Deliberately absent: any
//! fallback to the domain's own address without MX (RFC 5321 §5.1 "implicit MX"): inside a trust space a domain without MX is a mistake to report.

mod resolver;
mod zone;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use crate::identity::Domain;

pub use resolver::MxResolver;
pub use zone::Zone;

/// A server that takes mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailHost {
    /// MX preference: the lowest is tried first.
    pub preference: u16,
    /// Its name, for logs and for the TLS server name.
    pub name: String,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
}

/// Why no route is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The domain exists nowhere, or says that it takes no mail: trying again will not help soon.
    #[error("no MX record is known for {0}: its operator must publish one")]
    NoRoute(Domain),
    /// The question could not be answered now.
    #[error("the MX records of {domain} could not be looked up: {detail}")]
    Unavailable {
        /// The domain asked for.
        domain: Domain,
        /// What the resolver said.
        detail: String,
    },
}

/// Knows where mail goes.
#[async_trait]
pub trait Routes: Send + Sync {
    /// The hosts of a domain by ascending preference; never empty.
    async fn mail_hosts(&self, domain: &Domain) -> Result<Vec<MailHost>, RouteError>;
}

/// Static routes first, then MX look-ups when there is a resolver.
pub struct RouteTable {
    /// Routes that decide on their own; replaced whole.
    zone: ArcSwap<Zone>,
    /// Asked for every other domain.
    resolver: Option<MxResolver>,
}

/// Leaves only what stays on this machine.
fn loopback_only(hosts: Vec<MailHost>) -> Vec<MailHost> {
    let keep = |mut host: MailHost| {
        host.addresses
            .retain(|address| address.ip().to_canonical().is_loopback());
        host
    };
    hosts.into_iter().map(keep).collect()
}

impl RouteTable {
    /// With `resolver` absent, only the zone's domains have a route, and only to loopback addresses: nothing ever leaves this machine.
    pub fn new(zone: Arc<Zone>, resolver: Option<MxResolver>) -> Self {
        Self {
            zone: ArcSwap::new(zone),
            resolver,
        }
    }

    /// The zone in force.
    pub fn zone(&self) -> Arc<Zone> {
        self.zone.load_full()
    }

    /// Routes questions asked from now on by another zone.
    pub fn replace(&self, zone: Arc<Zone>) {
        self.zone.store(zone);
    }
}

#[async_trait]
impl Routes for RouteTable {
    async fn mail_hosts(&self, domain: &Domain) -> Result<Vec<MailHost>, RouteError> {
        match (self.zone().mail_hosts(domain).await, &self.resolver) {
            (Err(RouteError::NoRoute(_)), Some(resolver)) => resolver.mail_hosts(domain).await,
            (answer, None) => answer.map(loopback_only),
            (answer, Some(_)) => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_resolver_only_loopback_addresses_are_given() {
        let domain: Domain = "chu.mssante.fr".parse().unwrap();
        let addresses: Vec<SocketAddr> = ["192.0.2.7:25", "127.0.0.1:2525", "[::1]:2525"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let mut zone = Zone::default();
        let host = MailHost {
            preference: 10,
            name: "mx".to_owned(),
            addresses: addresses.clone(),
        };
        zone.add(domain.clone(), host);
        let zone = Arc::new(zone);
        let kept = RouteTable::new(Arc::clone(&zone), None)
            .mail_hosts(&domain)
            .await
            .unwrap();
        assert_eq!(kept[0].addresses, addresses[1..]);
        let resolver = MxResolver::new(&["127.0.0.1:53".parse().unwrap()], 25).unwrap();
        let all = RouteTable::new(zone, Some(resolver)).mail_hosts(&domain).await.unwrap();
        assert_eq!(all[0].addresses, addresses);
    }
}
