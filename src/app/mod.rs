//! One operator from its parts: opens what a [`Plan`] names, starts it, drains it. The only place that knows all of one operator;
//! `up` and `serve` differ only in where their plans come from.

pub mod backup;
pub mod control;
pub mod crl;
mod descriptors;
pub mod gateway;
mod options;
pub mod order;
mod order_queue;
mod process;
mod reload;
pub mod repair;
mod running;
#[cfg(target_os = "linux")]
mod scheduling;
mod search;
mod standing;
mod trust;
pub mod upkeep;
mod watch;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::RwLock;

use self::upkeep::ensure_boxes;
use crate::clock::Clock;
use crate::config::{Retention, Search};
use crate::directory::Directory;
use crate::dns::Routes;
use crate::identity::{Address, Domain};
use crate::journal::{Event, Excerpt, Started, Stopped};
use crate::listener::{Door, Face, Handshakes, Health, Limits, Memory, Parts, Places, Snapshot, TurnedAway};
use crate::mailbox::{Mailboxes, Notify};
use crate::metrics::Meter;
use crate::pki::{ClientCertificates, Identity, TlsError, TlsPolicy, TrustStore, server_config};
use crate::policy::submission::Rules;
use crate::queue::RetryPlan;
use crate::relay::{self, Relay};
use crate::store::sqlite::{Options as StoreOptions, SqliteStore};
use crate::store::{FolderKey, Store, StoreError};
use crate::sync::Responders;
use crate::trust::AllowList;

pub use options::{limits_of, relay_options, retry_plan};
pub use reload::Reloader;
pub use running::Running;
#[cfg(target_os = "linux")]
pub use scheduling::run_as_batch;
pub use watch::Watch;

pub use trust::{TrustKeeper, Trusted, list_options};

pub use descriptors::{NoRoom, Room};

/// Everything needed to run one operator.
pub struct Plan {
    /// Its key: `lilas`.
    pub operator: String,
    /// The one clock.
    pub clock: Clock,
    /// Where its rows and bodies live.
    pub store_folder: PathBuf,
    /// Its users.
    pub directory: Directory,
    /// Which certificates may speak for which domain.
    pub allow_list: Arc<AllowList>,
    /// Whose certificates count at all.
    pub authority: Arc<TrustStore>,
    /// Where mail for others goes.
    pub routes: Arc<dyn Routes>,
    /// The name and certificate it sends with.
    pub sender: (Domain, Arc<Identity>),
    /// When mail is tried again.
    pub retry: RetryPlan,
    /// Bounds of the relay.
    pub relay: relay::Options,
    /// Bounds of its faces.
    pub limits: Limits,
    /// What is asked of its users' messages.
    pub sending: Rules,
    /// Which handshakes leave their evidence in the journal.
    pub handshakes: Handshakes,
    /// Lowest TLS version and suites of its faces.
    pub tls: TlsPolicy,
    /// Who is asked about revocation by OCSP.
    pub responders: Arc<Responders>,
    /// How long things are kept.
    pub retention: Retention,
    /// What is indexed for searches.
    pub search: Search,
    /// Its bound ports.
    pub ports: Vec<BoundPort>,
}

/// A port bound before anything else is touched, so that a conflict costs nothing.
pub struct BoundPort {
    /// What will be spoken there.
    pub face: Face,
    /// The name it greets with.
    pub host: Domain,
    /// The socket.
    pub listener: TcpListener,
    /// Its certificate and key.
    pub identity: Arc<Identity>,
}

