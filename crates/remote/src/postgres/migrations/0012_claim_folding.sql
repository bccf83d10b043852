-- Old claims are removed; their assets keep what they were for: see core's domain/claim_folding.rs. Only adds.

-- In the order of `claim_batch`, which runs meanwhile: the inbox, then the assets.
LOCK TABLE media.inbox IN SHARE ROW EXCLUSIVE MODE;

-- The highest folded revision by group. NULL is none.
ALTER TABLE media.assets ADD COLUMN folded_claims jsonb;

-- Claims are folded while none is made, so that no request misses both the claim and what it was folded into. Until the
-- end of the transaction; the statements that follow see every claim that was folded before. The key is "mfctl_cf" in
-- ASCII.
CREATE FUNCTION media.wait_for_claim_folding() RETURNS void
LANGUAGE sql SET search_path = ''
AS $$
    SELECT pg_advisory_xact_lock_shared(7883097549444178790)
$$;

-- Programs that upsert claims (`takes` is NULL) do not look at folded claims: they find them done.
CREATE FUNCTION media.inbox_waits_for_folding() RETURNS trigger
LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
    PERFORM media.wait_for_claim_folding();
    RETURN NULL;
END
$$;
CREATE TRIGGER inbox_waits_for_folding BEFORE INSERT ON media.inbox FOR EACH STATEMENT
EXECUTE FUNCTION media.inbox_waits_for_folding();

CREATE FUNCTION media.inbox_folded_is_done() RETURNS trigger
LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
    IF EXISTS (SELECT FROM media.assets
               WHERE asset_id = NEW.asset_id AND (folded_claims ->> NEW.group_name)::bigint >= NEW.revision) THEN
        NEW.done := true;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inbox_folded_is_done BEFORE INSERT ON media.inbox FOR EACH ROW WHEN (NEW.takes IS NULL)
EXECUTE FUNCTION media.inbox_folded_is_done();

