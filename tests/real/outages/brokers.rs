//! Fault cases with a killed or paused broker, by their numbers in the list of cases.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lock_servers;

use super::worker_pool::WorkerPool;
use crate::external_clients::committed_records;
use crate::support::servers::{BROKERS, KilledServer, PausedServer};
use crate::support::{Site, seed, write_texts};

#[test]
fn case_06_paused_or_killed_broker_causes_no_duplicates() {
    let _servers = lock_servers();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let mut workers = WorkerPool::start(&site);
    write_texts(&site.path("paused"), 300, &mut rng);
    let upload = workers.upload("paused", 300);
    std::thread::park_timeout(Duration::from_millis(rng.u64(300..1_000)));
    let paused = PausedServer::stop(BROKERS[rng.usize(..3)]);
    std::thread::park_timeout(Duration::from_millis(rng.u64(3_000..6_000)));
    drop(paused);
    upload.finish("paused");

    write_texts(&site.path("killed"), 300, &mut rng);
    let upload = workers.upload("killed", 300);
    std::thread::park_timeout(Duration::from_millis(rng.u64(300..1_000)));
    KilledServer::kill(BROKERS[rng.usize(..3)]).start();
    upload.finish("killed");
    workers.assert_all_enriched_once(&format!("seed {seed}"));
    let raw = committed_records(&site.platform().topic("ingest.raw"));
    let events: BTreeSet<&str> = raw.iter().map(|record| record.header("event.id")).collect();
    assert_eq!((raw.len(), events.len()), (600, 600), "seed {seed}: each upload published its events once");
}

#[test]
fn case_07_broker_crash_during_rebalances_loses_no_acknowledged_file() {
    let _servers = lock_servers();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let mut workers = WorkerPool::start(&site);
    for round in 0..3 {
        let folder = format!("in-{round}");
        write_texts(&site.path(&folder), 200, &mut rng);
        let upload = workers.upload(&folder, 200);
        workers.start_one();
        std::thread::park_timeout(Duration::from_millis(rng.u64(..800)));
        let down = KilledServer::kill(BROKERS[rng.usize(..3)]);
        workers.stop_one();
        workers.start_one();
        down.start();
        upload.finish(&format!("seed {seed}: round {round}"));
        workers.stop_one();
    }
    workers.assert_all_enriched_once(&format!("seed {seed}"));
}
