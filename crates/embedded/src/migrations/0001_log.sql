-- What the folder is, and the event log.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE topics (
    topic_id     INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    partitions   INTEGER NOT NULL CHECK (partitions > 0),
    retention_ms INTEGER,                       -- NULL keeps for ever
    compacted    INTEGER NOT NULL
) STRICT;

-- part_id is what records are keyed by, so that one partition's records lie side by side.
CREATE TABLE partitions (
    part_id      INTEGER PRIMARY KEY,
    topic_id     INTEGER NOT NULL REFERENCES topics,
    partition    INTEGER NOT NULL,
    low          INTEGER NOT NULL DEFAULT 0,    -- first offset kept
    next_offset  INTEGER NOT NULL DEFAULT 0,    -- end: the next record's offset
    max_ts_ms    INTEGER NOT NULL DEFAULT 0,    -- the latest record time so far
    UNIQUE (topic_id, partition)
) STRICT;

CREATE TABLE records (
    part_id  INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    ts_ms    INTEGER NOT NULL,
    key      BLOB,
    value    BLOB,                              -- NULL is a tombstone
    headers  BLOB,                              -- see log/headers.rs; NULL is none
    PRIMARY KEY (part_id, "offset")
) STRICT, WITHOUT ROWID;

-- Every record before "offset" is from max_ts_ms or earlier; one entry in 1024 records.
CREATE TABLE time_index (
    part_id   INTEGER NOT NULL,
    "offset"  INTEGER NOT NULL,
    max_ts_ms INTEGER NOT NULL,
    PRIMARY KEY (part_id, "offset")
) STRICT, WITHOUT ROWID;

-- Of compacted topics: where each key's last record is, and which records compaction may remove from when on.
CREATE TABLE latest_keys (
    part_id  INTEGER NOT NULL,
    key      BLOB NOT NULL,
    "offset" INTEGER NOT NULL,
    PRIMARY KEY (part_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE compactable (
    part_id  INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    due_ms   INTEGER NOT NULL,
    PRIMARY KEY (part_id, "offset")
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    group_id   INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    generation INTEGER NOT NULL DEFAULT 0       -- grows with every change of members or owners
) STRICT;

CREATE TABLE members (
    member_id    TEXT PRIMARY KEY,
    group_id     INTEGER NOT NULL REFERENCES groups,
    instance     TEXT NOT NULL,
    client       TEXT NOT NULL,
    heartbeat_ms INTEGER NOT NULL,              -- CLOCK_BOOTTIME
    session_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_group ON members (group_id);

CREATE TABLE member_topics (
    member_id TEXT NOT NULL REFERENCES members ON DELETE CASCADE,
    topic_id  INTEGER NOT NULL REFERENCES topics,
    PRIMARY KEY (member_id, topic_id)
) STRICT, WITHOUT ROWID;

-- Who is to have a partition (target) and who has it (owner). They differ while it is being handed over.
CREATE TABLE ownership (
    group_id INTEGER NOT NULL REFERENCES groups,
    part_id  INTEGER NOT NULL REFERENCES partitions,
    target   TEXT,
    owner    TEXT,
    epoch    INTEGER NOT NULL DEFAULT 0,        -- grows with every change of owner
    PRIMARY KEY (group_id, part_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE commits (
    group_id     INTEGER NOT NULL REFERENCES groups,
    part_id      INTEGER NOT NULL REFERENCES partitions,
    "offset"     INTEGER NOT NULL,              -- the next to read
    committed_ms INTEGER NOT NULL,
    PRIMARY KEY (group_id, part_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE producers (
    transactional_id TEXT PRIMARY KEY,
    epoch            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
