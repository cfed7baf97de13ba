//! Keeps a space: what is in force, and the orders that change it, one at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::card::Card;
use super::doors::Place;
use super::folder::{DataFolder, FolderError, Layout};
use super::made::Made;
use super::order::{Answer, Order, OrderError};
use super::raise::RaiseError;
use super::services::Services;
use crate::app::{Operator, Running};
use crate::clock::Clock;
use crate::config::Space;
use crate::dns::RouteTable;
use crate::pki::Authority;
use crate::web::Published;

/// Whoever holds a data folder: the process that runs its space, or a command while nothing runs.
pub struct Keeper {
    layout: Layout,
    authority: Arc<Authority>,
    clock: Clock,
    /// Held during a whole order: the next one begins with what this one leaves.
    in_force: Mutex<InForce>,
    live: Option<Live>,
    /// Held until the end: a second process must not write here.
    _folder: DataFolder,
}

/// What the space is now.
pub(super) struct InForce {
    /// As its file says.
    pub(super) space: Arc<Space>,
    /// What the authority made for it; none before anything had to be made.
    pub(super) made: Option<Made>,
    /// The sandbox's own operators that run, by key; none while nothing runs.
    pub(super) operators: BTreeMap<String, LocalOperator>,
}

/// An operator of the sandbox that runs.
pub(super) struct LocalOperator {
    pub(super) operator: Arc<Operator>,
    /// Its own tasks, so that it can be stopped alone.
    pub(super) running: Running,
    pub(super) places: Vec<Place>,
}

/// What only a running space has.
pub(super) struct Live {
    pub(super) published: Arc<Published>,
    pub(super) routes: Arc<RouteTable>,
    /// Zones, autoconfiguration, certificate of the HTTPS face.
    pub(super) services: Services,
    pub(super) running: Running,
    /// Where the web face is, without trailing slash.
    pub(super) web_url: String,
}

impl Keeper {
    /// Keeps a space that nothing runs, for as long as one command takes.
    ///
    /// # Errors
    /// There is no space in the folder yet, or it cannot be read.
    pub fn open(folder: DataFolder, clock: Clock) -> Result<Self, RaiseError> {
        let layout = folder.layout();
        if !layout.space().exists() {
            return Err(FolderError::Empty(layout.root().to_owned()).into());
        }
        let (space, _) = Space::load(&layout.space())?;
        let web_url = card(&layout.card()).map_or_else(|| format!("http://{}", space.web), |card| card.web);
        let authority = Made::authority(&layout, &space, web_url, clock.now())?;
        let in_force = InForce {
            space: Arc::new(space),
            made: None,
            operators: BTreeMap::new(),
        };
        Ok(Self {
            authority,
            layout,
            clock,
            in_force: Mutex::new(in_force),
            live: None,
            _folder: folder,
        })
    }

    /// Keeps a space that runs.
    pub(super) fn of_running(
        folder: DataFolder,
        (authority, clock): (Arc<Authority>, Clock),
        in_force: InForce,
        live: Live,
    ) -> Self {
        Self {
            layout: folder.layout(),
            authority,
            clock,
            in_force: Mutex::new(in_force),
            live: Some(live),
            _folder: folder,
        }
    }

    /// Carries out one order, once those before it are done.
    ///
    /// # Errors
    /// See [`OrderError`]. Nothing has changed then, unless the text says so.
    pub async fn execute(&self, order: Order) -> Result<Answer, OrderError> {
        let mut in_force = self.in_force.lock().await;
        match order {
            Order::Apply => self.apply(&mut in_force).await,
        }
    }

    async fn apply(&self, in_force: &mut InForce) -> Result<Answer, OrderError> {
        let (space, _) = Space::load(&self.layout.space())?;
        self.renew(in_force)?;
        let text = format!("the space {} is in force\n", space.name);
        Ok(Answer::new(text, serde_json::Value::Null))
    }

    /// Signs what is due, publishes it, and has every running operator judge by it. Call it after a change of what the authority says.
    pub(super) fn renew(&self, in_force: &InForce) -> Result<(), RaiseError> {
        let (Some(live), Some(made)) = (&self.live, &in_force.made) else {
            return Ok(());
        };
        let now = self.now();
        made.publish(&live.published, now)?;
        let trust = made.trust_of_now(now)?;
        for local in in_force.operators.values() {
            local
                .operator
                .install(Arc::clone(made.allow_list()), Arc::clone(&trust));
        }
        Ok(())
    }

    /// The same, between orders.
    pub(super) async fn refresh(&self) -> Result<(), RaiseError> {
        self.renew(&*self.in_force.lock().await)
    }

    /// How often [`Self::refresh`] is due.
    pub(super) async fn refresh_period(&self) -> Duration {
        self.in_force.lock().await.space.refresh
    }

    /// Names of things in the folder.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The authority of the space.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// The time of the one clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What runs, if anything does.
    pub(super) fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// From now on readiness says no.
    pub(super) fn announce_stop(&self) {
        if let Some(live) = &self.live {
            live.published.set_ready(false);
        }
    }

    /// Closes every store, once everything else has ended.
    pub(super) async fn close(&self) {
        for local in self.in_force.lock().await.operators.values() {
            local.operator.close().await;
        }
    }
}

/// The card of the last run.
fn card(path: &Path) -> Option<Card> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
