//! One attempt for a batch of items of one domain: hosts by preference until one takes the mail, then the settlement of each item.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Relay;
use super::connection::{Connection, ConnectionError, Driven, Target, Waits};
use super::order::{Group, groups, in_turn};
use super::visit::{Visit, failed};
use crate::dns::{MailHost, RouteError};
use crate::identity::Domain;
use crate::indicator;
use crate::listener::{Parts, Snapshot};
use crate::pki::{Demand, Expectation, Usage, client_config};
use crate::policy::Reason;
use crate::queue::{self, Answer, Attempt, Outcome, Parameters, ParametersError};
use crate::smtp::client::{self, ClientOptions, ClientTls, RecipientOutcome, Transaction, Transfer};
use crate::smtp::command::Body;
use crate::store::{Acceptance, MessageKey, QueueItem, QueueKey, StoreError};

/// Until when an attempt may begin something new.
#[derive(Clone)]
pub(super) struct Bounds {
    /// Well before the leases run out.
    pub(super) good_until: Timestamp,
    /// The process is asked to end.
    pub(super) stop: CancellationToken,
}

/// What an attempt learnt of the destination.
pub(super) enum Visited {
    /// A host took part in the conversation, whatever it said.
    Reached,
    /// No host could be used for now, because of what is said.
    Unreached(String),
    /// Nothing was learnt: it was final before a host was asked, or there was no time.
    Undecided,
}

/// What is known of each item so far, and what it is judged by (invariant 4).
struct Verdicts {
    snapshot: Arc<Snapshot>,
    bounds: Bounds,
    outcomes: HashMap<QueueKey, Verdict>,
    /// "Not now" of a host: it stands if no other host says better.
    postponed: HashMap<QueueKey, Verdict>,
    /// Already written down.
    settled: HashSet<QueueKey>,
    /// What all this says of the destination.
    visited: Visited,
}

struct Verdict {
    outcome: Outcome,
    peer_subject: String,
    peer_host: Option<String>,
}

/// Why an attempt could not be written down.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Parameters(#[from] ParametersError),
}

/// Why a host was not used for everything.
enum Unsent {
    /// Nothing was sent, because nothing recent says whether its certificate is revoked.
    RevocationUnknown,
    /// What it means for the items without verdict.
    Other(Outcome),
}

impl Relay {
    /// Tries to deliver items of one domain and settles every one of them.
    pub(super) async fn deliver(&self, (domain, items): (Domain, Vec<QueueItem>), bounds: Bounds) -> Visited {
        let snapshot = self.parts.snapshot.load_full();
        let mut verdicts = Verdicts::new(Arc::clone(&snapshot), bounds);
        match self.hosts(&domain, &snapshot).await {
            Err(outcome) => {
                verdicts.missed(&outcome);
                verdicts.fill(&items, &outcome, None);
            }
            Ok(hosts) => self.try_hosts(&domain, hosts, (&items, &mut verdicts)).await,
        }
        self.settle(&items, &mut verdicts).await;
        verdicts.visited
    }

