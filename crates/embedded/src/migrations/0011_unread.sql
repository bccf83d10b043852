-- Counts the enriched assets of which nothing was read, by the reason: the first note of their facts. Facts that are damaged must
-- not fail the statements that read or replace them.

CREATE INDEX media_assets_unread
ON media_assets (CASE WHEN json_valid(facts) THEN substr(facts ->> '$.notes[0]', 1, 200) END)
WHERE state = 2
AND CASE WHEN json_valid(facts) THEN facts ->> '$.text_key' IS NULL AND facts ->> '$.thumbnail_key' IS NULL END;
