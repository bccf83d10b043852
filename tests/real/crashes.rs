//! Workers die or stop at each failpoint; another worker finishes their work, once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::external_clients::{delete_group, emitted_once_counts};
use crate::support::{CommandOutput, Running, Site, eventually, seed, write_texts};

/// The failpoints of a worker, in order.
const FAILPOINTS: [&str; 10] = [
    "before_copy",
    "after_copy",
    "before_upsert",
    "after_upsert",
    "before_settle",
    "before_produce",
    "before_send_offsets",
    "before_commit",
    "after_commit",
    "after_settle",
];

/// Longer than the timeouts of a session (10 s) and a transaction (15 s).
const PAST_EVERY_TIMEOUT: Duration = Duration::from_secs(17);

fn drain(site: &Site) -> serde_json::Value {
    let summary = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{summary:#}");
    summary
}

fn assert_all_enriched_once(site: &Site, files: usize) {
    let report = site.audit();
    assert_eq!((&report["files"], &report["enriched"]), (&files.into(), &files.into()), "{report:#}");
    assert_eq!(emitted_once_counts(site), (files, files));
}

/// Held by tests that run several platforms at once.
static BUSY: Mutex<()> = Mutex::new(());

/// Each dead member delays its group by ten seconds, so several platforms run at once.
#[test]
fn worker_crash_at_each_failpoint_loses_and_duplicates_nothing() {
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut rounds: Vec<(&str, u64)> = FAILPOINTS.iter().map(|failpoint| (*failpoint, rng.u64(1..=2))).collect();
    rng.shuffle(&mut rounds);
    let rounds = Mutex::new(rounds);
    std::thread::scope(|scope| {
        for lane in 0..5 {
            let rounds = &rounds;
            let mut rng = fastrand::Rng::with_seed(seed + lane);
            scope.spawn(move || {
                let site = Site::new();
                let mut files = 0;
                loop {
                    let Some((failpoint, nth)) = rounds.lock().unwrap().pop() else { return };
                    files += 40;
                    crash_and_resume(&site, failpoint, nth, &mut rng);
                    assert_all_enriched_once(&site, files);
                }
            });
        }
    });
}

/// Crashes at the first or second pass: with so few files some failpoints are passed once per stage.
fn crash_and_resume(site: &Site, failpoint: &str, nth: u64, rng: &mut fastrand::Rng) {
    write_texts(&site.path(failpoint), 40, rng);
    site.json(["ingest", failpoint], &[0]);
    let crashed = CommandOutput::run(
        site.command_with_failpoint(&format!("{failpoint}:{nth}"), ["worker", "all", "--until-drained", "--quiet"]),
    );
    assert_eq!(crashed.code, -6, "{failpoint}:{nth}: {crashed}");
    drain(site);
}

#[test]
fn case_11_uncommitted_work_is_repeated_and_emitted_once() {
    let site = Site::new();
    write_texts(&site.path("in"), 30, &mut fastrand::Rng::with_seed(11));
    site.json(["ingest", "in"], &[0]);
    let crashed =
        CommandOutput::run(site.command_with_failpoint("after_upsert", ["worker", "persist", "--until-drained"]));
    assert_eq!(crashed.code, -6, "{crashed}");
    assert_eq!(emitted_once_counts(&site), (0, 0), "the catalog is updated, the log is not");
    let ingested = site.json(["media", "list", "--state", "ingested"], &[0]);
    assert!(!ingested["assets"].as_array().unwrap().is_empty(), "{ingested:#}");
    drain(&site);
    assert_all_enriched_once(&site, 30);
}

/// The group and the coordinator consider it dead, another worker does its work, and then it continues.
#[test]
fn worker_stopped_past_every_timeout_emits_no_duplicates_when_continued() {
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for failpoint in ["before_copy", "before_settle", "before_send_offsets", "before_commit"] {
            scope.spawn(move || stop_and_continue(failpoint));
        }
    });
}

fn stop_and_continue(failpoint: &str) {
    let site = Site::new();
    write_texts(&site.path("in"), 60, &mut fastrand::Rng::with_seed(6));
    site.json(["ingest", "in"], &[0]);
    let words = ["worker", "persist", "--instance", "zombie", "--quiet"];
    let mut zombie = Running::captured(site.command_with_failpoint(&format!("stop@{failpoint}"), words));
    eventually("the worker is stopped", || zombie.is_stopped());
    let stopped = Instant::now();

    let words = ["worker", "persist", "--until-drained", "--instance", "successor"];
    let summary = site.json(words, &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{failpoint}: {summary:#}");
    // The coordinator aborts the transaction of the zombie; until then readers see no later records.
    eventually("the successor has emitted everything", || emitted_once_counts(&site).0 == 60);
    eventually("every timeout has passed", || stopped.elapsed() > PAST_EVERY_TIMEOUT);
    zombie.signal(Signal::CONT);
    // It is an ordinary worker again: new records are processed by either.
    write_texts(&site.path("more"), 30, &mut fastrand::Rng::with_seed(7));
    site.json(["ingest", "more", "--wait", "ingested"], &[0]);
    assert!(zombie.is_alive(), "{failpoint}: its instance was not replaced, so it continues");
    zombie.signal(Signal::TERM);
    let ended = zombie.finish();
    assert_eq!(ended.code, 143, "{failpoint}: {ended}");
    drain(&site);
    assert_all_enriched_once(&site, 90);
}

/// Claims record what was settled, independently of the group's offsets.
#[test]
fn group_that_lost_its_offsets_emits_no_duplicates() {
    let site = Site::new();
    write_texts(&site.path("in"), 50, &mut fastrand::Rng::with_seed(3));
    site.json(["ingest", "in"], &[0]);
    drain(&site);
    for stage in ["persist", "enrich"] {
        delete_group(&site.platform().group(stage)).unwrap();
    }
    let again = drain(&site);
    assert_eq!((&again["emitted"], &again["skipped_duplicates"]), (&0.into(), &100.into()), "{again:#}");
    assert_all_enriched_once(&site, 50);
}

/// The clock that mfctl sees jumps an hour forward and back.
#[test]
fn clock_jumps_lose_nothing() {
    let mut site = Site::new();
    for (round, offset) in [0, 3600, -3600, 0].into_iter().enumerate() {
        site.set("MFCTL_TEST_CLOCK_OFFSET_SECONDS", offset);
        let folder = format!("in-{round}");
        write_texts(&site.path(&folder), 30, &mut fastrand::Rng::with_seed(round as u64));
        // Ingested at one time, processed at another.
        site.json(["ingest", &folder], &[0]);
        site.set("MFCTL_TEST_CLOCK_OFFSET_SECONDS", -offset);
        drain(&site);
        assert_all_enriched_once(&site, 30 * (round + 1));
    }
}
