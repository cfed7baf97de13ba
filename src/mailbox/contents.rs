//! Folders as sessions see them: one contents for all sessions that look at a folder, brought up to date by whoever asks first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync;

use super::convert;
use crate::imap::Contents;
use crate::store::{FolderKey, Store, StoreError};

/// `SharedContents` of one operator. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedContents {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<FolderKey, Arc<Slot>>,
    /// The last ones used, newest last: selecting a folder again costs nothing though nobody looked at it meanwhile.
    kept: VecDeque<(FolderKey, Arc<Contents>)>,
}

/// One folder. Who brings it up to date keeps it locked: the others wait, and find it done.
type Slot = sync::Mutex<Latest>;

#[derive(Debug, Default)]
struct Latest {
    /// It lives as long as a session looks at it, or it is kept.
    contents: Weak<Contents>,
    /// The change, see [`Watch::mark`](super::notify::Watch::mark), that is certainly in it.
    change: u64,
}

/// How new a contents must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// With everything up to this modification sequence.
    Modseq(u64),
    /// With everything up to this change.
    Change(u64),
}

impl SharedContents {
    /// The folder as it is, or as it was a moment ago if that is new enough.
    pub(super) async fn get(
        &self,
        store: &dyn Store,
        folder: FolderKey,
        wanted: Wanted,
    ) -> Result<Arc<Contents>, StoreError> {
        let slot = self.slot(folder);
        let mut latest = slot.lock().await;
        let known = latest.contents.upgrade();
        if let Some(known) = &known {
            let enough = match wanted {
                Wanted::Modseq(modseq) => known.highest_modseq() >= modseq,
                Wanted::Change(change) => latest.change >= change,
            };
            if enough {
                self.keep(folder, known);
                return Ok(Arc::clone(known));
            }
        }
        let contents = match known {
            Some(known) => advance(store, folder, known).await?,
            None => load(store, folder).await?,
        };
        if let Wanted::Change(change) = wanted {
            latest.change = latest.change.max(change);
        }
        latest.contents = Arc::downgrade(&contents);
        self.keep(folder, &contents);
        Ok(contents)
    }

    fn slot(&self, folder: FolderKey) -> Arc<Slot> {
        let mut table = self.lock();
        // Folders nobody looks at any more are swept when the table has grown.
        if table.slots.len() >= SWEEP_FROM && table.slots.len().is_power_of_two() {
            table
                .slots
                .retain(|_, slot| Arc::strong_count(slot) > 1 || is_alive(slot));
        }
        Arc::clone(table.slots.entry(folder).or_default())
    }

    fn keep(&self, folder: FolderKey, contents: &Arc<Contents>) {
        let mut table = self.lock();
        if let Some((last, kept)) = table.kept.back_mut()
            && *last == folder
        {
            *kept = Arc::clone(contents);
            return;
        }
        table.kept.retain(|(kept, _)| *kept != folder);
        table.kept.push_back((folder, Arc::clone(contents)));
        let mut entries: usize = table.kept.iter().map(|(_, contents)| contents.len()).sum();
        while table.kept.len() > KEPT_MAX || (entries > KEPT_ENTRIES_MAX && table.kept.len() > 1) {
            let oldest = table.kept.pop_front();
            entries -= oldest.map_or(0, |(_, contents)| contents.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing can panic half-way through a change of the table.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody holds the contents; a slot in use counts.
fn is_alive(slot: &Slot) -> bool {
    slot.try_lock()
        .map_or(true, |latest| latest.contents.strong_count() > 0)
}

async fn load(store: &dyn Store, folder: FolderKey) -> Result<Arc<Contents>, StoreError> {
    // The mark is taken first: what happens meanwhile is read twice rather than never.
    let highest_modseq = store.status(folder).await?.highest_modseq;
    let entries = convert::entries(store.entries(folder, 0).await?);
    Ok(Arc::new(Contents::new(entries, highest_modseq)))
}

async fn advance(store: &dyn Store, folder: FolderKey, known: Arc<Contents>) -> Result<Arc<Contents>, StoreError> {
    let changes = store.changes(folder, known.highest_modseq()).await?;
    if changes.forgotten > known.highest_modseq() {
        return load(store, folder).await;
    }
    if changes.highest_modseq <= known.highest_modseq() {
        return Ok(known);
    }
    let entries = convert::entries(changes.entries);
    let contents = known.advanced(entries, &changes.expunged, changes.highest_modseq);
    Ok(Arc::new(contents))
}

/// The table is swept at this size and at each doubling.
const SWEEP_FROM: usize = 1024;

/// Folders kept though nobody looks at them.
const KEPT_MAX: usize = 256;

/// Entries in them, of some 80 bytes each.
const KEPT_ENTRIES_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Address;
    use crate::mailbox::memory::MemoryStore;
    use crate::mailbox::{deliver, new_message};
    use crate::store::{Acceptance, MailboxStore, MessageStore};

    async fn inbox(store: &MemoryStore) -> FolderKey {
        let address: Address = "jean@chu.mssante.fr".parse().unwrap();
        let owner = store.ensure_box(&address, &[]).await.unwrap();
        store.look_up(owner, "INBOX").await.unwrap().0.key
    }

    async fn deliver(store: &MemoryStore, folder: FolderKey) -> u64 {
        let acceptance = Acceptance {
            message: Some(new_message(Arc::new(b"Subject: x\r\n\r\n".to_vec()), Vec::new())),
            deliveries: vec![deliver::unread(folder, jiff::Timestamp::UNIX_EPOCH)],
            ..Acceptance::default()
        };
        store.accept(acceptance).await.unwrap();
        store.status(folder).await.unwrap().highest_modseq
    }

    #[tokio::test]
    async fn a_folder_that_did_not_change_is_not_read_again() {
        let store = MemoryStore::default();
        let folder = inbox(&store).await;
        let modseq = deliver(&store, folder).await;
        let shared = SharedContents::default();
        let first = shared.get(&store, folder, Wanted::Modseq(modseq)).await.unwrap();
        let second = shared.get(&store, folder, Wanted::Modseq(modseq)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        // Nobody looks at it, and still it is there.
        let kept = Arc::as_ptr(&first);
        drop((first, second));
        let again = shared.get(&store, folder, Wanted::Modseq(modseq)).await.unwrap();
        assert_eq!(Arc::as_ptr(&again), kept);
        let later = deliver(&store, folder).await;
        let now = shared.get(&store, folder, Wanted::Modseq(later)).await.unwrap();
        assert_eq!((again.len(), now.len()), (1, 2));
    }

    #[tokio::test]
    async fn one_session_reads_a_change_for_all() {
        let store = MemoryStore::default();
        let folder = inbox(&store).await;
        deliver(&store, folder).await;
        let shared = SharedContents::default();
        let first = shared.get(&store, folder, Wanted::Change(1)).await.unwrap();
        // Another change, of which these sessions were not woken yet.
        deliver(&store, folder).await;
        let second = shared.get(&store, folder, Wanted::Change(1)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let third = shared.get(&store, folder, Wanted::Change(2)).await.unwrap();
        assert_eq!(third.len(), 2);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let shared = SharedContents::default();
        for key in 0..1000 {
            shared.keep(FolderKey(key), &Arc::default());
        }
        assert_eq!(shared.lock().kept.len(), KEPT_MAX);
    }
}
