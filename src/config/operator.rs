//! `[[operator]]` of a space: one operator, its hosts and ports, and its directory.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

use super::declared::Declared;
use super::directory::DirectorySection;
use super::login::{Issuer, Login};
use super::patient::{Patient, read_patients};
use super::postmaster::Postmaster;
use super::reader::{At, FromToml, Section, Wrong};
use super::retention::{Quota, Retention};
use super::search::Search;
use super::value::{HostPort, Size, Slug, Structure, choose, text_of};
use crate::directory::{Directory, DirectoryError};
use crate::identity::{Domain, SubjectDn};

/// One operator of a space.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Short name, unique in the space: `lilas`.
    pub key: String,
    /// Raison sociale: the O of its certificates.
    pub name: String,
    /// Its structure: the OU of its certificates.
    pub structure: Structure,
    /// Département as certificates write it, `Rhône (69)`: their ST.
    pub department: String,
    /// Mail domains; empty only while the last ones are leaving.
    pub domains: Vec<Domain>,
    /// Domains that moved to another operator a moment ago: until all is copied and sent, it is still listed for them.
    pub leaving: Vec<Leaving>,
    /// Whether it is in the allow list.
    pub standing: Standing,
    /// Largest message it takes, in bytes of the encoded message.
    pub size_bytes_max: u64,
    /// What a box may hold, in bytes, unless it says otherwise; `None`: no limit.
    pub quota_bytes: Option<u64>,
    /// How long things are kept.
    pub retention: Retention,
    /// What is indexed for searches.
    pub search: Search,
    /// Who runs it, and where it listens.
    pub side: Side,
    /// Its directory; empty for an external operator.
    pub directory: DirectorySection,
    /// Its patients: only the operator of `patient.mssante.fr` has any.
    pub patients: Vec<Patient>,
}

/// Whether an operator takes part in the trust space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is in the allow list.
    Active,
    /// It runs, its users read their mail, and no other operator exchanges mail with it.
    Suspended,
}

/// A domain on its way to another operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The domain.
    pub domain: Domain,
    /// The operator that has it now.
    pub to: String,
    /// Both operators are listed for it at least until then.
    pub until: Timestamp,
}

/// Who runs an operator.
#[derive(Clone, Debug)]
pub enum Side {
    /// The sandbox.
    Local {
        /// Its MX hosts; never empty.
        hosts: Vec<LocalHost>,
        /// Where its clients connect.
        clients: ClientPorts,
    },
    /// The user: a server of theirs takes part in the space.
    External {
        /// Its MX hosts; never empty.
        hosts: Vec<ExternalHost>,
    },
}

/// An MX host that the sandbox runs; it has its own SERV SSL certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalHost {
    /// Host name: the CN of its certificate.
    pub name: Domain,
    /// MX preference: the smallest is tried first (RFC 5321 §5.1).
    pub preference: u16,
    /// Where it listens for other operators.
    pub listen: SocketAddr,
}

/// An MX host that the user runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalHost {
    /// Host name.
    pub name: Domain,
    /// MX preference.
    pub preference: u16,
    /// Where it can be reached.
    pub reach: HostPort,
    /// Its certificate.
    pub certificate: HostCertificate,
}

/// The certificate of an external host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCertificate {
    /// The sandbox issues it, for the user to install.
    Issued,
    /// The user has one; the allow list names this subject.
    Subject(SubjectDn),
}

/// Where clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPorts {
    /// Submission with STARTTLS (587 in the field).
    pub submission: SocketAddr,
    /// Submission with implicit TLS (465).
    pub submissions: SocketAddr,
    /// IMAP with STARTTLS (143).
    pub imap: SocketAddr,
    /// IMAP with implicit TLS (993).
    pub imaps: SocketAddr,
}

impl Operator {
    /// Its directory. `subject_of` gives the subject of a login's certificate once issued; without it the login opens nothing.
    pub fn directory(&self, subject_of: impl Fn(&Login) -> Option<SubjectDn>) -> Result<Directory, DirectoryError> {
        let mut directory = self.directory.build(self.domains.clone(), subject_of)?;
        for patient in &self.patients {
            directory.add_box(patient.mailbox())?;
            directory.add_password(patient.login())?;
        }
        directory.set_quota_default(self.quota_bytes);
        directory.set_leaving(self.leaving.iter().map(|leaving| leaving.domain.clone()).collect());
        Ok(directory)
    }

