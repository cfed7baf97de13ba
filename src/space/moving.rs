//! Domains on their way from one operator to another: their boxes are copied, what their old operator still has to send goes out, and then
//! the old operator is no longer listed for them.
//!
//! What makes it safe: the old operator takes no delivery for the domain from the moment the space changes, and nothing from its boxes, in
//! no session, so what it holds is final; both operators know every delivery that a peer may repeat; and copies are remembered.
//! The space file says that a domain is leaving, so a process killed at any moment goes on at its next start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Keeper;
use super::edit::{self, text_of};
use super::folder::Layout;
use super::keeper::{InForce, LocalOperator};
use super::order::OrderError;
use crate::app::Operator;
use crate::config::{self, Leaving, Space};
use crate::identity::{Address, Domain};
use crate::mailbox::Transfer;
use crate::store::sqlite::{Options as StoreOptions, SqliteStore};
use crate::store::{QueueStore, StoreError};

/// A domain that is leaving, with both its operators.
struct Journey {
    from_key: String,
    /// None when it is a server of the user's: what it still has to send is not known here.
    from: Option<Arc<Operator>>,
    /// None when the sandbox does not run the new operator: there is nowhere to copy to.
    to: Option<Arc<Operator>>,
    leaving: Leaving,
    /// Whether the old operator has no other domain.
    ends_operator: bool,
}

/// How far each journey has come, by old operator and domain.
type Progress = HashMap<(String, Domain), Transfer>;

/// The new operator learns every delivery that the old one took and that its peer may repeat, before any mail is routed to it.
pub(super) async fn carry_keys(
    space: &Space,
    operators: &BTreeMap<String, LocalOperator>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for journey in journeys(space, operators) {
        if let (Some(from), Some(to)) = (&journey.from, &journey.to) {
            let keys = from.store().remembered(now).await?;
            to.store().remember(keys).await?;
        }
    }
    Ok(())
}

/// The same before anybody starts: a peer may repeat a delivery as soon as the new operator listens.
pub(super) async fn carry_keys_on_disk(space: &Space, layout: &Layout, now: Timestamp) -> Result<(), StoreError> {
    for from in space.operators.iter().filter(|operator| operator.is_local()) {
        for leaving in &from.leaving {
            let is_local = space.operator(&leaving.to).is_some_and(config::Operator::is_local);
            let stores = [&from.key, &leaving.to].map(|key| layout.store(key));
            if !is_local || !stores.iter().all(|folder| folder.exists()) {
                continue;
            }
            let [from, to] = stores.map(|folder| SqliteStore::open(&folder, StoreOptions::default()));
            let (from, to) = (from?, to?);
            to.remember(from.remembered(now).await?).await?;
            from.close().await?;
            to.close().await?;
        }
    }
    Ok(())
}

/// Copies and ends what can be ended, until `stop`.
pub(super) async fn run(keeper: Arc<Keeper>, stop: CancellationToken) {
    let mut progress = Progress::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let under_way = keeper.journeys().await;
        progress.retain(|(from, domain), _| {
            let same = |journey: &Journey| journey.from_key == *from && journey.leaving.domain == *domain;
            under_way.iter().any(same)
        });
        for journey in under_way {
            if stop.is_cancelled() {
                return;
            }
            if let Err(error) = advance(&keeper, &journey, &mut progress).await {
                let domain = &journey.leaving.domain;
                tracing::error!(%domain, error = %error.with_causes(), "the move stands still, and is tried again");
            }
        }
    }
}

async fn advance(keeper: &Keeper, journey: &Journey, progress: &mut Progress) -> Result<(), OrderError> {
    let is_ready = match &journey.from {
        Some(from) => is_through(keeper.now(), journey, from, progress).await?,
        None => true,
    };
    if is_ready && keeper.now() >= journey.leaving.until {
        keeper.end_journey(journey).await?;
        progress.remove(&(journey.from_key.clone(), journey.leaving.domain.clone()));
    }
    Ok(())
}

