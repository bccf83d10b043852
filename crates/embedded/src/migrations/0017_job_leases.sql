-- Jobs whose lease was taken, and those of which only outcomes are known: of these every column from actor on is NULL.
-- status: 0 running, 1 interrupted, 2 finished. lease_expires_at is NULL once the lease was given up.
CREATE TABLE media_jobs (
    tenant           TEXT NOT NULL,
    job_id           BLOB NOT NULL,
    recorded_at      INTEGER NOT NULL,
    actor            TEXT,
    spec             TEXT,                      -- JSON
    status           INTEGER,
    reason           TEXT,
    started_at       INTEGER,
    updated_at       INTEGER,
    finished_at      INTEGER,
    lease_owner      TEXT,
    lease_host       TEXT,
    lease_epoch      INTEGER,
    lease_taken_at   INTEGER,
    lease_expires_at INTEGER,
    discovered       INTEGER,                   -- files found, as the holders said at a renewal or the end
    PRIMARY KEY (tenant, job_id)
) STRICT, WITHOUT ROWID;

-- The journal has the outcomes of the lease epochs up to this one; NULL if no lease was taken.
ALTER TABLE journal_jobs ADD COLUMN lease_epoch INTEGER;
-- Files that another host had found of the job; NULL if it was never another host's.
ALTER TABLE journal_jobs ADD COLUMN expected_files INTEGER;
