-- Where the parts of a message lie in its bytes, and its first words (RFC 8970) once they were asked for.

ALTER TABLE summary ADD COLUMN layout BLOB NOT NULL DEFAULT x'';   -- empty: unknown
ALTER TABLE summary ADD COLUMN preview TEXT;                       -- NULL: not asked for yet
