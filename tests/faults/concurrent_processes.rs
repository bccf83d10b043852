//! Several processes on one data folder.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Running, Site, write_texts};

/// How long the processes run (60 s). `MFCTL_TEST_SECONDS` shortens it during development.
fn duration() -> Duration {
    let seconds = std::env::var("MFCTL_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Two ingests, two workers and `top` run concurrently without errors, and the audit adds up.
#[test]
fn concurrent_processes_share_a_data_folder_without_errors() {
    let site = Site::new();
    let mut rng = fastrand::Rng::with_seed(11);
    assert_eq!(site.run(["init", "--quiet"]).code, 0);
    let workers = [(); 2].map(|()| Running::captured(site.command(["worker", "all", "--quiet"])));
    let until = Instant::now() + duration();
    let mut rounds = 0;
    while Instant::now() < until {
        let left = format!("left-{rounds}");
        let right = format!("right-{rounds}");
        write_texts(&site.path(&left), 400, &mut rng);
        write_texts(&site.path(&right), 400, &mut rng);
        let ingests = [&left, &right].map(|dir| Running::captured(site.command(["ingest", dir, "--quiet"])));
        let snapshots = [(); 3].map(|()| site.run(["top", "--once", "-o", "json"]));
        for top in snapshots {
            assert_eq!(top.code, 0, "{top}");
            assert!(!top.stderr.contains("locked"), "{top}");
        }
        for ingest in ingests {
            let ran = ingest.finish();
            assert_eq!(ran.code, 0, "{ran}");
        }
        rounds += 1;
    }
    for worker in &workers {
        worker.signal(Signal::TERM);
    }
    for worker in workers {
        let ran = worker.finish();
        assert_eq!(ran.code, 143, "{ran}");
        assert!(!ran.stderr.contains("locked") && !ran.stderr.contains("panicked"), "{ran}");
    }
    let summary = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{summary:#}");
    let report = site.audit();
    assert_eq!(report["files"], rounds * 800, "{report:#}");
    assert_eq!(report["enriched"], rounds * 800, "{report:#}");
}
