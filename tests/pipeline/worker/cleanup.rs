//! The deletes of staged objects after their commits.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl::pipeline::persist::Persist;
use mfctl::pipeline::worker::{MemoryBudget, Tuning, WorkerOptions, WorkerOutcome, WorkerPorts};
use mfctl_core::domain::Stage;
use mfctl_core::ports::ObjectStore;
use mfctl_core::wait::{Backoff, wait_until};
use tokio::sync::watch;

use super::faulty_objects::FaultyObjects;
use super::hidden_records::audit_of;
use super::platform::{Platform, tuned};

/// Runs persist, with a commit for each record, on a store that deletes nothing until every record is committed. Returns
/// how many deletes ran then, and how the worker ended.
async fn run_with_delayed_deletes(platform: &Platform, memory: MemoryBudget) -> (usize, WorkerOutcome) {
    let (may_delete, delayed) = watch::channel(false);
    let store = FaultyObjects::with_delayed_deletes(&platform.ports.objects, delayed);
    let objects: Arc<dyn ObjectStore> = store.clone();
    let step = Persist { objects: Arc::clone(&objects), ..platform.persist() };
    let ports = WorkerPorts { objects, ..platform.worker_ports() };
    let options = WorkerOptions { commit_records: 1, memory, ..tuned(Tuning { concurrency: 4, ..Tuning::default() }) };
    let all_committed = async {
        let group = Stage::Persist.group(&platform.env).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let look = || async {
            let progress = platform.ports.log.progress(&group, &[Stage::Persist.input()]).await.unwrap();
            match progress.iter().all(|partition| partition.at_end) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let backoff = Backoff::exponential(Duration::from_millis(10), Duration::from_millis(50));
        assert!(wait_until(deadline, backoff, look).await.is_ok(), "commits wait for deletes");
        let deletes = store.deletes();
        may_delete.send_replace(true);
        deletes
    };
    let (outcome, deletes) = tokio::join!(platform.run(Arc::new(step), ports, options), all_committed);
    (deletes, outcome)
}

/// How many staged objects persist could not delete, as it counted them.
fn deletes_failed(platform: &Platform) -> u64 {
    let text = platform.metrics.text();
    let value =
        text.lines().find_map(|line| line.strip_prefix("mfctl_staging_deletes_failed_total{stage=\"persist\"} "));
    value.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_deletes_neither_hold_back_commits_nor_pile_up() {
    let platform = Platform::new().await;
    let assets = platform.ingest(60).await;
    let (deletes, outcome) = run_with_delayed_deletes(&platform, MemoryBudget::default()).await;
    assert!((1..=4).contains(&deletes), "{deletes} deletes at once for 60 commits");
    assert_eq!(outcome.summary.emitted, 60);
    platform.assert_each_emitted_once(&assets).await;
    let staged = platform.ports.objects.usage(&platform.buckets.staging, 1000).await.unwrap();
    assert_eq!((staged.objects, deletes_failed(&platform)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staged_objects_beyond_the_queue_stay_as_garbage_and_are_counted() {
    let platform = Platform::new().await;
    platform.ingest(60).await;
    // The queue holds a few of the keys.
    let memory = MemoryBudget::new(36 << 10);
    let (_, outcome) = run_with_delayed_deletes(&platform, memory).await;
    assert_eq!(outcome.summary.emitted, 60);
    let left = platform.ports.objects.usage(&platform.buckets.staging, 1000).await.unwrap().objects;
    assert!((1..60).contains(&left), "{left} of 60");
    assert_eq!(deletes_failed(&platform), left);
    let report = audit_of(&platform, platform.ports.clone()).await.unwrap();
    assert_eq!((report.garbage, report.violations.len()), (left, 0), "{report:?}");
}
