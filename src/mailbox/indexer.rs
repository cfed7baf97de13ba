//! Fills the search index beside the commits: whatever changes folders only leaves their keys, and one task per store reads what is new when
//! it is quiet, a little at a time. It goes on where it stopped; what it has not reached is read by the searches themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Notify;
use crate::imap::{Facts, searchable};
use crate::store::sqlite::search::{Indexed, Progress, SearchIndex};
use crate::store::{EntryRow, FolderKey, MessageKey, Store, StoreError};

/// What is indexed at most, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexerOptions {
    /// Text of one message that is indexed, in bytes. A message with more is read for every search. Default 1 MiB.
    pub message_bytes_max: usize,
    /// No folder may have changed for so long before the next messages are taken: accepting mail goes first. Default 300 ms.
    pub quiet: Duration,
    /// Where it never is that quiet, they are taken nonetheless after that. Default 30 s.
    pub wait_max: Duration,
}

impl Default for IndexerOptions {
    fn default() -> Self {
        Self {
            message_bytes_max: 1024 * 1024,
            quiet: Duration::from_millis(300),
            wait_max: Duration::from_secs(30),
        }
    }
}

/// Keeps the index of one store.
pub struct Indexer {
    store: Arc<dyn Store>,
    index: Arc<SearchIndex>,
    notify: Notify,
    options: IndexerOptions,
    known: HashMap<FolderKey, Progress>,
    turns: Turns,
}

impl Indexer {
    /// `notify` is what everybody who changes folders tells.
    pub fn new(store: Arc<dyn Store>, index: Arc<SearchIndex>, notify: Notify, options: IndexerOptions) -> Self {
        Self {
            store,
            index,
            notify,
            options,
            known: HashMap::new(),
            turns: Turns::new(options),
        }
    }

    /// Works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let work = async {
            if let Err(error) = self.take_stock().await {
                tracing::warn!(%error, "what the search index lacks could not be found out; searches read the messages");
            }
            loop {
                let folder = self.notify.next_touched().await;
                if let Err(error) = self.follow(folder, Pace::Quiet).await {
                    tracing::warn!(%error, "a folder could not be indexed; searches read its messages until it can");
                    tokio::time::sleep(self.options.wait_max).await;
                    self.notify.touch(folder);
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
        self.index.close().await;
    }

    /// Indexes everything at once, without waiting for quiet. For tests and tools.
    ///
    /// # Errors
    /// The store or the index failed.
    pub async fn catch_up(&mut self) -> Result<(), StoreError> {
        self.take_stock().await?;
        while let Some(folder) = self.notify.take_touched() {
            self.follow(folder, Pace::Hurry).await?;
        }
        Ok(())
    }

    /// Finds the folders that changed since they were indexed, and forgets those that are gone.
    async fn take_stock(&mut self) -> Result<(), StoreError> {
        let folders: HashMap<FolderKey, u64> = self.store.folder_marks().await?.into_iter().collect();
        self.known = self.index.progress().await?;
        let gone: Vec<FolderKey> = self
            .known
            .keys()
            .filter(|key| !folders.contains_key(key))
            .copied()
            .collect();
        for folder in gone {
            self.index.forget(folder).await?;
            self.known.remove(&folder);
        }
        for (folder, modseq) in folders {
            let known = self.known.get(&folder).copied().unwrap_or_default();
            // A new folder has the modification sequence 1, and nothing in it.
            if known.modseq != modseq && modseq > 1 {
                self.notify.touch(folder);
            }
        }
        Ok(())
    }

    /// Brings the index of one folder up to date.
    async fn follow(&mut self, folder: FolderKey, pace: Pace) -> Result<(), StoreError> {
        self.wait(pace).await;
        let mut progress = self.known.get(&folder).copied().unwrap_or_default();
        let changes = match self.store.changes(folder, progress.modseq).await {
            Err(StoreError::NotFound { .. }) => {
                self.known.remove(&folder);
                return self.index.forget(folder).await;
            }
            changes => changes?,
        };
        if changes.highest_modseq <= progress.modseq {
            return Ok(());
        }
        let first = progress.uid;
        let gone = if progress.uid > 0 && changes.forgotten > progress.modseq {
            self.absent(folder).await?
        } else {
            changes.expunged.into_iter().filter(|uid| *uid <= first).collect()
        };
        let new: Vec<EntryRow> = changes.entries.into_iter().filter(|entry| entry.uid > first).collect();
        let mut rest = new.as_slice();
        while let Some(last) = self.add_some(folder, &mut rest, progress).await? {
            progress.uid = last;
            self.known.insert(folder, progress);
            if !rest.is_empty() {
                self.wait(pace).await;
            }
        }
        progress.modseq = changes.highest_modseq;
        progress.uid = new.last().map_or(progress.uid, |entry| entry.uid.max(progress.uid));
        if !new.is_empty() || !gone.is_empty() {
            self.index.remove(folder, gone, progress).await?;
        }
        self.known.insert(folder, progress);
        Ok(())
    }

    /// What is indexed and no more in the folder, where the store forgot who was removed.
    async fn absent(&self, folder: FolderKey) -> Result<Vec<u32>, StoreError> {
        let there: HashSet<u32> = self
            .store
            .entries(folder, 0)
            .await?
            .iter()
            .map(|entry| entry.uid)
            .collect();
        let mut indexed = self.index.uids(folder).await?;
        indexed.retain(|uid| !there.contains(uid));
        Ok(indexed)
    }

    /// Indexes the next messages; returns the UID up to which that is done.
    async fn add_some(
        &self,
        folder: FolderKey,
        rest: &mut &[EntryRow],
        progress: Progress,
    ) -> Result<Option<u32>, StoreError> {
        let mut bytes = 0_u64;
        let fits = |entry: &&EntryRow| {
            bytes = bytes.saturating_add(entry.size_bytes);
            bytes <= HELD_BYTES_MAX
        };
        let count = rest.iter().take(MESSAGES_AT_ONCE).take_while(fits).count();
        let (now, later) = rest.split_at(count.max(1).min(rest.len()));
        *rest = later;
        let Some(last) = now.last().map(|entry| entry.uid) else {
            return Ok(None);
        };
        let keys: Vec<MessageKey> = now.iter().map(|entry| entry.message).collect();
        let found = self.store.read_many(&keys).await?;
        let uids: Vec<u32> = now.iter().map(|entry| entry.uid).collect();
        let bytes_max = self.options.message_bytes_max;
        let make = move || -> Vec<Indexed> {
            let rows = uids.into_iter().zip(keys).zip(found);
            // One that is gone, or damaged, is not indexed: a search finds nothing to read of it either.
            rows.filter_map(|((uid, message), bytes)| Some(indexed(uid, message, &bytes?, bytes_max)))
                .collect()
        };
        let messages = tokio::task::spawn_blocking(make)
            .await
            .map_err(|source| StoreError::Backend {
                context: "indexing was interrupted".into(),
                source: source.into(),
            })?;
        let progress = Progress { uid: last, ..progress };
        self.index.add(folder, messages, progress, !later.is_empty()).await?;
        Ok(Some(last))
    }

    /// Waits until nothing changes for a moment, or for as long as it may; while nothing changes, hardly at all.
    async fn wait(&mut self, pace: Pace) {
        if pace == Pace::Hurry {
            return;
        }
        loop {
            match self.turns.next(self.notify.changes()) {
                Turn::Now => return,
                Turn::After(pause) => return tokio::time::sleep(pause).await,
                Turn::Look(pause) => tokio::time::sleep(pause).await,
            }
        }
    }
}

/// Says when the next piece may be indexed. Accepting mail goes first, but not for ever.
struct Turns {
    options: IndexerOptions,
    /// How much had changed when it was last quiet.
    quiet_at: Option<u64>,
    /// How much had changed at the last look, and the time since the first.
    looked: Option<(u64, Duration)>,
    /// Pieces that may be indexed though it is not quiet.
    overdue: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Now,
    /// Once so much time has passed.
    After(Duration),
    /// Ask again then.
    Look(Duration),
}

impl Turns {
    fn new(options: IndexerOptions) -> Self {
        Self {
            options,
            quiet_at: None,
            looked: None,
            overdue: 0,
        }
    }

