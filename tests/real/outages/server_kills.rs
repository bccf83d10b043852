//! Each server is killed in turn while files are processed.

use std::time::Duration;

use super::lock_servers;

use super::worker_pool::{WorkerPool, report};
use crate::support::servers::{BROKERS, KilledServer};
use crate::support::{Site, env_number, seed, write_texts};

/// The workers continue by themselves when the server is back.
#[test]
fn any_server_may_be_killed_during_ingest() {
    let _servers = lock_servers();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let mut servers = [BROKERS[rng.usize(..3)], "minio", "postgres", "postgrest", "registry"];
    rng.shuffle(&mut servers);
    let files = env_number("MFCTL_TEST_FILES", 2_000) / servers.len();
    let mut workers = WorkerPool::start(&site);
    for server in servers {
        let what = format!("seed {seed}: {server}");
        write_texts(&site.path(server), files, &mut rng);
        let upload = workers.upload(server, files);
        std::thread::park_timeout(Duration::from_millis(rng.u64(200..1_500)));
        let down = KilledServer::kill(server);
        std::thread::park_timeout(Duration::from_millis(rng.u64(500..5_000)));
        down.start();
        upload.finish(&what);
        workers.wait_until_drained(&what);
    }
    workers.assert_all_enriched_once(&format!("seed {seed}"));
    report(&format!("{} files were enriched", files * servers.len()));
}

/// A command that starts while a server is down waits for it, or fails with a hint.
#[test]
fn ingest_and_worker_may_start_while_a_server_is_down() {
    let _servers = lock_servers();
    let site = Site::new();
    for server in ["registry", "postgrest", "minio"] {
        write_texts(&site.path(server), 20, &mut fastrand::Rng::with_seed(server.len() as u64));
    }
    let mut workers = WorkerPool::start(&site);
    for server in ["registry", "postgrest", "minio"] {
        let down = KilledServer::kill(server);
        let upload = workers.upload(server, 20);
        workers.start_one();
        std::thread::park_timeout(Duration::from_secs(2));
        down.start();
        upload.finish(server);
        workers.wait_until_drained(server);
        workers.stop_one();
    }
    workers.assert_all_enriched_once("servers that were down");
}
