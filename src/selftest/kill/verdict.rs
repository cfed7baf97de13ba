//! What became of every message, read from the two stores once all is delivered.

use std::collections::{BTreeMap, BTreeSet};

use super::ground::{BOXES, name};
use super::mail::{Answer, Ledger, Mail, number_of};
use crate::identity::Address;
use crate::indicator::recount;
use crate::selftest::findings::{Findings, Wrong};
use crate::store::sqlite::SqliteStore;
use crate::store::{MailboxStore, MessageStore, QueueStore, StoreError};

/// What the boxes of both operators hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Copies of a message, by its number and box.
    copies: BTreeMap<(u64, String), u64>,
    /// Failure reports, by the number of the message they return.
    bounces: BTreeMap<u64, u64>,
    /// What is still queued: late, and not lost.
    queued: BTreeSet<(u64, String)>,
    /// All of them.
    pub(super) reports: u64,
}

impl Found {
    /// Reads every box of an operator; each message's bytes are compared on the way.
    pub(super) async fn read(
        &mut self,
        store: &SqliteStore,
        operator: usize,
        (ledger, seed): (&Ledger, u64),
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        for local in BOXES.iter().chain(["dui"].iter()) {
            let address = format!("{local}@{}.mssante.fr", name(operator));
            let Ok(parsed) = address.parse::<Address>() else {
                continue;
            };
            let owner = match store.find_box(&parsed).await {
                // Nothing ever came there.
                Err(StoreError::NotFound { .. }) => continue,
                other => other?,
            };
            for folder in store.folders(owner).await? {
                for entry in store.entries(folder.key, 0).await? {
                    match store.content(entry.message).await {
                        Ok(content) => self.take(&address, &content, (ledger, seed), findings),
                        Err(error) => {
                            let what = format!("UID {} of {address} cannot be read: {error}", entry.uid);
                            findings.note(Wrong::Corrupted, what);
                        }
                    }
                }
            }
        }
        self.check_operator(store, operator, findings).await
    }

    async fn check_operator(
        &mut self,
        store: &SqliteStore,
        operator: usize,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let operator = name(operator);
        let queued = store.queued(QUEUED_MAX).await?;
        if !queued.is_empty() {
            let what = format!("{} recipients are still queued at {operator}", queued.len());
            findings.note(Wrong::Unusable, what);
        }
        for item in queued {
            let content = store.content(item.message).await?;
            let number = number_of(&content).unwrap_or_default();
            self.queued.insert((number, item.recipient.to_string()));
        }
        match recount(store, store).await {
            Ok(found) if found.agrees() => {}
            Ok(found) => {
                let differences = found.differences.len() + found.damaged.len();
                let what = format!("{operator}: {differences} counters differ from the journal");
                findings.note(Wrong::Recount, what);
            }
            Err(error) => findings.note(Wrong::Unusable, format!("{operator}: recount: {error}")),
        }
        Ok(())
    }

    fn take(&mut self, address: &str, content: &[u8], (ledger, seed): (&Ledger, u64), findings: &mut Findings) {
        let Some(number) = number_of(content) else {
            findings.note(Wrong::Corrupted, format!("a message in {address} has no number"));
            return;
        };
        if memchr::memmem::find(content, REPORT).is_some() {
            self.reports += 1;
            *self.bounces.entry(number).or_default() += 1;
            return;
        }
        *self.copies.entry((number, address.to_owned())).or_default() += 1;
        let sent = ledger.mails().get(&number).map(|mail| mail.content(seed));
        // Operators put trace fields before it and change nothing else.
        if !sent.is_some_and(|sent| content.ends_with(&sent)) {
            findings.note(
                Wrong::Corrupted,
                format!("message {number} in {address} is not what was sent"),
            );
        }
    }

    /// Compares with what was answered.
    pub(super) fn compare(&self, ledger: &Ledger, findings: &mut Findings) {
        for mail in ledger.mails().values() {
            for (recipient, answer) in &mail.recipients {
                if !Mail::is_unknown(recipient) {
                    self.compare_copy(mail, recipient, *answer, findings);
                }
            }
            self.compare_bounce(mail, findings);
        }
    }

    fn compare_copy(&self, mail: &Mail, recipient: &String, answer: Answer, findings: &mut Findings) {
        let number = mail.number;
        let copies = self
            .copies
            .get(&(number, recipient.clone()))
            .copied()
            .unwrap_or_default();
        if copies > 1 {
            findings.note(
                Wrong::Doubled,
                format!("message {number} is {copies} times in {recipient}"),
            );
        }
        match (answer, copies) {
            (Answer::Accepted, 0) if !self.queued.contains(&(number, recipient.clone())) => {
                findings.note(Wrong::Lost, format!("message {number} is not in {recipient}"));
            }
            (Answer::None, 1) => findings.unanswered += 1,
            (Answer::Refused, 1) => {
                let what = format!("message {number} was refused and is in {recipient}");
                findings.note(Wrong::Doubled, what);
            }
            _ => {}
        }
    }

    /// A message to nobody at the other operator comes back once; to nobody here it was refused.
    fn compare_bounce(&self, mail: &Mail, findings: &mut Findings) {
        let number = mail.number;
        let bounces = self.bounces.get(&number).copied().unwrap_or_default();
        let own = mail.from.split_once('@').map_or("", |(_, domain)| domain);
        let expected = mail
            .recipients
            .iter()
            .find(|(recipient, _)| Mail::is_unknown(recipient) && !recipient.ends_with(own));
        if bounces > 1 {
            let what = format!("message {number} came back {bounces} times to {}", mail.from);
            findings.note(Wrong::DoubleBounce, what);
        }
        match expected {
            Some((recipient, Answer::Accepted))
                if bounces == 0 && !self.queued.contains(&(number, recipient.clone())) =>
            {
                let what = format!("message {number} to {recipient} neither arrived nor came back");
                findings.note(Wrong::Lost, what);
            }
            None if bounces > 0 => {
                let what = format!("message {number} came back although all its recipients are known");
                findings.note(Wrong::Lost, what);
            }
            _ => {}
        }
    }
}

/// Stands in every delivery report, and in nothing that is sent.
const REPORT: &[u8] = b"Content-Type: message/delivery-status";
/// More than can be queued here.
const QUEUED_MAX: usize = 1_000_000;
