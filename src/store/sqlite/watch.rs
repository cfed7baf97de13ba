//! What whoever watches a running store asks: can it write, and how much waits in its queue.

use jiff::Timestamp;
use rusqlite::Connection;

use super::SqliteStore;
use super::rows::{raise, time, unsigned};
use crate::store::StoreError;

/// How much waits in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// Recipients whose next attempt may begin.
    pub due: u64,
    /// Recipients whose next attempt is later.
    pub waiting: u64,
    /// Recipients of attempts under way.
    pub leased: u64,
    /// When the one that waits longest was queued.
    pub oldest: Option<Timestamp>,
}

impl SqliteStore {
    /// Writes something and syncs it: only that tells a full or read-only disk from a good one. Nothing visible changes.
    ///
    /// # Errors
    /// The store cannot write.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.write(|tx, _| raise(tx, "run", 0).map(|_| ())).await?;
        match self.trouble() {
            // Rows can be written: what is left is about body files.
            Some(_) => self.probe_bodies().await,
            None => Ok(()),
        }
    }

    /// How much waits in the queue at `now`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn queue_figures(&self, now: Timestamp) -> Result<QueueFigures, StoreError> {
        self.readers.run(move |db| figures(db, now)).await
    }
}

fn figures(db: &Connection, now: Timestamp) -> Result<QueueFigures, StoreError> {
    let sql = "SELECT count(*) FILTER (WHERE leased_until > ?1), \
               count(*) FILTER (WHERE leased_until <= ?1 AND due <= ?1), \
               count(*) FILTER (WHERE leased_until <= ?1 AND due > ?1), min(created) FROM queue";
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_row([now.as_millisecond()], |row| {
        Ok(QueueFigures {
            leased: unsigned(row, 0)?,
            due: unsigned(row, 1)?,
            waiting: unsigned(row, 2)?,
            oldest: match row.get::<_, Option<i64>>(3)? {
                Some(_) => Some(time(row, 3)?),
                None => None,
            },
        })
    })?)
}
