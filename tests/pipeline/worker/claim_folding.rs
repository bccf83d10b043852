//! Old claims are removed while workers run, and their records are not processed again.

use mfctl::ops::claim_folding::ClaimFolding;
use mfctl_core::domain::{NewRecord, Stage, Timestamp};

use super::platform::Platform;

const RECORDS: u64 = 6;

/// Removes every record of the input, as retention does.
const EXPIRE_INPUT: &str = "
    DELETE FROM records
    WHERE part_id IN (SELECT part_id FROM partitions NATURAL JOIN topics WHERE name = 'ingest.raw');
    UPDATE partitions SET low = next_offset
    WHERE topic_id = (SELECT topic_id FROM topics WHERE name = 'ingest.raw')";

async fn fold(platform: &Platform) -> u64 {
    let group = Stage::Persist.group(&platform.env).unwrap();
    let (log, catalog) = (platform.ports.log.as_ref(), platform.ports.catalog.as_ref());
    ClaimFolding::default().run(log, catalog, (Stage::Persist, &group), Timestamp::now()).await.unwrap()
}

fn claims(platform: &Platform) -> u64 {
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    platform.database().query_row("SELECT count(*) FROM media_inbox", [], count).unwrap().unsigned_abs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_records_that_retention_removed_are_folded_and_their_assets_are_not_emitted_again() {
    let platform = Platform::new().await;
    let texts: Vec<String> = (0..RECORDS).map(|at| format!("text {at}")).collect();
    let (assets, records): (Vec<_>, Vec<NewRecord>) = platform.stage(&texts).await.into_iter().unzip();
    platform.ports.log.publish(records.clone()).await.unwrap();
    assert_eq!(platform.drain(platform.persist()).await.summary.emitted, RECORDS);
    // The claims of the last commit are completed by the next member.
    platform.drain(platform.persist()).await;
    assert_eq!((fold(&platform).await, claims(&platform)), (0, RECORDS), "the log still has the records");
    platform.database().execute_batch(EXPIRE_INPUT).unwrap();
    assert_eq!((fold(&platform).await, claims(&platform)), (RECORDS, 0));
    platform.ports.log.publish(records).await.unwrap();
    let summary = platform.drain(platform.persist()).await.summary;
    assert_eq!((summary.emitted, summary.skipped_duplicates), (0, RECORDS));
    platform.assert_each_emitted_once(&assets).await;
}
