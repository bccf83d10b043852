//! Ingest and workers are killed repeatedly; nothing is lost and nothing is emitted twice.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{CommandOutput, ON_STACK, Running, Site, TIMEOUT, seed, write_texts};

/// Files, kills, and the longest pause between two kills in ms. A dead member's session expires after ten seconds.
const FILES: usize = if ON_STACK { 600 } else { 2_000 };
const KILLS: usize = if ON_STACK { 8 } else { 50 };
const PAUSE_MS: u64 = if ON_STACK { 12_000 } else { 400 };
/// Files of an interrupted ingest.
const INTERRUPTED_FILES: usize = if ON_STACK { 1_000 } else { 3_000 };

/// The audit counts each (asset, revision) on `media.*`, so an asset emitted twice would be a violation.
#[test]
fn repeated_kills_lose_and_duplicate_nothing() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    write_texts(&site.path("in"), FILES, &mut rng);
    let ingest = || Running::start(site.command(["ingest", "in", "--quiet"]));
    let worker = || Running::start(site.command(["worker", "all", "--quiet"]));

    let mut uploading = Some(ingest());
    let mut working = worker();
    for _ in 0..KILLS {
        let pause = Duration::from_millis(rng.u64(20..PAUSE_MS));
        std::thread::park_timeout(pause);
        if uploading.is_some() && rng.bool() {
            uploading.take().unwrap().kill();
            uploading = Some(ingest());
        } else {
            working.kill();
            working = worker();
        }
        let done = uploading.as_mut().is_some_and(|job| !job.is_alive());
        if done {
            // Finished: ingest the same folder again, so that there is still a process to kill.
            uploading = Some(ingest());
        }
    }
    working.kill();
    let last = uploading.take().unwrap().finish();
    assert_eq!(last.code, 0, "seed {seed}: {last}");

    let report = site.json(["ingest", "in"], &[0]);
    assert_eq!(report["discovered"], FILES, "seed {seed}: {report:#}");
    drain(&site);
    let report = site.audit();
    assert_eq!((report["files"].as_u64(), report["enriched"].as_u64()), (Some(FILES as u64), Some(FILES as u64)));
    assert_eq!(report["assets"], FILES, "seed {seed}: {report:#}");
    assert_eq!(report["events"], 2 * FILES, "seed {seed}: {report:#}");
    assert_eq!(report["unverifiable"], 0, "seed {seed}: {report:#}");
}

fn drain(site: &Site) {
    let summary = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{summary:#}");
}

/// A signal ends ingest with the signal's exit code and a hint how to resume.
#[test]
fn interrupted_ingest_can_be_resumed() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut rng = fastrand::Rng::with_seed(7);
        let site = Site::new();
        write_texts(&site.path("in"), INTERRUPTED_FILES, &mut rng);
        let running = Running::captured(site.command(["ingest", "in", "--no-progress", "-v"]));
        let began = Instant::now();
        while jobs(&site) == 0 {
            assert!(began.elapsed() < TIMEOUT, "no job appeared");
        }
        running.signal(signal);
        let stopped = running.finish();
        assert!([0, code].contains(&stopped.code), "{stopped}");
        if stopped.code == code {
            assert!(stopped.stderr.contains("--resume"), "{stopped}");
        }
        let again = site.json(["ingest", "in"], &[0]);
        assert_eq!(again["discovered"], INTERRUPTED_FILES, "{again:#}");
        drain(&site);
        assert_eq!(site.audit()["enriched"], INTERRUPTED_FILES);
    }
}

fn jobs(site: &Site) -> usize {
    let ran = site.run(["jobs", "list", "-o", "name"]);
    if ran.code == 0 { ran.stdout.lines().count() } else { 0 }
}

#[test]
fn panic_of_one_stage_stops_the_other_as_a_signal_does() {
    let site = Site::new();
    write_texts(&site.path("in"), 20, &mut fastrand::Rng::with_seed(17));
    site.json(["ingest", "in"], &[0]);
    // Reached first by persist: enrich has no input before that commits.
    let ran = CommandOutput::run(site.command_with_failpoint("panic@before_settle", ["worker", "all"]));
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stderr.contains("a stage of the worker panicked"), "{ran}");
    assert!(ran.stderr.contains("stopping stage=enrich"), "{ran}");
    drain(&site);
    let report = site.audit();
    assert_eq!((&report["enriched"], &report["events"]), (&20.into(), &40.into()), "{report:#}");
}
