//! Mail as an operator's store sees it, from several sides at once: small and large messages into boxes and into the queue, deletions,
//! deliveries that leave the queue, bounces that enter a box as they do.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::ledger::{Asked, Message, Place, content, number_of};
use super::scenario::Scenario;
use crate::identity::Address;
use crate::indicator;
use crate::journal::{Event, Excerpt, Owner, Record, Submitted};
use crate::mailbox::deliver;
use crate::message::Class;
use crate::selftest::dice::Dice;
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Acceptance, Accepted, Content, FlagChange, Flags, MailboxStore, MessageStore, NewMessage, Outgoing, QueueItem,
    QueueStore, Settled, Settlement, StoreError,
};

/// One side that works on the store.
pub(super) struct Worker {
    pub(super) store: Arc<SqliteStore>,
    pub(super) scenario: Arc<Scenario>,
    pub(super) dice: Dice,
}

impl Worker {
    /// Does so many things, one after the other, whatever the store answers.
    pub(super) async fn work(mut self, steps: usize) {
        for _ in 0..steps {
            self.step().await;
        }
    }

    async fn step(&mut self) {
        match self.dice.below(10) {
            0 | 1 => self.delete().await,
            2 | 3 => self.relay().await,
            _ => drop(self.accept().await),
        }
    }

    /// Accepts a message; whether the store did.
    pub(super) async fn accept(&mut self) -> bool {
        let places = self.places();
        let number = self.enter(places, None);
        let bytes = self.content_of(number);
        let staged = bytes.len() > STAGED_FROM && self.dice.percent(60);
        let content = if staged {
            self.stage(&bytes).await
        } else {
            Ok(Content::Memory(bytes))
        };
        let result = match content {
            Ok(content) => {
                let acceptance = self.acceptance(number, content);
                self.store.accept(acceptance).await
            }
            Err(error) => Err(error),
        };
        self.note_acceptance(number, &result)
    }

    fn places(&mut self) -> Vec<Place> {
        let mut places = Vec::new();
        for folder in 0..self.scenario.folders().len() {
            if self.dice.percent(40) {
                places.push(Place::Folder(folder));
            }
        }
        for recipient in 0..self.dice.below(3) {
            places.push(Place::Queue(format!("r{recipient}@pair.mssante.fr")));
        }
        if places.is_empty() {
            places.push(Place::Folder(0));
        }
        places
    }

    /// Writes a message down before the store is asked.
    fn enter(&mut self, places: Vec<Place>, settles: Option<(u64, String)>) -> u64 {
        let number = self.scenario.next_number();
        let size = match self.dice.below(10) {
            0 | 1 => self.dice.between(STAGED_FROM, LARGE_MAX),
            2 => self.dice.between(INLINE_MAX - 20, INLINE_MAX + 20),
            _ => self.dice.between(120, 2_500),
        };
        let message = Message {
            number,
            content: Arc::new(content(self.scenario.seed, number, size)),
            asked: Asked::new(self.scenario.position()),
            places: places.into_iter().map(|place| (place, None)).collect(),
            uids: BTreeMap::new(),
            settles,
        };
        self.scenario.ledger.messages().insert(number, message);
        number
    }

    fn content_of(&self, number: u64) -> Arc<Vec<u8>> {
        self.scenario.ledger.content(number).unwrap_or_default()
    }

    async fn stage(&mut self, bytes: &[u8]) -> Result<Content, StoreError> {
        let mut stage = self.store.stage().await?;
        let (front, rest) = bytes.split_at(self.dice.between(1, 200).min(bytes.len()));
        for part in rest.chunks(6_000) {
            stage.write(part).await?;
        }
        Ok(Content::Staged(stage.finish(front).await?))
    }

    fn acceptance(&self, number: u64, content: Content) -> Acceptance {
        let places: Vec<Place> = self
            .scenario
            .ledger
            .messages()
            .get(&number)
            .map_or(Vec::new(), |message| message.places.keys().cloned().collect());
        let mut acceptance = Acceptance {
            message: Some(NewMessage {
                content,
                lead: b"Return-Path: <>\r\n".to_vec(),
                summary: None,
            }),
            ..Acceptance::default()
        };
        for place in &places {
            match place {
                Place::Folder(folder) => {
                    let folder = self.scenario.folders().get(*folder);
                    let folder = folder.map(|key| deliver::unread(*key, self.scenario.now()));
                    acceptance.deliveries.extend(folder);
                }
                Place::Queue(recipient) => {
                    let recipient = recipient.parse::<Address>().ok();
                    acceptance
                        .outgoing
                        .extend(recipient.map(|recipient| self.outgoing(recipient)));
                }
            }
        }
        indicator::enter(&mut acceptance, &[self.record(places.len())]);
        acceptance
    }

    fn outgoing(&self, recipient: Address) -> Outgoing {
        Outgoing {
            sender: None,
            recipient,
            due: self.scenario.now(),
            expires: later(self.scenario.now()),
            parameters: String::from("{}"),
            session: String::from("s-selftest"),
        }
    }

    fn record(&self, recipients: usize) -> Record {
        let submitted = Submitted {
            login: Excerpt::new(String::from("selftest")),
            owner: Owner::default(),
            class: Class::Message,
            recipient_count: u64::try_from(recipients).unwrap_or(u64::MAX),
            ..Submitted::default()
        };
        Record::new(self.scenario.now(), "s-selftest", Event::Submitted(submitted))
    }