/// A port that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} ({what}): {source}; stop what listens there, or change the port in the configuration"
)]
pub struct PortError {
    /// The port wanted.
    pub address: SocketAddr,
    /// What for: `imaps of lilas`.
    pub what: String,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// Why an operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its store.
    #[error("the store of {operator} cannot be opened")]
    Store {
        /// The operator's key.
        operator: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Its TLS.
    #[error("TLS of {operator} cannot be configured")]
    Tls {
        /// The operator's key.
        operator: String,
        /// Why.
        #[source]
        source: TlsError,
    },
}

/// Binds a port.
///
/// # Errors
/// It is taken, or not this machine's.
pub async fn bind(address: SocketAddr, what: impl Into<String>) -> Result<TcpListener, PortError> {
    TcpListener::bind(address).await.map_err(|source| PortError {
        address,
        what: what.into(),
        source,
    })
}

/// A running operator.
pub struct Operator {
    parts: Arc<Parts>,
    store: Arc<SqliteStore>,
    doors: Vec<OpenDoor>,
    /// The name and certificate it sends with.
    sender: (Domain, Arc<ArcSwap<Identity>>),
    tls: TlsPolicy,
    places: Arc<Places>,
}

/// A face that is open, and the certificate it shows.
struct OpenDoor {
    face: Face,
    host: Domain,
    tls: Arc<ArcSwap<ServerConfig>>,
    shown: Mutex<Arc<Identity>>,
}

impl Operator {
    /// Opens the store and starts every face and the relay on `running`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(plan: Plan, running: &Running) -> Result<Self, StartError> {
        let operator = plan.operator.clone();
        let failed = |source| StartError::Store { operator, source };
        let meter = Meter::new(&plan.operator);
        let memory_bytes_max = plan.limits.spool_bytes_max;
        let opened = open_store(&plan, &meter, running).await.map_err(failed)?;
        let OpenStore {
            store,
            mailboxes,
            inboxes,
        } = opened;
        let departed = plan.directory.leaving().iter().cloned().collect();
        let snapshot = Snapshot {
            directory: Arc::new(plan.directory),
            inboxes: Arc::new(inboxes),
            allow_list: plan.allow_list,
            authority: plan.authority,
        };
        let parts = Arc::new(Parts {
            operator: plan.operator,
            clock: plan.clock,
            store: Arc::<SqliteStore>::clone(&store),
            mailboxes,
            snapshot: ArcSwap::from_pointee(snapshot),
            directory_changed: tokio::sync::watch::Sender::new(()),
            login_places: Arc::default(),
            departed: RwLock::new(departed),
            queued: Arc::default(),
            handover: Arc::default(),
            responders: plan.responders,
            retry: plan.retry,
            limits: ArcSwap::from_pointee(plan.limits),
            meter,
            health: Health::default(),
            memory: Arc::new(Memory::new(memory_bytes_max)),
            handshakes_room: Arc::clone(&running.handshakes),
            sending: plan.sending,
            handshakes: plan.handshakes,
        });
        let (host, identity) = plan.sender;
        let mut running_operator = Self {
            places: Arc::new(places(&parts.limits(), running)),
            parts,
            store,
            doors: Vec::new(),
            sender: (host, Arc::new(ArcSwap::new(identity))),
            tls: plan.tls,
        };
        let started = Started {
            version: Excerpt::new(env!("CARGO_PKG_VERSION")),
        };
        running_operator
            .parts
            .record(&running_operator.parts.new_session(), Event::Started(started))
            .await;
        running_operator.open_doors(plan.ports, running)?;
        running.watch.add(&running_operator.parts, &running_operator.store);
        let relay = Relay::new(
            Arc::clone(&running_operator.parts),
            plan.routes,
            running_operator.sender.clone(),
            plan.relay,
        );
        running_operator.keep_up(plan.retention, running);
        running_operator.keep_index(plan.search, running);
        running
            .tracker
            .spawn(Arc::new(relay).run(running.tracker.clone(), running.stop.clone()));
        Ok(running_operator)
    }

    /// When the allow list in force was made: an older one is a step back in time and must not replace it (OP-9).
    pub fn list_generated(&self) -> Timestamp {
        self.parts.snapshot.load().allow_list.generated()
    }

