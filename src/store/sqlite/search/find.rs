//! A search: candidates from postings, verified on texts.

use rusqlite::{CachedStatement, Connection};

use super::documents::{Cache, Documents, Segment, length, row_key};
use super::{Asked, Found, Wanted, posting};
use crate::store::{FolderKey, MessageKey, StoreError};

pub(super) fn find(
    db: &Connection,
    cache: &Cache,
    folder: FolderKey,
    asked: impl Iterator<Item = Asked>,
    wanted: &[Wanted],
) -> Result<Found, StoreError> {
    if wanted.len() > WANTED_MAX {
        return Ok(Found {
            hits: vec![Vec::new(); wanted.len()],
            unknown: (0_u32..).zip(asked).map(|(position, _)| position).collect(),
        });
    }
    let documents = cache.of(db, folder)?;
    let candidates = candidates_of_all(db, &documents, wanted)?;
    let (places, unknown) = place(&documents, &candidates, asked);
    let mut search = Search {
        texts: db.prepare_cached("SELECT text FROM text WHERE key = ?1")?,
        folder,
        documents: &documents,
        unknown,
    };
    let mut hits = vec![Vec::new(); wanted.len()];
    for place in places {
        search.verify(place, wanted, &mut hits)?;
    }
    let mut unknown = search.unknown;
    unknown.sort_unstable();
    Ok(Found { hits, unknown })
}

/// A document that may have some of the texts.
#[derive(Clone, Copy)]
struct Candidate {
    document: u32,
    /// A bit for each text.
    texts: u64,
}

/// A candidate that was asked about, and its position in what was asked.
type Place = (Candidate, u32);

struct Search<'a> {
    documents: &'a Documents,
    unknown: Vec<u32>,
    texts: CachedStatement<'a>,
    folder: FolderKey,
}

impl Search<'_> {
    fn verify(
        &mut self,
        (candidate, position): Place,
        wanted: &[Wanted],
        hits: &mut [Vec<u32>],
    ) -> Result<(), StoreError> {
        let uid = self.documents.all[candidate.document as usize].uid;
        let mut rows = self.texts.query([row_key(self.folder, uid)])?;
        let Some(row) = rows.next()? else {
            self.unknown.push(position);
            return Ok(());
        };
        let text = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        for (bit, (wanted, hits)) in wanted.iter().zip(hits).enumerate() {
            if candidate.texts & 1 << bit != 0 && (wanted.holds)(text) {
                hits.push(position);
            }
        }
        Ok(())
    }
}

/// Brings together what was asked, what is known and what may be found, all of them in the order of UIDs: the candidates that were asked
/// about, and what was asked that is not known.
fn place(
    documents: &Documents,
    candidates: &[Candidate],
    asked: impl Iterator<Item = Asked>,
) -> (Vec<Place>, Vec<u32>) {
    let (mut places, mut unknown) = (Vec::with_capacity(candidates.len()), Vec::new());
    let mut candidates = candidates.iter().peekable();
    let mut known = (0_u32..).zip(&documents.all).peekable();
    for (position, asked) in (0_u32..).zip(asked) {
        while known.next_if(|(_, document)| document.uid < asked.uid).is_some() {}
        let found = known.next_if(|(_, document)| document.uid == asked.uid);
        let Some((at, _)) = found.filter(|(_, found)| found.message == asked.message && found.is_complete) else {
            unknown.push(position);
            continue;
        };
        while candidates.next_if(|candidate| candidate.document < at).is_some() {}
        if let Some(candidate) = candidates.next_if(|candidate| candidate.document == at) {
            places.push((*candidate, position));
        }
    }
    (places, unknown)
}

/// Candidates for any of the texts, ascending.
fn candidates_of_all(db: &Connection, documents: &Documents, wanted: &[Wanted]) -> Result<Vec<Candidate>, StoreError> {
    let mut all: Vec<Candidate> = Vec::new();
    for (bit, wanted) in wanted.iter().enumerate() {
        let found = candidates(db, documents, &wanted.trigrams)?;
        all.extend(found.into_iter().map(|document| Candidate {
            document,
            texts: 1 << bit,
        }));
    }
    // Each text's own are in order: this only brings them together.
    all.sort_by_key(|candidate| candidate.document);
    all.dedup_by(|later, first| {
        let is_same = later.document == first.document;
        if is_same {
            first.texts |= later.texts;
        }
        is_same
    });
    Ok(all)
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

pub(super) fn facts(
    db: &Connection,
    folder: FolderKey,
    asked: impl Iterator<Item = Asked>,
) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let mut statement = db.prepare_cached("SELECT message, facts FROM fact WHERE key = ?1")?;
    let mut found = Vec::with_capacity(asked.size_hint().0);
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
