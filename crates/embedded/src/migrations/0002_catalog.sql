-- Metadata of assets, the claims of the consume loop, and every file's outcome. Here `media_x` is what PostgreSQL has
-- as `media.x`. Ids are 16-byte blobs, digests 32-byte blobs, times microseconds since 1970.

-- state is the rank (0 staged, 1 ingested, 2 enriched, 3 revoked); dead_lettered is a stage (0 persist, 1 enrich) or NULL.
CREATE TABLE media_assets (
    asset_id       BLOB NOT NULL UNIQUE,
    tenant         TEXT NOT NULL,
    sha256         BLOB NOT NULL,
    size_bytes     INTEGER NOT NULL,
    media_type     TEXT NOT NULL,
    revision       INTEGER NOT NULL,
    state          INTEGER NOT NULL,
    dead_lettered  INTEGER,
    event_id       BLOB NOT NULL,
    job_id         BLOB NOT NULL,
    staging_bucket TEXT NOT NULL,
    staging_key    TEXT NOT NULL,
    staged_at      INTEGER NOT NULL,
    published_at   INTEGER,
    ingested_at    INTEGER,
    enriched_at    INTEGER,
    updated_at     INTEGER NOT NULL,
    collection     TEXT,                        -- a copy of metadata's, to select by
    metadata       TEXT,                        -- JSON; NULL is nothing said
    facts          TEXT                         -- JSON; NULL is nothing found
) STRICT;
CREATE INDEX media_assets_by_event ON media_assets (event_id);
CREATE INDEX media_assets_by_collection ON media_assets (collection, asset_id) WHERE collection IS NOT NULL;
CREATE INDEX media_assets_dead_lettered ON media_assets (asset_id) WHERE dead_lettered IS NOT NULL;

-- Counts of media_assets: `top` reads them every second. What is staged is added once a batch (a trigger for each row
-- takes half as long again); every other change comes through the trigger.
CREATE TABLE media_totals (
    state         INTEGER NOT NULL,
    dead_lettered INTEGER NOT NULL,             -- 0 or 1
    assets        INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    PRIMARY KEY (state, dead_lettered)
) STRICT, WITHOUT ROWID;
INSERT INTO media_totals VALUES
    (0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0), (3, 0, 0, 0), (0, 1, 0, 0), (1, 1, 0, 0), (2, 1, 0, 0), (3, 1, 0, 0);

CREATE TRIGGER media_assets_recounted AFTER UPDATE OF state, dead_lettered ON media_assets
WHEN old.state <> new.state OR (old.dead_lettered IS NULL) <> (new.dead_lettered IS NULL) BEGIN
    UPDATE media_totals SET assets = assets - 1, bytes = bytes - old.size_bytes
    WHERE state = old.state AND dead_lettered = (old.dead_lettered IS NOT NULL);
    UPDATE media_totals SET assets = assets + 1, bytes = bytes + new.size_bytes
    WHERE state = new.state AND dead_lettered = (new.dead_lettered IS NOT NULL);
END;

-- Revisions after the first, by what took them. Revision 1 is the asset's row itself.
CREATE TABLE media_revisions (
    asset_id   BLOB NOT NULL,
    revision   INTEGER NOT NULL,
    cause      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (asset_id, revision)
) STRICT, WITHOUT ROWID;

-- The files an asset came from. The path leads, so that a walk's rows lie side by side.
CREATE TABLE media_sources (
    tenant   TEXT NOT NULL,
    path     TEXT NOT NULL,
    asset_id BLOB NOT NULL,
    host     TEXT NOT NULL,
    job_id   BLOB NOT NULL,
    seen_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, path, asset_id, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX media_sources_by_asset ON media_sources (asset_id, seen_at);

-- Names of groups and topics, which every claim would repeat.
CREATE TABLE media_inbox_names (
    name_id INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE
) STRICT;

-- The input record that owns an (asset, revision) in a group.
CREATE TABLE media_inbox (
    group_id  INTEGER NOT NULL,
    asset_id  BLOB NOT NULL,
    revision  INTEGER NOT NULL,
    topic_id  INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    "offset"  INTEGER NOT NULL,
    done      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (group_id, asset_id, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX media_inbox_open ON media_inbox (group_id, topic_id, partition, "offset") WHERE done = 0;

-- Every file's outcome in every job. A file is its tenant and path; its latest job comes first (job ids grow with time).
CREATE TABLE media_job_outcomes (
    tenant         TEXT NOT NULL,
    path           TEXT NOT NULL,
    job_id         BLOB NOT NULL,
    outcome        INTEGER NOT NULL,            -- 0 accepted, 1 rejected, 2 failed
    asset_id       BLOB,
    event_id       BLOB,
    size_bytes     INTEGER,
    refusal_kind   TEXT,
    refusal_reason TEXT,
    at             INTEGER NOT NULL,
    PRIMARY KEY (tenant, path, job_id DESC)
) STRICT, WITHOUT ROWID;
CREATE INDEX media_job_outcomes_by_job ON media_job_outcomes (job_id, path);
CREATE INDEX media_job_outcomes_by_asset ON media_job_outcomes (job_id, asset_id) WHERE asset_id IS NOT NULL;
