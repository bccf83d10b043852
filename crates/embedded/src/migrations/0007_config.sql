-- Configuration of services: what Consul's key-value store is to a cluster.
CREATE TABLE config (
    key     TEXT PRIMARY KEY,
    value   BLOB NOT NULL,
    -- Grows with each change of any key, so that a key that was removed and made again has another version.
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The latest change's number.
CREATE TABLE config_index (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    latest   INTEGER NOT NULL
) STRICT;
INSERT INTO config_index (only_one, latest) VALUES (1, 0);
