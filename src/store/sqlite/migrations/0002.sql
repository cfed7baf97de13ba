-- Version 2: deliveries that a peer may repeat after a crash or a lost reply.

CREATE TABLE delivered_once (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    key      BLOB NOT NULL UNIQUE,          -- 32 bytes
    until    INTEGER NOT NULL               -- forgotten after
);
