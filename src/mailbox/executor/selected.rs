//! The selected folder: opening it, its changes, and the changes a session makes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use super::{Access, BoxSession, Failure, Selection};
use crate::imap::{self, Answer, CopyMode};
use crate::mailbox::contents::Wanted;
use crate::mailbox::convert;
use crate::store::{BoxKey, FlagUpdate, FolderKey, FolderStatus, Originals, Passage, StoreError};

impl BoxSession {
    pub(super) async fn select(&mut self, name: &str, read_only: bool) -> Result<Answer, Failure> {
        self.selected = None;
        let read_only = read_only || self.terms.access == Access::Read;
        let (row, status) = self.store().look_up(self.owner()?, name).await?;
        // The watch begins before the reading: what changes meanwhile is told twice rather than never.
        let watch = self.mailboxes.notify.watch(row.key);
        let claimed = if read_only || status.recent == 0 {
            Vec::new()
        } else {
            self.claim_recent(row.key).await?
        };
        let wanted = Wanted::Modseq(status.highest_modseq);
        let contents = self.mailboxes.contents.get(self.store(), row.key, wanted).await?;
        let after_last = contents.last().map_or(1, |entry| entry.uid.saturating_add(1));
        let recent = if read_only {
            Vec::new()
        } else {
            self.mailboxes.notify.claim_recent(row.key, &claimed, after_last)
        };
        self.selected = Some(Selection {
            folder: row.key,
            watch,
            claims_recent: !read_only,
        });
        Ok(Answer::Selected(imap::Selected {
            folder: imap::FolderHandle(row.key.0),
            uid_validity: row.uid_validity,
            uid_next: status.uid_next.max(after_last),
            contents,
            recent,
            object_id: convert::object_id(row.uid_validity),
            read_only: self.terms.access == Access::Read,
        }))
    }

    /// A disk that takes no writes is no reason not to show what is there.
    async fn claim_recent(&self, folder: FolderKey) -> Result<Vec<u32>, StoreError> {
        match self.store().claim_recent(folder).await {
            Err(StoreError::Full { .. } | StoreError::Backend { .. }) => Ok(Vec::new()),
            claimed => claimed,
        }
    }

    pub(super) async fn tell_news(&mut self, folder: FolderKey) -> Result<Answer, Failure> {
        Ok(Answer::News(self.news_of(folder).await?))
    }

    /// The folder as it is now. Whatever happened before this call is in it, and is no news any more.
    async fn news_of(&mut self, folder: FolderKey) -> Result<imap::News, Failure> {
        let selection = self.selected.as_mut().filter(|selection| selection.folder == folder);
        let claims = selection.as_ref().is_some_and(|selection| selection.claims_recent);
        let wanted = match selection {
            Some(selection) => Wanted::Change(selection.watch.mark()),
            None => Wanted::Modseq(u64::MAX),
        };
        let contents = self.mailboxes.contents.get(self.store(), folder, wanted).await?;
        // Claimed in memory only: a durable claim per woken session would cost a sync each.
        let recent = if claims {
            self.mailboxes.notify.claim_new(folder, &contents)
        } else {
            Vec::new()
        };
        Ok(imap::News { contents, recent })
    }

    pub(super) async fn set_flags(
        &mut self,
        folder: FolderKey,
        uids: &[u32],
        update: FlagUpdate,
    ) -> Result<Answer, Failure> {
        let done = self.store().change_flags(folder, uids, &update).await?;
        // RFC 7162 §3.1.3: what stays as it was keeps its modification sequence, so there is nothing to tell anybody.
        if done.any {
            self.mailboxes.notify.changed(folder);
        }
        Ok(Answer::Changed {
            news: self.news_with_change(folder).await?,
            refused: done.refused,
        })
    }

    /// The same behind a change of the session's own. When it cannot be read, the session did not ask for it and hears of a failure to
    /// change something: what happened stays news, for it to ask about.
    pub(super) async fn news_with_change(&mut self, folder: FolderKey) -> Result<imap::News, Failure> {
        let news = self.news_of(folder).await;
        if let (Err(_), Some(selection)) = (&news, &mut self.selected) {
            selection.watch.unmark();
        }
        news
    }