    /// Judges sessions that begin from now on by another list and other revocation data; those under way keep theirs (invariant 4). A CRL
    /// or an OCSP answer that is newer than what comes stays.
    pub fn install(&self, allow_list: Arc<AllowList>, authority: Arc<TrustStore>) {
        self.replace(|before| Snapshot {
            directory: Arc::clone(&before.directory),
            inboxes: Arc::clone(&before.inboxes),
            allow_list: Arc::clone(&allow_list),
            authority: Arc::new(TrustStore::clone(&authority).succeeding(&before.authority)),
        });
    }

    /// The same with revocation data only, made from that in force.
    pub fn amend_authority(&self, change: impl Fn(&TrustStore) -> TrustStore) {
        self.replace(|before| Snapshot {
            authority: Arc::new(change(&before.authority)),
            ..before.clone()
        });
    }

    /// The authority's certificates and revocation data in force.
    pub fn authority(&self) -> Arc<TrustStore> {
        Arc::clone(&self.parts.snapshot.load().authority)
    }

    /// The same with another directory: its boxes are there before it is used, and domains that left get no delivery from then on,
    /// by no session.
    ///
    /// # Errors
    /// The store could not make a new box; nothing has changed.
    pub async fn adopt(
        &self,
        directory: Directory,
        allow_list: Arc<AllowList>,
        authority: Arc<TrustStore>,
    ) -> Result<(), StoreError> {
        let inboxes = ensure_boxes(&self.parts.mailboxes, &directory).await?;
        let (directory, inboxes) = (Arc::new(directory), Arc::new(inboxes));
        self.replace(|before| Snapshot {
            directory: Arc::clone(&directory),
            inboxes: Arc::clone(&inboxes),
            allow_list: Arc::clone(&allow_list),
            authority: Arc::new(TrustStore::clone(&authority).succeeding(&before.authority)),
        });
        let mut departed = self.parts.departed.write().await;
        departed.extend(directory.leaving().iter().cloned());
        // Until it comes back: a session of before may outlast the whole move.
        departed.retain(|domain| !directory.serves(domain));
        drop(departed);
        self.parts.directory_changed.send_replace(());
        Ok(())
    }

    fn replace(&self, next: impl Fn(&Snapshot) -> Snapshot) {
        let before = self.parts.snapshot.rcu(|before| next(before));
        let (before, after) = (&before.authority, &self.parts.snapshot.load().authority);
        if !before.names_same_authorities(after) {
            self.name_authorities();
        }
    }

    /// Has the faces of clients name the authorities of the snapshot from the next handshake on.
    fn name_authorities(&self) {
        for door in self.doors.iter().filter(|door| door.face != Face::Peer) {
            let shown = door.shown.lock().unwrap_or_else(PoisonError::into_inner);
            match self.face_tls(door.face, &shown) {
                Ok(tls) => door.tls.store(tls),
                Err(error) => tracing::error!(
                    operator = self.parts.operator,
                    error = &error as &dyn std::error::Error,
                    "a face goes on naming the authorities it named before"
                ),
            }
        }
    }

    /// Its rows and bodies.
    pub fn store(&self) -> &Arc<SqliteStore> {
        &self.store
    }

    /// Its boxes.
    pub fn mailboxes(&self) -> &Mailboxes {
        &self.parts.mailboxes
    }

    /// The boxes of one of its domains, in no order.
    pub fn boxes_of(&self, domain: &Domain) -> Vec<Address> {
        let snapshot = self.parts.snapshot.load();
        let boxes = snapshot.directory.boxes().map(|one| &one.address);
        boxes.filter(|address| address.domain() == domain).cloned().collect()
    }

