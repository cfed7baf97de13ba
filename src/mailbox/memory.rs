//! A store in memory, for the tests of this module: the promises of the traits without durability.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::identity::{Address, Domain};
use crate::store::{
    Acceptance, Accepted, Annotation, AnnotationChange, AnnotationStore, BoxKey, ChangeRecord, Changed, Closed,
    Content, Count, CounterStore, Delivery, Destination, EntryRow, FlagChange, FlagUpdate, Flags, FlagsChanged,
    FolderKey, FolderRow, FolderStatus, JournalFilter, JournalRow, JournalStore, MailboxStore, MessageKey,
    MessageStore, NewMessage, Originals, Passage, Portion, QueueBy, QueueChange, QueueEntry, QueueFilter, QueueGroup,
    QueueItem, QueueStore, Room, Settlement, SpecialUse, Stage, StagedFile, StoreError, Summary, Usage,
};

#[derive(Default)]
pub(crate) struct MemoryStore {
    tables: Mutex<Tables>,
    /// Calls that read message bytes: tests of laziness count them.
    pub(crate) reads: AtomicUsize,
}

#[derive(Default)]
struct Tables {
    boxes: Vec<Address>,
    folders: BTreeMap<FolderKey, Folder>,
    messages: BTreeMap<MessageKey, (Arc<Vec<u8>>, Summary)>,
    previews: BTreeMap<MessageKey, String>,
    next_folder: i64,
    quotas: BTreeMap<Address, Option<u64>>,
    wishes: BTreeSet<(BoxKey, String)>,
    annotations: BTreeMap<(BoxKey, Option<FolderKey>), Vec<Annotation>>,
}

struct Folder {
    owner: BoxKey,
    row: FolderRow,
    entries: Vec<EntryRow>,
    expunged: Vec<(u64, u32)>,
    uid_next: u32,
    recent_from: u32,
    modseq: u64,
}

const MISSING: StoreError = StoreError::NotFound { what: "folder" };

impl Tables {
    fn folder(&mut self, key: FolderKey) -> Result<&mut Folder, StoreError> {
        self.folders.get_mut(&key).ok_or(MISSING)
    }

    fn usage(&mut self, key: FolderKey) -> Result<Usage, StoreError> {
        let owner = self.folder(key)?.owner;
        let entries = self
            .folders
            .values()
            .filter(|f| f.owner == owner)
            .flat_map(|f| &f.entries);
        let (used_bytes, messages) = entries.fold((0, 0), |(b, m), e| (b + e.size_bytes, m + 1));
        let address = &self.boxes[usize::try_from(owner.0).unwrap()];
        let quota_bytes = self.quotas.get(address).copied().flatten();
        Ok(Usage {
            used_bytes,
            messages,
            quota_bytes,
        })
    }

    /// Only what a user stores is refused here: mail does not come in by this store.
    fn check_room(&mut self, key: FolderKey, (more_bytes, less_bytes): (u64, u64)) -> Result<(), StoreError> {
        match self.usage(key)? {
            Usage {
                used_bytes,
                quota_bytes: Some(quota_bytes),
                ..
            } if used_bytes + more_bytes > quota_bytes + less_bytes => Err(StoreError::OverQuota {
                used_bytes,
                quota_bytes,
            }),
            _ => Ok(()),
        }
    }

