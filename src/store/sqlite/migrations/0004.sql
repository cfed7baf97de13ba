-- Version 4: senders are told once that their mail is late.

ALTER TABLE queue ADD COLUMN delay_told INTEGER;   -- when, in milliseconds; NULL: not told