/// Copies what is there, and says whether all is copied and sent. What the old operator holds is final, and what it has still to send
/// only grows less: it takes nothing for the domain, and nothing from its boxes, since the domain left.
async fn is_through(
    now: Timestamp,
    journey: &Journey,
    from: &Operator,
    progress: &mut Progress,
) -> Result<bool, OrderError> {
    let domain = &journey.leaving.domain;
    let transfer = progress
        .entry((journey.from_key.clone(), domain.clone()))
        .or_insert_with(|| Transfer::new(&journey.from_key));
    let copied = match &journey.to {
        Some(to) => copy(from, to, (domain, transfer), now).await?,
        None => 0,
    };
    Ok(copied == 0 && !has_mail_to_send(from, journey).await?)
}

async fn copy(
    from: &Operator,
    to: &Operator,
    (domain, transfer): (&Domain, &mut Transfer),
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut copied = 0;
    for address in to.boxes_of(domain) {
        let store = from.store();
        copied += transfer.copy(store.as_ref(), to.mailboxes(), &address, now).await?;
    }
    Ok(copied)
}

/// Whether mail of the domain's senders waits at the old operator; or anything at all, when it is about to end.
async fn has_mail_to_send(from: &Operator, journey: &Journey) -> Result<bool, StoreError> {
    let queued = from.store().queued(QUEUE_LOOK_MAX).await?;
    let of_domain = |sender: &Address| sender.domain() == &journey.leaving.domain;
    let mut senders = queued.iter().map(|item| &item.sender);
    Ok(queued.len() == QUEUE_LOOK_MAX
        || senders.any(|sender| journey.ends_operator || sender.as_ref().is_some_and(of_domain)))
}

fn journeys(space: &Space, operators: &BTreeMap<String, LocalOperator>) -> Vec<Journey> {
    let mut found = Vec::new();
    for operator in &space.operators {
        let from = operators.get(&operator.key);
        if from.is_none() && operator.is_local() {
            continue; // It could not be opened: what it holds waits for it.
        }
        for leaving in &operator.leaving {
            found.push(Journey {
                from_key: operator.key.clone(),
                from: from.map(|from| Arc::clone(&from.operator)),
                to: operators.get(&leaving.to).map(|to| Arc::clone(&to.operator)),
                leaving: leaving.clone(),
                ends_operator: operator.domains.is_empty(),
            });
        }
    }
    found
}

impl Keeper {
    async fn journeys(&self) -> Vec<Journey> {
        self.with(|in_force| journeys(&in_force.space, &in_force.operators))
            .await
    }

    /// The domain has left: its old boxes are set aside, its old operator is no longer listed for it, and closed if it has none left.
    async fn end_journey(&self, journey: &Journey) -> Result<(), OrderError> {
        let mut in_force = self.lock().await;
        let (key, domain) = (&journey.from_key, &journey.leaving.domain);
        if !is_leaving(&in_force, journey) {
            return Ok(());
        }
        if let (Some(from), Some(_)) = (&journey.from, &journey.to) {
            // Should the domain ever come back, its boxes begin anew with what is copied back.
            from.store().set_boxes_aside(domain).await?;
        }
        let is_last = {
            let operator = in_force.space.operator(key);
            operator.is_some_and(|operator| operator.domains.is_empty() && operator.leaving.len() == 1)
        };
        let changes = if is_last {
            self.take_operator(&mut in_force, key).await?
        } else {
            self.edit(&mut in_force, |text| {
                let operator = text.operator(key)?;
                edit::take_sections(operator, "leaving", |one| text_of(one, "domain") == domain.as_str());
                Ok(())
            })
            .await?
        };
        tracing::info!(%domain, from = key, to = journey.leaving.to, closed = ?changes.stopped, "the domain has moved");
        Ok(())
    }
}

fn is_leaving(in_force: &InForce, journey: &Journey) -> bool {
    let operator = in_force.space.operator(&journey.from_key);
    operator.is_some_and(|operator| operator.leaving.contains(&journey.leaving))
}

/// How often what is under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A queue of more is looked at again later.
const QUEUE_LOOK_MAX: usize = 20_000;
