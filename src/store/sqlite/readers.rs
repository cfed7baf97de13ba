//! A bounded pool of read-only connections. A read sees the last commit and never waits for the writer.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::rows::{execute, failed};
use super::schema::{self, Database};
use crate::metrics::Meter;
use crate::store::StoreError;

/// Read-only connections; opened when first needed, then kept.
#[derive(Clone)]
pub(super) struct Readers {
    database: Arc<Database>,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// One permit per connection that may exist.
    permits: Arc<Semaphore>,
    meter: Meter,
}

impl Readers {
    pub(super) fn new(database: Database, connections_max: usize, meter: Meter) -> Self {
        Self {
            database: Arc::new(database),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(connections_max.max(1))),
            meter,
        }
    }

    /// Runs `read` on a thread that may block. All its statements see the same commit.
    pub(super) async fn run<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let readers = self.clone();
        let work = spawn_blocking(move || {
            let result = readers.read(read);
            drop(permit);
            result
        });
        let result = work.await.map_err(|source| failed("a read was interrupted", source))?;
        result.inspect_err(|error| error.observe(&self.meter))
    }

    /// Lets no further read begin, waits for those under way and closes the connections.
    pub(super) async fn close(&self, connections_max: usize) {
        let all = u32::try_from(connections_max.max(1)).unwrap_or(u32::MAX);
        let permits = self.permits.acquire_many(all).await;
        self.permits.close();
        self.idle().clear();
        drop(permits);
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.database)?,
        };
        // A connection that cannot begin or end a transaction is dropped, and the next read opens another.
        execute(&connection, "BEGIN")?;
        let result = read(&connection);
        execute(&connection, "COMMIT")?;
        self.idle().push(connection);
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
