-- What one upsert cannot say, as functions: `POST /rpc/NAME` with one argument `request`, a JSON object; the answer is JSON.
-- They run with the rights of whoever calls, and are planned for what they are given: a plan kept from when the catalog was
-- small would read a large one whole. Rows that are changed are locked in the order of their ids first, so that
-- two batches never wait for each other.

-- {"rows": […]}: adds assets and their sources; answers what there is now of each asset.
CREATE FUNCTION media.stage(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    answer json;
BEGIN
    -- The first of a batch stages.
    INSERT INTO media.assets (asset_id, tenant, sha256, size_bytes, media_type, event_id, job_id, staging_bucket,
                              staging_key, staged_at, updated_at, collection, metadata)
    SELECT DISTINCT ON (asset_id, tenant) asset_id, tenant, sha256, size_bytes, media_type, event_id, job_id,
           staging_bucket, staging_key, staged_at, staged_at, metadata ->> 'collection', metadata
    FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (
        asset_id uuid, tenant text, sha256 text, size_bytes bigint, media_type text, event_id uuid, job_id uuid,
        staging_bucket text, staging_key text, staged_at timestamptz, metadata jsonb
    )) WITH ORDINALITY AS given (asset_id, tenant, sha256, size_bytes, media_type, event_id, job_id, staging_bucket,
                                 staging_key, staged_at, metadata, place)
    ORDER BY asset_id, tenant, place
    ON CONFLICT (asset_id, tenant) DO NOTHING;

    -- A source that is seen again has the latest sight.
    INSERT INTO media.sources AS source (tenant, path, asset_id, host, job_id, seen_at)
    SELECT DISTINCT ON (asset_id, tenant, path, host) tenant, path, asset_id, host, job_id, staged_at
    FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (
        asset_id uuid, tenant text, path text, host text, job_id uuid, staged_at timestamptz
    )) WITH ORDINALITY AS given (asset_id, tenant, path, host, job_id, staged_at, place)
    ORDER BY asset_id, tenant, path, host, staged_at DESC, place
    ON CONFLICT (path_key, tenant, asset_id, host) DO UPDATE SET job_id = excluded.job_id, seen_at = excluded.seen_at
    WHERE excluded.seen_at > source.seen_at;

    SELECT coalesce(json_agg(json_build_object(
        'asset_id', asset.asset_id, 'tenant', asset.tenant, 'state', asset.state, 'revision', asset.revision,
        'event_id', asset.event_id, 'job_id', asset.job_id, 'staging_bucket', asset.staging_bucket,
        'staging_key', asset.staging_key, 'staged_at', asset.staged_at, 'published', asset.published_at IS NOT NULL
    )), '[]') INTO answer
    FROM (SELECT DISTINCT asset_id, tenant
          FROM json_to_recordset(request -> 'rows') AS given (asset_id uuid, tenant text)) AS given
    JOIN media.assets AS asset ON asset.asset_id = given.asset_id AND asset.tenant = given.tenant;
    RETURN answer;
END
$$;

-- {"assets": [id, …]}: the assets that exist among these.
CREATE FUNCTION media.read_assets(request json) RETURNS json
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT coalesce(json_agg(asset), '[]') FROM media.assets AS asset
    WHERE asset_id = ANY (ARRAY(SELECT json_array_elements_text(request -> 'assets')::uuid))
$$;

CREATE FUNCTION media.lock_assets(wanted uuid[]) RETURNS void
LANGUAGE sql SET search_path = ''
AS $$
    SELECT 1 FROM media.assets WHERE asset_id = ANY (wanted) ORDER BY asset_id, tenant FOR NO KEY UPDATE
$$;

-- {"rows": [{"asset_id", "staging_bucket", "staging_key"}, …]}: an event that points at the new object is yet to be
-- acknowledged, whatever was before. The last of a batch stands.
CREATE FUNCTION media.restage(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    PERFORM media.lock_assets(ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));
    UPDATE media.assets AS asset
    SET staging_bucket = given.staging_bucket, staging_key = given.staging_key, published_at = NULL
    FROM (SELECT DISTINCT ON (asset_id) asset_id, staging_bucket, staging_key
          FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (asset_id uuid, staging_bucket text, staging_key text))
               WITH ORDINALITY AS given (asset_id, staging_bucket, staging_key, place)
          ORDER BY asset_id, place DESC) AS given
    WHERE asset.asset_id = given.asset_id AND asset.state = 'staged'
      AND (asset.staging_bucket, asset.staging_key) <> (given.staging_bucket, given.staging_key);
    RETURN json_build_object();
