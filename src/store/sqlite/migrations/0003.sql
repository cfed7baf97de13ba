-- Version 3: items that are held or were given up by somebody, and destinations that cannot be reached.

ALTER TABLE queue ADD COLUMN held INTEGER NOT NULL DEFAULT 0;   -- 1: not tried until it is released
ALTER TABLE queue ADD COLUMN held_by TEXT;                      -- who held it; only while it is held
ALTER TABLE queue ADD COLUMN held_at INTEGER;
ALTER TABLE queue ADD COLUMN verdict TEXT;                      -- settled with this reply instead of an attempt

-- A row only while the domain's hosts cannot be reached.
CREATE TABLE destination (
    domain       TEXT PRIMARY KEY,          -- lower case
    failures     INTEGER NOT NULL,          -- visits in a row that reached no host
    since        INTEGER NOT NULL,          -- the first of them
    closed_until INTEGER NOT NULL,          -- no connection before
    last_reply   TEXT NOT NULL              -- what the last one ended with
) WITHOUT ROWID;

-- Items that may be leased, destination by destination: the cost of a look is the number of destinations, not of items.
DROP INDEX queue_due;
CREATE INDEX queue_ready ON queue (domain, due) WHERE lease = 0 AND held = 0;
CREATE INDEX queue_expires ON queue (domain, expires) WHERE lease = 0 AND held = 0;
CREATE INDEX queue_held ON queue (key) WHERE held <> 0;
CREATE INDEX queue_verdict ON queue (key) WHERE verdict IS NOT NULL;
CREATE INDEX queue_session ON queue (session);
