//! `[relay]`: how mail leaves for other operators.

use std::net::SocketAddr;
use std::time::Duration;

use toml::de::DeValue;

use super::declared::Unique;
use super::reader::{At, FromToml, Section, Wrong};
use super::value::{HostPort, choose};
use crate::dns::MailPort;
use crate::identity::Domain;

/// How mail leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// When and how often it is tried.
    pub attempts: Attempts,
    /// Port of hosts found by MX.
    pub port: MailPort,
    /// Name servers; the system's when empty.
    pub resolvers: Vec<SocketAddr>,
    /// Whether connections may leave this machine.
    pub allow_remote: bool,
    /// Domains whose hosts are not looked up.
    pub routes: Vec<Route>,
}

/// When and how often mail is tried: what the operators of a sandbox share with a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Waits between attempts; the last one repeats until [`Self::expiry`]. Never empty, never shrinking.
    pub retry: Vec<Duration>,
    /// After this long in the queue a message bounces.
    pub expiry: Duration,
    /// After this long in the queue its sender is told that a message is late; zero: never.
    pub delay_notice: Duration,
    /// Deliveries at the same time, in all.
    pub connections_max: u32,
    /// Deliveries at the same time to one domain.
    pub connections_per_domain_max: u32,
    /// How long a connection without mail stays open.
    pub connection_idle: Duration,
    /// How long a connection stays open at most.
    pub connection_age_max: Duration,
    /// Messages of one connection; 1: each has its own.
    pub messages_per_connection_max: u32,
    /// Longest wait for a TCP connection.
    pub connect_timeout: Duration,
    /// Longest wait for a reply to a command.
    pub reply_timeout: Duration,
    /// Longest wait for the reply to a whole message.
    pub delivery_timeout: Duration,
}

/// Where a domain's mail goes, without DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The recipients' domain.
    pub domain: Domain,
    /// Hosts in the order to try; never empty.
    pub hosts: Vec<HostPort>,
}

impl Relay {
    pub(super) fn read(section: Section<'_>) -> Self {
        let attempts = Attempts::read(&section);
        let port = read_port(&section);
        let resolvers = section.list::<SocketAddr>("resolvers");
        let allow_remote = section.or("allow_remote", true);
        let routes = read_routes(&section);
        section.close();
        Self {
            attempts,
            port,
            resolvers: resolvers.into_iter().map(|at| at.value).collect(),
            allow_remote,
            routes,
        }
    }
}

impl Attempts {
    /// Reads its keys of `[relay]`; the caller closes the section.
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            retry: read_retry(section),
            expiry: section.within("expiry", EXPIRY, MINUTE..=EXPIRY_LONGEST),
            delay_notice: section.within("delay_notice", DELAY_NOTICE, Duration::ZERO..=EXPIRY_LONGEST),
            connections_max: section.within("connections_max", CONNECTIONS, 1..=CONNECTIONS_LARGEST),
            connections_per_domain_max: section.within(
                "connections_per_domain_max",
                PER_DOMAIN,
                1..=CONNECTIONS_LARGEST,
            ),
            connection_idle: section.within("connection_idle", IDLE, SECOND..=WAIT_LONGEST),
            connection_age_max: section.within("connection_age_max", AGE, SECOND..=WAIT_LONGEST),
            messages_per_connection_max: section.within(
                "messages_per_connection_max",
                PER_CONNECTION,
                1..=PER_CONNECTION_LARGEST,
            ),
            connect_timeout: section.within("connect_timeout", CONNECT, SECOND..=WAIT_LONGEST),
            reply_timeout: section.within("reply_timeout", REPLY, SECOND..=WAIT_LONGEST),
            delivery_timeout: section.within("delivery_timeout", DELIVERY, SECOND..=WAIT_LONGEST),
        }
    }
}

fn read_port(section: &Section<'_>) -> MailPort {
    let Some(port) = section.optional::<MailPort>("port") else {
        return MailPort::Fixed(SMTP);
    };
    if port.value == MailPort::Fixed(0) {
        section.wrong(
            &port,
            "`relay.port` is 0, out of range".into(),
            "give something from 1 to 65535, or \"srv\"",
        );
    }
    port.value
}

impl FromToml for MailPort {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::Integer(_) => u16::from_toml(value).map(Self::Fixed),
            _ => choose(value, &[("srv", Self::Srv)]),
        }
    }
}

fn read_retry(section: &Section<'_>) -> Vec<Duration> {
    let waits = section.list::<Duration>("retry");
    if waits.is_empty() {
        return RETRY.to_vec();
    }
    if let Some(excess) = waits.get(RETRY_STEPS_MAX) {
        section.wrong(
            excess,
            format!("`relay.retry` has {} steps", waits.len()),
            format!("give at most {RETRY_STEPS_MAX}; the last one repeats"),
        );
    }
    for wait in waits.iter().filter(|wait| wait.value < SECOND) {
        section.wrong(
            wait,
            "`relay.retry` has a wait below one second".into(),
            "wait longer: the peer is asked again at this pace",
        );
    }
    for pair in waits.windows(2) {
        check_order(section, &pair[0], &pair[1]);
    }
    waits.into_iter().map(|wait| wait.value).collect()
}

fn check_order(section: &Section<'_>, before: &At<Duration>, after: &At<Duration>) {
    if after.value < before.value {
        section.wrong(
            after,
            "`relay.retry` has a wait shorter than the one before".into(),
            "order the waits from the shortest to the longest",
        );
    }
}

fn read_routes(section: &Section<'_>) -> Vec<Route> {
    let mut seen = Unique::default();
    let mut routes = Vec::new();
    for route in section.sections("route") {
        let domain = route.required::<Domain>("domain");
        let hosts = route.required_list::<HostPort>("hosts");
        if let Some(domain) = &domain {
            seen.declare(&route, domain, format_args!("route to {}", domain.value));
        }
        route.close();
        if let Some(domain) = domain {
            routes.push(Route {
                domain: domain.value,
                hosts: hosts.into_iter().map(|host| host.value).collect(),
            });
        }
    }
    routes
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
/// RFC 5321 §4.5.4.1 asks for 30 minutes between attempts, sooner at first, and 4 to 5 days in all; care cannot wait that long.
const RETRY: [Duration; 6] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
];
const RETRY_STEPS_MAX: usize = 32;
const EXPIRY: Duration = Duration::from_hours(48);
/// Half a working day.
const DELAY_NOTICE: Duration = Duration::from_hours(4);
const EXPIRY_LONGEST: Duration = Duration::from_hours(24 * 30);
const CONNECTIONS: u32 = 64;
const PER_DOMAIN: u32 = 20;
/// Well below the 5 minutes that a server must wait (RFC 5321 §4.5.3.2.7).
const IDLE: Duration = Duration::from_secs(2);
const AGE: Duration = Duration::from_mins(1);
const PER_CONNECTION: u32 = 1000;
const PER_CONNECTION_LARGEST: u32 = 1_000_000;
const CONNECTIONS_LARGEST: u32 = 10_000;
const SMTP: u16 = 25;
const CONNECT: Duration = Duration::from_secs(30);
/// RFC 5321 §4.5.3.2.1 to §4.5.3.2.3: five minutes.
const REPLY: Duration = Duration::from_mins(5);
/// RFC 5321 §4.5.3.2.6: ten minutes.
const DELIVERY: Duration = Duration::from_mins(10);
const WAIT_LONGEST: Duration = Duration::from_hours(1);
