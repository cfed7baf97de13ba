//! Between Rust values and columns: errors, integers, times, flags, and the rows that several modules read.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, ffi};

use crate::store::{EntryRow, FlagChange, Flags, FolderKey, MessageKey, SpecialUse, StoreError};

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        failed("the database", source)
    }
}

/// The kind of a failure, see `StoreError::kind`.
pub(in crate::store) fn kind_of(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "full",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => "read-only",
        Some(ErrorCode::SystemIoFailure) => "io",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "corrupt",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "busy",
        _ => "other",
    }
}

/// What failed, as a [`StoreError`] that tells a full disk and damage from everything else.
pub(super) fn failed(context: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    let (context, source) = (context.to_owned(), source.into());
    match sort(source.as_ref()) {
        Kind::Full => StoreError::Full { context, source },
        Kind::Damaged => StoreError::Damaged {
            what: format!("{context} ({source})"),
        },
        Kind::Other => StoreError::Backend { context, source },
    }
}

/// Whether the disk is to blame, rather than what was asked.
pub(super) fn is_of_disk(error: &StoreError) -> bool {
    let StoreError::Backend { source, .. } = error else {
        return matches!(error, StoreError::Full { .. });
    };
    let code = match source.downcast_ref() {
        Some(rusqlite::Error::SqliteFailure(failure, _)) => failure.code,
        _ => return source.is::<std::io::Error>(),
    };
    matches!(
        code,
        ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen
    )
}

/// Whether a sync failed.
pub(super) fn is_of_sync(error: &StoreError) -> bool {
    let StoreError::Backend { source, .. } = error else {
        return false;
    };
    matches!(
        source.downcast_ref(),
        Some(rusqlite::Error::SqliteFailure(failure, _)) if failure.extended_code == ffi::SQLITE_IOERR_FSYNC
    )
}

enum Kind {
    Full,
    Damaged,
    Other,
}

