//! Performs what an IMAP session asks, on the store.

mod folders;
mod look;
mod selected;
mod upload;

use std::sync::Arc;

use jiff::Timestamp;

use self::upload::Uploads;
use super::contents::SharedContents;
use super::notify::{Notify, Watch};
use super::{convert, deliver};
use crate::identity::Address;
use crate::imap::{self, Answer, Loaded, Refused, Request, What};
use crate::store::sqlite::search::SearchIndex;
use crate::store::{
    Acceptance, BoxKey, Delivery, Enclosure, FolderKey, FolderRow, MessageKey, Room, Store, StoreError,
};

/// The boxes of one operator. Cloning is cheap.
#[derive(Clone)]
pub struct Mailboxes {
    store: Arc<dyn Store>,
    notify: Notify,
    contents: SharedContents,
    index: Option<Arc<SearchIndex>>,
}

impl Mailboxes {
    /// Over a store; `notify` is shared with whoever else changes folders.
    pub fn new(store: Arc<dyn Store>, notify: Notify) -> Self {
        Self {
            store,
            notify,
            contents: SharedContents::default(),
            index: None,
        }
    }

    /// The same with an index for searches, which an [`super::Indexer`] fills.
    #[must_use]
    pub fn with_index(self, index: Arc<SearchIndex>) -> Self {
        Self {
            index: Some(index),
            ..self
        }
    }

    /// The index, if there is one.
    pub fn search_index(&self) -> Option<&Arc<SearchIndex>> {
        self.index.as_ref()
    }

    /// What one connection works with.
    pub fn session(&self) -> BoxSession {
        BoxSession {
            mailboxes: self.clone(),
            owner: None,
            selected: None,
            uploads: Uploads::default(),
            watched: None,
            annotated: None,
            terms: Terms::default(),
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
        Ok(self.store.look_up(owner, name).await?.0)
    }
}

/// One connection's open box and selected folder.
pub struct BoxSession {
    mailboxes: Mailboxes,
    owner: Option<BoxKey>,
    selected: Option<Selection>,
    uploads: Uploads,
    /// NOTIFY wants to know of every folder.
    watched: Option<Watch>,
    /// How often annotations of the box had changed when NOTIFY was told of them last.
    annotated: Option<u64>,
    terms: Terms,
}

struct Selection {
    folder: FolderKey,
    watch: Watch,
    claims_recent: bool,
}

/// On which terms a session uses a box.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Who is behind the session: `/private` annotations are theirs.
    pub person: String,
    /// What it may do.
    pub access: Access,
    /// What a box may hold beside messages.
    pub limits: FolderLimits,
}

/// What a session may do with a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Anything.
    #[default]
    Full,
    /// Only read: the box is suspended.
    Read,
}

/// How many folders a box may have, and how they may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderLimits {
    /// Most folders of one box.
    pub folders_max: usize,
    /// Most levels of a name.
    pub levels_max: usize,
    /// Longest name with all its levels, in bytes of UTF-8.
    pub name_bytes_max: usize,
}

impl Default for FolderLimits {
    fn default() -> Self {
        Self {
            folders_max: 1_000,
            levels_max: 20,
            name_bytes_max: 1_000,
        }
    }
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
    /// Whether the selected folder, or a watched box, changed since this was last asked. Costs next to nothing.
    pub fn has_news(&mut self) -> bool {
        let selected = self.selected.as_mut().is_some_and(|s| s.watch.take());
        self.watched.as_mut().is_some_and(Watch::take) || selected
    }

    /// Waits until one of them changes; forever when there is none. Cancel safe.
    pub async fn news(&mut self) {
        let selected = self.selected.as_mut().map(|selection| &mut selection.watch);
        match (selected, &mut self.watched) {
            (Some(selected), Some(watched)) => tokio::select! {
                () = selected.changed() => {}
                () = watched.changed() => {}
            },
            (Some(watch), None) | (None, Some(watch)) => watch.changed().await,
            (None, None) => std::future::pending().await,
        }
    }

    /// On which terms the box that is opened next is used; without this, as by its holder, under the default limits.
    pub fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// Performs a request; `now` is the INTERNALDATE of an APPEND without one.
    /// [`Request::Authenticate`] and [`Request::Access`] are not for here: they are refused.
    pub async fn perform(&mut self, request: Request, now: Timestamp) -> Answer {
        match self.attempt(request, now).await {
            Ok(answer) => answer,
            Err(Failure::Rule(refused)) => Answer::Refused(refused),
            Err(Failure::Store(error)) => Answer::Refused(convert::refused(&error)),
        }
    }

