//! Copies a box from one operator's store to another's: folders, flags, dates and annotations, each message once however often it is begun again.
//!
//! What was copied is remembered in the transaction that copies it ([`Once`]), so a process killed at any moment goes on where it was.
//! The first store is only read.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};

use super::{Mailboxes, deliver};
use crate::identity::Address;
use crate::store::{
    Acceptance, AnnotationChange, BoxKey, Delivery, EntryRow, FolderKey, FolderRow, Once, Room, Store, StoreError,
};

/// Where the copying of one operator's boxes stands.
pub struct Transfer {
    /// The operator they come from; with its keys it names each message for good.
    origin: String,
    /// Up to which modification sequence a folder was looked at.
    seen: HashMap<FolderKey, u64>,
}

impl Transfer {
    /// Copies out of the store of `origin`.
    pub fn new(origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            seen: HashMap::new(),
        }
    }

    /// Copies what came into a box since the last call, or all that was not copied before; how many messages.
    pub async fn copy(
        &mut self,
        from: &dyn Store,
        to: &Mailboxes,
        address: &Address,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let owner = match from.find_box(address).await {
            Ok(owner) => owner,
            Err(StoreError::NotFound { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let target = to.ensure(address).await?;
        let mut copied = 0;
        let folders = from.folders(owner).await?;
        for folder in &folders {
            copied += self.copy_folder(from, folder, (to, target), now).await?;
        }
        copy_beside(from, (owner, &folders), (to.store(), target)).await?;
        Ok(copied)
    }

    async fn copy_folder(
        &mut self,
        from: &dyn Store,
        folder: &FolderRow,
        (to, target): (&Mailboxes, BoxKey),
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let after = self.seen.get(&folder.key).copied().unwrap_or(0);
        let entries = from.entries(folder.key, after).await?;
        let Some(last) = entries.iter().map(|entry| entry.modseq).max() else {
            // A folder of the user's own is there even when nothing is in it.
            if after == 0 {
                same_folder(to.store(), target, folder).await?;
                self.seen.insert(folder.key, 0);
            }
            return Ok(0);
        };
        let inside = same_folder(to.store(), target, folder).await?;
        let keys: Vec<_> = entries.iter().map(|entry| self.key(folder, entry)).collect();
        let known = to.store().repeats(&keys, now).await?;
        let mut copied = 0;
        for ((entry, key), known) in entries.into_iter().zip(keys).zip(known) {
            if !known && copy_entry(from, entry, (to, inside), once(key, now)).await? {
                copied += 1;
            }
        }
        self.seen.insert(folder.key, last);
        Ok(copied)
    }

    /// Names one message in one folder of the origin, for good.
    fn key(&self, folder: &FolderRow, entry: &EntryRow) -> [u8; digest::SHA256_OUTPUT_LEN] {
        let name = format!(
            "copied\n{}\n{}\n{}\n{}",
            self.origin, folder.key.0, folder.uid_validity, entry.uid
        );
        let mut key = [0; digest::SHA256_OUTPUT_LEN];
        key.copy_from_slice(digest::digest(&digest::SHA256, name.as_bytes()).as_ref());
        key
    }
}

/// What a box has beside messages: annotations, and subscriptions to names without a folder. Again and again the same.
async fn copy_beside(
    from: &dyn Store,
    (owner, folders): (BoxKey, &[FolderRow]),
    (to, target): (&Arc<dyn Store>, BoxKey),
) -> Result<(), StoreError> {
    for name in from.subscriptions(owner).await? {
        to.subscribe(target, &name, true, usize::MAX).await?;
    }
    for folder in folders.iter().map(Some).chain([None]) {
        let found = from.annotations(owner, folder.map(|row| row.key)).await?;
        if found.is_empty() {
            continue;
        }
        let place = match folder {
            Some(row) => Some(same_folder(to, target, row).await?),
            None => None,
        };
        let changes: Vec<AnnotationChange> = found
            .into_iter()
            .map(|one| AnnotationChange {
                person: one.person,
                entry: one.entry,
                value: Some(one.value),
            })
            .collect();
        to.annotate(target, place, &changes, usize::MAX).await?;
    }
    Ok(())
}

fn once(key: [u8; digest::SHA256_OUTPUT_LEN], now: Timestamp) -> Once {
    Once {
        key,
        until: now.saturating_add(COPIES_KNOWN).unwrap_or(Timestamp::MAX),
    }
}

/// One message. False when it was copied before, or is gone.
async fn copy_entry(
    from: &dyn Store,
    entry: EntryRow,
    (to, folder): (&Mailboxes, FolderKey),
    once: Once,
) -> Result<bool, StoreError> {
    let content = match from.read(entry.message).await {
        Ok(content) => content,
        Err(StoreError::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let acceptance = Acceptance {
        message: Some(deliver::new_message(content, Vec::new())),
        deliveries: vec![Delivery {
            folder,
            flags: entry.flags,
            internal_date: entry.internal_date,
            saved: Some(entry.saved),
            once: Some(once),
            room: Room::Always,
        }],
        ..Acceptance::default()
    };
    match to.store().accept(acceptance).await {
        Ok(accepted) => {
            to.notify().accepted(&accepted);
            Ok(true)
        }
        Err(StoreError::Repeated) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The folder of that name in the other box, made when it is missing.
async fn same_folder(store: &Arc<dyn Store>, owner: BoxKey, folder: &FolderRow) -> Result<FolderKey, StoreError> {
    let find = async || {
        let folders = store.folders(owner).await?;
        Ok::<_, StoreError>(folders.into_iter().find(|other| other.name == folder.name))
    };
    if let Some(found) = find().await? {
        return Ok(found.key);
    }
    match store.create_folder(owner, &folder.name, folder.special_use).await {
        Ok(made) => {
            store
                .subscribe(owner, &made.name, folder.subscribed, usize::MAX)
                .await?;
            Ok(made.key)
        }
        // A user made it meanwhile.
        Err(StoreError::FolderExists { .. }) => {
            let found = find().await?;
            Ok(found.ok_or(StoreError::NotFound { what: "folder" })?.key)
        }
        Err(error) => Err(error),
    }
}

/// Far longer than a move takes.
const COPIES_KNOWN: SignedDuration = SignedDuration::from_hours(24 * 90);
