//! What an operator does to its store from time to time: purges by age, and a look whether a disk that failed works again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Operator, Running};
use crate::clock::Clock;
use crate::config::Retention;
use crate::directory::Directory;
use crate::identity::Address;
use crate::indicator;
use crate::journal::{Event, Excerpt, Maintained, MaskedAddress, Record};
use crate::mailbox::{Mailboxes, Notify};
use crate::store::sqlite::{Purged, SqliteStore};
use crate::store::{Count, FolderKey, JournalRow, JournalStore, SpecialUse, StoreError};

/// Whose store it is, and what is kept how long.
struct Upkeep {
    operator: String,
    store: Arc<SqliteStore>,
    notify: Notify,
    clock: Clock,
    retention: Retention,
}

impl Operator {
    /// Has the store looked after while the operator runs.
    pub(super) fn keep_up(&self, retention: Retention, running: &Running) {
        let upkeep = Upkeep {
            operator: self.parts.operator.clone(),
            store: Arc::clone(&self.store),
            notify: self.parts.mailboxes.notify().clone(),
            clock: self.parts.clock.clone(),
            retention,
        };
        running.tracker.spawn(upkeep.keep(running.stop.clone()));
    }
}

impl Upkeep {
    /// Purges at the start and once per [`PERIOD`]; probes a failing disk every [`PROBE_PERIOD`]; until `stop`.
    async fn keep(self, stop: CancellationToken) {
        let mut next_purge = self.clock.now();
        loop {
            if self.store.trouble().is_some() {
                self.probe().await;
            } else if self.clock.now() >= next_purge {
                let purged = tokio::select! {
                    () = stop.cancelled() => return,
                    purged = self.purge() => purged,
                };
                if let Err(error) = purged {
                    let operator = &self.operator;
                    tracing::error!(
                        operator,
                        error = error.with_cause(),
                        "a purge ended early; the next one goes on"
                    );
                }
                next_purge = later(self.clock.now(), PERIOD);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PROBE_PERIOD) => {}
            }
        }
    }

    async fn probe(&self) {
        if let Err(error) = self.store.probe().await {
            tracing::debug!(operator = self.operator, %error, "the disk still takes nothing");
        }
    }

    async fn purge(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.purge_journal(earlier(now, self.retention.journal)).await?;
        while self.store.purge_remembered(now, ROWS_AT_ONCE).await?.has_more {
            tokio::time::sleep(PAUSE).await;
        }
        for (of, kind, age) in [
            (SpecialUse::Trash, "trash", self.retention.trash),
            (SpecialUse::Junk, "junk", self.retention.junk),
        ] {
            if let Some(age) = age {
                self.purge_folders(of, kind, earlier(now, age)).await?;
            }
        }
        Ok(())
    }

    async fn purge_journal(&self, before: Timestamp) -> Result<(), StoreError> {
        let mut rows = 0;
        loop {
            let piece = self.store.purge_journal(before, ROWS_AT_ONCE, counts_of).await?;
            rows += piece.rows;
            if !piece.has_more {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if rows == 0 {
            return Ok(());
        }
        let event = Maintained {
            action: "purge".into(),
            kind: "journal".into(),
            text: Excerpt::new(format!("rows before {before}")),
            count: rows,
            ..Maintained::default()
        };
        let row = Record::new(self.clock.now(), "", Event::Maintained(event)).to_row();
        self.store.append(vec![row]).await
    }

    async fn purge_folders(&self, of: SpecialUse, kind: &'static str, before: Timestamp) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.store.mark_folders(of, now, MARKS_APART_MS).await?;
        loop {
            let record = move |address: &str, count| record(now, kind, address, count);
            let Purged { has_more, folders, .. } =
                self.store.purge_folders(of, before, MESSAGES_AT_ONCE, record).await?;
            for folder in folders {
                self.notify.changed(folder);
            }
            if !has_more {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Every box with its standard folders; where mail for each is delivered.
pub(super) async fn ensure_boxes(
    mailboxes: &Mailboxes,
    directory: &Directory,
) -> Result<HashMap<Address, FolderKey>, StoreError> {
    let mut making = JoinSet::new();
    for mailbox in directory.boxes() {
        let (mailboxes, address) = (mailboxes.clone(), mailbox.address.clone());
        // Together: the store writes them in a few groups.
        making.spawn(async move {
            let owner = mailboxes.ensure(&address).await?;
            Ok::<_, StoreError>((address, mailboxes.inbox(owner).await?))
        });
    }
    let mut inboxes = HashMap::new();
    while let Some(made) = making.join_next().await {
        let (address, inbox) = made.map_err(|_| StoreError::Closed)??;
        inboxes.insert(address, inbox);
    }
    let quotas = directory
        .boxes()
        .map(|mailbox| (mailbox.address.clone(), directory.quota_of(&mailbox.address)));
    mailboxes.set_quotas(&quotas.collect::<Vec<_>>()).await?;
    Ok(inboxes)
}

fn record(now: Timestamp, kind: &str, address: &str, count: u64) -> JournalRow {
    let place = address
        .parse::<Address>()
        .map(|address| MaskedAddress::from(&address).to_string());
    let event = Maintained {
        action: "purge".into(),
        kind: kind.into(),
        place: Excerpt::new(place.unwrap_or_default()),
        text: Excerpt::default(),
        count,
    };
    Record::new(now, "", Event::Maintained(event)).to_row()
}

/// What a journal row counts for.
pub fn counts_of(row: JournalRow) -> Vec<Count> {
    let record = Record::from_row(row);
    indicator::increments(&record.event, record.at)
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Between two purges: what is purged is counted in days.
const PERIOD: Duration = Duration::from_hours(1);
/// Between two looks at a disk that failed.
const PROBE_PERIOD: Duration = Duration::from_secs(5);
/// Between two pieces of a purge: mail goes first.
const PAUSE: Duration = Duration::from_millis(20);
/// Journal rows in one transaction: some 2 ms.
const ROWS_AT_ONCE: usize = 200;
/// Messages in one transaction.
const MESSAGES_AT_ONCE: usize = 50;
/// Ages are exact to this.
const MARKS_APART_MS: i64 = 6 * 3_600_000;
