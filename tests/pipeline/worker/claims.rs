//! Claims of workers that ended, and records that their group passed without an output.

use std::sync::Arc;
use std::time::Duration;

use mfctl::dlq::decide::{RedriveDecision, record_to_send};
use mfctl::pipeline::worker::{StepError, WorkerEnd, WorkerOptions};
use mfctl_core::domain::dead_letter::DeadLetterInfo;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, NewRecord, Record, Stage};
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::EventLog as _;
use tokio::sync::watch;

use super::faulty_log::FaultyLog;
use super::late_catalog::{CatalogWrite, LateCatalog};
use super::platform::{Platform, ScriptedAction, until_drained};
use crate::contract::harness::eventually;

const RECORDS: usize = 6;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Stages `RECORDS` texts, and returns their assets and records.
async fn staged(platform: &Platform) -> (Vec<AssetId>, Vec<NewRecord>) {
    let texts: Vec<String> = (0..RECORDS).map(|at| format!("text {at}")).collect();
    platform.stage(&texts).await.into_iter().unzip()
}

fn count(platform: &Platform, sql: &str) -> i64 {
    platform.database().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn execute(platform: &Platform, sql: &str) {
    platform.database().execute_batch(sql).unwrap();
}

/// Runs a worker that claims every record and is killed before it processes one.
async fn killed_with_claims(platform: &Platform) {
    let (_never, blocked) = watch::channel(false);
    let step = platform.scripted(move |_, _| ScriptedAction::WaitFor(blocked.clone()));
    let claimed = eventually(TIMEOUT, "every record is claimed", async || {
        count(platform, "SELECT count(*) FROM media_inbox WHERE done = 0") == RECORDS as i64
    });
    tokio::select! {
        outcome = platform.run(Arc::new(step), platform.worker_ports(), WorkerOptions::default()) => panic!("{outcome:?}"),
        () = claimed => {}
    }
}

/// Ingests the records again, and runs a worker until nothing is left.
async fn ingest_again(platform: &Platform, records: &[NewRecord]) -> mfctl::pipeline::worker::WorkerSummary {
    platform.ports.log.publish(records.to_vec()).await.unwrap();
    let outcome = platform.drain(platform.persist()).await;
    assert_eq!(outcome.ended, WorkerEnd::Drained);
    outcome.summary
}

/// The record that a redrive of a dead letter sends.
fn redriven(dead: &Record) -> NewRecord {
    record_to_send(dead, RedriveDecision::Redrive { count: 1 }, "run", dead.timestamp).unwrap()
}

/// Sets the group's offsets to the end of each partition, as `kafka-consumer-groups --reset-offsets` does.
const RESET_TO_END: &str = "INSERT INTO commits (group_id, part_id, \"offset\", committed_ms)
    SELECT group_id, part_id, next_offset, 0 FROM groups, partitions WHERE true
    ON CONFLICT DO UPDATE SET \"offset\" = excluded.\"offset\", claim_epoch = NULL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_that_arrives_after_its_worker_ended_does_not_hold_back_a_redrive() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    platform.ports.log.publish(records).await.unwrap();
    let catalog = LateCatalog::new(&platform.ports.catalog, CatalogWrite::Claim);
    let ports = mfctl::pipeline::worker::WorkerPorts { catalog: Arc::clone(&catalog) as _, ..platform.worker_ports() };
    let bad = assets[0];
    let step = platform.scripted(move |asset, _| match asset == bad {
        true => ScriptedAction::Fail(StepError::permanent("malformed", "no")),
        false => ScriptedAction::Proceed,
    });
    let outcome = platform.run(Arc::new(step), ports, until_drained()).await;
    assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered), (RECORDS as u64 - 1, 1));
    // A release without epochs, which owned the partition meanwhile, released the claim of its dead letter.
    execute(&platform, "DELETE FROM media_inbox WHERE dead_lettered = 1");
    platform.drain(platform.persist()).await;
    catalog.apply_late().await.unwrap();
    let dead = platform.dead_letters().await.remove(0);
    platform.ports.log.publish(vec![redriven(&dead)]).await.unwrap();
    platform.drain(platform.persist()).await;
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letter_that_was_ingested_again_is_not_emitted_by_a_redrive() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    platform.ports.log.publish(records.clone()).await.unwrap();
    let fails = platform.scripted(|_, _| ScriptedAction::Fail(StepError::permanent("malformed", "no")));
    assert_eq!(platform.drain(fails).await.summary.dead_lettered, RECORDS as u64);
    let dead_letters = platform.dead_letters().await;
    let redrive = |index: usize| redriven(&dead_letters[index]);
    // One is redriven before the records come again, all of them after.
    platform.ports.log.publish(vec![redrive(0)]).await.unwrap();
    platform.drain(platform.persist()).await;
    assert_eq!(ingest_again(&platform, &records).await.emitted, RECORDS as u64 - 1);
    platform.ports.log.publish((0..RECORDS).map(redrive).collect()).await.unwrap();
    assert_eq!(platform.drain(platform.persist()).await.summary.emitted, 0);
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_is_ingested_again_after_its_offset_was_skipped() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    platform.ports.log.publish(records.clone()).await.unwrap();
    killed_with_claims(&platform).await;
    execute(&platform, RESET_TO_END);
    assert_eq!(platform.drain(platform.persist()).await.summary.processed, 0);
    assert_eq!(ingest_again(&platform, &records).await.emitted, RECORDS as u64);
    assert_eq!(ingest_again(&platform, &records).await.emitted, 0);
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_is_ingested_again_after_its_topic_was_recreated() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    platform.ports.log.publish(records.clone()).await.unwrap();
    killed_with_claims(&platform).await;
    // The claims are those of records of an earlier topic, at the addresses that its successor's records have now.
    execute(&platform, "UPDATE media_inbox SET owner_topic_id = 'deleted'");
    assert_eq!(platform.drain(platform.persist()).await.summary.emitted, RECORDS as u64);
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_is_ingested_again_after_it_expired_unprocessed() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    platform.ports.log.publish(records.clone()).await.unwrap();
    killed_with_claims(&platform).await;
    execute(
        &platform,
        "DELETE FROM records WHERE part_id IN (SELECT part_id FROM partitions NATURAL JOIN topics WHERE name = 'ingest.raw');
         UPDATE partitions SET low = next_offset WHERE topic_id = (SELECT topic_id FROM topics WHERE name = 'ingest.raw')",
    );
    assert_eq!(ingest_again(&platform, &records).await.emitted, RECORDS as u64);
    platform.assert_each_emitted_once(&assets).await;
}

