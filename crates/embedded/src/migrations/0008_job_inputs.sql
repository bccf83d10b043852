-- The lists and manifests of ingest jobs. Their bytes are in files: jobs/<job id>/ in the data folder.

-- kind: 0 list, 1 manifest. A part is an input that was given; the next one completes it, or repeats it.
CREATE TABLE journal_inputs (
    job_no  INTEGER NOT NULL,
    kind    INTEGER NOT NULL,
    part    INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    ended   INTEGER NOT NULL,                   -- 1 once its end was read and its bytes are durable
    PRIMARY KEY (job_no, kind, part)
) STRICT, WITHOUT ROWID;
