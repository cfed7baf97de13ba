//! Performs what an IMAP session asks, on the store.

use std::sync::Arc;

use jiff::Timestamp;

use super::notify::{Notify, Watch};
use super::{convert, deliver};
use crate::identity::Address;
use crate::imap::{self, Answer, CopyMode, Loaded, Refused, Request, What};
use crate::store::{
    Acceptance, BoxKey, Delivery, Enclosure, FolderKey, FolderRow, MessageKey, Room, Store, StoreError,
};

/// The boxes of one operator. Cloning is cheap.
#[derive(Clone)]
pub struct Mailboxes {
    store: Arc<dyn Store>,
    notify: Notify,
}

impl Mailboxes {
    /// Over a store; `notify` is shared with whoever else changes folders.
    pub fn new(store: Arc<dyn Store>, notify: Notify) -> Self {
        Self { store, notify }
    }

    /// What one connection works with.
    pub fn session(&self) -> BoxSession {
        BoxSession {
            mailboxes: self.clone(),
            owner: None,
            selected: None,
        }
    }

    /// Makes sure a box exists with its standard folders.
    pub async fn ensure(&self, address: &Address) -> Result<BoxKey, StoreError> {
        self.store.ensure_box(address, &deliver::STANDARD_FOLDERS).await
    }

    /// Sets what boxes may hold, in bytes; `None`: no limit.
    pub async fn set_quotas(&self, quotas: &[(Address, Option<u64>)]) -> Result<(), StoreError> {
        self.store.set_quotas(quotas).await
    }

    /// The INBOX of a box: where mail is delivered.
    pub async fn inbox(&self, owner: BoxKey) -> Result<FolderKey, StoreError> {
        Ok(self.find(owner, INBOX).await?.key)
    }

    /// Notifications, for those who deliver.
    pub fn notify(&self) -> &Notify {
        &self.notify
    }

    /// The store they are in.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    async fn find(&self, owner: BoxKey, name: &str) -> Result<FolderRow, StoreError> {
        let folders = self.store.folders(owner).await?;
        folders
            .into_iter()
            .find(|f| f.name == name)
            .ok_or(StoreError::NotFound { what: "folder" })
    }
}

/// One connection's open box and selected folder.
pub struct BoxSession {
    mailboxes: Mailboxes,
    owner: Option<BoxKey>,
    selected: Option<Selection>,
}

struct Selection {
    folder: FolderKey,
    watch: Watch,
    claims_recent: bool,
}

