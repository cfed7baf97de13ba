//! What an acceptance writes, and the life of a message: it stays as long as an entry or a queue item refers to it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::group::Effects;
use super::rows::{deleted, failed, integer, join_keywords, unseen};
use super::{entries, journal, once, queue, quota};
use crate::store::blobs::{BlobName, Blobs};
use crate::store::{
    Acceptance, Accepted, Delivery, EntryRow, Flags, FolderKey, MessageKey, NewMessage, Outgoing, Room, StoreError,
    Summary,
};

/// Where the content of a new message lies when its transaction begins.
pub(super) enum Body {
    /// It goes beside the rows.
    Inline { bytes: Arc<Vec<u8>>, checksum: u32 },
    /// In a published file.
    File {
        file: PublishedFile,
        offset: u64,
        size_bytes: u64,
        checksum: Option<u32>,
    },
}

/// A published file that no row names yet: removed when nothing becomes of it, as when its caller goes away.
pub(super) struct PublishedFile {
    name: BlobName,
    blobs: Arc<Blobs>,
    /// Whether it is the writer's to keep or remove.
    is_handed_over: AtomicBool,
}

impl PublishedFile {
    pub(super) fn new(name: BlobName, blobs: Arc<Blobs>) -> Self {
        Self {
            name,
            blobs,
            is_handed_over: AtomicBool::new(false),
        }
    }

    fn hand_over(&self) -> BlobName {
        self.is_handed_over.store(true, Ordering::Relaxed);
        self.name
    }
}

impl Drop for PublishedFile {
    fn drop(&mut self) {
        if !self.is_handed_over.load(Ordering::Relaxed) {
            self.blobs.remove(self.name);
        }
    }
}

/// An acceptance whose body is ready to be named. Built outside the transaction, because files take their time.
pub(super) struct Prepared {
    /// `None` where nothing would refer to the message.
    pub(super) body: Option<Body>,
    /// Bodies of `acceptance.reports`, in order.
    pub(super) reports: Vec<Body>,
    /// The rest; its content has moved to `body`.
    pub(super) acceptance: Acceptance,
}

impl Prepared {
    /// About what this adds to the log.
    pub(super) fn log_bytes(&self) -> usize {
        let rows =
            |deliveries: &[Delivery], outgoing: &[Outgoing]| ROWS_BYTES * (1 + deliveries.len() + outgoing.len());
        let content = self.body.as_ref().map_or(0, Body::log_bytes);
        let reports = self.acceptance.reports.iter().zip(&self.reports);
        let reports = reports.map(|(report, body)| body.log_bytes() + rows(&report.deliveries, &report.outgoing));
        content + rows(&self.acceptance.deliveries, &self.acceptance.outgoing) + reports.sum::<usize>()
    }

    /// What the relay will ask for, where it is in memory.
    pub(super) fn small_content_onward(&self) -> Option<Arc<Vec<u8>>> {
        match &self.body {
            Some(Body::Inline { bytes, .. }) if !self.acceptance.outgoing.is_empty() => Some(Arc::clone(bytes)),
            _ => None,
        }
    }

    /// Gives the body files back for removal: nothing will name them.
    pub(super) fn abandon(&self, effects: &mut Effects) {
        for file in self.files() {
            effects.remove(file.hand_over());
        }
    }

    fn files(&self) -> impl Iterator<Item = &PublishedFile> {
        self.body.iter().chain(&self.reports).filter_map(Body::file)
    }
}

impl Body {
    fn file(&self) -> Option<&PublishedFile> {
        match self {
            Self::File { file, .. } => Some(file),
            Self::Inline { .. } => None,
        }
    }

    fn log_bytes(&self) -> usize {
        match self {
            Self::Inline { bytes, .. } => bytes.len(),
            Self::File { .. } => 0,
        }
    }
}

