//! What whoever watches a running store asks: can it write.

use super::SqliteStore;
use crate::store::StoreError;

impl SqliteStore {
    /// Writes something and syncs it: only that tells a full or read-only disk from a good one. Nothing visible changes.
    ///
    /// # Errors
    /// The store cannot write.
    pub async fn probe(&self) -> Result<(), StoreError> {
        // SQLite leaves a page alone whose content stays the same: what is written has to be new each time.
        let sql =
            "INSERT INTO number (name, value) VALUES ('probe', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1";
        self.write(|tx, _| tx.prepare_cached(sql)?.execute([]).map(|_| ()).map_err(Into::into))
            .await?;
        match self.trouble() {
            // Rows can be written: what is left is about body files.
            Some(_) => self.probe_bodies().await,
            None => Ok(()),
        }
    }
}
