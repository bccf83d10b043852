//! The migrations on a real database.

use std::time::Duration;

use futures_util::future::join_all;
use mfctl_core::ports::{ClaimFence, ErrorKind, Migrations};

use super::server::{Database, ROLES, connect};

#[tokio::test]
async fn migrations_are_applied_once_and_give_the_database_an_identity() {
    let database = Database::fresh().await;
    let migrations = database.migrations();
    let before = migrations.status().await.unwrap();
    assert!(before.applied.is_empty() && before.identity.is_none() && !before.pending.is_empty());
    let applied = database.migrate().await;
    assert_eq!(applied, before.pending);
    let after = migrations.status().await.unwrap();
    assert_eq!((after.applied.len(), after.pending.len()), (applied.len(), 0));
    assert_eq!(before.claim_fence, ClaimFence::NotMigrated);
    assert!(matches!(after.claim_fence, ClaimFence::Holds { .. }), "{after:?}");
    assert!(migrations.migrate().await.unwrap().is_empty());
    let identity = migrations.identity().await.unwrap().unwrap();
    assert_eq!(migrations.status().await.unwrap().identity, Some(identity.clone()));
    let other = Database::migrated().await;
    assert_ne!(other.migrations().identity().await.unwrap().unwrap(), identity);
}

#[tokio::test]
async fn case_24_concurrent_or_dirty_migration_is_refused() {
    let database = Database::fresh().await;
    // Of several concurrent callers one applies; the others wait and find nothing to do.
    let _roles_guard = ROLES.lock().await;
    let callers: Vec<_> = (0..4).map(|_| database.migrations()).collect();
    let applied = join_all(callers.iter().map(Migrations::migrate)).await;
    let counts: Vec<usize> = applied.into_iter().map(|applied| applied.unwrap().len()).collect();
    assert_eq!(counts.iter().filter(|count| **count > 0).count(), 1, "{counts:?}");

    // On a lock timeout the error names the holder.
    let holder = connect(&format!("{}?application_name=slow", database.url())).await;
    holder.execute("SELECT pg_advisory_lock(7883097549444181351)", &[]).await.unwrap();
    let error = database.migrations().lock_timeout(Duration::from_millis(300)).migrate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{}", error.full());
    assert!(error.full().contains("slow (pid "), "{}", error.full());
    assert!(database.migrations().status().await.unwrap().migrating.unwrap().starts_with("slow (pid "));
    drop(holder);

    let migrations = database.migrations();
    let refused = async |change: &str, back: &str, kind: ErrorKind, hint: &str| {
        database.execute(change).await;
        let error = migrations.migrate().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.full());
        assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
        assert_eq!(migrations.pending().await.unwrap_err().kind(), kind);
        database.execute(back).await;
        assert!(migrations.migrate().await.is_ok());
    };
    let table = "media.schema_migrations";
    refused(
        &format!("UPDATE {table} SET dirty = true WHERE version = 3"),
        &format!("UPDATE {table} SET dirty = false WHERE version = 3"),
        ErrorKind::Corrupt,
        "DELETE FROM media.schema_migrations WHERE version = 3 AND dirty",
    )
    .await;
    refused(
        &format!("UPDATE {table} SET checksum = 'x' || checksum WHERE version = 2"),
        &format!("UPDATE {table} SET checksum = substr(checksum, 2) WHERE version = 2"),
        ErrorKind::Corrupt,
        "0.",
    )
    .await;
    refused(
        &format!("INSERT INTO {table} VALUES (900, 'later', '', now(), false, '9.0.0')"),
        &format!("DELETE FROM {table} WHERE version = 900"),
        ErrorKind::TooNew,
        "upgrade",
    )
    .await;
}

/// A failed migration leaves neither tables nor its row.
#[tokio::test]
async fn failed_migration_can_be_retried() {
    let database = Database::fresh().await;
    // A table that conflicts with the second migration.
    database.execute("CREATE SCHEMA media; CREATE TABLE media.sources (x int)").await;
    let _roles_guard = ROLES.lock().await;
    let migrations = database.migrations();
    let error = migrations.migrate().await.unwrap_err();
    assert!(error.full().contains("0002_tables") && error.full().contains("42P07"), "{}", error.full());
    let status = migrations.status().await.unwrap();
    assert_eq!((status.applied.len(), status.dirty.len()), (1, 0));
    assert_eq!(database.text("SELECT (to_regclass('media.assets') IS NULL)::text").await, "true");
    database.execute("DROP TABLE media.sources").await;
    migrations.migrate().await.unwrap();
}

