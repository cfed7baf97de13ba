//! The description of a sandbox's trust space: `config/sandbox.toml`, or the user's own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::authority::SpaceAuthority;
use super::declared::Declared;
use super::error::{ConfigErrors, Warning};
use super::file;
use super::limits::Limits;
use super::operator::{Operator, PortRange};
use super::reader::{self, At, Section};
use super::relay::Attempts;
use super::sending;
use super::value::Slug;
use crate::pki::Chain;
use crate::policy::submission::Rules;

/// A trust space as described.
#[derive(Clone, Debug)]
pub struct Space {
    /// Short name.
    pub name: String,
    /// Readiness, CRL, allow list and console, over HTTP.
    pub web: SocketAddr,
    /// The same over HTTPS, with a certificate of the space's authority.
    pub web_tls: SocketAddr,
    /// The space's zones, over UDP and TCP.
    pub dns: SocketAddr,
    /// Whether connections may leave for addresses other than this machine's.
    pub allow_remote: bool,
    /// How often revocation lists are renewed and every operator takes up what the authority publishes.
    pub refresh: Duration,
    /// When and how often its operators try to send.
    pub attempts: Attempts,
    /// What each of its operators allows at most.
    pub limits: Limits,
    /// What each asks of its users' messages.
    pub sending: Rules,
    /// Its authority.
    pub authority: SpaceAuthority,
    /// Its operators, in the order of the file; never empty.
    pub operators: Vec<Operator>,
}

impl Space {
    /// The text of the default space.
    pub const DEFAULT_TEXT: &str = include_str!("../../config/sandbox.toml");
    /// What messages call the default space.
    pub const DEFAULT_FILE: &str = "config/sandbox.toml";

    /// The default space, built into the program.
    pub fn default_space() -> Result<(Self, Vec<Warning>), ConfigErrors> {
        Self::parse(Self::DEFAULT_TEXT, Self::DEFAULT_FILE)
    }

    /// Reads a space from a file.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        Self::parse(&file::load(path)?, &path.display().to_string())
    }

    /// Reads a space; all mistakes come back at once, in the order of the lines.
    pub fn parse(text: &str, file_name: &str) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        reader::read(text, file_name, Self::read)
    }

    /// The operator with that key.
    pub fn operator(&self, key: &str) -> Option<&Operator> {
        self.operators.iter().find(|operator| operator.key == key)
    }

    fn read(root: &Section<'_>) -> Option<Self> {
        let mut declared = Declared::default();
        let header = root
            .required_section("space")
            .map(|header| Header::read(header, &mut declared));
        let default = PortRange {
            address: LOOPBACK,
            base: u32::from(PORT_BASE_DEFAULT),
        };
        let first = header.as_ref().map_or(default, |header| header.ports);
        let mut operators = Vec::new();
        for (rank, section) in (1_u32..).zip(root.sections("operator")) {
            let ports = PortRange {
                base: first.base + rank * PORTS_PER_OPERATOR,
                ..first
            };
            operators.extend(Operator::read(section, ports, &mut declared));
        }
        if root.sections("operator").is_empty() {
            root.wrong_here("the space has no operator".into(), "add at least one [[operator]]");
        }
        let authority = root.section("authority");
        let relay = root.section("relay");
        let attempts = Attempts::read(&relay);
        relay.close();
        let limits = Limits::read(root.section("limits"));
        let header = header?;
        Some(Self {
            authority: SpaceAuthority::read(authority, header.chain),
            name: header.name?,
            web: header.web,
            web_tls: header.web_tls,
            dns: header.dns,
            allow_remote: header.allow_remote,
            refresh: header.refresh,
            attempts,
            limits,
            sending: sending::read(root.section("sending")),
            operators,
        })
    }
}

/// `[space]`.
struct Header {
    name: Option<String>,
    ports: PortRange,
    web: SocketAddr,
    web_tls: SocketAddr,
    dns: SocketAddr,
    allow_remote: bool,
    refresh: Duration,
    chain: Chain,
}

impl Header {
    fn read(section: Section<'_>, declared: &mut Declared) -> Self {
        let name = section.required::<Slug>("name");
        let address = read_address(&section);
        let base = section.within("port_base", PORT_BASE_DEFAULT, PORT_BASE_SMALLEST..=PORT_BASE_LARGEST);
        let ports = PortRange {
            address,
            base: u32::from(base),
        };
        let web = ports.listen(&section, "web", HTTP, declared);
        let web_tls = ports.listen(&section, "web_tls", HTTPS, declared);
        let dns = ports.listen(&section, "dns", DNS, declared);
        let allow_remote = section.or("allow_remote", false);
        let refresh = section.within("refresh", REFRESH_DEFAULT, REFRESH_SHORTEST..=REFRESH_LONGEST);
        let chain = section.or("chain", Chain::default());
        section.close();
        Self {
            chain,
            name: name.map(|name| name.value.0),
            ports,
            web,
            web_tls,
            dns,
            allow_remote,
            refresh,
        }
    }
}

fn read_address(header: &Section<'_>) -> IpAddr {
    let Some(address) = header.optional::<IpAddr>("address") else {
        return LOOPBACK;
    };
    warn_of_exposure(header, &address);
    address.value
}

/// Test passwords are published in this repository.
fn warn_of_exposure(header: &Section<'_>, address: &At<IpAddr>) {
    if !address.is_loopback() {
        header.warn(
            address,
            format!(
                "{} is not a loopback address: others can reach the sandbox and its published passwords",
                address.value
            ),
        );
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HTTP: u32 = 80;
const HTTPS: u32 = 443;
const DNS: u32 = 53;
const PORT_BASE_DEFAULT: u16 = 10_000;
/// Below are the ports that only root may open.
const PORT_BASE_SMALLEST: u16 = 1_024;
const PORT_BASE_LARGEST: u16 = 64_000;
/// Far below the validity of a revocation list.
const REFRESH_DEFAULT: Duration = Duration::from_mins(10);
const REFRESH_SHORTEST: Duration = Duration::from_secs(1);
const REFRESH_LONGEST: Duration = Duration::from_hours(24);
/// So that the field's own port numbers fit below it.
const PORTS_PER_OPERATOR: u32 = 1_000;
