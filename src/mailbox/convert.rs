//! Between the rows of the store and the values of the protocol: two layers that do not know each other.

use crate::imap;
use crate::store::{self, EntryRow, FolderRow, FolderStatus, SpecialUse, StoreError};

pub(super) fn entry(row: EntryRow) -> imap::Entry {
    imap::Entry {
        uid: row.uid,
        message: imap::MessageHandle(row.message.0),
        flags: imap::Flags {
            system: row.flags.system,
            keywords: row.flags.keywords.into(),
        },
        internal_date: row.internal_date,
        saved: row.saved,
        size_bytes: row.size_bytes,
        modseq: row.modseq,
    }
}

pub(super) fn entries(rows: Vec<EntryRow>) -> Vec<imap::Entry> {
    rows.into_iter().map(entry).collect()
}

pub(super) fn flags_row(flags: imap::Flags) -> store::Flags {
    store::Flags {
        system: flags.system,
        keywords: flags.keywords.into_set(),
    }
}

pub(super) fn change_row(change: imap::FlagChange) -> store::FlagChange {
    match change {
        imap::FlagChange::Replace => store::FlagChange::Replace,
        imap::FlagChange::Add => store::FlagChange::Add,
        imap::FlagChange::Remove => store::FlagChange::Remove,
    }
}

pub(super) fn summary_row(summary: imap::Summary) -> store::Summary {
    store::Summary {
        envelope: summary.envelope,
        body: summary.body,
        body_structure: summary.body_structure,
        header_bytes: summary.header_bytes,
        layout: summary.layout,
    }
}

pub(super) fn summary(row: store::Summary) -> imap::Summary {
    imap::Summary {
        envelope: row.envelope,
        body: row.body,
        body_structure: row.body_structure,
        header_bytes: row.header_bytes,
        layout: row.layout,
    }
}

pub(super) fn folder(row: FolderRow) -> imap::Folder {
    imap::Folder {
        name: row.name,
        special_use: row.special_use.map(attribute),
        subscribed: row.subscribed,
        object_id: object_id(row.uid_validity),
    }
}

/// How RFC 6154 §2 writes a special use.
fn attribute(special_use: SpecialUse) -> &'static str {
    match special_use {
        SpecialUse::Sent => "\\Sent",
        SpecialUse::Drafts => "\\Drafts",
        SpecialUse::Trash => "\\Trash",
        SpecialUse::Junk => "\\Junk",
        SpecialUse::Archive => "\\Archive",
    }
}

/// The special use of an attribute, if it is kept.
pub(super) fn special_use(text: &str) -> Option<SpecialUse> {
    let all = [
        SpecialUse::Sent,
        SpecialUse::Drafts,
        SpecialUse::Trash,
        SpecialUse::Junk,
        SpecialUse::Archive,
    ];
    all.into_iter().find(|one| attribute(*one).eq_ignore_ascii_case(text))
}

/// MAILBOXID of a folder: UIDVALIDITY is given once for all folders of a store, and a restored backup skips what came after it.
pub(super) fn object_id(uid_validity: u32) -> String {
    format!("F{uid_validity}")
}

pub(super) fn status(status: FolderStatus, row: &FolderRow) -> imap::Status {
    imap::Status {
        messages: status.messages,
        recent: status.recent,
        unseen: status.unseen,
        uid_next: status.uid_next,
        uid_validity: status.uid_validity,
        highest_modseq: status.highest_modseq,
        size_bytes: status.size_bytes,
        deleted: status.deleted,
        deleted_bytes: status.deleted_bytes,
        object_id: object_id(row.uid_validity),
    }
}

/// What a client is told of a failure; the detail is for the log.
pub(super) fn refused(error: &StoreError) -> imap::Refused {
    match error {
        StoreError::NotFound { what: "message" } => imap::Refused::NoSuchMessage,
        StoreError::NotFound { .. } => imap::Refused::NoSuchFolder,
        StoreError::FolderExists { .. } => imap::Refused::FolderExists,
        StoreError::TooMany { .. } => imap::Refused::Limit,
        // A full disk is told by the store, once for all.
        StoreError::Closed | StoreError::Newer { .. } | StoreError::InUse { .. } | StoreError::Full { .. } => {
            imap::Refused::Unavailable
        }
        StoreError::OverQuota { .. } => imap::Refused::OverQuota,
        StoreError::Backend { .. } | StoreError::Damaged { .. } | StoreError::Repeated => {
            tracing::error!(error = %error, "storage failed under an IMAP command");
            imap::Refused::Unavailable
        }
    }
}
