//! Where the mail of a domain goes: the sandbox's own zone, a gateway's static routes, or real MX records; and the name server that shows
//! the sandbox's zone to everybody else.
//!
//! The allow list names domains and certificates, never hosts or ports, so MX is the only source of routes. Deliberately absent: any
//! fallback to the domain's own address without MX (RFC 5321 §5.1 "implicit MX"): inside a trust space a domain without MX is a mistake to report.

mod answer;
mod records;
mod resolver;
mod server;
mod zone;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use crate::identity::Domain;

pub use answer::{Transport, answer};
pub use records::{Records, Service, ServicePlace, Site};
pub use resolver::{MailPort, MxResolver};
pub use server::{NameServer, NameSockets};
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
    /// Routes that decide on their own.
    zone: ArcSwap<Zone>,
    /// Asked for every other domain.
    resolver: Option<MxResolver>,
    /// Which addresses may be used.
    reach: Reach,
}

/// How far mail may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Loopback addresses only: nothing ever leaves this machine.
    ThisMachine,
    /// Any address.
    Anywhere,
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
    /// With `resolver` absent, only the zone's domains have a route.
    pub fn new(zone: Arc<Zone>, resolver: Option<MxResolver>, reach: Reach) -> Self {
        Self {
            zone: ArcSwap::new(zone),
            resolver,
            reach,
        }
    }

    /// The zone in force.
    pub fn zone(&self) -> Arc<Zone> {
        self.zone.load_full()
    }

    /// Routes questions asked from now on by another zone; attempts under way keep the hosts they asked for.
    pub fn replace(&self, zone: Arc<Zone>) {
        self.zone.store(zone);
    }
}

#[async_trait]
impl Routes for RouteTable {
    async fn mail_hosts(&self, domain: &Domain) -> Result<Vec<MailHost>, RouteError> {
        let answer = match (self.zone().mail_hosts(domain).await, &self.resolver) {
            (Err(RouteError::NoRoute(_)), Some(resolver)) => resolver.mail_hosts(domain).await,
            (answer, _) => answer,
        };
        match self.reach {
            Reach::ThisMachine => answer.map(loopback_only),
            Reach::Anywhere => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> Domain {
        "chu.mssante.fr".parse().unwrap()
    }

    fn zone(addresses: &[&str]) -> Arc<Zone> {
        let mut zone = Zone::default();
        let host = MailHost {
            preference: 10,
            name: "mx".to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        zone.add(domain(), host);
        Arc::new(zone)
    }

    async fn addresses(table: &RouteTable) -> Vec<String> {
        let hosts = table.mail_hosts(&domain()).await.unwrap();
        hosts[0].addresses.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn mail_that_may_not_leave_this_machine_has_loopback_addresses_only() {
        let all = ["192.0.2.7:25", "127.0.0.1:2525", "[::1]:2525"];
        let rehearsal = RouteTable::new(zone(&all), None, Reach::ThisMachine);
        assert_eq!(addresses(&rehearsal).await, all[1..]);
        let real = RouteTable::new(zone(&all), None, Reach::Anywhere);
        assert_eq!(addresses(&real).await, all);
    }

    #[tokio::test]
    async fn routes_follow_the_zone_that_replaced_theirs() {
        let table = RouteTable::new(zone(&["127.0.0.1:1"]), None, Reach::ThisMachine);
        table.replace(zone(&["127.0.0.1:2"]));
        assert_eq!(addresses(&table).await, ["127.0.0.1:2"]);
        table.replace(Arc::default());
        assert_eq!(table.mail_hosts(&domain()).await, Err(RouteError::NoRoute(domain())));
    }
}
