-- Fenced claims. Only adds: workers of the release before go on with their own calls, whose claims have no epoch.

-- The epoch under which the member that was assigned a partition claims its records; the rules are in core's domain/claim.rs.
CREATE TABLE media.claim_epochs (
    group_name   text COLLATE "C" NOT NULL,
    topic        text COLLATE "C" NOT NULL,
    topic_id     text COLLATE "C" NOT NULL,     -- the log's id of the topic; '' where it has none
    partition    bigint NOT NULL,
    tenant       text COLLATE "C" NOT NULL DEFAULT coalesce(media.current_tenant(), ''),
    epoch        bigint NOT NULL,
    generation   bigint NOT NULL,               -- of the group, when the epoch was minted
    member_id    text NOT NULL,                 -- of the member that it was minted for
    trusted_from bigint NOT NULL,               -- a record's own claims of earlier epochs are in doubt
    minted_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_name, topic, topic_id, partition, tenant)
);

ALTER TABLE media.inbox
    ADD COLUMN owner_topic_id text COLLATE "C",
    ADD COLUMN epoch bigint,                    -- NULL: claimed by a release without epochs
    ADD COLUMN dead_lettered boolean,           -- true: ended, or is about to end, as a dead letter
    ADD COLUMN takes bigint;                    -- how often it was taken under an epoch
COMMENT ON COLUMN media.inbox.takes IS 'Changes with each take, which tells it from an upsert of a release without epochs';

-- The rule of releases without epochs holds for what they write: they know none of the columns above. They expect the claim of
-- a dead letter to be free, so that theirs takes it.
CREATE OR REPLACE FUNCTION media.inbox_first_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    was_done boolean := OLD.done OR NEW.done;
BEGIN
    IF OLD.done AND OLD.dead_lettered THEN
        NEW.done := false;
        NEW.owner_topic_id := NULL;
        NEW.epoch := NULL;
        NEW.dead_lettered := NULL;
        NEW.takes := NULL;
        NEW.claimed_at := now();
        RETURN NEW;
    END IF;
    NEW := OLD;
    NEW.done := was_done;
    RETURN NEW;
END
$$;
DROP TRIGGER inbox_first_owner ON media.inbox;
CREATE TRIGGER inbox_first_owner BEFORE UPDATE ON media.inbox FOR EACH ROW
WHEN (NEW.takes IS NOT DISTINCT FROM OLD.takes AND NEW.dead_lettered IS NOT DISTINCT FROM OLD.dead_lettered)
EXECUTE FUNCTION media.inbox_first_owner();

