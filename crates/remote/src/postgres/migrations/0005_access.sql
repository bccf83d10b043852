-- Who may do what. A row is its tenant's; `mfctl_operator` is of every tenant. Nobody may remove a row but a claim that is
-- not done.

GRANT USAGE ON SCHEMA media TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT SELECT ON media.meta, media.assets, media.totals, media.revisions, media.sources, media.inbox, media.job_outcomes
    TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT INSERT, UPDATE ON media.assets, media.sources, media.inbox, media.job_outcomes TO mfctl_service, mfctl_operator;
GRANT INSERT ON media.revisions TO mfctl_service, mfctl_operator;
GRANT DELETE ON media.inbox TO mfctl_service, mfctl_operator;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA media FROM PUBLIC;
GRANT EXECUTE ON FUNCTION media.current_tenant(), media.path_key(text), media.read_assets(json), media.list_assets(json),
    media.assets_of_path(json), media.latest_outcomes(json), media.outcomes_of_job(json), media.summary()
    TO mfctl_reader, mfctl_service, mfctl_operator;
GRANT EXECUTE ON FUNCTION media.stage(json), media.lock_assets(uuid[]), media.restage(json), media.mark_published(json),
    media.advance(json), media.flag_dead_letters(json), media.complete_claims(json)
    TO mfctl_service, mfctl_operator;

DO $$
DECLARE
    named text;
BEGIN
    FOREACH named IN ARRAY ARRAY['assets', 'totals', 'revisions', 'sources', 'inbox', 'job_outcomes'] LOOP
        EXECUTE format('ALTER TABLE media.%I ENABLE ROW LEVEL SECURITY', named);
        EXECUTE format('CREATE POLICY own_tenant ON media.%I TO mfctl_reader, mfctl_service
                        USING (tenant = (SELECT media.current_tenant()))
                        WITH CHECK (tenant = (SELECT media.current_tenant()))', named);
        EXECUTE format('CREATE POLICY every_tenant ON media.%I TO mfctl_operator USING (true) WITH CHECK (true)', named);
    END LOOP;
END
$$;

CREATE POLICY open_alone ON media.inbox AS RESTRICTIVE FOR DELETE TO mfctl_service, mfctl_operator USING (NOT done);

-- What the database is, is no tenant's; how it came to be is its owner's alone.
ALTER TABLE media.meta ENABLE ROW LEVEL SECURITY;
CREATE POLICY known ON media.meta FOR SELECT TO mfctl_reader, mfctl_service, mfctl_operator USING (true);
ALTER TABLE media.schema_migrations ENABLE ROW LEVEL SECURITY;
