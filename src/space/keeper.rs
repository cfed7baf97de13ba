//! Keeps a space: what is in force, and the orders that change it, one at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard};

use super::card::Card;
use super::doors::Place;
use super::folder::{DataFolder, FolderError, Layout};
use super::made::Made;
use super::order::{Answer, Order, OrderError};
use super::ports::Ports;
use super::raise::RaiseError;
use super::services::Services;
use super::{
    change_domain, change_operator, order_at, order_audit, order_cert, order_certlab, order_list, order_renew,
};
use crate::app::control::{Executor, Reply};
use crate::app::{Operator, Running};
use crate::clock::Clock;
use crate::config::{Space, Standing};
use crate::dns::RouteTable;
use crate::lab::audit_server::AuditServers;
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
    /// What its user was told of it last; none before it was ever raised.
    pub(super) card: Option<Card>,
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
    pub(super) ports: Ports,
    /// The audit peers' servers, when they are raised.
    pub(super) audit: std::sync::Mutex<Option<AuditServers>>,
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
        let card = card(&layout.card());
        let web_url = card
            .as_ref()
            .map_or_else(|| format!("http://{}", space.web), |card| card.web.clone());
        let authority = Made::authority(&layout, &space, web_url, clock.now())?;
        let in_force = InForce {
            space: Arc::new(space),
            made: None,
            operators: BTreeMap::new(),
            card,
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
        if let Order::At { operator, act } = order {
            return order_at::execute(self, &operator, act).await;
        }
        let mut in_force = self.in_force.lock().await;
        self.change(&mut in_force, order).await
    }

    /// Orders about operators and domains.
    async fn change(&self, in_force: &mut InForce, order: Order) -> Result<Answer, OrderError> {
        match order {
            Order::Apply => self.apply(in_force).await,
            Order::ListPublish { list } => order_list::publish_list(self, in_force, &list),
            Order::OperatorList => Ok(change_operator::list(in_force)),
            Order::OperatorAdd(new) => change_operator::add(self, in_force, &new).await,
            Order::OperatorSuspend { operator } => {
                change_operator::set_standing(self, in_force, &operator, Standing::Suspended).await
            }
            Order::OperatorResume { operator } => {
                change_operator::set_standing(self, in_force, &operator, Standing::Active).await
            }
            Order::OperatorRemove { operator } => change_operator::remove(self, in_force, &operator).await,
            Order::OperatorMerge {
                operator,
                into,
                overlap_seconds,
            } => change_domain::merge(self, in_force, (&operator, &into), overlap_seconds).await,
            Order::DomainList => Ok(change_domain::list(in_force)),
            Order::DomainAdd { domain, to } => change_domain::add(self, in_force, &domain, &to).await,
            Order::DomainMove {
                domain,
                to,
                overlap_seconds,
            } => change_domain::move_to(self, in_force, (&domain, &to), overlap_seconds).await,
            Order::DomainRemove { domain } => change_domain::remove(self, in_force, &domain).await,
            Order::CertRenew(renewal) => order_renew::renew(self, in_force, &renewal).await,
            order @ (Order::CertIssue(_)
            | Order::CertRevoke { .. }
            | Order::CertRelease { .. }
            | Order::CertList(_)
            | Order::CertStatus { .. }
            | Order::AuthorityFault { .. }
            | Order::AuthorityFaults) => order_cert::execute(self, in_force, order),
            Order::CertlabForge(wanted) => order_certlab::forge(self, in_force, &wanted).await,
            Order::AuditRaise => order_audit::raise(self, in_force).await,
            Order::AuditStop => order_audit::stop(self, in_force).await,
            Order::At { operator, act } => order_at::execute(self, &operator, act).await,
        }
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
        self.with(|in_force| in_force.space.refresh).await
    }

    /// Starts the servers of the audit peers that the space names. One that cannot start is an alarm, no reason to raise nothing.
    pub(super) async fn serve_audit(&self) {
        let space = self.with(|in_force| Arc::clone(&in_force.space)).await;
        if let Err(error) = order_audit::serve(self, &space).await {
            tracing::error!("{}: the audit peers do not answer", error.with_causes());
        }
    }

    /// What is in force, between orders.
    pub(super) async fn lock(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().await
    }

    /// Asks something of what is in force, between orders.
    pub(super) async fn with<T>(&self, ask: impl FnOnce(&InForce) -> T) -> T {
        ask(&*self.in_force.lock().await)
    }

    /// The one clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
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
            live.running.watch.draining();
        }
    }

    /// Closes every store, once everything else has ended.
    pub(super) async fn close(&self) {
        for local in self.in_force.lock().await.operators.values() {
            local.operator.close().await;
        }
    }
}

#[async_trait]
impl Executor for Keeper {
    type Order = Order;

    async fn carry_out(&self, order: Order) -> Reply {
        Reply::of(self.execute(order).await)
    }
}

/// The card of the last run.
fn card(path: &Path) -> Option<Card> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
