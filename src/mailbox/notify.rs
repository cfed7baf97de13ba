//! Tells the sessions of this process that a folder changed.
//!
//! One watch per folder that somebody looks at; it holds a number that only grows, so that a session that was busy wakes once,
//! however much happened. Folders nobody looks at cost nothing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::imap::Contents;
use crate::store::{Accepted, BoxKey, FolderKey};

/// Change notifications of one operator. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    folders: Arc<Mutex<HashMap<FolderKey, Channel>>>,
    /// Boxes of which every folder is watched.
    boxes: Arc<Mutex<Boxes>>,
    /// Changes so far, in all folders: each has a number of its own.
    changes: Arc<AtomicU64>,
    touched: Arc<Touched>,
}

#[derive(Debug, Default)]
struct Boxes {
    senders: HashMap<BoxKey, watch::Sender<u64>>,
    /// The boxes of folders that were looked at for them.
    owners: HashMap<FolderKey, BoxKey>,
    /// How often annotations of a watched box changed.
    annotated: HashMap<BoxKey, u64>,
}

/// Folders that changed and were not indexed since.
#[derive(Debug, Default)]
struct Touched {
    folders: Mutex<HashSet<FolderKey>>,
    /// Changes so far.
    count: AtomicU64,
    /// How often the index was emptied.
    emptied: AtomicU64,
    wake: tokio::sync::Notify,
}

#[derive(Debug)]
struct Channel {
    sender: watch::Sender<u64>,
    /// Messages with a smaller UID were shown as `\Recent` to some session that already watched.
    recent_below: u32,
}

