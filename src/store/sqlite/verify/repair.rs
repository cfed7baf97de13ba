//! Repairs, one problem per transaction. What is taken out of the store is written to the folder for damaged things first, and synced;
//! the journal record is in the transaction.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use super::super::accept::{self, NewEntry, insert_entry, insert_message};
use super::super::entries;
use super::super::group::Effects;
use super::super::rows::{ENTRY_COLUMNS, entry_row, execute, failed};
use super::super::stage::blocking;
use super::super::{folders, journal};
use super::{Aside, Check, Key, Knowledge, Problem, bodies};
use crate::store::blobs::{BlobName, Blobs};
use crate::store::sqlite::SqliteStore;
use crate::store::{EntryRow, FolderKey, JournalRow, MessageKey, NewMessage, Room, StoreError};

/// What a repair of one problem did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// It is repaired.
    Done,
    /// It was gone when its turn came.
    Gone,
    /// Nothing can be done here: its remedy says what can.
    Left,
}

impl SqliteStore {
    /// Repairs one problem, with `record` in the journal when something was done. The folders that changed are returned for those who
    /// watch them.
    ///
    /// # Errors
    /// The store failed; nothing of it was done.
    pub async fn repair(
        &self,
        problem: &Problem,
        aside: &Aside,
        knowledge: Knowledge,
        record: JournalRow,
    ) -> Result<(Repaired, Vec<FolderKey>), StoreError> {
        if let Key::File(path) = &problem.key {
            return self.move_aside(path.clone(), aside.clone(), record).await;
        }
        let work = Work {
            problem: problem.clone(),
            aside: aside.clone(),
            blobs: Arc::clone(&self.blobs),
            knowledge,
            at: record.at,
        };
        self.write(move |tx, effects| {
            let mut changed = Vec::new();
            let done = work.carry_out(tx, effects, &mut changed)?;
            if done == Repaired::Done {
                journal::insert(tx, std::slice::from_ref(&record))?;
            }
            Ok((done, changed))
        })
        .await
    }

    async fn move_aside(
        &self,
        path: std::path::PathBuf,
        aside: Aside,
        record: JournalRow,
    ) -> Result<(Repaired, Vec<FolderKey>), StoreError> {
        let blobs = Arc::clone(&self.blobs);
        let to = aside.made()?.to_owned();
        let moved = blocking(move || blobs.move_aside(&path, &to)).await;
        match moved {
            Ok(false) => return Ok((Repaired::Gone, Vec::new())),
            Ok(true) => {}
            Err(error) => return Err(error),
        }
        self.write(move |tx, _| journal::insert(tx, std::slice::from_ref(&record)))
            .await?;
        Ok((Repaired::Done, Vec::new()))
    }
}

struct Work {
    problem: Problem,
    aside: Aside,
    blobs: Arc<Blobs>,
    knowledge: Knowledge,
    at: Timestamp,
}

impl Work {
    fn carry_out(
        &self,
        tx: &Connection,
        effects: &mut Effects,
        changed: &mut Vec<FolderKey>,
    ) -> Result<Repaired, StoreError> {
        let Key::Row(key, second) = self.problem.key else {
            return self.whole(tx);
        };
        match self.problem.check {
            Check::EntryWithoutMessage | Check::BodyMissing | Check::BodySize | Check::BodyChanged => {
                self.replace(tx, key, effects, changed)
            }
            Check::EntryWithoutFolder => self.entry_out(tx, (key, second), effects),
            Check::EntrySize => {
                let sql = "UPDATE entry SET size_bytes = (SELECT m.size_bytes + length(m.lead) FROM message m WHERE m.key = message) \
                           WHERE folder = ?1 AND uid = ?2";
                tx.execute(sql, (key, second))?;
                figures(tx, key, changed)
            }
            Check::EntryUid | Check::EntryModseq | Check::FolderFigures => figures(tx, key, changed),
            Check::UidValidity => numbers(tx, "uid_validity", "SELECT max(uid_validity) FROM folder"),
            Check::MessageRefs => {
                let sql = "UPDATE message SET refs = (SELECT count(*) FROM entry WHERE message = ?1) \
                           + (SELECT count(*) FROM queue WHERE message = ?1) WHERE key = ?1";
                Ok(if tx.execute(sql, [key])? == 0 {
                    Repaired::Gone
                } else {
                    Repaired::Done
                })
            }
            Check::MessageUnused => self.unused(tx, key, effects),
            Check::BodyOrphan => self.body_out(tx, key),
            Check::SummaryOrphan => out(tx, "DELETE FROM summary WHERE message = ?1", key),
            Check::SummaryMissing | Check::SummaryDiffers => self.summarise(tx, key),
            Check::QueueWithoutMessage | Check::QueueUnreadable => hold(tx, key),
            Check::QueueLease => {
                tx.execute(
                    "UPDATE queue SET leased_until = 0 WHERE lease = 0 AND leased_until <> 0",
                    [],
                )?;
                tx.execute("UPDATE queue SET lease = 0 WHERE lease <> 0 AND leased_until = 0", [])?;
                numbers(tx, "lease", "SELECT max(lease) FROM queue")
            }
            Check::JournalTimes => Ok(if journal::keep_times_again(tx, key)? {
                Repaired::Done
            } else {
                Repaired::Gone
            }),
            _ => Ok(Repaired::Left),
        }
    }