/// Why a request fails: by the store, or by rule.
enum Failure {
    Store(StoreError),
    Rule(Refused),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl BoxSession {
    /// Whether the selected folder changed since this was last asked. Costs next to nothing.
    pub fn has_news(&mut self) -> bool {
        self.selected.as_mut().is_some_and(|s| s.watch.take())
    }

    /// Waits until the selected folder changes; forever when none is selected. Cancel safe.
    pub async fn news(&mut self) {
        match &mut self.selected {
            Some(selection) => selection.watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Performs a request; `now` is the INTERNALDATE of an APPEND without one.
    /// [`Request::Authenticate`] is not for here: it is refused.
    pub async fn perform(&mut self, request: Request, now: Timestamp) -> Answer {
        match self.attempt(request, now).await {
            Ok(answer) => answer,
            Err(Failure::Rule(refused)) => Answer::Refused(refused),
            Err(Failure::Store(error)) => Answer::Refused(convert::refused(&error)),
        }
    }

    async fn attempt(&mut self, request: Request, now: Timestamp) -> Result<Answer, Failure> {
        match request {
            Request::Authenticate(_) => Err(Failure::Rule(Refused::Defect)),
            Request::Open { address } => self.open(&address).await,
            Request::Unauthenticate => {
                (self.owner, self.selected) = (None, None);
                Ok(Answer::Done)
            }
            Request::Leave => {
                self.selected = None;
                Ok(Answer::Done)
            }
            Request::Select { folder, read_only } => self.select(&folder, read_only).await,
            Request::News { folder, since } => self.tell_news(FolderKey(folder.0), since).await,
            Request::Load { messages, what } => self.load(&messages, what).await,
            Request::Append {
                folder,
                messages,
                replaces,
            } => self.append(&folder, messages, replaces, now).await,
            Request::SetFlags {
                folder,
                uids,
                change,
                flags,
            } => {
                let folder = FolderKey(folder.0);
                let (change, flags) = (convert::change_row(change), convert::flags_row(flags));
                let rows = self.store().store_flags(folder, &uids, change, &flags).await?;
                self.mailboxes.notify.changed(folder);
                Ok(Answer::Changed(convert::entries(rows)))
            }
            Request::Copy { folder, uids, to, mode } => self.copy(FolderKey(folder.0), &uids, &to, mode).await,
            Request::Expunge { folder, uids } => {
                let folder = FolderKey(folder.0);
                let gone = self.store().expunge(folder, uids.as_deref()).await?;
                if !gone.is_empty() {
                    self.mailboxes.notify.changed(folder);
                }
                Ok(Answer::Expunged(gone))
            }
            folders => self.on_folders(folders).await,
        }
    }

    async fn on_folders(&mut self, request: Request) -> Result<Answer, Failure> {
        let owner = self.owner()?;
        match request {
            Request::Folders => {
                let rows = self.store().folders(owner).await?;
                return Ok(Answer::Folders(rows.into_iter().map(convert::folder).collect()));
            }
            Request::Status { folder } => {
                let row = self.mailboxes.find(owner, &folder).await?;
                return Ok(Answer::Status(convert::status(self.store().status(row.key).await?)));
            }
            Request::Create { folder } => {
                self.store().create_folder(owner, &folder, None).await?;
            }
            Request::Delete { folder } => {
                let row = self.mailboxes.find(owner, &folder).await?;
                self.store().delete_folder(row.key).await?;
                if self.selected.as_ref().is_some_and(|s| s.folder == row.key) {
                    self.selected = None;
                }
                self.mailboxes.notify.changed(row.key);
            }
            Request::Rename { from, to } => self.rename(owner, &from, &to).await?,
            Request::Subscribe { folder, subscribed } => {
                let row = self.mailboxes.find(owner, &folder).await?;
                self.store().subscribe(row.key, subscribed).await?;
            }
            _ => return Err(Failure::Rule(Refused::Defect)),
        }
        Ok(Answer::Done)
    }

    async fn open(&mut self, address: &str) -> Result<Answer, Failure> {
        let address: Address = address.parse().map_err(|_| Failure::Rule(Refused::NotYourBox))?;
        self.owner = Some(match self.store().find_box(&address).await {
            Err(StoreError::NotFound { .. }) => self.mailboxes.ensure(&address).await?,
            found => found?,
        });
        Ok(Answer::Done)
    }

    async fn select(&mut self, name: &str, read_only: bool) -> Result<Answer, Failure> {
        self.selected = None;
        let row = self.mailboxes.find(self.owner()?, name).await?;
        // The watch begins before the reading: what changes meanwhile is told twice rather than never.
        let watch = self.mailboxes.notify.watch(row.key);
        let status = self.store().status(row.key).await?;
        let entries = convert::entries(self.store().entries(row.key, 0).await?);
        let recent = if read_only || status.recent == 0 {
            Vec::new()
        } else {
            let claimed = match self.store().claim_recent(row.key).await {
                // A disk that is full, or may not be written, keeps nobody from reading: then nothing is recent.
                Err(StoreError::Full { .. } | StoreError::Backend { .. }) => Vec::new(),
                claimed => claimed?,
            };
            self.mailboxes.notify.claim_recent(row.key, &claimed)
        };
        self.selected = Some(Selection {
            folder: row.key,
            watch,
            claims_recent: !read_only,
        });
        let after_last = entries.last().map_or(1, |e| e.uid.saturating_add(1));
        Ok(Answer::Selected(imap::Selected {
            folder: imap::FolderHandle(row.key.0),
            uid_validity: row.uid_validity,
            uid_next: status.uid_next.max(after_last),
            highest_modseq: status.highest_modseq,
            entries: self.mailboxes.notify.share(row.key, entries),
            recent,
        }))
    }

    async fn tell_news(&mut self, folder: FolderKey, since: u64) -> Result<Answer, Failure> {
        if let Some(selection) = &mut self.selected {
            // What is read below is no news any more.
            selection.watch.take();
        }
        let changes = self.store().changes(folder, since).await?;
        let claims = self.selected.as_ref().is_some_and(|s| s.claims_recent);
        // Claimed in memory only: a durable claim per woken session would cost a sync each.
        let new: Vec<u32> = if claims {
            changes.entries.iter().map(|e| e.uid).collect()
        } else {
            Vec::new()
        };
        Ok(Answer::News(imap::News {
            highest_modseq: changes.highest_modseq,
            recent: self.mailboxes.notify.claim_recent(folder, &new),
            entries: convert::entries(changes.entries),
            expunged: changes.expunged,
        }))
    }

    async fn load(&self, messages: &[imap::MessageHandle], what: What) -> Result<Answer, Failure> {
        let keys: Vec<MessageKey> = messages.iter().map(|m| MessageKey(m.0)).collect();
        let mut loaded: Vec<Option<Loaded>> = match what {
            What::Summary => vec![Some(Loaded::default()); keys.len()],
            What::Header => with_bytes(self.store().read_headers(&keys).await?),
            What::Content | What::Both => with_bytes(self.store().read_many(&keys).await?),
        };
        if matches!(what, What::Summary | What::Both) {
            let mut summaries = self.store().summaries(&keys).await?.into_iter().peekable();
            for (key, slot) in keys.iter().zip(&mut loaded) {
                let summary = summaries.next_if(|(found, _)| found == key);
                *slot = slot.take().zip(summary).map(|(mut loaded, (_, summary))| {
                    loaded.summary = Some(convert::summary(summary));
                    loaded
                });
            }
        }
        Ok(Answer::Loaded(loaded))
    }

    /// All of them or none, and the message they replace goes in the same transaction.
    async fn append(
        &self,
        folder: &str,
        messages: Vec<imap::Upload>,
        replaces: Option<(imap::FolderHandle, u32)>,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        let row = self.mailboxes.find(self.owner()?, folder).await?;
        let mut messages = messages.into_iter().map(|upload| {
            let delivery = Delivery {
                folder: row.key,
                flags: convert::flags_row(upload.flags),
                internal_date: upload.date.unwrap_or(now),
                saved: Some(now),
                once: None,
                room: Room::Whole,
            };
            (deliver::new_message(Arc::new(upload.bytes), Vec::new()), vec![delivery])
        });
        let (message, deliveries) = messages.next().ok_or(Failure::Rule(Refused::Defect))?;
        let others = messages.map(|(message, deliveries)| Enclosure {
            message,
            deliveries,
            outgoing: Vec::new(),
        });
        let acceptance = Acceptance {
            message: Some(message),
            deliveries,
            reports: others.collect(),
            removes: replaces
                .iter()
                .map(|(folder, uid)| (FolderKey(folder.0), *uid))
                .collect(),
            ..Acceptance::default()
        };
        let accepted = self.store().accept(acceptance).await?;
        self.mailboxes.notify.accepted(&accepted);
        if let Some((folder, _)) = replaces {
            self.mailboxes.notify.changed(FolderKey(folder.0));
        }
        Ok(Answer::Appended {
            uid_validity: row.uid_validity,
            uids: accepted.delivered.iter().map(|(_, _, uid)| *uid).collect(),
        })
    }

    async fn copy(&self, from: FolderKey, uids: &[u32], to: &str, mode: CopyMode) -> Result<Answer, Failure> {
        let to = self.mailboxes.find(self.owner()?, to).await?.key;
        let (uid_validity, pairs) = match mode {
            CopyMode::Copy => self.store().copy(from, uids, to).await?,
            CopyMode::Move => self.store().move_to(from, uids, to).await?,
        };
        self.mailboxes.notify.changed(to);
        if mode == CopyMode::Move {
            self.mailboxes.notify.changed(from);
        }
        Ok(Answer::Copied { uid_validity, pairs })
    }

    /// RFC 3501 §6.3.5: renaming INBOX moves its messages to a new folder and leaves it empty.
    async fn rename(&self, owner: BoxKey, from: &str, to: &str) -> Result<(), Failure> {
        if to == INBOX {
            return Err(Failure::Store(StoreError::FolderExists { name: INBOX.into() }));
        }
        let row = self.mailboxes.find(owner, from).await?;
        if from != INBOX {
            return Ok(self.store().rename_folder(row.key, to).await?);
        }
        let new = self.store().create_folder(owner, to, None).await?;
        let uids: Vec<u32> = self.store().entries(row.key, 0).await?.iter().map(|e| e.uid).collect();
        self.store().move_to(row.key, &uids, new.key).await?;
        self.mailboxes.notify.changed(row.key);
        Ok(())
    }

    fn owner(&self) -> Result<BoxKey, Failure> {
        self.owner.ok_or(Failure::Rule(Refused::Defect))
    }

    fn store(&self) -> &dyn Store {
        self.mailboxes.store.as_ref()
    }
}

fn with_bytes(found: Vec<Option<Arc<Vec<u8>>>>) -> Vec<Option<Loaded>> {
    let loaded = |bytes| Loaded {
        summary: None,
        bytes: Some(bytes),
    };
    found.into_iter().map(|bytes| bytes.map(loaded)).collect()
}

/// The folder mail is delivered to.
const INBOX: &str = "INBOX";

#[cfg(test)]
mod tests;
