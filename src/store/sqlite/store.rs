//! The storage traits, method by method: each is one closure for the writer or for a reader.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::accept::{self, Body, Prepared, PublishedFile};
use super::parts::Parts;
use super::stage::{self, blocking};
use super::{
    SqliteStore, entries, folders, journal, known, names, once, parts, queue, queue_change, queue_lease, queue_page,
    quota,
};
use crate::identity::{Address, Domain};
use crate::store::{
    Acceptance, Accepted, BoxKey, Carried, ChangeRecord, Changed, Closed, Content, Count, CounterStore, Destination,
    EntryRow, FlagUpdate, FlagsChanged, FolderChanges, FolderKey, FolderRow, FolderStatus, JournalFilter, JournalRow,
    JournalStore, MailboxStore, MessageKey, MessageStore, Passage, Portion, QueueBy, QueueChange, QueueEntry,
    QueueFilter, QueueGroup, QueueItem, QueueStore, Settlement, SpecialUse, Stage, StagedFile, StoreError, Summary,
    Usage, readable,
};

#[async_trait]
impl MessageStore for SqliteStore {
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        let writer = self.writer()?;
        let prepared = self.prepare(acceptance).await?;
        let onward = prepared.small_content_onward();
        let accepted = writer
            .run(prepared.log_bytes(), move |tx, effects| {
                accept::accept(tx, &prepared, effects)
            })
            .await?;
        if let (Some(message), Some(content)) = (accepted.message, onward) {
            self.fresh.keep(message, content);
        }
        Ok(accepted)
    }

    async fn repeats(&self, keys: &[[u8; 32]], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        if self.readers.are_open() && !self.may_be_used(keys) {
            return Ok(vec![false; keys.len()]);
        }
        let keys = keys.to_vec();
        self.readers
            .run(move |db| once::repeats(db, &keys, now.as_millisecond()))
            .await
    }

    async fn stage(&self) -> Result<Box<dyn Stage>, StoreError> {
        let turn = Arc::clone(&self.options.stages).acquire_owned().await;
        let turn = turn.map_err(|_| StoreError::Closed)?;
        Ok(Box::new(self.start_stage(Some(turn)).await?))
    }

    async fn staged_part(&self, file: &StagedFile, offset: u64, length_max: usize) -> Result<Vec<u8>, StoreError> {
        stage::part(Arc::clone(&self.blobs), file, (offset, length_max)).await
    }

    async fn content(&self, message: MessageKey) -> Result<Arc<Vec<u8>>, StoreError> {
        if let Some(content) = self.fresh.take(message) {
            return Ok(content);
        }
        self.bytes(message, false).await
    }

    async fn checksum(&self, message: MessageKey) -> Result<Option<u32>, StoreError> {
        self.readers.run(move |db| accept::checksum(db, message)).await
    }

    async fn content_part(&self, message: MessageKey, offset: u64, length_max: usize) -> Result<Vec<u8>, StoreError> {
        let blobs = Arc::clone(&self.blobs);
        let read = move |db: &rusqlite::Connection| Parts::new(db, &blobs).read((message, false), (offset, length_max));
        self.readers.run(read).await
    }
}

#[async_trait]
impl MailboxStore for SqliteStore {
    async fn ensure_box(
        &self,
        address: &Address,
        folders: &[(&str, Option<SpecialUse>)],
    ) -> Result<BoxKey, StoreError> {
        let address = address.clone();
        let folders: Vec<_> = folders
            .iter()
            .map(|(name, special_use)| ((*name).to_owned(), *special_use))
            .collect();
        self.write(move |tx, _| folders::ensure_box(tx, &address, &folders))
            .await
    }

    async fn find_box(&self, address: &Address) -> Result<BoxKey, StoreError> {
        let address = address.clone();
        self.readers.run(move |db| folders::find_box(db, &address)).await
    }

    async fn folders(&self, owner: BoxKey) -> Result<Vec<FolderRow>, StoreError> {
        self.readers.run(move |db| folders::folders(db, owner)).await
    }

