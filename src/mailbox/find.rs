//! Answers what SEARCH, SORT and THREAD ask of messages: from the search index where it knows, from the messages where it does not. What is
//! found is the same with and without an index, at any moment.

use std::sync::Arc;

use super::Mailboxes;
use crate::imap::{Answer, Facts, Sought, TextKey, searchable, searchable_header};
use crate::store::sqlite::search::{Asked, Found, SearchIndex, WANTED_MAX, Wanted};
use crate::store::{FolderKey, MessageKey, StoreError};

impl Mailboxes {
    /// Which of these messages, by ascending UID, each key holds for.
    pub(super) async fn find_texts(
        &self,
        folder: FolderKey,
        messages: &Arc<Vec<Sought>>,
        keys: &[Arc<TextKey>],
    ) -> Result<Answer, StoreError> {
        let Found { mut hits, unknown } = self.indexed(folder, messages, keys).await;
        let mut decided = messages.len();
        let mut read_bytes = 0_u64;
        let mut rest = unknown.as_slice();
        while let Some(&next) = rest.first() {
            if read_bytes >= READ_BYTES_MAX {
                decided = next as usize;
                break;
            }
            let piece = piece(rest, messages);
            rest = &rest[piece.len()..];
            let bytes: u64 = piece.iter().map(|&at| messages[at as usize].size_bytes).sum();
            read_bytes = read_bytes.saturating_add(bytes);
            for (hits, more) in hits.iter_mut().zip(self.read(piece, messages, keys).await?) {
                hits.extend(more);
            }
        }
        for hits in &mut hits {
            hits.retain(|&at| (at as usize) < decided);
            hits.sort_unstable();
            // One that the index knew for one key, and that was read for another.
            hits.dedup();
        }
        Ok(Answer::Found { decided, hits })
    }

    /// What sorting needs of these messages, by ascending UID; `None` for one that is gone.
    pub(super) async fn facts_of(&self, folder: FolderKey, messages: &Arc<Vec<Sought>>) -> Result<Answer, StoreError> {
        let mut facts: Vec<Option<Facts>> = match self.search_index() {
            Some(index) => known_facts(index, folder, messages).await,
            None => vec![None; messages.len()],
        };
        let missing: Vec<usize> = (0..facts.len()).filter(|&at| facts[at].is_none()).collect();
        for piece in missing.chunks(MESSAGES_AT_ONCE) {
            let keys: Vec<MessageKey> = piece.iter().map(|&at| MessageKey(messages[at].message.0)).collect();
            let headers = self.store().read_headers(&keys).await?;
            for (&at, header) in piece.iter().zip(headers) {
                facts[at] = header.map(|header| Facts::of(&header));
            }
        }
        Ok(Answer::Facts(facts))
    }

    /// What the index knows; without one, or when it fails, nothing.
    async fn indexed(&self, folder: FolderKey, messages: &Arc<Vec<Sought>>, keys: &[Arc<TextKey>]) -> Found {
        let nothing = || Found {
            hits: vec![Vec::new(); keys.len()],
            unknown: (0..u32::try_from(messages.len()).unwrap_or(u32::MAX)).collect(),
        };
        let Some(index) = self.search_index() else {
            return nothing();
        };
        let mut all = Found::default();
        for keys in keys.chunks(WANTED_MAX) {
            match index
                .find(folder, asked(messages), keys.iter().map(wanted).collect())
                .await
            {
                Ok(found) => {
                    all.hits.extend(found.hits);
                    all.unknown.extend(found.unknown);
                }
                Err(error) => {
                    tracing::warn!(%error, "the search index failed; messages are read instead");
                    return nothing();
                }
            }
        }
        all.unknown.sort_unstable();
        all.unknown.dedup();
        if all.unknown.len() > UNKNOWN_USUAL {
            // Somebody waits for it.
            self.notify().touch(folder);
        }
        all
    }

    /// Reads messages, and tells which of them each key holds for.
    async fn read(
        &self,
        positions: &[u32],
        messages: &[Sought],
        keys: &[Arc<TextKey>],
    ) -> Result<Vec<Vec<u32>>, StoreError> {
        let wanted: Vec<MessageKey> = positions
            .iter()
            .map(|&at| MessageKey(messages[at as usize].message.0))
            .collect();
        let needs_body = keys.iter().any(|key| key.needs_body());
        let found = if needs_body {
            self.store().read_many(&wanted).await?
        } else {
            self.store().read_headers(&wanted).await?
        };
        let (positions, keys) = (positions.to_vec(), keys.to_vec());
        let look = move || {
            let mut hits = vec![Vec::new(); keys.len()];
            for (at, bytes) in positions.into_iter().zip(found) {
                let Some(bytes) = bytes else { continue };
                let text = if needs_body {
                    searchable(&bytes, usize::MAX).text
                } else {
                    searchable_header(&bytes)
                };
                let holding = hits.iter_mut().zip(&keys).filter(|(_, key)| key.holds(&text));
                holding.for_each(|(hits, _)| hits.push(at));
            }
            hits
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.map_err(|source| StoreError::Backend {
            context: "a search was interrupted".into(),
            source: source.into(),
        })
    }
}

async fn known_facts(index: &SearchIndex, folder: FolderKey, messages: &Arc<Vec<Sought>>) -> Vec<Option<Facts>> {
    match index.facts(folder, asked(messages)).await {
        Ok(found) => {
            let read = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| Facts::from_bytes(&bytes));
            found.into_iter().map(read).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "the search index failed; messages are read instead");
            vec![None; messages.len()]
        }
    }
}

fn asked(messages: &Arc<Vec<Sought>>) -> impl ExactSizeIterator<Item = Asked> + Send + use<> {
    let messages = Arc::clone(messages);
    (0..messages.len()).map(move |at| Asked {
        uid: messages[at].uid,
        message: MessageKey(messages[at].message.0),
    })
}

fn wanted(key: &Arc<TextKey>) -> Wanted {
    let trigrams = key.trigrams();
    let key = Arc::clone(key);
    Wanted {
        trigrams,
        holds: Arc::new(move |text| key.holds(text)),
    }
}

/// As many of the next messages as may be held at once; at least one.
fn piece<'a>(positions: &'a [u32], messages: &[Sought]) -> &'a [u32] {
    let mut bytes = 0_u64;
    let fits = |at: &&u32| {
        bytes = bytes.saturating_add(messages[**at as usize].size_bytes);
        bytes <= HELD_BYTES_MAX
    };
    let count = positions.iter().take(MESSAGES_AT_ONCE).take_while(fits).count();
    &positions[..count.max(1)]
}

/// Bytes of messages held at once, unless one alone is larger.
const HELD_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of messages read for one question; the rest is asked for again.
const READ_BYTES_MAX: u64 = 32 * 1024 * 1024;
const MESSAGES_AT_ONCE: usize = 200;
/// Messages that the indexer leaves for later.
const UNKNOWN_USUAL: usize = 16;
