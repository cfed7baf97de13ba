//! Tells the sessions of this process that a folder changed.
//!
//! One watch per folder that somebody looks at; it holds a number that only grows, so that a session that was busy wakes once,
//! however much happened. Folders nobody looks at cost nothing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use crate::imap::Entry;
use crate::store::{Accepted, FolderKey};

/// Change notifications of one operator. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    folders: Arc<Mutex<HashMap<FolderKey, Channel>>>,
    touched: Arc<Touched>,
}

/// Folders that changed and were not indexed since.
#[derive(Debug, Default)]
struct Touched {
    folders: Mutex<HashSet<FolderKey>>,
    /// Changes so far.
    count: AtomicU64,
    wake: tokio::sync::Notify,
}

#[derive(Debug)]
struct Channel {
    sender: watch::Sender<u64>,
    /// Messages with a smaller UID were shown as `\Recent` to some session that already watched.
    recent_below: u32,
    /// The folder as a session that still looks at it found it.
    entries: Weak<Vec<Entry>>,
}

impl Notify {
    /// Says that a folder changed. Call it after the commit.
    pub fn changed(&self, folder: FolderKey) {
        self.touched.count.fetch_add(1, Ordering::Relaxed);
        self.touch(folder);
        if let Some(channel) = self.lock().get(&folder) {
            channel.sender.send_modify(|count| *count += 1);
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
            entries: Weak::new(),
        });
        Watch {
            receiver: channel.sender.subscribe(),
        }
    }

    /// A folder as it was just read. Sessions that find the same share one copy until something changes for them.
    pub(super) fn share(&self, folder: FolderKey, entries: Vec<Entry>) -> Arc<Vec<Entry>> {
        let mut folders = self.lock();
        let Some(channel) = folders.get_mut(&folder) else {
            return Arc::new(entries);
        };
        let known = channel.entries.upgrade().filter(|known| **known == entries);
        known.unwrap_or_else(|| {
            let entries = Arc::new(entries);
            channel.entries = Arc::downgrade(&entries);
            entries
        })
    }

    /// Which of these new UIDs (ascending) no session was shown before; marks them as shown.
    pub(super) fn claim_recent(&self, folder: FolderKey, uids: &[u32]) -> Vec<u32> {
        let mut folders = self.lock();
        let Some(channel) = folders.get_mut(&folder) else {
            return uids.to_vec();
        };
        let first = channel.recent_below;
        if let Some(last) = uids.last() {
            channel.recent_below = first.max(last.saturating_add(1));
        }
        uids.iter().copied().filter(|uid| *uid >= first).collect()
    }

    /// Asks for the search index of a folder to be brought up to date.
    pub fn touch(&self, folder: FolderKey) {
        let mut touched = self.touched.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.insert(folder) {
            self.touched.wake.notify_one();
        }
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
        assert_eq!(notify.claim_recent(FolderKey(1), &[4, 5]), [4, 5]);
        assert_eq!(notify.claim_recent(FolderKey(1), &[4, 5, 6]), [6]);
    }
}
