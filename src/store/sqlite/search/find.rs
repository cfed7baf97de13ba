//! A search: candidates from postings, verified on texts.

use rusqlite::{CachedStatement, Connection};

use super::documents::{Cache, Documents, Segment, length, row_key};
use super::{Asked, Found, Wanted, posting};
use crate::store::{FolderKey, MessageKey, StoreError};

pub(super) fn find(
    db: &Connection,
    cache: &Cache,
    folder: FolderKey,
    asked: &[Asked],
    wanted: &[Wanted],
) -> Result<Found, StoreError> {
    if wanted.len() > WANTED_MAX {
        return Ok(Found {
            hits: vec![Vec::new(); wanted.len()],
            unknown: (0..length(asked)).collect(),
        });
    }
    let documents = cache.of(db, folder)?;
    let mut search = Search {
        places: vec![0; documents.all.len()],
        asked: vec![0; documents.all.len()],
        unknown: Vec::new(),
        texts: db.prepare_cached("SELECT text FROM text WHERE key = ?1")?,
        folder,
        documents: &documents,
    };
    search.place(asked);
    for (bit, wanted) in wanted.iter().enumerate() {
        for position in candidates(db, &documents, &wanted.trigrams)? {
            search.places[position as usize] |= 1 << bit;
        }
    }
    let mut hits = vec![Vec::new(); wanted.len()];
    search.verify(wanted, &mut hits)?;
    let mut unknown = search.unknown;
    unknown.sort_unstable();
    Ok(Found { hits, unknown })
}

struct Search<'a> {
    documents: &'a Documents,
    /// For each document, a bit for each text that it is a candidate for.
    places: Vec<u64>,
    /// For each document, its position in what was asked, and one; 0: it was not asked.
    asked: Vec<u32>,
    unknown: Vec<u32>,
    texts: CachedStatement<'a>,
    folder: FolderKey,
}

impl Search<'_> {
    /// Brings together what was asked and what is known: both are in the order of UIDs.
    fn place(&mut self, asked: &[Asked]) {
        let all = &self.documents.all;
        let mut at = 0;
        for (position, wanted) in (0_u32..).zip(asked) {
            while all.get(at).is_some_and(|document| document.uid < wanted.uid) {
                at += 1;
            }
            let known = all.get(at).filter(|document| {
                document.uid == wanted.uid && document.message == wanted.message && document.is_complete
            });
            match known {
                Some(_) => self.asked[at] = position + 1,
                None => self.unknown.push(position),
            }
        }
    }

    fn verify(&mut self, wanted: &[Wanted], hits: &mut [Vec<u32>]) -> Result<(), StoreError> {
        for (at, document) in self.documents.all.iter().enumerate() {
            let (candidate, position) = (self.places[at], self.asked[at]);
            if candidate == 0 || position == 0 {
                continue;
            }
            let mut rows = self.texts.query([row_key(self.folder, document.uid)])?;
            let Some(row) = rows.next()? else {
                self.unknown.push(position - 1);
                continue;
            };
            let text = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            for (bit, (wanted, hits)) in wanted.iter().zip(&mut *hits).enumerate() {
                if candidate & 1 << bit != 0 && (wanted.holds)(text) {
                    hits.push(position - 1);
                }
            }
        }
        Ok(())
    }
}

/// Positions of documents that may have a text with these trigrams, ascending.
fn candidates(db: &Connection, documents: &Documents, trigrams: &[u32]) -> Result<Vec<u32>, StoreError> {
    let all = length(&documents.all);
    if trigrams.is_empty() {
        return Ok((0..all).collect());
    }
    let mut found = Vec::new();
    for segment in &documents.segments {
        found.extend(
            in_segment(db, segment, trigrams)?
                .iter()
                .map(|position| segment.start + position),
        );
    }
    found.extend(documents.pending..all);
    Ok(found)
}

fn in_segment(db: &Connection, segment: &Segment, trigrams: &[u32]) -> Result<Vec<u32>, StoreError> {
    let mut statement = db.prepare_cached("SELECT documents FROM posting WHERE segment = ?1 AND trigram = ?2")?;
    let mut postings: Vec<Vec<u8>> = Vec::with_capacity(trigrams.len());
    for trigram in trigrams {
        let mut rows = statement.query((segment.key, trigram))?;
        let Some(row) = rows.next()? else {
            return Ok(Vec::new());
        };
        postings.push(row.get(0)?);
    }
    // The rarest first: what is left only shrinks.
    postings.sort_by_key(Vec::len);
    let (mut left, mut more) = (Vec::new(), Vec::new());
    let mut postings = postings.iter();
    if let Some(first) = postings.next() {
        posting::decode(first, segment.count, &mut left);
    }
    for bytes in postings {
        // Looking at a few texts costs less than reading another list.
        if left.len() <= FEW {
            break;
        }
        posting::decode(bytes, segment.count, &mut more);
        let mut others = more.iter().peekable();
        left.retain(|position| {
            while others.next_if(|other| *other < position).is_some() {}
            others.peek() == Some(&position)
        });
    }
    Ok(left)
}

pub(super) fn facts(db: &Connection, folder: FolderKey, asked: &[Asked]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let mut statement = db.prepare_cached("SELECT message, facts FROM fact WHERE key = ?1")?;
    let mut found = Vec::with_capacity(asked.len());
    for asked in asked {
        let mut rows = statement.query([row_key(folder, asked.uid)])?;
        found.push(match rows.next()? {
            Some(row) if MessageKey(row.get(0)?) == asked.message => Some(row.get(1)?),
            _ => None,
        });
    }
    Ok(found)
}

/// Texts in one search; whoever wants more at once has the messages read.
pub const WANTED_MAX: usize = 64;
/// See its use.
const FEW: usize = 4;