    async fn create_folder(
        &self,
        owner: BoxKey,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<FolderRow, StoreError> {
        let name = name.to_owned();
        self.write(move |tx, _| folders::create_folder(tx, owner, &name, special_use))
            .await
    }

    async fn delete_folder(&self, folder: FolderKey) -> Result<(), StoreError> {
        self.write(move |tx, effects| folders::delete_folder(tx, folder, effects))
            .await
    }

    async fn rename(&self, owner: BoxKey, from: &str, to: &str) -> Result<Vec<FolderKey>, StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.write(move |tx, effects| names::rename(tx, owner, (&from, &to), effects))
            .await
    }

    async fn subscribe(&self, owner: BoxKey, name: &str, subscribed: bool, names_max: usize) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |tx, _| names::subscribe(tx, owner, (&name, subscribed), names_max))
            .await
    }

    async fn folder_marks(&self) -> Result<Vec<(FolderKey, u64)>, StoreError> {
        self.readers.run(folders::marks).await
    }

    async fn subscriptions(&self, owner: BoxKey) -> Result<Vec<String>, StoreError> {
        self.readers.run(move |db| names::subscriptions(db, owner)).await
    }

    async fn statuses(&self, folders: &[FolderKey]) -> Result<Vec<(FolderKey, FolderStatus)>, StoreError> {
        let folders = folders.to_vec();
        self.readers.run(move |db| folders::statuses(db, &folders)).await
    }

    async fn status(&self, folder: FolderKey) -> Result<FolderStatus, StoreError> {
        self.readers.run(move |db| folders::status(db, folder)).await
    }

    async fn usage(&self, folder: FolderKey) -> Result<Usage, StoreError> {
        self.readers.run(move |db| quota::usage(db, folder)).await
    }

    async fn set_quotas(&self, quotas: &[(Address, Option<u64>)]) -> Result<(), StoreError> {
        let quotas = quotas.to_vec();
        self.write(move |tx, _| quota::set(tx, &quotas)).await
    }

    async fn entries(&self, folder: FolderKey, after: u64) -> Result<Vec<EntryRow>, StoreError> {
        self.readers.run(move |db| entries::entries(db, folder, after)).await
    }

    async fn expunged(&self, folder: FolderKey, after: u64) -> Result<Vec<u32>, StoreError> {
        self.readers.run(move |db| entries::expunged(db, folder, after)).await
    }

    async fn claim_recent(&self, folder: FolderKey) -> Result<Vec<u32>, StoreError> {
        // Most folders are selected with nothing recent in them: that needs no transaction.
        if !self.readers.run(move |db| entries::has_recent(db, folder)).await? {
            return Ok(Vec::new());
        }
        self.write(move |tx, _| entries::claim_recent(tx, folder)).await
    }

    async fn summaries(&self, messages: &[MessageKey]) -> Result<Vec<(MessageKey, Summary)>, StoreError> {
        let messages = messages.to_vec();
        self.readers.run(move |db| entries::summaries(db, &messages)).await
    }

    async fn read(&self, message: MessageKey) -> Result<Arc<Vec<u8>>, StoreError> {
        self.bytes(message, true).await
    }

    async fn read_part(&self, message: MessageKey, offset: u64, length_max: usize) -> Result<Vec<u8>, StoreError> {
        let blobs = Arc::clone(&self.blobs);
        let read = move |db: &rusqlite::Connection| Parts::new(db, &blobs).read((message, true), (offset, length_max));
        self.readers.run(read).await
    }

    async fn read_many(&self, messages: &[MessageKey]) -> Result<Vec<Option<Arc<Vec<u8>>>>, StoreError> {
        let blobs = Arc::clone(&self.blobs);
        let keys = messages.to_vec();
        let read = move |db: &rusqlite::Connection| Ok(accept::many(db, &blobs, &keys));
        let mut found = Vec::with_capacity(messages.len());
        for (message, bytes) in messages.iter().zip(self.readers.run(read).await?) {
            found.push(match bytes {
                Ok(bytes) => Some(Arc::new(bytes)),
                Err(StoreError::NotFound { .. }) => None,
                // Looked at once more alone: its file may have gone with it meanwhile.
                Err(_) => readable(self.read(*message).await, *message)?,
            });
        }
        Ok(found)
    }

    async fn read_headers(&self, messages: &[MessageKey]) -> Result<Vec<Option<Arc<Vec<u8>>>>, StoreError> {
        let blobs = Arc::clone(&self.blobs);
        let keys = messages.to_vec();
        let read = move |db: &rusqlite::Connection| parts::headers(db, &blobs, &keys);
        let mut found = self.readers.run(read).await?;
        for (message, header) in messages.iter().zip(&mut found) {
            if header.is_none() {
                *header = readable(self.read(*message).await, *message)?;
            }
        }
        Ok(found)
    }

    async fn read_fronts(
        &self,
        messages: &[MessageKey],
        length_max: usize,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let blobs = Arc::clone(&self.blobs);
        let keys = messages.to_vec();
        let read = move |db: &rusqlite::Connection| Ok(parts::fronts(db, &blobs, &keys, length_max));
        self.readers.run(read).await
    }

    async fn previews(&self, messages: &[MessageKey]) -> Result<Vec<Option<String>>, StoreError> {
        let messages = messages.to_vec();
        self.readers.run(move |db| entries::previews(db, &messages)).await
    }

    async fn keep_previews(&self, previews: Vec<(MessageKey, String)>) -> Result<(), StoreError> {
        self.write(move |tx, _| entries::keep_previews(tx, &previews)).await
    }

    async fn look_up(&self, owner: BoxKey, name: &str) -> Result<(FolderRow, FolderStatus), StoreError> {
        let name = name.to_owned();
        self.readers.run(move |db| folders::look_up(db, owner, &name)).await
    }

    async fn changes(&self, folder: FolderKey, after: u64) -> Result<FolderChanges, StoreError> {
        self.readers.run(move |db| entries::changes(db, folder, after)).await
    }

    async fn change_flags(
        &self,
        folder: FolderKey,
        uids: &[u32],
        update: &FlagUpdate,
    ) -> Result<FlagsChanged, StoreError> {
        let (uids, update) = (uids.to_vec(), update.clone());
        self.write(move |tx, _| entries::change_flags(tx, folder, &uids, &update))
            .await
    }

    async fn transfer(&self, passage: Passage, uids: &[u32]) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
        let uids = uids.to_vec();
        self.write(move |tx, effects| entries::transfer(tx, &passage, &uids, effects))
            .await
    }

    async fn expunge(&self, folder: FolderKey, uids: Option<&[u32]>) -> Result<Vec<u32>, StoreError> {
        let uids = uids.map(<[u32]>::to_vec);
        self.write(move |tx, effects| entries::expunge(tx, folder, uids.as_deref(), effects))
            .await
    }
}

