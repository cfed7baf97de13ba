//! Reads parts of messages: header blocks, beginnings, pieces of what is too large to hold.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::accept::{damaged, unreadable};
use super::rows::{failed, integer};
use crate::store::blobs::{BlobName, Blobs};
use crate::store::{MessageKey, StoreError};

/// Header blocks of messages, lead included; `None` where it is not known how long one is.
pub(super) fn headers(
    db: &Connection,
    blobs: &Blobs,
    messages: &[MessageKey],
) -> Result<Vec<Option<Arc<Vec<u8>>>>, StoreError> {
    let mut statement = db.prepare_cached("SELECT header_bytes FROM summary WHERE message = ?1")?;
    let mut found = Vec::with_capacity(messages.len());
    for message in messages {
        let length: Option<u32> = statement.query_row([message.0], |row| row.get(0)).optional()?;
        let length = length.and_then(|length| usize::try_from(length).ok());
        let header = length.map(|length| part(db, blobs, (*message, true), (0, length)));
        // What cannot be read like this is read whole by the caller, who finds out why.
        found.push(header.and_then(Result::ok).map(Arc::new));
    }
    Ok(found)
}

/// Up to `length_max` bytes of a message from `offset` on, counted from its lead when `with_lead`.
pub(super) fn part(
    db: &Connection,
    blobs: &Blobs,
    (message, with_lead): (MessageKey, bool),
    (offset, length_max): (u64, usize),
) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT m.size_bytes, m.file, m.file_offset, m.lead FROM message m WHERE m.key = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([message.0])?;
    let row = rows.next()?.ok_or(StoreError::NotFound { what: "message" })?;
    let lead: &[u8] = if with_lead {
        row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?
    } else {
        &[]
    };
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(lead.len());
    let to = from.saturating_add(length_max).min(lead.len());
    let mut bytes = lead[from..to].to_vec();
    let offset = offset.saturating_sub(lead.len() as u64);
    let left = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0).saturating_sub(offset);
    let length = usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(length_max - bytes.len());
    match row.get_ref(1)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        None => {
            let sql = "SELECT substr(bytes, ?2 + 1, ?3) FROM body WHERE message = ?1";
            let mut statement = db.prepare_cached(sql)?;
            let mut rows = statement.query((message.0, integer(offset), integer(length)))?;
            let row = rows.next()?.ok_or_else(|| damaged(message, "its body is missing"))?;
            bytes.extend_from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        }
        Some(file) => {
            let name: BlobName = file.parse().map_err(|error| failed("the name of a body file", error))?;
            let begin = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
            blobs
                .read(name, begin + offset, length, &mut bytes)
                .map_err(|error| unreadable(name, message, error))?;
        }
    }
    Ok(bytes)
}
