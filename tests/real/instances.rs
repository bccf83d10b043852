//! Several workers at once: with the same instance name, and starting and stopping.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::external_clients::emitted_once_counts;
use crate::support::{CommandOutput, Running, Site, eventually, seed, write_texts};

#[test]
fn second_worker_of_an_instance_name_on_a_host_exits_7() {
    let site = Site::new();
    let words = ["worker", "persist", "--instance", "one"];
    let first = Running::captured(site.command(words));
    let lock = site.data().join("locks/instances/persist-one");
    eventually("the first to hold the instance name", || {
        std::fs::File::open(&lock).is_ok_and(|file| file.try_lock_shared().is_err())
    });
    let second = site.run(words);
    assert_eq!(second.code, 7, "{second}");
    assert!(second.stderr.contains("one") && second.stderr.contains("--instance"), "{second}");
    first.signal(Signal::TERM);
    assert_eq!(first.finish().code, 143);
    assert_eq!(site.run(["worker", "persist", "--instance", "one", "--until-drained"]).code, 0);
}

/// Two hosts do not see each other's locks; the brokers fence the earlier one.
#[test]
fn case_01_earlier_worker_of_an_instance_name_on_two_hosts_is_fenced_and_exits_7() {
    let site = Site::new();
    let words = ["worker", "persist", "--instance", "one", "--quiet"];
    let mut first = Running::captured(site.command(words));
    let members = || {
        let lag = site.json(["lag"], &[0]);
        let mut groups = lag["groups"].as_array().unwrap().iter();
        let group = groups.find(|group| group["group"].as_str().unwrap().ends_with(".persist"));
        group.map_or(0, |group| group["members"].as_array().unwrap().len())
    };
    eventually("the first is a member", || members() == 1);
    let mut command = site.command(words);
    command.env("MFCTL_DATA_DIR", site.path("another-host"));
    let mut second = Running::captured(command);
    eventually("the second is a member", || members() == 2 || !first.is_alive());
    // Records for both: the earlier worker cannot commit any.
    let mut round = 0;
    eventually("the first is fenced", || {
        round += 1;
        let folder = format!("in-{round}");
        write_texts(&site.path(&folder), 20, &mut fastrand::Rng::with_seed(round));
        site.json(["ingest", &folder], &[0]);
        !first.is_alive()
    });
    let fenced = first.finish();
    assert_eq!(fenced.code, 7, "{fenced}");
    assert!(fenced.stderr.contains("--instance"), "{fenced}");
    assert!(second.is_alive());
    second.signal(Signal::TERM);
    let ended = second.finish();
    assert_eq!(ended.code, 143, "{ended}");
    site.json(["worker", "all", "--until-drained"], &[0]);
    let report = site.audit();
    assert_eq!(report["enriched"], 20 * round, "{report:#}");
    emitted_once_counts(&site);
}

/// Every few seconds a worker starts or stops, so that the groups rebalance constantly.
#[test]
fn constant_rebalancing_loses_and_duplicates_nothing() {
    const FILES: usize = 600;
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    write_texts(&site.path("in"), FILES, &mut rng);
    let start = || Running::captured(site.command(["worker", "all", "--quiet", "--concurrency", "2"]));
    let mut workers = vec![start()];
    let uploading = Running::captured(site.command(["ingest", "in", "--quiet", "--concurrency", "1"]));
    for _ in 0..8 {
        let until = Instant::now() + Duration::from_millis(rng.u64(1_000..3_000));
        if workers.len() < 2 || (workers.len() < 4 && rng.bool()) {
            workers.push(start());
        } else {
            let stopping = workers.swap_remove(rng.usize(..workers.len()));
            stopping.signal(Signal::TERM);
            let ended = stopping.finish();
            assert_eq!(ended.code, 143, "seed {seed}: {ended}");
        }
        eventually("the pause is over", || Instant::now() >= until);
    }
    let uploaded = uploading.finish();
    assert_eq!(uploaded.code, 0, "seed {seed}: {uploaded}");
    for mut worker in workers {
        assert!(worker.is_alive(), "seed {seed}: a worker ended by itself: {}", worker.finish());
        worker.signal(Signal::TERM);
        let ended: CommandOutput = worker.finish();
        assert_eq!(ended.code, 143, "seed {seed}: {ended}");
    }
    let summary = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(summary["dead_lettered"], 0, "seed {seed}: {summary:#}");
    let report = site.audit();
    assert_eq!(report["enriched"], FILES, "seed {seed}: {report:#}");
    assert_eq!(emitted_once_counts(&site), (FILES, FILES), "seed {seed}");
}
