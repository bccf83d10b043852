-- Takedowns of assets, one row for each revision that was taken down. completed_at is NULL while a step is left.
CREATE TABLE media.takedowns (
    asset_id     uuid NOT NULL,
    tenant       text COLLATE "C" NOT NULL CHECK (tenant <> ''),
    revision     bigint NOT NULL CHECK (revision >= 1),
    reason       text NOT NULL CHECK (reason <> ''),
    actor        text NOT NULL CHECK (actor <> ''),
    revoked_at   timestamptz NOT NULL,
    completed_at timestamptz,
    lifted_at    timestamptz,
    lifted_by    text,
    lift_reason  text,
    PRIMARY KEY (asset_id, revision, tenant)
);

-- A revoked asset changes by the start of its next revision alone.
DROP TRIGGER assets_only_forward ON media.assets;
CREATE TRIGGER assets_only_forward BEFORE UPDATE ON media.assets FOR EACH ROW
WHEN ((OLD.state = 'revoked' AND (NEW.state <> 'staged' OR NEW.revision <> OLD.revision + 1))
      OR NEW.revision < OLD.revision OR (NEW.revision = OLD.revision AND NEW.state < OLD.state)
      OR (NEW.asset_id, NEW.tenant, NEW.sha256, NEW.size_bytes, NEW.event_id)
         IS DISTINCT FROM (OLD.asset_id, OLD.tenant, OLD.sha256, OLD.size_bytes, OLD.event_id))
EXECUTE FUNCTION media.assets_only_forward();

-- {"rows": [{"asset_id", "revision", "reason", "actor", "at"}, …]}: takes down what has the revision of its row, and answers
-- with the takedowns of those that are down at that revision. The first takedown of a revision stands.
CREATE FUNCTION media.revoke(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    answer json;
BEGIN
    PERFORM media.lock_assets(ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));

    UPDATE media.assets AS asset
    SET state = 'revoked', facts = NULL, dead_lettered = NULL, updated_at = greatest(asset.updated_at, given.at)
    FROM json_to_recordset(request -> 'rows') AS given (asset_id uuid, revision bigint, at timestamptz)
    WHERE asset.asset_id = given.asset_id AND asset.revision = given.revision AND asset.state <> 'revoked';

    INSERT INTO media.takedowns (asset_id, tenant, revision, reason, actor, revoked_at)
    SELECT DISTINCT ON (asset.asset_id, asset.tenant) asset.asset_id, asset.tenant, asset.revision, given.reason,
           given.actor, given.at
    FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (
        asset_id uuid, revision bigint, reason text, actor text, at timestamptz
    )) WITH ORDINALITY AS given (asset_id, revision, reason, actor, at, place)
    JOIN media.assets AS asset ON asset.asset_id = given.asset_id AND asset.revision = given.revision
    WHERE asset.state = 'revoked'
    ORDER BY asset.asset_id, asset.tenant, given.place DESC
    ON CONFLICT (asset_id, revision, tenant) DO NOTHING;

    SELECT coalesce(json_agg(takedown), '[]') INTO answer
    FROM media.takedowns AS takedown
    JOIN media.assets AS asset
      ON asset.asset_id = takedown.asset_id AND asset.tenant = takedown.tenant AND asset.revision = takedown.revision
    WHERE asset.state = 'revoked'
      AND takedown.asset_id = ANY (ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));
    RETURN answer;
END
$$;

-- {"rows": [{"asset_id", "revision"}, …], "at": time}: the last step of these takedowns is done.
CREATE FUNCTION media.complete_takedowns(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    UPDATE media.takedowns AS takedown SET completed_at = (request ->> 'at')::timestamptz
    FROM json_to_recordset(request -> 'rows') AS given (asset_id uuid, revision bigint)
    WHERE takedown.asset_id = given.asset_id AND takedown.revision = given.revision AND takedown.completed_at IS NULL;
    RETURN json_build_object();
END
$$;

-- {"rows": [{"asset_id", "revision", "reason", "actor", "at"}, …]}: starts the next revision of what is down at the revision of
-- its row.
CREATE FUNCTION media.lift(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    PERFORM media.lock_assets(ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));

    UPDATE media.takedowns AS takedown
    SET lifted_at = given.at, lifted_by = given.actor, lift_reason = given.reason
    FROM json_to_recordset(request -> 'rows') AS given (
        asset_id uuid, revision bigint, reason text, actor text, at timestamptz
    ), media.assets AS asset
    WHERE asset.asset_id = given.asset_id AND asset.revision = given.revision AND asset.state = 'revoked'
      AND takedown.asset_id = asset.asset_id AND takedown.tenant = asset.tenant AND takedown.revision = asset.revision;

    INSERT INTO media.revisions (asset_id, tenant, revision, cause, created_at)
    SELECT DISTINCT ON (asset.asset_id, asset.tenant) asset.asset_id, asset.tenant, asset.revision + 1, 'lift', given.at
    FROM json_to_recordset(request -> 'rows') AS given (asset_id uuid, revision bigint, at timestamptz)
    JOIN media.assets AS asset ON asset.asset_id = given.asset_id AND asset.revision = given.revision
    WHERE asset.state = 'revoked'
    ORDER BY asset.asset_id, asset.tenant
    ON CONFLICT (asset_id, revision, tenant) DO NOTHING;

    UPDATE media.assets AS asset
    SET state = 'staged', revision = asset.revision + 1, published_at = NULL, ingested_at = NULL, enriched_at = NULL,
        facts = NULL, staged_at = given.at, updated_at = greatest(asset.updated_at, given.at)
    FROM json_to_recordset(request -> 'rows') AS given (asset_id uuid, revision bigint, at timestamptz)
    WHERE asset.asset_id = given.asset_id AND asset.revision = given.revision AND asset.state = 'revoked';
    RETURN json_build_object();
END
$$;

-- {"assets": [id, …]}: the latest takedown of each asset.
CREATE FUNCTION media.latest_takedowns(request json) RETURNS json
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT coalesce(json_agg(latest), '[]') FROM (
        SELECT DISTINCT ON (asset_id, tenant) * FROM media.takedowns
        WHERE asset_id = ANY (ARRAY(SELECT json_array_elements_text(request -> 'assets')::uuid))
        ORDER BY asset_id, tenant, revision DESC
    ) AS latest
$$;

-- media.advance as before, which answers nothing, and the assets among these that are revoked: {"revoked": [id, …]}.
CREATE FUNCTION media.advance_assets(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    answer json;
BEGIN
    PERFORM media.advance(request);
    SELECT json_build_object('revoked', coalesce(json_agg(DISTINCT asset_id), '[]')) INTO answer
    FROM media.assets
    WHERE state = 'revoked'
      AND asset_id = ANY (ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows')));
    RETURN answer;
END
$$;

GRANT SELECT ON media.takedowns TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT INSERT, UPDATE ON media.takedowns TO mfctl_service, mfctl_operator;
ALTER TABLE media.takedowns ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON media.takedowns TO mfctl_reader, mfctl_service
    USING (tenant = (SELECT media.current_tenant())) WITH CHECK (tenant = (SELECT media.current_tenant()));
CREATE POLICY every_tenant ON media.takedowns TO mfctl_operator USING (true) WITH CHECK (true);

REVOKE ALL ON FUNCTION media.revoke(json), media.complete_takedowns(json), media.lift(json), media.latest_takedowns(json),
    media.advance_assets(json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION media.latest_takedowns(json) TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT EXECUTE ON FUNCTION media.revoke(json), media.complete_takedowns(json), media.lift(json), media.advance_assets(json)
    TO mfctl_service, mfctl_operator;
