//! An operator whose authority is elsewhere: a checked configuration and the files it names, made into a [`Plan`]; and the reload of
//! those files while it runs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{BoundPort, Plan, PortError, Trusted, bind, limits_of, relay_options, retry_plan};
use crate::clock::Clock;
use crate::config::{Gateway, Host, KeyPair, Login, LoginCertificate, LoginKind, Trust};
use crate::directory::{Directory, DirectoryError};
use crate::dns::{MailHost, MxResolver, Reach, RouteTable, Zone};
use crate::identity::SubjectDn;
use crate::listener::Face;
use crate::pki::{self, CrlError, Identity, IdentityError, TrustStore, TrustStoreError};
use crate::queue::RetryPlanError;
use crate::sync::{self, FetchOptions, Fetcher, FetcherError, ListError, ResponderOptions, Responders};

/// What the files of a configuration hold, read and checked.
pub struct Material {
    server: Arc<Identity>,
    clients: Arc<Identity>,
    directory: Directory,
    authority: Arc<TrustStore>,
}

/// The certificates of a configuration, with their keys.
pub struct Identities {
    /// Shown to other operators, when receiving and when sending.
    pub server: Arc<Identity>,
    /// Shown to clients.
    pub clients: Arc<Identity>,
}

/// Why the files of a configuration cannot be used. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authority's certificates.
    #[error("{}: {source}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TrustStoreError,
    },
    /// A revocation list.
    #[error("{}: {source}", path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CrlError,
    },
    /// The allow list.
    #[error(transparent)]
    AllowList(#[from] ListError),
    /// A URL that gave none, and nothing kept.
    #[error("{0} gave no allow list, and none was kept")]
    NoList(String),
    /// The certificate of a login.
    #[error("{}: no certificate in it can be read: expected PEM", .0.display())]
    LoginCertificate(PathBuf),
    /// The directory sections.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Why a gateway could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its files.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// Its ports, all that are taken.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Ports(Vec<PortError>),
    /// Its HTTP client.
    #[error(transparent)]
    Http(#[from] FetcherError),
    /// Its retry schedule.
    #[error("[relay] retry: {0}")]
    Retry(#[from] RetryPlanError),
    /// Its DNS.
    #[error(
        "[relay]: the system's DNS configuration cannot be used: {0}; give `resolvers`, or static routes and allow_remote = false"
    )]
    Resolver(String),
}

impl Material {
    /// Reads every file the configuration names.
    ///
    /// # Errors
    /// See [`MaterialError`].
    pub fn read(gateway: &Gateway) -> Result<Self, MaterialError> {
        let Identities { server, clients } = Identities::read(gateway)?;
        Ok(Self {
            server,
            clients,
            directory: directory(gateway)?,
            authority: Arc::new(super::crl::restored(gateway, authority(&gateway.trust)?)),
        })
    }

    /// The authority's certificates and revocation lists.
    pub fn authority(&self) -> &Arc<TrustStore> {
        &self.authority
    }
}

impl Identities {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`MaterialError`].
    pub fn read(gateway: &Gateway) -> Result<Self, MaterialError> {
        let server = Arc::new(identity(&gateway.tls.server)?);
        let clients = match &gateway.tls.client_face {
            Some(pair) => Arc::new(identity(pair)?),
            None => Arc::clone(&server),
        };
        Ok(Self { server, clients })
    }

    /// The one that a face shows.
    pub fn of(&self, face: Face) -> &Arc<Identity> {
        match face {
            Face::Peer => &self.server,
            _ => &self.clients,
        }
    }
}

/// Who is who, the certificates of logins included.
///
/// # Errors
/// See [`MaterialError`].
pub fn directory(gateway: &Gateway) -> Result<Directory, MaterialError> {
    let subjects = login_subjects(gateway)?;
    Ok(gateway.directory(|login| subjects.get(&login.name).cloned())?)
}

/// Reads the authority's files anew.
///
/// # Errors
/// One of them cannot be used.
pub fn authority(trust: &Trust) -> Result<TrustStore, MaterialError> {
    let (mut bundle, mut last) = (Vec::new(), PathBuf::new());
    for path in &trust.ca {
        let file = read(path)?;
        // File by file, so that an error names the right one.
        TrustStore::check_pem(&file).map_err(|source| MaterialError::Authority {
            path: path.clone(),
            source,
        })?;
        bundle.extend(file);
        bundle.push(b'\n');
        last.clone_from(path);
    }
    let store = TrustStore::from_pem(&bundle).map_err(|source| MaterialError::Authority { path: last, source })?;
    let judging = &trust.revocation;
    let mut store = store.with_revocation(judging.policy).with_usage_check(judging.usage);
    for path in &trust.crl {
        let der = crl_der(&read(path)?);
        store = store.with_crl(&der).map_err(|source| MaterialError::Crl {
            path: path.clone(),
            source,
        })?;
    }
    Ok(store)
}