    fn create(&mut self, owner: BoxKey, name: &str, special_use: Option<SpecialUse>) -> Result<FolderRow, StoreError> {
        if self.folders.values().any(|f| f.owner == owner && f.row.name == name) {
            return Err(StoreError::FolderExists { name: name.into() });
        }
        if let Some((parent, _)) = name.rsplit_once('/') {
            match self.create(owner, parent, None) {
                Ok(_) | Err(StoreError::FolderExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.next_folder += 1;
        let key = FolderKey(self.next_folder);
        let row = FolderRow {
            key,
            name: name.into(),
            special_use,
            subscribed: self.wishes.remove(&(owner, name.into())),
            uid_validity: 1000 + u32::try_from(self.next_folder).unwrap(),
        };
        let folder = Folder {
            owner,
            row: row.clone(),
            entries: Vec::new(),
            expunged: Vec::new(),
            uid_next: 1,
            recent_from: 1,
            modseq: 1,
        };
        self.folders.insert(key, folder);
        Ok(row)
    }

    fn add(&mut self, key: FolderKey, entry: EntryRow) -> Result<(u32, u32), StoreError> {
        let folder = self.folder(key)?;
        let uid = folder.uid_next;
        folder.uid_next += 1;
        folder.modseq += 1;
        let modseq = folder.modseq;
        folder.entries.push(EntryRow { uid, modseq, ..entry });
        Ok((folder.row.uid_validity, uid))
    }

    /// A message with its entries.
    fn insert(&mut self, new: NewMessage, deliveries: Vec<Delivery>) -> Result<Accepted, StoreError> {
        let Content::Memory(content) = new.content else {
            return Err(StoreError::Closed);
        };
        let bytes = [new.lead.as_slice(), &content].concat();
        let size_bytes = bytes.len() as u64;
        let key = MessageKey(i64::try_from(self.messages.len()).unwrap() + 1);
        self.messages
            .insert(key, (Arc::new(bytes), new.summary.unwrap_or_default()));
        let mut delivered = Vec::new();
        for delivery in deliveries {
            let entry = EntryRow {
                uid: 0,
                message: key,
                flags: delivery.flags,
                internal_date: delivery.internal_date,
                size_bytes,
                modseq: 0,
                saved: delivery.saved.unwrap_or(delivery.internal_date),
            };
            let (validity, uid) = self.add(delivery.folder, entry)?;
            delivered.push((delivery.folder, validity, uid));
        }
        Ok(Accepted {
            message: Some(key),
            delivered,
            leased: Vec::new(),
        })
    }

    fn copy(&mut self, passage: &Passage, uids: &[u32]) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
        let Passage { from, to, saved, .. } = *passage;
        let validity = self.folder(to)?.row.uid_validity;
        let rows: Vec<EntryRow> = self
            .folder(from)?
            .entries
            .iter()
            .filter(|e| uids.contains(&e.uid))
            .cloned()
            .collect();
        let mut pairs = Vec::new();
        for mut row in rows {
            row.saved = saved.unwrap_or(row.saved);
            let old = row.uid;
            pairs.push((old, self.add(to, row)?.1));
        }
        Ok((validity, pairs))
    }
}

fn changed(now: &Flags, update: &FlagUpdate) -> Flags {
    let by = &update.flags;
    let mut next = now.clone();
    match update.change {
        FlagChange::Replace => next = by.clone(),
        FlagChange::Add => {
            next.system |= by.system;
            next.keywords.extend(by.keywords.iter().cloned());
        }
        FlagChange::Remove => {
            next.system &= !by.system;
            next.keywords.retain(|k| !by.keywords.contains(k));
        }
    }
    next
}

impl Folder {
    fn remove(&mut self, gone: impl Fn(&EntryRow) -> bool) -> Vec<u32> {
        let uids: Vec<u32> = self.entries.iter().filter(|e| gone(e)).map(|e| e.uid).collect();
        if !uids.is_empty() {
            self.modseq += 1;
        }
        self.entries.retain(|e| !uids.contains(&e.uid));
        self.expunged.extend(uids.iter().map(|u| (self.modseq, *u)));
        uids
    }
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }
}

#[async_trait]
impl MessageStore for MemoryStore {
    async fn staged_part(&self, _: &StagedFile, _: u64, _: usize) -> Result<Vec<u8>, StoreError> {
        Err(StoreError::NotFound { what: "staged file" })
    }

    async fn repeats(&self, keys: &[[u8; 32]], _: Timestamp) -> Result<Vec<bool>, StoreError> {
        Ok(vec![false; keys.len()])
    }

    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        let mut tables = self.tables();
        let first = acceptance.message.map(|message| (message, acceptance.deliveries));
        let others = acceptance.reports.into_iter().map(|r| (r.message, r.deliveries));
        let all: Vec<_> = first.into_iter().chain(others).collect();
        let whole = |(message, deliveries): &(NewMessage, Vec<Delivery>)| match &message.content {
            Content::Memory(bytes) if deliveries.iter().any(|d| d.room == Room::Whole) => bytes.len() as u64,
            _ => 0,
        };
        // All or nothing: what can fail comes first.
        if let Some(delivery) = all.iter().find_map(|(_, deliveries)| deliveries.first()) {
            let more: u64 = all.iter().map(whole).sum();
            let mut less = 0;
            for (folder, uid) in &acceptance.removes {
                let mut entries = tables.folder(*folder)?.entries.iter();
                let gone = entries.find(|entry| entry.uid == *uid);
                less += gone.ok_or(StoreError::NotFound { what: "message" })?.size_bytes;
            }
            tables.check_room(delivery.folder, (more, less))?;
        }
        for (folder, uid) in acceptance.removes {
            tables.folder(folder)?.remove(|e| e.uid == uid);
        }
        let mut accepted = Accepted::default();
        for (message, deliveries) in all {
            let one = tables.insert(message, deliveries)?;
            accepted.message = accepted.message.or(one.message);
            accepted.delivered.extend(one.delivered);
        }
        Ok(accepted)
    }

