//! What the contract does not cover: the query plans of the statements, and the statements of earlier formats.

use rusqlite::Connection;

use super::*;
use crate::{DataFolder, OpenMode};
use mfctl_core::ports::ClaimFence;

fn query_plan(connection: &Connection, sql: &str) -> String {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let values = vec![rusqlite::types::Value::Null; explain.parameter_count()];
    let lines = explain.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
    lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

/// A full table scan is fast on the small catalogs of tests and slow on large ones.
#[tokio::test]
async fn statements_use_an_index() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    let expectations = [
        (
            "UPDATE media_inbox SET done = 1
             WHERE group_id = 1 AND topic_id = 2 AND partition = 3 AND \"offset\" < 4 AND done = 0
               AND (epoch IS NULL OR epoch = 5) AND (owner_topic_id IS NULL OR owner_topic_id = 'a')",
            "media_inbox_open (group_id=? AND topic_id=? AND partition=? AND offset<?)",
        ),
        (
            "SELECT * FROM media_job_outcomes WHERE (tenant, path) > ('a', 'b') ORDER BY tenant, path, job_id DESC LIMIT 1",
            "USING PRIMARY KEY",
        ),
        ("SELECT * FROM media_job_outcomes WHERE job_id = x'00' AND path > 'a' ORDER BY path", "by_job (job_id=? AND path>?)"),
        (names::PATHS, "SEARCH seen USING PRIMARY KEY (tenant=? AND path=?)"),
        (names::SIGHTINGS, "SEARCH seen USING PRIMARY KEY (tenant=? AND path=?)"),
        ("SELECT path FROM media_sources WHERE asset_id = x'00' ORDER BY seen_at DESC, path", "by_asset (asset_id=?)"),
        (
            "SELECT * FROM media_assets WHERE asset_id > x'00' AND asset_id <= x'ff' AND dead_lettered IS NOT NULL
             ORDER BY asset_id",
            "media_assets_dead_lettered",
        ),
        (
            "SELECT * FROM media_assets WHERE asset_id > x'00' AND asset_id <= x'ff' AND collection = 'a' ORDER BY asset_id",
            "media_assets_by_collection (collection=? AND asset_id>? AND asset_id<?)",
        ),
        (
            "SELECT * FROM media_assets AS a WHERE asset_id > x'00' AND EXISTS (SELECT 1 FROM media_job_outcomes AS seen
             WHERE seen.job_id = x'00' AND seen.asset_id = a.asset_id) ORDER BY asset_id",
            "media_job_outcomes_by_asset (job_id=? AND asset_id=?)",
        ),
    ];
    folder
        .db()
        .read("explain", move |connection| {
            for (sql, expected) in expectations {
                let plan = query_plan(connection, sql);
                assert!(plan.contains(expected), "{sql}\n{plan}");
                assert!(!plan.contains("TEMP B-TREE FOR ORDER BY") || sql.contains("media_sources"), "{sql}\n{plan}");
            }
            Ok(())
        })
        .await
        .unwrap();
}

/// A process of an earlier format does not know of folding: it finds the claim done.
#[tokio::test]
async fn process_of_an_earlier_format_does_not_claim_what_was_folded() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    let claim_as_before = |connection: &Connection| {
        connection.execute_batch(
            "INSERT INTO media_assets (asset_id, tenant, sha256, size_bytes, media_type, revision, state, event_id,
                                       job_id, staging_bucket, staging_key, staged_at, updated_at, folded_claims)
             VALUES (x'01', 't', x'', 0, '', 1, 1, x'', x'', '', '', 0, 0, '{\"1\": 2}')",
        )?;
        let sql = "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\", epoch)
                   VALUES (?1, x'01', ?2, 1, 0, 20, ?3) ON CONFLICT DO NOTHING";
        let claim = |group: i64, revision: i64, epoch: Option<i64>| connection.execute(sql, (group, revision, epoch));
        let claimed =
            [claim(1, 1, None)?, claim(1, 2, Some(7))?, claim(1, 2, Some(7))?, claim(1, 3, None)?, claim(2, 1, None)?];
        let sql = "SELECT group_concat(group_id || ' ' || revision || ' ' || done, ', ')
                   FROM (SELECT * FROM media_inbox ORDER BY group_id, revision)";
        Ok((claimed, connection.query_row(sql, [], |row| row.get::<_, String>(0))?))
    };
    let claim = move |tx: &Connection| claim_as_before(tx).during("claim");
    let (claimed, claims) = folder.db().write("claim", claim).await.unwrap();
    assert_eq!((claimed, claims.as_str()), ([0, 0, 0, 1, 1], "1 1 1, 1 2 1, 1 3 0, 2 1 0"));
}

