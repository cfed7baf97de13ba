//! Checks that are one statement each: rows against rows.

use rusqlite::{Connection, Row};

use super::{Check, Key, Problem};
use crate::identity::Address;
use crate::store::StoreError;

/// A statement that finds rows which should not be: place, what, and the keys of the repair.
#[derive(Clone, Copy)]
pub(super) struct RowCheck {
    pub(super) check: Check,
    sql: &'static str,
}

/// Runs one check.
pub(super) fn run(db: &Connection, check: RowCheck) -> Result<Vec<Problem>, StoreError> {
    let mut statement = db.prepare(check.sql)?;
    let rows = statement.query_map([], |row| problem(check.check, row))?;
    Ok(rows.take(super::PROBLEMS_MAX + 1).collect::<Result<_, _>>()?)
}

fn problem(check: Check, row: &Row<'_>) -> Result<Problem, rusqlite::Error> {
    Ok(Problem {
        check,
        place: row.get(0)?,
        what: row.get(1)?,
        key: Key::Row(row.get(2)?, row.get(3)?),
    })
}

/// What SQLite says of the database itself.
pub(super) fn integrity(db: &Connection) -> Result<Vec<Problem>, StoreError> {
    let mut statement = db.prepare("PRAGMA integrity_check(100)")?;
    let lines = statement
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<Result<Vec<_>, _>>()?;
    let problem = |what: String| {
        let is_index = INDEX_WORDS.iter().any(|word| what.contains(word));
        Problem {
            check: if is_index {
                Check::DatabaseIndex
            } else {
                Check::DatabaseDamaged
            },
            place: "database".to_owned(),
            what,
            key: Key::None,
        }
    };
    Ok(lines.into_iter().filter(|line| line != "ok").map(problem).collect())
}

/// Queued recipients whose addresses are none.
pub(super) fn queue_unreadable(db: &Connection) -> Result<Vec<Problem>, StoreError> {
    let mut statement = db.prepare("SELECT key, sender, recipient, held FROM queue")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        let readable = |column| match row.get::<_, Option<String>>(column) {
            Ok(text) => text.is_none_or(|text| text.parse::<Address>().is_ok()),
            Err(_) => false,
        };
        if !readable(1) || !readable(2) {
            found.push(Problem {
                check: Check::QueueUnreadable,
                place: format!("queue item {key}"),
                what: "its sender or recipient is no address".to_owned(),
                key: Key::Row(key, 0),
            });
        }
    }
    Ok(found)
}

/// How SQLite words a difference between an index and its table.
const INDEX_WORDS: [&str; 3] = [
    "missing from index",
    "wrong # of entries in index",
    "non-unique entry in index",
];