    pub(super) async fn expunge(&self, folder: FolderKey, uids: Option<&[u32]>) -> Result<Answer, Failure> {
        let gone = self.store().expunge(folder, uids).await?;
        if !gone.is_empty() {
            self.mailboxes.notify.changed(folder);
        }
        Ok(Answer::Expunged(gone))
    }

    pub(super) async fn copy(
        &self,
        (from, to): (FolderKey, &str),
        uids: &[u32],
        mode: CopyMode,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        let (to, _) = self.store().look_up(self.owner()?, to).await?;
        let originals = match mode {
            CopyMode::Copy => Originals::Stay,
            CopyMode::Move => Originals::Go,
        };
        let passage = Passage {
            from,
            to: to.key,
            originals,
            saved: Some(now),
        };
        let (uid_validity, pairs) = self.store().transfer(passage, uids).await?;
        self.mailboxes.notify.changed(to.key);
        if mode == CopyMode::Move {
            self.mailboxes.notify.changed(from);
        }
        Ok(Answer::Copied { uid_validity, pairs })
    }

    /// Every folder of the box is watched from now on, or none but the selected one.
    pub(super) fn watch_box(&mut self, watch: bool) -> Result<Answer, Failure> {
        let owner = self.owner()?;
        self.watched = watch.then(|| self.mailboxes.notify.watch_box(owner));
        self.annotated = None;
        Ok(Answer::Done)
    }

    pub(super) async fn survey(&mut self, with_annotations: bool) -> Result<Answer, Failure> {
        let owner = self.owner()?;
        let annotated = self.mailboxes.notify.annotations(owner);
        if let Some(watched) = &mut self.watched {
            // What is read below is no news any more.
            watched.take();
        }
        let rows = self.store().folders(owner).await?;
        // Named before they are read: what changes meanwhile is told twice rather than never.
        self.mailboxes.notify.owns(owner, rows.iter().map(|row| row.key));
        let statuses = self
            .store()
            .statuses(&rows.iter().map(|row| row.key).collect::<Vec<_>>())
            .await?;
        let mut statuses: HashMap<FolderKey, FolderStatus> = statuses.into_iter().collect();
        let surveyed = rows.into_iter().filter_map(|row| {
            Some(imap::Surveyed {
                folder: imap::FolderHandle(row.key.0),
                status: convert::status(statuses.remove(&row.key)?, &row),
                listed: convert::folder(row),
            })
        });
        let folders: Vec<imap::Surveyed> = surveyed.collect();
        let annotations = if with_annotations && self.annotated != Some(annotated) {
            let found = self.annotated_places(owner, &folders).await?;
            self.annotated = Some(annotated);
            Some(found)
        } else {
            None
        };
        Ok(Answer::Surveyed(imap::Survey {
            folders,
            wishes: self.store().subscriptions(owner).await?,
            annotations,
        }))
    }

    async fn annotated_places(
        &self,
        owner: BoxKey,
        folders: &[imap::Surveyed],
    ) -> Result<Vec<imap::Annotated>, Failure> {
        let mut places = Vec::new();
        for folder in std::iter::once(None).chain(folders.iter().map(|one| Some(one.folder))) {
            let found = self.visible(owner, folder.map(|folder| FolderKey(folder.0))).await?;
            let entries = found.into_iter().map(|one| {
                let mut hasher = DefaultHasher::new();
                one.value.hash(&mut hasher);
                (one.entry, hasher.finish())
            });
            places.push(imap::Annotated {
                folder,
                entries: entries.collect(),
            });
        }
        places.retain(|place| !place.entries.is_empty());
        Ok(places)
    }

    /// UIDs that went after a modification sequence; `None` when that is forgotten.
    pub(super) async fn vanished(&self, folder: FolderKey, since: u64) -> Result<Answer, Failure> {
        let changes = self.store().changes(folder, since).await?;
        Ok(Answer::Vanished(
            (changes.forgotten <= since).then_some(changes.expunged),
        ))
    }
}

/// What STORE asks, as the store takes it.
pub(super) fn update(change: imap::FlagChange, flags: imap::Flags, unchanged_since: Option<u64>) -> FlagUpdate {
    FlagUpdate {
        change: convert::change_row(change),
        flags: convert::flags_row(flags),
        unchanged_since,
    }
}
