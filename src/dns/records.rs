//! What the sandbox's name server says: the zones of its domains and hosts, built anew whenever the space changes.
//!
//! Ports below 1024 are not ours, so every port a record can carry is in a record: SRV for what clients look up (RFC 6186, RFC 8314 §5.1),
//! and `_smtp._tcp` for the mail hosts, which the field reaches on port 25 without asking.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::proto::rr::rdata::caa::CAA;
use hickory_resolver::proto::rr::rdata::{A, AAAA, MX, NS, SOA, SRV, TXT};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record};

use super::MailHost;
use crate::identity::Domain;

/// One operator as its DNS shows it.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Its mail domains.
    pub domains: Vec<Domain>,
    /// Its servers for other operators.
    pub mail_hosts: Vec<MailHost>,
    /// Where its clients connect. A service that is not here is published as not offered (RFC 6186 §3.4).
    pub services: Vec<ServicePlace>,
}

/// Where clients find a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlace {
    /// Which one.
    pub service: Service,
    /// Host name, one that its certificate carries.
    pub host: Domain,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A service that clients look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Submission with STARTTLS.
    Submission,
    /// Submission over implicit TLS.
    Submissions,
    /// IMAP with STARTTLS.
    Imap,
    /// IMAP over implicit TLS.
    Imaps,
}

impl Service {
    /// Every service that may be offered.
    pub const ALL: [Self; 4] = [Self::Submission, Self::Submissions, Self::Imap, Self::Imaps];

    /// The labels of its SRV records (RFC 6186 §3.1 and §3.2, RFC 8314 §5.1).
    pub fn label(self) -> &'static str {
        match self {
            Self::Submission => "_submission._tcp",
            Self::Submissions => "_submissions._tcp",
            Self::Imap => "_imap._tcp",
            Self::Imaps => "_imaps._tcp",
        }
    }

    /// STARTTLS first: it is what the field's rules name (ECO.1.0.1, ECO.1.0.2).
    fn priority(self) -> u16 {
        match self {
            Self::Submission | Self::Imap => 0,
            Self::Submissions | Self::Imaps => 10,
        }
    }
}

/// The records of every zone of a space.
#[derive(Debug, Default)]
pub struct Records {
    /// SOA by apex. No apex lies below another one.
    zones: BTreeMap<LowerName, Record>,
    /// Records by owner; an owner without records exists because something lies below it (RFC 8020).
    nodes: HashMap<LowerName, Vec<Record>>,
}

/// What is known of a name.
pub(super) enum Found<'a> {
    /// It is in no zone of ours.
    NotOurs,
    /// It does not exist; the SOA says for how long that may be believed.
    NoName(&'a Record),
    /// It exists, with these records.
    Name(&'a [Record], &'a Record),
}

