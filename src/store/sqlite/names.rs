//! Names of folders: what a rename does to them, and which are subscribed.

use rusqlite::Connection;

use super::entries::transfer;
use super::folders::{canonical, create_folder, ensure_parents, folders};
use super::group::Effects;
use super::rows::integer;
use crate::store::{BoxKey, FolderKey, FolderRow, Originals, Passage, StoreError};

/// Gives a name to what has another.
pub(super) fn rename(
    tx: &Connection,
    owner: BoxKey,
    (from, to): (&str, &str),
    effects: &mut Effects,
) -> Result<Vec<FolderKey>, StoreError> {
    let (from, to) = (canonical(from), canonical(to));
    let all = folders(tx, owner)?;
    if from == INBOX {
        return empty_inbox(tx, owner, (&all, &to), effects);
    }
    let moved: Vec<(&FolderRow, String)> = all
        .iter()
        .filter_map(|row| {
            let rest = row.name.strip_prefix(&from)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (row, format!("{to}{rest}")))
        })
        .collect();
    if moved.is_empty() {
        return Err(StoreError::NotFound { what: "folder" });
    }
    let is_taken = |name: &str| all.iter().any(|row| row.name == name);
    let taken = moved.iter().map(|(_, name)| name).find(|name| is_taken(name));
    if let Some(name) = taken.or_else(|| is_taken(&to).then_some(&to)) {
        return Err(StoreError::FolderExists { name: name.clone() });
    }
    for (row, name) in &moved {
        tx.prepare_cached("UPDATE folder SET name = ?2 WHERE key = ?1")?
            .execute((row.key.0, name))?;
        wish_granted(tx, owner, (row.key, name))?;
    }
    // RFC 3501 §6.3.5: superior levels of the new name are created.
    ensure_parents(tx, owner, &to, false)?;
    Ok(moved.iter().map(|(row, _)| row.key).collect())
}

/// RFC 3501 §6.3.5: renaming INBOX moves its messages to a new folder and leaves it empty; what is below it stays.
fn empty_inbox(
    tx: &Connection,
    owner: BoxKey,
    (all, to): (&[FolderRow], &str),
    effects: &mut Effects,
) -> Result<Vec<FolderKey>, StoreError> {
    let inbox = all.iter().find(|row| row.name == INBOX).map(|row| row.key);
    let inbox = inbox.ok_or(StoreError::NotFound { what: "folder" })?;
    let new = create_folder(tx, owner, to, None)?.key;
    let mut statement = tx.prepare_cached("SELECT uid FROM entry WHERE folder = ?1 ORDER BY uid")?;
    let uids = statement
        .query_map([inbox.0], |row| row.get(0))?
        .collect::<Result<Vec<u32>, _>>()?;
    let passage = Passage {
        from: inbox,
        to: new,
        originals: Originals::Go,
        saved: None,
    };
    transfer(tx, &passage, &uids, effects)?;
    Ok(vec![inbox, new])
}

/// Sets whether a name is subscribed.
pub(super) fn subscribe(
    tx: &Connection,
    owner: BoxKey,
    (name, subscribed): (&str, bool),
    names_max: usize,
) -> Result<(), StoreError> {
    let name = canonical(name);
    let sql = "UPDATE folder SET subscribed = ?3 WHERE box = ?1 AND name = ?2";
    if tx.prepare_cached(sql)?.execute((owner.0, &name, subscribed))? > 0 {
        return Ok(());
    }
    if !subscribed {
        tx.prepare_cached("DELETE FROM subscription WHERE box = ?1 AND name = ?2")?
            .execute((owner.0, &name))?;
        return Ok(());
    }
    wish(tx, owner, &name)?;
    let sql = "SELECT count(*) > ?2 FROM subscription WHERE box = ?1";
    let too_many: bool = tx
        .prepare_cached(sql)?
        .query_row((owner.0, integer(names_max)), |row| row.get(0))?;
    if too_many {
        return Err(StoreError::TooMany { what: "subscriptions" });
    }
    Ok(())
}

/// Subscribed names that no folder has.
pub(super) fn subscriptions(db: &Connection, owner: BoxKey) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare_cached("SELECT name FROM subscription WHERE box = ?1 ORDER BY name")?;
    let names = statement.query_map([owner.0], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Remembers that a name is subscribed which no folder has.
pub(super) fn wish(tx: &Connection, owner: BoxKey, name: &str) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO subscription (box, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((owner.0, name))?;
    Ok(())
}

/// A folder has got a name: it is subscribed if the name was.
pub(super) fn wish_granted(
    tx: &Connection,
    owner: BoxKey,
    (folder, name): (FolderKey, &str),
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM subscription WHERE box = ?1 AND name = ?2";
    let wished = tx.prepare_cached(sql)?.execute((owner.0, name))? > 0;
    if wished {
        tx.prepare_cached("UPDATE folder SET subscribed = 1 WHERE key = ?1")?
            .execute([folder.0])?;
    }
    Ok(wished)
}

const INBOX: &str = "INBOX";