#[async_trait]
impl QueueStore for SqliteStore {
    async fn lease_portion(
        &self,
        now: Timestamp,
        until: Timestamp,
        portion: Portion,
    ) -> Result<Vec<QueueItem>, StoreError> {
        self.write(move |tx, _| queue_lease::lease(tx, now, until, &portion))
            .await
    }

    async fn settle(&self, settlements: Vec<Settlement>, also: Acceptance) -> Result<bool, StoreError> {
        let writer = self.writer()?;
        let also = self.prepare(also).await?;
        writer
            .run_patiently(also.log_bytes(), move |tx, effects| {
                queue::settle(tx, &settlements, &also, effects)
            })
            .await
    }

    async fn next_due_except(&self, busy: &[Domain]) -> Result<Option<Timestamp>, StoreError> {
        let busy = busy.to_vec();
        self.readers.run(move |db| queue_lease::next_due(db, &busy)).await
    }

    async fn oldest_untold(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.readers.run(move |db| queue_lease::oldest_untold(db, now)).await
    }

    async fn queued(&self, limit: usize) -> Result<Vec<QueueItem>, StoreError> {
        self.readers.run(move |db| queue::queued(db, limit)).await
    }

    async fn release_all(&self) -> Result<(), StoreError> {
        self.write(|tx, _| queue::release_all(tx)).await
    }

    async fn close_destination(&self, domain: &Domain, closed: Closed) -> Result<(), StoreError> {
        let domain = domain.clone();
        self.write(move |tx, _| queue_lease::close(tx, &domain, &closed)).await
    }

    async fn open_destination(&self, domain: &Domain, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let domain = domain.clone();
        self.write(move |tx, _| queue_lease::open(tx, &domain, now, limit))
            .await
    }

    async fn destinations(&self) -> Result<Vec<Destination>, StoreError> {
        self.readers.run(queue_lease::destinations).await
    }