/// Jobs of releases that recorded outcomes alone are known once the database is migrated.
#[tokio::test]
async fn jobs_of_earlier_outcomes_are_recorded_by_the_migration() {
    let database = Database::migrated().await;
    database.undo_last_migration().await;
    database
        .execute(
            "INSERT INTO media.job_outcomes (tenant, path, job_id, outcome, at)
             SELECT 'tenant-' || n % 3, '/media/' || n,
                 (lpad((n % 3)::text, 8, '0') || '-0000-7000-8000-000000000000')::uuid, 'accepted', now()
             FROM generate_series(1, 300) AS n",
        )
        .await;
    assert_eq!(database.migrate().await.len(), 1);
    let jobs = "SELECT string_agg(tenant || ' ' || left(job_id::text, 8), ', ' ORDER BY job_id) FROM media.jobs
                WHERE recorded_at IS NOT NULL AND lease_epoch IS NULL";
    assert_eq!(database.text(jobs).await, "tenant-0 00000000, tenant-1 00000001, tenant-2 00000002");
}

/// The filter of the policy for tenants is estimated to leave one row where a tenant is new. A plan that relies on it reads
/// the whole table, and compares each row with each record of a batch.
#[tokio::test]
async fn claims_and_assets_of_a_batch_are_looked_up_by_their_keys() {
    let database = Database::migrated().await;
    let client = connect(&database.url()).await;
    let rows_of = |tenant: &str, count: u32| {
        format!(
            "INSERT INTO media.assets (asset_id, tenant, sha256, size_bytes, media_type, event_id, job_id,
                 staging_bucket, staging_key, staged_at, updated_at)
             SELECT gen_random_uuid(), '{tenant}', repeat('0', 64), 1, 'image/png', gen_random_uuid(), gen_random_uuid(),
                 'b', 'k', now(), now() FROM generate_series(1, {count});
             INSERT INTO media.inbox (group_name, asset_id, revision, tenant, owner_topic, owner_partition, owner_offset,
                                      done, epoch, takes)
             SELECT 'g', asset_id, 1, tenant, 't', 0, row_number() OVER (), true, 1, 1 FROM media.assets
             WHERE tenant = '{tenant}';"
        )
    };
    let [others, ours] = [rows_of("other", 2000), rows_of("default", 5000)];
    let read = "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_xact_user_tables
                WHERE relname IN ('inbox', 'assets')";
    client
        .batch_execute(&format!(
            "{others} ANALYZE media.assets; ANALYZE media.inbox; {ours}
             GRANT mfctl_service TO CURRENT_USER; SET ROLE mfctl_service;
             SELECT set_config('request.jwt.claims', '{{\"tenant\":\"default\"}}', false);
             SELECT media.mint_claim_epochs('{{\"group_name\": \"g\", \"rows\": [{{\"topic\": \"t\",
                 \"topic_id\": \"x\", \"partition\": 0, \"generation\": 1, \"member_id\": \"m\",
                 \"is_position_of_member\": true}}]}}');
             BEGIN"
        ))
        .await
        .unwrap();
    let before = client.query_one(read, &[]).await.unwrap().get::<_, i64>(0);
    client
        .batch_execute(
            "SELECT media.claim_batch(json_build_object('group_name', 'g',
                 'passed', '[{\"topic\": \"t\", \"topic_id\": \"x\", \"partition\": 0, \"below\": 9, \"epoch\": 1}]'::json,
                 'fences', '[{\"topic\": \"t\", \"topic_id\": \"x\", \"partition\": 0, \"epoch\": 1}]'::json,
                 'rows', (SELECT json_agg(json_build_object('asset_id', gen_random_uuid(), 'revision', 1, 'topic', 't',
                              'partition', 0, 'owner_offset', 10000 + n, 'named', '[]'::json))
                          FROM generate_series(1, 100) AS n)))",
        )
        .await
        .unwrap();
    let read = client.query_one(read, &[]).await.unwrap().get::<_, i64>(0) - before;
    assert_eq!(read, 0, "rows were read by sequential scans");
    client.batch_execute("COMMIT").await.unwrap();
    let claimed = "SELECT count(*) FROM media.inbox WHERE NOT done";
    assert_eq!(client.query_one(claimed, &[]).await.unwrap().get::<_, i64>(0), 100);
}

