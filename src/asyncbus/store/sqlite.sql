-- The schema of a log, as numbered migrations: each is applied once, in order, in one transaction.
-- What cannot be changed later (page size 4096, no auto_vacuum) was measured: docs/decisions/0002-sqlite-file.md.

-- migration 1

CREATE TABLE events (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice, not even after deletes
    recorded_at INTEGER NOT NULL,                   -- microseconds since 1970 UTC, never decreasing
    time        INTEGER NOT NULL,                   -- when it occurred, microseconds since 1970 UTC
    type        TEXT    NOT NULL,                   -- 'page_table.page_fault'
    data        TEXT    NOT NULL,                   -- JSON; a blob where bytes were published
    checksum    INTEGER NOT NULL,                   -- CRC-32 of the content, XOR the three numbers above
    id          TEXT,
    key         TEXT,
    metadata    TEXT                                -- JSON
);

CREATE INDEX events_by_type ON events (type);
-- Partial: an event without an id or a key does not pay for them.
CREATE UNIQUE INDEX events_by_id ON events (id) WHERE id IS NOT NULL;
CREATE INDEX events_by_key ON events (key) WHERE key IS NOT NULL;

-- What was removed on purpose; any other hole is damage.
CREATE TABLE removals (
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    removed_at INTEGER NOT NULL,
    reason     TEXT    NOT NULL
);

-- One row: which log this is, and which process wrote it last.
CREATE TABLE log (
    log_id     TEXT    NOT NULL,
    writer_pid INTEGER
);