    /// Whether the sandbox runs it.
    pub fn is_local(&self) -> bool {
        matches!(self.side, Side::Local { .. })
    }

    /// Reads one `[[operator]]`; `ports` are the ones it takes by default.
    pub(super) fn read(section: Section<'_>, ports: PortRange, declared: &mut Declared) -> Option<Self> {
        let key = section.required::<Slug>("key");
        let name = section.required::<String>("name");
        let structure = section.required::<Structure>("structure");
        let department = section.required::<String>("department");
        let kind = section.or("kind", Kind::Local);
        let leaving = read_leaving(&section);
        let domains = if leaving.is_empty() {
            section.required_list::<Domain>("domains")
        } else {
            section.list::<Domain>("domains")
        };
        let standing = section.or("state", Standing::Active);
        let ports = PortRange {
            base: section.or("port_base", ports.base),
            ..ports
        };
        let largest = section.within("size_max", SIZE_DEFAULT, SIZE_SMALLEST..=SIZE_LARGEST);
        let quota_bytes = Quota::read(&section).and_then(|quota| quota.0);
        let retention = Retention::read(section.section("retention"));
        let search = Search::read(section.section("search"));
        if let Some(key) = &key {
            let named = At {
                value: key.value.0.clone(),
                span: key.span.clone(),
            };
            declared
                .operators
                .declare(&section, &named, format_args!("operator {}", key.value.0));
        }
        for domain in &domains {
            declared
                .domains
                .declare(&section, domain, format_args!("domain {}", domain.value));
        }
        let domains: Vec<Domain> = domains.into_iter().map(|domain| domain.value).collect();
        let side = match kind {
            Kind::Local => read_local(&section, ports, declared),
            Kind::External => read_external(&section, declared),
        };
        let directory = match kind {
            Kind::Local => {
                let postmaster = Postmaster::read(&section);
                DirectorySection::read(&section, (&domains, postmaster), Issuer::Sandbox, declared)
            }
            Kind::External => DirectorySection::default(),
        };
        let patients = match kind {
            Kind::Local => read_patients(&section, &domains, declared),
            Kind::External => Vec::new(),
        };
        section.close();
        Some(Self {
            key: key?.value.0,
            name: name?.value,
            structure: structure?.value,
            department: department?.value,
            domains,
            leaving,
            standing,
            size_bytes_max: largest.0,
            quota_bytes,
            retention,
            search,
            side,
            directory,
            patients,
        })
    }
}

/// The ports that an operator takes where it names none: a base plus the field's own port number.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortRange {
    pub(super) address: IpAddr,
    pub(super) base: u32,
}

impl PortRange {
    /// The port under `key`, or base + `usual`; two listeners never share one.
    pub(super) fn listen(
        self,
        section: &Section<'_>,
        key: &'static str,
        usual: u32,
        declared: &mut Declared,
    ) -> SocketAddr {
        let port = section.optional::<u16>(key).unwrap_or_else(|| At {
            value: u16::try_from(self.base + usual).unwrap_or(0),
            span: section.here().span,
        });
        if port.value == 0 {
            section.wrong(
                &port,
                format!("no port for `{key}`: {} is not one", self.base + usual),
                "write a port from 1 to 65535, or lower port_base",
            );
        } else {
            declared
                .ports
                .declare(section, &port, format_args!("port {} (`{key}`)", port.value));
        }
        SocketAddr::new(self.address, port.value)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Local,
    External,
}

impl FromToml for Kind {
    fn from_toml(value: &toml::de::DeValue<'_>) -> Result<Self, Wrong> {
        choose(value, &[("local", Self::Local), ("external", Self::External)])
    }
}

impl FromToml for Standing {
    fn from_toml(value: &toml::de::DeValue<'_>) -> Result<Self, Wrong> {
        choose(value, &[("active", Self::Active), ("suspended", Self::Suspended)])
    }
}

impl FromToml for Timestamp {
    /// `"2026-11-21T10:00:00Z"`.
    fn from_toml(value: &toml::de::DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "a moment, such as \"2026-11-21T10:00:00Z\",")?;
        text.parse().map_err(|_| {
            Wrong::new(
                format!("{text:?} is not a moment"),
                "write date, time and Z for UTC: \"2026-11-21T10:00:00Z\"",
            )
        })
    }
}

