//! Annotations of folders and of boxes (RFC 5464), as rows.

use async_trait::async_trait;

use super::{BoxKey, FolderKey, StoreError};

/// One annotation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Annotation {
    /// Whose it is; `None`: shared by all who open the box.
    pub person: Option<String>,
    /// Name of the entry in lower case, without `/private` or `/shared`: `/comment`.
    pub entry: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// A change of one annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationChange {
    /// Whose it is; `None`: shared.
    pub person: Option<String>,
    /// As in [`Annotation::entry`].
    pub entry: String,
    /// Its new value; `None` takes it away.
    pub value: Option<Vec<u8>>,
}

/// Annotations. They follow their folder through a rename and go with it when it is deleted.
#[async_trait]
pub trait AnnotationStore: Send + Sync {
    /// All annotations of a folder, or of the box as a whole (`None`), whoever they belong to.
    async fn annotations(&self, owner: BoxKey, folder: Option<FolderKey>) -> Result<Vec<Annotation>, StoreError>;

    /// Makes all changes or none. Fails with [`StoreError::TooMany`] when more than `entries_max` of one owner would be in that place.
    async fn annotate(
        &self,
        owner: BoxKey,
        folder: Option<FolderKey>,
        changes: &[AnnotationChange],
        entries_max: usize,
    ) -> Result<(), StoreError>;
}