/// Applies an acceptance. When it fails, the body file it would have named is given back for removal.
pub(super) fn accept(tx: &Connection, prepared: &Prepared, effects: &mut Effects) -> Result<Accepted, StoreError> {
    // What is replaced goes first: its room is free for what replaces it.
    let replaced = entries::replace(tx, &prepared.acceptance.removes, effects);
    let result = replaced.and_then(|()| apply(tx, prepared, effects));
    if result.is_err() {
        prepared.abandon(effects);
    } else {
        for file in prepared.files() {
            effects.remove_unless_committed(file.hand_over());
        }
        effects.count(&prepared.acceptance.counts);
    }
    result
}

fn apply(tx: &Connection, prepared: &Prepared, effects: &mut Effects) -> Result<Accepted, StoreError> {
    let acceptance = &prepared.acceptance;
    let mut accepted = Accepted::default();
    once::enter(tx, &acceptance.deliveries, &mut effects.once)?;
    let created = acceptance.records.first().map(|record| record.at);
    if let (Some(message), Some(body)) = (&acceptance.message, &prepared.body) {
        let to = To {
            deliveries: &acceptance.deliveries,
            outgoing: &acceptance.outgoing,
            leased_until: acceptance.leased_until,
        };
        let key = insert_whole(tx, (message, body), to, (created, &mut accepted))?;
        accepted.message = Some(key);
    }
    for (report, body) in acceptance.reports.iter().zip(&prepared.reports) {
        let to = To {
            deliveries: &report.deliveries,
            outgoing: &report.outgoing,
            leased_until: None,
        };
        insert_whole(tx, (&report.message, body), to, (created, &mut accepted))?;
    }
    journal::insert(tx, &acceptance.records)?;
    Ok(accepted)
}

/// Where a message goes.
struct To<'a> {
    deliveries: &'a [Delivery],
    outgoing: &'a [Outgoing],
    /// Of what is outgoing, see [`Acceptance::leased_until`].
    leased_until: Option<Timestamp>,
}

/// A message with its copies and its queue items.
fn insert_whole(
    tx: &Connection,
    (message, body): (&NewMessage, &Body),
    to: To<'_>,
    (created, accepted): (Option<Timestamp>, &mut Accepted),
) -> Result<MessageKey, StoreError> {
    let To {
        deliveries,
        outgoing,
        leased_until,
    } = to;
    let (key, content_bytes) = insert_message(tx, message, body, deliveries.len() + outgoing.len())?;
    let size_bytes = content_bytes + integer(message.lead.len());
    for delivery in deliveries {
        let entry = NewEntry {
            message: key,
            flags: &delivery.flags,
            internal_date_ms: delivery.internal_date.as_millisecond(),
            saved_ms: delivery.saved.map(Timestamp::as_millisecond),
            size_bytes,
        };
        let (uid_validity, uid) = insert_entry(tx, delivery.folder, &entry, delivery.room)?;
        accepted.delivered.push((delivery.folder, uid_validity, uid));
    }
    for outgoing in outgoing {
        let item = queue::insert(tx, key, outgoing, (created, leased_until))?;
        if leased_until.is_some() {
            let item = (item, key, content_bytes.cast_unsigned());
            accepted.leased.push(queue::born_leased(item, outgoing, created));
        }
    }
    Ok(key)
}

pub(super) fn insert_message(
    tx: &Connection,
    message: &NewMessage,
    body: &Body,
    refs: usize,
) -> Result<(MessageKey, i64), StoreError> {
    let (size_bytes, file, offset, checksum) = match body {
        Body::Inline { bytes, checksum } => (integer(bytes.len()), None, 0, Some(*checksum)),
        Body::File {
            file,
            offset,
            size_bytes,
            checksum,
        } => (
            integer(*size_bytes),
            Some(file.name.to_string()),
            integer(*offset),
            *checksum,
        ),
    };
    let sql =
        "INSERT INTO message (size_bytes, lead, file, file_offset, refs, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let key = tx
        .prepare_cached(sql)?
        .insert((size_bytes, &message.lead, file, offset, integer(refs), checksum))?;
    if let Body::Inline { bytes, .. } = body {
        let sql = "INSERT INTO body (message, bytes) VALUES (?1, ?2)";
        tx.prepare_cached(sql)?.execute((key, bytes.as_slice()))?;
    }
    if let Some(summary) = &message.summary {
        insert_summary(tx, key, summary)?;
    }
    Ok((MessageKey(key), size_bytes))
}