    async fn stage(&self) -> Result<Box<dyn Stage>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn content(&self, message: MessageKey) -> Result<Arc<Vec<u8>>, StoreError> {
        self.read(message).await
    }
}

#[async_trait]
impl MailboxStore for MemoryStore {
    async fn ensure_box(
        &self,
        address: &Address,
        folders: &[(&str, Option<SpecialUse>)],
    ) -> Result<BoxKey, StoreError> {
        let mut tables = self.tables();
        let at = tables.boxes.iter().position(|b| b == address).unwrap_or_else(|| {
            tables.boxes.push(address.clone());
            tables.boxes.len() - 1
        });
        let owner = BoxKey(i64::try_from(at).unwrap());
        for (name, special_use) in [("INBOX", None)].iter().chain(folders) {
            match tables.create(owner, name, *special_use) {
                Ok(made) => tables.folder(made.key)?.row.subscribed = true,
                Err(StoreError::FolderExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(owner)
    }

    async fn find_box(&self, address: &Address) -> Result<BoxKey, StoreError> {
        let at = self.tables().boxes.iter().position(|b| b == address);
        at.map(|at| BoxKey(i64::try_from(at).unwrap()))
            .ok_or(StoreError::NotFound { what: "box" })
    }

    async fn folders(&self, owner: BoxKey) -> Result<Vec<FolderRow>, StoreError> {
        Ok(self
            .tables()
            .folders
            .values()
            .filter(|f| f.owner == owner)
            .map(|f| f.row.clone())
            .collect())
    }

    async fn create_folder(
        &self,
        owner: BoxKey,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<FolderRow, StoreError> {
        self.tables().create(owner, name, special_use)
    }

    async fn delete_folder(&self, folder: FolderKey) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let gone = tables.folders.remove(&folder).ok_or(MISSING)?;
        if gone.row.subscribed {
            tables.wishes.insert((gone.owner, gone.row.name));
        }
        Ok(())
    }

    async fn rename(&self, owner: BoxKey, from: &str, to: &str) -> Result<Vec<FolderKey>, StoreError> {
        let mut tables = self.tables();
        let find = |tables: &Tables, name: &str| {
            let found = tables.folders.values().find(|f| f.owner == owner && f.row.name == name);
            found.map(|f| f.row.key)
        };
        if find(&tables, to).is_some() {
            return Err(StoreError::FolderExists { name: to.into() });
        }
        if from == "INBOX" {
            let inbox = find(&tables, from).ok_or(MISSING)?;
            let new = tables.create(owner, to, None)?.key;
            let uids: Vec<u32> = tables.folder(inbox)?.entries.iter().map(|e| e.uid).collect();
            let passage = Passage {
                from: inbox,
                to: new,
                originals: Originals::Go,
                saved: None,
            };
            tables.copy(&passage, &uids)?;
            tables.folder(inbox)?.remove(|_| true);
            return Ok(vec![inbox, new]);
        }
        let mut renamed = Vec::new();
        for folder in tables.folders.values_mut().filter(|f| f.owner == owner) {
            if let Some(rest) = folder.row.name.strip_prefix(from)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                folder.row.name = format!("{to}{rest}");
                renamed.push(folder.row.key);
            }
        }
        if renamed.is_empty() { Err(MISSING) } else { Ok(renamed) }
    }

    async fn subscribe(&self, owner: BoxKey, name: &str, subscribed: bool, _: usize) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let found = tables
            .folders
            .values_mut()
            .find(|f| f.owner == owner && f.row.name == name);
        match found {
            Some(folder) => folder.row.subscribed = subscribed,
            None if subscribed => drop(tables.wishes.insert((owner, name.into()))),
            None => drop(tables.wishes.remove(&(owner, name.into()))),
        }
        Ok(())
    }

    async fn subscriptions(&self, owner: BoxKey) -> Result<Vec<String>, StoreError> {
        let tables = self.tables();
        let wishes = tables.wishes.iter().filter(|(of, _)| *of == owner);
        Ok(wishes.map(|(_, name)| name.clone()).collect())
    }

    async fn status(&self, folder: FolderKey) -> Result<FolderStatus, StoreError> {
        let mut tables = self.tables();
        let folder = tables.folder(folder)?;
        let count = |wanted: &dyn Fn(&EntryRow) -> bool| {
            u32::try_from(folder.entries.iter().filter(|e| wanted(e)).count()).unwrap()
        };
        Ok(FolderStatus {
            messages: count(&|_| true),
            unseen: count(&|e| e.flags.system & Flags::SEEN == 0),
            recent: count(&|e| e.uid >= folder.recent_from),
            uid_next: folder.uid_next,
            uid_validity: folder.row.uid_validity,
            highest_modseq: folder.modseq,
            deleted: count(&|e| e.flags.system & Flags::DELETED != 0),
            deleted_bytes: {
                let deleted = folder.entries.iter().filter(|e| e.flags.system & Flags::DELETED != 0);
                deleted.map(|e| e.size_bytes).sum()
            },
            size_bytes: folder.entries.iter().map(|e| e.size_bytes).sum(),
        })
    }

    async fn usage(&self, folder: FolderKey) -> Result<Usage, StoreError> {
        let mut tables = self.tables();
        tables.usage(folder)
    }

    async fn set_quotas(&self, quotas: &[(Address, Option<u64>)]) -> Result<(), StoreError> {
        self.tables().quotas.extend(quotas.iter().cloned());
        Ok(())
    }

    async fn entries(&self, folder: FolderKey, after: u64) -> Result<Vec<EntryRow>, StoreError> {
        Ok(self
            .tables()
            .folder(folder)?
            .entries
            .iter()
            .filter(|e| e.modseq > after)
            .cloned()
            .collect())
    }

    async fn expunged(&self, folder: FolderKey, after: u64) -> Result<Vec<u32>, StoreError> {
        let mut tables = self.tables();
        let gone = tables.folder(folder)?.expunged.iter().filter(|(at, _)| *at > after);
        let mut gone: Vec<u32> = gone.map(|(_, uid)| *uid).collect();
        gone.sort_unstable();
        Ok(gone)
    }

    async fn claim_recent(&self, folder: FolderKey) -> Result<Vec<u32>, StoreError> {
        let mut tables = self.tables();
        let folder = tables.folder(folder)?;
        let from = std::mem::replace(&mut folder.recent_from, folder.uid_next);
        Ok(folder.entries.iter().map(|e| e.uid).filter(|u| *u >= from).collect())
    }

    async fn previews(&self, messages: &[MessageKey]) -> Result<Vec<Option<String>>, StoreError> {
        let tables = self.tables();
        Ok(messages.iter().map(|key| tables.previews.get(key).cloned()).collect())
    }

    async fn keep_previews(&self, previews: Vec<(MessageKey, String)>) -> Result<(), StoreError> {
        self.tables().previews.extend(previews);
        Ok(())
    }

    async fn summaries(&self, messages: &[MessageKey]) -> Result<Vec<(MessageKey, Summary)>, StoreError> {
        let tables = self.tables();
        Ok(messages
            .iter()
            .filter_map(|k| tables.messages.get(k).map(|(_, s)| (*k, s.clone())))
            .collect())
    }

    async fn read(&self, message: MessageKey) -> Result<Arc<Vec<u8>>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let found = self.tables().messages.get(&message).map(|(bytes, _)| Arc::clone(bytes));
        found.ok_or(StoreError::NotFound { what: "message" })
    }