/// The group's offsets are lost when it is deleted or has been empty for long. Its generations begin again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_that_was_deleted_between_two_runs_emits_nothing_again() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    platform.ports.log.publish(records.clone()).await.unwrap();
    for run in 0..3 {
        // Several generations, so that those of the new group are lower.
        platform.drain(platform.persist()).await;
        // As of a worker that was killed between its commit and its next batch.
        execute(&platform, "UPDATE media_inbox SET done = 0");
        if run > 0 {
            platform.ports.log.delete_group(&Stage::Persist.group(&platform.env).unwrap()).await.unwrap();
        }
    }
    assert_eq!(ingest_again(&platform, &records).await.emitted, 0);
    // Each record and its repetition are in doubt in one batch.
    execute(&platform, "UPDATE media_inbox SET done = 0");
    platform.ports.log.delete_group(&Stage::Persist.group(&platform.env).unwrap()).await.unwrap();
    assert_eq!(ingest_again(&platform, &records).await.emitted, 0);
    platform.assert_each_emitted_once(&assets).await;
}

/// The last stable offset of a new leader may be lower for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_found_while_the_leaders_of_its_partitions_change() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    assert_eq!(ingest_again(&platform, &records).await.emitted, RECORDS as u64);
    execute(&platform, "UPDATE media_inbox SET done = 0");
    execute(&platform, RESET_TO_END);
    platform.ports.log.publish(records).await.unwrap();
    let ports = platform.worker_ports_on(FaultyLog::with_new_leaders(&platform.ports.log) as _);
    let outcome = platform.run(Arc::new(platform.persist()), ports, until_drained()).await;
    assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered), (0, 0));
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_read_while_the_leader_of_their_partition_changes() {
    let platform = Platform::new().await;
    let (_, records) = staged(&platform).await;
    let inputs = [Stage::Persist.input()];
    platform.ports.log.publish(records).await.unwrap();
    let log = FaultyLog::with_new_leaders(&platform.ports.log);
    let mut read = 0;
    for partition in platform.ports.log.offsets(&inputs).await.unwrap() {
        let mut pager = Pager::whole(&partition);
        log.written_ends(&inputs).await.unwrap();
        while let Some(page) = pager.next_page(log.as_ref()).await.unwrap() {
            read += page.len();
        }
    }
    assert_eq!(read, RECORDS);
}

/// As after partitions were added: the group's commits in other partitions tell whether it has passed the records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_asked_for_once_for_all_claims_of_a_batch_that_other_partitions_hold() {
    let platform = Platform::new().await;
    let texts: Vec<String> = (0..40).map(|at| format!("text {at}")).collect();
    let (_, records): (Vec<AssetId>, Vec<NewRecord>) = platform.stage(&texts).await.into_iter().unzip();
    platform.ports.log.publish(records.clone()).await.unwrap();
    let fails = platform.scripted(|_, _| ScriptedAction::Fail(StepError::permanent("malformed", "no")));
    assert_eq!(platform.drain(fails).await.summary.dead_lettered, 40);
    let elsewhere = "UPDATE media_inbox SET done = 0, dead_lettered = NULL, epoch = epoch + 100,
                         partition = (partition + 1) % 3, \"offset\" = 0";
    execute(&platform, elsewhere);
    platform.ports.log.publish(records).await.unwrap();
    let log = FaultyLog::new(&platform.ports.log, []);
    let ports = platform.worker_ports_on(Arc::clone(&log) as _);
    let outcome = platform.run(Arc::new(platform.persist()), ports, until_drained()).await;
    assert_eq!(outcome.summary.emitted, 40);
    assert!(log.committed_calls() < 10, "{} calls", log.committed_calls());
}

