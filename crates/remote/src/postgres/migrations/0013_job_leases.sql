-- Jobs whose lease was taken, and those of which only outcomes are known: of these every column from actor on is NULL.
-- Of a lease, the times are the database's; lease_expires_at is NULL once it was given up.
CREATE TABLE media.jobs (
    tenant           text COLLATE "C" NOT NULL CHECK (tenant <> ''),
    job_id           uuid NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    actor            text,
    spec             jsonb,
    status           text CHECK (status IN ('running', 'interrupted', 'finished')),
    reason           text,
    started_at       timestamptz,
    updated_at       timestamptz,
    finished_at      timestamptz,
    lease_owner      text,
    lease_host       text,
    lease_epoch      bigint CHECK (lease_epoch >= 1),
    lease_taken_at   timestamptz,
    lease_expires_at timestamptz,
    discovered       bigint CHECK (discovered >= 0),    -- files found, as the holders said at a renewal or the end
    PRIMARY KEY (tenant, job_id)
) WITH (fillfactor = 70);                       -- a renewal writes the row's next version beside it

-- Jobs of programs without leases are known by their outcomes.
CREATE FUNCTION media.record_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    INSERT INTO media.jobs (tenant, job_id, recorded_at)
    SELECT tenant, job_id, min(at) FROM added GROUP BY tenant, job_id ORDER BY tenant, job_id
    ON CONFLICT (tenant, job_id) DO NOTHING;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION media.record_jobs() FROM PUBLIC;

CREATE TRIGGER job_outcomes_record_jobs AFTER INSERT ON media.job_outcomes
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION media.record_jobs();

-- Seeks from job to job, so that few of the outcomes are read.
WITH RECURSIVE known AS (
    (SELECT tenant, job_id, at FROM media.job_outcomes ORDER BY job_id LIMIT 1)
    UNION ALL
    SELECT later.* FROM known, LATERAL (
        SELECT tenant, job_id, at FROM media.job_outcomes WHERE job_id > known.job_id ORDER BY job_id LIMIT 1
    ) AS later
)
INSERT INTO media.jobs (tenant, job_id, recorded_at) SELECT tenant, job_id, at FROM known;

-- A job as the functions answer with it.
CREATE FUNCTION media.job_json(job media.jobs) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT to_jsonb(job)
        || jsonb_build_object('lease_expired', coalesce(job.lease_expires_at <= clock_timestamp(), false))
$$;

