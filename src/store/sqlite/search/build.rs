//! Segments: made from texts, merged, and made smaller when much of them is gone.

use std::iter::Peekable;

use rusqlite::{Connection, Statement};

use super::documents::{self, Document, length, row_key};
use super::posting;
use super::{MERGE_FAN, SEGMENT_DOCUMENTS_MIN, TEXT_BYTE_MAX};
use crate::store::{FolderKey, StoreError};

/// Makes segments of what is pending, if there is enough of it, and merges neighbours.
pub(super) fn settle(tx: &Connection, folder: FolderKey, more: bool) -> Result<(), StoreError> {
    let enough = if more { BULK_DOCUMENTS } else { SEGMENT_DOCUMENTS_MIN };
    let mut pending = documents::pending(tx, folder, last_of_segments(tx, folder)?)?;
    while length(&pending) >= enough {
        let made = make(tx, folder, &pending)?;
        pending.drain(..made);
    }
    while let Some(group) = mergeable(tx, folder)? {
        merge(tx, folder, &group)?;
    }
    Ok(())
}

/// Makes segments smaller of which more than half is gone.
pub(super) fn compact(tx: &Connection, folder: FolderKey) -> Result<(), StoreError> {
    for row in rows(tx, folder)? {
        if row.gone > row.documents / 2 {
            merge(tx, folder, &[row])?;
        }
    }
    Ok(())
}

fn last_of_segments(tx: &Connection, folder: FolderKey) -> Result<u32, StoreError> {
    let sql = "SELECT coalesce(max(last), 0) FROM segment WHERE folder = ?1";
    Ok(tx.prepare_cached(sql)?.query_row([folder.0], |row| row.get(0))?)
}

/// Makes a segment of the first of these documents; returns how many, at least one.
fn make(tx: &Connection, folder: FolderKey, pending: &[Document]) -> Result<usize, StoreError> {
    let mut pairs: Vec<u64> = Vec::new();
    let mut seen = Seen::new();
    let mut count = 0;
    let mut long = Vec::new();
    {
        let mut text = tx.prepare_cached("SELECT text FROM text WHERE key = ?1")?;
        for (position, document) in (0_u64..).zip(pending) {
            if pairs.len() > PAIRS_MAX {
                break;
            }
            let key = row_key(folder, document.uid);
            let mut rows = text.query([key])?;
            if let Some(row) = rows.next()? {
                let text = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                seen.trigrams(text, |trigram| pairs.push(u64::from(trigram) << 32 | position));
                if text.len() > TEXT_BYTES_KEPT_MAX {
                    long.push(key);
                }
            }
            count += 1;
        }
    }
    pairs.sort_unstable();
    let key = insert(tx, folder, &pending[..count])?;
    let total = length(&pending[..count]);
    let mut write = tx.prepare_cached(INSERT_POSTING)?;
    for group in pairs.chunk_by(|a, b| a >> 32 == b >> 32) {
        let positions: Vec<u32> = group.iter().map(|pair| low(*pair)).collect();
        write.execute((key, low(group[0] >> 32), posting::encode(&positions, total)))?;
    }
    // From here on its postings say whether a long text is a candidate, and the message itself is read to verify that.
    for key in long {
        tx.prepare_cached("DELETE FROM text WHERE key = ?1")?.execute([key])?;
    }
    Ok(count)
}

fn low(pair: u64) -> u32 {
    u32::try_from(pair & u64::from(u32::MAX)).unwrap_or_default()
}

fn insert(tx: &Connection, folder: FolderKey, documents: &[Document]) -> Result<i64, StoreError> {
    let uid = |document: Option<&Document>| document.map_or(0, |document| document.uid);
    let sql = "INSERT INTO segment (folder, first, last, gone, documents) VALUES (?1, ?2, ?3, 0, ?4)";
    tx.prepare_cached(sql)?.execute((
        folder.0,
        uid(documents.first()),
        uid(documents.last()),
        documents::encode(documents),
    ))?;
    Ok(tx.last_insert_rowid())
}

/// The row of a segment, its documents aside.
#[derive(Clone, Copy, Debug)]
struct Row {
    key: i64,
    documents: u32,
    gone: u32,
}

impl Row {
    /// 0 for the smallest: each step is [`MERGE_FAN`] times as large.
    fn tier(&self) -> u32 {
        let fan = u32::try_from(MERGE_FAN).unwrap_or(2);
        (self.documents / SEGMENT_DOCUMENTS_MIN).max(1).ilog(fan)
    }
}

