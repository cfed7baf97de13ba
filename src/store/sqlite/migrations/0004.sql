-- Version 4: senders are told once that their mail is late.

ALTER TABLE queue ADD COLUMN delay_told INTEGER;   -- when, in milliseconds; NULL: not told

-- Whose senders are still to be told, in destinations that are not visited for now.
CREATE INDEX queue_late ON queue (domain, created) WHERE lease = 0 AND held = 0 AND delay_told IS NULL;
