//! One slow record, and the records of other partitions, which must not wait for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use mfctl::pipeline::worker::{MemoryBudget, Tuning, WorkerEnd, WorkerOptions};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, Record};
use mfctl_core::ports::FetchLimits;
use tokio::sync::watch;

use super::faulty_log::FaultyLog;
use super::platform::{Platform, ScriptedAction, tuned, until_drained};

fn asset_of(record: &Record) -> AssetId {
    let key = std::str::from_utf8(record.key.as_deref().unwrap()).unwrap();
    AssetId(key.parse().unwrap())
}

/// Runs a worker whose first record of the first partition ends only once every record of the other partitions has been
/// started. Any other record is handled by `action`.
async fn run_with_a_slow_record(options: WorkerOptions, action: fn() -> ScriptedAction) {
    let platform = Platform::new().await;
    let assets = platform.ingest(300).await;
    let records = platform.records(&topics::INGEST_RAW).await;
    let slow = asset_of(&records[0]);
    let partition = records[0].address.partition;
    let others: BTreeSet<AssetId> =
        records.iter().filter(|record| record.address.partition != partition).map(asset_of).collect();
    assert!(others.len() > 100 && others.len() < 250, "{}", others.len());
    let left = Mutex::new(others);
    let (release, released) = watch::channel(false);
    let step = platform.scripted(move |asset, _| {
        if asset == slow {
            return ScriptedAction::WaitFor(released.clone());
        }
        let mut left = left.lock().unwrap();
        left.remove(&asset);
        if left.is_empty() {
            release.send_replace(true);
        }
        action()
    });
    let outcome = platform.run(Arc::new(step), platform.worker_ports(), options).await;
    assert_eq!((outcome.ended, outcome.summary.emitted), (WorkerEnd::Drained, 300));
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_behind_a_slow_one_leave_room_for_other_partitions() {
    let options = tuned(Tuning { concurrency: 4, ..Tuning::default() });
    let batch = FetchLimits { max_records: 10, ..options.batch };
    let options = WorkerOptions { window_records: 30, batch, ..options };
    run_with_a_slow_record(options, || ScriptedAction::Proceed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_behind_a_slow_record_leave_room_for_other_partitions() {
    let options = tuned(Tuning { concurrency: 4, ..Tuning::default() });
    let options = WorkerOptions { memory: MemoryBudget::new(768 << 10), ..options };
    run_with_a_slow_record(options, || ScriptedAction::GrowOutput(16 << 10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_of_the_memory_budget_is_the_prefetch_of_the_log() {
    let platform = Platform::new().await;
    let log = FaultyLog::new(&platform.ports.log, []);
    let memory = MemoryBudget::new(40 << 20);
    let options = WorkerOptions { memory, ..until_drained() };
    platform.run(Arc::new(platform.persist()), platform.worker_ports_on(Arc::clone(&log) as _), options).await;
    assert_eq!(log.prefetch_bytes(), memory.prefetch_bytes());
}