fn rows(tx: &Connection, folder: FolderKey) -> Result<Vec<Row>, StoreError> {
    let sql = "SELECT key, length(documents) / 13, gone FROM segment WHERE folder = ?1 ORDER BY first";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([folder.0], |row| {
        Ok(Row {
            key: row.get(0)?,
            documents: row.get(1)?,
            gone: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Neighbours of one size, enough of them to be merged.
fn mergeable(tx: &Connection, folder: FolderKey) -> Result<Option<Vec<Row>>, StoreError> {
    let rows = rows(tx, folder)?;
    let group = rows
        .chunk_by(|a, b| a.tier() == b.tier())
        .find(|group| group.len() >= MERGE_FAN && group[0].tier() < TIER_MAX);
    Ok(group.map(|group| group[..MERGE_FAN].to_vec()))
}

/// Makes one segment of neighbours, without what is gone.
fn merge(tx: &Connection, folder: FolderKey, group: &[Row]) -> Result<(), StoreError> {
    let mut kept = Vec::new();
    let mut sources = Vec::with_capacity(group.len());
    for row in group {
        let bytes: Vec<u8> = tx
            .prepare_cached("SELECT documents FROM segment WHERE key = ?1")?
            .query_row([row.key], |row| row.get(0))?;
        let mut places = Vec::with_capacity(row.documents as usize);
        for document in documents::decode(&bytes) {
            let is_there = tx
                .prepare_cached("SELECT 1 FROM fact WHERE key = ?1")?
                .exists([row_key(folder, document.uid)])?;
            places.push(is_there.then_some(length(&kept)));
            if is_there {
                kept.push(document);
            }
        }
        sources.push((row.key, places));
    }
    if !kept.is_empty() {
        let key = insert(tx, folder, &kept)?;
        merge_postings(tx, &sources, (key, length(&kept)))?;
    }
    for row in group {
        tx.prepare_cached("DELETE FROM posting WHERE segment = ?1")?
            .execute([row.key])?;
        tx.prepare_cached("DELETE FROM segment WHERE key = ?1")?
            .execute([row.key])?;
    }
    Ok(())
}

/// A segment's key, and the new place of each of its documents.
type Source = (i64, Vec<Option<u32>>);

/// Both sides are in the order of trigrams, so nothing is held but one posting of each source.
fn merge_postings(tx: &Connection, sources: &[Source], (key, count): (i64, u32)) -> Result<(), StoreError> {
    let sql = "SELECT trigram, documents FROM posting WHERE segment = ?1 ORDER BY trigram";
    let mut statements: Vec<Statement<'_>> = sources.iter().map(|_| tx.prepare(sql)).collect::<Result<_, _>>()?;
    let mut streams = Vec::with_capacity(sources.len());
    for (statement, (segment, places)) in statements.iter_mut().zip(sources) {
        let rows = statement.query_map([segment], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        streams.push((rows.peekable(), places));
    }
    let mut write = tx.prepare_cached(INSERT_POSTING)?;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    while let Some(trigram) = least(streams.iter_mut().map(|(rows, _)| rows)) {
        new.clear();
        for (rows, places) in &mut streams {
            let is_it = |row: &Result<(u32, Vec<u8>), _>| row.as_ref().is_ok_and(|(found, _)| *found == trigram);
            let Some(row) = rows.next_if(is_it) else { continue };
            posting::decode(&row?.1, length(places), &mut old);
            new.extend(old.iter().filter_map(|&position| places[position as usize]));
        }
        if !new.is_empty() {
            write.execute((key, trigram, posting::encode(&new, count)))?;
        }
    }
    for (mut rows, _) in streams {
        // What could not be read stopped its stream.
        if let Some(row) = rows.next() {
            row?;
        }
    }
    Ok(())
}

/// The least trigram that comes next in any stream.
fn least<'a, I>(streams: impl Iterator<Item = &'a mut Peekable<I>>) -> Option<u32>
where
    I: Iterator<Item = Result<(u32, Vec<u8>), rusqlite::Error>> + 'a,
{
    streams
        .filter_map(|rows| {
            rows.peek()
                .and_then(|row| row.as_ref().ok())
                .map(|(trigram, _)| *trigram)
        })
        .min()
}

/// Which trigrams a text had before: each is told once.
pub(super) struct Seen {
    bits: Vec<u64>,
    set: Vec<u32>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            bits: vec![0; 1 << 18],
            set: Vec::new(),
        }
    }

    pub(super) fn trigrams(&mut self, text: &[u8], mut tell: impl FnMut(u32)) {
        for window in text.windows(3) {
            if window.iter().any(|&b| b > TEXT_BYTE_MAX) {
                continue;
            }
            let trigram = u32::from_be_bytes([0, window[0], window[1], window[2]]);
            let (word, bit) = ((trigram >> 6) as usize, 1_u64 << (trigram & 63));
            if self.bits[word] & bit == 0 {
                self.bits[word] |= bit;
                self.set.push(trigram);
                tell(trigram);
            }
        }
        for trigram in self.set.drain(..) {
            self.bits[(trigram >> 6) as usize] = 0;
        }
    }
}

const INSERT_POSTING: &str = "INSERT INTO posting (segment, trigram, documents) VALUES (?1, ?2, ?3)";
/// As many are made at once while there is more to come.
const BULK_DOCUMENTS: u32 = 2048;
/// 16 MB of memory while a segment is made.
const PAIRS_MAX: usize = 2_000_000;
/// Segments of 65,536 documents and more are not merged.
const TIER_MAX: u32 = 3;
/// Longer texts are not kept once their segment is made.
const TEXT_BYTES_KEPT_MAX: usize = 16 * 1024;
