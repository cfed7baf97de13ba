//! What whoever watches a running store asks: can it write.

use super::SqliteStore;
use super::rows::raise;
use crate::store::StoreError;

impl SqliteStore {
    /// Writes something and syncs it: only that tells a full or read-only disk from a good one. Nothing visible changes.
    ///
    /// # Errors
    /// The store cannot write.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.write(|tx, _| raise(tx, "run", 0).map(|_| ())).await
    }
}
