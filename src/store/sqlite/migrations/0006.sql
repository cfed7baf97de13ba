-- Version 6: an index holds changed entries only. Delivery then writes one index page less in a store with many large boxes; in a small one the
-- page was in the group anyway.
-- `born` is the modification sequence with which an entry was made; 0: made before this version. Entries that were never changed since are found
-- by it, because it grows with the UID; only changed entries need an index.
ALTER TABLE entry ADD COLUMN born INTEGER NOT NULL DEFAULT 0;
DROP INDEX entry_modseq;
CREATE INDEX entry_changed ON entry (folder, modseq) WHERE modseq <> born;