fn sort(error: &(dyn std::error::Error + 'static)) -> Kind {
    if let Some(rusqlite::Error::SqliteFailure(failure, _)) = error.downcast_ref() {
        return match failure.code {
            ErrorCode::DiskFull => Kind::Full,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Kind::Damaged,
            _ => Kind::Other,
        };
    }
    match error.downcast_ref().map(std::io::Error::kind) {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => Kind::Full,
        _ => Kind::Other,
    }
}

/// Runs a statement without parameters, parsed once per connection.
pub(super) fn execute(connection: &Connection, sql: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// A size or count as SQLite keeps it. No value here comes near the limit.
pub(super) fn integer<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A column that holds a size, a UID or a count.
pub(super) fn unsigned<T: TryFrom<i64> + Default>(row: &Row<'_>, column: usize) -> Result<T, rusqlite::Error> {
    let value: i64 = row.get(column)?;
    T::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A column that holds milliseconds since 1970.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, rusqlite::Error> {
    let value: i64 = row.get(column)?;
    Timestamp::from_millisecond(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Adds `by` to a number that only grows and returns what it was before.
pub(super) fn raise(tx: &Connection, name: &str, by: i64) -> Result<i64, StoreError> {
    let sql = "UPDATE number SET value = value + ?2 WHERE name = ?1 RETURNING value - ?2";
    Ok(tx.prepare_cached(sql)?.query_row((name, by), |row| row.get(0))?)
}

/// Columns of [`entry_row`].
pub(super) const ENTRY_COLUMNS: &str =
    "uid, message, flags, keywords, internal_date, size_bytes, modseq, coalesce(saved, internal_date)";

/// Reads the columns [`ENTRY_COLUMNS`].
pub(super) fn entry_row(row: &Row<'_>) -> Result<EntryRow, rusqlite::Error> {
    Ok(EntryRow {
        uid: unsigned(row, 0)?,
        message: MessageKey(row.get(1)?),
        flags: Flags {
            system: unsigned(row, 2)?,
            keywords: split_keywords(row.get_ref(3)?.as_str()?),
        },
        internal_date: time(row, 4)?,
        size_bytes: unsigned(row, 5)?,
        modseq: unsigned(row, 6)?,
        saved: time(row, 7)?,
    })
}

/// One entry, if it is there.
pub(super) fn find_entry(tx: &Connection, folder: FolderKey, uid: u32) -> Result<Option<EntryRow>, StoreError> {
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry WHERE folder = ?1 AND uid = ?2");
    Ok(tx
        .prepare_cached(&sql)?
        .query_row((folder.0, uid), entry_row)
        .optional()?)
}

/// Keywords are atoms (RFC 3501 §9 `flag-keyword`): a space separates them.
pub(super) fn join_keywords(keywords: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for keyword in keywords {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(keyword);
    }
    text
}

fn split_keywords(text: &str) -> BTreeSet<String> {
    text.split_ascii_whitespace().map(Into::into).collect()
}

/// The flags after a change. A keyword that is there already keeps its spelling.
pub(super) fn changed(now: &Flags, change: FlagChange, by: &Flags) -> Flags {
    let named = |keyword: &String| by.keywords.iter().any(|other| other.eq_ignore_ascii_case(keyword));
    let kept = now
        .keywords
        .iter()
        .filter(|keyword| match change {
            FlagChange::Add => true,
            FlagChange::Replace => named(keyword),
            FlagChange::Remove => !named(keyword),
        })
        .cloned();
    let mut keywords: BTreeSet<String> = kept.collect();
    if change != FlagChange::Remove {
        add_keywords(&mut keywords, &by.keywords);
    }
    let system = match change {
        FlagChange::Replace => by.system,
        FlagChange::Add => now.system | by.system,
        FlagChange::Remove => now.system & !by.system,
    };
    Flags { system, keywords }
}

fn add_keywords(keywords: &mut BTreeSet<String>, more: &BTreeSet<String>) {
    for keyword in more {
        if !keywords.iter().any(|known| known.eq_ignore_ascii_case(keyword)) {
            keywords.insert(keyword.clone());
        }
    }
}

/// 1 for an entry that counts as unseen.
pub(super) fn unseen(flags: &Flags) -> i64 {
    i64::from(flags.system & Flags::SEEN == 0)
}

/// 1 for an entry that waits for EXPUNGE, 0 for another.
pub(super) fn deleted(flags: &Flags) -> i64 {
    i64::from(flags.system & Flags::DELETED != 0)
}

/// How a special use is stored.
pub(super) fn special_use_text(special_use: SpecialUse) -> &'static str {
    match special_use {
        SpecialUse::Sent => "sent",
        SpecialUse::Drafts => "drafts",
        SpecialUse::Trash => "trash",
        SpecialUse::Junk => "junk",
        SpecialUse::Archive => "archive",
    }
}

/// The inverse of [`special_use_text`]; a word of a later version reads as none.
pub(super) fn special_use(text: Option<&str>) -> Option<SpecialUse> {
    match text? {
        "sent" => Some(SpecialUse::Sent),
        "drafts" => Some(SpecialUse::Drafts),
        "trash" => Some(SpecialUse::Trash),
        "junk" => Some(SpecialUse::Junk),
        "archive" => Some(SpecialUse::Archive),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(system: u8, keywords: &[&str]) -> Flags {
        Flags {
            system,
            keywords: keywords.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_keyword_keeps_its_first_spelling() {
        let now = flags(Flags::SEEN, &["$Forwarded"]);
        let by = flags(Flags::FLAGGED, &["$forwarded", "Later"]);
        assert_eq!(
            changed(&now, FlagChange::Add, &by),
            flags(Flags::SEEN | Flags::FLAGGED, &["$Forwarded", "Later"])
        );
        assert_eq!(
            changed(&now, FlagChange::Replace, &by),
            flags(Flags::FLAGGED, &["$Forwarded", "Later"])
        );
        assert_eq!(changed(&now, FlagChange::Remove, &by), flags(Flags::SEEN, &[]));
    }

    #[test]
    fn special_uses_read_back() {
        for use_ in [
            SpecialUse::Sent,
            SpecialUse::Drafts,
            SpecialUse::Trash,
            SpecialUse::Junk,
            SpecialUse::Archive,
        ] {
            assert_eq!(special_use(Some(special_use_text(use_))), Some(use_));
        }
        assert_eq!(special_use(Some("later")), None);
        assert_eq!(special_use(None), None);
    }
}