    /// Settles items of one domain that no host is asked about.
    pub(super) async fn settle_unsent(
        &self,
        items: &[QueueItem],
        bounds: &Bounds,
        outcome: impl Fn(&QueueItem) -> Outcome,
    ) {
        let mut verdicts = Verdicts::new(self.parts.snapshot.load_full(), bounds.clone());
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

    async fn try_hosts(&self, domain: &Domain, hosts: Vec<MailHost>, (items, verdicts): (&[QueueItem], &mut Verdicts)) {
        let mut last: Option<(Outcome, String)> = None;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for host in in_turn(hosts, turn) {
            for address in &host.addresses {
                let pending = verdicts.pending(items);
                if pending.is_empty() || verdicts.bounds.stop.is_cancelled() {
                    return;
                }
                let visit = Visit::new(domain);
                match self
                    .try_address((&host.name, *address), (pending, &visit), verdicts)
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
        if let Some((outcome, _)) = &last {
            verdicts.missed(outcome);
        }
        let (outcome, host) = last.unwrap_or_else(|| {
            let text =
                format!("451 4.4.4 no host of {domain} has an address, or there was no time left for this message");
            (Outcome::Deferred(Answer::here(text)), String::new())
        });
        verdicts.fill(items, &outcome, (!host.is_empty()).then_some(host.as_str()));
    }

    /// Tries one address; once more when only the revocation of its certificate was unknown and a responder could tell meanwhile. No mail
    /// has been given before that.
    async fn try_address(
        &self,
        (name, address): (&str, SocketAddr),
        (pending, visit): (Vec<QueueItem>, &Visit),
        verdicts: &mut Verdicts,
    ) -> Result<(), Outcome> {
        let target = |tls| Target {
            name: name.to_owned(),
            address,
            tls,
        };
        let snapshot = Arc::clone(&verdicts.snapshot);
        if snapshot.authority.asks_ocsp() {
            let tls = self.tls(visit, &snapshot, Demand::Fresh)?;
            let first = (pending.clone(), visit, Demand::Fresh);
            match self.try_host(target(tls), first, verdicts).await {
                Err(Unsent::RevocationUnknown) => {}
                Err(Unsent::Other(outcome)) => return Err(outcome),
                Ok(()) => return Ok(()),
            }
            let Parts { responders, clock, .. } = &*self.parts;
            let chain = visit.witness.chain();
            responders.ask(&snapshot.authority, &chain, Usage::Server, clock).await;
        }
        let tls = self.tls(visit, &snapshot, Demand::Usable)?;
        match self
            .try_host(target(tls), (pending, visit, Demand::Usable), verdicts)
            .await
        {
            Ok(()) => Ok(()),
            Err(Unsent::Other(outcome)) => Err(outcome),
            // Only a first try ends so.
            Err(Unsent::RevocationUnknown) => Err(Outcome::Deferred(Answer::here(format!(
                "454 4.7.0 nobody can tell whether the certificate of {name} is revoked"
            )))),
        }
    }

    /// What we expect of the peer: a valid certificate whose full subject is listed for the recipients' domain (OP-4, OP-6).
    fn tls(
        &self,
        visit: &Visit,
        snapshot: &Arc<Snapshot>,
        demand: Demand,
    ) -> Result<Arc<rustls::ClientConfig>, Outcome> {
        let (list, domain) = (Arc::clone(&snapshot.allow_list), visit.domain.clone());
        let rule = Arc::new(move |peer: &crate::pki::PeerCertificate| {
            list.vouch_recipient(&domain, &peer.subject).map(|_proof| ())
        });
        let expectation = Expectation::new(Arc::clone(&snapshot.authority))
            .with_rule(rule)
            .with_demand(demand)
            .with_witness(visit.witness.clone());
        client_config(
            Some(&self.identity.load()),
            expectation,
            self.options.tls,
            &self.parts.clock,
        )
        .map_err(|error| {
            tracing::error!(
                operator = self.parts.operator,
                error = &error as &dyn std::error::Error,
                "no TLS for the relay"
            );
            Outcome::Deferred(Answer::here(
                "451 4.3.5 this operator's own TLS configuration is broken",
            ))
        })
    }

    /// Sends every group over one connection. An error is about the host, and says what it means for items without verdict.
    async fn try_host(
        &self,
        target: Target,
        (pending, visit, demand): (Vec<QueueItem>, &Visit, Demand),
        verdicts: &mut Verdicts,
    ) -> Result<(), Unsent> {
        let (host, address) = (target.name.clone(), target.address);
        let mut groups = groups(pending);
        let Some((mut group, mut content)) = self.next_group(&mut groups, verdicts).await else {
            return Ok(());
        };
        let waits = Waits {
            connect: self.options.connect,
            reply: self.options.reply,
            delivery: self.options.delivery,
        };
        let options = ClientOptions {
            hostname: self.host.to_string(),
            tls: ClientTls::StartTls,
            login: None,
            transfer: Transfer::BdatWhenOffered,
        };
        let first = transaction(&group, &content);
        let mut connection = match Connection::open(target, options, first, waits).await {
            Ok(connection) => connection,
            Err(error) => return Err(self.unsent(&error, (visit, demand), address, &verdicts.snapshot).await),
        };
        loop {
            let driven = connection.transact(&content).await;
            let peer = connection.peer().map(ToString::to_string).unwrap_or_default();
            match driven {
                Driven::Unproved(error) => {
                    return Err(self.unsent(&error, (visit, demand), address, &verdicts.snapshot).await);
                }
                Driven::Outcome(client::Outcome::Failed(failure)) => {
                    let outcome = failed(&failure, &visit.session);
                    if failure.stage == client::Stage::Verdict {
                        // The peer may have it: another host of the same operator must not get it at once.
                        verdicts.visited = Visited::Reached;
                        verdicts.fill(&group.items, &outcome, Some(&host));
                    }
                    return Err(Unsent::Other(outcome));
                }
                Driven::Outcome(client::Outcome::Finished(outcomes)) => {
                    for (item, outcome) in group.items.iter().zip(outcomes) {
                        verdicts.hear(item, Verdict::of(outcome, &peer, &host));
                    }
                    // Now, not at the end of the batch: what the peer has must not be sent again after a crash.
                    self.settle(&group.items, verdicts).await;
                }
            }
            let Some(next) = self.next_group(&mut groups, verdicts).await else {
                break;
            };
            (group, content) = next;
            if !connection.next_transaction(transaction(&group, &content)) {
                let text = format!(
                    "451 4.4.2 {host} takes no further message on this connection (session {})",
                    visit.session
                );
                return Err(Unsent::Other(Outcome::Deferred(Answer::here(text))));
            }
        }
        connection.close().await;
        Ok(())
    }

    /// What a server that could not be used means. Before a responder was asked, "unknown" is not yet a verdict, nor evidence.
    async fn unsent(
        &self,
        error: &ConnectionError,
        (visit, demand): (&Visit, Demand),
        address: SocketAddr,
        snapshot: &Snapshot,
    ) -> Unsent {
        match error {
            ConnectionError::Unproved { refusal, .. }
                if demand == Demand::Fresh && refusal.reason == Reason::RevocationUnknown =>
            {
                Unsent::RevocationUnknown
            }
            _ => Unsent::Other(self.turned_back(error, visit, address, snapshot).await),
        }
    }

    /// The next group whose message can be read; items of an unreadable one are deferred.
    async fn next_group(&self, groups: &mut Vec<Group>, verdicts: &mut Verdicts) -> Option<(Group, Arc<Vec<u8>>)> {
        while let Some(group) = groups.pop() {
            if verdicts.bounds.stop.is_cancelled() || self.parts.clock.now() >= verdicts.bounds.good_until {
                return None;
            }
            match self.parts.store.content(group.message).await {
                Ok(content) => return Some((group, content)),
                Err(error) => {
                    let operator = &self.parts.operator;
                    tracing::error!(
                        operator,
                        error = &error as &dyn std::error::Error,
                        "a queued message cannot be read"
                    );
                    let outcome =
                        Outcome::Deferred(Answer::here("451 4.3.0 the message cannot be read from the store"));
                    verdicts.fill(&group.items, &outcome, None);
                }
            }
        }
        None
    }

    /// Applies what the verdicts lead to, message by message, each in one transaction. One that cannot be settled does not hold up the
    /// others: its lease runs out and it is tried again, so nothing is lost.
    async fn settle(&self, items: &[QueueItem], verdicts: &mut Verdicts) {
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
            match self.settle_message(&attempts, &verdicts.snapshot).await {
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
    /// One transaction: settlements, journal, counts and the report to the sender.
    async fn settle_message(&self, attempts: &[Attempt<'_>], snapshot: &Snapshot) -> Result<(), SettleError> {
        let now = self.parts.clock.now();
        let settling = queue::settle(attempts, &self.parts.retry, now)?;
        let mut also = Acceptance::default();
        // Held until it is settled: after a domain has been named there, its boxes here get no report any more.
        let departed = self.parts.departed.read().await;
        let report = self.report(&settling.notices, (snapshot, &departed), now).await;
        let mut records = settling.records;
        if let Some(report) = report {
            also.message = Some(report.message);
            also.deliveries = report.deliveries;
            also.outgoing = report.outgoing;
            records.extend(report.records);
        }
        indicator::enter(&mut also, &records);
        let created: Vec<_> = attempts.iter().map(|attempt| attempt.item.created).collect();
        let folders: Vec<_> = also.deliveries.iter().map(|delivery| delivery.folder).collect();
        if !self.parts.store.settle(settling.settlements, also).await? {
            tracing::warn!(
                operator = self.parts.operator,
                "a lease had run out: its items are tried again"
            );
            return Ok(());
        }
        drop(departed);
        self.parts.observe_settled(&records, &created);
        for folder in folders {
            self.parts.mailboxes.notify().changed(folder);
        }
        Ok(())
    }
}

impl Verdicts {
    fn new(snapshot: Arc<Snapshot>, bounds: Bounds) -> Self {
        Self {
            snapshot,
            bounds,
            outcomes: HashMap::new(),
            postponed: HashMap::new(),
            settled: HashSet::new(),
            visited: Visited::Undecided,
        }
    }

    fn set(&mut self, item: &QueueItem, verdict: Verdict) {
        self.outcomes.insert(item.key, verdict);
    }

    /// What a host says of an item. "Not now" leaves it to the next host (RFC 5321 §5.1); "never" is final, whoever says it.
    fn hear(&mut self, item: &QueueItem, verdict: Verdict) {
        self.visited = Visited::Reached;
        match verdict.outcome {
            Outcome::Deferred(_) => {
                self.postponed.entry(item.key).or_insert(verdict);
            }
            _ => self.set(item, verdict),
        }
    }

    /// No host could be used. "Never" is about the mail, not about the destination; and a host that was heard before is there.
    fn missed(&mut self, outcome: &Outcome) {
        if let (Visited::Undecided, Outcome::Deferred(answer)) = (&self.visited, outcome) {
            self.visited = Visited::Unreached(answer.text.clone());
        }
    }

    /// No host is left: what was postponed stays so.
    fn accept_postponed(&mut self) {
        for (key, verdict) in self.postponed.drain() {
            self.outcomes.entry(key).or_insert(verdict);
        }
    }

    /// Items that have no verdict yet.
    fn pending(&self, items: &[QueueItem]) -> Vec<QueueItem> {
        items
            .iter()
            .filter(|item| !self.outcomes.contains_key(&item.key))
            .cloned()
            .collect()
    }

    /// The same verdict for every item that has none.
    fn fill(&mut self, items: &[QueueItem], outcome: &Outcome, host: Option<&str>) {
        for item in self.pending(items) {
            let peer_host = host.map(str::to_owned);
            self.set(
                &item,
                Verdict {
                    outcome: outcome.clone(),
                    peer_subject: String::new(),
                    peer_host,
                },
            );
        }
    }

    fn attempt<'a>(&'a self, item: &'a QueueItem) -> Option<Attempt<'a>> {
        let verdict = self.outcomes.get(&item.key)?;
        Some(Attempt {
            item,
            outcome: verdict.outcome.clone(),
            peer_subject: &verdict.peer_subject,
            peer_host: verdict.peer_host.as_deref(),
        })
    }
}

impl Verdict {
    fn of(outcome: RecipientOutcome, peer_subject: &str, host: &str) -> Self {
        let outcome = match outcome {
            RecipientOutcome::Accepted(reply) => Outcome::Accepted(Answer::peer(reply.to_string())),
            RecipientOutcome::Deferred(reply) => Outcome::Deferred(Answer::peer(reply.to_string())),
            RecipientOutcome::Refused(reply) => Outcome::Refused(Answer::peer(reply.to_string())),
        };
        Self {
            outcome,
            peer_subject: peer_subject.to_owned(),
            peer_host: Some(host.to_owned()),
        }
    }
}

fn transaction(group: &Group, content: &[u8]) -> Transaction {
    let first = group.items.first();
    let parameters = first
        .and_then(|item| Parameters::from_json(&item.parameters).ok())
        .unwrap_or_default();
    let sender = first.and_then(|item| item.sender.clone());
    let mut mail = parameters.mail_from(sender, content.len() as u64);
    // Clients often send 8 bits without saying so; the next hop must know.
    let unsaid = || (!content.is_ascii()).then_some(Body::EightBitMime);
    mail.body = mail.body.or_else(unsaid);
    // Every item of a group has the same parameters.
    let recipients = group
        .items
        .iter()
        .map(|item| parameters.rcpt_to(item.recipient.clone()));
    Transaction {
        mail,
        recipients: recipients.collect(),
    }
}

/// Of what two hosts meant, the one that leaves hope.
fn milder(before: Option<(Outcome, String)>, now: (Outcome, String)) -> (Outcome, String) {
    match before {
        Some(before) if matches!(before.0, Outcome::Deferred(_)) => before,
        _ => now,
    }
}
