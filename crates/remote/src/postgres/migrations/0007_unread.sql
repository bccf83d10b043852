-- Counts the enriched assets of which nothing was read, by the reason: the first note of their facts. No index: one on columns that
-- each stage changes would end updates in place (HOT) of media.assets.
CREATE FUNCTION media.unread() RETURNS json
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT coalesce(json_agg(counted), '[]') FROM (
        SELECT left(facts -> 'notes' ->> 0, 200) AS reason, count(*) AS assets
        FROM media.assets
        WHERE state = 'enriched' AND facts ->> 'text_key' IS NULL AND facts ->> 'thumbnail_key' IS NULL
        GROUP BY left(facts -> 'notes' ->> 0, 200)
    ) AS counted
$$;

REVOKE ALL ON FUNCTION media.unread() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION media.unread() TO mfctl_reader, mfctl_service, mfctl_operator;