impl Records {
    /// The zones of `sites`, and of the authority's web face at `web`, which serves autoconfiguration for every domain. `serial` grows
    /// with every version (RFC 1982).
    pub fn new<'a>(sites: impl IntoIterator<Item = &'a Site>, web: (&Domain, IpAddr), serial: u32) -> Self {
        let sites: Vec<&Site> = sites.into_iter().collect();
        let mut records = Self::default();
        records.open_zones(&sites, web.0, serial);
        records.add_addresses(web.0.as_str(), &[web.1]);
        records.add_addresses(&format!("{NAME_SERVER}.{}", web.0), &[web.1]);
        for site in sites {
            records.add_hosts(site, web.0);
            for domain in &site.domains {
                records.add_domain(domain, site, web);
            }
        }
        records
    }

    /// What is known of a name.
    pub(super) fn find(&self, name: &LowerName) -> Found<'_> {
        let Some(soa) = self.zone_of(name) else {
            return Found::NotOurs;
        };
        match self.nodes.get(name) {
            Some(records) => Found::Name(records, soa),
            None => Found::NoName(soa),
        }
    }

    /// Number of zones and of records, for the log.
    pub fn size(&self) -> (usize, usize) {
        (self.zones.len(), self.nodes.values().map(Vec::len).sum())
    }

    fn zone_of(&self, name: &LowerName) -> Option<&Record> {
        let mut apex = name.clone();
        loop {
            if let Some(soa) = self.zones.get(&apex) {
                return Some(soa);
            }
            if apex.is_root() {
                return None;
            }
            apex = apex.base_name();
        }
    }

    /// A domain below `mssante.fr` makes us speak for `mssante.fr`: whoever asks for an unlisted neighbour hears that it does not exist,
    /// instead of an error that promises better luck later.
    fn open_zones(&mut self, sites: &[&Site], web: &Domain, serial: u32) {
        let domains = sites.iter().flat_map(|site| &site.domains).map(parent);
        let hosts = sites.iter().flat_map(|site| {
            let clients = site.services.iter().map(|place| place.host.as_str());
            site.mail_hosts.iter().map(|host| host.name.as_str()).chain(clients)
        });
        let hosts = hosts.chain([web.as_str()]).map(host_zone);
        let mut apexes: Vec<LowerName> = domains
            .chain(hosts)
            .filter_map(|text| name(&text))
            .map(|n| LowerName::from(&n))
            .collect();
        apexes.sort_by_key(LowerName::num_labels);
        for apex in apexes {
            if self.zone_of(&apex).is_none() {
                self.open_zone(&apex, web, serial);
            }
        }
    }

    fn open_zone(&mut self, apex: &LowerName, web: &Domain, serial: u32) {
        let (Some(server), Some(contact)) = (
            name(&format!("{NAME_SERVER}.{web}")),
            name(&format!("hostmaster.{web}")),
        ) else {
            return;
        };
        let owner = Name::from(apex.clone());
        let soa = SOA::new(
            server.clone(),
            contact,
            serial,
            REFRESH_SECONDS,
            RETRY_SECONDS,
            EXPIRE_SECONDS,
            TTL_SECONDS,
        );
        let soa = Record::from_rdata(owner.clone(), TTL_SECONDS, RData::SOA(soa));
        self.zones.insert(apex.clone(), soa.clone());
        self.push(soa);
        self.add(&owner.to_ascii(), RData::NS(NS(server)));
    }

    fn add_hosts(&mut self, site: &Site, authority: &Domain) {
        for host in &site.mail_hosts {
            let addresses: Vec<IpAddr> = host.addresses.iter().map(SocketAddr::ip).collect();
            self.add_addresses(&host.name, &addresses);
            self.add_issuer(&host.name, authority);
            for address in &host.addresses {
                self.add_srv(&format!("_smtp._tcp.{}", host.name), (0, address.port()), &host.name);
            }
        }
        for place in &site.services {
            self.add_addresses(place.host.as_str(), &[place.address.ip()]);
        }
    }

    fn add_domain(&mut self, domain: &Domain, site: &Site, (authority, web): (&Domain, IpAddr)) {
        let text = domain.as_str();
        for host in &site.mail_hosts {
            if let Some(exchange) = name(&host.name) {
                self.add(text, RData::MX(MX::new(host.preference, exchange)));
            }
            for address in &host.addresses {
                self.add_srv(
                    &format!("_smtp._tcp.{text}"),
                    (host.preference, address.port()),
                    &host.name,
                );
            }
        }
        self.add(text, RData::TXT(TXT::new(vec!["v=spf1 mx -all".to_owned()])));
        self.add_issuer(text, authority);
        for service in Service::ALL {
            let owner = format!("{}.{text}", service.label());
            let mut offered = site.services.iter().filter(|place| place.service == service).peekable();
            if offered.peek().is_none() {
                self.add_srv(&owner, (0, 0), ".");
            }
            for place in offered {
                self.add_srv(&owner, (service.priority(), place.address.port()), place.host.as_str());
            }
        }
        for absent in ["_pop3._tcp", "_pop3s._tcp"] {
            self.add_srv(&format!("{absent}.{text}"), (0, 0), ".");
        }
        self.add_addresses(&format!("autoconfig.{text}"), &[web]);
    }

    fn add_srv(&mut self, owner: &str, (priority, port): (u16, u16), target: &str) {
        if let Some(target) = name(target) {
            self.add(owner, RData::SRV(SRV::new(priority, 0, port, target)));
        }
    }

    /// RFC 8659 §4: only the space's own authority issues for this name.
    fn add_issuer(&mut self, owner: &str, authority: &Domain) {
        // Written as text in the record, hence without the dot at the end.
        let issuer = Name::from_ascii(authority.as_str()).ok();
        self.add(owner, RData::CAA(CAA::new_issue(false, issuer, Vec::new())));
    }

    fn add_addresses(&mut self, owner: &str, addresses: &[IpAddr]) {
        for address in addresses {
            self.add(
                owner,
                match connectable(*address) {
                    IpAddr::V4(ip) => RData::A(A(ip)),
                    IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
                },
            );
        }
    }

    fn add(&mut self, owner: &str, data: RData) {
        if let Some(owner) = name(owner) {
            self.push(Record::from_rdata(owner, TTL_SECONDS, data));
        } else {
            tracing::warn!(owner, "a name too long for DNS has no records");
        }
    }

    /// The same record twice is one; every name above it up to the apex exists from then on.
    fn push(&mut self, record: Record) {
        let mut above = LowerName::from(&record.name);
        let records = self.nodes.entry(above.clone()).or_default();
        if !records.iter().any(|known| known.data == record.data) {
            records.push(record);
        }
        while !self.zones.contains_key(&above) && !above.is_root() {
            above = above.base_name();
            if self.zone_of(&above).is_some() {
                self.nodes.entry(above.clone()).or_default();
            }
        }
    }
}