/// Empties the output topic, as retention does.
const EMPTY_OUTPUT: &str = "UPDATE partitions SET low = 5, next_offset = 5
    WHERE topic_id = (SELECT topic_id FROM topics WHERE name = 'media.ingested')";

/// The group passed the records of a worker that was killed; they are ingested again.
async fn ingest_again_after_a_reset(
    platform: &Platform,
    records: &[NewRecord],
    meanwhile: &str,
) -> mfctl::pipeline::worker::WorkerSummary {
    platform.ports.log.publish(records.to_vec()).await.unwrap();
    killed_with_claims(platform).await;
    execute(platform, RESET_TO_END);
    execute(platform, meanwhile);
    ingest_again(platform, records).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_from_before_its_output_topic_was_recreated_becomes_a_dead_letter() {
    let platform = Platform::new().await;
    let (_, records) = staged(&platform).await;
    // What was seen before the claims was an earlier topic of the same name.
    let recreated = "UPDATE media_partition_ends SET topic_id = 'deleted' WHERE topic = 'media.ingested'";
    let summary = ingest_again_after_a_reset(&platform, &records, recreated).await;
    assert_eq!((summary.emitted, summary.dead_lettered), (0, RECORDS as u64));
    let dead_letters = platform.dead_letters().await;
    assert!(dead_letters.iter().all(|dead| DeadLetterInfo::from_record(dead).kind == "claim_in_doubt"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_is_taken_when_nothing_was_written_to_an_emptied_output_partition_since() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    execute(&platform, EMPTY_OUTPUT);
    assert_eq!(ingest_again_after_a_reset(&platform, &records, "").await.emitted, RECORDS as u64);
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_of_which_the_log_shows_too_little_becomes_a_dead_letter() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    // The outputs of the time of the claims have expired.
    let summary = ingest_again_after_a_reset(&platform, &records, EMPTY_OUTPUT).await;
    assert_eq!((summary.emitted, summary.dead_lettered), (0, RECORDS as u64));
    let dead_letters = platform.dead_letters().await;
    assert!(dead_letters.iter().all(|dead| DeadLetterInfo::from_record(dead).kind == "claim_in_doubt"));
    // An operator looks, and decides that they are to be processed.
    platform.ports.log.publish(dead_letters.iter().map(redriven).collect()).await.unwrap();
    assert_eq!(platform.drain(platform.persist()).await.summary.emitted, RECORDS as u64);
    platform.ports.log.publish(dead_letters.iter().map(redriven).collect()).await.unwrap();
    assert_eq!(platform.drain(platform.persist()).await.summary.emitted, 0, "redriven twice");
    assert_eq!(platform.records(&topics::MEDIA_INGESTED).await.len(), assets.len());
}

/// A redriven record that fails before it claims leaves the claim to the next redrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_that_failed_before_it_claimed_can_be_redriven_again() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    platform.ports.log.publish(records).await.unwrap();
    let fails = platform.scripted(|_, _| ScriptedAction::Fail(StepError::permanent("malformed", "no")));
    assert_eq!(platform.drain(fails).await.summary.dead_lettered, RECORDS as u64);
    let first = platform.dead_letters().await;
    let unreadable = |dead: &Record| NewRecord { value: Some("not an event".into()), ..redriven(dead) };
    platform.ports.log.publish(first.iter().map(unreadable).collect()).await.unwrap();
    assert_eq!(platform.drain(platform.persist()).await.summary.dead_lettered, RECORDS as u64);
    let is_second = |dead: &&Record| dead.value.as_deref() == Some(b"not an event");
    let second = platform.dead_letters().await;
    // Corrected by hand.
    let corrected = second.iter().filter(is_second).map(|dead| {
        let value = first.iter().find(|earlier| earlier.key == dead.key).and_then(|earlier| earlier.value.clone());
        NewRecord { value, ..redriven(dead) }
    });
    platform.ports.log.publish(corrected.collect()).await.unwrap();
    assert_eq!(platform.drain(platform.persist()).await.summary.emitted, RECORDS as u64);
    platform.assert_each_emitted_once(&assets).await;
}

/// A member that is refused at a low generation is not held back: its group confirms it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epoch_of_a_lower_generation_is_replaced_after_the_group_has_confirmed_its_member() {
    let platform = Platform::new().await;
    let (assets, records) = staged(&platform).await;
    platform.drain(platform.persist()).await;
    execute(&platform, "UPDATE media_claim_epochs SET generation = 1000, member_id = 'other'");
    platform.ports.log.publish(records).await.unwrap();
    let outcome = platform.drain(platform.persist()).await;
    assert_eq!((outcome.summary.emitted, outcome.summary.fenced), (RECORDS as u64, 0));
    assert_eq!(count(&platform, "SELECT max(generation) < 1000 FROM media_claim_epochs"), 1);
    platform.assert_each_emitted_once(&assets).await;
    assert!(platform.records(&topics::INGEST_RAW.dead_letters()).await.is_empty());
}
