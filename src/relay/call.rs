//! The conversation with one host: over a connection that is still open, or a fresh one, message after message, until nothing is left
//! to say.

use std::sync::Arc;

use tokio::time::Instant;

use super::Relay;
use super::connection::{Connection, ConnectionError, Driven, Target, Waits};
use super::order::{Group, groups};
use super::pool::{Kept, Place};
use super::text::Text;
use super::transaction::transaction;
use super::verdicts::{Verdict, Verdicts, Visited};
use super::visit::{FACE, Visit, failed};
use crate::listener::{Parts, Snapshot, observe_handshake};
use crate::pki::{Demand, Expectation, Identity, Remembered, Usage, client_config};
use crate::policy::{Reason, Refusal};
use crate::queue::{Answer, Outcome};
use crate::smtp::client::Outcome as Ending;
use crate::smtp::client::{Cause, ClientOptions, ClientTls, Failure, RecipientOutcome, Stage, Transaction, Transfer};
use crate::store::{QueueItem, StoreError};

/// What one host is called for.
pub(super) struct Call {
    place: Place,
    visit: Visit,
    /// What is left; the last is said first.
    groups: Vec<Group>,
}

/// How a conversation ended.
enum Ended {
    /// Everything is said.
    Over,
    /// This connection takes no more, and nothing on the way was given to it.
    Worn,
    /// Nothing was sent, because nothing recent says whether the certificate is revoked.
    RevocationUnknown,
    /// The host is of no more use now: what that means for items without verdict.
    Host(Outcome),
}

/// A message on its way.
struct Load {
    group: Group,
    text: Text,
    transaction: Transaction,
}

/// A connection on which a transaction has begun.
struct Line {
    kept: Kept,
    /// What was asked of its certificate.
    demand: Demand,
    /// Whether it was used by an earlier attempt, and nothing was said in this one before the transaction under way: then it may be dead
    /// without anybody knowing.
    is_old: bool,
}

impl Call {
    pub(super) fn new(place: Place, visit: Visit, items: Vec<QueueItem>) -> Self {
        Self {
            place,
            visit,
            groups: groups(items),
        }
    }
}

impl Relay {
    /// Sends what it can to one host. An error is about the host, and says what it means for items without verdict.
    pub(super) async fn call(&self, mut call: Call, verdicts: &mut Verdicts) -> Result<(), Outcome> {
        // Each turn says at least one group, or uses up a connection of the pool, or ends.
        while let Some(load) = self.next_load(&mut call, verdicts).await {
            let ended = match self.reusable(&call, &verdicts.snapshot).await {
                Some(kept) => self.resume(&mut call, load, kept, verdicts).await,
                None => self.call_afresh(&mut call, load, verdicts).await,
            };
            match ended {
                Ended::Over => break,
                Ended::Worn => {}
                Ended::Host(outcome) => return Err(outcome),
                // Only a first try ends so, and the second has been made.
                Ended::RevocationUnknown => return Err(nobody_can_tell(&call.place)),
            }
        }
        Ok(())
    }

    /// An open connection to the host whose peer is still trusted for this domain.
    async fn reusable(&self, call: &Call, snapshot: &Snapshot) -> Option<Kept> {
        while let Some(mut kept) = self.pool.take(&call.place) {
            match self.still_trusted(&mut kept, call, snapshot) {
                Ok(()) if kept.is_current(&self.identity.load(), snapshot) && kept.connection.is_quiet().await => {
                    return Some(kept);
                }
                Ok(()) => {}
                Err(refusal) => {
                    let (operator, host) = (&self.parts.operator, &call.place.name);
                    tracing::info!(operator, host, reason = %refusal.reason, "an open connection is not used again");
                }
            }
            self.pool.dismiss(kept.connection);
        }
        None
    }

