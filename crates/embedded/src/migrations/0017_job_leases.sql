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
    PRIMARY KEY (tenant, job_id)
) STRICT, WITHOUT ROWID;