END
$$;

-- {"assets": [id, …], "at": time}
CREATE FUNCTION media.mark_published(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    wanted uuid[] := ARRAY(SELECT json_array_elements_text(request -> 'assets')::uuid);
    acknowledged timestamptz := request ->> 'at';
BEGIN
    PERFORM media.lock_assets(wanted);
    UPDATE media.assets SET published_at = acknowledged, updated_at = greatest(updated_at, acknowledged)
    WHERE asset_id = ANY (wanted) AND published_at IS NULL;
    RETURN json_build_object();
END
$$;

-- {"rows": [{"asset_id", "revision", "to", "at", "facts", "stage"}, …]}: forward only. A row changes if it is not revoked,
-- the step is of its revision or a newer one, and the step brings something new: so a replay, in whatever order, writes
-- nothing. Several steps of one asset are made in their order.
CREATE FUNCTION media.advance(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    this_turn bigint := 1;
    turns bigint;
BEGIN
    PERFORM media.lock_assets(ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));
    SELECT coalesce(max(steps), 0) INTO turns
    FROM (SELECT count(*) AS steps FROM json_array_elements(request -> 'rows') GROUP BY value ->> 'asset_id') AS given;
    WHILE this_turn <= turns LOOP
        UPDATE media.assets AS asset SET
            state = CASE WHEN step.revision > asset.revision THEN step.reach ELSE greatest(asset.state, step.reach) END,
            ingested_at = CASE WHEN step.reach = 'ingested' THEN coalesce(asset.ingested_at, step.at)
                               ELSE asset.ingested_at END,
            enriched_at = CASE WHEN step.reach <> 'enriched' THEN asset.enriched_at
                               WHEN step.revision > asset.revision THEN step.at
                               ELSE coalesce(asset.enriched_at, step.at) END,
            facts = coalesce(step.facts, asset.facts),
            dead_lettered = nullif(asset.dead_lettered, step.stage),
            revision = greatest(asset.revision, step.revision),
            updated_at = greatest(asset.updated_at, step.at)
        FROM (SELECT asset_id, revision, "to" AS reach, at, facts, stage,
                     row_number() OVER (PARTITION BY asset_id ORDER BY place) AS turn
              FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (
                  asset_id uuid, revision bigint, "to" media.asset_state, at timestamptz, facts jsonb, stage media.stage
              )) WITH ORDINALITY AS given (asset_id, revision, "to", at, facts, stage, place)) AS step
        WHERE step.turn = this_turn AND asset.asset_id = step.asset_id
          AND asset.state <> 'revoked' AND step.revision >= asset.revision
          AND (step.revision > asset.revision OR step.reach > asset.state
               OR asset.dead_lettered IS NOT DISTINCT FROM step.stage
               OR asset.facts IS DISTINCT FROM coalesce(step.facts, asset.facts)
               OR (step.reach = 'ingested' AND asset.ingested_at IS NULL)
               OR (step.reach = 'enriched' AND asset.enriched_at IS NULL));
        this_turn := this_turn + 1;
    END LOOP;
    RETURN json_build_object();
END
$$;

-- {"rows": [{"asset_id", "revision", "stage", "at"}, …]}: the last of an asset and revision stands.
CREATE FUNCTION media.flag_dead_letters(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    PERFORM media.lock_assets(ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));
    UPDATE media.assets AS asset
    SET dead_lettered = flag.stage, updated_at = greatest(asset.updated_at, flag.at)
    FROM (SELECT DISTINCT ON (asset_id, revision) asset_id, revision, stage, at
          FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (
              asset_id uuid, revision bigint, stage media.stage, at timestamptz
          )) WITH ORDINALITY AS given (asset_id, revision, stage, at, place)
          ORDER BY asset_id, revision, place DESC) AS flag
    WHERE asset.asset_id = flag.asset_id AND asset.revision = flag.revision AND asset.state <> 'revoked'
      AND asset.dead_lettered IS DISTINCT FROM flag.stage;
    RETURN json_build_object();