    /// Judges the peer of an open connection again, as a handshake now would (invariant 2). The list is asked each time; what is known of
    /// the certificate is used again only as long as it cannot have changed.
    fn still_trusted(&self, kept: &mut Kept, call: &Call, snapshot: &Snapshot) -> Result<(), Refusal> {
        let authority = &snapshot.authority;
        let demand = if authority.asks_ocsp() {
            Demand::Fresh
        } else {
            Demand::Usable
        };
        let question = (Usage::Server, self.parts.clock.now());
        let Kept { connection, judged, .. } = kept;
        let peer = judged.verify(authority, connection.chain(), question, demand)?;
        let list = &snapshot.allow_list;
        list.vouch_recipient(&call.visit.domain, &peer.subject).map(|_proof| ())
    }

    /// Opens a connection; once more when only the revocation of the certificate was unknown and a responder could tell meanwhile. No mail
    /// has been given before that.
    async fn call_afresh(&self, call: &mut Call, mut load: Load, verdicts: &mut Verdicts) -> Ended {
        let snapshot = Arc::clone(&verdicts.snapshot);
        if snapshot.authority.asks_ocsp() {
            match self.connect_and_converse(call, load, Demand::Fresh, verdicts).await {
                Ended::RevocationUnknown => {}
                other => return other,
            }
            let Parts { responders, clock, .. } = &*self.parts;
            let chain = call.visit.witness.chain();
            responders.ask(&snapshot.authority, &chain, Usage::Server, clock).await;
            // The first try has put it back.
            match self.next_load(call, verdicts).await {
                Some(again) => load = again,
                None => return Ended::Over,
            }
        }
        self.connect_and_converse(call, load, Demand::Usable, verdicts).await
    }

    async fn connect_and_converse(
        &self,
        call: &mut Call,
        load: Load,
        demand: Demand,
        verdicts: &mut Verdicts,
    ) -> Ended {
        let identity = self.identity.load_full();
        let tls = match self.tls((call, &identity), &verdicts.snapshot, demand) {
            Ok(tls) => tls,
            Err(outcome) => return Ended::Host(outcome),
        };
        let target = Target {
            name: call.place.name.clone(),
            address: call.place.address,
            tls,
        };
        let options = ClientOptions {
            hostname: self.host.to_string(),
            tls: ClientTls::StartTls,
            login: None,
            transfer: Transfer::BdatWhenOffered,
        };
        let waits = Waits {
            connect: self.options.connect,
            reply: self.options.reply,
            delivery: self.options.delivery,
        };
        let opened = Instant::now();
        let connection = match Connection::open(target, options, load.transaction.clone(), waits).await {
            Ok(connection) => connection,
            Err(error) => {
                verdicts.turned_away |= matches!(error, ConnectionError::Unreachable { .. });
                return self.unusable(&error, (call, load), demand, &verdicts.snapshot).await;
            }
        };
        let kept = Kept {
            connection,
            identity,
            opened,
            allow_list: Arc::clone(&verdicts.snapshot.allow_list),
            authority: Arc::clone(&verdicts.snapshot.authority),
            judged: Remembered::default(),
        };
        let line = Line {
            kept,
            demand,
            is_old: false,
        };
        self.converse(call, load, line, verdicts).await
    }

    /// Goes on over a connection of the pool.
    async fn resume(&self, call: &mut Call, load: Load, mut kept: Kept, verdicts: &mut Verdicts) -> Ended {
        if !kept.connection.resume(load.transaction.clone()) {
            call.groups.push(load.group);
            self.pool.dismiss(kept.connection);
            return Ended::Worn;
        }
        let line = Line {
            kept,
            demand: Demand::Usable,
            is_old: true,
        };
        self.converse(call, load, line, verdicts).await
    }