/// A process of an earlier format expects the claim of a dead letter to be free.
#[tokio::test]
async fn process_of_an_earlier_format_claims_what_ended_as_a_dead_letter_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    let claim_as_before = |connection: &Connection| {
        let sql = "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\")
                   SELECT 1, asset_id, 1, 1, 0, 20 FROM media_inbox WHERE true ON CONFLICT DO NOTHING";
        connection.execute_batch(
            "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\", done, epoch, dead_lettered)
             VALUES (1, x'01', 1, 1, 0, 10, 1, 7, 1), (1, x'02', 1, 1, 0, 11, 1, 7, NULL), (1, x'03', 1, 1, 0, 12, 0, 7, 1)",
        )?;
        connection.execute_batch(sql)?;
        connection.execute_batch(sql)?;
        let sql = "SELECT group_concat(\"offset\" || ' ' || done || ' ' || (epoch IS NULL), ', ')
                   FROM (SELECT * FROM media_inbox ORDER BY asset_id)";
        connection.query_row(sql, [], |row| row.get::<_, String>(0))
    };
    let claims = folder.db().write("claim", move |tx| claim_as_before(tx).during("claim")).await.unwrap();
    assert_eq!(claims, "20 0 1, 11 1 0, 12 0 0");
}

/// The commit of such a process completes no claim under an epoch, and says nothing of a pending dead letter.
#[tokio::test]
async fn record_that_an_earlier_format_claims_again_holds_its_claim_without_an_epoch() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    let claim_as_before = |connection: &Connection| {
        connection.execute_batch(
            "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\", epoch, dead_lettered)
             VALUES (1, x'01', 1, 1, 0, 10, 7, 1), (1, x'02', 1, 1, 0, 11, 7, 1);
             INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\")
             VALUES (1, x'01', 1, 1, 0, 10), (1, x'02', 1, 1, 0, 12) ON CONFLICT DO NOTHING",
        )?;
        let sql = "SELECT group_concat(\"offset\" || ' ' || (epoch IS NULL) || ' ' || coalesce(dead_lettered, 0), ', ')
                   FROM (SELECT * FROM media_inbox ORDER BY asset_id)";
        connection.query_row(sql, [], |row| row.get::<_, String>(0))
    };
    let claims = folder.db().write("claim", move |tx| claim_as_before(tx).during("claim")).await.unwrap();
    assert_eq!(claims, "10 1 0, 11 0 1");
}

/// A process of an earlier format frees the claim of a dead letter, which another member may have taken since.
#[tokio::test]
async fn process_of_an_earlier_format_frees_only_claims_without_an_epoch() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    let free_as_before = |connection: &Connection| {
        connection.execute_batch(
            "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\", epoch)
             VALUES (1, x'01', 1, 1, 0, 10, 7), (1, x'02', 1, 1, 0, 11, NULL);
             DELETE FROM media_inbox WHERE done = 0",
        )?;
        connection.query_row("SELECT group_concat(\"offset\") FROM media_inbox", [], |row| row.get::<_, String>(0))
    };
    let claims = folder.db().write("free", move |tx| free_as_before(tx).during("free")).await.unwrap();
    assert_eq!(claims, "10");
}

#[tokio::test]
async fn claims_are_fenced_since_the_last_one_of_an_earlier_format() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    let set = async |sql: &'static str| {
        folder.db().write("set", move |tx| tx.execute_batch(sql).during("set")).await.unwrap();
        DataFolder::format(data.path()).unwrap().claim_fence
    };
    let since_of = |fence| match fence {
        ClaimFence::Holds { since } => since,
        other => panic!("{other:?}"),
    };
    let created = since_of(DataFolder::format(data.path()).unwrap().claim_fence);
    let long_ago = "UPDATE meta SET value = '2020-01-02T03:04:05.678Z' WHERE key = 'last_unfenced_claim_at'";
    let set_back = since_of(set(long_ago).await);
    assert_eq!(set_back, "2020-01-02T03:04:05.678Z".parse().unwrap());
    let under_an_epoch =
        "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\", epoch)
                          VALUES (1, x'01', 1, 1, 0, 10, 1)";
    assert_eq!(since_of(set(under_an_epoch).await), set_back);
    // It claims what another record holds, and gets nothing.
    let as_before = "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\")
                     VALUES (1, x'01', 1, 1, 0, 11) ON CONFLICT DO NOTHING";
    assert!(since_of(set(as_before).await) >= created);
    let unknown = set("DELETE FROM meta WHERE key = 'last_unfenced_claim_at'").await;
    assert_eq!(unknown, ClaimFence::Unknown);
}