END
$$;

-- {"group_name": name, "rows": [{"topic", "partition", "committed"}, …]}: what stands below a committed offset is done.
CREATE FUNCTION media.complete_claims(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    at record;
BEGIN
    FOR at IN SELECT * FROM json_to_recordset(request -> 'rows') AS given (topic text, partition bigint, committed bigint)
              ORDER BY topic COLLATE "C", partition LOOP
        UPDATE media.inbox SET done = true
        WHERE group_name = request ->> 'group_name' AND owner_topic = at.topic AND owner_partition = at.partition
          AND owner_offset < at.committed AND NOT done;
    END LOOP;
    RETURN json_build_object();
END
$$;

-- {"after": id, "wanted": count, and the conditions}: matching assets by id. A read looks at no more than 20,000 rows,
-- however few of them match; `passed` is where it stopped, if there is more to look at. Nothing of the request is part of
-- a statement's text.
CREATE FUNCTION media.list_assets(request json) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    least_id CONSTANT uuid := coalesce(request ->> 'after', '00000000-0000-0000-0000-000000000000')::uuid;
    wanted CONSTANT bigint := least((request ->> 'wanted')::bigint, 10001);
    tag CONSTANT json := request -> 'tag';
    conditions text := '';
    indexed boolean := false;
    selective boolean := false;
    bound uuid;
    found json;
    answer json;
BEGIN
    IF request ->> 'tenant' IS NOT NULL THEN
        conditions := conditions || ' AND tenant = $1 ->> ''tenant''';
    END IF;
    IF request ->> 'state' IS NOT NULL THEN
        conditions := conditions || ' AND state = ($1 ->> ''state'')::media.asset_state';
        selective := true;
    END IF;
    IF request ->> 'dead_lettered' = 'true' THEN
        conditions := conditions || ' AND dead_lettered IS NOT NULL';
        indexed := true;
    ELSIF request ->> 'dead_lettered' = 'false' THEN
        conditions := conditions || ' AND dead_lettered IS NULL';
        selective := true;
    END IF;
    IF request ->> 'media_type' IS NOT NULL THEN
        conditions := conditions || CASE WHEN right(request ->> 'media_type', 1) = '/'
            THEN ' AND starts_with(media_type, $1 ->> ''media_type'')' ELSE ' AND media_type = $1 ->> ''media_type''' END;
        selective := true;
    END IF;
    IF request ->> 'collection' IS NOT NULL THEN
        conditions := conditions || ' AND collection = $1 ->> ''collection''';
        indexed := true;
    END IF;
    IF tag ->> 'name' IS NOT NULL THEN
        conditions := conditions || CASE WHEN tag ->> 'value' = ''
            THEN ' AND metadata -> ''tags'' ? ($1 #>> ''{tag,name}'')'
            ELSE ' AND metadata -> ''tags'' ->> ($1 #>> ''{tag,name}'') = $1 #>> ''{tag,value}''' END;
        selective := true;
    END IF;
    IF request ->> 'job_id' IS NOT NULL THEN
        conditions := conditions || ' AND (job_id = ($1 ->> ''job_id'')::uuid OR EXISTS (
            SELECT FROM media.job_outcomes AS seen
            WHERE seen.job_id = ($1 ->> ''job_id'')::uuid AND seen.asset_id = assets.asset_id))';
        selective := true;
    END IF;
    IF request ->> 'since' IS NOT NULL THEN
        conditions := conditions || ' AND staged_at >= ($1 ->> ''since'')::timestamptz';
        selective := true;
    END IF;

    -- An index that holds only what is asked for leaves little to be skipped; without a condition nothing is.
    IF selective AND NOT indexed THEN
        SELECT asset_id INTO bound FROM media.assets WHERE asset_id > least_id ORDER BY asset_id OFFSET 19999 LIMIT 1;
    END IF;
    EXECUTE 'SELECT coalesce(json_agg(page ORDER BY asset_id), ''[]'') FROM (
                 SELECT * FROM media.assets WHERE asset_id > $2 AND asset_id <= $3' || conditions || '
                 ORDER BY asset_id LIMIT $4) AS page'
        INTO found
        USING request, least_id, coalesce(bound, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), wanted;
    SELECT json_build_object('assets', found, 'passed', bound) INTO answer;
    RETURN answer;
