//! What the contract does not say: how the statements find their rows, and how fast they are.

use rusqlite::Connection;
use uuid::Uuid;

use super::*;
use crate::backends::embedded::{DataFolder, OpenMode};
use crate::domain::asset::Stage;
use crate::domain::event::Metadata;
use crate::domain::job::FileOutcome;
use crate::domain::names::keys;
use crate::domain::{BucketName, RecordAddress, Revision, Sha256, TopicName};

fn plan_of(connection: &Connection, sql: &str) -> String {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let lines = explain.query_map([], |row| row.get::<_, String>(3)).unwrap();
    lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

/// A statement that reads a whole table is fast on the small catalogs of tests and not on large ones.
#[tokio::test]
async fn statements_find_their_rows_by_index() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    let expectations = [
        (
            "UPDATE media_inbox SET done = 1
             WHERE group_id = 1 AND topic_id = 2 AND partition = 3 AND \"offset\" < 4 AND done = 0",
            "media_inbox_open (group_id=? AND topic_id=? AND partition=? AND offset<?)",
        ),
        (
            "SELECT * FROM media_job_outcomes WHERE (tenant, path) > ('a', 'b') ORDER BY tenant, path, job_id DESC LIMIT 1",
            "USING PRIMARY KEY",
        ),
        ("SELECT * FROM media_job_outcomes WHERE job_id = x'00' AND path > 'a' ORDER BY path", "by_job (job_id=? AND path>?)"),
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
                let plan = plan_of(connection, sql);
                assert!(plan.contains(expected), "{sql}\n{plan}");
                assert!(!plan.contains("TEMP B-TREE FOR ORDER BY") || sql.contains("media_sources"), "{sql}\n{plan}");
            }
            Ok(())
        })
        .await
        .unwrap();
}

fn staged(n: u64, job_id: JobId) -> StagedRow {
    let tenant = Tenant::default();
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.to_be_bytes());
    let sha256 = Sha256(digest);
    let event_id = EventId::fresh();
    StagedRow {
        asset_id: AssetId::of(&tenant, &sha256),
        sha256,
        size_bytes: 16 * 1024,
        media_type: "application/octet-stream".into(),
        event_id,
        job_id,
        staging: ObjectRef {
            bucket: BucketName::new("myfarsi-dev-media-staging").unwrap(),
            key: keys::staging(&tenant, job_id, event_id),
        },
        staged_at: Timestamp::UNIX_EPOCH,
        metadata: Metadata::default(),
        source_path: SourcePath::from_text(format!("/srv/media/archive/folder-{:03}/file-{n:06}.bin", n / 1000)),
        host: "host".into(),
        tenant,
    }
}

fn outcome(row: &StagedRow) -> JobOutcome {
    JobOutcome {
        job_id: row.job_id,
        tenant: row.tenant.clone(),
        path: row.source_path.clone(),
        outcome: FileOutcome::Accepted,
        asset_id: Some(row.asset_id),
        event_id: Some(row.event_id),
        size_bytes: Some(row.size_bytes),
        refusal: None,
        at: row.staged_at,
    }
}

/// Not a test of behaviour: prints rates. `cargo test --release --lib -- --ignored catalog::tests::rate --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn rate_of_20_000_assets_in_batches_of_500() {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    let catalog = SqliteCatalog::new(folder.db().clone());
    let job = JobId(Uuid::now_v7());
    let rows: Vec<StagedRow> = (0..20_000).map(|n| staged(n, job)).collect();
    let group = GroupName::new("mfctl.dev.persist").unwrap();
    macro_rules! timed {
        ($name:literal, |$batch:ident, $number:ident| $call:expr) => {
            let started = std::time::Instant::now();
            for ($number, $batch) in rows.chunks(500).enumerate() {
                $call.await.unwrap();
            }
            println!("{:>10}: {:?}", $name, started.elapsed());
        };
    }
    timed!("stage", |batch, _n| catalog.stage(batch.to_vec()));
    timed!("outcomes", |batch, _n| catalog.record_outcomes(batch.iter().map(outcome).collect()));
    timed!("published", |batch, _n| {
        let ids: Vec<AssetId> = batch.iter().map(|row| row.asset_id).collect();
        let catalog = &catalog;
        async move { catalog.mark_published(&ids, Timestamp::UNIX_EPOCH).await }
    });
    timed!("claim", |batch, n| {
        let owner = |k: usize| RecordAddress {
            topic: TopicName::known("ingest.raw"),
            partition: (k % 6) as u32,
            offset: (n * 500 + k) as i64,
        };
        let wish = |(k, row): (usize, &StagedRow)| ClaimRequest {
            asset_id: row.asset_id,
            revision: Revision::FIRST,
            owner: owner(k),
        };
        catalog.claim(&group, batch.iter().enumerate().map(wish).collect())
    });
    timed!("complete", |_batch, n| {
        let at = |partition| TopicPartition::new(TopicName::known("ingest.raw"), partition);
        let committed: Vec<(TopicPartition, i64)> = (0..6).map(|p| (at(p), (n as i64 + 1) * 500)).collect();
        let (catalog, group) = (&catalog, &group);
        async move { catalog.complete_claims(group, &committed).await }
    });
    timed!("advance", |batch, _n| {
        let step = |row: &StagedRow| Advance {
            asset_id: row.asset_id,
            revision: Revision::FIRST,
            to: AssetState::Ingested,
            at: Timestamp::UNIX_EPOCH,
            facts: None,
            stage: Stage::Persist,
        };
        catalog.advance(batch.iter().map(step).collect())
    });
    let started = std::time::Instant::now();
    let (mut cursor, mut listed) = (None::<String>, 0);
    loop {
        let page = catalog.latest_outcomes(cursor.as_deref(), 1000).await.unwrap();
        listed += page.items.len();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    println!("{listed} latest outcomes in pages of 1,000: {:?}", started.elapsed());
    println!("database: {} bytes", std::fs::metadata(folder.db().path()).unwrap().len());
}
