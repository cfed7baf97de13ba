//! What is in folders: entries, their flags, copies and removals.

use rusqlite::{Connection, OptionalExtension};

use super::accept::{NewEntry, add_reference, end_reference, insert_entry};
use super::folders::{check_folder, status};
use super::group::Effects;
use super::quota;
use super::rows::{
    ENTRY_COLUMNS, changed, deleted as deleted_flag, entry_row, find_entry, integer, join_keywords, unseen, unsigned,
};
use crate::store::{
    EntryRow, FlagUpdate, Flags, FlagsChanged, FolderChanges, FolderKey, MessageKey, Originals, Passage, Room,
    StoreError, Summary,
};

/// Entries changed after `after`, by ascending UID.
pub(super) fn entries(db: &Connection, folder: FolderKey, after: u64) -> Result<Vec<EntryRow>, StoreError> {
    check_folder(db, folder)?;
    if after == 0 {
        let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry WHERE folder = ?1 ORDER BY uid");
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map([folder.0], entry_row)?;
        return Ok(rows.collect::<Result<_, _>>()?);
    }
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM entry INDEXED BY entry_changed \
         WHERE folder = ?1 AND modseq > ?2 AND modseq <> born"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let changed = statement.query_map((folder.0, integer(after)), entry_row)?;
    let mut entries = changed.collect::<Result<Vec<_>, _>>()?;
    entries.extend(unchanged(db, folder, after)?);
    entries.sort_unstable_by_key(|entry| entry.uid);
    Ok(entries)
}

