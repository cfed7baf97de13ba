-- Version 8: what STATUS asks about deleted messages, subscriptions to names that no folder has, and annotations.

-- Messages with \Deleted and their sizes, kept beside the entries like the other figures.
ALTER TABLE folder ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE folder ADD COLUMN deleted_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE folder SET
    deleted = (SELECT count(*) FROM entry WHERE entry.folder = folder.key AND entry.flags & 8 <> 0),
    deleted_bytes = (SELECT coalesce(sum(entry.size_bytes), 0) FROM entry WHERE entry.folder = folder.key AND entry.flags & 8 <> 0);

-- Subscribed names that no folder has; one that has says so itself, in `folder.subscribed`.
CREATE TABLE subscription (
    box  INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (box, name)
) WITHOUT ROWID;

CREATE TABLE annotation (
    box    INTEGER NOT NULL,
    folder INTEGER NOT NULL,                -- 0: of the box as a whole
    person TEXT NOT NULL,                   -- whose it is; empty: shared by all who open the box
    entry  TEXT NOT NULL,                   -- in lower case, without /private or /shared
    value  BLOB NOT NULL,
    PRIMARY KEY (box, folder, person, entry)
) WITHOUT ROWID;
