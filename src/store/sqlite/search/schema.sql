-- The search index, version 1. A message of a folder has the key folder << 32 | UID.

CREATE TABLE folder (
    key        INTEGER PRIMARY KEY,
    uid        INTEGER NOT NULL,
    modseq     INTEGER NOT NULL,
    generation INTEGER NOT NULL           -- raised by each change
);

CREATE TABLE fact (
    key     INTEGER PRIMARY KEY,
    message INTEGER NOT NULL,
    kept    INTEGER NOT NULL,             -- 1: text is complete, 0: it is not
    facts   BLOB NOT NULL
);

CREATE TABLE text (
    key  INTEGER PRIMARY KEY,
    text BLOB NOT NULL
);

CREATE TABLE segment (
    key       INTEGER PRIMARY KEY AUTOINCREMENT,
    folder    INTEGER NOT NULL,
    first     INTEGER NOT NULL,           -- UID
    last      INTEGER NOT NULL,
    gone      INTEGER NOT NULL,           -- of its documents, how many were removed since it was made
    documents BLOB NOT NULL               -- UID, message, kept of each
);
CREATE INDEX segment_folder ON segment (folder, first);

CREATE TABLE posting (
    segment   INTEGER NOT NULL,
    trigram   INTEGER NOT NULL,
    documents BLOB NOT NULL,              -- positions in the segment
    PRIMARY KEY (segment, trigram)
) WITHOUT ROWID;