/// Every check of this kind.
pub(super) const CHECKS: [RowCheck; 18] = [
    RowCheck {
        check: Check::EntryWithoutFolder,
        sql: "SELECT 'folder ' || e.folder || ', UID ' || e.uid, 'the folder is not there', e.folder, e.uid \
              FROM entry e LEFT JOIN folder f ON f.key = e.folder WHERE f.key IS NULL",
    },
    RowCheck {
        check: Check::EntryWithoutMessage,
        sql: "SELECT 'folder ' || e.folder || ', UID ' || e.uid, 'message ' || e.message || ' is not there', e.message, 0 \
              FROM entry e LEFT JOIN message m ON m.key = e.message WHERE m.key IS NULL GROUP BY e.message",
    },
    RowCheck {
        check: Check::EntrySize,
        sql: "SELECT 'folder ' || e.folder || ', UID ' || e.uid, \
              'it says ' || e.size_bytes || ' bytes, message ' || m.key || ' has ' || (m.size_bytes + length(m.lead)), e.folder, e.uid \
              FROM entry e JOIN message m ON m.key = e.message WHERE e.size_bytes <> m.size_bytes + length(m.lead)",
    },
    RowCheck {
        check: Check::EntryUid,
        sql: "SELECT 'folder ' || f.key, 'UID ' || max(e.uid) || ' is not below UIDNEXT ' || f.uid_next, f.key, 0 \
              FROM folder f JOIN entry e ON e.folder = f.key GROUP BY f.key HAVING max(e.uid) >= f.uid_next OR min(e.uid) < 1",
    },
    RowCheck {
        check: Check::EntryModseq,
        sql: "SELECT 'folder ' || f.key, 'modification sequence ' || max(e.modseq) || ' is above HIGHESTMODSEQ ' || f.modseq, f.key, 0 \
              FROM folder f JOIN (SELECT folder, modseq FROM entry UNION ALL SELECT folder, modseq FROM expunged) e \
              ON e.folder = f.key GROUP BY f.key HAVING max(e.modseq) > f.modseq",
    },
    RowCheck {
        check: Check::FolderFigures,
        sql: "SELECT 'folder ' || f.key, 'it says ' || f.messages || ' messages, ' || f.unseen || ' unseen, ' || f.size_bytes || \
              ' bytes, ' || f.deleted || ' and ' || f.deleted_bytes || ' bytes deleted; its entries make ' || count(e.uid) || ', ' || \
              total(e.flags & 1 = 0) || ', ' || total(e.size_bytes) || ', ' || total(e.flags & 8 <> 0) || ', ' || \
              total((e.flags & 8 <> 0) * e.size_bytes), f.key, 0 \
              FROM folder f LEFT JOIN entry e ON e.folder = f.key GROUP BY f.key \
              HAVING f.messages <> count(e.uid) OR f.unseen <> total(e.flags & 1 = 0) OR f.size_bytes <> total(e.size_bytes) \
              OR f.deleted <> total(e.flags & 8 <> 0) OR f.deleted_bytes <> total((e.flags & 8 <> 0) * e.size_bytes)",
    },
    RowCheck {
        check: Check::FolderWithoutBox,
        sql: "SELECT 'folder ' || f.key, 'box ' || f.box || ' is not there', f.key, 0 \
              FROM folder f LEFT JOIN box b ON b.key = f.box WHERE b.key IS NULL",
    },
    RowCheck {
        check: Check::UidValidity,
        sql: "SELECT 'folder ' || key, 'UIDVALIDITY ' || uid_validity || ' was never given', key, uid_validity FROM folder \
              WHERE uid_validity < 1 OR uid_validity > (SELECT value FROM number WHERE name = 'uid_validity')",
    },
    RowCheck {
        check: Check::MessageRefs,
        sql: "SELECT 'message ' || m.key, 'it counts ' || m.refs || ' references, there are ' || r.n, m.key, 0 \
              FROM message m JOIN (SELECT message, count(*) AS n FROM (SELECT message FROM entry UNION ALL SELECT message FROM queue) \
              GROUP BY message) r ON r.message = m.key WHERE m.refs <> r.n",
    },
    RowCheck {
        check: Check::MessageUnused,
        sql: "SELECT 'message ' || m.key, 'nothing refers to it', m.key, 0 FROM message m \
              WHERE m.key NOT IN (SELECT message FROM entry UNION ALL SELECT message FROM queue)",
    },
    RowCheck {
        check: Check::BodyMissing,
        sql: "SELECT 'message ' || m.key, 'it has neither a body in the database nor a file', m.key, 0 \
              FROM message m LEFT JOIN body b ON b.message = m.key WHERE m.file IS NULL AND b.message IS NULL",
    },
    RowCheck {
        check: Check::BodyOrphan,
        sql: "SELECT 'body ' || b.message, length(b.bytes) || ' bytes of no message', b.message, 0 \
              FROM body b LEFT JOIN message m ON m.key = b.message WHERE m.key IS NULL",
    },
    RowCheck {
        check: Check::SummaryOrphan,
        sql: "SELECT 'summary ' || s.message, 'of no message', s.message, 0 \
              FROM summary s LEFT JOIN message m ON m.key = s.message WHERE m.key IS NULL",
    },
    RowCheck {
        check: Check::QueueWithoutMessage,
        sql: "SELECT 'queue item ' || q.key, 'message ' || q.message || ' is not there', q.key, 0 \
              FROM queue q LEFT JOIN message m ON m.key = q.message WHERE m.key IS NULL",
    },
    RowCheck {
        check: Check::QueueLease,
        sql: "SELECT 'queue item ' || key, 'lease ' || lease || ' until ' || leased_until || ' was never given', key, lease FROM queue \
              WHERE (lease = 0) <> (leased_until = 0) OR lease > (SELECT value FROM number WHERE name = 'lease')",
    },
    RowCheck {
        check: Check::JournalUnreadable,
        sql: "SELECT 'journal row ' || sequence, 'its detail is no JSON object', sequence, 0 FROM journal \
              WHERE typeof(at) <> 'integer' OR NOT json_valid(detail)",
    },
    RowCheck {
        check: Check::JournalSequence,
        sql: "SELECT 'journal row ' || sequence, 'rows up to ' || n.value || ' were purged', sequence, 0 \
              FROM journal JOIN number n ON n.name = 'journal_purged' WHERE sequence <= n.value",
    },
    RowCheck {
        check: Check::JournalTimes,
        sql: "SELECT 'journal rows ' || (s.number << 8) || ' to ' || ((s.number << 8) | 255), \
              coalesce('they were written from ' || min(j.at) || ' to ' || max(j.at), 'they are not written') \
              || ', kept is ' || s.earliest || ' to ' || s.latest, s.number, 0 \
              FROM journal_stretch s LEFT JOIN journal j ON j.sequence BETWEEN s.number << 8 AND (s.number << 8) | 255 GROUP BY s.number \
              HAVING min(j.at) < s.earliest OR max(j.at) > s.latest \
              OR s.number >= coalesce((SELECT (seq + 1) >> 8 FROM sqlite_sequence WHERE name = 'journal'), 0)",
    },
];