pub(super) fn insert_summary(tx: &Connection, key: i64, summary: &Summary) -> Result<(), StoreError> {
    let sql = "INSERT INTO summary (message, header_bytes, envelope, body, body_structure, layout) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    tx.prepare_cached(sql)?.execute((
        key,
        summary.header_bytes,
        &summary.envelope,
        &summary.body,
        &summary.body_structure,
        &summary.layout,
    ))?;
    Ok(())
}

/// A copy of a message about to get its UID.
pub(super) struct NewEntry<'a> {
    pub(super) message: MessageKey,
    pub(super) flags: &'a Flags,
    pub(super) internal_date_ms: i64,
    /// `None`: at its INTERNALDATE.
    pub(super) saved_ms: Option<i64>,
    pub(super) size_bytes: i64,
}

impl<'a> NewEntry<'a> {
    /// Another entry of the same message with the same flags and date.
    pub(super) fn copy_of(entry: &'a EntryRow) -> Self {
        Self {
            message: entry.message,
            flags: &entry.flags,
            internal_date_ms: entry.internal_date.as_millisecond(),
            saved_ms: Some(entry.saved.as_millisecond()),
            size_bytes: integer(entry.size_bytes),
        }
    }
}

/// Puts an entry at the end of a folder; returns UIDVALIDITY and its UID. The caller sees to `message.refs`.
pub(super) fn insert_entry(
    tx: &Connection,
    folder: FolderKey,
    entry: &NewEntry<'_>,
    room: Room,
) -> Result<(u32, u32), StoreError> {
    let sql = "UPDATE folder SET uid_next = uid_next + 1, modseq = modseq + 1, messages = messages + 1, \
               unseen = unseen + ?2, size_bytes = size_bytes + ?3, deleted = deleted + ?4, deleted_bytes = deleted_bytes + ?3 * ?4 \
               WHERE key = ?1 RETURNING uid_validity, uid_next - 1, modseq, \
               (SELECT quota_bytes FROM box WHERE box.key = folder.box)";
    let given = tx
        .prepare_cached(sql)?
        .query_row(
            (folder.0, unseen(entry.flags), entry.size_bytes, deleted(entry.flags)),
            given_uid,
        )
        .optional()?;
    let (uid_validity, uid, modseq, quota_bytes) = given.ok_or(StoreError::NotFound { what: "folder" })?;
    if let Some(quota_bytes) = quota_bytes {
        quota::check_entry(tx, folder, (quota_bytes.cast_unsigned(), entry.size_bytes), room)?;
    }
    // RFC 3501 §2.3.1.1: UIDs are 32-bit; a folder that has used them all takes no more.
    let uid = u32::try_from(uid).map_err(|error| failed("the folder has no UID left", error))?;
    let sql = "INSERT INTO entry (folder, uid, message, flags, keywords, internal_date, size_bytes, modseq, born, saved) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)";
    tx.prepare_cached(sql)?.execute((
        folder.0,
        uid,
        entry.message.0,
        entry.flags.system,
        join_keywords(&entry.flags.keywords),
        entry.internal_date_ms,
        entry.size_bytes,
        modseq,
        entry.saved_ms.filter(|saved| *saved != entry.internal_date_ms),
    ))?;
    Ok((uid_validity, uid))
}