    async fn attempt(&mut self, request: Request, now: Timestamp) -> Result<Answer, Failure> {
        if self.terms.access == Access::Read && request.is_change() {
            return Err(Failure::Rule(Refused::Suspended));
        }
        match request {
            Request::Authenticate(_) | Request::Access => Err(Failure::Rule(Refused::Defect)),
            Request::Open { address } => self.open(&address).await,
            Request::Unauthenticate => {
                (self.owner, self.selected, self.watched) = (None, None, None);
                Ok(Answer::Done)
            }
            Request::Leave => {
                self.selected = None;
                Ok(Answer::Done)
            }
            Request::Select { folder, read_only } => self.select(&folder, read_only).await,
            Request::News { folder } => self.tell_news(FolderKey(folder.0)).await,
            Request::Vanished { folder, since } => self.vanished(FolderKey(folder.0), since).await,
            Request::Load { messages, what } => self.load(&messages, what).await,
            Request::Find { folder, messages, keys } => {
                Ok(self.mailboxes.find_texts(FolderKey(folder.0), &messages, &keys).await?)
            }
            Request::Now => Ok(Answer::Now(now)),
            Request::Facts { folder, messages } => Ok(self.mailboxes.facts_of(FolderKey(folder.0), &messages).await?),
            Request::Spool { bytes, begins } => {
                let store = self.mailboxes.store.as_ref();
                self.uploads.write(store, bytes, begins).await?;
                Ok(Answer::Done)
            }
            Request::SpoolEnd => Ok(Answer::Spooled(self.uploads.end().await?)),
            Request::LoadPart {
                message,
                offset,
                length,
            } => look::part(self.store(), MessageKey(message.0), (offset, length)).await,
            Request::Previews { messages, lazy } => look::previews(self.store(), &messages, lazy).await,
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
                unchanged_since,
            } => {
                let update = selected::update(change, flags, unchanged_since);
                self.set_flags(FolderKey(folder.0), &uids, update).await
            }
            Request::Copy { folder, uids, to, mode } => {
                let way = (FolderKey(folder.0), to.as_str());
                self.copy(way, &uids, mode, now).await
            }
            Request::Expunge { folder, uids } => self.expunge(FolderKey(folder.0), uids.as_deref()).await,
            Request::WatchBox { watch } => self.watch_box(watch),
            Request::Survey { annotations } => self.survey(annotations).await,
            folders => {
                let is_change = folders.is_change();
                let answer = self.on_folders(folders).await?;
                if let Some(owner) = self.owner.filter(|_| is_change) {
                    self.mailboxes.notify.box_changed(owner);
                }
                Ok(answer)
            }
        }
    }

    async fn open(&mut self, address: &str) -> Result<Answer, Failure> {
        let address: Address = address.parse().map_err(|_| Failure::Rule(Refused::NotYourBox))?;
        self.owner = Some(match self.store().find_box(&address).await {
            Err(StoreError::NotFound { .. }) => self.mailboxes.ensure(&address).await?,
            found => found?,
        });
        Ok(Answer::Done)
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
        &mut self,
        folder: &str,
        messages: Vec<imap::Upload>,
        replaces: Option<(imap::FolderHandle, u32)>,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        let row = self.mailboxes.find(self.owner()?, folder).await?;
        let mut complete = Vec::with_capacity(messages.len());
        for upload in messages {
            let message = self.uploads.message(upload.bytes);
            let message = message.ok_or(Failure::Rule(Refused::Defect))?;
            let delivery = Delivery {
                folder: row.key,
                flags: convert::flags_row(upload.flags),
                internal_date: upload.date.unwrap_or(now),
                saved: Some(now),
                once: None,
                room: Room::Whole,
            };
            complete.push((message, vec![delivery]));
        }
        let mut messages = complete.into_iter();
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

    #[cfg(test)]
    fn store_for_tests(&self) -> Arc<dyn Store> {
        Arc::clone(&self.mailboxes.store)
    }

    #[cfg(test)]
    fn notify_for_tests(&self) -> &Notify {
        &self.mailboxes.notify
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
