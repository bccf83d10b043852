//! Faults of the network between mfctl and the servers: latency, low bandwidth, resets, cut connections.

use std::time::Duration;

use super::lock_servers;
use super::servers::{NetworkFault, ProxyReset};
use super::worker_pool::WorkerPool;
use crate::support::servers::BROKERS;
use crate::support::stack::{Endpoints, Platform};
use crate::support::{Site, env_number, seed, write_texts};

/// Files uploaded under each fault.
const FILES: usize = 10;

/// Each fault on the connection to each server, in a random order.
#[test]
fn network_faults_lose_and_duplicate_no_files() {
    let _servers = lock_servers();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let proxy_reset = ProxyReset;
    let site = Site::on(Platform::new(), &Endpoints::behind_proxies());
    let mut rounds = Vec::new();
    for fault in NetworkFault::ALL {
        rounds.extend(["kafka", "minio", "postgrest", "registry"].map(|server| (fault, server)));
    }
    rng.shuffle(&mut rounds);
    rounds.truncate(env_number("MFCTL_TEST_FAULTS", rounds.len()));
    let mut workers = WorkerPool::start(&site);
    for (round, (fault, server)) in rounds.into_iter().enumerate() {
        let stream = if rng.bool() { "upstream" } else { "downstream" };
        let what = format!("seed {seed}: round {round}: {fault:?} on {stream} of {server}");
        let folder = format!("in-{round}");
        write_texts(&site.path(&folder), FILES, &mut rng);
        let proxies = match server {
            "kafka" if rng.bool() => BROKERS.to_vec(),
            "kafka" => vec![BROKERS[rng.usize(..3)]],
            server => vec![server],
        };
        for proxy in proxies {
            fault.begin(proxy, stream);
        }
        let upload = workers.upload(&folder, FILES);
        std::thread::park_timeout(Duration::from_millis(rng.u64(1_000..2_500)));
        ProxyReset::now();
        upload.finish(&what);
    }
    workers.assert_all_enriched_once(&format!("seed {seed}"));
    drop(proxy_reset);
}