END
$$;

-- {"tenant": name, "path": path, "limit": count}: the assets that a file was, latest first.
CREATE FUNCTION media.assets_of_path(request json) RETURNS json
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT coalesce(json_agg(asset_id ORDER BY seen_at DESC, job_id DESC, asset_id), '[]') FROM (
        SELECT asset_id, max(seen_at) AS seen_at, max(job_id::text) AS job_id FROM media.sources
        WHERE path_key = media.path_key(request ->> 'path') AND tenant = request ->> 'tenant'
        GROUP BY asset_id ORDER BY 2 DESC, 3 DESC, 1 LIMIT (request ->> 'limit')::bigint
    ) AS latest
$$;

-- {"tenant": name, "path": path, "wanted": count}: each file's outcome in the latest job that saw it, after this file. Reads
-- `wanted` rows, of which some can be of earlier jobs; `more` says whether there are others behind them.
--
-- The rest of this tenant comes first, then the tenants after it: with both in one comparison of rows, a planner that knows
-- of one tenant expects nothing behind it. And no DISTINCT: before PostgreSQL 16 it sorts the whole table.
CREATE FUNCTION media.latest_outcomes(request json) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    after_tenant CONSTANT text COLLATE "C" := coalesce(request ->> 'tenant', '');
    after_path CONSTANT text COLLATE "C" := coalesce(request ->> 'path', '');
    wanted CONSTANT bigint := least((request ->> 'wanted')::bigint, 10001);
    looked_at bigint;
    looked_at_behind bigint := 0;
    found media.job_outcomes[];
    found_behind media.job_outcomes[];
BEGIN
    SELECT count(*), array_agg(seen ORDER BY path_head, path) FILTER (WHERE job = 1) INTO looked_at, found
    FROM (SELECT seen, path_head, path, row_number() OVER (PARTITION BY path_head, path ORDER BY job_id DESC) AS job
          FROM (SELECT seen, path_head, path, job_id FROM media.job_outcomes AS seen
                WHERE tenant = after_tenant AND (path_head, path) > (left(after_path, 512), after_path)
                ORDER BY path_head, path, job_id DESC LIMIT wanted) AS next) AS ranked;
    IF looked_at < wanted THEN
        SELECT count(*), array_agg(seen ORDER BY tenant, path_head, path) FILTER (WHERE job = 1)
        INTO looked_at_behind, found_behind
        FROM (SELECT seen, tenant, path_head, path,
                     row_number() OVER (PARTITION BY tenant, path_head, path ORDER BY job_id DESC) AS job
              FROM (SELECT seen, tenant, path_head, path, job_id FROM media.job_outcomes AS seen
                    WHERE tenant > after_tenant
                    ORDER BY tenant, path_head, path, job_id DESC LIMIT wanted - looked_at) AS next) AS ranked;
    END IF;
    RETURN json_build_object('outcomes', coalesce(found || found_behind, '{}'),
                             'more', looked_at + looked_at_behind = wanted);
END
$$;

-- {"job_id": id, "path": path, "wanted": count}: one job's outcomes by path, after this one.
CREATE FUNCTION media.outcomes_of_job(request json) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    wanted_job CONSTANT uuid := request ->> 'job_id';
    after_path CONSTANT text COLLATE "C" := coalesce(request ->> 'path', '');
    wanted CONSTANT bigint := least((request ->> 'wanted')::bigint, 10001);
    answer json;
BEGIN
    SELECT json_build_object('outcomes', coalesce(json_agg(page ORDER BY path), '[]'), 'more', count(*) = wanted)
    INTO answer FROM (
        SELECT * FROM media.job_outcomes
        WHERE job_id = wanted_job AND (path_head, path) > (left(after_path, 512), after_path)
        ORDER BY path_head, path LIMIT wanted
    ) AS page;
    RETURN answer;
END
$$;

-- Counts by state and dead letter.
CREATE FUNCTION media.summary() RETURNS json
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT coalesce(json_agg(counted), '[]') FROM (
        SELECT state, dead_lettered, sum(assets)::bigint AS assets, sum(bytes)::bigint AS bytes
        FROM media.totals GROUP BY state, dead_lettered
    ) AS counted
$$;
