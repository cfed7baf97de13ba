//! Bodies, wherever they are: present, whole, unchanged, and what IMAP is told of them.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::super::accept;
use super::super::stage::blocking;
use super::{Check, Depth, Key, Knowledge, Problem, Report};
use crate::store::blobs::{BlobName, Blobs};
use crate::store::sqlite::SqliteStore;
use crate::store::{MessageKey, StoreError, Summary};

/// What is stored of a message beside its bytes.
struct Stored {
    key: i64,
    size_bytes: i64,
    file: Option<String>,
    file_offset: i64,
    inline_bytes: Option<i64>,
    /// Whether a folder shows it, as its references tell.
    is_shown: bool,
    summary: Option<Summary>,
}

impl SqliteStore {
    /// Bodies and summaries, a page of messages in each transaction.
    pub(super) async fn verify_bodies(
        &self,
        depth: Depth,
        knowledge: Knowledge,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let (mut after, mut step) = (0, 1);
        loop {
            let blobs = Arc::clone(&self.blobs);
            let page = self
                .readers
                .run(move |db| look(db, &blobs, after, (depth, knowledge)))
                .await;
            let page = match page {
                Ok(page) => page,
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    // A damaged page of the table: go past it, in growing steps.
                    report.unreadable(&format!("messages after {after}"), &error);
                    after += step;
                    step *= 2;
                    if step > STEP_MAX {
                        return Ok(());
                    }
                    continue;
                }
            };
            let page = self.settled(page).await?;
            report.messages += page.messages;
            report.bytes += page.bytes;
            page.problems.into_iter().for_each(|problem| report.add(problem));
            match page.last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Leaves out what was found of messages that have gone since, with their files.
    async fn settled(&self, mut page: Page) -> Result<Page, StoreError> {
        if page.problems.is_empty() {
            return Ok(page);
        }
        let problems = std::mem::take(&mut page.problems);
        page.problems = self
            .readers
            .run(move |db| {
                let mut left = Vec::new();
                for problem in problems {
                    let Key::Row(message, _) = problem.key else { continue };
                    if exists(db, message)? {
                        left.push(problem);
                    }
                }
                Ok(left)
            })
            .await?;
        Ok(page)
    }

    /// Files that no message names. Those of the run that holds the folder may be about to get a row.
    pub(super) async fn verify_files(&self, report: &mut Report) -> Result<(), StoreError> {
        let blobs = Arc::clone(&self.blobs);
        let held = self.blobs.run();
        let files = match blocking(move || blobs.list()).await {
            Ok(files) => files,
            Err(error) => {
                report.unreadable("bodies", &error);
                return Ok(());
            }
        };
        report.files += u64::try_from(files.len()).unwrap_or(u64::MAX);
        let (named, run) = match self.readers.run(names).await {
            Ok(found) => found,
            Err(error) => {
                report.unreadable("names of body files", &error);
                return Ok(());
            }
        };
        // Read-only, the run in the database is that of whoever holds the folder now, or held it last.
        let current = if held == 0 { run } else { held };
        for (path, name) in files {
            let is_new = name.is_some_and(|name| name.run >= current);
            let is_named = name.is_some_and(|name| named.contains(&name));
            if !is_new && !is_named {
                report.add(Problem {
                    check: Check::FileOrphan,
                    place: format!("bodies/{}", path.display()),
                    what: "no message names this file".to_owned(),
                    key: Key::File(path),
                });
            }
        }
        Ok(())
    }
}

/// Body files that messages name, and the number of the last run.
fn names(db: &Connection) -> Result<(HashSet<BlobName>, u64), StoreError> {
    let mut statement = db.prepare("SELECT file FROM message WHERE file IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut named = HashSet::new();
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_str().unwrap_or_default();
        named.extend(text.parse::<BlobName>());
    }
    let run: i64 = db.query_row("SELECT value FROM number WHERE name = 'run'", [], |row| row.get(0))?;
    Ok((named, run.cast_unsigned()))
}

#[derive(Default)]
struct Page {
    messages: u64,
    bytes: u64,
    problems: Vec<Problem>,
    /// The last message looked at; `None` at the end.
    last: Option<i64>,
}

fn look(
    db: &Connection,
    blobs: &Blobs,
    after: i64,
    (depth, knowledge): (Depth, Knowledge),
) -> Result<Page, StoreError> {
    let sql = "SELECT m.key, m.size_bytes, m.file, m.file_offset, length(b.bytes), \
               m.refs > (SELECT count(*) FROM queue q WHERE q.message = m.key), \
               s.header_bytes, s.envelope, s.body, s.body_structure, s.layout \
               FROM message m LEFT JOIN body b ON b.message = m.key LEFT JOIN summary s ON s.message = m.key \
               WHERE m.key > ?1 ORDER BY m.key LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let stored = statement
        .query_map((after, PAGE_MESSAGES), stored)?
        .collect::<Result<Vec<_>, _>>()?;
    let mut page = Page {
        last: stored.last().map(|message| message.key),
        ..Page::default()
    };
    let mut read_bytes = 0;
    for message in stored {
        page.messages += 1;
        if message.file.is_none() && message.inline_bytes.is_none() {
            continue; // a check of its own says so
        }
        if let Some(problem) = body(blobs, &message) {
            page.problems.push(problem);
            continue;
        }
        if depth == Depth::Bytes {
            read_bytes += message.size_bytes;
            page.problems.extend(content(db, blobs, &message, knowledge)?);
            if read_bytes > PAGE_BYTES {
                // Enough for one transaction: the log cannot start over while it lasts.
                page.last = Some(message.key);
                break;
            }
        } else if message.is_shown && message.summary.is_none() {
            page.problems
                .push(problem(&message, Check::SummaryMissing, "IMAP cannot show it"));
        }
    }
    page.bytes = read_bytes.cast_unsigned();
    Ok(page)
}

fn stored(row: &Row<'_>) -> Result<Stored, rusqlite::Error> {
    let header_bytes: Option<u32> = row.get(6)?;
    let summary = match header_bytes {
        Some(header_bytes) => Some(Summary {
            header_bytes,
            envelope: row.get(7)?,
            body: row.get(8)?,
            body_structure: row.get(9)?,
            layout: row.get(10)?,
        }),
        None => None,
    };
    Ok(Stored {
        key: row.get(0)?,
        size_bytes: row.get(1)?,
        file: row.get(2)?,
        file_offset: row.get(3)?,
        inline_bytes: row.get(4)?,
        is_shown: row.get(5)?,
        summary,
    })
}

/// Whether the body is there and as long as it should be.
fn body(blobs: &Blobs, message: &Stored) -> Option<Problem> {
    match (&message.file, message.inline_bytes) {
        (None, None) => None,
        (None, Some(length)) => (length != message.size_bytes).then(|| {
            let what = format!("it has {length} bytes, {} were stored", message.size_bytes);
            problem(message, Check::BodySize, &what)
        }),
        (Some(file), _) => {
            let length = file.parse::<BlobName>().and_then(|name| blobs.length(name));
            let wanted = message.file_offset.saturating_add(message.size_bytes);
            match length {
                Ok(length) if i64::try_from(length) == Ok(wanted) => None,
                Ok(length) => {
                    let what = format!("body file {file} has {length} bytes, {wanted} were written");
                    Some(problem(message, Check::BodySize, &what))
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let what = format!("body file {file} is missing");
                    Some(problem(message, Check::BodyMissing, &what))
                }
                Err(error) => Some(problem(
                    message,
                    Check::BodyMissing,
                    &format!("body file {file}: {error}"),
                )),
            }
        }
    }
}

/// Reads the bytes, compares their checksum, and computes again what IMAP is told of them.
fn content(
    db: &Connection,
    blobs: &Blobs,
    message: &Stored,
    knowledge: Knowledge,
) -> Result<Option<Problem>, StoreError> {
    let bytes = match accept::bytes(db, blobs, MessageKey(message.key), true) {
        Ok(bytes) => bytes,
        Err(StoreError::Damaged { what }) => {
            // A file goes with its message, and the message may have gone since this transaction began.
            return Ok(Some(problem(message, Check::BodyChanged, &what)));
        }
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(summary) = &message.summary else {
        let missing = || problem(message, Check::SummaryMissing, "IMAP cannot show it");
        return Ok(message.is_shown.then(missing));
    };
    let again = (knowledge.summarise)(&bytes);
    let differs = || {
        let what = "envelope, structure or header length is not what the message says";
        problem(message, Check::SummaryDiffers, what)
    };
    Ok((again != *summary).then(differs))
}

fn problem(message: &Stored, check: Check, what: &str) -> Problem {
    Problem {
        check,
        place: format!("message {}", message.key),
        what: what.to_owned(),
        key: Key::Row(message.key, 0),
    }
}

/// Whether the message is still there: what was found of one that has gone since is no problem.
pub(super) fn exists(db: &Connection, message: i64) -> Result<bool, StoreError> {
    let found = db
        .prepare_cached("SELECT 1 FROM message WHERE key = ?1")?
        .query_row([message], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

const PAGE_MESSAGES: i64 = 200;
/// Message keys that are tried over a hole.
const STEP_MAX: i64 = 1 << 24;
/// Of bodies read in one transaction.
const PAGE_BYTES: i64 = 32 * 1024 * 1024;
