//! Workers die, or stand still, at every named place; what they left is finished by another, once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::independent::{delete_group, each_emitted_once};
use crate::support::{Ran, Running, Site, eventually, seed, write_texts};

/// The places of a worker, in the order it comes to them.
const PLACES: [&str; 10] = [
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

/// Longer than a session (10 s) and a transaction (15 s) may be left alone.
const PAST_EVERY_TIMEOUT: Duration = Duration::from_secs(17);

fn drain(site: &Site) -> serde_json::Value {
    let summary = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{summary:#}");
    summary
}

fn whole(site: &Site, files: usize) {
    let report = site.audit();
    assert_eq!((&report["files"], &report["enriched"]), (&files.into(), &files.into()), "{report:#}");
    assert_eq!(each_emitted_once(site), (files, files));
}

/// Each of these keeps several platforms busy: one after the other.
static BUSY: Mutex<()> = Mutex::new(());

/// The dead are waited for by their group, ten seconds each: several platforms at once.
#[test]
fn a_worker_that_dies_at_any_named_place_loses_nothing_and_emits_nothing_twice() {
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut rounds: Vec<(&str, u64)> = PLACES.iter().map(|place| (*place, rng.u64(1..=2))).collect();
    rng.shuffle(&mut rounds);
    let rounds = Mutex::new(rounds);
    std::thread::scope(|scope| {
        for lane in 0..5 {
            let (rounds, mut rng) = (&rounds, fastrand::Rng::with_seed(seed + lane));
            scope.spawn(move || {
                let (site, mut files) = (Site::new(), 0);
                loop {
                    let Some((place, nth)) = rounds.lock().unwrap().pop() else { return };
                    files += 40;
                    die_and_go_on(&site, place, nth, &mut rng);
                    whole(&site, files);
                }
            });
        }
    });
}

/// At its first or second pass: with so few files some places are passed once by each stage.
fn die_and_go_on(site: &Site, place: &str, nth: u64, rng: &mut fastrand::Rng) {
    write_texts(&site.path(place), 40, rng);
    site.json(["ingest", place], &[0]);
    let died = Ran::of(site.failing(&format!("{place}:{nth}"), ["worker", "all", "--until-drained", "--quiet"]));
    assert_eq!(died.code, -6, "{place}:{nth}: {died}");
    drain(site);
}

#[test]
fn case_11_what_was_written_and_not_committed_is_done_again_and_emitted_once() {
    let site = Site::new();
    write_texts(&site.path("in"), 30, &mut fastrand::Rng::with_seed(11));
    site.json(["ingest", "in"], &[0]);
    let died = Ran::of(site.failing("after_upsert", ["worker", "persist", "--until-drained"]));
    assert_eq!(died.code, -6, "{died}");
    assert_eq!(each_emitted_once(&site), (0, 0), "the catalog has it, the log has nothing yet");
    let ingested = site.json(["media", "list", "--state", "ingested"], &[0]);
    assert!(!ingested["assets"].as_array().unwrap().is_empty(), "{ingested:#}");
    drain(&site);
    whole(&site, 30);
}

/// The group and the coordinator take it for dead, another does its work, and then it wakes up in the middle of it.
#[test]
fn a_worker_that_stood_still_past_every_timeout_emits_nothing_when_it_goes_on() {
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for place in ["before_copy", "before_settle", "before_send_offsets", "before_commit"] {
            scope.spawn(move || stand_still(place));
        }
    });
}

fn stand_still(place: &str) {
    let site = Site::new();
    write_texts(&site.path("in"), 60, &mut fastrand::Rng::with_seed(6));
    site.json(["ingest", "in"], &[0]);
    let words = ["worker", "persist", "--instance", "zombie", "--quiet"];
    let mut zombie = Running::kept(site.failing(&format!("stop@{place}"), words));
    eventually("the worker stands still", || zombie.is_stopped());
    let stopped = Instant::now();

    let words = ["worker", "persist", "--until-drained", "--instance", "successor"];
    let summary = site.json(words, &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{place}: {summary:#}");
    // The coordinator ends what the zombie began; until then a reader sees nothing behind it.
    eventually("the successor has done it all", || each_emitted_once(&site).0 == 60);
    eventually("every timeout has passed", || stopped.elapsed() > PAST_EVERY_TIMEOUT);
    zombie.signal(Signal::CONT);
    // It is a worker like any other again: what comes now goes through, whoever gets it.
    write_texts(&site.path("more"), 30, &mut fastrand::Rng::with_seed(7));
    site.json(["ingest", "more", "--wait", "ingested"], &[0]);
    assert!(zombie.is_alive(), "{place}: it was not replaced, so it goes on");
    zombie.signal(Signal::TERM);
    let ended = zombie.finish();
    assert_eq!(ended.code, 143, "{place}: {ended}");
    drain(&site);
    whole(&site, 90);
}

/// What was settled is known by the claims, not by the group alone.
#[test]
fn a_group_that_forgot_its_offsets_emits_nothing_again() {
    let site = Site::new();
    write_texts(&site.path("in"), 50, &mut fastrand::Rng::with_seed(3));
    site.json(["ingest", "in"], &[0]);
    drain(&site);
    for stage in ["persist", "enrich"] {
        delete_group(&site.platform().group(stage)).unwrap();
    }
    let again = drain(&site);
    assert_eq!((&again["emitted"], &again["skipped_duplicates"]), (&0.into(), &100.into()), "{again:#}");
    whole(&site, 50);
}

/// An hour later and an hour earlier, as far as mfctl can tell.
#[test]
fn a_clock_that_jumps_loses_nothing() {
    let mut site = Site::new();
    for (round, offset) in [0, 3600, -3600, 0].into_iter().enumerate() {
        site.set("MFCTL_TEST_CLOCK_OFFSET_SECONDS", offset);
        let folder = format!("in-{round}");
        write_texts(&site.path(&folder), 30, &mut fastrand::Rng::with_seed(round as u64));
        // Uploaded at one time, worked on at another.
        site.json(["ingest", &folder], &[0]);
        site.set("MFCTL_TEST_CLOCK_OFFSET_SECONDS", -offset);
        drain(&site);
        whole(&site, 30 * (round + 1));
    }
}