-- {"group_name": name, "rows": [{"topic", "topic_id", "partition", "generation", "member_id", "is_position_of_member",
-- "replaces_epoch", "replaces_generation", "replaces_member_id"}, …]}: one answer for each row, in order, with the new epoch, or
-- with the stored one that refuses the request.
CREATE FUNCTION media.mint_claim_epochs(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    given record;
    stored media.claim_epochs;
    of_tenant CONSTANT text := coalesce(media.current_tenant(), '');
    answers jsonb := '{}';
BEGIN
    FOR given IN
        SELECT * FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (
            topic text, topic_id text, partition bigint, generation bigint, member_id text, is_position_of_member boolean,
            replaces_epoch bigint, replaces_generation bigint, replaces_member_id text
        )) WITH ORDINALITY AS one (topic, topic_id, partition, generation, member_id, is_position_of_member,
                                   replaces_epoch, replaces_generation, replaces_member_id, place)
        ORDER BY topic COLLATE "C", topic_id COLLATE "C", partition
    LOOP
        -- Epoch 0 is that of no member.
        INSERT INTO media.claim_epochs (group_name, topic, topic_id, partition, epoch, generation, member_id, trusted_from)
        VALUES (request ->> 'group_name', given.topic, given.topic_id, given.partition, 0, -1, '', 1)
        ON CONFLICT DO NOTHING;
        SELECT * INTO stored FROM media.claim_epochs
        WHERE group_name = request ->> 'group_name' AND topic = given.topic AND topic_id = given.topic_id
          AND partition = given.partition AND tenant = of_tenant
        FOR UPDATE;
        IF given.generation > stored.generation
           OR (given.generation, given.member_id) = (stored.generation, stored.member_id)
           OR (given.replaces_epoch, given.replaces_generation, given.replaces_member_id)
              = (stored.epoch, stored.generation, stored.member_id) THEN
            UPDATE media.claim_epochs SET
                epoch = stored.epoch + 1, generation = given.generation, member_id = given.member_id, minted_at = now(),
                trusted_from = CASE WHEN given.is_position_of_member THEN stored.trusted_from ELSE stored.epoch + 1 END
            WHERE group_name = request ->> 'group_name' AND topic = given.topic AND topic_id = given.topic_id
              AND partition = given.partition AND tenant = of_tenant;
            answers := answers || jsonb_build_object(given.place::text, jsonb_build_object('minted', stored.epoch + 1));
        ELSE
            answers := answers || jsonb_build_object(given.place::text, jsonb_build_object('refused', jsonb_build_object(
                'epoch', stored.epoch, 'generation', stored.generation, 'member_id', stored.member_id,
                'trusted_from', stored.trusted_from)));
        END IF;
    END LOOP;
    RETURN coalesce((SELECT json_agg(answer.value ORDER BY answer.key::bigint) FROM jsonb_each(answers) AS answer), '[]');
END
$$;

-- The fences of a request whose epoch is the stored one. They stay so until the end of the transaction: a mint waits.
CREATE FUNCTION media.valid_claim_fences(request json)
RETURNS TABLE (topic text, partition bigint, topic_id text, epoch bigint, trusted_from bigint)
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    RETURN QUERY
        SELECT stored.topic::text, stored.partition, nullif(stored.topic_id, '')::text, stored.epoch, stored.trusted_from
        FROM media.claim_epochs AS stored
        JOIN json_to_recordset(request -> 'fences') AS fence (topic text, topic_id text, partition bigint, epoch bigint)
            ON stored.topic = fence.topic AND stored.topic_id = fence.topic_id AND stored.partition = fence.partition
        WHERE stored.group_name = request ->> 'group_name' AND stored.tenant = coalesce(media.current_tenant(), '')
          AND stored.epoch = fence.epoch
        ORDER BY stored.topic, stored.topic_id, stored.partition
        FOR SHARE OF stored;
END
$$;

-- {"group_name": name, "passed": [{"topic", "topic_id", "partition", "below", "epoch"}, …], "fences": [{"topic", "topic_id",
-- "partition", "epoch"}, …], "rows": [{"asset_id", "revision", "topic", "partition", "owner_offset", "ground", "named": [{"topic",
-- "topic_id", "partition", "owner_offset"}, …], "named_epoch"}, …]}: completes claims below commits, claims the rows, and reads
-- their assets. `ground` is null, `redrive` or `abandoned`, with the records that it names and the epoch of the claim. The answer has the places (from 1) of rows
-- whose partition is fenced, and the claim of each row that was refused.
CREATE FUNCTION media.claim_batch(request json) RETURNS json
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
    refused jsonb := '[]';
    existing json;
BEGIN
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

    -- Free claims, the first of a batch before the others. In the order of the key, so that two batches cannot deadlock.
    WITH fence AS MATERIALIZED (SELECT * FROM media.valid_claim_fences(request)),
    wanted AS (
        SELECT * FROM ROWS FROM (json_to_recordset(request -> 'rows') AS (
            asset_id uuid, revision bigint, topic text, partition bigint, owner_offset bigint, ground text,
            named jsonb, named_epoch bigint
        )) WITH ORDINALITY AS one (asset_id, revision, topic, partition, owner_offset, ground, named, named_epoch, place)
    ),
    allowed AS (SELECT wanted.*, fence.topic_id, fence.epoch, fence.trusted_from
                FROM wanted JOIN fence ON fence.topic = wanted.topic AND fence.partition = wanted.partition),
    first AS (SELECT DISTINCT ON (asset_id, revision) * FROM allowed ORDER BY asset_id, revision, place),
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
            WHERE place NOT IN (SELECT place FROM granted))
    INTO fenced, others;

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

    SELECT json_agg(asset) INTO existing FROM media.assets AS asset
    WHERE asset_id IN (SELECT (value ->> 'asset_id')::uuid FROM json_array_elements(request -> 'rows'));
    RETURN json_build_object('fenced', coalesce(fenced, '[]'), 'refused', refused, 'assets', coalesce(existing, '[]'));