    fn whole(&self, tx: &Connection) -> Result<Repaired, StoreError> {
        if self.problem.check != Check::DatabaseIndex {
            return Ok(Repaired::Left);
        }
        execute(tx, "REINDEX")?;
        Ok(Repaired::Done)
    }

    /// A notice instead of a message that cannot be read: under new UIDs, because the content of a UID never changes (RFC 3501 §2.3.1.1).
    fn replace(
        &self,
        tx: &Connection,
        key: i64,
        effects: &mut Effects,
        changed: &mut Vec<FolderKey>,
    ) -> Result<Repaired, StoreError> {
        let shown = shown(tx, key)?;
        let sql = "SELECT count(*), coalesce(sum(held = 0), 0) FROM queue WHERE message = ?1";
        let (queued, free): (i64, i64) = tx.query_row(sql, [key], |row| Ok((row.get(0)?, row.get(1)?)))?;
        match (shown.is_empty(), queued, free) {
            (true, 0, _) => return Ok(Repaired::Gone),
            // Held already: whoever looks after the queue decides.
            (true, _, 0) => return Ok(Repaired::Left),
            _ => {}
        }
        let what = self.keep(tx, key)?;
        self.aside.write(
            &format!("message-{key}.json"),
            entries_json(&shown).to_string().as_bytes(),
        )?;
        if !shown.is_empty() {
            self.notice(tx, (key, &shown), &what, effects)?;
            changed.extend(shown.iter().map(|(folder, _)| *folder));
        }
        tx.execute(
            "UPDATE queue SET held = 1, held_by = ?2 WHERE message = ?1 AND held = 0",
            (key, BY),
        )?;
        Ok(Repaired::Done)
    }

    fn notice(
        &self,
        tx: &Connection,
        (key, shown): (i64, &[(FolderKey, EntryRow)]),
        what: &str,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        let text = format!("message {key}: {}; {what}", self.problem.what);
        let bytes = (self.knowledge.notice)(self.at, &text);
        let message = NewMessage {
            content: crate::store::Content::Memory(Arc::default()),
            lead: Vec::new(),
            summary: Some((self.knowledge.summarise)(&bytes)),
        };
        let body = accept::Body::Inline {
            checksum: crc32fast::hash(&bytes),
            bytes: Arc::new(bytes),
        };
        let (notice, size_bytes) = insert_message(tx, &message, &body, shown.len())?;
        for (folder, entry) in shown {
            let new = NewEntry {
                message: notice,
                size_bytes,
                ..NewEntry::copy_of(entry)
            };
            insert_entry(tx, *folder, &new, Room::Always)?;
            entries::remove(tx, *folder, std::slice::from_ref(entry), effects)?;
        }
        Ok(())
    }

    /// Writes what is left of a message to the folder for damaged things; says what that is.
    fn keep(&self, tx: &Connection, key: i64) -> Result<String, StoreError> {
        let sql =
            "SELECT m.lead, m.file, b.bytes FROM message m LEFT JOIN body b ON b.message = m.key WHERE m.key = ?1";
        let row = tx
            .query_row(sql, [key], |row| {
                Ok((
                    row.get::<_, Vec<u8>>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, Option<Vec<u8>>>(2)?,
                ))
            })
            .optional();
        let (lead, file, inline) = match row {
            Ok(Some(row)) => row,
            Ok(None) => return Ok("nothing is left of it".to_owned()),
            Err(error) => return Ok(format!("its row cannot be read ({error})")),
        };
        let name = format!("message-{key}.eml");
        if let Some(file) = file.and_then(|file| file.parse::<BlobName>().ok()) {
            let kept = self.blobs.keep(file, &self.aside.made()?.join(&name));
            return match kept {
                Ok(()) => Ok(format!("its file is kept as {name}")),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("nothing is left of it".to_owned()),
                Err(error) => Err(failed("a damaged body file could not be kept", error)),
            };
        }
        match inline {
            Some(bytes) => {
                self.aside.write(&name, &[lead, bytes].concat())?;
                Ok(format!("what is left is kept as {name}"))
            }
            None => Ok("nothing is left of it".to_owned()),
        }
    }

    fn unused(&self, tx: &Connection, key: i64, effects: &mut Effects) -> Result<Repaired, StoreError> {
        let is_used =
            "SELECT EXISTS (SELECT 1 FROM entry WHERE message = ?1) OR EXISTS (SELECT 1 FROM queue WHERE message = ?1)";
        if !bodies::exists(tx, key)? || tx.query_row(is_used, [key], |row| row.get(0))? {
            return Ok(Repaired::Gone);
        }
        self.keep(tx, key)?;
        tx.execute("UPDATE message SET refs = 1 WHERE key = ?1", [key])?;
        accept::end_reference(tx, MessageKey(key), effects)?;
        Ok(Repaired::Done)
    }