    async fn queue_page(&self, filter: &QueueFilter) -> Result<Vec<QueueEntry>, StoreError> {
        let filter = filter.clone();
        self.readers.run(move |db| queue_page::page(db, &filter)).await
    }

    async fn queue_groups(&self, by: QueueBy, filter: &QueueFilter) -> Result<Vec<QueueGroup>, StoreError> {
        let filter = filter.clone();
        self.readers.run(move |db| queue_page::groups(db, by, &filter)).await
    }

    async fn change_queue(
        &self,
        filter: &QueueFilter,
        change: QueueChange,
        record: ChangeRecord,
    ) -> Result<Changed, StoreError> {
        let filter = filter.clone();
        self.write(move |tx, effects| queue_change::change(tx, (&filter, &change), &record, effects))
            .await
    }
}

#[async_trait]
impl JournalStore for SqliteStore {
    async fn append(&self, rows: Vec<JournalRow>) -> Result<(), StoreError> {
        self.write(move |tx, _| journal::insert(tx, &rows)).await
    }

    async fn journal(&self, filter: JournalFilter) -> Result<Vec<JournalRow>, StoreError> {
        self.readers.run(move |db| journal::journal(db, &filter)).await
    }
}

#[async_trait]
impl CounterStore for SqliteStore {
    async fn carried(&self) -> Result<Carried, StoreError> {
        self.readers.run(journal::carried).await
    }

    async fn counters(&self, month: Option<&str>) -> Result<Vec<Count>, StoreError> {
        let month = month.map(str::to_owned);
        self.readers
            .run(move |db| journal::counters(db, month.as_deref()))
            .await
    }
}

impl SqliteStore {
    /// Puts the body of an acceptance where its transaction may name it.
    async fn prepare(&self, acceptance: Acceptance) -> Result<Prepared, StoreError> {
        let is_referred_to = !acceptance.deliveries.is_empty() || !acceptance.outgoing.is_empty();
        let body = match &acceptance.message {
            Some(message) if is_referred_to => Some(self.place(message.content.clone()).await?),
            _ => None,
        };
        let mut reports = Vec::with_capacity(acceptance.reports.len());
        for report in &acceptance.reports {
            reports.push(self.place(report.message.content.clone()).await?);
        }
        Ok(Prepared {
            body,
            reports,
            acceptance,
        })
    }

    /// Whether one of these keys may be in the database, told without a read.
    fn may_be_used(&self, keys: &[[u8; 32]]) -> bool {
        let Some(known) = &self.known else { return true };
        if known.begin() {
            tokio::spawn(known::load(Arc::downgrade(known), self.readers.clone()));
        }
        known.may_hold(keys)
    }

    async fn place(&self, content: Content) -> Result<Body, StoreError> {
        let blobs = Arc::clone(&self.blobs);
        match content {
            Content::Memory(bytes) if bytes.len() <= self.options.inline_bytes_max => {
                let checksum = crc32fast::hash(&bytes);
                Ok(Body::Inline { bytes, checksum })
            }
            Content::Memory(bytes) => {
                let written = blocking(move || stage::whole(&blobs, &bytes)).await;
                self.health.note(&written);
                self.publish(written?).await
            }
            Content::Staged(staged) => self.publish(staged).await,
        }
    }

    async fn publish(&self, staged: StagedFile) -> Result<Body, StoreError> {
        let blobs = Arc::clone(&self.blobs);
        let published = blocking(move || {
            let place = stage::publish(&blobs, &staged);
            Ok(place.map(|(name, offset)| (PublishedFile::new(name, blobs), offset, staged)))
        })
        .await?;
        self.health.note(&published);
        let (file, offset, staged) = published?;
        Ok(Body::File {
            file,
            offset,
            size_bytes: staged.size_bytes,
            checksum: staged.checksum,
        })
    }

    async fn bytes(&self, message: MessageKey, with_lead: bool) -> Result<Arc<Vec<u8>>, StoreError> {
        let read = || {
            let blobs = Arc::clone(&self.blobs);
            self.readers
                .run(move |db| accept::bytes(db, &blobs, message, with_lead))
        };
        let bytes = match read().await {
            // The file may have gone with its message since this read began: then a new look finds no message.
            Err(StoreError::Backend { .. } | StoreError::Damaged { .. }) => read().await?,
            other => other?,
        };
        Ok(Arc::new(bytes))
    }
}