    async fn change_flags(
        &self,
        folder: FolderKey,
        uids: &[u32],
        update: &FlagUpdate,
    ) -> Result<FlagsChanged, StoreError> {
        let mut tables = self.tables();
        let folder = tables.folder(folder)?;
        let modseq = folder.modseq + 1;
        let mut done = FlagsChanged::default();
        for entry in folder.entries.iter_mut().filter(|e| uids.contains(&e.uid)) {
            if update.unchanged_since.is_some_and(|since| entry.modseq > since) {
                done.refused.push(entry.uid);
            } else {
                let next = changed(&entry.flags, update);
                if next != entry.flags {
                    entry.flags = next;
                    entry.modseq = modseq;
                    folder.modseq = modseq;
                    done.any = true;
                }
            }
            done.entries.push(entry.clone());
        }
        Ok(done)
    }

    async fn transfer(&self, passage: Passage, uids: &[u32]) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
        let mut tables = self.tables();
        let Passage { from, to, .. } = passage;
        let wanted = |e: &&EntryRow| uids.contains(&e.uid);
        if passage.originals == Originals::Stay {
            let entries = tables.folder(from)?.entries.iter().filter(wanted);
            let more_bytes = entries.map(|e| e.size_bytes).sum();
            tables.check_room(to, (more_bytes, 0))?;
        }
        let copied = tables.copy(&passage, uids)?;
        if passage.originals == Originals::Go {
            let old: Vec<u32> = copied.1.iter().map(|(old, _)| *old).collect();
            tables.folder(from)?.remove(|e| old.contains(&e.uid));
        }
        Ok(copied)
    }

    async fn expunge(&self, folder: FolderKey, uids: Option<&[u32]>) -> Result<Vec<u32>, StoreError> {
        let mut tables = self.tables();
        let folder = tables.folder(folder)?;
        Ok(folder.remove(|e| e.flags.system & Flags::DELETED != 0 && uids.is_none_or(|u| u.contains(&e.uid))))
    }
}