impl Notify {
    /// Says that a folder changed. Call it after the commit.
    pub fn changed(&self, folder: FolderKey) {
        self.touched.count.fetch_add(1, Ordering::Relaxed);
        self.touch(folder);
        if let Some(channel) = self.lock().get(&folder) {
            // Taken under the lock: the numbers of a folder only grow.
            let number = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
            channel.sender.send_replace(number);
        }
        let boxes = self.boxes();
        if let Some(sender) = boxes.owners.get(&folder).and_then(|owner| boxes.senders.get(owner)) {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Says that folders of a box came, went, or have other names or subscriptions. Call it after the commit.
    pub fn box_changed(&self, owner: BoxKey) {
        if let Some(sender) = self.boxes().senders.get(&owner) {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Says that annotations of a box changed. Call it after the commit.
    pub(super) fn annotated(&self, owner: BoxKey) {
        let mut boxes = self.boxes();
        if boxes.senders.contains_key(&owner) {
            *boxes.annotated.entry(owner).or_default() += 1;
        }
    }

    /// How often that happened since the box is watched.
    pub(super) fn annotations(&self, owner: BoxKey) -> u64 {
        self.boxes().annotated.get(&owner).copied().unwrap_or_default()
    }

    /// Begins to watch every folder of a box that is named with [`Self::owns`].
    pub(super) fn watch_box(&self, owner: BoxKey) -> Watch {
        let mut boxes = self.boxes();
        let Boxes {
            senders,
            owners,
            annotated,
        } = &mut *boxes;
        senders.retain(|key, sender| *key == owner || sender.receiver_count() > 0);
        owners.retain(|_, owner| senders.contains_key(owner));
        annotated.retain(|owner, _| senders.contains_key(owner));
        let sender = senders.entry(owner).or_insert_with(|| watch::Sender::new(0));
        Watch {
            receiver: sender.subscribe(),
        }
    }

    /// Names folders of a box that is watched.
    pub(super) fn owns(&self, owner: BoxKey, folders: impl Iterator<Item = FolderKey>) {
        let mut boxes = self.boxes();
        if boxes.senders.contains_key(&owner) {
            boxes.owners.extend(folders.map(|folder| (folder, owner)));
        }
    }

    /// Says that messages were delivered. Call it after the commit.
    pub fn accepted(&self, accepted: &Accepted) {
        for (folder, _, _) in &accepted.delivered {
            self.changed(*folder);
        }
    }

    /// Begins to watch a folder: whatever changes from now on is seen.
    pub fn watch(&self, folder: FolderKey) -> Watch {
        let mut folders = self.lock();
        // Watches nobody holds any more are swept when the table has grown: it stays in proportion to the sessions.
        if folders.len() >= SWEEP_FROM && folders.len().is_power_of_two() {
            folders.retain(|_, channel| channel.sender.receiver_count() > 0);
        }
        let channel = folders.entry(folder).or_insert_with(|| Channel {
            sender: watch::Sender::new(0),
            recent_below: 0,
        });
        Watch {
            receiver: channel.sender.subscribe(),
        }
    }

    /// Which of these UIDs (ascending), claimed in the store, no session was shown before; from now on everything below `below` was.
    pub(super) fn claim_recent(&self, folder: FolderKey, uids: &[u32], below: u32) -> Vec<u32> {
        let mut folders = self.lock();
        let Some(channel) = folders.get_mut(&folder) else {
            return uids.to_vec();
        };
        let first = channel.recent_below;
        let after_last = uids.last().map_or(0, |last| last.saturating_add(1));
        channel.recent_below = first.max(after_last).max(below);
        uids.iter().copied().filter(|uid| *uid >= first).collect()
    }

    /// Asks for the search index of a folder to be brought up to date.
    pub fn touch(&self, folder: FolderKey) {
        let mut touched = self.touched.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.insert(folder) {
            self.touched.wake.notify_one();
        }
    }

    /// Says that the search index was emptied: these folders are all there are.
    pub fn index_emptied(&self, folders: impl IntoIterator<Item = FolderKey>) {
        self.touched.emptied.fetch_add(1, Ordering::Relaxed);
        folders.into_iter().for_each(|folder| self.touch(folder));
    }

    /// How often that happened.
    pub(super) fn emptied(&self) -> u64 {
        self.touched.emptied.load(Ordering::Relaxed)
    }

    /// A folder that was touched, if there is one; it counts as untouched from now on.
    pub(super) fn take_touched(&self) -> Option<FolderKey> {
        let mut touched = self.touched.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let next = touched.iter().next().copied()?;
        touched.remove(&next);
        Some(next)
    }

    /// Waits for one. Cancel safe.
    pub(super) async fn next_touched(&self) -> FolderKey {
        loop {
            if let Some(folder) = self.take_touched() {
                return folder;
            }
            self.touched.wake.notified().await;
        }
    }

    /// How much changed so far.
    pub(super) fn changes(&self) -> u64 {
        self.touched.count.load(Ordering::Relaxed)
    }

    /// UIDs of a folder as it is now that no session was shown before; marks them as shown.
    pub(super) fn claim_new(&self, folder: FolderKey, contents: &Contents) -> Vec<u32> {
        let mut folders = self.lock();
        let (Some(channel), Some(last)) = (folders.get_mut(&folder), contents.last()) else {
            return Vec::new();
        };
        let first = channel.recent_below;
        channel.recent_below = first.max(last.uid.saturating_add(1));
        let new = contents.iter_from(first).map(|entry| entry.uid);
        new.collect()
    }

    fn boxes(&self) -> MutexGuard<'_, Boxes> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FolderKey, Channel>> {
        // Nothing can panic half-way through a change of the table.
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's watch on one folder.
#[derive(Debug)]
pub struct Watch {
    receiver: watch::Receiver<u64>,
}

impl Watch {
    /// Whether something changed since this was last asked; forgets it.
    pub fn take(&mut self) -> bool {
        let changed = self.receiver.has_changed().unwrap_or(false);
        self.receiver.mark_unchanged();
        changed
    }

    /// The last change so far, by its number; it and all before it are no news any more.
    pub(super) fn mark(&mut self) -> u64 {
        *self.receiver.borrow_and_update()
    }

    /// What was marked last is news again.
    pub(super) fn unmark(&mut self) {
        self.receiver.mark_changed();
    }

    /// Waits until something changes. Cancel safe.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The operator is gone; only the end of the session remains to be waited for.
            std::future::pending::<()>().await;
        }
    }
}

/// The table is swept at this size and at each doubling.
const SWEEP_FROM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_wakes_once_however_much_happened() {
        let notify = Notify::default();
        let mut watch = notify.watch(FolderKey(1));
        assert!(!watch.take());
        notify.changed(FolderKey(2));
        assert!(!watch.take());
        notify.changed(FolderKey(1));
        notify.changed(FolderKey(1));
        assert!(watch.take());
        assert!(!watch.take());
    }

    #[tokio::test]
    async fn a_waiting_watcher_is_woken() {
        let notify = Notify::default();
        let mut watch = notify.watch(FolderKey(1));
        let waiting = tokio::spawn(async move { watch.changed().await });
        tokio::task::yield_now().await;
        notify.changed(FolderKey(1));
        waiting.await.unwrap();
    }

    #[test]
    fn folders_nobody_watches_are_forgotten() {
        let notify = Notify::default();
        let kept = notify.watch(FolderKey(0));
        for key in 1..5000 {
            drop(notify.watch(FolderKey(key)));
        }
        assert!(notify.lock().len() < 4500);
        drop(kept);
    }

    #[test]
    fn a_new_message_is_recent_for_one_session_only() {
        let notify = Notify::default();
        let _watch = notify.watch(FolderKey(1));
        assert_eq!(notify.claim_recent(FolderKey(1), &[4, 5], 6), [4, 5]);
        assert_eq!(notify.claim_recent(FolderKey(1), &[4, 5, 6], 7), [6]);
        assert!(notify.claim_recent(FolderKey(1), &[], 9).is_empty());
        assert!(notify.claim_recent(FolderKey(1), &[8], 9).is_empty());
    }
}