-- As in 0008, with one order of locks, and with folded claims, which are refused with `folded`.
CREATE OR REPLACE FUNCTION media.claim_batch(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    of_group CONSTANT text := request ->> 'group_name';
    of_tenant CONSTANT text := coalesce(media.current_tenant(), '');
    given record;
    stored media.inbox;
    is_own boolean;
    is_named boolean;
    is_before boolean;
    may_take boolean;
    fenced json;
    others json;
    refused jsonb;
    existing json;
BEGIN
    PERFORM media.wait_for_claim_folding();

    -- Every claim that this batch may change, in the order of the key, so that two batches cannot deadlock. Those it adds
    -- are added in that order as well. Lateral, here and below: a claim or an asset is looked up by its key. The filter of
    -- the policy for tenants is estimated to leave one row, and a join would compare all of them with each of the batch.
    PERFORM FROM (
        SELECT passed.asset_id, passed.revision FROM media.inbox AS passed
        JOIN json_to_recordset(request -> 'passed') AS commit (
                topic text, topic_id text, partition bigint, below bigint, epoch bigint)
            ON passed.owner_topic = commit.topic AND passed.owner_partition = commit.partition
               AND passed.owner_offset < commit.below
               AND (passed.epoch IS NULL OR passed.epoch = commit.epoch)
               AND (passed.owner_topic_id IS NULL OR commit.topic_id = '' OR passed.owner_topic_id = commit.topic_id)
        WHERE passed.group_name = of_group AND NOT passed.done
        UNION
        SELECT asset_id, revision FROM json_to_recordset(request -> 'rows') AS wanted (asset_id uuid, revision bigint)
        ORDER BY asset_id, revision
    ) AS key
    CROSS JOIN LATERAL (
        SELECT FROM media.inbox AS claim
        WHERE claim.asset_id = key.asset_id AND claim.group_name = of_group AND claim.revision = key.revision
        ORDER BY claim.tenant
        FOR NO KEY UPDATE
    ) AS locked;

    FOR given IN
        SELECT * FROM json_to_recordset(request -> 'passed') AS commit (
            topic text, topic_id text, partition bigint, below bigint, epoch bigint)
        ORDER BY topic COLLATE "C", partition
    LOOP
        UPDATE media.inbox SET done = true
        WHERE group_name = of_group AND owner_topic = given.topic AND owner_partition = given.partition
          AND owner_offset < given.below AND NOT done
          AND (inbox.epoch IS NULL OR inbox.epoch = given.epoch)
          AND (owner_topic_id IS NULL OR given.topic_id = '' OR owner_topic_id = given.topic_id);
    END LOOP;

    -- Free claims, the first of a batch before the others.
    WITH fence AS MATERIALIZED (SELECT * FROM media.valid_claim_fences(request)),
    wanted AS (
        SELECT * FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (
            asset_id uuid, revision bigint, topic text, partition bigint, owner_offset bigint, ground text,
            named jsonb, named_epoch bigint
        )) WITH ORDINALITY AS one (asset_id, revision, topic, partition, owner_offset, ground, named, named_epoch, place)
    ),
    allowed AS (SELECT wanted.*, fence.topic_id, fence.epoch, fence.trusted_from
                FROM wanted JOIN fence ON fence.topic = wanted.topic AND fence.partition = wanted.partition),
    folded AS (SELECT allowed.place, allowed.topic, allowed.topic_id, allowed.partition, allowed.owner_offset
               FROM allowed CROSS JOIN LATERAL (
                   SELECT folded_claims FROM media.assets WHERE asset_id = allowed.asset_id OFFSET 0
               ) AS asset
               WHERE (asset.folded_claims ->> of_group)::bigint >= allowed.revision),
    first AS (SELECT DISTINCT ON (asset_id, revision) * FROM allowed
              WHERE place NOT IN (SELECT place FROM folded) ORDER BY asset_id, revision, place),
    added AS (
        INSERT INTO media.inbox (group_name, asset_id, revision, owner_topic, owner_partition, owner_offset,
                                 owner_topic_id, epoch, takes)
        SELECT of_group, asset_id, revision, topic, partition, owner_offset, topic_id, epoch, 1 FROM first
        ORDER BY asset_id, revision
        ON CONFLICT (asset_id, group_name, revision, tenant) DO NOTHING
        RETURNING asset_id, revision
    ),
    granted AS (SELECT place FROM first JOIN added USING (asset_id, revision))
    SELECT (SELECT json_agg(place ORDER BY place) FROM wanted
            WHERE place NOT IN (SELECT place FROM allowed)),
           (SELECT json_agg(allowed ORDER BY asset_id, revision, place) FROM allowed
            WHERE place NOT IN (SELECT place FROM granted) AND place NOT IN (SELECT place FROM folded)),
           -- A program that does not know `folded` takes it for a claim of the record itself that is done.
           coalesce((SELECT jsonb_agg(jsonb_build_object(
               'place', place, 'topic', topic, 'topic_id', topic_id, 'partition', partition,
               'owner_offset', owner_offset, 'epoch', NULL, 'done', true, 'dead_lettered', false, 'claimed_at', now(),
               'folded', true)) FROM folded), '[]')
    INTO fenced, others, refused;

    FOR given IN
        SELECT * FROM json_to_recordset(others) AS one (
            asset_id uuid, revision bigint, topic text, partition bigint, owner_offset bigint, ground text,
            named jsonb, named_epoch bigint, place bigint, topic_id text, epoch bigint, trusted_from bigint)
        ORDER BY asset_id, revision, place
    LOOP
        SELECT * INTO stored FROM media.inbox
        WHERE asset_id = given.asset_id AND group_name = of_group AND revision = given.revision AND tenant = of_tenant
        FOR UPDATE;
        IF NOT FOUND THEN
            -- A release without epochs released it just now.
            RAISE EXCEPTION 'a claim was released meanwhile' USING ERRCODE = 'serialization_failure';
        END IF;
        is_own := (stored.owner_topic, stored.owner_partition, stored.owner_offset)
                  = (given.topic, given.partition, given.owner_offset)
                  AND coalesce(stored.owner_topic_id = given.topic_id, true);
        is_named := EXISTS (
            SELECT FROM jsonb_to_recordset(coalesce(given.named, '[]')) AS named (
                topic text, topic_id text, partition bigint, owner_offset bigint)
            WHERE (stored.owner_topic, stored.owner_partition, stored.owner_offset)
                  = (named.topic, named.partition, named.owner_offset)
              AND coalesce(stored.owner_topic_id = named.topic_id, true));
        is_before := (stored.owner_topic, stored.owner_partition) = (given.topic, given.partition)
                     AND stored.owner_topic_id IS NOT DISTINCT FROM given.topic_id
                     AND given.owner_offset < stored.owner_offset;
        may_take := CASE
            WHEN given.ground = 'abandoned' AND is_named AND NOT stored.done
                 AND stored.epoch IS NOT DISTINCT FROM given.named_epoch THEN true
            WHEN given.ground = 'redrive' AND is_named AND NOT is_own THEN true
            WHEN is_own AND stored.done THEN false
            WHEN is_own AND stored.epoch = given.epoch THEN NULL    -- it holds the claim already
            WHEN is_own AND stored.epoch < given.trusted_from THEN false
            WHEN is_own THEN true
            ELSE given.ground IS NULL AND stored.done AND coalesce(stored.dead_lettered, false) AND NOT is_before
        END;
        IF may_take THEN
            UPDATE media.inbox SET
                owner_topic = given.topic, owner_partition = given.partition, owner_offset = given.owner_offset,
                owner_topic_id = given.topic_id, epoch = given.epoch, takes = coalesce(stored.takes, 0) + 1,
                done = false, dead_lettered = NULL,
                -- The same record may have been processed since it claimed first.
                claimed_at = CASE WHEN is_own THEN stored.claimed_at ELSE now() END
            WHERE asset_id = given.asset_id AND group_name = of_group AND revision = given.revision
              AND tenant = of_tenant;
        ELSIF NOT may_take THEN
            refused := refused || jsonb_build_object(
                'place', given.place, 'topic', stored.owner_topic, 'topic_id', stored.owner_topic_id,
                'partition', stored.owner_partition, 'owner_offset', stored.owner_offset, 'epoch', stored.epoch,
                'done', stored.done, 'dead_lettered', coalesce(stored.dead_lettered, false),
                'claimed_at', stored.claimed_at);
        END IF;
    END LOOP;

    SELECT json_agg(asset) INTO existing
    FROM (SELECT DISTINCT asset_id FROM json_to_recordset(request -> 'rows') AS wanted (asset_id uuid)) AS wanted
    CROSS JOIN LATERAL (SELECT * FROM media.assets WHERE asset_id = wanted.asset_id OFFSET 0) AS asset;
    RETURN json_build_object('fenced', coalesce(fenced, '[]'), 'refused', refused, 'assets', coalesce(existing, '[]'));