    fn open_doors(&mut self, ports: Vec<BoundPort>, running: &Running) -> Result<(), StartError> {
        for port in ports {
            let tls = Arc::new(ArcSwap::new(self.face_tls(port.face, &port.identity)?));
            let until = port.identity.certificate().not_after;
            self.parts.health.shows(port.face.name(), until);
            self.doors.push(OpenDoor {
                face: port.face,
                host: port.host.clone(),
                tls: Arc::clone(&tls),
                shown: Mutex::new(port.identity),
            });
            let door = Door {
                face: port.face,
                host: port.host,
                listener: port.listener,
                tls,
                turned_away: TurnedAway::default(),
            };
            let session_tracker = running.tracker.clone();
            let run = door.run(
                Arc::clone(&self.parts),
                Arc::clone(&self.places),
                session_tracker,
                running.stop.clone(),
            );
            running.tracker.spawn(run);
        }
        Ok(())
    }

    fn face_tls(&self, face: Face, identity: &Identity) -> Result<Arc<ServerConfig>, StartError> {
        let clients = match face {
            Face::Peer => ClientCertificates::Requested,
            _ => ClientCertificates::Optional {
                hints: self.parts.snapshot.load().authority.issuer_hints(),
            },
        };
        server_config(identity, clients, self.tls, &self.parts.clock).map_err(|source| StartError::Tls {
            operator: self.parts.operator.clone(),
            source,
        })
    }

    /// Shows other certificates from the next handshake on, as server and as client; `of` gives that of a host. Sessions go on.
    ///
    /// # Errors
    /// A key that TLS cannot use; the faces before it have changed.
    pub fn show(&self, of: impl Fn(&Domain) -> Option<Arc<Identity>>) -> Result<(), StartError> {
        for door in &self.doors {
            let Some(identity) = of(&door.host) else { continue };
            let mut shown = door.shown.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.certificate().fingerprint != identity.certificate().fingerprint {
                door.tls.store(self.face_tls(door.face, &identity)?);
                let until = identity.certificate().not_after;
                self.parts.health.shows(door.face.name(), until);
                *shown = identity;
            }
        }
        let (host, sender) = &self.sender;
        if let Some(identity) = of(host) {
            sender.store(identity);
        }
        Ok(())
    }

    /// Closes the store: call once everything on `running` has ended.
    pub async fn close(&self) {
        self.parts
            .record(&self.parts.new_session(), Event::Stopped(Stopped::default()))
            .await;
        if let Err(error) = self.store.close().await {
            let operator = &self.parts.operator;
            tracing::error!(
                operator,
                error = &error as &dyn std::error::Error,
                "the store did not close in good order"
            );
        }
    }
}

/// A store that is ready for its operator's boxes.
struct OpenStore {
    store: Arc<SqliteStore>,
    mailboxes: Mailboxes,
    inboxes: HashMap<Address, FolderKey>,
}

async fn open_store(plan: &Plan, meter: &Meter, running: &Running) -> Result<OpenStore, StoreError> {
    let options = StoreOptions {
        stages: Arc::clone(&running.staged),
        ..store_options(plan.clock.now(), meter)
    };
    let store = SqliteStore::open(&plan.store_folder, options)?;
    let store = Arc::new(store);
    let shared: Arc<dyn Store> = Arc::<SqliteStore>::clone(&store);
    // The folder is locked: no other process can be working on a lease, so those of a crashed one end now.
    shared.release_all().await?;
    let mailboxes = Mailboxes::new(shared, Notify::default());
    let mailboxes = search::indexed(mailboxes, &plan.store_folder, plan.search);
    let inboxes = ensure_boxes(&mailboxes, &plan.directory).await?;
    Ok(OpenStore {
        store,
        mailboxes,
        inboxes,
    })
}

fn store_options(now: Timestamp, meter: &Meter) -> StoreOptions {
    StoreOptions {
        meter: meter.clone(),
        // A data folder made anew under the same addresses must not show yesterday's UIDs (RFC 3501 §2.3.1.1).
        uid_validity_first: u32::try_from(now.as_second()).unwrap_or(1),
        ..StoreOptions::default()
    }
}

/// Places of one operator in the room that the process has.
fn places(limits: &Limits, running: &Running) -> Places {
    let room = Arc::clone(&running.sessions);
    Places::new(limits.connections_max, limits.connections_per_address_max, room)
}
