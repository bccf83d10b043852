-- Ingest jobs of this host and each file's journey through them.

-- status: 0 running, 1 interrupted, 2 finished.
CREATE TABLE journal_jobs (
    job_no        INTEGER PRIMARY KEY,
    job_id        BLOB NOT NULL UNIQUE,
    tenant        TEXT NOT NULL,
    status        INTEGER NOT NULL,
    reason        TEXT,
    actor         TEXT NOT NULL,
    host          TEXT NOT NULL,
    spec          TEXT NOT NULL,                -- JSON
    started_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    finished_at   INTEGER,
    walk_complete INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX journal_jobs_unfinished ON journal_jobs (job_id) WHERE status <> 2;

-- step: 0 planned, 1 staged, 2 published, 3 deduplicated, 4 rejected, 5 failed.
CREATE TABLE journal_files (
    job_no         INTEGER NOT NULL,
    path           TEXT NOT NULL,
    step           INTEGER NOT NULL,
    event_id       BLOB NOT NULL,
    staging_key    TEXT,                        -- NULL is <tenant>/<job_id>/<event_id>
    size_bytes     INTEGER,
    modified_ns    INTEGER,
    sha256         BLOB,
    media_type     TEXT,
    asset_id       BLOB,
    refusal_kind   TEXT,
    refusal_reason TEXT,
    staged_at      INTEGER,
    PRIMARY KEY (job_no, path)
) STRICT, WITHOUT ROWID;
-- The few that are refused are asked for apart from the many that are not.
CREATE INDEX journal_files_refused ON journal_files (job_no, path) WHERE step >= 4;

-- Counts of journal_files, kept by triggers. bytes are those of files read to their end.
CREATE TABLE journal_counts (
    job_no INTEGER NOT NULL,
    step   INTEGER NOT NULL,
    files  INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (job_no, step)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER journal_files_counted AFTER INSERT ON journal_files BEGIN
    INSERT INTO journal_counts VALUES (new.job_no, new.step, 1, iif(new.sha256 IS NULL, 0, coalesce(new.size_bytes, 0)))
    ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER journal_files_recounted AFTER UPDATE OF step, size_bytes, sha256 ON journal_files BEGIN
    UPDATE journal_counts
    SET files = files - 1, bytes = bytes - iif(old.sha256 IS NULL, 0, coalesce(old.size_bytes, 0))
    WHERE job_no = old.job_no AND step = old.step;
    INSERT INTO journal_counts VALUES (new.job_no, new.step, 1, iif(new.sha256 IS NULL, 0, coalesce(new.size_bytes, 0)))
    ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
END;
