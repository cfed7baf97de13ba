//! Raises a space: data folder, ports, authority, certificates, allow list, zone, then every operator, composed from the same parts
//! as `serve`. Idempotent: what exists is found again. What runs is kept by a [`Keeper`], which changes it on order.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Keeper;
use super::card::Card;
use super::doors::{self, BoundDoor, Place};
use super::folder::{DataFolder, FolderError, Layout};
use super::keeper::{InForce, Live, LocalOperator};
use super::made::Made;
use super::material::MaterialError;
use super::moving;
use super::ports::Ports;
use super::services::{Basis, ServiceSockets, Services};
use super::visit;
use crate::app::control::{self, ControlError};
use crate::app::{Operator, PortError, Running, StartError};
use crate::clock::Clock;
use crate::config::{ConfigErrors, Space};
use crate::directory::DirectoryError;
use crate::dns::{MailPort, MxResolver, Reach, RouteTable};
use crate::pki::{self, AuthorityError, CrlError, TlsError, TrustStoreError};
use crate::queue::RetryPlanError;
use crate::store::StoreError;
use crate::trust::{AdmissionError, SigningError};
use crate::web::{self, Published, Serving};

/// A running space.
pub struct Raised {
    /// What to tell its user.
    pub card: Card,
    keeper: Arc<Keeper>,
    web: [Serving; 2],
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
    /// The retry schedule.
    #[error("[relay] retry: {0}")]
    Retry(#[from] RetryPlanError),
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
    /// The allow list could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The allow list, signed, is not one that an operator would use.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The TLS of the HTTPS face.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    /// The space file.
    #[error(transparent)]
    Space(#[from] ConfigErrors),
    /// The stores of a domain that is moving.
    #[error("what a moving domain's old operator delivered cannot be told to the new one")]
    Moving(#[source] StoreError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The endpoints could not be written down.
    #[error("the endpoints cannot be written as JSON: {0}")]
    Card(#[from] serde_json::Error),
}

/// Raises `space` in `folder`; everything runs on `running` when this returns, and orders are taken on the control socket.
///
/// # Errors
/// See [`RaiseError`]. Nothing runs then.
pub async fn raise(
    folder: DataFolder,
    (mut space, ports): (Space, Ports),
    clock: &Clock,
    running: &Running,
) -> Result<Raised, RaiseError> {
    let layout = folder.layout();
    ports.choose(&mut space);
    let Sockets {
        services: sockets,
        doors,
    } = Sockets::bind(&space).await?;
    let web_url = sockets.web_url();
    let now = clock.now();
    let authority = Made::authority(&layout, &space, web_url.clone(), now)?;
    let made = Made::make(Arc::clone(&authority), &layout, &space, now)?;
    let places = doors
        .iter()
        .map(|(key, doors)| (key.clone(), places_of(doors)))
        .collect();
    let routes = Arc::new(route_table(&space)?);
    let basis = Basis {
        authority: &authority,
        layout: &layout,
        clock,
    };
    let services = Services::new(&space, &basis)?;
    services.install(&space, &places, &routes, &basis)?;
    let mut card = made.card(&layout, &space, &web_url, &places);
    card.web_tls = sockets.web_tls_url();
    card.dns = sockets.dns.address().to_string();
    card.commands = visit::of(&space, &card, &layout);
    let published = Arc::new(Published::new(serde_json::to_string_pretty(&card)?, clock));
    made.publish(&published, now)?;
    made.write(&layout)?;
    let ocsp = web::ocsp::router(Arc::clone(&authority), clock.clone());
    let web = services.start(sockets, &published, ocsp, running);
    let live = Live {
        published: Arc::clone(&published),
        routes,
        services,
        running: running.clone(),
        web_url,
        ports,
        audit: std::sync::Mutex::default(),
    };
    moving::carry_keys_on_disk(&space, &layout, now)
        .await
        .map_err(RaiseError::Moving)?;
    let operators = start_all(&made, &space, doors, (&layout, clock, &live)).await?;
    pki::write_private(&layout.first_mail(), visit::first_mail(&space, now).as_bytes())?;
    pki::write_private(&layout.card(), serde_json::to_string_pretty(&card)?.as_bytes())?;
    let in_force = InForce {
        space: Arc::new(space),
        made: Some(made),
        operators,
        card: Some(card.clone()),
    };
    let keeper = Arc::new(Keeper::of_running(folder, (authority, clock.clone()), in_force, live));
    keeper.serve_audit().await;
    control::listen(keeper.layout().root(), Arc::clone(&keeper), running)?;
    watch(&keeper, running);
    running.watch.started();
    Ok(Raised { card, keeper, web })
}

/// Where mail goes; the zone comes with the services.
fn route_table(space: &Space) -> Result<RouteTable, RaiseError> {
    let (resolver, reach) = if space.allow_remote {
        let resolver = MxResolver::new(&[], MailPort::Fixed(SMTP_PORT));
        let resolver = resolver.map_err(|error| RaiseError::Resolver(error.to_string()))?;
        (Some(resolver), Reach::Anywhere)
    } else {
        (None, Reach::ThisMachine)
    };
    Ok(RouteTable::new(Arc::default(), resolver, reach))
}

/// What a kept space does by itself.
fn watch(keeper: &Arc<Keeper>, running: &Running) {
    running.tracker.spawn(refresh(Arc::clone(keeper), running.stop.clone()));
    running
        .tracker
        .spawn(moving::run(Arc::clone(keeper), running.stop.clone()));
}

async fn start_all(
    made: &Made,
    space: &Space,
    doors: BTreeMap<String, Vec<BoundDoor>>,
    place: (&Layout, &Clock, &Live),
) -> Result<BTreeMap<String, LocalOperator>, RaiseError> {
    let mut operators = BTreeMap::new();
    for (key, doors) in doors {
        let Some(operator) = space.operator(&key) else { continue };
        operators.insert(key, start(made, operator, doors, place).await?);
    }
    Ok(operators)
}

/// Starts one operator of the sandbox at its bound doors.
pub(super) async fn start(
    made: &Made,
    operator: &crate::config::Operator,
    doors: Vec<BoundDoor>,
    (layout, clock, live): (&Layout, &Clock, &Live),
) -> Result<LocalOperator, RaiseError> {
    let places = places_of(&doors);
    let running = live.running.child();
    let routes = Arc::<RouteTable>::clone(&live.routes);
    let plan = made.plan(layout, operator, doors, (routes, clock))?;
    Ok(LocalOperator {
        operator: Arc::new(Operator::start(plan, &running).await?),
        running,
        places,
    })
}

/// A space may run for weeks: before a revocation list ends, the authority signs the next one, publishes it and everybody uses it.
async fn refresh(keeper: Arc<Keeper>, stop: CancellationToken) {
    loop {
        let period = keeper.refresh_period().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        if let Err(error) = keeper.refresh().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "revocation lists not renewed, the last ones stay"
            );
        }
    }
}

/// Where other operators' servers listen.
const SMTP_PORT: u16 = 25;

impl Raised {
    /// What changes the space while it runs.
    pub fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// From now on readiness says no; call before draining.
    pub fn announce_stop(&self) {
        self.keeper.announce_stop();
    }

    /// Closes every store and then the web face, once everything else has ended.
    pub async fn close(self) {
        self.keeper.close().await;
        for face in self.web {
            face.stop().await;
        }
    }
}

/// Every port of the space, bound.
struct Sockets {
    services: ServiceSockets,
    /// By operator key.
    doors: BTreeMap<String, Vec<BoundDoor>>,
}

impl Sockets {
    /// Binds all of them, and reports all that are taken at once.
    async fn bind(space: &Space) -> Result<Self, RaiseError> {
        let mut errors = Vec::new();
        let mut doors = BTreeMap::new();
        for operator in space.operators.iter().filter(|operator| operator.is_local()) {
            match doors::bind_all(operator).await {
                Ok(bound) => {
                    doors.insert(operator.key.clone(), bound);
                }
                Err(taken) => errors.extend(taken),
            }
        }
        match ServiceSockets::bind(space).await {
            Ok(services) if errors.is_empty() => Ok(Self { services, doors }),
            Ok(_) => Err(RaiseError::Ports(errors)),
            Err(taken) => {
                errors.extend(taken);
                Err(RaiseError::Ports(errors))
            }
        }
    }
}

fn places_of(doors: &[BoundDoor]) -> Vec<Place> {
    doors.iter().map(|door| door.place.clone()).collect()
}
