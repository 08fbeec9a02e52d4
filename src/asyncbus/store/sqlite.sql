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

-- migration 2

-- Durable consumers: what each has done, and what it still owes.
CREATE TABLE consumers (
    name         TEXT    PRIMARY KEY NOT NULL,
    pattern      TEXT    NOT NULL,                  -- 'optimization.*, page_table.page_fault'
    epoch        INTEGER NOT NULL,                  -- how often the name was taken
    checkpoint   INTEGER NOT NULL,                  -- nothing at or below this sequence is owed
    settled_to   INTEGER NOT NULL,                  -- from there up to here all is done, but for what is owed
    begun_to     INTEGER NOT NULL,                  -- from there up to here each may have been handed out once
    owed         TEXT    NOT NULL,                  -- JSON: {"sequence": [attempts, due in microseconds since 1970]}
    alone        INTEGER NOT NULL,                  -- the sequence that was handed out alone; 0: none
    paused       INTEGER NOT NULL,                  -- 1: it hands out nothing
    sought       INTEGER NOT NULL,                  -- 1: it was moved since it was last active
    created_at   INTEGER NOT NULL,                  -- microseconds since 1970 UTC
    active_since INTEGER NOT NULL,                  -- the same; 0 after a clean end
    redelivered  INTEGER NOT NULL,                  -- deliveries that were not an event's first
    last_error   TEXT                               -- of the last attempt that failed
);

-- Events that a consumer could not handle. They are here themselves, for the log may lose them.
CREATE TABLE dead_letters (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice
    consumer    TEXT    NOT NULL,                   -- by which it was parked
    sequence    INTEGER NOT NULL,                   -- from here to metadata as in the table events
    recorded_at INTEGER NOT NULL,
    time        INTEGER NOT NULL,
    type        TEXT    NOT NULL,
    data        TEXT    NOT NULL,
    checksum    INTEGER NOT NULL,
    id          TEXT,
    key         TEXT,
    metadata    TEXT,
    attempts    INTEGER NOT NULL,                   -- how often the handler has had it
    failures    TEXT    NOT NULL,                   -- JSON: [{"attempt", "error", "traceback", "at"}], the oldest first
    parked_at   INTEGER NOT NULL,                   -- microseconds since 1970 UTC
    UNIQUE (consumer, sequence)
);

-- In the order of their numbers, which is the order of pages.
CREATE INDEX dead_letters_by_consumer ON dead_letters (consumer);

-- migration 3

-- Events with a shape, and what led to what. Columns that no event fills cost it nothing, nor do partial indexes.
ALTER TABLE events ADD COLUMN version        INTEGER;  -- of the shape of its data, from 1 on
ALTER TABLE events ADD COLUMN causation_id   INTEGER;  -- the sequence of the event that led to it
ALTER TABLE events ADD COLUMN correlation_id TEXT;     -- what all events of one flow share

CREATE INDEX events_by_causation ON events (causation_id) WHERE causation_id IS NOT NULL;

ALTER TABLE dead_letters ADD COLUMN version        INTEGER;
ALTER TABLE dead_letters ADD COLUMN causation_id   INTEGER;
ALTER TABLE dead_letters ADD COLUMN correlation_id TEXT;
