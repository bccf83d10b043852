//! Fault cases that take a broker away, by their numbers in the list of cases.

use std::collections::BTreeSet;
use std::time::Duration;

use super::alone;
use super::crew::Crew;
use super::servers::{BROKERS, Down, Paused};
use crate::independent::committed;
use crate::support::{Site, seed, write_texts};

#[test]
fn case_06_a_broker_that_is_paused_or_killed_under_an_idempotent_producer_makes_no_duplicates() {
    let _alone = alone();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let mut crew = Crew::at_work(&site);
    write_texts(&site.path("paused"), 300, &mut rng);
    let upload = crew.upload("paused", 300);
    std::thread::park_timeout(Duration::from_millis(rng.u64(300..1_000)));
    let paused = Paused::stop(BROKERS[rng.usize(..3)]);
    std::thread::park_timeout(Duration::from_millis(rng.u64(3_000..6_000)));
    drop(paused);
    upload.done("paused");

    write_texts(&site.path("killed"), 300, &mut rng);
    let upload = crew.upload("killed", 300);
    std::thread::park_timeout(Duration::from_millis(rng.u64(300..1_000)));
    Down::kill(BROKERS[rng.usize(..3)]).start();
    upload.done("killed");
    crew.everything_is_there(&format!("seed {seed}"));
    let raw = committed(&site.platform().topic("ingest.raw"));
    let events: BTreeSet<&str> = raw.iter().map(|record| record.header("event.id")).collect();
    assert_eq!((raw.len(), events.len()), (600, 600), "seed {seed}: the uploads' own events, once each");
}

#[test]
fn case_07_a_broker_dies_while_workers_come_and_go_and_no_acknowledged_file_is_missed() {
    let _alone = alone();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let mut crew = Crew::at_work(&site);
    for round in 0..3 {
        let folder = format!("in-{round}");
        write_texts(&site.path(&folder), 200, &mut rng);
        let upload = crew.upload(&folder, 200);
        crew.hire();
        std::thread::park_timeout(Duration::from_millis(rng.u64(..800)));
        let down = Down::kill(BROKERS[rng.usize(..3)]);
        crew.dismiss();
        crew.hire();
        down.start();
        upload.done(&format!("seed {seed}: round {round}"));
        crew.dismiss();
    }
    crew.everything_is_there(&format!("seed {seed}"));
}