fn read_leaving(section: &Section<'_>) -> Vec<Leaving> {
    let mut leaving = Vec::new();
    for one in section.sections("leaving") {
        let domain = one.required::<Domain>("domain");
        let to = one.required::<Slug>("to");
        let until = one.required::<Timestamp>("until");
        one.close();
        if let (Some(domain), Some(to), Some(until)) = (domain, to, until) {
            leaving.push(Leaving {
                domain: domain.value,
                to: to.value.0,
                until: until.value,
            });
        }
    }
    leaving
}

fn read_local(section: &Section<'_>, ports: PortRange, declared: &mut Declared) -> Side {
    let mut hosts = Vec::new();
    for (rank, host) in (0_u32..).zip(section.sections("host")) {
        let name = read_host_name(&host, declared);
        let preference = host.or("preference", PREFERENCE_DEFAULT);
        let listen = ports.listen(&host, "smtp", SMTP + rank, declared);
        host.close();
        if let Some(name) = name {
            hosts.push(LocalHost {
                name,
                preference,
                listen,
            });
        }
    }
    at_least_one_host(section);
    let mut listen = |key, usual| ports.listen(section, key, usual, declared);
    let clients = ClientPorts {
        submission: listen("submission", SUBMISSION),
        submissions: listen("submissions", SUBMISSIONS),
        imap: listen("imap", IMAP),
        imaps: listen("imaps", IMAPS),
    };
    Side::Local { hosts, clients }
}

fn read_external(section: &Section<'_>, declared: &mut Declared) -> Side {
    let mut hosts = Vec::new();
    for host in section.sections("host") {
        let name = read_host_name(&host, declared);
        let preference = host.or("preference", PREFERENCE_DEFAULT);
        let reach = host.required::<HostPort>("reach");
        let issue = host.or("issue", false);
        let subject = host.optional::<SubjectDn>("subject");
        let certificate = match (issue, subject) {
            (true, None) => Some(HostCertificate::Issued),
            (false, Some(subject)) => Some(HostCertificate::Subject(subject.value)),
            _ => {
                host.wrong_here(
                    "the host needs one of `issue = true` and `subject`".into(),
                    "let the sandbox issue its certificate, or give the subject of the one it has",
                );
                None
            }
        };
        host.close();
        if let (Some(name), Some(reach), Some(certificate)) = (name, reach, certificate) {
            hosts.push(ExternalHost {
                name,
                preference,
                reach: reach.value,
                certificate,
            });
        }
    }
    at_least_one_host(section);
    Side::External { hosts }
}

fn read_host_name(host: &Section<'_>, declared: &mut Declared) -> Option<Domain> {
    let name = host.required::<Domain>("name")?;
    declared.hosts.declare(host, &name, format_args!("host {}", name.value));
    Some(name.value)
}

fn at_least_one_host(section: &Section<'_>) {
    if section.sections("host").is_empty() {
        section.wrong_here(
            "the operator has no MX host".into(),
            "add at least one [[operator.host]]",
        );
    }
}

/// RFC 5321 §5.1: any value will do while there is one host.
const PREFERENCE_DEFAULT: u16 = 10;
const SMTP: u32 = 25;
const SUBMISSION: u32 = 587;
const SUBMISSIONS: u32 = 465;
const IMAP: u32 = 143;
const IMAPS: u32 = 993;
/// Common in the field (10 to 25 MB), and what the patient space takes.
pub(super) const SIZE_DEFAULT: Size = Size(25 << 20);
/// RFC 5321 §4.5.3.1.7: every server takes at least 64 KiB.
pub(super) const SIZE_SMALLEST: Size = Size(64 << 10);
pub(super) const SIZE_LARGEST: Size = Size(1 << 30);
