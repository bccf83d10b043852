-- The rules that hold whoever writes, and in whatever order.

-- A write that would take an asset back changes nothing; one that would make it another asset is refused.
CREATE FUNCTION media.assets_only_forward() RETURNS trigger
LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
    IF (NEW.asset_id, NEW.tenant, NEW.sha256, NEW.size_bytes, NEW.event_id)
       IS DISTINCT FROM (OLD.asset_id, OLD.tenant, OLD.sha256, OLD.size_bytes, OLD.event_id) THEN
        RAISE EXCEPTION 'what an asset is never changes' USING ERRCODE = 'check_violation';
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER assets_only_forward BEFORE UPDATE ON media.assets FOR EACH ROW
WHEN (OLD.state = 'revoked' OR NEW.revision < OLD.revision OR (NEW.revision = OLD.revision AND NEW.state < OLD.state)
      OR (NEW.asset_id, NEW.tenant, NEW.sha256, NEW.size_bytes, NEW.event_id)
         IS DISTINCT FROM (OLD.asset_id, OLD.tenant, OLD.sha256, OLD.size_bytes, OLD.event_id))
EXECUTE FUNCTION media.assets_only_forward();

-- A claim keeps its first owner, and what is done stays done: so a bulk upsert claims, and answers who has each.
CREATE FUNCTION media.inbox_first_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    was_done boolean := OLD.done OR NEW.done;
BEGIN
    NEW := OLD;
    NEW.done := was_done;
    RETURN NEW;
END
$$;

CREATE TRIGGER inbox_first_owner BEFORE UPDATE ON media.inbox FOR EACH ROW EXECUTE FUNCTION media.inbox_first_owner();

-- Counts, once a statement. As their owner: those who write assets may not write what is counted. Rows are taken in the
-- order of their key, so that two never wait for each other.
CREATE FUNCTION media.count_assets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO media.totals AS total
        SELECT tenant, state, dead_lettered IS NOT NULL, pg_backend_pid() % 16, count(*), sum(size_bytes)
        FROM added GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (tenant, state, dead_lettered, slot)
        DO UPDATE SET assets = total.assets + excluded.assets, bytes = total.bytes + excluded.bytes;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO media.totals AS total
        SELECT tenant, state, dead_lettered IS NOT NULL, pg_backend_pid() % 16, -count(*), -sum(size_bytes)
        FROM gone GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (tenant, state, dead_lettered, slot)
        DO UPDATE SET assets = total.assets + excluded.assets, bytes = total.bytes + excluded.bytes;
    ELSE
        INSERT INTO media.totals AS total
        SELECT tenant, state, flagged, pg_backend_pid() % 16, sum(one), sum(one * size_bytes)
        FROM (SELECT tenant, state, dead_lettered IS NOT NULL AS flagged, 1 AS one, size_bytes FROM added
              UNION ALL
              SELECT tenant, state, dead_lettered IS NOT NULL, -1, size_bytes FROM gone) AS change
        GROUP BY 1, 2, 3 HAVING sum(one) <> 0 OR sum(one * size_bytes) <> 0 ORDER BY 1, 2, 3
        ON CONFLICT (tenant, state, dead_lettered, slot)
        DO UPDATE SET assets = total.assets + excluded.assets, bytes = total.bytes + excluded.bytes;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER assets_counted_added AFTER INSERT ON media.assets
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION media.count_assets();
CREATE TRIGGER assets_counted_changed AFTER UPDATE ON media.assets
REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION media.count_assets();
CREATE TRIGGER assets_counted_gone AFTER DELETE ON media.assets
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION media.count_assets();
