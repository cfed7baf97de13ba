//! Raises a space: data folder, ports, authority, certificates, allow list, zone, then every operator, composed from the same parts
//! as `serve`. Idempotent: what exists is found again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::card::Card;
use super::folder::{DataFolder, FolderError};
use super::made::Made;
use super::material::MaterialError;
use super::visit;
use crate::app::{Operator, PortError, Running, StartError, bind};
use crate::clock::Clock;
use crate::config::{self, Side, Space};
use crate::directory::DirectoryError;
use crate::dns::{MailHost, MailPort, MxResolver, Reach, RouteTable, Routes, Zone};
use crate::identity::Domain;
use crate::listener::Face;
use crate::pki::{self, AuthorityError, CrlError, TrustStoreError};
use crate::web::{Published, Serving};

/// A running space.
pub struct Raised {
    /// What to tell its user.
    pub card: Card,
    operators: Vec<Arc<Operator>>,
    published: Arc<Published>,
    web: Serving,
    /// Held until the end: a second process must not write here.
    _folder: DataFolder,
}

/// Why a space could not be raised. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Ports that are taken, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Ports(Vec<PortError>),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// A file.
    #[error(transparent)]
    File(#[from] pki::FileError),
    /// The authority's own certificates.
    #[error(transparent)]
    TrustStore(#[from] TrustStoreError),
    /// The authority's own revocation list.
    #[error(transparent)]
    Crl(#[from] CrlError),
    /// The users of an operator.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// An operator.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A local operator without host: the configuration does not allow it.
    #[error("operator {0} has no host to listen on")]
    NoHost(String),
    /// A host of an external operator that only DNS could resolve.
    #[error(
        "external host {0} is named, not addressed: give reach = \"127.0.0.1:PORT\", since the sandbox asks no DNS server"
    )]
    UnknownHost(String),
    /// `allow_remote` without a usable DNS configuration.
    #[error("the system's DNS configuration cannot be used: {0}; remove allow_remote from the space file")]
    Resolver(String),
    /// The endpoints could not be written down.
    #[error("the endpoints cannot be written as JSON: {0}")]
    Card(#[from] serde_json::Error),
}

/// Raises `space` in `folder`; everything runs on `running` when this returns.
///
/// # Errors
/// See [`RaiseError`]. Nothing runs then.
pub async fn raise(folder: DataFolder, space: &Space, clock: &Clock, running: &Running) -> Result<Raised, RaiseError> {
    let layout = folder.layout();
    let sockets = Sockets::bind(space).await?;
    let now = clock.now();
    let made = Made::make(&layout, space, &sockets, now)?;
    let resolver = if space.allow_remote {
        Some(MxResolver::new(&[], MailPort::Fixed(SMTP_PORT)).map_err(|error| RaiseError::Resolver(error.to_string()))?)
    } else {
        None
    };
    let reach = if space.allow_remote { Reach::Anywhere } else { Reach::ThisMachine };
    let routes: Arc<dyn Routes> = Arc::new(RouteTable::new(zone(space, &sockets)?, resolver, reach));
    let mut card = made.card(&layout, space, &sockets);
    card.commands = visit::of(space, &card, &layout);
    let published = Arc::new(Published::new(serde_json::to_string_pretty(&card)?, clock));
    made.publish(&published, now)?;
    let mut operators = Vec::new();
    let Sockets { web, mut doors } = sockets;
    let web = Serving::start(web, published.router());
    for operator in &space.operators {
        let Some(doors) = doors.remove(&operator.key) else {
            continue;
        };
        let plan = made.plan(&layout, operator, doors, (Arc::clone(&routes), clock))?;
        operators.push(Arc::new(Operator::start(plan, running).await?));
    }
    pki::write_private(&layout.first_mail(), visit::first_mail(space, now).as_bytes())?;
    pki::write_private(&layout.card(), serde_json::to_string_pretty(&card)?.as_bytes())?;
    let refresh = refresh(
        made,
        operators.clone(),
        Arc::clone(&published),
        (clock.clone(), running.stop.clone()),
    );
    running.tracker.spawn(refresh);
    published.set_ready(true);
    Ok(Raised {
        card,
        operators,
        published,
        web,
        _folder: folder,
    })
}

/// A space may run for weeks: before a revocation list ends, the authority signs the next one, publishes it and everybody uses it.
async fn refresh(
    made: Made,
    operators: Vec<Arc<Operator>>,
    published: Arc<Published>,
    (clock, stop): (Clock, CancellationToken),
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REFRESH_EVERY) => {}
        }
        let now = clock.now();
        match made.publish(&published, now).and_then(|()| made.trust_of_now(now)) {
            Ok(trust) => operators
                .iter()
                .for_each(|one| one.install(Arc::clone(made.allow_list()), Arc::clone(&trust))),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "revocation lists not renewed, the last ones stay"
                );
            }
        }
    }
}

