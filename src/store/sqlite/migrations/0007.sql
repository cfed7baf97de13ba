-- Version 7: when a message came into its folder (RFC 8514), and a bound on what is kept of removed ones.
ALTER TABLE entry ADD COLUMN saved INTEGER;                         -- milliseconds; NULL: at internal_date
ALTER TABLE folder ADD COLUMN tombstones INTEGER NOT NULL DEFAULT 0; -- rows of `expunged`
-- Rows of `expunged` up to this modification sequence are gone: what a client knew before is compared with what there is.
ALTER TABLE folder ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
UPDATE folder SET tombstones = (SELECT count(*) FROM expunged WHERE expunged.folder = folder.key);
