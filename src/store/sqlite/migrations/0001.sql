-- Version 1 of the data format. Times are milliseconds since 1970 in UTC; addresses are kept as written.
-- Foreign keys are not declared: the writer keeps references in the transaction that makes or ends them, and `message.refs` counts them.

-- Numbers that only grow: `run` (one per start, names body files), `uid_validity`, `lease` (the last one given).
CREATE TABLE number (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE message (
    key         INTEGER PRIMARY KEY AUTOINCREMENT,
    size_bytes  INTEGER NOT NULL,           -- of the content, without the lead
    lead        BLOB NOT NULL,
    file        TEXT,                       -- under bodies/; NULL when the content is in `body`
    file_offset INTEGER NOT NULL,           -- where the content starts in the file
    refs        INTEGER NOT NULL            -- rows of `entry` and `queue` that name this message
);

CREATE UNIQUE INDEX message_file ON message (file) WHERE file IS NOT NULL;

-- Small contents, apart from `message` so that a change of `refs` does not rewrite them.
CREATE TABLE body (
    message INTEGER PRIMARY KEY,
    bytes   BLOB NOT NULL
);

CREATE TABLE summary (
    message        INTEGER PRIMARY KEY,
    header_bytes   INTEGER NOT NULL,
    envelope       BLOB NOT NULL,
    body           BLOB NOT NULL,
    body_structure BLOB NOT NULL
);

CREATE TABLE box (
    key     INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL,                  -- as written
    folded  TEXT NOT NULL UNIQUE            -- what addresses compare by
);

CREATE TABLE folder (
    key          INTEGER PRIMARY KEY AUTOINCREMENT,
    box          INTEGER NOT NULL,
    name         TEXT NOT NULL,
    special_use  TEXT,
    subscribed   INTEGER NOT NULL,
    uid_validity INTEGER NOT NULL,
    uid_next     INTEGER NOT NULL,
    modseq       INTEGER NOT NULL,
    recent_from  INTEGER NOT NULL,          -- entries from this UID on are recent
    -- Figures kept beside the entries, in the same transactions.
    messages     INTEGER NOT NULL,
    unseen       INTEGER NOT NULL,
    size_bytes   INTEGER NOT NULL,
    UNIQUE (box, name)
);

CREATE TABLE entry (
    folder        INTEGER NOT NULL,
    uid           INTEGER NOT NULL,
    message       INTEGER NOT NULL,
    flags         INTEGER NOT NULL,
    keywords      TEXT NOT NULL,            -- separated by spaces
    internal_date INTEGER NOT NULL,
    size_bytes    INTEGER NOT NULL,
    modseq        INTEGER NOT NULL,
    PRIMARY KEY (folder, uid)
) WITHOUT ROWID;
CREATE INDEX entry_modseq ON entry (folder, modseq);

CREATE TABLE expunged (
    folder INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    uid    INTEGER NOT NULL,
    PRIMARY KEY (folder, modseq, uid)
) WITHOUT ROWID;

CREATE TABLE queue (
    key          INTEGER PRIMARY KEY AUTOINCREMENT,
    message      INTEGER NOT NULL,
    sender       TEXT,
    recipient    TEXT NOT NULL,
    domain       TEXT NOT NULL,             -- of the recipient, lower case
    created      INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    last_reply   TEXT,
    parameters   TEXT NOT NULL,
    session      TEXT NOT NULL,
    lease        INTEGER NOT NULL,          -- 0: not leased
    leased_until INTEGER NOT NULL
);
CREATE INDEX queue_due ON queue (due);
CREATE INDEX queue_message ON queue (message, domain);
CREATE INDEX queue_leased ON queue (leased_until) WHERE lease <> 0;

CREATE TABLE journal (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    event    TEXT NOT NULL,
    session  TEXT NOT NULL,
    reason   TEXT NOT NULL,
    detail   TEXT NOT NULL
);
CREATE INDEX journal_at ON journal (at);
CREATE INDEX journal_session ON journal (session) WHERE session <> '';

CREATE TABLE counter (
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