/// Entries made after `after` and never changed since. Those made later have greater UIDs, so they are the last ones.
fn unchanged(db: &Connection, folder: FolderKey, after: u64) -> Result<Vec<EntryRow>, StoreError> {
    let sql = format!("SELECT {ENTRY_COLUMNS}, born FROM entry WHERE folder = ?1 ORDER BY uid DESC");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([folder.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let born: u64 = unsigned(row, BORN)?;
        if born <= after {
            break;
        }
        let entry = entry_row(row)?;
        if entry.modseq == born {
            found.push(entry);
        }
    }
    Ok(found)
}

/// The column after [`ENTRY_COLUMNS`].
const BORN: usize = 8;

/// UIDs expunged after `after`, ascending.
pub(super) fn expunged(db: &Connection, folder: FolderKey, after: u64) -> Result<Vec<u32>, StoreError> {
    check_folder(db, folder)?;
    let sql = "SELECT uid FROM expunged WHERE folder = ?1 AND modseq > ?2 ORDER BY uid";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((folder.0, integer(after)), |row| unsigned(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether anything in the folder is recent.
pub(super) fn has_recent(db: &Connection, folder: FolderKey) -> Result<bool, StoreError> {
    Ok(status(db, folder)?.recent > 0)
}

/// Ends "recent" for everything in the folder; returns the UIDs that were.
pub(super) fn claim_recent(tx: &Connection, folder: FolderKey) -> Result<Vec<u32>, StoreError> {
    check_folder(tx, folder)?;
    let sql = "SELECT uid FROM entry WHERE folder = ?1 \
               AND uid >= (SELECT recent_from FROM folder WHERE key = ?1) ORDER BY uid";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([folder.0], |row| unsigned(row, 0))?;
    let uids = rows.collect::<Result<Vec<u32>, _>>()?;
    if !uids.is_empty() {
        tx.prepare_cached("UPDATE folder SET recent_from = uid_next WHERE key = ?1")?
            .execute([folder.0])?;
    }
    Ok(uids)
}

/// Summaries of messages, in the order asked.
pub(super) fn summaries(db: &Connection, messages: &[MessageKey]) -> Result<Vec<(MessageKey, Summary)>, StoreError> {
    let sql = "SELECT header_bytes, envelope, body, body_structure, layout FROM summary WHERE message = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let mut found = Vec::with_capacity(messages.len());
    for message in messages {
        let summary = statement
            .query_row([message.0], |row| {
                Ok(Summary {
                    header_bytes: unsigned(row, 0)?,
                    envelope: row.get(1)?,
                    body: row.get(2)?,
                    body_structure: row.get(3)?,
                    layout: row.get(4)?,
                })
            })
            .optional()?;
        found.extend(summary.map(|summary| (*message, summary)));
    }
    Ok(found)
}

/// What changed after `after`, in one look.
pub(super) fn changes(db: &Connection, folder: FolderKey, after: u64) -> Result<FolderChanges, StoreError> {
    let sql = "SELECT modseq, forgotten FROM folder WHERE key = ?1";
    let (highest_modseq, forgotten) = db
        .prepare_cached(sql)?
        .query_row([folder.0], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))
        .optional()?
        .ok_or(StoreError::NotFound { what: "folder" })?;
    let mut changes = FolderChanges {
        highest_modseq,
        forgotten,
        ..FolderChanges::default()
    };
    if highest_modseq > after {
        changes.entries = entries(db, folder, after)?;
        changes.expunged = expunged(db, folder, after)?;
    }
    Ok(changes)
}

/// Previews kept of messages, in the order asked; `None`: none is kept.
pub(super) fn previews(db: &Connection, messages: &[MessageKey]) -> Result<Vec<Option<String>>, StoreError> {
    let mut statement = db.prepare_cached("SELECT preview FROM summary WHERE message = ?1")?;
    let mut found = Vec::with_capacity(messages.len());
    for message in messages {
        let preview: Option<Option<String>> = statement.query_row([message.0], |row| row.get(0)).optional()?;
        found.push(preview.flatten());
    }
    Ok(found)
}

/// Keeps previews of messages that are still there.
pub(super) fn keep_previews(tx: &Connection, previews: &[(MessageKey, String)]) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached("UPDATE summary SET preview = ?2 WHERE message = ?1")?;
    for (message, preview) in previews {
        statement.execute((message.0, preview))?;
    }
    Ok(())
}

/// Changes flags; returns the entries as they are then, by ascending UID. An entry that stays as it was keeps its modification sequence.
pub(super) fn change_flags(
    tx: &Connection,
    folder: FolderKey,
    uids: &[u32],
    update: &FlagUpdate,
) -> Result<FlagsChanged, StoreError> {
    let modseq = status(tx, folder)?.highest_modseq + 1;
    let mut now = found(tx, folder, uids)?;
    let mut refused = Vec::new();
    let (mut unseen_more, mut deleted_more, mut deleted_bytes_more) = (0, 0, 0);
    let mut any = false;
    for entry in &mut now {
        // RFC 7162 §3.1.3: whether it was changed meanwhile is decided where the change is made.
        if update.unchanged_since.is_some_and(|since| entry.modseq > since) {
            refused.push(entry.uid);
            continue;
        }
        let flags = changed(&entry.flags, update.change, &update.flags);
        if flags == entry.flags {
            continue;
        }
        any = true;
        unseen_more += unseen(&flags) - unseen(&entry.flags);
        let deletion = deleted_flag(&flags) - deleted_flag(&entry.flags);
        deleted_more += deletion;
        deleted_bytes_more += deletion * integer(entry.size_bytes);
        entry.flags = flags;
        entry.modseq = modseq;
        let sql = "UPDATE entry SET flags = ?3, keywords = ?4, modseq = ?5 WHERE folder = ?1 AND uid = ?2";
        let keywords = join_keywords(&entry.flags.keywords);
        tx.prepare_cached(sql)?
            .execute((folder.0, entry.uid, entry.flags.system, keywords, integer(modseq)))?;
    }
    if any {
        let sql = "UPDATE folder SET modseq = ?2, unseen = unseen + ?3, deleted = deleted + ?4, \
                   deleted_bytes = deleted_bytes + ?5 WHERE key = ?1";
        tx.prepare_cached(sql)?
            .execute((folder.0, integer(modseq), unseen_more, deleted_more, deleted_bytes_more))?;
    }
    Ok(FlagsChanged {
        entries: now,
        refused,
        any,
    })
}

/// Copies entries to the end of another folder, if its box has room for all, and removes the originals where they go.
pub(super) fn transfer(
    tx: &Connection,
    passage: &Passage,
    uids: &[u32],
    effects: &mut Effects,
) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
    match passage.originals {
        Originals::Stay => {
            let copied = copy_entries(tx, passage, uids)?;
            if !copied.1.is_empty() {
                quota::check(tx, passage.to)?;
            }
            Ok(copied)
        }
        Originals::Go => move_to(tx, passage, uids, effects),
    }
}

fn copy_entries(
    tx: &Connection,
    Passage { from, to, saved, .. }: &Passage,
    uids: &[u32],
) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
    check_folder(tx, *from)?;
    let uid_validity = status(tx, *to)?.uid_validity;
    let mut pairs = Vec::new();
    for mut entry in found(tx, *from, uids)? {
        add_reference(tx, entry.message)?;
        entry.saved = saved.unwrap_or(entry.saved);
        let (_, uid) = insert_entry(tx, *to, &NewEntry::copy_of(&entry), Room::Always)?;
        pairs.push((entry.uid, uid));
    }
    Ok((uid_validity, pairs))
}

/// Copies entries to the end of `to` and removes them from `from`. Within a box nothing grows, so a full one can be tidied up.
fn move_to(
    tx: &Connection,
    passage: &Passage,
    uids: &[u32],
    effects: &mut Effects,
) -> Result<(u32, Vec<(u32, u32)>), StoreError> {
    let Passage { from, to, .. } = *passage;
    let moved = copy_entries(tx, passage, uids)?;
    let gone: Vec<u32> = moved.1.iter().map(|(old, _)| *old).collect();
    remove(tx, from, &found(tx, from, &gone)?, effects)?;
    let is_same_box = "SELECT (SELECT box FROM folder WHERE key = ?1) = (SELECT box FROM folder WHERE key = ?2)";
    let is_same_box: bool = tx
        .prepare_cached(is_same_box)?
        .query_row((from.0, to.0), |row| row.get(0))?;
    if !is_same_box {
        quota::check(tx, to)?;
    }
    Ok(moved)
}

