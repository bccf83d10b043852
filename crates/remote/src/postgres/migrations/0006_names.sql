-- Names of assets: the paths they came from, lists by name, and sorted lists. Functions alone: what an earlier mfctl calls stays
-- as it is.

-- A file's name: its path after the last slash. This function and the next one have no search path of their own, with which
-- they would not be made part of the statements that use them.
CREATE FUNCTION media.file_name(path text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT pg_catalog.regexp_replace(path, '^.*/', '') $$;

-- The paths of an asset, each with the first job that read these bytes there. A source has its latest job, the outcomes have
-- every one. The first by job and path names the asset.
CREATE FUNCTION media.paths_of(wanted uuid)
RETURNS TABLE (path text, job_id uuid, first_seen_at timestamptz)
LANGUAGE sql STABLE
AS $$
    SELECT source.path,
           coalesce((SELECT seen.job_id FROM media.job_outcomes AS seen
                     WHERE seen.path_key = source.path_key AND seen.tenant = source.tenant AND seen.asset_id = wanted
                     ORDER BY seen.job_id LIMIT 1), min(source.job_id::text)::uuid),
           coalesce((SELECT min(seen.at) FROM media.job_outcomes AS seen
                     WHERE seen.path_key = source.path_key AND seen.tenant = source.tenant AND seen.asset_id = wanted),
                    min(source.seen_at))
    FROM media.sources AS source WHERE source.asset_id = wanted
    GROUP BY source.path, source.path_key, source.tenant
$$;

-- {"assets": [id, …], "limit": count}: the paths of each asset in their order, at most `limit`, and how many there are.
CREATE FUNCTION media.asset_paths(request json) RETURNS json
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT coalesce(json_agg(json_build_object('asset_id', wanted.asset_id, 'count', found.count, 'paths', found.paths)), '[]')
    FROM (SELECT DISTINCT value::uuid AS asset_id FROM json_array_elements_text(request -> 'assets')) AS wanted
    CROSS JOIN LATERAL (
        SELECT count(*) AS count,
               json_agg(json_build_object('path', path, 'job_id', job_id, 'first_seen_at', first_seen_at) ORDER BY place)
                   FILTER (WHERE place <= (request ->> 'limit')::bigint) AS paths
        FROM (SELECT path, job_id, first_seen_at, row_number() OVER (ORDER BY job_id, path COLLATE "C") AS place
              FROM media.paths_of(wanted.asset_id)) AS named
    ) AS found
    WHERE found.count > 0
$$;

-- {"asset": id, "limit": count}: every ingest of an asset's bytes, oldest first. A host is that of the source if it is of the
-- same job, or the only one. A source whose job has no outcome of it yet is one too.
CREATE FUNCTION media.asset_sightings(request json) RETURNS json
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT coalesce(json_agg(sighting ORDER BY at, job_id, path COLLATE "C"), '[]') FROM (
        SELECT * FROM (
            SELECT seen.path, seen.job_id, seen.at,
                   coalesce((SELECT min(source.host) FROM media.sources AS source
                             WHERE source.path_key = seen.path_key AND source.tenant = seen.tenant
                               AND source.asset_id = seen.asset_id AND source.job_id = seen.job_id),
                            (SELECT min(source.host) FROM media.sources AS source
                             WHERE source.path_key = seen.path_key AND source.tenant = seen.tenant
                               AND source.asset_id = seen.asset_id HAVING count(*) = 1)) AS host
            FROM (SELECT DISTINCT tenant, path_key FROM media.sources
                  WHERE asset_id = (request ->> 'asset')::uuid) AS known
            JOIN media.job_outcomes AS seen ON seen.path_key = known.path_key AND seen.tenant = known.tenant
            WHERE seen.asset_id = (request ->> 'asset')::uuid
            UNION ALL
            SELECT source.path, source.job_id, source.seen_at, source.host FROM media.sources AS source
            WHERE source.asset_id = (request ->> 'asset')::uuid AND NOT EXISTS (
                SELECT FROM media.job_outcomes AS seen
                WHERE seen.path_key = source.path_key AND seen.tenant = source.tenant AND seen.job_id = source.job_id
                  AND seen.asset_id = source.asset_id)
        ) AS every ORDER BY at, job_id, path COLLATE "C" LIMIT (request ->> 'limit')::bigint
    ) AS sighting
$$;

-- As media.list_assets, with two more conditions: {"name": regular expression} is for the paths in NFC, and with
-- {"sort": "name" | "size" | "staged" | "type", "descending": bool} the list is sorted, `after` being its last asset. Without
-- `sort`, a read looks at no more than 20,000 rows, and `passed` is where it stopped. Nothing of the request is part of a
-- statement's text.
CREATE FUNCTION media.find_assets(request json) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    least_id CONSTANT uuid := coalesce(request ->> 'after', '00000000-0000-0000-0000-000000000000')::uuid;
    wanted CONSTANT bigint := least((request ->> 'wanted')::bigint, 10001);
    tag CONSTANT json := request -> 'tag';
    descending CONSTANT boolean := coalesce((request ->> 'descending')::boolean, false);
    conditions text := '';
    sort_key text;
    beyond text := '';
    bound uuid;
    found json;
BEGIN
    IF request ->> 'tenant' IS NOT NULL THEN
        conditions := conditions || ' AND assets.tenant = $1 ->> ''tenant''';
    END IF;
    IF request ->> 'state' IS NOT NULL THEN
        conditions := conditions || ' AND assets.state = ($1 ->> ''state'')::media.asset_state';
    END IF;
    IF request ->> 'dead_lettered' IS NOT NULL THEN
        conditions := conditions || CASE WHEN request ->> 'dead_lettered' = 'true'
            THEN ' AND assets.dead_lettered IS NOT NULL' ELSE ' AND assets.dead_lettered IS NULL' END;
    END IF;
    IF request ->> 'media_type' IS NOT NULL THEN
        conditions := conditions || CASE WHEN right(request ->> 'media_type', 1) = '/'
            THEN ' AND starts_with(assets.media_type, $1 ->> ''media_type'')'
            ELSE ' AND assets.media_type = $1 ->> ''media_type''' END;
    END IF;
    IF request ->> 'collection' IS NOT NULL THEN
        conditions := conditions || ' AND assets.collection = $1 ->> ''collection''';
    END IF;
    IF tag ->> 'name' IS NOT NULL THEN
        conditions := conditions || CASE WHEN tag ->> 'value' = ''
            THEN ' AND assets.metadata -> ''tags'' ? ($1 #>> ''{tag,name}'')'
            ELSE ' AND assets.metadata -> ''tags'' ->> ($1 #>> ''{tag,name}'') = $1 #>> ''{tag,value}''' END;
    END IF;
    IF request ->> 'job_id' IS NOT NULL THEN
        conditions := conditions || ' AND (assets.job_id = ($1 ->> ''job_id'')::uuid OR EXISTS (
            SELECT FROM media.job_outcomes AS seen
            WHERE seen.job_id = ($1 ->> ''job_id'')::uuid AND seen.asset_id = assets.asset_id))';
    END IF;
    IF request ->> 'since' IS NOT NULL THEN
        conditions := conditions || ' AND assets.staged_at >= ($1 ->> ''since'')::timestamptz';
    END IF;
    IF request ->> 'name' IS NOT NULL THEN
        conditions := conditions || ' AND EXISTS (SELECT FROM media.sources AS source
            WHERE source.asset_id = assets.asset_id AND source.tenant = assets.tenant
              AND normalize(source.path, NFC) ~ ($1 ->> ''name''))';
    END IF;

    IF request ->> 'sort' IS NULL THEN
        SELECT asset_id INTO bound FROM media.assets WHERE asset_id > least_id ORDER BY asset_id OFFSET 19999 LIMIT 1;
        EXECUTE 'SELECT coalesce(json_agg(page ORDER BY asset_id), ''[]'') FROM (
                     SELECT assets.* FROM media.assets AS assets WHERE asset_id > $2 AND asset_id <= $3' || conditions || '
                     ORDER BY asset_id LIMIT $4) AS page'
            INTO found
            USING request, least_id, coalesce(bound, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), wanted;
        RETURN json_build_object('assets', found, 'passed', bound);
    END IF;

    sort_key := CASE request ->> 'sort'
        WHEN 'size' THEN 'assets.size_bytes'
        WHEN 'staged' THEN 'assets.staged_at'
        WHEN 'type' THEN 'assets.media_type'
        ELSE 'coalesce((SELECT media.file_name(named.path) FROM media.paths_of(assets.asset_id) AS named
                        ORDER BY named.job_id, named.path COLLATE "C" LIMIT 1), '''') COLLATE "C"' END;
    IF request ->> 'after' IS NOT NULL THEN
        beyond := format('WHERE sort_key %1$s (SELECT %2$s FROM media.assets AS assets WHERE asset_id = $2 LIMIT 1)
                          OR sort_key = (SELECT %2$s FROM media.assets AS assets WHERE asset_id = $2 LIMIT 1)
                             AND (listed.asset).asset_id > $2',
                         CASE WHEN descending THEN '<' ELSE '>' END, sort_key);
    END IF;
    EXECUTE format('SELECT coalesce(json_agg(page.asset ORDER BY place), ''[]'') FROM (
                        SELECT asset, row_number() OVER (ORDER BY sort_key %1$s, (asset).asset_id) AS place FROM (
                            SELECT assets AS asset, %2$s AS sort_key FROM media.assets AS assets WHERE true %3$s
                            OFFSET 0
                        ) AS listed %4$s ORDER BY sort_key %1$s, (asset).asset_id LIMIT $3) AS page',
                   CASE WHEN descending THEN 'DESC' ELSE 'ASC' END, sort_key, conditions, beyond)
        INTO found USING request, least_id, wanted;
    RETURN json_build_object('assets', found, 'passed', NULL);
END
$$;

REVOKE ALL ON FUNCTION media.file_name(text), media.paths_of(uuid), media.asset_paths(json), media.asset_sightings(json),
    media.find_assets(json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION media.file_name(text), media.paths_of(uuid), media.asset_paths(json), media.asset_sightings(json),
    media.find_assets(json) TO mfctl_reader, mfctl_service, mfctl_operator;
