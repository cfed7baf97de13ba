//! One attempt for a batch of items of one domain: hosts by preference until one takes the mail, then the settlement of each item.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Relay;
use super::call::Call;
use super::lanes::Lane;
use super::order::in_turn;
use super::pool::Place;
use super::report::Returned;
use super::verdicts::{Bounds, Verdicts, milder};
use super::visit::Visit;
use crate::dns::{MailHost, RouteError};
use crate::identity::Domain;
use crate::indicator;
use crate::listener::Snapshot;
use crate::policy::Reason;
use crate::queue::{self, Answer, Attempt, Outcome, ParametersError};
use crate::store::{Acceptance, MessageKey, QueueItem, QueueKey, Settled, Settlement, StoreError};

/// Why an attempt could not be written down.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Parameters(#[from] ParametersError),
}

impl Relay {
    /// Tries to deliver items of one domain, and what is handed over for it meanwhile, and settles every one of them.
    pub(super) async fn deliver(
        &self,
        (domain, items): (Domain, Vec<QueueItem>),
        lane: &Arc<Lane>,
        bounds: Bounds,
    ) -> Verdicts {
        let snapshot = self.parts.snapshot.load_full();
        let mut verdicts = Verdicts::new(Arc::clone(&snapshot), bounds, items).on_lane(lane);
        match self.hosts(&domain, &snapshot).await {
            Err(outcome) => {
                verdicts.missed(&outcome);
                verdicts.fill_rest(&outcome, None);
            }
            Ok(hosts) => self.try_hosts(&domain, hosts, &mut verdicts).await,
        }
        let items = std::mem::take(&mut verdicts.items);
        self.settle(&items, &mut verdicts).await;
        verdicts.items = items;
        verdicts
    }

    /// Leaves items to the store: for them nothing was tried. When that cannot be written down, their leases run out.
    pub(super) async fn give_back(&self, items: &[QueueItem]) {
        let operator = &self.parts.operator;
        let unattempted = |item: &QueueItem| Settlement {
            key: item.key,
            lease: item.lease,
            fate: Settled::Unattempted,
        };
        let settlements = items.iter().map(unattempted).collect();
        if let Err(error) = self.parts.store.settle(settlements, Acceptance::default()).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                operator,
                error,
                "items cannot be given back: they wait until their leases run out"
            );
        }
    }

    /// Settles items of one domain that no host is asked about.
    pub(super) async fn settle_unsent(
        &self,
        items: &[QueueItem],
        bounds: &Bounds,
        outcome: impl Fn(&QueueItem) -> Outcome,
    ) {
        let mut verdicts = Verdicts::new(self.parts.snapshot.load_full(), bounds.clone(), Vec::new());
        for item in items {
            verdicts.fill(std::slice::from_ref(item), &outcome(item), None);
        }
        self.settle(items, &mut verdicts).await;
    }

    async fn hosts(&self, domain: &Domain, snapshot: &Snapshot) -> Result<Vec<MailHost>, Outcome> {
        // A domain can vanish from the list between acceptance and relay.
        if !snapshot.allow_list.lists(domain) {
            let text = format!(
                "550 5.7.1 {domain} is not on the allow list ({})",
                Reason::RecipientDomainUnlisted
            );
            return Err(Outcome::Refused(Answer::here(text)));
        }
        self.routes.mail_hosts(domain).await.map_err(|error| match &error {
            RouteError::NoRoute(_) => Outcome::Refused(Answer::here(format!("550 5.1.2 {error}"))),
            RouteError::Unavailable { .. } => Outcome::Deferred(Answer::here(format!("451 4.4.3 {error}"))),
        })
    }

    async fn try_hosts(&self, domain: &Domain, hosts: Vec<MailHost>, verdicts: &mut Verdicts) {
        let mut last: Option<(Outcome, String)> = None;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for host in in_turn(hosts, turn) {
            for address in &host.addresses {
                let pending = verdicts.pending();
                if pending.is_empty() || verdicts.bounds.stop.is_cancelled() {
                    return;
                }
                let place = Place {
                    name: host.name.clone(),
                    address: *address,
                };
                match self
                    .call(
                        Call::new(place, Visit::new(domain, self.parts.clock.now()), pending),
                        verdicts,
                    )
                    .await
                {
                    // It has spoken for every item: its other addresses are the same server.
                    Ok(()) => break,
                    // A host that is merely down must not turn another's firm refusal into a bounce, nor the reverse.
                    Err(outcome) => last = Some(milder(last, (outcome, host.name.clone()))),
                }
            }
        }
        if verdicts.bounds.stop.is_cancelled() {
            // Items without verdict keep their lease; the next start ends it.
            return;
        }
        verdicts.accept_postponed();
        let no_room = last
            .as_ref()
            .is_some_and(|(outcome, _)| matches!(outcome, Outcome::Deferred(_)));
        if no_room && verdicts.were_one_too_many(self.parts.clock.now()) {
            let operator = &self.parts.operator;
            tracing::info!(operator, %domain, "the destination takes no further connection; the others carry its mail");
            self.give_back(&verdicts.pending()).await;
            return;
        }
        if let Some((outcome, _)) = &last {
            verdicts.missed(outcome);
        }
        let (outcome, host) = last.unwrap_or_else(|| {
            let text =
                format!("451 4.4.4 no host of {domain} has an address, or there was no time left for this message");
            (Outcome::Deferred(Answer::here(text)), String::new())
        });
        verdicts.fill_rest(&outcome, (!host.is_empty()).then_some(host.as_str()));
    }

    /// Applies what the verdicts lead to, message by message, each in one transaction. One that cannot be settled does not hold up the
    /// others: its lease runs out and it is tried again, so nothing is lost.
    pub(super) async fn settle(&self, items: &[QueueItem], verdicts: &mut Verdicts) {
        let mut messages: BTreeMap<MessageKey, Vec<&QueueItem>> = BTreeMap::new();
        for item in items.iter().filter(|item| !verdicts.settled.contains(&item.key)) {
            messages.entry(item.message).or_default().push(item);
        }
        for items in messages.values() {
            let attempts: Vec<Attempt<'_>> = items.iter().filter_map(|item| verdicts.attempt(item)).collect();
            if attempts.is_empty() {
                continue;
            }
            let keys: Vec<QueueKey> = attempts.iter().map(|attempt| attempt.item.key).collect();
            match self.settle_in_time(&attempts, verdicts).await {
                Ok(()) => verdicts.settled.extend(keys),
                Err(error) => {
                    let operator = &self.parts.operator;
                    tracing::error!(
                        operator,
                        error = &error as &dyn std::error::Error,
                        "an attempt could not be settled"
                    );
                }
            }
        }
    }
}