    fn body_out(&self, tx: &Connection, key: i64) -> Result<Repaired, StoreError> {
        let bytes: Option<Vec<u8>> = tx
            .query_row("SELECT bytes FROM body WHERE message = ?1", [key], |row| row.get(0))
            .optional()?;
        let Some(bytes) = bytes else { return Ok(Repaired::Gone) };
        self.aside.write(&format!("body-{key}.eml"), &bytes)?;
        out(tx, "DELETE FROM body WHERE message = ?1", key)
    }

    fn entry_out(
        &self,
        tx: &Connection,
        (folder, uid): (i64, i64),
        effects: &mut Effects,
    ) -> Result<Repaired, StoreError> {
        let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry WHERE folder = ?1 AND uid = ?2");
        let entry = tx.query_row(&sql, (folder, uid), entry_row).optional()?;
        let Some(entry) = entry else { return Ok(Repaired::Gone) };
        let key = entry.message.0;
        self.keep(tx, key)?;
        let rows = entries_json(&[(FolderKey(folder), entry)]).to_string();
        self.aside
            .write(&format!("entry-{folder}-{uid}.json"), rows.as_bytes())?;
        tx.execute("DELETE FROM entry WHERE folder = ?1 AND uid = ?2", (folder, uid))?;
        accept::end_reference(tx, MessageKey(key), effects)?;
        Ok(Repaired::Done)
    }

    fn summarise(&self, tx: &Connection, key: i64) -> Result<Repaired, StoreError> {
        let bytes = match accept::bytes(tx, &self.blobs, MessageKey(key), true) {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(Repaired::Gone),
            Err(error) => return Err(error),
        };
        tx.execute("DELETE FROM summary WHERE message = ?1", [key])?;
        accept::insert_summary(tx, key, &(self.knowledge.summarise)(&bytes))?;
        Ok(Repaired::Done)
    }
}

/// Every entry that shows a message.
fn shown(tx: &Connection, key: i64) -> Result<Vec<(FolderKey, EntryRow)>, StoreError> {
    let sql = format!("SELECT {ENTRY_COLUMNS}, folder FROM entry WHERE message = ?1");
    let mut statement = tx.prepare(&sql)?;
    let rows = statement.query_map([key], |row| Ok((FolderKey(row.get("folder")?), entry_row(row)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn entries_json(entries: &[(FolderKey, EntryRow)]) -> Value {
    let entry = |(folder, entry): &(FolderKey, EntryRow)| {
        json!({
            "folder": folder.0,
            "uid": entry.uid,
            "message": entry.message.0,
            "flags": entry.flags.system,
            "keywords": entry.flags.keywords,
            "internal_date": entry.internal_date.to_string(),
            "size_bytes": entry.size_bytes,
        })
    };
    entries.iter().map(entry).collect()
}

/// What a folder says of itself, computed from its entries; its next UID and modification sequence only grow.
fn figures(tx: &Connection, folder: i64, changed: &mut Vec<FolderKey>) -> Result<Repaired, StoreError> {
    let sql = "UPDATE folder SET (messages, unseen, size_bytes, deleted, deleted_bytes) = \
               (SELECT count(*), coalesce(sum(flags & 1 = 0), 0), coalesce(sum(size_bytes), 0), coalesce(sum(flags & 8 <> 0), 0), \
               coalesce(sum((flags & 8 <> 0) * size_bytes), 0) FROM entry WHERE folder = ?1), \
               uid_next = max(uid_next, (SELECT coalesce(max(uid), 0) + 1 FROM entry WHERE folder = ?1)), \
               modseq = 1 + max(modseq, (SELECT coalesce(max(modseq), 0) FROM entry WHERE folder = ?1), \
               (SELECT coalesce(max(modseq), 0) FROM expunged WHERE folder = ?1)) WHERE key = ?1";
    if tx.execute(sql, [folder])? == 0 {
        return Ok(Repaired::Gone);
    }
    folders::check_folder(tx, FolderKey(folder))?;
    changed.push(FolderKey(folder));
    Ok(Repaired::Done)
}

/// Raises a number to what was given of it at most.
fn numbers(tx: &Connection, name: &str, given: &str) -> Result<Repaired, StoreError> {
    let sql = format!("UPDATE number SET value = max(value, coalesce(({given}), 0)) WHERE name = ?1");
    tx.execute(&sql, [name])?;
    Ok(Repaired::Done)
}

fn hold(tx: &Connection, key: i64) -> Result<Repaired, StoreError> {
    let sql = "UPDATE queue SET held = 1, held_by = ?2 WHERE key = ?1 AND held = 0";
    Ok(if tx.execute(sql, (key, BY))? == 0 {
        Repaired::Left
    } else {
        Repaired::Done
    })
}

fn out(tx: &Connection, sql: &str, key: i64) -> Result<Repaired, StoreError> {
    Ok(if tx.execute(sql, [key])? == 0 {
        Repaired::Gone
    } else {
        Repaired::Done
    })
}

/// Who held an item.
const BY: &str = "verify --repair";