    /// `changes` is how much changed so far.
    fn next(&mut self, changes: u64) -> Turn {
        let Some((seen, waited)) = self.looked.take() else {
            if self.quiet_at == Some(changes) || self.overdue > 0 {
                self.overdue = self.overdue.saturating_sub(1);
                return Turn::After(PAUSE);
            }
            self.looked = Some((changes, Duration::ZERO));
            return Turn::Look(self.options.quiet);
        };
        let waited = waited + self.options.quiet;
        if seen == changes {
            self.quiet_at = Some(changes);
            return Turn::Now;
        }
        if waited >= self.options.wait_max {
            self.overdue = PIECES_OVERDUE;
            return Turn::Now;
        }
        self.looked = Some((changes, waited));
        Turn::Look(self.options.quiet)
    }
}

/// Whether somebody waits for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Quiet,
    Hurry,
}

fn indexed(uid: u32, message: MessageKey, bytes: &[u8], bytes_max: usize) -> Indexed {
    let text = searchable(bytes, bytes_max);
    Indexed {
        uid,
        message,
        text: text.text,
        is_complete: text.is_complete,
        facts: Facts::of(bytes).to_bytes(),
    }
}

/// Messages read and indexed at once: some 5 ms of work.
const MESSAGES_AT_ONCE: usize = 64;
/// Between two such pieces: others go first.
const PAUSE: Duration = Duration::from_millis(5);
/// Pieces indexed in a row where it is never quiet: so many that the index keeps up with any load, in bouts.
const PIECES_OVERDUE: usize = 1024;
/// Bytes of them, unless one alone is larger.
const HELD_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_turn_as_soon_as_it_is_quiet_and_while_it_stays_so() {
        let options = IndexerOptions::default();
        let mut turns = Turns::new(options);
        assert_eq!(turns.next(1), Turn::Look(options.quiet));
        assert_eq!(turns.next(2), Turn::Look(options.quiet));
        assert_eq!(turns.next(2), Turn::Now);
        assert_eq!(turns.next(2), Turn::After(PAUSE));
        assert_eq!(turns.next(3), Turn::Look(options.quiet));
        assert_eq!(turns.next(3), Turn::Now);
    }

    #[test]
    fn where_it_is_never_quiet_it_works_in_bouts() {
        let options = IndexerOptions::default();
        let mut turns = Turns::new(options);
        let mut changes = 0..;
        let mut next = || turns.next(changes.next().unwrap());
        for _ in 0..2 {
            let mut waited = Duration::ZERO;
            while let Turn::Look(pause) = next() {
                waited += pause;
            }
            assert_eq!(waited, options.wait_max);
            for _ in 0..PIECES_OVERDUE {
                assert_eq!(next(), Turn::After(PAUSE));
            }
        }
    }
}