END
$$;

-- {"group_name": name, "topic", "topic_id", "retained_from": [{"partition", "first_offset"}, …], "claimed_before": time or
-- null, "after": asset or null, "limit": count}: looks at the next claims of a group in the order of assets, and removes
-- those that are old. The answer has their number, and the last asset, to continue after, or null at the end. As the
-- tables' owner: nobody else may remove a claim that is done. Claims of all groups wait while it waits for a lock, so it
-- soon gives up; whoever called it calls it again later.
CREATE FUNCTION media.fold_claims(request json) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_custom_plan SET lock_timeout = '500ms'
AS $$
DECLARE
    of_group CONSTANT text := request ->> 'group_name';
    of_tenant CONSTANT text := coalesce(media.current_tenant(), '');
    claimed_before CONSTANT timestamptz := request ->> 'claimed_before';
    least_id CONSTANT uuid := coalesce(request ->> 'after', '00000000-0000-0000-0000-000000000000')::uuid;
    wanted CONSTANT bigint := least((request ->> 'limit')::bigint, 10000);
    old_claims json;
    last uuid;
    removed bigint;
BEGIN
    IF of_tenant = '' AND current_setting('role') IN ('mfctl_reader', 'mfctl_service') THEN
        RAISE EXCEPTION 'the token names no tenant' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- First without the lock: most pages have nothing that is old.
    FOR is_locked IN 0..1 LOOP
        WITH page AS MATERIALIZED (
            SELECT * FROM media.inbox WHERE group_name = of_group AND tenant = of_tenant AND asset_id > least_id
            ORDER BY asset_id, revision LIMIT wanted
        ),
        judged AS MATERIALIZED (
            SELECT page.asset_id, page.revision,
                   page.done AND NOT coalesce(page.dead_lettered, false)
                   AND asset.asset_id IS NOT NULL AND asset.dead_lettered IS NULL AND asset.state <> 'revoked'
                   AND (coalesce(page.claimed_at < claimed_before, false) OR EXISTS (
                            SELECT FROM json_to_recordset(request -> 'retained_from') AS start (
                                partition bigint, first_offset bigint)
                            WHERE page.owner_topic = request ->> 'topic' AND page.owner_partition = start.partition
                              AND page.owner_offset < start.first_offset
                              AND (page.owner_topic_id IS NULL OR request ->> 'topic_id' = ''
                                   OR page.owner_topic_id = request ->> 'topic_id'))) AS is_old
            FROM page LEFT JOIN media.assets AS asset
                ON asset.asset_id = page.asset_id AND (of_tenant = '' OR asset.tenant = of_tenant)
        )
        SELECT (SELECT coalesce(json_agg(one), '[]') FROM judged AS one WHERE is_old AND NOT EXISTS (
                    SELECT FROM judged AS earlier
                    WHERE earlier.asset_id = one.asset_id AND earlier.revision < one.revision AND NOT earlier.is_old)),
               (SELECT asset_id FROM page ORDER BY asset_id OFFSET wanted - 1)
        INTO old_claims, last;
        IF json_array_length(old_claims) = 0 THEN
            RETURN json_build_object('folded', 0, 'next', last);
        END IF;
        IF is_locked = 0 THEN
            PERFORM pg_advisory_xact_lock(7883097549444178790);
        END IF;
    END LOOP;

    PERFORM media.lock_assets(ARRAY(SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(old_claims)));
    WITH claim AS MATERIALIZED (
        SELECT * FROM json_to_recordset(old_claims) AS claim (asset_id uuid, revision bigint)
    ),
    kept AS (
        UPDATE media.assets AS asset SET folded_claims = coalesce(asset.folded_claims, '{}') || jsonb_build_object(
            of_group, greatest(highest.revision, (asset.folded_claims ->> of_group)::bigint))
        FROM (SELECT asset_id, max(revision) AS revision FROM claim GROUP BY asset_id) AS highest
        WHERE asset.asset_id = highest.asset_id AND (of_tenant = '' OR asset.tenant = of_tenant)
          AND asset.dead_lettered IS NULL AND asset.state <> 'revoked'
        RETURNING asset.asset_id
    ),
    gone AS (
        DELETE FROM media.inbox AS old USING claim JOIN kept USING (asset_id)
        WHERE old.group_name = of_group AND old.tenant = of_tenant AND old.asset_id = claim.asset_id
          AND old.revision = claim.revision
        RETURNING 1
    )
    SELECT count(*) INTO removed FROM gone;
    RETURN json_build_object('folded', removed, 'next', last);