    /// Carries the transaction that has begun to its end, and says what else is left over the same connection.
    async fn converse(&self, call: &mut Call, mut load: Load, mut line: Line, verdicts: &mut Verdicts) -> Ended {
        // Settled while the next message is on its way: the store here and the one there are written at the same time.
        let mut heard: Vec<QueueItem> = Vec::new();
        loop {
            let transacted = line.kept.connection.transact(&load.text);
            let (driven, ()) = tokio::join!(transacted, self.settle(&heard, verdicts));
            if let Some((handshake, took)) = line.kept.connection.take_handshake() {
                observe_handshake(&self.parts.meter, FACE, handshake, took);
            }
            match driven {
                Driven::Unproved(error) => {
                    return self
                        .unusable(&error, (call, load), line.demand, &verdicts.snapshot)
                        .await;
                }
                Driven::Outcome(Ending::Failed(failure)) => return self.broken(call, load, (failure, line), verdicts),
                Driven::Outcome(Ending::Finished(outcomes)) => heard = hear(call, load, (outcomes, &line), verdicts),
            }
            // A message that the peer cannot take is not said: whether the connection still lives is then as unknown as before.
            line.is_old &= line.kept.connection.is_unheard();
            let Some(next) = self.next_load(call, verdicts).await else {
                // Now, not at the end of the batch: what the peer has must not be sent again after a crash.
                self.settle(&heard, verdicts).await;
                if let Some(connection) = self.pool.park(call.place.clone(), line.kept) {
                    connection.close().await;
                }
                return Ended::Over;
            };
            load = next;
            let connection = &mut line.kept.connection;
            // A peer that has closed, or said goodbye, is given nothing that it might have got.
            let goes_on = self.pool.may_carry_more(connection)
                && connection.is_quiet().await
                && connection.follow(load.transaction.clone(), &load.text);
            if !goes_on {
                self.settle(&heard, verdicts).await;
                call.groups.push(load.group);
                self.pool.dismiss(line.kept.connection);
                return Ended::Worn;
            }
        }
    }

    /// What a connection that broke off means for the message under way.
    fn broken(&self, call: &mut Call, load: Load, (failure, line): (Failure, Line), verdicts: &mut Verdicts) -> Ended {
        if line.is_old && is_stale(&failure) {
            call.groups.push(load.group);
            return Ended::Worn;
        }
        let connection = line.kept.connection;
        let peer = connection.peer();
        let host = call.place.name.as_str();
        for (place, reply) in &failure.refused {
            if let Some(item) = load.group.items.get(*place) {
                let outcome = RecipientOutcome::Refused(reply.clone());
                verdicts.hear(item, Verdict::of(outcome, connection.offer(), (peer, host)));
            }
        }
        verdicts.turned_away |= failure.stage == Stage::Greeting;
        let outcome = failed(&failure, &call.visit.session);
        if failure.may_have_arrived() {
            // Another host of the same operator must not get it at once (RFC 1047 §1).
            verdicts.visited = Visited::Reached;
            verdicts.fill(&load.group.items, &outcome, Some(host));
        }
        self.pool.dismiss(connection);
        Ended::Host(outcome)
    }

    /// What a server that could not be used means. Before a responder was asked, "unknown" is not yet a verdict, nor evidence.
    async fn unusable(
        &self,
        error: &ConnectionError,
        (call, load): (&mut Call, Load),
        demand: Demand,
        snapshot: &Snapshot,
    ) -> Ended {
        match error {
            ConnectionError::Unproved { refusal, .. }
                if demand == Demand::Fresh && refusal.reason == Reason::RevocationUnknown =>
            {
                call.groups.push(load.group);
                Ended::RevocationUnknown
            }
            _ => {
                let address = call.place.address;
                Ended::Host(self.turned_back(error, &call.visit, address, snapshot).await)
            }
        }
    }

    /// The next message that can be read; items of an unreadable one are deferred. `None`: nothing is left, or no time.
    async fn next_load(&self, call: &mut Call, verdicts: &mut Verdicts) -> Option<Load> {
        while let Some(group) = call.groups.pop().or_else(|| self.joining(call, verdicts)) {
            if !verdicts.bounds.hold(&self.parts.clock) {
                return None;
            }
            let error = match self.load(group).await {
                Ok(load) => return Some(load),
                Err((group, error)) => {
                    let outcome =
                        Outcome::Deferred(Answer::here("451 4.3.0 the message cannot be read from the store"));
                    verdicts.fill(&group.items, &outcome, None);
                    error
                }
            };
            let (operator, error) = (&self.parts.operator, &error as &dyn std::error::Error);
            tracing::error!(operator, error, "a queued message cannot be read");
        }
        None
    }

