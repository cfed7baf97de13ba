//! Requests about folders as a whole: listing, making, renaming, figures, annotations.

use super::{BoxSession, Failure, INBOX};
use crate::imap::{self, Answer, Refused, Request};
use crate::mailbox::convert;
use crate::store::{AnnotationChange, BoxKey, FolderKey, FolderRow, SpecialUse, StoreError};

impl BoxSession {
    pub(super) async fn on_folders(&mut self, request: Request) -> Result<Answer, Failure> {
        let owner = self.owner()?;
        match request {
            Request::Folders => {
                let rows = self.store().folders(owner).await?;
                Ok(Answer::Folders(rows.into_iter().map(convert::folder).collect()))
            }
            Request::Listing => {
                let rows = self.store().folders(owner).await?;
                Ok(Answer::Listing {
                    folders: rows.into_iter().map(convert::folder).collect(),
                    wishes: self.store().subscriptions(owner).await?,
                })
            }
            Request::Status { folder } => {
                let (row, status) = self.store().look_up(owner, &folder).await?;
                Ok(Answer::Status(convert::status(status, &row)))
            }
            Request::Statuses { folders } => self.statuses(owner, &folders).await,
            Request::Room => {
                let inbox = self.mailboxes.inbox(owner).await?;
                let usage = self.store().usage(inbox).await?;
                Ok(Answer::Room(imap::Room {
                    used_bytes: usage.used_bytes,
                    limit_bytes: usage.quota_bytes,
                }))
            }
            Request::Annotations { folder } => self.annotations(owner, folder.as_deref()).await,
            Request::Annotate { folder, changes } => self.annotate(owner, folder.as_deref(), changes).await,
            Request::Create { folder, special_use } => self.create(owner, &folder, special_use.as_deref()).await,
            Request::Delete { folder } => self.delete(owner, &folder).await,
            Request::Rename { from, to } => self.rename(owner, &from, &to).await,
            Request::Subscribe { folder, subscribed } => {
                self.check_name(&folder)?;
                self.store()
                    .subscribe(owner, &folder, subscribed, self.terms.limits.folders_max)
                    .await?;
                Ok(Answer::Done)
            }
            _ => Err(Failure::Rule(Refused::Defect)),
        }
    }

    async fn statuses(&self, owner: BoxKey, names: &[String]) -> Result<Answer, Failure> {
        let rows = self.store().folders(owner).await?;
        let find = |name: &String| rows.iter().find(|row| row.name == *name);
        let keys: Vec<FolderKey> = names.iter().filter_map(find).map(|row| row.key).collect();
        let mut found = self.store().statuses(&keys).await?.into_iter().peekable();
        let statuses = names.iter().map(|name| {
            let row = find(name)?;
            let (_, status) = found.next_if(|(key, _)| *key == row.key)?;
            Some(convert::status(status, row))
        });
        Ok(Answer::Statuses(statuses.collect()))
    }

    async fn create(&self, owner: BoxKey, name: &str, special_use: Option<&str>) -> Result<Answer, Failure> {
        self.check_name(name)?;
        let rows = self.store().folders(owner).await?;
        let special_use = match special_use {
            None => None,
            Some(attribute) => Some(free_use(attribute, &rows)?),
        };
        self.check_count(&rows, name)?;
        let row = self.store().create_folder(owner, name, special_use).await?;
        Ok(Answer::Created {
            object_id: convert::object_id(row.uid_validity),
        })
    }

    async fn delete(&mut self, owner: BoxKey, name: &str) -> Result<Answer, Failure> {
        let rows = self.store().folders(owner).await?;
        let Some(row) = rows.iter().find(|row| row.name == name) else {
            let is_level = rows.iter().any(|row| is_below(&row.name, name));
            return Err(Failure::Rule(if is_level {
                Refused::HasChildren
            } else {
                Refused::NoSuchFolder
            }));
        };
        self.store().delete_folder(row.key).await?;
        if self.selected.as_ref().is_some_and(|s| s.folder == row.key) {
            self.selected = None;
        }
        self.mailboxes.notify.changed(row.key);
        Ok(Answer::Deleted(imap::FolderHandle(row.key.0)))
    }