END
$$;

-- Where partitions ended when a worker looked.
CREATE TABLE media.partition_ends (
    topic       text COLLATE "C" NOT NULL,
    topic_id    text COLLATE "C" NOT NULL,
    partition   bigint NOT NULL,
    tenant      text COLLATE "C" NOT NULL DEFAULT coalesce(media.current_tenant(), ''),
    end_offset  bigint NOT NULL,
    topic_since timestamptz NOT NULL DEFAULT now(),     -- when the topic was first seen with this id
    end_since   timestamptz NOT NULL DEFAULT now(),     -- when the partition was first seen to end at this offset
    PRIMARY KEY (topic, topic_id, partition, tenant)
);

-- {"rows": [{"topic", "topic_id", "partition", "end_offset"}, …]}: remembers where partitions end now. The answer has one
-- object for each row, in order.
CREATE FUNCTION media.see_partition_ends(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    INSERT INTO media.partition_ends AS stored (topic, topic_id, partition, end_offset, topic_since)
    SELECT DISTINCT ON (topic, topic_id, partition) topic, topic_id, partition, end_offset,
           coalesce((SELECT min(known.topic_since) FROM media.partition_ends AS known
                     WHERE known.topic = given.topic AND known.topic_id = given.topic_id
                       AND known.tenant = coalesce(media.current_tenant(), '')), now())
    FROM json_to_recordset(request -> 'rows') AS given (
        topic text COLLATE "C", topic_id text COLLATE "C", partition bigint, end_offset bigint)
    ORDER BY topic, topic_id, partition, end_offset DESC
    ON CONFLICT (topic, topic_id, partition, tenant) DO UPDATE SET end_offset = excluded.end_offset, end_since = now()
    WHERE stored.end_offset <> excluded.end_offset;
    RETURN (
        SELECT coalesce(json_agg(json_build_object('topic_since', stored.topic_since, 'end_since', stored.end_since)
                                 ORDER BY given.place), '[]')
        FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (topic text, topic_id text, partition bigint))
            WITH ORDINALITY AS given (topic, topic_id, partition, place)
        JOIN media.partition_ends AS stored
            ON stored.topic = given.topic AND stored.topic_id = given.topic_id AND stored.partition = given.partition
        WHERE stored.tenant = coalesce(media.current_tenant(), ''));
END
$$;

GRANT SELECT ON media.partition_ends TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT INSERT, UPDATE ON media.partition_ends TO mfctl_service, mfctl_operator;
ALTER TABLE media.partition_ends ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON media.partition_ends TO mfctl_reader, mfctl_service
    USING (tenant = (SELECT media.current_tenant())) WITH CHECK (tenant = (SELECT media.current_tenant()));
CREATE POLICY every_tenant ON media.partition_ends TO mfctl_operator USING (true) WITH CHECK (true);
REVOKE ALL ON FUNCTION media.wait_for_claim_folding(), media.inbox_waits_for_folding(), media.inbox_folded_is_done(),
    media.fold_claims(json), media.see_partition_ends(json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION media.wait_for_claim_folding(), media.fold_claims(json), media.see_partition_ends(json)
    TO mfctl_service, mfctl_operator;
