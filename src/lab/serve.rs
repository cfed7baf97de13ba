//! Plays the servers that must not be trusted: one port for each defect. A client under test is sent there; whether it goes on after the
//! handshake is its verdict on the certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::play::{Expected, Observation, Row, Score, Service, Verdict};
use super::play_prepared::{Prepared, Shown, certified};
use super::probe_hello::Version;
use super::serve_tls::server_config_of;
use super::serve_visit::{Showing, Stand, Visit, Welcome, visit};

/// The running servers.
pub struct Fair {
    stalls: Vec<Arc<Stall>>,
    /// Told at each visit.
    heard: Arc<Notify>,
}

/// One defect and its port.
pub struct Stall {
    /// What it shows.
    pub defect: Prepared,
    /// Where; none when it cannot be shown.
    pub address: Option<SocketAddr>,
    visits: Mutex<Vec<Visit>>,
}

/// What every server of a fair shares.
#[derive(Clone, Debug)]
pub struct FairOptions {
    /// What is spoken.
    pub service: Service,
    /// The name they greet with.
    pub host: String,
    /// Address to listen on; port 0 for any ports, else the first of a row of ports.
    pub first: SocketAddr,
    /// Longest silence of a visitor.
    pub wait: Duration,
}

impl Fair {
    /// Opens a port for each defect.
    ///
    /// # Errors
    /// A port is taken.
    pub async fn open(
        defects: Vec<Prepared>,
        options: &FairOptions,
        (tracker, stop): (&TaskTracker, &CancellationToken),
    ) -> io::Result<Self> {
        let heard = Arc::new(Notify::new());
        let mut stalls = Vec::with_capacity(defects.len());
        for (rank, defect) in (0_u16..).zip(defects) {
            let stand = stand(&defect, options);
            let listener = match &stand {
                Ok(_) => Some(TcpListener::bind(place(options.first, rank)).await?),
                Err(_) => None,
            };
            let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
            let defect = Prepared {
                shown: stand.as_ref().map_err(Clone::clone).and_then(|_| defect.shown.clone()),
                ..defect
            };
            let stall = Arc::new(Stall {
                defect,
                address,
                visits: Mutex::default(),
            });
            if let (Some(listener), Ok(stand)) = (listener, stand) {
                let task = accept(
                    (Arc::clone(&stall), Arc::new(stand), Arc::clone(&heard)),
                    listener,
                    (tracker.clone(), stop.clone()),
                );
                tracker.spawn(task);
            }
            stalls.push(stall);
        }
        Ok(Self { stalls, heard })
    }

    /// Every defect with its port.
    pub fn stalls(&self) -> &[Arc<Stall>] {
        &self.stalls
    }

    /// Waits for the next visit.
    pub async fn next_visit(&self) {
        self.heard.notified().await;
    }

    /// Whether every server was visited by somebody who meant it.
    pub fn is_complete(&self) -> bool {
        let mut open = self.stalls.iter().filter(|stall| stall.address.is_some());
        open.all(|stall| stall.told().is_some())
    }

    /// The score so far.
    pub fn score(&self) -> Score {
        Score {
            title: "certlab serve".to_owned(),
            target: format!("{} servers", self.stalls.len()),
            rows: self.stalls.iter().map(|stall| stall.row()).collect(),
        }
    }
}

impl Stall {
    /// What its visitors did: the worst of it, trust where there was any.
    pub fn told(&self) -> Option<Observation> {
        let visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attempts = visits.iter().filter(|visit| visit.is_attempt());
        let trusting = attempts.clone().find(|visit| visit.observation.is_trust());
        trusting.or(attempts.next_back()).map(|visit| visit.observation.clone())
    }

    /// Its line of the score.
    pub fn row(&self) -> Row {
        let (observed, verdict) = match (&self.defect.shown, self.told()) {
            (Err(why), _) => (why.clone(), Verdict::Skipped),
            (Ok(_), None) => ("no attempt was seen".to_owned(), Verdict::Skipped),
            (Ok(_), Some(observation)) => (
                observation.to_string().replace("accepted up to", "trusted up to"),
                observation.judge(self.defect.expected),
            ),
        };
        Row {
            id: self.defect.id.clone(),
            group: self.defect.group.clone(),
            what: self.defect.what.clone(),
            expected: self.defect.expected,
            observed,
            verdict,
        }
    }

    fn note(&self, visit: Visit) {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        if visits.len() < VISITS_KEPT {
            visits.push(visit);
        }
    }
}

async fn accept(
    (stall, stand, heard): (Arc<Stall>, Arc<Stand>, Arc<Notify>),
    listener: TcpListener,
    (tracker, stop): (TaskTracker, CancellationToken),
) {
    let places = Arc::new(Semaphore::new(VISITS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, _)) => {
                let (stall, stand, heard) = (Arc::clone(&stall), Arc::clone(&stand), Arc::clone(&heard));
                let stop = stop.clone();
                tracker.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        visit = visit(&stand, tcp) => {
                            stall.note(visit);
                            heard.notify_one();
                        }
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed, pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn stand(defect: &Prepared, options: &FairOptions) -> Result<Stand, String> {
    let showing = match defect.shown.as_ref().map_err(Clone::clone)? {
        Shown::Clear => Showing::Clear,
        Shown::Hello { version, suites } => Showing::Legacy(Version(version.0, version.1), suites.clone()),
        Shown::Chain { chain, .. } if chain.is_empty() => return Err("a server cannot show no certificate".to_owned()),
        Shown::Chain { chain, key, versions } => {
            let config = server_config_of(certified(chain, key)?, *versions);
            Showing::Certificate(config.map_err(|error| error.to_string())?)
        }
    };
    let mail = if defect.expected == Expected::Refused {
        Welcome::Refuse(format!(
            "certlab {}: this server must not be trusted: {}",
            defect.id, defect.what
        ))
    } else {
        // Nothing is kept: it is a laboratory, and the control says so in its table.
        Welcome::Take(Arc::new(|_| Ok(())))
    };
    Ok(Stand {
        service: options.service,
        host: options.host.clone(),
        showing,
        mail,
        wait: options.wait,
    })
}

fn place(first: SocketAddr, rank: u16) -> SocketAddr {
    match first.port() {
        0 => first,
        port => SocketAddr::new(first.ip(), port.saturating_add(rank)),
    }
}

/// Visits at once of one server.
const VISITS_MAX: usize = 8;
/// Visits remembered of one server: the verdict needs no more.
const VISITS_KEPT: usize = 1000;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
