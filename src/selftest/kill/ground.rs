//! What two operators need to stand in a folder: certificates of a throw-away authority, an allow list, configuration files.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::pki::{
    self, Authority, AuthorityError, AuthorityOptions, Expectation, Identity, IdentityError, Issued, KeyKind,
    MissingRevocation, Names, Profile, Request, RevocationPolicy, Subject, TlsMinimum, TrustStore, TrustStoreError,
    client_config,
};

/// The two operators, by number.
pub(super) const OPERATORS: [&str; 2] = ["nord", "sud"];
/// A third one, whose relay is this program: it hands mail over and never receives any.
pub(super) const PEER: &str = "est";
/// Boxes of each operator that receive.
pub(super) const BOXES: [&str; 3] = ["accueil", "soins", "pharmacie"];

/// Everything on disk, ready for `serve`.
pub(super) struct Ground {
    folder: PathBuf,
    authority: Arc<TrustStore>,
    /// The peer's certificate.
    peer: Identity,
    /// The software of each operator.
    software: Vec<Identity>,
    ports: Vec<Ports>,
}

/// Where an operator listens, on loopback, and always again after a restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) smtp: u16,
    pub(super) submissions: u16,
}

/// Why the ground could not be laid.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// A file or a port.
    #[error("{what}: {source}")]
    System {
        /// Which.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The throw-away authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate that was just made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authority's certificates.
    #[error(transparent)]
    Trust(#[from] TrustStoreError),
    /// A file of a certificate.
    #[error(transparent)]
    File(#[from] pki::FileError),
    /// TLS.
    #[error("TLS of the sender: {0}")]
    Tls(String),
}

impl Ground {
    /// Lays it in `folder`.
    pub(super) fn lay(folder: &Path, now: Timestamp) -> Result<Self, GroundError> {
        let options = AuthorityOptions {
            base_url: String::from("http://127.0.0.1:9"),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        let authority = Authority::create_or_open(&folder.join("authority"), options, now)?;
        let bundle = pki::trust_bundle(&authority);
        pki::write_public(&folder.join("ca.pem"), bundle.as_bytes())?;
        let trust = TrustStore::from_pem(bundle.as_bytes())?.with_revocation(RevocationPolicy {
            missing: MissingRevocation::Accept,
            ..RevocationPolicy::default()
        });
        let mut listed = Vec::new();
        let mut software = Vec::new();
        for name in OPERATORS {
            let server = authority.issue(&server(name), now)?;
            listed.push((name, server.subject.to_string()));
            write_pair(folder, name, &server)?;
            let login = authority.issue(&login(name), now)?;
            write_pair(folder, &format!("dui-{name}"), &login)?;
            software.push(login.identity()?);
        }
        let peer = authority.issue(&server(PEER), now)?;
        listed.push((PEER, peer.subject.to_string()));
        write(&folder.join("allow-list.xml"), &allow_list(&listed))?;
        let ports = free_ports()?;
        for (number, name) in OPERATORS.iter().enumerate() {
            let text = configuration(number, &ports);
            write(&folder.join(format!("{name}.toml")), &text)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            authority: Arc::new(trust),
            peer: peer.identity()?,
            software,
            ports,
        })
    }

    /// The configuration file of an operator.
    pub(super) fn configuration(&self, operator: usize) -> PathBuf {
        self.folder.join(format!("{}.toml", name(operator)))
    }

    /// The data folder of an operator.
    pub(super) fn data(&self, operator: usize) -> PathBuf {
        self.folder.join(format!("data-{}", name(operator)))
    }

    /// What an operator writes to standard error.
    pub(super) fn log(&self, operator: usize) -> PathBuf {
        self.folder.join(format!("{}.log", name(operator)))
    }

    /// Where an operator listens.
    pub(super) fn ports(&self, operator: usize) -> Ports {
        self.ports.get(operator).copied().unwrap_or(Ports {
            smtp: 0,
            submissions: 0,
        })
    }

    /// TLS of the peer (`None`), or of the software of an operator.
    pub(super) fn tls(&self, software: Option<usize>) -> Result<Arc<rustls::ClientConfig>, GroundError> {
        let identity = software
            .and_then(|operator| self.software.get(operator))
            .unwrap_or(&self.peer);
        let expectation = Expectation::new(Arc::clone(&self.authority));
        client_config(Some(identity), expectation, TlsMinimum::Tls12, &Clock::system())
            .map_err(|error| GroundError::Tls(error.to_string()))
    }
}

/// The name of an operator.
pub(super) fn name(operator: usize) -> &'static str {
    OPERATORS.get(operator).copied().unwrap_or(PEER)
}

/// A loopback address.
pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn server(name: &str) -> Request {
    Request {
        profile: Profile::ServSsl,
        subject: subject(&format!("mx.{name}.localhost"), name),
        names: Names {
            dns: vec![String::from("localhost")],
            ip: vec![Ipv4Addr::LOCALHOST.into()],
            rfc822: Vec::new(),
        },
        key: Some(KeyKind::EcdsaP256),
        validity_days: None,
    }
}

fn login(name: &str) -> Request {
    Request {
        profile: Profile::OrgAuthCli,
        subject: subject(&format!("dui-{name}"), name),
        names: Names {
            rfc822: vec![format!("dui@{name}.mssante.fr")],
            ..Names::default()
        },
        key: Some(KeyKind::EcdsaP256),
        validity_days: None,
    }
}

fn subject(common_name: &str, organisation: &str) -> Subject {
    Subject {
        common_name: common_name.to_owned(),
        structure: String::from("1990000010"),
        organisation: format!("EPREUVE {}", organisation.to_uppercase()),
        state: String::from("Ain (01)"),
        country: String::from("FR"),
    }
}

fn write_pair(folder: &Path, name: &str, issued: &Issued) -> Result<(), GroundError> {
    pki::write_private(&folder.join(format!("{name}.key")), issued.key_pem().as_bytes())?;
    pki::write_public(&folder.join(format!("{name}.pem")), issued.chain_pem().as_bytes())?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), GroundError> {
    fs::write(path, text).map_err(|source| GroundError::System {
        what: path.display().to_string(),
        source,
    })
}

/// Held together until all are known, so that they differ.
fn free_ports() -> Result<Vec<Ports>, GroundError> {
    let failed = |source| GroundError::System {
        what: String::from("a free loopback port"),
        source,
    };
    let held = (0..2 * OPERATORS.len())
        .map(|_| TcpListener::bind(loopback(0)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let ports = held
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    Ok(ports
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [smtp, submissions] => Some(Ports {
                smtp: *smtp,
                submissions: *submissions,
            }),
            _ => None,
        })
        .collect())
}

fn allow_list(listed: &[(&str, String)]) -> String {
    let entries: Vec<String> = listed
        .iter()
        .map(|(name, subject)| {
            format!(
                "<Domaine><Nom>{name}.mssante.fr</Nom><Description>{name}</Description>\
                 <DNCertificatOperateur>{subject}</DNCertificatOperateur>\
                 <ResponsableContact>a@{name}.mssante.fr</ResponsableContact>\
                 <SupportContact>a@{name}.mssante.fr</SupportContact><DateMAJ>2026-11-01T00:00:00Z</DateMAJ></Domaine>"
            )
        })
        .collect();
    let entries = entries.concat();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListeBlancheMSSante xmlns=\"https://listeblanche.mssante.fr/schema\">\
         <DateDeGeneration>2026-11-01T00:00:00Z</DateDeGeneration><ListeDomaines>{entries}</ListeDomaines></ListeBlancheMSSante>\n"
    )
}

