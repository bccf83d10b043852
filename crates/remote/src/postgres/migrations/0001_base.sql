-- Who may come in, and what the database is. The runner made the schema `media` and `media.schema_migrations` before.
--
-- Roles belong to the whole server: another database of it may have made them. They log in nowhere; PostgREST's
-- `authenticator` becomes the one that a token names:
--   media_anon      who has no token: may nothing
--   mfctl_reader    looks at the token's tenant
--   mfctl_service   ingest and workers of the token's tenant
--   mfctl_operator  the same for every tenant
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['media_anon', 'mfctl_reader', 'mfctl_service', 'mfctl_operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database's migration was faster
            END;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticator')
           AND NOT pg_has_role('authenticator', wanted, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO authenticator', wanted);
        END IF;
    END LOOP;
END
$$;

CREATE TABLE media.meta (
    key   text PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE media.meta IS 'What this database is; `identity` is what profiles pin';
INSERT INTO media.meta VALUES ('identity', gen_random_uuid()::text);

CREATE TYPE media.asset_state AS ENUM ('staged', 'ingested', 'enriched', 'revoked');
COMMENT ON TYPE media.asset_state IS 'In the order of the rank: within a revision a state never goes backwards';
CREATE TYPE media.stage AS ENUM ('persist', 'enrich');

-- The tenant of the request's token; NULL where there is none. Policies ask once a statement.
CREATE FUNCTION media.current_tenant() RETURNS text
LANGUAGE sql STABLE SET search_path = ''
AS $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'tenant' $$;

-- A path in an index: whole paths can be larger than what an entry may be.
CREATE FUNCTION media.path_key(path text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$ BEGIN RETURN pg_catalog.sha256(pg_catalog.convert_to(path, 'UTF8')); END $$;
