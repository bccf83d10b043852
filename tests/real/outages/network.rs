//! The network between mfctl and the servers is slow, narrow, torn and cut.

use std::time::Duration;

use super::alone;
use super::crew::Crew;
use super::servers::{BROKERS, Fault, Healed};
use crate::support::stack::{Endpoints, Platform};
use crate::support::{Site, seed, setting, write_texts};

/// Files uploaded under each fault.
const FILES: usize = 10;

/// Each fault on the way to each server, in a random order.
#[test]
fn whatever_happens_on_the_way_to_any_server_every_file_arrives_once() {
    let _alone = alone();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let healed = Healed;
    let site = Site::on(Platform::new(), &Endpoints::behind_proxies());
    let mut rounds = Vec::new();
    for fault in Fault::ALL {
        rounds.extend(["kafka", "minio", "postgrest", "registry"].map(|server| (fault, server)));
    }
    rng.shuffle(&mut rounds);
    rounds.truncate(setting("MFCTL_TEST_FAULTS", rounds.len()));
    let mut crew = Crew::at_work(&site);
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
        let upload = crew.upload(&folder, FILES);
        std::thread::park_timeout(Duration::from_millis(rng.u64(1_000..2_500)));
        Healed::now();
        upload.done(&what);
    }
    crew.everything_is_there(&format!("seed {seed}"));
    drop(healed);
}