/// Binds the ports and makes the plan of a gateway.
///
/// # Errors
/// See [`GatewayError`].
pub async fn plan(
    gateway: &Gateway,
    material: Material,
    trusted: Trusted,
    clock: &Clock,
) -> Result<Plan, GatewayError> {
    let ports = bind_ports(gateway, &material).await.map_err(GatewayError::Ports)?;
    let retry = retry_plan(&gateway.relay.attempts)?;
    let responders = Arc::new(responders(gateway, &trusted.authority, clock)?);
    Ok(Plan {
        operator: gateway.host.to_string(),
        clock: clock.clone(),
        store_folder: gateway.data_folder.clone(),
        retention: gateway.retention,
        search: gateway.search,
        directory: material.directory,
        allow_list: trusted.allow_list,
        authority: trusted.authority,
        routes: Arc::new(routes(gateway)?),
        sender: (gateway.host.clone(), material.server),
        retry,
        relay: relay_options(&gateway.relay.attempts, gateway.tls.policy),
        limits: limits_of(&gateway.limits, gateway.size_bytes_max),
        sending: gateway.sending,
        tls: gateway.tls.policy,
        responders,
        handshakes: gateway.journal.handshakes,
        ports,
    })
}

async fn bind_ports(gateway: &Gateway, material: &Material) -> Result<Vec<BoundPort>, Vec<PortError>> {
    let listen = &gateway.listen;
    let wanted = [
        (Face::Peer, listen.smtp, &material.server),
        (Face::Submission, listen.submission, &material.clients),
        (Face::Submissions, listen.submissions, &material.clients),
        (Face::Imap, listen.imap, &material.clients),
        (Face::Imaps, listen.imaps, &material.clients),
    ];
    let (mut ports, mut errors) = (Vec::new(), Vec::new());
    for (face, address, identity) in wanted {
        let Some(address) = address else { continue };
        match bind(address, format!("[listen] {}", face.name())).await {
            Ok(listener) => {
                ports.push(BoundPort {
                    face,
                    host: gateway.host.clone(),
                    listener,
                    identity: Arc::clone(identity),
                });
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(ports) } else { Err(errors) }
}

/// Static routes decide on their own; every other domain goes by MX, unless nothing may leave and no name server is on this machine.
fn routes(gateway: &Gateway) -> Result<RouteTable, GatewayError> {
    let relay = &gateway.relay;
    let mut zone = Zone::default();
    for route in &relay.routes {
        for (preference, host) in (0..).zip(&route.hosts) {
            let domain = route.domain.clone();
            match &host.host {
                Host::Address(ip) => {
                    let addresses = vec![SocketAddr::new(*ip, host.port)];
                    zone.add(
                        domain,
                        MailHost {
                            preference,
                            name: ip.to_string(),
                            addresses,
                        },
                    );
                }
                Host::Name(name) => zone.add_named(domain, preference, name.clone(), host.port),
            }
        }
    }
    let reach = if relay.allow_remote {
        Reach::Anywhere
    } else {
        Reach::ThisMachine
    };
    // A name server of this machine may be asked even when nothing may leave: a sandbox's own.
    let here = !relay.resolvers.is_empty() && relay.resolvers.iter().all(|server| server.ip().is_loopback());
    let resolver = if relay.allow_remote || here {
        Some(MxResolver::new(&relay.resolvers, relay.port).map_err(|error| GatewayError::Resolver(error.to_string()))?)
    } else {
        None
    };
    Ok(RouteTable::new(Arc::new(zone), resolver, reach))
}

/// Who is asked by OCSP. Answers prove themselves; https, which some responders speak, believes the authority alone.
fn responders(gateway: &Gateway, authority: &TrustStore, clock: &Clock) -> Result<Responders, GatewayError> {
    let judging = &gateway.trust.revocation;
    let options = FetchOptions {
        connect: judging.ocsp_wait,
        total: judging.ocsp_wait,
        bytes_max: OCSP_BYTES_MAX,
        reach: reach(gateway),
    };
    let fetcher = Fetcher::new(Some(authority), clock, options)?;
    Ok(Responders::new(
        fetcher,
        ResponderOptions {
            urls: judging.ocsp_urls.clone(),
            hosts: judging.ocsp_hosts.clone(),
            wait: judging.ocsp_wait,
            ..ResponderOptions::default()
        },
    ))
}

/// How far HTTP may go: what holds for mail holds for it too.
pub(super) fn reach(gateway: &Gateway) -> sync::Reach {
    if gateway.relay.allow_remote {
        sync::Reach::Anywhere
    } else {
        sync::Reach::Loopback
    }
}

/// An answer about one certificate takes some 4 kB.
const OCSP_BYTES_MAX: usize = 64 * 1024;

fn identity(pair: &KeyPair) -> Result<Identity, IdentityError> {
    Identity::from_files(&pair.certificate, &pair.key)
}

/// Subjects of logins that name a PEM file.
fn login_subjects(gateway: &Gateway) -> Result<HashMap<String, SubjectDn>, MaterialError> {
    let mut subjects = HashMap::new();
    for Login { name, kind } in &gateway.directory.logins {
        let LoginKind::Certificate {
            certificate: LoginCertificate::File(path),
            ..
        } = kind
        else {
            continue;
        };
        let unusable = || MaterialError::LoginCertificate(path.clone());
        let der = CertificateDer::from_pem_slice(&read(path)?).map_err(|_| unusable())?;
        subjects.insert(name.clone(), pki::subject_of(&der).map_err(|_| unusable())?);
    }
    Ok(subjects)
}

/// CRLs are published as DER and often kept as PEM.
pub(crate) fn crl_der(bytes: &[u8]) -> Vec<u8> {
    match rustls_pki_types::CertificateRevocationListDer::from_pem_slice(bytes) {
        Ok(der) => der.as_ref().to_vec(),
        Err(_) => bytes.to_vec(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, MaterialError> {
    std::fs::read(path).map_err(|source| MaterialError::Read {
        path: path.to_owned(),
        source,
    })
}
