-- Files that the holders of the job's lease had found when they last renewed or ended it.
ALTER TABLE media.jobs ADD COLUMN discovered bigint CHECK (discovered >= 0);

-- As before, with "discovered" in the request (NULL for unknown): it is recorded if it is more than before.
CREATE OR REPLACE FUNCTION media.renew_job_lease(request json) RETURNS json
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

-- As before, with "discovered" in the request (NULL for unknown): it is recorded if it is more than before.
CREATE OR REPLACE FUNCTION media.end_job_lease(request json) RETURNS json
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

-- As before; rows of another tenant or job than the lease's are left out.
CREATE OR REPLACE FUNCTION media.record_outcomes(request json) RETURNS json
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