/// Removes entries that carry `\Deleted`.
pub(super) fn expunge(
    tx: &Connection,
    folder: FolderKey,
    uids: Option<&[u32]>,
    effects: &mut Effects,
) -> Result<Vec<u32>, StoreError> {
    check_folder(tx, folder)?;
    let mut candidates = match uids {
        Some(uids) => found(tx, folder, uids)?,
        None => deleted(tx, folder)?,
    };
    candidates.retain(|entry| entry.flags.system & Flags::DELETED != 0);
    remove(tx, folder, &candidates, effects)?;
    Ok(candidates.iter().map(|entry| entry.uid).collect())
}

/// Removes entries that something new stands for.
pub(super) fn replace(tx: &Connection, replaced: &[(FolderKey, u32)], effects: &mut Effects) -> Result<(), StoreError> {
    let mut entries = Vec::with_capacity(replaced.len());
    for (folder, uid) in replaced {
        let entry = find_entry(tx, *folder, *uid)?;
        entries.push((*folder, entry.ok_or(StoreError::NotFound { what: "message" })?));
    }
    for (folder, entry) in entries {
        remove(tx, folder, &[entry], effects)?;
    }
    Ok(())
}

fn deleted(tx: &Connection, folder: FolderKey) -> Result<Vec<EntryRow>, StoreError> {
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry WHERE folder = ?1 AND flags & ?2 <> 0 ORDER BY uid");
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map((folder.0, Flags::DELETED), entry_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes entries out of a folder; all get the same modification sequence.
pub(super) fn remove(
    tx: &Connection,
    folder: FolderKey,
    gone: &[EntryRow],
    effects: &mut Effects,
) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    let unseen_less: i64 = gone.iter().map(|entry| unseen(&entry.flags)).sum();
    let bytes_less: i64 = gone.iter().map(|entry| integer(entry.size_bytes)).sum();
    let deleted = || gone.iter().filter(|entry| deleted_flag(&entry.flags) != 0);
    let deleted_less = integer(deleted().count());
    let deleted_bytes_less: i64 = deleted().map(|entry| integer(entry.size_bytes)).sum();
    let sql = "UPDATE folder SET modseq = modseq + 1, messages = messages - ?2, unseen = unseen - ?3, \
               size_bytes = size_bytes - ?4, deleted = deleted - ?5, deleted_bytes = deleted_bytes - ?6, \
               tombstones = tombstones + ?2 WHERE key = ?1 RETURNING modseq, tombstones";
    let less = (
        folder.0,
        integer(gone.len()),
        unseen_less,
        bytes_less,
        deleted_less,
        deleted_bytes_less,
    );
    let (modseq, tombstones): (i64, i64) = tx
        .prepare_cached(sql)?
        .query_row(less, |row| Ok((row.get(0)?, row.get(1)?)))?;
    for entry in gone {
        tx.prepare_cached("DELETE FROM entry WHERE folder = ?1 AND uid = ?2")?
            .execute((folder.0, entry.uid))?;
        tx.prepare_cached("INSERT INTO expunged (folder, modseq, uid) VALUES (?1, ?2, ?3)")?
            .execute((folder.0, modseq, entry.uid))?;
        end_reference(tx, entry.message, effects)?;
    }
    if tombstones > TOMBSTONES_MAX {
        forget_oldest(tx, folder)?;
    }
    Ok(())
}

/// Keeps [`TOMBSTONES_KEPT`] tombstones of a folder, and those that went together with the oldest of them. What is forgotten costs a client
/// that was away for so long a longer list (RFC 7162 §3.2.5.2), and no more.
fn forget_oldest(tx: &Connection, folder: FolderKey) -> Result<(), StoreError> {
    let sql = "SELECT modseq FROM expunged WHERE folder = ?1 ORDER BY modseq DESC LIMIT 1 OFFSET ?2";
    let oldest: i64 = tx
        .prepare_cached(sql)?
        .query_row((folder.0, TOMBSTONES_KEPT - 1), |row| row.get(0))?;
    tx.prepare_cached("DELETE FROM expunged WHERE folder = ?1 AND modseq < ?2")?
        .execute((folder.0, oldest))?;
    let sql = "UPDATE folder SET forgotten = ?2 - 1, tombstones = (SELECT count(*) FROM expunged WHERE folder = ?1) WHERE key = ?1";
    tx.prepare_cached(sql)?.execute((folder.0, oldest))?;
    Ok(())
}

/// Tombstones of a folder after the oldest were forgotten: a year of a box with forty removals a day.
const TOMBSTONES_KEPT: i64 = 10_000;
/// Tombstones from which on they are: so that it is rare.
const TOMBSTONES_MAX: i64 = 12_000;

/// Those of the UIDs that are in the folder, ascending, each once.
fn found(tx: &Connection, folder: FolderKey, uids: &[u32]) -> Result<Vec<EntryRow>, StoreError> {
    let mut uids = uids.to_vec();
    uids.sort_unstable();
    uids.dedup();
    let mut entries = Vec::with_capacity(uids.len());
    for uid in uids {
        entries.extend(find_entry(tx, folder, uid)?);
    }
    Ok(entries)
}
