//! What a session looks at without taking a whole message: pieces of large ones, and first words.

use tokio::task::spawn_blocking;

use super::Failure;
use crate::imap::{self, Answer, MessageHandle, Refused};
use crate::store::{MessageKey, Store, StoreError};

/// A piece of a message.
pub(super) async fn part(
    store: &dyn Store,
    message: MessageKey,
    (offset, length): (u64, usize),
) -> Result<Answer, Failure> {
    match store.read_part(message, offset, length).await {
        Ok(bytes) => Ok(Answer::Part(Some(bytes))),
        Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => Ok(Answer::Part(None)),
        Err(error) => Err(error.into()),
    }
}

/// Previews of messages. Those asked for the first time are computed and kept, unless only what is kept was asked for.
pub(super) async fn previews(store: &dyn Store, messages: &[MessageHandle], lazy: bool) -> Result<Answer, Failure> {
    let keys: Vec<MessageKey> = messages.iter().map(|message| MessageKey(message.0)).collect();
    let mut found = store.previews(&keys).await?;
    let missing: Vec<usize> = (0..keys.len()).filter(|&at| found.get(at) == Some(&None)).collect();
    if lazy || missing.is_empty() {
        return Ok(Answer::Previews(found));
    }
    let wanted: Vec<MessageKey> = missing.iter().map(|&at| keys[at]).collect();
    let fronts = store.read_fronts(&wanted, imap::PREVIEW_LOOK_BYTES).await?;
    let computed = spawn_blocking(move || {
        let preview = |front: Option<Vec<u8>>| front.map(|front| imap::preview(&front));
        fronts.into_iter().map(preview).collect::<Vec<_>>()
    });
    let computed = computed.await.map_err(|_| Failure::Rule(Refused::Defect))?;
    let mut new = Vec::new();
    for (at, preview) in missing.into_iter().zip(computed) {
        new.extend(preview.iter().map(|preview| (keys[at], preview.clone())));
        found[at] = preview;
    }
    if let Err(error) = store.keep_previews(new).await {
        // They are known all the same, and computed again next time: a full disk keeps nobody from reading.
        tracing::debug!(%error, "previews could not be kept");
    }
    Ok(Answer::Previews(found))
}