    fn note_acceptance(&self, number: u64, result: &Result<Accepted, StoreError>) -> bool {
        let position = self.scenario.position();
        let mut messages = self.scenario.ledger.messages();
        let Some(message) = messages.get_mut(&number) else {
            return false;
        };
        if self.scenario.is_killed() {
            // Nobody heard the answer.
            return false;
        }
        let Ok(accepted) = result else {
            message.asked.failed = true;
            return false;
        };
        message.asked.answered = Some(position);
        for (folder, _, uid) in &accepted.delivered {
            if let Some(number) = self.scenario.folders().iter().position(|key| key == folder) {
                message.uids.insert(Place::Folder(number), *uid);
            }
        }
        true
    }

    /// Deletes a message from a folder, as IMAP does: the flag, then EXPUNGE of its UID.
    async fn delete(&mut self) {
        let Some((number, place, uid)) = self.choose_delivered() else {
            return;
        };
        let Place::Folder(folder) = place else { return };
        let Some(key) = self.scenario.folders().get(folder).copied() else {
            return;
        };
        let flags = Flags::system(Flags::DELETED);
        let flagged = self.store.store_flags(key, &[uid], FlagChange::Add, &flags).await;
        if flagged.is_err() {
            // Not asked for any more: nothing may have gone.
            self.note_removal(number, &Place::Folder(folder), None);
            return;
        }
        let expunged = self.store.expunge(key, Some(&[uid])).await;
        let gone = matches!(&expunged, Ok(uids) if uids.contains(&uid));
        self.note_removal(number, &Place::Folder(folder), Some(gone));
    }

    fn choose_delivered(&mut self) -> Option<(u64, Place, u32)> {
        let position = self.scenario.position();
        let mut messages = self.scenario.ledger.messages();
        let candidates: Vec<(u64, Place, u32)> = messages
            .values()
            .filter(|message| message.settles.is_none())
            .flat_map(|message| message.uids.iter().map(move |(place, uid)| (message, place, *uid)))
            .filter(|(message, place, _)| message.places.get(place) == Some(&None))
            .map(|(message, place, uid)| (message.number, place.clone(), uid))
            .collect();
        let chosen = candidates.get(self.dice.below(candidates.len()))?.clone();
        let removal = messages.get_mut(&chosen.0)?.places.get_mut(&chosen.1)?;
        *removal = Some(Asked::new(position));
        Some(chosen)
    }

    /// `Some(true)`: it was answered; `Some(false)`: nobody knows; `None`: it was not asked for after all.
    fn note_removal(&self, number: u64, place: &Place, answer: Option<bool>) {
        let position = self.scenario.position();
        let mut messages = self.scenario.ledger.messages();
        let Some(removal) = messages
            .get_mut(&number)
            .and_then(|message| message.places.get_mut(place))
        else {
            return;
        };
        match (answer, removal) {
            (None, removal) => *removal = None,
            (Some(true), Some(asked)) if !self.scenario.is_killed() => asked.answered = Some(position),
            (Some(_), Some(asked)) => asked.failed = true,
            (Some(_), None) => {}
        }
    }

    /// Leases from the queue and settles: delivered, tried again later, or bounced into a folder in the same transaction.
    async fn relay(&mut self) {
        let leased = self
            .store
            .lease(self.scenario.now(), later(self.scenario.now()), 2)
            .await;
        for item in leased.unwrap_or_default() {
            self.settle(item).await;
        }
    }

    async fn settle(&mut self, item: QueueItem) {
        let Ok(bytes) = self.store.content(item.message).await else {
            return;
        };
        let Some(number) = number_of(&bytes) else { return };
        let place = Place::Queue(item.recipient.to_string());
        let mut settlement = Settlement {
            key: item.key,
            lease: item.lease,
            fate: Settled::Done,
        };
        if self.dice.percent(20) {
            settlement.fate = Settled::Retry {
                due: self.scenario.now(),
                last_reply: String::from("451 try again"),
                delay_told: None,
            };
            drop(self.store.settle(vec![settlement], Acceptance::default()).await);
            return;
        }
        self.ask_removal(number, &place);
        let mut also = Acceptance::default();
        let bounce = self.dice.percent(40).then(|| {
            let settles = (number, item.recipient.to_string());
            self.enter(vec![Place::Folder(0)], Some(settles))
        });
        if let Some(bounce) = bounce {
            also = self.acceptance(bounce, Content::Memory(self.content_of(bounce)));
        }
        let settled = self.store.settle(vec![settlement], also).await;
        let answered = matches!(settled, Ok(true));
        self.note_removal(number, &place, Some(answered));
        if let Some(bounce) = bounce {
            let result = settled.and_then(|held| {
                if held {
                    Ok(Accepted::default())
                } else {
                    Err(StoreError::Closed)
                }
            });
            self.note_acceptance(bounce, &result);
        }
    }

    fn ask_removal(&self, number: u64, place: &Place) {
        let position = self.scenario.position();
        let mut messages = self.scenario.ledger.messages();
        let removal = messages
            .get_mut(&number)
            .and_then(|message| message.places.get_mut(place));
        if let Some(removal) = removal {
            // A second attempt after a failed one: the first may have gone through.
            removal.get_or_insert(Asked::new(position));
        }
    }
}

fn later(now: Timestamp) -> Timestamp {
    now.saturating_add(SignedDuration::from_hours(1))
        .unwrap_or(Timestamp::MAX)
}

/// Largest body kept beside the rows in these stores: small, so that files are made often.
pub(super) const INLINE_MAX: usize = 4_096;
/// From this size on a message may arrive by a stage.
const STAGED_FROM: usize = 5_000;
const LARGE_MAX: usize = 40_000;