fn given_uid(row: &Row<'_>) -> Result<(u32, i64, i64, Option<i64>), rusqlite::Error> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

/// One more entry refers to the message.
pub(super) fn add_reference(tx: &Connection, message: MessageKey) -> Result<(), StoreError> {
    let sql = "UPDATE message SET refs = refs + 1 WHERE key = ?1";
    match tx.prepare_cached(sql)?.execute([message.0])? {
        1 => Ok(()),
        _ => Err(StoreError::NotFound { what: "message" }),
    }
}

/// One entry or queue item less refers to the message; the last one takes it away.
pub(super) fn end_reference(tx: &Connection, message: MessageKey, effects: &mut Effects) -> Result<(), StoreError> {
    // Mostly it is the last: that one is not counted down first.
    let gone = tx
        .prepare_cached("DELETE FROM message WHERE key = ?1 AND refs <= 1 RETURNING file")?
        .query_row([message.0], |row| row.get::<_, Option<String>>(0))
        .optional()?;
    let Some(file) = gone else {
        tx.prepare_cached("UPDATE message SET refs = refs - 1 WHERE key = ?1")?
            .execute([message.0])?;
        return Ok(());
    };
    effects.gone.push(message);
    tx.prepare_cached("DELETE FROM body WHERE message = ?1")?
        .execute([message.0])?;
    tx.prepare_cached("DELETE FROM summary WHERE message = ?1")?
        .execute([message.0])?;
    if let Some(file) = file.and_then(|text| text.parse().ok()) {
        effects.remove_after_commit(file);
    }
    Ok(())
}

/// The bytes of a message, after its lead when `with_lead`. What is not as it was stored is not handed out.
pub(super) fn bytes(
    db: &Connection,
    blobs: &Blobs,
    message: MessageKey,
    with_lead: bool,
) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT m.size_bytes, m.lead, m.file, m.file_offset, b.bytes, m.checksum \
               FROM message m LEFT JOIN body b ON b.message = m.key WHERE m.key = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([message.0])?;
    let row = rows.next()?.ok_or(StoreError::NotFound { what: "message" })?;
    let size_bytes = usize::try_from(row.get::<_, i64>(0)?).map_err(|error| failed("the size of a message", error))?;
    let checksum: Option<u32> = row.get(5)?;
    let lead: &[u8] = if with_lead {
        row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?
    } else {
        &[]
    };
    let mut bytes = Vec::with_capacity(lead.len() + size_bytes);
    bytes.extend_from_slice(lead);
    match row.get_ref(2)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        Some(file) => {
            let name: BlobName = file.parse().map_err(|error| failed("the name of a body file", error))?;
            let offset = u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0);
            blobs
                .read(name, offset, size_bytes, &mut bytes)
                .map_err(|error| unreadable(name, message, error))?;
        }
        None => match row.get_ref(4)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
            Some(content) => bytes.extend_from_slice(content),
            None => return Err(damaged(message, "its body is missing")),
        },
    }
    let content = &bytes[lead.len()..];
    if content.len() != size_bytes {
        return Err(damaged(message, "its body has another length than it was stored with"));
    }
    if checksum.is_some_and(|checksum| checksum != crc32fast::hash(content)) {
        return Err(damaged(message, "its bytes are not those that were stored"));
    }
    Ok(bytes)
}

pub(super) fn unreadable(name: BlobName, message: MessageKey, error: std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound => damaged(message, &format!("its body file {name} is missing")),
        ErrorKind::UnexpectedEof => damaged(message, &format!("its body file {name} is cut short")),
        _ => failed(&format!("body file {name} of message {}", message.0), error),
    }
}

pub(super) fn damaged(message: MessageKey, how: &str) -> StoreError {
    StoreError::Damaged {
        what: format!("message {}: {how}; it", message.0),
    }
}

/// Its checksum, in rows of this version.
pub(super) fn checksum(db: &Connection, message: MessageKey) -> Result<Option<u32>, StoreError> {
    let mut statement = db.prepare_cached("SELECT checksum FROM message WHERE key = ?1")?;
    let row = statement.query_row([message.0], |row| row.get(0)).optional()?;
    row.ok_or(StoreError::NotFound { what: "message" })
}

/// Each of these messages with its lead.
pub(super) fn many(db: &Connection, blobs: &Blobs, messages: &[MessageKey]) -> Vec<Result<Vec<u8>, StoreError>> {
    let whole = |message: &MessageKey| bytes(db, blobs, *message, true);
    messages.iter().map(whole).collect()
}

/// What a message's rows take in the log beside its content, roughly.
const ROWS_BYTES: usize = 1024;
