//! A bounded pool of read-only connections. A read sees the last commit and never waits for the writer; its result leaves once all it may
//! have seen is durable, which takes a sync at most.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::durable::{Beginning, Durable};
use super::group::Failure;
use super::rows::{execute, failed};
use super::schema::{self, Database};
use crate::metrics::Meter;
use crate::store::StoreError;

/// Read-only connections; opened when first needed, then kept.
#[derive(Clone)]
pub(super) struct Readers {
    database: Arc<Database>,
    pool: Arc<Pool>,
    /// One permit per connection that may exist.
    permits: Arc<Semaphore>,
    durable: Arc<Durable>,
    meter: Meter,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    /// Connections that are being read from.
    active: usize,
    gate: Gate,
}

/// Whether reads may begin.
#[derive(Default)]
enum Gate {
    #[default]
    Open,
    /// They wait.
    Paused,
    /// They fail.
    Shut(Failure),
}

impl Readers {
    pub(super) fn new(database: Database, connections_max: usize, (durable, meter): (Arc<Durable>, Meter)) -> Self {
        Self {
            database: Arc::new(database),
            pool: Arc::default(),
            permits: Arc::new(Semaphore::new(connections_max.max(1))),
            durable,
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
        let result = match result {
            Ok((beginning, result)) => self.durable.confirm(beginning).await.and(result),
            Err(error) => Err(error),
        };
        result.inspect_err(|error| error.observe(&self.meter))
    }

    /// Whether a read asked for now would be made, be it after a wait: not once the store is closed, nor while reads fail.
    pub(super) fn are_open(&self) -> bool {
        !self.permits.is_closed() && !matches!(self.pool.state().gate, Gate::Shut(_))
    }

    /// Lets no further read begin, waits for those under way and closes the connections.
    pub(super) async fn close(&self, connections_max: usize) {
        let all = u32::try_from(connections_max.max(1)).unwrap_or(u32::MAX);
        let permits = self.permits.acquire_many(all).await;
        self.permits.close();
        self.pool.state().idle.clear();
        drop(permits);
    }

    /// Has reads that would begin wait, waits for those under way, and closes the connections. Blocks.
    pub(super) fn pause(&self) {
        let mut state = self.pool.state();
        state.gate = Gate::Paused;
        while state.active > 0 {
            state = self.pool.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle.clear();
    }

    /// Reads begin again.
    pub(super) fn resume(&self) {
        self.pool.state().gate = Gate::Open;
        self.pool.changed.notify_all();
    }

    /// Reads fail from now on, until [`Self::resume`].
    pub(super) fn shut(&self, why: Failure) {
        self.pool.state().gate = Gate::Shut(why);
        self.pool.changed.notify_all();
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<(Beginning, Result<T, StoreError>), StoreError> {
        let (idle, _active) = self.pool.enter()?;
        let beginning = self.durable.beginning();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.database)?,
        };
        // A connection that cannot begin or end a transaction is dropped, and the next read opens another.
        execute(&connection, "BEGIN")?;
        let result = read(&connection);
        execute(&connection, "COMMIT")?;
        self.pool.state().idle.push(connection);
        Ok((beginning, result))
    }
}

impl Pool {
    /// Begins a read, when reads may begin, with a connection if one is there.
    fn enter(&self) -> Result<(Option<Connection>, Active<'_>), StoreError> {
        let mut state = self.state();
        loop {
            match &state.gate {
                Gate::Open => {
                    state.active += 1;
                    return Ok((state.idle.pop(), Active(self)));
                }
                Gate::Paused => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Gate::Shut(why) => return Err(why.error()),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read under way.
struct Active<'a>(&'a Pool);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.state().active -= 1;
        self.0.changed.notify_all();
    }
}
