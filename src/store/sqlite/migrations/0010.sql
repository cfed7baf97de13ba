-- Version 10: the journal has no index by time. Every commit with records wrote a page of it, and few reads ask for a time.

-- Between which times the rows of a stretch were written, so that a read by time leaves out what lies elsewhere. A stretch is 256 sequences
-- in a row; its number is what they have in common. It has a row once its last sequence is given, and never changes after. A stretch without
-- a row is read whole, so a row that is missing costs time and hides nothing, and so do clocks that step.
CREATE TABLE journal_stretch (
    number   INTEGER PRIMARY KEY,           -- sequence >> 8
    earliest INTEGER NOT NULL,
    latest   INTEGER NOT NULL
);
-- One row of the journal at a time: a GROUP BY would sort all of them in memory.
INSERT INTO journal_stretch (number, earliest, latest) SELECT sequence >> 8, at, at FROM journal NOT INDEXED WHERE true
    ON CONFLICT (number) DO UPDATE SET earliest = min(earliest, excluded.earliest), latest = max(latest, excluded.latest);
DELETE FROM journal_stretch WHERE number >= (SELECT (max(sequence) + 1) >> 8 FROM journal);
DROP INDEX journal_at;