#[async_trait]
impl AnnotationStore for MemoryStore {
    async fn annotations(&self, owner: BoxKey, folder: Option<FolderKey>) -> Result<Vec<Annotation>, StoreError> {
        let found = self.tables().annotations.get(&(owner, folder)).cloned();
        Ok(found.unwrap_or_default())
    }

    async fn annotate(
        &self,
        owner: BoxKey,
        folder: Option<FolderKey>,
        changes: &[AnnotationChange],
        entries_max: usize,
    ) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let mut kept = tables.annotations.get(&(owner, folder)).cloned().unwrap_or_default();
        for change in changes {
            kept.retain(|one| (&one.person, &one.entry) != (&change.person, &change.entry));
            kept.extend(change.value.clone().map(|value| Annotation {
                person: change.person.clone(),
                entry: change.entry.clone(),
                value,
            }));
        }
        if kept.len() > entries_max {
            return Err(StoreError::TooMany { what: "annotations" });
        }
        tables.annotations.insert((owner, folder), kept);
        Ok(())
    }
}

#[async_trait]
impl QueueStore for MemoryStore {
    async fn lease_portion(&self, _: Timestamp, _: Timestamp, _: Portion) -> Result<Vec<QueueItem>, StoreError> {
        Ok(Vec::new())
    }

    async fn settle(&self, _: Vec<Settlement>, _: Acceptance) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn next_due_except(&self, _: &[Domain]) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    async fn oldest_untold(&self, _: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    async fn queued(&self, _: usize) -> Result<Vec<QueueItem>, StoreError> {
        Ok(Vec::new())
    }

    async fn release_all(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close_destination(&self, _: &Domain, _: Closed) -> Result<(), StoreError> {
        Ok(())
    }

    async fn open_destination(&self, _: &Domain, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn destinations(&self) -> Result<Vec<Destination>, StoreError> {
        Ok(Vec::new())
    }

    async fn queue_page(&self, _: &QueueFilter) -> Result<Vec<QueueEntry>, StoreError> {
        Ok(Vec::new())
    }

    async fn queue_groups(&self, _: QueueBy, _: &QueueFilter) -> Result<Vec<QueueGroup>, StoreError> {
        Ok(Vec::new())
    }

    async fn change_queue(&self, _: &QueueFilter, _: QueueChange, _: ChangeRecord) -> Result<Changed, StoreError> {
        Ok(Changed::default())
    }
}

#[async_trait]
impl JournalStore for MemoryStore {
    async fn append(&self, _: Vec<JournalRow>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn journal(&self, _: JournalFilter) -> Result<Vec<JournalRow>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl CounterStore for MemoryStore {
    async fn counters(&self, _: Option<&str>) -> Result<Vec<Count>, StoreError> {
        Ok(Vec::new())
    }
}