/// Where other operators' servers listen.
const SMTP_PORT: u16 = 25;
/// Far below the validity of a revocation list.
const REFRESH_EVERY: Duration = Duration::from_mins(10);

impl Raised {
    /// From now on readiness says no; call before draining.
    pub fn announce_stop(&self) {
        self.published.set_ready(false);
    }

    /// Closes every store and then the web face, once everything else has ended.
    pub async fn close(self) {
        for operator in self.operators {
            operator.close().await;
        }
        self.web.stop().await;
    }
}

/// Every port of the space, bound.
pub(super) struct Sockets {
    pub(super) web: TcpListener,
    /// By operator key.
    pub(super) doors: BTreeMap<String, Vec<BoundDoor>>,
}

/// One port of an operator.
pub(super) struct BoundDoor {
    pub(super) face: Face,
    pub(super) host: Domain,
    pub(super) preference: u16,
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
}

impl Sockets {
    /// Binds all of them, and reports all that are taken at once.
    async fn bind(space: &Space) -> Result<Self, RaiseError> {
        let mut errors = Vec::new();
        let mut doors = BTreeMap::new();
        for operator in &space.operators {
            let Side::Local { hosts, clients } = &operator.side else {
                continue;
            };
            let peers = hosts
                .iter()
                .map(|host| (Face::Peer, &host.name, host.preference, host.listen));
            let first = hosts.first().map(|host| &host.name);
            let faces = [
                (Face::Submission, clients.submission),
                (Face::Submissions, clients.submissions),
                (Face::Imap, clients.imap),
                (Face::Imaps, clients.imaps),
            ];
            let faces = faces
                .into_iter()
                .filter_map(|(face, address)| Some((face, first?, 0, address)));
            let mut bound = Vec::new();
            for (face, host, preference, address) in peers.chain(faces) {
                match bind_door(face, host, preference, address, &operator.key).await {
                    Ok(door) => bound.push(door),
                    Err(error) => errors.push(error),
                }
            }
            doors.insert(operator.key.clone(), bound);
        }
        match bind(space.web, "web").await {
            Ok(web) if errors.is_empty() => Ok(Self { web, doors }),
            Ok(_) => Err(RaiseError::Ports(errors)),
            Err(error) => {
                errors.push(error);
                Err(RaiseError::Ports(errors))
            }
        }
    }

    /// Where the web face is, without trailing slash.
    pub(super) fn web_url(&self) -> String {
        self.web
            .local_addr()
            .map(|address| format!("http://{address}"))
            .unwrap_or_default()
    }
}

async fn bind_door(
    face: Face,
    host: &Domain,
    preference: u16,
    address: SocketAddr,
    operator: &str,
) -> Result<BoundDoor, PortError> {
    let what = format!("{} of {operator}", face.name());
    let listener = bind(address, what.clone()).await?;
    let address = listener
        .local_addr()
        .map_err(|source| PortError { address, what, source })?;
    Ok(BoundDoor {
        face,
        host: host.clone(),
        preference,
        address,
        listener,
    })
}

/// MX records of the space: a port belongs to each host, as no real zone could say.
fn zone(space: &Space, sockets: &Sockets) -> Result<Zone, RaiseError> {
    let mut zone = Zone::default();
    for operator in &space.operators {
        let hosts: Vec<MailHost> = match &operator.side {
            Side::Local { .. } => {
                let doors = sockets.doors.get(&operator.key).map(Vec::as_slice).unwrap_or_default();
                let peers = doors.iter().filter(|door| door.face == Face::Peer);
                peers
                    .map(|d| MailHost {
                        preference: d.preference,
                        name: d.host.to_string(),
                        addresses: vec![d.address],
                    })
                    .collect()
            }
            Side::External { hosts } => {
                let hosts = hosts.iter().map(|host| {
                    let address = match &host.reach.host {
                        config::Host::Address(ip) => SocketAddr::new(*ip, host.reach.port),
                        config::Host::Name(name) => return Err(RaiseError::UnknownHost(name.to_string())),
                    };
                    Ok(MailHost {
                        preference: host.preference,
                        name: host.name.to_string(),
                        addresses: vec![address],
                    })
                });
                hosts.collect::<Result<_, _>>()?
            }
        };
        for domain in &operator.domains {
            for host in &hosts {
                zone.add(domain.clone(), host.clone());
            }
        }
    }
    Ok(zone)
}