impl Relay {
    /// Settles one message. While the store fails it is asked again, as long as the leases last: what a peer has taken would be sent to it
    /// once more when they run out, and what it refused would wait until then. The last time, a report goes even without its original.
    async fn settle_in_time(&self, attempts: &[Attempt<'_>], verdicts: &Verdicts) -> Result<(), SettleError> {
        let mut pause = SETTLE_PAUSE_MIN;
        loop {
            let returned = if self.parts.clock.now() < verdicts.bounds.good_until {
                Returned::Needed
            } else {
                Returned::IfReadable
            };
            let error = match self.settle_message(attempts, &verdicts.snapshot, returned).await {
                Err(SettleError::Store(error)) => error,
                other => return other,
            };
            if matches!(error, StoreError::Closed) || returned == Returned::IfReadable {
                return Err(error.into());
            }
            tracing::warn!(
                operator = self.parts.operator,
                error = &error as &dyn std::error::Error,
                "an attempt is not settled yet: the store is asked again"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(SETTLE_PAUSE_MAX),
                () = verdicts.bounds.stop.cancelled() => return Err(error.into()),
            }
        }
    }

    /// One transaction: settlements, journal, counts and the report to the sender.
    async fn settle_message(
        &self,
        attempts: &[Attempt<'_>],
        snapshot: &Snapshot,
        returned: Returned,
    ) -> Result<(), SettleError> {
        let now = self.parts.clock.now();
        let settling = queue::settle(attempts, &self.parts.retry, now)?;
        let mut also = Acceptance::default();
        // Held until it is settled: after a domain has been named there, its boxes here get no report any more.
        let departed = self.parts.departed.read().await;
        let report = self.report(&settling.notices, (snapshot, &departed), (now, returned));
        let report = report.await?;
        let mut records = settling.records;
        if let Some(report) = report {
            also.reports.push(report.enclosure);
            records.extend(report.records);
        }
        indicator::enter(&mut also, &records);
        let created: Vec<_> = attempts.iter().map(|attempt| attempt.item.created).collect();
        let deliveries = also.reports.iter().flat_map(|report| &report.deliveries);
        let folders: Vec<_> = deliveries.map(|delivery| delivery.folder).collect();
        let is_queued = also.reports.iter().any(|report| !report.outgoing.is_empty());
        if !self.parts.store.settle(settling.settlements, also).await? {
            tracing::warn!(
                operator = self.parts.operator,
                "a lease had run out: its items are tried again"
            );
            return Ok(());
        }
        drop(departed);
        self.parts.observe_settled(&records, &created);
        if is_queued {
            self.parts.queued.notify_one();
        }
        for folder in folders {
            self.parts.mailboxes.notify().changed(folder);
        }
        Ok(())
    }
}

/// A store that failed is asked again after so long, then after twice as long, up to the second.
const SETTLE_PAUSE_MIN: Duration = Duration::from_millis(500);
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(30);
