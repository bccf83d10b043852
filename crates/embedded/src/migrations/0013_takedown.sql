-- Takedowns of assets, one row for each revision that was taken down. completed_at is NULL while a step is left.
CREATE TABLE media_takedowns (
    asset_id     BLOB NOT NULL,
    revision     INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    actor        TEXT NOT NULL,
    revoked_at   INTEGER NOT NULL,
    completed_at INTEGER,
    lifted_at    INTEGER,
    lifted_by    TEXT,
    lift_reason  TEXT,
    PRIMARY KEY (asset_id, revision)
) STRICT, WITHOUT ROWID;

-- The version of a write: that of a tombstone lies between the documents of its revision and those of the next one.
ALTER TABLE search_documents ADD COLUMN version INTEGER GENERATED ALWAYS AS (2 * revision) VIRTUAL;
ALTER TABLE search_tombstones ADD COLUMN version INTEGER GENERATED ALWAYS AS (2 * revision + 1) VIRTUAL;

-- A trigger, so that it holds for workers too that opened the file before this migration.
CREATE TRIGGER search_documents_removed BEFORE INSERT ON search_documents
WHEN EXISTS (SELECT 1 FROM search_tombstones AS removed
             WHERE removed.asset_id = new.asset_id AND removed.version > 2 * new.revision) BEGIN
    SELECT RAISE(IGNORE);
END;