fn configuration(number: usize, ports: &[Ports]) -> String {
    let own = name(number);
    let other = name(1 - number);
    let port = |operator: usize| ports.get(operator).copied();
    let (smtp, submissions) = port(number).map_or((0, 0), |ports| (ports.smtp, ports.submissions));
    let other_smtp = port(1 - number).map_or(0, |ports| ports.smtp);
    let boxes: Vec<String> = BOXES
        .iter()
        .map(|name| {
            format!(
                "[[box]]\naddress = \"{name}@{own}.mssante.fr\"\ntype = \"ORG\"\nlabel = \"{name}\"\nestablishment = \"990000028\"\n"
            )
        })
        .collect();
    let boxes = boxes.concat();
    format!(
        "[operator]\nhost = \"mx.{own}.localhost\"\ndomains = [\"{own}.mssante.fr\"]\npostmaster = \"dui@{own}.mssante.fr\"\n\
         [data]\nfolder = \"data-{own}\"\n\
         [listen]\nsmtp = \"127.0.0.1:{smtp}\"\nsubmissions = \"127.0.0.1:{submissions}\"\n\
         [tls]\ncertificate = \"{own}.pem\"\nkey = \"{own}.key\"\n\
         [trust]\nca = [\"ca.pem\"]\nallow_list = \"allow-list.xml\"\nmissing_revocation = \"accept\"\nrevocation = \"crl\"\n\
         [relay]\nretry = [\"1s\"]\nallow_remote = false\n\
         [[relay.route]]\ndomain = \"{other}.mssante.fr\"\nhosts = [\"127.0.0.1:{other_smtp}\"]\n\
         [[entity]]\nfiness = \"990000010\"\nname = \"EPREUVE\"\n\
         [[establishment]]\nfiness = \"990000028\"\nentity = \"990000010\"\nname = \"Epreuve\"\n\
         [[box]]\naddress = \"dui@{own}.mssante.fr\"\ntype = \"APP\"\nlabel = \"DUI\"\nentity = \"990000010\"\ncounts_for = \"990000028\"\n\
         {boxes}\
         [[login]]\nname = \"dui\"\nkind = \"certificate\"\ncertificate = \"dui-{own}.pem\"\nboxes = [\"dui@{own}.mssante.fr\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    #[test]
    fn the_configuration_is_one_that_serve_takes() {
        let folder = tempfile::tempdir().unwrap();
        let ground = Ground::lay(folder.path(), Clock::system().now()).unwrap();
        for operator in 0..OPERATORS.len() {
            let (gateway, warnings) = Gateway::load(&ground.configuration(operator)).unwrap();
            // That revocation is not judged is said, and meant.
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            gateway.verify_files().unwrap();
            assert_eq!(gateway.data_folder, ground.data(operator));
        }
        assert_ne!(ground.ports(0).smtp, ground.ports(1).smtp);
        ground.tls(None).unwrap();
        ground.tls(Some(1)).unwrap();
    }
}