-- {"tenant", "job_id", "actor", "host", "spec", "at", "owner", "replaces", "lifetime_ms"}: takes a job's lease if
-- nobody holds it, or this owner does, and its epoch is `replaces` (NULL for none). A request that is repeated changes
-- nothing. Answers {"taken": epoch}, or {"stored": job} where it was refused.
CREATE FUNCTION media.take_job_lease(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    of_tenant CONSTANT text := request ->> 'tenant';
    of_job CONSTANT uuid := request ->> 'job_id';
    replaces CONSTANT bigint := request ->> 'replaces';
    next_epoch CONSTANT bigint := coalesce(replaces, 0) + 1;
    at CONSTANT timestamptz := request ->> 'at';
    stored media.jobs;
    is_own boolean;
    is_held boolean;
BEGIN
    INSERT INTO media.jobs (tenant, job_id) VALUES (of_tenant, of_job) ON CONFLICT (tenant, job_id) DO NOTHING;
    SELECT * INTO stored FROM media.jobs WHERE tenant = of_tenant AND job_id = of_job FOR UPDATE;
    is_own := coalesce(stored.lease_owner = request ->> 'owner', false);
    is_held := coalesce(stored.lease_expires_at > clock_timestamp(), false);
    IF is_own AND is_held AND stored.lease_epoch = next_epoch THEN
        RETURN json_build_object('taken', next_epoch);
    END IF;
    IF stored.lease_epoch IS DISTINCT FROM replaces OR (is_held AND NOT is_own) THEN
        RETURN json_build_object('stored', media.job_json(stored));
    END IF;
    UPDATE media.jobs AS job SET
        actor = coalesce(job.actor, request ->> 'actor'), spec = coalesce(job.spec, (request -> 'spec')::jsonb),
        status = 'running', reason = NULL, started_at = coalesce(job.started_at, at), updated_at = at,
        finished_at = NULL,
        lease_owner = request ->> 'owner', lease_host = request ->> 'host', lease_epoch = next_epoch,
        lease_taken_at = clock_timestamp(),
        lease_expires_at = clock_timestamp() + (request ->> 'lifetime_ms')::bigint * interval '1 millisecond'
    WHERE job.tenant = of_tenant AND job.job_id = of_job;
    RETURN json_build_object('taken', next_epoch);
END
$$;

-- {"tenant", "job_id", "epoch", "lifetime_ms", "discovered"}: answers {"is_stored": whether the epoch is the stored one
-- and not given up}. `discovered`, NULL for unknown, is recorded if it is more than before.
CREATE FUNCTION media.renew_job_lease(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    UPDATE media.jobs SET
        lease_expires_at = clock_timestamp() + (request ->> 'lifetime_ms')::bigint * interval '1 millisecond',
        discovered = greatest(discovered, (request ->> 'discovered')::bigint)
    WHERE tenant = request ->> 'tenant' AND job_id = (request ->> 'job_id')::uuid
      AND lease_epoch = (request ->> 'epoch')::bigint AND lease_expires_at IS NOT NULL;
    RETURN json_build_object('is_stored', FOUND);
END
$$;

-- {"tenant", "job_id", "epoch", "status", "reason", "at", "discovered"}: gives the lease up. Answers {"is_stored":
-- whether the epoch is the stored one}. `discovered` is recorded as by renew_job_lease.
CREATE FUNCTION media.end_job_lease(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    at CONSTANT timestamptz := request ->> 'at';
BEGIN
    UPDATE media.jobs SET
        status = request ->> 'status', reason = request ->> 'reason', updated_at = at,
        finished_at = CASE WHEN request ->> 'status' = 'finished' THEN at END, lease_expires_at = NULL,
        discovered = greatest(discovered, (request ->> 'discovered')::bigint)
    WHERE tenant = request ->> 'tenant' AND job_id = (request ->> 'job_id')::uuid
      AND lease_epoch = (request ->> 'epoch')::bigint;
    RETURN json_build_object('is_stored', FOUND);
END
$$;

-- {"tenant", "job_id", "before", "wanted"}: the job, or jobs before this one, latest first.
CREATE FUNCTION media.read_jobs(request json) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    of_tenant CONSTANT text := request ->> 'tenant';
    of_job CONSTANT uuid := request ->> 'job_id';
    before CONSTANT uuid := coalesce(request ->> 'before', 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    answer json;
BEGIN
    IF of_job IS NOT NULL THEN
        SELECT coalesce(json_agg(media.job_json(job)), '[]') INTO answer FROM media.jobs AS job
        WHERE tenant = of_tenant AND job_id = of_job;
    ELSE
        SELECT coalesce(json_agg(media.job_json(job) ORDER BY (job).job_id DESC), '[]') INTO answer FROM (
            SELECT stored AS job FROM media.jobs AS stored WHERE tenant = of_tenant AND job_id < before
            ORDER BY job_id DESC LIMIT (request ->> 'wanted')::bigint
        ) AS page;
    END IF;
    RETURN answer;
END
$$;

-- {"job_id", "path", "wanted"}: counts the outcomes of a job by path, after this one. `last` is the path of the last
-- one that was counted.
CREATE FUNCTION media.count_outcomes(request json) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    of_job CONSTANT uuid := request ->> 'job_id';
    after_path CONSTANT text COLLATE "C" := coalesce(request ->> 'path', '');
    wanted CONSTANT bigint := least((request ->> 'wanted')::bigint, 20000);
    answer json;
BEGIN
    SELECT json_build_object(
        'accepted', count(*) FILTER (WHERE outcome = 'accepted'),
        'rejected', count(*) FILTER (WHERE outcome = 'rejected'),
        'failed', count(*) FILTER (WHERE outcome = 'failed'), 'bytes', coalesce(sum(size_bytes), 0),
        'last', max(path))
    INTO answer FROM (
        SELECT outcome, size_bytes, path FROM media.job_outcomes
        WHERE job_id = of_job AND (path_head, path) > (left(after_path, 512), after_path)
        ORDER BY path_head, path LIMIT wanted
    ) AS page;
    RETURN answer;
END
$$;

-- {"tenant", "job_id", "epoch", "rows": […]}: records outcomes of a job, no path twice, if this is the epoch of its
-- lease; rows of another tenant or job are left out. Answers {"is_stored": whether it is}.
CREATE FUNCTION media.record_outcomes(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    -- Locked, so that whoever takes the lease waits for these rows.
    PERFORM FROM media.jobs
    WHERE tenant = request ->> 'tenant' AND job_id = (request ->> 'job_id')::uuid
      AND lease_epoch = (request ->> 'epoch')::bigint
    FOR SHARE;
    IF NOT FOUND THEN
        RETURN json_build_object('is_stored', false);
    END IF;
    INSERT INTO media.job_outcomes (tenant, path, job_id, outcome, asset_id, event_id, size_bytes, refusal_kind,
                                    refusal_reason, at)
    SELECT tenant, path, job_id, outcome, asset_id, event_id, size_bytes, refusal_kind, refusal_reason, at
    FROM json_to_recordset(request -> 'rows') AS given (
        tenant text, path text, job_id uuid, outcome text, asset_id uuid, event_id uuid, size_bytes bigint,
        refusal_kind text, refusal_reason text, at timestamptz)
    WHERE given.tenant = request ->> 'tenant' AND given.job_id = (request ->> 'job_id')::uuid
    ON CONFLICT (path_key, job_id, tenant) DO UPDATE SET
        outcome = excluded.outcome, asset_id = excluded.asset_id, event_id = excluded.event_id,
        size_bytes = excluded.size_bytes, refusal_kind = excluded.refusal_kind,
        refusal_reason = excluded.refusal_reason, at = excluded.at;
    RETURN json_build_object('is_stored', true);
END
$$;

GRANT SELECT ON media.jobs TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT INSERT, UPDATE ON media.jobs TO mfctl_service, mfctl_operator;
ALTER TABLE media.jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON media.jobs TO mfctl_reader, mfctl_service
    USING (tenant = (SELECT media.current_tenant())) WITH CHECK (tenant = (SELECT media.current_tenant()));
CREATE POLICY every_tenant ON media.jobs TO mfctl_operator USING (true) WITH CHECK (true);
REVOKE ALL ON FUNCTION media.job_json(media.jobs), media.take_job_lease(json), media.renew_job_lease(json),
    media.end_job_lease(json), media.read_jobs(json), media.count_outcomes(json), media.record_outcomes(json)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION media.job_json(media.jobs), media.read_jobs(json), media.count_outcomes(json)
    TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT EXECUTE ON FUNCTION media.take_job_lease(json), media.renew_job_lease(json), media.end_job_lease(json),
    media.record_outcomes(json) TO mfctl_service, mfctl_operator;
