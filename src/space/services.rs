//! What a running space offers beside its operators: its zones over DNS, and the authority's web face over HTTP and HTTPS. All of it
//! follows the space when it changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use axum::Router;
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::doors::Place;
use super::folder::Layout;
use super::material::{self, Wanted};
use super::raise::RaiseError;
use super::zone::providers;
use crate::app::{PortError, Running, Watch, bind};
use crate::clock::Clock;
use crate::config::Space;
use crate::dns::{NameServer, NameSockets, Records, RouteTable, Zone};
use crate::identity::Domain;
use crate::pki::{Authority, ClientCertificates, Profile, Subject, TlsMinimum, server_config};
use crate::web::{Autoconfig, Observed, Provider, Published, Serving, TlsSlot, operations};

/// Ports of the services, bound.
pub(super) struct ServiceSockets {
    pub(super) web: TcpListener,
    pub(super) web_tls: TcpListener,
    pub(super) dns: NameSockets,
}

/// What the services say now.
pub(super) struct Services {
    names: Arc<NameServer>,
    autoconfig: Arc<Autoconfig>,
    tls: TlsSlot,
    host: Domain,
    /// Where the web face is.
    address: IpAddr,
    /// Of the zones in force.
    serial: AtomicU32,
}

/// What the services are made of.
pub(super) struct Basis<'a> {
    pub(super) authority: &'a Authority,
    pub(super) layout: &'a Layout,
    pub(super) clock: &'a Clock,
}

impl ServiceSockets {
    /// Binds all of them, and reports all that are taken at once.
    pub(super) async fn bind(space: &Space) -> Result<Self, Vec<PortError>> {
        let dns = NameSockets::bind(space.dns).await.map_err(|source| PortError {
            address: space.dns,
            what: "dns".to_owned(),
            source,
        });
        match (bind(space.web, "web").await, bind(space.web_tls, "web_tls").await, dns) {
            (Ok(web), Ok(web_tls), Ok(dns)) => Ok(Self { web, web_tls, dns }),
            (web, web_tls, dns) => Err([web.err(), web_tls.err(), dns.err()].into_iter().flatten().collect()),
        }
    }

    /// Where the web face is, without trailing slash.
    pub(super) fn web_url(&self) -> String {
        let address = self.web.local_addr();
        address.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// The same, over HTTPS.
    pub(super) fn web_tls_url(&self) -> String {
        let address = self.web_tls.local_addr();
        address.map(|address| format!("https://{address}")).unwrap_or_default()
    }
}

impl Services {
    /// Services that know nobody yet: [`Self::install`] tells them.
    pub(super) fn new(space: &Space, basis: &Basis<'_>) -> Result<Self, RaiseError> {
        let host: Domain = WEB_HOST.parse().map_err(|_| RaiseError::NoHost(WEB_HOST.to_owned()))?;
        let tls = tls(&host, &[], basis)?;
        Ok(Self {
            names: Arc::new(NameServer::new(Records::default())),
            autoconfig: Arc::default(),
            tls: Arc::new(ArcSwap::new(tls)),
            host,
            address: space.web.ip(),
            serial: AtomicU32::new(0),
        })
    }

    /// Tells what is true of a space whose own operators listen at these places: its zones, its routes, its autoconfiguration, and the
    /// names in the certificate of the HTTPS face. Nothing has changed when this fails.
    pub(super) fn install(
        &self,
        space: &Space,
        places: &BTreeMap<String, Vec<Place>>,
        routes: &RouteTable,
        basis: &Basis<'_>,
    ) -> Result<(), RaiseError> {
        let providers = providers(space, places)?;
        self.tls.store(tls(&self.host, &providers, basis)?);
        let sites = || providers.iter().map(|provider| &provider.site);
        routes.replace(Arc::new(Zone::of(sites())));
        let serial = serial(basis.clock.now()).max(self.serial.load(Ordering::Relaxed).saturating_add(1));
        self.serial.store(serial, Ordering::Relaxed);
        let records = Records::new(sites(), (&self.host, self.address), serial);
        let (zones, records_count) = records.size();
        tracing::debug!(zones, records = records_count, "the name server has new zones");
        self.names.install(records);
        self.autoconfig.install(&providers);
        Ok(())
    }

    /// Starts serving. The web faces end when the two handles are stopped, the name server with `running`.
    pub(super) fn start(
        &self,
        sockets: ServiceSockets,
        published: &Arc<Published>,
        ocsp: Router,
        running: &Running,
    ) -> [Serving; 2] {
        let ServiceSockets { web, web_tls, dns } = sockets;
        running
            .tracker
            .spawn(Arc::clone(&self.names).run(dns, running.stop.clone()));
        let router = published.router().merge(self.autoconfig.router()).merge(ocsp);
        let observed: Arc<dyn Observed> = Arc::<Watch>::clone(&running.watch);
        let router = router.merge(operations(observed));
        [
            Serving::start(web, router.clone()),
            Serving::start_tls(web_tls, router, Arc::clone(&self.tls)),
        ]
    }
}

/// TLS of the HTTPS face, with a certificate for its own name and for `autoconfig.` of every domain whose clients it configures.
fn tls(host: &Domain, providers: &[Provider], basis: &Basis<'_>) -> Result<Arc<rustls::ServerConfig>, RaiseError> {
    let domains = providers.iter().flat_map(|provider| &provider.site.domains);
    let wanted = Wanted {
        folder: basis.layout.authority().join("web"),
        profile: Profile::ServSsl,
        subject: Subject {
            common_name: host.to_string(),
            structure: WEB_STRUCTURE.to_owned(),
            organisation: "AUTORITE DU BAC A SABLE".to_owned(),
            state: "Paris (75)".to_owned(),
            country: "FR".to_owned(),
        },
        names: domains.map(|domain| format!("autoconfig.{domain}")).collect(),
        boxes: Vec::new(),
        pkcs12_password: "sandbox",
    };
    let (identity, _) = material::certificate(basis.authority, &wanted, basis.clock.now())?;
    let mut config = rustls::ServerConfig::clone(&*server_config(
        &identity,
        ClientCertificates::None,
        TlsMinimum::Tls12,
        basis.clock,
    )?);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The second as version, as zones are often numbered.
fn serial(now: Timestamp) -> u32 {
    u32::try_from(now.as_second()).unwrap_or(u32::MAX)
}

/// Its counterpart in the field publishes the allow list.
const WEB_HOST: &str = "espacedeconfiance.localhost";
/// An invented SIRET.
const WEB_STRUCTURE: &str = "399999999900009";
