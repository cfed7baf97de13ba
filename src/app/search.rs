//! The search index of an operator: opened beside its store, filled while it runs.

use std::path::Path;
use std::sync::Arc;

use super::{Operator, Running};
use crate::config::Search;
use crate::mailbox::{Indexer, IndexerOptions, Mailboxes};
use crate::store::Store;
use crate::store::sqlite::search::SearchIndex;

/// The boxes with an index, if one is wanted. Without one searches read messages, so a failure is no reason not to start.
pub(super) fn indexed(mailboxes: Mailboxes, folder: &Path, search: Search) -> Mailboxes {
    if !search.index {
        if let Err(error) = SearchIndex::discard(folder) {
            tracing::warn!(%error, "the search index that is not wanted any more could not be removed");
        }
        return mailboxes;
    }
    match SearchIndex::open(folder) {
        Ok(index) => mailboxes.with_index(Arc::new(index)),
        Err(error) => {
            tracing::warn!(%error, "there is no search index; searches read the messages");
            mailboxes
        }
    }
}

impl Operator {
    /// Fills the search index while the operator runs.
    pub(super) fn keep_index(&self, search: Search, running: &Running) {
        let mailboxes = &self.parts.mailboxes;
        let Some(index) = mailboxes.search_index() else {
            return;
        };
        let options = IndexerOptions {
            message_bytes_max: usize::try_from(search.message_bytes_max).unwrap_or(usize::MAX),
            ..IndexerOptions::default()
        };
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        let indexer = Indexer::new(store, Arc::clone(index), mailboxes.notify().clone(), options);
        running.tracker.spawn(indexer.run(running.stop.clone()));
    }
}
