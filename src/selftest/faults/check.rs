//! What an image must hold: everything that was answered before the crash, once and exactly, nothing that was deleted, nothing half.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::disk::RecordedDisk;
use super::image::Files;
use super::ledger::{Ledger, Message, Place, number_of};
use super::workload::INLINE_MAX;
use crate::indicator::recount;
use crate::selftest::findings::{Findings, Wrong};
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{Content, FolderKey, MailboxStore, MessageKey, MessageStore, NewMessage, QueueStore, StoreError};

/// A moment of one scenario.
pub(super) struct Moment<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) folders: &'a [FolderKey],
    /// Changes of the disk made until then.
    pub(super) position: usize,
    /// How findings name it.
    pub(super) name: &'a str,
    /// Whether what was answered with a failure must not be there: in a store that was never cut off.
    pub(super) is_refused_gone: bool,
}

/// What a store holds: for each message, where it is, with UIDs; how often.
#[derive(Default)]
struct Held {
    places: BTreeMap<(u64, Place), Vec<u32>>,
}

/// Puts the files of an image into `folder`, which is emptied of the one before.
pub(super) fn lay_out(folder: &Path, files: &Files) -> std::io::Result<()> {
    clear(folder)?;
    for (path, bytes) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// Removes files and leaves folders, because the next image has the same.
fn clear(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            clear(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens an image as a start after the crash does, checks it, and lets it take one more message.
pub(super) async fn check_image((folder, disk): (&Path, RecordedDisk), moment: &Moment<'_>, findings: &mut Findings) {
    let options = Options {
        disk: Arc::new(disk),
        ..options()
    };
    let store = match SqliteStore::open(folder, options) {
        Ok(store) => store,
        Err(error) => {
            findings.note(Wrong::Unusable, format!("{}: it does not open: {error}", moment.name));
            return;
        }
    };
    check_store(&store, moment, findings).await;
    if let Err(error) = goes_on(&store, moment).await {
        findings.note(
            Wrong::Unusable,
            format!("{}: it takes no further message: {error}", moment.name),
        );
    }
    if let Err(error) = store.close().await {
        findings.note(Wrong::Unusable, format!("{}: it does not close: {error}", moment.name));
    }
    check_database(folder, moment.name, findings);
}

/// Checks what a store holds against what it answered.
pub(super) async fn check_store(store: &SqliteStore, moment: &Moment<'_>, findings: &mut Findings) {
    match held(store, moment, findings).await {
        Ok(held) => compare(&held, moment, findings),
        Err(error) => findings.note(Wrong::Unusable, format!("{}: it cannot be read: {error}", moment.name)),
    }
    match recount(store, store).await {
        Ok(found) if found.agrees() => {}
        Ok(found) => {
            let differences = found.differences.len() + found.damaged.len();
            findings.note(
                Wrong::Recount,
                format!("{}: {differences} counters differ from the journal", moment.name),
            );
        }
        Err(error) => findings.note(Wrong::Unusable, format!("{}: recount: {error}", moment.name)),
    }
}

pub(super) fn options() -> Options {
    Options {
        inline_bytes_max: INLINE_MAX,
        // A checkpoint every few dozen writes.
        wal_bytes_max: 256 * 1024,
        group_writes_max: 8,
        ..Options::default()
    }
}

async fn held(store: &SqliteStore, moment: &Moment<'_>, findings: &mut Findings) -> Result<Held, StoreError> {
    let mut held = Held::default();
    for (folder, key) in moment.folders.iter().enumerate() {
        let entries = match store.entries(*key, 0).await {
            // Crashed before the folder was made.
            Err(StoreError::NotFound { .. }) => continue,
            other => other?,
        };
        for entry in entries {
            let place = Place::Folder(folder);
            if let Some(number) = read(store, entry.message, moment, (&place, findings)).await {
                held.places.entry((number, place)).or_default().push(entry.uid);
            }
        }
    }
    for item in store.queued(usize::MAX >> 1).await? {
        let place = Place::Queue(item.recipient.to_string());
        if let Some(number) = read(store, item.message, moment, (&place, findings)).await {
            held.places.entry((number, place)).or_default().push(0);
        }
    }
    Ok(held)
}

/// The number of a message, once its bytes were found exact.
async fn read(
    store: &SqliteStore,
    key: MessageKey,
    moment: &Moment<'_>,
    (place, findings): (&Place, &mut Findings),
) -> Option<u64> {
    let bytes = match store.content(key).await {
        Ok(bytes) => bytes,
        Err(error) => {
            let what = format!("{}: the message of an entry of {place:?} is gone: {error}", moment.name);
            findings.note(Wrong::Corrupted, what);
            return None;
        }
    };
    let number = number_of(&bytes)?;
    let expected = moment.ledger.content(number);
    if expected.is_none_or(|expected| expected != bytes) {
        findings.note(
            Wrong::Corrupted,
            format!(
                "{}: message {number} in {place:?} is not what was accepted",
                moment.name
            ),
        );
    }
    Some(number)
}

fn compare(held: &Held, moment: &Moment<'_>, findings: &mut Findings) {
    let messages = moment.ledger.messages();
    for ((number, place), uids) in &held.places {
        if uids.len() > 1 {
            findings.note(
                Wrong::Doubled,
                format!("{}: message {number} is {} times in {place:?}", moment.name, uids.len()),
            );
        }
    }
    for message in messages.values() {
        compare_message(message, held, moment, findings);
    }
    bounces(messages.values(), held, moment, findings);
}

fn compare_message(message: &Message, held: &Held, moment: &Moment<'_>, findings: &mut Findings) {
    let Moment { position, name, .. } = *moment;
    let number = message.number;
    let mut somewhere = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for (place, removal) in &message.places {
        let uids = held.places.get(&(number, place.clone()));
        match uids {
            Some(_) => drop(somewhere.insert(place)),
            None if removal.is_none_or(|asked| asked.at >= position) => drop(missing.insert(place)),
            None => {}
        }
        if uids.is_some() && removal.is_some_and(|asked| asked.is_answered(position)) {
            let what = format!("{name}: message {number} is again in {place:?}, from where it was removed");
            findings.note(Wrong::Doubled, what);
        }
        let given = message.uids.get(place);
        if message.asked.is_answered(position)
            && let (Some(uids), Some(given)) = (uids, given)
            && !uids.contains(given)
        {
            findings.note(
                Wrong::Corrupted,
                format!("{name}: message {number} in {place:?} has another UID than {given}"),
            );
        }
    }
    if message.asked.is_answered(position) {
        for place in missing {
            findings.note(Wrong::Lost, format!("{name}: message {number} is not in {place:?}"));
        }
    } else if !somewhere.is_empty() {
        findings.unanswered += 1;
        if !missing.is_empty() {
            let what = format!("{name}: message {number} is in {somewhere:?} and not in {missing:?}");
            findings.note(Wrong::Half, what);
        }
        if moment.is_refused_gone && message.asked.failed {
            let what = format!("{name}: message {number} was refused and is in {somewhere:?}");
            findings.note(Wrong::Doubled, what);
        }
    }
}

/// A bounce is there only when what it reports is not queued any more, and once.
fn bounces<'a>(messages: impl Iterator<Item = &'a Message>, held: &Held, moment: &Moment<'_>, findings: &mut Findings) {
    let mut reported = BTreeSet::new();
    for message in messages {
        let Some((number, recipient)) = &message.settles else {
            continue;
        };
        if !held.places.contains_key(&(message.number, Place::Folder(0))) {
            continue;
        }
        let is_queued = held.places.contains_key(&(*number, Place::Queue(recipient.clone())));
        let is_second = !reported.insert((number, recipient));
        if is_queued || is_second {
            let what = format!(
                "{}: message {number} bounced and {}",
                moment.name,
                if is_queued { "is still queued" } else { "bounced again" }
            );
            findings.note(Wrong::DoubleBounce, what);
        }
    }
}

/// One more message, into the first folder if it is there.
async fn goes_on(store: &SqliteStore, moment: &Moment<'_>) -> Result<(), StoreError> {
    let Some(folder) = moment.folders.first().copied() else {
        return Ok(());
    };
    let mut acceptance = crate::store::Acceptance {
        message: Some(NewMessage {
            content: Content::Memory(Arc::new(b"Subject: apres\r\n\r\n".to_vec())),
            lead: Vec::new(),
            summary: None,
        }),
        ..Default::default()
    };
    acceptance
        .deliveries
        .push(crate::mailbox::deliver::unread(folder, jiff::Timestamp::UNIX_EPOCH));
    match store.accept(acceptance).await {
        Err(StoreError::NotFound { .. }) => Ok(()),
        other => other.map(drop),
    }
}

/// SQLite's own opinion, and whether references add up, in a closed store.
pub(super) fn check_database(folder: &Path, name: &str, findings: &mut Findings) {
    let verdict = || -> Result<(String, i64), rusqlite::Error> {
        let db = Connection::open_with_flags(folder.join("store.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let sound = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let sql = "SELECT count(*) FROM message m WHERE refs <> (SELECT count(*) FROM entry WHERE message = m.key) \
                   + (SELECT count(*) FROM queue WHERE message = m.key)";
        let wrong = db.query_row(sql, [], |row| row.get(0))?;
        Ok((sound, wrong))
    };
    match verdict() {
        Ok((sound, 0)) if sound == "ok" => {}
        Ok((sound, wrong)) => findings.note(
            Wrong::Integrity,
            format!("{name}: integrity_check says {sound}; {wrong} messages have wrong reference counts"),
        ),
        Err(error) => findings.note(Wrong::Integrity, format!("{name}: {error}")),
    }
}