/// Absolute, whether `text` ends in a dot or not.
fn name(text: &str) -> Option<Name> {
    Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).ok()
}

/// The zone a mail domain is in: the name above it, unless that is a top-level domain.
fn parent(domain: &Domain) -> String {
    match domain.as_str().split_once('.') {
        Some((_, above)) if above.contains('.') => above.to_owned(),
        _ => domain.to_string(),
    }
}

/// The zone a host is in, when it is in no mail domain's. RFC 6761 §6.3 keeps `localhost` for this machine.
fn host_zone(host: &str) -> String {
    match host.split_once('.') {
        Some((_, above)) if above == LOCALHOST || above.ends_with(".localhost") => LOCALHOST.to_owned(),
        Some((_, above)) if above.contains('.') => above.to_owned(),
        _ => host.to_owned(),
    }
}

/// "Any address of this machine" is no address to connect to.
fn connectable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

const LOCALHOST: &str = "localhost";
const NAME_SERVER: &str = "ns";
/// Short: operators and domains move while the space runs, and a resolver must not remember the place before for long.
const TTL_SECONDS: u32 = 5;
/// For secondary servers, which nobody runs for a sandbox.
const REFRESH_SECONDS: i32 = 60;
const RETRY_SECONDS: i32 = 30;
const EXPIRE_SECONDS: i32 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn records(domains: &[&str]) -> Records {
        let site = Site {
            domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
            mail_hosts: vec![MailHost {
                preference: 10,
                name: "mx.lilas.localhost".to_owned(),
                addresses: vec!["127.0.0.1:11025".parse().unwrap()],
            }],
            services: Vec::new(),
        };
        Records::new(
            &[site],
            (&"authority.localhost".parse().unwrap(), Ipv4Addr::LOCALHOST.into()),
            7,
        )
    }

    fn zones(records: &Records) -> Vec<String> {
        records.zones.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn neighbouring_domains_share_the_zone_above_them_and_none_lies_in_another() {
        assert_eq!(
            zones(&records(&["lilas.mssante.fr", "chu.mssante.fr"])),
            ["mssante.fr.", "localhost."]
        );
        assert_eq!(
            zones(&records(&["lilas.mssante.fr", "mssante.fr"])),
            ["mssante.fr.", "localhost."]
        );
        assert_eq!(
            zones(&records(&["a.b.mssante.fr", "c.mssante.fr"])),
            ["mssante.fr.", "localhost."]
        );
        assert_eq!(zones(&records(&["apicrypt.org"])), ["localhost.", "apicrypt.org."]);
    }

    #[test]
    fn an_operator_with_several_domains_has_one_record_per_host() {
        let records = records(&["lilas.mssante.fr", "chu.mssante.fr"]);
        let host = LowerName::from(&name("MX.lilas.localhost").unwrap());
        let Found::Name(found, _) = records.find(&host) else {
            panic!("the host exists")
        };
        assert_eq!(found.len(), 2, "one address, one issuer: {found:?}");
    }
}
