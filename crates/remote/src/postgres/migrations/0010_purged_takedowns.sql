-- Time the purge of an asset's bytes was ordered; NULL while its original is to be kept in the archive.
ALTER TABLE media.takedowns ADD COLUMN purged_at timestamptz;

-- media.revoke as before, with "purge" in its rows: the first purge of a takedown is recorded. Programs that know no
-- purge call media.revoke.
CREATE FUNCTION media.take_down(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    answer json;
BEGIN
    PERFORM media.revoke(request);

    UPDATE media.takedowns AS takedown SET purged_at = given.at
    FROM json_to_recordset(request -> 'rows') AS given (asset_id uuid, revision bigint, at timestamptz, purge boolean),
         media.assets AS asset
    WHERE given.purge AND takedown.asset_id = given.asset_id AND takedown.revision = given.revision
      AND takedown.purged_at IS NULL AND asset.asset_id = takedown.asset_id AND asset.tenant = takedown.tenant
      AND asset.revision = takedown.revision AND asset.state = 'revoked';

    SELECT coalesce(json_agg(takedown), '[]') INTO answer
    FROM media.takedowns AS takedown
    JOIN media.assets AS asset
      ON asset.asset_id = takedown.asset_id AND asset.tenant = takedown.tenant AND asset.revision = takedown.revision
    WHERE asset.state = 'revoked'
      AND takedown.asset_id = ANY (ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));
    RETURN answer;
END
$$;

-- As before, except that what was purged stays down.
CREATE OR REPLACE FUNCTION media.lift(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    kept json;
BEGIN
    PERFORM media.lock_assets(ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));

    SELECT coalesce(json_agg(value), '[]') INTO kept
    FROM json_array_elements(request -> 'rows')
    WHERE NOT EXISTS (
        SELECT 1 FROM media.takedowns AS takedown
        WHERE takedown.asset_id = (value ->> 'asset_id')::uuid AND takedown.revision = (value ->> 'revision')::bigint
          AND takedown.purged_at IS NOT NULL
    );

    UPDATE media.takedowns AS takedown
    SET lifted_at = given.at, lifted_by = given.actor, lift_reason = given.reason
    FROM json_to_recordset(kept) AS given (
        asset_id uuid, revision bigint, reason text, actor text, at timestamptz
    ), media.assets AS asset
    WHERE asset.asset_id = given.asset_id AND asset.revision = given.revision AND asset.state = 'revoked'
      AND takedown.asset_id = asset.asset_id AND takedown.tenant = asset.tenant AND takedown.revision = asset.revision;

    INSERT INTO media.revisions (asset_id, tenant, revision, cause, created_at)
    SELECT DISTINCT ON (asset.asset_id, asset.tenant) asset.asset_id, asset.tenant, asset.revision + 1, 'lift', given.at
    FROM json_to_recordset(kept) AS given (asset_id uuid, revision bigint, at timestamptz)
    JOIN media.assets AS asset ON asset.asset_id = given.asset_id AND asset.revision = given.revision
    WHERE asset.state = 'revoked'
    ORDER BY asset.asset_id, asset.tenant
    ON CONFLICT (asset_id, revision, tenant) DO NOTHING;

    UPDATE media.assets AS asset
    SET state = 'staged', revision = asset.revision + 1, published_at = NULL, ingested_at = NULL, enriched_at = NULL,
        facts = NULL, staged_at = given.at, updated_at = greatest(asset.updated_at, given.at)
    FROM json_to_recordset(kept) AS given (asset_id uuid, revision bigint, at timestamptz)
    WHERE asset.asset_id = given.asset_id AND asset.revision = given.revision AND asset.state = 'revoked';
    RETURN json_build_object();
END
$$;

-- {"rows": [{"asset_id", "revision"}, …], "at": time}: as media.mark_published, each asset only at this revision.
CREATE FUNCTION media.mark_revisions_published(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    acknowledged timestamptz := request ->> 'at';
BEGIN
    PERFORM media.lock_assets(ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));

    UPDATE media.assets AS asset SET published_at = acknowledged, updated_at = greatest(asset.updated_at, acknowledged)
    FROM json_to_recordset(request -> 'rows') AS given (asset_id uuid, revision bigint)
    WHERE asset.asset_id = given.asset_id AND asset.revision = given.revision AND asset.published_at IS NULL;
    RETURN json_build_object();
END
$$;

REVOKE ALL ON FUNCTION media.take_down(json), media.mark_revisions_published(json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION media.take_down(json), media.mark_revisions_published(json) TO mfctl_service, mfctl_operator;