/// A full table scan is fast on the small catalogs of tests but not on large ones.
#[tokio::test]
async fn statements_use_indexes_under_row_level_security() {
    let database = Database::migrated().await;
    let client = connect(&database.url()).await;
    client
        .batch_execute(
            "INSERT INTO media.assets (asset_id, tenant, sha256, size_bytes, media_type, event_id, job_id,
                 staging_bucket, staging_key, staged_at, updated_at, collection)
             SELECT gen_random_uuid(), 'default', repeat('0', 64), 1, 'image/png', gen_random_uuid(), gen_random_uuid(),
                 'b', 'k', now(), now(), CASE WHEN n % 500 = 0 THEN 'poems' END FROM generate_series(1, 20000) AS n;
             INSERT INTO media.job_outcomes (tenant, path, job_id, outcome, at, asset_id)
             SELECT 'default', '/media/' || n, (lpad((n % 20)::text, 8, '0') || '-0000-0000-0000-000000000000')::uuid,
                 'accepted', now(), gen_random_uuid() FROM generate_series(1, 20000) AS n;
             INSERT INTO media.inbox (group_name, asset_id, revision, tenant, owner_topic, owner_partition, owner_offset)
             SELECT 'g', gen_random_uuid(), 1, 'default', 't', n % 6, n FROM generate_series(1, 20000) AS n;
             INSERT INTO media.sources (tenant, path, asset_id, host, job_id, seen_at)
             SELECT 'default', '/media/' || n, gen_random_uuid(), 'h', gen_random_uuid(), now()
             FROM generate_series(1, 20000) AS n;
             ANALYZE media.assets; ANALYZE media.job_outcomes; ANALYZE media.inbox; ANALYZE media.sources;
             GRANT mfctl_service TO CURRENT_USER; SET ROLE mfctl_service;
             SELECT set_config('request.jwt.claims', '{\"tenant\":\"default\"}', false)",
        )
        .await
        .unwrap();
    for (sql, index) in [
        ("SELECT * FROM media.assets WHERE asset_id > '80000000-0000-0000-0000-000000000000' ORDER BY asset_id LIMIT 100", "assets_pkey"),
        ("SELECT * FROM media.assets WHERE asset_id = ANY (ARRAY(SELECT '80000000-0000-0000-0000-000000000000'::uuid))", "assets_pkey"),
        ("SELECT * FROM media.assets WHERE event_id = '80000000-0000-0000-0000-000000000000'", "assets_by_event"),
        (
            "SELECT * FROM media.assets WHERE asset_id > '80000000-0000-0000-0000-000000000000' AND collection = 'poems'
             ORDER BY asset_id LIMIT 10",
            "assets_by_collection",
        ),
        (
            "SELECT * FROM media.assets WHERE asset_id > '80000000-0000-0000-0000-000000000000'
             AND dead_lettered IS NOT NULL ORDER BY asset_id LIMIT 10",
            "assets_dead_lettered",
        ),
        (
            "SELECT * FROM media.job_outcomes
             WHERE tenant = 'default' AND (path_head, path) > ('/media/5', '/media/5')
             ORDER BY path_head, path, job_id DESC LIMIT 100",
            "job_outcomes_by_file",
        ),
        (
            "SELECT * FROM media.job_outcomes WHERE tenant > 'default'
             ORDER BY tenant, path_head, path, job_id DESC LIMIT 100",
            "job_outcomes_by_file",
        ),
        (
            "SELECT * FROM media.job_outcomes WHERE tenant > ''
             ORDER BY tenant, path_head, path, job_id DESC LIMIT 100",
            "job_outcomes_by_file",
        ),
        (
            "SELECT * FROM media.job_outcomes WHERE job_id = '00000001-0000-0000-0000-000000000000'
             AND (path_head, path) > ('/media/5', '/media/5') ORDER BY path_head, path LIMIT 10",
            "job_outcomes_by_",
        ),
        (
            "SELECT * FROM media.job_outcomes WHERE job_id = '00000001-0000-0000-0000-000000000000'
             AND asset_id = '80000000-0000-0000-0000-000000000000'",
            "job_outcomes",
        ),
        ("SELECT * FROM media.sources WHERE asset_id = '80000000-0000-0000-0000-000000000000' ORDER BY seen_at DESC, path LIMIT 10", "sources_by_asset"),
        ("SELECT * FROM media.sources WHERE path_key = media.path_key('/media/7') AND tenant = 'default'", "sources_pkey"),
        (
            "UPDATE media.inbox SET done = true WHERE group_name = 'g' AND owner_topic = 't' AND owner_partition = 1
             AND owner_offset < 100 AND NOT done",
            "inbox_open",
        ),
    ] {
        let plan = client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{sql}\n{plan}");
    }
}