    /// A message that was handed over for the same domain since the attempt began.
    fn joining(&self, call: &mut Call, verdicts: &mut Verdicts) -> Option<Group> {
        let Parts {
            snapshot,
            clock,
            handover,
            ..
        } = &*self.parts;
        if !verdicts.may_be_joined(&snapshot.load(), clock) {
            return None;
        }
        let handed = handover.take(&call.visit.domain, clock.now())?;
        call.groups = groups(handed.items.clone());
        verdicts.join(handed);
        call.groups.pop()
    }

    async fn load(&self, group: Group) -> Result<Load, (Group, StoreError)> {
        let text = match Text::of(&self.parts.store, group.message, group.size_bytes).await {
            Ok(text) => text,
            Err(error) => return Err((group, error)),
        };
        match transaction(&group, &text).await {
            Ok(transaction) => Ok(Load {
                group,
                text,
                transaction,
            }),
            Err(error) => Err((group, error)),
        }
    }

    /// What we expect of the peer: a valid certificate whose full subject is listed for the recipients' domain (OP-4, OP-6).
    fn tls(
        &self,
        (call, identity): (&Call, &Identity),
        snapshot: &Arc<Snapshot>,
        demand: Demand,
    ) -> Result<Arc<rustls::ClientConfig>, Outcome> {
        let (list, domain) = (Arc::clone(&snapshot.allow_list), call.visit.domain.clone());
        let rule = Arc::new(move |peer: &crate::pki::PeerCertificate| {
            list.vouch_recipient(&domain, &peer.subject).map(|_proof| ())
        });
        let expectation = Expectation::new(Arc::clone(&snapshot.authority))
            .with_rule(rule)
            .with_demand(demand)
            .with_witness(call.visit.witness.clone());
        client_config(Some(identity), expectation, self.options.tls, &self.parts.clock).map_err(|error| {
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
}

/// Takes the verdicts of a transaction that came to its end. Returns whom it was for: they are to be settled.
fn hear(
    call: &mut Call,
    mut load: Load,
    (outcomes, line): (Vec<RecipientOutcome>, &Line),
    verdicts: &mut Verdicts,
) -> Vec<QueueItem> {
    let connection = &line.kept.connection;
    let peer = connection.peer();
    // RFC 5321 §4.5.3.1.10: those for whom the transaction had no room get another, provided that this one settled somebody.
    let has_settled = outcomes
        .iter()
        .any(|outcome| !matches!(outcome, RecipientOutcome::Deferred(_)));
    let again: Vec<bool> = outcomes
        .iter()
        .map(|outcome| has_settled && outcome.wants_another_transaction())
        .collect();
    for ((item, outcome), again) in load.group.items.iter().zip(outcomes).zip(&again) {
        if !again {
            let who = (peer, call.place.name.as_str());
            verdicts.hear(item, Verdict::of(outcome, connection.offer(), who));
        }
    }
    let rest = load.group.split(&again);
    if !rest.items.is_empty() {
        call.groups.push(rest);
    }
    load.group.items
}

/// Whether a connection from the pool turned out to be dead, or closed by a peer that had waited long enough, before it took anything:
/// a fresh one may be tried at once, and cannot double the message. The first transaction that is said after the pool never sends its text
/// before a recipient was taken ([`Connection::resume`]; an impossible one before it changes nothing), so what is lost before that has
/// not arrived.
fn is_stale(failure: &Failure) -> bool {
    match failure.cause {
        Cause::Lost => matches!(
            failure.stage,
            Stage::Mail | Stage::Recipient | Stage::Data | Stage::Text
        ),
        // RFC 5321 §3.8: 421, said before it heard of this message.
        Cause::Refused => failure.stage == Stage::Mail,
        Cause::StartTlsAbsent | Cause::LoginAbsent | Cause::Protocol => false,
    }
}

fn nobody_can_tell(place: &Place) -> Outcome {
    Outcome::Deferred(Answer::here(format!(
        "454 4.7.0 nobody can tell whether the certificate of {} is revoked",
        place.name
    )))
}