    async fn rename(&self, owner: BoxKey, from: &str, to: &str) -> Result<Answer, Failure> {
        if to == INBOX {
            return Err(Failure::Store(StoreError::FolderExists { name: INBOX.into() }));
        }
        let rows = self.store().folders(owner).await?;
        self.check_name(to)?;
        match to.rsplit_once('/') {
            _ if from == INBOX => self.check_count(&rows, to)?,
            Some((parent, _)) => self.check_count(&rows, parent)?,
            None => {}
        }
        for row in rows.iter().filter(|row| from != INBOX && is_below(&row.name, from)) {
            self.check_name(&format!("{to}{}", &row.name[from.len()..]))?;
        }
        for folder in self.store().rename(owner, from, to).await? {
            self.mailboxes.notify.changed(folder);
        }
        Ok(Answer::Done)
    }

    async fn annotations(&self, owner: BoxKey, folder: Option<&str>) -> Result<Answer, Failure> {
        let place = self.place(owner, folder).await?;
        Ok(Answer::Annotations(self.visible(owner, place).await?))
    }

    /// Annotations that this person may see.
    pub(super) async fn visible(
        &self,
        owner: BoxKey,
        place: Option<FolderKey>,
    ) -> Result<Vec<imap::Annotation>, Failure> {
        let person = self.terms.person.as_str();
        let found = self.store().annotations(owner, place).await?;
        let seen = found.into_iter().filter_map(|one| {
            let scope = match &one.person {
                None => "/shared",
                Some(other) if other == person => "/private",
                Some(_) => return None,
            };
            Some(imap::Annotation {
                entry: format!("{scope}{}", one.entry),
                value: Some(one.value),
            })
        });
        let mut seen: Vec<imap::Annotation> = seen.collect();
        seen.sort();
        Ok(seen)
    }

    async fn annotate(
        &self,
        owner: BoxKey,
        folder: Option<&str>,
        changes: Vec<imap::Annotation>,
    ) -> Result<Answer, Failure> {
        let place = self.place(owner, folder).await?;
        let mut rows = Vec::with_capacity(changes.len());
        for change in changes {
            let (person, entry) = match change.entry.strip_prefix("/private") {
                Some(entry) => (Some(self.terms.person.clone()), entry),
                None => (None, change.entry.strip_prefix("/shared").unwrap_or(&change.entry)),
            };
            rows.push(AnnotationChange {
                person,
                entry: entry.to_owned(),
                value: change.value,
            });
        }
        self.store().annotate(owner, place, &rows, ANNOTATIONS_MAX).await?;
        self.mailboxes.notify.annotated(owner);
        Ok(Answer::Done)
    }

    async fn place(&self, owner: BoxKey, folder: Option<&str>) -> Result<Option<FolderKey>, Failure> {
        Ok(match folder {
            Some(name) => Some(self.mailboxes.find(owner, name).await?.key),
            None => None,
        })
    }

    fn check_name(&self, name: &str) -> Result<(), Failure> {
        let limits = self.terms.limits;
        if name.len() > limits.name_bytes_max || name.split('/').count() > limits.levels_max {
            return Err(Failure::Rule(Refused::Limit));
        }
        Ok(())
    }

    /// Fails when the folder and its missing parents would be too many.
    fn check_count(&self, rows: &[FolderRow], name: &str) -> Result<(), Failure> {
        let ends = name.match_indices('/').map(|(end, _)| end).chain([name.len()]);
        let missing = ends
            .filter(|end| rows.iter().all(|row| row.name != name[..*end]))
            .count();
        if rows.len() + missing > self.terms.limits.folders_max {
            return Err(Failure::Rule(Refused::Limit));
        }
        Ok(())
    }
}

/// RFC 6154 §3: a use that is not kept here, or that a folder has already, is refused.
fn free_use(attribute: &str, rows: &[FolderRow]) -> Result<SpecialUse, Failure> {
    convert::special_use(attribute)
        .filter(|wanted| rows.iter().all(|row| row.special_use != Some(*wanted)))
        .ok_or(Failure::Rule(Refused::SpecialUse))
}

fn is_below(other: &str, name: &str) -> bool {
    other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
}

/// Annotations of one place that belong to one person, or are shared.
const ANNOTATIONS_MAX: usize = 100;
