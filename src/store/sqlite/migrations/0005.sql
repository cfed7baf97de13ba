-- Version 5: quotas of boxes, checksums of messages, and what a purge leaves behind.

ALTER TABLE box ADD COLUMN quota_bytes INTEGER;          -- NULL: no limit
ALTER TABLE message ADD COLUMN checksum INTEGER;         -- CRC-32 of the content; NULL in rows of earlier versions

-- What the journal rows that were purged count for: with the rows that are left they give `counter`.
CREATE TABLE carried (
    month         TEXT NOT NULL,
    direction     TEXT NOT NULL,
    establishment TEXT NOT NULL,
    entity        TEXT NOT NULL,
    box_type      TEXT NOT NULL,
    class         TEXT NOT NULL,
    messages      INTEGER NOT NULL,
    recipients    INTEGER NOT NULL,
    PRIMARY KEY (month, direction, establishment, entity, box_type, class)
) WITHOUT ROWID;

-- "At that time the next UID was this": entries below it have been in the folder since. Only for folders with an age limit.
CREATE TABLE folder_mark (
    folder   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    uid_next INTEGER NOT NULL,
    PRIMARY KEY (folder, at)
) WITHOUT ROWID;

-- Last journal sequence purged, and the time of that row.
INSERT INTO number (name, value) VALUES ('journal_purged', 0), ('journal_purged_at', 0);
