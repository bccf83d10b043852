-- Metadata of assets, the claims of the consume loop, and every file's outcome. Every row has its tenant, which is part of
-- every key: no tenant can be in another's way. Paths sort by their bytes.

CREATE TABLE media.assets (
    asset_id       uuid NOT NULL,
    tenant         text COLLATE "C" NOT NULL CHECK (tenant <> ''),
    sha256         text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes     bigint NOT NULL CHECK (size_bytes >= 0),
    media_type     text COLLATE "C" NOT NULL,
    revision       bigint NOT NULL DEFAULT 1 CHECK (revision >= 1),
    state          media.asset_state NOT NULL DEFAULT 'staged',
    dead_lettered  media.stage,
    event_id       uuid NOT NULL,
    job_id         uuid NOT NULL,
    staging_bucket text NOT NULL,
    staging_key    text NOT NULL,
    staged_at      timestamptz NOT NULL,
    published_at   timestamptz,
    ingested_at    timestamptz,
    enriched_at    timestamptz,
    updated_at     timestamptz NOT NULL,
    collection     text COLLATE "C",            -- a copy of metadata's, to select by
    metadata       jsonb,                       -- NULL is nothing said
    facts          jsonb,                       -- NULL is nothing found
    PRIMARY KEY (asset_id, tenant)
) WITH (fillfactor = 85);                       -- room for a row's next version beside it
CREATE INDEX assets_by_event ON media.assets (event_id);
CREATE INDEX assets_by_collection ON media.assets (collection, asset_id) WHERE collection IS NOT NULL;
CREATE INDEX assets_dead_lettered ON media.assets (asset_id) WHERE dead_lettered IS NOT NULL;

-- Counts of media.assets, kept by triggers: `top` reads them every second. A total is the sum over its slots; each session
-- writes one of 16, so that batches at the same time seldom wait for each other.
CREATE TABLE media.totals (
    tenant        text COLLATE "C" NOT NULL,
    state         media.asset_state NOT NULL,
    dead_lettered boolean NOT NULL,
    slot          integer NOT NULL,
    assets        bigint NOT NULL,
    bytes         bigint NOT NULL,
    PRIMARY KEY (tenant, state, dead_lettered, slot)
) WITH (fillfactor = 50);

-- Revisions after the first, by what took them. Revision 1 is the asset's row itself.
CREATE TABLE media.revisions (
    asset_id   uuid NOT NULL,
    tenant     text COLLATE "C" NOT NULL DEFAULT media.current_tenant(),
    revision   bigint NOT NULL CHECK (revision > 1),
    cause      text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, revision, tenant)
);

-- The files an asset came from.
CREATE TABLE media.sources (
    tenant   text COLLATE "C" NOT NULL CHECK (tenant <> ''),
    path     text COLLATE "C" NOT NULL,
    asset_id uuid NOT NULL,
    host     text COLLATE "C" NOT NULL,
    job_id   uuid NOT NULL,
    seen_at  timestamptz NOT NULL,
    path_key bytea NOT NULL GENERATED ALWAYS AS (media.path_key(path)) STORED,
    PRIMARY KEY (path_key, tenant, asset_id, host)
);
CREATE INDEX sources_by_asset ON media.sources (asset_id, seen_at);

-- The input record that owns an (asset, revision) in a group. Who claims without a tenant shares the empty one.
CREATE TABLE media.inbox (
    group_name      text COLLATE "C" NOT NULL,
    asset_id        uuid NOT NULL,
    revision        bigint NOT NULL,
    tenant          text COLLATE "C" NOT NULL DEFAULT coalesce(media.current_tenant(), ''),
    owner_topic     text COLLATE "C" NOT NULL,
    owner_partition bigint NOT NULL,
    owner_offset    bigint NOT NULL,
    done            boolean NOT NULL DEFAULT false,
    claimed_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, group_name, revision, tenant)
);
CREATE INDEX inbox_open ON media.inbox (group_name, owner_topic, owner_partition, owner_offset) WHERE NOT done;

-- Every file's outcome in every job. A file is its tenant and path; its latest job comes first (job ids grow with time).
CREATE TABLE media.job_outcomes (
    tenant         text COLLATE "C" NOT NULL CHECK (tenant <> ''),
    path           text COLLATE "C" NOT NULL,
    job_id         uuid NOT NULL,
    outcome        text NOT NULL CHECK (outcome IN ('accepted', 'rejected', 'failed')),
    asset_id       uuid,
    event_id       uuid,
    size_bytes     bigint,
    refusal_kind   text,
    refusal_reason text,
    at             timestamptz NOT NULL,
    path_key       bytea NOT NULL GENERATED ALWAYS AS (media.path_key(path)) STORED,
    path_head      text COLLATE "C" NOT NULL GENERATED ALWAYS AS (left(path, 512)) STORED,
    PRIMARY KEY (path_key, job_id, tenant)
);
-- The heads of paths sort as the paths do, and fit an index.
CREATE INDEX job_outcomes_by_file ON media.job_outcomes (tenant, path_head, job_id DESC);
CREATE INDEX job_outcomes_by_job ON media.job_outcomes (job_id, path_head);
CREATE INDEX job_outcomes_by_asset ON media.job_outcomes (job_id, asset_id) WHERE asset_id IS NOT NULL;
