//! What a check and a repair of the store need to know of mail.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;

use super::convert;
use crate::clock::paris;
use crate::imap;
use crate::store::sqlite::search::{Asked, Look};
use crate::store::sqlite::verify::{Depth, Knowledge};
use crate::store::{FolderKey, MessageKey, Store, StoreError, Summary};

/// What IMAP asks of a message, and what stands in for one that is lost.
pub fn knowledge() -> Knowledge {
    Knowledge { summarise, notice }
}

/// What is wrong with the search index beside a store: it is compared with the messages, every text if `depth` is bytes. `None`: nothing, or
/// there is no index.
///
/// # Errors
/// The store cannot be read.
pub async fn search_index(store: &dyn Store, folder: &Path, depth: Depth) -> Result<Option<String>, StoreError> {
    // It is read while the store changes, so only what no change explains is wrong.
    let folder = folder.to_owned();
    let looked = tokio::task::spawn_blocking(move || look(&folder)).await;
    let looked = looked.map_err(|source| StoreError::Backend {
        context: "the look at the search index was interrupted".into(),
        source: source.into(),
    })?;
    let (look, messages) = match looked {
        Ok(Looked::At(look, messages)) => (look, messages),
        Ok(Looked::Nothing) => return Ok(None),
        Ok(Looked::Damage(what)) => return Ok(Some(what)),
        Err(error) => return Ok(Some(error.with_cause())),
    };
    for group in messages.chunk_by(|a, b| a.0 == b.0) {
        let folder = group[0].0;
        let entries = match store.entries(folder, 0).await {
            Err(StoreError::NotFound { .. }) => continue,
            entries => entries?,
        };
        let there: HashMap<u32, MessageKey> = entries.iter().map(|entry| (entry.uid, entry.message)).collect();
        for chunk in group.chunks(MESSAGES_AT_ONCE) {
            let known = chunk.iter().map(|(_, asked)| *asked);
            let known: Vec<Asked> = known.filter(|asked| there.contains_key(&asked.uid)).collect();
            if let Some(other) = known.iter().find(|asked| there.get(&asked.uid) != Some(&asked.message)) {
                return Ok(Some(format!(
                    "it has another message {} in folder {}",
                    other.uid, folder.0
                )));
            }
            if depth == Depth::Rows {
                continue;
            }
            let keys: Vec<MessageKey> = known.iter().map(|asked| asked.message).collect();
            let found = store.read_many(&keys).await?;
            let differing = known.iter().zip(found).find_map(|(asked, bytes)| {
                // One that is gone or damaged is no matter of the index.
                bytes.and_then(|bytes| differs(&look, (folder, asked.uid), &bytes))
            });
            if differing.is_some() {
                return Ok(differing);
            }
        }
    }
    Ok(None)
}

/// What a look at an index gives.
enum Looked {
    Nothing,
    Damage(String),
    At(Look, Vec<(FolderKey, Asked)>),
}

fn look(folder: &Path) -> Result<Looked, StoreError> {
    let Some(look) = Look::open(folder)? else {
        return Ok(Looked::Nothing);
    };
    if let Some(damage) = look.damage()? {
        return Ok(Looked::Damage(damage));
    }
    let messages = look.messages()?;
    Ok(Looked::At(look, messages))
}

/// Whether something else is indexed of a message than it says.
fn differs(look: &Look, (folder, uid): (FolderKey, u32), bytes: &[u8]) -> Option<String> {
    let kept = match look.kept(folder, uid) {
        Ok(kept) => kept,
        Err(error) => return Some(error.with_cause()),
    };
    let is_text = kept
        .text
        .is_none_or(|text| text == imap::searchable(bytes, usize::MAX).text);
    let is_same = is_text && kept.facts == imap::Facts::of(bytes).to_bytes();
    (!is_same).then(|| format!("message {uid} of folder {} says something else", folder.0))
}

/// Messages compared at once.
const MESSAGES_AT_ONCE: usize = 64;

fn summarise(bytes: &[u8]) -> Summary {
    convert::summary_row(imap::summarise(bytes))
}

/// A message to the user of the box, in both languages. `what` is a line without personal data.
fn notice(at: Timestamp, what: &str) -> Vec<u8> {
    let date = jiff::fmt::rfc2822::to_string(&at.to_zoned(paris())).unwrap_or_default();
    let what: String = what.chars().filter(|c| (' '..='~').contains(c)).collect();
    format!(
        "Date: {date}\r\n\
         From: Vaguemestre <postmaster@localhost>\r\n\
         Subject: Message perdu / message lost\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         Auto-Submitted: auto-generated\r\n\
         \r\n\
         Un message de ce dossier a été endommagé sur le disque du serveur et ne peut plus être lu.\r\n\
         Votre opérateur en garde les restes ; donnez-lui la ligne ci-dessous.\r\n\
         \r\n\
         A message of this folder was damaged on the disk of the server and cannot be read any more.\r\n\
         Your operator keeps what is left of it; give them the line below.\r\n\
         \r\n\
         {what}\r\n"
    )
    .into_bytes()
}