END
$$;

-- {"group_name": name, "fences": […], "rows": [{"asset_id", "revision", "owner_topic", "owner_topic_id", "owner_partition",
-- "owner_offset", "epoch", "topic", "partition", "done", "dead_lettered"}, …]}: sets the state of claims that are not done, each
-- only if this owner holds it since this epoch; `topic` and `partition` are those of the row's fence. The answer has the
-- partitions that are not fenced.
CREATE FUNCTION media.end_claims(request json) RETURNS json
LANGUAGE plpgsql SET search_path = '' SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    given record;
    valid json;
BEGIN
    SELECT coalesce(json_agg(fence), '[]') INTO valid FROM media.valid_claim_fences(request) AS fence;
    FOR given IN
        SELECT ended.* FROM json_to_recordset(request -> 'rows') AS ended (
            asset_id uuid, revision bigint, owner_topic text, owner_topic_id text, owner_partition bigint,
            owner_offset bigint, epoch bigint, topic text, partition bigint, done boolean, dead_lettered boolean)
        JOIN json_to_recordset(valid) AS fence (topic text, partition bigint)
            ON fence.topic = ended.topic AND fence.partition = ended.partition
        ORDER BY ended.asset_id, ended.revision
    LOOP
        UPDATE media.inbox AS claim SET
            done = given.done, dead_lettered = given.dead_lettered, takes = coalesce(claim.takes, 0) + 1
        WHERE claim.group_name = request ->> 'group_name' AND claim.asset_id = given.asset_id
          AND claim.revision = given.revision AND claim.tenant = coalesce(media.current_tenant(), '')
          AND NOT claim.done AND claim.epoch IS NOT DISTINCT FROM given.epoch
          AND (claim.owner_topic, claim.owner_partition, claim.owner_offset)
              = (given.owner_topic, given.owner_partition, given.owner_offset)
          AND coalesce(claim.owner_topic_id = given.owner_topic_id, true);
    END LOOP;
    RETURN json_build_object('valid', valid);
END
$$;

-- When the last claim without an epoch was taken; from then on every claim is fenced.
CREATE FUNCTION media.unfenced_claims() RETURNS json
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT json_build_object('last_at', max(claimed_at)) FROM media.inbox WHERE epoch IS NULL
$$;

GRANT SELECT ON media.claim_epochs TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT INSERT, UPDATE ON media.claim_epochs TO mfctl_service, mfctl_operator;
ALTER TABLE media.claim_epochs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON media.claim_epochs TO mfctl_reader, mfctl_service
    USING (tenant = (SELECT media.current_tenant())) WITH CHECK (tenant = (SELECT media.current_tenant()));
CREATE POLICY every_tenant ON media.claim_epochs TO mfctl_operator USING (true) WITH CHECK (true);
REVOKE ALL ON FUNCTION media.mint_claim_epochs(json), media.valid_claim_fences(json), media.claim_batch(json),
    media.end_claims(json), media.unfenced_claims() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION media.mint_claim_epochs(json), media.valid_claim_fences(json), media.claim_batch(json),
    media.end_claims(json) TO mfctl_service, mfctl_operator;
GRANT EXECUTE ON FUNCTION media.unfenced_claims() TO mfctl_reader, mfctl_service, mfctl_operator;
