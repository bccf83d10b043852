-- Claims of releases without epochs.

-- One row. The rows of the inbox do not tell: a claim may be taken under an epoch, or released, afterwards.
CREATE TABLE media.last_unfenced_claim (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    claimed_at  timestamptz NOT NULL            -- to the second; when the row was added, until there is one
);

-- As the owner: those who claim may not write the time. An UPDATE is skipped for one second after the last one, so that few
-- transactions wait for another. None waits while it has rows of the inbox: its first row decides, because now() is the same
-- in all of a transaction.
CREATE FUNCTION media.note_unfenced_claim() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    UPDATE media.last_unfenced_claim SET claimed_at = now() WHERE claimed_at < now() - interval '1 second';
    RETURN NEW;
END
$$;
-- It sees every claim of such a release, also of an asset that has one already: their upserts are inserts first.
CREATE TRIGGER inbox_unfenced_claim BEFORE INSERT ON media.inbox FOR EACH ROW WHEN (NEW.epoch IS NULL)
EXECUTE FUNCTION media.note_unfenced_claim();
INSERT INTO media.last_unfenced_claim (claimed_at) VALUES (now());

-- Nothing calls it; it looked at the inbox.
DROP FUNCTION media.unfenced_claims();

-- As before; and a record that such a release claims again was delivered to it: the claim is without an epoch from then on, and
-- open. Its commit has no epoch either, which completes no other claim.
CREATE OR REPLACE FUNCTION media.inbox_first_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    was_done boolean := OLD.done OR NEW.done;
    is_own boolean := (NEW.owner_topic, NEW.owner_partition, NEW.owner_offset)
                      = (OLD.owner_topic, OLD.owner_partition, OLD.owner_offset);
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
    IF is_own AND NOT was_done THEN
        NEW.owner_topic_id := NULL;
        NEW.epoch := NULL;
        NEW.dead_lettered := NULL;
        NEW.takes := NULL;
    END IF;
    RETURN NEW;
END
$$;

-- Only such a release frees claims, before the commit of a dead letter. One that has an epoch was taken since.
CREATE POLICY unfenced_alone ON media.inbox AS RESTRICTIVE FOR DELETE TO mfctl_service, mfctl_operator
    USING (epoch IS NULL);

GRANT SELECT ON media.last_unfenced_claim TO mfctl_reader, mfctl_service, mfctl_operator;
ALTER TABLE media.last_unfenced_claim ENABLE ROW LEVEL SECURITY;
CREATE POLICY known ON media.last_unfenced_claim FOR SELECT TO mfctl_reader, mfctl_service, mfctl_operator USING (true);
